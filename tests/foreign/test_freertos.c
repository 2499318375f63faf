/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The port and the sample of examples/freertos on a stand-in for the kernel: nothing is called
 * where the kernel's documentation forbids it, and what the port promises the library holds. The
 * kernel itself is not here; README.md of the example tells of runs on it.
 */

#include "freertos_host.h"

#include "simulator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define IOVA        0x40000000u
#define GRANULE     PIOMMU_FREERTOS_GRANULE
#define MILLISECOND 1000000u
#define SECOND      1000000000u

static struct simulator simulator;
static struct sample sample;
static struct piommu_freertos_board board;
static struct sample_hardware hardware;

/* At the interrupt controller. */
static bool masked;

static void mask(void *cookie, bool on)
{
    assert_ptr_equal(cookie, &simulator);
    masked = on;
}

/* What the task that services the unit was told. */
static unsigned int reports;
static struct piommu_fault last_report;

static void report(void *cookie, const struct piommu_fault *fault)
{
    assert_ptr_equal(cookie, &simulator);
    assert_true(xPortIsInsideInterrupt() == pdFALSE);
    /* No mutex is held: it may map and unmap. */
    assert_int_equal(sample_map(&sample, 2u * (uint64_t)IOVA, SIMULATOR_BUFFER, GRANULE), 0);
    assert_int_equal(sample_unmap(&sample, 2u * (uint64_t)IOVA, GRANULE), 0);
    last_report = *fault;
    reports++;
}

static int set_up(void **state)
{
    (void)state;
    freertos_host_start();
    assert_true(simulator_open(&simulator));
    simulator_describe(&simulator, &board, &hardware);
    hardware.mask = mask;
    hardware.report = report;
    hardware.cookie = &simulator;
    masked = true;
    reports = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    freertos_host_assert_idle();
    assert_true(masked);
    for (size_t i = 0; i < SIMULATOR_GRANULES; i++) {
        assert_int_equal(simulator.taken[i], 0);
    }
    if (piommu_ipmmu_model_violations(simulator.model) != 0) {
        fail_msg("%s", piommu_ipmmu_model_violation(simulator.model, 0));
    }
    simulator_close(&simulator);
    return 0;
}

static struct piommu_host open_port(struct piommu_freertos *port)
{
    assert_int_equal(piommu_freertos_init(port, &board), 0);
    return piommu_freertos_host(port);
}

/* ---- From the first instance to the last ---- */

/* The line is a level: the interrupt comes as long as it is up and nobody keeps it out. */
static void take_interrupts(void *ctx)
{
    unsigned int *taken = ctx;

    for (unsigned int rounds = 0; xPortIsInsideInterrupt() == pdFALSE && !masked &&
                                  piommu_ipmmu_model_interrupt(simulator.model, SIMULATOR_ROOT);
         rounds++) {
        assert_true(rounds < 4);
        freertos_host_enter_interrupt();
        sample_interrupt(&sample);
        freertos_host_leave_interrupt();
        (*taken)++;
    }
}

static void test_life(void **state)
{
    unsigned int interrupts = 0;

    (void)state;
    assert_int_equal(sample_open(&sample, &board, &hardware), 0);
    assert_false(simulator_device_writes(&simulator, IOVA, 1));
    take_interrupts(&interrupts);
    assert_int_equal(interrupts, 1);
    assert_int_equal(atomic_load(&sample.interrupts), 1);
    assert_int_equal(atomic_load(&sample.faults), 1);
    assert_int_equal(freertos_host_counters().notifications, 1);
    assert_int_equal(reports, 0);
    /* The task is woken and hands on what the interrupt has heard of; the unit has no more. */
    assert_int_equal(sample_service(&sample), 0);
    assert_int_equal(reports, 1);
    assert_true(last_report.iova == IOVA);
    assert_false(piommu_ipmmu_model_interrupt(simulator.model, SIMULATOR_ROOT));

    assert_int_equal(sample_map(&sample, IOVA, SIMULATOR_BUFFER, GRANULE), 0);
    assert_true(simulator_device_writes(&simulator, IOVA + 5, 42));
    assert_int_equal(simulator_buffer(&simulator, 5), 42);
    assert_int_equal(sample_unmap(&sample, IOVA, GRANULE), 0);
    assert_false(piommu_ipmmu_model_leaf_reaches(simulator.model, SIMULATOR_BUFFER, GRANULE));
    assert_false(simulator_device_writes(&simulator, IOVA + 5, 43));
    assert_int_equal(simulator_buffer(&simulator, 5), 42);

    /* A task finds what the interrupt has not taken in. */
    assert_int_equal(sample_service(&sample), 1);
    assert_int_equal(sample_service(&sample), 0);
    assert_int_equal(atomic_load(&sample.faults), 2);
    assert_int_equal(reports, 2);
    assert_true(last_report.iova == IOVA + 5);
    assert_int_equal(sample_close(&sample), 0);
}

