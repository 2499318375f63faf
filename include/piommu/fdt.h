/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_FDT_H
#define PIOMMU_FDT_H

/**
 * @file fdt.h
 * What a device tree blob says of IOMMUs: which there are, where their registers are, which devices
 * (masters) are behind them with which IDs, and what those devices can and must reach.
 * A separate archive, which needs libfdt; the rest of the library does not.
 *
 * The blob is taken for hostile. piommu_fdt_open checks it as a whole, walks it once and keeps an
 * index of the nodes and of the properties that matter here; everything else is answered from the
 * index, so nodes may stand in any order. Each property is checked when it is read. No call takes
 * longer than the size of the blob times a constant, whatever is in it; the limits below see to
 * that, and no real tree comes near them.
 *
 * A node is named by the offset that libfdt's functions take, so that a caller can go on with them.
 *
 * Errors. -PIOMMU_EBADMSG is the tree's fault: bad_path and bad_property of the struct piommu_fdt
 * say where, and the results are untouched (piommu_fdt_next_iommu and piommu_fdt_next_master: all
 * but the node). These two look at everything that the tree says of an IOMMU or a master before
 * they tell of it, so that what they have told of can be registered without a surprise midway.
 * -PIOMMU_EINVAL is the caller's fault: NULL, or a number that is not the offset of a node.
 *
 * Concurrency: calls with different `struct piommu_fdt` run in parallel, also on one blob. Calls
 * with the same one do not: they write bad_path.
 * Context: any, but for piommu_fdt_open and piommu_fdt_close, which call alloc and free of the
 * shim.
 *
 * Limits: what goes beyond them counts as malformed. Depth of the tree 64, nodes 65536, name of a
 * property 255 characters, cells of an address or a size 4 (2 where the number matters), entries of
 * a `ranges` 128, of a `dma-ranges` or a `reg` 64, of an `iommus` or an `interrupts` 256, of a
 * `memory-region` 32, of an `iommu-addresses` 64, of a reserved region's `reg` 4, buses between a
 * device and the root whose `ranges` are not empty 8, and the constants below.
 *
 * Source: Devicetree Specification 0.4, chapter 2.3 (standard properties), 2.4 (interrupts), 3.5
 * (reserved memory) and 5 (flattened format); bindings "iommu" (`#iommu-cells`, iommus),
 * "pci-iommu" (iommu-map, iommu-map-mask), "virtio,pci-iommu", "renesas,ipmmu" (renesas,ipmmu-main)
 * and "reserved-memory" (memory-region, iommu-addresses) of the Devicetree bindings collection;
 * IEEE 1275 PCI bus binding, section 2.2.1 (reg).
 */

#include <piommu/os.h>
#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most cells of an IOMMU specifier that are understood. */
#define PIOMMU_FDT_MAX_ID_CELLS 4u
/** The most cells of an interrupt specifier that are understood. */
#define PIOMMU_FDT_MAX_INTERRUPT_CELLS 4u
/** Bytes of bad_path. */
#define PIOMMU_FDT_PATH_SIZE 256u

struct piommu_fdt_node;
struct piommu_fdt_property;
struct piommu_fdt_phandle;

/** A blob that was checked, and its index. Lives in memory of the caller. */
struct piommu_fdt {
    /**
     * After -PIOMMU_EBADMSG: the offset of the node that is wrong, or negative if it is the blob
     * itself.
     */
    int bad_node;
    /** After -PIOMMU_EBADMSG: the name of the property that is wrong, or NULL. A constant. */
    const char *bad_property;
    /**
     * After -PIOMMU_EBADMSG: the path of bad_node, as from piommu_fdt_path, or "" if it is the blob
     * itself. Stays after piommu_fdt_close.
     */
    char bad_path[PIOMMU_FDT_PATH_SIZE];

    /** @name Private */
    /** @{ */
    const void *blob;                       /**< the blob */
    struct piommu_host host;                /**< where the memory is from */
    struct piommu_fdt_node *nodes;          /**< in the order of their offsets */
    struct piommu_fdt_property *properties; /**< in the order of their offsets */
    struct piommu_fdt_phandle *phandles;    /**< in the order of their values */
    uint32_t node_count;                    /**< used of nodes */
    uint32_t node_capacity;                 /**< elements of nodes */
    uint32_t property_count;                /**< used of properties */
    uint32_t property_capacity;             /**< elements of properties */
    uint32_t phandle_count;                 /**< elements of phandles */
    /** @} */
};

