/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What a guest's requests do to a virtio-iommu, and how they are answered. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "viommu_bench.h"

#define PAGE(number) ((number)*CORE_PAGE)
/* The last byte of a page. */
#define END(number) ((number)*CORE_PAGE + CORE_PAGE - 1)
#define RW          (VIOMMU_READ | VIOMMU_WRITE)

/* Two devices and a software endpoint. */
static struct engine_options usual(void **state)
{
    return (struct engine_options){.core = *core_case_of(state), .devices = 2, .software = 1};
}

static struct engine_bench *open_usual(void **state)
{
    const struct engine_options options = usual(state);

    return engine_open(&options);
}

/* One with `bypass`, which is off at first. */
static struct engine_bench *open_bypass(void **state)
{
    struct engine_options options = usual(state);

    options.bypass = true;
    return engine_open(&options);
}

/* ---- ATTACH and DETACH ---- */

static void test_attach_makes_a_domain_and_detach_ends_it(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 7, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 7, PAGE(1), END(2), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 7, ENGINE_DEVICE(0)), VIOMMU_OK);
    /* All of it is gone. */
    assert_int_equal(engine_map(bench, 7, PAGE(1), END(2), PAGE(5), RW), VIOMMU_NOENT);
    assert_int_equal(engine_attach(bench, 7, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 7, PAGE(1), END(2), PAGE(9), RW), VIOMMU_OK);
    engine_close(bench);
}

static void test_what_attach_refuses(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request = engine_attach_request(1, ENGINE_DEVICE(0), 0);

    assert_int_equal(engine_attach(bench, 1, 0x999, 0), VIOMMU_NOENT);
    /* There is no bypass here, and no other flag anywhere. */
    for (unsigned int bit = 0; bit < 32; bit++) {
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 1u << bit), VIOMMU_INVAL);
    }
    for (unsigned int byte = 16; byte < 20; byte++) {
        request.bytes[byte] = 0x80;
        assert_int_equal(engine_ask(bench, &request), VIOMMU_INVAL);
        request.bytes[byte] = 0;
    }
    assert_int_equal(engine_statistics(bench).refused, 37);
    /* What is reserved in the head is not looked at. */
    memset(request.bytes + 1, 0xff, 3);
    assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    assert_int_equal(engine_statistics(bench).requests, 38);
    engine_close(bench);
}

static void test_what_detach_refuses(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request = engine_detach_request(1, ENGINE_DEVICE(0));

    assert_int_equal(engine_detach(bench, 1, 0x999), VIOMMU_NOENT);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_INVAL);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(1)), VIOMMU_INVAL);
    assert_int_equal(engine_detach(bench, 3, ENGINE_DEVICE(1)), VIOMMU_INVAL);
    memset(request.bytes + 12, 0xff, 8);
    assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    engine_close(bench);
}

static void test_attach_again_keeps_the_mappings(void **state)
{
    struct engine_bench *bench = open_usual(state);

    for (unsigned int i = 0; i < 2; i++) {
        const uint32_t id = i == 0 ? ENGINE_DEVICE(0) : ENGINE_SOFTWARE(0);

        assert_int_equal(engine_attach(bench, 1, id, 0), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(3), END(3), PAGE(7), RW), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 1, id, 0), VIOMMU_OK);
        assert_int_equal(engine_statistics(bench).mappings, 1);
        assert_int_equal(engine_detach(bench, 1, id), VIOMMU_OK);
    }
    engine_close(bench);
}

static void test_attach_elsewhere_leaves_the_old_domain(void **state)
{
    struct engine_bench *bench = open_usual(state);

    for (unsigned int i = 0; i < 2; i++) {
        const uint32_t id = i == 0 ? ENGINE_DEVICE(0) : ENGINE_SOFTWARE(0);

        assert_int_equal(engine_attach(bench, 1, id, 0), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(3), END(3), PAGE(7), RW), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 2, id, 0), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(4), END(4), PAGE(7), RW), VIOMMU_NOENT);
        assert_int_equal(engine_map(bench, 2, PAGE(3), END(4), PAGE(9), RW), VIOMMU_OK);
        assert_int_equal(engine_detach(bench, 2, id), VIOMMU_OK);
    }
    assert_int_equal(engine_statistics(bench).domains, 0);
    engine_close(bench);
}

