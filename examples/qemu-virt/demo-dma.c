/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The DMA API, with a disk of its own: in a strict space, in one for a device that is not trusted,
 * and in a lazy one.
 */

#include "demo-dma.h"

#include <string.h>

/*
 * Addresses are given out from the highest on: with this many above the window for interrupt
 * messages, both sides of it are used.
 */
#define PAGES_ABOVE_WINDOW 8u

#define STALE_SIZE (2 * PAGE)
#define SECRET     0x99

/* A buffer whose ends are in two pages. */
#define BESIDE_START ((size_t)2048)
#define BESIDE_SIZE  PAGE

/* ---- Addresses that are not valid any more ---- */

/* Lets the disk write to the address; what became of its request. */
static int write_to_stale(struct dma_demo *demo)
{
    const struct piommu_virtio_buffer piece = {.physical = demo->stale_iova, .size = STALE_SIZE};

    must(blk_submit(&demo->disk.blk, BLK_READ, 0, &piece, 1), "a request");
    return blk_finish(&demo->disk.blk);
}

/* QEMU tries each of the two pages once, then gives the request up. */
static bool faults_are_exact(const struct dma_demo *demo)
{
    bool right = fault_count == STALE_SIZE / PAGE;

    for (unsigned int i = 0; right && i < fault_count; i++) {
        right = faults[i].id_valid && faults[i].id == demo->endpoint && faults[i].iova_valid &&
                faults[i].iova == demo->stale_iova + i * PAGE &&
                faults[i].reason == PIOMMU_FAULT_MAPPING && faults[i].device_name != NULL &&
                strcmp(faults[i].device_name, demo->variant->name) == 0;
    }
    return right;
}

static void request_fails(struct dma_demo *demo, const char *when)
{
    int error = write_to_stale(demo);

    collect_faults(demo->instance);
    check(error == -PIOMMU_EIO && faults_are_exact(demo),
          "%s: a request that names IOVA 0x%llx faults, once for each page", when,
          (unsigned long long)demo->stale_iova);
    print_fault();
    must(dma_blk_restart(&demo->disk), "restarting the disk");
}

static void is_unreachable(struct dma_demo *demo, const char *when)
{
    memset(demo->stale, UNTOUCHED, STALE_SIZE);
    request_fails(demo, when);
    check(is_filled(demo->stale, STALE_SIZE, UNTOUCHED), "and nothing has arrived");
}

static struct piommu_segment stale_buffer(const struct dma_demo *demo)
{
    return (struct piommu_segment){.physical = machine_physical(demo->stale), .size = STALE_SIZE};
}

/* Maps memory, lets the disk write to it, and unmaps it. */
static void make_stale(struct dma_demo *demo)
{
    const struct piommu_segment buffer = stale_buffer(demo);

    must(dma_blk_submit(&demo->disk, BLK_READ, 0, &buffer, 1), "a request");
    demo->stale_iova = demo->disk.requests[0].segments[0].address;
    demo->released = false;
    finish(demo);
    demo->right = check_and_change(&buffer, 1, 0);
}

static void after_unmap(struct dma_demo *demo)
{
    make_stale(demo);
    check(demo->right, "before the unmap: a request to IOVA 0x%llx arrives",
          (unsigned long long)demo->stale_iova);
    is_unreachable(demo, "after it");
}

/* (With -append forget-flush it does not, and the checks must notice.) */
static void flush(struct dma_demo *demo)
{
    if (!told("forget-flush")) {
        must(piommu_dma_space_flush(demo->space), "a flush");
    }
}

/* As a timer would do it. */
static void poll(struct dma_demo *demo)
{
    uint64_t next;

    for (;;) {
        must(piommu_dma_space_poll(demo->space, &next), "a poll");
        if (next == UINT64_MAX) {
            return;
        }
        machine_delay(next);
    }
}

