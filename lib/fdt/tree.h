/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_FDT_TREE_H
#define PIOMMU_LIB_FDT_TREE_H

/*
 * The index of a device tree: nodes in the order of the blob, so parents before children, and the
 * properties of interest of each. Inside of the reader a node is its number in the index.
 */

#include <piommu/error.h>
#include <piommu/fdt.h>

#include <libfdt.h>

#define CELL 4u /* bytes */

#define MAX_DEPTH           64u
#define MAX_NODES           65536u
#define MAX_PROPERTY_NAME   255u
#define MAX_CELLS           4u /* what #address-cells and #size-cells may say */
#define MAX_RANGES          128u
#define MAX_TRANSLATIONS    8u /* buses between a device and the root whose addresses differ */
#define MAX_REGISTERS       64u
#define MAX_WINDOWS         64u
#define MAX_IDS             256u
#define MAX_INTERRUPTS      256u
#define MAX_REGIONS         32u
#define MAX_IOMMU_ADDRESSES 64u

#define ROOT    0u
#define NO_NODE UINT32_MAX

/* The properties of interest; their names are in tree.c, in this order. */
enum property_kind {
    ADDRESS_CELLS,
    COMPATIBLE,
    DEVICE_TYPE,
    DMA_COHERENT,
    DMA_NONCOHERENT,
    DMA_RANGES,
    INTERRUPT_CELLS,
    INTERRUPT_PARENT,
    INTERRUPTS,
    INTERRUPTS_EXTENDED,
    IOMMU_ADDRESSES,
    IOMMU_CELLS,
    IOMMU_MAIN,
    IOMMU_MAP,
    IOMMU_MAP_MASK,
    IOMMUS,
    LINUX_PHANDLE,
    MEMORY_REGION,
    PHANDLE,
    RANGES,
    REG,
    SIZE_CELLS,
    STATUS,
    PROPERTY_KINDS,
};

struct piommu_fdt_property {
    const fdt32_t *cells;
    uint32_t bytes;
    enum property_kind kind;
};

struct piommu_fdt_node {
    int offset;
    uint32_t parent; /* NO_NODE: it is the root */
    uint32_t phandle;
    uint32_t first_property;
    uint32_t kinds; /* bit n: it has a property of kind n */
    uint8_t depth;
    uint8_t property_count;
    bool enabled;     /* it and its parents */
    bool has_subnode; /* so no property may follow */
};

struct piommu_fdt_phandle {
    uint32_t phandle;
    uint32_t node;
};

/* Notes what is wrong. PROPERTY_KINDS stands for the node as a whole. */
void piommu_fdt_blame_(struct piommu_fdt *tree, uint32_t node, enum property_kind kind);

/* The same as an error to return; a compiler sees that it is one. */
static inline int piommu_fdt_bad(struct piommu_fdt *tree, uint32_t node, enum property_kind kind)
{
    piommu_fdt_blame_(tree, node, kind);
    return -PIOMMU_EBADMSG;
}

/* The number of the node at an offset that a caller has named; NO_NODE: there is none. */
uint32_t piommu_fdt_at_(const struct piommu_fdt *tree, int offset);
/* The number behind that node, or 0 if the offset is -1: where an iteration goes on. Or NO_NODE. */
uint32_t piommu_fdt_behind_(const struct piommu_fdt *tree, int offset);

/* The number of the node that a phandle names, or NO_NODE. */
uint32_t piommu_fdt_by_phandle_(const struct piommu_fdt *tree, uint32_t phandle);

/* A property, or NULL. */
const struct piommu_fdt_property *piommu_fdt_find_(const struct piommu_fdt *tree, uint32_t node,
                                                   enum property_kind kind);

/* Reads a property of exactly one cell; -PIOMMU_ENOENT if it is not there. */
int piommu_fdt_cell_(struct piommu_fdt *tree, uint32_t node, enum property_kind kind,
                     uint32_t *value);

/* True if a property begins with this string. */
bool piommu_fdt_is_(const struct piommu_fdt *tree, uint32_t node, enum property_kind kind,
                    const char *wanted);

bool piommu_fdt_same_(const char *text, const char *wanted);

/* #address-cells and #size-cells of a bus, at most MAX_CELLS each. */
int piommu_fdt_bus_(struct piommu_fdt *tree, uint32_t bus, uint32_t *address_cells,
                    uint32_t *size_cells);

/* A range from an address and a size; false if it is empty or does not fit `cells` cells. */
bool piommu_fdt_range_(uint64_t address, uint64_t size, uint32_t cells, struct piommu_range *range);

/* An entry of reg as it is written, in addresses of the parent. Errors as piommu_fdt_register. */
int piommu_fdt_read_reg_(struct piommu_fdt *tree, uint32_t node, unsigned int index,
                         struct piommu_range *range);

/* #iommu-cells of a node that is named as an IOMMU; checks that it is none that is behind one. */
int piommu_fdt_id_cells_(struct piommu_fdt *tree, uint32_t iommu, uint32_t *id_cells);

static inline bool piommu_fdt_has(const struct piommu_fdt *tree, uint32_t node,
                                  enum property_kind kind)
{
    return (tree->nodes[node].kinds >> kind & 1u) != 0;
}

static inline bool piommu_fdt_is_pci(const struct piommu_fdt *tree, uint32_t node)
{
    return piommu_fdt_is_(tree, node, DEVICE_TYPE, "pci");
}

/* The last two of some cells as a number, which is what they are on all buses; PCI has three. */
static inline uint64_t piommu_fdt_number(const fdt32_t *cells, uint32_t count)
{
    uint64_t high = count >= 2 ? fdt32_ld(&cells[count - 2]) : 0;
    uint64_t low = count >= 1 ? fdt32_ld(&cells[count - 1]) : 0;

    return high << 32 | low;
}

#endif