static void test_a_domain_lives_as_long_as_somebody_is_in_it(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(3), END(3), PAGE(7), RW), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(4), END(8), PAGE(1), VIOMMU_READ), VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 1, PAGE(3), END(3)), VIOMMU_OK);
    /* What is mapped meanwhile is there for a device that comes. */
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_SOFTWARE(0)), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(1)), VIOMMU_OK);
    assert_int_equal(engine_statistics(bench).domains, 0);
    assert_int_equal(engine_statistics(bench).bytes, 0);
    engine_close(bench);
}

static void test_a_second_endpoint_gets_all_mappings(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    for (unsigned int i = 0; i < 10; i++) {
        assert_int_equal(engine_map(bench, 1, PAGE(3 * i), END(3 * i + 1), PAGE(100 + 5 * i),
                                    i % 2 != 0 ? RW : VIOMMU_READ),
                         VIOMMU_OK);
    }
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 1, PAGE(3), END(4)), VIOMMU_OK);
    engine_close(bench);
}

static void test_a_second_endpoint_gets_no_mapping_if_one_is_impossible(void **state)
{
    struct engine_bench *bench = open_usual(state);

    /* A software endpoint has no hardware that could refuse this. */
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(2), END(3), ENGINE_ROM - CORE_PAGE, RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 2, PAGE(9), END(9), PAGE(8), RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_FAULT);
    assert_int_equal(engine_unmap(bench, 1, PAGE(2), END(3)), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, 1ull << 40, (1ull << 40) + 0xfff, PAGE(8), RW),
                     VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_RANGE);
    assert_int_equal(engine_unmap(bench, 1, 1ull << 40, 1ull << 41), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    engine_close(bench);
}

/* ---- MAP ---- */

static void test_what_map_refuses(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(5), RW), VIOMMU_NOENT);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 2, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    for (uint32_t domain = 1; domain <= 2; domain++) {
        for (unsigned int bit = 3; bit < 32; bit++) {
            assert_int_equal(engine_map(bench, domain, PAGE(1), END(1), PAGE(5), RW | 1u << bit),
                             VIOMMU_INVAL);
        }
        assert_int_equal(engine_map(bench, domain, PAGE(1), END(1), PAGE(5), 0), VIOMMU_INVAL);
        /* Reversed, empty, of one byte. */
        assert_int_equal(engine_map(bench, domain, PAGE(2), END(0), PAGE(5), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(2), END(1), PAGE(5), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(2), PAGE(2), PAGE(5), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, UINT64_MAX, 0, PAGE(5), RW), VIOMMU_INVAL);
        /* Not on the granule. */
        assert_int_equal(engine_map(bench, domain, PAGE(2) + 1, END(2), PAGE(5), RW), VIOMMU_RANGE);
        assert_int_equal(engine_map(bench, domain, PAGE(2), END(2) - 1, PAGE(5), RW), VIOMMU_RANGE);
        assert_int_equal(engine_map(bench, domain, PAGE(2), END(2) + 1, PAGE(5), RW), VIOMMU_RANGE);
        assert_int_equal(engine_map(bench, domain, PAGE(2), END(2), PAGE(5) + 8, RW), VIOMMU_RANGE);
        /* Guest memory that wraps around. */
        assert_int_equal(engine_map(bench, domain, PAGE(2), END(3), UINT64_MAX - CORE_PAGE + 1, RW),
                         VIOMMU_RANGE);
        /* Over another one: the same, its first page, its last, all around it. */
        assert_int_equal(engine_map(bench, domain, PAGE(4), END(6), PAGE(5), RW), VIOMMU_OK);
        assert_int_equal(engine_map(bench, domain, PAGE(4), END(6), PAGE(5), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(3), END(4), PAGE(9), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(6), END(7), PAGE(9), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(5), END(5), PAGE(9), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(0), END(8), PAGE(9), RW), VIOMMU_INVAL);
        assert_int_equal(engine_map(bench, domain, PAGE(0), END(3), PAGE(9), RW), VIOMMU_OK);
        assert_int_equal(engine_map(bench, domain, PAGE(7), END(8), PAGE(9), RW), VIOMMU_OK);
    }
    engine_close(bench);
}

static void test_a_flag_that_is_unknown_comes_before_a_domain_that_is(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(5), RW | 8), VIOMMU_INVAL);
    engine_close(bench);
}

