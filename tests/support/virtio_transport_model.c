/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What all transports have: status, features, queues, interrupts, and misbehaviour. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    ISR_QUEUE = 1,
    ISR_CONFIG = 2,
};

/* What the model implements. Other bits may be offered, to see that a driver leaves them alone. */
static const uint64_t implemented_features =
    VIOMMU_MODEL_F_INPUT_RANGE | VIOMMU_MODEL_F_DOMAIN_RANGE | VIOMMU_MODEL_F_MAP_UNMAP |
    VIOMMU_MODEL_F_BYPASS | VIOMMU_MODEL_F_PROBE | VIOMMU_MODEL_F_MMIO |
    VIOMMU_MODEL_F_BYPASS_CONFIG | VIOMMU_MODEL_F_INDIRECT_DESC | VIOMMU_MODEL_F_EVENT_IDX |
    VIOMMU_MODEL_F_VERSION_1 | VIOMMU_MODEL_F_ACCESS_PLATFORM | VIOMMU_MODEL_F_RING_PACKED |
    VIOMMU_MODEL_F_ORDER_PLATFORM;

uint32_t viommu_model_all_ones(unsigned int width)
{
    return width >= 4 ? UINT32_MAX : (UINT32_C(1) << (8 * width)) - 1;
}

bool viommu_model_misbehaves(const struct viommu_model *model, enum viommu_model_misbehaviour what)
{
    return model->misbehaviours[what].on;
}

uint64_t viommu_model_argument_of(const struct viommu_model *model,
                                  enum viommu_model_misbehaviour what)
{
    return model->misbehaviours[what].argument;
}

uint32_t viommu_model_lie_or(const struct viommu_model *model, enum viommu_model_misbehaviour what,
                             uint32_t truth)
{
    return viommu_model_misbehaves(model, what)
               ? (uint32_t)(viommu_model_argument_of(model, what) & UINT32_MAX)
               : truth;
}

bool viommu_model_strikes(struct viommu_model *model, enum viommu_model_misbehaviour what)
{
    struct model_misbehaviour *misbehaviour = &model->misbehaviours[what];

    if (!misbehaviour->on || misbehaviour->nth == 0) {
        return misbehaviour->on;
    }
    if (--misbehaviour->nth > 0) {
        return false;
    }
    misbehaviour->on = false;
    return true;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

void viommu_model_raise_interrupt(struct viommu_model *model, unsigned int source)
{
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_NO_INTERRUPTS) ||
        viommu_model_misbehaves(model, VIOMMU_MODEL_GONE)) {
        return;
    }
    if (viommu_model_msix_is_on(model)) {
        viommu_model_send_message(model, source);
        return;
    }
    if (model->isr == 0) {
        model->counters.interrupts++;
    }
    model->isr |= source == MODEL_CONFIG ? ISR_CONFIG : ISR_QUEUE;
}

void viommu_model_need_reset(struct viommu_model *model)
{
    model->status |= STATUS_NEEDS_RESET;
    if ((model->status & STATUS_DRIVER_OK) != 0) {
        viommu_model_raise_interrupt(model, MODEL_CONFIG);
    }
}

void viommu_model_transport_reset(struct viommu_model *model)
{
    for (unsigned int i = 0; i < MODEL_QUEUES; i++) {
        viommu_model_reset_queue(&model->queues[i]);
    }
    model->status = 0;
    model->zero_was_read = false;
    model->features_were_read = false;
    model->resetting = false;
    model->device_feature_select = 0;
    model->driver_feature_select = 0;
    model->accepted = 0;
    model->queue_select = 0;
    model->isr = 0;
    model->isr_seen = 0;
    viommu_model_reset_vectors(model);
    model->mmio_selected = 0;
    model->held_count = 0;
    model->storm_left = 0;
}

void viommu_model_transport_destroy(struct viommu_model *model)
{
    viommu_model_transport_reset(model);
}

void viommu_model_transport_init(struct viommu_model *model)
{
    model->mmio_known = 0;
    viommu_model_reset_vectors(model);
    viommu_model_msix_init(model);
    viommu_model_pci_init(model);
}

/* ---- registers ------------------------------------------------------------------------------- */

static bool has_pci(const struct viommu_model *model)
{
    return model->parameters.transport == VIOMMU_MODEL_PCI;
}

bool viommu_model_is_master(const struct viommu_model *model)
{
    return !has_pci(model) || viommu_model_bus_master_is_on(model);
}

bool viommu_model_interrupt_pending(const struct viommu_model *model)
{
    return model->isr != 0 && !viommu_model_misbehaves(model, VIOMMU_MODEL_GONE) &&
           (!has_pci(model) || viommu_model_intx_is_on(model));
}

