/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Random programs of operations; after each, the CPU is asked around what was changed. */

#include "groups.h"

#include "machine.h"

#include <string.h>

#define STEPS               40u
#define MAX_LEAVES          600u   /* that one operation makes */
#define MAX_LEAVES_OF_A_CUT 20000u /* there may be two of 8192 at each end */
#define MAX_RUNS            400u   /* above that, the table is emptied */
#define SPOTS               5u     /* addresses around which a program works */

void random_configuration(struct random *random, enum piommu_pgtable_format format,
                          struct piommu_pgtable_config *config)
{
    static const uint8_t outputs[] = {32, 36, 40, 42, 44, 48, 52};
    static const uint32_t granules[] = {4096, 16384, 65536};
    static const uint32_t flags_64[] = {
        PIOMMU_PGTABLE_CONTIGUOUS,
        PIOMMU_PGTABLE_BBM_LEVEL_2,
    };
    static const uint32_t flags_s2[] = {
        PIOMMU_PGTABLE_FORCE_WRITE_BACK,
        PIOMMU_PGTABLE_XNX,
        PIOMMU_PGTABLE_CONCATENATE,
    };
    bool is_32_bit = format == PIOMMU_ARM_32_LPAE_S1 || format == PIOMMU_ARM_32_LPAE_S2;
    bool is_stage2 = format == PIOMMU_ARM_64_LPAE_S2 || format == PIOMMU_ARM_32_LPAE_S2;

    do {
        memset(config, 0, sizeof(*config));
        config->format = format;
        config->granule = is_32_bit ? 4096 : granules[random_below(random, 3)];
        config->input_bits = (uint8_t)(16 + random_below(random, 37));
        config->output_bits = outputs[random_below(random, sizeof(outputs))];
        config->coherent_walk = random_percent(random, 50);
        if (!is_32_bit) {
            config->flags |= config->input_bits < 25 ? PIOMMU_PGTABLE_SMALL_INPUT : 0;
            for (unsigned int i = 0; i < sizeof(flags_64) / sizeof(flags_64[0]); i++) {
                config->flags |= random_percent(random, 50) ? flags_64[i] : 0;
            }
        }
        if (is_stage2) {
            for (unsigned int i = is_32_bit ? 2 : 0; i < sizeof(flags_s2) / sizeof(flags_s2[0]);
                 i++) {
                config->flags |= random_percent(random, 50) ? flags_s2[i] : 0;
            }
        } else {
            config->flags |= random_percent(random, 50) ? PIOMMU_PGTABLE_TTBR1 : 0;
            config->flags |= random_percent(random, 50) ? PIOMMU_PGTABLE_NON_SECURE : 0;
        }
    } while (!configuration_exists(config) || !configuration_is_judged(config));

    if (random_percent(random, 15)) {
        /* Whether blocks take the place of empty tables is not foreseen here: pages only. */
        config->empty_tables_kept = (uint16_t)(1 + random_below(random, 4));
        config->leaf_sizes = config->granule;
        config->flags &= ~PIOMMU_PGTABLE_CONTIGUOUS;
    } else if (random_percent(random, 30)) {
        struct model_geometry geometry;

        /* Not all leaf sizes. */
        model_geometry(config, &geometry);
        config->leaf_sizes = config->granule;
        for (unsigned int i = 0; i < geometry.size_count; i++) {
            if (!geometry.sizes[i].is_group && random_percent(random, 50)) {
                config->leaf_sizes |= 1ull << geometry.sizes[i].shift;
            }
        }
    }
}

struct program {
    struct subject *subject;
    uint64_t spots[SPOTS];
};

/* Wraps an address into the aperture, and rounds it down to the granule. */
static uint64_t into_aperture(const struct subject *subject, uint64_t address)
{
    const struct piommu_range *input = &subject->model.geometry.input;
    uint64_t offset = (address - input->first) & (input->last - input->first);

    return input->first + (offset & ~(subject->config.granule - 1ull));
}

static void choose_spots(struct program *program)
{
    struct subject *subject = program->subject;
    const struct model_geometry *geometry = &subject->model.geometry;

    program->spots[0] = geometry->input.first;
    program->spots[1] = geometry->input.last;
    for (unsigned int i = 2; i < SPOTS; i++) {
        unsigned int shift =
            geometry->sizes[random_below(&subject->random, geometry->size_count)].shift;
        uint64_t offset = random_bits(&subject->random, subject->config.input_bits);

        program->spots[i] =
            into_aperture(subject, geometry->input.first + (offset >> shift << shift));
    }
}

