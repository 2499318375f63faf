/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Two tables at once: one for each half of the space; and a stage 1 on top of a stage 2. */

#include "groups.h"
#include "memory.h"

#include "machine.h"

#include <string.h>

/* That one operation makes; where leaf sizes are missing, it could be millions. */
#define MAX_LEAVES 600u

static void map_some(struct subject *subject, unsigned int count)
{
    const struct model_geometry *geometry = &subject->model.geometry;

    for (unsigned int i = 0; i < count; i++) {
        unsigned int shift =
            geometry->sizes[random_below(&subject->random, geometry->size_count)].shift;
        uint64_t size = 1ull << shift;
        uint64_t iova = geometry->input.first +
                        (random_bits(&subject->random, subject->config.input_bits) & ~(size - 1));
        uint64_t physical = random_bits(&subject->random, geometry->output_bits) & ~(size - 1);

        if (model_count_leaves(&subject->model, iova, physical, size, MAX_LEAVES) < MAX_LEAVES) {
            subject_map(subject, iova, physical, size, subject_random_prot(subject));
        }
    }
}

/* Both halves: granule and input may differ, the output width may not. */
static void test_halves(enum piommu_pgtable_format format, struct random *random, uint64_t seed)
{
    bool is_32_bit = format == PIOMMU_ARM_32_LPAE_S1;
    static struct subject lower, upper;
    struct piommu_pgtable_config configs[2];
    struct cpu_regime regime;

    do {
        for (unsigned int i = 0; i < 2; i++) {
            random_configuration(random, format, &configs[i]);
            configs[i].flags &= ~PIOMMU_PGTABLE_TTBR1;
        }
        if (is_32_bit && configs[1].input_bits == 32) {
            configs[1].input_bits = 31; /* the most that an upper half can have */
        }
        configs[1].output_bits = configs[0].output_bits;
        configs[1].leaf_sizes = 0;
        configs[1].flags |= PIOMMU_PGTABLE_TTBR1;
    } while ((configs[0].granule != 65536 && configs[0].input_bits > 48) ||
             (configs[1].granule != 65536 && configs[1].input_bits > 48) ||
             /* ds is one bit for both. */
             (configs[0].output_bits == 52 &&
              (configs[0].granule == 65536) != (configs[1].granule == 65536)));

    if (!subject_create(&lower, "halves", &configs[0], seed)) {
        return;
    }
    /* The first one still has memory, so the second one cannot check for leaks. */
    if (!subject_create(&upper, "halves", &configs[1], seed + 1)) {
        subject_destroy(&lower);
        return;
    }
    regime = lower.regime;
    regime.ttbr1 = upper.regime.ttbr1;
    regime.tcr = is_32_bit ? piommu_pgtable_ttbcr(&lower.info, &upper.info)
                           : piommu_pgtable_tcr_el1(&lower.info, &upper.info);
    if (regime.tcr != ((lower.regime.tcr | upper.regime.tcr) & ~(1ull << 7 | 1ull << 23))) {
        subject_fail(&lower, "the control register of both halves is 0x%llx",
                     (unsigned long long)regime.tcr);
    }
    cpu_use(&regime);
    lower.has_other_half = true;
    upper.has_other_half = true;
    map_some(&lower, 10);
    map_some(&upper, 10);
    subject_judge_runs(&lower, 8);
    subject_judge_runs(&upper, 8);
    subject_unmap_leaves(&lower, lower.info.aperture.first, lower.info.aperture.last);
    subject_judge_runs(&upper, 8);
    piommu_pgtable_destroy(upper.table);
    subject_destroy(&lower);
}

