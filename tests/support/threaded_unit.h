/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef THREADED_UNIT_H
#define THREADED_UNIT_H

/*
 * An IOMMU without hardware, of either kind, for a core that several threads use at once. It takes
 * whatever backend.h lets run in parallel, and puts the threads in no order while it does so. It
 * insists on what backend.h promises: what is released is not used again; attach, block, block_now
 * and release of one endpoint never overlap, nor do map, unmap, attach and block of one domain that
 * is told its mappings, nor do two of service or of stop; a suspended unit is left alone; a domain
 * without endpoints is told nothing.
 *
 * Each endpoint has a TLB and walk cache that forgets nothing by itself.
 *
 * What is wrong ends the process by abort(), from whatever thread.
 */

#include "threaded_host.h"

#include <piommu/backend.h>

/** IDs are 0 to this - 1. */
#define THREADED_IDS 16u
/** The `raw` of a fault that the test has asked for. */
#define THREADED_PROVOKED 0x70726f76u

/** What block_now does. */
enum threaded_block_now {
    THREADED_BLOCK_NOW,         /* it works */
    THREADED_BLOCK_NOW_REFUSES, /* it works two times of three */
    THREADED_NO_BLOCK_NOW,      /* there is none */
};

/** What a unit is like. */
struct threaded_unit_options {
    enum piommu_backend_kind kind;
    enum threaded_block_now block_now;
    bool atomic_switch;
    uint32_t table_flags;
    uint64_t seed;           /* of its faults */
    unsigned int most_added; /* how often an endpoint can be added; 0: often */
    /* Called in the midst of each call, while others may run. NULL: another thread may. */
    void (*work)(void);
};

struct threaded_unit;

/** Makes a unit; never NULL. It must outlive the instance. */
struct threaded_unit *threaded_unit_create(struct threaded_host *h,
                                           const struct threaded_unit_options *options);
void threaded_unit_destroy(struct threaded_unit *unit);
/** The backend; its backend_config is the address of a pointer to the unit. */
const struct piommu_backend *threaded_unit_backend(const struct threaded_unit *unit);

/* From here on, to be called from any thread at any time. */

/** Endpoints of this ID may be attached from now on, or no more. At first they may not. */
void threaded_unit_permit(struct threaded_unit *unit, uint32_t id, bool may_attach);
/** An access of a device. True if it reaches memory; *physical is set then. */
bool threaded_unit_reaches(struct threaded_unit *unit, uint32_t id, uint64_t iova, bool write,
                           uint64_t *physical);
/** May some endpoint still find its way through this table? */
bool threaded_unit_holds_table(struct threaded_unit *unit, uint64_t physical, uint64_t size);

/** From now on `service` reports faults of this ID at random, or none. At first it does not. */
void threaded_unit_make_faults(struct threaded_unit *unit, uint32_t id, bool on);
/** Makes `service` report one fault of this ID, with `raw` THREADED_PROVOKED. */
void threaded_unit_provoke(struct threaded_unit *unit, uint32_t id);
/** Has that fault not been reported yet? */
bool threaded_unit_is_provoked(struct threaded_unit *unit, uint32_t id);

/** The nth map, unmap or invalidate from now (1: the next), and all after it, do not answer. */
void threaded_unit_fail_mapping(struct threaded_unit *unit, unsigned int nth);
/** The nth call of service from now, and all after it, find the unit broken. */
void threaded_unit_fail_service(struct threaded_unit *unit, unsigned int nth);
/** While this is set, stop and remove answer -PIOMMU_ETIMEDOUT. */
void threaded_unit_refuse_stop(struct threaded_unit *unit, bool refuse);
bool threaded_unit_is_stopped(struct threaded_unit *unit);

#endif
