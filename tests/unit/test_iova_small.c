/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * All sequences of a few calls in a space of 16 granules, against one bit for each. Spaces cannot
 * be copied: in front of each step the space is made anew and the steps before are done again.
 */

#include "fake_os.h"

#include <piommu/iova.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define GRANULE  0x1000ull
#define GRANULES 16u
#define DEEPEST  6u
#define NOWHERE  GRANULES
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* All in granules. */
struct wish {
    unsigned int count;
    unsigned int alignment;
    unsigned int limit;    /* how many granules may be used; 0: all */
    unsigned int boundary; /* 0: none */
};

enum kind {
    ALLOC,
    TAKE,
    FREE,
};

struct step {
    enum kind kind;
    struct wish wish;
    unsigned int place; /* to take or free, or where the range was put */
};

/* What lives, as far as it is known without the library. */
struct shadow {
    uint32_t taken;            /* a bit for each granule */
    uint8_t lengths[GRANULES]; /* of what begins there */
};

struct search {
    struct fake_os *os;
    struct piommu_iova_config config;
    unsigned int origin; /* the granule at which the space begins */
    unsigned int depth;
    const struct wish *wishes;
    size_t wish_count;
    const struct wish *places; /* to be taken: count and limit say which */
    size_t place_count;
    struct step steps[DEEPEST];
    unsigned int length;
    uint64_t sequences;
};

/* ---- The shadow ---- */

static uint32_t bits(unsigned int place, unsigned int count)
{
    return ((1u << count) - 1) << place;
}

static bool suits(const struct search *s, const struct shadow *shadow, const struct wish *wish,
                  unsigned int place)
{
    unsigned int last = place + wish->count - 1;

    return last < GRANULES && (shadow->taken & bits(place, wish->count)) == 0 &&
           (s->origin + place) % wish->alignment == 0 &&
           (wish->limit == 0 || s->origin + last < wish->limit) &&
           (wish->boundary == 0 ||
            (s->origin + place) / wish->boundary == (s->origin + last) / wish->boundary);
}

/* The place that comes first, or NOWHERE. */
static unsigned int first_place(const struct search *s, const struct shadow *shadow,
                                const struct wish *wish)
{
    unsigned int found = NOWHERE;

    for (unsigned int place = 0; place < GRANULES; place++) {
        if (suits(s, shadow, wish, place)) {
            found = place;
            if (s->config.bottom_up) {
                break;
            }
        }
    }
    return found;
}

/* As the header has it: places that are aligned to the size come first. */
static unsigned int expected_place(const struct search *s, const struct shadow *shadow,
                                   const struct wish *wish)
{
    struct wish aligned = *wish;
    unsigned int found;

    while (wish->boundary != 0 && aligned.alignment < aligned.count) {
        aligned.alignment *= 2;
    }
    found = first_place(s, shadow, &aligned);
    return found != NOWHERE ? found : first_place(s, shadow, wish);
}

static void occupy(struct shadow *shadow, unsigned int place, unsigned int count)
{
    shadow->taken |= bits(place, count);
    shadow->lengths[place] = (uint8_t)count;
}

static void vacate(struct shadow *shadow, unsigned int place)
{
    shadow->taken &= ~bits(place, shadow->lengths[place]);
    shadow->lengths[place] = 0;
}

/* ---- What goes wrong is said with what led to it ---- */

static void print_steps(const struct search *s)
{
    fprintf(stderr, "granules %u to %u, %s, %u cpus\n", s->origin, s->origin + GRANULES - 1,
            s->config.bottom_up ? "upwards" : "downwards", s->config.cpus);
    for (unsigned int i = 0; i < s->length; i++) {
        static const char *const names[] = {"alloc", "take", "free"};
        const struct step *step = &s->steps[i];

        fprintf(stderr, "%s count %u alignment %u limit %u boundary %u at %u\n", names[step->kind],
                step->wish.count, step->wish.alignment, step->wish.limit, step->wish.boundary,
                step->place);
    }
}

