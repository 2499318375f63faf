/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_HARDWARE_H
#define DMA_HARDWARE_H

/*
 * An IOMMU for tests of the DMA API, whichever: the model of an IPMMU-VMSA or of a virtio-iommu
 * behind the library's core, with masters that have numbers. An IPMMU keeps what a master has used
 * in its TLBs until it is made to forget it.
 */

#include "fake_os.h"

#include <piommu/piommu.h>

#define DMA_HARDWARE_MASTERS 4u

struct dma_hardware;

/* How many kinds there are. */
unsigned int dma_hardware_kinds(void);
/* Never NULL. */
struct dma_hardware *dma_hardware_open(unsigned int kind);
/* What was made on it is gone: takes down the rest, and asserts that no rule was broken. */
void dma_hardware_close(struct dma_hardware *hardware);

const char *dma_hardware_name(const struct dma_hardware *hardware);
struct fake_os *dma_hardware_os(struct dma_hardware *hardware);
/* Does it have page tables, or is it told each mapping? */
bool dma_hardware_has_tables(const struct dma_hardware *hardware);
/* Can its domains be disjoint, on this host? */
bool dma_hardware_can_be_disjoint(const struct dma_hardware *hardware);

/* A PIOMMU_DOMAIN_DMA for all masters. */
struct piommu_domain *dma_hardware_domain(struct dma_hardware *hardware, bool is_disjoint);
/* The device of a master: the IDs of `config` are filled in here. */
struct piommu_device *dma_hardware_device(struct dma_hardware *hardware, unsigned int master,
                                          struct piommu_device_config config);

/* A master accesses a byte; false: it gets nowhere. */
bool dma_hardware_access(struct dma_hardware *hardware, unsigned int master, uint64_t iova,
                         bool write, uint64_t *physical);
/* Would it get somewhere? Nothing is kept or reported. */
bool dma_hardware_look(const struct dma_hardware *hardware, unsigned int master, uint64_t iova,
                       bool write, uint64_t *physical);

#endif