static void test_a_guest_cannot_map_what_is_not_its_own(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), ENGINE_MEMORY, RW), VIOMMU_FAULT);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), UINT64_MAX - CORE_PAGE + 1, RW),
                     VIOMMU_FAULT);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), ENGINE_ROM, VIOMMU_WRITE), VIOMMU_FAULT);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), ENGINE_ROM, VIOMMU_READ), VIOMMU_OK);
    /* The first pages are its own, and mapped for a moment. */
    assert_int_equal(engine_map(bench, 1, PAGE(2), END(33), ENGINE_ROM - PAGE(30), RW),
                     VIOMMU_FAULT);
    assert_int_equal(engine_map(bench, 1, PAGE(2), END(31), ENGINE_ROM - PAGE(30), RW), VIOMMU_OK);
    engine_close(bench);
}

static void test_registers_are_mapped_with_mmio(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), ENGINE_REGISTERS, RW), VIOMMU_FAULT);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), ENGINE_REGISTERS, RW | VIOMMU_MMIO),
                     VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(2), END(2), PAGE(5), RW | VIOMMU_MMIO),
                     VIOMMU_FAULT);
    engine_close(bench);
}

static void test_mmio_that_was_not_agreed_on_is_unknown(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.refused = PIOMMU_VIOMMU_F_MMIO;
    bench = engine_open(&options);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), ENGINE_REGISTERS, RW | VIOMMU_MMIO),
                     VIOMMU_INVAL);
    engine_close(bench);
}

static void test_permissions_are_kept(void **state)
{
    for (unsigned int i = 0; i < 2; i++) {
        struct engine_options options = usual(state);
        struct engine_bench *bench;

        /* Tables of stage 1 cannot express it. */
        options.write_only = i != 0 && options.core.kind == PIOMMU_BACKEND_REQUESTS;
        bench = engine_open(&options);
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(1), VIOMMU_READ), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(2), END(2), PAGE(2), VIOMMU_WRITE), VIOMMU_OK);
        assert_int_equal(engine_map(bench, 1, PAGE(3), END(3), PAGE(3), RW), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
        engine_close(bench);
    }
}

static void test_the_full_space_is_one_mapping(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, 0, UINT64_MAX, 0, RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), 0, RW), VIOMMU_INVAL);
    assert_int_equal(engine_unmap(bench, 1, 0, UINT64_MAX - 1), VIOMMU_RANGE);
    assert_int_equal(engine_unmap(bench, 1, 1, UINT64_MAX), VIOMMU_RANGE);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_FAULT);
    assert_int_equal(engine_unmap(bench, 1, 0, UINT64_MAX), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, UINT64_MAX - CORE_PAGE + 1, UINT64_MAX, 0, RW),
                     VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 1, 0, UINT64_MAX), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    bench->budget = 16;
    assert_int_not_equal(engine_map(bench, 1, 0, UINT64_MAX, 0, RW), VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 1, 0, UINT64_MAX), VIOMMU_OK);
    engine_close(bench);
}

/* ---- UNMAP ---- */

/* What is mapped, what is unmapped, and the answer: the examples of the specification, in pages. */
static void test_the_examples_of_unmap(void **state)
{
    static const struct {
        unsigned int count;
        uint64_t mapped[2][2];
        uint64_t unmapped[2];
        enum viommu_status status;
        unsigned int left;
    } examples[] = {
        {0, {{0}}, {0, 4}, VIOMMU_OK, 0},
        {1, {{0, 9}}, {0, 9}, VIOMMU_OK, 0},
        {2, {{0, 4}, {5, 9}}, {0, 9}, VIOMMU_OK, 0},
        {1, {{0, 9}}, {0, 4}, VIOMMU_RANGE, 1},
        {2, {{0, 4}, {5, 9}}, {0, 4}, VIOMMU_OK, 1},
        {1, {{0, 4}}, {0, 9}, VIOMMU_OK, 0},
        {2, {{0, 4}, {10, 14}}, {0, 14}, VIOMMU_OK, 0},
    };
    struct engine_bench *bench = open_usual(state);

    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
        for (unsigned int j = 0; j < examples[i].count; j++) {
            assert_int_equal(engine_map(bench, 1, PAGE(examples[i].mapped[j][0]),
                                        END(examples[i].mapped[j][1]), PAGE(20 * (j + 1)), RW),
                             VIOMMU_OK);
        }
        assert_int_equal(
            engine_unmap(bench, 1, PAGE(examples[i].unmapped[0]), END(examples[i].unmapped[1])),
            examples[i].status);
        assert_int_equal(engine_statistics(bench).mappings, examples[i].left);
        engine_reset(bench);
    }
    engine_close(bench);
}

