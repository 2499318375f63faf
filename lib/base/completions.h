/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_COMPLETIONS_H
#define PIOMMU_LIB_BASE_COMPLETIONS_H

/* Completions in the order in which they came, linked by `next`. All 0 is an empty queue. */

#include <piommu/post.h>

struct completion_queue {
    struct piommu_completion *first;
    struct piommu_completion *last;
};

static inline void completions_append(struct completion_queue *queue,
                                      struct piommu_completion *completion)
{
    completion->next = NULL;
    if (queue->first == NULL) {
        queue->first = completion;
    } else {
        queue->last->next = completion;
    }
    queue->last = completion;
}

/* Takes all of them out: a chain. */
static inline struct piommu_completion *completions_take(struct completion_queue *queue)
{
    struct piommu_completion *chain = queue->first;

    queue->first = NULL;
    return chain;
}

#endif
