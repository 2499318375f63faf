/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_program.h"

#include "pgtable_calls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum operation_kind {
    OPERATION_MAP,
    OPERATION_MAP_LIST,
    OPERATION_MAP_PORTIONS,
    OPERATION_MAP_WITHOUT_MEMORY,
    OPERATION_UNMAP,
    OPERATION_UNMAP_WHOLE, /* leaves as they are */
    OPERATION_UNMAP_PORTIONS,
    OPERATION_UNMAP_LEAVES,
    OPERATION_CUT,
    OPERATION_CUT_LEAF, /* in the middle */
    OPERATION_CUT_FAILS,
    OPERATION_PROTECT,
    OPERATION_SYNC,
    OPERATION_TRIM,
    OPERATION_SYNC_FAILS,
    OPERATION_LOOKUP,
    OPERATION_NEXT_LEAF,
    OPERATION_FOR_EACH,
    OPERATION_CHECK,
    OPERATION_DUMP,
    OPERATION_ADOPT,
    OPERATION_RESERVE,
    OPERATION_UNRESERVE,
    OPERATION_PLAN,
    OPERATION_TRACK,
    OPERATION_TRACK_PORTION,
    OPERATION_READ_DIRTY,
    OPERATION_WRITE,
    OPERATION_SWITCH, /* to another gather */
    OPERATION_KINDS,
};

/* How often each is chosen, in parts of their sum. */
static const uint8_t weights[OPERATION_KINDS] = {
    [OPERATION_MAP] = 24,
    [OPERATION_MAP_LIST] = 6,
    [OPERATION_MAP_PORTIONS] = 5,
    [OPERATION_MAP_WITHOUT_MEMORY] = 4,
    [OPERATION_UNMAP] = 8,
    [OPERATION_UNMAP_WHOLE] = 14,
    [OPERATION_UNMAP_PORTIONS] = 4,
    [OPERATION_UNMAP_LEAVES] = 4,
    [OPERATION_CUT] = 5,
    [OPERATION_CUT_LEAF] = 6,
    [OPERATION_CUT_FAILS] = 2,
    [OPERATION_PROTECT] = 7,
    [OPERATION_SYNC] = 10,
    [OPERATION_TRIM] = 1,
    [OPERATION_SYNC_FAILS] = 4,
    [OPERATION_LOOKUP] = 4,
    [OPERATION_NEXT_LEAF] = 2,
    [OPERATION_FOR_EACH] = 2,
    [OPERATION_CHECK] = 4,
    [OPERATION_DUMP] = 1,
    [OPERATION_ADOPT] = 1,
    [OPERATION_RESERVE] = 2,
    [OPERATION_UNRESERVE] = 1,
    [OPERATION_PLAN] = 2,
    [OPERATION_TRACK] = 1,
    [OPERATION_TRACK_PORTION] = 3,
    [OPERATION_READ_DIRTY] = 5,
    [OPERATION_WRITE] = 8,
    [OPERATION_SWITCH] = 5,
};

/* ---- Choosing ---- */

static uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

/* Numbers that are mostly wrong in one way or another. */
static void choose_wild_range(const struct pgtable_run *run, const uint16_t *raw,
                              struct chosen_range *range)
{
    const struct piommu_range *aperture = &run->rules->aperture;
    uint64_t granule = run->rules->config.granule;

    switch (raw[3] % 8) {
    case 0:
        range->size = 0;
        break;
    case 1:
        range->iova += raw[2] % granule;
        break;
    case 2:
        range->size += raw[2] % granule;
        break;
    case 3: /* over the end */
        range->iova = aperture->last + 1 - granule * (raw[2] % 4);
        range->size = granule * (raw[2] / 4 % 8 + 1);
        break;
    case 4: /* over the beginning */
        range->iova = aperture->first - granule * (raw[2] % 4);
        break;
    case 5:
        range->size = align_down(UINT64_MAX, granule);
        break;
    case 6:
        range->iova = align_down((uint64_t)raw[2] << (raw[1] % 49), granule);
        range->size = align_down((uint64_t)raw[3] << (raw[1] % 45), granule);
        break;
    default: /* all there is */
        range->iova = aperture->first;
        range->size = aperture->last - aperture->first + 1;
        break;
    }
}

