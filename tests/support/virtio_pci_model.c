/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The transport virtio-pci of the model: PCI configuration space and the registers in BAR 4. See
 * virtio_iommu_model.h.
 */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    PCI_ID = 0x10571af4,
    PCI_COMMAND = 0x04,
    PCI_COMMAND_MEMORY = 2,
    PCI_COMMAND_MASTER = 4,
    PCI_COMMAND_NO_INTX = 0x400,
    PCI_STATUS = 0x06,
    PCI_STATUS_INTERRUPT = 8,
    PCI_STATUS_CAPABILITIES = 16,
    PCI_BARS = 0x10,
    PCI_BAR4 = 0x20,
    PCI_BAR5 = 0x24,
    PCI_BAR_FLAGS = 0xc, /* 64 bits, prefetchable */
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,

    CAPABILITY_ID = 0x09, /* of a vendor */
    /* Where the capabilities lie; the foreign one comes first and has to be stepped over. */
    CAPABILITY_FOREIGN = 0xb0,
    CAPABILITY_COMMON = 0x40,
    CAPABILITY_ISR = 0x50,
    CAPABILITY_DEVICE = 0x60,
    CAPABILITY_NOTIFY = 0x70,
    CAPABILITY_WINDOW = 0x84,
    CAPABILITY_MSIX = 0xa0,
    CAPABILITY_DECOY = 0xc0,
    WINDOW_BAR = CAPABILITY_WINDOW + 4,
    WINDOW_OFFSET = CAPABILITY_WINDOW + 8,
    WINDOW_LENGTH = CAPABILITY_WINDOW + 12,
    WINDOW_DATA = CAPABILITY_WINDOW + 16,

    TYPE_COMMON = 1,
    TYPE_NOTIFY = 2,
    TYPE_ISR = 3,
    TYPE_DEVICE = 4,
    TYPE_WINDOW = 5,

    COMMON_LENGTH = 56, /* as version 1.0 had it: what came later is not implemented */
    NOTIFY_LENGTH = 0x1000,

    COMMON_DEVICE_FEATURE_SELECT = 0,
    COMMON_DEVICE_FEATURE = 4,
    COMMON_DRIVER_FEATURE_SELECT = 8,
    COMMON_DRIVER_FEATURE = 12,
    COMMON_CONFIG_VECTOR = 16,
    COMMON_QUEUE_COUNT = 18,
    COMMON_STATUS = 20,
    COMMON_GENERATION = 21,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_VECTOR = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_NOTIFY_OFF = 30,
    COMMON_QUEUE_DESCRIPTORS = 32,
    COMMON_QUEUE_DRIVER = 40,
    COMMON_QUEUE_DEVICE = 48,

    NO_VECTOR = 0xffff,
};

bool viommu_model_bus_master_is_on(const struct viommu_model *model)
{
    return (viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
}

bool viommu_model_intx_is_on(const struct viommu_model *model)
{
    return !viommu_model_msix_is_on(model) &&
           (viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_NO_INTX) == 0;
}

/* ---- the common registers -------------------------------------------------------------------- */

static unsigned int common_width(uint64_t offset)
{
    if (offset < COMMON_CONFIG_VECTOR || offset >= COMMON_QUEUE_DESCRIPTORS) {
        return 4;
    }
    return offset == COMMON_STATUS || offset == COMMON_GENERATION ? 1 : 2;
}

static bool common_access_is_fine(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (common_width(offset) == width && offset % width == 0) {
        return true;
    }
    viommu_model_violate(model, "common register access of %u bytes at offset %" PRIu64, width,
                         offset);
    return false;
}

static uint32_t read_queue_register(struct viommu_model *model, uint64_t offset)
{
    const struct model_queue *queue;

    if (model->queue_select >= MODEL_QUEUES) {
        return offset == COMMON_QUEUE_VECTOR ? NO_VECTOR : 0;
    }
    queue = &model->queues[model->queue_select];
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        return queue->size != 0 ? queue->size
                                : viommu_model_offered_size(model, model->queue_select);
    case COMMON_QUEUE_VECTOR:
        return viommu_model_read_vector(model, model->queue_select);
    case COMMON_QUEUE_ENABLE:
        return viommu_model_queue_ready(model, queue);
    case COMMON_QUEUE_NOTIFY_OFF:
        return viommu_model_lie_or(model, VIOMMU_MODEL_NOTIFY_OFF, model->queue_select) & 0xffff;
    case COMMON_QUEUE_DESCRIPTORS:
    case COMMON_QUEUE_DESCRIPTORS + 4:
        return viommu_model_half(queue->descriptors, offset);
    case COMMON_QUEUE_DRIVER:
    case COMMON_QUEUE_DRIVER + 4:
        return viommu_model_half(queue->driver, offset);
    default:
        return viommu_model_half(queue->device, offset);
    }
}