/* What a device behind both stages can reach: the oracle is one model after the other. */
static void judge_both(struct subject *first, const struct subject *second, uint64_t address)
{
    struct model_answer one = model_ask(&first->model, address);
    struct model_answer two;
    uint64_t expected;

    if (one.kind != MODEL_LEAF) {
        return;
    }
    two = model_ask(&second->model, one.physical);
    for (unsigned int access = 0; access < CPU_ACCESSES; access++) {
        piommu_prot needed =
            cpu_access_is_write((enum cpu_access)access) ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ;
        uint64_t par;
        uint64_t mask = CPU_PAR_FAULT_MASK;

        if ((one.prot & needed) == 0 || ((one.prot & PIOMMU_PROT_PRIVILEGED) != 0 &&
                                         !cpu_access_is_privileged((enum cpu_access)access))) {
            expected = CPU_PAR_FAULT | (CPU_STATUS_PERMISSION + (uint64_t)one.level)
                                           << CPU_PAR_STATUS_SHIFT;
        } else if (two.kind != MODEL_LEAF) {
            expected = CPU_PAR_FAULT | CPU_PAR_STAGE2 |
                       (CPU_STATUS_TRANSLATION + (uint64_t)two.level) << CPU_PAR_STATUS_SHIFT;
        } else if ((two.prot & needed) == 0) {
            expected = CPU_PAR_FAULT | CPU_PAR_STAGE2 |
                       (CPU_STATUS_PERMISSION + (uint64_t)two.level) << CPU_PAR_STATUS_SHIFT;
        } else {
            /* Attributes are combined by rules that are not the library's business. */
            mask = CPU_PAR_FAULT | CPU_PAR_PHYSICAL_MASK;
            expected = two.physical & CPU_PAR_PHYSICAL_MASK;
        }
        par = cpu_translate((enum cpu_access)access, address);
        if (((par ^ expected) & mask) != 0) {
            subject_fail(first, "both stages, access %u to 0x%llx: PAR is 0x%llx, should be 0x%llx",
                         access, (unsigned long long)address, (unsigned long long)par,
                         (unsigned long long)expected);
        }
    }
}

static void test_both_stages(struct random *random, uint64_t seed)
{
    static struct subject first, second;
    static const uint32_t granules[] = {4096, 16384, 65536};
    struct piommu_pgtable_config config;
    struct cpu_regime regime;

    memset(&config, 0, sizeof(config));
    config.format = PIOMMU_ARM_64_LPAE_S2;
    config.granule = granules[random_below(random, 3)];
    config.input_bits = (uint8_t)(36 + random_below(random, 9));
    config.output_bits = (uint8_t)(44 + 4 * random_below(random, 2));
    config.coherent_walk = true;
    if (!subject_create(&second, "both stages", &config, seed)) {
        return;
    }
    config.format = PIOMMU_ARM_64_LPAE_S1;
    config.granule = granules[random_below(random, 3)];
    config.output_bits = config.input_bits >= 42 ? 42 : 36;
    config.input_bits = (uint8_t)(25 + random_below(random, 24));
    if (!subject_create(&first, "both stages", &config, seed + 1)) {
        piommu_pgtable_destroy(second.table);
        return;
    }
    /* Stage 2 has to let the CPU read the tables of stage 1. */
    subject_map(&second, 0x40000000, 0x40000000, 0x40000000, PIOMMU_PROT_READ);
    subject_map(&second, 0x100000000, 0x100000000, 0x20000000, PIOMMU_PROT_READ);
    map_some(&second, 20);
    for (unsigned int i = 0; i < 20; i++) {
        /* Leads to where stage 2 has something, or nearly so. */
        const struct model_run *run =
            &second.model.runs[random_below(&first.random, second.model.count)];
        uint64_t mask = ~(first.config.granule - 1ull);
        uint64_t iova = random_bits(&first.random, first.config.input_bits) & mask;
        uint64_t physical = run->last & mask;

        if (physical >> first.config.output_bits == 0) {
            subject_map(&first, iova, physical, first.config.granule, subject_random_prot(&first));
        }
    }
    map_some(&first, 5);
    regime = first.regime;
    regime.stages = CPU_BOTH_STAGES;
    regime.vtcr = second.regime.vtcr;
    regime.vttbr = second.regime.vttbr;
    cpu_use(&regime);
    for (unsigned int i = 0; i < first.model.count; i++) {
        const struct model_run *run = &first.model.runs[i];

        judge_both(&first, &second, run->first);
        judge_both(&first, &second, run->last);
        judge_both(&first, &second, run->first + (run->last - run->first) / 2);
    }
    piommu_pgtable_destroy(first.table);
    subject_destroy(&second);
}

void group_regimes(uint64_t seed)
{
    struct random random = {seed};
    struct tally tally = tally_start("both halves, 32-bit");

    for (unsigned int i = 0; i < 100; i++) {
        test_halves(PIOMMU_ARM_32_LPAE_S1, &random, random_next(&random));
        tally.tables += 2;
    }
    tally_end(&tally);
    if (sizeof(void *) == 4) {
        return;
    }

    tally = tally_start("both halves");
    for (unsigned int i = 0; i < 100; i++) {
        test_halves(PIOMMU_ARM_64_LPAE_S1, &random, random_next(&random));
        tally.tables += 2;
    }
    tally_end(&tally);

    tally = tally_start("both stages");
    for (unsigned int i = 0; i < 100; i++) {
        test_both_stages(&random, random_next(&random));
        tally.tables += 2;
    }
    tally_end(&tally);
}
