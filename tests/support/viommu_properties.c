/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "viommu_properties.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 4,
};

/* The next bytes of the list, which are 0. */
static uint8_t *extend(struct viommu_properties *list, size_t size)
{
    uint8_t *place = list->bytes + list->size;

    if (size > sizeof list->bytes - list->size) {
        (void)fprintf(stderr, "no room for a property of %zu bytes\n", size);
        abort();
    }
    list->size += size;
    return place;
}

static void put(uint8_t *place, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++) {
        place[i] = (uint8_t)(value >> (8 * i) & 0xff);
    }
}

void viommu_properties_add_header(struct viommu_properties *list, uint16_t type, uint16_t length)
{
    uint8_t *place = extend(list, HEADER);

    put(place, 2, type);
    put(place + 2, 2, length);
}

void viommu_properties_add(struct viommu_properties *list, uint16_t type, uint16_t length,
                           uint8_t fill)
{
    viommu_properties_add_header(list, type, length);
    memset(extend(list, length), fill, length);
}

void viommu_properties_add_region(struct viommu_properties *list, uint8_t subtype, uint64_t start,
                                  uint64_t end)
{
    uint8_t *body;

    viommu_properties_add_header(list, VIOMMU_PROPERTY_REGION, VIOMMU_PROPERTY_REGION_LENGTH);
    body = extend(list, VIOMMU_PROPERTY_REGION_LENGTH);
    body[0] = subtype;
    put(body + 4, 8, start);
    put(body + 12, 8, end);
}

void viommu_properties_fill(struct viommu_properties *list, uint16_t type, size_t size)
{
    while (list->size + HEADER <= size) {
        viommu_properties_add_header(list, type, 0);
    }
    if (list->size < size) {
        size_t rest = size - list->size;

        memset(extend(list, rest), 0xff, rest);
    }
}
