/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef JUDGE_H
#define JUDGE_H

/* What the demonstration looks at to judge the hypervisor. */

#include "hypervisor.h"

/* A sum over all of a guest's memory: another one if a byte has changed. */
uint64_t judge_memory(const struct guest *guest);

/*
 * Whether for each page of the guest, and for addresses around them, these agree: what its domain
 * says, what its stage-2 table says, and what the CPU finds in that table.
 */
bool judge_views(const struct guest *guest);

/* Whether no page that a guest has can be reached by the CPU or a device of another one. */
bool judge_apart(const struct hypervisor *hypervisor);

#define JUDGE_FOREIGN UINT64_MAX
/*
 * How many bytes the device edu reaches now; JUDGE_FOREIGN: not all of them are memory of this
 * guest.
 */
uint64_t judge_reach(const struct hypervisor *hypervisor, const struct guest *guest);

/* Whether a fault of the device in this guest's domain, in `size` bytes from there on, came. */
bool judge_fault(const struct hypervisor *hypervisor, const struct guest *guest, uint64_t address,
                 uint64_t size);
void judge_print_fault(const struct iommu *iommu);

#endif
