/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Mapping and unmapping in portions. */

#include "pgtable.h"

/* Begins where the cursor stands, which may be inside a segment. */
static void resume(struct source *source, uint64_t iova, const struct piommu_segment *segments,
                   size_t count, const struct piommu_pgtable_cursor *cursor)
{
    const struct piommu_segment *current = &segments[cursor->segment];

    source->segments = current + 1;
    source->count = count - cursor->segment - 1;
    source->iova = iova + cursor->done;
    source->physical = current->physical + cursor->offset;
    source->left = current->size - cursor->offset;
    piommu_source_extend_(source);
}

static void move_cursor(struct piommu_pgtable_cursor *cursor, uint64_t size,
                        const struct piommu_segment *segments)
{
    cursor->done += size;
    cursor->changed += size;
    while (size != 0) {
        uint64_t left = segments[cursor->segment].size - cursor->offset;

        if (size < left) {
            cursor->offset += size;
            return;
        }
        size -= left;
        cursor->segment++;
        cursor->offset = 0;
    }
}

int piommu_pgtable_map_some(struct piommu_pgtable *table, uint64_t iova,
                            const struct piommu_segment *segments, size_t count, piommu_prot prot,
                            uint32_t budget, struct piommu_pgtable_cursor *cursor)
{
    struct piommu_range range = {.first = iova};
    struct source source;
    int error;

    /* Later calls rely on what the first one has checked: the arguments are the same. */
    if (cursor->done == 0) {
        error = piommu_map_check_(table, iova, segments, count, prot, &cursor->last);
        if (error != 0) {
            return error;
        }
    } else if (cursor->segment >= count || cursor->offset >= segments[cursor->segment].size) {
        return -PIOMMU_EINVAL;
    }
    resume(&source, iova, segments, count, cursor);
    source.budget = budget != 0 ? budget : 1;
    range.last = cursor->last;
    error = piommu_map_part_(table, &source, range, prot);
    if (error != 0) {
        return error;
    }
    move_cursor(cursor, source.iova - (iova + cursor->done), segments);
    if (source.left == 0) {
        return 0;
    }
    return source.budget == 0 ? -PIOMMU_EAGAIN : -PIOMMU_EEXIST;
}

int piommu_pgtable_unmap_some(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              uint32_t budget, struct piommu_gather *gather,
                              struct piommu_pgtable_cursor *cursor)
{
    struct removal removal = {.first = iova,
                              .last = iova + (size - 1),
                              .iova = iova + cursor->done,
                              .budget = budget != 0 ? budget : 1,
                              .removed = cursor->changed,
                              .gather = gather};
    int error = piommu_pgtable_check_change_(table, iova, size);
    bool done;

    if (error != 0) {
        return error;
    }
    if (cursor->done >= size) {
        return -PIOMMU_EINVAL;
    }
    if (cursor->done == 0 && piommu_pgtable_cuts_(table, iova, removal.last)) {
        return -PIOMMU_ECUT;
    }
    done = piommu_pgtable_remove_(table, &removal);
    cursor->changed = removal.removed;
    if (!done) {
        cursor->done = removal.iova - iova;
        return -PIOMMU_EAGAIN;
    }
    cursor->done = size;
    return cursor->changed != 0 ? 0 : -PIOMMU_ENOENT;
}
