/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The device as a whole: the engine behind registers. */

#include <piommu/viommu-device.h>

#include "../base/blob.h"
#include "../base/compiler.h"
#include "../base/host.h"

#define MAGIC   0x6976656464766970ull /* "pivddevi" */
#define VERSION 1u

#define TYPE_IOMMU  23u
#define CLASS_IOMMU 0x080600u

#define DEFAULT_REQUEST_ENTRIES 256u
#define DEFAULT_EVENT_ENTRIES   64u

#define RING_FEATURES \
    (PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX | PIOMMU_VIRTIO_F_RING_PACKED)
#define DEFAULT_RING_FEATURES (PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX)

struct piommu_viommu_device {
    struct piommu_host host;
    struct piommu_viommu_device_config config;
    struct piommu_viommu *engine;
    struct piommu_virtio_front *front;
    bool ending; /* its destruction has begun, but may have to be tried again */
};

/* ---- What the engine asks ---- */

static int translate(void *cookie, uint64_t guest, uint64_t size, piommu_prot prot,
                     struct piommu_segment *piece)
{
    const struct piommu_viommu_config *engine =
        &((struct piommu_viommu_device *)cookie)->config.engine;

    return engine->callbacks.translate(engine->cookie, guest, size, prot, piece);
}

static void mapped(void *cookie, void *endpoint, struct piommu_range iova, uint64_t guest,
                   piommu_prot prot)
{
    const struct piommu_viommu_config *engine =
        &((struct piommu_viommu_device *)cookie)->config.engine;

    engine->callbacks.mapped(engine->cookie, endpoint, iova, guest, prot);
}

static void unmapped(void *cookie, void *endpoint, struct piommu_range iova)
{
    const struct piommu_viommu_config *engine =
        &((struct piommu_viommu_device *)cookie)->config.engine;

    engine->callbacks.unmapped(engine->cookie, endpoint, iova);
}

static struct piommu_device_ring *ring(void *cookie, unsigned int queue)
{
    return piommu_virtio_front_ring(((struct piommu_viommu_device *)cookie)->front, queue);
}

static void completed(void *cookie, unsigned int queue)
{
    piommu_virtio_front_completed(((struct piommu_viommu_device *)cookie)->front, queue);
}

static void needs_reset(void *cookie)
{
    piommu_virtio_front_fail(((struct piommu_viommu_device *)cookie)->front);
}

/* ---- What the front tells ---- */

static void there_is_work(struct piommu_viommu_device *device)
{
    device->config.work(device->config.engine.cookie);
}

static bool reset(void *ctx)
{
    struct piommu_viommu_device *device = ctx;

    piommu_viommu_reset(device->engine);
    there_is_work(device); /* what the last life has left is to be freed */
    return true;
}

static bool ready(void *ctx, uint64_t features)
{
    struct piommu_viommu_device *device = ctx;

    if (!device->ending) {
        piommu_viommu_start(device->engine, features);
    }
    return !device->ending;
}

static void notify(void *ctx, unsigned int queue)
{
    (void)queue;
    there_is_work(ctx);
}

static void queue_stopped(void *ctx, unsigned int queue)
{
    piommu_viommu_queue_stopped(((struct piommu_viommu_device *)ctx)->engine, queue);
}

static uint32_t read_config(void *ctx, uint32_t offset, unsigned int width)
{
    uint8_t bytes[4] = {0};

    piommu_viommu_read_config(((struct piommu_viommu_device *)ctx)->engine, offset, bytes, width);
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void write_config(void *ctx, uint32_t offset, unsigned int width, uint32_t value)
{
    const struct piommu_viommu_device *device = ctx;
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};

    if (!device->ending) {
        piommu_viommu_write_config(device->engine, offset, bytes, width);
    }
}

static void set_interrupt(void *ctx, bool high)
{
    const struct piommu_viommu_device_config *config =
        &((struct piommu_viommu_device *)ctx)->config;

    config->set_interrupt(config->engine.cookie, high);
}

static void send_message(void *ctx, uint64_t address, uint32_t data)
{
    const struct piommu_viommu_device_config *config =
        &((struct piommu_viommu_device *)ctx)->config;

    config->send_message(config->engine.cookie, address, data);
}

static void bar_moved(void *ctx, bool decoded, uint64_t address)
{
    const struct piommu_viommu_device_config *config =
        &((struct piommu_viommu_device *)ctx)->config;

    config->bar_moved(config->engine.cookie, decoded, address);
}

