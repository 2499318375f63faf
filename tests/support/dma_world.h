/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_WORLD_H
#define DMA_WORLD_H

/*
 * Devices in spaces of the DMA API for random calls, and beside them a plain model: what each byte
 * of memory has to be, whose it is, and which page of memory each device may reach at each address.
 * All addresses that the spaces can give out lie in one window, so that every device can try every
 * page of them.
 */

#include "dma_hardware.h"
#include "dma_memory.h"

#include <piommu/dma.h>

#define DMA_WORLD_PAGE ((uint64_t)DMA_MEMORY_PAGE)

enum {
    DMA_WORLD_SPACES = 2,
    DMA_WORLD_DEVICES = 4, /* two in each space */
    DMA_WORLD_MAPPINGS = 14,
    DMA_WORLD_WINDOW = 40, /* pages of addresses */
    DMA_WORLD_PAGES = 72,  /* of memory for buffers */
    DMA_WORLD_POOL = 80,   /* of memory that the library asks for */
    DMA_WORLD_LIST = 6,    /* buffers of a list */
    DMA_WORLD_SEGMENTS = 64,
    DMA_WORLD_CPUS = 2,
    DMA_WORLD_NUMBERS = 10 /* of its configuration */
};

/* Who may touch a byte. */
enum dma_world_owner {
    DMA_WORLD_CPU,     /* the CPU, and the device knows what is there or does not care */
    DMA_WORLD_WRITTEN, /* the CPU, and the device has not been told what is there */
    DMA_WORLD_DEVICE,
};

enum dma_world_kind {
    DMA_WORLD_NONE,
    DMA_WORLD_SINGLE,
    DMA_WORLD_SG,
    DMA_WORLD_RESOURCE,
    DMA_WORLD_BUFFER, /* of piommu_dma_alloc */
    DMA_WORLD_RANGE,  /* of piommu_dma_reserve; each buffer of its list is a segment */
};

/* Bytes that are adjacent for the device and in memory. */
struct dma_world_run {
    uint64_t physical;
    uint64_t address;
    uint64_t size;
};

struct dma_world_mapping {
    enum dma_world_kind kind;
    unsigned int device;
    enum piommu_dma_direction direction;
    uint64_t first_page; /* of the memory that it has for itself */
    uint64_t pages;
    struct piommu_segment list[DMA_WORLD_LIST];
    size_t count;
    struct piommu_dma_segment segments[DMA_WORLD_SEGMENTS];
    size_t segment_count;
    struct dma_world_run runs[DMA_WORLD_LIST + DMA_WORLD_SEGMENTS];
    size_t run_count;
    struct piommu_dma_buffer buffer;
    struct piommu_dma_range *range;
    unsigned int flags; /* of its links */
};

/* A page of the window. */
struct dma_world_cell {
    enum { DMA_CELL_FREE, DMA_CELL_LIVE, DMA_CELL_GHOST } state; /* a ghost may be reached or not */
    bool was_released; /* the library has said that it is a ghost no more */
    bool read;
    bool write;
    uint64_t physical; /* of the page that it leads to */
    /* Of a ghost: when it was unmapped, and after how many mappings of that CPU. */
    unsigned int cpu;
    uint64_t unmapped;
    uint64_t number;
};

struct dma_world_space {
    struct piommu_domain *domain;
    struct piommu_dma_space *space;
    struct piommu_dma_space_config config;
    bool write_only; /* can be expressed */
    uint64_t unmapped[DMA_WORLD_CPUS];
    struct dma_world_cell cells[DMA_WORLD_WINDOW];
};

struct dma_world_device {
    unsigned int space;
    struct piommu_device *device;
    struct piommu_dma_device *dma;
    struct piommu_dma_device_config config;
    bool untrusted;
    uint64_t reserved; /* page of the window that is not for its space; 0: none */
};

struct dma_world {
    bool verbose;
    struct dma_hardware *hardware;
    struct piommu_os callbacks; /* what the fake OS has for what is not replaced */
    uint16_t place;             /* which window */
    uint64_t window;            /* address of its first page */
    uint64_t skew;              /* of the clock, to that of the fake OS */
    unsigned int cpu;
    uint64_t random;
    struct dma_memory *memory;
    /* Of the pool: bytes of the piece that begins on a page, and whether a page is in use. */
    size_t piece[DMA_WORLD_POOL];
    bool in_pool[DMA_WORLD_POOL];
    bool out_of_memory; /* something was refused since this was reset */
    bool says_released; /* the spaces were given a callback */
    struct dma_world_space spaces[DMA_WORLD_SPACES];
    struct dma_world_device devices[DMA_WORLD_DEVICES];
    struct dma_world_mapping mappings[DMA_WORLD_MAPPINGS];
    uint8_t truth[DMA_WORLD_PAGES * DMA_MEMORY_PAGE];
    uint8_t owner[DMA_WORLD_PAGES * DMA_MEMORY_PAGE]; /* enum dma_world_owner */
    bool page_in_use[DMA_WORLD_PAGES];
};

struct dma_world *dma_world_create(const uint16_t config[DMA_WORLD_NUMBERS], bool verbose);
/* Unmaps everything, and takes everything down. */
void dma_world_destroy(struct dma_world *world);
/* Compares everything with the model; ends the process at the first difference. */
void dma_world_check(struct dma_world *world);

void dma_world_say(const struct dma_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t dma_world_random(struct dma_world *world, uint64_t limit);

/* Physical addresses of memory for buffers, and of registers of no device. */
uint64_t dma_world_memory(uint64_t page);
uint64_t dma_world_registers(void);
/* Where the model keeps a byte of it. */
size_t dma_world_index(uint64_t physical);
struct dma_world_space *dma_world_space_of(struct dma_world *world,
                                           const struct dma_world_mapping *mapping);
/* The cell of an address; NULL: outside of the window. */
struct dma_world_cell *dma_world_cell(struct dma_world *world, struct dma_world_space *space,
                                      uint64_t address);
uint64_t dma_world_waiting(struct dma_world_space *space);
uint64_t dma_world_now(const struct dma_world *world);

/* Checks what a call has mapped, and notes it. */
void dma_world_mapped(struct dma_world *world, struct dma_world_mapping *mapping);
/* Notes that a call has unmapped it. `at_once`: in a lazy space, too. */
void dma_world_unmapped(struct dma_world *world, struct dma_world_mapping *mapping, bool at_once);
/* All that was unmapped before a moment can be reached no more. */
void dma_world_forgotten(struct dma_world *world, struct dma_world_space *space, uint64_t before);

/* The device of a mapping accesses bytes of it, which it must be able to. */
void dma_world_device_read(struct dma_world *world, const struct dma_world_mapping *mapping,
                           uint64_t address, uint8_t *bytes, size_t size);
void dma_world_device_write(struct dma_world *world, const struct dma_world_mapping *mapping,
                            uint64_t address, const uint8_t *bytes, size_t size);

#endif
