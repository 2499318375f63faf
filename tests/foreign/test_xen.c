/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The glue of examples/xen on a stand-in for Xen: the operations do what docs/porting-xen.md says
 * of them, and nothing is called with the wrong locks held, or with interrupts off. Xen itself is
 * not here, so nothing is said of how the glue runs in it.
 */

#include "two_units.h"
#include "xen_host.h"

#include <piommu-xen.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB        0x100000ull
#define RAM        0x500000000ull /* the guest's memory, where the machine has it */
#define RAM_MFN    (RAM >> PAGE_SHIFT)
#define GUEST      0x40000000ull /* and where the guest has it */
#define GUEST_GFN  (GUEST >> PAGE_SHIFT)
#define DEVICES    0x50000000ull /* registers of a device */
#define READ_WRITE (IOMMUF_readable | IOMMUF_writable)

/* What DT_DEVICE_START has made. */
extern const struct device_desc foreign_piommu;

static struct piommu_ipmmu_model *model;
static struct xen_host_node prr = {.name = "prr", .compatible = "renesas,prr"};
static struct xen_host_node root_node;
static struct xen_host_node cache_node;
static struct xen_host_node masters[3];
static const uint32_t micro_tlbs[3] = {3, 3, 5}; /* two of them share one */
static struct domain hardware = {.domain_id = 0};
static struct domain one = {.domain_id = 1};
static struct domain other = {.domain_id = 2};
static const struct iommu_ops *ops;

static int set_up(void **state)
{
    (void)state;
    model = two_units_create(xen_host_read64);
    prr.reg = piommu_ipmmu_model_product_address(model);
    xen_host_start(model, &prr);
    root_node = (struct xen_host_node){
        .name = "mm", .compatible = TWO_UNITS_COMPATIBLE, .reg = TWO_UNITS_ROOT, .irq = 228};
    cache_node = (struct xen_host_node){.name = "ds1",
                                        .compatible = TWO_UNITS_COMPATIBLE,
                                        .reg = TWO_UNITS_CACHE,
                                        .main = &root_node};
    memset(masters, 0, sizeof(masters));
    /* A cache unit that comes before its root waits for it. */
    assert_int_equal(foreign_piommu.init(&cache_node.node, NULL), 0);
    assert_int_equal(foreign_piommu.init(&root_node.node, NULL), 0);
    ops = xen_host_ops();
    assert_non_null(ops);
    assert_int_equal(ops->init(&hardware), 0);
    assert_int_equal(ops->init(&one), 0);
    assert_int_equal(ops->init(&other), 0);
    return 0;
}

static void add(unsigned int number)
{
    struct xen_host_node *master = &masters[number];
    struct dt_phandle_args spec = {
        .np = &cache_node.node, .args_count = 1, .args = {micro_tlbs[number]}};

    master->name = "master";
    assert_int_equal(ops->dt_xlate(&master->node.dev, &spec), 0);
    assert_int_equal(ops->add_device(0, &master->node.dev), 0);
    assert_true(master->node.is_protected);
    assert_int_equal(ops->add_device(0, &master->node.dev), -EEXIST);
}

static int assign(struct domain *d, unsigned int number)
{
    return ops->assign_device(d, 0, &masters[number].node.dev, 0);
}

static int deassign(struct domain *d, unsigned int number)
{
    return ops->reassign_device(d, NULL, 0, &masters[number].node.dev);
}

/* At the end every master that was added is assigned to nobody. */
static int tear_down(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        if (masters[i].node.dev.iommu != NULL) {
            assert_int_equal(ops->remove_device(0, &masters[i].node.dev), 0);
            assert_false(masters[i].node.is_protected);
        }
    }
    assert_null(piommu_xen.devices);
    ops->teardown(&hardware);
    ops->teardown(&one);
    ops->teardown(&other);
    for (unsigned int i = 0; i < piommu_xen.unit_count; i++) {
        assert_int_equal(piommu_instance_destroy(piommu_xen.units[i].instance), 0);
    }
    assert_int_equal(piommu_context_destroy(piommu_xen.context), 0);
    memset(&piommu_xen, 0, sizeof(piommu_xen));
    (void)xen_host_run_tasklet();
    xen_host_assert_idle();
    two_units_destroy(model);
    return 0;
}

