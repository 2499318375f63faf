/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The transport virtio-mmio, version 2, of the model. See virtio_iommu_model.h. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>

enum {
    MAGIC = 0x74726976,
    VERSION = 2,
    DEVICE_ID = 23,
    VENDOR_ID = 0x1af4,

    REGISTER_MAGIC = 0x000,
    REGISTER_VERSION = 0x004,
    REGISTER_DEVICE_ID = 0x008,
    REGISTER_VENDOR_ID = 0x00c,
    REGISTER_DEVICE_FEATURES = 0x010,
    REGISTER_DEVICE_FEATURES_SELECT = 0x014,
    REGISTER_DRIVER_FEATURES = 0x020,
    REGISTER_DRIVER_FEATURES_SELECT = 0x024,
    REGISTER_QUEUE_SELECT = 0x030,
    REGISTER_QUEUE_SIZE_MAX = 0x034,
    REGISTER_QUEUE_SIZE = 0x038,
    REGISTER_QUEUE_READY = 0x044,
    REGISTER_QUEUE_NOTIFY = 0x050,
    REGISTER_INTERRUPT_STATUS = 0x060,
    REGISTER_INTERRUPT_ACK = 0x064,
    REGISTER_STATUS = 0x070,
    REGISTER_QUEUE_DESCRIPTORS = 0x080,
    REGISTER_QUEUE_DRIVER = 0x090,
    REGISTER_QUEUE_DEVICE = 0x0a0,
    REGISTER_MEMORY_SELECT = 0x0ac,
    REGISTER_MEMORY_LENGTH = 0x0b0,
    REGISTER_MEMORY_BASE = 0x0b8,
    REGISTER_GENERATION = 0x0fc,
    REGISTER_CONFIG = 0x100,

    /* What a driver has read to know the device. */
    KNOWS_MAGIC = 1,
    KNOWS_VERSION = 2,
    KNOWS_DEVICE_ID = 4,

    /* Selectors that were written since the last reset; they have no value before. */
    SELECTED_DEVICE_FEATURES = 1,
    SELECTED_DRIVER_FEATURES = 2,
    SELECTED_QUEUE = 4,

    /* What is known of a queue before it is switched on. */
    QUEUE_MAX_WAS_READ = 0x01,
    QUEUE_SIZE_WAS_SET = 0x02,
    QUEUE_FIRST_HALF_WAS_SET = 0x04, /* and five more */
    QUEUE_IS_COMPLETE = 0xff,
};

static bool is_what_it_says(const struct viommu_model *model)
{
    return viommu_model_lie_or(model, VIOMMU_MODEL_MMIO_MAGIC, MAGIC) == MAGIC &&
           viommu_model_lie_or(model, VIOMMU_MODEL_MMIO_VERSION, VERSION) == VERSION &&
           viommu_model_lie_or(model, VIOMMU_MODEL_MMIO_DEVICE_ID, DEVICE_ID) != 0;
}

/* Who has not looked what it is, or has seen that it is nothing, must leave the rest alone. */
static void check_identified(struct viommu_model *model, uint64_t offset)
{
    const uint8_t all = KNOWS_MAGIC | KNOWS_VERSION | KNOWS_DEVICE_ID;
    uint8_t needed = all;

    if (offset <= REGISTER_VERSION) {
        return;
    }
    if (offset <= REGISTER_VENDOR_ID) {
        needed = KNOWS_MAGIC | KNOWS_VERSION;
    }
    if ((model->mmio_known & needed) != needed) {
        viommu_model_violate(model, "register 0x%" PRIx64 " used before the device was identified",
                             offset);
    } else if (needed == all && !is_what_it_says(model)) {
        viommu_model_violate(model, "register 0x%" PRIx64 " used of what is no device", offset);
    }
}

static void check_selected(struct viommu_model *model, uint8_t selector, uint64_t offset)
{
    if ((model->mmio_selected & selector) == 0) {
        viommu_model_violate(model, "register 0x%" PRIx64 " used before its selector was written",
                             offset);
    }
}

static bool access_is_fine(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_GONE)) {
        return false;
    }
    if (offset < REGISTER_CONFIG && (width != 4 || offset % 4 != 0)) {
        viommu_model_violate(model, "register access of %u bytes at offset 0x%" PRIx64, width,
                             offset);
        return false;
    }
    if (offset >= REGISTER_CONFIG && offset - REGISTER_CONFIG >= model->parameters.config_length) {
        viommu_model_violate(model, "access of %u bytes at offset 0x%" PRIx64 ": no register",
                             width, offset);
        return false;
    }
    check_identified(model, offset);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct model_queue *selected_queue(struct viommu_model *model, uint64_t offset)
{
    check_selected(model, SELECTED_QUEUE, offset);
    return model->queue_select < MODEL_QUEUES ? &model->queues[model->queue_select] : NULL;
}

