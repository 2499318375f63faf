/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "subject.h"

#include "memory.h"

#include "machine.h"

#include <piommu/error.h>
#include <piommu/io-pgtable-inspect.h>

#include <stdarg.h>
#include <string.h>

#define FAILURES_PRINTED 10u

unsigned int failures;
uint64_t walker_queries;
uint64_t lookups;

static bool is_stage2(const struct subject *subject)
{
    return subject->config.format == PIOMMU_ARM_64_LPAE_S2 ||
           subject->config.format == PIOMMU_ARM_32_LPAE_S2;
}

static bool is_32_bit(const struct subject *subject)
{
    return subject->config.format == PIOMMU_ARM_32_LPAE_S1 ||
           subject->config.format == PIOMMU_ARM_32_LPAE_S2;
}

static bool is_upper(const struct subject *subject)
{
    return (subject->config.flags & PIOMMU_PGTABLE_TTBR1) != 0;
}

static const char *format_name(enum piommu_pgtable_format format)
{
    switch (format) {
    case PIOMMU_ARM_64_LPAE_S1:
        return "64-bit stage 1";
    case PIOMMU_ARM_64_LPAE_S2:
        return "64-bit stage 2";
    case PIOMMU_ARM_32_LPAE_S1:
        return "32-bit stage 1";
    default:
        return "32-bit stage 2";
    }
}

void subject_fail(const struct subject *subject, const char *format, ...)
{
    const struct piommu_pgtable_config *config = &subject->config;
    va_list arguments;

    failures++;
    if (failures > FAILURES_PRINTED) {
        return;
    }
    machine_printf("FAIL %s, seed 0x%llx, step %u: %s, %uK, input %u, output %u, %s, flags 0x%x, "
                   "leaves 0x%llx\n     ",
                   subject->group, (unsigned long long)subject->seed, subject->step,
                   format_name(config->format), (unsigned int)config->granule / 1024,
                   config->input_bits, config->output_bits,
                   config->coherent_walk ? "coherent" : "not coherent", (unsigned int)config->flags,
                   (unsigned long long)config->leaf_sizes);
    va_start(arguments, format);
    machine_vprintf(format, arguments);
    va_end(arguments);
    machine_putc('\n');
}

/* Fails unless the two are equal. */
static void expect(const struct subject *subject, const char *what, uint64_t is, uint64_t should)
{
    if (is != should) {
        subject_fail(subject, "%s is 0x%llx, should be 0x%llx", what, (unsigned long long)is,
                     (unsigned long long)should);
    }
}

/*
 * Registers. All values are made here once more, from the configuration and the geometry of the
 * model, after the Arm ARM's descriptions of the registers.
 */

static uint64_t output_size_code(const struct subject *subject)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48, 52};
    uint64_t code = 0;

    while (sizes[code] != subject->config.output_bits) {
        code++;
    }
    return code;
}

/* TG0 of TCR and VTCR, or TG1 of TCR, which has other codes. */
static uint64_t granule_code(const struct subject *subject)
{
    switch (subject->config.granule) {
    case 4096:
        return is_upper(subject) ? 2 : 0;
    case 16384:
        return is_upper(subject) ? 1 : 2;
    default:
        return is_upper(subject) ? 3 : 1;
    }
}

/* IRGN, ORGN and SH of table walks at their places in the lower half of TCR, and in VTCR. */
static uint64_t walk_attributes(const struct subject *subject)
{
    if (subject->config.coherent_walk) {
        return 1 << 8 | 1 << 10 | 3 << 12; /* write-back, inner shareable */
    }
    return 0 << 8 | 0 << 10 | 2 << 12; /* not cacheable, outer shareable */
}

static uint64_t folded_root(const struct subject *subject)
{
    uint64_t root = subject->info.root_physical;

    return subject->config.output_bits == 52 ? (root & 0x0000ffffffffffffull) | root >> 48 << 2
                                             : root;
}

static void check_stage1_registers(struct subject *subject)
{
    const struct piommu_pgtable_stage1_registers *fields = &subject->info.registers.stage1;
    const struct piommu_pgtable_info *lower = is_upper(subject) ? NULL : &subject->info;
    const struct piommu_pgtable_info *upper = is_upper(subject) ? &subject->info : NULL;
    bool is_dirty = (subject->config.flags & PIOMMU_PGTABLE_DIRTY) != 0;
    uint64_t walk = walk_attributes(subject);
    uint64_t tsz = (is_32_bit(subject) ? 32u : 64u) - subject->config.input_bits;
    uint64_t half = tsz | walk;

    expect(subject, "tsz", fields->tsz, tsz);
    expect(subject, "irgn", fields->irgn, walk >> 8 & 3);
    expect(subject, "orgn", fields->orgn, walk >> 10 & 3);
    expect(subject, "sh", fields->sh, walk >> 12 & 3);
    expect(subject, "ds", fields->ds, subject->model.geometry.has_ds);
    expect(subject, "ha", fields->ha, is_dirty);
    expect(subject, "hd", fields->hd, is_dirty);
    expect(subject, "mair", fields->mair & 0xffffff, 0x04ff44);
    expect(subject, "ttbr", fields->ttbr, folded_root(subject));
    if (is_32_bit(subject)) {
        expect(subject, "ips", fields->ips, 0);
        expect(subject, "TTBCR", piommu_pgtable_ttbcr(lower, upper),
               1ull << 31 | (is_upper(subject) ? half << 16 | 1 << 7 : half | 1 << 23));
    } else {
        half |= granule_code(subject) << 14;
        expect(subject, "tg", fields->tg, granule_code(subject));
        expect(subject, "ips", fields->ips, output_size_code(subject));
        expect(subject, "TCR_EL1", piommu_pgtable_tcr_el1(lower, upper),
               (is_upper(subject) ? half << 16 | 1 << 7 : half | 1 << 23) |
                   output_size_code(subject) << 32 | (is_dirty ? 3ull << 39 : 0) |
                   (uint64_t)subject->model.geometry.has_ds << 59);
    }
}

