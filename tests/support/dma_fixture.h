/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_FIXTURE_H
#define DMA_FIXTURE_H

/**
 * @file dma_fixture.h
 * A DMA space over a model of an IOMMU on the fake OS, with devices that do DMA through the model.
 *
 * The test's memory is painted with a canary that occurs in no data. dma_sweep lets every device
 * read and write all that it can reach, and all that it ever could: it must see nothing but what is
 * mapped for it now, and change nothing else. The fixture sweeps after each call that it makes.
 */

#include <piommu/piommu.h>

#include "ipmmu_fixture.h"
#include "viommu_fixture.h"

#define DMA_PAGE   0x1000ull
#define DMA_CANARY 0xc7u

enum {
    DMA_MEMORY_PAGES = 128, /**< pages of the test's own memory, physically contiguous */
    DMA_MAX_DEVICES = 3,
    DMA_MAX_GRANTS = 1024,
    DMA_MAX_SEEN = 8192,
    DMA_FIRST_ID = 3, /**< of the first device; the others follow */
};

/** On what a space can be; a sum of them is a set. */
enum dma_kind {
    DMA_IPMMU = 1,    /**< exclusive page tables, of 32 bits, which cannot express write-only */
    DMA_DISJOINT = 2, /**< disjoint page tables */
    DMA_VIRTIO = 4,   /**< a backend that is told each mapping, and can express write-only */
    DMA_LAZY = DMA_DISJOINT | DMA_VIRTIO, /**< where a space may be lazy */
    DMA_TABLES = DMA_IPMMU | DMA_DISJOINT,
    DMA_ALL = DMA_IPMMU | DMA_DISJOINT | DMA_VIRTIO,
};

/** A test on several kinds, one after the other; see DMA_TEST. */
struct dma_test {
    unsigned int kinds;
    void (*body)(enum dma_kind kind);
};

/** What runs such a test; says which kind it is at. */
void dma_run(void **state);

/** The same as an entry of cmocka's list of tests, within a function. */
#define DMA_TEST(kinds, body)                                         \
    {                                                                 \
#body, dma_run, NULL, NULL, &(struct dma_test){kinds, body }, \
    }

/** How to build one. Zero is a default for everything. */
struct dma_options {
    struct piommu_dma_space_config space;   /**< but for the domain */
    struct piommu_dma_device_config device; /**< of each device */
    bool untrusted;                         /**< each device is */
    size_t devices;                         /**< how many; default 1 */
    struct piommu_range msi_window;
    const struct piommu_reserved_region *regions; /**< of the first device */
    size_t region_count;
    bool scattered; /**< as in fake_os_options */
    uint64_t first; /**< the lowest address, where that can be chosen: DMA_VIRTIO */
    bool wide;      /**< addresses of 64 bits, where that can be; default: 48 */
};

/** Something that devices may reach. */
struct dma_grant {
    unsigned int handle; /**< 0: is free */
    bool parked;         /**< it was unmapped lazily */
    uint64_t address;    /**< the bytes that the sweep must not overwrite */
    uint64_t size;
    uint64_t physical; /**< memory that may be reached */
    uint64_t physical_size;
    bool read;
    bool write;
};

/** Read what you like; change only what says so. */
struct dma_fixture {
    enum dma_kind kind;
    struct dma_options options;
    struct fake_os *os;
    struct ipmmu_fixture *ipmmu;
    struct viommu_fixture *viommu;
    struct piommu_domain *domain;
    struct piommu_domain_info info; /**< before there are devices in it */
    struct piommu_dma_space *space;
    struct piommu_device *devices[DMA_MAX_DEVICES];
    struct piommu_dma_device *dma[DMA_MAX_DEVICES];
    uint64_t memory;                 /**< where the test's own memory is */
    uint8_t *bytes;                  /**< for the CPU */
    uint8_t *may;                    /**< what devices may do with each byte of it */
    bool *is_data;                   /**< each byte of it that is no canary any more */
    bool has_data[DMA_MEMORY_PAGES]; /**< each page with such bytes */
    struct dma_grant grants[DMA_MAX_GRANTS];
    unsigned int last_handle;
    uint64_t seen[DMA_MAX_SEEN]; /**< pages that could be reached at some time */
    size_t seen_count;
};

