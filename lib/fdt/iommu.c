/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "tree.h"

/* The bits of a main unit's status register. */
#define MAIN_BITS 32u

int piommu_fdt_id_cells_(struct piommu_fdt *tree, uint32_t iommu, uint32_t *id_cells)
{
    uint32_t cells = 0;

    if (piommu_fdt_cell_(tree, iommu, IOMMU_CELLS, &cells) != 0 ||
        cells > PIOMMU_FDT_MAX_ID_CELLS) {
        return piommu_fdt_bad(tree, iommu, IOMMU_CELLS);
    }
    /* One step is enough to rule out every circle. */
    if (piommu_fdt_has(tree, iommu, IOMMUS) || piommu_fdt_has(tree, iommu, IOMMU_MAP)) {
        return piommu_fdt_bad(tree, iommu,
                              piommu_fdt_has(tree, iommu, IOMMUS) ? IOMMUS : IOMMU_MAP);
    }
    *id_cells = cells;
    return 0;
}

/* Which string of a node's list, from its beginning, is one of those asked for; or NULL. */
static const char *find_compatible(const struct piommu_fdt *tree, uint32_t node,
                                   const char *const *compatible)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, COMPATIBLE);
    const char *text;
    uint32_t begin = 0;

    if (property == NULL) {
        return NULL;
    }
    text = (const char *)property->cells;
    for (uint32_t i = 0; i < property->bytes; i++) {
        if (text[i] != '\0') {
            continue;
        }
        for (const char *const *one = compatible; *one != NULL; one++) {
            if (piommu_fdt_same_(&text[begin], *one)) {
                return *one;
            }
        }
        begin = i + 1;
    }
    return NULL;
}

/* Finds out where a PCI function's node stands: below which host bridge, and at which address. */
static int read_pci_place(struct piommu_fdt *tree, uint32_t node, struct piommu_fdt_iommu *iommu)
{
    const struct piommu_fdt_property *reg = piommu_fdt_find_(tree, node, REG);
    uint32_t bridge = tree->nodes[node].parent;

    iommu->is_pci = bridge != NO_NODE && piommu_fdt_is_pci(tree, bridge);
    iommu->host_bridge = -1;
    iommu->pci_bdf = 0;
    if (!iommu->is_pci) {
        return 0;
    }
    /* An address on the PCI bus has three cells, its size two. */
    if (reg == NULL || reg->bytes < 5 * CELL) {
        return piommu_fdt_bad(tree, node, REG);
    }
    /* Bridges below the host bridge are PCI functions of their own. */
    while (tree->nodes[bridge].parent != NO_NODE &&
           piommu_fdt_is_pci(tree, tree->nodes[bridge].parent)) {
        bridge = tree->nodes[bridge].parent;
    }
    iommu->host_bridge = tree->nodes[bridge].offset;
    iommu->pci_bdf = (uint16_t)(fdt32_ld(reg->cells) >> 8);
    return 0;
}

/* The main unit, given with or without a bit of its status register. */
static int read_main(struct piommu_fdt *tree, uint32_t node, struct piommu_fdt_iommu *iommu)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, IOMMU_MAIN);
    uint32_t unused;
    uint32_t unit;

    iommu->main_node = -1;
    iommu->has_main_bit = false;
    iommu->main_bit = 0;
    if (property == NULL) {
        return 0;
    }
    if (property->bytes != CELL && property->bytes != 2 * CELL) {
        return piommu_fdt_bad(tree, node, IOMMU_MAIN);
    }
    unit = piommu_fdt_by_phandle_(tree, fdt32_ld(&property->cells[0]));
    if (unit == NO_NODE || unit == node || !tree->nodes[unit].enabled ||
        !piommu_fdt_has(tree, unit, IOMMU_CELLS) || piommu_fdt_has(tree, unit, IOMMU_MAIN)) {
        return piommu_fdt_bad(tree, node, IOMMU_MAIN);
    }
    if (piommu_fdt_id_cells_(tree, unit, &unused) != 0) {
        return -PIOMMU_EBADMSG;
    }
    if (property->bytes == 2 * CELL) {
        iommu->main_bit = fdt32_ld(&property->cells[1]);
        if (iommu->main_bit >= MAIN_BITS) {
            return piommu_fdt_bad(tree, node, IOMMU_MAIN);
        }
        iommu->has_main_bit = true;
    }
    iommu->main_node = tree->nodes[unit].offset;
    return 0;
}

static int count_registers(struct piommu_fdt *tree, int node, uint32_t *count)
{
    struct piommu_range range;
    int error = 0;

    for (*count = 0; error == 0; *count += error == 0) {
        error = piommu_fdt_register(tree, node, *count, &range);
    }
    return error == -PIOMMU_ENOENT ? 0 : error;
}

static int count_interrupts(struct piommu_fdt *tree, int node, uint32_t *count)
{
    struct piommu_fdt_interrupt interrupt;
    int error = 0;

    for (*count = 0; error == 0; *count += error == 0) {
        error = piommu_fdt_interrupt(tree, node, *count, &interrupt);
    }
    return error == -PIOMMU_ENOENT ? 0 : error;
}

static int read_iommu(struct piommu_fdt *tree, uint32_t node, struct piommu_fdt_iommu *iommu)
{
    int error = piommu_fdt_id_cells_(tree, node, &iommu->id_cells);

    if (error == 0) {
        error = read_pci_place(tree, node, iommu);
    }
    if (error == 0) {
        error = read_main(tree, node, iommu);
    }
    if (error == 0) {
        error = count_registers(tree, iommu->node, &iommu->register_count);
    }
    if (error == 0) {
        error = count_interrupts(tree, iommu->node, &iommu->interrupt_count);
    }
    return error;
}

int piommu_fdt_next_iommu(struct piommu_fdt *tree, const char *const *compatible, int previous,
                          struct piommu_fdt_iommu *iommu)
{
    uint32_t node;

    if (tree == NULL || iommu == NULL) {
        return -PIOMMU_EINVAL;
    }
    node = piommu_fdt_behind_(tree, previous);
    if (node == NO_NODE) {
        return -PIOMMU_EINVAL;
    }
    for (; node < tree->node_count; node++) {
        struct piommu_fdt_iommu found;
        int error;

        found.compatible = compatible != NULL ? find_compatible(tree, node, compatible) : NULL;
        if (!tree->nodes[node].enabled || (compatible != NULL && found.compatible == NULL) ||
            (compatible == NULL && !piommu_fdt_has(tree, node, IOMMU_CELLS))) {
            continue;
        }
        found.node = tree->nodes[node].offset;
        found.phandle = tree->nodes[node].phandle;
        piommu_fdt_coherence(tree, found.node, &found.coherence);
        error = read_iommu(tree, node, &found);
        if (error == 0) {
            *iommu = found;
        } else {
            iommu->node = found.node;
        }
        return error;
    }
    return -PIOMMU_ENOENT;
}