static uint32_t read_common(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (!common_access_is_fine(model, offset, width)) {
        return viommu_model_all_ones(width);
    }
    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        return model->device_feature_select;
    case COMMON_DEVICE_FEATURE:
        return viommu_model_read_features(model);
    case COMMON_DRIVER_FEATURE_SELECT:
        return model->driver_feature_select;
    case COMMON_DRIVER_FEATURE:
        if (model->driver_feature_select > 1) {
            return 0;
        }
        return viommu_model_half(model->accepted, 4 * model->driver_feature_select);
    case COMMON_CONFIG_VECTOR:
        return viommu_model_read_vector(model, MODEL_CONFIG);
    case COMMON_QUEUE_COUNT:
        return viommu_model_lie_or(model, VIOMMU_MODEL_QUEUE_COUNT, MODEL_QUEUES) & 0xffff;
    case COMMON_STATUS:
        return viommu_model_read_status(model);
    case COMMON_GENERATION:
        return viommu_model_read_generation(model);
    case COMMON_QUEUE_SELECT:
        return model->queue_select;
    default:
        return read_queue_register(model, offset);
    }
}

static void write_queue_register(struct viommu_model *model, uint64_t offset, uint32_t value)
{
    struct model_queue *queue;

    if (offset == COMMON_QUEUE_VECTOR && model->queue_select < MODEL_QUEUES) {
        viommu_model_write_vector(model, model->queue_select, value);
        return;
    }
    queue = viommu_model_queue_to_set(model, offset);
    if (queue == NULL) {
        return;
    }
    switch (offset) {
    case COMMON_QUEUE_SIZE:
        viommu_model_set_queue_size(model, queue, value);
        break;
    case COMMON_QUEUE_ENABLE:
        if (value != 1) {
            viommu_model_violate(model, "queue_enable written with %" PRIu32, value);
            break;
        }
        viommu_model_enable_queue(model, queue);
        break;
    case COMMON_QUEUE_NOTIFY_OFF:
        viommu_model_violate(model, "queue_notify_off written");
        break;
    case COMMON_QUEUE_DESCRIPTORS:
    case COMMON_QUEUE_DESCRIPTORS + 4:
        viommu_model_set_half(&queue->descriptors, offset, value);
        break;
    case COMMON_QUEUE_DRIVER:
    case COMMON_QUEUE_DRIVER + 4:
        viommu_model_set_half(&queue->driver, offset, value);
        break;
    default:
        viommu_model_set_half(&queue->device, offset, value);
        break;
    }
}

