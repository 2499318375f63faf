/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The rules for the registers of a front that hold for both transports, one by one: the driver is
 * played by the test.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "front_machine.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define REQUEST  64u

static const struct front_machine_options kinds[] = {
    {.pci = false, .features = 0x5 | PIOMMU_VIRTIO_F_EVENT_IDX},
    {.pci = true, .features = 0x5 | PIOMMU_VIRTIO_F_EVENT_IDX, .interrupt_pin = 1},
};

/* Runs a test on a machine of each kind. */
static void on_both(void (*test)(struct front_machine *machine))
{
    for (unsigned int i = 0; i < COUNT(kinds); i++) {
        struct front_machine *machine = front_machine_start(&kinds[i]);

        test(machine);
        front_machine_stop(machine);
    }
}

/* A driver that has started queue 1, with a request in it; no doorbell was rung. */
static void start(struct front_machine *machine)
{
    assert_int_equal(front_machine_agree(machine, 0), 0xb);
    front_machine_request(machine, 1, REQUEST);
    front_machine_enable(machine, 1, 8, 1);
    front_machine_set(machine, STATUS, 0xf);
    assert_int_equal(front_machine_get(machine, STATUS), 0xf);
}

/* Whether a doorbell is heard, and the request answered. */
static bool answers(struct front_machine *machine)
{
    unsigned int completed = machine->completed;

    front_machine_notify(machine, 1);
    return machine->completed != completed;
}

/* ---- Features ---- */

static void offers(struct front_machine *machine)
{
    front_machine_set(machine, DEVICE_FEATURES_SEL, 1);
    assert_int_equal(front_machine_get(machine, DEVICE_FEATURES), 0x1); /* VERSION_1 */
    front_machine_set(machine, DEVICE_FEATURES_SEL, 0);
    assert_int_equal(front_machine_get(machine, DEVICE_FEATURES), 0x20000005);
    for (unsigned int i = 0; i < 3; i++) {
        static const uint32_t nothing[] = {2, 3, UINT32_MAX};

        front_machine_set(machine, DEVICE_FEATURES_SEL, nothing[i]);
        assert_int_equal(front_machine_get(machine, DEVICE_FEATURES), 0);
    }
    front_machine_set(machine, DEVICE_FEATURES_SEL, 0);
    front_machine_set(machine, DEVICE_FEATURES, 0);
    assert_int_equal(front_machine_get(machine, DEVICE_FEATURES), 0x20000005);
}

static void features_are_offered_by_words(void **state)
{
    (void)state;
    on_both(offers);
}

static void agrees_on_subsets(struct front_machine *machine)
{
    static const uint64_t wrong[] = {2, 0x8, 1ull << 28, 1ull << 33, 1ull << 63};

    for (unsigned int i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(front_machine_agree(machine, wrong[i]), 0x3);
        assert_int_equal(piommu_virtio_front_features(machine->front), 0);
        front_machine_set(machine, STATUS, 0);
    }
    assert_int_equal(front_machine_agree(machine, 0x4), 0xb);
    assert_int_equal(piommu_virtio_front_features(machine->front), 0x100000004ull);
}

static void features_that_are_not_offered_are_refused(void **state)
{
    (void)state;
    on_both(agrees_on_subsets);
}

static void wants_version_1(struct front_machine *machine)
{
    front_machine_set(machine, STATUS, 3);
    front_machine_set(machine, DRIVER_FEATURES_SEL, 0);
    front_machine_set(machine, DRIVER_FEATURES, 0x4);
    front_machine_set(machine, STATUS, 0xb);
    assert_int_equal(front_machine_get(machine, STATUS), 0x3);
}

static void version_1_must_be_accepted(void **state)
{
    (void)state;
    on_both(wants_version_1);
}

static void keeps_features(struct front_machine *machine)
{
    assert_int_equal(front_machine_agree(machine, 0x4), 0xb);
    for (uint32_t select = 0; select < 2; select++) {
        front_machine_set(machine, DRIVER_FEATURES_SEL, select);
        front_machine_set(machine, DRIVER_FEATURES, UINT32_MAX);
    }
    assert_int_equal(piommu_virtio_front_features(machine->front), 0x100000004ull);
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(piommu_virtio_front_features(machine->front), 0);
}

static void features_are_latched_by_features_ok(void **state)
{
    (void)state;
    on_both(keeps_features);
}

