/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The golden traces: they fit the register layout, the model can follow them, and the comparison
 * notices what differs.
 */

#include "ipmmu_model_connect.h"
#include "ipmmu_traces.h"

#include <piommu/models/ipmmu-vmsa.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TABLE UINT64_C(0x1480002000)

static const struct piommu_ipmmu_model_unit units[] = {
    {.name = "M", .base = 0xe67b0000, .root = 0},
    {.name = "D", .base = 0xe7740000, .root = 0},
    {.name = "H", .base = 0xe6570000, .root = 0},
    {.name = "P", .base = 0xfe990000, .root = 0},
};

/* A table without an entry. */
static bool read64(void *ctx, uint64_t physical, uint64_t *value)
{
    (void)ctx;
    (void)physical;
    *value = 0;
    return true;
}

static struct piommu_ipmmu_model *make_model(enum piommu_ipmmu_model_class generation)
{
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = generation,
        .units = units,
        .unit_count = generation == PIOMMU_IPMMU_MODEL_GEN2 ? 1 : 4,
        .stage2 = generation == PIOMMU_IPMMU_MODEL_GEN2 ? PIOMMU_IPMMU_MODEL_STAGE2_ABSENT
                                                        : PIOMMU_IPMMU_MODEL_STAGE2_PRESENT,
    };
    struct piommu_ipmmu_model *model =
        piommu_ipmmu_model_create(&parameters, (struct piommu_walker_memory){.read64 = read64});

    assert_non_null(model);
    return model;
}

static void replay(struct piommu_ipmmu_model *model, const char *name,
                   struct ipmmu_trace_names *names)
{
    ipmmu_trace_replay(model, units, 4, ipmmu_trace_named(name), names);
}

/* ---- the lines ---- */

static void every_line_fits_the_layout(void **state)
{
    struct piommu_ipmmu_model *models[] = {make_model(PIOMMU_IPMMU_MODEL_GEN2),
                                           make_model(PIOMMU_IPMMU_MODEL_GEN3),
                                           make_model(PIOMMU_IPMMU_MODEL_GEN4)};
    const struct ipmmu_trace *trace;
    size_t count = 0;

    (void)state;
    for (; (trace = ipmmu_trace(count)) != NULL; count++) {
        for (size_t i = 0; i < trace->count; i++) {
            struct ipmmu_trace_line line;

            if (!ipmmu_trace_parse(trace->lines[i], &line)) {
                fail_msg("%s: %s", trace->name, trace->lines[i]);
            }
            if (line.offset !=
                piommu_ipmmu_model_offset(models[trace->generation], line.which, line.number)) {
                fail_msg("%s: wrong offset: %s", trace->name, trace->lines[i]);
            }
        }
        assert_ptr_equal(ipmmu_trace_named(trace->name), trace);
    }
    assert_true(count > 30);
    for (size_t i = 0; i < 3; i++) {
        piommu_ipmmu_model_destroy(models[i]);
    }
}

static void other_lines_are_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "M W IMCTR(1) 0x040",
        "M X IMCTR(1) 0x040 0x7",
        "M W IMNONE(1) 0x040 0x7",
        "M W IMCTR(1) 64 0x7",
    };
    struct ipmmu_trace_line line;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_false(ipmmu_trace_parse(lines[i], &line));
    }
    assert_true(ipmmu_trace_parse("~D W IMCTR(12) 0x040 v|0x2&0x7", &line));
    assert_true(line.any_order);
    assert_string_equal(line.unit, "D");
    assert_int_equal(line.access, 'W');
    assert_int_equal(line.which, PIOMMU_IPMMU_MODEL_IMCTR);
    assert_int_equal(line.number, 12);
    assert_int_equal(line.offset, 0x40);
    assert_string_equal(line.value, "v|0x2&0x7");
}

/* ---- replaying them ---- */

/* Which rules each driver breaks, in the order of its life. NULL ends a life. */
struct scene {
    const char *trace;
    uint32_t broken;
    bool fault; /* micro-TLB 3 of D, or of a unit of Gen2, meets one first */
};

#define RESERVED PIOMMU_IPMMU_MODEL_RULE_RESERVED