static void write_common(struct viommu_model *model, uint64_t offset, unsigned int width,
                         uint32_t value)
{
    if (!common_access_is_fine(model, offset, width)) {
        return;
    }
    switch (offset) {
    case COMMON_DEVICE_FEATURE_SELECT:
        model->device_feature_select = value;
        break;
    case COMMON_DRIVER_FEATURE_SELECT:
        model->driver_feature_select = value;
        break;
    case COMMON_DRIVER_FEATURE:
        viommu_model_write_features(model, value);
        break;
    case COMMON_CONFIG_VECTOR:
        viommu_model_write_vector(model, MODEL_CONFIG, value);
        break;
    case COMMON_STATUS:
        viommu_model_write_status(model, (uint8_t)(value & 0xff));
        break;
    case COMMON_QUEUE_SELECT:
        model->queue_select = (uint16_t)(value & 0xffff);
        break;
    case COMMON_DEVICE_FEATURE:
    case COMMON_QUEUE_COUNT:
    case COMMON_GENERATION:
        viommu_model_violate(model, "write to the read-only common register %" PRIu64, offset);
        break;
    default:
        write_queue_register(model, offset, value);
        break;
    }
}

/* ---- BAR 4 ----------------------------------------------------------------------------------- */

static void doorbell(struct viommu_model *model, uint64_t offset, unsigned int width,
                     uint32_t value)
{
    uint64_t number = offset / VIOMMU_MODEL_NOTIFY_MULTIPLIER;

    if (number >= MODEL_QUEUES || offset % VIOMMU_MODEL_NOTIFY_MULTIPLIER != 0 || width != 2 ||
        value != number) {
        viommu_model_violate(model,
                             "notification of %" PRIu32 " in %u bytes at notify offset %" PRIu64,
                             value, width, offset);
        return;
    }
    viommu_model_doorbell(model, (unsigned int)number);
}

static bool mmio_access_is_fine(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_GONE)) {
        return false;
    }
    if ((viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MEMORY) == 0) {
        viommu_model_violate(model, "register access while memory decode is off");
        return false;
    }
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 ||
        offset >= VIOMMU_MODEL_BAR_SIZE) {
        viommu_model_violate(model, "register access of %u bytes at offset 0x%" PRIx64, width,
                             offset);
        return false;
    }
    return true;
}

uint32_t viommu_model_bar_read(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    uint8_t isr;

    if (!mmio_access_is_fine(model, offset, width)) {
        return viommu_model_all_ones(width);
    }
    if (offset < COMMON_LENGTH) {
        return read_common(model, offset, width);
    }
    if (offset == VIOMMU_MODEL_ISR_OFFSET && width == 1) {
        if (viommu_model_msix_is_on(model)) {
            viommu_model_violate(model, "ISR read while MSI-X is on");
        }
        isr = model->isr;
        model->isr = 0;
        return isr;
    }
    if (viommu_model_msix_has(model, offset)) {
        return viommu_model_msix_read(model, offset, width);
    }
    if (offset >= VIOMMU_MODEL_DEVICE_OFFSET &&
        offset < VIOMMU_MODEL_DEVICE_OFFSET + (uint64_t)model->parameters.config_length) {
        return viommu_model_device_read(model, offset - VIOMMU_MODEL_DEVICE_OFFSET, width);
    }
    viommu_model_violate(model, "read of %u bytes at offset 0x%" PRIx64 ": no register", width,
                         offset);
    return viommu_model_all_ones(width);
}

void viommu_model_bar_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                            uint32_t value)
{
    if (!mmio_access_is_fine(model, offset, width)) {
        return;
    }
    if ((value & ~viommu_model_all_ones(width)) != 0) {
        viommu_model_violate(model, "write of 0x%" PRIx32 " in %u bytes", value, width);
        value &= viommu_model_all_ones(width);
    }
    if (offset < COMMON_LENGTH) {
        write_common(model, offset, width, value);
    } else if (viommu_model_msix_has(model, offset)) {
        viommu_model_msix_write(model, offset, width, value);
    } else if (offset >= VIOMMU_MODEL_NOTIFY_OFFSET) {
        doorbell(model, offset - VIOMMU_MODEL_NOTIFY_OFFSET, width, value);
    } else if (offset >= VIOMMU_MODEL_DEVICE_OFFSET &&
               offset < VIOMMU_MODEL_DEVICE_OFFSET + (uint64_t)model->parameters.config_length) {
        viommu_model_device_write(model, offset - VIOMMU_MODEL_DEVICE_OFFSET, width, value);
    } else {
        viommu_model_violate(model, "write of %u bytes at offset 0x%" PRIx64 ": no register", width,
                             offset);
    }
}

