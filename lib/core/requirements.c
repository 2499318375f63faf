/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What instances demand together, and which of them it was. */

#include "core.h"

#include <piommu/requirements.h>

static uint64_t all_if_none(uint64_t leaf_sizes)
{
    return leaf_sizes != 0 ? leaf_sizes : UINT64_MAX;
}

static uint8_t width(const struct piommu_instance *instance)
{
    return instance->info.output_bits != 0 ? instance->info.output_bits : 64;
}

/* What nothing has limited yet. */
static void begin(const struct piommu_instance *first, struct piommu_requirements *all,
                  struct piommu_pgtable_config *table)
{
    *all = (struct piommu_requirements){
        .tables = PIOMMU_CORE_WITH_TABLES && first->backend->kind == PIOMMU_BACKEND_TABLES,
        .aperture = {.first = 0, .last = UINT64_MAX},
        .leaf_sizes = UINT64_MAX,
        .prot = PIOMMU_PROT_ALL,
        .write_only = true,
        .identity = true,
        .output_bits = 64,
        .coherent_walk = true,
    };
    if (PIOMMU_CORE_WITH_TABLES) {
        all->shared = (struct piommu_shared_limits){
            .formats = UINT32_MAX,
            .granules = UINT32_MAX,
            .input_first = 0,
            .input_last = UINT8_MAX,
            .start_first = INT8_MIN,
            .start_last = INT8_MAX,
            .concatenated = UINT8_MAX,
            .output_bits = UINT8_MAX,
            .leaf_sizes = UINT64_MAX,
            .features = UINT32_MAX,
            .ds = true,
            .coherent_walk = true,
        };
        *table = first->info.table;
        table->leaf_sizes = all_if_none(table->leaf_sizes);
    }
}

/* Takes over the tighter of two values, and notes whose it is if somebody wants to know. */
struct limits {
    struct piommu_requirements *all;
    struct piommu_instance *instance;
    bool notes;
};

static bool tighten(struct limits limits, enum piommu_limit limit, bool tighter)
{
    if (tighter && limits.notes) {
        limits.all->limited_by[limit] = limits.instance;
    }
    return tighter;
}

static uint64_t lower(struct limits limits, enum piommu_limit limit, uint64_t mine, uint64_t theirs)
{
    return tighten(limits, limit, theirs < mine) ? theirs : mine;
}

static uint64_t higher(struct limits limits, enum piommu_limit limit, uint64_t mine,
                       uint64_t theirs)
{
    return tighten(limits, limit, theirs > mine) ? theirs : mine;
}

static uint64_t common(struct limits limits, enum piommu_limit limit, uint64_t mine,
                       uint64_t theirs)
{
    return tighten(limits, limit, (mine & ~theirs) != 0) ? mine & theirs : mine;
}

static bool both(struct limits limits, enum piommu_limit limit, bool mine, bool theirs)
{
    return !tighten(limits, limit, mine && !theirs) && mine;
}

/* Levels may be negative. */
static void add_levels(struct limits limits, struct piommu_shared_limits *mine,
                       const struct piommu_shared_limits *theirs)
{
    if (tighten(limits, PIOMMU_LIMIT_SHARED_START, theirs->start_first > mine->start_first)) {
        mine->start_first = theirs->start_first;
    }
    if (tighten(limits, PIOMMU_LIMIT_SHARED_START, theirs->start_last < mine->start_last)) {
        mine->start_last = theirs->start_last;
    }
}

/* For members of any width: the tighter value of two fits where one of them was. */
#define TIGHTER(rule, limit, mine, theirs) \
    ((mine) = (__typeof__(mine))rule(limits, limit, mine, theirs))

static void add_shared(struct limits limits, const struct piommu_shared_limits *theirs)
{
    struct piommu_shared_limits *mine = &limits.all->shared;

    TIGHTER(common, PIOMMU_LIMIT_SHARED_FORMATS, mine->formats, theirs->formats);
    TIGHTER(common, PIOMMU_LIMIT_SHARED_GRANULES, mine->granules, theirs->granules);
    TIGHTER(higher, PIOMMU_LIMIT_SHARED_INPUT, mine->input_first, theirs->input_first);
    TIGHTER(lower, PIOMMU_LIMIT_SHARED_INPUT, mine->input_last, theirs->input_last);
    add_levels(limits, mine, theirs);
    TIGHTER(lower, PIOMMU_LIMIT_SHARED_CONCATENATED, mine->concatenated, theirs->concatenated);
    TIGHTER(lower, PIOMMU_LIMIT_SHARED_OUTPUT, mine->output_bits, theirs->output_bits);
    TIGHTER(common, PIOMMU_LIMIT_SHARED_LEAF_SIZES, mine->leaf_sizes, theirs->leaf_sizes);
    TIGHTER(common, PIOMMU_LIMIT_SHARED_FEATURES, mine->features, theirs->features);
    mine->ds = both(limits, PIOMMU_LIMIT_SHARED_FEATURES, mine->ds, theirs->ds);
    mine->coherent_walk =
        both(limits, PIOMMU_LIMIT_SHARED_COHERENT, mine->coherent_walk, theirs->coherent_walk);
}