static void test_unmap_that_cuts_the_last_one_keeps_the_first(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(2), END(4), PAGE(6), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(5), END(9), PAGE(9), RW), VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(8)), VIOMMU_RANGE);
    assert_int_equal(engine_unmap(bench, 1, PAGE(3), END(9)), VIOMMU_RANGE);
    assert_int_equal(engine_unmap(bench, 1, PAGE(6), END(6)), VIOMMU_RANGE);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(9) - 1), VIOMMU_RANGE);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1) + 1, END(9)), VIOMMU_RANGE);
    assert_int_equal(engine_statistics(bench).mappings, 3);
    assert_int_equal(engine_unmap(bench, 1, 1, END(30) - 1), VIOMMU_OK);
    assert_int_equal(engine_statistics(bench).mappings, 0);
    engine_close(bench);
}

static void test_what_else_unmap_refuses(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request = engine_unmap_request(1, PAGE(1), END(1));

    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(1)), VIOMMU_NOENT);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 1, END(1), PAGE(1)), VIOMMU_INVAL);
    assert_int_equal(engine_unmap(bench, 1, UINT64_MAX, 0), VIOMMU_INVAL);
    assert_int_equal(engine_statistics(bench).mappings, 1);
    memset(request.bytes + 24, 0xff, 4);
    assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    engine_close(bench);
}

/* ---- PROBE and reserved regions ---- */

static const struct piommu_reserved_region regions[] = {
    {.range = {PAGE(0x10), END(0x11)}, .kind = PIOMMU_RESERVED},
    {.range = {PAGE(0x14) + 8, PAGE(0x14) + 15}, .kind = PIOMMU_RESERVED_MSI},
    {.range = {UINT64_MAX, UINT64_MAX}, .kind = PIOMMU_RESERVED},
};

static void check_property(const uint8_t *bytes, const struct piommu_reserved_region *region)
{
    uint8_t expected[24] = {1, 0, 20, 0, region->kind == PIOMMU_RESERVED_MSI};

    for (unsigned int i = 0; i < 8; i++) {
        expected[8 + i] = (uint8_t)(region->range.first >> (8 * i));
        expected[16 + i] = (uint8_t)(region->range.last >> (8 * i));
    }
    assert_memory_equal(bytes, expected, sizeof(expected));
}

static void test_probe_tells_the_regions(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct engine_request request = engine_probe_request(ENGINE_SOFTWARE(0));
    static const uint8_t nothing[ENGINE_PROBE_SIZE];
    const uint8_t *bytes;

    assert_int_equal(engine_remove(bench, 2), 0);
    assert_int_equal(engine_ask(bench, &request), VIOMMU_NOENT);
    assert_int_equal(engine_add_with(bench, 2, regions, 3), 0);
    bytes = bench->guest->memory + (engine_writable(bench->posted % ENGINE_SLOTS) - GUEST);
    assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    for (unsigned int i = 0; i < 3; i++) {
        check_property(bytes + 24 * (size_t)i, &regions[i]);
    }
    assert_memory_equal(bytes + 72, nothing, ENGINE_PROBE_SIZE - 72);
    engine_close(bench);
}

static void test_probe_with_another_size(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request = engine_probe_request(ENGINE_SOFTWARE(0));

    assert_int_equal(engine_remove(bench, 2), 0);
    assert_int_equal(engine_add_with(bench, 2, regions, 3), 0);
    /* All is written, up to the length that is told, and no property. */
    for (request.writable = 4; request.writable < ENGINE_PROBE_SIZE + 4; request.writable++) {
        const unsigned int slot = engine_post(bench, &request);
        struct engine_answer answer;

        engine_service(bench);
        assert_true(engine_answer(bench, &answer));
        assert_int_equal(answer.status, VIOMMU_INVAL);
        for (uint32_t i = 0; i + 4 < answer.length; i++) {
            assert_int_equal(guest_get(bench->guest, engine_writable(slot) + i, 1), 0);
        }
    }
    request.writable = ENGINE_PROBE_SIZE + 9;
    assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    engine_close(bench);
}