uint64_t viommu_model_mmio_address(const struct viommu_model *model)
{
    return model->parameters.mmio_address;
}

/* What happens at the nth access of a register. */
static void strike_at_access(struct viommu_model *model)
{
    if (viommu_model_strikes(model, VIOMMU_MODEL_NEEDS_RESET_AT_ACCESS)) {
        viommu_model_need_reset(model);
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_GONE_AT_ACCESS)) {
        model->misbehaviours[VIOMMU_MODEL_GONE].on = true;
    }
}

uint32_t viommu_model_mmio_read(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    strike_at_access(model);
    return has_pci(model) ? viommu_model_bar_read(model, offset, width)
                          : viommu_model_registers_read(model, offset, width);
}

void viommu_model_mmio_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                             uint32_t value)
{
    strike_at_access(model);
    if (has_pci(model)) {
        viommu_model_bar_write(model, offset, width, value);
    } else {
        viommu_model_registers_write(model, offset, width, value);
    }
}

/* ---- status and features --------------------------------------------------------------------- */

static void finish_reset(struct viommu_model *model)
{
    viommu_model_transport_reset(model);
    viommu_model_device_reset(model);
}

uint8_t viommu_model_read_status(struct viommu_model *model)
{
    if (model->resetting && !viommu_model_misbehaves(model, VIOMMU_MODEL_RESET_HANGS)) {
        if (model->reset_reads_left == 0 || model->status == 0) {
            finish_reset(model); /* nobody could wait for an end that cannot be seen */
        } else {
            model->reset_reads_left--;
        }
    }
    if (model->status == 0) {
        model->zero_was_read = true;
    }
    if ((model->status & STATUS_FEATURES_OK) != 0) {
        model->features_were_read = true;
    }
    return (uint8_t)viommu_model_lie_or(model, VIOMMU_MODEL_STATUS_IS, model->status);
}

/* Whether the device agrees with the features that the driver accepted. */
static bool features_are_fine(struct viommu_model *model)
{
    uint64_t demanded = model->parameters.demanded_features;

    if ((model->accepted & ~model->parameters.offered_features) != 0) {
        viommu_model_violate(model, "features accepted that were not offered: 0x%" PRIx64,
                             model->accepted & ~model->parameters.offered_features);
        return false;
    }
    if ((model->accepted & ~implemented_features) != 0) {
        viommu_model_violate(model,
                             "features accepted that no driver of this device needs: "
                             "0x%" PRIx64,
                             model->accepted & ~implemented_features);
        return false;
    }
    if ((model->parameters.offered_features & VIOMMU_MODEL_F_VERSION_1) != 0 &&
        (model->accepted & VIOMMU_MODEL_F_VERSION_1) == 0) {
        viommu_model_violate(model, "VERSION_1 was not accepted");
        return false;
    }
    return (model->accepted & demanded) == demanded &&
           !viommu_model_misbehaves(model, VIOMMU_MODEL_REFUSE_FEATURES);
}

void viommu_model_write_status(struct viommu_model *model, uint8_t value)
{
    const uint8_t known =
        STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED;
    uint8_t old = model->status;
    uint8_t added;

    if (value == 0) {
        model->counters.resets++;
        model->resetting = true;
        model->reset_reads_left = model->parameters.reset_reads;
        if (model->reset_reads_left == 0 &&
            !viommu_model_misbehaves(model, VIOMMU_MODEL_RESET_HANGS)) {
            finish_reset(model);
        }
        return;
    }
    if (model->resetting || (old == 0 && !model->zero_was_read)) {
        viommu_model_violate(model, "status 0x%x written before a reset was seen to end", value);
    }
    if (model->resetting) {
        return;
    }
    /* NEEDS_RESET is the device's: it may have come up after the driver looked. */
    if ((old & ~value & ~STATUS_NEEDS_RESET & 0xff) != 0 &&
        !viommu_model_misbehaves(model, VIOMMU_MODEL_STATUS_IS)) {
        viommu_model_violate(model, "status 0x%x written over 0x%x: bits cleared", value, old);
    }
    added = (uint8_t)(value & ~old & 0xff);
    if ((added & ~known & 0xff) != 0) {
        viommu_model_violate(model, "status bits 0x%x written, which no driver may set", added);
        added &= known;
    }
    if ((added & STATUS_DRIVER) != 0 && (old & STATUS_ACKNOWLEDGE) == 0) {
        viommu_model_violate(model, "DRIVER before ACKNOWLEDGE");
    }
    if ((added & STATUS_FEATURES_OK) != 0) {
        if ((old & STATUS_DRIVER) == 0) {
            viommu_model_violate(model, "FEATURES_OK before DRIVER");
        }
        if (!features_are_fine(model)) {
            added &= (uint8_t)~STATUS_FEATURES_OK;
        }
    }
    if ((added & STATUS_DRIVER_OK) != 0) {
        if ((old & STATUS_FEATURES_OK) == 0) {
            viommu_model_violate(model, "DRIVER_OK before FEATURES_OK");
            added &= (uint8_t)~STATUS_DRIVER_OK;
        } else if (!model->features_were_read) {
            viommu_model_violate(model, "DRIVER_OK without having re-read FEATURES_OK");
        }
        if (!model->queues[VIOMMU_MODEL_REQUEST_QUEUE].enabled &&
            !viommu_model_misbehaves(model, VIOMMU_MODEL_QUEUE_READY)) {
            viommu_model_violate(model, "DRIVER_OK without a request queue");
        }
        viommu_model_check_vectors(model);
    }
    model->status |= added;
    for (unsigned int i = 0; (added & STATUS_DRIVER_OK) != 0 && i < MODEL_QUEUES; i++) {
        viommu_model_queue_started(model, i);
    }
}