/* Within one of the planned ranges, whatever the numbers say. */
static void confine(const struct pgtable_run *run, const uint16_t *raw, struct chosen_range *range)
{
    const struct piommu_range *planned = &run->planned[raw[1] % run->planned_count];
    uint64_t granule = run->rules->config.granule;
    uint64_t pages = (planned->last - planned->first + 1) / granule;
    uint64_t skipped = raw[2] % pages;

    range->iova = planned->first + skipped * granule;
    range->size = granule * (raw[3] % 4 == 0 ? pages - skipped : 1 + raw[3] % (pages - skipped));
}

static struct chosen_range choose_range(const struct pgtable_run *run, const uint16_t *raw)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t unit = run->rules->sizes[raw[3] % run->rules->size_count];
    uint64_t few = raw[3] / 8;
    struct chosen_range range = {
        .iova = run->windows[raw[1] % run->window_count] + raw[2] % run->window_pages * granule,
        .size = (few % 8 + 1) * granule,
        .agreement = granule,
    };

    switch (raw[0] % 16) {
    case 6:
    case 7:
        range.size = (few % 64 + 1) * granule;
        break;
    case 8:
        range.size = (few % 1200 + 1) * granule;
        break;
    case 9: /* whole leaves */
    case 10:
    case 11:
        range.iova = align_down(range.iova, unit) + raw[2] / 8192 * unit;
        range.size = (few % 3 + 1) * unit;
        range.agreement = unit;
        break;
    case 12: /* a little more than that */
    case 13:
        range.iova = align_down(range.iova, unit) + unit - few % 4 * granule;
        range.size = (few / 4 % 2 + 1) * unit + few / 8 % 8 * granule;
        range.agreement = unit;
        break;
    case 14: /* beside a leaf, or over its ends */
        if (run->m.count != 0) {
            const struct model_leaf *leaf = &run->m.leaves[raw[2] % run->m.count];

            range.iova = (raw[1] % 2 == 0 ? leaf->first : leaf->last + 1) - few % 4 * granule;
            range.size = (few / 4 % 8 + 1) * granule;
            if (raw[1] % 3 == 0) {
                range.size += leaf->last - leaf->first;
                range.size = align_down(range.size, granule);
            }
        }
        break;
    case 15:
        if (run->planned_count == 0) {
            choose_wild_range(run, raw, &range);
        }
        break;
    default:
        break;
    }
    if (run->planned_count != 0) {
        confine(run, raw, &range);
    }
    return range;
}

static uint64_t choose_output(const struct pgtable_run *run, uint16_t raw,
                              const struct chosen_range *range)
{
    uint64_t granule = run->rules->config.granule;
    uint64_t physical = raw * 0x9e3779b97f4a7c15ull & run->rules->output_last;
    uint64_t agreement = raw % 8 == 7 ? granule : range->agreement;

    if (raw % 64 == 62) {
        return run->rules->output_last + 1 - granule * (raw / 64 % 16);
    }
    if (raw % 64 >= 56 && raw % 64 < 60 && run->rules->config.output_bits == 52) {
        /* Over an address where the bits change that a descriptor holds apart. */
        uint64_t boundary = (1 + raw / 64 % 3ull) << (granule == 65536 ? 48 : 50);
        uint64_t before = align_down(range->size / 2 + range->agreement, range->agreement);

        return boundary - before + (range->iova & (range->agreement - 1) & ~(granule - 1));
    }
    if (raw % 8 == 6 && run->m.count != 0) {
        /* Goes on where the leaf before ends. */
        size_t index = model_index(&run->m, range->iova);
        const struct model_leaf *leaf = &run->m.leaves[index == 0 ? 0 : index - 1];

        return align_down((leaf->physical + (range->iova - leaf->first)) & run->rules->output_last,
                          granule);
    }
    return align_down(physical, agreement) | (range->iova & (agreement - 1) & ~(granule - 1));
}