/* Makes the library's own tables such as one more unit can walk; false if there are none. */
static bool add_table(struct limits limits, struct piommu_pgtable_config *table)
{
    struct piommu_requirements *all = limits.all;
    const struct piommu_pgtable_config *theirs = &limits.instance->info.table;

    if (theirs->format != table->format || theirs->granule != table->granule ||
        ((theirs->flags ^ table->flags) & ~TABLE_FEATURES) != 0) {
        return false;
    }
    all->coherent_walk =
        both(limits, PIOMMU_LIMIT_COHERENT_WALK, all->coherent_walk, theirs->coherent_walk);
    TIGHTER(lower, PIOMMU_LIMIT_OUTPUT_BITS, all->output_bits, theirs->output_bits);
    all->stage2 = table->format == PIOMMU_ARM_64_LPAE_S2 || table->format == PIOMMU_ARM_32_LPAE_S2;
    table->coherent_walk = all->coherent_walk;
    table->flags &= theirs->flags | ~TABLE_FEATURES;
    table->leaf_sizes &= all_if_none(theirs->leaf_sizes);
    if (theirs->input_bits < table->input_bits) {
        table->input_bits = theirs->input_bits;
    }
    if (theirs->output_bits < table->output_bits) {
        table->output_bits = theirs->output_bits;
    }
    if (theirs->root_alignment > table->root_alignment) {
        table->root_alignment = theirs->root_alignment;
    }
    if (root_width(theirs) < root_width(table)) {
        table->root_bits = theirs->root_bits;
    }
    return true;
}

/* Adds an instance; false if nothing is left that all can do. */
static bool add(struct limits limits, struct piommu_pgtable_config *table)
{
    struct piommu_requirements *all = limits.all;
    const struct piommu_backend_info *info = &limits.instance->info;
    uint64_t granule = higher(limits, PIOMMU_LIMIT_GRANULE, lowest_bit(all->leaf_sizes),
                              lowest_bit(info->leaf_sizes));

    TIGHTER(higher, PIOMMU_LIMIT_APERTURE, all->aperture.first, info->aperture.first);
    TIGHTER(lower, PIOMMU_LIMIT_APERTURE, all->aperture.last, info->aperture.last);
    /* The larger granule is a leaf size to both; larger sizes if both have them. */
    TIGHTER(common, PIOMMU_LIMIT_LEAF_SIZES, all->leaf_sizes, info->leaf_sizes | granule);
    all->leaf_sizes = (all->leaf_sizes | granule) & ~(granule - 1);
    TIGHTER(common, PIOMMU_LIMIT_PROT, all->prot, info->prot);
    all->write_only = both(limits, PIOMMU_LIMIT_PROT, all->write_only, info->write_only);
    all->identity = both(limits, PIOMMU_LIMIT_IDENTITY, all->identity, info->identity);
    TIGHTER(lower, PIOMMU_LIMIT_OUTPUT_BITS, all->output_bits, width(limits.instance));
    if (PIOMMU_CORE_WITH_TABLES) {
        if (all->tables && !add_table(limits, table)) {
            return false;
        }
        add_shared(limits, &info->shared);
    }
    return all->aperture.first <= all->aperture.last;
}

/* A limit on what does not exist is none. */
static void tidy_shared(struct piommu_requirements *all)
{
    struct piommu_shared_limits *shared = &all->shared;

    if (shared->formats == 0 || shared->granules == 0 || shared->input_first > shared->input_last ||
        shared->start_first > shared->start_last || shared->leaf_sizes == 0) {
        *shared = (struct piommu_shared_limits){.formats = 0};
    }
}

int piommu_intersect_(struct piommu_instance *const *instances, size_t count,
                      struct piommu_requirements *requirements, struct piommu_pgtable_config *table,
                      struct piommu_instance **culprit)
{
    const struct piommu_instance *first = instances[0];

    begin(first, requirements, table);
    for (size_t i = 0; i < count; i++) {
        struct limits limits = {
            .all = requirements, .instance = instances[i], .notes = culprit != NULL};

        if (culprit != NULL) {
            *culprit = instances[i];
        }
        if (instances[i]->waiting) {
            return -PIOMMU_EWAITING;
        }
        if (instances[i]->unit == NULL) {
            return -PIOMMU_EFAILED;
        }
        if (instances[i]->context != first->context ||
            instances[i]->backend->kind != first->backend->kind || !add(limits, table)) {
            return -PIOMMU_EMIXED;
        }
    }
    if (PIOMMU_CORE_WITH_TABLES) {
        tidy_shared(requirements);
        table->leaf_sizes = table->leaf_sizes != UINT64_MAX ? table->leaf_sizes : 0;
    }
    return 0;
}

