/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Dirty tracking: the emulated CPU notes writes in the descriptors (FEAT_HAFDBS), and the library
 * has to find exactly the leaves that were written to. QEMU lets address translation instructions
 * for writing count as writes, which a real CPU need not do.
 */

#include "groups.h"

#include "machine.h"

#include <piommu/error.h>
#include <piommu/io-pgtable-dirty.h>

#include <string.h>

#define MAX_DIRTY           512u
#define MAX_UNITS           4096u
#define STEPS               60u
#define MAX_MAPPINGS        24u
#define MAX_LEAVES          600u
#define MAX_LEAVES_OF_A_CUT 20000u

struct tracker {
    struct subject subject;
    bool is_on;
    uint64_t base; /* all mappings are near it */
    unsigned int count;
    struct piommu_range dirty[MAX_DIRTY]; /* whole leaves, in no order */
};

static bool is_dirty(const struct tracker *tracker, uint64_t address)
{
    for (unsigned int i = 0; i < tracker->count; i++) {
        if (tracker->dirty[i].first <= address && address <= tracker->dirty[i].last) {
            return true;
        }
    }
    return false;
}

static void note(struct tracker *tracker, uint64_t first, uint64_t last)
{
    if (tracker->count == MAX_DIRTY) {
        machine_fail("the list of what is dirty is too short");
    }
    tracker->dirty[tracker->count++] = (struct piommu_range){first, last};
}

/* Takes a range out of what is dirty. */
static void forget(struct tracker *tracker, uint64_t first, uint64_t last)
{
    for (unsigned int i = tracker->count; i-- > 0;) {
        struct piommu_range range = tracker->dirty[i];

        if (range.first > last || range.last < first) {
            continue;
        }
        tracker->dirty[i] = tracker->dirty[--tracker->count];
        if (range.first < first) {
            note(tracker, range.first, first - 1);
        }
        if (range.last > last) {
            note(tracker, last + 1, range.last);
        }
    }
}

/* The same with the leaves at the ends whole. */
static void forget_leaves(struct tracker *tracker, uint64_t first, uint64_t last)
{
    struct model_answer answer = model_ask(&tracker->subject.model, first);

    if (answer.kind == MODEL_LEAF) {
        first = first >> answer.leaf_shift << answer.leaf_shift;
    }
    answer = model_ask(&tracker->subject.model, last);
    if (answer.kind == MODEL_LEAF) {
        last |= (1ull << answer.leaf_shift) - 1;
    }
    forget(tracker, first, last);
}

static void sync(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;

    piommu_pgtable_detach_empty(subject->table, &subject->gather);
    cpu_invalidate();
    piommu_pgtable_release(subject->table, &subject->gather);
}

static void step_map(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;
    const struct model_geometry *geometry = &subject->model.geometry;
    unsigned int shift =
        geometry->sizes[random_below(&subject->random, geometry->size_count)].shift;
    uint64_t size = 1ull << shift;
    uint64_t iova = (tracker->base & ~(size - 1)) + size * random_below(&subject->random, 8);
    uint64_t physical = random_bits(&subject->random, geometry->output_bits) & ~(size - 1);
    unsigned int pages = 1 + random_below(&subject->random, 5);

    if (subject->model.count > MAX_MAPPINGS || iova < geometry->input.first ||
        iova > geometry->input.last || geometry->input.last - iova < size - 1) {
        return;
    }
    if (size == subject->config.granule && geometry->input.last - iova >= size * pages &&
        physical + size * pages <= 1ull << geometry->output_bits) {
        size *= pages;
    }
    if (model_count_leaves(&subject->model, iova, physical, size, MAX_LEAVES) < MAX_LEAVES) {
        subject_map(subject, iova, physical, size, subject_random_prot(subject));
    }
}

static void step_unmap(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;
    struct model_run run;

    if (subject->model.count == 0) {
        return;
    }
    run = subject->model.runs[random_below(&subject->random, subject->model.count)];
    forget(tracker, run.first, run.last);
    subject_unmap(subject, run.first, run.last - run.first + 1);
}