static const struct scene linux_life[] = {
    {"T1 Linux", 0, false}, {"T2", 0, false}, {"T2b", 0, false},      {"T2d", 0, false},
    {"T4 Linux", 0, false}, {"T6", 0, true},  {"T6 32-bit", 0, true}, {NULL, 0, false},
};

static const struct scene linux_short_life[] = {
    {"T1 Linux", 0, false}, {"T2", 0, false}, {"T5 Linux", 0, false},
    {"T2", 0, false},       {NULL, 0, false},
};

static const struct scene linux_gen4_life[] = {
    {"T1 Linux Gen4", 0, false}, {"T2 Gen4", 0, false}, {"T4 Linux Gen4", 0, false},
    {"T6 Gen4", 0, true},        {NULL, 0, false},
};

static const struct scene gen2_life[] = {
    {"T1 Xvisor Gen2", 0, false}, {"T1 Linux Gen2", 0, false}, {"T2 Gen2", 0, false},
    {"T4 Gen2", 0, false},        {"T6 Gen2", 0, true},        {NULL, 0, false},
};

static const struct scene xen_life[] = {
    {"T1 Xen", 0, false},
    {"T3", 0, false},
    {"T3b", 0, false},
    {"T3d", 0, false},
    {"T4 Xen", 0, false},
    {"T6", 0, true},
    {"T7 Xen suspend", 0, false},
    /* The device behind H has not left. */
    {"T5 Xen", PIOMMU_IPMMU_MODEL_RULE_DISABLED, false},
    {NULL, 0, false},
};

static const struct scene xen_short_life[] = {
    {"T1 Xen", 0, false},
    {"T3", 0, false},
    {"T5 Xen", 0, false},
    {"T3", 0, false},
    {"T5 Xen, memory freed between", 0, false},
    {"T3", 0, false},
    {NULL, 0, false},
};

static const struct scene xen_gen4_life[] = {
    {"T1 Xen Gen4", 0, false},
    {"T3 Gen4", 0, false},
    {"T4 Xen Gen4", 0, false},
    {NULL, 0, false},
};

static const struct scene xt_life[] = {
    {"T1 Xen", 0, false},
    /* It starts at level 1 with the other number: the reading is set. */
    {"T3 XT", RESERVED, false},
    {"T4 XT", RESERVED, false},
    {NULL, 0, false},
};

static const struct scene xt_stage1_life[] = {
    {"T1 Linux", 0, false},
    {"T3 XT stage 1", RESERVED, false},
    {"T4 XT stage 1", 0, false},
    {NULL, 0, false},
};

static const struct scene manual_life[] = {
    {"T1 Linux", 0, false}, {"T8 erratum", 0, false}, {"T8 teardown", 0, false},
    {"T8", 0, false},       {NULL, 0, false},
};

static void meet_fault(struct piommu_ipmmu_model *model, enum piommu_ipmmu_model_class generation)
{
    size_t unit = generation == PIOMMU_IPMMU_MODEL_GEN2 ? 0 : 1;

    for (size_t i = 0; i < 4 && generation != PIOMMU_IPMMU_MODEL_GEN2; i++) {
        uint32_t value = piommu_ipmmu_model_get(model, i, PIOMMU_IPMMU_MODEL_IMSCTLR, 0);

        piommu_ipmmu_model_set(model, i, PIOMMU_IPMMU_MODEL_IMSCTLR, 0,
                               value & ~UINT32_C(0x10000000));
    }
    assert_int_equal(piommu_ipmmu_model_dma(model, unit, 3, UINT64_C(0x1234567000), true, NULL),
                     PIOMMU_IPMMU_MODEL_BLOCKED);
}

