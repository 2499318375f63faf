/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "topology.h"

#include <inttypes.h>
#include <stdlib.h>

/* Writes a string in quotes; what it holds is printable. */
static void put_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
    fputc('"', out);
}

static void put_path(const struct topology *topology, FILE *out, int node)
{
    char *path = node_path(topology, node);

    put_quoted(out, path);
    free(path);
}

static void put_label(FILE *out, char *label)
{
    fprintf(out, " [label=");
    put_quoted(out, label);
    fprintf(out, "];\n");
    free(label);
}

/* The members of a group in a frame, unless there is only one. */
static void put_group(const struct topology *topology, FILE *out, size_t group)
{
    size_t members = 0;

    for (size_t i = 0; i < topology->master_count; i++) {
        members += topology->masters[i].group == group;
    }
    if (members > 1) {
        fprintf(out, "  subgraph cluster_%zu {\n    label=\"group %zu\";\n", group, group);
    }
    for (size_t i = 0; i < topology->master_count; i++) {
        if (topology->masters[i].group == group) {
            fprintf(out, members > 1 ? "    " : "  ");
            put_path(topology, out, topology->masters[i].found.node);
            fprintf(out, ";\n");
        }
    }
    if (members > 1) {
        fprintf(out, "  }\n");
    }
}

static void put_link(const struct topology *topology, FILE *out, const struct link *link,
                     size_t run)
{
    char *label = id_text(link, run);

    if (link->mapped) {
        char *rids = rid_text(topology, link);

        text_append(&label, "", " for %s", rids);
        free(rids);
    }
    fprintf(out, "  ");
    put_path(topology, out, topology->masters[link->master].found.node);
    fprintf(out, " -> ");
    put_path(topology, out, link->id.node);
    put_label(out, label);
}

void topology_print_dot(struct topology *topology, FILE *out)
{
    fprintf(out, "digraph topology {\n  rankdir=LR;\n  node [shape=ellipse];\n");
    for (size_t i = 0; i < topology->iommu_count; i++) {
        fprintf(out, "  ");
        put_path(topology, out, topology->iommus[i].node);
        fprintf(out, " [shape=box];\n");
    }
    for (size_t i = 0; i < topology->master_count; i++) {
        if (topology->masters[i].group == NO_GROUP) {
            fprintf(out, "  ");
            put_path(topology, out, topology->masters[i].found.node);
            fprintf(out, ";\n");
        }
    }
    for (size_t group = 0; group < topology->group_count; group++) {
        put_group(topology, out, group);
    }
    for (size_t i = 0; i < topology->link_count; i += topology_run(topology, i)) {
        put_link(topology, out, &topology->links[i], topology_run(topology, i));
    }
    for (size_t i = 0; i < topology->iommu_count; i++) {
        const struct piommu_fdt_iommu *iommu = &topology->iommus[i];

        if (iommu->main_node >= 0) {
            fprintf(out, "  ");
            put_path(topology, out, iommu->node);
            fprintf(out, " -> ");
            put_path(topology, out, iommu->main_node);
            fprintf(out, " [style=dashed];\n");
        }
    }
    fprintf(out, "}\n");
}
