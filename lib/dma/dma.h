/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_DMA_DMA_H
#define PIOMMU_LIB_DMA_DMA_H

/*
 * Private to the DMA API.
 *
 * What most devices need has a short way: devices that snoop, and are trusted, in a space without a
 * record. For them a mapping leaves no trace but in the tables and in the allocator. All others are
 * *careful*: before something is unmapped or synced for them it is looked up in the tables what
 * lies there, since a bounce page is known by its physical address.
 */

#include <piommu/dma.h>

#include <stdatomic.h>

#include "../base/compiler.h"
#include "../base/host.h"
#include "../base/options.h"
#include "../base/range_tree.h"

/* Mappings whose addresses can be given out again, once an IOMMU that failed obeys. */
#define STUCK_ROOM 256u

/* A mapping that waits until no device can reach it. */
struct waiting {
    uint64_t address;
    uint64_t size;
};

/*
 * What was unmapped lazily on one CPU, as a rule. Whoever finds a lane in use takes the next one,
 * and if there is none, invalidates at once: so nobody waits for anybody, also not in an interrupt.
 */
struct lane {
    atomic_uint in_use;
    atomic_uint count;
    uint64_t since; /* when the first of them was unmapped */
    struct waiting *waiting;
    bool mixed;            /* not all that waits is single granules */
    struct waiting *stock; /* granules that nobody can reach any more, to be given out again */
    uint32_t stocked;
    struct piommu_gather gather;
    uint8_t apart[64]; /* another CPU's lane is in another cache line */
};

/* A page in the place of the end of a buffer. */
struct bounce_page {
    struct bounce_page *next; /* in the list of free ones, or of those of a mapping */
    uint64_t physical;        /* of what it stands for */
    uint32_t offset;          /* in the page */
    uint32_t size;            /* 0: it is free */
};

/* The pages. They lie side by side in memory. */
struct bounce_pool {
    uint8_t *memory;
    uint64_t first; /* physical */
    uint64_t last;
    uint32_t count;
    uint32_t used;
    uint32_t used_most;
    struct bounce_page *free;
    struct bounce_page *pages;
};

/* Reserved addresses, taken out of the space. */
struct region {
    struct region *next;
    struct piommu_range range;
};

struct piommu_dma_space {
    struct piommu_host host;
    struct piommu_domain *domain;
    struct piommu_iova_space *iova;
    uint64_t granule_mask;
    struct piommu_range usable; /* what is given out, in whole granules */
    uint64_t last_physical;
    uint64_t leaf_sizes; /* beyond the granule */
    uint64_t large;      /* from this size on a mapping may have larger leaves */
    piommu_prot can;     /* flags that mappings may have */
    bool lazy;
    bool write_only;
    bool debug;         /* every mapping has a record */
    uint64_t line_mask; /* of the caches */
    uint32_t lazy_count;
    uint64_t lazy_time;
    piommu_dma_released *released;
    void *cookie;
    struct lane *lanes;
    uint32_t lane_count;
    atomic_uint flushes;
    struct piommu_dma_device *devices;
    struct region *regions;

    void *lock; /* protects the rest */
    struct bounce_pool pool;
    struct range_tree records; /* struct record */
    bool stuck_in_use;         /* somebody syncs what is stuck */
    struct piommu_gather stuck;
    struct bounce_page *stuck_pages;
    uint32_t stuck_count;
    uint32_t stuck_lost; /* those beyond: their addresses are not given out again */
    struct waiting stuck_waiting[STUCK_ROOM];
};

struct piommu_dma_device {
    struct piommu_dma_device *next;
    struct piommu_dma_space *space;
    const char *name;
    bool careful; /* the long way, see above */
    bool untrusted;
    bool non_coherent;
    uint64_t mask;
    uint64_t coherent_mask;
    uint64_t preferred;
    uint64_t max_segment_size;
    uint64_t boundary_mask;
    piommu_prot prot[3]; /* by direction */
};

