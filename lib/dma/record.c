/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The record of a space that is debugged: who has mapped what, by granules. It is under the space's
 * lock; what is logged is a copy.
 */

#include "dma.h"

static const char *const direction_names[] = {"both ways", "to the device", "from the device"};
static const char *const kind_names[] = {"single", "resource", "sg", "alloc", "reserve"};

static struct record *record_of(struct range_node *node)
{
    return node != NULL ? RANGE_TREE_ENTRY(node, struct record, node) : NULL;
}

int piommu_dma_record_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                       enum piommu_dma_direction direction, enum record_kind kind)
{
    struct piommu_dma_space *space = device->space;
    struct span span = span_of(space, address, size);
    struct record *record;
    unsigned long state;

    if (!space->debug) {
        return 0;
    }
    record = piommu_host_alloc_(space->host, sizeof(*record));
    if (record == NULL) {
        return -PIOMMU_ENOMEM;
    }
    record->node.first = span.first;
    record->node.last = span.first + (span.size - 1);
    record->device = device;
    record->address = address;
    record->size = size;
    record->direction = direction;
    record->kind = kind;
    state = space_lock(space);
    (void)piommu_range_tree_insert_(&space->records, &record->node);
    space_unlock(space, state);
    return 0;
}

/* A copy of the record in whose granules an address lies. */
static bool find(struct piommu_dma_space *space, uint64_t address, struct record *found)
{
    unsigned long state = space_lock(space);
    const struct record *record = record_of(piommu_range_tree_from_(&space->records, address));
    bool any = record != NULL && record->node.first <= address;

    if (any) {
        *found = *record;
    }
    space_unlock(space, state);
    return any;
}

static const char *name_of(const struct piommu_dma_device *device)
{
    return device->name != NULL ? device->name : "a device";
}

static void log_mapping(struct piommu_dma_device *device, const char *what,
                        const struct record *record)
{
    const struct piommu_host host = device->space->host;
    struct piommu_text text;

    if (host.os->log != NULL) {
        piommu_text_begin(&text);
        piommu_text_put_(&text, "dma: %s: %s %x, size %x, %s, %s", name_of(device), what,
                         record->address, record->size, direction_names[record->direction],
                         kind_names[record->kind]);
        host.os->log(host.ctx, PIOMMU_LOG_ERROR, text.line);
    }
}

static int complain_of_nothing(struct piommu_dma_device *device, const struct record *record,
                               const char *what)
{
    log_mapping(device, what, record);
    piommu_host_log_(device->space->host, PIOMMU_LOG_ERROR, "dma: nothing is mapped there", 0, 0,
                     0);
    return -PIOMMU_ENOENT;
}

static int complain(struct piommu_dma_device *device, const struct record *record, const char *what,
                    const struct record *found)
{
    log_mapping(device, what, record);
    log_mapping(found->device, "has mapped", found);
    return -PIOMMU_EINVAL;
}

int piommu_dma_check_record_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                             enum piommu_dma_direction direction, enum record_kind kind)
{
    const struct record record = {
        .device = device, .address = address, .size = size, .direction = direction, .kind = kind};
    struct record found;

    if (!device->space->debug) {
        return 0;
    }
    if (!find(device->space, address, &found)) {
        return complain_of_nothing(device, &record, "unmap of");
    }
    if (found.device != device || found.address != address || found.size != size ||
        found.direction != direction || found.kind != kind) {
        return complain(device, &record, "unmap of", &found);
    }
    return 0;
}

int piommu_dma_check_part_(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                           enum piommu_dma_direction direction)
{
    const struct record part = {.device = device,
                                .address = address,
                                .size = size,
                                .direction = direction,
                                .kind = RECORD_SINGLE};
    struct record found;

    if (!device->space->debug) {
        return 0;
    }
    if (!find(device->space, address, &found)) {
        return complain_of_nothing(device, &part, "sync of");
    }
    if (found.device != device || address < found.address ||
        address + (size - 1) > found.address + (found.size - 1) ||
        (direction != found.direction && found.direction != PIOMMU_DMA_BIDIRECTIONAL)) {
        return complain(device, &part, "sync of", &found);
    }
    return 0;
}

void piommu_dma_drop_record_(struct piommu_dma_device *device, uint64_t address)
{
    struct piommu_dma_space *space = device->space;
    struct record *gone;
    unsigned long state;

    if (!space->debug) {
        return;
    }
    state = space_lock(space);
    gone = record_of(piommu_range_tree_from_(&space->records, address));
    if (gone != NULL) {
        piommu_range_tree_remove_(&space->records, &gone->node);
    }
    space_unlock(space, state);
    piommu_host_free_(space->host, gone, sizeof(*gone));
}

void piommu_dma_drop_records_(struct piommu_dma_device *device)
{
    struct piommu_dma_space *space = device->space;
    struct range_node *node = piommu_range_tree_from_(&space->records, 0);

    while (node != NULL) {
        struct record *record = record_of(node);

        node = piommu_range_tree_next_(node);
        if (record->device == device) {
            log_mapping(device, "is removed, and still has mapped", record);
            piommu_range_tree_remove_(&space->records, &record->node);
            piommu_host_free_(space->host, record, sizeof(*record));
        }
    }
}
