/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * MSI-X of the model: the capability, the table and the pending bits in BAR 4, and the vectors of
 * virtio-pci. See virtio_iommu_model.h.
 */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>

enum {
    NO_VECTOR = 0xffff,

    CAPABILITY_ID = 0x11,
    CONTROL_MASKED = 0x4000,
    CONTROL_ENABLED = 0x8000,

    ENTRY_SIZE = 16,
    ENTRY_ADDRESS = 0, /* words of an entry */
    ENTRY_ADDRESS_HIGH = 1,
    ENTRY_DATA = 2,
    ENTRY_CONTROL = 3,
    ENTRY_IS_MASKED = 1,
};

static unsigned int vector_count(const struct viommu_model *model)
{
    unsigned int count = model->parameters.msix_vectors;

    return count < VIOMMU_MODEL_MSIX_MAX_VECTORS ? count : VIOMMU_MODEL_MSIX_MAX_VECTORS;
}

bool viommu_model_msix_is_on(const struct viommu_model *model)
{
    return (model->msix_control & CONTROL_ENABLED) != 0;
}

void viommu_model_msix_init(struct viommu_model *model)
{
    model->msix_control = 0;
    model->msix_pending = 0;
    for (unsigned int i = 0; i < VIOMMU_MODEL_MSIX_MAX_VECTORS; i++) {
        model->msix_table[i][ENTRY_ADDRESS] = 0;
        model->msix_table[i][ENTRY_ADDRESS_HIGH] = 0;
        model->msix_table[i][ENTRY_DATA] = 0;
        model->msix_table[i][ENTRY_CONTROL] = ENTRY_IS_MASKED;
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool is_masked(const struct viommu_model *model, unsigned int vector)
{
    return (model->msix_control & CONTROL_MASKED) != 0 ||
           (model->msix_table[vector][ENTRY_CONTROL] & ENTRY_IS_MASKED) != 0;
}

static void send(struct viommu_model *model, unsigned int vector)
{
    const uint32_t *entry = model->msix_table[vector];

    if (!viommu_model_is_master(model)) {
        return; /* a message is a write to memory */
    }
    model->counters.messages++;
    if (model->sink != NULL) {
        model->sink(model->sink_ctx,
                    entry[ENTRY_ADDRESS] | (uint64_t)entry[ENTRY_ADDRESS_HIGH] << 32,
                    entry[ENTRY_DATA]);
    }
}

void viommu_model_send_message(struct viommu_model *model, unsigned int source)
{
    uint16_t vector = model->vectors[source].number;

    if (vector == NO_VECTOR) {
        return;
    }
    if (is_masked(model, vector)) {
        model->msix_pending |= UINT64_C(1) << vector;
    } else {
        send(model, vector);
    }
}

/* Sends what was waiting behind a mask that is gone. */
static void send_pending(struct viommu_model *model)
{
    for (unsigned int i = 0; viommu_model_msix_is_on(model) && i < vector_count(model); i++) {
        if ((model->msix_pending >> i & 1) != 0 && !is_masked(model, i)) {
            model->msix_pending &= ~(UINT64_C(1) << i);
            send(model, i);
        }
    }
}

void viommu_model_on_message(struct viommu_model *model,
                             void (*sink)(void *ctx, uint64_t address, uint32_t data), void *ctx)
{
    model->sink = sink;
    model->sink_ctx = ctx;
}

/* ---- vectors --------------------------------------------------------------------------------- */

void viommu_model_reset_vectors(struct viommu_model *model)
{
    for (unsigned int i = 0; i < MODEL_SOURCES; i++) {
        model->vectors[i] = (struct model_vector){.number = NO_VECTOR};
    }
}

uint32_t viommu_model_read_vector(struct viommu_model *model, unsigned int source)
{
    model->vectors[source].unread = false;
    return model->vectors[source].number;
}

void viommu_model_write_vector(struct viommu_model *model, unsigned int source, uint32_t value)
{
    struct model_vector *vector = &model->vectors[source];

    *vector = (struct model_vector){.number = NO_VECTOR};
    if (value == NO_VECTOR) {
        return;
    }
    if (model->parameters.msix_vectors == 0) {
        viommu_model_violate(model, "an MSI-X vector without MSI-X");
        return;
    }
    vector->unread = true;
    if (value >= vector_count(model)) {
        viommu_model_violate(model, "MSI-X vector %" PRIu32 ", which does not exist", value);
    } else if (!viommu_model_strikes(model, VIOMMU_MODEL_NO_VECTORS)) {
        vector->number = (uint16_t)value;
    }
}

void viommu_model_check_vectors(struct viommu_model *model)
{
    for (unsigned int i = 0; i < MODEL_SOURCES; i++) {
        if (model->vectors[i].unread) {
            viommu_model_violate(model, "DRIVER_OK without having read back a vector");
        }
    }
}

/* ---- the table and the pending bits ---------------------------------------------------------- */

bool viommu_model_msix_has(const struct viommu_model *model, uint64_t offset)
{
    uint64_t count = vector_count(model);

    return (offset >= VIOMMU_MODEL_MSIX_TABLE_OFFSET &&
            offset < VIOMMU_MODEL_MSIX_TABLE_OFFSET + ENTRY_SIZE * count) ||
           (count > 0 && offset >= VIOMMU_MODEL_MSIX_PENDING_OFFSET &&
            offset < VIOMMU_MODEL_MSIX_PENDING_OFFSET + 8);
}

static bool access_is_fine(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (width == 4) {
        return true;
    }
    viommu_model_violate(model, "MSI-X access of %u bytes at offset 0x%" PRIx64, width, offset);
    return false;
}

uint32_t viommu_model_msix_read(struct viommu_model *model, uint64_t offset, unsigned int width)
{
    if (!access_is_fine(model, offset, width)) {
        return viommu_model_all_ones(width);
    }
    if (offset >= VIOMMU_MODEL_MSIX_PENDING_OFFSET) {
        return viommu_model_half(model->msix_pending, offset);
    }
    offset -= VIOMMU_MODEL_MSIX_TABLE_OFFSET;
    return model->msix_table[offset / ENTRY_SIZE][offset % ENTRY_SIZE / 4];
}

void viommu_model_msix_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                             uint32_t value)
{
    uint64_t vector = (offset - VIOMMU_MODEL_MSIX_TABLE_OFFSET) / ENTRY_SIZE;
    unsigned int word = offset % ENTRY_SIZE / 4;

    if (!access_is_fine(model, offset, width)) {
        return;
    }
    if (offset >= VIOMMU_MODEL_MSIX_PENDING_OFFSET) {
        viommu_model_violate(model, "write to the pending bits of MSI-X");
        return;
    }
    if (word == ENTRY_CONTROL) {
        value &= ENTRY_IS_MASKED;
    } else if (viommu_model_msix_is_on(model) && !is_masked(model, (unsigned int)vector)) {
        viommu_model_violate(model, "MSI-X entry %" PRIu64 " changed while it is not masked",
                             vector);
    }
    if (word == ENTRY_ADDRESS && value % 4 != 0) {
        viommu_model_violate(model, "MSI-X entry %" PRIu64 " with an unaligned address", vector);
    }
    model->msix_table[vector][word] = value;
    send_pending(model);
}

/* ---- the capability -------------------------------------------------------------------------- */

void viommu_model_put_msix_capability(const struct viommu_model *model, uint8_t *bytes)
{
    uint32_t last = viommu_model_lie_or(model, VIOMMU_MODEL_MSIX_SIZE, vector_count(model) - 1);
    uint32_t table = viommu_model_lie_or(model, VIOMMU_MODEL_MSIX_TABLE,
                                         VIOMMU_MODEL_MSIX_TABLE_OFFSET | VIOMMU_MODEL_BAR);

    bytes[0] = CAPABILITY_ID;
    viommu_model_put16(bytes + 2, (uint16_t)(model->msix_control | (last & 0x7ff)));
    viommu_model_put32(bytes + 4, table);
    viommu_model_put32(bytes + 8, VIOMMU_MODEL_MSIX_PENDING_OFFSET | VIOMMU_MODEL_BAR);
}

void viommu_model_write_msix_control(struct viommu_model *model, uint16_t value)
{
    model->msix_control = value & (CONTROL_MASKED | CONTROL_ENABLED);
    send_pending(model);
}