static uint32_t read_queue_size_max(struct viommu_model *model)
{
    struct model_queue *queue = selected_queue(model, REGISTER_QUEUE_SIZE_MAX);

    if (queue == NULL ||
        (viommu_model_misbehaves(model, VIOMMU_MODEL_QUEUE_COUNT) &&
         model->queue_select >= viommu_model_argument_of(model, VIOMMU_MODEL_QUEUE_COUNT))) {
        return 0;
    }
    queue->known |= QUEUE_MAX_WAS_READ;
    return viommu_model_offered_size(model, model->queue_select);
}

static uint32_t read_queue_ready(struct viommu_model *model)
{
    struct model_queue *queue = selected_queue(model, REGISTER_QUEUE_READY);

    if (queue == NULL) {
        return 0;
    }
    queue->stop_unread = false;
    return viommu_model_queue_ready(model, queue);
}

static uint32_t read_register(struct viommu_model *model, uint64_t offset)
{
    switch (offset) {
    case REGISTER_MAGIC:
        model->mmio_known |= KNOWS_MAGIC;
        return viommu_model_lie_or(model, VIOMMU_MODEL_MMIO_MAGIC, MAGIC);
    case REGISTER_VERSION:
        model->mmio_known |= KNOWS_VERSION;
        return viommu_model_lie_or(model, VIOMMU_MODEL_MMIO_VERSION, VERSION);
    case REGISTER_DEVICE_ID:
        model->mmio_known |= KNOWS_DEVICE_ID;
        return viommu_model_lie_or(model, VIOMMU_MODEL_MMIO_DEVICE_ID, DEVICE_ID);
    case REGISTER_VENDOR_ID:
        return VENDOR_ID;
    case REGISTER_DEVICE_FEATURES:
        check_selected(model, SELECTED_DEVICE_FEATURES, offset);
        return viommu_model_read_features(model);
    case REGISTER_QUEUE_SIZE_MAX:
        return read_queue_size_max(model);
    case REGISTER_QUEUE_READY:
        return read_queue_ready(model);
    case REGISTER_INTERRUPT_STATUS:
        model->isr_seen = model->isr;
        return model->isr;
    case REGISTER_STATUS:
        return viommu_model_read_status(model);
    case REGISTER_MEMORY_LENGTH:
    case REGISTER_MEMORY_LENGTH + 4:
    case REGISTER_MEMORY_BASE:
    case REGISTER_MEMORY_BASE + 4:
        return UINT32_MAX; /* there is no shared memory */
    case REGISTER_GENERATION:
        return viommu_model_read_generation(model);
    default:
        viommu_model_violate(model, "read of register 0x%" PRIx64 ", which cannot be read", offset);
        return 0;
    }
}

