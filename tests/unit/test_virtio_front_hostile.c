/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A guest that does anything (front_hostile.h), at random.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "front_hostile.h"

#define SEEDS    12u
#define STEPS    20000u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FEATURES \
    (0x7 | PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX | PIOMMU_VIRTIO_F_RING_PACKED)

static void any_guest_is_survived(void **state)
{
    static const struct front_machine_options options[] = {
        {.pci = false},
        {.pci = false, .features = FEATURES},
        {.pci = true, .features = FEATURES, .interrupt_pin = 1},
        {.pci = true, .features = FEATURES, .message_count = 4, .interrupt_pin = 1},
    };
    struct front_hostile_result result = {0};

    (void)state;
    for (unsigned int i = 0; i < COUNT(options); i++) {
        for (uint32_t seed = 0; seed < SEEDS; seed++) {
            uint64_t random = 0x9e3779b97f4a7c15ull * (seed + 1);
            const struct front_hostile_source source = front_hostile_from(&random);

            print_message("options %u, seed %u\n", i, seed);
            front_hostile_run(&options[i], &source, STEPS, &result);
        }
    }
    /* It is a test of something only if devices have been started, and have worked. */
    print_message("%u lives, %u requests\n", result.lives, result.requests);
    assert_true(result.lives > 100 * COUNT(options) * SEEDS);
    assert_true(result.requests > 100 * COUNT(options) * SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_guest_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
