/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MOCK_BACKEND_H
#define MOCK_BACKEND_H

/**
 * @file mock_backend.h
 * Backends without hardware, one of each kind, for tests of the core. A mock can be told to fail,
 * and lets a modelled device try to reach memory after each call, through whatever the mock was
 * told so far: stale translations included. What hardware of kind TABLES has cached stays in a
 * context until an invalidation takes it out, also while no endpoint is in it; or until no unit is
 * left that has made it and can be asked for one; or until it is so much that every entry is thrown
 * away.
 *
 * A mock ends the test when its core breaks the contract of backend.h:
 *  - probe: `parent` is given exactly with a parent_key; it is the unit whose instance has that
 *    key, and it runs. A unit outlives those that have it as parent.
 *  - Calls that may wait are made with no lock held, not where fake_os_forbid has forbidden to
 *    wait, not within service and not while mock_set_interrupt says that there is an interrupt.
 *  - A call after which the instance has failed (see backend.h) is followed by `stop`: until it
 *    has succeeded nothing but stop, service, block_now, release_endpoint, domain_destroy and
 *    remove comes; once it has, nothing but the last three.
 *  - While a unit is suspended: nothing but resume, domain_create, domain_destroy,
 *    release_endpoint, remove and stop. A parent is suspended after, and resumed before, its
 *    children.
 *  - Endpoints: an ID is added once, released once and only when it is blocked; attached only to a
 *    domain that this unit has made and where it is not; only from blocked, unless atomic_switch
 *    was reported; never into another domain than an endpoint with the same group number; and after
 *    an attach that has failed it is blocked next.
 *  - Domains: identity and table are there where they have to be; the table keeps to what the unit
 *    has reported; a unit makes a domain once, and destroys it once, when none of its endpoints is
 *    in it. Nothing of a unit is left when it is removed.
 *  - map and unmap are for kind REQUESTS, and a domain with endpoints; ascending, on the granule,
 *    within aperture, width and permissions; mappings do not overlap what is there, and ranges do
 *    not cut any.
 *  - invalidate is for kind TABLES, and a paging or shared domain that this unit has made.
 */

#include <piommu/backend.h>

#include "fake_os.h"

#define MOCK_MAX_ENDPOINTS 128u
/** IDs from here on do not exist. */
#define MOCK_ID_LIMIT 1000u

/** Counters of calls, by function of the backend. */
struct mock_counters {
    unsigned int add_endpoint;
    unsigned int release_endpoint;
    unsigned int attach;
    unsigned int block;
    unsigned int map;
    unsigned int mappings; /**< told in all map calls */
    unsigned int unmap;
    unsigned int ranges; /**< told in all unmap calls */
    unsigned int invalidate;
    unsigned int stop;
    unsigned int domain_create;
    unsigned int domain_destroy;
    unsigned int block_now;
    unsigned int suspend;
    unsigned int resume;
    unsigned int service;
};

/** Where a failing attach leaves the endpoint. */
enum mock_failed_attach {
    MOCK_FAILED_ATTACH_STAYS,  /**< where it was */
    MOCK_FAILED_ATTACH_ENTERS, /**< in the new domain */
    MOCK_FAILED_ATTACH_BLOCKS, /**< blocked */
};

struct mock;

/** Makes a mock; it must outlive the instance that uses it. */
struct mock *mock_create(struct fake_os *os, enum piommu_backend_kind kind);
/**
 * Makes a mock with the backend of another one, so that its instance can name the other's instance
 * as parent (parent_key). Mocks of kind TABLES that are related so when they are probed are a
 * family, and share their contexts: domain_create gives all of them one handle for one identity. An
 * invalidation by any of them serves all. Kind REQUESTS has no shared contexts.
 */
struct mock *mock_create_child(struct mock *parent);
void mock_destroy(struct mock *mock);
/** The backend; its backend_config is the address of a pointer to the mock. */
const struct piommu_backend *mock_backend(struct mock *mock);

/**
 * What the next probe reports; may be changed. Default: 39 bits, granule 4 KiB with 2 MiB and 1
 * GiB, READ and WRITE, identity domains, atomic_switch; kind TABLES: stage 1 with coherent walks
 * and 40 bits of output; shared domains of 64-bit stage 2, with 32 to 40 bits of input, start level
 * 1 or 2, up to 16 concatenated tables, 40 bits of output, CONTIGUOUS and XNX.
 */
