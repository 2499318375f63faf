/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef POSTING_BACKEND_H
#define POSTING_BACKEND_H

/**
 * @file posting_backend.h
 * A mock (mock_backend.h) of kind REQUESTS to which changes can be posted. What is posted lies in
 * the unit until the test answers it, in the order that the test likes, and has its effect then;
 * the mock checks that it conflicts with nothing. A test ends where the core sends a second batch
 * of a completion before the first one was given back.
 */

#include <piommu/instance.h>

#include "mock_backend.h"

#define POSTING_MAX_UNITS 3u
#define POSTING_ROOM      32u
/** The timeout of the instances. */
#define POSTING_TIMEOUT 1000000ull

/** Something that was posted. */
struct posting_request {
    struct piommu_completion *completion;
    void *domain;
    bool maps;
    struct piommu_backend_mapping mapping; /**< of a removal: only where it is */
};

/** What becomes of a request. */
enum posting_effect {
    POSTING_UNDONE,
    POSTING_DONE,
};

/** Read what you like; change only what says so. */
struct posting_unit {
    struct mock *mock;
    struct piommu_backend backend; /**< may be changed before the start */
    struct piommu_instance *instance;
    unsigned int room; /**< may be changed: how many requests it takes; at first POSTING_ROOM */
    bool dead;         /**< may be set: it does nothing any more, and says so when it is called */
    struct posting_request requests[POSTING_ROOM];
    unsigned int count;
    struct piommu_completion *answered[POSTING_ROOM]; /**< and not given back */
    unsigned int answered_count;
    unsigned int batches; /**< that were sent to it so far */
};

/** Makes a unit; there can be POSTING_MAX_UNITS at once. */
struct posting_unit *posting_create(struct fake_os *os);
/** Creates its instance; returns what that did. */
int posting_start(struct posting_unit *unit, struct piommu_context *context, const char *name);
void posting_destroy(struct posting_unit *unit);

/** Answers one of its requests: 0, 1, ... */
void posting_answer(struct posting_unit *unit, unsigned int number, enum posting_effect effect,
                    int error);

#endif
