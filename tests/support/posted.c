/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "posted.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* How often a device may be looked at in vain; every look takes time, so deadlines come before. */
#define MANY_LOOKS 1000000u

static unsigned int completions;

static void on_done(struct piommu_completion *completion, int error)
{
    struct posted *posted = (struct posted *)(void *)completion; /* its first member */
    struct piommu_instance_info info;

    if (posted->state != POSTED_UNDER_WAY) {
        fail_msg("a completion in state %d", (int)posted->state);
    }
    posted->state = POSTED_COMPLETE;
    posted->error = error;
    posted->turn = completions++;
    /* The completion is ours again, and no lock is held. No one value is wrong everywhere. */
    memset(completion, posted->turn % 2 != 0 ? 0x5a : 0, sizeof(*completion));
    if (posted->asked_from_done != NULL) {
        piommu_instance_get_info(posted->asked_from_done, &info);
    }
    if (posted->then != NULL) {
        posted->then(posted);
    }
}

void posted_init(struct posted *posted)
{
    memset(posted, 0, sizeof(*posted));
    piommu_gather_init(&posted->gather);
}

static void begin(struct posted *posted)
{
    assert_true(posted->state == POSTED_IDLE || posted->state == POSTED_COMPLETE);
    posted->completion.done = on_done;
    posted->state = POSTED_POSTING;
}

static int end(struct posted *posted, int result)
{
    assert_true(posted->state == POSTED_POSTING && result <= 1);
    posted->state = result == 0 ? POSTED_UNDER_WAY : POSTED_IDLE;
    return result;
}

int posted_map(struct posted *posted, struct piommu_domain *domain, uint64_t iova,
               uint64_t physical, uint64_t size, piommu_prot prot)
{
    begin(posted);
    return end(posted,
               piommu_domain_map_post(domain, iova, physical, size, prot, &posted->completion));
}

int posted_map_list(struct posted *posted, struct piommu_domain *domain, uint64_t iova,
                    const struct piommu_segment *segments, size_t count, piommu_prot prot)
{
    begin(posted);
    return end(posted, piommu_domain_map_list_post(domain, iova, segments, count, prot,
                                                   &posted->completion));
}

int posted_sync(struct posted *posted, struct piommu_domain *domain)
{
    begin(posted);
    return end(posted, piommu_domain_sync_post(domain, &posted->gather, &posted->completion));
}

unsigned int posted_completions(void)
{
    return completions;
}

int posted_wait(struct posted *posted, struct viommu_fixture *fixture)
{
    for (unsigned int looks = 0; posted->state == POSTED_UNDER_WAY; looks++) {
        (void)piommu_instance_service(fixture->instance, 16);
        assert_true(looks < MANY_LOOKS);
        if (posted->state == POSTED_UNDER_WAY) {
            viommu_fixture_wait(fixture);
        }
    }
    assert_int_equal(posted->state, POSTED_COMPLETE);
    return posted->error;
}
