/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_BACKENDS_VIRTIO_IOMMU_PROTOCOL_H
#define PIOMMU_BACKENDS_VIRTIO_IOMMU_PROTOCOL_H

/*
 * Numbers and layouts of the virtio-iommu device. All fields are little-endian.
 *
 * Source: VIRTIO 1.2, section 5.13 "IOMMU device".
 */

/* Feature bits (5.13.3). */
#define F_INPUT_RANGE   (1ull << 0)
#define F_DOMAIN_RANGE  (1ull << 1)
#define F_MAP_UNMAP     (1ull << 2)
#define F_PROBE         (1ull << 4)
#define F_MMIO          (1ull << 5)
#define F_BYPASS_CONFIG (1ull << 6)

/* Virtqueues (5.13.2). */
#define REQUEST_QUEUE 0u
#define EVENT_QUEUE   1u

/* Device configuration (5.13.4): offsets. */
#define CONFIG_PAGE_SIZE_MASK 0u
#define CONFIG_INPUT_START    8u
#define CONFIG_INPUT_END      16u
#define CONFIG_DOMAIN_START   24u
#define CONFIG_DOMAIN_END     28u
#define CONFIG_PROBE_SIZE     32u
#define CONFIG_BYPASS         36u

/* Request types (5.13.6). */
#define TYPE_ATTACH 1u
#define TYPE_DETACH 2u
#define TYPE_MAP    3u
#define TYPE_UNMAP  4u
#define TYPE_PROBE  5u

/* Bytes that the device reads of each request; what it writes follows in a buffer of its own. */
#define ATTACH_SIZE 20u
#define DETACH_SIZE 20u
#define MAP_SIZE    36u
#define UNMAP_SIZE  28u
#define PROBE_SIZE  72u
#define TAIL_SIZE   4u

/* Offsets in requests. */
#define AT_TYPE          0u
#define ATTACH_DOMAIN    4u
#define ATTACH_ENDPOINT  8u
#define ATTACH_FLAGS     12u
#define DETACH_DOMAIN    4u
#define DETACH_ENDPOINT  8u
#define MAP_DOMAIN       4u
#define MAP_VIRT_START   8u
#define MAP_VIRT_END     16u
#define MAP_PHYS_START   24u
#define MAP_FLAGS        32u
#define UNMAP_DOMAIN     4u
#define UNMAP_VIRT_START 8u
#define UNMAP_VIRT_END   16u
#define PROBE_ENDPOINT   4u

#define ATTACH_F_BYPASS 1u
#define MAP_F_READ      1u
#define MAP_F_WRITE     2u
#define MAP_F_MMIO      4u

/* Status in the tail. */
#define STATUS_OK     0u
#define STATUS_UNSUPP 2u
#define STATUS_INVAL  4u
#define STATUS_NOENT  6u
#define STATUS_NOMEM  8u
/* No status: set before a request is sent, so that a device that writes none is found out. */
#define STATUS_POISON 0xffu

/* Properties that PROBE returns (5.13.6.7). */
#define PROPERTY_HEADER_SIZE   4u
#define PROPERTY_TYPE_MASK     0xfffu
#define PROPERTY_RESERVED_MASK 0xf000u
#define PROPERTY_NONE          0u
#define PROPERTY_RESV_MEM      1u
#define RESV_MEM_LENGTH        20u /* after the header */
#define RESV_MEM_SUBTYPE       4u  /* offsets from the header */
#define RESV_MEM_START         8u
#define RESV_MEM_END           16u
#define RESV_MEM_SUBTYPE_MSI   1u

/* Fault reports (5.13.6.9). */
#define FAULT_SIZE      24u
#define FAULT_REASON    0u
#define FAULT_RESERVED  1u
#define FAULT_FLAGS     4u
#define FAULT_ENDPOINT  8u
#define FAULT_ADDRESS   16u
#define FAULT_R_DOMAIN  1u
#define FAULT_R_MAPPING 2u
#define FAULT_F_READ    1u
#define FAULT_F_WRITE   2u
#define FAULT_F_ADDRESS 0x100u

#endif
