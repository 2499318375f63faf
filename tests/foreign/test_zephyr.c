/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The port of examples/zephyr on a stand-in for Zephyr: nothing is called where Zephyr's
 * documentation forbids it, and what the port promises the library holds. Zephyr itself is not
 * here, so nothing is said of how the port runs on it.
 */

#include "two_units.h"
#include "zephyr_host.h"

#include <piommu_zephyr.h>
#include <piommu_zephyr_dt.h>

#include <piommu/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE      4096u
#define IOVA      0x40000000u
#define MICRO_TLB 3u
#define IRQ       228u
#define TICK      ZEPHYR_HOST_TICK_NANOSECONDS
#define BDF       PCIE_BDF(1, 2, 3)

/* A device tree as Zephyr's macros see it: a root, a cache unit, and a device with two IDs. */
#define root_ord                        7
#define root_reg                        TWO_UNITS_ROOT
#define root_compatible_0               TWO_UNITS_COMPATIBLE
#define root_has_renesas_ipmmu_main     0
#define cache_ord                       4
#define cache_reg                       TWO_UNITS_CACHE
#define cache_compatible_0              TWO_UNITS_COMPATIBLE
#define cache_has_renesas_ipmmu_main    1
#define cache_renesas_ipmmu_main_node_0 root
#define device_iommus_node_0            cache
#define device_iommus_id_0              MICRO_TLB

/* What the port has at boot. */
int foreign_init_init_memory(void);

static struct piommu_ipmmu_model *model;
static unsigned char buffer[PAGE] __aligned(PAGE);

/* Where the stand-in puts what is not cached; the linker's. */
extern unsigned char __start_nocache[];
extern unsigned char __stop_nocache[];

/* What an application has. */
static struct {
    struct k_mutex calls;
    struct piommu_context *context;
    struct piommu_instance *root;
    struct piommu_instance *cache;
    struct piommu_device *device;
    struct piommu_domain *domain;
    struct piommu_zephyr_unit unit;
    unsigned int faults;
    unsigned int interrupts;
    bool blocks;
} app;

static int set_up(void **state)
{
    (void)state;
    model = two_units_create(zephyr_host_read64);
    zephyr_host_start(model);
    assert_int_equal(foreign_init_init_memory(), 0);
    memset(&app, 0, sizeof(app));
    (void)k_mutex_init(&app.calls);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    zephyr_host_assert_idle();
    two_units_destroy(model);
    return 0;
}

/* ---- From the first instance to the last ---- */

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    (void)fault;
    app.faults++;
    return app.blocks ? PIOMMU_FAULT_BLOCK : PIOMMU_FAULT_NOTE;
}

static int start(void)
{
    static const struct piommu_ipmmu_vmsa_config cache = PIOMMU_ZEPHYR_IPMMU(cache);
    const struct piommu_context_config context = {.fault = on_fault};
    const struct piommu_instance_config root_config = {.name = "root",
                                                       .key = PIOMMU_ZEPHYR_KEY(root),
                                                       .timeout = 20u * TICK,
                                                       .parent_key =
                                                           PIOMMU_ZEPHYR_PARENT_KEY(root)};
    const struct piommu_instance_config cache_config = {.name = "cache",
                                                        .key = PIOMMU_ZEPHYR_KEY(cache),
                                                        .parent_key =
                                                            PIOMMU_ZEPHYR_PARENT_KEY(cache)};
    struct piommu_ipmmu_vmsa_config root = PIOMMU_ZEPHYR_IPMMU(root);
    int error = piommu_context_create(piommu_zephyr_host(), &context, &app.context);

    root.product = piommu_ipmmu_model_product(model);
    /* The order does not matter. */
    if (error == 0) {
        error = piommu_instance_create(app.context, piommu_ipmmu_vmsa_backend(), &cache,
                                       &cache_config, &app.cache);
    }
    if (error == 0) {
        error = piommu_instance_create(app.context, piommu_ipmmu_vmsa_backend(), &root,
                                       &root_config, &app.root);
    }
    return error;
}