static void after_flush(struct dma_demo *demo)
{
    const struct piommu_segment buffer = stale_buffer(demo);
    struct piommu_dma_statistics statistics;

    must(piommu_dma_space_flush(demo->space), "a flush");
    make_stale(demo);
    piommu_dma_space_get_statistics(demo->space, &statistics);
    check(demo->right && statistics.waiting == 1 && !demo->released,
          "unmapped: one mapping waits until the IOMMU is told");
    /* Without this, "nothing has arrived" below would prove nothing. */
    check(write_to_stale(demo) == 0 && check_and_change(&buffer, 1, 0),
          "for comparison: before the flush a request to IOVA 0x%llx arrives",
          (unsigned long long)demo->stale_iova);
    flush(demo);
    check(demo->released, "the space says that its memory has become unreachable");
    is_unreachable(demo, "after the flush");

    make_stale(demo);
    poll(demo);
    check(demo->right && demo->released, "and so it is after some time, without a flush");
    is_unreachable(demo, "after that time");
}

static void after_free(struct dma_demo *demo)
{
    struct piommu_dma_buffer buffer;
    struct piommu_segment all = {.size = STALE_SIZE};

    must(piommu_dma_alloc(demo->dma, STALE_SIZE, &buffer), "a coherent buffer");
    all.physical = machine_physical(buffer.memory);
    demo->stale_iova = buffer.address;
    check(write_to_stale(demo) == 0 && check_and_change(&all, 1, 0),
          "a coherent buffer: a request to IOVA 0x%llx arrives",
          (unsigned long long)demo->stale_iova);
    must(piommu_dma_free(demo->dma, &buffer), "freeing a coherent buffer");
    request_fails(demo, "freed");
}

/* ---- Beside a buffer ---- */

/*
 * The disk is told to read and to write a sector in the same page as the start or the end of a
 * buffer, outside of it.
 */
static void beside_at(struct dma_demo *demo, size_t place, const char *where)
{
    uint8_t *memory = demo->jobs[0].area;
    uint64_t address;

    memset(memory, SECRET, 2 * PAGE);
    address = map_buffer(demo, memory + BESIDE_START, BESIDE_SIZE);
    transfer_sector(demo, BLK_WRITE, BESIDE_SECTOR, address - BESIDE_START + place);
    transfer_sector(demo, BLK_READ, 0, address - BESIDE_START + place);
    unmap_buffer(demo, address, BESIDE_SIZE);
    check(is_filled(memory, 2 * PAGE, SECRET),
          "the disk writes %s a buffer, in the same page: nothing arrives", where);
    address = map_buffer(demo, memory, BLK_SECTOR_SIZE);
    transfer_sector(demo, BLK_READ, BESIDE_SECTOR, address);
    unmap_buffer(demo, address, BLK_SECTOR_SIZE);
    check(is_filled(memory, BLK_SECTOR_SIZE, 0),
          "it has read there, too: it was given zeros, not what the memory holds");
}

/* ---- Start and end ---- */

static void on_released(void *cookie, uint64_t address, uint64_t size)
{
    struct dma_demo *demo = cookie;

    demo->released =
        demo->released || (demo->stale_iova >= address && demo->stale_iova - address < size);
}

/* The first function with these IDs is the disk of another section. */
static bool find_disk(uint16_t *bdf)
{
    unsigned int found = 0;

    for (unsigned int i = 0; i < machine_pci_count() && found < 2; i++) {
        *bdf = machine_pci_function(i);
        found += machine_pci_read(*bdf, 0, 4) == ((uint32_t)BLK_DEVICE << 16 | BLK_VENDOR);
    }
    return found == 2;
}

static void find_window(struct dma_demo *demo)
{
    struct piommu_reserved_region region;
    size_t i = 0;

    do {
        must(piommu_device_reserved_region(demo->device, i++, &region),
             "finding the window for interrupt messages");
    } while (region.kind != PIOMMU_RESERVED_MSI);
    demo->window = region.range;
    demo->mask = region.range.last + PAGES_ABOVE_WINDOW * PAGE;
}

static void open_space(struct dma_demo *demo)
{
    const struct variant *variant = demo->variant;
    const struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_DMA,
                                                .instances = &demo->instance,
                                                .instance_count = 1,
                                                .name = variant->name};
    struct piommu_dma_space_config config = {.lazy = variant->lazy,
                                             .lazy_count = LAZY_COUNT,
                                             .released = on_released,
                                             .cookie = demo,
                                             .bounce_pages = variant->untrusted ? BOUNCE_PAGES : 0,
                                             .debug = variant->untrusted};

    must(piommu_domain_create(&domain, &demo->domain), "creating a domain");
    config.domain = demo->domain;
    must(piommu_dma_space_create(host_shim(), &config, &demo->space), "creating a space");
}

