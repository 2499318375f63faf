/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_CALLS_H
#define DMA_CALLS_H

/*
 * What a random program of the DMA API is made of: calls of drivers, what their devices and the CPU
 * do with the buffers meanwhile, and mistakes. Any numbers mean something.
 */

#include "dma_world.h"

enum { DMA_CALL_NUMBERS = 6 };

typedef void dma_call(struct dma_world *world, const uint16_t *raw);

dma_call dma_call_map_single;
dma_call dma_call_map_sg;
dma_call dma_call_map_resource;
dma_call dma_call_link; /* a range, of which all is linked */
dma_call dma_call_alloc;
dma_call dma_call_unmap;
dma_call dma_call_unmap_twice;
dma_call dma_call_unmap_wrong; /* with another size or direction, where that is found out */
dma_call dma_call_sync_cpu;
dma_call dma_call_sync_device;
dma_call dma_call_sync_wrong; /* what nobody has mapped */
dma_call dma_call_cpu_writes;
dma_call dma_call_device_writes;
dma_call dma_call_poll;
dma_call dma_call_flush;
dma_call dma_call_clock;
dma_call dma_call_cpu; /* it goes on on another one */
dma_call dma_call_masks;

/* Unmaps all that is mapped. */
void dma_calls_end(struct dma_world *world);

#endif