static uint32_t fail_number(uint16_t raw)
{
    return raw % 8 == 0 ? raw / 8 % 6 + 1 : 0;
}

static void operate_map(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    struct chosen_range range = choose_range(run, raw);
    struct map_request request = {
        .iova = range.iova,
        .count = 1,
        .prot = rules_choose_prot(run->rules, raw[5], run->planned_count == 0),
        .how = MAP_PLAIN,
        .fail_forever = raw[6] % 3 == 0,
        .budget_seed = raw[7],
    };
    uint64_t next = range.iova;

    request.segments[0].physical = choose_output(run, raw[4], &range);
    request.segments[0].size = range.size;
    if (kind == OPERATION_MAP_WITHOUT_MEMORY) {
        request.fail_at = raw[6] % 6 + 1;
        request.how = raw[7] % 3;
    } else if (kind == OPERATION_MAP_LIST) {
        request.how = MAP_LIST;
        request.fail_at = fail_number(raw[6]);
    } else if (kind == OPERATION_MAP_PORTIONS) {
        request.how = MAP_PORTIONS;
        request.fail_at = fail_number(raw[6]);
    }
    if (request.how != MAP_PLAIN) {
        request.count = raw[6] % 256 == 255 ? 0 : raw[6] % CALLS_MAXIMUM_SEGMENTS + 1;
    }
    for (size_t i = 0; request.how != MAP_PLAIN && i < request.count; i++) {
        uint16_t mixed = (uint16_t)(raw[4] * (2 * i + 1));
        struct chosen_range part = range;

        part.iova = next;
        request.segments[i].size = i == raw[7] % request.count
                                       ? range.size
                                       : (mixed % 5 + 1u) * run->rules->config.granule;
        request.segments[i].physical = choose_output(run, mixed, &part);
        if (i != 0 && raw[7] % 4 == 0) {
            request.segments[i].physical =
                request.segments[i - 1].physical + request.segments[i - 1].size;
        }
        next += request.segments[i].size;
    }
    if (run->planned_count != 0) {
        /* All of it in one segment, since more would reach beyond what was planned. */
        request.count = 1;
        request.segments[0].size = range.size;
    }
    run_map(run, &request);
}

/* Some leaves as they are. */
static struct chosen_range choose_leaves(const struct pgtable_run *run, const uint16_t *raw)
{
    struct chosen_range range = choose_range(run, raw);

    if (run->m.count != 0) {
        size_t first = (raw[1] * 256u + raw[2]) % run->m.count;
        size_t last = first + (raw[0] % 16 == 0 ? raw[3] % 2000u : raw[3] % 40u);

        last = last < run->m.count ? last : run->m.count - 1;
        range.iova = run->m.leaves[first].first;
        range.size = run->m.leaves[last].last - range.iova + 1;
    }
    return range;
}

static void operate_unmap(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    struct chosen_range range = choose_range(run, raw);

    if (kind == OPERATION_UNMAP_WHOLE || (kind != OPERATION_UNMAP && raw[4] % 2 == 0)) {
        range = choose_leaves(run, raw);
    }
    if (run->m.count > CALLS_MANY_LEAVES) {
        range.iova = run->rules->aperture.first;
        range.size = run->rules->aperture.last - range.iova + 1;
    }
    if (kind == OPERATION_UNMAP_PORTIONS) {
        run_unmap_portions(run, range.iova, range.size, raw[5]);
    } else if (kind == OPERATION_UNMAP_LEAVES) {
        run_unmap_leaves(run, range.iova + raw[5] % 4096,
                         range.iova + (range.size - 1) - raw[6] % 9);
    } else {
        run_unmap(run, range.iova, range.size);
    }
}

