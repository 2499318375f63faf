/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What the IPMMU-VMSA backend makes of the name and the product register of a part: the layout of
 * the registers, which tables it can walk, and whether the TLBs of its cache units have to be off.
 */

#include "ipmmu_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define NO_TLB UINT32_C(0xe0000000) /* IMSCTLR: the cache unit's TLB is off */
#define SECGRP UINT32_C(0x10000000)
#define S2PTE  UINT32_C(8)
/* Bits of the product register that say something. */
#define PRODUCT_AND_CUT UINT32_C(0x7fff)

/* How the backend is told the product. */
enum source { BY_REGISTER, BY_VALUE, BY_NOTHING, SOURCES };

/* A part, and the cuts of it that differ. */
struct part {
    const char *compatible;
    const char *system;
    struct {
        uint32_t product;
        bool has_stage2;
        bool has_erratum;
    } cuts[8];
    /* Of this product there are cuts with the erratum: to be assumed if the cut is not known. */
    bool may_have_erratum;
};

#define GEN2 "Gen2, one context"
#define GEN3 "Gen3, stage 1"
#define GEN4 "Gen4, stage 1"

static const struct part parts[] = {
    {"renesas,ipmmu-vmsa", GEN2, {{0x4520, false, false}}, false},
    {"renesas,ipmmu-r8a774a1", GEN3, {{0x5210, false, false}, {0x5213, false, false}}, false},
    {"renesas,ipmmu-r8a774b1", GEN3, {{0x5500, false, true}, {0x5510, false, false}}, true},
    {"renesas,ipmmu-r8a774c0", GEN3, {{0x5700, false, true}, {0x5710, false, false}}, true},
    /* It began with a later cut than those of H3 that have the erratum. */
    {"renesas,ipmmu-r8a774e1", GEN3, {{0x4f20, false, false}, {0x4f30, false, false}}, false},
    {"renesas,ipmmu-r8a7795",
     GEN3,
     {{0x4f00, false, true},
      {0x4f01, false, true},
      {0x4f10, false, true},
      {0x4f11, false, true},
      {0x4f20, true, false},
      {0x4f30, true, false}},
     true},
    {"renesas,ipmmu-r8a7796",
     GEN3,
     {{0x5200, false, false}, {0x5210, false, false}, {0x5220, true, false}, {0x5230, true, false}},
     false},
    {"renesas,ipmmu-r8a77961", GEN3, {{0x5220, true, false}, {0x5230, true, false}}, false},
    {"renesas,ipmmu-r8a77965",
     GEN3,
     {{0x5500, true, true}, {0x5501, true, true}, {0x5510, true, false}},
     true},
    {"renesas,ipmmu-r8a77970", GEN3, {{0x5400, false, false}, {0x5420, false, false}}, false},
    {"renesas,ipmmu-r8a77980", GEN3, {{0x5600, false, false}, {0x5620, false, false}}, false},
    {"renesas,ipmmu-r8a77990",
     GEN3,
     {{0x5700, false, true}, {0x5701, false, true}, {0x5710, false, false}},
     true},
    {"renesas,ipmmu-r8a77995", GEN3, {{0x5800, false, false}, {0x5810, false, false}}, false},
    {"renesas,ipmmu-r8a779a0", GEN4, {{0x5900, false, false}, {0x5920, false, false}}, false},
    {"renesas,ipmmu-r8a779f0", GEN4, {{0x5a00, true, false}, {0x5a10, true, false}}, false},
    {"renesas,ipmmu-r8a779g0", GEN4, {{0x5c00, true, false}, {0x5c20, true, false}}, false},
    {"renesas,ipmmu-r8a779h0", GEN4, {{0x5d00, false, false}, {0x5d20, false, false}}, false},
    /* Whatever part it is, that it can do stage 2 is known by its own name alone. */
    {"renesas,rcar-gen4-ipmmu-vmsa", GEN4, {{0x5d00, false, false}}, false},
};

static bool is_gen2(const struct part *part)
{
    return strcmp(part->system, GEN2) == 0;
}

