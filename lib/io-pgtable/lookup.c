/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Finding leaves: by address, and one after the other. */

#include "pgtable.h"

uint64_t piommu_pgtable_find_leaf_(const struct piommu_pgtable *table, uint64_t iova,
                                   unsigned int *height)
{
    descriptor_slot *slots = table->root;

    for (*height = table->root_height; slots != NULL; (*height)--) {
        uint64_t descriptor = descriptor_read(&slots[pgtable_index(table, *height, iova)]);

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

static int lookup_slowly(const struct piommu_pgtable *table, uint64_t iova,
                         struct piommu_translation *result)
{
    unsigned int height;
    uint64_t descriptor;

    if (iova < table->aperture.first || iova > table->aperture.last) {
        return -PIOMMU_ERANGE;
    }
    descriptor = piommu_pgtable_find_leaf_(table, iova, &height);
    if (descriptor == 0) {
        return -PIOMMU_ENOENT;
    }
    describe(table, descriptor, height, iova & ~(pgtable_span(table, height) - 1), iova, result);
    return 0;
}

int piommu_pgtable_lookup(struct piommu_pgtable *table, uint64_t iova,
                          struct piommu_translation *result)
{
    uint64_t address_mask = table->address_mask;
    uintptr_t virtual_offset = table->virtual_offset;
    unsigned int index_bits = table->index_bits;
    unsigned int page_shift = table->shift[0];
    unsigned int shift = table->shift[table->root_height];
    uint64_t index_mask = (1u << index_bits) - 1;
    uint64_t descriptor;
    uint64_t mask;

    if (!table->quick || iova - table->aperture.first > table->last_offset) {
        return lookup_slowly(table, iova, result);
    }
    descriptor =
        descriptor_read(&table->root[(iova >> shift) & table->index_mask[table->root_height]]);
    while ((descriptor & DESCRIPTOR_TYPE_MASK) == DESCRIPTOR_TABLE && shift != page_shift) {
        descriptor_slot *slots =
            (descriptor_slot *)((uintptr_t)(descriptor & address_mask) + virtual_offset);

        shift -= index_bits;
        descriptor = descriptor_read(&slots[(iova >> shift) & index_mask]);
    }
    if ((descriptor & DESCRIPTOR_VALID) == 0) {
        return -PIOMMU_ENOENT;
    }
    mask = (1ull << shift) - 1;
    result->physical = (descriptor & address_mask & ~mask) | (iova & mask);
    result->leaf_size = mask + 1;
    result->prot = pgtable_leaf_prot(table, descriptor);
    return 0;
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
        uint64_t descriptor = descriptor_read(scan_slot(scan));
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

int piommu_pgtable_next_leaf(struct piommu_pgtable *table, uint64_t first, uint64_t last,
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