static void operate_cut(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    struct chosen_range range = choose_range(run, raw);
    uint64_t granule = run->rules->config.granule;

    if ((kind == OPERATION_CUT_LEAF || raw[4] % 2 == 0) && run->m.count != 0) {
        size_t first = (raw[1] * 256u + raw[2]) % run->m.count;
        const struct model_leaf *leaf;
        uint64_t pages;

        /* Large leaves are rare, and it is they that can be cut. */
        for (unsigned int i = 0; i < 1000; i++) {
            leaf = &run->m.leaves[first];
            if (leaf->last - leaf->first >= granule) {
                break;
            }
            first = first == 0 ? run->m.count - 1 : first - 1;
        }
        leaf = &run->m.leaves[first];
        pages = (leaf->last - leaf->first + 1) / granule;
        range.iova = leaf->first + (raw[3] * 65536u + raw[2]) % pages * granule;
        if (raw[3] % 4 == 0) {
            range.iova = leaf->first;
        }
        if (raw[5] % 2 == 0) {
            range.size = granule * (raw[5] / 2 % 8 + 1);
        }
        if (raw[5] % 3 == 0 && range.size - 1 > leaf->last - range.iova) {
            range.size = leaf->last - range.iova + 1;
        }
    }
    run_cut(run, range.iova, range.size, kind == OPERATION_CUT_FAILS,
            run->planned_count == 0 ? fail_number(raw[6]) : 0);
}

static void operate_protect(struct pgtable_run *run, const uint16_t *raw)
{
    struct chosen_range range = raw[4] % 4 != 0 ? choose_leaves(run, raw) : choose_range(run, raw);
    piommu_prot prot = rules_choose_prot(run->rules, raw[5], true);

    if (raw[5] % 32 != 0) {
        prot &= PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK | ~PIOMMU_PROT_ALL;
    }
    run_protect(run, range.iova, range.size, prot, raw[6] % 3 == 0 ? raw[7] * 65537u : 0);
}

/* An address in a leaf, if there is one. */
static uint64_t choose_mapped(const struct pgtable_run *run, const uint16_t *raw)
{
    uint64_t granule = run->rules->config.granule;
    const struct model_leaf *leaf;

    if (run->m.count == 0) {
        return run->windows[0];
    }
    leaf = &run->m.leaves[raw[4] % run->m.count];
    /* Mostly pages, but a block or a group is worth more. */
    for (unsigned int i = 0; i < raw[5] % 512 && leaf->last - leaf->first < granule; i++) {
        leaf = leaf == run->m.leaves ? &run->m.leaves[run->m.count - 1] : leaf - 1;
    }
    return leaf->first + (raw[5] * 0x9e3779b97f4a7c15ull) % (leaf->last - leaf->first + 1);
}

static void operate_look(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    struct chosen_range range = choose_range(run, raw);
    uint64_t first = range.iova + raw[4] % 4096;
    uint64_t last = range.iova + (range.size - 1);

    if (raw[5] % 4 == 0) {
        first = raw[5] % 8 == 0 ? 0 : run->rules->aperture.first;
        last = UINT64_MAX;
    }
    if (last < first && kind != OPERATION_FOR_EACH) {
        last = first;
    }
    switch (kind) {
    case OPERATION_LOOKUP:
        model_probe(&run->m, first);
        if (run->m.count != 0) {
            const struct model_leaf *leaf = &run->m.leaves[raw[4] % run->m.count];

            model_probe_range(&run->m, leaf->first, leaf->last);
        }
        break;
    case OPERATION_NEXT_LEAF:
        run_next_leaf(run, first, last);
        break;
    case OPERATION_FOR_EACH:
        run_for_each_mapping(run, first, last, raw[6] % 4 == 0 ? raw[6] / 4 % 5 + 1u : UINT32_MAX);
        break;
    case OPERATION_DUMP:
        run_dump(run, first, last);
        break;
    case OPERATION_ADOPT:
        run_adopt(run, raw[4]);
        break;
    default:
        if (raw[4] % 4 == 0) {
            run_verify_without_memory(run);
        }
        model_check_all(&run->m);
        break;
    }
}