static void open_disk(struct dma_demo *demo, struct piommu_context *context)
{
    const struct piommu_device_id id = {.instance = demo->instance, .id = demo->endpoint};
    const struct piommu_device_config config = {.ids = &id,
                                                .id_count = 1,
                                                .untrusted = demo->variant->untrusted,
                                                .name = demo->variant->name};
    struct piommu_dma_device_config limits = {.max_segment_size = SEGMENT_SIZE};

    must(piommu_device_add(context, &config, &demo->device), "adding the disk");
    find_window(demo);
    limits.mask = demo->mask;
    must(piommu_dma_device_add(demo->space, demo->device, &limits, &demo->dma),
         "adding the disk to a space");
    must(piommu_device_attach(demo->device, demo->domain), "attaching the disk");
    must(dma_blk_start(&demo->disk, demo->dma, demo->bdf), "starting the disk");
    must(demo->disk.blk.sectors == ALL_SECTORS ? 0 : -PIOMMU_ENODEV, "finding a disk of that size");
    machine_printf("     %s: ring at IOVA 0x%llx -> physical 0x%llx\n", demo->variant->name,
                   (unsigned long long)demo->disk.ring.address,
                   (unsigned long long)machine_physical(demo->disk.ring.memory));
}

static void close_all(struct dma_demo *demo)
{
    must(dma_blk_stop(&demo->disk), "stopping the disk");
    must(piommu_device_detach(demo->device), "detaching the disk");
    piommu_dma_device_remove(demo->dma);
    must(piommu_dma_space_destroy(demo->space), "destroying a space");
    must(piommu_domain_destroy(demo->domain), "destroying a domain");
    must(piommu_device_remove(demo->device), "removing the disk");
}

static void in_space(struct dma_demo *demo, struct piommu_context *context)
{
    demo->unmaps = demo->waits = 0;
    open_space(demo);
    open_disk(demo, context);
    copy_part(demo);
    kept_buffer(demo);
    if (demo->variant->lazy) {
        after_flush(demo);
    } else {
        after_unmap(demo);
    }
    after_free(demo);
    if (demo->variant->untrusted) {
        beside_at(demo, BESIDE_START - BLK_SECTOR_SIZE, "before");
        beside_at(demo, BESIDE_START + BESIDE_SIZE, "behind");
    }
    close_all(demo);
}

void disk_dma(struct demo *demo)
{
    static const struct variant variants[SPACES] = {
        {.name = "strict", .number = 0},
        {.name = "untrusted", .untrusted = true, .number = 1},
        {.name = "lazy", .lazy = true, .number = 2},
    };
    static struct dma_demo own;

    section("The DMA API: a disk whose driver finds no addresses, in three kinds of spaces");
    if (!find_disk(&own.bdf)) {
        machine_printf("     skipped: this machine has no such disk\n");
        return;
    }
    must(machine_pci_bus_master(own.bdf, true), "allowing DMA");
    own.instance = demo->instance;
    own.endpoint = endpoint_of(demo, own.bdf);
    own.stale = machine_pages_alloc(STALE_SIZE, PAGE);
    must(own.stale != NULL ? 0 : -PIOMMU_ENOMEM, "memory for the disk");
    for (unsigned int i = 0; i < SHAPES; i++) {
        own.jobs[i].area = machine_pages_alloc(AREA_SIZE, PAGE);
        must(own.jobs[i].area != NULL ? 0 : -PIOMMU_ENOMEM, "memory for the disk");
    }
    for (unsigned int i = 0; i < SPACES; i++) {
        own.variant = &variants[i];
        in_space(&own, demo->context);
    }
    for (unsigned int i = 0; i < SHAPES; i++) {
        machine_pages_free(own.jobs[i].area, AREA_SIZE);
    }
    machine_pages_free(own.stale, STALE_SIZE);
    must(machine_pci_bus_master(own.bdf, false), "forbidding DMA");
}