static int add(void)
{
    const struct piommu_device_id id = PIOMMU_ZEPHYR_DEVICE_ID(device, 0);
    const struct piommu_device_config device = {.ids = &id, .id_count = 1};
    const struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &app.cache, .instance_count = 1};
    int error = piommu_device_add(app.context, &device, &app.device);

    if (error == 0) {
        error = piommu_domain_create(&domain, &app.domain);
    }
    if (error == 0) {
        error = piommu_device_attach(app.device, app.domain);
    }
    return error;
}

static int close_app(void)
{
    int error = app.device != NULL ? piommu_device_detach(app.device) : 0;

    if (error == 0) {
        error = piommu_domain_destroy(app.domain);
    }
    if (error == 0) {
        error = piommu_device_remove(app.device);
    }
    if (error == 0) {
        error = piommu_instance_destroy(app.cache);
    }
    if (error == 0) {
        error = piommu_instance_destroy(app.root);
    }
    if (error == 0) {
        error = piommu_context_destroy(app.context);
    }
    return error;
}

static int open_app(void)
{
    int error = start();

    if (error == 0) {
        error = add();
    }
    if (error == 0) {
        piommu_zephyr_unit_init(&app.unit, app.root, IRQ, &app.calls);
    } else {
        assert_int_equal(close_app(), 0);
        app.context = NULL;
        app.root = NULL;
        app.cache = NULL;
        app.device = NULL;
        app.domain = NULL;
    }
    return error;
}

static int map(void)
{
    return piommu_domain_map(app.domain, IOVA, zephyr_host_physical(buffer), PAGE,
                             PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
}

static int unmap(void)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_domain_unmap(app.domain, IOVA, PAGE, &gather, NULL);
    return error == 0 ? piommu_domain_sync(app.domain, &gather) : error;
}

/* Does the device reach the buffer? */
static bool device_reaches(void)
{
    uint64_t physical;

    if (piommu_ipmmu_model_dma(model, 1, MICRO_TLB, IOVA + 5, true, &physical) ==
        PIOMMU_IPMMU_MODEL_BLOCKED) {
        return false;
    }
    assert_true(physical == zephyr_host_physical(buffer) + 5);
    return true;
}

/* The line is a level: the interrupt comes as long as it is up and enabled. */
static void take_interrupts(void)
{
    for (unsigned int rounds = 0;
         zephyr_host_irq_enabled() && piommu_ipmmu_model_interrupt(model, 0); rounds++) {
        assert_true(rounds < 4);
        zephyr_host_enter_interrupt();
        piommu_zephyr_isr(&app.unit);
        zephyr_host_leave_interrupt();
        app.interrupts++;
    }
}

static void test_life(void **state)
{
    (void)state;
    assert_int_equal(open_app(), 0);
    assert_false(device_reaches());
    take_interrupts();
    assert_int_equal(app.interrupts, 1);
    assert_int_equal(app.faults, 1);
    assert_true(zephyr_host_counters().locks_in_interrupts != 0);
    assert_false(zephyr_host_run_work());

    assert_int_equal(map(), 0);
    assert_true(device_reaches());
    assert_int_equal(unmap(), 0);
    assert_false(piommu_ipmmu_model_leaf_reaches(model, zephyr_host_physical(buffer), PAGE));
    assert_false(device_reaches());
    take_interrupts();
    assert_int_equal(app.faults, 2);
    assert_int_equal(close_app(), 0);
}

/* A device makes a fault wherever threads do not keep interrupts out. */
static void disturb(void *ctx)
{
    (void)ctx;
    (void)piommu_ipmmu_model_dma(model, 1, MICRO_TLB, IOVA + PAGE, true, NULL);
    take_interrupts();
}

