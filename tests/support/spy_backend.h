/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SPY_BACKEND_H
#define SPY_BACKEND_H

/**
 * @file spy_backend.h
 * Several mocks (mock_backend.h) that work together, behind one backend for each kind: each call is
 * noted in one list for all units, so that tests can ask for the order; and single functions of
 * single units can be made to fail. What the core must not do is checked by the mocks.
 */

#include <piommu/backend.h>

#include "fake_os.h"
#include "mock_backend.h"

#define SPY_MAX_UNITS 6u
/** Stands for every unit. */
#define SPY_ANY 0xffu

/** The functions of a backend. */
enum spy_call {
    SPY_PROBE,
    SPY_REMOVE,
    SPY_STOP,
    SPY_ADD_ENDPOINT,
    SPY_RELEASE_ENDPOINT,
    SPY_DOMAIN_CREATE,
    SPY_DOMAIN_DESTROY,
    SPY_ATTACH,
    SPY_BLOCK,
    SPY_MAP,
    SPY_UNMAP,
    SPY_INVALIDATE,
    SPY_SERVICE,
    SPY_BLOCK_NOW,
    SPY_SUSPEND,
    SPY_RESUME,
    SPY_CALLS,
};

/** One call that the core has made. */
struct spy_record {
    enum spy_call call;
    unsigned int unit;
    uint32_t id;               /**< of an endpoint, else 0 */
    struct piommu_range range; /**< INVALIDATE */
    bool tables;               /**< INVALIDATE: walk caches, too */
    int error;                 /**< what it has answered */
};

/** What a unit is; zero is what most tests want. */
struct spy_options {
    enum piommu_backend_kind kind;
    /** Without block_now, suspend and resume; it counts as another backend. */
    bool bare;
    /** How many contexts the unit and its children have; 0: as many as are asked for. */
    unsigned int contexts;
    /** Changes what probe says of the unit. May be NULL. */
    void (*adjust)(struct piommu_backend_info *info);
    /** The group number of an ID, or 0. May be NULL. */
    uint32_t (*group)(uint32_t id);
    /** A region that the hardware reports with this ID; used if region_id is not 0. */
    struct piommu_reserved_region region;
    uint32_t region_id;
    /** How many more regions, all different, every ID has. */
    unsigned int many_regions;
};

struct spy;

/** Makes a set of units, still empty; one at a time. The fake OS is still the caller's. */
struct spy *spy_create(struct fake_os *os);
/** To be called when the context is gone; fails the test if a unit was not given back. */
void spy_destroy(struct spy *spy);
/** Adds a unit: number 0, 1, ... */
unsigned int spy_add_unit(struct spy *spy, const struct spy_options *options);
/** What piommu_instance_create takes for a unit. */
const struct piommu_backend *spy_backend(struct spy *spy, unsigned int unit);
const void *spy_config(struct spy *spy, unsigned int unit);
/** The mock of a unit; made by probe, NULL before. */
struct mock *spy_mock(const struct spy *spy, unsigned int unit);
/** Is a unit in use: probed, and not removed? */
bool spy_runs(const struct spy *spy, unsigned int unit);

/**
 * The nth call of this function in this unit, from now on, answers `error`; 0: none does. Any
 * function but stop, remove, release_endpoint and domain_destroy.
 */
void spy_fail(struct spy *spy, unsigned int unit, enum spy_call call, unsigned int nth, int error);
/** All calls of this function in this unit answer `error`; 0: no more. */
void spy_fail_always(struct spy *spy, unsigned int unit, enum spy_call call, int error);
/** stop and remove of this unit answer -PIOMMU_ETIMEDOUT while this is set. */
void spy_refuse_stop(struct spy *spy, unsigned int unit, bool refuse);
/** Called after every call that may change what devices reach. */
void spy_observe(struct spy *spy, void (*callback)(void *ctx), void *ctx);

/** How often a function was called since spy_forget; unit may be SPY_ANY. */
unsigned int spy_count(const struct spy *spy, unsigned int unit, enum spy_call call);
/** How many calls of any function there were since spy_forget; unit may be SPY_ANY. */
unsigned int spy_calls(const struct spy *spy, unsigned int unit);
/** The calls since spy_forget, oldest first; NULL behind the last. */
const struct spy_record *spy_record(const struct spy *spy, unsigned int index);
/** The place of the nth (1: the first) call of a function in a unit; fails if there is none. */
unsigned int spy_find(const struct spy *spy, unsigned int unit, enum spy_call call,
                      unsigned int nth);
/** The same for the last call. */
unsigned int spy_find_last(const struct spy *spy, unsigned int unit, enum spy_call call);
/** Forgets the list of calls. */
void spy_forget(struct spy *spy);

/** An access by a device. True if it reaches memory; *physical is set then. */
bool spy_reaches(struct spy *spy, unsigned int unit, uint32_t id, uint64_t iova, bool write,
                 uint64_t *physical);

#endif
