/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_OS_H
#define PIOMMU_OS_H

/**
 * @file os.h
 * The ops shim: the only way out of the library. A host (hypervisor, kernel, RTOS image)
 * fills in one `const struct piommu_os` and passes it with a pointer of its own to every
 * constructor.
 *
 * For each callback the comment says:
 *  - whether it is required, and what happens when it is NULL;
 *  - in which context it is called: "any" means the context of whoever called the library, which
 *    may have interrupts off; "task" means only from functions that the host must not call in an
 *    interrupt (creation, destruction, adding, attaching: their comments say so);
 *  - which lock of the library is held ("none" or "maybe one lock"); the library never holds more
 *    than one lock at a time, so there is no lock order to keep;
 *  - whether it may block, and what a failure means.
 *
 * No callback may call back into the library.
 */

#include <piommu/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What DMA memory is for; a host may serve each kind from another pool. */
enum piommu_dma_purpose {
    /** A page table: read by the IOMMU's walker. Need not be zeroed. */
    PIOMMU_DMA_TABLE,
    /**
     * Rings and request buffers: read and written by a device. Must be coherent with that device,
     * unless it was opened as non_coherent; on a host whose device does not snoop the caches this
     * means an uncached mapping. Need not be zeroed.
     */
    PIOMMU_DMA_RING,
    /**
     * A buffer of a device, or a bounce page: cached, as memory of the CPU is. Need not be zeroed.
     */
    PIOMMU_DMA_BUFFER,
    /** A coherent buffer of a device that does not snoop: not cached. Need not be zeroed. */
    PIOMMU_DMA_BUFFER_UNCACHED,
};

/** A request for memory that hardware will access by physical address. */
struct piommu_dma_request {
    size_t size;           /**< bytes, never 0 */
    size_t alignment;      /**< a power of two; holds for the physical and the virtual address */
    uint64_t max_physical; /**< the last byte must lie at or below this physical address */
    enum piommu_dma_purpose purpose; /**< what it is for */
    void *owner;                     /**< the host's cookie of the instance or table it is for */
};

/** Kinds of memory barrier; see piommu_os::barrier. */
enum piommu_barrier {
    /**
     * All stores to DMA memory made before (and all cleans) are visible to devices and table
     * walkers before any later store to DMA memory or to a device register. AArch64: `dsb st`.
     */
    PIOMMU_BARRIER_WRITE,
    /** No later load from DMA memory is satisfied before an earlier load. AArch64: `dmb ld`. */
    PIOMMU_BARRIER_READ,
    /** Both, and no later load passes an earlier store. AArch64: `dsb sy`. */
    PIOMMU_BARRIER_FULL,
};

/** How important a log line is. */
enum piommu_log_level {
    PIOMMU_LOG_ERROR,   /**< something failed, and the host should know */
    PIOMMU_LOG_WARNING, /**< something is odd but handled */
    PIOMMU_LOG_INFO,    /**< what was found and started */
};

/** A PCI function, as the host's configuration space accessors know it. */
struct piommu_pci_function {
    uint16_t segment; /**< PCI segment group; 0 where there is only one host bridge */
    uint16_t bdf;     /**< bus in bits 15:8, device in 7:3, function in 2:0 */
};

/** Where the host has put a PCI base address register. */
struct piommu_pci_bar {
    uint64_t physical; /**< address on the CPU's side of the host bridge */
    uint64_t size;     /**< bytes; 0 if the register is not implemented or was not assigned */
};

/**
 * The table of callbacks. Set `size` to sizeof(struct piommu_os); members that a later version of
 * the library appends are then taken as NULL. Everything must stay valid as long as any object of
 * the library lives.
 */
struct piommu_os {
    /** sizeof(struct piommu_os) in the host's translation unit. */
    size_t size;

    /**
     * Gives memory for the library's own objects. Required. Context: task, or where a function's
     * comment says that it allocates. Locks: none. May block where the caller may. The memory need
     * not be zeroed and must be aligned for any object of C. Failure: NULL; the call in progress
     * fails with -PIOMMU_ENOMEM and leaves everything as it was.
     */
    void *(*alloc)(void *ctx, size_t size);

    /**
     * Takes memory from alloc back, with the size that was asked for. Required. Context: as alloc,
     * and sync. Locks: none. Must not fail.
     */
    void (*free)(void *ctx, void *memory, size_t size);