static void test_interrupts_between_locks(void **state)
{
    (void)state;
    assert_int_equal(open_app(), 0);
    zephyr_host_on_unlock(disturb, NULL);
    for (unsigned int round = 0; round < 10; round++) {
        assert_int_equal(map(), 0);
        assert_int_equal(unmap(), 0);
        (void)zephyr_host_run_work();
    }
    zephyr_host_on_unlock(NULL, NULL);
    assert_true(app.interrupts > 10);
    assert_true(app.faults > 10);
    while (zephyr_host_run_work() || piommu_ipmmu_model_interrupt(model, 0)) {
        take_interrupts();
    }
    assert_int_equal(close_app(), 0);
}

/* What cannot be done in an interrupt is done by work, and the interrupt is disabled until then. */
static void test_work(void **state)
{
    struct piommu_device_info info;

    (void)state;
    assert_int_equal(open_app(), 0);
    assert_int_equal(map(), 0);
    app.blocks = true;
    (void)piommu_ipmmu_model_dma(model, 1, MICRO_TLB, IOVA + PAGE, true, NULL);
    take_interrupts();
    assert_int_equal(app.faults, 1);
    assert_int_equal(zephyr_host_counters().works, 1);
    assert_false(zephyr_host_irq_enabled());
    assert_true(zephyr_host_run_work());
    assert_true(zephyr_host_irq_enabled());
    piommu_device_get_info(app.device, &info);
    assert_true(info.fault_blocked);
    assert_false(device_reaches());
    take_interrupts();
    (void)zephyr_host_run_work();
    assert_int_equal(close_app(), 0);
}

/* The end of work that was beyond its first question when the unit was stopped. */
static void end_work(void *ctx)
{
    (void)ctx;
    irq_enable(IRQ);
}

/* And an interrupt comes of that. */
static void end_work_and_disturb(void *ctx)
{
    end_work(ctx);
    disturb(ctx);
    assert_false(zephyr_host_irq_enabled());
}

/* When a unit is stopped, neither what was pending nor what comes calls the library any more. */
static void stop_while(void (*cancelling)(void *ctx))
{
    unsigned int faults;

    assert_int_equal(open_app(), 0);
    app.blocks = true;
    disturb(NULL);
    faults = app.faults;
    assert_int_equal(zephyr_host_counters().works, 1);
    zephyr_host_on_cancel(cancelling, NULL);
    piommu_zephyr_unit_stop(&app.unit);
    zephyr_host_on_cancel(NULL, NULL);
    assert_false(zephyr_host_run_work());
    assert_false(zephyr_host_irq_enabled());
    app.unit.work.handler(&app.unit.work);
    assert_false(zephyr_host_irq_enabled());
    assert_int_equal(app.faults, faults);
    assert_int_equal(close_app(), 0);
    irq_enable(IRQ);
}

static void test_stop(void **state)
{
    (void)state;
    stop_while(end_work);
}

static void test_stop_and_interrupt(void **state)
{
    (void)state;
    stop_while(end_work_and_disturb);
}

/* Wherever the heap ends, nothing is left. */
static void test_no_heap(void **state)
{
    unsigned int kth = 0;
    int error;

    (void)state;
    do {
        kth++;
        zephyr_host_fail_allocation(kth);
        error = open_app();
        zephyr_host_fail_allocation(0);
        if (error != 0) {
            /* A cache unit that has waited for its root, and could not be started then. */
            assert_true(error == -PIOMMU_ENOMEM || error == -PIOMMU_EFAILED);
            zephyr_host_assert_idle();
        }
    } while (error != 0);
    assert_true(kth > 5);
    assert_int_equal(close_app(), 0);
}

static void test_no_pages(void **state)
{
    (void)state;
    zephyr_host_exhaust(true);
    assert_int_equal(open_app(), -PIOMMU_ENOMEM);
    zephyr_host_assert_idle();
    zephyr_host_exhaust(false);
    assert_int_equal(open_app(), 0);
    zephyr_host_exhaust(true);
    assert_int_equal(map(), -PIOMMU_ENOMEM);
    assert_false(device_reaches());
    zephyr_host_exhaust(false);
    take_interrupts();
    assert_int_equal(close_app(), 0);
}

