/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CORE_CALLS_H
#define CORE_CALLS_H

/*
 * The calls of the core, each with what it has to return and to do. The raw numbers say which
 * objects and ranges; any numbers mean something, whatever came before.
 */

#include "core_world.h"

#define CORE_CALL_NUMBERS 6u

typedef void core_call(struct core_world *world, const uint16_t *raw);

/* Registration */
core_call core_call_instance_create;
core_call core_call_instance_destroy;
core_call core_call_suspend;
core_call core_call_resume;
core_call core_call_device_add;
core_call core_call_device_remove;
core_call core_call_attach;
core_call core_call_detach;
core_call core_call_fault;
core_call core_call_domain_fault;
core_call core_call_domain_create;
core_call core_call_domain_destroy;
core_call core_call_requirements;

/* Mapping */
core_call core_call_map;
core_call core_call_map_list;
core_call core_call_map_again;
core_call core_call_map_some;
core_call core_call_unmap;
core_call core_call_unmap_some;
core_call core_call_unmap_leaves;
core_call core_call_unmap_cut;
core_call core_call_protect;
core_call core_call_protect_some;
core_call core_call_replace;
core_call core_call_sync;
core_call core_call_invalidate;
core_call core_call_lookup;
core_call core_call_next;
core_call core_call_map_msi;
core_call core_call_populate;
core_call core_call_frames;
core_call core_call_shared_change;

/* What the next call meets. */
core_call core_call_fail_allocation;
core_call core_call_fail_backend;
core_call core_call_fail_attaches;
core_call core_call_be_silent;
core_call core_call_speculate;
core_call core_call_check_all;

/* The hypervisor's record of a domain, in place of the domain's own. */
piommu_next_frames core_next_frames;
/* Takes what the domain says is mapped in place of the model's list, as far as it may be so. */
void core_relearn(struct core_world *world, struct core_domain *domain,
                  const struct core_leaves *allowed);
/* Makes what a gather has collected be forgotten; false if that is not possible now. */
bool core_sync_gather(struct core_world *world, struct core_domain *domain, unsigned int gather);
/* Whether a domain exists in which mappings are made. */
bool core_is_paging(const struct core_domain *domain);

#endif
