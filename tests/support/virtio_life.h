/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIRTIO_LIFE_H
#define VIRTIO_LIFE_H

/**
 * @file virtio_life.h
 * What a driver does with a virtio device from when it is open to when it is closed, by
 * piommu/virtio.h alone.
 */

#include "viommu_fixture.h"

#include <piommu/virtio.h>

/**
 * Goes as far as the device lets a driver go: reset, features, configuration, both queues, a
 * request that is answered or not. Then the model behaves, and all is taken down.
 *
 * @return the first error of the library.
 */
int virtio_live(struct viommu_fixture *fixture, struct piommu_virtio_device *device);

#endif