uint32_t viommu_model_registers_read(struct viommu_model *model, uint64_t offset,
                                     unsigned int width)
{
    if (!access_is_fine(model, offset, width)) {
        return viommu_model_all_ones(width);
    }
    if (offset >= REGISTER_CONFIG) {
        return viommu_model_device_read(model, offset - REGISTER_CONFIG, width);
    }
    return read_register(model, offset);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The selected queue, if the driver may set it up now. */
static struct model_queue *queue_to_set(struct viommu_model *model, uint64_t offset)
{
    struct model_queue *queue;

    check_selected(model, SELECTED_QUEUE, offset);
    queue = viommu_model_queue_to_set(model, offset);
    if (queue != NULL && queue->stop_unread) {
        viommu_model_violate(
            model, "queue register %" PRIu64 " written before QueueReady read as 0", offset);
    }
    return queue;
}

static void write_queue_ready(struct viommu_model *model, uint32_t value)
{
    struct model_queue *queue = selected_queue(model, REGISTER_QUEUE_READY);

    if (value > 1) {
        viommu_model_violate(model, "QueueReady written with %" PRIu32, value);
    } else if (value == 0 && queue != NULL && queue->enabled) {
        if (viommu_model_misbehaves(model, VIOMMU_MODEL_QUEUE_READY)) {
            return;
        }
        viommu_model_reset_queue(queue);
        queue->stop_unread = true;
    } else if (value == 1) {
        queue = queue_to_set(model, REGISTER_QUEUE_READY);
        if (queue == NULL) {
            return;
        }
        if (queue->known != QUEUE_IS_COMPLETE) {
            viommu_model_violate(model, "queue enabled that was not set up: 0x%x", queue->known);
            return;
        }
        viommu_model_enable_queue(model, queue);
    }
}

static void write_address(struct viommu_model *model, uint64_t offset, uint32_t value)
{
    struct model_queue *queue = queue_to_set(model, offset);
    unsigned int ring = (unsigned int)(offset - REGISTER_QUEUE_DESCRIPTORS) / 0x10;
    unsigned int high = offset % 8 != 0;
    uint64_t *addresses[3];

    if (queue == NULL) {
        return;
    }
    addresses[0] = &queue->descriptors;
    addresses[1] = &queue->driver;
    addresses[2] = &queue->device;
    viommu_model_set_half(addresses[ring], offset, value);
    queue->known |= (uint8_t)(QUEUE_FIRST_HALF_WAS_SET << (2 * ring + high));
}

static void write_queue_size(struct viommu_model *model, uint32_t value)
{
    struct model_queue *queue = queue_to_set(model, REGISTER_QUEUE_SIZE);

    if (queue != NULL) {
        queue->known |= QUEUE_SIZE_WAS_SET;
        viommu_model_set_queue_size(model, queue, value);
    }
}

static void notify(struct viommu_model *model, uint32_t value)
{
    if (value >= MODEL_QUEUES) {
        viommu_model_violate(model, "notification of queue %" PRIu32 ", which does not exist",
                             value);
        return;
    }
    viommu_model_doorbell(model, value);
}

/* Only what the driver has seen can it have handled. */
static void acknowledge(struct viommu_model *model, uint32_t value)
{
    if ((value & ~(uint32_t)model->isr_seen) != 0) {
        viommu_model_violate(model, "interrupts acknowledged that were not seen: 0x%" PRIx32,
                             value & ~(uint32_t)model->isr_seen);
    }
    model->isr &= (uint8_t)~value;
    model->isr_seen &= (uint8_t)~value;
}

static void write_status(struct viommu_model *model, uint32_t value)
{
    if (value > 0xff) {
        viommu_model_violate(model, "status 0x%" PRIx32 " written", value);
    }
    viommu_model_write_status(model, (uint8_t)(value & 0xff));
}

static void select_with(struct viommu_model *model, uint32_t *selector, uint8_t which,
                        uint32_t value)
{
    *selector = value;
    model->mmio_selected |= which;
}

static void write_register(struct viommu_model *model, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case REGISTER_DEVICE_FEATURES_SELECT:
        select_with(model, &model->device_feature_select, SELECTED_DEVICE_FEATURES, value);
        break;
    case REGISTER_DRIVER_FEATURES:
        check_selected(model, SELECTED_DRIVER_FEATURES, offset);
        viommu_model_write_features(model, value);
        break;
    case REGISTER_DRIVER_FEATURES_SELECT:
        select_with(model, &model->driver_feature_select, SELECTED_DRIVER_FEATURES, value);
        break;
    case REGISTER_QUEUE_SELECT:
        select_with(model, &model->queue_select, SELECTED_QUEUE, value);
        break;
    case REGISTER_QUEUE_SIZE:
        write_queue_size(model, value);
        break;
    case REGISTER_QUEUE_READY:
        write_queue_ready(model, value);
        break;
    case REGISTER_QUEUE_NOTIFY:
        notify(model, value);
        break;
    case REGISTER_INTERRUPT_ACK:
        acknowledge(model, value);
        break;
    case REGISTER_STATUS:
        write_status(model, value);
        break;
    case REGISTER_QUEUE_DESCRIPTORS:
    case REGISTER_QUEUE_DESCRIPTORS + 4:
    case REGISTER_QUEUE_DRIVER:
    case REGISTER_QUEUE_DRIVER + 4:
    case REGISTER_QUEUE_DEVICE:
    case REGISTER_QUEUE_DEVICE + 4:
        write_address(model, offset, value);
        break;
    case REGISTER_MEMORY_SELECT:
        break;
    default:
        viommu_model_violate(model, "write to register 0x%" PRIx64 ", which cannot be written",
                             offset);
        break;
    }
}

void viommu_model_registers_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                                  uint32_t value)
{
    if (!access_is_fine(model, offset, width)) {
        return;
    }
    if (offset >= REGISTER_CONFIG) {
        viommu_model_device_write(model, offset - REGISTER_CONFIG, width, value);
    } else {
        write_register(model, offset, value);
    }
}
