/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Reserved memory: memory-region at the device, iommu-addresses at the region. */

#include "tree.h"

/* The most entries of reg that a reserved region may have. */
#define MAX_PIECES 4u

/* Reads memory that a reserved region lies in. Addresses there are the CPU's. */
static int read_piece(struct piommu_fdt *tree, uint32_t region, uint32_t index,
                      struct piommu_range *piece)
{
    struct piommu_range unused;
    uint32_t parent = tree->nodes[region].parent;
    const struct piommu_fdt_property *ranges = piommu_fdt_find_(tree, parent, RANGES);
    int error = piommu_fdt_read_reg_(tree, region, index, piece);

    if (error == 0 && (ranges == NULL || ranges->bytes != 0)) {
        return piommu_fdt_bad(tree, parent, RANGES);
    }
    if (error == 0 && piommu_fdt_read_reg_(tree, region, MAX_PIECES, &unused) == 0) {
        return piommu_fdt_bad(tree, region, REG);
    }
    return error;
}

/* The region that an entry of memory-region names. */
static int find_region(struct piommu_fdt *tree, uint32_t node,
                       const struct piommu_fdt_property *property, uint32_t index, uint32_t *region)
{
    uint32_t found = piommu_fdt_by_phandle_(tree, fdt32_ld(&property->cells[index]));
    const char *name = NULL;

    if (found != NO_NODE && tree->nodes[found].depth == 2) {
        name = fdt_get_name(tree->blob, tree->nodes[tree->nodes[found].parent].offset, NULL);
    }
    if (name == NULL || !piommu_fdt_same_(name, "reserved-memory")) {
        return piommu_fdt_bad(tree, node, MEMORY_REGION);
    }
    *region = found;
    return 0;
}

/* What a range of IOVAs asks for, seen beside the memory of the region. */
static int classify(struct piommu_fdt *tree, uint32_t memory, struct piommu_fdt_region *region)
{
    struct piommu_range only = {0, 0};
    uint32_t pieces = 0;

    region->kind = PIOMMU_FDT_REGION_RESERVED;
    region->physical = only;
    for (;; pieces++) {
        struct piommu_range piece;
        int error = read_piece(tree, memory, pieces, &piece);

        if (error == -PIOMMU_ENOENT) {
            break;
        }
        if (error != 0) {
            return error;
        }
        if (piece.first == region->iova.first && piece.last == region->iova.last) {
            region->kind = PIOMMU_FDT_REGION_DIRECT;
            region->physical = piece;
            return 0;
        }
        only = piece;
    }
    if (pieces == 1 && only.last - only.first == region->iova.last - region->iova.first) {
        region->kind = PIOMMU_FDT_REGION_MAPPED;
        region->physical = only;
    }
    return 0;
}

/*
 * Finds the next entry of a region's iommu-addresses that is for the device, from the cursor on;
 * -PIOMMU_ENOENT: there are no more.
 */
static int find_address(struct piommu_fdt *tree, uint32_t node, uint32_t memory,
                        struct piommu_fdt_cursor *cursor, struct piommu_fdt_region *region)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, memory, IOMMU_ADDRESSES);
    uint32_t total = property->bytes / CELL;

    if (total == 0 || property->bytes % CELL != 0 ||
        total > MAX_IOMMU_ADDRESSES * (1 + 2 * MAX_CELLS)) {
        return piommu_fdt_bad(tree, memory, IOMMU_ADDRESSES);
    }
    while (cursor->entry < total) {
        uint32_t device = piommu_fdt_by_phandle_(tree, fdt32_ld(&property->cells[cursor->entry]));
        const fdt32_t *cells = &property->cells[cursor->entry + 1];
        uint32_t address_cells;
        uint32_t size_cells;
        int error;

        if (device == NO_NODE || device == ROOT) {
            return piommu_fdt_bad(tree, memory, IOMMU_ADDRESSES);
        }
        error = piommu_fdt_bus_(tree, tree->nodes[device].parent, &address_cells, &size_cells);
        if (error != 0) {
            return error;
        }
        if (address_cells == 0 || size_cells == 0 ||
            total - cursor->entry - 1 < address_cells + size_cells ||
            !piommu_fdt_range_(piommu_fdt_number(cells, address_cells),
                               piommu_fdt_number(cells + address_cells, size_cells), address_cells,
                               &region->iova)) {
            return piommu_fdt_bad(tree, memory, IOMMU_ADDRESSES);
        }
        cursor->entry += 1 + address_cells + size_cells;
        if (device == node) {
            cursor->named = true;
            return classify(tree, memory, region);
        }
    }
    return -PIOMMU_ENOENT;
}

/* What is next of the region that the cursor is at; -PIOMMU_ENOENT: nothing. */
static int next_of_region(struct piommu_fdt *tree, uint32_t node, uint32_t memory,
                          struct piommu_fdt_cursor *cursor, struct piommu_fdt_region *region)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, memory, IOMMU_ADDRESSES);
    uint32_t total = property != NULL ? property->bytes / CELL : 0;
    uint32_t piece;
    int error;

    if (property != NULL && (cursor->entry < total || total == 0)) {
        error = find_address(tree, node, memory, cursor, region);
        if (error != -PIOMMU_ENOENT) {
            return error;
        }
    }
    if (cursor->named) {
        return -PIOMMU_ENOENT;
    }
    /* No IOVA of this device: its memory, if it has a fixed place. */
    piece = cursor->entry - total;
    error = read_piece(tree, memory, piece, &region->physical);
    if (error == 0) {
        region->kind = PIOMMU_FDT_REGION_MEMORY;
        region->iova.first = 0;
        region->iova.last = 0;
        cursor->entry++;
    }
    return error;
}

int piommu_fdt_next_region(struct piommu_fdt *tree, int node, struct piommu_fdt_cursor *cursor,
                           struct piommu_fdt_region *region)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;
    const struct piommu_fdt_property *property;
    struct piommu_fdt_cursor at;

    if (number == NO_NODE || cursor == NULL || region == NULL) {
        return -PIOMMU_EINVAL;
    }
    property = piommu_fdt_find_(tree, number, MEMORY_REGION);
    if (property == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (property->bytes == 0 || property->bytes % CELL != 0 ||
        property->bytes / CELL > MAX_REGIONS) {
        return piommu_fdt_bad(tree, number, MEMORY_REGION);
    }
    at = *cursor;
    while (at.region < property->bytes / CELL) {
        struct piommu_fdt_region found;
        uint32_t memory;
        int error = find_region(tree, number, property, at.region, &memory);

        if (error != 0) {
            return error;
        }
        error = tree->nodes[memory].enabled ? next_of_region(tree, number, memory, &at, &found)
                                            : -PIOMMU_ENOENT;
        if (error == 0) {
            found.node = tree->nodes[memory].offset;
            *region = found;
            *cursor = at;
        }
        if (error != -PIOMMU_ENOENT) {
            return error;
        }
        at.region++;
        at.entry = 0;
        at.named = false;
    }
    return -PIOMMU_ENOENT;
}