/* ---- PCI configuration space ----------------------------------------------------------------- */

/* A member of the capability of some type, as the misbehaviours have it. */
static uint32_t lie_or(const struct viommu_model *model, enum viommu_model_misbehaviour lie,
                       uint8_t type, uint32_t truth)
{
    uint64_t only = model->misbehaviours[lie].nth;

    return only == 0 || only == type ? viommu_model_lie_or(model, lie, truth) : truth;
}

struct capability {
    uint8_t size;
    uint8_t type;
    uint8_t bar;
    uint32_t offset;
    uint32_t length;
};

static void put_capability(struct viommu_model *model, uint8_t at, struct capability capability)
{
    uint8_t *bytes = model->config + at;

    bytes[0] = CAPABILITY_ID;
    bytes[2] = capability.size;
    bytes[3] = capability.type;
    bytes[4] = capability.bar;
    viommu_model_put32(bytes + 8, capability.offset);
    viommu_model_put32(bytes + 12, capability.length);
}

/* One that leads to registers in BAR 4, unless it lies. */
static void put_registers(struct viommu_model *model, uint8_t at, uint8_t type, uint32_t offset,
                          uint32_t length)
{
    struct capability capability = {
        .type = type,
        .bar = (uint8_t)lie_or(model, VIOMMU_MODEL_CAPABILITY_BAR, type, VIOMMU_MODEL_BAR),
        .offset = lie_or(model, VIOMMU_MODEL_CAPABILITY_OFFSET, type, offset),
        .length = lie_or(model, VIOMMU_MODEL_CAPABILITY_LENGTH, type, length),
    };

    capability.size =
        (uint8_t)lie_or(model, VIOMMU_MODEL_CAPABILITY_SHORT, type, type == TYPE_NOTIFY ? 20 : 16);
    put_capability(model, at, capability);
}

/* One of a type that a driver must step over, since there is no such BAR, before the true one. */
static void put_decoy(struct viommu_model *model)
{
    struct capability capability = {.size = 20, .bar = 7, .length = 0x1000};

    capability.type = (uint8_t)viommu_model_lie_or(model, VIOMMU_MODEL_CAPABILITY_DECOY, 0);
    put_capability(model, CAPABILITY_DECOY, capability);
}

static bool is_missing(const struct viommu_model *model, uint8_t place)
{
    const uint8_t *bytes = model->config + place;

    return bytes[0] == 0 ||
           (bytes[0] == CAPABILITY_ID && place != CAPABILITY_DECOY &&
            viommu_model_misbehaves(model, VIOMMU_MODEL_CAPABILITY_MISSING) &&
            viommu_model_argument_of(model, VIOMMU_MODEL_CAPABILITY_MISSING) == bytes[3]);
}

