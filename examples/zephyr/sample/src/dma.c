/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What DMA does to memory, and what is reported when it is refused. Reports come by the interrupt
 * of the IOMMU alone: nothing here asks for them. The device writes 4 bytes where it may not, which
 * is one report.
 */

#include "sample.h"

#include <string.h>

#define SOURCE      0x01000000u /* read-only */
#define DESTINATION (SOURCE + PAGE_SIZE)
#define HOLE        (DESTINATION + PAGE_SIZE)
#define SIZE        2048u
#define PIECE       4u
#define BLANK       0xa5
#define DECISION    20u /* hundredths of a second until it is said that nothing comes */

static unsigned char source[PAGE_SIZE] __aligned(PAGE_SIZE);
static unsigned char destination[PAGE_SIZE] __aligned(PAGE_SIZE);

static bool is_filled(const unsigned char *memory, size_t size, unsigned char with)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != with) {
            return false;
        }
    }
    return true;
}

static void pause(void)
{
    (void)k_sleep(K_MSEC(10));
}

/* The device writes at an address. False: it does not work. */
static bool write_at(struct sample *sample, uint64_t address, size_t size)
{
    return edu_dma_from_device(&sample->edu, 0, address, size) == 0;
}

/* Whether one report comes, of this device at this address. */
static bool is_reported(struct sample *sample, uint64_t address, bool write)
{
    struct piommu_fault fault, another;
    int error = piommu_instance_take_fault(sample->instance, &fault);

    for (unsigned int i = 0; error != 0 && i < DECISION; i++) {
        pause();
        error = piommu_instance_take_fault(sample->instance, &fault);
    }
    return error == 0 && fault.id_valid && fault.id == sample->function && fault.iova_valid &&
           fault.iova == address && fault.write == write &&
           strcmp(fault.device_name, "function") == 0 &&
           piommu_instance_take_fault(sample->instance, &another) == -PIOMMU_ENOENT;
}

void check_closed(struct sample *sample)
{
    uintptr_t address = (uintptr_t)destination;

    memset(destination, BLANK, PAGE_SIZE);
    check(write_at(sample, address, PIECE) && is_filled(destination, PAGE_SIZE, BLANK),
          "in no domain: DMA does not reach memory");
    check(is_reported(sample, address, false), "and is reported by the interrupt");
}

static void check_copy(struct sample *sample)
{
    for (unsigned int i = 0; i < PAGE_SIZE; i++) {
        source[i] = (unsigned char)(i * 7 + 3);
    }
    memset(destination, BLANK, PAGE_SIZE);
    check(edu_dma_to_device(&sample->edu, SOURCE, 0, SIZE) == 0 &&
              write_at(sample, DESTINATION, SIZE) && memcmp(source, destination, SIZE) == 0,
          "mapped: 2048 bytes go from page to page by way of the device");
    check(is_filled(destination + SIZE, PAGE_SIZE - SIZE, BLANK), "and nothing else is written");
}

/* The device holds what the page has held, which is other data. */
static void check_read_only(struct sample *sample)
{
    memset(source, BLANK, PAGE_SIZE);
    check(write_at(sample, SOURCE, PIECE) && is_filled(source, PAGE_SIZE, BLANK),
          "read-only: a write does not arrive");
    check(is_reported(sample, SOURCE, true), "and is reported as a write");
}

static int check_unmap(struct sample *sample)
{
    int error = unmap(sample, DESTINATION);

    memset(destination, BLANK, PAGE_SIZE);
    if (error == 0) {
        check(write_at(sample, DESTINATION, PIECE) && is_filled(destination, PAGE_SIZE, BLANK),
              "unmapped: DMA does not arrive any more");
        check(is_reported(sample, DESTINATION, false), "and is reported");
        error = map(sample, DESTINATION, destination, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    }
    return error;
}

/* To block it takes requests to the IOMMU, so an interrupt leaves it to the work queue. */
static bool is_blocked(struct sample *sample)
{
    struct piommu_device_info info;

    piommu_device_get_info(sample->device, &info);
    for (unsigned int i = 0; !info.fault_blocked && i < DECISION; i++) {
        pause();
        piommu_device_get_info(sample->device, &info);
    }
    return info.fault_blocked;
}

static int check_block(struct sample *sample)
{
    int error;

    sample->answer = PIOMMU_FAULT_BLOCK;
    check(write_at(sample, HOLE, PIECE) && is_reported(sample, HOLE, false) && is_blocked(sample),
          "a fault that is to block the device: the work queue does it");
    sample->answer = PIOMMU_FAULT_NOTE;
    check(write_at(sample, DESTINATION, PIECE) && is_filled(destination, PAGE_SIZE, BLANK) &&
              is_reported(sample, DESTINATION, false),
          "and DMA to what is mapped does not arrive");
    error = attach(sample);
    if (error == 0) {
        check(write_at(sample, DESTINATION, PIECE) && !is_filled(destination, PIECE, BLANK) &&
                  is_filled(destination + PIECE, PAGE_SIZE - PIECE, BLANK),
              "until the device is attached again");
    }
    return error;
}

int check_dma(struct sample *sample)
{
    int error = map(sample, SOURCE, source, PIOMMU_PROT_READ);

    if (error == 0) {
        error = map(sample, DESTINATION, destination, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    }
    if (error == 0) {
        check_copy(sample);
        check_read_only(sample);
        error = check_unmap(sample);
    }
    if (error == 0) {
        error = check_block(sample);
    }
    if (error == 0) {
        error = unmap(sample, SOURCE);
    }
    if (error == 0) {
        error = unmap(sample, DESTINATION);
    }
    return error;
}