int piommu_requirements_get(struct piommu_instance *const *instances, size_t count,
                            struct piommu_requirements *requirements,
                            struct piommu_instance **culprit)
{
    struct piommu_requirements result;
    struct piommu_pgtable_config table;
    struct piommu_instance *last = NULL;
    int error;

    if (instances == NULL || count == 0 || requirements == NULL) {
        return -PIOMMU_EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (instances[i] == NULL) {
            return -PIOMMU_EINVAL;
        }
    }
    error = piommu_intersect_(instances, count, &result, &table, &last);
    if (error == 0) {
        *requirements = result;
    } else if (culprit != NULL) {
        *culprit = last;
    }
    return error;
}

const char *piommu_limit_name(enum piommu_limit limit)
{
    static const char *const names[] = {
        [PIOMMU_LIMIT_APERTURE] = "addresses",
        [PIOMMU_LIMIT_GRANULE] = "granule",
        [PIOMMU_LIMIT_LEAF_SIZES] = "leaf sizes",
        [PIOMMU_LIMIT_PROT] = "permissions",
        [PIOMMU_LIMIT_IDENTITY] = "identity domains",
        [PIOMMU_LIMIT_OUTPUT_BITS] = "width of physical addresses",
        [PIOMMU_LIMIT_COHERENT_WALK] = "coherency of walks",
        [PIOMMU_LIMIT_SHARED_FORMATS] = "format of shared tables",
        [PIOMMU_LIMIT_SHARED_GRANULES] = "granule of shared tables",
        [PIOMMU_LIMIT_SHARED_INPUT] = "input width of shared tables",
        [PIOMMU_LIMIT_SHARED_START] = "start level of shared tables",
        [PIOMMU_LIMIT_SHARED_CONCATENATED] = "concatenation of shared tables",
        [PIOMMU_LIMIT_SHARED_OUTPUT] = "output width of shared tables",
        [PIOMMU_LIMIT_SHARED_LEAF_SIZES] = "leaf sizes of shared tables",
        [PIOMMU_LIMIT_SHARED_FEATURES] = "descriptor features of shared tables",
        [PIOMMU_LIMIT_SHARED_COHERENT] = "coherency of walks of shared tables",
    };
    unsigned int index = (unsigned int)limit;

    return index < PIOMMU_LIMITS ? names[index] : "unknown limit";
}

/* The limit that a table of the CPU breaks, or PIOMMU_LIMITS. */
static enum piommu_limit broken_limit(const struct piommu_shared_limits *limits,
                                      const struct piommu_pgtable_info *table)
{
    const uint32_t features = PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_DIRTY |
                              PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX;
    uint64_t tables = table->root_size / table->granule;

    if ((limits->formats & (1u << table->format)) == 0) {
        return PIOMMU_LIMIT_SHARED_FORMATS;
    }
    if ((limits->granules & table->granule) == 0) {
        return PIOMMU_LIMIT_SHARED_GRANULES;
    }
    if (table->input_bits < limits->input_first || table->input_bits > limits->input_last) {
        return PIOMMU_LIMIT_SHARED_INPUT;
    }
    if (table->start_level < limits->start_first || table->start_level > limits->start_last) {
        return PIOMMU_LIMIT_SHARED_START;
    }
    if (tables > limits->concatenated && tables > 1) {
        return PIOMMU_LIMIT_SHARED_CONCATENATED;
    }
    if (table->output_bits > limits->output_bits) {
        return PIOMMU_LIMIT_SHARED_OUTPUT;
    }
    if ((table->leaf_sizes & ~limits->leaf_sizes) != 0) {
        return PIOMMU_LIMIT_SHARED_LEAF_SIZES;
    }
    if ((table->flags & features & ~limits->features) != 0 ||
        (table->registers.stage2.ds && !limits->ds)) {
        return PIOMMU_LIMIT_SHARED_FEATURES;
    }
    if (table->coherent_walk && !limits->coherent_walk) {
        return PIOMMU_LIMIT_SHARED_COHERENT;
    }
    return PIOMMU_LIMITS;
}

int piommu_check_shared_(struct piommu_instance *instance, const struct piommu_pgtable_info *table)
{
    enum piommu_limit limit = broken_limit(&instance->info.shared, table);

    if (limit == PIOMMU_LIMITS) {
        return 0;
    }
    piommu_host_log_(instance->host, PIOMMU_LOG_WARNING, "%s: cannot share a table: %s",
                     text_value(instance->config.name), text_value(piommu_limit_name(limit)), 0);
    return -PIOMMU_EOPNOTSUPP;
}