/* Builds the capability list, with the misbehaviours that are on. */
void viommu_model_build_capabilities(struct viommu_model *model)
{
    static const uint8_t places[] = {CAPABILITY_FOREIGN, CAPABILITY_DECOY,  CAPABILITY_COMMON,
                                     CAPABILITY_ISR,     CAPABILITY_DEVICE, CAPABILITY_NOTIFY,
                                     CAPABILITY_WINDOW,  CAPABILITY_MSIX};
    uint8_t *last = &model->config[PCI_CAPABILITIES];

    memset(model->config + 0x40, 0, sizeof model->config - 0x40);
    model->config[CAPABILITY_FOREIGN] = 0x01; /* power management, which does nothing here */
    put_registers(model, CAPABILITY_COMMON, TYPE_COMMON, VIOMMU_MODEL_COMMON_OFFSET, COMMON_LENGTH);
    put_registers(model, CAPABILITY_ISR, TYPE_ISR, VIOMMU_MODEL_ISR_OFFSET, 1);
    put_registers(model, CAPABILITY_DEVICE, TYPE_DEVICE, VIOMMU_MODEL_DEVICE_OFFSET,
                  model->parameters.config_length);
    put_registers(model, CAPABILITY_NOTIFY, TYPE_NOTIFY, VIOMMU_MODEL_NOTIFY_OFFSET, NOTIFY_LENGTH);
    viommu_model_put32(model->config + CAPABILITY_NOTIFY + 16,
                       viommu_model_lie_or(model, VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS,
                                           VIOMMU_MODEL_NOTIFY_MULTIPLIER));
    /* What the window shows is the driver's choice. */
    put_capability(model, CAPABILITY_WINDOW,
                   (struct capability){.size = 20, .type = TYPE_WINDOW, .bar = VIOMMU_MODEL_BAR});
    if (model->parameters.msix_vectors > 0) {
        viommu_model_put_msix_capability(model, model->config + CAPABILITY_MSIX);
    }
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_CAPABILITY_DECOY)) {
        put_decoy(model);
    }
    for (size_t i = 0; i < sizeof places; i++) {
        if (is_missing(model, places[i])) {
            continue;
        }
        *last = places[i];
        last = &model->config[places[i] + 1];
    }
    *last = viommu_model_misbehaves(model, VIOMMU_MODEL_CAPABILITY_LOOP) ? places[0] : 0;
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_CAPABILITY_POINTER)) {
        model->config[PCI_CAPABILITIES] =
            (uint8_t)(viommu_model_argument_of(model, VIOMMU_MODEL_CAPABILITY_POINTER) & 0xff);
    }
}

void viommu_model_pci_init(struct viommu_model *model)
{
    uint8_t *config = model->config;

    memset(config, 0, sizeof model->config);
    viommu_model_put16(config + PCI_STATUS, PCI_STATUS_CAPABILITIES);
    config[0x08] = 1;                          /* revision */
    viommu_model_put16(config + 0x0a, 0x0806); /* class: IOMMU */
    viommu_model_put16(config + 0x2c, 0x1af4);
    viommu_model_put16(config + 0x2e, 0x1100);
    config[PCI_INTERRUPT_PIN] = 1;
    model->bar_address = model->parameters.bar_address & ~(uint64_t)(VIOMMU_MODEL_BAR_SIZE - 1);
    viommu_model_build_capabilities(model);
}

uint64_t viommu_model_bar_size(const struct viommu_model *model, unsigned int number)
{
    if (number != VIOMMU_MODEL_BAR) {
        return 0;
    }
    return viommu_model_misbehaves(model, VIOMMU_MODEL_BAR_SIZE_IS)
               ? viommu_model_argument_of(model, VIOMMU_MODEL_BAR_SIZE_IS)
               : VIOMMU_MODEL_BAR_SIZE;
}

uint64_t viommu_model_bar_address(const struct viommu_model *model, unsigned int number)
{
    return number == VIOMMU_MODEL_BAR ? model->bar_address : 0;
}

static bool config_access_is_fine(struct viommu_model *model, unsigned int offset,
                                  unsigned int width)
{
    if (model->parameters.transport != VIOMMU_MODEL_PCI ||
        viommu_model_misbehaves(model, VIOMMU_MODEL_GONE)) {
        return false;
    }
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 ||
        offset + width > sizeof model->config) {
        viommu_model_violate(model, "PCI config access of %u bytes at offset 0x%x", width, offset);
        return false;
    }
    return true;
}

/* Whether the PCI config window points at registers. The BAR is the only one there is. */
static bool window_is_open(const struct viommu_model *model, unsigned int width)
{
    return model->config[WINDOW_BAR] == VIOMMU_MODEL_BAR &&
           viommu_model_get32(model->config + WINDOW_LENGTH) == width;
}