/* A range near a spot, inside the aperture. */
static void choose_range(struct program *program, uint64_t *iova, uint64_t *size)
{
    struct subject *subject = program->subject;
    struct random *random = &subject->random;
    const struct model_geometry *geometry = &subject->model.geometry;
    unsigned int near = geometry->sizes[random_below(random, geometry->size_count)].shift;
    unsigned int unit = geometry->sizes[random_below(random, geometry->size_count)].shift;
    uint64_t granule = subject->config.granule;
    uint64_t address = program->spots[random_below(random, SPOTS)];
    uint64_t room;

    address += ((uint64_t)random_below(random, 8) - 4) << near;
    if (random_percent(random, 30)) {
        address += ((uint64_t)random_below(random, 8) - 4) * granule;
    }
    *iova = into_aperture(subject, address);
    *size = (1ull + random_below(random, 4)) << unit;
    if (random_percent(random, 30)) {
        *size += granule * random_below(random, 4);
    }
    room = geometry->input.last - *iova; /* less one */
    if (*size - 1 > room) {
        *size = room + 1;
    }
}

/* A range that has to do with one that is mapped. */
static void choose_mapped_range(struct program *program, uint64_t *iova, uint64_t *size)
{
    struct subject *subject = program->subject;
    struct random *random = &subject->random;
    const struct model *model = &subject->model;
    const struct model_run *run;
    uint64_t mask, first, last;

    if (model->count == 0 || random_percent(random, 25)) {
        choose_range(program, iova, size);
        return;
    }
    run = &model->runs[random_below(random, model->count)];
    first = run->first;
    last = run->last;
    mask =
        (1ull << (random_percent(random, 70) ? run->leaf.shift : model->geometry.page_shift)) - 1;
    if (random_percent(random, 50)) {
        first += random_next(random) % (last - first + 1) & ~mask;
    }
    if (random_percent(random, 50)) {
        last = first + (random_next(random) % (last - first + 1) | mask);
        last = last > run->last ? run->last : last;
    }
    *iova = first;
    *size = last - first + 1;
}

static void limit_leaves(const struct subject *subject, uint64_t iova, uint64_t physical,
                         uint64_t *size)
{
    if (model_count_leaves(&subject->model, iova, physical, *size, MAX_LEAVES) == MAX_LEAVES) {
        uint64_t most = (uint64_t)subject->config.granule * 64;

        *size = *size < most ? *size : most;
    }
}

static void step_map(struct program *program)
{
    struct subject *subject = program->subject;
    uint64_t iova, size, physical;

    choose_range(program, &iova, &size);
    if (size > 1ull << subject->config.output_bits) {
        size = 1ull << subject->config.output_bits;
    }
    physical = subject_random_physical(subject, iova, size);
    limit_leaves(subject, iova, physical, &size);
    subject_map(subject, iova, physical, size, subject_random_prot(subject));
    subject_judge_range(subject, iova, iova + (size - 1));
}

static void step_map_list(struct program *program)
{
    struct subject *subject = program->subject;
    const struct model_geometry *geometry = &subject->model.geometry;
    struct piommu_segment segments[6];
    size_t count = 0;
    size_t wanted = 1 + random_below(&subject->random, 6);
    uint64_t iova, size;
    uint64_t total = 0;

    choose_range(program, &iova, &size);
    while (count < wanted && geometry->input.last - iova > total) {
        uint64_t unused, physical;
        uint64_t room = geometry->input.last - (iova + total); /* less one */

        choose_range(program, &unused, &size);
        if (size > 1ull << subject->config.output_bits) {
            size = 1ull << subject->config.output_bits;
        }
        size = size - 1 > room ? room + 1 : size;
        physical = subject_random_physical(subject, iova + total, size);
        limit_leaves(subject, iova + total, physical, &size);
        if (count > 0 && physical == segments[count - 1].physical + segments[count - 1].size) {
            break; /* one longer segment: the library may use larger leaves than the model */
        }
        segments[count++] = (struct piommu_segment){physical, size};
        total += size;
    }
    subject_map_list(subject, iova, segments, count, subject_random_prot(subject));
    subject_judge_range(subject, iova, iova + (total - 1));
}