static void live(const struct scene *scenes)
{
    enum piommu_ipmmu_model_class generation = ipmmu_trace_named(scenes[0].trace)->generation;
    struct piommu_ipmmu_model *model = make_model(generation);
    struct ipmmu_trace_names names = {.table = TABLE, .mair = 0x0004ff44};

    if (scenes == xt_life) {
        piommu_ipmmu_model_readings(model)->stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_2;
    }
    for (; scenes->trace != NULL; scenes++) {
        const struct ipmmu_trace *trace = ipmmu_trace_named(scenes->trace);

        if (scenes->fault) {
            meet_fault(model, generation);
        }
        piommu_ipmmu_model_record(model, true);
        replay(model, scenes->trace, &names);
        if (piommu_ipmmu_model_broken_rules(model) != scenes->broken) {
            fail_msg("%s: rules 0x%x: %s", scenes->trace, piommu_ipmmu_model_broken_rules(model),
                     piommu_ipmmu_model_violation(model, 0));
        }
        piommu_ipmmu_model_forget_violations(model);
        ipmmu_trace_compare(model, trace->lines, trace->count, &names);
        ipmmu_trace_compare_writes(model, trace->lines, trace->count, &names);
    }
    piommu_ipmmu_model_destroy(model);
}

static void the_model_follows_all_drivers(void **state)
{
    (void)state;
    live(linux_life);
    live(linux_short_life);
    live(linux_gen4_life);
    live(gen2_life);
    live(xen_life);
    live(xen_short_life);
    live(xen_gen4_life);
    live(xt_life);
    live(xt_stage1_life);
    live(manual_life);
}

/* Resume of both, and the order that a later version put right: the root comes first. */
static void the_model_follows_a_resume(void **state)
{
    struct piommu_ipmmu_model *model = make_model(PIOMMU_IPMMU_MODEL_GEN3);
    struct ipmmu_trace_names names = {.table = TABLE};

    (void)state;
    replay(model, "T1 Xen", &names);
    replay(model, "T3", &names);
    replay(model, "T7 Xen suspend", &names);
    for (size_t i = 0; i < 4; i++) {
        piommu_ipmmu_model_power(model, i, false);
        piommu_ipmmu_model_power(model, i, true);
    }
    piommu_ipmmu_model_record(model, true);
    replay(model, "T7 Xen resume", &names);
    ipmmu_model_assert_clean(model);
    ipmmu_trace_compare(model, ipmmu_trace_named("T7 Xen resume")->lines,
                        ipmmu_trace_named("T7 Xen resume")->count, &names);
    assert_int_equal(piommu_ipmmu_model_get(model, 1, PIOMMU_IPMMU_MODEL_IMUCTR, 34), 0x11);
    for (size_t i = 0; i < 4; i++) {
        piommu_ipmmu_model_power(model, i, false);
        piommu_ipmmu_model_power(model, i, true);
    }
    replay(model, "T7 Linux", &names);
    ipmmu_model_assert_clean(model);
    piommu_ipmmu_model_destroy(model);
}

/* A micro-TLB of another guest is seen, and the call is undone. */
static void the_model_follows_a_refusal(void **state)
{
    struct piommu_ipmmu_model *model = make_model(PIOMMU_IPMMU_MODEL_GEN3);
    struct ipmmu_trace_names names = {.table = TABLE};

    (void)state;
    replay(model, "T1 Xen", &names);
    replay(model, "T3", &names);
    piommu_ipmmu_model_set(model, 1, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x21);
    piommu_ipmmu_model_set(model, 1, PIOMMU_IPMMU_MODEL_IMUCTR, 34, 0);
    piommu_ipmmu_model_record(model, true);
    replay(model, "T3c", &names);
    ipmmu_model_assert_clean(model);
    ipmmu_trace_compare(model, ipmmu_trace_named("T3c")->lines, ipmmu_trace_named("T3c")->count,
                        &names);
    piommu_ipmmu_model_destroy(model);
}

/* ---- comparing ---- */

static void record_lines(struct piommu_ipmmu_model *model, const char *const *lines, size_t count)
{
    const struct ipmmu_trace trace = {"", PIOMMU_IPMMU_MODEL_GEN3, lines, count};
    struct ipmmu_trace_names names = {.table = TABLE};

    piommu_ipmmu_model_record(model, true);
    ipmmu_trace_replay(model, units, 4, &trace, &names);
}

/* Is a recording of the one the other? */
static bool is_same(const char *const *made, size_t made_count, const char *const *lines,
                    size_t count, bool writes_only)
{
    struct piommu_ipmmu_model *model = make_model(PIOMMU_IPMMU_MODEL_GEN3);
    struct ipmmu_trace_names names = {.table = TABLE};
    char message[256] = "";
    bool same;

    piommu_ipmmu_model_set_flush_polls(model, 0, 2);
    record_lines(model, made, made_count);
    same = ipmmu_trace_matches(model, lines, count, writes_only, &names, message, sizeof(message));
    assert_int_equal(same, message[0] == '\0');
    piommu_ipmmu_model_destroy(model);
    return same;
}

