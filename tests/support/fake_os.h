/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FAKE_OS_H
#define FAKE_OS_H

/**
 * @file fake_os.h
 * The strict host under every test. It ends the test when the library breaks the
 * contract of os.h: a callback with a lock held or where the test has forbidden it, a nested lock,
 * memory freed twice or with another size, an allocation that leaks, a register access outside what
 * was mapped, a log line that is too long. Memory is filled with a pattern when it is given out and
 * when it is taken back.
 *
 * Time is virtual: every look at the clock takes a microsecond, every wait ten.
 */

#include <piommu/os.h>

#include <stddef.h>
#include <stdint.h>

/** Where the simulated physical memory begins by default, and how much there is. */
#define FAKE_OS_MEMORY_BASE 0x80000000ull
#define FAKE_OS_MEMORY_SIZE 0x08000000ull
#define FAKE_OS_PAGE_SIZE   4096u
#define FAKE_OS_CACHE_LINE  64u

/** Callbacks that a test can forbid for a while. */
enum fake_os_forbidden {
    FAKE_OS_FORBID_ALLOCATION = 1, /**< alloc, dma_alloc, lock_create */
    FAKE_OS_FORBID_FREE = 2,       /**< free, dma_free */
    FAKE_OS_FORBID_WAIT = 4,       /**< wait */
    FAKE_OS_FORBID_MMIO = 8,       /**< register accesses */
};

/** How a fake OS behaves. */
struct fake_os_options {
    /**
     * Virtual addresses of DMA memory have nothing to do with physical ones; dma_virtual is
     * offered.
     */
    bool scattered;
    /**
     * What the CPU has written is seen by fake_os_device_read64 only after a clean and a barrier.
     */
    bool non_coherent;
    /**
     * The same for memory for rings, in both directions: the CPU sees what a device has written
     * there only after it has invalidated the line. To invalidate a line that the CPU has written
     * and not cleaned ends the test.
     */
    bool non_coherent_rings;
    /**
     * The same for PIOMMU_DMA_BUFFER and for the test's own data. What is uncached is seen at once.
     */
    bool non_coherent_buffers;
    /** A wait is over at its deadline, or when the device has interrupted, and no sooner. */
    bool sleeps;
    /**
     * Several threads use it: time goes on for all when one looks at the clock or waits, so a
     * deadline may have passed when a wait begins.
     */
    bool threads;
    /** Seed for the order in which cleaned lines become visible. */
    uint32_t seed;
    /** Where the physical memory begins, a multiple of 2 MiB; 0: FAKE_OS_MEMORY_BASE. */
    uint64_t memory_base;
};

/** Counters since creation. */
struct fake_os_counters {
    uint64_t allocations; /**< alloc */
    uint64_t dma_allocations;
    uint64_t dma_frees;
    uint64_t fallible_calls; /**< calls that fake_os_fail_call counts */
    uint64_t barriers;
    uint64_t cleaned_lines;
    uint64_t invalidated_lines;
    /** Rings: cleaned over what a device has written there; see fake_os_device_stopped. */
    uint64_t overwritten_lines;
    uint64_t waits;
    uint64_t log_lines;
    uint64_t dma_limit; /**< the highest address that was asked for last, for DMA memory */
};

/** A device behind PCI and MMIO: its BAR is 16 KiB of registers. Set members before use. */
struct fake_os_device {
    void *ctx;
    uint32_t (*config_read)(void *ctx, unsigned int offset, unsigned int width);
    void (*config_write)(void *ctx, unsigned int offset, unsigned int width, uint32_t value);
    uint64_t (*bar_address)(void *ctx, unsigned int number);
    uint64_t (*bar_size)(void *ctx, unsigned int number);
    uint32_t (*mmio_read)(void *ctx, uint64_t offset, unsigned int width);
    void (*mmio_write)(void *ctx, uint64_t offset, unsigned int width, uint32_t value);
    /** Called in each wait: the device may make progress. May be NULL. */
    void (*progress)(void *ctx);
    /** Whether it has interrupted since it was asked last. Called in waits that sleep. */
    bool (*interrupted)(void *ctx);
    uint16_t bdf;
    unsigned int bar;
};

