/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What the IPMMU-VMSA backend does to registers, against the golden traces of drivers that are
 * known to work. Where it differs on purpose, a test edits the lines of the trace and says why, and
 * an edit fails if there is nothing to edit: nothing else may differ.
 */

#include "ipmmu_fixture.h"
#include "ipmmu_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The upper words of tables' addresses are not 0 there. */
#define HIGH_MEMORY 0x1480000000ull

/* ---- which lines of a trace a test is about ---- */

static bool is_of_root(const struct ipmmu_trace_line *line)
{
    return line->unit[0] == 'M';
}

static bool is_of_cache(const struct ipmmu_trace_line *line)
{
    return !is_of_root(line);
}

static bool is_any(const struct ipmmu_trace_line *line)
{
    (void)line;
    return true;
}

static bool is_not_of_h(const struct ipmmu_trace_line *line)
{
    return line->unit[0] != 'H';
}

static bool is_context_register(const struct ipmmu_trace_line *line)
{
    return line->which <= PIOMMU_IPMMU_MODEL_IMEUAR;
}

static bool is_context_of_root(const struct ipmmu_trace_line *line)
{
    return is_of_root(line) && is_context_register(line);
}

static bool is_context_of_cache(const struct ipmmu_trace_line *line)
{
    return is_of_cache(line) && is_context_register(line);
}

static bool is_micro_tlb(const struct ipmmu_trace_line *line)
{
    return line->which == PIOMMU_IPMMU_MODEL_IMUCTR || line->which == PIOMMU_IPMMU_MODEL_IMUASID;
}

/* ---- kinds of system, and the traces for each ---- */

struct golden {
    const char *system;
    const char *probe;
    const char *attach;
    const char *flush;
    const char *fault;
    unsigned int context;  /* that the first domain gets */
    unsigned int blocked;  /* that masters without a domain are in */
    unsigned int contexts; /* that there are */
    uint32_t enabled;      /* IMCTR of the root while the context is in use, with FLUSH */
};

/*
 * Where there is no trace of this generation the one of another stands for it: offsets are always
 * those of the system's own layout.
 */
static const struct golden goldens[] = {
    {"Gen2, four contexts", "T1 Xvisor Gen2", "T2 Gen2", "T4 Gen2", "T6 Gen2", 0, 3, 4, 0x7},
    {"Gen3, stage 1", "T1 Linux", "T2", "T4 Linux", "T6", 1, 7, 8, 0x7},
    {"Gen3, 64-bit stage 1", "T1 Linux", "T3 XT stage 1", "T4 Xen", "T6", 1, 7, 8, 0x20000007},
    {"Gen3, stage 2", "T1 Xen", "T3", "T4 Xen", "T6", 1, 7, 8, 0x20000007},
    {"Gen4, stage 1", "T1 Linux Gen4", "T2 Gen4", "T4 Linux Gen4", "T6 Gen4", 1, 15, 16, 0x7},
    {"Gen4, 64-bit stage 1", "T1 Linux Gen4", "T3 XT stage 1", "T4 Xen Gen4", "T6 Gen4", 1, 15, 16,
     0x20000007},
    {"Gen4, stage 2", "T1 Xen Gen4", "T3 Gen4", "T4 Xen Gen4", "T6 Gen4", 1, 15, 16, 0x20000007},
};

/* A test of all of them, one after the other, or of those with cache units. */
struct golden_test {
    enum ipmmu_kinds kinds;
    void (*body)(const struct golden *golden);
};

static bool is_gen2(const struct golden *golden)
{
    return ipmmu_system_named(golden->system)->generation == PIOMMU_IPMMU_MODEL_GEN2;
}

static bool is_stage2(const struct golden *golden)
{
    return ipmmu_system_named(golden->system)->tables == PIOMMU_IPMMU_VMSA_STAGE2;
}

static void run(void **state)
{
    const struct golden_test *test = *state;

    for (size_t i = 0; i < COUNT(goldens); i++) {
        if (test->kinds == IPMMU_ALL || !is_gen2(&goldens[i])) {
            print_message("%s\n", goldens[i].system);
            test->body(&goldens[i]);
        }
    }
}

/*
 * Micro-TLBs that no test has a master at are left alone, so that recordings are about those that
 * the traces are about: 3 and 34 of D, where master A is, 5 of D, 2 of H.
 */
static struct ipmmu_fixture *open_system(const char *name)
{
    const struct ipmmu_options options = {.memory_base = HIGH_MEMORY};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named(name), &options);

    for (size_t unit = 0; unit < fixture->unit_count; unit++) {
        piommu_ipmmu_model_set_flush_polls(fixture->model, unit, 2);
    }
    fixture->places[IPMMU_ROOT].untouched_micro_tlbs = ~(UINT64_C(1) << 3);
    fixture->places[IPMMU_CACHE_1].untouched_micro_tlbs =
        ~(UINT64_C(1) << 3 | UINT64_C(1) << 5 | UINT64_C(1) << 34);
    fixture->places[IPMMU_CACHE_2].untouched_micro_tlbs = ~(UINT64_C(1) << 2);
    return fixture;
}

/* Where master A is. */
static size_t unit_of_a(const struct ipmmu_fixture *fixture)
{
    return fixture->system->generation == PIOMMU_IPMMU_MODEL_GEN2 ? IPMMU_ROOT : IPMMU_CACHE_1;
}

/* Master A of the traces: on Gen2 it has one micro-TLB of M. */
static size_t add_master_a(struct ipmmu_fixture *fixture)
{
    const struct ipmmu_place cached[] = {{IPMMU_CACHE_1, 3}, {IPMMU_CACHE_1, 34}};
    const struct ipmmu_place gen2[] = {{IPMMU_ROOT, 3}};
    size_t master = unit_of_a(fixture) == IPMMU_ROOT ? ipmmu_wire(fixture, gen2, 1)
                                                     : ipmmu_wire(fixture, cached, 2);

    assert_int_equal(ipmmu_try_device(fixture, master), 0);
    return master;
}