static void test_regions_are_not_mapped(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_remove(bench, 2), 0);
    assert_int_equal(engine_add_with(bench, 2, regions, 3), 0);
    assert_int_equal(engine_remove(bench, 1), 0);
    assert_int_equal(engine_add_with(bench, 1, regions, 2), 0);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(0xf), END(0xf), 0, RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(0x11), END(0x11), 0, RW), VIOMMU_INVAL);
    assert_int_equal(engine_map(bench, 1, PAGE(0x14), END(0x14), 0, RW), VIOMMU_INVAL);
    assert_int_equal(engine_map(bench, 1, PAGE(0x12), END(0x13), 0, RW), VIOMMU_OK);
    /* One without regions comes in, one with regions over a mapping does not. */
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(1)), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(0x11), END(0x11), 0, RW), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_UNSUPP);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_UNSUPP);
    assert_int_equal(engine_unmap(bench, 1, PAGE(0x11), END(0x11)), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    engine_close(bench);
}

/* ---- Requests that cannot be answered ---- */

static void test_unknown_types_are_given_back_unwritten(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request = engine_attach_request(1, ENGINE_DEVICE(0), 0);

    request.readable = sizeof(request.bytes);
    request.writable = 200;
    for (unsigned int type = 0; type < 256; type++) {
        request.bytes[0] = (uint8_t)type;
        if (type < VIOMMU_ATTACH || type > VIOMMU_PROBE) {
            assert_int_equal(engine_ask(bench, &request), VIOMMU_UNANSWERED);
        }
    }
    assert_int_equal(engine_statistics(bench).requests, 0);
    assert_int_equal(bench->needed_resets, 0);
    engine_close(bench);
}

static void test_short_and_long_requests(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct engine_request requests[] = {
        engine_attach_request(1, ENGINE_DEVICE(0), 0),
        engine_detach_request(1, ENGINE_DEVICE(0)),
        engine_map_request(1, PAGE(1), END(1), PAGE(5), RW),
        engine_unmap_request(1, PAGE(1), END(1)),
        engine_probe_request(ENGINE_DEVICE(0)),
    };

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct engine_request request = requests[i];
        const uint32_t size = request.readable;

        for (request.readable = 0; request.readable < size; request.readable++) {
            assert_int_equal(engine_ask(bench, &request), VIOMMU_UNANSWERED);
        }
        for (request.writable = 0; request.writable < 4; request.writable++) {
            assert_int_equal(engine_ask(bench, &request), VIOMMU_UNANSWERED);
        }
    }
    /* In order, so that each has what it asks for. */
    for (unsigned int i = 0; i < 5; i++) {
        static const unsigned int order[] = {0, 2, 3, 4, 1};
        struct engine_request request = requests[order[i]];

        request.readable += 17;
        request.writable += 30;
        assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    }
    assert_int_equal(bench->needed_resets, 0);
    engine_close(bench);
}

static void test_framing_does_not_matter(void **state)
{
    for (enum engine_framing framing = ENGINE_IN_TWO; framing <= ENGINE_UNEVEN; framing++) {
        struct engine_bench *bench = open_usual(state);
        const struct engine_request probe = engine_probe_request(ENGINE_DEVICE(0));

        bench->framing = framing;
        for (unsigned int i = 0; i < 7; i++) {
            assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
            assert_int_equal(engine_map(bench, 1, PAGE(1), END(20), PAGE(5), RW), VIOMMU_OK);
            assert_int_equal(engine_ask(bench, &probe), VIOMMU_OK);
            assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(20)), VIOMMU_OK);
            assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
        }
        engine_close(bench);
    }
}

static void test_a_broken_ring_is_told_once(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct engine_request request = engine_attach_request(1, ENGINE_DEVICE(0), 0);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    (void)engine_post(bench, &request);
    /* More than the ring has entries. */
    guest_put(bench->guest, GUEST + 0x1002, bench->posted + 2 * ENGINE_RING, 2);
    engine_service(bench);
    engine_service(bench);
    assert_int_equal(bench->needed_resets, 1);
    engine_reset(bench);
    assert_int_equal(engine_ask(bench, &request), VIOMMU_OK);
    engine_close(bench);
}

/* ---- A guest that changes what is looked at ---- */

static struct engine_bench *rewriting;
static unsigned int rewriting_reads;

/* The request is another one from the first look at it on. */
static void rewrite(uint64_t address, size_t size)
{
    if (address >= engine_readable(0) && address < engine_writable(0) && size != 0) {
        rewriting_reads += 1;
    }
}

static void test_a_request_is_read_once(void **state)
{
    struct engine_bench *bench = open_usual(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    while (bench->posted % ENGINE_SLOTS != 0) {
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    }
    rewriting = bench;
    rewriting_reads = 0;
    bench->guest->on_read = rewrite;
    bench->budget = 1;
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(39), PAGE(5), RW), VIOMMU_OK);
    assert_int_equal(rewriting_reads, 1);
    engine_close(bench);
}