/** Registers that are reached by physical address, wherever they are mapped. */
struct fake_os_bus {
    void *ctx;
    uint32_t (*read)(void *ctx, uint64_t physical, unsigned int width);
    void (*write)(void *ctx, uint64_t physical, unsigned int width, uint32_t value);
    /** Called in each wait. May be NULL. */
    void (*progress)(void *ctx);
    /** As that of a device. */
    bool (*interrupted)(void *ctx);
};

struct fake_os;

/** Makes a fake OS; never NULL. */
struct fake_os *fake_os_create(const struct fake_os_options *options);
/** Ends the test if anything was not given back; then frees all. */
void fake_os_destroy(struct fake_os *os);
/** Frees all, also what was not given back: for tests where memory is lost on purpose. */
void fake_os_destroy_with_leaks(struct fake_os *os);
/** The shim. */
struct piommu_host fake_os_host(struct fake_os *os);
/** A copy of the table of callbacks that the test may change; fake_os_host hands it out. */
struct piommu_os *fake_os_callbacks(struct fake_os *os);
/** Connects a device. */
void fake_os_connect(struct fake_os *os, const struct fake_os_device *device);
/** Connects registers instead: all MMIO goes there, and there is no PCI function. */
void fake_os_connect_bus(struct fake_os *os, const struct fake_os_bus *bus);

/** Forbids a sum of enum fake_os_forbidden, from now on; 0 allows everything. */
void fake_os_forbid(struct fake_os *os, unsigned int what);
/**
 * Makes the nth fallible call from now fail (1: the next), and all after it if `forever`. 0: none.
 */
void fake_os_fail_call(struct fake_os *os, uint64_t nth, bool forever);
/** The number of the CPU that runs all callers, from now on; offered from the first call on. */
void fake_os_set_cpu(struct fake_os *os, unsigned int number);
/**
 * Gives no more than so many bytes of memory for buffers of devices in one piece, from now on; 0:
 * any number. To join pieces is offered or not.
 */
void fake_os_limit_pieces(struct fake_os *os, uint64_t bytes, bool can_join);
/** Called before DMA memory is taken back: for checks that nothing can reach it. */
void fake_os_on_dma_free(struct fake_os *os,
                         void (*callback)(void *ctx, uint64_t physical, uint64_t size), void *ctx);

/** Called by each wait of the library: for what others do meanwhile. */
void fake_os_on_wait(struct fake_os *os, void (*callback)(void *ctx), void *ctx);

/** Bytes that the library holds: objects, and DMA memory. */
uint64_t fake_os_bytes_outstanding(struct fake_os *os);
void fake_os_get_counters(struct fake_os *os, struct fake_os_counters *counters);
/** The last line that was logged, or "". */
const char *fake_os_last_log(struct fake_os *os);
uint64_t fake_os_time(struct fake_os *os);
/** Lets the clock go on. */
void fake_os_pass(struct fake_os *os, uint64_t nanoseconds);
/** From now on to look at the clock takes no time; waits still do. */
void fake_os_freeze_clock(struct fake_os *os);

/** Memory for the test's own data: pages of simulated physical memory, freed with the fake OS. */
uint64_t fake_os_test_pages(struct fake_os *os, size_t count);
/** The CPU's address of physical memory that is in use; NULL if it is not. */
void *fake_os_pointer(struct fake_os *os, uint64_t physical, uint64_t size);
/** Caches write back what was not cleaned, as they may at any time. */
void fake_os_evict(struct fake_os *os);
/** True if the range lies in one piece of DMA memory that the library holds. */
bool fake_os_is_dma_memory(struct fake_os *os, uint64_t physical, uint64_t size);
/**
 * What a walker sees: a little-endian descriptor as a number of the host. False: no memory there.
 */
bool fake_os_device_read64(void *os, uint64_t physical, uint64_t *value);
/** What a device does through the bus, without a look into caches; false: no memory there. */
bool fake_os_device_read(void *os, uint64_t physical, void *buffer, size_t size);
bool fake_os_device_write(void *os, uint64_t physical, const void *buffer, size_t size);
/** The device is done with all memory: what it has written may be overwritten unseen. */
void fake_os_device_stopped(struct fake_os *os);

#endif