/* An access somewhere; most of them hit. */
static void step_access(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;
    const struct model *model = &subject->model;
    enum cpu_access access = (enum cpu_access)random_below(&subject->random, CPU_ACCESSES);
    uint64_t address = tracker->base;
    struct model_answer answer;
    piommu_prot needed = cpu_access_is_write(access) ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ;
    uint64_t par, leaf;
    bool allowed;

    if (model->count != 0) {
        const struct model_run *run = &model->runs[random_below(&subject->random, model->count)];

        address = run->first + random_next(&subject->random) % (run->last - run->first + 1);
    }
    answer = model_ask(model, address);
    allowed = answer.kind == MODEL_LEAF && (answer.prot & needed) != 0 &&
              ((answer.prot & PIOMMU_PROT_PRIVILEGED) == 0 || cpu_access_is_privileged(access));
    subject_judge_lookup(subject, address, &answer);
    par = cpu_translate(access, address);
    if (((par & CPU_PAR_FAULT) == 0) != allowed ||
        (allowed && ((par ^ answer.physical) & CPU_PAR_PHYSICAL_MASK) != 0)) {
        subject_fail(subject, "dirty tracking, access %u to 0x%llx, prot 0x%x: PAR is 0x%llx",
                     (unsigned int)access, (unsigned long long)address, (unsigned int)answer.prot,
                     (unsigned long long)par);
    }
    if (!allowed || !cpu_access_is_write(access) || !tracker->is_on) {
        return;
    }
    leaf = address >> answer.leaf_shift << answer.leaf_shift;
    if (!is_dirty(tracker, address)) {
        note(tracker, leaf, leaf + ((1ull << answer.leaf_shift) - 1));
    }
}

