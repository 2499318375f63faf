/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Descriptor chains of the model's rings, direct and indirect, split and packed. See
 * virtio_iommu_model.h.
 */

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

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next; /* of split rings */
    uint16_t id;   /* of packed rings */
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

/* What both kinds of rings have, they have in another order. */
static struct descriptor parse(const struct viommu_model *model, const uint8_t *bytes)
{
    struct descriptor descriptor = {.address = viommu_model_get64(bytes),
                                    .length = viommu_model_get32(bytes + 8)};
    uint16_t first = viommu_model_get16(bytes + 12);
    uint16_t second = viommu_model_get16(bytes + 14);

    if (viommu_model_is_packed(model)) {
        descriptor.id = first;
        descriptor.flags = second;
    } else {
        descriptor.flags = first;
        descriptor.next = second;
    }
    return descriptor;
}

/* ---- fetching -------------------------------------------------------------------------------- */

/* The functions here return NULL, or what is wrong with the chain. */

static const char *add_segment(struct model_chain *chain, const struct descriptor *descriptor)
{
    struct model_segment segment = {.address = descriptor->address, .length = descriptor->length};

    if (segment.length == 0) {
        return "a descriptor of length 0";
    }
    if (chain->readable_count + chain->writable_count == MODEL_MAX_CHAIN) {
        return "a chain of more than 16 buffers";
    }
    if ((descriptor->flags & DESCRIPTOR_WRITE) != 0) {
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

static const char *add_entry(struct model_chain *chain, const struct descriptor *entry,
                             unsigned int known_flags)
{
    if ((entry->flags & DESCRIPTOR_INDIRECT) != 0) {
        return "an indirect table in an indirect table";
    }
    if ((entry->flags & ~known_flags) != 0) {
        return "descriptor flags that were not negotiated";
    }
    return add_segment(chain, entry);
}

/* Follows the descriptors of an indirect table. */
static const char *follow_table(const struct viommu_model *model, struct model_chain *chain)
{
    size_t entries = chain->table_length / DESCRIPTOR_SIZE;
    uint16_t index = 0;

    for (size_t seen = 0; seen < entries; seen++) {
        struct descriptor entry = parse(model, chain->table + (size_t)index * DESCRIPTOR_SIZE);
        const char *mistake = add_entry(chain, &entry, DESCRIPTOR_NEXT | DESCRIPTOR_WRITE);

        if (mistake != NULL || (entry.flags & DESCRIPTOR_NEXT) == 0) {
            return mistake;
        }
        index = entry.next;
        if (index >= entries) {
            return "an indirect table that leads out of itself";
        }
    }
    return "an indirect table that goes in circles";
}

/* In a packed ring all entries of a table count, one behind the other. */
static const char *read_table(const struct viommu_model *model, struct model_chain *chain)
{
    const char *mistake = NULL;

    for (uint32_t i = 0; mistake == NULL && i < chain->table_length; i += DESCRIPTOR_SIZE) {
        struct descriptor entry = parse(model, chain->table + i);

        mistake = add_entry(chain, &entry, DESCRIPTOR_WRITE);
    }
    return mistake;
}

/* The flag that says who writes means nothing for the descriptor of a table. */
static const char *add_table(struct viommu_model *model, const struct model_queue *queue,
                             struct model_chain *chain, const struct descriptor *descriptor)
{
    if ((descriptor->flags & DESCRIPTOR_NEXT) != 0) {
        return "a descriptor that is indirect and has a next one";
    }
    if (descriptor->length == 0 || descriptor->length % DESCRIPTOR_SIZE != 0) {
        return "an indirect table whose length is no multiple of 16";
    }
    if (descriptor->length / DESCRIPTOR_SIZE > queue->size) {
        return "an indirect table that is longer than the queue";
    }
    chain->table = malloc(descriptor->length);
    if (chain->table == NULL) {
        abort(); /* a test machine without memory proves nothing */
    }
    chain->table_address = descriptor->address;
    chain->table_length = descriptor->length;
    if (!read_memory(model, chain->table_address, chain->table, chain->table_length)) {
        return "an indirect table that is not in memory";
    }
    if (!viommu_model_is_packed(model)) {
        return follow_table(model, chain);
    }
    return chain->count > 1 ? "an indirect table behind other descriptors"
                            : read_table(model, chain);
}

/* Takes the descriptor of a slot of the ring into the chain. */
static const char *add_descriptor(struct viommu_model *model, const struct model_queue *queue,
                                  struct model_chain *chain, uint16_t slot,
                                  struct descriptor *descriptor)
{
    uint8_t *bytes = chain->descriptors[chain->count];
    unsigned int known = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE;

    if (chain->count == MODEL_MAX_CHAIN) {
        return "a chain of more than 16 descriptors";
    }
    if (!read_memory(model, queue->descriptors + (uint64_t)slot * DESCRIPTOR_SIZE, bytes,
                     DESCRIPTOR_SIZE)) {
        return "the descriptor table is not in memory";
    }
    chain->slots[chain->count++] = slot;
    *descriptor = parse(model, bytes);
    if (viommu_model_accepted(model, VIOMMU_MODEL_F_INDIRECT_DESC)) {
        known |= DESCRIPTOR_INDIRECT;
    }
    if (viommu_model_is_packed(model)) {
        known |= MODEL_PACKED_AVAILABLE | MODEL_PACKED_USED;
    }
    if ((descriptor->flags & ~known) != 0) {
        return "descriptor flags that were not negotiated";
    }
    return (descriptor->flags & DESCRIPTOR_INDIRECT) != 0
               ? add_table(model, queue, chain, descriptor)
               : add_segment(chain, descriptor);
}

static const char *fetch_split(struct viommu_model *model, struct model_queue *queue,
                               struct model_chain *chain)
{
    struct descriptor descriptor = {.flags = DESCRIPTOR_NEXT};
    uint64_t entry = queue->fetched % queue->size;

    if (!viommu_model_read_word(model, queue->driver + 4 + 2 * entry, &descriptor.next)) {
        return "the available ring is not in memory";
    }
    chain->id = descriptor.next;
    while ((descriptor.flags & DESCRIPTOR_NEXT) != 0) {
        uint16_t slot = descriptor.next;
        const char *mistake;

        if (slot >= queue->size) {
            return "a descriptor number that does not exist";
        }
        if (queue->in_flight[slot]) {
            return "a descriptor that is in flight already";
        }
        queue->in_flight[slot] = true;
        mistake = add_descriptor(model, queue, chain, slot, &descriptor);
        if (mistake != NULL) {
            return mistake;
        }
    }
    return NULL;
}

/* The id of the last descriptor is the chain's; those of the others mean nothing. */
static const char *fetch_packed(struct viommu_model *model, struct model_queue *queue,
                                struct model_chain *chain)
{
    struct descriptor descriptor = {.flags = DESCRIPTOR_NEXT};

    while ((descriptor.flags & DESCRIPTOR_NEXT) != 0) {
        uint16_t slot = viommu_model_packed_slot(queue, queue->fetched_place);
        const char *mistake = add_descriptor(model, queue, chain, slot, &descriptor);

        if (mistake != NULL) {
            return mistake;
        }
        if (!viommu_model_packed_is_available(queue, queue->fetched_place, descriptor.flags)) {
            return "a chain that was made available before all of its descriptors were";
        }
        queue->known_flags[slot] = descriptor.flags;
        queue->fetched_place++;
    }
    if (descriptor.id >= queue->size) {
        return "a buffer id that does not exist";
    }
    if (queue->in_flight[descriptor.id]) {
        return "a buffer id that is in flight already";
    }
    queue->in_flight[descriptor.id] = true;
    chain->id = descriptor.id;
    return NULL;
}

const char *viommu_model_fetch_chain(struct viommu_model *model, struct model_queue *queue,
                                     struct model_chain *chain)
{
    const char *mistake = viommu_model_is_packed(model) ? fetch_packed(model, queue, chain)
                                                        : fetch_split(model, queue, chain);

    queue->fetched++;
    return mistake;
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
        uint64_t slot = chain->slots[i];

        if (!chain->given_up[i] &&
            (!read_memory(model, queue->descriptors + slot * DESCRIPTOR_SIZE, descriptor,
                          sizeof descriptor) ||
             memcmp(descriptor, chain->descriptors[i], sizeof descriptor) != 0)) {
            viommu_model_violate(model, "descriptor %" PRIu64 " was changed in flight", slot);
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

/*
 * What says whose a descriptor of a packed ring is stays: the device goes by it, too. Slots that
 * are the driver's again may hold used entries.
 */
void viommu_model_scribble_slots(struct viommu_model *model, struct model_queue *queue,
                                 struct model_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        uint8_t bytes[DESCRIPTOR_SIZE];
        uint16_t slot = chain->slots[i];

        memset(bytes, 0xff, sizeof bytes);
        if (viommu_model_is_packed(model)) {
            uint16_t kept = MODEL_PACKED_AVAILABLE | MODEL_PACKED_USED;

            if (chain->given_up[i]) {
                continue;
            }
            kept &= viommu_model_get16(chain->descriptors[i] + 14);
            queue->known_flags[slot] = MODEL_PACKED_OTHER_FLAGS | kept;
            viommu_model_put16(bytes + 14, queue->known_flags[slot]);
            chain->given_up[i] = true;
        }
        (void)viommu_model_write_memory(
            model, queue->descriptors + (uint64_t)slot * DESCRIPTOR_SIZE, bytes, sizeof bytes);
    }
}

void viommu_model_scribble(struct viommu_model *model, struct model_queue *queue,
                           struct model_chain *chain)
{
    uint8_t bytes[DESCRIPTOR_SIZE];

    viommu_model_scribble_slots(model, queue, chain);
    memset(bytes, 0xff, sizeof bytes);
    for (uint32_t i = 0; i < chain->table_length; i += DESCRIPTOR_SIZE) {
        (void)viommu_model_write_memory(model, chain->table_address + i, bytes, sizeof bytes);
    }
}

void viommu_model_release_chain(const struct viommu_model *model, struct model_queue *queue,
                                const struct model_chain *chain)
{
    if (viommu_model_is_packed(model)) {
        queue->in_flight[chain->id] = false;
        return;
    }
    for (size_t i = 0; i < chain->count; i++) {
        queue->in_flight[chain->slots[i]] = false;
    }
}