    /**
     * Gives memory that hardware will access. Required. Context: any that maps (map allocates
     * tables). Locks: none. May block where the caller may. On success the virtual address is
     * returned and *physical is set. Failure: NULL; the call in progress fails with -PIOMMU_ENOMEM
     * and leaves everything as it was.
     */
    void *(*dma_alloc)(void *ctx, const struct piommu_dma_request *request, uint64_t *physical);

    /**
     * Takes memory from dma_alloc back: the same virtual address and size. Required. Called only
     * when no hardware can reach the memory any more. Context: any that unmaps or syncs. Locks:
     * none. Must not fail.
     */
    void (*dma_free)(void *ctx, void *memory, size_t size);

    /**
     * The virtual address of a physical address inside memory from dma_alloc. Optional: when NULL,
     * virtual minus physical address must be the same for all table memory of one owner (a linear
     * map), and an allocation that breaks this is refused with -PIOMMU_EINVAL. A linear map is
     * faster. Context: any. Locks: none. Must neither block nor fail.
     */
    void *(*dma_virtual)(void *ctx, uint64_t physical);

    /**
     * Writes the caches' content of a range of DMA memory back, to where a walker that does not
     * snoop sees it. Required for page tables created with coherent_walk false and for virtio
     * devices that are opened as non_coherent, else unused. It need not wait: PIOMMU_BARRIER_WRITE
     * follows. Context: any. Locks: none, or one for virtio. Must neither block nor fail.
     */
    void (*cache_clean)(void *ctx, const void *address, size_t size);

    /**
     * Orders memory accesses. Required. Context: any. Locks: maybe one. Must neither block nor
     * fail.
     */
    void (*barrier)(void *ctx, enum piommu_barrier kind);

    /**
     * Makes an MMIO region accessible. Required by backends that have registers. Context: task.
     * Locks: none. May block. Returns 0 and sets *base, a value that the register accessors below
     * take plus an offset; or a negative PIOMMU_E* that the call in progress returns.
     */
    int (*mmio_map)(void *ctx, uint64_t physical, uint64_t size, uintptr_t *base);

    /** Undoes mmio_map. Required with it. Context: task. Locks: none. Must not fail. */
    void (*mmio_unmap)(void *ctx, uintptr_t base, uint64_t size);

    /**
     * Reads a register of 1, 2 or 4 bytes, naturally aligned. Registers are little-endian; the
     * value is returned as a number of the host. Required with mmio_map. Context: any. Locks: maybe
     * one. Must neither block nor fail (a device that is gone reads as all ones).
     */
    uint32_t (*mmio_read)(void *ctx, uintptr_t address, unsigned int width);

    /** Writes a register; as mmio_read. */
    void (*mmio_write)(void *ctx, uintptr_t address, unsigned int width, uint32_t value);

    /**
     * Reads PCI configuration space: 1, 2 or 4 bytes, naturally aligned, offset 0 to 255. Required
     * by virtio-pci. Context: task. Locks: none. An absent function reads as all ones.
     */
    uint32_t (*pci_config_read)(void *ctx, struct piommu_pci_function function, unsigned int offset,
                                unsigned int width);

    /** Writes PCI configuration space; as pci_config_read. */
    void (*pci_config_write)(void *ctx, struct piommu_pci_function function, unsigned int offset,
                             unsigned int width, uint32_t value);

    /**
     * Tells where the host has put BAR number 0 to 5 of a function. Assigning addresses is the
     * host's job, done before the library is given the function. Required by virtio-pci. Context:
     * task. Locks: none. Returns 0, or a negative PIOMMU_E* that the call in progress returns.
     */
    int (*pci_bar)(void *ctx, struct piommu_pci_function function, unsigned int number,
                   struct piommu_pci_bar *bar);

    /**
     * Makes a lock: a spin lock that also keeps the CPU's interrupts off while it is held, where
     * library functions are called from interrupts. Required. Context: task. Locks: none. May
     * block. Failure: NULL; the call in progress fails with -PIOMMU_ENOMEM.
     */
    void *(*lock_create)(void *ctx);

    /** Destroys a lock that nobody holds. Required. Context: task. Locks: none. Must not fail. */
    void (*lock_destroy)(void *ctx, void *lock);

    /**
     * Takes a lock. Required. Context: any. Locks: none (they do not nest). The library holds a
     * lock for a bounded number of instructions and never while it waits for hardware. Returns a
     * value that unlock gets back (the interrupt state, usually).
     */
    unsigned long (*lock)(void *ctx, void *lock);

