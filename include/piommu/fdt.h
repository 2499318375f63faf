/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_FDT_H
#define PIOMMU_FDT_H

/**
 * @file fdt.h
 * What a device tree blob says of IOMMUs: which there are, and which IDs a device has.
 * A separate archive, which needs libfdt; the rest of the library does not.
 *
 * The blob is taken for hostile: it is checked as a whole first, and each property when it is read.
 * Nothing is allocated and nothing is kept, so that nodes may stand in any order and be asked for
 * in any order.
 *
 * Concurrency: calls with different `struct piommu_fdt` run in parallel, also on one blob.
 *
 * Source: Devicetree Specification 0.4, sections 2.3 (standard properties) and 5 (flattened
 * format); bindings "iommu" (#iommu-cells, iommus), "pci-iommu" (iommu-map, iommu-map-mask) and
 * "virtio,pci-iommu" of the Devicetree bindings collection; IEEE 1275 PCI bus binding, section
 * 2.2.1 (reg).
 */

#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A blob that was checked. Lives in memory of the caller. */
struct piommu_fdt {
    /** The blob. Private. */
    const void *blob;
    /**
     * After -PIOMMU_EBADMSG: the offset of the node that is wrong, or negative if it is the blob
     * itself.
     */
    int bad_node;
    /** After -PIOMMU_EBADMSG: the name of the property that is wrong, or NULL. */
    const char *bad_property;
};

/** The most cells of an IOMMU specifier that are understood. */
#define PIOMMU_FDT_MAX_ID_CELLS 4u

/** An IOMMU. */
struct piommu_fdt_iommu {
    int node;          /**< offset of its node */
    uint32_t phandle;  /**< by which other nodes name it; 0: nobody can */
    uint32_t id_cells; /**< cells of a specifier: #iommu-cells */
    bool is_pci;       /**< it is a PCI function, and the two members below are set */
    int host_bridge;   /**< offset of the node of its PCI host bridge */
    uint16_t pci_bdf;  /**< bus in bits 15:8, device in 7:3, function in 2:0 */
};

/** By which ID on which IOMMU a device does DMA. */
struct piommu_fdt_id {
    uint32_t iommu;                          /**< phandle of the IOMMU */
    uint32_t cell_count;                     /**< its #iommu-cells */
    uint32_t cells[PIOMMU_FDT_MAX_ID_CELLS]; /**< the specifier; cells[0] usually is the ID */
};

/**
 * Checks a blob as a whole.
 *
 * @param tree set on success.
 * @param blob aligned to 8 bytes; must stay as it is while the tree is used.
 * @param size of the memory in which it lies; the blob may be smaller.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: it is not a sound device tree.
 */
int piommu_fdt_open(struct piommu_fdt *tree, const void *blob, size_t size);

/**
 * Finds the next IOMMU of some kind that is not disabled.
 *
 * @param compatible strings, ended by NULL; usually the member of that name of a struct
 *                   piommu_backend.
 * @param previous   the node where the last call ended (its iommu->node), or -1 to begin.
 * @param iommu      set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: the node's
 *         properties are malformed; iommu->node is set then too, so that the caller can go on
 *         behind it.
 */
int piommu_fdt_next_iommu(struct piommu_fdt *tree, const char *const *compatible, int previous,
                          struct piommu_fdt_iommu *iommu);

/**
 * Translates the requester ID of a PCI function by its host bridge's `iommu-map` and
 * `iommu-map-mask`.
 *
 * @param host_bridge offset of the host bridge's node.
 * @param rid         the requester ID: bus in bits 15:8, device in 7:3, function in 2:0.
 * @param id          set on success.
 * @return 0; -PIOMMU_ENOENT: the function is behind no IOMMU (there is no map, or it has a hole
 *         there); -PIOMMU_EINVAL; -PIOMMU_EBADMSG.
 */
int piommu_fdt_pci_id(struct piommu_fdt *tree, int host_bridge, uint16_t rid,
                      struct piommu_fdt_id *id);

/**
 * Reads the IDs of a platform device from its `iommus` property.
 *
 * @param node  offset of the device's node.
 * @param index 0, 1, ...
 * @param id    set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more (index 0: the device is behind no IOMMU);
 *         -PIOMMU_EINVAL; -PIOMMU_EBADMSG.
 */
int piommu_fdt_device_id(struct piommu_fdt *tree, int node, unsigned int index,
                         struct piommu_fdt_id *id);

#ifdef __cplusplus
}
#endif

#endif
