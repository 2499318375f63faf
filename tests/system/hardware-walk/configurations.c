/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Every geometry that there is: all granules, input sizes and output sizes. */

#include "groups.h"

#include "machine.h"

#include <string.h>

static bool is_stage2(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_64_LPAE_S2 || config->format == PIOMMU_ARM_32_LPAE_S2;
}

static bool is_32_bit(const struct piommu_pgtable_config *config)
{
    return config->format == PIOMMU_ARM_32_LPAE_S1 || config->format == PIOMMU_ARM_32_LPAE_S2;
}

bool configuration_exists(const struct piommu_pgtable_config *config)
{
    unsigned int least = 25, most = 52;

    if (is_32_bit(config)) {
        most = is_stage2(config) ? 40 : (config->flags & PIOMMU_PGTABLE_TTBR1) != 0 ? 31 : 32;
        if (config->granule != 4096 || config->output_bits > 40 || config->output_bits == 42) {
            return false;
        }
    } else if ((config->flags & PIOMMU_PGTABLE_SMALL_INPUT) != 0) {
        least = config->granule == 65536 ? 17 : 16;
    }
    if (is_stage2(config) && config->input_bits > config->output_bits) {
        return false;
    }
    return config->input_bits >= least && config->input_bits <= most;
}

bool configuration_is_judged(const struct piommu_pgtable_config *config)
{
    struct model_geometry geometry;

    model_geometry(config, &geometry);
    if (config->format == PIOMMU_ARM_64_LPAE_S2 && geometry.has_ds) {
        /* QEMU 7.2 refuses these two starts, which the architecture allows. */
        if (config->granule == 16384 && geometry.start_level == 0) {
            return false;
        }
        if (geometry.start_level == -1 && config->input_bits != 52) {
            return false;
        }
    }
    return true;
}

/* One leaf of a size, alone in the table. */
static void test_leaf(struct subject *subject, const struct model_size *leaf, unsigned int place)
{
    const struct model_geometry *geometry = &subject->model.geometry;
    uint64_t mask = (1ull << leaf->shift) - 1;
    uint64_t iova, physical;

    switch (place) {
    case 0:
        iova = geometry->input.first;
        break;
    case 1:
        iova = geometry->input.last - mask;
        break;
    default:
        iova = geometry->input.first +
               (random_bits(&subject->random, subject->config.input_bits) & ~mask);
        break;
    }
    physical = random_bits(&subject->random, geometry->output_bits) & ~mask;
    if (random_percent(&subject->random, 30)) {
        physical = ((1ull << geometry->output_bits) - 1) & ~mask;
    }
    if (((subject->pinned ^ iova) & ~mask) == 0 && subject->pinned != 0) {
        return; /* that place is taken */
    }
    subject->step++;
    subject_map(subject, iova, physical, mask + 1, subject_random_prot(subject));
    subject_judge_range(subject, iova, iova + mask);
    subject_judge(subject, iova + random_bits(&subject->random, leaf->shift));
    subject_unmap(subject, iova, mask + 1);
    subject_judge(subject, iova);
}

/* A leaf of each size in one list, the largest first. */
static void test_list(struct subject *subject)
{
    const struct model_geometry *geometry = &subject->model.geometry;
    struct piommu_segment segments[MODEL_SIZES];
    size_t count = 0;
    unsigned int i = 0;
    uint64_t room = subject->config.input_bits - 1u; /* log2 */
    uint64_t iova, end;

    while (i < geometry->size_count && geometry->sizes[i].shift > room) {
        i++;
    }
    if (i == geometry->size_count) {
        return;
    }
    iova = geometry->input.first + (random_bits(&subject->random, subject->config.input_bits) >>
                                    geometry->sizes[i].shift << geometry->sizes[i].shift);
    end = iova;
    for (; i < geometry->size_count; i++) {
        uint64_t size = 1ull << geometry->sizes[i].shift;
        uint64_t physical = random_bits(&subject->random, geometry->output_bits) & ~(size - 1);

        if (geometry->input.last - end < size - 1 ||
            (((subject->pinned ^ end) & ~(size - 1)) == 0 && subject->pinned != 0) ||
            (count > 0 && physical == segments[count - 1].physical + segments[count - 1].size)) {
            break;
        }
        segments[count++] = (struct piommu_segment){physical, size};
        if (geometry->input.last - end == size - 1) {
            break;
        }
        end += size;
    }
    if (count == 0) {
        return;
    }
    subject->step++;
    subject_map_list(subject, iova, segments, count, subject_random_prot(subject));
    for (unsigned int run = 0; run < subject->model.count; run++) {
        subject_judge_range(subject, subject->model.runs[run].first, subject->model.runs[run].last);
    }
    subject_judge_aperture(subject);
    subject_check_structure(subject);
    subject_unmap_leaves(subject, geometry->input.first, geometry->input.last);
    subject_judge(subject, iova);
}

