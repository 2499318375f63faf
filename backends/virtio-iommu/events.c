/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Fault reports. */

#include "unit.h"

/* So that the number of reports fits the return value, whatever budget the caller has. */
#define MAX_HANDLED 65536u

static void post_event(struct virtio_iommu *unit, uint16_t number)
{
    struct piommu_virtio_buffer buffer = {.physical =
                                              unit->event_physical + number * EVENT_SLOT_SIZE,
                                          .size = FAULT_SIZE,
                                          .writable = true};
    uint16_t head;

    /* Cannot fail: there are not more buffers than entries of the ring. */
    if (piommu_virtqueue_add(unit->events, &buffer, 1, &head) == 0) {
        unit->event_slot_of_head[head] = number;
    }
}

void piommu_virtio_iommu_post_events_(struct virtio_iommu *unit)
{
    for (uint16_t i = 0; i < unit->event_count; i++) {
        post_event(unit, i);
    }
}

/* Decodes a report that was copied; false if it is to be ignored. */
static bool decode(const uint8_t *report, struct piommu_backend_fault *fault)
{
    uint32_t flags = piommu_get_le32(report + FAULT_FLAGS);

    /* A driver must ignore reports with reserved bits set (5.13.6.9.1). */
    if (report[FAULT_RESERVED] != 0 || report[FAULT_RESERVED + 1] != 0 ||
        report[FAULT_RESERVED + 2] != 0) {
        return false;
    }
    fault->id = piommu_get_le32(report + FAULT_ENDPOINT);
    fault->iova = piommu_get_le64(report + FAULT_ADDRESS);
    fault->iova_valid = (flags & FAULT_F_ADDRESS) != 0;
    fault->read = (flags & FAULT_F_READ) != 0;
    fault->write = (flags & FAULT_F_WRITE) != 0;
    fault->raw = report[FAULT_REASON] | (flags << 8);
    switch (report[FAULT_REASON]) {
    case FAULT_R_DOMAIN:
        fault->reason = PIOMMU_FAULT_BLOCKED;
        break;
    case FAULT_R_MAPPING:
        fault->reason = PIOMMU_FAULT_MAPPING;
        break;
    default:
        fault->reason = PIOMMU_FAULT_UNKNOWN;
        break;
    }
    return true;
}

/* Takes in one report, and gives its buffer back. 1; 0: there is none; or an error. */
static int take_report(struct virtio_iommu *unit)
{
    struct piommu_backend_fault fault = {.domain = NULL};
    uint8_t report[FAULT_SIZE];
    uint16_t head;
    uint32_t length;
    const uint8_t *buffer;
    int taken = piommu_virtqueue_take(unit->events, &head, &length);

    if (taken <= 0) {
        return taken;
    }
    buffer = unit->event_memory + (size_t)unit->event_slot_of_head[head] * EVENT_SLOT_SIZE;
    piommu_virtio_from_device(unit->device, buffer, sizeof(report));
    memcpy(report, buffer, sizeof(report));
    post_event(unit, unit->event_slot_of_head[head]);
    if (length >= FAULT_SIZE && decode(report, &fault)) {
        piommu_backend_report_fault(unit->instance, &fault);
    }
    return 1;
}

bool piommu_virtio_iommu_is_broken_(const struct virtio_iommu *unit)
{
    uint8_t status = piommu_virtio_status(unit->device);

    /* Without DRIVER_OK somebody else has reset it, and all attachments are gone. */
    return (status & (PIOMMU_VIRTIO_STATUS_NEEDS_RESET | PIOMMU_VIRTIO_STATUS_FAILED)) != 0 ||
           (status & PIOMMU_VIRTIO_STATUS_DRIVER_OK) == 0;
}

int piommu_virtio_iommu_service_(void *handle, unsigned int budget)
{
    struct virtio_iommu *unit = handle;
    unsigned int handled = 0;
    int taken = 0;

    if (unit_dead(unit)) {
        return -PIOMMU_EFAILED;
    }
    (void)piommu_virtio_interrupt_status(unit->device);
    if (piommu_virtio_iommu_is_broken_(unit)) {
        return -PIOMMU_EIO;
    }
    /* A device that takes back what it has said must not keep us here. */
    for (unsigned int looks = 0; looks < MAX_HANDLED && handled < budget; looks++) {
        taken = take_report(unit);
        if (taken < 0 || (taken == 0 && !piommu_virtqueue_want_interrupt(unit->events))) {
            break;
        }
        handled += (unsigned int)taken;
    }
    piommu_virtqueue_kick(unit->events);
    return taken < 0 ? taken : (int)handled;
}