/* A domain for masters of D, on Gen2 of M; others may enter it later. */
static struct piommu_domain *add_domain_of_one(struct ipmmu_fixture *fixture, size_t unit)
{
    const struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &fixture->instances[unit], .instance_count = 1};
    size_t number = fixture->domain_count++;

    assert_int_equal(piommu_domain_create(&config, &fixture->domains[number]), 0);
    return fixture->domains[number];
}

/* Where the model walks for a context: that it is the right table is shown by DMA. */
static uint64_t table_of(const struct ipmmu_fixture *fixture, unsigned int context)
{
    struct piommu_walker_regime regime;

    assert_true(piommu_ipmmu_model_regime(fixture->model, IPMMU_ROOT, context, &regime));
    assert_true(regime.root >> 32 != 0);
    return regime.root;
}

/*
 * The attributes come from the code that makes tables, and are those of the traces where leaves of
 * its tables use them: attributes 0 to 2.
 */
static uint32_t mair_of(const struct ipmmu_fixture *fixture)
{
    bool is_64 = fixture->system->tables == PIOMMU_IPMMU_VMSA_STAGE1_64;
    const struct piommu_pgtable_config config = {
        .format = is_64 ? PIOMMU_ARM_64_LPAE_S1 : PIOMMU_ARM_32_LPAE_S1,
        .granule = 4096,
        .input_bits = is_64 ? 39 : 32,
        .output_bits = 40,
    };
    struct piommu_pgtable_info info;
    struct piommu_pgtable *table;

    assert_int_equal(piommu_pgtable_create(fake_os_host(fixture->os), &config, &table), 0);
    piommu_pgtable_get_info(table, &info);
    piommu_pgtable_destroy(table);
    assert_int_equal(info.registers.stage1.mair & 0xffffff, 0xF404FF44 & 0xffffff);
    return (uint32_t)info.registers.stage1.mair;
}

/* ---- what differs everywhere ---- */

/*
 * The registers of a root's context as in the trace of an attach, up to the enabling. Differences:
 *  - IMSTR is written with 0, which clears; what was read could set again what it should clear;
 *  - IMMAIR0 is what the tables want, see mair_of.
 */
static void add_context(struct ipmmu_script *script, const struct golden *golden,
                        unsigned int context)
{
    struct ipmmu_script part = {.count = 0};

    ipmmu_script_add_trace(&part, golden->attach, is_context_of_root);
    while (part.lines[part.count - 1].access != 'W' ||
           part.lines[part.count - 1].which != PIOMMU_IPMMU_MODEL_IMCTR) {
        part.count--;
    }
    ipmmu_script_drop_all(&part, 'R', PIOMMU_IPMMU_MODEL_IMSTR);
    ipmmu_script_change_all(&part, PIOMMU_IPMMU_MODEL_IMSTR, "0x0");
    if (!is_stage2(golden)) {
        ipmmu_script_change_all(&part, PIOMMU_IPMMU_MODEL_IMMAIR0, "MAIR");
    }
    for (size_t i = 0; i < part.count; i++) {
        part.lines[i].number = context;
    }
    ipmmu_script_append(script, &part);
}

/*
 * The context in a cache unit: after the root's, as one of the drivers does it; the micro-TLBs come
 * last. The value is known and not read from the root's register, and has none of the bits that
 * only a root has.
 */
static void add_context_of_cache(struct ipmmu_script *script, const struct golden *golden)
{
    ipmmu_script_add_trace(script, golden->attach, is_context_of_cache);
    ipmmu_script_change(script, "D W IMCTR(1)", "0x7");
}

/*
 * The micro-TLBs of master A. Differences:
 *  - nothing is read: who is where is known, and TTSEL is rewritten, never put on top of old bits;
 *  - FLUSH is always set, as three of the drivers do it;
 *  - the core takes the IDs of a device in the order that it likes; none depends on another.
 */
static void add_micro_tlbs(struct ipmmu_script *script, const struct golden *golden)
{
    ipmmu_script_add_trace(script, golden->attach, is_micro_tlb);
    if (is_stage2(golden)) {
        ipmmu_script_drop_all(script, 'R', PIOMMU_IPMMU_MODEL_IMUCTR);
        ipmmu_script_change_all(script, PIOMMU_IPMMU_MODEL_IMUCTR, "0x13");
    }
    if (!is_gen2(golden)) {
        ipmmu_script_move_to_end(script, "D W IMUASID(3)");
        ipmmu_script_move_to_end(script, "D W IMUCTR(3)");
    }
}

/*
 * The reset of a root, and the blocked context. Differences:
 *  - for stage 1, too, USE_SECGRP is cleared: what its reset value is does not hang on the tables;
 *    and S2PTE is cleared, which who was there before may have set;
 *  - IMSTR of all contexts is cleared: firmware's left-overs would keep the interrupt asserted;
 *  - the highest context is set up with an empty table, as a domain's is.
 */
static void add_reset_of_root(struct ipmmu_script *script, const struct golden *golden)
{
    ipmmu_script_add_trace(script, golden->probe, is_of_root);
    if (!is_stage2(golden) && !is_gen2(golden)) {
        ipmmu_script_add(script, "M R IMSAUXCTLR >a");
        ipmmu_script_add(script, "M W IMSAUXCTLR a&~0x8");
        ipmmu_script_add(script, "M R IMSCTLR >b");
        ipmmu_script_add(script, "M W IMSCTLR b&~0x10000000");
    }
    for (unsigned int i = 0; i < golden->contexts; i++) {
        ipmmu_script_add(script, "M W IMSTR(%u) 0x0", i);
    }
}

static void add_probe_of_root(struct ipmmu_script *script, const struct golden *golden)
{
    add_reset_of_root(script, golden);
    add_context(script, golden, golden->blocked);
}

/* The FLUSH of the blocked context is waited for, and repeated: nothing needs that. */
static void add_end_of_probe(struct ipmmu_script *script, const struct golden *golden)
{
    ipmmu_script_add(script, "?M P IMCTR(%u) *", golden->blocked);
    ipmmu_script_add(script, "?M W IMCTR(%u) 0x%x", golden->blocked, (unsigned int)golden->enabled);
    ipmmu_script_add(script, "?M P IMCTR(%u) *", golden->blocked);
}