/* A part with two cache units, which have the erratum or have not. */
static struct ipmmu_fixture *open_part(const struct part *part, uint32_t product, bool has_erratum,
                                       enum source source)
{
    static const struct piommu_ipmmu_model_unit wrong_units[IPMMU_UNITS] = {
        {.name = "M", .base = 0xe67b0000, .root = IPMMU_ROOT},
        {.name = "D", .base = 0xe7740000, .root = IPMMU_ROOT, .has_erratum = true},
        {.name = "H", .base = 0xe6570000, .root = IPMMU_ROOT, .has_erratum = true},
    };
    const struct ipmmu_options options = {
        .units = has_erratum ? wrong_units : NULL,
        .unit_count = IPMMU_UNITS,
        .product = product,
    };
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named(part->system), &options);

    for (size_t i = 0; i < fixture->unit_count; i++) {
        fixture->places[i].compatible = part->compatible;
        if (source != BY_REGISTER) {
            fixture->places[i].product_register = 0;
        }
        if (source == BY_VALUE) {
            fixture->places[i].product = product;
        }
    }
    return fixture;
}

/* Calls a function for each part and cut. */
static void for_each_cut(void (*body)(const struct part *part, size_t cut))
{
    for (size_t i = 0; i < COUNT(parts); i++) {
        for (size_t k = 0; k < COUNT(parts[i].cuts) && parts[i].cuts[k].product != 0; k++) {
            print_message("%s, 0x%04x\n", parts[i].compatible,
                          (unsigned int)parts[i].cuts[k].product);
            body(&parts[i], k);
        }
    }
}

/* ---- layout ---- */

struct layout {
    unsigned int contexts;
    uint32_t micro_tlbs;
};

static struct layout layout_of(const struct part *part)
{
    if (is_gen2(part)) {
        return (struct layout){4, 32};
    }
    return strcmp(part->system, GEN3) == 0 ? (struct layout){8, 48} : (struct layout){16, 64};
}

static uint64_t numbers_below(unsigned int count)
{
    return UINT64_MAX >> (64 - count);
}

/* The offsets are the model's to judge: there is a register at each, or it is a violation. */
static void check_layout(const struct part *part, size_t cut)
{
    struct layout layout = layout_of(part);
    struct ipmmu_fixture *fixture =
        open_part(part, part->cuts[cut].product, part->cuts[cut].has_erratum, BY_REGISTER);
    struct ipmmu_place beyond = {IPMMU_CACHE_1, layout.micro_tlbs};
    size_t outside = ipmmu_wire(fixture, &beyond, 1);

    piommu_ipmmu_model_record(fixture->model, true);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        ipmmu_start_unit(fixture, i);
    }
    for (size_t i = 0; i < fixture->unit_count; i++) {
        /* Those that are not used are switched off. */
        assert_true(ipmmu_numbers_written(fixture, i, PIOMMU_IPMMU_MODEL_IMCTR) ==
                    numbers_below(layout.contexts));
        if (i != IPMMU_ROOT) {
            assert_true(ipmmu_numbers_written(fixture, i, PIOMMU_IPMMU_MODEL_IMUCTR) ==
                        numbers_below(layout.micro_tlbs));
        }
    }
    assert_int_equal(ipmmu_try_device(fixture, outside), -PIOMMU_ENOENT);
    fixture->master_count = 0;
    (void)ipmmu_add_master(fixture, IPMMU_CACHE_1, layout.micro_tlbs - 1);
    ipmmu_close(fixture);
}

static void test_each_part_has_the_layout_of_its_class(void **state)
{
    (void)state;
    for_each_cut(check_layout);
}

static void test_other_names_are_refused_without_an_access(void **state)
{
    static const char *const names[] = {
        NULL,
        "",
        "renesas",
        "renesas,ipmmu",
        "renesas,ipmmu-r8a7799",
        "renesas,ipmmu-r8a779",
        "renesas,ipmmu-r8a7795x",
        "renesas,ipmmu-r8a77951",
        "renesas,rcar-gen5-ipmmu-vmsa",
        "arm,smmu-v3",
        /* Parts of Gen2 have the fallback as well, which is the one that counts. */
        "renesas,ipmmu-r8a7790",
        "renesas,ipmmu-r8a73a4",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct part part = {.compatible = names[i], .system = GEN3};
        struct ipmmu_fixture *fixture = open_part(&part, 0x4f30, false, BY_REGISTER);

        piommu_ipmmu_model_record(fixture->model, true);
        assert_int_equal(ipmmu_try_unit(fixture, IPMMU_ROOT), -PIOMMU_ENODEV);
        assert_int_equal(piommu_ipmmu_model_recorded(fixture->model), 0);
        ipmmu_close_empty(fixture);
    }
}

/* Each string that the backend says it drives is one of those above, and the other way round. */
static void test_the_list_of_names_is_complete(void **state)
{
    const char *const *names = piommu_ipmmu_vmsa_backend()->compatible;
    size_t count = 0;

    (void)state;
    for (; names[count] != NULL; count++) {
        bool known = false;

        for (size_t i = 0; i < COUNT(parts); i++) {
            known = known || strcmp(names[count], parts[i].compatible) == 0;
        }
        if (!known) {
            fail_msg("%s is not tested", names[count]);
        }
    }
    assert_int_equal(count, COUNT(parts));
}

