/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Devices behind IOMMUs: their own IDs, and those of the functions behind a host bridge. */

#include "tree.h"

/* One entry of iommu-map: requester ID, phandle, ID, count. */
#define MAP_CELLS 4u

int piommu_fdt_coherence(const struct piommu_fdt *tree, int node,
                         enum piommu_fdt_coherence *coherence)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;

    if (number == NO_NODE || coherence == NULL) {
        return -PIOMMU_EINVAL;
    }
    for (; number != NO_NODE; number = tree->nodes[number].parent) {
        if (piommu_fdt_has(tree, number, DMA_NONCOHERENT)) {
            *coherence = PIOMMU_FDT_NONCOHERENT;
            return 0;
        }
        if (piommu_fdt_has(tree, number, DMA_COHERENT)) {
            *coherence = PIOMMU_FDT_COHERENT;
            return 0;
        }
    }
    *coherence = PIOMMU_FDT_COHERENCE_DEFAULT;
    return 0;
}

/* Finds the IOMMU that a specifier in a property of `node` names; fills all but the cells in. */
static int resolve(struct piommu_fdt *tree, uint32_t node, enum property_kind kind,
                   uint32_t phandle, struct piommu_fdt_id *id)
{
    uint32_t iommu = piommu_fdt_by_phandle_(tree, phandle);

    /* A node without #iommu-cells is no IOMMU: the phandle is the wrong one. */
    if (iommu == NO_NODE || !piommu_fdt_has(tree, iommu, IOMMU_CELLS)) {
        return piommu_fdt_bad(tree, node, kind);
    }
    id->iommu = phandle;
    id->node = tree->nodes[iommu].offset;
    id->disabled = !tree->nodes[iommu].enabled;
    return piommu_fdt_id_cells_(tree, iommu, &id->cell_count);
}

/* ---- iommus ---- */

/* Reads the entry at a cell, of which there are `total`, and moves on behind it. */
static int read_id(struct piommu_fdt *tree, uint32_t node, uint32_t total, uint32_t *at,
                   struct piommu_fdt_id *id)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, IOMMUS);
    int error = resolve(tree, node, IOMMUS, fdt32_ld(&property->cells[*at]), id);

    if (error != 0) {
        return error;
    }
    *at += 1;
    if (total - *at < id->cell_count) {
        return piommu_fdt_bad(tree, node, IOMMUS);
    }
    for (uint32_t i = 0; i < id->cell_count; i++) {
        id->cells[i] = fdt32_ld(&property->cells[*at + i]);
    }
    *at += id->cell_count;
    return 0;
}

/* Finds the entry of an index; -PIOMMU_ENOENT: *count is how many there are. */
static int find_id(struct piommu_fdt *tree, uint32_t node, unsigned int index, uint32_t *count,
                   struct piommu_fdt_id *id)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, IOMMUS);
    uint32_t total;
    uint32_t at = 0;

    *count = 0;
    if (property == NULL) {
        return -PIOMMU_ENOENT;
    }
    total = property->bytes / CELL;
    if (total == 0 || property->bytes % CELL != 0) {
        return piommu_fdt_bad(tree, node, IOMMUS);
    }
    while (at < total) {
        int error;

        if (*count == MAX_IDS) {
            return piommu_fdt_bad(tree, node, IOMMUS);
        }
        error = read_id(tree, node, total, &at, id);
        if (error != 0 || *count == index) {
            return error;
        }
        *count += 1;
    }
    return -PIOMMU_ENOENT;
}

int piommu_fdt_device_id(struct piommu_fdt *tree, int node, unsigned int index,
                         struct piommu_fdt_id *id)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;
    struct piommu_fdt_id found;
    uint32_t unused;
    int error;

    if (number == NO_NODE || id == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = find_id(tree, number, index, &unused, &found);
    if (error == 0) {
        *id = found;
    }
    return error;
}

/* ---- iommu-map ---- */

/* Counts the entries of a map; 0 if there is none. */
static int count_map(struct piommu_fdt *tree, uint32_t bridge, uint32_t *count)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, bridge, IOMMU_MAP);

    *count = 0;
    if (property == NULL) {
        return 0;
    }
    if (property->bytes == 0 || property->bytes % (MAP_CELLS * CELL) != 0) {
        return piommu_fdt_bad(tree, bridge, IOMMU_MAP);
    }
    *count = property->bytes / (MAP_CELLS * CELL);
    return 0;
}

static int read_map(struct piommu_fdt *tree, uint32_t bridge, uint32_t index,
                    struct piommu_fdt_map *map)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, bridge, IOMMU_MAP);
    const fdt32_t *cells = &property->cells[index * MAP_CELLS];
    int error = resolve(tree, bridge, IOMMU_MAP, fdt32_ld(&cells[1]), &map->id);

    if (error != 0) {
        return error;
    }
    map->first = fdt32_ld(&cells[0]);
    map->id.cells[0] = fdt32_ld(&cells[2]);
    map->count = fdt32_ld(&cells[3]);
    /*
     * The map gives one cell for the ID: an IOMMU with another number of cells cannot be meant. And
     * neither requester IDs nor IDs may wrap round.
     */
    if (map->id.cell_count != 1 || map->count == 0 || map->count - 1 > UINT32_MAX - map->first ||
        map->count - 1 > UINT32_MAX - map->id.cells[0]) {
        return piommu_fdt_bad(tree, bridge, IOMMU_MAP);
    }
    return 0;
}