/* ---- Status ---- */

static void keeps_bits(struct front_machine *machine)
{
    start(machine);
    front_machine_set(machine, STATUS, 1);
    assert_int_equal(front_machine_get(machine, STATUS), 0xf);
    front_machine_set(machine, STATUS, 0x8f);
    front_machine_set(machine, STATUS, 0xf);
    assert_int_equal(front_machine_get(machine, STATUS), 0x8f);
    assert_int_equal(machine->resets, 0);
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(front_machine_get(machine, STATUS), 0);
    assert_int_equal(machine->resets, 1);
}

static void status_bits_are_cleared_by_a_reset_only(void **state)
{
    (void)state;
    on_both(keeps_bits);
}

static void keeps_its_own_bits(struct front_machine *machine)
{
    front_machine_set(machine, STATUS, 0x70);
    assert_int_equal(front_machine_get(machine, STATUS), 0);
    assert_int_equal(machine->resets, 0);
}

static void bits_that_are_not_the_drivers_cannot_be_set(void **state)
{
    (void)state;
    on_both(keeps_its_own_bits);
}

static void wants_features_first(struct front_machine *machine)
{
    front_machine_set(machine, STATUS, 0x7);
    assert_int_equal(front_machine_get(machine, STATUS), 0x3);
    assert_int_equal(machine->starts, 0);
}

static void driver_ok_needs_features_ok(void **state)
{
    (void)state;
    on_both(wants_features_first);
}

static void starts_once(struct front_machine *machine)
{
    start(machine);
    assert_true(answers(machine));
    front_machine_set(machine, STATUS, 0xf);
    assert_int_equal(machine->starts, 1);
    assert_false(answers(machine)); /* the ring did not begin anew */
}

static void driver_ok_again_means_nothing(void **state)
{
    (void)state;
    on_both(starts_once);
}

/* ---- Queues ---- */

static void knows_its_queues(struct front_machine *machine)
{
    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        front_machine_set(machine, QUEUE_SEL, i);
        assert_int_equal(front_machine_get(machine, QUEUE_SIZE), FRONT_MACHINE_QUEUE_SIZE);
        assert_int_equal(front_machine_get(machine, QUEUE_READY), 0);
    }
    for (unsigned int i = 0; i < 2; i++) {
        static const uint32_t nowhere[] = {FRONT_MACHINE_QUEUES, 0xffff};

        front_machine_set(machine, QUEUE_SEL, nowhere[i]);
        for (unsigned int what = QUEUE_SIZE; what <= QUEUE_DEVICE_HIGH; what++) {
            front_machine_set(machine, what, 1);
            assert_int_equal(front_machine_get(machine, what), 0);
        }
    }
}

static void queue_that_does_not_exist_is_all_0(void **state)
{
    (void)state;
    on_both(knows_its_queues);
}

static void latches(struct front_machine *machine)
{
    front_machine_set(machine, QUEUE_SEL, 1);
    for (unsigned int what = QUEUE_DESC; what <= QUEUE_DEVICE_HIGH; what++) {
        front_machine_set(machine, what, 0x1000 * what);
        assert_int_equal(front_machine_get(machine, what), 0x1000 * what);
    }
    front_machine_enable(machine, 1, 8, 1);
    assert_int_equal(front_machine_get(machine, QUEUE_READY), 1);
    for (unsigned int what = QUEUE_DESC; what <= QUEUE_DEVICE_HIGH; what++) {
        uint32_t value = front_machine_get(machine, what);

        front_machine_set(machine, what, value + 0x1000);
        assert_int_equal(front_machine_get(machine, what), value);
    }
    front_machine_set(machine, QUEUE_SIZE, 4);
    assert_int_equal(front_machine_get(machine, QUEUE_SIZE), 8);
}

static void registers_of_a_queue_are_latched_when_it_is_enabled(void **state)
{
    (void)state;
    on_both(latches);
}