uint32_t viommu_model_half(uint64_t value, uint64_t offset)
{
    return (uint32_t)(offset % 8 == 0 ? value & UINT32_MAX : value >> 32);
}

void viommu_model_set_half(uint64_t *value, uint64_t offset, uint32_t part)
{
    if (offset % 8 == 0) {
        *value = (*value & ~(uint64_t)UINT32_MAX) | part;
    } else {
        *value = (*value & UINT32_MAX) | (uint64_t)part << 32;
    }
}

uint32_t viommu_model_read_features(struct viommu_model *model)
{
    uint64_t offered = model->parameters.offered_features;
    uint64_t flicker = viommu_model_argument_of(model, VIOMMU_MODEL_FEATURES_FLICKER);

    if ((model->status & STATUS_DRIVER) == 0) {
        viommu_model_violate(model, "features read before DRIVER");
    }
    if (model->device_feature_select > 1) {
        return 0;
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_FEATURES_FLICKER)) {
        offered ^= flicker;
    }
    return viommu_model_half(offered, UINT64_C(4) * model->device_feature_select);
}

void viommu_model_write_features(struct viommu_model *model, uint32_t value)
{
    unsigned int shift = 32 * (model->driver_feature_select & 1);

    if ((model->status & STATUS_DRIVER) == 0 || (model->status & STATUS_FEATURES_OK) != 0) {
        viommu_model_violate(model, "features written before DRIVER or after FEATURES_OK");
        return;
    }
    if (model->driver_feature_select > 1) {
        if (value != 0) {
            viommu_model_violate(model, "features accepted that were not offered: word %" PRIu32,
                                 model->driver_feature_select);
        }
        return;
    }
    model->accepted &= ~((uint64_t)UINT32_MAX << shift);
    model->accepted |= (uint64_t)value << shift;
}

uint32_t viommu_model_read_generation(struct viommu_model *model)
{
    if (viommu_model_misbehaves(model, VIOMMU_MODEL_GENERATION_CHANGES) &&
        (viommu_model_argument_of(model, VIOMMU_MODEL_GENERATION_CHANGES) == 0 ||
         model->generation_reads_left > 0)) {
        model->generation++;
        if (model->generation_reads_left > 0) {
            model->generation_reads_left--;
        }
    }
    return model->generation;
}

/* ---- queues ---------------------------------------------------------------------------------- */

/* The largest size that a queue offers. */
uint16_t viommu_model_offered_size(const struct viommu_model *model, unsigned int number)
{
    return (uint16_t)viommu_model_lie_or(model, VIOMMU_MODEL_QUEUE_SIZE,
                                         model->parameters.queue_size[number]);
}

/* Only split rings depend on powers of two. */
static bool is_possible_size(const struct viommu_model *model, uint32_t value)
{
    return value != 0 && value <= MODEL_MAX_QUEUE_SIZE &&
           ((value & (value - 1)) == 0 || viommu_model_is_packed(model));
}

/* What the parts of a ring are like. */
struct layout {
    uint64_t driver_alignment;
    uint64_t driver_size;
    uint64_t device_size;
};

static struct layout layout_of(const struct viommu_model *model, uint64_t size)
{
    if (viommu_model_is_packed(model)) {
        return (struct layout){.driver_alignment = 4, .driver_size = 4, .device_size = 4};
    }
    return (struct layout){
        .driver_alignment = 2, .driver_size = 6 + 2 * size, .device_size = 6 + 8 * size};
}

/* Whether a ring lies in memory: the last bytes are looked at. */
static bool reachable(struct viommu_model *model, uint64_t physical, uint64_t size)
{
    uint16_t word;

    return physical <= UINT64_MAX - size && viommu_model_read_word(model, physical, &word) &&
           viommu_model_read_word(model, physical + size - 2, &word);
}

