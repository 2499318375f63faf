/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_FREERTOS_H
#define PIOMMU_FREERTOS_H

/**
 * @file piommu_freertos.h
 * A port of piommu to FreeRTOS V10 and V11. What the kernel has, the port takes from it: heap,
 * critical sections, ticks, delays. What it does not have is the board's, and told in a struct
 * piommu_freertos_board: memory that hardware reads, caches, a clock that runs on by itself.
 *
 * Rules for who calls the library:
 *  - From tasks, after the scheduler was started; but piommu_instance_interrupt, and whatever else
 *    says "neither allocates nor waits", from interrupts too.
 *  - An interrupt that does so has a priority from which the kernel may be called (at or below
 *    configMAX_SYSCALL_INTERRUPT_PRIORITY, on cores that have it): a critical section keeps out
 *    those alone.
 *  - Tasks call one at a time, under a mutex, piommu_instance_service too: a task that has to wait
 *    for a call in another one yields, which does not let a task of lower priority run. A mutex
 *    does, by priority inheritance.
 *  - Not in a critical section, and not while the scheduler is suspended: the heap and the waits
 *    are the kernel's, and it forbids both there.
 */

#include <piommu/os.h>

#include <FreeRTOS.h>
#include <task.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Whether the caller is in an interrupt. The kernel's ports for Cortex-M have a function for it.
 * Those for Cortex-A and Cortex-R count nested interrupts in a variable, others have nothing: on
 * them FreeRTOSConfig.h defines this, as a question to that variable for instance, or as 0 where
 * the library is called from tasks alone.
 */
#ifndef PIOMMU_FREERTOS_IN_INTERRUPT
#define PIOMMU_FREERTOS_IN_INTERRUPT() (xPortIsInsideInterrupt() != pdFALSE)
#endif

/** Pools give memory in pieces of this size, and so aligned. */
#define PIOMMU_FREERTOS_GRANULE 4096u

/**
 * Memory that hardware reads, static and contiguous. Both addresses are multiples of the granule;
 * the pool has whole granules. Searching it takes a time in proportion to its size, with interrupts
 * masked.
 */
struct piommu_freertos_pool {
    unsigned char *memory; /**< where the CPU finds it; NULL: there is no such pool */
    uint64_t physical;     /**< where the hardware finds it */
    size_t granules;       /**< how much there is */
    unsigned char *taken;  /**< as many bytes, 0 at first: the port's notes */
};

/** What the kernel cannot tell. Callbacks are called in any context, and never block. */
struct piommu_freertos_board {
    /** Page tables and buffers: ordinary memory. */
    struct piommu_freertos_pool cached;
    /**
     * Rings, and coherent buffers of devices that do not snoop: memory that the MPU or MMU keeps
     * out of the caches, and not as device memory. On a board whose devices snoop it may be the
     * same memory as `cached`, with the same notes.
     */
    struct piommu_freertos_pool uncached;
    void *cookie; /**< handed to each callback */
    /**
     * A counter in nanoseconds that runs on whatever the kernel does. NULL: ticks of the kernel,
     * which stand still while interrupts are masked or the scheduler is suspended.
     */
    uint64_t (*nanoseconds)(void *cookie);
    /** piommu_os::cache_clean; NULL: the IOMMU snoops when it walks tables. */
    void (*cache_clean)(void *cookie, const void *address, size_t size);
    /** piommu_os::cache_invalidate; NULL: nobody needs it. */
    void (*cache_invalidate)(void *cookie, const void *address, size_t size);
    /** A full barrier, for devices and walkers. NULL: that of the Arm architecture, or C's own. */
    void (*barrier)(void *cookie);
    /** Registers. NULL, both: they are memory of the CPU at their physical addresses. */
    uint32_t (*register_read)(void *cookie, uintptr_t address, unsigned int width);
    void (*register_write)(void *cookie, uintptr_t address, unsigned int width, uint32_t value);
    /** piommu_os::pci_config_read, pci_config_write and pci_bar. NULL, all: there is no PCI. */
    uint32_t (*pci_read)(void *cookie, struct piommu_pci_function function, unsigned int offset,
                         unsigned int width);
    void (*pci_write)(void *cookie, struct piommu_pci_function function, unsigned int offset,
                      unsigned int width, uint32_t value);
    int (*pci_bar)(void *cookie, struct piommu_pci_function function, unsigned int number,
                   struct piommu_pci_bar *bar);
    /** piommu_os::log; NULL: nobody reads it. */
    void (*log)(void *cookie, enum piommu_log_level level, const char *line);
};

/** A port. It must stay as long as any object of the library that was made with it. */
struct piommu_freertos {
    /**
     * The callbacks. What a board has beyond those here (memory_at) can be added after
     * piommu_freertos_init; ctx is the port then, and port->board.cookie the board's own.
     */
    struct piommu_os os;
    struct piommu_freertos_board board; /**< as told to piommu_freertos_init */

    /** @name Private */
    /** @{ */
    uint64_t ticks; /**< the tick count in more bits, as of the last look */
    /** @} */
};

/**
 * Makes a port.
 *
 * @return 0; -PIOMMU_EINVAL: a pool is not on the granule, or there is none for page tables, or of
 *         the callbacks for registers or for PCI some are there without the others.
 *
 * Context: task, or before the scheduler is started.
 */
int piommu_freertos_init(struct piommu_freertos *port, const struct piommu_freertos_board *board);

/** The shim, for the library's constructors. */
struct piommu_host piommu_freertos_host(struct piommu_freertos *port);

#ifdef __cplusplus
}
#endif

#endif