/*
 * The reset of a cache unit. Differences:
 *  - IMCTR of all contexts is cleared here, too: firmware may have enabled some;
 *  - the blocked context is enabled.
 */
static void add_probe_of_cache(struct ipmmu_script *script, const struct golden *golden,
                               const char *unit)
{
    for (unsigned int i = 0; i < golden->contexts; i++) {
        ipmmu_script_add(script, "%s W IMCTR(%u) 0x0", unit, i);
    }
    ipmmu_script_add(script, "%s R IMSCTLR >c", unit);
    ipmmu_script_add(script, "%s W IMSCTLR c&~0x10000000", unit);
    ipmmu_script_add(script, "%s W IMCTR(%u) 0x7", unit, golden->blocked);
}

/* The blocked context has forgotten what firmware had there before any micro-TLB gets it. */
static void add_wait_of_cache(struct ipmmu_script *script, const struct golden *golden,
                              const char *unit)
{
    ipmmu_script_add(script, "%s P IMCTR(%u) *", unit, golden->blocked);
}

/* A micro-TLB of D (on Gen2 of M) is blocked: as attached to the blocked context. */
static void add_blocked(struct ipmmu_script *script, const struct golden *golden,
                        unsigned int number)
{
    const char *unit = is_gen2(golden) ? "M" : "D";

    ipmmu_script_add(script, "%s W IMUASID(%u) 0x0", unit, number);
    ipmmu_script_add(script, "%s W IMUCTR(%u) 0x%x", unit, number, golden->blocked << 4 | 3);
}

/* ---- T1: probe ---- */

static void test_t1_probe(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    unsigned int micro_tlbs = fixture->system->generation == PIOMMU_IPMMU_MODEL_GEN3 ? 48 : 64;
    struct ipmmu_script script;

    fixture->places[IPMMU_CACHE_1].untouched_micro_tlbs = 0;
    fixture->places[IPMMU_CACHE_2].untouched_micro_tlbs = UINT64_MAX;
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_start_unit(fixture, IPMMU_ROOT);
    add_probe_of_root(&script, golden);
    add_end_of_probe(&script, golden);
    if (is_gen2(golden)) {
        add_blocked(&script, golden, 3);
    }
    ipmmu_script_expect(&script, table_of(fixture, golden->blocked), mair_of(fixture));
    if (!is_gen2(golden)) {
        ipmmu_start_unit(fixture, IPMMU_CACHE_1);
        add_probe_of_cache(&script, golden, "D");
        add_wait_of_cache(&script, golden, "D");
        for (unsigned int i = 0; i < micro_tlbs; i++) {
            add_blocked(&script, golden, i);
        }
        ipmmu_script_expect(&script, 0, 0);
    }
    ipmmu_start(fixture);
    ipmmu_close(fixture);
}

/* Where the product cannot do stage 2, its register is all that is looked at. */
static void test_t1_a_product_without_stage2(void **state)
{
    const struct ipmmu_options options = {.product = 0x4f11};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named("Gen3, stage 2"), &options);
    struct ipmmu_script script;

    (void)state;
    ipmmu_script_begin(&script, fixture->model);
    assert_int_equal(ipmmu_try_unit(fixture, IPMMU_ROOT), -PIOMMU_EOPNOTSUPP);
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_close_empty(fixture);
}

/* ---- T2 and T3: attach ---- */

/* All of it; micro-TLBs only when no unit holds anything of an earlier use of the context. */
static void add_attach(struct ipmmu_script *script, const struct golden *golden)
{
    add_context(script, golden, golden->context);
    if (!is_gen2(golden)) {
        add_context_of_cache(script, golden);
        ipmmu_script_add(script, "~D P IMCTR(1) *");
    }
    ipmmu_script_add(script, "~M P IMCTR(%u) *", golden->context);
    add_micro_tlbs(script, golden);
}

static void test_t2_t3_attach(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    struct ipmmu_script script;
    size_t a;

    ipmmu_start(fixture);
    a = add_master_a(fixture);
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_attach(fixture, a, add_domain_of_one(fixture, unit_of_a(fixture)));
    add_attach(&script, golden);
    ipmmu_script_expect(&script, table_of(fixture, golden->context), mair_of(fixture));
    /* It is the table of the domain. */
    assert_int_equal(
        piommu_domain_map(fixture->domains[0], IPMMU_IOVA, IPMMU_MEMORY, IPMMU_PAGE, IPMMU_READ),
        0);
    ipmmu_grant(fixture, a, 0, IPMMU_MEMORY, IPMMU_READ);
    ipmmu_settle(fixture);
    ipmmu_assert_granted(fixture);
    ipmmu_close(fixture);
}

/* T3 as in the trace, with a table of the CPU. */
static void test_t3_the_table_of_the_cpu(void **state)
{
    static const size_t kinds[] = {3, 6};
    struct piommu_shared_table shared;
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_SHARED, .instance_count = 1, .shared = &shared};

    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const struct golden *golden = &goldens[kinds[i]];
        struct ipmmu_fixture *fixture = open_system(golden->system);
        struct piommu_pgtable *table = ipmmu_table_of_cpu(fixture, &shared);
        struct ipmmu_script script;

        ipmmu_start(fixture);
        (void)add_master_a(fixture);
        config.instances = &fixture->instances[IPMMU_CACHE_1];
        ipmmu_script_begin(&script, fixture->model);
        assert_int_equal(piommu_domain_create(&config, &fixture->domains[0]), 0);
        fixture->domain_count = 1;
        ipmmu_attach(fixture, 0, fixture->domains[0]);
        add_attach(&script, golden);
        ipmmu_script_expect(&script, shared.root, 0);
        ipmmu_detach(fixture, 0);
        ipmmu_destroy_domain(fixture, 0);
        piommu_pgtable_destroy(table);
        ipmmu_close(fixture);
    }
}