void viommu_model_enable_queue(struct viommu_model *model, struct model_queue *queue)
{
    uint16_t size =
        queue->size != 0 ? queue->size : viommu_model_offered_size(model, model->queue_select);
    struct layout layout = layout_of(model, size);

    if (!is_possible_size(model, size)) {
        viommu_model_violate(model, "queue enabled with size %u", size);
        return;
    }
    if (queue->descriptors % 16 != 0 || queue->driver % layout.driver_alignment != 0 ||
        queue->device % 4 != 0) {
        viommu_model_violate(model, "queue enabled with rings that are not aligned");
        return;
    }
    if (viommu_model_is_master(model) &&
        (!reachable(model, queue->descriptors, UINT64_C(16) * size) ||
         !reachable(model, queue->driver, layout.driver_size) ||
         !reachable(model, queue->device, layout.device_size))) {
        viommu_model_violate(model, "queue enabled with rings that are not in memory");
        return;
    }
    queue->size = size;
    queue->enabled = viommu_model_lie_or(model, VIOMMU_MODEL_QUEUE_READY, 1) != 0;
}

uint32_t viommu_model_queue_ready(const struct viommu_model *model, const struct model_queue *queue)
{
    return viommu_model_lie_or(model, VIOMMU_MODEL_QUEUE_READY, queue->enabled ? 1 : 0);
}

struct model_queue *viommu_model_queue_to_set(struct viommu_model *model, uint64_t offset)
{
    struct model_queue *queue;

    if ((model->status & STATUS_FEATURES_OK) == 0 || (model->status & STATUS_DRIVER_OK) != 0) {
        viommu_model_violate(model, "queue register %" PRIu64 " written %s", offset,
                             (model->status & STATUS_DRIVER_OK) != 0 ? "after DRIVER_OK"
                                                                     : "before FEATURES_OK");
        return NULL;
    }
    if (model->queue_select >= MODEL_QUEUES) {
        viommu_model_violate(model, "register of queue %" PRIu32 " written, which does not exist",
                             model->queue_select);
        return NULL;
    }
    queue = &model->queues[model->queue_select];
    if (queue->enabled) {
        viommu_model_violate(model, "queue register %" PRIu64 " written while the queue is on",
                             offset);
        return NULL;
    }
    return queue;
}

void viommu_model_set_queue_size(struct viommu_model *model, struct model_queue *queue,
                                 uint32_t value)
{
    if (!is_possible_size(model, value) ||
        value > viommu_model_offered_size(model, model->queue_select)) {
        viommu_model_violate(model, "queue size %" PRIu32, value);
        return;
    }
    queue->size = (uint16_t)value;
}

/* ---- knobs ----------------------------------------------------------------------------------- */

void viommu_model_set_processing(struct viommu_model *model,
                                 enum viommu_model_processing processing)
{
    model->processing = processing;
}

void viommu_model_set_order(struct viommu_model *model, enum viommu_model_order order,
                            uint32_t seed)
{
    model->order = order;
    model->random = seed != 0 ? seed : 1;
}

void viommu_model_set_delay(struct viommu_model *model, uint64_t ticks)
{
    model->delay = ticks;
}

void viommu_model_set_batch(struct viommu_model *model, uint16_t requests)
{
    model->batch = requests;
}

void viommu_model_hold(struct viommu_model *model, uint64_t nth)
{
    model->hold_in = nth;
}

void viommu_model_set_effect(struct viommu_model *model, enum viommu_model_effect effect)
{
    model->effect = effect;
}

void viommu_model_set_retain(struct viommu_model *model, bool retain)
{
    model->retain = retain;
}

uint8_t viommu_model_status(const struct viommu_model *model)
{
    return model->status;
}

uint64_t viommu_model_accepted_features(const struct viommu_model *model)
{
    return model->accepted;
}

void viommu_model_misbehave(struct viommu_model *model, enum viommu_model_misbehaviour what,
                            uint64_t nth, uint64_t argument)
{
    model->misbehaviours[what] =
        (struct model_misbehaviour){.on = true, .nth = nth, .argument = argument};
    if (what == VIOMMU_MODEL_NEEDS_RESET) {
        model->misbehaviours[what].on = false; /* it is done once */
        viommu_model_need_reset(model);
    }
    if (what == VIOMMU_MODEL_GENERATION_CHANGES) {
        model->generation_reads_left = argument;
    }
    viommu_model_build_capabilities(model);
}

void viommu_model_behave(struct viommu_model *model)
{
    memset(model->misbehaviours, 0, sizeof model->misbehaviours);
    model->script_count = 0;
    viommu_model_build_capabilities(model);
}