/* ... and may change while the request is being carried out. */
static void test_a_request_that_is_rewritten_is_what_it_was(void **state)
{
    struct engine_bench *bench = open_usual(state);
    const struct engine_request request = engine_map_request(1, PAGE(1), END(39), PAGE(5), RW);
    struct engine_answer answer;
    unsigned int slot;

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    slot = engine_post(bench, &request);
    while (piommu_viommu_service(bench->viommu, 1) != 0) {
        memset(bench->guest->memory + (engine_readable(slot) - GUEST), 0xff, 36);
    }
    assert_true(engine_answer(bench, &answer));
    assert_int_equal(answer.status, VIOMMU_OK);
    engine_check(bench);
    engine_close(bench);
}

/* ---- Bypass ---- */

static void test_bypass_is_switched_on_and_off(void **state)
{
    struct engine_bench *bench = open_bypass(state);

    for (uint8_t value = 0; value < 8; value++) {
        engine_write_bypass(bench, value);
        engine_check(bench);
    }
    engine_write_bypass(bench, 0);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(2), PAGE(5), RW), VIOMMU_OK);
    engine_write_bypass(bench, 1);
    engine_check(bench);
    /* Who leaves is bypassed. */
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    engine_write_bypass(bench, 0);
    engine_check(bench);
    engine_close(bench);
}

static void test_bypass_outlives_a_reset_of_the_device(void **state)
{
    for (unsigned int i = 0; i < 2; i++) {
        struct engine_options options = usual(state);
        struct engine_bench *bench;

        options.bypass = true;
        options.starts_bypassed = i != 0;
        bench = engine_open(&options);
        engine_write_bypass(bench, i == 0);
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        engine_reset(bench);
        assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
        /* The whole guest is reset. */
        guest_model_reset(bench->model);
        bench->bypassed = i != 0;
        (void)piommu_viommu_system_reset(bench->viommu);
        engine_check_reach(bench);
        engine_service(bench);
        engine_check(bench);
        engine_close(bench);
    }
}

static void test_domains_that_bypass(void **state)
{
    struct engine_bench *bench = open_bypass(state);

    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), VIOMMU_BYPASS), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), 0), VIOMMU_INVAL);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_INVAL);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(1), VIOMMU_BYPASS), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), VIOMMU_BYPASS), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(5), RW), VIOMMU_INVAL);
    assert_int_equal(engine_unmap(bench, 1, PAGE(1), END(1)), VIOMMU_INVAL);
    assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(1), 0), VIOMMU_OK);
    assert_int_equal(engine_attach(bench, 2, ENGINE_DEVICE(0), VIOMMU_BYPASS), VIOMMU_INVAL);
    assert_int_equal(engine_attach(bench, 3, ENGINE_DEVICE(1), VIOMMU_BYPASS), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 3, ENGINE_DEVICE(1)), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_SOFTWARE(0)), VIOMMU_OK);
    engine_close(bench);
}

static void test_bypass_that_was_not_agreed_on(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.bypass = true;
    options.starts_bypassed = true;
    options.refused = PIOMMU_VIOMMU_F_BYPASS_CONFIG;
    bench = engine_open(&options);
    /* To refuse the feature does not turn it off. */
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), VIOMMU_BYPASS), VIOMMU_INVAL);
    assert_int_equal(engine_attach(bench, 1, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_detach(bench, 1, ENGINE_DEVICE(0)), VIOMMU_OK);
    engine_close(bench);
}

/* ---- Configuration ---- */

static void limit(struct piommu_viommu_config *config)
{
    config->page_sizes = 0x40201000;
    config->input = (struct piommu_range){PAGE(4), END(0x1ffff)};
    config->last_domain = 9;
}