/* Where DMA of a master leads; 0: nowhere. */
static uint64_t reach(unsigned int number, uint64_t address)
{
    uint64_t physical;

    return piommu_ipmmu_model_dma(model, 1, micro_tlbs[number], address, true, &physical) ==
                   PIOMMU_IPMMU_MODEL_BLOCKED
               ? 0
               : physical;
}

static dfn_t dfn(uint64_t address)
{
    return (dfn_t){address >> PAGE_SHIFT};
}

static mfn_t mfn(uint64_t address)
{
    return maddr_to_mfn(address);
}

/* ---- Devices ---- */

static void test_specifiers(void **state)
{
    struct dt_phandle_args spec = {.np = &cache_node.node, .args_count = 2};
    device_t *dev = &masters[0].node.dev;

    (void)state;
    assert_int_equal(ops->add_device(0, dev), -ENODEV);
    assert_int_equal(ops->assign_device(&one, 0, dev, 0), -ENODEV);
    assert_int_equal(ops->remove_device(0, dev), -ENODEV);
    assert_int_equal(ops->dt_xlate(dev, &spec), -EINVAL);
    spec.args_count = 1;
    spec.args[0] = 48; /* there are 48, from 0 */
    assert_int_equal(ops->dt_xlate(dev, &spec), 0);
    assert_true(ops->add_device(0, dev) < 0);
    assert_null(dev->iommu);
    spec.args[0] = 1;
    for (unsigned int i = 0; i < PIOMMU_DEVICE_MAX_IDS; i++) {
        assert_int_equal(ops->dt_xlate(dev, &spec), 0);
    }
    assert_int_equal(ops->dt_xlate(dev, &spec), -ENOSPC);
    assert_null(dev->iommu);
}

/* ---- Memory ---- */

/* The heap is told how many bits an address may have: no more than fit, and no fewer. */
static void test_heap(void **state)
{
    static const struct {
        uint64_t max_physical;
        unsigned int bits;
    } limits[] = {{0xffffffffff, 40}, {0x10000000000, 40}, {0x1fffffffffe, 40},
                  {0xffffffff, 32},   {UINT64_MAX, 0},     {0xffffffffffff, 0}};
    struct piommu_host host = piommu_xen_host();
    struct piommu_dma_request request = {.size = 2 * PAGE_SIZE, .alignment = 2 * PAGE_SIZE};
    uint64_t physical;
    void *table;

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        request.max_physical = limits[i].max_physical;
        table = host.os->dma_alloc(host.ctx, &request, &physical);
        assert_non_null(table);
        assert_int_equal(physical % request.alignment, 0);
        assert_int_equal(xen_host_counters().heap_bits, limits[i].bits);
        host.os->dma_free(host.ctx, table, request.size);
    }
    /* What the heap does not align so, and what the IPMMU has no need of. */
    request.alignment = 4 * PAGE_SIZE;
    assert_null(host.os->dma_alloc(host.ctx, &request, &physical));
    request.alignment = PAGE_SIZE;
    request.purpose = PIOMMU_DMA_RING;
    assert_null(host.os->dma_alloc(host.ctx, &request, &physical));
}

/* ---- A P2M that is shared ---- */

/* A guest's stage 2, as Xen would have it. */
static struct piommu_pgtable *make_p2m(void)
{
    const struct piommu_pgtable_config config = {
        .format = PIOMMU_ARM_64_LPAE_S2, .granule = 4096, .input_bits = 40, .output_bits = 40};
    struct piommu_pgtable_info info;
    struct piommu_pgtable *table;
    uint64_t mapped;