/**
 * Checks a blob as a whole and makes the index. Blobs of version 17 and later are read.
 *
 * @param tree set in any case. To be closed after success.
 * @param host memory; of its callbacks only alloc and free are used, and need be there. About 60
 *             bytes for each node are held until piommu_fdt_close, twice that while this runs.
 * @param blob aligned to 8 bytes; must stay as it is while the tree is used.
 * @param size of the memory in which it lies; the blob may be smaller.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOMEM; -PIOMMU_EBADMSG: it is not a sound device tree: cut,
 *         malformed, beyond a limit, a phandle is malformed or means two nodes, a property that
 *         matters is there twice or behind a subnode. Nothing is held after an error.
 *
 * Context: task, and wherever alloc and free may be called.
 */
int piommu_fdt_open(struct piommu_fdt *tree, struct piommu_host host, const void *blob,
                    size_t size);

/**
 * Gives the memory of the index back; bad_path stays. NULL, and a tree that could not be opened,
 * are ignored.
 *
 * Context: task, and wherever free may be called.
 */
void piommu_fdt_close(struct piommu_fdt *tree);

/**
 * Writes the path of a node, for messages. What is not printable becomes a question mark. A path
 * that is too long loses its beginning, in whose place there are three dots.
 *
 * @param text set to the path, with a zero at the end.
 * @param size of text in bytes, at least 8.
 * @return 0; -PIOMMU_EINVAL.
 */
int piommu_fdt_path(const struct piommu_fdt *tree, int node, char *text, size_t size);

/** Whether a device's DMA snoops the caches of the CPUs. */
enum piommu_fdt_coherence {
    PIOMMU_FDT_COHERENCE_DEFAULT, /**< the tree is silent: the architecture's default (Arm: no) */
    PIOMMU_FDT_COHERENT,          /**< `dma-coherent` */
    PIOMMU_FDT_NONCOHERENT,       /**< `dma-noncoherent` */
};

/**
 * Tells whether DMA of a device snoops, by the nearest of `dma-coherent` and `dma-noncoherent` at
 * the device and its parents. (The specification gives the property to devices; trees give it to
 * buses too, and mean all behind them. Where a node has both, it is not coherent.) For an IOMMU it
 * is about its reading of page tables.
 *
 * @param coherence set on success.
 * @return 0; -PIOMMU_EINVAL.
 *
 * Source: Devicetree Specification 0.4, 2.3.10 and 2.3.11.
 */
int piommu_fdt_coherence(const struct piommu_fdt *tree, int node,
                         enum piommu_fdt_coherence *coherence);

/** An IOMMU. */
struct piommu_fdt_iommu {
    int node;                 /**< offset of its node */
    uint32_t phandle;         /**< by which other nodes name it; 0: nobody can */
    uint32_t id_cells;        /**< cells of a specifier: `#iommu-cells` */
    const char *compatible;   /**< which of the strings asked for its node has first; or NULL */
    bool is_pci;              /**< it is a PCI function, and the two members below are set */
    int host_bridge;          /**< offset of the node of its PCI host bridge, or -1 */
    uint16_t pci_bdf;         /**< bus in bits 15:8, device in 7:3, function in 2:0 */
    int main_node;            /**< `renesas,ipmmu-main`: the unit that walks tables for it, or -1 */
    bool has_main_bit;        /**< the property has the second cell */
    uint32_t main_bit;        /**< its bit in the main unit's status register, 0 to 31 */
    uint32_t register_count;  /**< what piommu_fdt_register tells of it */
    uint32_t interrupt_count; /**< what piommu_fdt_interrupt tells of it */
    enum piommu_fdt_coherence coherence; /**< of its table walks */
};

/**
 * Finds the next IOMMU that is not disabled (neither its own `status` nor that of a parent says
 * anything but "okay" or "ok"). All that is told of it, its registers and its interrupts have been
 * looked at when this returns 0.
 *
 * An IOMMU must not have `iommus` or `iommu-map` itself, and a main unit no main unit: there are no
 * cycles. The main unit must not be disabled.
 *
 * @param compatible strings, ended by NULL; usually the member of that name of a struct
 *                   piommu_backend. NULL: every node that has `#iommu-cells`.
 * @param previous   the node where the last call ended (its iommu->node), or -1 to begin.
 * @param iommu      set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: what the tree says
 *         of it is malformed; iommu->node is set then too, so that the caller can go on behind it.
 *
 * Source: binding "iommu"; for PCI functions "virtio,pci-iommu"; for main units "renesas,ipmmu".
 */
