/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DEVICE_IDS_H
#define DEVICE_IDS_H

/**
 * @file device_ids.h
 * The IDs of a device that is behind one instance, from plain numbers.
 */

#include <piommu/device.h>

/** Room for the IDs of one device, and one too many. */
struct device_ids {
    struct piommu_device_id ids[PIOMMU_DEVICE_MAX_IDS + 1];
};

/** Fills the room; returns its IDs. */
static inline const struct piommu_device_id *device_ids_of(struct device_ids *room,
                                                           struct piommu_instance *instance,
                                                           const uint32_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        room->ids[i] = (struct piommu_device_id){.instance = instance, .id = numbers[i]};
    }
    return room->ids;
}

#endif
