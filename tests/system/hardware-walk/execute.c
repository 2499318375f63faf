/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Who may execute what. Address translation instructions do not tell, so the CPU goes to the
 * address and tries: EL1 and EL0 have an instruction there that brings them back.
 */

#include "groups.h"

#include "machine.h"

#include <string.h>

/* Memory that nothing else uses, aligned to the smallest blocks of all granules but 64K. */
#define VECTORS_BASE 0x70000000ull
#define CODE_BASE    0x74000000ull
#define CODE_SIZE    0x02000000ull

static void test_address(struct subject *subject, uint64_t vectors, uint64_t address,
                         bool privileged)
{
    struct model_answer answer = model_ask(&subject->model, address);
    struct cpu_execution result;
    bool allowed = false;
    unsigned int status = CPU_STATUS_TRANSLATION;

    if (answer.kind == MODEL_LEAF) {
        allowed = (answer.prot &
                   (privileged ? PIOMMU_PROT_EXECUTE_PRIVILEGED : PIOMMU_PROT_EXECUTE)) != 0;
        status = CPU_STATUS_PERMISSION + (unsigned int)answer.level;
        *(volatile uint32_t *)(uintptr_t)answer.physical = CPU_TRIAL;
    } else if (answer.kind == MODEL_HOLE) {
        status = answer.level < 0 ? CPU_STATUS_TRANSLATION_MINUS_1
                                  : CPU_STATUS_TRANSLATION + (unsigned int)answer.level;
    }
    cpu_queries++;
    result = cpu_execute(address, privileged, vectors);
    if (subject_walker_executes(subject, address, privileged) != result.executed) {
        subject_fail(subject, "the walker is mistaken about %s execution at 0x%llx, prot 0x%x",
                     privileged ? "privileged" : "unprivileged", (unsigned long long)address,
                     (unsigned int)answer.prot);
    }
    if (result.executed != allowed) {
        subject_fail(subject, "%s execution at 0x%llx, prot 0x%x, is %s",
                     privileged ? "privileged" : "unprivileged", (unsigned long long)address,
                     (unsigned int)answer.prot, result.executed ? "allowed" : "refused");
    } else if (!allowed && (result.status != status ||
                            result.stage2 != (subject->regime.stages == CPU_STAGE2))) {
        subject_fail(subject, "execution at 0x%llx: status 0x%x, should be 0x%x",
                     (unsigned long long)address, result.status, status);
    }
}

/* Tries one leaf with every prot. */
static void test_leaf(struct subject *subject, uint64_t vectors, const struct model_size *leaf)
{
    uint64_t mask = (1ull << leaf->shift) - 1;

    for (unsigned int i = 0; i < 40; i++) {
        piommu_prot prot = subject_random_prot(subject);
        uint64_t physical = CODE_BASE + (random_bits(&subject->random, 25) & ~mask);
        uint64_t iova = subject->model.geometry.input.first +
                        (random_bits(&subject->random, subject->config.input_bits) & ~mask);

        /* Fetching from Device memory is not defined. */
        prot &= ~(PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_SHARE_MASK);
        if ((vectors ^ iova) <= mask || (vectors ^ iova ^ (mask + 1)) <= mask) {
            continue;
        }
        subject->step++;
        subject_map(subject, iova, physical, mask + 1, prot);
        for (unsigned int privileged = 0; privileged < 2; privileged++) {
            test_address(subject, vectors, iova, privileged != 0);
            test_address(subject, vectors, iova + (mask & ~3ull), privileged != 0);
            test_address(subject, vectors, (iova ^ (mask + 1)), privileged != 0);
        }
        if (i % 2 != 0) {
            subject_protect(subject, iova, mask + 1, subject_random_prot(subject));
            test_address(subject, vectors, iova, false);
            test_address(subject, vectors, iova, true);
        }
        subject_unmap(subject, iova, mask + 1);
    }
}

static void test_configuration(const struct piommu_pgtable_config *config, uint64_t seed)
{
    static struct subject subject;
    piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_EXECUTE_ALL;
    uint64_t vectors;

    if (!subject_create(&subject, "execute", config, seed)) {
        return;
    }
    subject_use(&subject);
    vectors = subject.model.geometry.input.first +
              (random_bits(&subject.random, config->input_bits) & ~(config->granule - 1ull));
    *(volatile uint32_t *)(uintptr_t)(VECTORS_BASE + CPU_VECTOR_FROM_EL1) = CPU_VECTOR;
    *(volatile uint32_t *)(uintptr_t)(VECTORS_BASE + CPU_VECTOR_FROM_EL0) = CPU_VECTOR;
    subject_map(&subject, vectors, VECTORS_BASE, config->granule, prot);
    for (unsigned int i = 0; i < subject.model.geometry.size_count; i++) {
        if (1ull << subject.model.geometry.sizes[i].shift <= CODE_SIZE) {
            test_leaf(&subject, vectors, &subject.model.geometry.sizes[i]);
        }
    }
    subject_destroy(&subject);
}

static void test_kind(const char *name, enum piommu_pgtable_format format, uint32_t flags,
                      struct random *random)
{
    static const uint32_t granules[] = {4096, 16384, 65536};
    static const uint8_t inputs[] = {32, 39, 48};
    struct tally tally = tally_start(name);

    for (unsigned int granule = 0; granule < 3; granule++) {
        for (unsigned int input = 0; input < 3; input++) {
            struct piommu_pgtable_config config;

            memset(&config, 0, sizeof(config));
            config.format = format;
            config.granule = granules[granule];
            config.input_bits = inputs[input];
            config.output_bits = 48;
            config.coherent_walk = true;
            config.flags = flags;
            tally.tables++;
            test_configuration(&config, random_next(random));
        }
    }
    tally_end(&tally);
}

void group_execute(uint64_t seed)
{
    struct random random = {seed};

    test_kind("execution, stage 1, TTBR0", PIOMMU_ARM_64_LPAE_S1, 0, &random);
    test_kind("execution, stage 1, TTBR1", PIOMMU_ARM_64_LPAE_S1, PIOMMU_PGTABLE_TTBR1, &random);
    test_kind("execution, stage 2", PIOMMU_ARM_64_LPAE_S2, 0, &random);
    test_kind("execution, stage 2, XNX", PIOMMU_ARM_64_LPAE_S2, PIOMMU_PGTABLE_XNX, &random);
}
