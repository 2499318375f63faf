/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Firmware has used the IPMMU-VMSA before: what it has left in TLBs is nobody's any more, although
 * the contexts that it had are used again.
 */

#include "ipmmu_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>

#include <cmocka.h>

#define IOVA  IPMMU_IOVA
#define MMUEN UINT32_C(1)

static bool is_gen2(const struct ipmmu_system *system)
{
    return system->generation == PIOMMU_IPMMU_MODEL_GEN2;
}

/* A gigabyte at IOVA, in a table of stage 1 with 32 bits, which each context can walk. */
static uint64_t make_firmware_table(struct ipmmu_fixture *fixture)
{
    const uint64_t block = UINT64_C(0xc0000000) | 0xf65;
    uint64_t table = fake_os_test_pages(fixture->os, 1);
    uint8_t bytes[IPMMU_PAGE] = {0};

    for (size_t i = 0; i < sizeof(block); i++) {
        bytes[sizeof(block) + i] = (uint8_t)(block >> (8 * i));
    }
    assert_true(fake_os_device_write(fixture->os, table, bytes, sizeof(bytes)));
    return table;
}

static void set(struct ipmmu_fixture *fixture, size_t unit, enum piommu_ipmmu_model_register which,
                unsigned int number, uint32_t value)
{
    piommu_ipmmu_model_set(fixture->model, unit, which, number, value);
}

/* Firmware has used a context for master A, and has disabled it without a flush. */
static void use_as_firmware(struct ipmmu_fixture *fixture, unsigned int context, uint64_t table)
{
    size_t root = fixture->units[IPMMU_CACHE_1].root;
    uint32_t start = is_gen2(fixture->system) ? 0x10 : 0x80;

    set(fixture, root, PIOMMU_IPMMU_MODEL_IMTTLBR0, context, (uint32_t)(table & UINT32_MAX));
    set(fixture, root, PIOMMU_IPMMU_MODEL_IMTTUBR0, context, (uint32_t)(table >> 32));
    set(fixture, root, PIOMMU_IPMMU_MODEL_IMTTBCR, context, UINT32_C(0x80000000) | start);
    set(fixture, root, PIOMMU_IPMMU_MODEL_IMMAIR0, context, 0xff44);
    set(fixture, root, PIOMMU_IPMMU_MODEL_IMCTR, context, MMUEN);
    set(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMCTR, context, MMUEN);
    set(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMUCTR, 3, context << 4 | MMUEN);
    assert_true(ipmmu_reaches(fixture, 0, IOVA, false, UINT64_C(0xc0000000)));
    set(fixture, root, PIOMMU_IPMMU_MODEL_IMCTR, context, 0);
    set(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMCTR, context, 0);
    set(fixture, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0);
}

/* Master A, as all domains take it in one after the other, reaches nothing of firmware's. */
static void enter_empty_domains(struct ipmmu_fixture *fixture)
{
    ipmmu_probe(fixture);
    assert_int_equal(ipmmu_try_device(fixture, 0), 0);
    ipmmu_probe(fixture);
    while (fixture->domain_count < (fixture->system->domains != 0 ? fixture->system->domains : 2)) {
        ipmmu_attach(fixture, 0, ipmmu_add_domain(fixture));
        ipmmu_probe(fixture);
    }
}

/* A context that is enabled may find TLB entries of its number, until its flush has ended. */
static void test_what_firmware_has_left_in_tlbs_is_gone(const struct ipmmu_system *system)
{
    static const unsigned int counts[] = {4, 8, 16};

    for (unsigned int reading = 0; reading < 3; reading++) {
        struct piommu_ipmmu_model_readings readings;
        const struct ipmmu_options options = {.readings = &readings};
        struct ipmmu_fixture *fixture;
        uint64_t table;

        piommu_ipmmu_model_default_readings(&readings);
        readings.cache_flush = (enum piommu_ipmmu_model_flush)reading;
        readings.micro_tlb_entries = PIOMMU_IPMMU_MODEL_MICRO_TLB_TAGGED;
        readings.secgrp_clear_at_reset = true;
        fixture = ipmmu_open(system, &options);
        table = make_firmware_table(fixture);
        (void)ipmmu_wire(fixture, &(struct ipmmu_place){IPMMU_CACHE_1, 3}, 1);
        for (unsigned int context = 0; context < counts[system->generation]; context++) {
            use_as_firmware(fixture, context, table);
        }
        piommu_ipmmu_model_set_flush_polls(fixture->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 3);
        ipmmu_start(fixture);
        enter_empty_domains(fixture);
        ipmmu_close(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IPMMU_TEST(IPMMU_ALL, test_what_firmware_has_left_in_tlbs_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
