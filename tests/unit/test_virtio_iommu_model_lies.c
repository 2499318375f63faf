/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of the ways in which the virtio-iommu model misbehaves. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "viommu_raw.h"

enum {
    NEEDS_RESET = 0x40,
};

/* Posts a request that is refused in a slot, without a doorbell. */
static void post_detach(struct raw *raw, unsigned int slot)
{
    uint8_t request[20];

    raw_build_detach(request, 1, RAW_STRANGER);
    raw_post(raw, slot, request, sizeof request, 4);
}

static struct raw_answer take(struct raw *raw, unsigned int queue)
{
    struct raw_answer answer;

    assert_true(raw_next_used(raw, queue, &answer));
    return answer;
}

/* ---- used rings ---------------------------------------------------------------------------- */

static void test_lies_complete_a_request_again_later(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    post_detach(raw, 3);
    raw_notify(raw, 0);
    assert_int_equal(take(raw, 0).id, 6);
    viommu_model_complete_again(raw->model);
    answer = take(raw, 0);
    assert_int_equal(answer.id, 6);
    assert_int_equal(answer.length, 4);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    post_detach(raw, 3);
    raw_notify(raw, 0);
    viommu_model_complete_again(raw->model); /* while it is in flight anew */
    assert_int_equal(take(raw, 0).id, 6);
    assert_int_equal(viommu_model_run(raw->model, SIZE_MAX), 1);
    assert_int_equal(take(raw, 0).id, 6);
}

static void test_lies_count_answers_that_are_none(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_STATUS_VALUE, 1, 9);
    post_detach(raw, 0);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_counters(raw->model)->odd_answers, 1);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_STATUS_UNTOUCHED, 1, 0);
    post_detach(raw, 1);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_counters(raw->model)->odd_answers, 2);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_ANSWER_EMPTY, 1, 0);
    post_detach(raw, 2);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_counters(raw->model)->empty_answers, 1);
    assert_int_equal(viommu_model_counters(raw->model)->odd_answers, 2);
}

static void test_lies_add_used_entries_to_any_queue(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    viommu_model_inject_used(raw->model, 0, 1, 1); /* nothing runs, nothing happens */
    raw_start(raw);
    for (unsigned int queue = 0; queue < 2; queue++) {
        viommu_model_inject_used(raw->model, queue, 0xffff0000, 0x80000000 + queue);
        answer = take(raw, queue);
        assert_int_equal(answer.id, 0xffff0000);
        assert_int_equal(answer.length, 0x80000000 + queue);
        assert_false(raw_next_used(raw, queue, &answer));
    }
    assert_true(viommu_model_interrupt_pending(raw->model));
}

static void test_lies_destroy_the_available_ring_behind_the_driver(void **state)
{
    struct raw *raw = *state;
    uint8_t *ring;

    raw_start(raw);
    viommu_model_set_processing(raw->model, VIOMMU_MODEL_AT_RUN);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_SCRIBBLE_AVAILABLE, 1, 0);
    post_detach(raw, 0);
    post_detach(raw, 1);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    ring = raw_at(raw, raw->rings[0].base + 0x400);
    assert_int_equal(raw_get(ring, 2), 0);
    assert_int_equal(raw_get(ring + 2, 2), 2); /* the index is what the driver said */
    for (unsigned int i = 0; i < RAW_QUEUE_SIZE; i++) {
        assert_int_equal(raw_get(ring + 4 + 2 * i, 2), 0xffff);
    }
    assert_int_equal(raw_get(ring + 4 + 2 * RAW_QUEUE_SIZE, 2), 0); /* used_event is behind it */
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
    post_detach(raw, 2);
    raw_notify(raw, 0);
    assert_int_equal(viommu_model_run(raw->model, 1), 1);
}

/* ---- events -------------------------------------------------------------------------------- */