static void operate_dirty(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    static const uint32_t budgets[] = {0, 1, 3, 10, 60, 500, 10000, UINT32_MAX};
    struct chosen_range range = raw[4] % 2 == 0 ? choose_leaves(run, raw) : choose_range(run, raw);
    bool has_dirty = (run->rules->config.flags & PIOMMU_PGTABLE_DIRTY) != 0;

    if (!has_dirty && raw[7] % 16 != 0) {
        return; /* only that it is refused could be seen */
    }
    switch (kind) {
    case OPERATION_TRACK:
        run_track(run, raw[4] % 3 != 0);
        break;
    case OPERATION_TRACK_PORTION:
        run_track_portion(run, budgets[raw[4] % 8]);
        break;
    case OPERATION_READ_DIRTY: {
        uint64_t unit = (uint64_t)run->rules->config.granule << raw[6] % 8;

        if (raw[6] % 64 == 63) {
            unit = raw[6] % 128 == 63 ? 1024 : unit + 4096;
        }
        if (raw[4] % 4 == 1 && run->planned_count == 0) {
            range.iova = run->rules->aperture.first;
            range.size = run->rules->aperture.last - range.iova + 1;
        }
        run_read_dirty(run, range.iova, range.size, unit, raw[5] % 2 == 0, raw[5] % 16 > 1);
        break;
    }
    default:
        for (unsigned int i = 0; i < 1u + raw[6] % 4; i++) {
            unsigned int other_leaf = raw[6] / 4 % 2 == 0 ? 7 * i : 0;
            uint16_t numbers[6] = {
                0, 0, 0, 0, (uint16_t)(raw[4] + other_leaf), (uint16_t)(raw[5] + 31 * i)};

            run_hardware_write(run, choose_mapped(run, numbers), raw[6] / 8 % 2 == 0);
        }
        break;
    }
}

static void operate_memory(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    struct chosen_range range = choose_range(run, raw);

    if (kind == OPERATION_PLAN) {
        uint64_t alignment = (uint64_t)run->rules->config.granule << raw[4] % 40;

        run_plan(run, range.iova, range.size, raw[5] % 16 == 0 ? alignment / 2 + 8 : alignment);
    } else if (run->planned_count != 0) {
        return;
    } else if (kind == OPERATION_RESERVE) {
        run_reserve(run, raw[4] % 64 == 0 ? UINT32_MAX : raw[4] % 7u, fail_number(raw[5]));
    } else {
        run_unreserve(run, raw[4] % 8 == 0 ? UINT32_MAX : raw[4] % 5u);
    }
}

static void operate_sync(struct pgtable_run *run, unsigned int kind, const uint16_t *raw)
{
    static const enum sync_kind failures[] = {SYNC_FAILS, SYNC_FAILS, SYNC_TRIM_FAILS,
                                              SYNC_FAILS_AND_MOVES};

    if (run->planned_count != 0) {
        /* Tables that are held would be missing. */
        run_sync(run, kind == OPERATION_TRIM ? SYNC_TRIM : SYNC_DETACH);
        return;
    }
    if (kind == OPERATION_SWITCH) {
        if (raw[1] % 8 == 0) {
            run_recovery(run);
        }
        run->current = raw[0] % CALLS_GATHERS;
    } else if (kind == OPERATION_SYNC_FAILS) {
        run_sync(run, failures[raw[0] % 4]);
        /* What comes next need not be synced together with what has failed. */
        run->current = raw[1] % CALLS_GATHERS;
    } else {
        run_sync(run, kind == OPERATION_TRIM ? SYNC_TRIM : SYNC_DETACH);
    }
}

static void operate(struct pgtable_run *run, const struct program_operation *operation)
{
    unsigned int kind = operation->kind % OPERATION_KINDS;

    if (kind <= OPERATION_MAP_WITHOUT_MEMORY) {
        operate_map(run, kind, operation->raw);
    } else if (kind <= OPERATION_UNMAP_LEAVES) {
        operate_unmap(run, kind, operation->raw);
    } else if (kind <= OPERATION_CUT_FAILS) {
        operate_cut(run, kind, operation->raw);
    } else if (kind == OPERATION_PROTECT) {
        operate_protect(run, operation->raw);
    } else if (kind <= OPERATION_SYNC_FAILS || kind == OPERATION_SWITCH) {
        operate_sync(run, kind, operation->raw);
    } else if (kind <= OPERATION_ADOPT) {
        operate_look(run, kind, operation->raw);
    } else if (kind <= OPERATION_PLAN) {
        operate_memory(run, kind, operation->raw);
    } else {
        operate_dirty(run, kind, operation->raw);
    }
    model_check_counters(&run->m);
    note_empty(run);
}