int piommu_fdt_next_iommu(struct piommu_fdt *tree, const char *const *compatible, int previous,
                          struct piommu_fdt_iommu *iommu);

/**
 * Tells where a region of registers (an entry of `reg`) is, as the CPU sees it: translated by the
 * `ranges` of all buses up to the root. Also for devices and for reserved memory.
 *
 * @param index 0, 1, ...
 * @param range set on success: physical addresses.
 * @return 0; -PIOMMU_ENOENT: there are no more, or they are not addresses of the CPU's (below a PCI
 *         host bridge, on an I2C bus); -PIOMMU_EINVAL; -PIOMMU_EBADMSG: also where a bus on the way
 *         has no `ranges` or none that covers the region.
 *
 * Source: Devicetree Specification 0.4, 2.3.5 (`#address-cells`, which are not inherited), 2.3.6
 * (reg), 2.3.8 (ranges).
 */
int piommu_fdt_register(struct piommu_fdt *tree, int node, unsigned int index,
                        struct piommu_range *range);

/** An interrupt line. */
struct piommu_fdt_interrupt {
    int parent;          /**< node of the controller, or of the nexus (interrupt-map) before it */
    uint32_t cell_count; /**< its `#interrupt-cells` */
    uint32_t cells[PIOMMU_FDT_MAX_INTERRUPT_CELLS]; /**< the specifier: what it means, the parent's
                                                         binding says */
};

/**
 * Reads an interrupt of a device: `interrupts-extended`, or else `interrupts` with the
 * `interrupt-parent` that is nearest.
 *
 * @param index     0, 1, ...
 * @param interrupt set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: also where the
 *         interrupt parents go round in a circle.
 *
 * Source: Devicetree Specification 0.4, 2.4.
 */
int piommu_fdt_interrupt(struct piommu_fdt *tree, int node, unsigned int index,
                         struct piommu_fdt_interrupt *interrupt);

/** By which ID on which IOMMU a device does DMA. */
struct piommu_fdt_id {
    uint32_t iommu;                          /**< phandle of the IOMMU */
    int node;                                /**< offset of the IOMMU's node */
    bool disabled;                           /**< the IOMMU is, so it does not hold this DMA */
    uint32_t cell_count;                     /**< its `#iommu-cells` */
    uint32_t cells[PIOMMU_FDT_MAX_ID_CELLS]; /**< the specifier; cells[0] usually is the ID */
};

/** A device that does DMA through an IOMMU. */
struct piommu_fdt_master {
    int node;                            /**< offset of its node */
    uint32_t id_count;                   /**< entries of `iommus`: its own IDs */
    uint32_t map_count;                  /**< entries of `iommu-map`: it is a host bridge */
    uint32_t map_mask;                   /**< what of a requester ID counts; all ones: all */
    uint32_t window_count;               /**< what piommu_fdt_dma_window tells of it */
    enum piommu_fdt_coherence coherence; /**< of its DMA */
};

/**
 * Finds the next device that is not disabled (as above) and has `iommus` or `iommu-map`. All its
 * IDs, its windows and its regions have been looked at when this returns 0.
 *
 * @param previous the node where the last call ended (its master->node), or -1 to begin.
 * @param master   set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more; -PIOMMU_EINVAL; -PIOMMU_EBADMSG: what the tree says
 *         of it is malformed; master->node is set then too, so that the caller can go on behind it.
 *         (The device is one that the caller cannot describe to the IOMMU: it had better stay
 *         without DMA.)
 */
int piommu_fdt_next_master(struct piommu_fdt *tree, int previous, struct piommu_fdt_master *master);

/**
 * Reads an ID of a device from its `iommus` property.
 *
 * @param node  offset of the device's node.
 * @param index 0, 1, ...
 * @param id    set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more (index 0: the device is behind no IOMMU);
 *         -PIOMMU_EINVAL; -PIOMMU_EBADMSG.
 *
 * Source: binding "iommu".
 */
int piommu_fdt_device_id(struct piommu_fdt *tree, int node, unsigned int index,
                         struct piommu_fdt_id *id);

/** A range of requester IDs behind a host bridge. */
struct piommu_fdt_map {
    uint32_t first;          /**< the first requester ID, after the mask */
    uint32_t count;          /**< how many requester IDs */
    struct piommu_fdt_id id; /**< what the first becomes; the others follow in cells[0] */
};