uint32_t viommu_model_config_read(struct viommu_model *model, unsigned int offset,
                                  unsigned int width)
{
    uint8_t *config = model->config;

    if (!config_access_is_fine(model, offset, width)) {
        return viommu_model_all_ones(width);
    }
    viommu_model_put16(
        config + PCI_STATUS,
        (uint16_t)(PCI_STATUS_CAPABILITIES | (model->isr != 0 ? PCI_STATUS_INTERRUPT : 0)));
    viommu_model_put32(config + PCI_BAR4, viommu_model_half(model->bar_address, 0) | PCI_BAR_FLAGS);
    viommu_model_put32(config, viommu_model_lie_or(model, VIOMMU_MODEL_PCI_ID, PCI_ID));
    viommu_model_put32(config + PCI_BAR5, viommu_model_half(model->bar_address, 4));
    if (model->parameters.msix_vectors > 0) {
        viommu_model_put_msix_capability(model, config + CAPABILITY_MSIX);
    }
    if (offset == WINDOW_DATA && window_is_open(model, width)) {
        return viommu_model_bar_read(model, viommu_model_get32(config + WINDOW_OFFSET), width);
    }
    if (width == 4) {
        return viommu_model_get32(config + offset);
    }
    return width == 2 ? viommu_model_get16(config + offset) : config[offset];
}

static void write_bar(struct viommu_model *model, unsigned int offset, unsigned int width,
                      uint32_t value)
{
    if (width != 4) {
        viommu_model_violate(model, "BAR written in %u bytes", width);
        return;
    }
    if (offset != PCI_BAR4 && offset != PCI_BAR5) {
        return; /* not implemented: reads as 0, so that sizing finds nothing */
    }
    if ((viommu_model_get16(model->config + PCI_COMMAND) & PCI_COMMAND_MEMORY) != 0) {
        viommu_model_violate(model, "BAR written while memory decode is on");
    }
    viommu_model_set_half(&model->bar_address, offset - PCI_BAR4, value);
    model->bar_address &= ~(uint64_t)(VIOMMU_MODEL_BAR_SIZE - 1);
}

void viommu_model_config_write(struct viommu_model *model, unsigned int offset, unsigned int width,
                               uint32_t value)
{
    uint8_t *config = model->config;
    uint8_t bytes[4];

    if (!config_access_is_fine(model, offset, width)) {
        return;
    }
    viommu_model_put32(bytes, value);
    if (offset == WINDOW_DATA && window_is_open(model, width)) {
        viommu_model_bar_write(model, viommu_model_get32(config + WINDOW_OFFSET), width, value);
    } else if (offset >= PCI_BARS && offset <= PCI_BAR5) {
        write_bar(model, offset, width, value);
    } else if (offset == PCI_COMMAND) {
        /* The status half that a 4-byte write includes is write-1-to-clear: nothing to clear. */
        uint16_t command = viommu_model_get16(config + PCI_COMMAND);

        memcpy(config + PCI_COMMAND, bytes, width < 2 ? width : 2);
        if (width < 2) {
            config[PCI_COMMAND + 1] = (uint8_t)(command >> 8);
        }
        viommu_model_put16(config + PCI_COMMAND,
                           viommu_model_get16(config + PCI_COMMAND) &
                               (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX));
    } else if (offset >= CAPABILITY_MSIX && offset < CAPABILITY_MSIX + 4 &&
               model->parameters.msix_vectors > 0) {
        memcpy(config + offset, bytes, width);
        viommu_model_write_msix_control(model, viommu_model_get16(config + CAPABILITY_MSIX + 2));
    } else if (offset == WINDOW_BAR || offset == PCI_INTERRUPT_LINE) {
        config[offset] = bytes[0];
    } else if ((offset == WINDOW_OFFSET || offset == WINDOW_LENGTH) && width == 4) {
        memcpy(config + offset, bytes, width);
    }
    /* Everything else is read-only, which PCI lets anyone write without effect. */
}
