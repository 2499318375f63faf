/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "poster.h"

#include <piommu/error.h>

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define TURN 16u /* looks at all pages between two calls of `beside` */

struct page {
    struct piommu_completion completion;
    struct piommu_gather gather;
    uint64_t iova;
    unsigned int rounds;  /* maps and syncs that are complete */
    bool posted;          /* the one after those was posted */
    atomic_bool complete; /* and `done` was called */
    atomic_uint calls;    /* how often it was called in all */
    unsigned int posts;   /* that it had to be called for */
    int error;            /* what it was told */
};

static void on_done(struct piommu_completion *completion, int error)
{
    struct page *page = (struct page *)(void *)completion; /* its first member */

    page->error = error;
    atomic_fetch_add(&page->calls, 1);
    atomic_store(&page->complete, true);
}

static bool maps_next(const struct page *page)
{
    return page->rounds % 2 == 0;
}

/* Posts what comes next; what finds no room is tried again. */
static const char *post_next(const struct poster *poster, struct page *page)
{
    int result;

    if (!maps_next(page) && !page->gather.pending &&
        piommu_domain_unmap(poster->domain, page->iova, POSTER_PAGE, &page->gather, NULL) != 0) {
        return "an unmap failed";
    }
    atomic_store(&page->complete, false);
    if (maps_next(page)) {
        result = piommu_domain_map_post(poster->domain, page->iova, poster->physical, POSTER_PAGE,
                                        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &page->completion);
    } else {
        result = piommu_domain_sync_post(poster->domain, &page->gather, &page->completion);
    }
    page->posted = result == 0;
    page->posts += result == 0;
    page->rounds += result == 1;
    return result >= 0 || result == -PIOMMU_EAGAIN ? NULL : "a post failed";
}

static const char *look_at(const struct poster *poster, struct page *page)
{
    struct piommu_translation found;
    bool succeeded;

    if (!page->posted) {
        return post_next(poster, page);
    }
    if (!atomic_load(&page->complete)) {
        return NULL;
    }
    page->posted = false;
    succeeded = page->error == 0;
    if (atomic_load(&page->calls) != page->posts) {
        return "a completion came more than once";
    }
    if (!succeeded && (!maps_next(page) || page->error != poster->refusal)) {
        return "a completion brought an error";
    }
    if (page->gather.pending) {
        return "a completion came, and the gather is pending";
    }
    if ((piommu_domain_lookup(poster->domain, page->iova, &found) == 0) !=
        (succeeded && maps_next(page))) {
        return "a completion came, and lookups do not know of it";
    }
    page->rounds += succeeded;
    return NULL;
}

const char *poster_run(struct poster *poster)
{
    struct page pages[POSTER_PAGES];
    const char *complaint = NULL;
    unsigned int done = 0;

    memset(pages, 0, sizeof(pages));
    for (unsigned int i = 0; i < POSTER_PAGES; i++) {
        pages[i].completion.done = on_done;
        pages[i].iova = poster->base + 2 * i * POSTER_PAGE;
        piommu_gather_init(&pages[i].gather);
    }
    for (unsigned long turn = 1; done < POSTER_PAGES && complaint == NULL; turn++) {
        done = 0;
        for (unsigned int i = 0; i < POSTER_PAGES && complaint == NULL; i++) {
            if (pages[i].rounds < poster->rounds) {
                complaint = look_at(poster, &pages[i]);
            } else {
                done++;
            }
        }
        if (turn % TURN == 0 && complaint == NULL) {
            complaint = poster->beside(poster, turn / TURN);
        }
        (void)sched_yield();
    }
    return complaint;
}
