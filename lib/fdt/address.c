/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Addresses: reg and what ranges make of it; dma-ranges. */

#include "tree.h"

/* What a bus has if it does not say. */
#define DEFAULT_ADDRESS_CELLS 2u
#define DEFAULT_SIZE_CELLS    1u

/* The cells of an address on a PCI bus, and the kind of space in the first of them. */
#define PCI_ADDRESS_CELLS 3u
#define PCI_SPACE(cell)   ((cell) >> 24 & 3u)
#define PCI_SPACE_MEMORY  2u
#define NUMBER_CELLS      2u /* more are no number of 64 bits */
#define IS_NUMBER(cells)  ((cells) >= 1 && (cells) <= NUMBER_CELLS)

static int read_cells(struct piommu_fdt *tree, uint32_t bus, enum property_kind kind,
                      uint32_t otherwise, uint32_t *cells)
{
    uint32_t value = otherwise;

    if (piommu_fdt_cell_(tree, bus, kind, &value) == -PIOMMU_EBADMSG) {
        return -PIOMMU_EBADMSG;
    }
    if (value > MAX_CELLS) {
        return piommu_fdt_bad(tree, bus, kind);
    }
    *cells = value;
    return 0;
}

int piommu_fdt_bus_(struct piommu_fdt *tree, uint32_t bus, uint32_t *address_cells,
                    uint32_t *size_cells)
{
    int error = read_cells(tree, bus, ADDRESS_CELLS, DEFAULT_ADDRESS_CELLS, address_cells);

    return error != 0 ? error : read_cells(tree, bus, SIZE_CELLS, DEFAULT_SIZE_CELLS, size_cells);
}

bool piommu_fdt_range_(uint64_t address, uint64_t size, uint32_t cells, struct piommu_range *range)
{
    uint64_t top = cells == 1 ? UINT32_MAX : UINT64_MAX;

    if (size == 0 || address > top || size - 1 > top - address) {
        return false;
    }
    range->first = address;
    range->last = address + (size - 1);
    return true;
}

int piommu_fdt_read_reg_(struct piommu_fdt *tree, uint32_t node, unsigned int index,
                         struct piommu_range *range)
{
    const struct piommu_fdt_property *reg = piommu_fdt_find_(tree, node, REG);
    uint32_t bus = tree->nodes[node].parent;
    uint32_t address_cells;
    uint32_t size_cells;
    uint32_t entry;
    const fdt32_t *cells;
    int error;

    if (reg == NULL || bus == NO_NODE || piommu_fdt_is_pci(tree, bus)) {
        return -PIOMMU_ENOENT;
    }
    error = piommu_fdt_bus_(tree, bus, &address_cells, &size_cells);
    if (error != 0) {
        return error;
    }
    if (size_cells == 0) {
        return -PIOMMU_ENOENT; /* a number on a bus that is not mapped to memory */
    }
    if (!IS_NUMBER(address_cells)) {
        return piommu_fdt_bad(tree, bus, ADDRESS_CELLS);
    }
    if (!IS_NUMBER(size_cells)) {
        return piommu_fdt_bad(tree, bus, SIZE_CELLS);
    }
    entry = address_cells + size_cells;
    if (reg->bytes == 0 || reg->bytes % (entry * CELL) != 0 ||
        reg->bytes / (entry * CELL) > MAX_REGISTERS) {
        return piommu_fdt_bad(tree, node, REG);
    }
    if (index >= reg->bytes / (entry * CELL)) {
        return -PIOMMU_ENOENT;
    }
    cells = &reg->cells[index * entry];
    if (!piommu_fdt_range_(piommu_fdt_number(cells, address_cells),
                           piommu_fdt_number(cells + address_cells, size_cells), address_cells,
                           range)) {
        return piommu_fdt_bad(tree, node, REG);
    }
    return 0;
}

/* How the entries of `ranges` and `dma-ranges` are built. */
struct layout {
    uint32_t child;  /* cells of an address on the bus */
    uint32_t parent; /* cells of an address on its parent */
    uint32_t size;
    uint32_t entry; /* cells of all three */
    uint32_t count; /* entries */
};

static int read_layout(struct piommu_fdt *tree, uint32_t bus,
                       const struct piommu_fdt_property *ranges, uint32_t most,
                       struct layout *layout)
{
    uint32_t parent = tree->nodes[bus].parent;
    uint32_t unused;
    int error = piommu_fdt_bus_(tree, bus, &layout->child, &layout->size);

    if (error == 0) {
        error = piommu_fdt_bus_(tree, parent, &layout->parent, &unused);
    }
    if (error != 0) {
        return error;
    }
    if (!IS_NUMBER(layout->child) &&
        !(layout->child == PCI_ADDRESS_CELLS && piommu_fdt_is_pci(tree, bus))) {
        return piommu_fdt_bad(tree, bus, ADDRESS_CELLS);
    }
    if (!IS_NUMBER(layout->parent) &&
        !(layout->parent == PCI_ADDRESS_CELLS && piommu_fdt_is_pci(tree, parent))) {
        return piommu_fdt_bad(tree, parent, ADDRESS_CELLS);
    }
    if (!IS_NUMBER(layout->size)) {
        return piommu_fdt_bad(tree, bus, SIZE_CELLS);
    }
    layout->entry = layout->child + layout->parent + layout->size;
    layout->count = ranges->bytes / (layout->entry * CELL);
    if (ranges->bytes % (layout->entry * CELL) != 0 || layout->count > most) {
        return piommu_fdt_bad(tree, bus, ranges->kind);
    }
    return 0;
}