/* Master A is in a domain for D, and a second one is added. */
static struct ipmmu_fixture *open_with_two(const struct golden *golden, size_t unit,
                                           uint32_t micro_tlb)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);

    ipmmu_start(fixture);
    ipmmu_attach(fixture, add_master_a(fixture), add_domain_of_one(fixture, IPMMU_CACHE_1));
    (void)ipmmu_add_master(fixture, unit, micro_tlb);
    return fixture;
}

/* T2b and T3d: one more master behind D is a matter of its micro-TLB alone. */
static void test_t2b_another_master_of_the_same_unit(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_with_two(golden, IPMMU_CACHE_1, 5);
    struct ipmmu_script script;

    ipmmu_script_begin(&script, fixture->model);
    ipmmu_attach(fixture, 1, fixture->domains[0]);
    ipmmu_script_add_trace(&script, "T2b", is_any);
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_close(fixture);
}

/*
 * T3b, and in place of the refusal T2c: a master behind H enters the domain, whose context is
 * enabled there then. Differences: see add_context_of_cache and add_micro_tlbs.
 */
static void test_t3b_a_master_of_another_unit(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_with_two(golden, IPMMU_CACHE_2, 2);
    struct ipmmu_script script;

    ipmmu_script_begin(&script, fixture->model);
    ipmmu_attach(fixture, 1, fixture->domains[0]);
    ipmmu_script_add_trace(&script, "T3b", is_any);
    ipmmu_script_drop_all(&script, 'R', PIOMMU_IPMMU_MODEL_IMCTR);
    ipmmu_script_drop_all(&script, 'R', PIOMMU_IPMMU_MODEL_IMUCTR);
    ipmmu_script_change(&script, "H W IMUCTR(2)", "0x13");
    for (size_t unit = 0; unit < fixture->unit_count; unit++) {
        ipmmu_script_insert_before(&script, "H W IMUASID(2)", "~%s P IMCTR(1) *",
                                   fixture->units[unit].name);
    }
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_close(fixture);
}

/* T2d: a second domain, for a master behind H, is the next context. Differences: as T2. */
static void test_t2d_a_second_domain(void **state)
{
    struct ipmmu_fixture *fixture = open_system("Gen3, stage 1");
    struct ipmmu_script script;
    size_t c;

    (void)state;
    ipmmu_start(fixture);
    (void)add_domain_of_one(fixture, IPMMU_CACHE_1);
    c = ipmmu_add_master(fixture, IPMMU_CACHE_2, 2);
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_attach(fixture, c, add_domain_of_one(fixture, IPMMU_CACHE_2));
    ipmmu_script_add_trace(&script, "T2d", is_any);
    ipmmu_script_drop(&script, "M R IMSTR(2)");
    ipmmu_script_change(&script, "M W IMSTR(2)", "0x0");
    ipmmu_script_change(&script, "M W IMMAIR0(2)", "MAIR");
    ipmmu_script_drop(&script, "M W IMCTR(2)");
    ipmmu_script_insert_before(&script, "H W IMCTR(2)", "M W IMCTR(2) 0x7");
    ipmmu_script_insert_before(&script, "H W IMUASID(2)", "~M P IMCTR(2) *");
    ipmmu_script_insert_before(&script, "H W IMUASID(2)", "~H P IMCTR(2) *");
    ipmmu_script_expect(&script, table_of(fixture, 2), mair_of(fixture));
    ipmmu_close(fixture);
}

/*
 * T3c: two devices that share a micro-TLB cannot be told apart, so they are a group, and there is
 * nothing to be found out from registers and undone: no access at all. T3d: for the second one
 * nothing is to be done.
 */
static void test_t3c_t3d_a_shared_micro_tlb(void **state)
{
    struct ipmmu_fixture *fixture = open_system("Gen3, stage 2");
    const struct ipmmu_place place = {IPMMU_CACHE_1, 3};
    struct ipmmu_script script;
    size_t first;
    size_t second;

    (void)state;
    ipmmu_start(fixture);
    first = ipmmu_add_master(fixture, IPMMU_CACHE_1, 3);
    ipmmu_script_begin(&script, fixture->model);
    second = ipmmu_wire(fixture, &place, 1);
    assert_int_equal(ipmmu_try_device(fixture, second), 0);
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_attach(fixture, first, add_domain_of_one(fixture, IPMMU_CACHE_1));
    (void)add_domain_of_one(fixture, IPMMU_CACHE_1);
    ipmmu_script_begin(&script, fixture->model);
    assert_int_equal(piommu_device_attach(fixture->masters[second].device, fixture->domains[1]),
                     -PIOMMU_EGROUP);
    assert_int_equal(piommu_group_attach(piommu_device_group(fixture->masters[second].device),
                                         fixture->domains[0]),
                     0);
    ipmmu_script_expect(&script, 0, 0);
    assert_int_equal(piommu_ipmmu_model_get(fixture->model, 1, PIOMMU_IPMMU_MODEL_IMUCTR, 3) & ~2u,
                     0x11);
    ipmmu_close(fixture);
}

/* The numbers in a micro-TLB that firmware has left there do not get into what is written. */
static void test_a_stale_context_number_is_replaced(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    size_t unit = unit_of_a(fixture);
    uint32_t selected = golden->context << 4 | 3;
    size_t a;

    ipmmu_start(fixture);
    fixture->probing = false; /* a micro-TLB that is off lets pass */
    piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x20);
    a = add_master_a(fixture);
    assert_int_equal(piommu_ipmmu_model_get(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, 3) &
                         ~2u,
                     golden->blocked << 4 | 1);
    piommu_ipmmu_model_set(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, 3, 0x20);
    ipmmu_attach(fixture, a, add_domain_of_one(fixture, unit));
    assert_int_equal(piommu_ipmmu_model_get(fixture->model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, 3) &
                         ~2u,
                     selected & ~2u);
    ipmmu_close(fixture);
}

/* ---- T4: flush ---- */

static void map_page(struct piommu_domain *domain)
{
    assert_int_equal(piommu_domain_map(domain, IPMMU_IOVA, IPMMU_MEMORY, IPMMU_PAGE, IPMMU_READ),
                     0);
}

