/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_DESCRIPTOR_H
#define PIOMMU_LIB_VIRTIO_DESCRIPTOR_H

/*
 * What descriptors have in common in rings of both kinds: their size, and what their flags say.
 *
 * Source: VIRTIO 1.2, sections 2.7.5 and 2.8.5 to 2.8.7.
 */

#define DESCRIPTOR_SIZE 16u

#define DESCRIPTOR_NEXT     1u
#define DESCRIPTOR_WRITABLE 2u
#define DESCRIPTOR_INDIRECT 4u

#endif