/* A device that does not rest: it makes a fault wherever tasks do not keep interrupts out. */
static void disturb(void *ctx)
{
    if (xPortIsInsideInterrupt() == pdFALSE) {
        (void)simulator_device_writes(&simulator, IOVA + GRANULE, 1);
        take_interrupts(ctx);
    }
}

static void test_interrupts_between_critical_sections(void **state)
{
    struct piommu_instance_info info;
    unsigned int interrupts = 0;

    (void)state;
    assert_int_equal(sample_open(&sample, &board, &hardware), 0);
    freertos_host_on_unmask(disturb, &interrupts);
    for (unsigned int round = 0; round < 10; round++) {
        assert_int_equal(sample_map(&sample, IOVA, SIMULATOR_BUFFER, GRANULE), 0);
        assert_int_equal(sample_unmap(&sample, IOVA, GRANULE), 0);
        assert_true(sample_service(&sample) >= 0);
        assert_false(masked);
    }
    freertos_host_on_unmask(NULL, NULL);
    assert_true(interrupts > 10);
    assert_true(atomic_load(&sample.faults) > interrupts / 2);
    assert_true(freertos_host_counters().interrupt_sections >= interrupts);
    while (sample_service(&sample) != 0) {
    }
    assert_false(piommu_ipmmu_model_interrupt(simulator.model, SIMULATOR_ROOT));
    assert_true(freertos_host_counters().notifications != 0);
    /* The stand-in runs no tasks, so most records find no room. */
    piommu_instance_get_info(sample.root, &info);
    assert_true(reports >= SAMPLE_RECORDS);
    assert_int_equal(reports + info.faults_dropped, atomic_load(&sample.faults));
    assert_int_equal(sample_close(&sample), 0);
}

/* Wherever the heap ends, nothing is left. */
static void test_no_heap(void **state)
{
    unsigned int kth = 0;
    int error;

    (void)state;
    do {
        kth++;
        freertos_host_fail_allocation(kth);
        error = sample_open(&sample, &board, &hardware);
        freertos_host_fail_allocation(0);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            freertos_host_assert_idle();
        }
    } while (error != 0);
    assert_true(kth > 5);
    assert_int_equal(sample_close(&sample), 0);

    freertos_host_fail_task();
    assert_int_equal(sample_open(&sample, &board, &hardware), -PIOMMU_ENOMEM);
}

static void test_no_table_memory(void **state)
{
    int error = -PIOMMU_ENOMEM;
    size_t granules = 0;

    (void)state;
    while (error != 0) {
        granules++;
        board.cached.granules = granules;
        error = sample_open(&sample, &board, &hardware);
        if (error != 0) {
            assert_int_equal(error, -PIOMMU_ENOMEM);
            freertos_host_assert_idle();
        }
    }
    assert_true(granules > 1);
    /* Maps that need a table more than there is fail, and change nothing. */
    assert_int_equal(sample_map(&sample, IOVA, SIMULATOR_BUFFER, GRANULE), -PIOMMU_ENOMEM);
    assert_false(simulator_device_writes(&simulator, IOVA, 1));
    assert_int_equal(sample_close(&sample), 0);
}

