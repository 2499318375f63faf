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

int piommu_dma_record_(struct piommu_dma_device *device, const struct record *record)
{
    struct piommu_dma_space *space = device->space;
    struct span span = span_of(space, record->address, record->size);
    struct record *copy;
    unsigned long state;

    if (!space->debug) {
        return 0;
    }
    copy = piommu_host_alloc_(space->host, sizeof(*copy));
    if (copy == NULL) {
        return -PIOMMU_ENOMEM;
    }
    *copy = *record;
    copy->node.first = span.first;
    copy->node.last = span.first + (span.size - 1);
    state = space_lock(space);
    (void)piommu_range_tree_insert_(&space->records, &copy->node);
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
    piommu_host_log_(device->space->host, PIOMMU_LOG_ERROR, "dma: %s: %s %x, size %x, %s, %s",
                     name_of(device), what, record->address, record->size,
                     direction_names[record->direction], kind_names[record->kind]);
}

static int complain_of_nothing(struct piommu_dma_device *device, const struct record *record,
                               const char *what)
{
    log_mapping(device, what, record);
    piommu_host_log_(device->space->host, PIOMMU_LOG_ERROR, "dma: nothing is mapped there");
    return -PIOMMU_ENOENT;
}

static int complain(struct piommu_dma_device *device, const struct record *record, const char *what,
                    const struct record *found)
{
    log_mapping(device, what, record);
    log_mapping(found->device, "has mapped", found);
    return -PIOMMU_EINVAL;
}

int piommu_dma_check_record_(struct piommu_dma_device *device, const struct record *record)
{
    struct record found;

    if (!device->space->debug) {
        return 0;
    }
    if (!find(device->space, record->address, &found)) {
        return complain_of_nothing(device, record, "unmap of");
    }
    if (found.device != record->device || found.address != record->address ||
        found.size != record->size || found.direction != record->direction ||
        found.kind != record->kind) {
        return complain(device, record, "unmap of", &found);
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

void piommu_dma_drop_record_(struct piommu_dma_device *device, const struct record *record)
{
    struct piommu_dma_space *space = device->space;
    struct record *gone;
    unsigned long state;

    if (!space->debug) {
        return;
    }
    state = space_lock(space);
    gone = record_of(piommu_range_tree_from_(&space->records, record->address));
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
