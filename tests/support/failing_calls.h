/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FAILING_CALLS_H
#define FAILING_CALLS_H

/**
 * @file failing_calls.h
 * Stands between the library and everything that can fail it: the shim, and any number of mock
 * backends. The calls that can fail are numbered in the order in which they come, so that a test
 * can go through all of them; and each can fail in each way that its contract leaves open: before
 * it has any effect, halfway, or after all was done.
 */

#include "fake_os.h"
#include "mock_backend.h"

/** What can fail. */
enum failing_function {
    FAILING_ALLOC,
    FAILING_DMA_ALLOC,
    FAILING_LOCK_CREATE,
    FAILING_PROBE,
    FAILING_REMOVE,
    FAILING_STOP,
    FAILING_ADD_ENDPOINT,
    FAILING_DOMAIN_CREATE,
    FAILING_ATTACH,
    FAILING_BLOCK,
    FAILING_MAP,
    FAILING_UNMAP,
    FAILING_INVALIDATE,
    FAILING_SERVICE,
    FAILING_BLOCK_NOW,
    FAILING_SUSPEND,
    FAILING_RESUME,
    FAILING_CALLBACK,  /**< of the test itself: see failing_calls_callback */
    FAILING_FUNCTIONS, /**< how many there are */
};

/** How much of a failing call takes effect all the same. */
enum failing_effect {
    FAILING_UNDONE,
    /** map, unmap: one element; attach: the endpoint is blocked */
    FAILING_HALF_DONE,
    FAILING_DONE,
};

/** A way in which a function can fail. */
struct failing_way {
    int error; /**< what is returned; a shim has no choice */
    enum failing_effect effect;
    bool for_ever; /**< so does every other call of the same kind from then on */
    bool main;     /**< one of the few that stand for all where failures are combined */
};

/** A call that went through. */
struct failing_call {
    enum failing_function function;
    unsigned int unit; /**< which unit; 0 for the shim */
};

/** A failure that is to happen. */
struct failure {
    unsigned int call; /**< number of the call, from 1 on */
    const struct failing_way *way;
};

#define FAILING_MAX_UNITS 3u

struct failing_calls;

/** Puts itself between the library and the shim. */
struct failing_calls *failing_calls_create(struct fake_os *os);
void failing_calls_destroy(struct failing_calls *calls);
/** A backend that passes everything on to the mocks of a kind. */
const struct piommu_backend *failing_calls_backend(struct failing_calls *calls,
                                                   enum piommu_backend_kind kind);
/** What makes an instance of that backend unit `number`, which is this mock. */
const void *failing_calls_unit(struct failing_calls *calls, unsigned int number, struct mock *mock);
/** To be asked by callbacks of the test that may return an error: 0 or the error. */
int failing_calls_callback(struct failing_calls *calls);

/** What is going on, for whoever reads that the core has broken its contract. */
void failing_calls_set_title(struct failing_calls *calls, const char *title);
/** Numbers calls from 1 on, and lets these of them fail: in ascending order, all to be kept. */
void failing_calls_begin(struct failing_calls *calls, const struct failure *failures, size_t count);
/** Lets nothing fail any more, and numbers nothing. */
void failing_calls_end(struct failing_calls *calls);
/** How many calls there were since the beginning, and which. */
unsigned int failing_calls_count(const struct failing_calls *calls);
const struct failing_call *failing_calls_at(const struct failing_calls *calls, unsigned int number);
/** How many calls have failed. */
unsigned int failing_calls_failed(const struct failing_calls *calls);
/** The identity of the domain that an endpoint of this unit has entered last. */
const void *failing_calls_last_domain(const struct failing_calls *calls, unsigned int unit);
/** Whether a unit did something after which the core must have failed its instance. */
bool failing_calls_is_lost(const struct failing_calls *calls, unsigned int unit);
/** Whether it was stopped since. */
bool failing_calls_is_stopped(const struct failing_calls *calls, unsigned int unit);

/** The ways in which a function can fail: `*count` of them. */
const struct failing_way *failing_calls_ways(enum failing_function function, size_t *count);
/** What the error of this way does to the instance. */
bool failing_calls_loses_unit(enum failing_function function, const struct failing_way *way);
const char *failing_calls_name(enum failing_function function);

#endif
