/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A guest that does anything with the virtio-iommu that it is offered, at random: viommu_hostile.h.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>

#include "viommu_hostile.h"

#define SEEDS 400u
#define STEPS 300u

static void survive(bool accesses)
{
    struct viommu_hostile_result result = {0};

    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        uint64_t random = 0x9e3779b97f4a7c15ull * (seed + 1);
        const struct front_hostile_source source = front_hostile_from(&random);

        print_message("seed %" PRIu32 "\n", seed);
        viommu_hostile_run(&source, accesses, STEPS, &result);
    }
    /* It is a test of something only if requests came through. */
    print_message("%" PRIu64 " requests, %" PRIu64 " refused; %" PRIu64 " pages granted, %" PRIu64
                  " faults; %" PRIu64 " times broken\n",
                  result.requests, result.refused, result.granted, result.faults, result.broken);
    assert_true(result.requests - result.refused > 15 * SEEDS);
    assert_true(result.refused > 15 * SEEDS);
    assert_true(result.granted > SEEDS);
    assert_true(result.faults > SEEDS);
    assert_true(result.broken > SEEDS / 2);
    assert_true(result.restored > SEEDS / 4);
}

static void any_requests_are_survived(void **state)
{
    (void)state;
    survive(false);
}

static void any_accesses_are_survived(void **state)
{
    (void)state;
    survive(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_requests_are_survived),
        cmocka_unit_test(any_accesses_are_survived),
    };

    return cmocka_run_group_tests_name("viommu_hostile", tests, NULL, NULL);
}
