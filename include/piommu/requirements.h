/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_REQUIREMENTS_H
#define PIOMMU_REQUIREMENTS_H

/**
 * @file requirements.h
 * What IOMMUs demand of a domain, and of page tables that they are to share with the CPU: to be
 * asked before a guest's stage 2 is laid out.
 */

#include <piommu/instance.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What a stage-2 table of the CPU must be so that a unit can walk it. In what these say nothing
 * about, the table is as the Arm architecture defines it for its format. Leaves have the access
 * flag set, unless PIOMMU_PGTABLE_DIRTY is allowed and used.
 */
struct piommu_shared_limits {
    uint32_t formats;     /**< sum of 1 << enum piommu_pgtable_format; 0: no table can be shared */
    uint32_t granules;    /**< sum of the granules that are possible */
    uint8_t input_first;  /**< the lowest width of input addresses that it can be told */
    uint8_t input_last;   /**< the highest one; equal to the lowest: exactly this width */
    int8_t start_first;   /**< the lowest level at which it can start */
    int8_t start_last;    /**< the highest one */
    uint8_t concatenated; /**< the most tables that may lie side by side at the root */
    uint8_t output_bits;  /**< the most significant physical address bits that it can emit */
    uint64_t leaf_sizes;  /**< sum of the leaf sizes that it understands */
    /**
     * Sum of the flags of io-pgtable.h that name descriptor features it understands: CONTIGUOUS
     * (hint), DIRTY (access flag clear, DBM), FORCE_WRITE_BACK, XNX. Others must not be used.
     */
    uint32_t features;
    /** It understands the descriptors of FEAT_LPA2 (DS), which 52 bits with 4 and 16 KiB need. */
    bool ds;
    /**
     * It snoops the CPU's caches when it walks. If not, whoever changes a descriptor cleans it to
     * memory before piommu_domain_invalidate.
     */
    bool coherent_walk;
};

/** What each limit is about. */
enum piommu_limit {
    PIOMMU_LIMIT_APERTURE,            /**< piommu_requirements::aperture */
    PIOMMU_LIMIT_GRANULE,             /**< the lowest of leaf_sizes */
    PIOMMU_LIMIT_LEAF_SIZES,          /**< leaf_sizes */
    PIOMMU_LIMIT_PROT,                /**< prot and write_only */
    PIOMMU_LIMIT_IDENTITY,            /**< identity */
    PIOMMU_LIMIT_OUTPUT_BITS,         /**< output_bits */
    PIOMMU_LIMIT_COHERENT_WALK,       /**< coherent_walk */
    PIOMMU_LIMIT_SHARED_FORMATS,      /**< shared.formats */
    PIOMMU_LIMIT_SHARED_GRANULES,     /**< shared.granules */
    PIOMMU_LIMIT_SHARED_INPUT,        /**< shared.input_first and input_last */
    PIOMMU_LIMIT_SHARED_START,        /**< shared.start_first and start_last */
    PIOMMU_LIMIT_SHARED_CONCATENATED, /**< shared.concatenated */
    PIOMMU_LIMIT_SHARED_OUTPUT,       /**< shared.output_bits */
    PIOMMU_LIMIT_SHARED_LEAF_SIZES,   /**< shared.leaf_sizes */
    PIOMMU_LIMIT_SHARED_FEATURES,     /**< shared.features and ds */
    PIOMMU_LIMIT_SHARED_COHERENT,     /**< shared.coherent_walk */
    PIOMMU_LIMITS,                    /**< how many there are */
};

/** What a set of instances demands: what all of them can do. */
struct piommu_requirements {
    bool tables;                  /**< they walk page tables; if not, they take requests */
    struct piommu_range aperture; /**< addresses that a paging domain over all can map */
    uint64_t leaf_sizes;          /**< leaf sizes of such a domain; the lowest is the granule */
    piommu_prot prot;             /**< flags that a mapping in it may have */
    bool write_only;              /**< write without read can be expressed */
    bool identity;                /**< an identity domain over all exists */
    uint8_t output_bits;          /**< width of physical addresses that can be mapped */
    bool coherent_walk;           /**< table memory need not be cleaned */
    bool stage2;                  /**< the library's own tables for them are of stage 2 */
    struct piommu_shared_limits shared; /**< for a shared domain over all */
    /**
     * Of each limit: the instance that imposed it (that made it what it is now; the first, if
     * several agree). NULL: none, it is as good as can be.
     */
    struct piommu_instance *limited_by[PIOMMU_LIMITS];
};

/**
 * Computes what instances demand together.
 *
 * @param instances    which ones.
 * @param count        how many, not 0.
 * @param requirements set on success.
 * @param culprit      set, with -PIOMMU_EMIXED and -PIOMMU_EWAITING, to the first instance that
 *                     does not fit those before it. May be NULL.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EMIXED: no domain can span them: they are of different kinds
 *         or contexts, or no address or leaf size is left; -PIOMMU_EWAITING: one of them waits for
 *         its parent; -PIOMMU_EFAILED: one of them could not be started when its parent came.
 *
 * Context: any. Registration.
 */
int piommu_requirements_get(struct piommu_instance *const *instances, size_t count,
                            struct piommu_requirements *requirements,
                            struct piommu_instance **culprit);

/** A short English phrase for a limit: a constant string. Runs beside anything. */
const char *piommu_limit_name(enum piommu_limit limit);

#ifdef __cplusplus
}
#endif

#endif
