/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "sample.h"

/* The keys by which the units find each other; a board with a device tree has its nodes. */
#define ROOT_KEY  1u
#define CACHE_KEY 2u

#define SERVICE_STACK_WORDS (configMINIMAL_STACK_SIZE * 4u)
/* Above the tasks that call the library, so that what has happened is not noticed late. */
#define SERVICE_PRIORITY 3u
/* Looked at so often even without an interrupt: a unit that hangs does not interrupt. */
#define SERVICE_PERIOD ((TickType_t)(configTICK_RATE_HZ / 10u))

static void begin(struct sample *sample)
{
    (void)xSemaphoreTake(sample->calls, portMAX_DELAY);
}

static void end(struct sample *sample)
{
    (void)xSemaphoreGive(sample->calls);
}

/* ---- Faults ---- */

/*
 * In the interrupt, as a rule: it counts. The record that the library keeps is for the task, since
 * what an interrupt writes to a struct could change while a task reads it.
 */
static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct sample *sample = cookie;

    (void)fault;
    atomic_fetch_add(&sample->faults, 1);
    return PIOMMU_FAULT_NOTE;
}

static void mask(struct sample *sample, bool masked)
{
    if (sample->hardware.mask != NULL) {
        sample->hardware.mask(sample->hardware.cookie, masked);
    }
}

void sample_interrupt(struct sample *sample)
{
    BaseType_t woken = pdFALSE;
    bool more = false;
    int handled = piommu_instance_interrupt(sample->root, SAMPLE_BUDGET, &more);

    atomic_fetch_add(&sample->interrupts, 1);
    if (more) {
        mask(sample, true);
        atomic_fetch_add(&sample->left_over, 1);
    }
    if (more || handled > 0) {
        vTaskNotifyGiveFromISR(sample->service, &woken);
    }
    portYIELD_FROM_ISR(woken);
}

/* So many at most, since a device can make faults without end. */
static void hand_on(struct sample *sample)
{
    struct piommu_fault fault;

    if (sample->hardware.report == NULL) {
        return;
    }
    for (unsigned int i = 0; i < SAMPLE_RECORDS; i++) {
        if (piommu_instance_take_fault(sample->root, &fault) != 0) {
            return;
        }
        sample->hardware.report(sample->hardware.cookie, &fault);
    }
}

int sample_service(struct sample *sample)
{
    int handled;

    /* Neither waits until another task has ended its call, nor lets in what finds no room. */
    hand_on(sample);
    begin(sample);
    handled = piommu_instance_service(sample->root, SAMPLE_BUDGET);
    end(sample);
    hand_on(sample);
    mask(sample, false);
    return handled;
}

/* An instance that has failed is the business of those who use it: their calls say so, too. */
static void service_task(void *parameter)
{
    TickType_t pause = SERVICE_PERIOD;

    for (;;) {
        (void)ulTaskNotifyTake(pdTRUE, pause);
        pause = sample_service(parameter) == SAMPLE_BUDGET ? 1 : SERVICE_PERIOD;
    }
}

/* ---- From the units to the domain, and back ---- */

static int start_unit(struct sample *sample, const struct sample_unit *unit, const char *name,
                      uint64_t key, uint64_t parent_key, struct piommu_instance **instance)
{
    const struct piommu_instance_config config = {
        .name = name,
        .timeout = sample->hardware.timeout,
        .key = key,
        .parent_key = parent_key,
        .fault_records = sample->hardware.report != NULL ? SAMPLE_RECORDS : 0,
    };

    return piommu_instance_create(sample->context, unit->backend, unit->config, &config, instance);
}

static int start_units(struct sample *sample)
{
    const struct piommu_context_config config = {.cookie = sample, .fault = on_fault};
    int error =
        piommu_context_create(piommu_freertos_host(&sample->port), &config, &sample->context);

    if (error == 0) {
        error = start_unit(sample, &sample->hardware.root, "root", ROOT_KEY, 0, &sample->root);
    }
    if (error == 0 && sample->hardware.cache.backend != NULL) {
        error = start_unit(sample, &sample->hardware.cache, "cache", CACHE_KEY, ROOT_KEY,
                           &sample->cache);
    }
    return error;
}

/* The unit to which the device is wired. */
static struct piommu_instance *wired(const struct sample *sample)
{
    return sample->cache != NULL ? sample->cache : sample->root;
}

static int add_device(struct sample *sample)
{
    const struct piommu_device_id id = {
        .instance = wired(sample),
        .id = sample->hardware.id,
    };
    const struct piommu_device_config config = {.ids = &id, .id_count = 1, .name = "device"};

    return piommu_device_add(sample->context, &config, &sample->device);
}

static int make_domain(struct sample *sample)
{
    struct piommu_instance *instance = wired(sample);
    const struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING,
        .instances = &instance,
        .instance_count = 1,
        .name = "domain",
    };

    return piommu_domain_create(&config, &sample->domain);
}

static int put_in_order(struct sample *sample)
{
    int error;

    begin(sample);
    error = start_units(sample);
    if (error == 0) {
        error = add_device(sample);
    }
    if (error == 0) {
        error = make_domain(sample);
    }
    if (error == 0) {
        error = piommu_device_attach(sample->device, sample->domain);
    }
    end(sample);
    return error;
}

int sample_open(struct sample *sample, const struct piommu_freertos_board *board,
                const struct sample_hardware *hardware)
{
    int error;

    *sample = (struct sample){.hardware = *hardware};
    error = piommu_freertos_init(&sample->port, board);
    if (error != 0) {
        return error;
    }
    sample->calls = xSemaphoreCreateMutex();
    if (sample->calls == NULL) {
        return -PIOMMU_ENOMEM;
    }
    error = put_in_order(sample);
    if (error == 0 && xTaskCreate(service_task, "iommu", SERVICE_STACK_WORDS, sample,
                                  SERVICE_PRIORITY, &sample->service) != pdPASS) {
        error = -PIOMMU_ENOMEM;
    }
    if (error != 0) {
        (void)sample_close(sample);
        return error;
    }
    mask(sample, false);
    return 0;
}

/* In the order in which one holds the other. NULL is nothing to each of them. */
static int take_down(struct sample *sample)
{
    int error = sample->device != NULL ? piommu_device_detach(sample->device) : 0;

    if (error == 0) {
        error = piommu_domain_destroy(sample->domain);
    }
    if (error == 0) {
        error = piommu_device_remove(sample->device);
    }
    if (error == 0) {
        error = piommu_instance_destroy(sample->cache);
    }
    if (error == 0) {
        error = piommu_instance_destroy(sample->root);
    }
    if (error == 0) {
        error = piommu_context_destroy(sample->context);
    }
    return error;
}

int sample_close(struct sample *sample)
{
    int error;

    /* With the mutex taken, the task that is ended does not hold it. */
    begin(sample);
    if (sample->service != NULL) {
        vTaskDelete(sample->service);
    }
    /* Nobody is left who lets it come again. */
    mask(sample, true);
    error = take_down(sample);
    end(sample);
    vSemaphoreDelete(sample->calls);
    return error;
}

/* ---- Mappings ---- */

int sample_map(struct sample *sample, uint64_t iova, uint64_t physical, uint64_t size)
{
    int error;

    begin(sample);
    error = piommu_domain_map(sample->domain, iova, physical, size,
                              PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    end(sample);
    return error;
}

int sample_unmap(struct sample *sample, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    begin(sample);
    error = piommu_domain_unmap(sample->domain, iova, size, &gather, NULL);
    if (error == 0) {
        error = piommu_domain_sync(sample->domain, &gather);
    }
    end(sample);
    return error;
}
