/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A TLB and walk cache that forgets nothing by itself: the least favourable walker that the
 * architecture allows. It answers from a cached leaf if it has one, else goes on from the deepest
 * table pointer that it has, and only then reads from the root. Whatever software forgot to
 * invalidate stays in use for ever.
 *
 * What it keeps: every leaf that a translation reached (if the access was denied as well, since
 * only translation, address-size and access-flag faults must not be cached), a whole contiguous
 * group as one entry, and every valid table descriptor on the way, even if the walk met a fault
 * further down. It never keeps invalid descriptors.
 *
 * One TLB serves one context (one ASID or VMID, one half of the address space).
 */
#ifndef TESTS_SUPPORT_STALE_TLB_H
#define TESTS_SUPPORT_STALE_TLB_H

#include <piommu/models/lpae-walker.h>
struct stale_tlb;

/* Returns NULL if there is no memory; later lack of memory aborts the test program. */
struct stale_tlb *stale_tlb_create(void);
void stale_tlb_destroy(struct stale_tlb *tlb);

/* As piommu_walker_translate(), through the caches. step_count counts what was really read. */
void stale_tlb_translate(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                         const struct piommu_walker_memory *memory, uint64_t input,
                         const struct piommu_walker_access *access,
                         struct piommu_walker_result *result);

/*
 * Speculation at its most eager: caches all that can be cached, links to tables without a leaf
 * included, without any hardware update.
 */
void stale_tlb_fill(struct stale_tlb *tlb, const struct piommu_walker_regime *regime,
                    const struct piommu_walker_memory *memory);

/*
 * Drops all leaves that overlap the inclusive range of input addresses, and unless leaf_only, all
 * table pointers that do.
 */
void stale_tlb_invalidate(struct stale_tlb *tlb, uint64_t first, uint64_t last, bool leaf_only);
void stale_tlb_invalidate_all(struct stale_tlb *tlb);

/* Does a cached leaf lead to a byte of this inclusive physical range? */
bool stale_tlb_leaf_reaches(const struct stale_tlb *tlb, uint64_t first, uint64_t last);
/* Does a cached table pointer lead to a table that overlaps these bytes? */
bool stale_tlb_table_reaches(const struct stale_tlb *tlb, uint64_t physical, uint64_t size);
/* Is there a cached leaf for a byte of this inclusive range of input addresses? */
bool stale_tlb_holds_input(const struct stale_tlb *tlb, uint64_t first, uint64_t last);

size_t stale_tlb_leaf_count(const struct stale_tlb *tlb);
size_t stale_tlb_table_count(const struct stale_tlb *tlb);

/*
 * Translations so far in which a cached leaf and the leaf in memory differed in a way that asks for
 * break-before-make: output address, size, Contiguous, memory type, shareability, nG from 1 to 0;
 * or which left two entries for one address in the TLB. Hardware may raise a TLB conflict abort or
 * mix the two. Changes that the break-before-make level of the
 * regime's hardware permits are not counted.
 */
uint64_t stale_tlb_conflicts(const struct stale_tlb *tlb);

#endif