/* ---- Life ---- */

static bool is_possible(const struct piommu_viommu_device_config *config)
{
    const struct piommu_viommu_callbacks *callbacks;

    if (config == NULL || config->work == NULL || (config->ring_features & ~RING_FEATURES) != 0) {
        return false;
    }
    callbacks = &config->engine.callbacks;
    return callbacks->translate != NULL && callbacks->ring == NULL &&
           callbacks->completed == NULL && callbacks->needs_reset == NULL;
}

static APART_IF_SHALLOW int make_engine(struct piommu_viommu_device *device)
{
    struct piommu_viommu_config config = device->config.engine;

    config.cookie = device;
    config.callbacks.translate = translate;
    config.callbacks.mapped = config.callbacks.mapped != NULL ? mapped : NULL;
    config.callbacks.unmapped = config.callbacks.unmapped != NULL ? unmapped : NULL;
    config.callbacks.ring = ring;
    config.callbacks.completed = completed;
    config.callbacks.needs_reset = needs_reset;
    return piommu_viommu_create(device->host, &config, &device->engine);
}

static struct piommu_virtio_front_queue queue(uint16_t entries, uint16_t default_entries)
{
    return (struct piommu_virtio_front_queue){.max_size = entries != 0 ? entries : default_entries,
                                              .max_pieces = PIOMMU_VIOMMU_MAX_PIECES};
}

static APART_IF_SHALLOW int make_front(struct piommu_viommu_device *device,
                                       const struct piommu_virtio_front_pci_config *pci)
{
    const struct piommu_viommu_device_config *config = &device->config;
    const struct piommu_virtio_front_config front = {
        .type = TYPE_IOMMU,
        .features = piommu_viommu_features(device->engine) |
                    (config->ring_features != 0 ? config->ring_features : DEFAULT_RING_FEATURES),
        .config_size = PIOMMU_VIOMMU_CONFIG_SIZE,
        .queue_count = 2,
        .queues = {[PIOMMU_VIOMMU_REQUESTS] =
                       queue(config->request_entries, DEFAULT_REQUEST_ENTRIES),
                   [PIOMMU_VIOMMU_EVENTS] = queue(config->event_entries, DEFAULT_EVENT_ENTRIES)},
        .memory = config->memory,
        .vendor = config->vendor,
        .callbacks = {.reset = reset,
                      .ready = ready,
                      .notify = notify,
                      .queue_stopped = queue_stopped,
                      .read_config = read_config,
                      .write_config = write_config,
                      .set_interrupt = config->set_interrupt != NULL ? set_interrupt : NULL,
                      .send_message = config->send_message != NULL ? send_message : NULL,
                      .bar_moved = config->bar_moved != NULL ? bar_moved : NULL},
        .ctx = device,
    };
    struct piommu_virtio_front_pci_config function;

    if (pci == NULL) {
        return piommu_virtio_front_create_mmio(device->host, &front, &device->front);
    }
    function = *pci;
    function.class_code = function.class_code != 0 ? function.class_code : CLASS_IOMMU;
    return piommu_virtio_front_create_pci(device->host, &front, &function, &device->front);
}

static int create(struct piommu_host host, const struct piommu_viommu_device_config *config,
                  const struct piommu_virtio_front_pci_config *pci,
                  struct piommu_viommu_device **result)
{
    struct piommu_viommu_device *device;
    int error;