static void test_lies_blow_storms_of_events(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    raw_post_event_buffers(raw, 2);
    viommu_model_storm(raw->model, RAW_STRANGER, 0x1234000, 5);
    for (unsigned int i = 0; i < 2; i++) {
        raw_expect_event(raw, 2, 0x101, RAW_STRANGER, 0x1234000);
    }
    assert_false(raw_next_used(raw, 1, &answer));
    assert_int_equal(viommu_model_storm_left(raw->model), 3);
    assert_int_equal(viommu_model_counters(raw->model)->events_dropped, 0);
    for (unsigned int i = 0; i < 3; i++) {
        raw_post_event_buffer(raw, 0, 24);
        raw_notify(raw, 1);
        raw_expect_event(raw, 2, 0x101, RAW_STRANGER, 0x1234000);
    }
    raw_post_event_buffer(raw, 0, 24);
    raw_notify(raw, 1);
    assert_false(raw_next_used(raw, 1, &answer));
    viommu_model_storm(raw->model, RAW_STRANGER, 0, UINT64_MAX);
    assert_int_equal(viommu_model_storm_left(raw->model), UINT64_MAX - 1);
    raw_start(raw);
    assert_int_equal(viommu_model_storm_left(raw->model), 0);
}

/* ---- at any point -------------------------------------------------------------------------- */

static void test_lies_need_a_reset_at_any_access(void **state)
{
    struct raw *raw = *state;
    struct raw_answer answer;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_NEEDS_RESET_AT_ACCESS, 3, 0);
    post_detach(raw, 0);
    raw_notify(raw, 0);
    assert_int_equal(take(raw, 0).id, 0);
    assert_int_equal(raw_status(raw), 0x0f);
    post_detach(raw, 0);
    raw_notify(raw, 0);
    assert_false(raw_next_used(raw, 0, &answer));
    assert_int_equal(raw_status(raw), 0x0f | NEEDS_RESET);
    raw_start(raw);
    assert_int_equal(raw_status(raw), 0x0f);
}

static void test_lies_vanish_at_any_access(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_GONE_AT_ACCESS, 2, 0);
    assert_int_equal(raw_status(raw), 0x0f);
    raw_write_status(raw, 0);
    assert_int_equal(raw_status(raw), 0xff);
    assert_int_equal(viommu_model_status(raw->model), 0x0f);
    assert_int_equal(viommu_model_config_read(raw->model, 0, 4), UINT32_MAX);
    viommu_model_behave(raw->model);
    assert_int_equal(raw_status(raw), 0x0f);
}

static void test_lies_show_any_status(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_STATUS_IS, 0, 0xa5);
    assert_int_equal(raw_status(raw), 0xa5);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_STATUS_IS, 0, 0);
    raw_set_status(raw, 4); /* clears what the driver does not see, and is not to blame for it */
    assert_int_equal(viommu_model_violations(raw->model), 0);
    viommu_model_behave(raw->model);
    assert_int_equal(raw_status(raw), 0x0f);
}

static void test_lies_show_other_features_at_each_read(void **state)
{
    struct raw *raw = *state;
    uint64_t offered = raw->parameters.offered_features;
    uint64_t flicker = VIOMMU_MODEL_F_RING_PACKED | VIOMMU_MODEL_F_PROBE;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_FEATURES_FLICKER, 2, flicker);
    assert_true(raw_read_features(raw) == (offered ^ VIOMMU_MODEL_F_RING_PACKED));
    assert_true(raw_read_features(raw) == offered);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_FEATURES_FLICKER, 0, flicker);
    assert_true(raw_read_features(raw) == (offered ^ flicker));
    viommu_model_behave(raw->model);
    assert_true(raw_negotiate(raw, UINT64_MAX));
    assert_true(viommu_model_accepted_features(raw->model) == offered);
}

/* ---- PCI ----------------------------------------------------------------------------------- */

/* The first capability of a type, or 0; behind `place`, or from the start if that is 0. */
static unsigned int find_capability(struct raw *raw, uint8_t type, unsigned int place)
{
    unsigned int offset = viommu_model_config_read(raw->model, place != 0 ? place + 1 : 0x34, 1);

    while (offset != 0 && (viommu_model_config_read(raw->model, offset, 1) != 9 ||
                           viommu_model_config_read(raw->model, offset + 3, 1) != type)) {
        offset = viommu_model_config_read(raw->model, offset + 1, 1);
    }
    return offset;
}