static void unmap_page(struct piommu_domain *domain)
{
    map_page(domain);
    ipmmu_unmap(domain, IPMMU_IOVA, IPMMU_PAGE);
}

/* The traces of a flush are of a domain behind D alone, or behind D and H. */
static bool is_over_two_units(const struct golden *golden)
{
    return strstr(golden->flush, "Xen") != NULL;
}

/*
 * A flush of the domain's context. Differences:
 *  - the root's value is known and not read;
 *  - cache units are polled, too: nothing says that they are done when the root is;
 *  - they are flushed once more then: meanwhile they could fetch what the root was about to forget.
 * The order of cache units means nothing.
 */
static void add_flush(struct ipmmu_script *script, const struct golden *golden, bool has_h)
{
    static const char *const again[] = {"~D P IMCTR(1) *",   "~H P IMCTR(1) *", "~D W IMCTR(1) 0x7",
                                        "~H W IMCTR(1) 0x7", "~D P IMCTR(1) *", "~H P IMCTR(1) *"};

    ipmmu_script_add_trace(script, golden->flush, has_h ? is_any : is_not_of_h);
    ipmmu_script_drop_all(script, 'R', PIOMMU_IPMMU_MODEL_IMCTR);
    for (size_t i = 0; i < COUNT(again) && !is_gen2(golden); i++) {
        if (again[i][1] == 'D' || has_h) {
            ipmmu_script_add(script, "%s", again[i]);
        }
    }
}

static void test_t4_flush(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    struct ipmmu_script script;

    ipmmu_start(fixture);
    ipmmu_attach(fixture, add_master_a(fixture), add_domain_of_one(fixture, unit_of_a(fixture)));
    if (is_over_two_units(golden)) {
        ipmmu_attach(fixture, ipmmu_add_master(fixture, IPMMU_CACHE_2, 2), fixture->domains[0]);
    }
    for (unsigned int round = 0; round < 2; round++) {
        ipmmu_script_begin(&script, fixture->model);
        unmap_page(fixture->domains[0]);
        add_flush(&script, golden, is_over_two_units(golden));
        ipmmu_script_expect(&script, 0, 0);
    }
    ipmmu_close(fixture);
}

/*
 * A FLUSH written while the one of enabling runs could be lost. So where nobody has attached, who
 * would have waited for it, it is waited for before anything is written.
 */
static void test_t4_the_first_flush(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    struct ipmmu_script script;
    struct ipmmu_script part = {.count = 0};

    ipmmu_start(fixture);
    if (is_over_two_units(golden)) {
        (void)ipmmu_add_domain(fixture);
    } else {
        (void)add_domain_of_one(fixture, unit_of_a(fixture));
    }
    ipmmu_script_begin(&script, fixture->model);
    unmap_page(fixture->domains[0]);
    ipmmu_script_add(&script, "~M P IMCTR(%u) *", golden->context);
    if (!is_gen2(golden)) {
        ipmmu_script_add(&script, "~D P IMCTR(1) *");
    }
    if (is_over_two_units(golden)) {
        ipmmu_script_add(&script, "~H P IMCTR(1) *");
    }
    add_flush(&part, golden, is_over_two_units(golden));
    ipmmu_script_append(&script, &part);
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_close(fixture);
}

/* ---- T5: detach and free ---- */

/*
 * Differences:
 *  - a micro-TLB is never switched off, which would let DMA pass: it goes to the blocked context;
 *  - the cache unit is polled, too, and before, what enabling has begun;
 *  - the end of the Linux trace is a flush through a number that is free already: there is none.
 */
static void test_t5_detach_and_free(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    struct ipmmu_script script;
    size_t a;

    ipmmu_start(fixture);
    a = add_master_a(fixture);
    ipmmu_attach(fixture, a, add_domain_of_one(fixture, unit_of_a(fixture)));
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_detach(fixture, a);
    ipmmu_destroy_domain(fixture, 0);
    fixture->domain_count = 0;
    if (is_gen2(golden)) {
        add_blocked(&script, golden, 3);
        ipmmu_script_add(&script, "?M P IMCTR(0) *");
        ipmmu_script_add(&script, "M W IMCTR(0) 0x2");
        ipmmu_script_add(&script, "M P IMCTR(0) 0x0");
    } else {
        add_blocked(&script, golden, 34);
        add_blocked(&script, golden, 3);
        ipmmu_script_add_trace(&script, is_stage2(golden) ? "T5 Xen" : "T5 Linux",
                               is_context_register);
        script.count -= is_stage2(golden) ? 0 : 4;
        ipmmu_script_insert_before(&script, "D W IMCTR(1)", "?D P IMCTR(1) *");
        ipmmu_script_insert_before(&script, "M W IMCTR(1)", "D P IMCTR(1) 0x0");
        ipmmu_script_insert_before(&script, "M W IMCTR(1)", "?M P IMCTR(1) *");
    }
    ipmmu_script_expect(&script, 0, 0);
    /* The number is free: it is the lowest one again. */
    (void)add_domain_of_one(fixture, unit_of_a(fixture));
    assert_int_equal(piommu_ipmmu_model_get(fixture->model, IPMMU_ROOT, PIOMMU_IPMMU_MODEL_IMCTR,
                                            golden->context) &
                         1,
                     1);
    ipmmu_close(fixture);
}

/*
 * T5 with memory freed between: the context stays enabled in cache units until the domain is
 * destroyed, so a flush reaches them even when no master is left.
 */
static void test_t5_a_flush_after_the_last_master_has_left(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    struct piommu_domain *domain;
    struct ipmmu_script script;
    size_t a;

    ipmmu_start(fixture);
    a = add_master_a(fixture);
    domain = is_over_two_units(golden) ? ipmmu_add_domain(fixture)
                                       : add_domain_of_one(fixture, unit_of_a(fixture));
    ipmmu_attach(fixture, a, domain);
    unmap_page(domain);
    ipmmu_detach(fixture, a);
    ipmmu_script_begin(&script, fixture->model);
    unmap_page(domain);
    add_flush(&script, golden, is_over_two_units(golden));
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_close(fixture);
}

