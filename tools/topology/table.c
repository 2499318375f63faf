/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "topology.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define MAX_COLUMNS 8u

struct table {
    size_t columns;
    size_t rows; /* with the titles */
    char **cells;
};

struct table *table_begin(const char *const *titles, size_t columns)
{
    struct table *table = must_realloc(NULL, 1, sizeof(*table));
    char *cells[MAX_COLUMNS];

    table->columns = columns;
    table->rows = 0;
    table->cells = NULL;
    for (size_t i = 0; i < columns; i++) {
        cells[i] = text_format("%s", titles[i]);
    }
    table_row(table, cells);
    return table;
}

void table_row(struct table *table, char *const *cells)
{
    table->cells = must_realloc(table->cells, (table->rows + 1) * table->columns, sizeof(char *));
    for (size_t i = 0; i < table->columns; i++) {
        table->cells[table->rows * table->columns + i] = cells[i];
    }
    table->rows++;
}

size_t table_rows(const struct table *table)
{
    return table->rows - 1;
}

void table_end(struct table *table, FILE *out)
{
    size_t widths[MAX_COLUMNS] = {0};

    for (size_t i = 0; i < table->rows * table->columns; i++) {
        size_t width = strlen(table->cells[i]);

        if (width > widths[i % table->columns]) {
            widths[i % table->columns] = width;
        }
    }
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        if (out == NULL) {
            /* Only freed. */
        } else if (i % table->columns != table->columns - 1) {
            fprintf(out, "%-*s  ", (int)widths[i % table->columns], table->cells[i]);
        } else {
            fprintf(out, "%s\n", table->cells[i]);
        }
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}

/* ---- The tables ---- */

static char *registers_text(struct topology *topology, const struct piommu_fdt_iommu *iommu)
{
    char *text = text_format("%s", "");
    struct piommu_range range;

    if (iommu->is_pci) {
        text_append(&text, "", "PCI %02x:%02x.%x", iommu->pci_bdf >> 8, iommu->pci_bdf >> 3 & 31,
                    iommu->pci_bdf & 7);
    }
    for (unsigned int i = 0; piommu_fdt_register(&topology->tree, iommu->node, i, &range) == 0;
         i++) {
        char *one = range_text(&range);

        text_append(&text, ", ", "%s", one);
        free(one);
    }
    if (*text == '\0') {
        text_append(&text, "", "-");
    }
    return text;
}

static char *interrupts_text(struct topology *topology, const struct piommu_fdt_iommu *iommu)
{
    char *text = text_format("%s", "");
    struct piommu_fdt_interrupt interrupt;

    for (unsigned int i = 0; piommu_fdt_interrupt(&topology->tree, iommu->node, i, &interrupt) == 0;
         i++) {
        text_append(&text, ", ", "%" PRIu32, interrupt.cells[0]);
        for (uint32_t cell = 1; cell < interrupt.cell_count; cell++) {
            text_append(&text, " ", "%" PRIu32, interrupt.cells[cell]);
        }
    }
    if (*text == '\0') {
        text_append(&text, "", "-");
    }
    return text;
}

static char *main_text(const struct topology *topology, const struct piommu_fdt_iommu *iommu)
{
    char *text;

    if (iommu->main_node < 0) {
        return text_format("-");
    }
    text = node_path(topology, iommu->main_node);
    if (iommu->has_main_bit) {
        text_append(&text, " ", "bit %" PRIu32, iommu->main_bit);
    }
    return text;
}

static void print_iommus(struct topology *topology, FILE *out)
{
    static const char *const titles[] = {"INSTANCE",   "COMPATIBLE", "REGISTERS", "CELLS",
                                         "INTERRUPTS", "COHERENT",   "MAIN UNIT"};
    struct table *table = table_begin(titles, COUNT(titles));

    for (size_t i = 0; i < topology->iommu_count; i++) {
        const struct piommu_fdt_iommu *iommu = &topology->iommus[i];

        table_row(table, (char *[]){
                             node_path(topology, iommu->node),
                             node_compatible(topology, iommu->node),
                             registers_text(topology, iommu),
                             text_format("%" PRIu32, iommu->id_cells),
                             interrupts_text(topology, iommu),
                             text_format("%s", coherence_text(iommu->coherence)),
                             main_text(topology, iommu),
                         });
    }
    table_end(table, out);
}