    assert_int_equal(p2m_ipa_bits, 40);
    assert_int_equal(piommu_pgtable_create(piommu_xen_host(), &config, &table), 0);
    assert_int_equal(piommu_pgtable_map(table, GUEST, RAM, 2 * MIB + 2 * PAGE_SIZE,
                                        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &mapped),
                     0);
    piommu_pgtable_get_info(table, &info);
    assert_int_equal(info.root_size, 2 * PAGE_SIZE);
    xen_host_set_root(info.root_physical);
    return table;
}

static void unmap_in_p2m(struct piommu_pgtable *table, uint64_t address, struct domain *d)
{
    struct piommu_gather gather;
    uint64_t unmapped;

    piommu_gather_init(&gather);
    xen_host_lock_p2m(true);
    assert_int_equal(piommu_pgtable_unmap(table, address, PAGE_SIZE, &gather, &unmapped), 0);
    assert_int_equal(ops->iotlb_flush(d, dfn(address), 1, IOMMU_FLUSHF_modified), 0);
    piommu_pgtable_release(table, &gather);
    xen_host_lock_p2m(false);
}

static void test_shared(void **state)
{
    struct piommu_pgtable *table = make_p2m();
    uint64_t flushes;
    unsigned int flags = 0;
    mfn_t found;

    (void)state;
    add(0);
    assert_int_equal(reach(0, GUEST), 0);
    assert_int_equal(ops->iotlb_flush(&one, dfn(GUEST), 1, IOMMU_FLUSHF_modified), 0);
    assert_int_equal(assign(&one, 0), 0);
    assert_int_equal(assign(&other, 0), -EBUSY);
    assert_int_equal(assign(&one, 0), -EBUSY);
    assert_true(reach(0, GUEST + 5) == RAM + 5);
    assert_true(reach(0, GUEST + 2 * MIB) == RAM + 2 * MIB);
    assert_int_equal(reach(0, GUEST + 2 * MIB + 2 * PAGE_SIZE), 0);
    /* Only what takes away is flushed. */
    flushes = piommu_ipmmu_model_counters(model, 0).flushes;
    assert_int_equal(ops->iotlb_flush(&one, dfn(GUEST), 1, IOMMU_FLUSHF_added), 0);
    assert_true(piommu_ipmmu_model_counters(model, 0).flushes == flushes);
    unmap_in_p2m(table, GUEST + 2 * MIB, &one);
    assert_true(piommu_ipmmu_model_counters(model, 0).flushes > flushes);
    assert_int_equal(reach(0, GUEST + 2 * MIB), 0);
    assert_int_equal(ops->iotlb_flush(&one, (dfn_t){~0ull}, 0, IOMMU_FLUSHF_all), 0);
    assert_int_equal(ops->map_page(&one, dfn(GUEST), mfn(RAM), READ_WRITE, &flags), 0);
    assert_int_equal(ops->unmap_page(&one, dfn(GUEST), 0, &flags), 0);
    assert_int_equal(ops->lookup_page(&one, dfn(GUEST), &found, &flags), -EOPNOTSUPP);
    ops->dump_page_tables(&one);
    /* Deassigned is blocked. */
    assert_int_equal(deassign(&other, 0), -ESRCH);
    assert_int_equal(deassign(&one, 0), 0);
    assert_int_equal(reach(0, GUEST), 0);
    assert_int_equal(reach(0, RAM), 0);
    /* To the hardware domain, and into quarantine; to no other guest at once. */
    assert_int_equal(assign(&one, 0), 0);
    assert_int_equal(ops->reassign_device(&one, &other, 0, &masters[0].node.dev), -EPERM);
    assert_int_equal(ops->reassign_device(&one, &hardware, 0, &masters[0].node.dev), 0);
    assert_true(reach(0, GUEST) == RAM);
    assert_int_equal(ops->reassign_device(&hardware, dom_io, 0, &masters[0].node.dev), 0);
    assert_int_equal(reach(0, GUEST), 0);
    ops->teardown(&one);
    ops->teardown(&hardware);
    piommu_pgtable_destroy(table);
}

