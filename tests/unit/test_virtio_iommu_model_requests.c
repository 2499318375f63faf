/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Tests of what the virtio-iommu model answers when it is set up unlike the common device. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "viommu_properties.h"
#include "viommu_raw.h"

enum {
    BYPASS = 1, /* flag of ATTACH */
    MMIO = 4,   /* flag of MAP */
    CONFIG_CHANGED = 2,
};

/* A request of each type that would be fine in domain 1; returns its status. */
static int ask_for(struct raw *raw, uint8_t type)
{
    switch (type) {
    case VIOMMU_MODEL_ATTACH:
        return raw_attach(raw, 1, RAW_ENDPOINT, 0);
    case VIOMMU_MODEL_DETACH:
        return raw_detach(raw, 1, RAW_ENDPOINT);
    case VIOMMU_MODEL_MAP:
        return raw_map(raw, 1, 0, 0xfff, RAW_MEMORY_BASE, RAW_READ);
    case VIOMMU_MODEL_UNMAP:
        return raw_unmap(raw, 1, 0, 0xfff);
    default:
        return raw_probe(raw, RAW_THIRD).status;
    }
}

/* The order in which all of them succeed. */
static const uint8_t types[] = {VIOMMU_MODEL_PROBE, VIOMMU_MODEL_ATTACH, VIOMMU_MODEL_MAP,
                                VIOMMU_MODEL_UNMAP, VIOMMU_MODEL_DETACH};

/* ---- statuses ------------------------------------------------------------------------------ */

static void test_requests_can_each_be_unsupported(void **state)
{
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof types; i++) {
        raw->parameters.unsupported = UINT32_C(1) << types[i];
        raw_make_model(raw);
        raw_start(raw);
        for (size_t j = 0; j < i; j++) {
            assert_int_equal(ask_for(raw, types[j]), VIOMMU_MODEL_S_OK);
        }
        assert_int_equal(ask_for(raw, types[i]), VIOMMU_MODEL_S_UNSUPP);
        /* Nothing has changed. */
        assert_int_equal(viommu_model_domain_exists(raw->model, 1), i > 1);
        assert_int_equal(viommu_model_mapping_count(raw->model, 1), i == 3 ? 1 : 0);
    }
}

static void test_requests_can_each_get_any_status(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    for (unsigned int status = 0; status <= 0xff; status += status < 10 ? 1 : 35) {
        for (size_t i = 0; i < sizeof types; i++) {
            assert_true(viommu_model_fail_request(raw->model, types[i], 1, (uint8_t)status));
            assert_int_equal(ask_for(raw, types[i]), status);
            assert_int_equal(viommu_model_domain_count(raw->model), 0); /* OK is a lie, too */
        }
    }
    for (unsigned int status = 0; status <= VIOMMU_MODEL_S_NOMEM; status++) {
        assert_int_equal(viommu_model_counters(raw->model)->answers[status], sizeof types);
    }
}

static void test_requests_of_unknown_type_may_be_unsupported(void **state)
{
    struct raw *raw = *state;
    uint8_t request[4] = {6};
    struct raw_answer answer;

    raw->parameters.unknown_is_unsupp = true;
    raw_make_model(raw);
    raw_start(raw);
    answer = raw_ask(raw, request, sizeof request, 4);
    assert_int_equal(answer.length, 4);
    assert_int_equal(answer.status, VIOMMU_MODEL_S_UNSUPP);
    raw_expect_violation(raw, "unknown type 6");
    request[0] = 0xff;
    answer = raw_ask(raw, request, sizeof request, 8);
    assert_int_equal(answer.length, 4);
    assert_int_equal(*raw_at(raw, raw_slot_address(0) + 128), VIOMMU_MODEL_S_UNSUPP);
    raw_expect_violation(raw, "unknown type 255");
    answer = raw_ask(raw, request, sizeof request, 3); /* no room for an answer */
    assert_int_equal(answer.length, 0);
    raw_expect_violation(raw, "unknown type 255");
}

