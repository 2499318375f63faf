/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_DEVICE_PROGRAM_H
#define VIOMMU_DEVICE_PROGRAM_H

/*
 * What a guest does with its core on the virtio-iommu that it is offered, and what a man in the
 * middle does to registers, rings and requests, made of raw numbers, so that any numbers are a
 * program. As long as nobody interferes, every call has to do what a plain model says, and every
 * endpoint reaches what it says. After an interference calls may fail, in ways that the headers
 * name, and endpoints may reach what the guest did not mean, but nothing that it was never granted
 * (viommu_machine.h); until the driver has reset the device: then everything is right again.
 */

#include "viommu_program.h"

void viommu_device_program_generate(struct viommu_program *program, uint64_t seed, size_t length);

void viommu_device_program_run(const struct viommu_program *program, bool verbose);

#endif