/*
 * A unit that the domain was not created for is left with the last master, as in the trace of the
 * other driver. Differences: see test_t5_detach_and_free.
 */
static void test_t5_a_unit_is_left_with_the_last_master(void **state)
{
    static const size_t kinds[] = {1, 3, 4, 6};

    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const struct golden *golden = &goldens[kinds[i]];
        struct ipmmu_fixture *fixture = open_system(golden->system);
        struct ipmmu_script script;
        size_t a;

        ipmmu_start(fixture);
        a = add_master_a(fixture);
        ipmmu_attach(fixture, a, add_domain_of_one(fixture, IPMMU_CACHE_2));
        ipmmu_script_begin(&script, fixture->model);
        ipmmu_detach(fixture, a);
        add_blocked(&script, golden, 34);
        add_blocked(&script, golden, 3);
        ipmmu_script_add_trace(&script, "T5 Xen", is_context_of_cache);
        ipmmu_script_insert_before(&script, "D W IMCTR(1)", "?D P IMCTR(1) *");
        ipmmu_script_add(&script, "D P IMCTR(1) 0x0");
        ipmmu_script_expect(&script, 0, 0);
        ipmmu_close(fixture);
    }
}

/* ---- T6: fault ---- */

/*
 * Difference: the status of the blocked context is looked at, too, after those of domains: masters
 * without a domain have faults as well.
 */
static void test_t6_fault(const struct golden *golden)
{
    struct ipmmu_fixture *fixture = open_system(golden->system);
    uint64_t address = 0x1234567000;
    bool more = true;
    struct ipmmu_script script;
    size_t a;

    ipmmu_start(fixture);
    a = add_master_a(fixture);
    ipmmu_attach(fixture, a, add_domain_of_one(fixture, unit_of_a(fixture)));
    if (!is_gen2(golden)) {
        (void)add_domain_of_one(fixture, IPMMU_CACHE_2);
    }
    ipmmu_drain(fixture);
    fixture->probing = false;
    assert_false(ipmmu_reaches_anything(fixture, a, address, false));
    ipmmu_script_begin(&script, fixture->model);
    assert_int_equal(piommu_instance_interrupt(fixture->instances[IPMMU_ROOT], 16, &more), 1);
    ipmmu_script_add_trace(&script, golden->fault, is_any);
    ipmmu_script_add(&script, "M R IMSTR(%u) 0x0", golden->blocked);
    ipmmu_script_expect(&script, 0, 0);
    assert_false(more);
    assert_false(piommu_ipmmu_model_interrupt(fixture->model, IPMMU_ROOT));
    assert_int_equal(fixture->fault_count, 1);
    assert_int_equal(fixture->faults[0].iova, is_gen2(golden) ? address & UINT32_MAX : address);
    ipmmu_close(fixture);
}

/* ---- T7: suspend and resume ---- */

static bool is_of_context_1(const struct ipmmu_trace_line *line)
{
    return is_context_of_root(line) && line->number == 1 &&
           (line->which != PIOMMU_IPMMU_MODEL_IMCTR || strcmp(line->value, "0x00000000") != 0);
}

/*
 * The differences of T1 to T3, and:
 *  - nothing is read: what was programmed is known; so IMSTR is cleared in each of the two;
 *  - each unit is reset as at probe, and its micro-TLBs are blocked before any has a domain;
 *  - each cache unit enables its contexts itself, since it may get its power later than the root.
 */
static void resume_root(struct ipmmu_fixture *fixture, struct ipmmu_script *script,
                        const struct golden *golden, const char *trace, uint64_t table)
{
    struct ipmmu_script part = {.count = 0};

    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_ROOT]), 0);
    add_probe_of_root(script, golden);
    /* T1 is about the table of the blocked context. */
    ipmmu_script_change_all(script, PIOMMU_IPMMU_MODEL_IMTTLBR0, "*");
    ipmmu_script_change_all(script, PIOMMU_IPMMU_MODEL_IMTTUBR0, "*");
    ipmmu_script_add_trace(&part, trace, is_of_context_1);
    if (is_stage2(golden)) {
        /* What was read there: see T3. */
        ipmmu_script_change(&part, "M W IMTTLBR0(1)", "Tlo");
        ipmmu_script_change(&part, "M W IMTTUBR0(1)", "Thi");
        ipmmu_script_change(&part, "M W IMTTBCR(1)", "0xC0000058");
        ipmmu_script_change(&part, "M W IMCTR(1)", "0x20000007");
        ipmmu_script_insert_before(&part, "M W IMCTR(1)", "M W IMSTR(1) 0x0");
    } else {
        ipmmu_script_drop(&part, "M R IMSTR(1)");
        ipmmu_script_change(&part, "M W IMSTR(1)", "0x0");
        ipmmu_script_change(&part, "M W IMMAIR0(1)", "MAIR");
    }
    ipmmu_script_append(script, &part);
    add_end_of_probe(script, golden);
    ipmmu_script_add(script, "?M P IMCTR(1) *");
    ipmmu_script_expect(script, table, mair_of(fixture));
}

static void resume_cache(struct ipmmu_fixture *fixture, struct ipmmu_script *script,
                         const struct golden *golden, const char *trace)
{
    struct ipmmu_script part = {.count = 0};

    assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_CACHE_1]), 0);
    add_probe_of_cache(script, golden, "D");
    ipmmu_script_add_trace(script, trace, is_context_of_cache);
    add_wait_of_cache(script, golden, "D");
    add_blocked(script, golden, 3);
    add_blocked(script, golden, 5);
    add_blocked(script, golden, 34);
    ipmmu_script_add(script, "~M P IMCTR(1) *");
    ipmmu_script_add(script, "~D P IMCTR(1) *");
    ipmmu_script_add_trace(&part, trace, is_micro_tlb);
    ipmmu_script_change_all(&part, PIOMMU_IPMMU_MODEL_IMUASID, "0x0");
    ipmmu_script_change_all(&part, PIOMMU_IPMMU_MODEL_IMUCTR, "0x13");
    ipmmu_script_append(script, &part);
    ipmmu_script_expect(script, 0, 0);
}

