/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef EDU_H
#define EDU_H

/*
 * A driver for QEMU's "edu" PCI device, which copies between memory and a buffer of its own: the
 * smallest device that does real DMA.
 */

#include <stddef.h>
#include <stdint.h>

#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8

#define EDU_REGISTERS_SIZE ((uint64_t)0x100000) /* of BAR 0 */

/*
 * Bytes of the device's buffer that a copy can use. The buffer has 4096, but a copy that touches
 * the last one is taken for out of bounds by the device and ends QEMU.
 */
#define EDU_BUFFER_SIZE ((size_t)4095)

struct edu {
    uintptr_t registers; /* BAR 0 */
    uint16_t bdf;        /* the PCI function, also its endpoint ID at a virtio-iommu */
};

/*
 * Takes the device whose registers are at this address; it answers as an edu, or the result is -1.
 * For a program that has the registers alone: edu_start and edu_stop are for the owner of the PCI
 * function.
 */
int edu_open(struct edu *edu, uintptr_t registers);

/*
 * Checks that the function is an edu, and allows it to do DMA. -1 if it is not one or does not
 * answer as one.
 */
int edu_start(struct edu *edu, uint16_t bdf);

/* Forbids it to do DMA. */
void edu_stop(struct edu *edu);

/*
 * Copies `size` bytes between memory at `dma_address`, an IOVA when the device is behind an IOMMU,
 * and `device_offset` of the device's buffer; waits for the end, which takes 100 ms whatever the
 * size.
 *
 * Returns 0 when the device says that it is done; -1 if the range leaves the buffer (nothing was
 * started), the device was not done after 20 s, or it does not answer any more. The device does not
 * know whether memory took or gave the data: after a DMA that an IOMMU blocked these return 0 too,
 * so compare the data.
 *
 * QEMU's default is a device with 28 address bits, which silently drops the bits above. Give it
 * `-device edu,dma_mask=0xffffffffffffffff` to reach RAM without an IOMMU.
 */
int edu_dma_to_device(struct edu *edu, uint64_t dma_address, size_t device_offset, size_t size);
int edu_dma_from_device(struct edu *edu, size_t device_offset, uint64_t dma_address, size_t size);

/*
 * The same in two steps: the copy happens about 100 ms after the first, at once, whatever goes on
 * meanwhile; the second waits until it is done.
 */
int edu_dma_begin_from_device(struct edu *edu, size_t device_offset, uint64_t dma_address,
                              size_t size);
int edu_dma_wait(struct edu *edu);

/*
 * Overwrites what somebody else may have left in the device, which has no reset: its registers, and
 * its buffer by what is at the DMA address `blank`, EDU_BUFFER_SIZE bytes. Returns as the copies.
 */
int edu_clear(struct edu *edu, uint64_t blank);

#endif