    /** Releases a lock. Required. Context: any. Locks: the one being released. */
    void (*unlock)(void *ctx, void *lock, unsigned long state);

    /**
     * A clock in nanoseconds that never goes back; where it starts does not matter. It must advance
     * while interrupts are off. Required. Context: any. Locks: none. Must neither block nor fail.
     *
     * Example: a 62.5 MHz counter ticks every 16 ns, so a port returns counter * 16.
     */
    uint64_t (*now)(void *ctx);

    /**
     * Called again and again while the library waits for hardware, with no lock held. Optional:
     * when NULL the library polls without a pause. Context: any. A port whose calling context can
     * sleep may yield, or sleep until an interrupt of the hardware or until the clock reaches
     * `deadline`; one whose calling context cannot sleep returns after a CPU's pause instruction.
     * It may return early as often as it likes. Must not fail.
     */
    void (*wait)(void *ctx, uint64_t deadline);

    /**
     * Takes a finished line of text for the host's log: no newline, at most 159 characters.
     * Optional. Context: any. Locks: none. Must neither block nor fail.
     */
    void (*log)(void *ctx, enum piommu_log_level level, const char *line);

    /**
     * Drops the caches' content of a range of DMA memory, so that what a device has written there
     * is read next. The range has been cleaned since the CPU wrote there. Required for virtio
     * devices that are opened as non_coherent, else unused. It completes before it returns.
     * Context: any. Locks: maybe one. Must neither block nor fail.
     */
    void (*cache_invalidate)(void *ctx, const void *address, size_t size);

    /**
     * The number of the CPU that runs the caller, from 0. Optional; it only makes things faster:
     * the caller may have gone to another CPU when it is used. Context: any. Locks: none. Must
     * neither block nor fail.
     */
    unsigned int (*cpu)(void *ctx);

    /**
     * The address at which the CPU finds memory of a caller of dma.h, as it uses it himself: `size`
     * bytes, all in one granule or physically contiguous. Required for bounce pages and for DMA
     * devices that do not snoop, else unused. The address is used only until the call in progress
     * returns, and only to copy and for cache_clean and cache_invalidate, which must work there.
     * Context: any. Locks: none. Must neither block nor fail.
     */
    void *(*memory_at)(void *ctx, uint64_t physical, uint64_t size);

    /**
     * Makes pieces of memory from dma_alloc contiguous for the CPU, in the order given: with the
     * attributes that the purpose asks for. Optional: when NULL, coherent buffers of dma.h are had
     * in one piece only. Context: any that allocates. Locks: none. Returns NULL if it cannot be
     * done.
     */
    void *(*dma_join)(void *ctx, const struct piommu_segment *pieces, size_t count,
                      enum piommu_dma_purpose purpose);

    /** Undoes dma_join; the pieces are given to dma_free after it. Required with it. */
    void (*dma_split)(void *ctx, void *memory, uint64_t size);
};

/** A shim and the pointer that its callbacks get. Passed by value. */
struct piommu_host {
    const struct piommu_os *os; /**< the callbacks */
    void *ctx;                  /**< handed to each of them, never looked at */
};

/** Groups of callbacks that parts of the library need; see piommu_os_check. */
enum piommu_os_need {
    PIOMMU_OS_NEED_BASE = 0,        /**< what every part needs: memory, barrier */
    PIOMMU_OS_NEED_CLEAN = 1,       /**< cache_clean */
    PIOMMU_OS_NEED_LOCK = 2,        /**< locks and the clock */
    PIOMMU_OS_NEED_MMIO = 4,        /**< MMIO regions and registers */
    PIOMMU_OS_NEED_PCI = 8,         /**< PCI configuration space and BARs */
    PIOMMU_OS_NEED_INVALIDATE = 16, /**< cache_invalidate */
};

/**
 * Checks that a shim has all that is needed. Constructors do this themselves, and log the name; a
 * port may call it early to see the name of what it forgot.
 *
 * @param host    the shim.
 * @param needs   a sum of enum piommu_os_need.
 * @param missing set to the name of the first callback that is missing, or to NULL if none is. May
 *                be NULL.
 * @return 0; -PIOMMU_EINVAL if host.os is NULL, its size is impossible, or a callback is missing.
 *
 * May be called at any time.
 */
int piommu_os_check(struct piommu_host host, unsigned int needs, const char **missing);

#ifdef __cplusplus
}
#endif

#endif
