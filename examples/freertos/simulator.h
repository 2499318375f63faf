/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SIMULATOR_H
#define SIMULATOR_H

/*
 * A board that is not there: an R-Car H3 of two IPMMU units, by the model of piommu::models, whose
 * table walks do not snoop. A board of yours has its own functions in these places.
 */

#include "sample.h"

#include <piommu/ipmmu-vmsa.h>
#include <piommu/models/ipmmu-vmsa.h>

#define SIMULATOR_GRANULES 32u
/* Where the board's memory for DMA is, as hardware sees it. */
#define SIMULATOR_MEMORY 0x48000000u
/* The page behind the pool is the device's buffer. */
#define SIMULATOR_BUFFER    (SIMULATOR_MEMORY + SIMULATOR_GRANULES * PIOMMU_FREERTOS_GRANULE)
#define SIMULATOR_MICRO_TLB 3u

/* Units, by the model's numbers. */
enum { SIMULATOR_ROOT, SIMULATOR_CACHE };

struct simulator {
    struct piommu_ipmmu_model *model;
    unsigned char *memory;
    unsigned char taken[SIMULATOR_GRANULES];
    struct piommu_ipmmu_vmsa_config root;
    struct piommu_ipmmu_vmsa_config cache;
};

/* False: there is no memory. */
bool simulator_open(struct simulator *simulator);
void simulator_close(struct simulator *simulator);

/* What the port and the application have to know of the board. Time is the kernel's. */
void simulator_describe(struct simulator *simulator, struct piommu_freertos_board *board,
                        struct sample_hardware *hardware);

/* The device writes a byte. False: the IPMMU does not let it. */
bool simulator_device_writes(struct simulator *simulator, uint64_t iova, unsigned char byte);
/* A byte of the device's buffer. */
unsigned char simulator_buffer(const struct simulator *simulator, size_t offset);

#endif