/* A P2M that the units cannot walk is refused, and the device stays blocked. */
static void test_shared_of_another_width(void **state)
{
    struct piommu_pgtable *table = make_p2m();

    (void)state;
    add(0);
    p2m_ipa_bits = 44;
    assert_true(assign(&one, 0) < 0);
    p2m_ipa_bits = 40;
    assert_int_equal(reach(0, GUEST), 0);
    piommu_pgtable_destroy(table);
}

/* Devices that share a micro-TLB are in one guest. */
static void test_group(void **state)
{
    struct piommu_pgtable *table = make_p2m();

    (void)state;
    add(0);
    add(1);
    add(2);
    assert_int_equal(assign(&one, 0), 0);
    assert_int_equal(assign(&other, 1), -EBUSY);
    assert_int_equal(assign(&other, 2), 0);
    assert_int_equal(assign(&one, 1), 0);
    assert_int_equal(deassign(&one, 0), 0);
    assert_true(reach(1, GUEST) == RAM);
    assert_int_equal(assign(&other, 0), -EBUSY);
    assert_int_equal(deassign(&one, 1), 0);
    assert_int_equal(reach(1, GUEST), 0);
    assert_int_equal(assign(&other, 0), 0);
    assert_int_equal(deassign(&other, 0), 0);
    assert_int_equal(deassign(&other, 2), 0);
    ops->teardown(&one);
    ops->teardown(&other);
    piommu_pgtable_destroy(table);
}

/* ---- Tables of their own ---- */

static const struct xen_host_frames memory[] = {
    {.gfn = GUEST_GFN, .mfn = RAM_MFN, .order = 9, .type = p2m_ram_rw},
    {.gfn = GUEST_GFN + 512, .mfn = RAM_MFN + 512, .order = 0, .type = p2m_ram_ro},
    {.gfn = GUEST_GFN + 513, .mfn = RAM_MFN + 513, .order = 0, .type = p2m_invalid},
    {.gfn = DEVICES >> PAGE_SHIFT, .mfn = DEVICES >> PAGE_SHIFT, .type = p2m_mmio_direct_dev},
};

static void map(uint64_t address, uint64_t to, unsigned int order)
{
    unsigned int flags = 0;

    xen_host_lock_p2m(true);
    assert_int_equal(ops->map_page(&one, dfn(address), mfn(to), READ_WRITE | order, &flags), 0);
    xen_host_lock_p2m(false);
    assert_int_equal(flags, IOMMU_FLUSHF_added);
}

static void unmap(uint64_t address, unsigned int order)
{
    unsigned int flags = 0;

    xen_host_lock_p2m(true);
    assert_int_equal(ops->unmap_page(&one, dfn(address), order, &flags), 0);
    assert_int_equal(flags, IOMMU_FLUSHF_modified);
    assert_int_equal(ops->iotlb_flush(&one, dfn(address), 1ul << order, flags), 0);
    xen_host_lock_p2m(false);
}

