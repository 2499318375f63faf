/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MODEL_H
#define MODEL_H

/*
 * The oracle: what a table should translate, kept as a sorted list of runs of leaves. It knows the
 * sizes that a granule has and the promises of io-pgtable.h, but nothing of tables or descriptors.
 */

#include <piommu/io-pgtable.h>

/* More runs than this end the run of the test. */
#define MODEL_RUNS 1024u

/* The sizes of leaves: four levels of blocks and pages, and three of contiguous groups. */
#define MODEL_SIZES 7u

struct model_size {
    unsigned int shift; /* log2 of bytes */
    int level;
    bool is_group; /* a contiguous group */
};

/* What follows from a configuration. */
struct model_geometry {
    unsigned int page_shift;
    unsigned int index_bits; /* of a table */
    int start_level;
    uint64_t root_size;        /* bytes, all concatenated tables */
    struct piommu_range input; /* the aperture */
    unsigned int output_bits;
    bool has_ds;                          /* descriptors of FEAT_LPA2 */
    unsigned int size_count;              /* of `sizes` */
    struct model_size sizes[MODEL_SIZES]; /* in use, the largest first */
};

/* Neighbouring leaves of one size that go on in the output. */
struct model_run {
    uint64_t first;
    uint64_t last;
    uint64_t physical; /* of first */
    struct model_size leaf;
    piommu_prot prot; /* flags that name a default are left out */
};

struct model {
    struct model_geometry geometry;
    unsigned int count;
    struct model_run runs[MODEL_RUNS];
};

enum model_kind {
    MODEL_LEAF,
    MODEL_HOLE,
    MODEL_OUTSIDE, /* of the aperture */
};

/* What is to be expected at an address. */
struct model_answer {
    enum model_kind kind;
    int level;         /* of the leaf, or where a walk ends at a hole */
    uint64_t physical; /* of the leaf, from here on */
    unsigned int leaf_shift;
    piommu_prot prot;
};

/* Derives the geometry of a configuration that exists. */
void model_geometry(const struct piommu_pgtable_config *config, struct model_geometry *geometry);

/* log2 of the input that one descriptor of a level covers. */
unsigned int model_level_shift(const struct model_geometry *geometry, int level);

/* An empty model. */
void model_start(struct model *model, const struct piommu_pgtable_config *config);

struct model_answer model_ask(const struct model *model, uint64_t address);

/* The number of the first run that ends at the address or behind it; model->count if none does. */
unsigned int model_find(const struct model *model, uint64_t address);

/* How many leaves a map would make; stops to count at `limit`. */
uint32_t model_count_leaves(const struct model *model, uint64_t iova, uint64_t physical,
                            uint64_t size, uint32_t limit);

/* How many leaves at most are left of the leaf at an address when a part is cut out of it. */
uint64_t model_leaves_of_a_cut(const struct model *model, uint64_t address);

/* These return what the library's functions of the same names should, with the same bytes. */
int model_map(struct model *model, uint64_t iova, uint64_t physical, uint64_t size,
              piommu_prot prot, uint64_t *mapped);
int model_unmap(struct model *model, uint64_t iova, uint64_t size, uint64_t *unmapped);
int model_unmap_leaves(struct model *model, uint64_t first, uint64_t last,
                       struct piommu_range *removed, uint64_t *unmapped);
int model_unmap_cut(struct model *model, uint64_t iova, uint64_t size, uint64_t *unmapped);
int model_protect(struct model *model, uint64_t iova, uint64_t size, piommu_prot prot,
                  uint64_t *changed);

#endif