/* A unit that hangs is waited for, by yielding, and not for ever. */
static void test_hang(void **state)
{
    unsigned int yields;

    (void)state;
    hardware.timeout = 20 * MILLISECOND;
    assert_int_equal(sample_open(&sample, &board, &hardware), 0);
    assert_int_equal(sample_map(&sample, IOVA, SIMULATOR_BUFFER, GRANULE), 0);
    yields = freertos_host_counters().yields;
    piommu_ipmmu_model_set_flush_polls(simulator.model, SIMULATOR_ROOT, PIOMMU_IPMMU_MODEL_NEVER);
    assert_int_equal(sample_unmap(&sample, IOVA, GRANULE), -PIOMMU_EFAILED);
    assert_true(freertos_host_counters().yields > yields);

    piommu_ipmmu_model_set_flush_polls(simulator.model, SIMULATOR_ROOT, 0);
    piommu_ipmmu_model_end_flushes(simulator.model, SIMULATOR_ROOT);
    assert_int_equal(piommu_instance_recover(sample.root), 0);
    assert_int_equal(piommu_instance_recover(sample.cache), 0);
    assert_int_equal(sample_close(&sample), 0);
}

/* ---- Callbacks one by one ---- */

/* A function with one register. */
static const struct piommu_pci_function function = {.segment = 2, .bdf = 0x118};
static uint32_t pci_register;

static uint32_t pci_read(void *cookie, struct piommu_pci_function asked, unsigned int offset,
                         unsigned int width)
{
    assert_ptr_equal(cookie, &simulator);
    assert_true(asked.segment == function.segment && asked.bdf == function.bdf);
    assert_true(offset == 0x40 && width == 4);
    return pci_register;
}

static void pci_write(void *cookie, struct piommu_pci_function asked, unsigned int offset,
                      unsigned int width, uint32_t value)
{
    assert_ptr_equal(cookie, &simulator);
    assert_true(asked.segment == function.segment && asked.bdf == function.bdf);
    assert_true(offset == 0x40 && width == 4);
    pci_register = value;
}

static int pci_bar(void *cookie, struct piommu_pci_function asked, unsigned int number,
                   struct piommu_pci_bar *bar)
{
    assert_ptr_equal(cookie, &simulator);
    assert_true(asked.segment == function.segment && asked.bdf == function.bdf);
    *bar = (struct piommu_pci_bar){.physical = number, .size = 4096};
    return number == 3 ? 0 : -PIOMMU_ENODEV;
}

static void test_boards_that_make_no_sense(void **state)
{
    struct piommu_freertos port;
    struct piommu_freertos_board good = board;

    (void)state;
    board.cached.memory = NULL;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.cached.memory++;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.cached.physical += 0x800;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.cached.taken = NULL;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.cached.granules = 0;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.uncached = good.cached;
    board.uncached.memory++;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.register_write = NULL;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    board.pci_read = pci_read;
    board.pci_write = pci_write;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board.pci_write = NULL;
    board.pci_bar = pci_bar;
    assert_int_equal(piommu_freertos_init(&port, &board), -PIOMMU_EINVAL);
    board = good;
    assert_int_equal(piommu_freertos_init(&port, &board), 0);
    assert_int_equal(
        piommu_os_check(piommu_freertos_host(&port),
                        PIOMMU_OS_NEED_LOCK | PIOMMU_OS_NEED_CLEAN | PIOMMU_OS_NEED_MMIO, NULL),
        0);
    assert_null(port.os.cache_invalidate);
    assert_null(port.os.log);
    assert_null(port.os.pci_config_read);
    assert_null(port.os.pci_config_write);
    assert_null(port.os.pci_bar);
}

/* Objects of the library are aligned for anything, wherever the heap has them. */
static void test_heap(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host = open_port(&port);

    (void)state;
    for (size_t size = 1; size <= 100; size++) {
        unsigned char *object = host.os->alloc(host.ctx, size);

        assert_non_null(object);
        assert_int_equal((uintptr_t)object % _Alignof(max_align_t), 0);
        object[0] = 1;
        object[size - 1] = 2;
        host.os->free(host.ctx, object, size);
    }
    assert_null(host.os->alloc(host.ctx, SIZE_MAX));
}

static void *take(struct piommu_host host, size_t size, size_t alignment, uint64_t max_physical,
                  enum piommu_dma_purpose purpose, uint64_t *physical)
{
    const struct piommu_dma_request request = {
        .size = size, .alignment = alignment, .max_physical = max_physical, .purpose = purpose};

    return host.os->dma_alloc(host.ctx, &request, physical);
}