/*
 * Before sleep the other driver reads what it will have to restore. Here all micro-TLBs are
 * blocked, and what the last master could use is forgotten: power may stay on.
 */
static void suspend_cache(struct ipmmu_fixture *fixture, struct ipmmu_script *script,
                          const struct golden *golden)
{
    assert_int_equal(piommu_instance_suspend(fixture->instances[IPMMU_CACHE_2]), 0);
    ipmmu_script_begin(script, fixture->model);
    assert_int_equal(piommu_instance_suspend(fixture->instances[IPMMU_CACHE_1]), 0);
    assert_int_equal(piommu_instance_suspend(fixture->instances[IPMMU_ROOT]), 0);
    add_blocked(script, golden, 3);
    add_blocked(script, golden, 5);
    add_blocked(script, golden, 34);
    add_flush(script, golden, false);
    ipmmu_script_expect(script, 0, 0);
}

static void test_t7_suspend_and_resume(void **state)
{
    static const struct {
        size_t golden;
        const char *trace;
    } kinds[] = {{1, "T7 Linux"}, {3, "T7 Xen resume"}, {4, "T7 Linux"}, {6, "T7 Xen resume"}};

    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const struct golden *golden = &goldens[kinds[i].golden];
        struct ipmmu_fixture *fixture = open_system(golden->system);
        struct ipmmu_script script;
        uint64_t table;

        ipmmu_start(fixture);
        ipmmu_attach(fixture, add_master_a(fixture), add_domain_of_one(fixture, IPMMU_CACHE_1));
        table = table_of(fixture, 1);
        unmap_page(fixture->domains[0]);
        suspend_cache(fixture, &script, golden);
        fixture->probing = false;
        for (size_t unit = 0; unit < fixture->unit_count; unit++) {
            piommu_ipmmu_model_power(fixture->model, unit, false);
            piommu_ipmmu_model_power(fixture->model, unit, true);
        }
        ipmmu_script_begin(&script, fixture->model);
        resume_root(fixture, &script, golden, kinds[i].trace, table);
        resume_cache(fixture, &script, golden, kinds[i].trace);
        assert_int_equal(piommu_instance_resume(fixture->instances[IPMMU_CACHE_2]), 0);
        ipmmu_close(fixture);
    }
}

/* ---- T8: the order of the manual ---- */

/*
 * Master 8 behind P, blocked: that is what the trace does to registers, its context being the one
 * that is the blocked one here. Differences:
 *  - the words of the table's address, and the clearing of IMSTR, come in the order of the other
 *    traces: none of it matters while the context is disabled;
 *  - attributes are those of the tables, and interrupts are enabled;
 *  - IMCTR is not read; its bits are known.
 */
static void add_order_of_the_manual(struct ipmmu_script *script, const char *trace)
{
    ipmmu_script_add_trace(script, trace, is_context_of_root);
    ipmmu_script_drop(script, "M W IMSTR(7)");
    ipmmu_script_drop(script, "M W IMTTUBR0(7)");
    ipmmu_script_insert_before(script, "M W IMTTBCR(7)", "M W IMTTUBR0(7) Thi");
    ipmmu_script_change_all(script, PIOMMU_IPMMU_MODEL_IMMAIR0, "MAIR");
    ipmmu_script_drop_all(script, 'R', PIOMMU_IPMMU_MODEL_IMCTR);
    ipmmu_script_change(script, "M W IMCTR(7)", "0x7");
    ipmmu_script_move_to_end(script, "M W IMCTR(7)");
}

/* The reset of P comes in between, and its IMSCTLR before its context is enabled. */
static void add_order_of_the_manual_in_cache(struct ipmmu_script *script,
                                             const struct golden *golden, bool has_erratum)
{
    add_probe_of_cache(script, golden, "P");
    if (has_erratum) {
        ipmmu_script_change(script, "P W IMSCTLR", "c|0xE0000000&~0x10000000");
    }
    add_wait_of_cache(script, golden, "P");
    ipmmu_script_add_trace(script, "T8", is_micro_tlb);
    ipmmu_script_insert_before(script, "P W IMUCTR(8)", "P W IMUASID(8) 0x0");
}

static bool is_write(const struct ipmmu_trace_line *line)
{
    return line->access == 'W';
}

/*
 * Teardown. Differences:
 *  - FLUSH and disabling are one write, whose FLUSH is waited for;
 *  - nothing is read, and each context of the root is disabled;
 *  - IMSTR stays: with IMCTR = 2 it asks for no interrupt.
 */
static void add_teardown(struct ipmmu_script *script)
{
    ipmmu_script_add_trace(script, "T8 teardown", is_write);
    ipmmu_script_change(script, "P W IMUCTR(8)", "0x0");
    ipmmu_script_drop(script, "P W IMCTR(7)");
    ipmmu_script_insert_before(script, "P W IMCTR(7)", "?P P IMCTR(7) *");
    ipmmu_script_change(script, "P W IMCTR(7)", "0x2");
    ipmmu_script_drop(script, "M W IMCTR(7)");
    ipmmu_script_change(script, "M W IMCTR(7)", "0x2");
    ipmmu_script_insert_before(script, "M W IMCTR(7)", "P P IMCTR(7) *");
    for (unsigned int i = 0; i < 7; i++) {
        ipmmu_script_insert_before(script, "M W IMCTR(7)", "M W IMCTR(%u) 0x2", i);
    }
    ipmmu_script_drop(script, "M W IMSTR(7)");
    ipmmu_script_add(script, "M P IMCTR(7) *");
    ipmmu_script_add(script, "?M W IMCTR(7) 0x2");
    ipmmu_script_add(script, "?M P IMCTR(7) *");
}

