/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Finding leaves: by address, and one after the other. */

#include "pgtable.h"

#include "quick.h"

uint64_t piommu_pgtable_find_leaf_(const struct piommu_pgtable *table, uint64_t iova,
                                   unsigned int *height)
{
    descriptor_slot *slots = table->root;

    for (*height = table->root_height; slots != NULL; (*height)--) {
        uint64_t descriptor = descriptor_read_link(&slots[pgtable_index(table, *height, iova)]);

        if (!descriptor_is_table(descriptor, *height)) {
            return pgtable_is_leaf(table, descriptor, *height) ? descriptor : 0;
        }
        slots = pgtable_next(table, descriptor);
    }
    *height += 1;
    return 0;
}

/* What the leaf in the slot for `slot_iova` says of an address that it, or its group, covers. */
static void describe(const struct piommu_pgtable *table, uint64_t descriptor, unsigned int height,
                     uint64_t slot_iova, uint64_t iova, struct piommu_translation *result)
{
    uint64_t base = pgtable_decode(table, descriptor) & ~(pgtable_span(table, height) - 1);

    result->physical = base + (iova - slot_iova);
    result->leaf_size = pgtable_leaf_size(table, descriptor, height);
    result->prot = pgtable_leaf_prot(table, descriptor);
}

int piommu_pgtable_lookup(const struct piommu_pgtable *table, uint64_t iova,
                          struct piommu_translation *result)
{
    unsigned int height;
    uint64_t descriptor;

    if (iova < table->aperture.first || iova > table->aperture.last) {
        return -PIOMMU_ERANGE;
    }
    descriptor = piommu_pgtable_find_leaf_(table, iova, &height);
    if (descriptor == 0) {
        result->leaf_size = pgtable_span(table, height);
        return -PIOMMU_ENOENT;
    }
    describe(table, descriptor, height, iova & ~(pgtable_span(table, height) - 1), iova, result);
    return 0;
}

static NEVER_INLINE uint64_t translate_slowly(const struct piommu_pgtable *table, uint64_t iova)
{
    struct piommu_translation result;

    return piommu_pgtable_lookup(table, iova, &result) == 0 ? result.physical
                                                            : PIOMMU_PGTABLE_NO_ADDRESS;
}

/* Translates an address in a page, and leaves everything else to the general code. */
static ALWAYS_INLINE uint64_t translate_page(const struct piommu_pgtable *table, uint64_t iova,
                                             unsigned int page_shift, unsigned int index_bits,
                                             unsigned int root_height)
{
    const uint64_t mask = (1ull << page_shift) - 1;
    struct descent descent;
    uint64_t descriptor;

    if (!descend_to_page(table, iova, page_shift, index_bits, root_height, &descent)) {
        return translate_slowly(table, iova);
    }
    descriptor = descriptor_read(descent.slot);
    if (UNLIKELY(!has_both_type_bits(descriptor))) {
        return PIOMMU_PGTABLE_NO_ADDRESS;
    }
    return (descriptor & table->address_mask) | (iova & mask);
}

/* The root's height in the tables that are most common is a constant, too. */
uint64_t piommu_pgtable_translate(const struct piommu_pgtable *table, uint64_t iova)
{
    if (LIKELY(is_quick_way(table, GRANULE_4K, 3))) {
        return translate_page(table, iova, 12, 9, 3);
    }
    if (LIKELY(is_quick_way(table, GRANULE_4K, 2))) {
        return translate_page(table, iova, 12, 9, 2);
    }
    if (LIKELY(is_quick_way(table, GRANULE_64K, 2))) {
        return translate_page(table, iova, 16, 13, 2);
    }
    if (is_quick_page(table, table->quick_page, GRANULE_16K)) {
        return translate_page(table, iova, 14, 11, table->root_height);
    }
    return translate_slowly(table, iova);
}

void piommu_scan_begin_(struct scan *scan, const struct piommu_pgtable *table, uint64_t first,
                        uint64_t last)
{
    scan->table = table;
    scan->height = table->root_height;
    scan->tables[scan->height] = table->root;
    scan->iova = first;
    scan->last = last;
    scan->done = false;
    scan->budget = UINT64_MAX;
}

/* Goes on behind an address, which is the last of its slot. */
static void pass(struct scan *scan, uint64_t end)
{
    const struct piommu_pgtable *table = scan->table;

    if (end >= scan->last) {
        scan->done = true;
        return;
    }
    while (scan->height < table->root_height &&
           (((end + 1) ^ scan->iova) >> table->shift[scan->height + 1]) != 0) {
        scan->height++;
    }
    scan->iova = end + 1;
}

bool piommu_scan_next_(struct scan *scan)
{
    const struct piommu_pgtable *table = scan->table;

    while (!scan->done && scan->budget != 0) {
        uint64_t descriptor = descriptor_read_link(scan_slot(scan));
        uint64_t span_mask = pgtable_span(table, scan->height) - 1;

        if (descriptor_is_table(descriptor, scan->height)) {
            descriptor_slot *next = pgtable_next(table, descriptor);

            if (next != NULL) {
                scan->height--;
                scan->tables[scan->height] = next;
                continue;
            }
        } else if (pgtable_is_leaf(table, descriptor, scan->height)) {
            scan->budget--;
            scan->descriptor = descriptor;
            scan->iova &= ~span_mask;
            return true;
        }
        scan->budget--;
        pass(scan, scan->iova | span_mask);
    }
    return false;
}

void piommu_scan_skip_(struct scan *scan)
{
    pass(scan, scan->iova | (pgtable_span(scan->table, scan->height) - 1));
}

int piommu_pgtable_next_leaf(const struct piommu_pgtable *table, uint64_t first, uint64_t last,
                             uint64_t *found, struct piommu_translation *result)
{
    struct scan scan;

    if (first < table->aperture.first) {
        first = table->aperture.first;
    }
    if (last > table->aperture.last) {
        last = table->aperture.last;
    }
    if (first > last) {
        return -PIOMMU_ENOENT;
    }
    piommu_scan_begin_(&scan, table, first, last);
    if (!piommu_scan_next_(&scan)) {
        return -PIOMMU_ENOENT;
    }
    *found = scan.iova & ~(pgtable_leaf_size(table, scan.descriptor, scan.height) - 1);
    describe(table, scan.descriptor, scan.height, scan.iova, *found, result);
    return 0;
}
