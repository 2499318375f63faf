/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TOPOLOGY_H
#define TOPOLOGY_H

/* What the tool has found in a blob, and what it does with it. */

#include "../common/program.h"

#include <piommu/fdt.h>

#define NO_GROUP SIZE_MAX

struct master {
    struct piommu_fdt_master found;
    size_t group; /* number of its group, from 0; NO_GROUP: a host bridge alone */
};

/* One ID, or a range of them behind a host bridge. */
struct link {
    size_t master;      /* index of the device */
    bool mapped;        /* from iommu-map, and the next two members are set */
    uint32_t first_rid; /* the first requester ID of the range */
    uint32_t count;     /* how many requester IDs */
    struct piommu_fdt_id id;
};

struct topology {
    const char *file; /* for messages */
    void *blob;
    struct piommu_fdt tree;
    struct piommu_fdt_iommu *iommus;
    size_t iommu_count;
    struct master *masters;
    size_t master_count;
    struct link *links; /* in the order of the masters */
    size_t link_count;
    size_t group_count;
    size_t disabled_count; /* IOMMUs that are disabled */
    unsigned int errors;   /* nodes that were malformed and left out */
};

/* Reads a file. Says on stderr what is wrong; false if nothing can be said of the tree. */
bool topology_load(struct topology *topology, const char *file);
void topology_free(struct topology *topology);

/* Gives devices that share an ID on one IOMMU the same group. */
void topology_find_groups(struct topology *topology);

/* How many links from this one on are IDs of one device that follow each other: 1 or more. */
size_t topology_run(const struct topology *topology, size_t link);

void topology_print_tables(struct topology *topology, FILE *out);
void topology_print_dot(struct topology *topology, FILE *out);

/* ---- Text ---- */

/* A string of its own memory, as printf would write it. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Appends to such a string, with a separator if it is not empty. */
void text_append(char **text, const char *separator, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* These return strings of their own memory. */
char *node_path(const struct topology *topology, int node);
char *node_compatible(const struct topology *topology, int node);
char *range_text(const struct piommu_range *range);
/* An ID or a run of them without the IOMMU: 0x3; 0x1 0x7f; "all" if it has no cells; 0x0..0x7. */
char *id_text(const struct link *link, size_t run);
/* Requester IDs as bus:device.function, and which bits of them count, if not all. */
char *rid_text(const struct topology *topology, const struct link *link);
char *windows_text(struct topology *topology, const struct master *master);

/* "yes", "no", or "-" for the architecture's default. */
const char *coherence_text(enum piommu_fdt_coherence coherence);

/* A table whose columns are as wide as they need to be. */
struct table;
struct table *table_begin(const char *const *titles, size_t columns);
/* Takes the strings over. */
void table_row(struct table *table, char *const *cells);
size_t table_rows(const struct table *table);
/* Prints it, unless `out` is NULL, and frees it. */
void table_end(struct table *table, FILE *out);

#endif