/* A range of granules. */
struct span {
    uint64_t first;
    uint64_t size;
};

static inline unsigned long space_lock(struct piommu_dma_space *space)
{
    return piommu_host_lock(space->host, space->lock);
}

static inline void space_unlock(struct piommu_dma_space *space, unsigned long state)
{
    piommu_host_unlock(space->host, space->lock, state);
}

/* The granules in which a range lies; size 0 if there are none, or too many. */
static ALWAYS_INLINE struct span span_of(const struct piommu_dma_space *space, uint64_t address,
                                         uint64_t size)
{
    uint64_t mask = space->granule_mask;
    struct span span = {.first = address & ~mask};
    uint64_t last = address + (size - 1);

    if (LIKELY(size != 0 && last >= address)) {
        span.size = (last | mask) - span.first + 1;
    }
    return span;
}

static inline bool direction_is_valid(enum piommu_dma_direction direction)
{
    return (unsigned int)direction <= PIOMMU_DMA_FROM_DEVICE;
}

/* ---- space.c ---- */

/* Addresses for a mapping; `hint` is where in memory it begins. */
int piommu_dma_find_addresses_(struct piommu_dma_device *device, uint64_t hint, uint64_t size,
                               uint64_t limit, uint64_t boundary, uint64_t *iova);

/* ---- release.c: making mappings unreachable ---- */

/*
 * Unmaps a range and gives its addresses back; with `pages`, bounce pages too. Lazily only if it is
 * allowed.
 */
int piommu_dma_release_(struct piommu_dma_space *space, uint64_t first, uint64_t size, bool lazily,
                        struct bounce_page *pages);
/* The same for the granules in which a range lies. */
static ALWAYS_INLINE int release_around(struct piommu_dma_space *space, uint64_t address,
                                        uint64_t size, struct bounce_page *pages)
{
    struct span span = span_of(space, address, size);

    return piommu_dma_release_(space, span.first, span.size, true, pages);
}

/*
 * Takes back what was mapped of a range before an error came, and gives the addresses of all of it
 * back. The error stays, unless worse follows.
 */
int piommu_dma_undo_(struct piommu_dma_space *space, struct span all, uint64_t mapped,
                     struct bounce_page *pages, int error);
/*
 * Does so but for the addresses: those given here are free once all is forgotten, if it is not
 * now. Returns the error, or -PIOMMU_EFAILED.
 */
int piommu_dma_withdraw_(struct piommu_dma_space *space, struct span range, uint64_t mapped,
                         struct span addresses, struct bounce_page *pages, int error);
/* Unmaps a part of what is mapped, at once; its addresses stay taken. */
int piommu_dma_unmap_part_(struct piommu_dma_space *space, struct span part,
                           struct bounce_page *pages, uint64_t *removed);
/* Is there something that hardware has not forgotten since it failed? */
bool piommu_dma_anything_stuck_(struct piommu_dma_space *space);
/* A granule that a lane has in stock; 0: there is none that suits. */
uint64_t piommu_dma_take_stock_(struct piommu_dma_device *device);
int piommu_dma_open_lanes_(struct piommu_dma_space *space, uint32_t lanes);
void piommu_dma_close_lanes_(struct piommu_dma_space *space);

/* ---- bounce.c ---- */

int piommu_dma_open_pool_(struct piommu_dma_space *space, uint32_t pages);
/* Also if devices may still reach the pages: then they are not given back. */
void piommu_dma_close_pool_(struct piommu_dma_space *space, bool reachable);
/* A page, zeroed, in the place of a piece of memory within one granule. */
int piommu_dma_take_page_(struct piommu_dma_space *space, uint64_t physical, uint64_t size,
                          struct bounce_page **page);
/* A list of them. */
void piommu_dma_give_pages_(struct piommu_dma_space *space, struct bounce_page *pages);
uint64_t piommu_dma_page_physical_(const struct piommu_dma_space *space,
                                   const struct bounce_page *page);
