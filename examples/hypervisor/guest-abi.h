/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef GUEST_ABI_H
#define GUEST_ABI_H

/*
 * What the hypervisor and its guests agree on: both include this file. A guest for other systems
 * would be told by a device tree.
 *
 * A guest starts at GUEST_RAM, at EL1 with all interrupts masked, with the number of its single
 * pages in x0. Stage 1 is off and stays off; its memory is Normal and cacheable all the same.
 */

/* Intermediate physical addresses: the same in each guest. Devices use them as IOVAs. */
#define GUEST_RAM       0x40000000ull /* one piece */
#define GUEST_RAM_SIZE  0x00200000ull
#define GUEST_PAGES     0x50000000ull /* slots of single pages, which a guest may give back */
#define GUEST_PAGE_SIZE 4096u
#define GUEST_SLOTS     8u
#define GUEST_UART      0x09000000ull /* a PL011, emulated as far as printing goes */
#define GUEST_UART_SIZE 0x00001000ull
#define GUEST_EDU       0x0b000000ull /* the registers of the device edu, while a guest has it */
#define GUEST_GIC       0x08000000ull /* here it would be on the bare machine; guests have none */

/* The virtio-iommu that guest C has before the device: behind virtio-mmio, without interrupt. */
#define GUEST_IOMMU          0x0a000000ull
#define GUEST_IOMMU_SIZE     0x00000200ull
#define GUEST_IOMMU_MAPPINGS 32u /* so many at a time; the next one is refused */
#define GUEST_EDU_ENDPOINT   8u  /* the number of edu there */

/* What A hides in its memory and in the device, and nobody else may ever see. */
#define GUEST_SECRET 0x5e

/* By HVC #0: the number in x0, arguments in x1 to x3, results in x0 and x1. */
enum hypercall {
    HYPERCALL_YIELD = 1, /* lets the other guests run first */
    HYPERCALL_EVENT,     /* x0: the oldest enum guest_event, x1: its argument. See WFI */
    /* Counts a check: x1 is whether it holds, x2 the address and x3 the length of its text. */
    HYPERCALL_CHECK,
    HYPERCALL_GIVE_PAGE, /* x1: the address of a single page. x0: 0, or HYPERCALL_REFUSED */
    HYPERCALL_STOP,      /* ends the guest */
};

#define HYPERCALL_REFUSED   (~0ull)
#define HYPERCALL_TEXT_SIZE 100u /* of a check; the rest is cut off */

/* WFI returns when there is one. */
enum guest_event {
    EVENT_NONE,
    /* News. */
    EVENT_DEVICE,      /* edu is there */
    EVENT_DEVICE_GONE, /* it is not any more */
    EVENT_PAGE,        /* a single page has come; argument: its address */
    /* What the demonstration asks for. */
    EVENT_HELLO,     /* say hello */
    EVENT_STRAY_DMA, /* let the device write to the argument */
    EVENT_TRY_DMA,   /* let the device write to the argument, and read there */
    EVENT_GIVE_PAGE, /* give back the page at the argument, while the device writes to it */
    EVENT_LOOK_PAGE, /* look whether the page at the argument is as it was left */
    EVENT_OUTSIDE,   /* touch what is not yours, also at the argument */
    EVENT_CRASH,     /* go astray */
    /* The same, for a guest with an IOMMU. */
    EVENT_IOMMU_START,   /* start its driver, and let the device copy from page to page */
    EVENT_IOMMU_FOREIGN, /* try to map the argument for the device, and what else is not yours */
    EVENT_IOMMU_FILL,    /* map as much as there can be */
    EVENT_IOMMU_UNMAP,   /* take the pages that the device writes to away from it */
    EVENT_IOMMU_STOP,    /* stop the driver */
};

#endif