static void test_own_tables(void **state)
{
    unsigned int flags = 0;
    mfn_t found;

    (void)state;
    xen_host_share(false);
    xen_host_set_p2m(memory, sizeof(memory) / sizeof(memory[0]));
    add(0);
    /* Without a device nothing is done, and the P2M is not looked at. */
    map(GUEST, RAM, 9);
    unmap(GUEST, 9);
    assert_int_equal(ops->lookup_page(&one, dfn(GUEST), &found, &flags), -PIOMMU_ENOENT);
    assert_int_equal(xen_host_counters().invocations, 0);
    ops->dump_page_tables(&one);

    assert_int_equal(assign(&one, 0), 0);
    assert_true(xen_host_counters().p2m_locks != 0);
    assert_true(reach(0, GUEST + 5) == RAM + 5);
    assert_int_equal(reach(0, GUEST + 2 * MIB), 0); /* it is there for reading */
    assert_int_equal(reach(0, GUEST + 2 * MIB + PAGE_SIZE), 0);
    assert_true(reach(0, DEVICES) == DEVICES);
    assert_int_equal(ops->lookup_page(&one, dfn(GUEST + 2 * MIB), &found, &flags), 0);
    assert_true(mfn_to_maddr(found) == RAM + 2 * MIB);
    assert_int_equal(flags, IOMMUF_readable);
    ops->dump_page_tables(&one);

    /* Then calls change the tables: map, map over, unmap a part, map again, unmap nothing. */
    map(GUEST + 4 * MIB, RAM + 4 * MIB, 0);
    assert_true(reach(0, GUEST + 4 * MIB) == RAM + 4 * MIB);
    map(GUEST + 4 * MIB, RAM + 8 * MIB, 0);
    assert_true(reach(0, GUEST + 4 * MIB) == RAM + 8 * MIB);
    unmap(GUEST + 4 * PAGE_SIZE, 0);
    assert_int_equal(reach(0, GUEST + 4 * PAGE_SIZE), 0);
    assert_true(reach(0, GUEST + 5 * PAGE_SIZE) == RAM + 5 * PAGE_SIZE);
    assert_false(piommu_ipmmu_model_leaf_reaches(model, RAM + 4 * PAGE_SIZE, PAGE_SIZE));
    map(GUEST + 4 * PAGE_SIZE, RAM + 4 * PAGE_SIZE, 0);
    assert_true(reach(0, GUEST + 4 * PAGE_SIZE) == RAM + 4 * PAGE_SIZE);
    unmap(GUEST + 16 * MIB, 9);

    /* What was unmapped and not flushed yet is flushed before something is mapped there. */
    flags = 0;
    assert_true(reach(0, GUEST + 4 * MIB) == RAM + 8 * MIB);
    assert_int_equal(ops->unmap_page(&one, dfn(GUEST + 4 * MIB), 0, &flags), 0);
    map(GUEST + 4 * MIB, RAM + 12 * MIB, 0);
    assert_true(reach(0, GUEST + 4 * MIB) == RAM + 12 * MIB);
    assert_int_equal(deassign(&one, 0), 0);
    assert_int_equal(reach(0, GUEST), 0);
}

/* What changes while the tables are filled is right in the end; others get the lock meanwhile. */
static void test_filling_in_steps(void **state)
{
    static struct xen_host_frames many[1502] = {
        /* A piece that is not done at the end of the first step, since its frames lie aslant. */
        [1500] = {.gfn = GUEST_GFN - 600, .mfn = RAM_MFN + 8000, .type = p2m_ram_rw},
        [1501] = {.gfn = GUEST_GFN - 512, .mfn = RAM_MFN + 9001, .order = 9, .type = p2m_ram_rw},
    };

    (void)state;
    for (unsigned int i = 0; i < 1500; i++) {
        many[i] = (struct xen_host_frames){
            .gfn = GUEST_GFN + 2ul * i, .mfn = RAM_MFN + 2ul * i, .type = p2m_ram_rw};
    }
    xen_host_share(false);
    xen_host_set_p2m(many, 1502);
    add(0);
    assert_int_equal(assign(&one, 0), 0);
    assert_true(xen_host_counters().p2m_locks > 2);
    for (uint64_t i = 0; i < 512; i++) {
        assert_true(reach(0, GUEST - 2 * MIB + i * PAGE_SIZE) == RAM + (9001 + i) * PAGE_SIZE);
    }
    for (uint64_t i = 0; i < 1500; i++) {
        assert_true(reach(0, GUEST + 2 * i * PAGE_SIZE) == RAM + 2 * i * PAGE_SIZE);
    }
    assert_int_equal(deassign(&one, 0), 0);
}

/* Wherever memory ends, the device is blocked and the call can be made again. */
static void test_no_memory(void **state)
{
    unsigned int kth = 0;
    int error;

    (void)state;
    xen_host_share(false);
    xen_host_set_p2m(memory, sizeof(memory) / sizeof(memory[0]));
    add(0);
    do {
        kth++;
        xen_host_fail_allocation(kth);
        error = assign(&one, 0);
        xen_host_fail_allocation(0);
        if (error != 0) {
            assert_int_equal(error, -ENOMEM);
            assert_int_equal(reach(0, GUEST), 0);
        }
    } while (error != 0);
    assert_true(kth > 3);
    assert_true(reach(0, GUEST) == RAM);
    assert_int_equal(deassign(&one, 0), 0);
}