/* A unit that hangs is waited for, and not for ever. */
static void test_hang(void **state)
{
    unsigned int yields;

    (void)state;
    assert_int_equal(open_app(), 0);
    assert_int_equal(map(), 0);
    yields = zephyr_host_counters().yields;
    piommu_ipmmu_model_set_flush_polls(model, 0, PIOMMU_IPMMU_MODEL_NEVER);
    assert_int_equal(unmap(), -PIOMMU_EFAILED);
    assert_true(zephyr_host_counters().yields > yields);
    piommu_ipmmu_model_set_flush_polls(model, 0, 0);
    piommu_ipmmu_model_end_flushes(model, 0);
    assert_int_equal(piommu_instance_recover(app.root), 0);
    assert_int_equal(piommu_instance_recover(app.cache), 0);
    assert_int_equal(close_app(), 0);
}

/* ---- Callbacks one by one ---- */

static void test_what_is_offered(void **state)
{
    const char *missing = NULL;

    (void)state;
    assert_int_equal(piommu_os_check(piommu_zephyr_host(),
                                     PIOMMU_OS_NEED_CLEAN | PIOMMU_OS_NEED_LOCK |
                                         PIOMMU_OS_NEED_MMIO | PIOMMU_OS_NEED_PCI |
                                         PIOMMU_OS_NEED_INVALIDATE,
                                     &missing),
                     0);
    assert_null(missing);
}

static void *take(size_t size, size_t alignment, uint64_t max_physical,
                  enum piommu_dma_purpose purpose, uint64_t *physical)
{
    struct piommu_host host = piommu_zephyr_host();
    const struct piommu_dma_request request = {
        .size = size, .alignment = alignment, .max_physical = max_physical, .purpose = purpose};

    return host.os->dma_alloc(host.ctx, &request, physical);
}

static void give(void *memory, size_t size)
{
    struct piommu_host host = piommu_zephyr_host();

    host.os->dma_free(host.ctx, memory, size);
}

static bool is_uncached(const void *memory)
{
    return (uintptr_t)memory >= (uintptr_t)__start_nocache &&
           (uintptr_t)memory < (uintptr_t)__stop_nocache;
}

/* Whatever is asked for, both addresses are right, and it goes back to where it was. */
static void test_memory_for_hardware(void **state)
{
    static const struct {
        size_t size;
        size_t alignment;
        enum piommu_dma_purpose purpose;
    } requests[] = {
        {32, 32, PIOMMU_DMA_TABLE},
        {PAGE, PAGE, PIOMMU_DMA_TABLE},
        {2 * PAGE, 2 * PAGE, PIOMMU_DMA_TABLE},
        {64, 2 * PAGE, PIOMMU_DMA_TABLE},
        {100, 16, PIOMMU_DMA_RING},
        {PAGE, PAGE, PIOMMU_DMA_RING},
        {PAGE, PAGE, PIOMMU_DMA_BUFFER},
        {64, 64, PIOMMU_DMA_BUFFER_UNCACHED},
    };
    void *memory[sizeof(requests) / sizeof(requests[0])];
    uint64_t physical = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        memory[i] = take(requests[i].size, requests[i].alignment, UINT64_MAX, requests[i].purpose,
                         &physical);
        assert_non_null(memory[i]);
        assert_int_equal((uintptr_t)memory[i] % requests[i].alignment, 0);
        assert_int_equal(physical % requests[i].alignment, 0);
        assert_true(physical == zephyr_host_physical(memory[i]));
        assert_int_equal(is_uncached(memory[i]),
                         requests[i].purpose == PIOMMU_DMA_RING ||
                             requests[i].purpose == PIOMMU_DMA_BUFFER_UNCACHED);
        memset(memory[i], (int)i, requests[i].size);
    }
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        assert_int_equal(((unsigned char *)memory[i])[requests[i].size - 1], i);
        give(memory[i], requests[i].size);
    }
    zephyr_host_assert_idle();
    /* What lies too high is not given, and not lost. */
    memory[0] = take(PAGE, PAGE, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);
    give(memory[0], PAGE);
    assert_null(take(PAGE, PAGE, physical + PAGE - 2, PIOMMU_DMA_TABLE, &physical));
    assert_null(take(PAGE, PAGE, 1, PIOMMU_DMA_TABLE, &physical));
    memory[0] = take(PAGE, PAGE, physical + PAGE - 1, PIOMMU_DMA_TABLE, &physical);
    assert_non_null(memory[0]);
    give(memory[0], PAGE);
    /* In an interrupt, too. */
    zephyr_host_enter_interrupt();
    memory[0] = take(2 * PAGE, PAGE, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);
    memory[1] = take(PAGE, PAGE, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);
    give(memory[0], 2 * PAGE);
    give(memory[1], PAGE);
    zephyr_host_leave_interrupt();
}