/* ---- A program ---- */

/* Addresses around which everything happens, where something ends on each level. */
static void choose_windows(struct pgtable_run *run)
{
    const struct piommu_range *aperture = &run->rules->aperture;
    uint64_t granule = run->rules->config.granule;
    uint64_t all = (aperture->last - aperture->first) / granule + 1;
    uint64_t size;

    run->window_pages = all < 2048 ? all : 2048;
    size = run->window_pages * granule;
    run->windows[run->window_count++] = aperture->first;
    run->windows[run->window_count++] = aperture->last - (size - 1);
    run->windows[run->window_count++] = aperture->first + (all - run->window_pages) / 2 * granule;
    for (int level = 2; level >= run->rules->start_level; level--) {
        uint64_t boundary = 1ull << rules_level_shift(run->rules, level);

        if (boundary >= size / 2 && boundary + size / 2 <= aperture->last - aperture->first) {
            run->windows[run->window_count++] =
                align_down(aperture->first + boundary - size / 2, granule);
        }
    }
}

/* Reserves for some ranges what the plan says: nothing is allocated or freed any more. */
static void plan_ahead(struct pgtable_run *run, uint64_t seed)
{
    uint32_t total = 0;

    for (unsigned int i = 0; i < CALLS_PLANNED_RANGES; i++) {
        uint64_t granule = run->rules->config.granule;
        uint64_t pages = pgtable_random(&seed) % run->window_pages + 1;
        uint64_t skipped = pgtable_random(&seed) % (run->window_pages - pages + 1);
        uint64_t window = run->windows[pgtable_random(&seed) % run->window_count];
        uint64_t to_map = 0;
        uint64_t to_cut = 0;
        struct piommu_range range;

        window += skipped * granule;
        range = (struct piommu_range){.first = window, .last = window + pages * granule - 1};
        CHECK(piommu_pgtable_plan(run->h->table, window, pages * granule, granule, &to_map,
                                  &to_cut) == 0);
        model_say(&run->m,
                  "    planned: 0x%" PRIx64 " to 0x%" PRIx64 ", %" PRIu64 " and %" PRIu64
                  " tables\n",
                  range.first, range.last, to_map, to_cut);
        if (to_map + to_cut > CALLS_TABLE_BYTES / 8 / granule) {
            return; /* large leaves and nothing between them and pages */
        }
        total += (uint32_t)(to_map + to_cut);
        run->planned[i] = range;
    }
    CHECK(piommu_pgtable_reserve(run->h->table, total) == 0);
    run->planned_count = CALLS_PLANNED_RANGES;
}

static void say_config(const struct pgtable_rules *rules,
                       const struct pgtable_host_options *options)
{
    static const char *const names[] = {"", "64-bit stage 1", "64-bit stage 2", "32-bit stage 1",
                                        "32-bit stage 2"};
    const struct piommu_pgtable_config *config = &rules->config;

    fprintf(stderr,
            "  %s, granule %u, %u bits to %u, flags 0x%x, %s, %s,\n  %u empty tables kept, "
            "leaf sizes 0x%" PRIx64 ", of these 0x%" PRIx64 " in use, and 0x%" PRIx64
            ", start level %d%s\n",
            names[config->format], (unsigned int)config->granule, config->input_bits,
            config->output_bits, (unsigned int)config->flags,
            config->coherent_walk ? "coherent" : "not coherent",
            options->scattered ? "scattered" : "linear", config->empty_tables_kept,
            config->leaf_sizes, rules->leaf_sizes, rules->contiguous_sizes, rules->start_level,
            options->is_watched ? ", watched" : "");
}