/* ---- Interrupts, power ---- */

static void test_faults(void **state)
{
    unsigned int lines;

    (void)state;
    add(0);
    lines = xen_host_counters().lines;
    assert_int_equal(reach(0, GUEST), 0);
    assert_true(xen_host_interrupt());
    assert_true(xen_host_counters().lines > lines);
    /* A guest cannot fill the log. */
    lines = xen_host_counters().lines;
    for (unsigned int i = 0; i < 1000; i++) {
        assert_int_equal(reach(0, GUEST), 0);
        assert_true(xen_host_interrupt());
        (void)xen_host_run_tasklet();
    }
    assert_true(xen_host_counters().lines - lines < 100);
}

/* The handler comes whenever interrupts are on: also between any two steps of the tasklet. */
static void disturb(void *ctx)
{
    (void)ctx;
    (void)reach(0, GUEST);
    assert_true(xen_host_interrupt());
}

static void test_interrupts_everywhere(void **state)
{
    (void)state;
    xen_host_share(false);
    xen_host_set_p2m(memory, sizeof(memory) / sizeof(memory[0]));
    add(0);
    xen_host_on_unmask(disturb, NULL);
    assert_int_equal(assign(&one, 0), 0);
    unmap(GUEST, 9);
    map(GUEST, RAM, 9);
    piommu_xen.units[1].service.function(&piommu_xen.units[1]);
    assert_int_equal(deassign(&one, 0), 0);
    xen_host_on_unmask(NULL, NULL);
    assert_true(xen_host_interrupt());
}

static void test_power(void **state)
{
    (void)state;
    xen_host_share(false);
    xen_host_set_p2m(memory, sizeof(memory) / sizeof(memory[0]));
    add(0);
    add(2);
    assert_int_equal(assign(&one, 0), 0);
    assert_int_equal(ops->suspend(), 0);
    piommu_ipmmu_model_power(model, 0, false);
    piommu_ipmmu_model_power(model, 1, false);
    piommu_ipmmu_model_power(model, 0, true);
    piommu_ipmmu_model_power(model, 1, true);
    ops->resume();
    assert_true(reach(0, GUEST) == RAM);
    assert_int_equal(reach(2, GUEST), 0);
    assert_int_equal(deassign(&one, 0), 0);
    ops->quiesce();
    assert_false(xen_host_interrupt());
}

/* A unit that hangs: the caller is told that the pages must be kept, and the device is blocked. */
static void test_hang(void **state)
{
    unsigned int flags = 0;

    (void)state;
    xen_host_share(false);
    xen_host_set_p2m(memory, sizeof(memory) / sizeof(memory[0]));
    add(0);
    assert_int_equal(assign(&one, 0), 0);
    assert_int_equal(ops->unmap_page(&one, dfn(GUEST), 9, &flags), 0);
    piommu_ipmmu_model_set_flush_polls(model, 0, PIOMMU_IPMMU_MODEL_NEVER);
    assert_int_equal(ops->iotlb_flush(&one, dfn(GUEST), 512, flags), -EIO);
    piommu_ipmmu_model_set_flush_polls(model, 0, 0);
    piommu_ipmmu_model_end_flushes(model, 0);
    assert_int_equal(reach(0, GUEST), 0);
    assert_int_equal(piommu_instance_recover(piommu_xen.units[1].instance), 0);
    assert_int_equal(piommu_instance_recover(piommu_xen.units[0].instance), 0);
    assert_int_equal(ops->iotlb_flush(&one, dfn(GUEST), 512, flags), 0);
    assert_int_equal(deassign(&one, 0), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_specifiers),
        TEST(test_heap),
        TEST(test_shared),
        TEST(test_shared_of_another_width),
        TEST(test_group),
        TEST(test_own_tables),
        TEST(test_filling_in_steps),
        TEST(test_no_memory),
        TEST(test_faults),
        TEST(test_interrupts_everywhere),
        TEST(test_power),
        TEST(test_hang),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
