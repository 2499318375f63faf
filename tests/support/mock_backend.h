/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MOCK_BACKEND_H
#define MOCK_BACKEND_H

/**
 * @file mock_backend.h
 * Backends without hardware, one of each kind, for tests of the core. The mock
 * holds its core to the contract of backend.h, can be told to fail its kth call, and lets a
 * modelled device try to reach memory after each call, through whatever the mock was told so far:
 * stale translations included.
 */

#include <piommu/backend.h>

#include "fake_os.h"

#define MOCK_MAX_ENDPOINTS 8u
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
};

struct mock;

/** Makes a mock; it must outlive the instance that uses it. */
struct mock *mock_create(struct fake_os *os, enum piommu_backend_kind kind);
void mock_destroy(struct mock *mock);
/** The backend; its backend_config is the address of a pointer to the mock. */
const struct piommu_backend *mock_backend(struct mock *mock);

/** The kth call that may fail from now on (1: the next) fails with this error, once or for ever. */
void mock_fail_call(struct mock *mock, unsigned int kth, int error, bool forever);
/** The next so many attach calls fail with this error; other calls work. */
void mock_fail_attaches(struct mock *mock, unsigned int count, int error);
/** The aperture that the next instance reports; default: 39 bits. Kind REQUESTS only. */
void mock_set_aperture(struct mock *mock, struct piommu_range aperture);
/** How many calls that may fail there were. */
unsigned int mock_fallible_calls(const struct mock *mock);
/** stop and remove answer -PIOMMU_ETIMEDOUT while this is set. */
void mock_refuse_stop(struct mock *mock, bool refuse);
/** The reserved region that every endpoint added from now on has; NULL: none. */
void mock_set_reserved(struct mock *mock, const struct piommu_reserved_region *region);
/** Called after each call of the backend that changes what devices reach. */
void mock_observe(struct mock *mock, void (*callback)(void *ctx), void *ctx);
const struct mock_counters *mock_counters(const struct mock *mock);

/** Lets `service` report this fault next time. */
void mock_raise_fault(struct mock *mock, const struct piommu_backend_fault *fault);
/** What `service` returns instead of its count, if negative. */
void mock_fail_service(struct mock *mock, int error);

/** An access by a device. True if it reaches memory; *physical is set then. */
bool mock_reaches(struct mock *mock, uint32_t id, uint64_t iova, bool write, uint64_t *physical);

#endif