static void test_requests_meet_the_limits_of_the_device(void **state)
{
    struct raw *raw = *state;

    raw->parameters.max_all_mappings = 3;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 2, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 2, 0x1000, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_NOMEM);
    assert_int_equal(raw_unmap(raw, 2, 0, 0xfff), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
}

/* ---- domains ------------------------------------------------------------------------------- */

static void test_requests_cannot_take_an_endpoint_from_company_if_that_is_unsupported(void **state)
{
    struct raw *raw = *state;

    raw->parameters.lone_detach = true;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 0), VIOMMU_MODEL_S_UNSUPP);
    assert_int_equal(raw_detach(raw, 2, RAW_OTHER), VIOMMU_MODEL_S_UNSUPP);
    assert_false(viommu_model_domain_exists(raw->model, 1));
    viommu_model_remove_endpoint(raw->model, RAW_ENDPOINT);
    assert_int_equal(raw_detach(raw, 2, RAW_OTHER), VIOMMU_MODEL_S_OK);
}

static void test_requests_keep_bypass_domains_apart_from_others(void **state)
{
    struct raw *raw = *state;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, BYPASS), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, 0), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_attach(raw, 1, RAW_OTHER, BYPASS), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_READ), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_unmap(raw, 1, 0, 0xfff), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_attach(raw, 2, RAW_THIRD, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, 2, RAW_OTHER, BYPASS), VIOMMU_MODEL_S_INVAL);
    assert_int_equal(raw_verdict(raw, RAW_OTHER, 0x5000, true), VIOMMU_MODEL_IDENTITY);
    assert_int_equal(raw_detach(raw, 1, RAW_OTHER), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_OTHER, 0x5000, true), VIOMMU_MODEL_BLOCKED);
}

static void test_requests_use_any_domain_if_no_range_is_offered(void **state)
{
    struct raw *raw = *state;

    raw->parameters.domain_start = 5;
    raw->parameters.domain_end = 6;
    raw->parameters.offered_features &= ~VIOMMU_MODEL_F_DOMAIN_RANGE;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 0, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_attach(raw, UINT32_MAX, RAW_OTHER, 0), VIOMMU_MODEL_S_OK);
}

/* ---- mappings ------------------------------------------------------------------------------ */

static void test_requests_are_aligned_to_the_granule(void **state)
{
    static const struct {
        uint64_t mask;
        uint64_t granule;
    } cases[] = {
        {UINT64_C(0xfffffffffffff000), 0x1000},
        {UINT64_C(0xffffffffffffc000), 0x4000},
        {UINT64_C(0x20010000), 0x10000},
        {UINT64_C(0x40200000), 0x200000},
        {UINT64_C(0x8000000000000000), UINT64_C(1) << 63},
    };
    struct raw *raw = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t granule = cases[i].granule;

        raw->parameters.page_size_mask = cases[i].mask;
        raw_make_model(raw);
        raw_start(raw);
        assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_map(raw, 1, 0, granule - 1, granule, RAW_READ), VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_map(raw, 1, granule, granule / 2 * 3 - 1, 0, RAW_READ),
                         VIOMMU_MODEL_S_RANGE);
        raw_expect_violation(raw, "unaligned");
        assert_int_equal(raw_map(raw, 1, granule, granule - 1 + granule, granule / 2, RAW_READ),
                         VIOMMU_MODEL_S_RANGE);
        raw_expect_violation(raw, "unaligned");
        assert_int_equal(raw_map(raw, 1, granule, granule - 1 + granule, 0, RAW_READ),
                         VIOMMU_MODEL_S_OK);
        assert_int_equal(raw_unmap(raw, 1, 0, granule / 2 - 1), VIOMMU_MODEL_S_RANGE);
        assert_int_equal(viommu_model_violations(raw->model), 2); /* unaligned, and a cut */
        viommu_model_forget_violations(raw->model);
    }
}

