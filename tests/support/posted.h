/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef POSTED_H
#define POSTED_H

/**
 * @file posted.h
 * A post, and what became of it. The test ends where a completion comes that nothing was posted
 * for, or comes twice, or within the post.
 */

#include "viommu_fixture.h"

#include <piommu/post.h>

/** Begin with posted_init. Read what you like. */
struct posted {
    struct piommu_completion completion;
    struct piommu_gather gather; /**< for a sync; may be used while nothing is under way */
    enum {
        POSTED_IDLE,      /**< nothing was posted, or it was complete at once, or refused */
        POSTED_POSTING,   /**< a call that posts is running */
        POSTED_UNDER_WAY, /**< it has returned 0 */
        POSTED_COMPLETE,  /**< `done` was called */
    } state;
    int error;                               /**< what that was told */
    unsigned int turn;                       /**< how many completions of all came before */
    void (*then)(struct posted *posted);     /**< may be set: called by `done` */
    void *cookie;                            /**< the test's */
    struct piommu_instance *asked_from_done; /**< may be set: asked for its state, within `done` */
};

void posted_init(struct posted *posted);

/** The calls of post.h. What they return is returned. */
int posted_map(struct posted *posted, struct piommu_domain *domain, uint64_t iova,
               uint64_t physical, uint64_t size, piommu_prot prot);
int posted_map_list(struct posted *posted, struct piommu_domain *domain, uint64_t iova,
                    const struct piommu_segment *segments, size_t count, piommu_prot prot);
int posted_sync(struct posted *posted, struct piommu_domain *domain);

/** How many completions were called since the program began. */
unsigned int posted_completions(void);

/**
 * Services the fixture's instance, and lets its device work in between, until the post is complete,
 * which it must be in the end. Returns the completion's error.
 */
int posted_wait(struct posted *posted, struct viommu_fixture *fixture);

#endif
