/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Groups: devices that an IOMMU cannot tell apart. The links are sorted by IOMMU and ID, so that
 * equal ones are neighbours, and the devices of neighbours are united.
 *
 * A range of requester IDs is no group, for each function has an ID of its own; only where the
 * range is a single ID are its functions, and others that have the ID, one group.
 */

#include "topology.h"

#include <stdlib.h>
#include <string.h>

static int compare_ids(const struct piommu_fdt_id *a, const struct piommu_fdt_id *b)
{
    if (a->node != b->node) {
        return a->node < b->node ? -1 : 1;
    }
    for (uint32_t i = 0; i < a->cell_count; i++) {
        if (a->cells[i] != b->cells[i]) {
            return a->cells[i] < b->cells[i] ? -1 : 1;
        }
    }
    return 0;
}

static int compare_links(const void *left, const void *right)
{
    const struct link *const *a = left;
    const struct link *const *b = right;

    return compare_ids(&(*a)->id, &(*b)->id);
}

/* The device that stands for all that are united with this one. */
static size_t find_root(size_t *parents, size_t master)
{
    while (parents[master] != master) {
        parents[master] = parents[parents[master]];
        master = parents[master];
    }
    return master;
}

/* The lower number stands for both, so that groups are numbered in the order of the tree. */
static void unite(size_t *parents, size_t a, size_t b)
{
    a = find_root(parents, a);
    b = find_root(parents, b);
    if (a < b) {
        parents[b] = a;
    } else {
        parents[a] = b;
    }
}

static void unite_all(const struct topology *topology, size_t *parents, bool *grouped)
{
    const struct link **sorted =
        must_realloc(NULL, topology->link_count + 1, sizeof(const struct link *));
    size_t count = 0;

    for (size_t i = 0; i < topology->link_count; i++) {
        const struct link *link = &topology->links[i];

        if (!link->mapped || link->count == 1) {
            grouped[link->master] = true;
            sorted[count++] = link;
        }
    }
    qsort(sorted, count, sizeof(sorted[0]), compare_links);
    for (size_t i = 1; i < count; i++) {
        if (compare_ids(&sorted[i - 1]->id, &sorted[i]->id) == 0) {
            unite(parents, sorted[i - 1]->master, sorted[i]->master);
        }
    }
    free(sorted);
}

void topology_find_groups(struct topology *topology)
{
    size_t *parents = must_realloc(NULL, topology->master_count + 1, sizeof(*parents));
    bool *grouped = must_realloc(NULL, topology->master_count + 1, sizeof(*grouped));

    for (size_t i = 0; i < topology->master_count; i++) {
        parents[i] = i;
        grouped[i] = false;
    }
    unite_all(topology, parents, grouped);
    for (size_t i = 0; i < topology->master_count; i++) {
        size_t root = find_root(parents, i);

        if (grouped[i]) {
            topology->masters[i].group =
                root == i ? topology->group_count++ : topology->masters[root].group;
        }
    }
    free(parents);
    free(grouped);
}

size_t topology_run(const struct topology *topology, size_t link)
{
    const struct link *first = &topology->links[link];
    size_t run = 1;

    while (link + run < topology->link_count) {
        const struct link *next = first + run;

        if (first->mapped || next->mapped || next->master != first->master ||
            next->id.node != first->id.node || next->id.cell_count != 1 ||
            next->id.cells[0] != first->id.cells[0] + (uint32_t)run) {
            break;
        }
        run++;
    }
    return run;
}