static void test_requests_of_any_size_fit_a_granule_of_one_byte(void **state)
{
    struct raw *raw = *state;

    raw->parameters.page_size_mask = 1;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 3, 4, 7, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 4, false), VIOMMU_MODEL_MAPPED);
    assert_int_equal(raw_verdict(raw, RAW_ENDPOINT, 5, false), VIOMMU_MODEL_BLOCKED);
    assert_int_equal(raw_map(raw, 1, 9, 9, 7, RAW_READ), VIOMMU_MODEL_S_INVAL); /* one byte */
    raw_expect_violation(raw, "not a range");
}

static void test_requests_for_registers_need_the_feature(void **state)
{
    struct raw *raw = *state;
    struct viommu_model_mapping mapping;

    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0x1000, 0x2fff, 0x5000, RAW_WRITE | MMIO), VIOMMU_MODEL_S_OK);
    assert_false(viommu_model_mapping_at(raw->model, 1, 0xfff, &mapping));
    assert_false(viommu_model_mapping_at(raw->model, 1, 0x3000, &mapping));
    assert_false(viommu_model_mapping_at(raw->model, 2, 0x1000, &mapping));
    assert_true(viommu_model_mapping_at(raw->model, 1, 0x2fff, &mapping));
    assert_int_equal(mapping.first, 0x1000);
    assert_int_equal(mapping.last, 0x2fff);
    assert_int_equal(mapping.physical, 0x5000);
    assert_int_equal(mapping.flags, RAW_WRITE | MMIO);
    raw_start_with(raw, ~VIOMMU_MODEL_F_MMIO);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, RAW_READ | MMIO), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "unknown flags 0x5");
    assert_int_equal(raw_map(raw, 1, 0, 0xfff, 0, 8), VIOMMU_MODEL_S_INVAL);
    raw_expect_violation(raw, "unknown flags 0x8");
}

static void test_requests_may_not_reach_the_top(void **state)
{
    struct raw *raw = *state;

    raw->parameters.no_top = true;
    raw_make_model(raw);
    raw_start(raw);
    assert_int_equal(raw_attach(raw, 1, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 1, UINT64_MAX - 0xfff, UINT64_MAX, 0, RAW_READ),
                     VIOMMU_MODEL_S_RANGE);
    assert_int_equal(raw_map(raw, 1, UINT64_MAX - 0x1fff, UINT64_MAX - 0x1000, 0, RAW_READ),
                     VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_unmap(raw, 1, 0, UINT64_MAX), VIOMMU_MODEL_S_OK);
}

/* ---- PROBE --------------------------------------------------------------------------------- */

/* What PROBE answers for THIRD after the list was given to it. */
static const uint8_t *probed(struct raw *raw, const struct viommu_properties *list)
{
    assert_true(viommu_model_set_probe_bytes(raw->model, RAW_THIRD, list->bytes, list->size));
    assert_int_equal(raw_probe(raw, RAW_THIRD).status, VIOMMU_MODEL_S_OK);
    return raw_at(raw, raw_slot_address(0) + 128);
}