#define SAME(made, lines)                                                                      \
    is_same(made, sizeof(made) / sizeof((made)[0]), lines, sizeof(lines) / sizeof((lines)[0]), \
            false)

static void every_difference_counts(void **state)
{
    static const char *const lines[] = {
        "M W IMTTLBR0(1) 0x050 Tlo",       "M W IMTTUBR0(1) 0x054 Thi",
        "M W IMTTBCR(1) 0x048 0x80000080", "M R IMSTR(1) 0x060 0x00000000",
        "D W IMCTR(1) 0x040 0x00000007",   "H W IMCTR(1) 0x040 0x00000007",
        "M W IMCTR(1) 0x040 0x00000007",   "M P IMCTR(1) 0x040 0x00000005",
        "D W IMUASID(3) 0x338 0x00000000", "D W IMUCTR(3) 0x330 0x00000013",
    };
    const size_t count = sizeof(lines) / sizeof(lines[0]);
    const char *made[sizeof(lines) / sizeof(lines[0]) + 1];

    (void)state;
    assert_true(is_same(lines, count, lines, count, false));
    for (size_t i = 0; i < count; i++) {
        /* Without one line, with one twice, and with two exchanged. */
        memcpy(made, lines, i * sizeof(lines[0]));
        memcpy(made + i, lines + i + 1, (count - i - 1) * sizeof(lines[0]));
        assert_false(is_same(made, count - 1, lines, count, false));
        memcpy(made, lines, (i + 1) * sizeof(lines[0]));
        memcpy(made + i + 1, lines + i, (count - i) * sizeof(lines[0]));
        assert_false(is_same(made, count + 1, lines, count, false));
        if (i > 0) {
            memcpy(made, lines, count * sizeof(lines[0]));
            made[i] = lines[i - 1];
            made[i - 1] = lines[i];
            assert_false(is_same(made, count, lines, count, false));
        }
    }
}

static void what_may_be_missing_is_missing_or_as_it_says(void **state)
{
    const char *const with[] = {"D W IMCTR(1) 0x040 0x00000007", "D P IMCTR(1) 0x040 *",
                                "M W IMCTR(1) 0x040 0x00000007"};
    const char *const without[] = {with[0], with[2]};
    const char *const other[] = {with[0], "H P IMCTR(1) 0x040 *", with[2]};
    const char *const allowed[] = {with[0], "?D P IMCTR(1) 0x040 *", with[2]};
    const char *const at_the_end[] = {with[0], with[2], "?D P IMCTR(1) 0x040 *"};

    (void)state;
    assert_true(SAME(with, allowed));
    assert_true(SAME(without, allowed));
    assert_false(SAME(other, allowed));
    assert_true(SAME(without, at_the_end));
    assert_false(SAME(with, at_the_end));
}

static void values_count(void **state)
{
    const char *const made[] = {"M W IMMAIR0(1) 0x068 0x12345678"};
    const char *const same[] = {"M W IMMAIR0(1) 0x068 0x12345670|0x8"};
    const char *const masked[] = {"M W IMMAIR0(1) 0x068 0x78/0xff"};
    const char *const any[] = {"M W IMMAIR0(1) 0x068 *"};
    const char *const other[] = {"M W IMMAIR0(1) 0x068 0x12345679"};
    const char *const other_masked[] = {"M W IMMAIR0(1) 0x068 0x79/0xff"};
    const char *const table[] = {"M W IMTTLBR0(1) 0x050 Tlo", "M W IMTTUBR0(1) 0x054 Thi"};
    const char *const numbers[] = {"M W IMTTLBR0(1) 0x050 0x80002000",
                                   "M W IMTTUBR0(1) 0x054 0x00000014"};
    const char *const swapped[] = {"M W IMTTLBR0(1) 0x050 Thi", "M W IMTTUBR0(1) 0x054 Tlo"};

    (void)state;
    assert_true(SAME(made, same));
    assert_true(SAME(made, masked));
    assert_true(SAME(made, any));
    assert_false(SAME(made, other));
    assert_false(SAME(made, other_masked));
    assert_true(SAME(table, numbers));
    assert_true(SAME(numbers, table));
    assert_false(SAME(numbers, swapped));
}

