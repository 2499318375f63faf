/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PGTABLE_RULES_H
#define PGTABLE_RULES_H

/*
 * What io-pgtable.h promises of a configuration, as numbers: which configurations exist, which
 * sizes of leaves one has, where its walk starts, which prot it can express. Written from the
 * headers and the architecture, as a second opinion: it shares nothing with the library.
 */

#include <piommu/error.h>
#include <piommu/io-pgtable.h>

/* Leaf sizes and sizes of contiguous groups of one granule: no more than four of each. */
#define RULES_MAXIMUM_SIZES 8u

/* Raw numbers from which a configuration is chosen. */
#define RULES_CONFIG_NUMBERS 12u

struct pgtable_rules {
    struct piommu_pgtable_config config;
    unsigned int stage;
    bool is_32_bit;
    bool has_ds; /* descriptors of FEAT_LPA2 */
    unsigned int granule_shift;
    unsigned int index_bits;
    struct piommu_range aperture;
    uint64_t output_last;
    int start_level;
    uint64_t root_size;
    uint64_t leaf_sizes;
    uint64_t contiguous_sizes;
    /* Both of these, in descending order. */
    uint64_t sizes[RULES_MAXIMUM_SIZES];
    size_t size_count;
};

/* 0, or what piommu_pgtable_create has to return; -PIOMMU_EINVAL or -PIOMMU_EOPNOTSUPP. */
int rules_judge_config(const struct piommu_pgtable_config *config);
/* For a configuration that rules_judge_config() likes. */
void rules_of_config(const struct piommu_pgtable_config *config, struct pgtable_rules *rules);
/* A legal configuration; every legal one can come out. */
struct piommu_pgtable_config rules_choose_config(const uint16_t *numbers);

/* Several CPUs may change the table at once. */
bool rules_is_disjoint(const struct pgtable_rules *rules);
/* log2 of what one descriptor of a level covers. */
unsigned int rules_level_shift(const struct pgtable_rules *rules, int level);
/* The level that leaves of this size, or members of groups of this size, are on. */
int rules_level_of_size(const struct pgtable_rules *rules, uint64_t size, bool *is_group);
/* Bytes of one descriptor on the level of the leaf. */
uint64_t rules_member_size(const struct pgtable_rules *rules, uint64_t leaf_size);

/* 0, -PIOMMU_EINVAL or -PIOMMU_EOPNOTSUPP: what a map with this prot gives. */
int rules_judge_prot(const struct pgtable_rules *rules, piommu_prot prot);
/* The same for a protect. */
int rules_judge_access(const struct pgtable_rules *rules, piommu_prot prot);
/* Without the flags that name a default. */
piommu_prot rules_normal_prot(const struct pgtable_rules *rules, piommu_prot prot);
/* The encoding of shareability (0, 2, 3) that a leaf of this prot has. */
unsigned int rules_shareability(const struct pgtable_rules *rules, piommu_prot prot);
/* Mostly one that can be expressed, if `wild` sometimes any. */
piommu_prot rules_choose_prot(const struct pgtable_rules *rules, uint16_t number, bool wild);

/* 0, -PIOMMU_EINVAL or -PIOMMU_ERANGE for a range of input addresses that a call is given. */
int rules_judge_range(const struct pgtable_rules *rules, uint64_t iova, uint64_t size);
/* The same for physical memory. */
int rules_judge_output(const struct pgtable_rules *rules, uint64_t physical, uint64_t size);

#endif