static void check_stage2_registers(struct subject *subject)
{
    const struct piommu_pgtable_stage2_registers *fields = &subject->info.registers.stage2;
    bool is_dirty = (subject->config.flags & PIOMMU_PGTABLE_DIRTY) != 0;
    uint64_t walk = walk_attributes(subject);
    int level = subject->model.geometry.start_level;
    uint64_t sl0, tsz;

    if (subject->config.granule == 4096) {
        sl0 = level == 3 ? 3 : level == -1 ? 0 : (uint64_t)(2 - level);
    } else {
        sl0 = (uint64_t)(3 - level);
    }
    tsz = is_32_bit(subject) ? (32u - subject->config.input_bits) & 0x1f
                             : 64u - subject->config.input_bits;
    expect(subject, "tsz", fields->tsz, tsz);
    expect(subject, "irgn", fields->irgn, walk >> 8 & 3);
    expect(subject, "orgn", fields->orgn, walk >> 10 & 3);
    expect(subject, "sh", fields->sh, walk >> 12 & 3);
    expect(subject, "sl", fields->sl, sl0);
    expect(subject, "sl2", fields->sl2, level == -1);
    expect(subject, "ds", fields->ds, subject->model.geometry.has_ds);
    expect(subject, "ha", fields->ha, is_dirty);
    expect(subject, "hd", fields->hd, is_dirty);
    expect(subject, "vttbr", fields->vttbr, folded_root(subject));
    if (is_32_bit(subject)) {
        expect(subject, "ps", fields->ps, 0);
        expect(subject, "VTCR", piommu_pgtable_vtcr(&subject->info),
               1ull << 31 | tsz | sl0 << 6 | walk);
    } else {
        expect(subject, "tg", fields->tg, granule_code(subject));
        expect(subject, "ps", fields->ps, output_size_code(subject));
        expect(subject, "VTCR_EL2", piommu_pgtable_vtcr_el2(&subject->info),
               1ull << 31 | tsz | sl0 << 6 | walk | granule_code(subject) << 14 |
                   output_size_code(subject) << 16 | (is_dirty ? 3ull << 21 : 0) |
                   (uint64_t)subject->model.geometry.has_ds << 32 | (uint64_t)(level == -1) << 33);
    }
}

static void check_info(struct subject *subject)
{
    const struct piommu_pgtable_info *info = &subject->info;
    const struct model_geometry *geometry = &subject->model.geometry;
    uint64_t leaf_sizes = 0, contiguous_sizes = 0;

    for (unsigned int i = 0; i < geometry->size_count; i++) {
        if (geometry->sizes[i].is_group) {
            contiguous_sizes |= 1ull << geometry->sizes[i].shift;
        } else {
            leaf_sizes |= 1ull << geometry->sizes[i].shift;
        }
    }
    expect(subject, "format", info->format, subject->config.format);
    expect(subject, "granule", info->granule, subject->config.granule);
    expect(subject, "flags", info->flags, subject->config.flags);
    expect(subject, "input_bits", info->input_bits, subject->config.input_bits);
    expect(subject, "output_bits", info->output_bits, subject->config.output_bits);
    expect(subject, "start_level", (uint64_t)info->start_level, (uint64_t)geometry->start_level);
    expect(subject, "coherent_walk", info->coherent_walk, subject->config.coherent_walk);
    expect(subject, "write_only", info->write_only, is_stage2(subject));
    expect(subject, "adopted", info->adopted, false);
    expect(subject, "aperture.first", info->aperture.first, geometry->input.first);
    expect(subject, "aperture.last", info->aperture.last, geometry->input.last);
    expect(subject, "leaf_sizes", info->leaf_sizes, leaf_sizes);
    expect(subject, "contiguous_sizes", info->contiguous_sizes, contiguous_sizes);
    expect(subject, "root_size", info->root_size, geometry->root_size);
    expect(subject, "alignment of the root",
           info->root_physical & ((geometry->root_size < 64 ? 64 : geometry->root_size) - 1), 0);
    if (is_stage2(subject)) {
        check_stage2_registers(subject);
    } else {
        check_stage1_registers(subject);
    }
}