/* Sets a queue up with something that no ring can have. */
static void cannot_be(struct front_machine *machine, enum front_machine_register what,
                      uint32_t value)
{
    assert_int_equal(front_machine_agree(machine, 0), 0xb);
    front_machine_set(machine, QUEUE_SEL, 1);
    front_machine_set64(machine, QUEUE_DESC, machine->memory);
    front_machine_set64(machine, QUEUE_DRIVER, machine->memory);
    front_machine_set64(machine, QUEUE_DEVICE, machine->memory);
    front_machine_set(machine, what, value);
    front_machine_set(machine, QUEUE_READY, 1);
    front_machine_set(machine, STATUS, 0xf);
    assert_int_equal(front_machine_get(machine, STATUS), 0x4f);
    assert_int_equal(machine->starts, 0);
    assert_true(machine->line);
    assert_int_equal(front_machine_take_interrupt(machine), 2);
    assert_null(piommu_virtio_front_ring(machine->front, 1));
    front_machine_set(machine, STATUS, 0);
}

static void refuses_rings(struct front_machine *machine)
{
    machine->memory_forbidden = true;
    cannot_be(machine, QUEUE_SIZE, 0);
    cannot_be(machine, QUEUE_SIZE, 3);
    cannot_be(machine, QUEUE_SIZE, FRONT_MACHINE_QUEUE_SIZE * 2);
    cannot_be(machine, QUEUE_SIZE, 0x8008);
    cannot_be(machine, QUEUE_DESC, (uint32_t)machine->memory + 8);
    cannot_be(machine, QUEUE_DRIVER, (uint32_t)machine->memory + 1);
    cannot_be(machine, QUEUE_DEVICE, (uint32_t)machine->memory + 2);
}

static void ring_that_cannot_be_needs_a_reset(void **state)
{
    (void)state;
    on_both(refuses_rings);
}

static void touches_nothing_before(struct front_machine *machine)
{
    machine->memory_forbidden = true;
    front_machine_request(machine, 1, REQUEST);
    assert_false(answers(machine));
    assert_int_equal(front_machine_agree(machine, 0), 0xb);
    front_machine_enable(machine, 1, 8, 1);
    assert_false(answers(machine));
    assert_null(piommu_virtio_front_ring(machine->front, 1));
    front_machine_set(machine, STATUS, 0xf);
    machine->memory_forbidden = false;
    assert_true(answers(machine));
    assert_false(answers(machine));
}

static void memory_is_not_touched_before_driver_ok(void **state)
{
    (void)state;
    on_both(touches_nothing_before);
}

/* Whatever is done now, nothing may be touched. */
static void expect_dead(struct front_machine *machine)
{
    machine->memory_forbidden = true;
    assert_false(answers(machine));
    assert_null(piommu_virtio_front_ring(machine->front, 1));
    piommu_virtio_front_completed(machine->front, 1);
    front_machine_enable(machine, 2, 8, 2);
    front_machine_set(machine, STATUS, 0xf);
    front_machine_notify(machine, 2);
    assert_int_equal(machine->notifications[2], 0);
    machine->memory_forbidden = false;
}

static void touches_nothing_after(struct front_machine *machine)
{
    start(machine);
    piommu_virtio_front_fail(machine->front);
    assert_int_equal(front_machine_get(machine, STATUS), 0x4f);
    assert_int_equal(front_machine_take_interrupt(machine), 2);
    expect_dead(machine);
    piommu_virtio_front_fail(machine->front); /* nobody is told twice */
    assert_int_equal(front_machine_take_interrupt(machine), 0);
    front_machine_set(machine, STATUS, 0);
    start(machine);
    assert_true(answers(machine));
}

static void memory_is_not_touched_after_needs_reset(void **state)
{
    (void)state;
    on_both(touches_nothing_after);
}

static void driver_gives_up(struct front_machine *machine)
{
    start(machine);
    front_machine_set(machine, STATUS, 0x8f);
    expect_dead(machine);
}

static void memory_is_not_touched_after_failed(void **state)
{
    (void)state;
    on_both(driver_gives_up);
}

static void fails_before_start(struct front_machine *machine)
{
    piommu_virtio_front_fail(machine->front);
    assert_int_equal(front_machine_agree(machine, 0), 0x4b);
    assert_false(machine->line);
    front_machine_enable(machine, 1, 8, 1);
    front_machine_set(machine, STATUS, 0xf);
    assert_int_equal(machine->starts, 0);
    assert_int_equal(front_machine_take_interrupt(machine), 2);
    expect_dead(machine);
}

static void failure_before_driver_ok_is_told_at_driver_ok(void **state)
{
    (void)state;
    on_both(fails_before_start);
}