static void test_requests_probe_every_kind_of_property(void **state)
{
    struct raw *raw = *state;
    struct viommu_properties list = {.size = 0};
    const uint8_t *bytes;

    raw_start(raw);
    viommu_properties_add_region(&list, 0, 0x1000, 0x1fff);
    viommu_properties_add_region(&list, 1, RAW_MSI_START, RAW_MSI_END);
    viommu_properties_add(&list, 0x7ff, 3, 0xab); /* unknown, and of an odd length */
    viommu_properties_add(&list, 2, 0, 0);
    viommu_properties_add_header(&list, 0xf001, 0xffff);
    assert_int_equal(list.size, 24 + 24 + 7 + 4 + 4);
    bytes = probed(raw, &list);
    assert_int_equal(raw_get(bytes, 4), 0x140001);
    assert_int_equal(bytes[4], 0);
    assert_int_equal(raw_get(bytes + 8, 8), 0x1000);
    assert_int_equal(raw_get(bytes + 16, 8), 0x1fff);
    assert_int_equal(bytes[24 + 4], 1);
    assert_int_equal(raw_get(bytes + 24 + 16, 8), RAW_MSI_END);
    assert_int_equal(raw_get(bytes + 48, 4), 0x307ff);
    assert_int_equal(raw_get(bytes + 52, 3), 0xababab);
    assert_int_equal(raw_get(bytes + 55, 4), 2);
    assert_int_equal(raw_get(bytes + 59, 4), 0xfffff001);
    for (unsigned int i = 63; i < 512; i++) {
        assert_int_equal(bytes[i], 0);
    }
}

static void test_requests_probe_lists_that_do_not_end(void **state)
{
    struct raw *raw = *state;
    struct viommu_properties list = {.size = 0};
    const uint8_t *bytes;

    raw->parameters.probe_size = 510;
    raw_make_model(raw);
    raw_start(raw);
    viommu_properties_add_region(&list, 0, 0, UINT64_MAX);
    viommu_properties_fill(&list, 9, 510);
    bytes = probed(raw, &list);
    for (unsigned int i = 24; i < 508; i += 4) {
        assert_int_equal(raw_get(bytes + i, 4), 9);
    }
    assert_int_equal(raw_get(bytes + 508, 2), 0xffff);
    viommu_properties_fill(&list, 9, 600); /* what does not fit is cut off */
    bytes = probed(raw, &list);
    assert_int_equal(bytes[510], VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_probe(raw, RAW_THIRD).length, 514);
}

/* ---- the configuration --------------------------------------------------------------------- */

static uint32_t config(struct raw *raw, uint64_t offset)
{
    return raw_read(raw, raw->registers->config + offset, 4);
}

static uint32_t generation(struct raw *raw)
{
    return raw->parameters.transport == VIOMMU_MODEL_MMIO
               ? raw_read(raw, RAW_MMIO_GENERATION, 4)
               : raw_common_read(raw, RAW_COMMON_GENERATION, 1);
}

static uint32_t interrupt_causes(struct raw *raw)
{
    return raw->parameters.transport == VIOMMU_MODEL_MMIO
               ? raw_read(raw, RAW_MMIO_INTERRUPT_STATUS, 4)
               : raw_read(raw, VIOMMU_MODEL_ISR_OFFSET, 1);
}