static char *group_text(const struct master *master)
{
    return master->group == NO_GROUP ? text_format("each ID") : text_format("%zu", master->group);
}

static void print_devices(struct topology *topology, FILE *out)
{
    static const char *const titles[] = {"DEVICE", "FUNCTIONS", "INSTANCE",   "ID",
                                         "GROUP",  "COHERENT",  "DMA WINDOWS"};
    struct table *table = table_begin(titles, COUNT(titles));

    for (size_t i = 0; i < topology->link_count; i += topology_run(topology, i)) {
        const struct link *link = &topology->links[i];
        const struct master *master = &topology->masters[link->master];
        char *instance = node_path(topology, link->id.node);

        if (link->id.disabled) {
            text_append(&instance, " ", "(disabled)");
        }
        table_row(table, (char *[]){
                             node_path(topology, master->found.node),
                             link->mapped ? rid_text(topology, link) : text_format("-"),
                             instance,
                             id_text(link, topology_run(topology, i)),
                             link->mapped && link->count != 1 ? text_format("each ID")
                                                              : group_text(master),
                             text_format("%s", coherence_text(master->found.coherence)),
                             windows_text(topology, master),
                         });
    }
    table_end(table, out);
}

static void print_groups(struct topology *topology, FILE *out)
{
    static const char *const titles[] = {"GROUP", "DEVICES"};
    struct table *table = table_begin(titles, COUNT(titles));

    for (size_t group = 0; group < topology->group_count; group++) {
        char *members = text_format("%s", "");

        for (size_t i = 0; i < topology->master_count; i++) {
            if (topology->masters[i].group == group) {
                char *path = node_path(topology, topology->masters[i].found.node);

                text_append(&members, ", ", "%s", path);
                free(path);
            }
        }
        table_row(table, (char *[]){text_format("%zu", group), members});
    }
    fprintf(out, "\n");
    table_end(table, out);
}

static void print_regions(struct topology *topology, FILE *out)
{
    static const char *const titles[] = {"DEVICE", "REGION", "KIND", "IOVA", "MEMORY"};
    static const char *const kinds[] = {"reserved", "direct", "mapped", "memory"};
    struct table *table = table_begin(titles, COUNT(titles));

    for (size_t i = 0; i < topology->master_count; i++) {
        int node = topology->masters[i].found.node;
        struct piommu_fdt_cursor cursor = {0};
        struct piommu_fdt_region region;

        while (piommu_fdt_next_region(&topology->tree, node, &cursor, &region) == 0) {
            table_row(table,
                      (char *[]){
                          node_path(topology, node),
                          node_path(topology, region.node),
                          text_format("%s", kinds[region.kind]),
                          region.kind == PIOMMU_FDT_REGION_MEMORY ? text_format("-")
                                                                  : range_text(&region.iova),
                          region.kind == PIOMMU_FDT_REGION_RESERVED ? text_format("-")
                                                                    : range_text(&region.physical),
                      });
        }
    }
    if (table_rows(table) != 0) {
        fprintf(out, "\n");
    }
    table_end(table, table_rows(table) != 0 ? out : NULL);
}

void topology_print_tables(struct topology *topology, FILE *out)
{
    if (topology->iommu_count != 0) {
        print_iommus(topology, out);
    } else {
        fprintf(out, "There is no IOMMU.\n");
    }
    if (topology->disabled_count != 0) {
        fprintf(out, "\nDisabled IOMMUs: %zu\n", topology->disabled_count);
    }
    if (topology->link_count != 0) {
        fprintf(out, "\n");
        print_devices(topology, out);
    }
    if (topology->group_count != 0) {
        print_groups(topology, out);
    }
    print_regions(topology, out);
}