/* ---- tables ---- */

/* Starts a root with some tables. What is refused is refused without an access to the unit. */
static void try_tables(const struct part *part, uint32_t product, enum source source,
                       enum piommu_ipmmu_vmsa_tables tables, bool mixed, int expected)
{
    struct ipmmu_fixture *fixture = open_part(part, product, false, source);
    uint32_t firmware =
        piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0);
    bool is_stage2 = mixed || tables == PIOMMU_IPMMU_VMSA_STAGE2;

    fixture->places[IPMMU_ROOT].tables = tables;
    fixture->places[IPMMU_ROOT].mixed_stages = mixed;
    piommu_ipmmu_model_record(fixture->model, true);
    assert_int_equal(ipmmu_try_unit(fixture, IPMMU_ROOT), expected);
    if (expected != 0) {
        assert_int_equal(piommu_ipmmu_model_recorded(fixture->model), 0);
        ipmmu_close_empty(fixture);
        return;
    }
    assert_int_equal(
        piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0),
        firmware | (is_stage2 ? S2PTE : 0));
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

static void check_stage2(const struct part *part, size_t cut)
{
    bool has_stage2 = part->cuts[cut].has_stage2;
    uint32_t product = part->cuts[cut].product;

    for (unsigned int source = BY_REGISTER; source < SOURCES; source++) {
        int expected = has_stage2 && source != BY_NOTHING ? 0 : -PIOMMU_EOPNOTSUPP;

        try_tables(part, product, (enum source)source, PIOMMU_IPMMU_VMSA_STAGE2, false, expected);
        try_tables(part, product, (enum source)source, PIOMMU_IPMMU_VMSA_STAGE1, true, expected);
    }
    /* What lies above the product and the cut means something else. */
    try_tables(part, ~PRODUCT_AND_CUT | product, BY_VALUE, PIOMMU_IPMMU_VMSA_STAGE2, false,
               has_stage2 ? 0 : -PIOMMU_EOPNOTSUPP);
}

static void test_stage_2_is_for_parts_and_cuts_that_can_do_it(void **state)
{
    (void)state;
    for_each_cut(check_stage2);
}

static void check_stage1_64(const struct part *part, size_t cut)
{
    for (unsigned int source = BY_REGISTER; source < SOURCES; source++) {
        try_tables(part, part->cuts[cut].product, (enum source)source, PIOMMU_IPMMU_VMSA_STAGE1_64,
                   false, is_gen2(part) ? -PIOMMU_EOPNOTSUPP : 0);
        try_tables(part, part->cuts[cut].product, (enum source)source, PIOMMU_IPMMU_VMSA_STAGE1,
                   false, 0);
    }
}

static void test_stage_1_is_for_all_and_with_64_bits_for_later_ones(void **state)
{
    (void)state;
    for_each_cut(check_stage1_64);
}

/* A name and a product that are not the same part: what is not known to work is refused. */
static void test_a_product_of_another_part_has_no_stage_2(void **state)
{
    static const struct part part = {.compatible = "renesas,ipmmu-r8a7795", .system = GEN3};
    static const uint32_t others[] = {0x4520, 0x5410, 0x5620, 0x5730, 0x5830,
                                      0x5930, 0x5d30, 0x7f30, 0x0030};

    (void)state;
    for (size_t i = 0; i < COUNT(others); i++) {
        try_tables(&part, others[i], BY_REGISTER, PIOMMU_IPMMU_VMSA_STAGE2, false,
                   -PIOMMU_EOPNOTSUPP);
    }
}

static void test_each_kind_of_tables_has_its_aperture(const struct ipmmu_system *system)
{
    static const uint64_t last[] = {
        [PIOMMU_IPMMU_VMSA_STAGE1] = UINT32_MAX,
        [PIOMMU_IPMMU_VMSA_STAGE1_64] = (UINT64_C(1) << 39) - 1,
        [PIOMMU_IPMMU_VMSA_STAGE2] = (UINT64_C(1) << 40) - 1,
    };
    struct ipmmu_fixture *fixture = ipmmu_open(system, NULL);
    struct piommu_requirements requirements;
    struct piommu_instance_info info;

    ipmmu_start(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_instance_get_info(fixture->instances[i], &info);
        assert_true(info.aperture.first == 0 && info.aperture.last == last[system->tables]);
        assert_true(info.tables && info.identity && info.suspend);
        assert_int_equal(info.write_only, system->tables == PIOMMU_IPMMU_VMSA_STAGE2);
    }
    assert_int_equal(
        piommu_requirements_get(&fixture->instances[IPMMU_CACHE_1], 1, &requirements, NULL), 0);
    assert_int_equal(requirements.output_bits, 40);
    assert_false(requirements.coherent_walk);
    assert_int_equal(requirements.stage2, system->tables == PIOMMU_IPMMU_VMSA_STAGE2);
    ipmmu_close(fixture);
}