/* Configurations that need not exist are refused exactly if they do not. */
static void check_other_configs(struct pgtable_run *run, uint64_t seed)
{
    for (unsigned int i = 0; i < 3; i++) {
        uint16_t numbers[RULES_CONFIG_NUMBERS];
        struct piommu_pgtable_config config;
        struct piommu_pgtable *table = NULL;
        uint64_t bytes = fake_os_bytes_outstanding(run->h->os);
        int expected;
        int result;

        for (unsigned int j = 0; j < RULES_CONFIG_NUMBERS; j++) {
            numbers[j] = (uint16_t)pgtable_random(&seed);
        }
        config = rules_choose_config(numbers);
        switch (pgtable_random(&seed) % 8) {
        case 0:
            config.format = (enum piommu_pgtable_format)(numbers[9] % 6);
            break;
        case 1:
            config.granule = 1u << numbers[9] % 20;
            break;
        case 2:
            config.input_bits = (uint8_t)(numbers[9] % 70);
            break;
        case 3:
            config.output_bits = (uint8_t)(numbers[9] % 70);
            break;
        case 4:
            config.flags = numbers[9] % 1024;
            break;
        case 5:
            config.leaf_sizes = config.granule | 1ull << numbers[9] % 64;
            break;
        case 6:
            config.leaf_sizes = 1ull << numbers[9] % 44;
            break;
        default:
            break;
        }
        config.owner = run->h;
        /* The strict host knows no cleans where its memory is coherent. */
        config.coherent_walk = config.coherent_walk || run->rules->config.coherent_walk;
        expected = rules_judge_config(&config);
        result = piommu_pgtable_create(fake_os_host(run->h->os), &config, &table);
        model_say(
            &run->m,
            "    create(format %d, granule 0x%x, %u bits to %u, flags 0x%x, leaf sizes 0x%" PRIx64
            ") = %d\n",
            (int)config.format, (unsigned int)config.granule, config.input_bits, config.output_bits,
            (unsigned int)config.flags, config.leaf_sizes, result);
        if (expected == 0 && result == -PIOMMU_EOPNOTSUPP) {
            CHECK(host_lacks_atomics(&config));
        } else {
            CHECK(result == expected);
        }
        if (result == 0) {
            piommu_pgtable_destroy(table);
        }
        CHECK(fake_os_bytes_outstanding(run->h->os) == bytes);
    }
}

static void finish(struct pgtable_run *run, uint16_t number)
{
    run_sync_all(run);
    model_check_all(&run->m);
    run_next_leaf(run, 0, UINT64_MAX);
    if (number % 2 == 0) {
        struct piommu_pgtable_statistics statistics;
        bool was_empty = run->m.count == 0;

        run_unmap(run, run->rules->aperture.first,
                  run->rules->aperture.last - run->rules->aperture.first + 1);
        run_sync(run, number % 4 == 0 ? SYNC_TRIM : SYNC_DETACH);
        model_check_all(&run->m);
        CHECK(run->m.count == 0);
        piommu_pgtable_get_statistics(run->h->table, &statistics);
        CHECK(run->h->piece_count - 1 == run->h->linked_count + statistics.tables_spare);
        /* An unmap that finds nothing takes out nothing. */
        CHECK(run->h->linked_count == 0 ||
              (number % 4 != 0 && (run->rules->config.empty_tables_kept != 0 ||
                                   (was_empty && rules_is_disjoint(run->rules)))));
    }
}