/** A mapping made by the functions below. */
struct dma_mapping {
    uint64_t offset; /**< in the test's memory */
    uint64_t size;
    enum piommu_dma_direction direction;
    uint64_t address;
    unsigned int handle;
};

/** Host, hardware, a domain and attached devices; no space yet. */
struct dma_fixture *dma_open_bare(enum dma_kind kind, const struct dma_options *options);
/** Creates a space as the options say; nothing must be mapped yet. */
int dma_try_space(struct dma_fixture *fixture);
/** All of it, which must succeed. NULL: defaults. */
struct dma_fixture *dma_open(enum dma_kind kind, const struct dma_options *options);
/** Everything was unmapped: takes all down, which must succeed, and looks whether all came back. */
void dma_close(struct dma_fixture *fixture);

/** The numbers that data is made of: none of them is a canary, or a pattern of the fake OS. */
uint8_t dma_pattern(uint64_t seed, uint64_t index);
/** The CPU writes a pattern into the test's memory. */
void dma_fill(struct dma_fixture *fixture, uint64_t offset, uint64_t size, uint64_t seed);
/** The CPU sees this pattern there; it begins with its member `from`. */
void dma_assert_filled(struct dma_fixture *fixture, uint64_t offset, uint64_t size, uint64_t seed,
                       uint64_t from);
/** The device writes a pattern, or sees it. All bytes must arrive. */
void dma_device_fill(struct dma_fixture *fixture, size_t device, uint64_t address, uint64_t size,
                     uint64_t seed);
void dma_device_assert_filled(struct dma_fixture *fixture, size_t device, uint64_t address,
                              uint64_t size, uint64_t seed, uint64_t from);
/** Where an access of the device to a byte leads; false: nowhere. Without side effects. */
bool dma_translate(struct dma_fixture *fixture, size_t device, uint64_t address, bool write,
                   uint64_t *physical);
bool dma_reaches(struct dma_fixture *fixture, size_t device, uint64_t address, bool write);
/** DMA. Returns how many bytes arrived. */
size_t dma_read(struct dma_fixture *fixture, size_t device, uint64_t address, void *buffer,
                size_t size);
size_t dma_write(struct dma_fixture *fixture, size_t device, uint64_t address, const void *buffer,
                 size_t size);

/** The device may reach this from now on. Returns a handle. */
unsigned int dma_grant(struct dma_fixture *fixture, uint64_t address, uint64_t size,
                       uint64_t physical, uint64_t physical_size,
                       enum piommu_dma_direction direction);
/** One more part of the same grant. */
void dma_grant_more(struct dma_fixture *fixture, unsigned int handle, uint64_t address,
                    uint64_t size, uint64_t physical, uint64_t physical_size,
                    enum piommu_dma_direction direction);
/** It may not any more; or in a lazy space, need not. */
void dma_revoke(struct dma_fixture *fixture, unsigned int handle);
/** What was unmapped lazily must not be reached any more. */
void dma_settle(struct dma_fixture *fixture);
/** See above. */
void dma_sweep(struct dma_fixture *fixture);
/** How many pages the model has mapped. */
size_t dma_mapped_pages(struct dma_fixture *fixture);

/** Maps a part of the test's memory for the first device. */
int dma_try_map(struct dma_fixture *fixture, uint64_t offset, uint64_t size,
                enum piommu_dma_direction direction, struct dma_mapping *mapping);
/** The same, and must succeed. */
struct dma_mapping dma_map(struct dma_fixture *fixture, uint64_t offset, uint64_t size,
                           enum piommu_dma_direction direction);
/** Unmaps it; must succeed. */
void dma_unmap(struct dma_fixture *fixture, const struct dma_mapping *mapping);

struct piommu_dma_statistics dma_statistics(struct dma_fixture *fixture);
/** An IOMMU stops to obey; it obeys again. */
void dma_break_unit(struct dma_fixture *fixture);
void dma_heal_unit(struct dma_fixture *fixture);

#endif
