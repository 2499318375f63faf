/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IOVA_MODEL_H
#define IOVA_MODEL_H

/*
 * A space of addresses as a list of what lives in it, in order. All numbers are granules. It knows
 * exactly whether there is a place for a range, and which one comes first.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iova_live {
    uint64_t first;
    uint64_t last;
    uint64_t size; /* in bytes, as it was asked for */
};

struct iova_model {
    uint64_t first; /* of the space */
    uint64_t last;
    bool bottom_up;
    struct iova_live *live;
    size_t count;
    size_t room;
    uint64_t granules; /* that live */
};

void iova_model_destroy(struct iova_model *model);

/* The first of those that live and end at or behind a granule; `count` if there is none. */
size_t iova_model_from(const struct iova_model *model, uint64_t granule);
bool iova_model_is_free(const struct iova_model *model, uint64_t first, uint64_t last);
/* The range must be free. */
void iova_model_add(struct iova_model *model, struct iova_live live);
void iova_model_remove(struct iova_model *model, size_t number);

/*
 * The place that comes first for so many granules at or below `limit`, at a multiple of
 * `alignment`; false if there is none.
 */
bool iova_model_place(const struct iova_model *model, uint64_t count, uint64_t alignment,
                      uint64_t limit, uint64_t *place);

#endif