static void set_regime(struct subject *subject)
{
    const struct piommu_pgtable_info *info = &subject->info;
    struct cpu_regime *regime = &subject->regime;

    memset(regime, 0, sizeof(*regime));
    regime->is_aarch32 = is_32_bit(subject);
    regime->force_write_back = (subject->config.flags & PIOMMU_PGTABLE_FORCE_WRITE_BACK) != 0;
    if (is_stage2(subject)) {
        regime->stages = CPU_STAGE2;
        regime->vttbr = info->registers.stage2.vttbr;
        regime->vtcr =
            is_32_bit(subject) ? piommu_pgtable_vtcr(info) : piommu_pgtable_vtcr_el2(info);
        return;
    }
    regime->stages = CPU_STAGE1;
    regime->mair = info->registers.stage1.mair;
    if (is_upper(subject)) {
        regime->ttbr1 = info->registers.stage1.ttbr;
        regime->tcr = is_32_bit(subject) ? piommu_pgtable_ttbcr(NULL, info)
                                         : piommu_pgtable_tcr_el1(NULL, info);
    } else {
        regime->ttbr0 = info->registers.stage1.ttbr;
        regime->tcr = is_32_bit(subject) ? piommu_pgtable_ttbcr(info, NULL)
                                         : piommu_pgtable_tcr_el1(info, NULL);
    }
}

/* The software walker reads the same register values as the CPU. */
static void set_walker(struct subject *subject)
{
    const struct cpu_regime *regime = &subject->regime;
    const struct piommu_walker_hardware hardware = {
        .physical_bits = cpu_physical_bits(),
        .has_small_tables = true,
        .has_large_virtual_addresses = true,
        .has_lpa2 = true,
        .has_execute_never_by_privilege = (subject->config.flags & PIOMMU_PGTABLE_XNX) != 0,
        .has_access_flag_updates = true,
        .has_dirty_updates = true,
        .is_armv7 = sizeof(void *) == 4,
    };
    struct piommu_walker_regime *walker = &subject->walker;
    enum piommu_walker_setup setup;

    if (is_32_bit(subject)) {
        setup = is_stage2(subject)
                    ? piommu_walker_regime_from_aarch32_vtcr(&hardware, (uint32_t)regime->vtcr,
                                                             regime->vttbr, walker)
                    : piommu_walker_regime_from_ttbcr(
                          &hardware, (uint32_t)regime->tcr,
                          is_upper(subject) ? regime->ttbr1 : regime->ttbr0, (uint32_t)regime->mair,
                          (uint32_t)(regime->mair >> 32), is_upper(subject), walker);
    } else {
        setup = is_stage2(subject)
                    ? piommu_walker_regime_from_vtcr(&hardware, regime->vtcr, regime->vttbr, walker)
                    : piommu_walker_regime_from_tcr(
                          &hardware, regime->tcr, is_upper(subject) ? regime->ttbr1 : regime->ttbr0,
                          regime->mair, is_upper(subject), walker);
    }
    walker->forced_write_back = regime->force_write_back;
    walker->mair_slots_in_use = 7;
    subject->has_walker = setup == PIOMMU_WALKER_SETUP_OK;
    if (setup != PIOMMU_WALKER_SETUP_OK) {
        subject_fail(subject, "the software walker refuses the registers: %s",
                     piommu_walker_setup_name(setup));
    }
}

/* Maps what the CPU needs to be asked for addresses beyond 4 GiB: see struct cpu_regime. */
static void pin_window(struct subject *subject)
{
    static uint64_t window[4] __attribute__((aligned(4096)));
    /* Where stage 1 reads tables, qemu-system-arm 7.2 cuts addresses off to 32 bits. */
    uint64_t iova = random_bits(&subject->random, 32) & ~(subject->config.granule - 1ull);

    subject->pinned = iova != 0 ? iova : subject->config.granule;
    subject_map(subject, subject->pinned, (uint64_t)(uintptr_t)window, subject->config.granule,
                PIOMMU_PROT_READ);
    subject->regime.window = (uint64_t)(uintptr_t)window;
    subject->regime.window_intermediate = subject->pinned;
}

/* May the range not be changed? */
static bool is_pinned(const struct subject *subject, uint64_t first, uint64_t last)
{
    return subject->pinned != 0 && first < subject->pinned + subject->config.granule &&
           last >= subject->pinned;
}

static bool create(struct subject *subject, const char *group,
                   const struct piommu_pgtable_config *config, uint64_t seed, bool is_beyond_ram)
{
    enum memory_view view = is_beyond_ram           ? MEMORY_BEYOND_RAM
                            : config->coherent_walk ? MEMORY_COHERENT
                                                    : MEMORY_COPY;
    int error;

    subject->group = group;
    subject->seed = seed;
    subject->step = 0;
    subject->has_other_half = false;
    subject->is_starving = false;
    subject->is_beyond_ram = is_beyond_ram;
    subject->pinned = 0;
    subject->random.state = seed;
    subject->config = *config;
    memory_choose(config->output_bits >= 36 && random_percent(&subject->random, 50),
                  random_next(&subject->random));
    error = piommu_pgtable_create(memory_host(view), config, &subject->table);
    if (error != 0) {
        subject_fail(subject, "creating the table gave %d", error);
        return false;
    }
    piommu_gather_init(&subject->gather);
    piommu_pgtable_get_info(subject->table, &subject->info);
    model_start(&subject->model, config);
    check_info(subject);
    set_regime(subject);
    set_walker(subject);
    if (config->format == PIOMMU_ARM_32_LPAE_S2 && config->input_bits > 32) {
        pin_window(subject);
    }
    return true;
}

bool subject_create(struct subject *subject, const char *group,
                    const struct piommu_pgtable_config *config, uint64_t seed)
{
    return create(subject, group, config, seed, false);
}