    if (result == NULL || !is_possible(config)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    device = piommu_host_alloc_(host, sizeof(*device));
    if (device == NULL) {
        return -PIOMMU_ENOMEM;
    }
    device->host = host;
    device->config = *config;
    error = make_engine(device);
    if (error == 0) {
        error = make_front(device, pci);
    }
    if (error != 0) {
        (void)piommu_viommu_device_destroy(device); /* nothing can fail without endpoints */
        return error;
    }
    *result = device;
    return 0;
}

int piommu_viommu_device_create_mmio(struct piommu_host host,
                                     const struct piommu_viommu_device_config *config,
                                     struct piommu_viommu_device **device)
{
    return create(host, config, NULL, device);
}

int piommu_viommu_device_create_pci(struct piommu_host host,
                                    const struct piommu_viommu_device_config *config,
                                    const struct piommu_virtio_front_pci_config *pci,
                                    struct piommu_viommu_device **device)
{
    return pci != NULL ? create(host, config, pci, device) : -PIOMMU_EINVAL;
}

int piommu_viommu_device_destroy(struct piommu_viommu_device *device)
{
    int error;

    if (device == NULL) {
        return 0;
    }
    device->ending = true;
    error = piommu_viommu_destroy(device->engine);
    if (error != 0) {
        return error;
    }
    piommu_virtio_front_destroy(device->front);
    piommu_host_free_(device->host, device, sizeof(*device));
    return 0;
}

void piommu_viommu_device_system_reset(struct piommu_viommu_device *device)
{
    if (device != NULL) {
        if (device->ending) {
            piommu_viommu_reset(device->engine); /* nothing is bypassed any more */
        } else {
            piommu_viommu_system_reset(device->engine);
        }
        piommu_virtio_front_system_reset(device->front);
        there_is_work(device);
    }
}

/* ---- State ---- */

/* Two parts, each behind its size. */
static int save_parts(struct piommu_viommu_device *device, struct blob *blob)
{
    size_t sizes[2] = {0};
    int error = piommu_viommu_save(device->engine, NULL, 0, &sizes[0]);

    if (error == -PIOMMU_ENOSPC) {
        error = piommu_virtio_front_save(device->front, NULL, 0, &sizes[1]);
    }
    if (error != -PIOMMU_ENOSPC) {
        return error;
    }
    blob_same(blob, MAGIC);
    blob_same(blob, VERSION);
    blob_same(blob, sizes[0]);
    blob_same(blob, sizes[1]);
    if (blob->at <= blob->size && sizes[0] <= blob->size - blob->at &&
        sizes[1] <= blob->size - blob->at - sizes[0]) {
        (void)piommu_viommu_save(device->engine, blob->to + blob->at, sizes[0], &sizes[0]);
        (void)piommu_virtio_front_save(device->front, blob->to + blob->at + sizes[0], sizes[1],
                                       &sizes[1]);
    }
    blob->at += sizes[0] + sizes[1];
    return 0;
}

int piommu_viommu_device_save(struct piommu_viommu_device *device, void *buffer, size_t room,
                              size_t *size)
{
    struct blob blob = blob_for_writing(buffer, room);
    int error;

    if (device == NULL || size == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = save_parts(device, &blob);
    *size = blob.at;
    return error == 0 && blob.at > blob.size ? -PIOMMU_ENOSPC : error;
}

/* Where the two parts of the bytes are: the engine's, and, up to the end, the front's. */
struct parts {
    size_t engine; /* 0: it is nonsense */
    size_t front;
};

/* Not inlined, as what it needs on the stack is not needed while they are restored. */
static NEVER_INLINE struct parts find_parts(const void *buffer, size_t size)
{
    struct blob blob = blob_for_reading(buffer, size);
    uint64_t sizes[2] = {0};

    blob_same(&blob, MAGIC);
    blob_same(&blob, VERSION);
    blob_64(&blob, &sizes[0]);
    blob_64(&blob, &sizes[1]);
    if (blob.refused || sizes[0] > size - blob.at || sizes[1] != size - blob.at - sizes[0]) {
        return (struct parts){.engine = 0};
    }
    return (struct parts){.engine = blob.at, .front = blob.at + (size_t)sizes[0]};
}

static NEVER_INLINE int restore_engine(struct piommu_viommu_device *device, const uint8_t *buffer,
                                       size_t size)
{
    struct parts parts = find_parts(buffer, size);

    if (parts.engine == 0) {
        return -PIOMMU_EINVAL;
    }
    return piommu_viommu_restore(device->engine, buffer + parts.engine, parts.front - parts.engine);
}

static NEVER_INLINE int restore_front(struct piommu_viommu_device *device, const uint8_t *buffer,
                                      size_t size)
{
    size_t at = find_parts(buffer, size).front;

    return piommu_virtio_front_restore(device->front, buffer + at, size - at);
}

int piommu_viommu_device_restore(struct piommu_viommu_device *device, const void *buffer,
                                 size_t size)
{
    int error;

    if (device == NULL || buffer == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = restore_engine(device, buffer, size);
    if (error == 0) {
        error = restore_front(device, buffer, size);
    }
    if (error != 0) {
        piommu_viommu_device_system_reset(device);
        return error;
    }
    there_is_work(device);
    return 0;
}

struct piommu_viommu *piommu_viommu_device_engine(struct piommu_viommu_device *device)
{
    return device->engine;
}

struct piommu_virtio_front *piommu_viommu_device_front(struct piommu_viommu_device *device)
{
    return device->front;
}