static void test_pool(void **state)
{
    const uint64_t last = SIMULATOR_BUFFER - 1;
    struct piommu_freertos port;
    struct piommu_host host = open_port(&port);
    uint64_t physical = 0;
    unsigned char *pages[SIMULATOR_GRANULES];
    unsigned char *two;

    (void)state;
    /* Whole granules, at addresses that belong together, until all are taken. */
    for (size_t i = 0; i < SIMULATOR_GRANULES; i++) {
        pages[i] =
            take(host, i % 2 == 0 ? GRANULE : 32, 32, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);
        assert_ptr_equal(pages[i], simulator.memory + i * GRANULE);
        assert_true(physical == SIMULATOR_MEMORY + i * GRANULE);
    }
    assert_null(take(host, 1, 1, UINT64_MAX, PIOMMU_DMA_TABLE, &physical));
    /* 1, 2 and 4 are free: two pieces side by side are at 1, and on 8 KiB nowhere. */
    host.os->dma_free(host.ctx, pages[1], 32);
    host.os->dma_free(host.ctx, pages[2], GRANULE);
    host.os->dma_free(host.ctx, pages[4], GRANULE);
    assert_null(take(host, 3u * GRANULE, GRANULE, UINT64_MAX, PIOMMU_DMA_BUFFER, &physical));
    assert_true((uintptr_t)simulator.memory % (2u * GRANULE) == 0 ||
                take(host, 2u * GRANULE, 2u * GRANULE, UINT64_MAX, PIOMMU_DMA_BUFFER, &physical) ==
                    NULL);
    two = take(host, GRANULE + 1u, GRANULE, UINT64_MAX, PIOMMU_DMA_BUFFER, &physical);
    assert_ptr_equal(two, pages[1]);
    host.os->dma_free(host.ctx, two, GRANULE + 1u);
    for (size_t i = 0; i < SIMULATOR_GRANULES; i++) {
        if (i != 1 && i != 2 && i != 4) {
            host.os->dma_free(host.ctx, pages[i], i % 2 == 0 ? GRANULE : 32);
        }
    }
    /* The highest address that is allowed. */
    assert_null(
        take(host, GRANULE, 1, SIMULATOR_MEMORY + GRANULE - 2, PIOMMU_DMA_TABLE, &physical));
    assert_null(take(host, GRANULE, 1, SIMULATOR_MEMORY - 1, PIOMMU_DMA_TABLE, &physical));
    assert_null(
        take(host, SIMULATOR_GRANULES * GRANULE + 1, 1, UINT64_MAX, PIOMMU_DMA_TABLE, &physical));
    two = take(host, SIMULATOR_GRANULES * GRANULE, 1, last, PIOMMU_DMA_TABLE, &physical);
    assert_ptr_equal(two, simulator.memory);
    host.os->dma_free(host.ctx, two, SIMULATOR_GRANULES * GRANULE);
    /* There is no other pool on this board. */
    assert_null(take(host, 1, 1, UINT64_MAX, PIOMMU_DMA_RING, &physical));
    assert_null(take(host, 1, 1, UINT64_MAX, PIOMMU_DMA_BUFFER_UNCACHED, &physical));
}

/* An alignment of more than a granule holds for both addresses, or there is no memory. */
static void test_pool_aligned_by_one_address_only(void **state)
{
    struct piommu_freertos port;
    uint64_t physical;

    (void)state;
    board.cached.physical = (uintptr_t)simulator.memory + GRANULE;
    assert_null(
        take(open_port(&port), GRANULE, 2u * GRANULE, UINT64_MAX, PIOMMU_DMA_TABLE, &physical));
    board.cached.physical = (uintptr_t)simulator.memory + 2u * (uint64_t)GRANULE;
    struct piommu_host host = open_port(&port);
    unsigned char *table =
        take(host, GRANULE, 2u * GRANULE, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);

    assert_non_null(table);
    assert_int_equal((uintptr_t)table % (2u * GRANULE), 0);
    assert_int_equal(physical % (2u * GRANULE), 0);
    host.os->dma_free(host.ctx, table, GRANULE);
}