void program_run(const struct pgtable_program *program, const struct program_options *options)
{
    struct piommu_pgtable_config config = rules_choose_config(program->config);
    uint16_t numbers = program->config[10];
    struct pgtable_host_options host_options = {
        .scattered = numbers % 4 == 1,
        .placement = program->config[9],
        /* To look at all tables at each barrier takes long. */
        .is_watched = numbers / 4 % (config.coherent_walk ? 16 : 32) == 0,
        .large_hardware = numbers / 128 % 4 == 0,
    };
    struct pgtable_run *run;
    uint64_t seed = numbers * 65537u + program->config[11];

    if (host_lacks_atomics(&config)) {
        config.flags &= ~PIOMMU_PGTABLE_DISJOINT;
    }
    if (options->verbose) {
        struct pgtable_rules rules;

        rules_of_config(&config, &rules);
        say_config(&rules, &host_options);
    }
    host_options.os = options->hosts[host_options.scattered][!config.coherent_walk];
    run = run_open(&config, &host_options, seed);
    if (run == NULL) {
        return;
    }
    run->m.verbose = options->verbose;
    check_other_configs(run, seed);
    choose_windows(run);
    if (numbers / 512 % 8 == 0) {
        plan_ahead(run, seed);
    }
    if ((config.flags & PIOMMU_PGTABLE_DIRTY) != 0 && numbers / 4096 % 2 == 0) {
        run_track(run, true);
    }
    for (size_t i = 0; i < program->length; i++) {
        operate(run, &program->operations[i]);
    }
    finish(run, program->config[11]);
    run_close(run, program->config[11] % 3 == 0 ? program->config[11] % 1000u : 0);
}

/* ---- Where programs come from ---- */

static uint8_t choose_kind(uint64_t random)
{
    unsigned int total = 0;
    uint8_t kind = 0;

    for (unsigned int i = 0; i < OPERATION_KINDS; i++) {
        total += weights[i];
    }
    random %= total;
    while (random >= weights[kind]) {
        random -= weights[kind++];
    }
    return kind;
}

void program_generate(struct pgtable_program *program, uint64_t seed, size_t length)
{
    for (unsigned int i = 0; i < RULES_CONFIG_NUMBERS; i++) {
        program->config[i] = (uint16_t)(pgtable_random(&seed) >> 16);
    }
    program->length = length;
    for (size_t i = 0; i < length; i++) {
        struct program_operation *operation = &program->operations[i];

        operation->kind = choose_kind(pgtable_random(&seed));
        for (unsigned int j = 0; j < PROGRAM_NUMBERS; j++) {
            operation->raw[j] = (uint16_t)(pgtable_random(&seed) >> 16);
        }
    }
}

static uint16_t decode_number(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

void program_decode(struct pgtable_program *program, const uint8_t *bytes, size_t size)
{
    memset(program->config, 0, sizeof(program->config));
    program->length = 0;
    for (unsigned int i = 0; i < RULES_CONFIG_NUMBERS && 2 * i + 2 <= size; i++) {
        program->config[i] = decode_number(&bytes[2 * i]);
    }
    for (size_t at = PROGRAM_HEAD_BYTES;
         at + PROGRAM_OPERATION_BYTES <= size && program->length < PROGRAM_LENGTH;
         at += PROGRAM_OPERATION_BYTES) {
        struct program_operation *operation = &program->operations[program->length++];

        operation->kind = bytes[at];
        for (unsigned int j = 0; j < PROGRAM_NUMBERS; j++) {
            operation->raw[j] = decode_number(&bytes[at + 1 + 2 * j]);
        }
    }
}

static void encode_number(uint8_t *bytes, uint16_t number)
{
    bytes[0] = (uint8_t)number;
    bytes[1] = (uint8_t)(number >> 8);
}

size_t program_encode(const struct pgtable_program *program, uint8_t *bytes, size_t room)
{
    size_t at = PROGRAM_HEAD_BYTES;

    if (room < PROGRAM_HEAD_BYTES) {
        return 0;
    }
    for (unsigned int i = 0; i < RULES_CONFIG_NUMBERS; i++) {
        encode_number(&bytes[2 * i], program->config[i]);
    }
    for (size_t i = 0; i < program->length && room - at >= PROGRAM_OPERATION_BYTES; i++) {
        bytes[at] = program->operations[i].kind;
        for (unsigned int j = 0; j < PROGRAM_NUMBERS; j++) {
            encode_number(&bytes[at + 1 + 2 * j], program->operations[i].raw[j]);
        }
        at += PROGRAM_OPERATION_BYTES;
    }
    return at;
}