static void test_waits(void **state)
{
    struct piommu_host host = piommu_zephyr_host();

    (void)state;
    zephyr_host_enter_interrupt();
    host.os->wait(host.ctx, UINT64_MAX);
    zephyr_host_leave_interrupt();
    zephyr_host_set_pre_kernel(true);
    host.os->wait(host.ctx, UINT64_MAX);
    zephyr_host_set_pre_kernel(false);
    assert_int_equal(zephyr_host_counters().yields + zephyr_host_counters().sleeps, 0);
    host.os->wait(host.ctx, 2 * TICK - 1);
    assert_int_equal(zephyr_host_counters().yields, 1);
    host.os->wait(host.ctx, 2 * TICK);
    assert_int_equal(zephyr_host_counters().sleeps, 1);
    assert_int_equal(host.os->now(host.ctx), 2 * TICK);
    host.os->wait(host.ctx, 0);
    assert_int_equal(zephyr_host_counters().sleeps, 1);
}

static void test_registers(void **state)
{
    struct piommu_host host = piommu_zephyr_host();
    uint32_t registers[2] = {0x44332211, 0};
    uintptr_t base;

    (void)state;
    zephyr_host_start(NULL);
    assert_int_equal(host.os->mmio_map(host.ctx, (uintptr_t)registers, sizeof(registers), &base),
                     0);
    host.os->mmio_write(host.ctx, base + 4, 4, 0x88776655);
    host.os->mmio_write(host.ctx, base + 6, 2, 0xbbaa);
    host.os->mmio_write(host.ctx, base + 5, 1, 0x99);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 4, 4), 0xbbaa9955);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 6, 2), 0xbbaa);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 5, 1), 0x99);
    assert_int_equal(registers[0], 0x44332211);
    host.os->mmio_unmap(host.ctx, base, sizeof(registers));
    /* One byte; from page to page; more than there can be. */
    assert_int_equal(host.os->mmio_map(host.ctx, 2 * PAGE - 1, 1, &base), 0);
    assert_int_equal(base, 2 * PAGE - 1);
    host.os->mmio_unmap(host.ctx, base, 1);
    assert_int_equal(host.os->mmio_map(host.ctx, 2 * PAGE - 1, 2, &base), 0);
    assert_int_equal(base, 2 * PAGE - 1);
    host.os->mmio_unmap(host.ctx, base, 2);
    assert_int_equal(host.os->mmio_map(host.ctx, UINTPTR_MAX, 2, &base), -PIOMMU_ENODEV);
}

