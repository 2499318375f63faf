/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The software walker against the CPU, with random descriptors: what no library would make, such as
 * table attributes, addresses that are too high, leaves without access flag. The unit and random
 * tests trust this walker. Of the library only the register values and the root's memory are used.
 *
 * Left out is what QEMU 7.2 does not do as the architecture says: blocks at levels that have none
 * (QEMU takes them); with 64K pages and 48 bits of output at most, descriptor bits 15:12 (QEMU
 * ignores them); reserved bits of a block below its address (QEMU lets them count as address). And
 * a table where there is no memory would end in an exception.
 */

#include "groups.h"
#include "memory.h"

#include "machine.h"

#include <string.h>

#define TABLES_PER_LEVEL 3u
#define MAX_LEVELS       5u

struct forest {
    struct subject *subject;
    struct piommu_host host;
    void *memory[MAX_LEVELS][TABLES_PER_LEVEL]; /* by level, that of the root not used */
    uint64_t tables[MAX_LEVELS][TABLES_PER_LEVEL];
};

/* The fold of high address bits into a descriptor. */
static uint64_t encode(const struct subject *subject, uint64_t address)
{
    if (subject->model.geometry.has_ds) {
        return (address & 0x0003ffffffffffffull) | (address >> 50 & 3) << 8;
    }
    if (subject->config.output_bits == 52) {
        return (address & 0x0000ffffffffffffull) | (address >> 48 & 0xf) << 12;
    }
    return address & 0x0000ffffffffffffull;
}

/* An address, seldom one that is too high. */
static uint64_t random_address(struct subject *subject, unsigned int shift)
{
    unsigned int bits = subject->config.output_bits;
    uint64_t address = random_bits(&subject->random, bits) >> shift << shift;

    /* Of the 32-bit formats, bits 47:40 are the only ones above the output size. */
    if (bits < 48 && random_percent(&subject->random, 10)) {
        unsigned int low = subject->regime.is_aarch32 ? 40 : bits;

        low = low < shift ? shift : low; /* what lies below is reserved */
        address |= 1ull << (low + random_below(&subject->random, 48 - low));
    }
    return address;
}

static bool has_blocks(const struct subject *subject, int level)
{
    switch (subject->config.granule) {
    case 4096:
        return level >= 1 || (level == 0 && subject->model.geometry.has_ds);
    case 16384:
        return level >= 2 || (level == 1 && subject->model.geometry.has_ds);
    default:
        return level >= 2 || (level == 1 && subject->config.output_bits == 52);
    }
}

/* Attribute bits of a leaf: any, but for encodings that the architecture reserves. */
static uint64_t random_attributes(struct subject *subject)
{
    uint64_t bits = random_next(&subject->random) & 0xfff0000000000ffcull;

    bits |= random_percent(&subject->random, 80) ? 1ull << 10 : 0;
    if ((bits >> 8 & 3) == 1 || subject->model.geometry.has_ds) {
        bits &= ~(3ull << 8);
    }
    if (subject->regime.stages == CPU_STAGE2) {
        static const uint8_t kinds[] = {0, 1, 2, 3, 5, 15};
        static const uint8_t forced[] = {0, 1, 2, 3, 5, 6, 7};
        uint64_t kind = subject->regime.force_write_back
                            ? forced[random_below(&subject->random, sizeof(forced))]
                            : kinds[random_below(&subject->random, sizeof(kinds))];

        bits = (bits & ~0x3cull) | kind << 2;
    }
    return bits;
}

static uint64_t random_leaf(struct subject *subject, int level)
{
    unsigned int shift = model_level_shift(&subject->model.geometry, level);
    uint64_t address = random_address(subject, shift);

    return random_attributes(subject) | encode(subject, address) | (level == 3 ? 3 : 1);
}

static uint64_t random_link(struct forest *forest, int level)
{
    struct subject *subject = forest->subject;
    uint64_t table = forest->tables[level + 2][random_below(&subject->random, TABLES_PER_LEVEL)];
    uint64_t attributes = 0;
    uint64_t link;

    if (random_percent(&subject->random, 30)) {
        attributes = random_next(&subject->random) & 0xf8ull << 56;
    }
    /* Too high a table is a fault before it is read. */
    if (random_percent(&subject->random, 5)) {
        uint64_t address = random_address(subject, subject->model.geometry.page_shift);

        if (!subject->regime.is_aarch32 && address >> subject->config.output_bits != 0) {
            table = address;
        }
    }
    link = encode(subject, table) | 3;
    /* Bits that hardware ignores. */
    link |= random_next(&subject->random) & 0x07f80000000000fcull;
    return link | attributes;
}

static uint64_t random_descriptor(struct forest *forest, int level)
{
    struct subject *subject = forest->subject;
    uint32_t choice = random_below(&subject->random, 100);

    if (choice < 10) {
        return random_next(&subject->random) & ~1ull;
    }
    if (level == 3) {
        return choice < 15 ? random_leaf(subject, 3) & ~2ull : random_leaf(subject, 3);
    }
    return choice < 30 && has_blocks(subject, level) ? random_leaf(subject, level)
                                                     : random_link(forest, level);
}