static void step_unmap_cut(struct program *program, uint64_t iova, uint64_t size)
{
    struct subject *subject = program->subject;

    /* Where sizes are missing, a cut can need millions of pages. */
    if (model_leaves_of_a_cut(&subject->model, iova) +
            model_leaves_of_a_cut(&subject->model, iova + (size - 1)) <
        MAX_LEAVES_OF_A_CUT) {
        subject_unmap_cut(subject, iova, size);
    }
}

static void step(struct program *program)
{
    struct subject *subject = program->subject;
    const struct model_geometry *geometry = &subject->model.geometry;
    uint32_t choice = random_below(&subject->random, 100);
    uint64_t iova, size;

    if (subject->model.count > MAX_RUNS) {
        subject_unmap_leaves(subject, geometry->input.first, geometry->input.last);
        return;
    }
    if (choice < 35) {
        step_map(program);
        return;
    }
    if (choice < 45) {
        step_map_list(program);
        return;
    }
    choose_mapped_range(program, &iova, &size);
    if (choice < 60) {
        subject_unmap(subject, iova, size);
    } else if (choice < 65) {
        subject_unmap_leaves(subject,
                             iova + random_below(&subject->random, subject->config.granule),
                             iova + (size - 1));
    } else if (choice < 85) {
        step_unmap_cut(program, iova, size);
    } else {
        subject_protect(subject, iova, size, subject_random_prot(subject));
    }
    subject_judge_range(subject, iova, iova + (size - 1));
}

static void run(const struct piommu_pgtable_config *config, uint64_t seed, bool is_beyond_ram)
{
    static struct subject subject;
    struct program program = {.subject = &subject};

    if (is_beyond_ram) {
        if (!subject_create_beyond_ram(&subject, "beyond RAM", config, seed)) {
            return;
        }
    } else if (!subject_create(&subject, "programs", config, seed)) {
        return;
    }
    subject_use(&subject);
    subject.is_starving = true;
    choose_spots(&program);
    for (subject.step = 1; subject.step <= STEPS; subject.step++) {
        unsigned int before = failures;

        step(&program);
        subject_judge_runs(&subject, 2);
        /* What comes after a failure would be its consequences. */
        if (failures != before) {
            break;
        }
    }
    subject_judge_aperture(&subject);
    subject_check_structure(&subject);
    subject_destroy(&subject);
}

void group_programs(uint64_t seed, unsigned int programs)
{
    static const struct {
        const char *name;
        enum piommu_pgtable_format format;
        unsigned int share_of_64, share_of_32; /* in the image for each CPU, in quarters */
    } kinds[] = {
        {"programs, stage 1", PIOMMU_ARM_64_LPAE_S1, 4, 0},
        {"programs, stage 2", PIOMMU_ARM_64_LPAE_S2, 4, 0},
        {"programs, 32-bit stage 1", PIOMMU_ARM_32_LPAE_S1, 1, 4},
        {"programs, 32-bit stage 2", PIOMMU_ARM_32_LPAE_S2, 0, 4},
    };

    for (unsigned int kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        struct random random = {seed + kind};
        struct tally tally = tally_start(kinds[kind].name);
        unsigned int share = sizeof(void *) > 4 ? kinds[kind].share_of_64 : kinds[kind].share_of_32;

        if (share == 0) {
            continue;
        }
        for (unsigned int i = 0; i < programs * share / 4; i++) {
            struct piommu_pgtable_config config;

            random_configuration(&random, kinds[kind].format, &config);
            run(&config, random_next(&random), false);
            tally.tables++;
        }
        tally_end(&tally);
    }
}

void group_beyond_ram(uint64_t seed)
{
    struct random random = {seed};
    struct tally tally = tally_start("tables above 2^48, walker only");

    for (unsigned int i = 0; i < 60; i++) {
        struct piommu_pgtable_config config;

        do {
            random_configuration(
                &random, i % 2 != 0 ? PIOMMU_ARM_64_LPAE_S2 : PIOMMU_ARM_64_LPAE_S1, &config);
        } while (config.output_bits != 52);
        config.coherent_walk = true;
        run(&config, random_next(&random), true);
        tally.tables++;
    }
    tally_end(&tally);
}