struct piommu_backend_info *mock_info(struct mock *mock);
/** The aperture that the next probe reports; default: 39 bits. */
void mock_set_aperture(struct mock *mock, struct piommu_range aperture);
/**
 * Whether the next probe reports atomic_switch; default: true. If not, an attach of an endpoint
 * that is not blocked ends the test.
 */
void mock_set_atomic_switch(struct mock *mock, bool atomic_switch);
/** Whether the backend has suspend and resume; default: yes. Before the instance is created. */
void mock_set_suspend(struct mock *mock, bool present);
/** Whether the backend has block_now; default: no. Before the instance is created. */
void mock_set_block_now(struct mock *mock, bool present);
/** How many contexts the family has; domain_create beyond that returns -PIOMMU_ENOSPC. */
void mock_limit_contexts(struct mock *mock, unsigned int limit);
/** The reserved region that every endpoint added from now on has; NULL: none. */
void mock_set_reserved(struct mock *mock, const struct piommu_reserved_region *region);
/** A reserved region that this ID has when it is added, besides others. */
void mock_add_reserved(struct mock *mock, uint32_t id, const struct piommu_reserved_region *region);
/** The group number that is reported when this ID is added; 0: none. */
void mock_set_group(struct mock *mock, uint32_t id, uint32_t number);

/**
 * The kth call that may fail from now on (1: the next) fails with this error, once or for ever.
 * These are all but stop, remove, service, block_now, release_endpoint and domain_destroy.
 */
void mock_fail_call(struct mock *mock, unsigned int kth, int error, bool forever);
/** How many calls that may fail there were. */
unsigned int mock_fallible_calls(const struct mock *mock);
/** The next so many attach calls fail with this error; other calls work. */
void mock_fail_attaches(struct mock *mock, unsigned int count, int error);
/** What becomes of the endpoint when attach fails, for whatever reason. Default: STAYS. */
void mock_set_failed_attach(struct mock *mock, enum mock_failed_attach outcome);
/** What block_now returns from now on; 0: it works. */
void mock_fail_block_now(struct mock *mock, int error);
/** stop and remove answer -PIOMMU_ETIMEDOUT while this is set. */
void mock_refuse_stop(struct mock *mock, bool refuse);
/**
 * While this is set the unit does not answer: every call that has to wait for it (all but
 * domain_create, domain_destroy, release_endpoint, service and block_now) waits for the instance's
 * timeout, changes nothing and returns -PIOMMU_ETIMEDOUT.
 */
void mock_never_answer(struct mock *mock, bool never);

/** Called after each call of the backend, but for probe, remove and service. */
void mock_observe(struct mock *mock, void (*callback)(void *ctx), void *ctx);
const struct mock_counters *mock_counters(const struct mock *mock);
/** Invalidations of the context in which an endpoint is, whoever was asked; 0: it is in none. */
unsigned int mock_context_invalidations(struct mock *mock, uint32_t id);
/** Invalidations of all contexts of the family, those that are gone included. */
unsigned int mock_family_invalidations(struct mock *mock);
/** How many contexts of the family are in use. */
unsigned int mock_contexts(struct mock *mock);

/** Lets `service` report this fault next, after those raised before. */
void mock_raise_fault(struct mock *mock, const struct piommu_backend_fault *fault);
/** What `service` returns instead of its count, if negative. */
void mock_fail_service(struct mock *mock, int error);
/** While this is set the test calls the library in an interrupt: see the top of this file. */
void mock_set_interrupt(struct mock *mock, bool interrupt);

/**
 * An access by a device. True if it reaches memory; *physical is set then. An ID that was never
 * added reaches all, untranslated, if the instance's policy is to leave it.
 */
bool mock_reaches(struct mock *mock, uint32_t id, uint64_t iova, bool write, uint64_t *physical);
/** Whether stop has succeeded since probe. */
bool mock_has_stopped(const struct mock *mock);
/** The identity of the domain in which an endpoint is, for faults of a context; NULL: none. */
const void *mock_identity(struct mock *mock, uint32_t id);
/** Whether an endpoint is in a domain, and nothing keeps it from using it. */
bool mock_is_attached(struct mock *mock, uint32_t id);
/** Kind TABLES: caches all that hardware may cache in the contexts with endpoints. */
void mock_speculate(struct mock *mock);
/** Kind TABLES: whether hardware may still read a table in these bytes: for fake_os_on_dma_free. */
bool mock_walks(struct mock *mock, uint64_t physical, uint64_t size);
/** Kind TABLES: what stale_tlb_conflicts says of all contexts of the family. */
uint64_t mock_conflicts(struct mock *mock);

#endif