static void test_configuration(const struct piommu_pgtable_config *config, uint64_t seed)
{
    static struct subject subject;

    if (!subject_create(&subject, "configurations", config, seed)) {
        return;
    }
    subject_use(&subject);
    subject_judge_aperture(&subject);
    for (unsigned int i = 0; i < subject.model.geometry.size_count; i++) {
        for (unsigned int place = 0; place < 3; place++) {
            test_leaf(&subject, &subject.model.geometry.sizes[i], place);
        }
    }
    test_list(&subject);
    subject_destroy(&subject);
}

/* Is this one of those that a well-known self-test of page tables goes through? */
static bool is_usual(const struct piommu_pgtable_config *config)
{
    const uint64_t usual =
        1ull << 32 | 1ull << 36 | 1ull << 40 | 1ull << 42 | 1ull << 44 | 1ull << 48;

    return (usual >> config->input_bits & 1) != 0 && (usual >> config->output_bits & 1) != 0 &&
           config->input_bits <= config->output_bits &&
           (config->flags & (PIOMMU_PGTABLE_TTBR1 | PIOMMU_PGTABLE_CONCATENATE)) == 0;
}

static unsigned int usual_count;

/* All sizes of a format and granule. */
static void test_sizes(const char *name, enum piommu_pgtable_format format, uint32_t granule,
                       uint32_t flags, struct random *random)
{
    static const uint8_t outputs[] = {32, 36, 40, 42, 44, 48, 52};
    struct tally tally = tally_start(name);

    for (unsigned int output = 0; output < sizeof(outputs); output++) {
        for (uint8_t input = 16; input <= 52; input++) {
            struct piommu_pgtable_config config;
            uint64_t seed = random_next(random);

            memset(&config, 0, sizeof(config));
            config.format = format;
            config.granule = granule;
            config.input_bits = input;
            config.output_bits = outputs[output];
            config.flags = flags;
            config.coherent_walk = (seed & 1) != 0;
            if (!is_32_bit(&config)) {
                config.flags |= input < 25 ? PIOMMU_PGTABLE_SMALL_INPUT : 0;
                config.flags |= (seed & 2) != 0 ? PIOMMU_PGTABLE_CONTIGUOUS : 0;
                config.flags |= (seed & 4) != 0 ? PIOMMU_PGTABLE_BBM_LEVEL_2 : 0;
            }
            if (!is_stage2(&config)) {
                config.flags |= (seed & 8) != 0 ? PIOMMU_PGTABLE_NON_SECURE : 0;
            } else if (!is_32_bit(&config)) {
                config.flags |= (seed & 8) != 0 ? PIOMMU_PGTABLE_FORCE_WRITE_BACK : 0;
                config.flags |= (seed & 16) != 0 ? PIOMMU_PGTABLE_XNX : 0;
            }
            if (!configuration_exists(&config) || !configuration_is_judged(&config)) {
                continue;
            }
            usual_count += is_usual(&config) ? 1 : 0;
            tally.tables++;
            test_configuration(&config, seed);
        }
    }
    tally_end(&tally);
}

static void test_64_bit(struct random *random)
{
    static const struct {
        const char *names[3];
        enum piommu_pgtable_format format;
        uint32_t flags;
    } kinds[] = {
        {{"stage 1, TTBR0, 4K", "stage 1, TTBR0, 16K", "stage 1, TTBR0, 64K"},
         PIOMMU_ARM_64_LPAE_S1,
         0},
        {{"stage 1, TTBR1, 4K", "stage 1, TTBR1, 16K", "stage 1, TTBR1, 64K"},
         PIOMMU_ARM_64_LPAE_S1,
         PIOMMU_PGTABLE_TTBR1},
        {{"stage 2, 4K", "stage 2, 16K", "stage 2, 64K"}, PIOMMU_ARM_64_LPAE_S2, 0},
        {{"stage 2, 4K, concatenated", "stage 2, 16K, concatenated", "stage 2, 64K, concatenated"},
         PIOMMU_ARM_64_LPAE_S2,
         PIOMMU_PGTABLE_CONCATENATE},
    };
    static const uint32_t granules[] = {4096, 16384, 65536};

    for (unsigned int kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (unsigned int i = 0; i < 3; i++) {
            test_sizes(kinds[kind].names[i], kinds[kind].format, granules[i], kinds[kind].flags,
                       random);
        }
    }
    /* Three granules, two stages, and six sizes of which the input is not above the output. */
    if (usual_count != 126) {
        machine_printf("FAIL %u instead of 126 of the usual geometries\n", usual_count);
        failures++;
    }
}

void group_configurations(uint64_t seed)
{
    struct random random = {seed};

    if (sizeof(void *) > 4) {
        test_64_bit(&random);
    }
    test_sizes("32-bit stage 1, TTBR0", PIOMMU_ARM_32_LPAE_S1, 4096, 0, &random);
    test_sizes("32-bit stage 1, TTBR1", PIOMMU_ARM_32_LPAE_S1, 4096, PIOMMU_PGTABLE_TTBR1, &random);
    if (sizeof(void *) == 4) {
        test_sizes("32-bit stage 2", PIOMMU_ARM_32_LPAE_S2, 4096, 0, &random);
        test_sizes("32-bit stage 2, concatenated", PIOMMU_ARM_32_LPAE_S2, 4096,
                   PIOMMU_PGTABLE_CONCATENATE, &random);
    }
}
