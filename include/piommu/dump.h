/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_DUMP_H
#define PIOMMU_DUMP_H

/**
 * @file dump.h
 * Looking at everything at once: for a debugger's command, a crash report, a check before memory is
 * given away.
 */

#include <piommu/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Takes a line of text without a newline, at most 159 characters. Must not call the library. */
typedef void (*piommu_print)(void *cookie, const char *line);

/**
 * Prints what a context has: its instances, its devices (with the number of their group, its
 * domain, and their IDs), and its domains (with counters and the instances they are on), each in
 * the order in which they came. Names are the host's own; the text is for people and may change
 * with any release.
 *
 * Context: any. Takes time in proportion to the IDs and objects. Registration, and mapping of all
 * domains: no such call may be in progress. Works on failed instances too.
 */
void piommu_context_dump(struct piommu_context *context, piommu_print print, void *cookie);

/**
 * Prints what is mapped in a range of a paging domain: a line for each run of leaves, or mapping
 * requests, that goes on in input and output with the same permissions.
 *
 * @param first where to begin; any address.
 * @param last  where to end, inclusive.
 * @return 0; -PIOMMU_EINVAL: not a paging domain, or first is above last.
 *
 * Context: any. Mapping.
 */
int piommu_domain_dump(struct piommu_domain *domain, uint64_t first, uint64_t last,
                       piommu_print print, void *cookie);

/** Where a piece of memory is mapped. */
struct piommu_use {
    struct piommu_domain *domain; /**< in which domain */
    void *domain_owner;           /**< its cookie */
    uint64_t iova;                /**< the first address of the leaf or mapping request */
    uint64_t physical;            /**< where that leads */
    uint64_t size;                /**< how much it covers, in bytes */
    piommu_prot prot;             /**< what it allows */
};

/**
 * Finds out whether memory is mapped anywhere: before it is given to somebody else. What was
 * unmapped and is not synced yet is not found, though devices may still reach it.
 *
 * @param first the first physical address.
 * @param last  the last one.
 * @param use   set to the first use that is found. NULL is allowed.
 * @return 0: it is mapped, at least in part; -PIOMMU_ENOENT: it is not, but for identity domains,
 *         which are not looked at; -PIOMMU_EINVAL.
 *
 * Context: any. Looks at every mapping of every domain. Registration, and mapping of all domains.
 */
int piommu_context_find_use(struct piommu_context *context, uint64_t first, uint64_t last,
                            struct piommu_use *use);

#ifdef __cplusplus
}
#endif

#endif