static void test_lies_are_told_of_one_capability_alone(void **state)
{
    static const struct {
        enum viommu_model_misbehaviour what;
        unsigned int member;
        unsigned int width;
        uint32_t lie;
    } lies[] = {
        {VIOMMU_MODEL_CAPABILITY_SHORT, 2, 1, 5},
        {VIOMMU_MODEL_CAPABILITY_BAR, 4, 1, 6},
        {VIOMMU_MODEL_CAPABILITY_OFFSET, 8, 4, 0xfffff000},
        {VIOMMU_MODEL_CAPABILITY_LENGTH, 12, 4, 0x80000000},
    };
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        for (uint8_t liar = 1; liar <= 4; liar++) {
            viommu_model_misbehave(raw->model, lies[i].what, liar, lies[i].lie);
            for (uint8_t type = 1; type <= 4; type++) {
                unsigned int member = find_capability(raw, type, 0) + lies[i].member;
                uint32_t value = viommu_model_config_read(raw->model, member, lies[i].width);

                assert_int_equal(value == lies[i].lie, type == liar);
            }
        }
        viommu_model_behave(raw->model);
    }
}

static void test_lies_put_a_decoy_before_a_capability(void **state)
{
    struct raw *raw = *state;

    for (uint8_t type = 1; type <= 4; type++) {
        unsigned int decoy;

        viommu_model_misbehave(raw->model, VIOMMU_MODEL_CAPABILITY_DECOY, 0, type);
        decoy = find_capability(raw, type, 0);
        assert_int_equal(viommu_model_config_read(raw->model, decoy + 4, 1), 7);
        decoy = find_capability(raw, type, decoy);
        assert_int_equal(viommu_model_config_read(raw->model, decoy + 4, 1), VIOMMU_MODEL_BAR);
        assert_int_equal(find_capability(raw, type, decoy), 0);
        viommu_model_misbehave(raw->model, VIOMMU_MODEL_CAPABILITY_MISSING, 0, type);
        decoy = find_capability(raw, type, 0);
        assert_int_equal(find_capability(raw, type, decoy), 0); /* the decoy alone is left */
        viommu_model_behave(raw->model);
        assert_int_equal(find_capability(raw, type, find_capability(raw, type, 0)), 0);
    }
}

static void test_lies_about_the_function_and_its_bar(void **state)
{
    struct raw *raw = *state;

    viommu_model_misbehave(raw->model, VIOMMU_MODEL_BAR_SIZE_IS, 0, 0x10);
    assert_int_equal(viommu_model_bar_size(raw->model, 4), 0x10);
    assert_int_equal(viommu_model_bar_size(raw->model, 3), 0);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_PCI_ID, 0, 0x10411af4);
    assert_int_equal(viommu_model_config_read(raw->model, 0, 4), 0x10411af4);
    viommu_model_behave(raw->model);
    assert_int_equal(viommu_model_bar_size(raw->model, 4), VIOMMU_MODEL_BAR_SIZE);
    assert_int_equal(viommu_model_config_read(raw->model, 0, 4), 0x10571af4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAW_TESTS_OF_ALL_RINGS(test_lies_complete_a_request_again_later),
        RAW_TESTS_OF_ALL_RINGS(test_lies_count_answers_that_are_none),
        RAW_TESTS(test_lies_add_used_entries_to_any_queue),
        RAW_TESTS(test_lies_destroy_the_available_ring_behind_the_driver),
        RAW_TESTS_OF_ALL_RINGS(test_lies_blow_storms_of_events),
        RAW_TESTS_OF_ALL_RINGS(test_lies_need_a_reset_at_any_access),
        RAW_TESTS_OF_ALL_RINGS(test_lies_vanish_at_any_access),
        RAW_TESTS_OF_ALL_RINGS(test_lies_show_any_status),
        RAW_TESTS_OF_ALL_RINGS(test_lies_show_other_features_at_each_read),
        RAW_TEST_BEHIND(test_lies_are_told_of_one_capability_alone, raw_set_up, ""),
        RAW_TEST_BEHIND(test_lies_put_a_decoy_before_a_capability, raw_set_up, ""),
        RAW_TEST_BEHIND(test_lies_about_the_function_and_its_bar, raw_set_up, ""),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
