/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The configuration structure of the model, which may change. See virtio_iommu_model.h. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>

enum {
    CONFIG_PAGE_SIZE_MASK = 0,
    CONFIG_INPUT_START = 8,
    CONFIG_INPUT_END = 16,
    CONFIG_DOMAIN_START = 24,
    CONFIG_DOMAIN_END = 28,
    CONFIG_PROBE_SIZE = 32,
    CONFIG_BYPASS = 36,
    CONFIG_SIZE = 40,
};

/* ---- changes --------------------------------------------------------------------------------- */

static void change(struct viommu_model *model)
{
    struct viommu_model_parameters *parameters = &model->parameters;
    const struct viommu_model_parameters *next = &model->next_config;

    parameters->page_size_mask = next->page_size_mask;
    parameters->input_start = next->input_start;
    parameters->input_end = next->input_end;
    parameters->domain_start = next->domain_start;
    parameters->domain_end = next->domain_end;
    parameters->probe_size = next->probe_size;
    model->generation++;
    if ((model->status & STATUS_DRIVER_OK) != 0) {
        viommu_model_raise_interrupt(model, MODEL_CONFIG);
    }
}

void viommu_model_change_config(struct viommu_model *model,
                                const struct viommu_model_parameters *next, uint64_t after_reads)
{
    model->next_config = *next;
    model->reads_to_change = after_reads;
    if (after_reads == 0) {
        change(model);
    }
}

static void count_down_to_change(struct viommu_model *model)
{
    if (model->reads_to_change > 0 && --model->reads_to_change == 0) {
        change(model);
    }
}

/* ---- accesses -------------------------------------------------------------------------------- */

static void fill_config(const struct viommu_model *model, uint8_t *bytes)
{
    const struct viommu_model_parameters *parameters = &model->parameters;

    viommu_model_put64(bytes + CONFIG_PAGE_SIZE_MASK, parameters->page_size_mask);
    viommu_model_put64(bytes + CONFIG_INPUT_START, parameters->input_start);
    viommu_model_put64(bytes + CONFIG_INPUT_END, parameters->input_end);
    viommu_model_put32(bytes + CONFIG_DOMAIN_START, parameters->domain_start);
    viommu_model_put32(bytes + CONFIG_DOMAIN_END, parameters->domain_end);
    viommu_model_put32(bytes + CONFIG_PROBE_SIZE, parameters->probe_size);
    bytes[CONFIG_BYPASS] =
        parameters->bypass_is_unsaid && !model->bypass_was_written ? 0 : model->bypass;
}

/* The feature that a field comes with; 0: every device has it. */
static uint64_t feature_of(uint64_t offset)
{
    if (offset >= CONFIG_BYPASS) {
        return VIOMMU_MODEL_F_BYPASS_CONFIG;
    }
    if (offset >= CONFIG_PROBE_SIZE) {
        return VIOMMU_MODEL_F_PROBE;
    }
    if (offset >= CONFIG_DOMAIN_START) {
        return VIOMMU_MODEL_F_DOMAIN_RANGE;
    }
    return offset >= CONFIG_INPUT_START ? VIOMMU_MODEL_F_INPUT_RANGE : 0;
}

/* false: there is nothing to read. */
static bool check_read(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    uint64_t feature = feature_of(offset);

    if (offset + width > model->parameters.config_length || offset + width > CONFIG_SIZE) {
        viommu_model_violate(model, "config read behind the end: offset %" PRIu64, offset);
        return false;
    }
    if ((model->status & STATUS_DRIVER) == 0) {
        viommu_model_violate(model, "config read before DRIVER");
    }
    if (width != (offset < CONFIG_BYPASS ? 4U : 1U) || offset % width != 0) {
        viommu_model_violate(model, "config read of %u bytes at offset %" PRIu64, width, offset);
    }
    if (feature != 0 && !viommu_model_offers(model, feature)) {
        viommu_model_violate(model, "config read of a field whose feature is not offered: %" PRIu64,
                             offset);
    }
    return true;
}

uint32_t viommu_model_device_read(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    uint64_t flicker = viommu_model_argument_of(model, VIOMMU_MODEL_CONFIG_FLICKERS);
    uint8_t bytes[CONFIG_SIZE] = {0};
    uint32_t value = 0;

    if (!check_read(model, offset, width)) {
        return 0;
    }
    fill_config(model, bytes);
    for (unsigned int i = width; i-- > 0;) {
        value = value << 8 | bytes[offset + i];
    }
    if (viommu_model_strikes(model, VIOMMU_MODEL_CONFIG_FLICKERS)) {
        value ^= (uint32_t)(flicker & viommu_model_all_ones(width));
    }
    count_down_to_change(model);
    return value;
}

void viommu_model_device_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                               uint32_t value)
{
    if (offset != CONFIG_BYPASS || width != 1) {
        viommu_model_violate(model, "config write of %u bytes at offset %" PRIu64, width, offset);
        return;
    }
    if ((model->status & STATUS_FEATURES_OK) == 0 ||
        !viommu_model_accepted(model, VIOMMU_MODEL_F_BYPASS_CONFIG)) {
        viommu_model_violate(model, "write to bypass without BYPASS_CONFIG negotiated");
        return;
    }
    if (value > 1) {
        viommu_model_violate(model, "write of %" PRIu32 " to bypass", value);
    }
    model->bypass = (uint8_t)(value & 1);
    model->bypass_was_written = true;
    model->counters.bypass_writes++;
    if (model->bypass == 0) {
        viommu_model_forget_unattached_identity(model);
    }
}
