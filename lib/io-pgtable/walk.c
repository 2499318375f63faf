/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What a walk meets, level by level; and mappings, which leaves make up. */

#include "pgtable.h"

#include "inspect.h"

/* A leaf, or what hardware takes for a mistake. */
static void decode_leaf(const struct piommu_pgtable *table, unsigned int height,
                        struct piommu_pgtable_step *step)
{
    uint64_t descriptor = step->descriptor;

    step->kind = PIOMMU_PGTABLE_STEP_LEAF;
    step->physical = pgtable_decode(table, descriptor) & ~(pgtable_span(table, height) - 1);
    step->prot = pgtable_leaf_prot(table, descriptor);
    step->contiguous = (descriptor & DESCRIPTOR_CONTIGUOUS) != 0;
    step->accessed = piommu_pgtable_is_accessed_(descriptor);
    if ((table->info.flags & PIOMMU_PGTABLE_DIRTY) != 0) {
        step->tracked = piommu_pgtable_is_tracked_(descriptor);
        step->dirty = piommu_pgtable_is_dirty_(table, descriptor);
    }
}

void piommu_pgtable_decode_step_(const struct piommu_pgtable *table, unsigned int height,
                                 uint64_t table_physical, uint64_t iova, uint64_t descriptor,
                                 struct piommu_pgtable_step *step)
{
    uint64_t span_mask = pgtable_span(table, height) - 1;

    memset(step, 0, sizeof(*step));
    step->level = (int8_t)pgtable_level(height);
    step->index = pgtable_index(table, height, iova);
    step->table_physical = table_physical;
    step->descriptor = descriptor;
    step->covers.first = iova & ~span_mask;
    step->covers.last = iova | span_mask;
    if ((descriptor & DESCRIPTOR_VALID) == 0) {
        step->kind = PIOMMU_PGTABLE_STEP_INVALID;
    } else if (descriptor_is_table(descriptor, height)) {
        step->kind = PIOMMU_PGTABLE_STEP_TABLE;
        step->physical = pgtable_decode(table, descriptor);
    } else if (pgtable_is_leaf(table, descriptor, height)) {
        decode_leaf(table, height, step);
    } else {
        step->kind = PIOMMU_PGTABLE_STEP_RESERVED;
    }
}

int piommu_pgtable_walk(const struct piommu_pgtable *table, uint64_t iova,
                        struct piommu_pgtable_walk *walk)
{
    descriptor_slot *slots = table->root;
    uint64_t physical = table->info.root_physical;

    walk->count = 0;
    if (iova < table->aperture.first || iova > table->aperture.last) {
        return -PIOMMU_ERANGE;
    }
    for (unsigned int height = table->root_height;; height--) {
        uint64_t descriptor = descriptor_read_link(&slots[pgtable_index(table, height, iova)]);
        struct piommu_pgtable_step *step = &walk->steps[walk->count++];

        piommu_pgtable_decode_step_(table, height, physical, iova, descriptor, step);
        if (step->kind != PIOMMU_PGTABLE_STEP_TABLE) {
            return step->kind == PIOMMU_PGTABLE_STEP_LEAF ? 0 : -PIOMMU_ENOENT;
        }
        physical = step->physical;
        slots = pgtable_next(table, descriptor);
        if (slots == NULL) {
            step->kind = PIOMMU_PGTABLE_STEP_UNREACHABLE;
            return -PIOMMU_ENOENT;
        }
    }
}

/* Where a run of leaves goes on. */
static bool continues(const struct piommu_pgtable_mapping *run, uint64_t first, uint64_t physical,
                      piommu_prot prot)
{
    return run->range.last + 1 == first && run->physical + (first - run->range.first) == physical &&
           run->prot == prot;
}

int piommu_pgtable_for_each_mapping(const struct piommu_pgtable *table, uint64_t first,
                                    uint64_t last, piommu_pgtable_visit visit, void *cookie)
{
    struct piommu_pgtable_mapping run = {.prot = 0};
    bool pending = false;
    struct scan scan;

    if (first > last) {
        return -PIOMMU_EINVAL;
    }
    if (first < table->aperture.first) {
        first = table->aperture.first;
    }
    if (last > table->aperture.last) {
        last = table->aperture.last;
    }
    if (first > last) {
        return 0;
    }
    piommu_scan_begin_(&scan, table, first, last);
    while (piommu_scan_next_(&scan)) {
        uint64_t span_mask = pgtable_span(table, scan.height) - 1;
        uint64_t begin = scan.iova < first ? first : scan.iova;
        uint64_t end = (scan.iova | span_mask) > last ? last : scan.iova | span_mask;
        uint64_t physical =
            (pgtable_decode(table, scan.descriptor) & ~span_mask) | (begin & span_mask);
        piommu_prot prot = pgtable_leaf_prot(table, scan.descriptor);

        if (pending && continues(&run, begin, physical, prot)) {
            run.range.last = end;
        } else {
            if (pending && !visit(cookie, &run)) {
                return 0;
            }
            run.range.first = begin;
            run.range.last = end;
            run.physical = physical;
            run.prot = prot;
            pending = true;
        }
        piommu_scan_skip_(&scan);
    }
    if (pending) {
        visit(cookie, &run);
    }
    return 0;
}
