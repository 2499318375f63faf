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

/* The two ways in which trees write an entry of iommu-addresses. */
enum address_layout {
    UNDECIDED,
    CELLS_OF_BUS,    /* as in reg of the device that is named: what systems read */
    CELLS_OF_REGION, /* as in reg of the region: the example of the binding */
};

/* Reads the entry of iommu-addresses at a cell and moves on behind it; false: it is malformed. */
static bool read_address(struct piommu_fdt *tree, uint32_t memory, uint32_t layout, uint32_t *at,
                         uint32_t *device, struct piommu_range *iova)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, memory, IOMMU_ADDRESSES);
    uint32_t left = property->bytes / CELL - *at - 1; /* behind the phandle */
    const fdt32_t *cells = &property->cells[*at + 1];
    uint32_t address_cells;
    uint32_t size_cells;

    *device = piommu_fdt_by_phandle_(tree, fdt32_ld(&property->cells[*at]));
    if (*device == NO_NODE || *device == ROOT ||
        piommu_fdt_bus_(tree, tree->nodes[layout == CELLS_OF_BUS ? *device : memory].parent,
                        &address_cells, &size_cells) != 0 ||
        address_cells == 0 || size_cells == 0 || left < address_cells + size_cells) {
        return false;
    }
    *at += 1 + address_cells + size_cells;
    return piommu_fdt_range_(piommu_fdt_number(cells, address_cells),
                             piommu_fdt_number(cells + address_cells, size_cells), address_cells,
                             iova);
}

static bool fits(struct piommu_fdt *tree, uint32_t memory, enum address_layout layout)
{
    uint32_t total = piommu_fdt_find_(tree, memory, IOMMU_ADDRESSES)->bytes / CELL;
    uint32_t at = 0;
    uint32_t device;
    struct piommu_range iova;

    for (uint32_t count = 0; at < total; count++) {
        if (count == MAX_IOMMU_ADDRESSES ||
            !read_address(tree, memory, layout, &at, &device, &iova)) {
            return false;
        }
    }
    return true;
}

/* Decides in which way the entries of a region are written: the first that fits all of them. */
static int decide_layout(struct piommu_fdt *tree, uint32_t memory, uint32_t *layout)
{
    uint32_t bytes = piommu_fdt_find_(tree, memory, IOMMU_ADDRESSES)->bytes;

    if (bytes == 0 || bytes % CELL != 0) {
        return piommu_fdt_bad(tree, memory, IOMMU_ADDRESSES);
    }
    for (*layout = CELLS_OF_BUS; *layout <= CELLS_OF_REGION; *layout += 1) {
        if (fits(tree, memory, *layout)) {
            return 0;
        }
    }
    return piommu_fdt_bad(tree, memory, IOMMU_ADDRESSES);
}

/*
 * Finds the next entry of a region's iommu-addresses that is for the device, from the cursor on;
 * -PIOMMU_ENOENT: there are no more.
 */
static int find_address(struct piommu_fdt *tree, uint32_t node, uint32_t memory,
                        struct piommu_fdt_cursor *cursor, struct piommu_fdt_region *region)
{
    uint32_t total = piommu_fdt_find_(tree, memory, IOMMU_ADDRESSES)->bytes / CELL;

    if (cursor->layout == UNDECIDED) {
        int error = decide_layout(tree, memory, &cursor->layout);

        if (error != 0) {
            return error;
        }
    }
    while (cursor->entry < total) {
        uint32_t device;

        if (!read_address(tree, memory, cursor->layout, &cursor->entry, &device, &region->iova)) {
            return piommu_fdt_bad(tree, memory, IOMMU_ADDRESSES);
        }
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
        at.layout = UNDECIDED;
    }
    return -PIOMMU_ENOENT;
}