static void resets_slowly(struct front_machine *machine)
{
    start(machine);
    piommu_virtio_front_config_changed(machine->front);
    machine->slow_reset = true;
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(front_machine_get(machine, STATUS), 0xf);
    expect_dead(machine);
    front_machine_set(machine, STATUS, 0);
    front_machine_set(machine, STATUS, 0x8f);
    piommu_virtio_front_fail(machine->front);
    assert_int_equal(front_machine_get(machine, STATUS), 0xf);
    assert_int_equal(machine->resets, 1);
    machine->resetting = false;
    piommu_virtio_front_reset_done(machine->front);
    assert_false(machine->line);
    assert_int_equal(front_machine_get(machine, STATUS), 0);
    machine->slow_reset = false;
    start(machine);
    assert_true(answers(machine));
}

static void during_a_reset_the_status_is_the_old_one(void **state)
{
    (void)state;
    on_both(resets_slowly);
}

static void forgets_all(struct front_machine *machine)
{
    start(machine);
    assert_true(answers(machine));
    assert_true(machine->line);
    front_machine_set(machine, DEVICE_FEATURES_SEL, 1);
    front_machine_set(machine, STATUS, 0);
    assert_false(machine->line);
    assert_int_equal(front_machine_take_interrupt(machine), 0);
    assert_int_equal(front_machine_get(machine, DEVICE_FEATURES), 0x20000005);
    assert_int_equal(front_machine_get(machine, DRIVER_FEATURES), 0);
    front_machine_set(machine, QUEUE_SEL, 1);
    assert_int_equal(front_machine_get(machine, QUEUE_SIZE), FRONT_MACHINE_QUEUE_SIZE);
    for (unsigned int what = QUEUE_READY; what <= QUEUE_DEVICE_HIGH; what++) {
        assert_int_equal(front_machine_get(machine, what), 0);
    }
}

static void reset_brings_registers_back(void **state)
{
    (void)state;
    on_both(forgets_all);
}

static void enables_late(struct front_machine *machine)
{
    start(machine);
    front_machine_request(machine, 2, REQUEST);
    front_machine_enable(machine, 2, 8, 2);
    front_machine_notify(machine, 2);
    assert_int_equal(machine->completed, 1);
}

static void queue_that_is_enabled_late_works(void **state)
{
    (void)state;
    on_both(enables_late);
}

/* virtio-mmio can stop a queue, virtio-pci cannot: 4.2.2, 4.1.4.3.2. */
static void stops_queue(struct front_machine *machine)
{
    bool can = !machine->options.pci;

    start(machine);
    assert_true(answers(machine));
    front_machine_set(machine, QUEUE_READY, 0);
    assert_int_equal(front_machine_get(machine, QUEUE_READY), can ? 0 : 1);
    assert_int_equal(machine->stops, can ? 1 : 0);
    if (can) {
        machine->memory_forbidden = true;
        assert_false(answers(machine));
        machine->memory_forbidden = false;
        front_machine_request(machine, 1, REQUEST);
        front_machine_enable(machine, 1, 4, 1);
        assert_true(answers(machine)); /* from the beginning of the ring */
    }
}

static void queue_is_stopped_over_mmio_only(void **state)
{
    (void)state;
    on_both(stops_queue);
}

static void hears_no_other_doorbells(struct front_machine *machine)
{
    start(machine);
    for (uint32_t queue = 0; queue < 0x400; queue++) {
        if (queue != 1) {
            front_machine_notify(machine, (uint16_t)queue);
        }
    }
    front_machine_notify(machine, 0x101);
    for (unsigned int i = 0; i < FRONT_MACHINE_QUEUES; i++) {
        assert_int_equal(machine->notifications[i], 0);
    }
    assert_null(piommu_virtio_front_ring(machine->front, UINT32_MAX));
}

static void doorbells_of_other_queues_mean_nothing(void **state)
{
    (void)state;
    on_both(hears_no_other_doorbells);
}

/* ---- Configuration and interrupts ---- */