/* ---- the erratum ---- */

static void check_units(const struct ipmmu_fixture *fixture, bool must_be_off, bool firmware_has)
{
    uint32_t root =
        piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMSCTLR, 0);

    assert_int_equal(root & ~UINT32_C(0xc0000000), 0); /* firmware's own bits at most */
    for (size_t i = IPMMU_CACHE_1; i <= IPMMU_CACHE_2; i++) {
        bool is_off = must_be_off || (firmware_has && i == IPMMU_CACHE_1);

        assert_int_equal(piommu_ipmmu_model_get(fixture->model, i, PIOMMU_IPMMU_MODEL_IMSCTLR, 0),
                         is_off ? NO_TLB : 0);
    }
}

/* Firmware of a root, and of one cache unit whose TLB it has switched off itself. */
static void run_firmware(struct ipmmu_fixture *fixture, bool firmware_has)
{
    if (firmware_has) {
        piommu_ipmmu_model_set(fixture->model, IPMMU_CACHE_1, PIOMMU_IPMMU_MODEL_IMSCTLR, 0,
                               NO_TLB | SECGRP);
    }
}

/*
 * The model finds a TLB that is switched off with a context enabled in its unit, one that has to be
 * off while it translates, and one that is switched off in the root.
 */
static void use_part(const struct part *part, size_t cut, enum source source, bool firmware_has)
{
    bool has_erratum = part->cuts[cut].has_erratum;
    bool must_be_off = source == BY_NOTHING ? part->may_have_erratum : has_erratum;
    struct ipmmu_fixture *fixture = open_part(part, part->cuts[cut].product, has_erratum, source);

    run_firmware(fixture, firmware_has);
    ipmmu_start_with_masters(fixture);
    check_units(fixture, must_be_off, firmware_has);
    assert_int_equal(piommu_domain_map(fixture->domains[0], IPMMU_IOVA, IPMMU_MEMORY, IPMMU_PAGE,
                                       IPMMU_READ_WRITE),
                     0);
    for (size_t i = 0; i < fixture->master_count; i += 2) {
        ipmmu_grant(fixture, i, 0, IPMMU_MEMORY, IPMMU_READ_WRITE);
        ipmmu_attach(fixture, i, fixture->domains[0]);
        ipmmu_settle(fixture);
    }
    ipmmu_assert_granted(fixture);
    ipmmu_suspend(fixture);
    for (size_t i = 0; i < fixture->unit_count; i++) {
        piommu_ipmmu_model_power(fixture->model, i, true); /* the bits are lost */
    }
    run_firmware(fixture, firmware_has);
    ipmmu_resume_powered(fixture);
    check_units(fixture, must_be_off, firmware_has);
    ipmmu_assert_granted(fixture);
    ipmmu_close(fixture);
}

static void check_erratum(const struct part *part, size_t cut)
{
    if (is_gen2(part)) {
        return;
    }
    for (unsigned int source = BY_REGISTER; source < SOURCES; source++) {
        use_part(part, cut, (enum source)source, false);
        use_part(part, cut, (enum source)source, true);
    }
}

static void test_wrong_tlbs_are_off_before_they_are_used_and_after_each_power_up(void **state)
{
    (void)state;
    for_each_cut(check_erratum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_part_has_the_layout_of_its_class),
        cmocka_unit_test(test_other_names_are_refused_without_an_access),
        cmocka_unit_test(test_the_list_of_names_is_complete),
        cmocka_unit_test(test_stage_2_is_for_parts_and_cuts_that_can_do_it),
        cmocka_unit_test(test_stage_1_is_for_all_and_with_64_bits_for_later_ones),
        cmocka_unit_test(test_a_product_of_another_part_has_no_stage_2),
        IPMMU_TEST(IPMMU_ALL, test_each_kind_of_tables_has_its_aperture),
        cmocka_unit_test(test_wrong_tlbs_are_off_before_they_are_used_and_after_each_power_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