static void test_config_changes_at_once_with_a_new_generation_and_an_interrupt(void **state)
{
    struct raw *raw = *state;
    struct viommu_model_parameters next = raw->parameters;
    uint32_t before;

    raw_start(raw);
    before = generation(raw);
    next.page_size_mask = UINT64_C(0x1000000010000);
    next.input_start = 0x10000;
    next.input_end = 0x1ffff;
    next.domain_start = 8;
    next.domain_end = 9;
    next.probe_size = 64;
    viommu_model_change_config(raw->model, &next, 0);
    assert_int_not_equal(generation(raw), before);
    assert_int_equal(interrupt_causes(raw), CONFIG_CHANGED);
    assert_int_equal(config(raw, 0), 0x10000);
    assert_int_equal(config(raw, 4), 0x10000);
    assert_int_equal(config(raw, 8), 0x10000);
    assert_int_equal(config(raw, 16), 0x1ffff);
    assert_int_equal(config(raw, 24), 8);
    assert_int_equal(config(raw, 28), 9);
    assert_int_equal(config(raw, 32), 64);
    assert_int_equal(raw_attach(raw, 7, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "domain_range");
    assert_int_equal(raw_attach(raw, 8, RAW_ENDPOINT, 0), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_map(raw, 8, 0x1000, 0x1fff, 0, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "unaligned");
    assert_int_equal(raw_map(raw, 8, 0x20000, 0x2ffff, 0, RAW_READ), VIOMMU_MODEL_S_RANGE);
    raw_expect_violation(raw, "input_range");
    assert_int_equal(raw_map(raw, 8, 0x10000, 0x1ffff, 0, RAW_READ), VIOMMU_MODEL_S_OK);
    assert_int_equal(raw_probe(raw, RAW_THIRD).length, 68);
    raw_expect_violation(raw, "516 bytes");
}

static void test_config_changes_between_two_reads(void **state)
{
    struct raw *raw = *state;
    struct viommu_model_parameters next = raw->parameters;
    uint32_t before;

    assert_true(raw_negotiate(raw, UINT64_MAX));
    before = generation(raw);
    next.page_size_mask = UINT64_C(0x1234567800000000);
    viommu_model_change_config(raw->model, &next, 1);
    assert_int_equal(generation(raw), before);
    assert_int_equal(config(raw, 0), 0xfffff000);
    assert_int_equal(config(raw, 4), 0x12345678); /* a word of each: the generation tells */
    assert_int_not_equal(generation(raw), before);
    assert_false(viommu_model_interrupt_pending(raw->model)); /* nobody is there to be told */
    before = generation(raw);
    (void)config(raw, 0);
    assert_int_equal(generation(raw), before);
}

static void test_config_may_flicker_without_a_new_generation(void **state)
{
    struct raw *raw = *state;
    uint32_t before;

    raw_start(raw);
    before = generation(raw);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_CONFIG_FLICKERS, 2, 0x1ff);
    assert_int_equal(config(raw, 32), 512);
    assert_int_equal(config(raw, 32), 0x3ff);
    assert_int_equal(config(raw, 32), 512);
    viommu_model_misbehave(raw->model, VIOMMU_MODEL_CONFIG_FLICKERS, 0, 0x1ff);
    assert_int_equal(config(raw, 32), 0x3ff);
    assert_int_equal(raw_read(raw, raw->registers->config + 36, 1), 0xff);
    assert_int_equal(generation(raw), before);
    assert_int_equal(viommu_model_bypass(raw->model), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RAW_TESTS_OF_ALL_RINGS(test_requests_can_each_be_unsupported),
        RAW_TESTS_OF_ALL_RINGS(test_requests_can_each_get_any_status),
        RAW_TESTS_OF_ALL_RINGS(test_requests_of_unknown_type_may_be_unsupported),
        RAW_TESTS_OF_ALL_RINGS(test_requests_meet_the_limits_of_the_device),
        RAW_TESTS_OF_ALL_RINGS(
            test_requests_cannot_take_an_endpoint_from_company_if_that_is_unsupported),
        RAW_TESTS_OF_ALL_RINGS(test_requests_keep_bypass_domains_apart_from_others),
        RAW_TESTS_OF_ALL_RINGS(test_requests_use_any_domain_if_no_range_is_offered),
        RAW_TESTS_OF_ALL_RINGS(test_requests_are_aligned_to_the_granule),
        RAW_TESTS_OF_ALL_RINGS(test_requests_of_any_size_fit_a_granule_of_one_byte),
        RAW_TESTS_OF_ALL_RINGS(test_requests_for_registers_need_the_feature),
        RAW_TESTS_OF_ALL_RINGS(test_requests_may_not_reach_the_top),
        RAW_TESTS_OF_ALL_RINGS(test_requests_probe_every_kind_of_property),
        RAW_TESTS_OF_ALL_RINGS(test_requests_probe_lists_that_do_not_end),
        RAW_TESTS_OF_ALL_RINGS(test_config_changes_at_once_with_a_new_generation_and_an_interrupt),
        RAW_TESTS_OF_ALL_RINGS(test_config_changes_between_two_reads),
        RAW_TESTS_OF_ALL_RINGS(test_config_may_flicker_without_a_new_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