static void bounds_configuration(struct front_machine *machine)
{
    static const struct {
        uint64_t offset;
        unsigned int width;
    } nothing[] = {{1, 2},  {2, 4},  {3, 2},  {4, 8},  {0, 3},  {0, 0},  {0, 16},
                   {39, 2}, {38, 4}, {40, 1}, {40, 4}, {40, 8}, {36, 8}, {0xefc, 4}};
    uint8_t before[FRONT_MACHINE_CONFIG];

    assert_int_equal(front_machine_read_config(machine, 39, 1), 0xa7);
    assert_int_equal(front_machine_read_config(machine, 38, 2), 0xa7a6);
    assert_int_equal(front_machine_read_config(machine, 36, 4), 0xa7a6a5a4);
    assert_int_equal(front_machine_read_config(machine, 32, 8), 0xa7a6a5a4a3a2a1a0ull);
    memcpy(before, machine->config, sizeof(before));
    for (unsigned int i = 0; i < COUNT(nothing); i++) {
        assert_int_equal(front_machine_read_config(machine, nothing[i].offset, nothing[i].width),
                         0);
        front_machine_write_config(machine, nothing[i].offset, nothing[i].width, UINT64_MAX);
    }
    assert_memory_equal(before, machine->config, sizeof(before));
    front_machine_write_config(machine, FRONT_MACHINE_WRITABLE, 1, 0x101);
    assert_int_equal(machine->config[FRONT_MACHINE_WRITABLE], 1);
}

static void configuration_ends_where_it_ends(void **state)
{
    (void)state;
    on_both(bounds_configuration);
}

static void counts_generations(struct front_machine *machine)
{
    uint32_t before = front_machine_get(machine, GENERATION);

    front_machine_set(machine, GENERATION, 77);
    assert_int_equal(front_machine_get(machine, GENERATION), before);
    piommu_virtio_front_config_changed(machine->front);
    assert_int_not_equal(front_machine_get(machine, GENERATION), before);
    for (unsigned int i = 0; i < 0x180; i++) {
        piommu_virtio_front_config_changed(machine->front);
    }
    assert_int_equal(front_machine_get(machine, GENERATION), machine->options.pci ? 0x81 : 0x181);
    /* Nobody has listened so far. */
    assert_false(machine->line);
    start(machine);
    assert_true(machine->line);
    assert_int_equal(front_machine_take_interrupt(machine), 2);
}

static void change_before_driver_ok_is_told_at_driver_ok(void **state)
{
    (void)state;
    on_both(counts_generations);
}

static void interrupts(struct front_machine *machine)
{
    start(machine);
    assert_true(answers(machine));
    assert_true(machine->line);
    piommu_virtio_front_config_changed(machine->front);
    assert_int_equal(front_machine_take_interrupt(machine), 3);
    assert_false(machine->line);
    piommu_virtio_front_completed(machine->front, 1); /* there was nothing new */
    piommu_virtio_front_completed(machine->front, 7);
    assert_false(machine->line);
    assert_int_equal(front_machine_take_interrupt(machine), 0);
}

static void line_is_high_until_it_is_acknowledged(void **state)
{
    (void)state;
    on_both(interrupts);
}

/* ---- Creation ---- */

static int create(struct front_machine *machine, const struct piommu_virtio_front_config *config,
                  const struct piommu_virtio_front_pci_config *pci)
{
    struct piommu_host host = fake_os_host(machine->hypervisor);
    struct piommu_virtio_front *front = NULL;
    int error = machine->options.pci ? piommu_virtio_front_create_pci(host, config, pci, &front)
                                     : piommu_virtio_front_create_mmio(host, config, &front);

    assert_true((error == 0) == (front != NULL));
    piommu_virtio_front_destroy(front);
    return error;
}

static void no_type(struct piommu_virtio_front_config *config)
{
    config->type = 0;
}

static void high_type(struct piommu_virtio_front_config *config)
{
    config->type = 64;
}

static void in_order(struct piommu_virtio_front_config *config)
{
    config->features = 1ull << 35;
}

static void ring_reset(struct piommu_virtio_front_config *config)
{
    config->features = 1ull << 40;
}

static void no_queue(struct piommu_virtio_front_config *config)
{
    config->queue_count = 0;
}

static void nine_queues(struct piommu_virtio_front_config *config)
{
    config->queue_count = 9;
}

static void odd_queue(struct piommu_virtio_front_config *config)
{
    config->queues[2].max_size = 12;
}

static void empty_queue(struct piommu_virtio_front_config *config)
{
    config->queues[2].max_size = 0;
}

static void no_memory(struct piommu_virtio_front_config *config)
{
    config->memory.read = NULL;
}

static void no_notify(struct piommu_virtio_front_config *config)
{
    config->callbacks.notify = NULL;
}

