/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_rules.h"

#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

#define SHARE_COUNT 4u

static bool is_stage1(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_64_LPAE_S1 || config->format == PIOMMU_ARM_32_LPAE_S1;
}

static bool is_32_bit(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_32_LPAE_S1 || config->format == PIOMMU_ARM_32_LPAE_S2;
}

static bool has_flag(const struct piommu_pgtable_config *config, uint32_t flag)
{
    return (config->flags & flag) != 0;
}

static unsigned int shift_of(uint64_t power_of_two)
{
    unsigned int shift = 0;

    while (power_of_two >> shift > 1) {
        shift++;
    }
    return shift;
}

static uint32_t legal_flags(const struct piommu_pgtable_config *config)
{
    uint32_t flags = PIOMMU_PGTABLE_BBM_LEVEL_2 | PIOMMU_PGTABLE_DISJOINT;

    switch (config->format) {
    case PIOMMU_ARM_64_LPAE_S1:
        return flags | PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE |
               PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_DIRTY;
    case PIOMMU_ARM_64_LPAE_S2:
        return flags | PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX |
               PIOMMU_PGTABLE_CONCATENATE | PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_CONTIGUOUS |
               PIOMMU_PGTABLE_DIRTY;
    case PIOMMU_ARM_32_LPAE_S1:
        return flags | PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_NON_SECURE;
    case PIOMMU_ARM_32_LPAE_S2:
        return flags | PIOMMU_PGTABLE_CONCATENATE;
    }
    return 0;
}

static unsigned int smallest_input(const struct piommu_pgtable_config *config)
{
    if (!has_flag(config, PIOMMU_PGTABLE_SMALL_INPUT)) {
        return 25;
    }
    return config->granule == 65536 ? 17 : 16;
}

static unsigned int largest_input(const struct piommu_pgtable_config *config)
{
    unsigned int largest = 52;

    if (is_32_bit(config)) {
        largest = !is_stage1(config) ? 40 : has_flag(config, PIOMMU_PGTABLE_TTBR1) ? 31 : 32;
    }
    return !is_stage1(config) && config->output_bits < largest ? config->output_bits : largest;
}

static bool output_exists(const struct piommu_pgtable_config *config)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 52};

    for (size_t i = 0; i < sizeof(sizes); i++) {
        if (config->output_bits == sizes[i]) {
            return !is_32_bit(config) || sizes[i] <= 40;
        }
    }
    return false;
}

/* All sizes of leaves that the granule has with any widths. */
static uint64_t named_sizes(const struct piommu_pgtable_config *config)
{
    switch (config->granule) {
    case 4096:
        return BIT(12) | BIT(21) | BIT(30) | BIT(39);
    case 16384:
        return BIT(14) | BIT(25) | BIT(36);
    default:
        return BIT(16) | BIT(29) | BIT(42);
    }
}

