/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_PROPERTIES_H
#define VIOMMU_PROPERTIES_H

/**
 * @file viommu_properties.h
 * Lists of properties for PROBE to answer, honest and not: what a test puts into
 * viommu_model_set_probe_bytes. Whatever is said is written; nothing is checked but the room.
 */

#include <stddef.h>
#include <stdint.h>

enum {
    VIOMMU_PROPERTIES_ROOM = 4096,

    VIOMMU_PROPERTY_NONE = 0, /**< ends the list */
    VIOMMU_PROPERTY_REGION = 1,
    VIOMMU_PROPERTY_REGION_LENGTH = 20,
};

/** A list so far; start with all zeros. What is behind `size` is 0, which ends the list. */
struct viommu_properties {
    uint8_t bytes[VIOMMU_PROPERTIES_ROOM];
    size_t size;
};

/** Adds a header alone: type (with its reserved bits) and length, true or not. */
void viommu_properties_add_header(struct viommu_properties *list, uint16_t type, uint16_t length);

/** Adds a property of `length` bytes, each of them `fill`. */
void viommu_properties_add(struct viommu_properties *list, uint16_t type, uint16_t length,
                           uint8_t fill);

/** Adds a region. An honest one has subtype 0 (reserved) or 1 (MSI). */
void viommu_properties_add_region(struct viommu_properties *list, uint8_t subtype, uint64_t start,
                                  uint64_t end);

/**
 * Adds empty properties of a type until the list has `size` bytes, so that nothing ends it before
 * the end of the buffer. What is left of less than a header becomes 0xff.
 */
void viommu_properties_fill(struct viommu_properties *list, uint16_t type, size_t size);

#endif