static void step_read(struct tracker *tracker)
{
    static uint8_t bitmap[MAX_UNITS / 8 + 8];
    static uint8_t expected[MAX_UNITS / 8 + 8];
    struct subject *subject = &tracker->subject;
    const struct model *model = &subject->model;
    uint64_t granule = subject->config.granule;
    uint64_t unit = granule << random_below(&subject->random, 12);
    uint64_t first = tracker->base, size, last, bytes = 0, dirty = 0;
    bool clear = random_percent(&subject->random, 60);
    int error;

    if (model->count != 0) {
        const struct model_run *run = &model->runs[random_below(&subject->random, model->count)];

        /* Before it or in it. */
        first = run->first - unit * random_below(&subject->random, 20);
        if (random_percent(&subject->random, 30)) {
            first = run->first + random_next(&subject->random) % (run->last - run->first + 1);
        }
    }
    first &= ~(granule - 1);
    if (first < model->geometry.input.first || first > model->geometry.input.last) {
        first = model->geometry.input.first;
    }
    size = unit * random_below(&subject->random, MAX_UNITS - 1) +
           granule * (1 + random_below(&subject->random, 3));
    if (size - 1 > model->geometry.input.last - first) {
        size = model->geometry.input.last - first + 1;
    }
    last = first + (size - 1);

    memset(expected, 0, sizeof(expected));
    memset(bitmap, 0, sizeof(bitmap));
    /* Bits that are set stay so. */
    expected[0] = bitmap[0] = (uint8_t)random_below(&subject->random, 2);
    for (unsigned int i = 0; i < tracker->count; i++) {
        uint64_t from = tracker->dirty[i].first;
        uint64_t to = tracker->dirty[i].last;

        from = from < first ? first : from;
        to = to > last ? last : to;
        if (from > to) {
            continue;
        }
        bytes += to - from + 1;
        for (uint64_t bit = (from - first) / unit; bit <= (to - first) / unit; bit++) {
            expected[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
    }
    error = piommu_pgtable_read_dirty(subject->table, first, size, unit, bitmap, clear,
                                      &subject->gather, &dirty);
    if (error != 0 || dirty != bytes || memcmp(bitmap, expected, sizeof(bitmap)) != 0) {
        subject_fail(
            subject,
            "read_dirty of 0x%llx, size 0x%llx, unit 0x%llx gives %d, 0x%llx bytes, should "
            "give 0x%llx; the bitmap is %s",
            (unsigned long long)first, (unsigned long long)size, (unsigned long long)unit, error,
            (unsigned long long)dirty, (unsigned long long)bytes,
            memcmp(bitmap, expected, sizeof(bitmap)) == 0 ? "right" : "wrong");
    }
    if (clear) {
        forget_leaves(tracker, first, last);
        sync(tracker);
    }
}

/* What stays of a leaf that was cut, from first to last, is dirty if the leaf was tracked. */
static void note_remainder(struct tracker *tracker, piommu_prot prot, uint64_t first, uint64_t last)
{
    if (tracker->is_on && (prot & PIOMMU_PROT_WRITE) != 0) {
        forget(tracker, first, last);
        note(tracker, first, last);
    }
}

static void step_cut(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;
    const struct model *model = &subject->model;
    uint64_t mask = ~(subject->config.granule - 1ull);
    struct model_run run;
    uint64_t first, last, leaf_mask;

    if (model->count == 0) {
        return;
    }
    run = model->runs[random_below(&subject->random, model->count)];
    first = run.first + (random_next(&subject->random) % (run.last - run.first + 1) & mask);
    last = first + (random_next(&subject->random) % (run.last - first + 1) | ~mask);
    if (model_leaves_of_a_cut(model, first) + model_leaves_of_a_cut(model, last) >=
        MAX_LEAVES_OF_A_CUT) {
        return;
    }
    forget(tracker, first, last);
    leaf_mask = (1ull << run.leaf.shift) - 1;
    if ((first & leaf_mask) != 0) {
        note_remainder(tracker, run.prot, first & ~leaf_mask, first - 1);
    }
    if ((last & leaf_mask) != leaf_mask) {
        note_remainder(tracker, run.prot, last + 1, last | leaf_mask);
    }
    subject_unmap_cut(subject, first, last - first + 1);
}

/* A leaf that may not be written to is not tracked, and then counts as clean. */
static void step_protect(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;
    piommu_prot prot = subject_random_prot(subject);
    struct model_run run;

    if (subject->model.count == 0) {
        return;
    }
    run = subject->model.runs[random_below(&subject->random, subject->model.count)];
    subject_protect(subject, run.first, run.last - run.first + 1, prot);
    if ((prot & PIOMMU_PROT_WRITE) == 0) {
        forget(tracker, run.first, run.last);
    }
}

static void step_track(struct tracker *tracker)
{
    struct subject *subject = &tracker->subject;
    bool on = random_percent(&subject->random, 70);
    int error;

    if (random_percent(&subject->random, 50)) {
        struct piommu_pgtable_cursor cursor;

        memset(&cursor, 0, sizeof(cursor));
        do {
            error =
                piommu_pgtable_track_dirty_some(subject->table, on, 7, &subject->gather, &cursor);
        } while (error == -PIOMMU_EAGAIN);
    } else {
        error = piommu_pgtable_track_dirty(subject->table, on, &subject->gather);
    }
    sync(tracker);
    if (error != 0) {
        subject_fail(subject, "track_dirty gives %d", error);
    }
    if (!on) {
        tracker->count = 0; /* nothing is tracked, so nothing is dirty */
    }
    tracker->is_on = on;
}

static void run(const struct piommu_pgtable_config *config, uint64_t seed)
{
    static struct tracker tracker;
    struct subject *subject = &tracker.subject;
    unsigned int before = failures;

    tracker.is_on = false;
    tracker.count = 0;
    if (!subject_create(subject, "dirty", config, seed)) {
        return;
    }
    subject_use(subject);
    tracker.base =
        (subject->model.geometry.input.first + random_bits(&subject->random, config->input_bits)) &
        ~(config->granule - 1ull);
    for (subject->step = 1; subject->step <= STEPS && failures == before; subject->step++) {
        uint32_t choice = random_below(&subject->random, 100);

        if (choice < 15) {
            step_map(&tracker);
        } else if (choice < 20) {
            step_unmap(&tracker);
        } else if (choice < 25) {
            step_cut(&tracker);
        } else if (choice < 30) {
            step_protect(&tracker);
        } else if (choice < (tracker.is_on ? 33u : 40u)) {
            step_track(&tracker);
        } else if (choice < 60) {
            step_read(&tracker);
        } else {
            for (unsigned int i = 0; i < 5; i++) {
                step_access(&tracker);
            }
        }
    }
    subject_check_structure(subject);
    subject_destroy(subject);
}

static void test_kind(const char *name, enum piommu_pgtable_format format, struct random *random)
{
    struct tally tally = tally_start(name);

    for (unsigned int i = 0; i < 200; i++) {
        struct piommu_pgtable_config config;

        random_configuration(random, format, &config);
        config.flags |= PIOMMU_PGTABLE_DIRTY;
        config.coherent_walk = true; /* two views of memory do not go with writes by the walker */
        tally.tables++;
        run(&config, random_next(random));
    }
    tally_end(&tally);
}

void group_dirty(uint64_t seed)
{
    struct random random = {seed};

    test_kind("dirty tracking, stage 1", PIOMMU_ARM_64_LPAE_S1, &random);
    test_kind("dirty tracking, stage 2", PIOMMU_ARM_64_LPAE_S2, &random);
}