/* Reads both sides of an entry. */
static int read_entry(struct piommu_fdt *tree, uint32_t bus,
                      const struct piommu_fdt_property *ranges, const struct layout *layout,
                      uint32_t index, struct piommu_range *child, struct piommu_range *parent)
{
    const fdt32_t *cells = &ranges->cells[index * layout->entry];
    uint64_t size = piommu_fdt_number(cells + layout->child + layout->parent, layout->size);

    if (!piommu_fdt_range_(piommu_fdt_number(cells, layout->child), size, layout->child, child) ||
        !piommu_fdt_range_(piommu_fdt_number(cells + layout->child, layout->parent), size,
                           layout->parent, parent)) {
        return piommu_fdt_bad(tree, bus, ranges->kind);
    }
    return 0;
}

/*
 * Takes a range from a bus to its parent, and counts that if the addresses differ. -PIOMMU_ENOENT:
 * the parent is PCI, where an address says nothing about the CPU's.
 */
static int translate(struct piommu_fdt *tree, uint32_t bus, struct piommu_range *range,
                     unsigned int *translations)
{
    const struct piommu_fdt_property *ranges = piommu_fdt_find_(tree, bus, RANGES);
    struct layout layout;
    int error;

    if (piommu_fdt_is_pci(tree, tree->nodes[bus].parent)) {
        return -PIOMMU_ENOENT;
    }
    if (ranges == NULL) {
        return piommu_fdt_bad(tree, bus, RANGES);
    }
    if (ranges->bytes == 0) {
        return 0; /* the same addresses on both sides */
    }
    if (++*translations > MAX_TRANSLATIONS) {
        return piommu_fdt_bad(tree, bus, RANGES);
    }
    error = read_layout(tree, bus, ranges, MAX_RANGES, &layout);
    for (uint32_t i = 0; error == 0 && i < layout.count; i++) {
        struct piommu_range child;
        struct piommu_range parent;

        error = read_entry(tree, bus, ranges, &layout, i, &child, &parent);
        if (error == 0 && child.first <= range->first && range->last <= child.last) {
            uint64_t size = range->last - range->first;

            range->first = parent.first + (range->first - child.first);
            range->last = range->first + size;
            return 0;
        }
    }
    return error != 0 ? error : piommu_fdt_bad(tree, bus, RANGES);
}

int piommu_fdt_register(struct piommu_fdt *tree, int node, unsigned int index,
                        struct piommu_range *range)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;
    unsigned int translations = 0;
    struct piommu_range found;
    int error;

    if (number == NO_NODE || range == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_fdt_read_reg_(tree, number, index, &found);
    while (error == 0) {
        number = tree->nodes[number].parent;
        if (number == ROOT) {
            *range = found;
            break;
        }
        error = translate(tree, number, &found, &translations);
    }
    return error;
}

/*
 * The bus with the nearest dma-ranges that says something, above a device or at a host bridge; or
 * NO_NODE. The root is no bus of another.
 */
static uint32_t find_limiting_bus(const struct piommu_fdt *tree, uint32_t node)
{
    uint32_t bus = piommu_fdt_has(tree, node, IOMMU_MAP) ? node : tree->nodes[node].parent;

    for (; bus != NO_NODE && bus != ROOT; bus = tree->nodes[bus].parent) {
        const struct piommu_fdt_property *ranges = piommu_fdt_find_(tree, bus, DMA_RANGES);

        if (ranges != NULL && ranges->bytes != 0) {
            return bus;
        }
    }
    return NO_NODE;
}

int piommu_fdt_dma_window(struct piommu_fdt *tree, int node, unsigned int index,
                          struct piommu_range *window)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;
    const struct piommu_fdt_property *ranges;
    struct layout layout;
    uint32_t windows = 0;
    uint32_t bus;
    int error;

    if (number == NO_NODE || window == NULL) {
        return -PIOMMU_EINVAL;
    }
    bus = find_limiting_bus(tree, number);
    if (bus == NO_NODE) {
        return -PIOMMU_ENOENT;
    }
    ranges = piommu_fdt_find_(tree, bus, DMA_RANGES);
    error = read_layout(tree, bus, ranges, MAX_WINDOWS, &layout);
    for (uint32_t i = 0; error == 0 && i < layout.count; i++) {
        uint32_t first = fdt32_ld(&ranges->cells[i * layout.entry]);
        struct piommu_range child;
        struct piommu_range parent;

        if (layout.child == PCI_ADDRESS_CELLS && PCI_SPACE(first) < PCI_SPACE_MEMORY) {
            continue;
        }
        error = read_entry(tree, bus, ranges, &layout, i, &child, &parent);
        if (error == 0 && windows++ == index) {
            *window = child;
            return 0;
        }
    }
    if (error == 0 && windows == 0) {
        error = piommu_fdt_bad(tree, bus, DMA_RANGES); /* it can reach nothing at all */
    }
    return error != 0 ? error : -PIOMMU_ENOENT;
}