static void test_the_configuration_is_read_as_bytes(void **state)
{
    static const uint8_t expected[48] = {
        0x00, 0x10, 0x20, 0x40, 0, 0, 0, 0, 0x00, 0x40, 0, 0, 0,  0, 0, 0, 0xff, 0xff, 0xff, 0x1f,
        0,    0,    0,    0,    0, 0, 0, 0, 9,    0,    0, 0, 96, 0, 0, 0, 1,    0,    0,    0,
    };
    struct engine_options options = usual(state);
    struct engine_bench *bench;
    uint8_t bytes[64];

    options.bypass = true;
    options.starts_bypassed = true;
    options.adjust = limit;
    bench = engine_open(&options);
    assert_int_equal(piommu_viommu_features(bench->viommu), 0x77);
    for (uint32_t offset = 0; offset < sizeof(expected); offset++) {
        for (size_t size = 0; size <= sizeof(expected) - offset; size++) {
            memset(bytes, ENGINE_POISON, sizeof(bytes));
            piommu_viommu_read_config(bench->viommu, offset, bytes, size);
            assert_memory_equal(bytes, expected + offset, size);
            assert_int_equal(bytes[size], ENGINE_POISON);
        }
    }
    piommu_viommu_read_config(bench->viommu, UINT32_MAX, bytes, 4);
    assert_memory_equal(bytes, expected + 40, 4);
    /* Only one byte of it can be written. */
    memset(bytes, 0, sizeof(bytes));
    for (uint32_t offset = 0; offset < 48; offset += 4) {
        if (offset != 36) {
            piommu_viommu_write_config(bench->viommu, offset, bytes, 4);
        }
    }
    piommu_viommu_write_config(bench->viommu, UINT32_MAX, bytes, 4);
    piommu_viommu_write_config(bench->viommu, 37, bytes, 1);
    piommu_viommu_write_config(bench->viommu, 36, bytes, 0);
    piommu_viommu_read_config(bench->viommu, 0, bytes, 48);
    assert_memory_equal(bytes, expected, 48);
    bytes[36] = 0;
    piommu_viommu_write_config(bench->viommu, 0, bytes, 48);
    bench->bypassed = false;
    engine_check(bench);
    engine_close(bench);
}

static void test_ranges_of_the_configuration_are_kept_to(void **state)
{
    struct engine_options options = usual(state);
    struct engine_bench *bench;

    options.adjust = limit;
    bench = engine_open(&options);
    assert_int_equal(piommu_viommu_features(bench->viommu), 0x37);
    assert_int_equal(engine_attach(bench, 10, ENGINE_DEVICE(0), 0), VIOMMU_RANGE);
    assert_int_equal(engine_attach(bench, UINT32_MAX, ENGINE_DEVICE(0), 0), VIOMMU_RANGE);
    assert_int_equal(engine_attach(bench, 9, ENGINE_DEVICE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 9, PAGE(3), END(4), 0, RW), VIOMMU_RANGE);
    assert_int_equal(engine_map(bench, 9, PAGE(0x1fffe), END(0x20000), 0, RW), VIOMMU_RANGE);
    assert_int_equal(engine_map(bench, 9, PAGE(4), END(4), 0, RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 9, PAGE(0x1fffe), END(0x1ffff), 0, RW), VIOMMU_OK);
    assert_int_equal(engine_unmap(bench, 9, 0, UINT64_MAX), VIOMMU_OK);
    engine_close(bench);
}

/* ---- Software endpoints ---- */