/**
 * Reads an entry of a host bridge's `iommu-map`.
 *
 * @param index 0, 1, ...
 * @param map   set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more (index 0: there is no map); -PIOMMU_EINVAL;
 *         -PIOMMU_EBADMSG: also where the IDs go beyond 32 bits, or the IOMMU has other than one
 *         cell for an ID.
 *
 * Source: binding "pci-iommu".
 */
int piommu_fdt_map(struct piommu_fdt *tree, int host_bridge, unsigned int index,
                   struct piommu_fdt_map *map);

/**
 * Translates the requester ID of a PCI function by its host bridge's `iommu-map` and
 * `iommu-map-mask`. Where entries overlap, the first counts.
 *
 * @param host_bridge offset of the host bridge's node.
 * @param rid         the requester ID: bus in bits 15:8, device in 7:3, function in 2:0.
 * @param id          set on success.
 * @return 0; -PIOMMU_ENOENT: the function is behind no IOMMU (there is no map, or it has a hole
 *         there); -PIOMMU_EINVAL; -PIOMMU_EBADMSG.
 *
 * Source: binding "pci-iommu".
 */
int piommu_fdt_pci_id(struct piommu_fdt *tree, int host_bridge, uint16_t rid,
                      struct piommu_fdt_id *id);

/**
 * Tells which addresses a device can put on its bus, where the tree limits them: an entry of the
 * nearest `dma-ranges` that is not empty, at the parents of the device (for a host bridge, whose
 * devices are meant, at itself and its parents). With an IOMMU these are IOVAs: an aperture must
 * lie in the union of the windows. What the buses behind the IOMMU can address is not told.
 *
 * @param index  0, 1, ...; entries for PCI's I/O and configuration space are left out.
 * @param window set on success: addresses on the device's side.
 * @return 0; -PIOMMU_ENOENT: there are no more (index 0: nothing limits them); -PIOMMU_EINVAL;
 *         -PIOMMU_EBADMSG.
 *
 * Source: Devicetree Specification 0.4, 2.3.9.
 */
int piommu_fdt_dma_window(struct piommu_fdt *tree, int node, unsigned int index,
                          struct piommu_range *window);

/** What a reserved region asks for. */
enum piommu_fdt_region_kind {
    /** `iommu-addresses` without memory, or of another size: never to be used as IOVAs. */
    PIOMMU_FDT_REGION_RESERVED,
    /** `iommu-addresses` equal to the memory: IOVA = physical, from before the IOMMU is started. */
    PIOMMU_FDT_REGION_DIRECT,
    /** `iommu-addresses` elsewhere, of the memory's size: IOVA to physical, likewise. */
    PIOMMU_FDT_REGION_MAPPED,
    /** Memory for this device without `iommu-addresses` of it: no IOVA is asked for. */
    PIOMMU_FDT_REGION_MEMORY,
};

/** A region that the tree reserves for a device. */
struct piommu_fdt_region {
    enum piommu_fdt_region_kind kind; /**< what to do with it */
    int node;                         /**< offset of its node, below /reserved-memory */
    struct piommu_range iova;         /**< where for the device; not for MEMORY */
    struct piommu_range physical;     /**< where it lies; not for RESERVED */
};

/** How far piommu_fdt_next_region has come. All zero to begin. The members are private. */
struct piommu_fdt_cursor {
    uint32_t region; /**< phandles of memory-region that are done */
    uint32_t entry;  /**< cells of iommu-addresses, or entries of reg, that are done */
    uint32_t layout; /**< how iommu-addresses is written */
    bool named;      /**< iommu-addresses has named the device */
};

/**
 * Finds the next reserved region of a device: of the children of /reserved-memory that its
 * `memory-region` names, those that are not disabled. A node can give several regions.
 *
 * An address and a size in `iommu-addresses` have as many cells as in the `reg` of the device that
 * is named before them, which is how systems read the binding; or, if the property as a whole makes
 * no sense so, as many as in the `reg` of the region, which is how its example is written.
 *
 * @param cursor all zero for the first; brought forward on success.
 * @param region set on success.
 * @return 0; -PIOMMU_ENOENT: there are no more; -PIOMMU_EINVAL; -PIOMMU_EBADMSG.
 *
 * Source: Devicetree Specification 0.4, 3.5; binding "reserved-memory".
 */
int piommu_fdt_next_region(struct piommu_fdt *tree, int node, struct piommu_fdt_cursor *cursor,
                           struct piommu_fdt_region *region);

#ifdef __cplusplus
}
#endif

#endif