/* Rings come from the pool that is not cached, and everything goes back to where it was. */
static void test_two_pools(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host;
    uint64_t physical;
    unsigned char *ring;
    unsigned char *table;

    (void)state;
    board.cached.granules = 1;
    board.uncached = (struct piommu_freertos_pool){.memory = simulator.memory + GRANULE,
                                                   .physical = SIMULATOR_MEMORY + GRANULE,
                                                   .granules = 1,
                                                   .taken = simulator.taken + 2};
    host = open_port(&port);
    ring = take(host, 64, 16, UINT64_MAX, PIOMMU_DMA_RING, &physical);
    assert_ptr_equal(ring, simulator.memory + GRANULE);
    assert_null(take(host, 64, 16, UINT64_MAX, PIOMMU_DMA_BUFFER_UNCACHED, &physical));
    table = take(host, 64, 16, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);
    assert_ptr_equal(table, simulator.memory);
    assert_int_equal(simulator.taken[2], 1);
    host.os->dma_free(host.ctx, ring, 64);
    assert_int_equal(simulator.taken[0], 1);
    assert_int_equal(simulator.taken[2], 0);
    host.os->dma_free(host.ctx, table, 64);
}

/* In an interrupt, too: map may be called there if tables can be had. */
static void test_pool_in_an_interrupt(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host = open_port(&port);
    uint64_t physical;
    unsigned char *table;

    (void)state;
    freertos_host_enter_interrupt();
    table = take(host, GRANULE, GRANULE, UINT64_MAX, PIOMMU_DMA_TABLE, &physical);
    assert_non_null(table);
    host.os->dma_free(host.ctx, table, GRANULE);
    freertos_host_leave_interrupt();
    assert_int_equal(freertos_host_counters().interrupt_sections, 2);
    assert_int_equal(freertos_host_counters().sections, 0);
}

static void test_locks(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host = open_port(&port);
    void *lock = host.os->lock_create(host.ctx);
    unsigned long held;

    (void)state;
    assert_non_null(lock);
    held = host.os->lock(host.ctx, lock);
    assert_int_equal(freertos_host_counters().sections, 1);
    host.os->unlock(host.ctx, lock, held);
    freertos_host_enter_interrupt();
    held = host.os->lock(host.ctx, lock);
    host.os->unlock(host.ctx, lock, held);
    freertos_host_leave_interrupt();
    assert_int_equal(freertos_host_counters().interrupt_sections, 1);
    host.os->lock_destroy(host.ctx, lock);
}

/* The clock goes on where the tick count goes round, and never goes back. */
static void test_clock_of_ticks(void **state)
{
    const TickType_t start = (TickType_t) ~(TickType_t)0 - 1;
    struct piommu_freertos port;
    struct piommu_host host;
    uint64_t begin;

    (void)state;
    freertos_host_set_ticks(start);
    host = open_port(&port);
    begin = host.os->now(host.ctx);
    freertos_host_set_ticks((TickType_t)(start + 5));
    assert_true(host.os->now(host.ctx) - begin == 5 * (uint64_t)MILLISECOND);
    /* Somebody who has read the count before, and was interrupted since. */
    freertos_host_set_ticks((TickType_t)(start + 3));
    assert_true(host.os->now(host.ctx) - begin == 5 * (uint64_t)MILLISECOND);
    freertos_host_set_ticks((TickType_t)(start + 6));
    freertos_host_enter_interrupt();
    assert_true(host.os->now(host.ctx) - begin == 6 * (uint64_t)MILLISECOND);
    freertos_host_leave_interrupt();
    for (TickType_t i = 0; i < 5; i++) {
        freertos_host_set_ticks((TickType_t)(start + 6 + i * ((TickType_t) ~(TickType_t)0 / 2)));
        assert_true(host.os->now(host.ctx) - begin ==
                    (6 + (uint64_t)i * ((TickType_t) ~(TickType_t)0 / 2)) * MILLISECOND);
    }
}

static uint64_t counter(void *cookie)
{
    assert_ptr_equal(cookie, &simulator);
    return 12345;
}

static void test_clock_of_the_board(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host;

    (void)state;
    board.nanoseconds = counter;
    host = open_port(&port);
    assert_int_equal(host.os->now(host.ctx), 12345);
}

