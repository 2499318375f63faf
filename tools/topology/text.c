/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "topology.h"

#include <inttypes.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static char *format_text(const char *format, va_list arguments)
{
    va_list again;
    int length;
    char *text;

    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    text = must_realloc(NULL, (size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    return text;
}

char *text_format(const char *format, ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, format);
    text = format_text(format, arguments);
    va_end(arguments);
    return text;
}

void text_append(char **text, const char *separator, const char *format, ...)
{
    va_list arguments;
    char *more;
    char *both;

    va_start(arguments, format);
    more = format_text(format, arguments);
    va_end(arguments);
    both = text_format("%s%s%s", *text, **text != '\0' ? separator : "", more);
    free(more);
    free(*text);
    *text = both;
}

char *node_path(const struct topology *topology, int node)
{
    char path[1024];

    if (piommu_fdt_path(&topology->tree, node, path, sizeof(path)) != 0) {
        return text_format("?");
    }
    return text_format("%s", path);
}

char *node_compatible(const struct topology *topology, int node)
{
    const char *first = fdt_stringlist_get(topology->blob, node, "compatible", 0, NULL);
    char *text = text_format("%s", first != NULL ? first : "-");

    for (char *c = text; *c != '\0'; c++) {
        *c = *c >= ' ' && *c <= '~' ? *c : '?';
    }
    return text;
}

char *range_text(const struct piommu_range *range)
{
    return text_format("0x%" PRIx64 "..0x%" PRIx64, range->first, range->last);
}

char *id_text(const struct link *link, size_t run)
{
    uint32_t count = link->mapped ? link->count : (uint32_t)run;
    char *text = text_format("%s", "");

    if (link->id.cell_count == 0) {
        text_append(&text, " ", "all");
    }
    for (uint32_t i = 0; i < link->id.cell_count; i++) {
        text_append(&text, " ", "0x%" PRIx32, link->id.cells[i]);
    }
    if (count > 1) {
        text_append(&text, "", "..0x%" PRIx32, link->id.cells[0] + (count - 1));
    }
    return text;
}

static void append_rid(char **text, const char *separator, uint32_t rid)
{
    text_append(text, separator, "%02" PRIx32 ":%02" PRIx32 ".%" PRIx32, rid >> 8, rid >> 3 & 31u,
                rid & 7u);
}

char *rid_text(const struct topology *topology, const struct link *link)
{
    uint32_t mask = topology->masters[link->master].found.map_mask & 0xffff;
    char *text = text_format("%s", "");

    if (mask == 0 && link->first_rid == 0) {
        text_append(&text, "", "all");
        return text;
    }
    append_rid(&text, "", link->first_rid);
    if (link->count > 1) {
        append_rid(&text, "..", link->first_rid + (link->count - 1));
    }
    if (mask != 0xffff) {
        text_append(&text, " ", "(mask 0x%04" PRIx32 ")", mask);
    }
    return text;
}

char *windows_text(struct topology *topology, const struct master *master)
{
    char *text = text_format("%s", "");
    struct piommu_range window;

    for (unsigned int i = 0;
         piommu_fdt_dma_window(&topology->tree, master->found.node, i, &window) == 0; i++) {
        char *range = range_text(&window);

        text_append(&text, ", ", "%s", range);
        free(range);
    }
    if (*text == '\0') {
        text_append(&text, "", "-");
    }
    return text;
}

const char *coherence_text(enum piommu_fdt_coherence coherence)
{
    switch (coherence) {
    case PIOMMU_FDT_COHERENT:
        return "yes";
    case PIOMMU_FDT_NONCOHERENT:
        return "no";
    default:
        return "-";
    }
}