bool subject_create_beyond_ram(struct subject *subject, const char *group,
                               const struct piommu_pgtable_config *config, uint64_t seed)
{
    return create(subject, group, config, seed, true);
}

void subject_destroy(struct subject *subject)
{
    piommu_pgtable_destroy(subject->table);
    subject->table = NULL;
    if (!memory_is_all_free()) {
        subject_fail(subject, "memory is lost after the table was destroyed");
    }
}

void subject_use(const struct subject *subject)
{
    cpu_use(&subject->regime);
}

/*
 * Queries.
 */

static unsigned int translation_status(int level)
{
    return level == -1 ? CPU_STATUS_TRANSLATION_MINUS_1
                       : CPU_STATUS_TRANSLATION + (unsigned int)level;
}

static uint64_t par_of_fault(const struct subject *subject, unsigned int status)
{
    return CPU_PAR_FAULT | (uint64_t)status << CPU_PAR_STATUS_SHIFT |
           (is_stage2(subject) ? CPU_PAR_STAGE2 : 0);
}

static uint64_t par_of_memory(uint64_t physical, uint64_t attributes, uint64_t shareability)
{
    /* What is not cacheable is outer shareable, whatever the descriptor says. */
    if (attributes == 0x44 || attributes < 0x10) {
        shareability = 2;
    }
    return (physical & CPU_PAR_PHYSICAL_MASK) | attributes << CPU_PAR_ATTRIBUTES |
           shareability << CPU_PAR_SHAREABILITY;
}

static uint64_t shareability_of(const struct subject *subject, piommu_prot prot)
{
    if (subject->model.geometry.has_ds) {
        return subject->config.coherent_walk ? 3 : 2; /* as the walks: the descriptor has no SH */
    }
    switch (prot & PIOMMU_PROT_SHARE_MASK) {
    case PIOMMU_PROT_SHARE_NONE:
        return 0;
    case PIOMMU_PROT_SHARE_OUTER:
        return 2;
    default:
        return 3;
    }
}