static void no_read_config(struct piommu_virtio_front_config *config)
{
    config->callbacks.read_config = NULL;
}

static void large_config(struct piommu_virtio_front_config *config)
{
    config->config_size = 4097;
}

static void no_line(struct piommu_virtio_front_config *config)
{
    config->callbacks.set_interrupt = NULL;
}

static void (*const mistakes[])(struct piommu_virtio_front_config *config) = {
    no_type,     high_type, in_order,  ring_reset,     no_queue,     nine_queues, odd_queue,
    empty_queue, no_memory, no_notify, no_read_config, large_config, no_line};

static void finds_mistakes(struct front_machine *machine)
{
    struct piommu_virtio_front_config config;
    struct piommu_virtio_front_pci_config pci;

    for (unsigned int i = 0; i < COUNT(mistakes); i++) {
        front_machine_describe(machine, &config, &pci);
        assert_int_equal(create(machine, &config, &pci), 0);
        mistakes[i](&config);
        assert_int_equal(create(machine, &config, &pci), -PIOMMU_EINVAL);
    }
    assert_int_equal(create(machine, NULL, &pci), -PIOMMU_EINVAL);
}

static void description_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    on_both(finds_mistakes);
}

static void runs_out_of_memory(struct front_machine *machine)
{
    struct piommu_virtio_front_config config;
    struct piommu_virtio_front_pci_config pci;
    unsigned int failures = 0;

    front_machine_describe(machine, &config, &pci);
    for (;;) {
        int error;

        fake_os_fail_call(machine->hypervisor, failures + 1, false);
        error = create(machine, &config, &pci);
        if (error == 0) {
            break;
        }
        assert_int_equal(error, -PIOMMU_ENOMEM);
        failures++;
    }
    fake_os_fail_call(machine->hypervisor, 0, false);
    assert_int_equal(failures, 1 + 2 * FRONT_MACHINE_QUEUES);
}

static void creation_without_memory_leaves_nothing(void **state)
{
    (void)state;
    on_both(runs_out_of_memory);
    piommu_virtio_front_destroy(NULL);
}

/* A device that has nothing but a queue needs no more than this. */
static void needs_few_callbacks(struct front_machine *machine)
{
    struct piommu_virtio_front_config config;
    struct piommu_virtio_front_pci_config pci;
    struct piommu_virtio_front *whole = machine->front;
    struct piommu_virtio_front_callbacks few;
    struct piommu_host host = fake_os_host(machine->hypervisor);

    front_machine_describe(machine, &config, &pci);
    few = (struct piommu_virtio_front_callbacks){.notify = config.callbacks.notify,
                                                 .set_interrupt = config.callbacks.set_interrupt};
    config.callbacks = few;
    config.config_size = 0;
    assert_int_equal(machine->options.pci
                         ? piommu_virtio_front_create_pci(host, &config, &pci, &machine->front)
                         : piommu_virtio_front_create_mmio(host, &config, &machine->front),
                     0);
    piommu_virtio_front_destroy(whole);
    if (machine->options.pci) {
        piommu_virtio_front_pci_config_write(machine->front, 4, 2, 6);
    }
    start(machine);
    assert_true(answers(machine));
    assert_int_equal(front_machine_read_config(machine, 0, 1), 0);
    front_machine_write_config(machine, 0, 1, 0);
    front_machine_set(machine, QUEUE_READY, 0);
    front_machine_set(machine, STATUS, 0);
    assert_int_equal(front_machine_get(machine, STATUS), 0);
}

static void most_callbacks_are_optional(void **state)
{
    (void)state;
    on_both(needs_few_callbacks);
}

/* What a driver can read without changing anything: registers, and with PCI the function. */
struct registers {
    uint32_t words[256 / 4];
    uint32_t common[56 / 4];
    uint32_t table[16];
};

static struct registers registers_of(struct front_machine *machine)
{
    struct registers registers = {{0}, {0}, {0}};