uint8_t *piommu_dma_page_memory_(const struct piommu_dma_space *space,
                                 const struct bounce_page *page);
/* The page at a physical address; NULL: it is not in the pool. */
struct bounce_page *piommu_dma_page_at_(struct piommu_dma_space *space, uint64_t physical);

/* ---- sync.c: caches and bounce pages ---- */

/* What was written by the CPU, before or after the mapping is made. */
void piommu_dma_clean_(struct piommu_dma_device *device, uint64_t physical, uint64_t size);
void piommu_dma_fill_page_(struct piommu_dma_device *device, const struct bounce_page *page,
                           bool copy);
/*
 * Gives a mapped range to the CPU, unless `sync` is false; collects its bounce pages, if asked to.
 */
int piommu_dma_take_back_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                          enum piommu_dma_direction direction, bool sync,
                          struct bounce_page **pages);

/* ---- map.c ---- */

/* What is being mapped: pieces of memory, one after the other from some address on. */
struct builder {
    struct piommu_dma_device *device;
    uint64_t next; /* the address of the first that is not mapped */
    piommu_prot prot;
    bool bounces_granules; /* ends off the granule are bounced */
    bool bounces_lines;    /* ends off the cache line */
    bool copies;
    bool cleans;
    uint16_t count;
    uint16_t apart; /* so many of the first pieces must not be joined with those that follow */
    uint64_t sent;  /* bytes that were given to the domain last */
    struct bounce_page *pages; /* of the whole mapping */
    uint64_t physical;         /* what is still to be added of memory that is contiguous */
    uint64_t left;
    struct piommu_segment pieces[PIOMMU_DMA_PIECES];
};

/* What a failed call leaves behind, to be undone where the builder is not on the stack any more. */
struct leftover {
    uint64_t mapped; /* bytes, from the first address on */
    struct bounce_page *pages;
};

static inline struct leftover leftover_of(const struct builder *builder, uint64_t first)
{
    return (struct leftover){.mapped = builder->next - first, .pages = builder->pages};
}

void piommu_dma_builder_open_(struct builder *builder, struct piommu_dma_device *device,
                              enum piommu_dma_direction direction, unsigned int flags,
                              uint64_t iova);
/* Adds what is contiguous in memory; it takes whole granules of addresses. */
int piommu_dma_builder_add_(struct builder *builder, uint64_t physical, uint64_t size);
/* What was added so far is to be unmapped without what follows. */
void piommu_dma_builder_part_(struct builder *builder);
/* Maps what is left. */
int piommu_dma_builder_finish_(struct builder *builder);
/* What comes before anything is unmapped for a careful device. */
int piommu_dma_before_unmap_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                             enum piommu_dma_direction direction, unsigned int flags,
                             struct bounce_page **pages);

/* ---- record.c ---- */

/* What was mapped by which function. */
enum record_kind { RECORD_SINGLE, RECORD_RESOURCE, RECORD_LIST, RECORD_BUFFER, RECORD_RANGE };

struct record {
    struct range_node node; /* by granules */
    struct piommu_dma_device *device;
    uint64_t address;
    uint64_t size; /* from the first byte to the last */
    enum piommu_dma_direction direction;
    enum record_kind kind;
};

/* All of these do nothing in a space that is not debugged. */
int piommu_dma_record_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                       enum piommu_dma_direction direction, enum record_kind kind);
/* Logs and refuses what is not as it was mapped. */
int piommu_dma_check_record_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                             enum piommu_dma_direction direction, enum record_kind kind);
void piommu_dma_drop_record_(struct piommu_dma_device *device, uint64_t address);
/* The same for a part of a mapping. */
int piommu_dma_check_part_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                           enum piommu_dma_direction direction);
/* Logs what is mapped for a device, and forgets it. */
void piommu_dma_drop_records_(struct piommu_dma_device *device);

#endif
