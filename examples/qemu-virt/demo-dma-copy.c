/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The DMA API: requests of all shapes, whose data the disk's image shows afterwards. */

#include "demo-dma.h"

#include <string.h>

#define LINE_SIZE 16u

static uint8_t *memory_of(uint64_t physical)
{
    return (uint8_t *)(uintptr_t)physical;
}

/* ---- What is on the disk ---- */

/* A number, with blanks before it, that ends here. */
static void put_number(uint8_t *end, unsigned int width, unsigned int value)
{
    memset(end - width, ' ', width);
    do {
        *--end = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
}

static void write_line(uint8_t *line, unsigned int sector, unsigned int number)
{
    memcpy(line, "sector", 6);
    line[6] = ' ';
    put_number(line + 12, 5, sector);
    put_number(line + 15, 3, number);
    line[15] = '\n';
}

static uint8_t capital(uint8_t letter)
{
    return letter >= 'a' && letter <= 'z' ? (uint8_t)(letter - 'a' + 'A') : letter;
}

bool check_and_change(const struct piommu_segment *list, size_t count, unsigned int sector)
{
    uint8_t line[LINE_SIZE];
    size_t offset = 0; /* in all of it */
    bool right = true;

    for (size_t i = 0; i < count; i++) {
        uint8_t *memory = memory_of(list[i].physical);

        for (size_t at = 0; at < list[i].size; at++, offset++) {
            if (offset % LINE_SIZE == 0) {
                write_line(line, sector + (unsigned int)(offset / BLK_SECTOR_SIZE),
                           (unsigned int)(offset % BLK_SECTOR_SIZE / LINE_SIZE));
            }
            right = right && memory[at] == line[offset % LINE_SIZE];
            memory[at] = capital(memory[at]);
        }
    }
    return right;
}

/* ---- Shapes of requests ---- */

/* From the start of a page. */
static void shape_aligned(struct job *job)
{
    job->sectors = 32;
    job->list[0] = (struct piommu_segment){.physical = machine_physical(job->area),
                                           .size = job->sectors * BLK_SECTOR_SIZE};
    job->count = job->segments = 1;
}

/* From some byte to another. */
static void shape_unaligned(struct job *job, unsigned int round)
{
    job->sectors = 19;
    job->list[0] = (struct piommu_segment){.physical = machine_physical(job->area) + 565 + round,
                                           .size = job->sectors * BLK_SECTOR_SIZE};
    job->count = job->segments = 1;
}

/* Single pages, in falling order: they become adjacent, and are cut where a segment is full. */
static void shape_pages(struct job *job)
{
    job->sectors = (unsigned int)(MOST_PIECES * PAGE / BLK_SECTOR_SIZE);
    for (unsigned int i = 0; i < MOST_PIECES; i++) {
        uint8_t *page = job->area + (MOST_PIECES - i) * PAGE;

        job->list[i] = (struct piommu_segment){.physical = machine_physical(page), .size = PAGE};
    }
    job->count = MOST_PIECES;
    job->segments = MOST_PIECES * PAGE / SEGMENT_SIZE;
}

/*
 * Pieces of odd lengths, in falling order, most of them across the end of a page. The last two are
 * one in memory.
 */
static void shape_pieces(struct job *job, unsigned int round)
{
    const unsigned int pieces = 8;
    uint64_t left;

    job->sectors = 24;
    left = job->sectors * BLK_SECTOR_SIZE;
    for (unsigned int i = 0; i < pieces; i++) {
        uint8_t *start = job->area + AREA_SIZE - (2 * i + 2) * PAGE + 3001 + 31 * round;
        uint64_t size = i + 1 < pieces ? 901 + (round * 37 + i * 211) % 600 : left;

        if (i + 1 == pieces) {
            start = memory_of(job->list[i - 1].physical + job->list[i - 1].size);
        }
        job->list[i] = (struct piommu_segment){.physical = machine_physical(start), .size = size};
        left -= size;
    }
    job->count = pieces;
    job->segments = pieces - 1;
}

static void make_jobs(struct dma_demo *demo, unsigned int round)
{
    unsigned int sector = demo->variant->number * PART_SECTORS + round * ROUND_SECTORS;

    shape_aligned(&demo->jobs[0]);
    shape_unaligned(&demo->jobs[1], round);
    shape_pages(&demo->jobs[2]);
    shape_pieces(&demo->jobs[3], round);
    for (unsigned int i = 0; i < SHAPES; i++) {
        demo->jobs[i].sector = sector;
        sector += demo->jobs[i].sectors;
    }
}

/* ---- Reading and writing ---- */

/* What the DMA API has made of a list: as few segments as there can be, where the device may go. */
static bool segments_are_right(struct dma_demo *demo, const struct job *job)
{
    const struct dma_blk_request *request = &demo->disk.requests[demo->disk.mapped - 1];
    bool right = request->used == job->segments;

    for (size_t i = 0; i < request->used; i++) {
        uint64_t first = request->segments[i].address;
        uint64_t last = first + request->segments[i].size - 1;
        bool below = last < demo->window.first;
        bool above = first > demo->window.last && last <= demo->mask;

        right = right && (below || above) &&
                (request->single || request->segments[i].size <= SEGMENT_SIZE);
        demo->below = demo->below || below;
        demo->above = demo->above || above;
    }
    return right;
}

void finish(struct dma_demo *demo)
{
    demo->unmaps += demo->disk.mapped;
    must(dma_blk_finish(&demo->disk), "a request");
}

static void submit(struct dma_demo *demo, enum blk_operation operation, unsigned int offset,
                   const struct job *job)
{
    int error = dma_blk_submit(&demo->disk, operation, job->sector + offset, job->list, job->count);

    if (error == -PIOMMU_ENOSPC || error == -PIOMMU_EAGAIN) {
        demo->waits++;
        finish(demo);
        error = dma_blk_submit(&demo->disk, operation, job->sector + offset, job->list, job->count);
    }
    must(error, "a request");
    demo->right = demo->right && segments_are_right(demo, job);
}

/* Whether the disk has written to the buffers of a job, and nowhere else near them. */
static bool only_these(const struct job *job)
{
    size_t untouched = 0;

    for (size_t i = 0; i < AREA_SIZE; i++) {
        untouched += job->area[i] == UNTOUCHED; /* a byte that the text does not have */
    }
    return untouched == AREA_SIZE - job->sectors * BLK_SECTOR_SIZE;
}

static void copy_round(struct dma_demo *demo, unsigned int round)
{
    make_jobs(demo, round);
    for (unsigned int i = 0; i < SHAPES; i++) {
        memset(demo->jobs[i].area, UNTOUCHED, AREA_SIZE);
        submit(demo, BLK_READ, 0, &demo->jobs[i]);
    }
    finish(demo);
    for (unsigned int i = 0; i < SHAPES; i++) {
        const struct job *job = &demo->jobs[i];

        demo->right =
            demo->right && check_and_change(job->list, job->count, job->sector) && only_these(job);
        submit(demo, BLK_WRITE, TARGET_SECTOR, job);
    }
    finish(demo);
}

void copy_part(struct dma_demo *demo)
{
    struct piommu_dma_statistics statistics;

    demo->right = true;
    demo->below = demo->above = false;
    for (unsigned int round = 0; round < ROUNDS; round++) {
        copy_round(demo, round);
    }
    collect_faults(demo->instance);
    check(demo->right && fault_count == 0,
          "%s: %u KiB read, changed and written, in %u requests: single buffers and lists",
          demo->variant->name, (unsigned int)(PART_SECTORS * BLK_SECTOR_SIZE / 1024), demo->unmaps);
    check(demo->below && demo->above,
          "at addresses below 0x%llx and above 0x%llx: interrupt messages go to those between",
          (unsigned long long)demo->window.first, (unsigned long long)demo->window.last);
    piommu_dma_space_get_statistics(demo->space, &statistics);
    if (demo->variant->untrusted) {
        check(statistics.bounce_pages_most == BOUNCE_PAGES && statistics.bounce_pages_used == 0 &&
                  demo->waits != 0,
              "ends of buffers were bounced: all %u pages were in use, and %u requests had to wait",
              statistics.bounce_pages_most, demo->waits);
    } else if (demo->variant->lazy) {
        check(statistics.flushes >= demo->unmaps / LAZY_COUNT && statistics.waiting < LAZY_COUNT &&
                  statistics.flushes < demo->unmaps,
              "the IOMMU was told %u times of %u unmaps", (unsigned int)statistics.flushes,
              demo->unmaps);
    }
}

void transfer_sector(struct dma_demo *demo, enum blk_operation operation, unsigned int sector,
                     uint64_t address)
{
    const struct piommu_virtio_buffer piece = {.physical = address, .size = BLK_SECTOR_SIZE};

    must(blk_submit(&demo->disk.blk, operation, sector, &piece, 1), "a request");
    must(blk_finish(&demo->disk.blk), "a request");
}

uint64_t map_buffer(struct dma_demo *demo, const uint8_t *memory, size_t size)
{
    uint64_t address;

    must(piommu_dma_map_single(demo->dma, machine_physical(memory), size, PIOMMU_DMA_BIDIRECTIONAL,
                               0, &address),
         "mapping a buffer");
    return address;
}

void unmap_buffer(struct dma_demo *demo, uint64_t address, size_t size)
{
    must(piommu_dma_unmap_single(demo->dma, address, size, PIOMMU_DMA_BIDIRECTIONAL, 0),
         "unmapping a buffer");
}

/* A buffer that stays mapped, and goes to and fro: only syncs say whose it is. */
void kept_buffer(struct dma_demo *demo)
{
    unsigned int sector = demo->variant->number * PART_SECTORS;
    uint8_t *memory = demo->jobs[0].area + 777;
    const struct piommu_segment part = {.physical = machine_physical(memory),
                                        .size = BLK_SECTOR_SIZE};
    uint64_t address = map_buffer(demo, memory, part.size);
    bool right;

    transfer_sector(demo, BLK_READ, sector, address);
    must(piommu_dma_sync_single_for_cpu(demo->dma, address, part.size, PIOMMU_DMA_BIDIRECTIONAL),
         "a sync for the CPU");
    right = check_and_change(&part, 1, sector);
    must(piommu_dma_sync_single_for_device(demo->dma, address, part.size, PIOMMU_DMA_BIDIRECTIONAL),
         "a sync for the device");
    transfer_sector(demo, BLK_WRITE, KEPT_SECTOR + demo->variant->number, address);
    unmap_buffer(demo, address, part.size);
    check(right, "a buffer that stays mapped: read, synced, changed, synced and written");
}
