/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef HOST_H
#define HOST_H

#include <piommu/os.h>

/* The ops shim of this machine: what a port of the library consists of. */
struct piommu_host host_shim(void);

/*
 * Memory that a device reaches at other addresses than the CPU does, because it is mapped so in the
 * device's domain. It is mapped beforehand: a callback of the shim must not call the library.
 */
struct host_arena {
    uint8_t *memory;
    uint64_t device_address; /* of its first byte */
    size_t size;
    size_t used;        /* from the start on; 0 again when all was given back */
    size_t outstanding; /* allocated and not freed */
};

/* The same shim, for the driver of such a device: its dma_alloc gives what the arena has. */
struct piommu_host host_shim_in(struct host_arena *arena);

#endif
