/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Descriptor chains of the model's rings, direct and indirect. See virtio_iommu_model.h. */

#include "virtio_iommu_model.h"
#include "virtio_iommu_model_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    DESCRIPTOR_SIZE = 16,
    DESCRIPTOR_NEXT = 1,
    DESCRIPTOR_WRITE = 2,
    DESCRIPTOR_INDIRECT = 4,
};

static bool read_memory(struct viommu_model *model, uint64_t physical, void *buffer, size_t size)
{
    return model->memory.read(model->memory.ctx, physical, buffer, size);
}

bool viommu_model_write_memory(struct viommu_model *model, uint64_t physical, const void *buffer,
                               size_t size)
{
    return model->memory.write(model->memory.ctx, physical, buffer, size);
}

bool viommu_model_read_word(struct viommu_model *model, uint64_t physical, uint16_t *value)
{
    uint8_t bytes[2];

    if (!read_memory(model, physical, bytes, sizeof bytes)) {
        return false;
    }
    *value = viommu_model_get16(bytes);
    return true;
}

static uint16_t flags_of(const uint8_t *descriptor)
{
    return viommu_model_get16(descriptor + 12);
}

static uint16_t next_of(const uint8_t *descriptor)
{
    return viommu_model_get16(descriptor + 14);
}

/* ---- fetching -------------------------------------------------------------------------------- */

/* The functions here return NULL, or what is wrong with the chain. */

static const char *add_segment(struct model_chain *chain, const uint8_t *descriptor)
{
    struct model_segment segment = {.address = viommu_model_get64(descriptor),
                                    .length = viommu_model_get32(descriptor + 8)};

    if (segment.length == 0) {
        return "a descriptor of length 0";
    }
    if (chain->readable_count + chain->writable_count == MODEL_MAX_CHAIN) {
        return "a chain of more than 16 buffers";
    }
    if ((flags_of(descriptor) & DESCRIPTOR_WRITE) != 0) {
        chain->writable[chain->writable_count++] = segment;
        chain->writable_length += segment.length;
    } else if (chain->writable_count > 0) {
        return "a readable descriptor behind a writable one";
    } else {
        chain->readable[chain->readable_count++] = segment;
        chain->readable_length += segment.length;
    }
    return NULL;
}

/* Follows the descriptors of an indirect table. */
static const char *follow_table(struct model_chain *chain)
{
    size_t entries = chain->table_length / DESCRIPTOR_SIZE;
    uint16_t index = 0;

    for (size_t seen = 0; seen < entries; seen++) {
        const uint8_t *descriptor = chain->table + (size_t)index * DESCRIPTOR_SIZE;
        const char *mistake;

        if ((flags_of(descriptor) & DESCRIPTOR_INDIRECT) != 0) {
            return "an indirect table in an indirect table";
        }
        if ((flags_of(descriptor) & ~(DESCRIPTOR_NEXT | DESCRIPTOR_WRITE)) != 0) {
            return "descriptor flags that were not negotiated";
        }
        mistake = add_segment(chain, descriptor);
        if (mistake != NULL || (flags_of(descriptor) & DESCRIPTOR_NEXT) == 0) {
            return mistake;
        }
        index = next_of(descriptor);
        if (index >= entries) {
            return "an indirect table that leads out of itself";
        }
    }
    return "an indirect table that goes in circles";
}

/* The flag that says who writes means nothing for the descriptor of a table. */
static const char *add_table(struct viommu_model *model, const struct model_queue *queue,
                             struct model_chain *chain, const uint8_t *descriptor)
{
    uint32_t length = viommu_model_get32(descriptor + 8);

    if ((flags_of(descriptor) & DESCRIPTOR_NEXT) != 0) {
        return "a descriptor that is indirect and has a next one";
    }
    if (length == 0 || length % DESCRIPTOR_SIZE != 0) {
        return "an indirect table whose length is no multiple of 16";
    }
    if (length / DESCRIPTOR_SIZE > queue->size) {
        return "an indirect table that is longer than the queue";
    }
    chain->table = malloc(length);
    if (chain->table == NULL) {
        abort(); /* a test machine without memory proves nothing */
    }
    chain->table_address = viommu_model_get64(descriptor);
    chain->table_length = length;
    if (!read_memory(model, chain->table_address, chain->table, length)) {
        return "an indirect table that is not in memory";
    }
    return follow_table(chain);
}

static const char *add_descriptor(struct viommu_model *model, struct model_queue *queue,
                                  struct model_chain *chain, uint16_t id)
{
    uint8_t *bytes = chain->descriptors[chain->count];
    unsigned int known = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE;

    if (!read_memory(model, queue->descriptors + (uint64_t)id * DESCRIPTOR_SIZE, bytes,
                     DESCRIPTOR_SIZE)) {
        return "the descriptor table is not in memory";
    }
    queue->in_flight[id] = true;
    chain->ids[chain->count++] = id;
    if (viommu_model_accepted(model, VIOMMU_MODEL_F_INDIRECT_DESC)) {
        known |= DESCRIPTOR_INDIRECT;
    }
    if ((flags_of(bytes) & ~known) != 0) {
        return "descriptor flags that were not negotiated";
    }
    return (flags_of(bytes) & DESCRIPTOR_INDIRECT) != 0 ? add_table(model, queue, chain, bytes)
                                                        : add_segment(chain, bytes);
}

