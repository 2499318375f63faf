/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_IO_PGTABLE_DIRTY_H
#define PIOMMU_IO_PGTABLE_DIRTY_H

/**
 * @file io-pgtable-dirty.h
 * Which memory did devices write to? For tables made with PIOMMU_PGTABLE_DIRTY, whose walker notes
 * the first write through a leaf in the leaf itself.
 *
 * A leaf that allows writing is *tracked* or not. A tracked leaf is *clean* until hardware has seen
 * a write through it, then *dirty*. What is tracked is the leaf: a write to one byte of a block
 * makes the whole block dirty. Who wants to know pages restricts piommu_pgtable_config::leaf_sizes.
 * The members of a contiguous group are dirty together.
 *
 * Hardware may keep the knowledge that a leaf is dirty in its TLB, and then does not note further
 * writes. So after leaves were made clean again, the gather is to be synced before the next reading
 * can be trusted.
 *
 * What hardware has noted goes with the leaf: an unmap, or a piommu_pgtable_protect that takes
 * writing away, forgets it. As writes may go on until the sync, count as dirty what was writable.
 * What stays of a leaf that piommu_pgtable_unmap_cut has cut is dirty if it was tracked.
 *
 * Source: Arm Architecture Reference Manual, "Hardware management of the Access flag and dirty
 * state" (FEAT_HAFDBS).
 */

#include <piommu/io-pgtable.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Switches tracking on or off: for all leaves that are mapped, and for those that will be. Leaves
 * that become tracked are clean; those that are already stay as they are. Devices may write all the
 * while.
 *
 * @param on     whether to track.
 * @param gather collects the leaves that were changed: writes are noted from its sync on. Not NULL.
 * @return 0; -PIOMMU_EOPNOTSUPP: the table was made without PIOMMU_PGTABLE_DIRTY, or is an adopted
 *         one.
 *
 * Context: any. Takes time in proportion to the leaves and tables of the whole table. Exclusive.
 */
int piommu_pgtable_track_dirty(struct piommu_pgtable *table, bool on, struct piommu_gather *gather);

/**
 * Does as piommu_pgtable_track_dirty, in portions. Mappings may be made and removed between the
 * calls; new ones are tracked as the last call said.
 *
 * @param cursor all zero at first; then handed in again with the same `on`.
 * @param budget how many leaves to look at and holes to skip in this call; 0 counts as 1. A
 *               contiguous group counts as one leaf.
 * @return as piommu_pgtable_track_dirty; -PIOMMU_EAGAIN: call again.
 *
 * Context: any. Exclusive.
 */
int piommu_pgtable_track_dirty_some(struct piommu_pgtable *table, bool on, uint32_t budget,
                                    struct piommu_gather *gather,
                                    struct piommu_pgtable_cursor *cursor);

/**
 * Reads which parts of a range are dirty, and makes them clean again if wanted. Holes and leaves
 * that are not tracked are clean. Nothing is lost when hardware writes at the same time: a write is
 * seen by this reading or by the next.
 *
 * @param iova   start; aligned to the granule.
 * @param size   bytes; a multiple of the granule, not 0.
 * @param unit   bytes that one bit stands for: a power of two, not below the granule.
 * @param bitmap one bit for each unit of the range (the last may be in part outside), the first in
 *               bit 0 of the first byte. Bits of dirty units are set; no bit is cleared. May be
 *               NULL (to make clean without asking).
 * @param clear  make clean what was dirty.
 * @param gather collects what was made clean. NULL is allowed if `clear` is false.
 * @param dirty  set to the bytes of the range that are dirty. Not NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_EOPNOTSUPP: the table was made without
 *         PIOMMU_PGTABLE_DIRTY, or is an adopted one and `clear` is true.
 *
 * A leaf that reaches beyond the range and is dirty counts for the part inside, and is made clean
 * as a whole: read whole leaves, or without `clear`.
 *
 * Context: any. Takes time in proportion to the leaves and tables in the range. By range.
 */
int piommu_pgtable_read_dirty(struct piommu_pgtable *table, uint64_t iova, uint64_t size,
                              uint64_t unit, uint8_t *bitmap, bool clear,
                              struct piommu_gather *gather, uint64_t *dirty);

#ifdef __cplusplus
}
#endif

#endif
