/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What QEMU's virtio-iommu reports of refused DMA, to the last report: it takes a refused access in
 * pieces of 4 bytes and reports each, says which permission was missing if one was, and drops what
 * finds no buffer in the event queue.
 */

#include "demo.h"

#include <string.h>

#define PIECE       4u
#define STORM_SIZE  2048u
#define STORM_IOVA  0x06000000ull
#define MILLISECOND 1000000ull

/* Lets the device write where it may not, and takes in what is reported. */
static void write_and_collect(struct demo *demo, uint64_t iova, size_t size)
{
    must(edu_dma_from_device(&demo->edu, 0, iova, size), "a DMA of the device");
    collect_faults(demo->instance);
}

/* Whether the reports are one for each piece of this range, in order, and all else is right. */
static bool reports_are(const struct demo *demo, uint64_t iova, size_t size, bool write)
{
    bool right = fault_count == size / PIECE;

    for (unsigned int i = 0; right && i < fault_count; i++) {
        right = faults[i].id_valid && faults[i].id == demo->endpoint && faults[i].iova_valid &&
                faults[i].iova == iova + i * PIECE && faults[i].reason == PIOMMU_FAULT_MAPPING &&
                faults[i].write == write && !faults[i].read && faults[i].device_name != NULL &&
                strcmp(faults[i].device_name, "edu") == 0 && faults[i].domain_name != NULL &&
                strcmp(faults[i].domain_name, "A") == 0;
    }
    return right;
}

static void exact(struct demo *demo, uint8_t *page, const uint8_t *read_only)
{
    uint64_t hole = SHARED_IOVA + PAGE;
    uint64_t edge = hole - PROBE_SIZE;

    load_device(demo, page, SHARED_IOVA);
    write_and_collect(demo, hole, PIECE);
    check(reports_are(demo, hole, PIECE, false),
          "4 bytes to an address that is not mapped: one report, which names no permission");
    write_and_collect(demo, hole, PROBE_SIZE);
    check(reports_are(demo, hole, PROBE_SIZE, false), "16 bytes: 4 reports, of 4 bytes each");
    must(edu_dma_to_device(&demo->edu, hole, 0, PROBE_SIZE), "a DMA of the device");
    collect_faults(demo->instance);
    check(reports_are(demo, hole, PROBE_SIZE, false), "reading 16 bytes there: the same");
    load_device(demo, page, SHARED_IOVA);
    write_and_collect(demo, READ_ONLY_IOVA, PROBE_SIZE);
    check(reports_are(demo, READ_ONLY_IOVA, PROBE_SIZE, true) &&
              is_filled(read_only, PAGE, UNTOUCHED),
          "16 bytes to a read-only page: 4 reports, which name the write");

    memset(page, DEVICE_DATA, 2 * PROBE_SIZE);
    must(edu_dma_to_device(&demo->edu, SHARED_IOVA, 0, 2 * PROBE_SIZE), "loading the device");
    memset(page, UNTOUCHED, PAGE);
    write_and_collect(demo, edge, 2 * PROBE_SIZE);
    check(is_filled(page, PAGE - PROBE_SIZE, UNTOUCHED) &&
              is_filled(page + PAGE - PROBE_SIZE, PROBE_SIZE, DEVICE_DATA),
          "32 bytes across the end of a mapping: the first 16 arrive");
    check(reports_are(demo, hole, PROBE_SIZE, false), "and the other 16 give 4 reports");
    memset(page, UNTOUCHED, PAGE);
}

static void storm(struct demo *demo)
{
    struct piommu_instance_info before, after;

    piommu_instance_get_info(demo->instance, &before);
    write_and_collect(demo, STORM_IOVA, STORM_SIZE);
    piommu_instance_get_info(demo->instance, &after);
    check(fault_count > PROBE_SIZE && fault_count <= STORM_SIZE / PIECE &&
              after.faults - before.faults == fault_count,
          "2048 bytes: %u of 512 reports find room in the event queue, and are counted",
          fault_count);
    write_and_collect(demo, STORM_IOVA, PIECE);
    check(reports_are(demo, STORM_IOVA, PIECE, false), "it is filled again: the next is reported");
}

static void interrupt(struct demo *demo)
{
    unsigned int intid;
    bool more;
    int taken;

    must(machine_pci_interrupt(demo->iommu_bdf, &intid), "finding the IOMMU's interrupt");
    must(piommu_instance_interrupt(demo->instance, MAX_FAULTS, &more), "releasing the line");
    machine_interrupt_enable(intid, false);
    check(!machine_interrupt_wait(intid, machine_now() + MILLISECOND),
          "nothing to report: the IOMMU does not interrupt");
    must(edu_dma_from_device(&demo->edu, 0, STORM_IOVA, PIECE), "a DMA of the device");
    check(machine_interrupt_wait(intid, machine_now() + 20000 * MILLISECOND),
          "a fault: it does, by interrupt %u", intid);
    fault_count = 0;
    taken = piommu_instance_interrupt(demo->instance, MAX_FAULTS, &more);
    machine_interrupt_done(intid);
    check(taken == 1 && !more && reports_are(demo, STORM_IOVA, PIECE, false),
          "the handler takes the one report in");
    check(!machine_interrupt_wait(intid, machine_now() + MILLISECOND), "and the line is released");
    machine_interrupt_disable(intid);
}

static void answer_block(struct demo *demo, uint8_t *page)
{
    struct piommu_device_info info;

    fault_answer = PIOMMU_FAULT_BLOCK;
    write_and_collect(demo, STORM_IOVA, PIECE);
    fault_answer = PIOMMU_FAULT_NOTE;
    piommu_device_get_info(demo->device, &info);
    check(info.fault_blocked && write_is_refused(demo, SHARED_IOVA, page),
          "answered by blocking the device: its DMA to what is mapped does not arrive");
    must(piommu_device_attach(demo->device, demo->a), "letting the device in again");
    check(write_arrives(demo, SHARED_IOVA, page), "until it is attached again");
}

void exact_faults(struct demo *demo)
{
    uint8_t *page = take_page();
    uint8_t *read_only = take_page();

    section("Faults, to the last report");
    map_page(demo->a, SHARED_IOVA, page, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    map_page(demo->a, READ_ONLY_IOVA, read_only, PIOMMU_PROT_READ);
    exact(demo, page, read_only);
    storm(demo);
    interrupt(demo);
    load_device(demo, page, SHARED_IOVA);
    answer_block(demo, page);
    unmap_and_sync(demo->a, SHARED_IOVA, PAGE);
    unmap_and_sync(demo->a, READ_ONLY_IOVA, PAGE);
    machine_pages_free(page, PAGE);
    machine_pages_free(read_only, PAGE);
}