static void names_keep_what_was_read(void **state)
{
    const char *const made[] = {"M W IMCTR(1) 0x040 0x00000004", "M R IMCTR(1) 0x040 *",
                                "M W IMCTR(1) 0x040 0x00000006"};
    const char *const lines[] = {"M W IMCTR(1) 0x040 *", "M R IMCTR(1) 0x040 >v",
                                 "M W IMCTR(1) 0x040 v|0x2&~0x1"};
    const char *const wrong[] = {"M W IMCTR(1) 0x040 *", "M R IMCTR(1) 0x040 >v",
                                 "M W IMCTR(1) 0x040 v"};

    (void)state;
    assert_true(SAME(made, lines));
    assert_false(SAME(made, wrong));
    /* Without the read there is nothing to compare with. */
    assert_true(is_same(made, 3, wrong, 3, true));
}

static void polls_end_with_the_bit(void **state)
{
    const char *const lines[] = {"M W IMCTR(1) 0x040 0x00000002", "M P IMCTR(1) 0x040 0x0"};
    const char *const early[] = {"M W IMCTR(1) 0x040 0x00000002", "M R IMCTR(1) 0x040 *"};
    const char *const late[] = {"M W IMCTR(1) 0x040 0x00000002", "M P IMCTR(1) 0x040 *",
                                "M R IMCTR(1) 0x040 *"};
    const char *const none[] = {"M W IMCTR(1) 0x040 0x00000002"};

    (void)state;
    assert_true(SAME(lines, lines));
    assert_false(SAME(early, lines));
    assert_false(SAME(late, lines));
    assert_false(SAME(none, lines));
    assert_true(is_same(none, 1, lines, 2, true));
}

static void some_lines_come_in_any_order(void **state)
{
    const char *const lines[] = {"M W IMCTR(1) 0x040 0x00000000", "~D W IMCTR(1) 0x040 0x00000002",
                                 "~H W IMCTR(1) 0x040 0x00000002", "~P W IMCTR(1) 0x040 0x00000002",
                                 "M W IMCTR(1) 0x040 0x00000002"};
    const char *const other[] = {lines[0], lines[3], lines[1], lines[2], lines[4]};
    const char *const twice[] = {lines[0], lines[1], lines[1], lines[2], lines[4]};
    const char *const missing[] = {lines[0], lines[1], lines[3], lines[4]};
    const char *const late[] = {lines[0], lines[1], lines[3], lines[4], lines[2]};

    /* A run ends where the access changes. */
    const char *const runs[] = {"~D W IMCTR(1) 0x040 0x00000002", "~H W IMCTR(1) 0x040 0x00000002",
                                "~D P IMCTR(1) 0x040 *", "~H P IMCTR(1) 0x040 *"};
    const char *const in_runs[] = {runs[1], runs[0], runs[3], runs[2]};
    const char *const mixed[] = {runs[0], runs[2], runs[1], runs[3]};

    (void)state;
    assert_true(SAME(lines, lines));
    assert_true(SAME(other, lines));
    assert_false(SAME(twice, lines));
    assert_false(SAME(missing, lines));
    assert_false(SAME(late, lines));
    assert_true(SAME(in_runs, runs));
    assert_false(SAME(mixed, runs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_fits_the_layout),
        cmocka_unit_test(other_lines_are_refused),
        cmocka_unit_test(the_model_follows_all_drivers),
        cmocka_unit_test(the_model_follows_a_resume),
        cmocka_unit_test(the_model_follows_a_refusal),
        cmocka_unit_test(every_difference_counts),
        cmocka_unit_test(what_may_be_missing_is_missing_or_as_it_says),
        cmocka_unit_test(values_count),
        cmocka_unit_test(names_keep_what_was_read),
        cmocka_unit_test(polls_end_with_the_bit),
        cmocka_unit_test(some_lines_come_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
