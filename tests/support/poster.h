/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef POSTER_H
#define POSTER_H

/**
 * @file poster.h
 * A thread that posts to a domain of its own, while others service the instances: it maps and
 * unmaps some pages again and again, all of them at once and none waiting for another.
 */

#include <piommu/post.h>

#define POSTER_PAGE  0x1000ull
#define POSTER_PAGES 6u

/** Set the members before poster_run. */
struct poster {
    struct piommu_domain *domain;
    uint64_t base; /**< where it maps: 2 * POSTER_PAGES pages */
    uint64_t physical;
    unsigned int rounds; /**< maps and syncs of each page */
    int refusal;         /**< what the completion of a map may be told; 0: nothing but 0 */
    /** Called now and then, while posts are under way; a complaint, or NULL. */
    const char *(*beside)(struct poster *poster, unsigned long turn);
    void *cookie; /**< the test's */
};

/** Runs in the thread that calls it; returns what was wrong, or NULL. */
const char *poster_run(struct poster *poster);

#endif