    for (unsigned int i = 0; i < COUNT(registers.words); i++) {
        registers.words[i] =
            machine->options.pci
                ? piommu_virtio_front_pci_config_read(machine->front, 4 * i, 4)
                : (uint32_t)piommu_virtio_front_mmio_read(machine->front, 4 * i, 4);
    }
    for (unsigned int i = 0; machine->options.pci && i < COUNT(registers.common); i++) {
        registers.common[i] = (uint32_t)piommu_virtio_front_bar_read(machine->front, 4 * i, 4);
    }
    for (unsigned int i = 0; machine->options.pci && i < COUNT(registers.table); i++) {
        registers.table[i] =
            (uint32_t)piommu_virtio_front_bar_read(machine->front, 0x4000 + 4 * i, 4);
    }
    return registers;
}

/* Firmware, and a driver that has an interrupt to take. */
static void use(struct front_machine *machine)
{
    static const uint32_t message[] = {0xfee00000, 1, 0x21, 0};

    if (machine->options.pci) {
        piommu_virtio_front_pci_config_write(machine->front, 0x10, 4, 0x20000000);
        piommu_virtio_front_pci_config_write(machine->front, 0x3c, 1, 5);
        piommu_virtio_front_pci_config_write(machine->front, 4, 2, 6);
        for (unsigned int i = 0; i < COUNT(message); i++) {
            piommu_virtio_front_bar_write(machine->front, 0x4000 + 4 * i, 4, message[i]);
        }
    }
    start(machine);
    assert_true(answers(machine));
    assert_true(machine->line);
}

static void reset_and_compare(struct front_machine *machine, const struct registers *before)
{
    struct registers after = registers_of(machine);

    assert_memory_not_equal(before, &after, sizeof(after));
    piommu_virtio_front_system_reset(machine->front);
    assert_null(piommu_virtio_front_ring(machine->front, 1));
    assert_false(machine->line);
    assert_false(machine->decoded);
    after = registers_of(machine);
    assert_memory_equal(before, &after, sizeof(after));
}

static void a_system_reset_brings_all_back(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 2; i++) {
        const struct front_machine_options options = {
            .pci = i == 1, .interrupt_pin = 1, .message_count = 2};
        struct front_machine *machine = front_machine_power_on(&options);
        const struct registers before = registers_of(machine);

        use(machine);
        machine->resets = 0;
        machine->stops = 0;
        reset_and_compare(machine, &before);
        assert_int_equal(machine->resets + machine->stops, 0);
        /* Also where the device has not done with a reset of the driver's. */
        use(machine);
        machine->slow_reset = true;
        front_machine_set(machine, STATUS, 0);
        assert_int_not_equal(front_machine_get(machine, STATUS), 0);
        reset_and_compare(machine, &before);
        use(machine);
        front_machine_stop(machine);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_offered_by_words),
        cmocka_unit_test(features_that_are_not_offered_are_refused),
        cmocka_unit_test(version_1_must_be_accepted),
        cmocka_unit_test(features_are_latched_by_features_ok),
        cmocka_unit_test(status_bits_are_cleared_by_a_reset_only),
        cmocka_unit_test(bits_that_are_not_the_drivers_cannot_be_set),
        cmocka_unit_test(driver_ok_needs_features_ok),
        cmocka_unit_test(driver_ok_again_means_nothing),
        cmocka_unit_test(queue_that_does_not_exist_is_all_0),
        cmocka_unit_test(registers_of_a_queue_are_latched_when_it_is_enabled),
        cmocka_unit_test(ring_that_cannot_be_needs_a_reset),
        cmocka_unit_test(memory_is_not_touched_before_driver_ok),
        cmocka_unit_test(memory_is_not_touched_after_needs_reset),
        cmocka_unit_test(memory_is_not_touched_after_failed),
        cmocka_unit_test(failure_before_driver_ok_is_told_at_driver_ok),
        cmocka_unit_test(during_a_reset_the_status_is_the_old_one),
        cmocka_unit_test(reset_brings_registers_back),
        cmocka_unit_test(queue_that_is_enabled_late_works),
        cmocka_unit_test(queue_is_stopped_over_mmio_only),
        cmocka_unit_test(doorbells_of_other_queues_mean_nothing),
        cmocka_unit_test(configuration_ends_where_it_ends),
        cmocka_unit_test(change_before_driver_ok_is_told_at_driver_ok),
        cmocka_unit_test(line_is_high_until_it_is_acknowledged),
        cmocka_unit_test(description_that_makes_no_sense_is_refused),
        cmocka_unit_test(creation_without_memory_leaves_nothing),
        cmocka_unit_test(most_callbacks_are_optional),
        cmocka_unit_test(a_system_reset_brings_all_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