static bool take_tables(struct forest *forest)
{
    const struct subject *subject = forest->subject;

    for (int level = subject->model.geometry.start_level + 1; level <= 3; level++) {
        for (unsigned int i = 0; i < TABLES_PER_LEVEL; i++) {
            const struct piommu_dma_request request = {
                .size = subject->config.granule,
                .alignment = subject->config.granule,
                .max_physical = (1ull << subject->config.output_bits) - 1,
                .purpose = PIOMMU_DMA_TABLE,
            };

            forest->memory[level + 1][i] = forest->host.os->dma_alloc(
                forest->host.ctx, &request, &forest->tables[level + 1][i]);
            if (forest->memory[level + 1][i] == NULL) {
                return false;
            }
        }
    }
    return true;
}

static void give_tables(struct forest *forest)
{
    for (unsigned int level = 0; level < MAX_LEVELS; level++) {
        for (unsigned int i = 0; i < TABLES_PER_LEVEL; i++) {
            if (forest->memory[level][i] != NULL) {
                forest->host.os->dma_free(forest->host.ctx, forest->memory[level][i],
                                          forest->subject->config.granule);
            }
        }
    }
}

/* A descriptor for an address, at each level on the way to it. */
static void plant(struct forest *forest, uint64_t address)
{
    struct subject *subject = forest->subject;
    const struct model_geometry *geometry = &subject->model.geometry;
    uint64_t table = subject->info.root_physical;
    uint64_t mask = geometry->root_size / 8 - 1;

    for (int level = geometry->start_level; level <= 3; level++) {
        uint64_t index = address >> model_level_shift(geometry, level) & mask;
        uint64_t place = table + index * 8;
        uint64_t descriptor = 0;

        /* Seldom what was there: it may be a way to somewhere else. */
        if (random_percent(&subject->random, 80)) {
            descriptor = random_descriptor(forest, level);
            (void)memory_walker_write(place, descriptor);
        } else {
            (void)memory_walker_read(place, &descriptor);
        }
        if ((descriptor & 3) != 3 || level == 3) {
            return;
        }
        mask = (1ull << geometry->index_bits) - 1;
        /* Where that leads, if it is one of the tables. */
        table = 0;
        for (unsigned int i = 0; i < TABLES_PER_LEVEL; i++) {
            uint64_t next = forest->tables[level + 2][i];

            if (((encode(subject, next) ^ descriptor) & 0x0003fffffffff000ull) == 0) {
                table = next;
            }
        }
        if (table == 0) {
            return;
        }
    }
}

static void clear(uint64_t table, uint64_t size)
{
    for (uint64_t i = 0; i < size; i += 8) {
        (void)memory_walker_write(table + i, 0);
    }
}

static void test_forest(const struct piommu_pgtable_config *config, uint64_t seed)
{
    static struct subject subject;
    struct forest forest;
    uint64_t last;

    if (!subject_create(&subject, "descriptors", config, seed)) {
        return;
    }
    memset(&forest, 0, sizeof(forest));
    forest.subject = &subject;
    forest.host = memory_host(MEMORY_COHERENT);
    last = subject.model.geometry.input.last;
    if (take_tables(&forest)) {
        for (int level = subject.model.geometry.start_level + 1; level <= 3; level++) {
            for (unsigned int i = 0; i < TABLES_PER_LEVEL; i++) {
                clear(forest.tables[level + 1][i], config->granule);
            }
        }
        subject_use(&subject);
        for (subject.step = 0; subject.step < 100; subject.step++) {
            uint64_t address = subject.model.geometry.input.first +
                               random_bits(&subject.random, config->input_bits);

            plant(&forest, address);
            cpu_invalidate();
            subject_judge_walker(&subject, address);
            address ^= 1ull << random_below(&subject.random, config->input_bits);
            subject_judge_walker(&subject, address <= last ? address : last);
        }
        clear(subject.info.root_physical, subject.info.root_size);
    }
    give_tables(&forest);
    subject_destroy(&subject);
}

static void test_format(const char *name, enum piommu_pgtable_format format, struct random *random)
{
    struct tally tally = tally_start(name);

    for (unsigned int i = 0; i < 300; i++) {
        struct piommu_pgtable_config config;

        random_configuration(random, format, &config);
        config.coherent_walk = true;
        /* The window to addresses beyond 4 GiB would be among the victims. */
        if (format == PIOMMU_ARM_32_LPAE_S2 && config.input_bits > 32) {
            config.input_bits = 32;
        }
        tally.tables++;
        test_forest(&config, random_next(random));
    }
    tally_end(&tally);
}

void group_descriptors(uint64_t seed)
{
    struct random random = {seed};

    if (sizeof(void *) > 4) {
        test_format("random descriptors, stage 1", PIOMMU_ARM_64_LPAE_S1, &random);
        test_format("random descriptors, stage 2", PIOMMU_ARM_64_LPAE_S2, &random);
    }
    test_format("random descriptors, 32-bit s. 1", PIOMMU_ARM_32_LPAE_S1, &random);
    if (sizeof(void *) == 4) {
        test_format("random descriptors, 32-bit s. 2", PIOMMU_ARM_32_LPAE_S2, &random);
    }
}
