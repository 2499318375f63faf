/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The edu device; QEMU describes it in docs/specs/edu. Registers below 0x80 take accesses of 4
 * bytes only, those from 0x80 on of 4 or 8. An address has to be written by one access of 8: one of
 * 4 clears the upper half.
 */

#include "edu.h"
#include "machine.h"

#define EDU_ID                0x00
#define EDU_LIVENESS          0x04 /* reads as the complement of what was written last */
#define EDU_FACTORIAL         0x08
#define EDU_INTERRUPT_ENABLE  0x20 /* for the end of a computation */
#define EDU_INTERRUPT_RELEASE 0x64
#define EDU_DMA_SOURCE        0x80
#define EDU_DMA_DESTINATION   0x88
#define EDU_DMA_COUNT         0x90
#define EDU_DMA_COMMAND       0x98

#define EDU_COMMAND_START       0x1u /* reads as 1 until the copy is done */
#define EDU_COMMAND_FROM_DEVICE 0x2u /* from the buffer to memory; else from memory to the buffer */

/* What every register reads as when the device does not answer any more. */
#define EDU_GONE UINT64_MAX

/* Where the buffer is in the device's own address space. */
#define EDU_BUFFER 0x40000u

/* A copy takes 100 ms, if QEMU gets the CPU; others may want it, too. */
#define EDU_TIMEOUT ((uint64_t)20000000000)
/* QEMU cannot run its timers while it answers for a register: it is asked at intervals. */
#define EDU_INTERVAL ((uint64_t)200000)

int edu_open(struct edu *edu, uintptr_t registers)
{
    const uint32_t probe = 0x12345678;

    edu->registers = registers;
    /* The ID is 0xMMmm00ed: a version that may change, and a fixed lower half. */
    if ((machine_mmio_read(registers + EDU_ID, 4) & 0xffff) != 0x00ed) {
        return -1;
    }
    machine_mmio_write(registers + EDU_LIVENESS, 4, probe);
    return machine_mmio_read(registers + EDU_LIVENESS, 4) == (uint32_t)~probe ? 0 : -1;
}

static int wait_until_idle(const struct edu *edu)
{
    uint64_t start = machine_now();

    for (;;) {
        uint64_t command = machine_mmio_read(edu->registers + EDU_DMA_COMMAND, 8);

        if ((command & EDU_COMMAND_START) == 0) {
            return 0;
        }
        if (command == EDU_GONE || machine_now() - start > EDU_TIMEOUT) {
            return -1;
        }
        machine_delay(EDU_INTERVAL);
    }
}

static int begin(struct edu *edu, uint64_t source, uint64_t destination, size_t size,
                 unsigned int direction)
{
    /* While a copy runs, writes to these registers are ignored. */
    if (wait_until_idle(edu) != 0) {
        return -1;
    }
    machine_mmio_write(edu->registers + EDU_DMA_SOURCE, 8, source);
    machine_mmio_write(edu->registers + EDU_DMA_DESTINATION, 8, destination);
    machine_mmio_write(edu->registers + EDU_DMA_COUNT, 8, size);
    /* The data is in memory before the device starts. */
    machine_barrier();
    machine_mmio_write(edu->registers + EDU_DMA_COMMAND, 8, EDU_COMMAND_START | direction);
    return 0;
}

static bool is_inside(size_t device_offset, size_t size)
{
    return size != 0 && size <= EDU_BUFFER_SIZE && device_offset <= EDU_BUFFER_SIZE - size;
}

int edu_dma_wait(struct edu *edu)
{
    int error = wait_until_idle(edu);

    /* The data is read only after the device is done. */
    machine_barrier();
    return error;
}

int edu_dma_to_device(struct edu *edu, uint64_t dma_address, size_t device_offset, size_t size)
{
    if (!is_inside(device_offset, size) ||
        begin(edu, dma_address, EDU_BUFFER + device_offset, size, 0) != 0) {
        return -1;
    }
    return edu_dma_wait(edu);
}

int edu_dma_begin_from_device(struct edu *edu, size_t device_offset, uint64_t dma_address,
                              size_t size)
{
    if (!is_inside(device_offset, size)) {
        return -1;
    }
    return begin(edu, EDU_BUFFER + device_offset, dma_address, size, EDU_COMMAND_FROM_DEVICE);
}

int edu_dma_from_device(struct edu *edu, size_t device_offset, uint64_t dma_address, size_t size)
{
    if (edu_dma_begin_from_device(edu, device_offset, dma_address, size) != 0) {
        return -1;
    }
    return edu_dma_wait(edu);
}

int edu_clear(struct edu *edu, uint64_t blank)
{
    machine_mmio_write(edu->registers + EDU_FACTORIAL, 4, 0);
    machine_mmio_write(edu->registers + EDU_INTERRUPT_ENABLE, 4, 0);
    machine_mmio_write(edu->registers + EDU_INTERRUPT_RELEASE, 4, UINT32_MAX);
    return edu_dma_to_device(edu, blank, 0, EDU_BUFFER_SIZE);
}