const char *viommu_model_fetch_chain(struct viommu_model *model, struct model_queue *queue,
                                     struct model_chain *chain)
{
    uint16_t id;
    uint64_t slot = queue->fetched % queue->size;

    if (!viommu_model_read_word(model, queue->driver + 4 + 2 * slot, &id)) {
        return "the available ring is not in memory";
    }
    for (;;) {
        const uint8_t *bytes;
        const char *mistake;

        if (id >= queue->size) {
            return "a descriptor number that does not exist";
        }
        if (queue->in_flight[id]) {
            return "a descriptor that is in flight already";
        }
        if (chain->count == MODEL_MAX_CHAIN) {
            return "a chain of more than 16 descriptors";
        }
        mistake = add_descriptor(model, queue, chain, id);
        if (mistake != NULL) {
            return mistake;
        }
        bytes = chain->descriptors[chain->count - 1];
        if ((flags_of(bytes) & DESCRIPTOR_NEXT) == 0) {
            return NULL;
        }
        id = next_of(bytes);
    }
}

/* ---- using ----------------------------------------------------------------------------------- */

/* Copies the start of a request. false: it is not in memory. */
bool viommu_model_read_request(struct viommu_model *model, const struct model_chain *chain,
                               uint8_t *bytes, size_t *length)
{
    *length = 0;
    for (size_t i = 0; i < chain->readable_count && *length < MODEL_MAX_READABLE; i++) {
        size_t part = chain->readable[i].length;

        if (part > MODEL_MAX_READABLE - *length) {
            part = MODEL_MAX_READABLE - *length;
        }
        if (!read_memory(model, chain->readable[i].address, bytes + *length, part)) {
            return false;
        }
        *length += part;
    }
    return true;
}

bool viommu_model_write_buffer(struct viommu_model *model, const struct model_chain *chain,
                               size_t offset, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < chain->writable_count && size > 0; i++) {
        size_t length = chain->writable[i].length;
        size_t part;

        if (offset >= length) {
            offset -= length;
            continue;
        }
        part = length - offset < size ? length - offset : size;
        if (!viommu_model_write_memory(model, chain->writable[i].address + offset, bytes, part)) {
            return false;
        }
        bytes += part;
        size -= part;
        offset = 0;
    }
    return true;
}

static bool table_is_untouched(struct viommu_model *model, const struct model_chain *chain)
{
    uint8_t descriptor[DESCRIPTOR_SIZE];

    for (uint32_t i = 0; i < chain->table_length; i += DESCRIPTOR_SIZE) {
        if (!read_memory(model, chain->table_address + i, descriptor, sizeof descriptor) ||
            memcmp(descriptor, chain->table + i, sizeof descriptor) != 0) {
            return false;
        }
    }
    return true;
}

/* What was announced belongs to the device: the driver must not have changed it since. */
void viommu_model_check_untouched(struct viommu_model *model, const struct model_queue *queue,
                                  const struct model_pending *pending)
{
    const struct model_chain *chain = &pending->chain;
    uint8_t request[MODEL_MAX_READABLE];
    uint8_t descriptor[DESCRIPTOR_SIZE];
    size_t length;

    for (size_t i = 0; i < chain->count; i++) {
        uint64_t id = chain->ids[i];

        if (!read_memory(model, queue->descriptors + id * DESCRIPTOR_SIZE, descriptor,
                         sizeof descriptor) ||
            memcmp(descriptor, chain->descriptors[i], sizeof descriptor) != 0) {
            viommu_model_violate(model, "descriptor %" PRIu64 " was changed in flight", id);
        }
    }
    if (chain->table_length > 0 && !table_is_untouched(model, chain)) {
        viommu_model_violate(model, "an indirect table was changed in flight");
    }
    if (!viommu_model_read_request(model, chain, request, &length) ||
        length != pending->request_length || memcmp(request, pending->request, length) != 0) {
        viommu_model_violate(model, "a request of type %u was changed in flight",
                             pending->request[0]);
    }
}

void viommu_model_scribble(struct viommu_model *model, const struct model_queue *queue,
                           const struct model_chain *chain)
{
    uint8_t bytes[DESCRIPTOR_SIZE];

    memset(bytes, 0xff, sizeof bytes);
    for (size_t i = 0; i < chain->count; i++) {
        (void)viommu_model_write_memory(
            model, queue->descriptors + (uint64_t)chain->ids[i] * DESCRIPTOR_SIZE, bytes,
            sizeof bytes);
    }
    for (uint32_t i = 0; i < chain->table_length; i += DESCRIPTOR_SIZE) {
        (void)viommu_model_write_memory(model, chain->table_address + i, bytes, sizeof bytes);
    }
}

void viommu_model_release_chain(struct model_queue *queue, const struct model_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        queue->in_flight[chain->ids[i]] = false;
    }
}