static void test_waits(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host = open_port(&port);

    (void)state;
    /* Where nothing may block, it returns at once. */
    freertos_host_enter_interrupt();
    host.os->wait(host.ctx, SECOND);
    freertos_host_leave_interrupt();
    freertos_host_set_scheduler(taskSCHEDULER_SUSPENDED);
    host.os->wait(host.ctx, SECOND);
    freertos_host_set_scheduler(taskSCHEDULER_NOT_STARTED);
    host.os->wait(host.ctx, SECOND);
    freertos_host_set_scheduler(taskSCHEDULER_RUNNING);
    assert_int_equal(freertos_host_counters().yields, 0);
    assert_int_equal(freertos_host_counters().delays, 0);

    /* A deadline that is nearer than a tick, or over, is not slept through. */
    host.os->wait(host.ctx, MILLISECOND - 1);
    host.os->wait(host.ctx, 0);
    assert_int_equal(freertos_host_counters().yields, 2);
    assert_int_equal(freertos_host_counters().delays, 0);
    while (host.os->now(host.ctx) < 10 * (uint64_t)MILLISECOND) {
        host.os->wait(host.ctx, 10 * (uint64_t)MILLISECOND);
    }
    host.os->wait(host.ctx, 5 * (uint64_t)MILLISECOND);
    assert_int_equal(freertos_host_counters().delays, 10);
    assert_int_equal(host.os->now(host.ctx), 10 * (uint64_t)MILLISECOND);
}

/* Without the board's callbacks, registers are the CPU's memory. */
static void test_registers(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host;
    uint32_t registers[2] = {0x44332211, 0};
    uintptr_t base = 0;

    (void)state;
    board.register_read = NULL;
    board.register_write = NULL;
    host = open_port(&port);
    assert_int_equal(host.os->mmio_map(host.ctx, (uintptr_t)registers, sizeof(registers), &base),
                     0);
    host.os->mmio_write(host.ctx, base + 4, 4, 0x88776655);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 4, 4), 0x88776655);
    host.os->mmio_write(host.ctx, base + 6, 2, 0xbbaa);
    host.os->mmio_write(host.ctx, base + 5, 1, 0x99);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 6, 2), 0xbbaa);
    assert_int_equal(host.os->mmio_read(host.ctx, base + 5, 1), 0x99);
    assert_int_equal(registers[0], 0x44332211);
    host.os->mmio_unmap(host.ctx, base, sizeof(registers));
    assert_int_equal(host.os->mmio_map(host.ctx, UINT64_MAX, 2, &base), -PIOMMU_ENODEV);
}

static const char *last_line;

static void log_line(void *cookie, enum piommu_log_level level, const char *line)
{
    assert_ptr_equal(cookie, &simulator);
    assert_int_equal(level, PIOMMU_LOG_WARNING);
    last_line = line;
}

static const void *invalidated;

static void invalidate(void *cookie, const void *address, size_t size)
{
    assert_ptr_equal(cookie, &simulator);
    assert_int_equal(size, 64);
    invalidated = address;
}

static void test_what_is_handed_on(void **state)
{
    struct piommu_freertos port;
    struct piommu_host host;
    struct piommu_pci_bar bar;

    (void)state;
    board.log = log_line;
    board.cache_invalidate = invalidate;
    board.barrier = NULL;
    board.pci_read = pci_read;
    board.pci_write = pci_write;
    board.pci_bar = pci_bar;
    host = open_port(&port);
    host.os->pci_config_write(host.ctx, function, 0x40, 4, 0x12345678);
    assert_int_equal(host.os->pci_config_read(host.ctx, function, 0x40, 4), 0x12345678);
    assert_int_equal(host.os->pci_bar(host.ctx, function, 3, &bar), 0);
    assert_true(bar.physical == 3 && bar.size == 4096);
    assert_int_equal(host.os->pci_bar(host.ctx, function, 4, &bar), -PIOMMU_ENODEV);
    host.os->log(host.ctx, PIOMMU_LOG_WARNING, "line");
    assert_string_equal(last_line, "line");
    host.os->cache_invalidate(host.ctx, simulator.memory, 64);
    assert_ptr_equal(invalidated, simulator.memory);
    /* The compiler's, or the CPU's: there is nothing to see. */
    host.os->barrier(host.ctx, PIOMMU_BARRIER_FULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_interrupts_between_critical_sections),
        TEST(test_no_heap),
        TEST(test_no_table_memory),
        TEST(test_hang),
        TEST(test_boards_that_make_no_sense),
        TEST(test_heap),
        TEST(test_pool),
        TEST(test_pool_aligned_by_one_address_only),
        TEST(test_two_pools),
        TEST(test_pool_in_an_interrupt),
        TEST(test_locks),
        TEST(test_clock_of_ticks),
        TEST(test_clock_of_the_board),
        TEST(test_waits),
        TEST(test_registers),
        TEST(test_what_is_handed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
