/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The DMA API: a buffer, or a list, is mapped and unmapped again and again. Ours goes through all
 * its layers, on an IOMMU that does nothing. Of Linux there are the parts alone, in the order in
 * which its DMA layer calls them: addresses, tables, invalidation, addresses. What that layer and
 * the IOMMU core add is not there.
 */

#include <string.h>

#include <piommu/piommu.h>

#include "iova.h"
#include "report.h"
#include "rows.h"

#define PAIRS     65536u
#define LIST_SIZE 16u
#define PAGE      IOVA_PAGE
#define MEMORY    0x100000000ull
/* Mappings that wait, with either: as many as Linux has room for. */
#define WAITING 256u

/* One way to use the API. */
struct way {
    const char *name;
    bool lazy;
    size_t pages; /* of a buffer; more than one: a list of pages that do not adjoin */
};

static const struct way ways[] = {
    {"page_strict", false, 1}, {"page_lazy", true, 1}, {"sg_16", false, LIST_SIZE}};

/* ---- Ours ---- */

struct our_side {
    struct core core;
    struct piommu_domain *domain;
    struct piommu_dma_space *space;
    struct piommu_dma_device *device;
    struct piommu_segment list[LIST_SIZE];
    struct piommu_dma_segment result[LIST_SIZE];
};

static bool our_open(struct our_side *side, const struct way *way)
{
    struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_DMA, .instance_count = 1, .disjoint = way->lazy};
    struct piommu_dma_space_config space = {.cpus = 1, .lazy = way->lazy, .lazy_count = WAITING};

    memset(side, 0, sizeof(*side));
    for (size_t i = 0; i < LIST_SIZE; i++) {
        side->list[i] = (struct piommu_segment){MEMORY + 2 * i * PAGE, PAGE};
    }
    if (!core_open(&side->core, iova_ours_os(), &null_backend, NULL)) {
        return false;
    }
    domain.instances = &side->core.instance;
    if (piommu_domain_create(&domain, &side->domain) != 0) {
        return false;
    }
    space.domain = side->domain;
    return piommu_dma_space_create((struct piommu_host){.os = iova_ours_os()}, &space,
                                   &side->space) == 0 &&
           piommu_dma_device_add(side->space, side->core.device, NULL, &side->device) == 0 &&
           piommu_device_attach(side->core.device, side->domain) == 0;
}

static void our_close(struct our_side *side)
{
    piommu_dma_device_remove(side->device);
    if (piommu_dma_space_destroy(side->space) != 0 ||
        piommu_device_attach(side->core.device, side->core.domain) != 0 ||
        piommu_domain_destroy(side->domain) != 0) {
        wrong("dma: it does not come to its end");
    }
    core_close(&side->core);
}

static bool our_pairs(struct our_side *side, const struct way *way, size_t pairs)
{
    bool good = true;

    for (size_t i = 0; i < pairs && way->pages == 1; i++) {
        uint64_t address;

        good &= piommu_dma_map_single(side->device, MEMORY + i * PAGE, PAGE,
                                      PIOMMU_DMA_BIDIRECTIONAL, 0, &address) == 0;
        good &=
            piommu_dma_unmap_single(side->device, address, PAGE, PIOMMU_DMA_BIDIRECTIONAL, 0) == 0;
    }
    for (size_t i = 0; i < pairs && way->pages != 1; i++) {
        size_t used;

        good &= piommu_dma_map_sg(side->device, side->list, way->pages, PIOMMU_DMA_BIDIRECTIONAL, 0,
                                  side->result, LIST_SIZE, &used) == 0;
        good &=
            piommu_dma_unmap_sg(side->device, side->result, used, PIOMMU_DMA_BIDIRECTIONAL, 0) == 0;
    }
    return good;
}

/* ---- Linux ---- */

#ifdef BENCH_WITH_LINUX
struct linux_side {
    void *table;
    void *space;
    uint64_t waiting[WAITING];
    size_t count;
};

static void linux_open(struct linux_side *side)
{
    const struct usage usage = {.coherent_walk = true};

    side->count = 0;
    side->table = linux_peer.create(&shapes[0], &usage);
    side->space = iova_linux.create(1);
}

static void flush_waiting(struct linux_side *side)
{
    linux_flush(side->table);
    for (size_t i = 0; i < side->count; i++) {
        (void)iova_linux.free(side->space, side->waiting[i], 1);
    }
    side->count = 0;
}

static void linux_close(struct linux_side *side)
{
    flush_waiting(side);
    iova_linux.destroy(side->space);
    linux_peer.destroy(side->table);
}

static bool linux_pairs(struct linux_side *side, const struct way *way, size_t pairs)
{
    bool good = true;

    for (size_t i = 0; i < pairs; i++) {
        uint64_t address = iova_linux.alloc(side->space, way->pages, IOVA_LAST);
        uint64_t physical = way->pages == 1 ? MEMORY + i * PAGE : MEMORY;

        for (size_t j = 0; j < way->pages; j++) {
            good &=
                linux_peer.map(side->table, address + j * PAGE, physical + 2 * j * PAGE, PAGE, 1);
        }
        if (!way->lazy) {
            good &= linux_peer.unmap(side->table, address, PAGE, way->pages);
            good &= iova_linux.free(side->space, address, way->pages);
            continue;
        }
        good &= linux_unmap_lazily(side->table, address, PAGE, way->pages);
        side->waiting[side->count++] = address;
        if (side->count == WAITING) {
            flush_waiting(side);
        }
    }
    return good;
}
#endif

/* ---- Both ---- */

static void measure(const struct way *way, const struct effort *effort)
{
    const size_t pairs = PAIRS / way->pages / effort->divisor;
    struct samples samples[IMPLEMENTATIONS] = {0};
    struct our_side our_side;
    bool good = our_open(&our_side, way) && our_pairs(&our_side, way, pairs);
#ifdef BENCH_WITH_LINUX
    struct linux_side linux_side;

    linux_open(&linux_side);
    good &= linux_pairs(&linux_side, way, pairs);
#endif

    for (unsigned int i = 0; good && i < LIMIT * effort->repetitions; i++) {
        double begin = now();

        if ((i + i / LIMIT) % LIMIT == OURS) {
            good &= our_pairs(&our_side, way, pairs);
            samples_add(&samples[OURS], (now() - begin) / (double)pairs);
            continue;
        }
#ifdef BENCH_WITH_LINUX
        good &= linux_pairs(&linux_side, way, pairs);
        samples_add(&samples[PEER], (now() - begin) / (double)pairs);
#endif
    }
    if (!good) {
        wrong("dma.%s: a call failed", way->name);
        return;
    }
    our_close(&our_side);
#ifdef BENCH_WITH_LINUX
    linux_close(&linux_side);
#endif
    report_add("dma", way->name, UNIT_PAIR, samples);
}

void dma_measure(const struct effort *effort)
{
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        measure(&ways[i], effort);
    }
}