static void test_every_byte_is_translated(void **state)
{
    struct engine_bench *bench = open_usual(state);
    struct piommu_viommu_endpoint *endpoint = bench->endpoints[2].endpoint;
    struct piommu_segment pieces[3];
    size_t count;

    assert_int_equal(engine_attach(bench, 1, ENGINE_SOFTWARE(0), 0), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(1), END(1), PAGE(50), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(2), END(3), PAGE(20), RW), VIOMMU_OK);
    assert_int_equal(engine_map(bench, 1, PAGE(4), END(4), PAGE(90), VIOMMU_READ), VIOMMU_OK);
    assert_int_equal(
        piommu_viommu_translate(endpoint, END(1) - 2, CORE_PAGE * 2 + 5, CORE_R, pieces, 3, &count),
        0);
    assert_int_equal(count, 3);
    assert_int_equal(pieces[0].physical, END(50) - 2);
    assert_int_equal(pieces[0].size, 3);
    assert_int_equal(pieces[1].physical, PAGE(20));
    assert_int_equal(pieces[1].size, CORE_PAGE * 2);
    assert_int_equal(pieces[2].physical, PAGE(90));
    assert_int_equal(pieces[2].size, 2);
    assert_int_equal(
        piommu_viommu_translate(endpoint, END(1) - 2, CORE_PAGE * 2 + 5, CORE_R, pieces, 2, &count),
        -PIOMMU_ENOSPC);
    assert_int_equal(
        piommu_viommu_translate(endpoint, PAGE(3), CORE_PAGE + 1, CORE_RW, pieces, 3, &count),
        -PIOMMU_EOPNOTSUPP);
    assert_int_equal(
        piommu_viommu_translate(endpoint, PAGE(3), CORE_PAGE, CORE_RW, pieces, 3, &count), 0);
    assert_int_equal(
        piommu_viommu_translate(endpoint, PAGE(4), CORE_PAGE + 1, CORE_R, pieces, 3, &count),
        -PIOMMU_ENOENT);
    assert_int_equal(
        piommu_viommu_translate(endpoint, PAGE(1) - 1, CORE_PAGE, CORE_R, pieces, 3, &count),
        -PIOMMU_ENOENT);
    assert_int_equal(piommu_viommu_translate(endpoint, PAGE(1), 0, CORE_R, pieces, 3, &count),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_translate(endpoint, UINT64_MAX, 2, CORE_R, pieces, 3, &count),
                     -PIOMMU_EINVAL);
    assert_int_equal(piommu_viommu_translate(endpoint, PAGE(1), 1, 0, pieces, 3, &count),
                     -PIOMMU_EINVAL);
    engine_close(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENGINE_FOR_EACH_KIND(test_attach_makes_a_domain_and_detach_ends_it),
        ENGINE_FOR_EACH_KIND(test_what_attach_refuses),
        ENGINE_FOR_EACH_KIND(test_what_detach_refuses),
        ENGINE_FOR_EACH_KIND(test_attach_again_keeps_the_mappings),
        ENGINE_FOR_EACH_KIND(test_attach_elsewhere_leaves_the_old_domain),
        ENGINE_FOR_EACH_KIND(test_a_domain_lives_as_long_as_somebody_is_in_it),
        ENGINE_FOR_EACH_KIND(test_a_second_endpoint_gets_all_mappings),
        ENGINE_FOR_EACH_KIND(test_a_second_endpoint_gets_no_mapping_if_one_is_impossible),
        ENGINE_FOR_EACH_KIND(test_what_map_refuses),
        ENGINE_FOR_EACH_KIND(test_a_flag_that_is_unknown_comes_before_a_domain_that_is),
        ENGINE_FOR_EACH_KIND(test_a_guest_cannot_map_what_is_not_its_own),
        ENGINE_FOR_EACH_KIND(test_registers_are_mapped_with_mmio),
        ENGINE_FOR_EACH_KIND(test_mmio_that_was_not_agreed_on_is_unknown),
        ENGINE_FOR_EACH_KIND(test_permissions_are_kept),
        ENGINE_FOR_EACH_KIND(test_the_full_space_is_one_mapping),
        ENGINE_FOR_EACH_KIND(test_the_examples_of_unmap),
        ENGINE_FOR_EACH_KIND(test_unmap_that_cuts_the_last_one_keeps_the_first),
        ENGINE_FOR_EACH_KIND(test_what_else_unmap_refuses),
        ENGINE_FOR_EACH_KIND(test_probe_tells_the_regions),
        ENGINE_FOR_EACH_KIND(test_probe_with_another_size),
        ENGINE_FOR_EACH_KIND(test_regions_are_not_mapped),
        ENGINE_FOR_EACH_KIND(test_unknown_types_are_given_back_unwritten),
        ENGINE_FOR_EACH_KIND(test_short_and_long_requests),
        ENGINE_FOR_EACH_KIND(test_framing_does_not_matter),
        ENGINE_FOR_EACH_KIND(test_a_broken_ring_is_told_once),
        ENGINE_FOR_EACH_KIND(test_a_request_is_read_once),
        ENGINE_FOR_EACH_KIND(test_a_request_that_is_rewritten_is_what_it_was),
        ENGINE_FOR_EACH_KIND(test_bypass_is_switched_on_and_off),
        ENGINE_FOR_EACH_KIND(test_bypass_outlives_a_reset_of_the_device),
        ENGINE_FOR_EACH_KIND(test_domains_that_bypass),
        ENGINE_FOR_EACH_KIND(test_bypass_that_was_not_agreed_on),
        ENGINE_FOR_EACH_KIND(test_the_configuration_is_read_as_bytes),
        ENGINE_FOR_EACH_KIND(test_ranges_of_the_configuration_are_kept_to),
        ENGINE_FOR_EACH_KIND(test_every_byte_is_translated),
    };

    return cmocka_run_group_tests_name("viommu", tests, NULL, NULL);
}