#define MUST(s, condition)                     \
    do {                                       \
        if (!(condition)) {                    \
            print_steps(s);                    \
            fail_msg("not true: " #condition); \
        }                                      \
    } while (0)

/* ---- Steps ---- */

static uint64_t address_of(const struct search *s, unsigned int place)
{
    return (s->origin + place) * GRANULE;
}

static int alloc(const struct search *s, struct piommu_iova_space *space, const struct wish *wish,
                 unsigned int *place)
{
    const struct piommu_iova_request request = {
        .size = wish->count * GRANULE,
        .alignment = wish->alignment * GRANULE,
        .limit = wish->limit == 0 ? 0 : wish->limit * GRANULE - 1,
        .boundary = wish->boundary * GRANULE};
    uint64_t address = 0;
    int error = piommu_iova_alloc(space, &request, &address);

    *place = error == 0 ? (unsigned int)(address / GRANULE) - s->origin : NOWHERE;
    return error;
}

/* Found, or not found, if there is no place; and the first one, if no CPU keeps any. */
static bool check_alloc(struct search *s, const struct shadow *shadow,
                        struct piommu_iova_space *space, struct step *step)
{
    unsigned int expected = expected_place(s, shadow, &step->wish);
    int error = alloc(s, space, &step->wish, &step->place);

    MUST(s, error == (expected != NOWHERE ? 0 : -PIOMMU_ENOSPC));
    if (error != 0) {
        return false;
    }
    MUST(s, suits(s, shadow, &step->wish, step->place));
    MUST(s, s->config.cpus != 0 || step->place == expected);
    return true;
}

static int take(const struct search *s, struct piommu_iova_space *space, const struct step *step)
{
    struct piommu_range range = {address_of(s, step->place),
                                 address_of(s, step->place + step->wish.count) - 1};

    return piommu_iova_take(space, range);
}

static bool check_take(struct search *s, const struct shadow *shadow,
                       struct piommu_iova_space *space, const struct step *step)
{
    bool is_free = (shadow->taken & bits(step->place, step->wish.count)) == 0;

    MUST(s, take(s, space, step) == (is_free ? 0 : -PIOMMU_EEXIST));
    return is_free;
}

static int release(const struct search *s, struct piommu_iova_space *space, const struct step *step)
{
    return piommu_iova_free(space, address_of(s, step->place), step->wish.count * GRANULE);
}

static void check_all_places(struct search *s, const struct shadow *shadow,
                             struct piommu_iova_space *space)
{
    for (unsigned int place = 0; place < GRANULES; place++) {
        struct piommu_range range;
        unsigned int length = shadow->lengths[place];

        if (length != 0) {
            MUST(s, piommu_iova_find(space, address_of(s, place + length) - 1, &range) == 0);
            MUST(s, range.first == address_of(s, place));
            MUST(s, range.last == address_of(s, place + length) - 1);
        }
        if (s->config.cpus == 0 && (shadow->taken & bits(place, 1)) == 0) {
            MUST(s, piommu_iova_find(space, address_of(s, place), &range) == -PIOMMU_ENOENT);
        }
    }
}

/* Does all steps but the last again, which went well before. */
static struct piommu_iova_space *replay(struct search *s)
{
    struct piommu_iova_space *space = NULL;

    MUST(s, piommu_iova_create(fake_os_host(s->os), &s->config, &space) == 0);
    for (unsigned int i = 0; i + 1 < s->length; i++) {
        const struct step *step = &s->steps[i];
        unsigned int place;

        switch (step->kind) {
        case ALLOC:
            MUST(s, alloc(s, space, &step->wish, &place) == 0 && place == step->place);
            break;
        case TAKE:
            MUST(s, take(s, space, step) == 0);
            break;
        case FREE:
            MUST(s, release(s, space, step) == 0);
            break;
        }
    }
    return space;
}

/* Tries the last step; true if it has changed something, which is in the shadow then. */
static bool try_step(struct search *s, struct shadow *shadow)
{
    struct step *step = &s->steps[s->length - 1];
    struct piommu_iova_space *space = replay(s);
    bool changed = true;

    s->sequences++;
    switch (step->kind) {
    case ALLOC:
        changed = check_alloc(s, shadow, space, step);
        break;
    case TAKE:
        changed = check_take(s, shadow, space, step);
        break;
    case FREE:
        MUST(s, release(s, space, step) == 0);
        vacate(shadow, step->place);
        break;
    }
    if (changed && step->kind != FREE) {
        occupy(shadow, step->place, step->wish.count);
    }
    check_all_places(s, shadow, space);
    piommu_iova_destroy(space);
    return changed;
}

/* ---- All sequences ---- */

/* Each step that may be the next one has a number; false behind the last. */
static bool choose_step(const struct search *s, const struct shadow *shadow, size_t number,
                        struct step *step)
{
    if (number < s->wish_count) {
        *step = (struct step){.kind = ALLOC, .wish = s->wishes[number]};
        return true;
    }
    number -= s->wish_count;
    if (number < s->place_count) {
        *step = (struct step){
            .kind = TAKE, .wish = s->places[number], .place = s->places[number].limit};
        return true;
    }
    number -= s->place_count;
    for (unsigned int place = 0; place < GRANULES; place++) {
        if (shadow->lengths[place] != 0 && number-- == 0) {
            *step = (struct step){
                .kind = FREE, .wish = {.count = shadow->lengths[place]}, .place = place};
            return true;
        }
    }
    return false;
}

/* Depth first. Level n knows which step it tries, and what lived before. */
static void try_all(struct search *s)
{
    struct shadow shadows[DEEPEST + 1] = {{0}};
    size_t numbers[DEEPEST + 1] = {0};
    unsigned int level = 0;

    for (;;) {
        s->length = level + 1;
        if (level == s->depth ||
            !choose_step(s, &shadows[level], numbers[level], &s->steps[level])) {
            if (level-- == 0) {
                return;
            }
            continue;
        }
        numbers[level]++;
        shadows[level + 1] = shadows[level];
        if (try_step(s, &shadows[level + 1])) {
            numbers[++level] = 0;
        }
    }
}

static void try_space(unsigned int origin, bool bottom_up, unsigned int cpus, unsigned int depth,
                      struct search s)
{
    s.origin = origin;
    s.depth = depth;
    s.os = fake_os_create(NULL);
    s.config = (struct piommu_iova_config){
        .granule = GRANULE,
        .aperture = {origin * GRANULE, (origin + GRANULES) * GRANULE - 1},
        .bottom_up = bottom_up,
        .cpus = cpus};
    try_all(&s);
    fake_os_destroy(s.os);
    print_message("%" PRIu64 " sequences\n", s.sequences);
}

static const struct wish sizes[] = {
    {.count = 1, .alignment = 1},  {.count = 2, .alignment = 1}, {.count = 3, .alignment = 1},
    {.count = 4, .alignment = 1},  {.count = 5, .alignment = 1}, {.count = 8, .alignment = 1},
    {.count = 16, .alignment = 1},
};

static const struct wish aligned[] = {
    {.count = 1, .alignment = 4},  {.count = 2, .alignment = 2}, {.count = 3, .alignment = 2},
    {.count = 4, .alignment = 8},  {.count = 5, .alignment = 4}, {.count = 8, .alignment = 8},
    {.count = 1, .alignment = 16},
};

static const struct wish limited[] = {
    {.count = 1, .alignment = 1, .limit = 24}, {.count = 2, .alignment = 1, .limit = 9},
    {.count = 3, .alignment = 2, .limit = 13}, {.count = 4, .alignment = 4, .limit = 15},
    {.count = 5, .alignment = 1, .limit = 7},  {.count = 3, .alignment = 1},
};

static const struct wish bounded[] = {
    {.count = 1, .alignment = 1, .boundary = 1}, {.count = 2, .alignment = 1, .boundary = 2},
    {.count = 2, .alignment = 1, .boundary = 4}, {.count = 3, .alignment = 1, .boundary = 4},
    {.count = 3, .alignment = 1, .boundary = 8}, {.count = 5, .alignment = 1, .boundary = 8},
};

/* The limit is where they begin. */
static const struct wish places[] = {
    {.count = 1, .alignment = 1, .limit = 5},
    {.count = 6, .alignment = 1, .limit = 9},
};

#define SEARCH(list)                            \
    ((struct search){.wishes = (list),          \
                     .wish_count = COUNT(list), \
                     .places = places,          \
                     .place_count = COUNT(places)})

static void test_sizes(void **state)
{
    (void)state;
    try_space(0, false, 0, 6, SEARCH(sizes));
    try_space(5, true, 0, 5, SEARCH(sizes));
    try_space(505, false, 0, 5, SEARCH(sizes));
}

static void test_alignments(void **state)
{
    (void)state;
    try_space(0, true, 0, 5, SEARCH(aligned));
    try_space(5, false, 0, 5, SEARCH(aligned));
    try_space(505, false, 0, 5, SEARCH(aligned));
}

static void test_limits(void **state)
{
    (void)state;
    try_space(0, false, 0, 5, SEARCH(limited));
    try_space(2, true, 0, 5, SEARCH(limited));
}

static void test_boundaries(void **state)
{
    (void)state;
    try_space(0, false, 0, 5, SEARCH(bounded));
    try_space(6, false, 0, 5, SEARCH(bounded));
}

static void test_cpus_that_keep_ranges(void **state)
{
    (void)state;
    try_space(0, false, 1, 5, SEARCH(sizes));
    try_space(3, true, 2, 5, SEARCH(aligned));
    try_space(0, false, 1, 5, SEARCH(limited));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_alignments),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_cpus_that_keep_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