static void follow_the_manual(bool has_erratum)
{
    const struct piommu_ipmmu_model_unit units[] = {
        {.name = "M", .base = 0xe67b0000, .root = 0},
        {.name = "P", .base = 0xfe990000, .root = 0, .has_erratum = has_erratum},
    };
    const struct ipmmu_options options = {.units = units,
                                          .unit_count = COUNT(units),
                                          .product = has_erratum ? 0x4f10 : 0x4f30,
                                          .memory_base = HIGH_MEMORY};
    const struct golden *golden = &goldens[1];
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named(golden->system), &options);
    struct ipmmu_script script;
    struct ipmmu_script part = {.count = 0};

    fixture->places[1].untouched_micro_tlbs = ~(UINT64_C(1) << 8);
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_start(fixture);
    add_reset_of_root(&script, golden);
    add_order_of_the_manual(&part, has_erratum ? "T8 erratum" : "T8");
    ipmmu_script_append(&script, &part);
    add_end_of_probe(&script, golden);
    add_order_of_the_manual_in_cache(&script, golden, has_erratum);
    ipmmu_script_expect(&script, table_of(fixture, 7), mair_of(fixture));
    (void)ipmmu_add_master(fixture, 1, 8);
    assert_false(ipmmu_reaches_anything(fixture, 0, IPMMU_IOVA, false));
    ipmmu_remove_device(fixture, 0);
    fixture->probing = false; /* from here on it passes */
    ipmmu_script_begin(&script, fixture->model);
    assert_int_equal(piommu_instance_destroy(fixture->instances[1]), 0);
    assert_int_equal(piommu_instance_destroy(fixture->instances[0]), 0);
    add_teardown(&script);
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_close_empty(fixture);
}

static void test_t8_the_order_of_the_manual(void **state)
{
    (void)state;
    follow_the_manual(false);
    follow_the_manual(true);
}

/* ---- one context on Gen2 ---- */

/*
 * With one context, that of the traces is the blocked one: set up at probe, and when a master is
 * added. Attach and detach change the table alone, of which both words cannot be changed at a time:
 * so all of them are below 4 GiB. What the other table has led to is forgotten, its faults, too.
 */
static void add_change_of_table(struct ipmmu_script *script)
{
    ipmmu_script_add(script, "M W IMTTLBR0(0) Tlo");
    ipmmu_script_add(script, "M W IMCTR(0) 0x7");
    ipmmu_script_add(script, "M P IMCTR(0) 0x5");
    ipmmu_script_add(script, "M W IMSTR(0) 0x0");
}

static void test_gen2_with_one_context(void **state)
{
    static const struct golden golden = {
        "Gen2, one context", "T1 Xvisor Gen2", "T2 Gen2", "T4 Gen2", "T6 Gen2", 0, 0, 4, 0x7};
    struct ipmmu_fixture *fixture = ipmmu_open(ipmmu_system_named(golden.system), NULL);
    struct ipmmu_script script;
    uint64_t table;
    uint64_t empty;
    size_t a;

    (void)state;
    fixture->places[IPMMU_ROOT].untouched_micro_tlbs = ~(UINT64_C(1) << 3);
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_start_unit(fixture, IPMMU_ROOT);
    add_probe_of_root(&script, &golden);
    add_end_of_probe(&script, &golden);
    add_micro_tlbs(&script, &golden);
    assert_int_equal(piommu_ipmmu_model_get(fixture->model, 0, PIOMMU_IPMMU_MODEL_IMTTUBR0, 0), 0);
    empty = piommu_ipmmu_model_get(fixture->model, 0, PIOMMU_IPMMU_MODEL_IMTTLBR0, 0);
    ipmmu_script_expect(&script, empty, mair_of(fixture));
    ipmmu_start(fixture);
    a = add_master_a(fixture);
    (void)add_domain_of_one(fixture, IPMMU_ROOT);
    ipmmu_script_begin(&script, fixture->model);
    ipmmu_attach(fixture, a, fixture->domains[0]);
    table = piommu_ipmmu_model_get(fixture->model, 0, PIOMMU_IPMMU_MODEL_IMTTLBR0, 0);
    add_change_of_table(&script);
    add_micro_tlbs(&script, &golden);
    ipmmu_script_expect(&script, table, 0);
    unmap_page(fixture->domains[0]);
    add_flush(&script, &golden, false);
    ipmmu_script_expect(&script, 0, 0);
    ipmmu_detach(fixture, a);
    add_blocked(&script, &golden, 3);
    add_change_of_table(&script);
    ipmmu_script_expect(&script, empty, 0);
    ipmmu_close(fixture);
}

#define GOLDEN_TEST(kinds, body)                                     \
    {                                                                \
#body, run, NULL, NULL, &(struct golden_test){kinds, body }, \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        GOLDEN_TEST(IPMMU_ALL, test_t1_probe),
        cmocka_unit_test(test_t1_a_product_without_stage2),
        GOLDEN_TEST(IPMMU_ALL, test_t2_t3_attach),
        cmocka_unit_test(test_t3_the_table_of_the_cpu),
        GOLDEN_TEST(IPMMU_CACHED, test_t2b_another_master_of_the_same_unit),
        GOLDEN_TEST(IPMMU_CACHED, test_t3b_a_master_of_another_unit),
        cmocka_unit_test(test_t2d_a_second_domain),
        cmocka_unit_test(test_t3c_t3d_a_shared_micro_tlb),
        GOLDEN_TEST(IPMMU_ALL, test_a_stale_context_number_is_replaced),
        GOLDEN_TEST(IPMMU_ALL, test_t4_flush),
        GOLDEN_TEST(IPMMU_ALL, test_t4_the_first_flush),
        GOLDEN_TEST(IPMMU_ALL, test_t5_detach_and_free),
        GOLDEN_TEST(IPMMU_ALL, test_t5_a_flush_after_the_last_master_has_left),
        cmocka_unit_test(test_t5_a_unit_is_left_with_the_last_master),
        GOLDEN_TEST(IPMMU_ALL, test_t6_fault),
        cmocka_unit_test(test_t7_suspend_and_resume),
        cmocka_unit_test(test_t8_the_order_of_the_manual),
        cmocka_unit_test(test_gen2_with_one_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