static int read_mask(struct piommu_fdt *tree, uint32_t bridge, uint32_t *mask)
{
    int error;

    *mask = UINT32_MAX;
    error = piommu_fdt_cell_(tree, bridge, IOMMU_MAP_MASK, mask);
    return error == -PIOMMU_ENOENT ? 0 : error;
}

int piommu_fdt_map(struct piommu_fdt *tree, int host_bridge, unsigned int index,
                   struct piommu_fdt_map *map)
{
    uint32_t bridge = tree != NULL ? piommu_fdt_at_(tree, host_bridge) : NO_NODE;
    struct piommu_fdt_map found;
    uint32_t count;
    int error;

    if (bridge == NO_NODE || map == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = count_map(tree, bridge, &count);
    if (error == 0) {
        error = index < count ? read_map(tree, bridge, index, &found) : -PIOMMU_ENOENT;
    }
    if (error == 0) {
        *map = found;
    }
    return error;
}

int piommu_fdt_pci_id(struct piommu_fdt *tree, int host_bridge, uint16_t rid,
                      struct piommu_fdt_id *id)
{
    uint32_t bridge = tree != NULL ? piommu_fdt_at_(tree, host_bridge) : NO_NODE;
    uint32_t count;
    uint32_t mask;
    uint32_t masked;
    int error;

    if (bridge == NO_NODE || id == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = count_map(tree, bridge, &count);
    if (error == 0) {
        error = read_mask(tree, bridge, &mask);
    }
    if (error != 0) {
        return error;
    }
    masked = rid & mask;
    for (uint32_t i = 0; i < count; i++) {
        struct piommu_fdt_map map;

        error = read_map(tree, bridge, i, &map);
        if (error != 0) {
            return error;
        }
        if (masked >= map.first && masked - map.first < map.count) {
            *id = map.id;
            id->cells[0] += masked - map.first;
            return 0;
        }
    }
    return -PIOMMU_ENOENT;
}

/* ---- Masters ---- */

static int check_map(struct piommu_fdt *tree, uint32_t node, struct piommu_fdt_master *master)
{
    int error = count_map(tree, node, &master->map_count);

    if (error == 0) {
        error = read_mask(tree, node, &master->map_mask);
    }
    for (uint32_t i = 0; error == 0 && i < master->map_count; i++) {
        struct piommu_fdt_map map;

        error = read_map(tree, node, i, &map);
    }
    return error;
}

static int count_windows(struct piommu_fdt *tree, int node, uint32_t *count)
{
    struct piommu_range window;
    int error = 0;

    for (*count = 0; error == 0; *count += error == 0) {
        error = piommu_fdt_dma_window(tree, node, *count, &window);
    }
    return error == -PIOMMU_ENOENT ? 0 : error;
}

static int check_regions(struct piommu_fdt *tree, int node)
{
    struct piommu_fdt_cursor cursor = {0};
    struct piommu_fdt_region region;
    int error = 0;

    while (error == 0) {
        error = piommu_fdt_next_region(tree, node, &cursor, &region);
    }
    return error == -PIOMMU_ENOENT ? 0 : error;
}

static int read_master(struct piommu_fdt *tree, uint32_t node, struct piommu_fdt_master *master)
{
    struct piommu_fdt_id id;
    int error = find_id(tree, node, UINT32_MAX, &master->id_count, &id);

    if (error == -PIOMMU_ENOENT) {
        error = check_map(tree, node, master);
    }
    if (error == 0) {
        error = count_windows(tree, master->node, &master->window_count);
    }
    if (error == 0) {
        error = check_regions(tree, master->node);
    }
    return error;
}

int piommu_fdt_next_master(struct piommu_fdt *tree, int previous, struct piommu_fdt_master *master)
{
    uint32_t node;

    if (tree == NULL || master == NULL) {
        return -PIOMMU_EINVAL;
    }
    node = piommu_fdt_behind_(tree, previous);
    if (node == NO_NODE) {
        return -PIOMMU_EINVAL;
    }
    for (; node < tree->node_count; node++) {
        struct piommu_fdt_master found;
        int error;

        if (!tree->nodes[node].enabled ||
            (!piommu_fdt_has(tree, node, IOMMUS) && !piommu_fdt_has(tree, node, IOMMU_MAP))) {
            continue;
        }
        found.node = tree->nodes[node].offset;
        piommu_fdt_coherence(tree, found.node, &found.coherence);
        error = read_master(tree, node, &found);
        if (error == 0) {
            *master = found;
        } else {
            master->node = found.node;
        }
        return error;
    }
    return -PIOMMU_ENOENT;
}