int rules_judge_config(const struct piommu_pgtable_config *config)
{
    if ((config->flags & ~PIOMMU_PGTABLE_FLAGS) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (config->format < PIOMMU_ARM_64_LPAE_S1 || config->format > PIOMMU_ARM_32_LPAE_S2 ||
        (config->granule != 4096 && config->granule != 16384 && config->granule != 65536) ||
        (is_32_bit(config) && config->granule != 4096) || !output_exists(config) ||
        (config->flags & ~legal_flags(config)) != 0 ||
        (has_flag(config, PIOMMU_PGTABLE_DIRTY) && !config->coherent_walk) ||
        config->input_bits < smallest_input(config) || config->input_bits > largest_input(config)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (config->leaf_sizes != 0 && ((config->leaf_sizes & config->granule) == 0 ||
                                    (config->leaf_sizes & ~named_sizes(config)) != 0)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

bool rules_is_disjoint(const struct pgtable_rules *rules)
{
    return has_flag(&rules->config, PIOMMU_PGTABLE_DISJOINT);
}

unsigned int rules_level_shift(const struct pgtable_rules *rules, int level)
{
    return rules->granule_shift + (unsigned int)(3 - level) * rules->index_bits;
}

/* May a stage-2 walk of this hardware start here at all? */
static bool stage2_may_start(const struct pgtable_rules *rules, int level)
{
    unsigned int shift = rules_level_shift(rules, level);
    unsigned int input = rules->config.input_bits;
    unsigned int output = rules->config.output_bits;

    if (input < shift + 1 || input > shift + rules->index_bits + 4) {
        return false;
    }
    if (rules->is_32_bit) {
        return level == 1 || level == 2;
    }
    switch (rules->granule_shift) {
    case 12:
        return level == 3   ? has_flag(&rules->config, PIOMMU_PGTABLE_SMALL_INPUT)
               : level == 0 ? output >= 44
                            : level >= 0 || rules->has_ds;
    case 14:
        return level == 0 ? rules->has_ds : level == 1 ? output >= 42 : true;
    default:
        return level != 1 || output >= 44;
    }
}

static int lowest_level(const struct pgtable_rules *rules)
{
    if (rules->is_32_bit || rules->granule_shift == 16) {
        return 1;
    }
    return rules->granule_shift == 12 && rules->has_ds ? -1 : 0;
}

static int find_start_level(const struct pgtable_rules *rules)
{
    unsigned int input = rules->config.input_bits;
    bool concatenate = has_flag(&rules->config, PIOMMU_PGTABLE_CONCATENATE);

    for (int level = 3; level >= lowest_level(rules); level--) {
        bool suffices = input <= rules_level_shift(rules, level) + rules->index_bits;

        if (rules->stage == 1 ? suffices
                              : (suffices || concatenate) && stage2_may_start(rules, level)) {
            return level;
        }
    }
    for (int level = 3; level >= lowest_level(rules); level--) {
        if (rules->stage == 2 && stage2_may_start(rules, level)) {
            return level;
        }
    }
    return 4; /* nothing fits: whoever compares will see it */
}

static bool has_leaves(const struct pgtable_rules *rules, int level)
{
    if (level >= 2) {
        return true;
    }
    switch (rules->granule_shift) {
    case 12:
        return level == 1 || (level == 0 && rules->has_ds);
    case 14:
        return level == 1 && rules->has_ds;
    default:
        return level == 1 && rules->config.output_bits == 52;
    }
}

static unsigned int group_members(const struct pgtable_rules *rules, int level)
{
    switch (rules->granule_shift) {
    case 12:
        return level >= 1 ? 16 : 0;
    case 14:
        return level == 3 ? 128 : level == 2 ? 32 : 0;
    default:
        return level >= 2 ? 32 : 0;
    }
}

static bool size_fits(const struct pgtable_rules *rules, uint64_t size)
{
    return size - 1 <= rules->aperture.last - rules->aperture.first &&
           size - 1 <= rules->output_last;
}

static void find_sizes(struct pgtable_rules *rules)
{
    uint64_t wanted = rules->config.leaf_sizes;

    for (int level = rules->start_level; level <= 3; level++) {
        uint64_t size = BIT(rules_level_shift(rules, level));
        uint64_t group = size * group_members(rules, level);

        if (!has_leaves(rules, level) || !size_fits(rules, size) ||
            (wanted != 0 && (wanted & size) == 0)) {
            continue;
        }
        if (group != 0 && has_flag(&rules->config, PIOMMU_PGTABLE_CONTIGUOUS) &&
            size_fits(rules, group)) {
            rules->contiguous_sizes |= group;
            rules->sizes[rules->size_count++] = group;
        }
        rules->leaf_sizes |= size;
        rules->sizes[rules->size_count++] = size;
    }
}

void rules_of_config(const struct piommu_pgtable_config *config, struct pgtable_rules *rules)
{
    uint64_t span = BIT(config->input_bits) - 1;

    memset(rules, 0, sizeof(*rules));
    rules->config = *config;
    rules->stage = is_stage1(config) ? 1 : 2;
    rules->is_32_bit = is_32_bit(config);
    rules->has_ds =
        config->granule != 65536 && (config->input_bits > 48 || config->output_bits > 48);
    rules->granule_shift = shift_of(config->granule);
    rules->index_bits = rules->granule_shift - 3;
    rules->aperture.last = span;
    if (has_flag(config, PIOMMU_PGTABLE_TTBR1)) {
        rules->aperture.last = rules->is_32_bit ? UINT32_MAX : UINT64_MAX;
        rules->aperture.first = rules->aperture.last - span;
    }
    rules->output_last = BIT(config->output_bits) - 1;
    rules->start_level = find_start_level(rules);
    rules->root_size = UINT64_C(8)
                       << (config->input_bits - rules_level_shift(rules, rules->start_level));
    find_sizes(rules);
}

struct piommu_pgtable_config rules_choose_config(const uint16_t *numbers)
{
    static const uint32_t granules[] = {4096, 16384, 65536};
    static const uint8_t outputs[] = {32, 36, 40, 42, 44, 48, 52};
    static const uint16_t quotas[] = {0, 0, 1, 2, 8, 65535};
    struct piommu_pgtable_config config = {
        .format = (enum piommu_pgtable_format)(numbers[0] % 4 + 1),
        .granule = granules[numbers[1] % 3],
        .output_bits = outputs[numbers[2] % 7],
        .coherent_walk = numbers[3] % 4 != 0,
        .empty_tables_kept = quotas[numbers[4] % 6],
    };
    unsigned int lowest;

    if (is_32_bit(&config)) {
        config.granule = 4096;
        config.output_bits = outputs[numbers[2] % 3];
    }
    config.flags = (numbers[5] & PIOMMU_PGTABLE_FLAGS) & legal_flags(&config);
    if (has_flag(&config, PIOMMU_PGTABLE_DIRTY)) {
        config.coherent_walk = true;
    }
    lowest = smallest_input(&config);
    config.input_bits = (uint8_t)(lowest + numbers[6] % (largest_input(&config) - lowest + 1));
    if (numbers[7] % 4 == 0) {
        /* The widths that real hardware has are worth more than the others. */
        static const uint8_t usual[] = {32, 36, 39, 40, 42, 44, 48, 52};
        uint8_t bits = usual[numbers[6] % 8];

        config.input_bits = bits <= largest_input(&config) ? bits : config.input_bits;
    }
    if (numbers[8] % 2 == 0) {
        unsigned int which = numbers[8] / 2;

        config.leaf_sizes = config.granule;
        for (unsigned int shift = config.granule == 4096 ? 21 : 25; shift < 43; shift++) {
            if ((named_sizes(&config) >> shift & 1) != 0) {
                config.leaf_sizes |= (which & 1) != 0 ? BIT(shift) : 0;
                which >>= 1;
            }
        }
    }
    return config;
}

int rules_level_of_size(const struct pgtable_rules *rules, uint64_t size, bool *is_group)
{
    for (int level = rules->start_level; level <= 3; level++) {
        uint64_t member = BIT(rules_level_shift(rules, level));

        if (size == member || size == member * group_members(rules, level)) {
            *is_group = size != member;
            return level;
        }
    }
    return 4;
}

uint64_t rules_member_size(const struct pgtable_rules *rules, uint64_t leaf_size)
{
    bool is_group;

    return BIT(rules_level_shift(rules, rules_level_of_size(rules, leaf_size, &is_group)));
}

/* ---- prot ---- */

static int judge_stage1_access(const struct pgtable_rules *rules, piommu_prot prot)
{
    bool execute = (prot & PIOMMU_PROT_EXECUTE) != 0;
    bool execute_privileged = (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0;
    bool privileged = (prot & PIOMMU_PROT_PRIVILEGED) != 0;

    if ((prot & PIOMMU_PROT_READ) == 0 || (privileged && execute) ||
        (execute_privileged && !privileged && (prot & PIOMMU_PROT_WRITE) != 0) ||
        (rules->is_32_bit && execute_privileged && !privileged && !execute)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

static int judge_stage2_access(const struct pgtable_rules *rules, piommu_prot prot)
{
    piommu_prot execute = prot & PIOMMU_PROT_EXECUTE_ALL;

    if ((prot & PIOMMU_PROT_PRIVILEGED) != 0) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (execute != 0 && execute != PIOMMU_PROT_EXECUTE_ALL &&
        !has_flag(&rules->config, PIOMMU_PGTABLE_XNX)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return rules->is_32_bit && execute != 0 && (prot & PIOMMU_PROT_READ) == 0 ? -PIOMMU_EOPNOTSUPP
                                                                              : 0;
}

int rules_judge_access(const struct pgtable_rules *rules, piommu_prot prot)
{
    if ((prot & ~(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK)) != 0 ||
        (prot & (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL)) == 0) {
        return -PIOMMU_EINVAL;
    }
    return rules->stage == 1 ? judge_stage1_access(rules, prot) : judge_stage2_access(rules, prot);
}

unsigned int rules_shareability(const struct pgtable_rules *rules, piommu_prot prot)
{
    static const unsigned int encodings[SHARE_COUNT] = {3, 0, 2, 3};

    if ((prot & (PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE)) != 0) {
        return 2;
    }
    if (rules->has_ds) {
        return rules->config.coherent_walk ? 3 : 2;
    }
    return encodings[(prot & PIOMMU_PROT_SHARE_MASK) / PIOMMU_PROT_SHARE_NONE];
}

/* The flag that names what is so without a flag. */
static piommu_prot default_share(const struct pgtable_rules *rules, piommu_prot prot)
{
    return rules_shareability(rules, prot & ~PIOMMU_PROT_SHARE_MASK) == 2 ? PIOMMU_PROT_SHARE_OUTER
                                                                          : PIOMMU_PROT_SHARE_INNER;
}

int rules_judge_prot(const struct pgtable_rules *rules, piommu_prot prot)
{
    piommu_prot kind = prot & (PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE);
    piommu_prot share = prot & PIOMMU_PROT_SHARE_MASK;
    int error;

    if ((prot & ~PIOMMU_PROT_ALL) != 0) {
        return -PIOMMU_EINVAL;
    }
    error = rules_judge_access(rules, prot & (PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK));
    if (error != 0) {
        return error;
    }
    if (kind == (PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE) ||
        (share != 0 && (kind != 0 || rules->has_ds) && share != default_share(rules, prot)) ||
        (rules->stage == 2 && (prot & PIOMMU_PROT_GLOBAL) != 0)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

piommu_prot rules_normal_prot(const struct pgtable_rules *rules, piommu_prot prot)
{
    if ((prot & PIOMMU_PROT_SHARE_MASK) == default_share(rules, prot)) {
        prot &= ~PIOMMU_PROT_SHARE_MASK;
    }
    return prot;
}

piommu_prot rules_choose_prot(const struct pgtable_rules *rules, uint16_t number, bool wild)
{
    piommu_prot prot = number & PIOMMU_PROT_ALL;

    if (number >> 13 == 7) {
        return wild ? prot | ((number & 0x1000u) << 2) : PIOMMU_PROT_READ;
    }
    if (number >> 13 < 5) {
        /* Few kinds, so that neighbours have something in common. */
        return number % 4 == 3 ? PIOMMU_PROT_READ
                               : (piommu_prot)(PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    }
    if ((prot & (PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE)) ==
        (PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE)) {
        prot &= ~PIOMMU_PROT_DEVICE;
    }
    if (rules->stage == 2) {
        prot &= ~PIOMMU_PROT_GLOBAL;
    }
    if (rules_judge_prot(rules, PIOMMU_PROT_READ | (prot & ~PIOMMU_PROT_ACCESS)) != 0) {
        prot &= ~PIOMMU_PROT_SHARE_MASK;
    }
    while (rules_judge_prot(rules, prot) != 0) {
        prot = (prot & ~PIOMMU_PROT_ACCESS) | ((prot + 1) & PIOMMU_PROT_ACCESS);
    }
    return prot;
}

/* ---- Ranges ---- */

int rules_judge_range(const struct pgtable_rules *rules, uint64_t iova, uint64_t size)
{
    uint64_t mask = rules->config.granule - 1;

    if (size == 0 || (iova & mask) != 0 || (size & mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (iova < rules->aperture.first || iova > rules->aperture.last ||
        size - 1 > rules->aperture.last - iova) {
        return -PIOMMU_ERANGE;
    }
    return 0;
}

int rules_judge_output(const struct pgtable_rules *rules, uint64_t physical, uint64_t size)
{
    uint64_t mask = rules->config.granule - 1;

    if (size == 0 || (physical & mask) != 0 || (size & mask) != 0) {
        return -PIOMMU_EINVAL;
    }
    return physical > rules->output_last || size - 1 > rules->output_last - physical
               ? -PIOMMU_ERANGE
               : 0;
}