static bool permits(const struct subject *subject, piommu_prot prot, enum cpu_access access)
{
    if (!is_stage2(subject) && (prot & PIOMMU_PROT_PRIVILEGED) != 0 &&
        !cpu_access_is_privileged(access)) {
        return false;
    }
    return (prot & (cpu_access_is_write(access) ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;
}

/* What the model says that PAR should be, as far as CPU_PAR_*_MASK goes. */
static uint64_t expected_par(const struct subject *subject, const struct model_answer *answer,
                             enum cpu_access access)
{
    uint64_t attributes = 0xff;

    switch (answer->kind) {
    case MODEL_OUTSIDE:
        return par_of_fault(subject, translation_status(is_32_bit(subject) ? 1 : 0));
    case MODEL_HOLE:
        return par_of_fault(subject, translation_status(answer->level));
    default:
        break;
    }
    if (!permits(subject, answer->prot, access)) {
        return par_of_fault(subject, CPU_STATUS_PERMISSION + (unsigned int)answer->level);
    }
    if ((answer->prot & PIOMMU_PROT_NONCACHEABLE) != 0) {
        attributes = 0x44;
    } else if ((answer->prot & PIOMMU_PROT_DEVICE) != 0) {
        attributes = 0x04; /* Device-nGnRE */
    }
    return par_of_memory(answer->physical, attributes, shareability_of(subject, answer->prot));
}

/* Empty tables that are still linked bring walks farther down: any level from the expected on. */
static uint64_t hole_in_kept_table(const struct subject *subject, const struct model_answer *answer,
                                   uint64_t par)
{
    unsigned int status = (unsigned int)((par & CPU_PAR_STATUS_MASK) >> CPU_PAR_STATUS_SHIFT);

    for (int level = answer->level; level < 3; level++) {
        if (status == translation_status(level)) {
            return par_of_fault(subject, status);
        }
    }
    return par_of_fault(subject, translation_status(3));
}

/* What is to be compared. */
static uint64_t par_mask(const struct subject *subject, uint64_t expected)
{
    unsigned int attributes = (unsigned int)(expected >> CPU_PAR_ATTRIBUTES);

    if ((expected & CPU_PAR_FAULT) != 0) {
        return CPU_PAR_FAULT_MASK;
    }
    /*
     * QEMU 7.2 leaves out that what is not cacheable counts as outer shareable. This shows only
     * where the shareability is not from the descriptor.
     */
    if (subject->model.geometry.has_ds && attributes != 0xff) {
        return CPU_PAR_TRANSLATION_MASK & ~(3ull << CPU_PAR_SHAREABILITY);
    }
    return CPU_PAR_TRANSLATION_MASK;
}

static bool walker_read(void *ctx, uint64_t physical, uint64_t *value)
{
    (void)ctx;
    return memory_walker_read(physical, value);
}

static const struct piommu_walker_memory walker_memory = {walker_read, NULL, NULL};

/* What the software walker says that PAR should be. */
static uint64_t walker_par(const struct subject *subject, uint64_t address, enum cpu_access access)
{
    const struct piommu_walker_access wanted = {
        .read = !cpu_access_is_write(access),
        .write = cpu_access_is_write(access),
        .privileged = cpu_access_is_privileged(access),
    };
    struct piommu_walker_result result;

    walker_queries++;
    piommu_walker_translate(&subject->walker, &walker_memory, address, &wanted, &result);
    if (result.fault != PIOMMU_WALKER_FAULT_NONE) {
        return par_of_fault(subject, piommu_walker_fault_status(result.fault, result.level));
    }
    /* Stage 1 of a stage 2 alone is Normal Write-Back. */
    return par_of_memory(result.output,
                         result.attributes.memory_type_is_inherited ? 0xff
                                                                    : result.attributes.memory_type,
                         result.attributes.shareability);
}

bool subject_walker_executes(const struct subject *subject, uint64_t address, bool privileged)
{
    const struct piommu_walker_access wanted = {.execute = true, .privileged = privileged};
    struct piommu_walker_result result;

    walker_queries++;
    piommu_walker_translate(&subject->walker, &walker_memory, address, &wanted, &result);
    return result.fault == PIOMMU_WALKER_FAULT_NONE;
}

void subject_judge_lookup(struct subject *subject, uint64_t address,
                          const struct model_answer *answer)
{
    struct piommu_translation translation = {0, 0, 0};
    int error = piommu_pgtable_lookup(subject->table, address, &translation);
    int expected = answer->kind == MODEL_LEAF   ? 0
                   : answer->kind == MODEL_HOLE ? -PIOMMU_ENOENT
                                                : -PIOMMU_ERANGE;

    lookups++;
    if (error != expected) {
        subject_fail(subject, "lookup of 0x%llx gives %d, should give %d",
                     (unsigned long long)address, error, expected);
    } else if (error == 0 && (translation.physical != answer->physical ||
                              translation.leaf_size != 1ull << answer->leaf_shift ||
                              translation.prot != answer->prot)) {
        subject_fail(subject,
                     "lookup of 0x%llx gives 0x%llx, leaf 0x%llx, prot 0x%x, should give 0x%llx, "
                     "leaf 0x%llx, prot 0x%x",
                     (unsigned long long)address, (unsigned long long)translation.physical,
                     (unsigned long long)translation.leaf_size, (unsigned int)translation.prot,
                     (unsigned long long)answer->physical, 1ull << answer->leaf_shift,
                     (unsigned int)answer->prot);
    }
}

/* Can this address be given to the CPU as one that the tables should translate? */
static bool can_be_asked(const struct subject *subject, uint64_t address)
{
    switch (subject->config.format) {
    case PIOMMU_ARM_64_LPAE_S1:
        /* Bit 55 selects the half. */
        return !subject->has_other_half ||
               ((address ^ subject->model.geometry.input.first) >> 55 & 1) == 0;
    case PIOMMU_ARM_64_LPAE_S2:
        /* With stage 1 off, an address that no physical address can have is a fault of stage 1. */
        return address >> 52 == 0;
    case PIOMMU_ARM_32_LPAE_S1:
        return address >> 32 == 0 &&
               (!subject->has_other_half ||
                ((address ^ subject->model.geometry.input.first) >> 31 & 1) == 0);
    default:
        return address >> (subject->pinned != 0 ? 40 : 32) == 0;
    }
}

void subject_judge(struct subject *subject, uint64_t address)
{
    struct model_answer answer = model_ask(&subject->model, address);

    subject_judge_lookup(subject, address, &answer);
    if (!can_be_asked(subject, address)) {
        return;
    }
    for (unsigned int i = 0; i < CPU_ACCESSES; i++) {
        enum cpu_access access = (enum cpu_access)i;
        uint64_t expected = expected_par(subject, &answer, access);
        uint64_t mask;
        uint64_t walker = subject->has_walker ? walker_par(subject, address, access) : expected;
        /* Where the CPU cannot be asked, the walker stands in for it. */
        uint64_t par = subject->is_beyond_ram ? walker : cpu_translate(access, address);

        if (answer.kind == MODEL_HOLE && subject->config.empty_tables_kept != 0) {
            expected = hole_in_kept_table(subject, &answer, par);
        }
        mask = par_mask(subject, expected);
        if (((par ^ expected) & mask) != 0) {
            subject_fail(subject, "access %u to 0x%llx: PAR is 0x%llx, should be 0x%llx", i,
                         (unsigned long long)address, (unsigned long long)par,
                         (unsigned long long)expected);
        }
        if (((par ^ walker) & mask) != 0) {
            subject_fail(subject, "access %u to 0x%llx: PAR is 0x%llx, the walker says 0x%llx", i,
                         (unsigned long long)address, (unsigned long long)par,
                         (unsigned long long)walker);
        }
    }
}

void subject_judge_walker(const struct subject *subject, uint64_t address)
{
    for (unsigned int i = 0; i < CPU_ACCESSES; i++) {
        enum cpu_access access = (enum cpu_access)i;
        uint64_t par = cpu_translate(access, address);
        uint64_t walker = walker_par(subject, address, access);
        uint64_t mask = par_mask(subject, walker);

        /* As in par_mask: QEMU has the descriptor's shareability. */
        if ((walker & CPU_PAR_FAULT) == 0 && walker >> CPU_PAR_ATTRIBUTES != 0xff) {
            mask &= ~(3ull << CPU_PAR_SHAREABILITY);
        }
        if (((par ^ walker) & mask) != 0) {
            subject_fail(subject, "access %u to 0x%llx: PAR is 0x%llx, the walker says 0x%llx", i,
                         (unsigned long long)address, (unsigned long long)par,
                         (unsigned long long)walker);
        }
    }
}

void subject_judge_range(struct subject *subject, uint64_t first, uint64_t last)
{
    const struct model_geometry *geometry = &subject->model.geometry;

    subject_judge(subject, first);
    subject_judge(subject, last);
    subject_judge(subject, first + (last - first) / 2 + 1);
    subject_judge(subject, first - 1);
    subject_judge(subject, last + 1);
    /* Another entry of the table that is passed on each level: often a hole. */
    for (int level = geometry->start_level; level <= 3; level++) {
        unsigned int shift = model_level_shift(geometry, level);
        uint64_t bit = shift + random_below(&subject->random, geometry->index_bits);

        if (bit < subject->config.input_bits) {
            subject_judge(subject, first ^ 1ull << bit);
        }
    }
}

void subject_judge_aperture(struct subject *subject)
{
    const struct piommu_range *input = &subject->model.geometry.input;
    unsigned int bits = subject->config.input_bits;

    subject_judge(subject, input->first);
    subject_judge(subject, input->last);
    subject_judge(subject, input->first - 1);
    subject_judge(subject, input->last + 1);
    subject_judge(subject, ~input->first);
    subject_judge(subject, input->first ^ 1ull << bits);
    subject_judge(subject, input->last ^ 1ull << bits);
    subject_judge(subject,
                  input->first ^ 1ull << (bits + random_below(&subject->random, 64 - bits)));
    subject_judge(subject, input->first + random_bits(&subject->random, bits));
}

void subject_judge_runs(struct subject *subject, unsigned int count)
{
    const struct model *model = &subject->model;

    for (unsigned int i = 0; i < count && model->count != 0; i++) {
        const struct model_run *run = &model->runs[random_below(&subject->random, model->count)];

        subject_judge_range(subject, run->first, run->last);
    }
}

static void complain(void *ctx, const struct piommu_walker_problem *problem)
{
    const struct subject *subject = ctx;

    /* NSTable is what some IOMMUs want, though other makers of tables leave it alone. */
    if (problem->kind == PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES &&
        (subject->config.flags & PIOMMU_PGTABLE_NON_SECURE) != 0 &&
        problem->descriptor >> 59 == 0x10) {
        return;
    }
    /* What is a mistake elsewhere has been asked for here. */
    if (problem->kind == PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER &&
        (subject->config.flags & PIOMMU_PGTABLE_XNX) != 0) {
        return;
    }
    subject_fail(subject, "the walker finds: %s, level %d, input 0x%llx, descriptor 0x%llx",
                 piommu_walker_problem_name(problem->kind), problem->level,
                 (unsigned long long)problem->input, (unsigned long long)problem->descriptor);
}

static void complain_too(void *cookie, const struct piommu_pgtable_problem *problem)
{
    subject_fail(cookie, "verify finds: %s, level %d, input 0x%llx, descriptor 0x%llx",
                 piommu_pgtable_problem_name(problem->kind), problem->step.level,
                 (unsigned long long)problem->step.covers.first,
                 (unsigned long long)problem->step.descriptor);
}

void subject_check_structure(struct subject *subject)
{
    int error = piommu_pgtable_verify(subject->table, complain_too, subject, NULL);

    expect(subject, "the result of verify", (uint64_t)error, 0);
    if (subject->has_walker) {
        (void)piommu_walker_check(&subject->walker, &walker_memory, NULL, complain, subject);
    }
}

/*
 * Random arguments.
 */

/* Leaves out what is the default: as a lookup reports it. */
static piommu_prot normal_prot(const struct subject *subject, piommu_prot prot)
{
    piommu_prot usual = PIOMMU_PROT_SHARE_INNER;

    if ((prot & (PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE)) != 0 ||
        (subject->model.geometry.has_ds && !subject->config.coherent_walk)) {
        usual = PIOMMU_PROT_SHARE_OUTER;
    }
    return (prot & PIOMMU_PROT_SHARE_MASK) == usual ? prot & ~PIOMMU_PROT_SHARE_MASK : prot;
}

static piommu_prot random_access(struct subject *subject)
{
    const piommu_prot read = PIOMMU_PROT_READ, write = PIOMMU_PROT_WRITE;
    const piommu_prot any_execute = PIOMMU_PROT_EXECUTE_ALL;
    bool is_xnx = (subject->config.flags & PIOMMU_PGTABLE_XNX) != 0;

    for (;;) {
        piommu_prot prot = (piommu_prot)random_next(&subject->random) & PIOMMU_PROT_ACCESS;
        bool execute = (prot & PIOMMU_PROT_EXECUTE) != 0;
        bool execute_privileged = (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0;
        bool privileged = (prot & PIOMMU_PROT_PRIVILEGED) != 0;

        if (is_stage2(subject)) {
            if (privileged || (prot & (read | write | any_execute)) == 0 ||
                (execute != execute_privileged && !is_xnx)) {
                continue;
            }
            if (is_32_bit(subject) && (prot & any_execute) != 0 && (prot & read) == 0) {
                continue;
            }
            return prot;
        }
        if ((prot & read) == 0 || (privileged && execute) ||
            (execute_privileged && !privileged && (prot & write) != 0)) {
            continue;
        }
        if (is_32_bit(subject) && execute_privileged && !privileged && !execute) {
            continue;
        }
        return prot;
    }
}

piommu_prot subject_random_prot(struct subject *subject)
{
    struct random *random = &subject->random;
    piommu_prot prot = random_access(subject);
    bool is_cacheable = false;

    prot |= PIOMMU_PROT_SOFTWARE(random_next(random));
    switch (random_below(random, 4)) {
    case 0:
        prot |= PIOMMU_PROT_NONCACHEABLE;
        break;
    case 1:
        prot |= PIOMMU_PROT_DEVICE;
        break;
    default:
        is_cacheable = true;
        break;
    }
    if (!is_cacheable) {
        prot |= random_percent(random, 20) ? PIOMMU_PROT_SHARE_OUTER : 0;
    } else if (!subject->model.geometry.has_ds) {
        prot |= random_below(random, 4) * PIOMMU_PROT_SHARE_NONE;
    } else if (random_percent(random, 30)) {
        prot |= subject->config.coherent_walk ? PIOMMU_PROT_SHARE_INNER : PIOMMU_PROT_SHARE_OUTER;
    }
    if (!is_stage2(subject) && random_percent(random, 30)) {
        prot |= PIOMMU_PROT_GLOBAL;
    }
    return prot;
}

uint64_t subject_random_physical(struct subject *subject, uint64_t iova, uint64_t size)
{
    const struct model_geometry *geometry = &subject->model.geometry;
    uint64_t last = (1ull << geometry->output_bits) - 1;
    uint64_t physical = random_bits(&subject->random, geometry->output_bits);
    uint64_t granule_mask = subject->config.granule - 1ull;

    if (random_percent(&subject->random, 75)) {
        const struct model_size *leaf =
            &geometry->sizes[random_below(&subject->random, geometry->size_count)];
        uint64_t mask = (1ull << leaf->shift) - 1;

        physical = (physical & ~mask) | (iova & mask);
    }
    /* Often the very end of the output range, where all bits of the address are in use. */
    if (physical > last - (size - 1) || random_percent(&subject->random, 10)) {
        physical = last - (size - 1);
    }
    return physical & ~granule_mask;
}

/*
 * Operations.
 */

static void check_result(const struct subject *subject, const char *what, int error, uint64_t bytes,
                         int expected_error, uint64_t expected_bytes)
{
    if (error != expected_error || bytes != expected_bytes) {
        subject_fail(subject, "%s gives %d, 0x%llx bytes, should give %d, 0x%llx bytes", what,
                     error, (unsigned long long)bytes, expected_error,
                     (unsigned long long)expected_bytes);
    }
}

/* Now and then, lets one of the next allocations fail. Returns whether it may. */
static bool starve(struct subject *subject)
{
    bool is_starved = random_percent(&subject->random, 8);

    memory_limit(is_starved ? (int)random_below(&subject->random, 4) : -1);
    return is_starved;
}

/* Without memory nothing is changed: then there is nothing to do for the model. */
static bool is_out_of_memory(bool is_starved, int error, uint64_t bytes)
{
    memory_limit(-1);
    return is_starved && error == -PIOMMU_ENOMEM && bytes == 0;
}

void subject_map(struct subject *subject, uint64_t iova, uint64_t physical, uint64_t size,
                 piommu_prot prot)
{
    uint64_t mapped, expected;
    bool is_starved = subject->is_starving && starve(subject);
    int error = piommu_pgtable_map(subject->table, iova, physical, size, prot, &mapped);
    int expected_error;

    if (is_out_of_memory(is_starved, error, mapped)) {
        return;
    }
    expected_error =
        model_map(&subject->model, iova, physical, size, normal_prot(subject, prot), &expected);

    check_result(subject, "map", error, mapped, expected_error, expected);
}

void subject_map_list(struct subject *subject, uint64_t iova, const struct piommu_segment *segments,
                      size_t count, piommu_prot prot)
{
    uint64_t mapped, expected = 0;
    int error, expected_error = 0;

    if (random_percent(&subject->random, 50)) {
        struct piommu_pgtable_cursor cursor;
        uint32_t budget = random_below(&subject->random, 20);

        memset(&cursor, 0, sizeof(cursor));
        do {
            error = piommu_pgtable_map_some(subject->table, iova, segments, count, prot, budget,
                                            &cursor);
        } while (error == -PIOMMU_EAGAIN);
        mapped = cursor.changed;
    } else {
        bool is_starved = subject->is_starving && starve(subject);

        error = piommu_pgtable_map_list(subject->table, iova, segments, count, prot, &mapped);
        if (is_out_of_memory(is_starved, error, mapped)) {
            return;
        }
    }
    for (size_t i = 0; i < count && expected_error == 0; i++) {
        uint64_t part;

        expected_error = model_map(&subject->model, iova + expected, segments[i].physical,
                                   segments[i].size, normal_prot(subject, prot), &part);
        expected += part;
    }
    check_result(subject, "map_list", error, mapped, expected_error, expected);
}

/* What the owner of the hardware does after something was removed. */
static void sync(struct subject *subject)
{
    piommu_pgtable_detach_empty(subject->table, &subject->gather);
    cpu_invalidate();
    piommu_pgtable_release(subject->table, &subject->gather);
}

void subject_unmap(struct subject *subject, uint64_t iova, uint64_t size)
{
    uint64_t unmapped, expected;
    int error, expected_error;

    if (is_pinned(subject, iova, iova + (size - 1))) {
        return;
    }
    if (random_percent(&subject->random, 50)) {
        struct piommu_pgtable_cursor cursor;
        uint32_t budget = random_below(&subject->random, 40);

        memset(&cursor, 0, sizeof(cursor));
        do {
            error = piommu_pgtable_unmap_some(subject->table, iova, size, budget, &subject->gather,
                                              &cursor);
            if (random_percent(&subject->random, 50)) {
                sync(subject);
            }
        } while (error == -PIOMMU_EAGAIN);
        unmapped = cursor.changed;
    } else {
        error = piommu_pgtable_unmap(subject->table, iova, size, &subject->gather, &unmapped);
    }
    sync(subject);
    expected_error = model_unmap(&subject->model, iova, size, &expected);
    check_result(subject, "unmap", error, unmapped, expected_error, expected);
}

void subject_unmap_leaves(struct subject *subject, uint64_t first, uint64_t last)
{
    struct piommu_range removed = {0, 0}, expected_removed;
    uint64_t unmapped, expected;
    int error, expected_error;

    if (is_pinned(subject, first, last)) {
        if (first < subject->pinned) {
            subject_unmap_leaves(subject, first, subject->pinned - 1);
        }
        if (last >= subject->pinned + subject->config.granule) {
            subject_unmap_leaves(subject, subject->pinned + subject->config.granule, last);
        }
        return;
    }
    error = piommu_pgtable_unmap_leaves(subject->table, first, last, &subject->gather, &removed,
                                        &unmapped);
    expected_error = model_unmap_leaves(&subject->model, first, last, &expected_removed, &expected);
    sync(subject);
    check_result(subject, "unmap_leaves", error, unmapped, expected_error, expected);
    if (error == 0) {
        expect(subject, "removed.first", removed.first, expected_removed.first);
        expect(subject, "removed.last", removed.last, expected_removed.last);
    }
}

/* The result is the cookie's. */
static int invalidate(void *cookie, const struct piommu_range *range)
{
    (void)range;
    cpu_invalidate();
    return *(const int *)cookie;
}

/* The hardware does not obey: what had to be cut is gone. */
static void expect_failed_cut(struct subject *subject, uint64_t first, uint64_t last, int error,
                              uint64_t unmapped)
{
    static struct model cut;
    struct piommu_range removed;
    uint64_t expected, whole;
    int expected_error;

    cut = subject->model;
    expected_error = model_unmap_cut(&cut, first, last - first + 1, &expected);
    if (expected_error == 0) {
        expected_error = -PIOMMU_EIO;
        expect(subject, "the gather after a failed unmap_cut", subject->gather.pending, true);
    }
    check_result(subject, "unmap_cut, failed", error, unmapped, expected_error, expected);
    if ((subject->config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0) {
        subject->model = cut; /* what stays was there before the invalidation */
    } else {
        (void)model_unmap_leaves(&subject->model, first, last, &removed, &whole);
    }
}

void subject_unmap_cut(struct subject *subject, uint64_t iova, uint64_t size)
{
    uint64_t last = iova + (size - 1);
    uint64_t unmapped, expected;
    bool is_starved;
    int verdict = 0;
    int error, expected_error;

    if (is_pinned(subject, iova, last)) {
        return;
    }
    if (subject->is_starving && random_percent(&subject->random, 8)) {
        verdict = -PIOMMU_EIO;
    }
    is_starved = subject->is_starving && starve(subject);
    error = piommu_pgtable_unmap_cut(subject->table, iova, size, invalidate, &verdict,
                                     &subject->gather, &unmapped);
    if (is_out_of_memory(is_starved, error, unmapped)) {
        return;
    }
    if (verdict != 0) {
        expect_failed_cut(subject, iova, last, error, unmapped);
    } else {
        expected_error = model_unmap_cut(&subject->model, iova, size, &expected);
        check_result(subject, "unmap_cut", error, unmapped, expected_error, expected);
        expect(subject, "the gather after unmap_cut", subject->gather.pending, false);
    }
    sync(subject); /* tables that the cut has emptied are still linked */
}

void subject_protect(struct subject *subject, uint64_t iova, uint64_t size, piommu_prot prot)
{
    uint64_t changed, expected;
    int error, expected_error;

    if (is_pinned(subject, iova, iova + (size - 1))) {
        return;
    }
    prot &= PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK;
    if (random_percent(&subject->random, 50)) {
        struct piommu_pgtable_cursor cursor;
        uint32_t budget = random_below(&subject->random, 40);

        memset(&cursor, 0, sizeof(cursor));
        do {
            error = piommu_pgtable_protect_some(subject->table, iova, size, prot, budget,
                                                &subject->gather, &cursor);
        } while (error == -PIOMMU_EAGAIN);
        changed = cursor.changed;
    } else {
        error =
            piommu_pgtable_protect(subject->table, iova, size, prot, &subject->gather, &changed);
    }
    expected_error = model_protect(&subject->model, iova, size, prot, &expected);
    sync(subject);
    check_result(subject, "protect", error, changed, expected_error, expected);
}
