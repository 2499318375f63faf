/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "iova_model.h"

#include <stdlib.h>
#include <string.h>

void iova_model_destroy(struct iova_model *model)
{
    free(model->live);
}

size_t iova_model_from(const struct iova_model *model, uint64_t granule)
{
    size_t low = 0;
    size_t high = model->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (model->live[middle].last < granule) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool iova_model_is_free(const struct iova_model *model, uint64_t first, uint64_t last)
{
    size_t number = iova_model_from(model, first);

    return number == model->count || model->live[number].first > last;
}

void iova_model_add(struct iova_model *model, struct iova_live live)
{
    size_t number = iova_model_from(model, live.first);

    if (model->count == model->room) {
        model->room = 2 * model->room + 64;
        model->live = realloc(model->live, model->room * sizeof(live));
        if (model->live == NULL) {
            abort();
        }
    }
    memmove(&model->live[number + 1], &model->live[number], (model->count - number) * sizeof(live));
    model->live[number] = live;
    model->count++;
    model->granules += live.last - live.first + 1;
}

void iova_model_remove(struct iova_model *model, size_t number)
{
    struct iova_live *live = &model->live[number];

    model->granules -= live->last - live->first + 1;
    model->count--;
    memmove(live, live + 1, (model->count - number) * sizeof(*live));
}

/* The place that comes first in a gap. */
static bool place_in(const struct iova_model *model, uint64_t first, uint64_t last, uint64_t count,
                     uint64_t alignment, uint64_t *place)
{
    uint64_t lowest;

    if (last - first + 1 < count) {
        return false;
    }
    lowest = (first + alignment - 1) / alignment * alignment;
    if (lowest < first || lowest > last - count + 1) {
        return false;
    }
    *place = model->bottom_up ? lowest : (last - count + 1) / alignment * alignment;
    return true;
}

bool iova_model_place(const struct iova_model *model, uint64_t count, uint64_t alignment,
                      uint64_t limit, uint64_t *place)
{
    uint64_t end = limit < model->last ? limit : model->last;
    uint64_t first = model->first;
    bool found = false;

    /* Each gap in front of a range, and the one behind the last. */
    for (size_t i = 0; i <= model->count && first <= end; i++) {
        bool is_last = i == model->count || model->live[i].first > end;
        uint64_t behind = is_last ? end + 1 : model->live[i].first;

        if (behind != first && place_in(model, first, behind - 1, count, alignment, place)) {
            found = true;
            if (model->bottom_up) {
                return true;
            }
        }
        if (is_last) {
            break;
        }
        first = model->live[i].last + 1;
    }
    return found;
}
