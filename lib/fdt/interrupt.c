/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "tree.h"

/* #interrupt-cells of a controller or nexus. */
static int read_cell_count(struct piommu_fdt *tree, uint32_t parent, uint32_t *count)
{
    uint32_t cells = 0;

    if (piommu_fdt_cell_(tree, parent, INTERRUPT_CELLS, &cells) != 0 || cells == 0 ||
        cells > PIOMMU_FDT_MAX_INTERRUPT_CELLS) {
        return piommu_fdt_bad(tree, parent, INTERRUPT_CELLS);
    }
    *count = cells;
    return 0;
}

/*
 * The interrupt parent: the node that interrupt-parent names, or the parent; and so on from there,
 * until one can take interrupts. Each step could lead anywhere, also back.
 */
static int find_parent(struct piommu_fdt *tree, uint32_t node, uint32_t *parent)
{
    uint32_t at = node;

    for (unsigned int step = 0; step <= MAX_DEPTH; step++) {
        uint32_t phandle;
        int error = piommu_fdt_cell_(tree, at, INTERRUPT_PARENT, &phandle);
        uint32_t next = tree->nodes[at].parent;

        if (error == -PIOMMU_EBADMSG) {
            return error;
        }
        if (error == 0) {
            next = piommu_fdt_by_phandle_(tree, phandle);
        }
        if (next == NO_NODE) {
            return piommu_fdt_bad(tree, error == 0 ? at : node, INTERRUPT_PARENT);
        }
        if (piommu_fdt_has(tree, next, INTERRUPT_CELLS)) {
            *parent = next;
            return 0;
        }
        at = next;
    }
    return piommu_fdt_bad(tree, node, INTERRUPT_PARENT);
}

static void fill(const struct piommu_fdt *tree, uint32_t parent, const fdt32_t *cells,
                 uint32_t count, struct piommu_fdt_interrupt *interrupt)
{
    interrupt->parent = tree->nodes[parent].offset;
    interrupt->cell_count = count;
    for (uint32_t i = 0; i < count; i++) {
        interrupt->cells[i] = fdt32_ld(&cells[i]);
    }
}

static int read_extended(struct piommu_fdt *tree, uint32_t node, unsigned int index,
                         struct piommu_fdt_interrupt *interrupt)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, INTERRUPTS_EXTENDED);
    uint32_t total = property->bytes / CELL;
    uint32_t at = 0;

    if (property->bytes == 0 || property->bytes % CELL != 0) {
        return piommu_fdt_bad(tree, node, INTERRUPTS_EXTENDED);
    }
    for (unsigned int i = 0; at < total; i++) {
        uint32_t parent = piommu_fdt_by_phandle_(tree, fdt32_ld(&property->cells[at]));
        uint32_t count;
        int error;

        if (parent == NO_NODE || i == MAX_INTERRUPTS) {
            return piommu_fdt_bad(tree, node, INTERRUPTS_EXTENDED);
        }
        error = read_cell_count(tree, parent, &count);
        if (error != 0) {
            return error;
        }
        at++;
        if (total - at < count) {
            return piommu_fdt_bad(tree, node, INTERRUPTS_EXTENDED);
        }
        if (i == index) {
            fill(tree, parent, &property->cells[at], count, interrupt);
            return 0;
        }
        at += count;
    }
    return -PIOMMU_ENOENT;
}

int piommu_fdt_interrupt(struct piommu_fdt *tree, int node, unsigned int index,
                         struct piommu_fdt_interrupt *interrupt)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;
    const struct piommu_fdt_property *property;
    uint32_t parent;
    uint32_t count;
    int error;

    if (number == NO_NODE || interrupt == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (piommu_fdt_has(tree, number, INTERRUPTS_EXTENDED)) {
        return read_extended(tree, number, index, interrupt);
    }
    property = piommu_fdt_find_(tree, number, INTERRUPTS);
    if (property == NULL) {
        return -PIOMMU_ENOENT;
    }
    error = find_parent(tree, number, &parent);
    if (error == 0) {
        error = read_cell_count(tree, parent, &count);
    }
    if (error != 0) {
        return error;
    }
    if (property->bytes == 0 || property->bytes % (count * CELL) != 0 ||
        property->bytes / (count * CELL) > MAX_INTERRUPTS) {
        return piommu_fdt_bad(tree, number, INTERRUPTS);
    }
    if (index >= property->bytes / (count * CELL)) {
        return -PIOMMU_ENOENT;
    }
    fill(tree, parent, &property->cells[index * count], count, interrupt);
    return 0;
}