/* Configuration space has words of 32 bits; parts of one are written without their neighbours. */
static void test_configuration_space(void **state)
{
    const struct piommu_pci_function function = {.bdf = 1 << 8 | 2 << 3 | 3};
    const struct piommu_pci_function absent = {.bdf = 1 << 8 | 2 << 3 | 4};
    struct piommu_host host = piommu_zephyr_host();
    uint32_t *words = zephyr_host_function(BDF);
    struct piommu_pci_bar bar;

    (void)state;
    words[0] = 0x10571af4;
    words[1] = 0xf9000007;
    assert_int_equal(host.os->pci_config_read(host.ctx, function, 0, 4), 0x10571af4);
    assert_int_equal(host.os->pci_config_read(host.ctx, function, 2, 2), 0x1057);
    assert_int_equal(host.os->pci_config_read(host.ctx, function, 1, 1), 0x1a);
    assert_int_equal(host.os->pci_config_read(host.ctx, absent, 0, 4), UINT32_MAX);
    assert_int_equal(host.os->pci_config_read(host.ctx, absent, 0, 2), 0xffff);
    host.os->pci_config_write(host.ctx, function, 0x10, 4, 0x12345678);
    host.os->pci_config_write(host.ctx, function, 0x12, 2, 0xabcd);
    host.os->pci_config_write(host.ctx, function, 0x11, 1, 0xef);
    assert_int_equal(words[4], 0xabcdef78);
    /* The command: no bit of the status is cleared with it. The status: the command stays. */
    host.os->pci_config_write(host.ctx, function, 4, 2, 0x0006);
    assert_int_equal(words[1], 0x00000006);
    host.os->pci_config_write(host.ctx, function, 6, 2, 0x4000);
    assert_int_equal(words[1], 0x40000006);

    words[5] = 0xe0000000;
    assert_int_equal(host.os->pci_bar(host.ctx, function, 1, &bar), 0);
    assert_true(bar.physical == 0xe0000000 && bar.size == 0x4000);
    words[5] = 0;
    assert_int_equal(host.os->pci_bar(host.ctx, function, 1, &bar), 0);
    assert_true(bar.size == 0);
}

/* Neither ports nor the upper half of an address are taken for memory. */
static void test_bars(void **state)
{
    const struct piommu_pci_function function = {.bdf = 1 << 8 | 2 << 3 | 3};
    static const uint32_t bars[] = {0x00001001, 0x10000000, 0x2000000c, 0x00000010, 0xc, 0x10};
    static const uint64_t memory[] = {0, 0x10000000, 0x1020000000, 0, 0x1000000000, 0};
    struct piommu_host host = piommu_zephyr_host();
    uint32_t *words = zephyr_host_function(BDF);
    struct piommu_pci_bar bar;

    (void)state;
    memcpy(words + PCIE_CONF_BAR0, bars, sizeof(bars));
    for (unsigned int i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
        assert_int_equal(host.os->pci_bar(host.ctx, function, i, &bar), 0);
        assert_int_equal(bar.size != 0, memory[i] != 0);
        assert_true(bar.size == 0 || bar.physical == (uintptr_t)memory[i]);
    }
}

static void test_log_and_caches(void **state)
{
    struct piommu_host host = piommu_zephyr_host();

    (void)state;
    host.os->log(host.ctx, PIOMMU_LOG_ERROR, "100%s");
    assert_string_equal(zephyr_host_log(), "E100%s");
    host.os->log(host.ctx, PIOMMU_LOG_WARNING, "b");
    assert_string_equal(zephyr_host_log(), "Wb");
    host.os->log(host.ctx, PIOMMU_LOG_INFO, "c");
    assert_string_equal(zephyr_host_log(), "Ic");
    buffer[1] = 1;
    buffer[64] = 1;
    host.os->cache_invalidate(host.ctx, buffer, 64);
    assert_int_equal(buffer[1], 0);
    assert_int_equal(buffer[64], 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_interrupts_between_locks),
        TEST(test_work),
        TEST(test_stop),
        TEST(test_stop_and_interrupt),
        TEST(test_no_heap),
        TEST(test_no_pages),
        TEST(test_hang),
        TEST(test_what_is_offered),
        TEST(test_memory_for_hardware),
        TEST(test_waits),
        TEST(test_registers),
        TEST(test_configuration_space),
        TEST(test_bars),
        TEST(test_log_and_caches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
