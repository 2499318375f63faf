/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_CALLS_H
#define IPMMU_CALLS_H

/*
 * Calls of the library in a world of IPMMU units, made of raw numbers: any numbers are a call. Each
 * is made in the plain model as well, which says what has to come out of it.
 */

#include "ipmmu_world.h"

#define IPMMU_CALL_NUMBERS 4u

typedef void ipmmu_call(struct ipmmu_world *world, const uint16_t raw[IPMMU_CALL_NUMBERS]);

ipmmu_call ipmmu_call_start;
ipmmu_call ipmmu_call_stop;
ipmmu_call ipmmu_call_suspend;
ipmmu_call ipmmu_call_resume;
ipmmu_call ipmmu_call_add;
ipmmu_call ipmmu_call_remove;
ipmmu_call ipmmu_call_attach;
ipmmu_call ipmmu_call_detach;
ipmmu_call ipmmu_call_create;
ipmmu_call ipmmu_call_destroy;
ipmmu_call ipmmu_call_map;
ipmmu_call ipmmu_call_unmap;
ipmmu_call ipmmu_call_sync;
ipmmu_call ipmmu_call_protect;
/* A master faults, and the host wants its domain blocked. */
ipmmu_call ipmmu_call_fault;
/* Faults are taken in, and noted. */
ipmmu_call ipmmu_call_service;
/* From now on a unit takes so long for a FLUSH. */
ipmmu_call ipmmu_call_latency;

#endif
