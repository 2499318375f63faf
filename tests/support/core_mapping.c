/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core_calls.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW       0x40000000ull
#define BLOCK        0x200000ull
#define OUTPUT_LAST  0xffffffffffull
#define MAX_SEGMENTS 6u
#define DOORBELL     0x50000040ull

/* A range that a call is given, and memory for it. */
struct request {
    uint64_t iova;
    uint64_t size;
    uint64_t physical;
    piommu_prot prot;
    bool wild; /* it may be wrong in any way */
};

/* ---- Choosing ---- */

static struct core_domain *choose_domain(struct core_world *world, uint16_t number)
{
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        struct core_domain *domain = &world->domains[(number + i) % CORE_DOMAINS];

        if (core_is_paging(domain)) {
            return domain;
        }
    }
    return NULL;
}

/* One of this type, if there is any. */
static struct core_domain *choose_of_type(struct core_world *world, uint16_t number,
                                          enum piommu_domain_type type)
{
    for (unsigned int i = 0; i < CORE_DOMAINS; i++) {
        struct core_domain *domain = &world->domains[(number + i) % CORE_DOMAINS];

        if (domain->handle != NULL && domain->type == type &&
            (type != PIOMMU_DOMAIN_DEFERRED || !domain->populated)) {
            return domain;
        }
    }
    return &world->domains[number % CORE_DOMAINS];
}

/*
 * A domain to map in. While a hypervisor's own record is being taken over, only what changes that
 * record may be told to the domain: core_call_frames.
 */
static struct core_domain *choose_target(struct core_world *world, uint16_t number)
{
    struct core_domain *domain = choose_domain(world, number);

    return domain != NULL && domain->has_frames && !domain->populated ? NULL : domain;
}

static uint64_t granule_of(const struct core_domain *domain)
{
    return domain->granule;
}

static piommu_prot choose_prot(const struct core_domain *domain, uint16_t number)
{
    static const piommu_prot prots[] = {
        PIOMMU_PROT_READ,
        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE,
        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE,
        PIOMMU_PROT_WRITE,
        PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_DEVICE,
    };
    piommu_prot prot = prots[number % 5];

    if (number / 8 % 16 != 0) {
        if ((prot & PIOMMU_PROT_READ) == 0 && !domain->write_only) {
            prot |= PIOMMU_PROT_READ;
        }
        prot &= domain->prot;
    }
    return number / 128 % 64 == 0 ? 0x80000000u : prot;
}

/* Memory that no other mapping of any domain has had lately. */
static uint64_t choose_memory(struct core_world *world, const struct core_domain *domain,
                              uint64_t iova)
{
    return 0x800000000ull + domain->number * 0x100000000ull +
           (world->version++ % 16) * 0x10000000ull + (iova & 0xfffffff);
}

static void make_wild(const struct core_domain *domain, const uint16_t *raw,
                      struct request *request)
{
    request->wild = true;
    switch (raw[3] % 8) {
    case 0:
        request->size = 0;
        break;
    case 1:
        request->iova += raw[2] % CORE_PAGE;
        break;
    case 2:
        request->size += raw[2] % CORE_PAGE;
        break;
    case 3:
        request->iova = domain->aperture.last + 1 - granule_of(domain) * (raw[2] % 4);
        break;
    case 4:
        request->physical = OUTPUT_LAST + 1 - granule_of(domain) * (raw[2] % 4);
        break;
    case 5:
        request->size = ~(granule_of(domain) - 1);
        break;
    case 6:
        request->physical += 0x800;
        break;
    default:
        request->iova = 0 - granule_of(domain);
        break;
    }
}

/* raw: 1 window and page, 2 size, 3 what is unusual, 4 permissions. */
static struct request choose_request(struct core_world *world, const struct core_domain *domain,
                                     const uint16_t *raw)
{
    uint64_t granule = granule_of(domain);
    struct request request = {.prot = choose_prot(domain, raw[4])};

    switch (raw[1] % 16) {
    case 0:
    case 1:
        request.iova = domain->aperture.last + 1 - 2 * BLOCK;
        break;
    case 2:
        request.iova = 0;
        break;
    case 3:
        request.iova = domain->has_window ? 0x09000000 - 4 * granule : WINDOW;
        break;
    default:
        request.iova = WINDOW;
        break;
    }
    request.iova += raw[1] / 16 % 1024 * CORE_PAGE & ~(granule - 1);
    request.size = (1 + raw[2] / 16 % 8) * granule;
    switch (raw[2] % 16) {
    case 0:
        request.size = (1 + raw[2] / 16 % 64) * granule;
        break;
    case 1:
    case 2:
        request.iova &= ~(BLOCK - 1);
        request.size = BLOCK * (1 + raw[2] / 16 % 2);
        break;
    case 3:
        request.size = (1 + raw[2] / 16 % 600) * granule;
        break;
    default:
        break;
    }
    request.physical = choose_memory(world, domain, request.iova);
    if (raw[3] / 8 % 8 == 0) {
        request.physical += granule;
    }
    if (raw[3] / 64 % 24 == 0) {
        make_wild(domain, raw, &request);
    }
    return request;
}

/* Something that is mapped, and perhaps more behind it. */
static struct request choose_mapped(struct core_world *world, const struct core_domain *domain,
                                    const uint16_t *raw)
{
    struct request request = choose_request(world, domain, raw);

    if (raw[3] % 4 != 0 && domain->leaves.count != 0) {
        size_t first = raw[1] % domain->leaves.count;
        size_t last = first + (raw[2] % 4 == 0 ? raw[2] / 4 % 8 : 0);

        if (last >= domain->leaves.count) {
            last = domain->leaves.count - 1;
        }
        request.wild = false;
        request.iova = domain->leaves.items[first].first;
        request.size = domain->leaves.items[last].last + 1 - request.iova;
        request.physical = choose_memory(world, domain, request.iova);
    }
    return request;
}

static void note_spots(struct core_world *world, uint64_t iova, uint64_t size)
{
    core_spot_add(world, iova);
    core_spot_add(world, iova + size - 1);
    core_spot_add(world, iova + size / 2);
    core_spot_add(world, core_random(&world->random) % 2 == 0 ? iova - 1 : iova + size);
}

/* ---- Judging ---- */

static bool is_sound(const struct core_domain *domain, uint64_t iova, uint64_t size)
{
    return size != 0 && ((iova | size) & (granule_of(domain) - 1)) == 0;
}

static bool is_inside(const struct core_domain *domain, uint64_t iova, uint64_t size)
{
    return iova >= domain->aperture.first && iova <= domain->aperture.last &&
           size - 1 <= domain->aperture.last - iova;
}

/* What is wrong with a range: false if nothing else need be looked at. */
static bool judge_range(struct core_verdict *verdict, const struct core_domain *domain,
                        uint64_t iova, uint64_t size)
{
    core_must(verdict, !is_sound(domain, iova, size), -PIOMMU_EINVAL);
    core_must(verdict, size != 0 && !is_inside(domain, iova, size), -PIOMMU_ERANGE);
    return size != 0 && is_inside(domain, iova, size);
}

static void judge_prot(struct core_verdict *verdict, const struct core_domain *domain,
                       piommu_prot prot)
{
    bool known = (prot & ~PIOMMU_PROT_ALL) == 0;

    core_must(verdict, !known || (prot & PIOMMU_PROT_ACCESS) == 0, -PIOMMU_EINVAL);
    core_must(verdict, known && (prot & ~domain->prot) != 0, -PIOMMU_EOPNOTSUPP);
    core_must(verdict, known && (prot & PIOMMU_PROT_READ) == 0 && !domain->write_only,
              -PIOMMU_EOPNOTSUPP);
}

static void judge_memory(struct core_verdict *verdict, const struct core_domain *domain,
                         uint64_t physical, uint64_t size)
{
    core_must(verdict, (physical & (granule_of(domain) - 1)) != 0, -PIOMMU_EINVAL);
    core_must(verdict, size != 0 && (physical > OUTPUT_LAST || size - 1 > OUTPUT_LAST - physical),
              -PIOMMU_ERANGE);
}

/* What stands in the way of something new in a sound range. */
static void judge_place(const struct core_world *world, struct core_verdict *verdict,
                        const struct core_domain *domain, uint64_t first, uint64_t last)
{
    bool gone = core_gone_overlap(&domain->gone, first, last);

    core_must(verdict, !domain->tables && gone && domain->populated, -PIOMMU_EEXIST);
    core_may(verdict, gone, -PIOMMU_EEXIST);
    for (unsigned int i = 0; i < CORE_GATHERS; i++) {
        const struct piommu_gather *gather = &domain->gathers[i];

        core_may(verdict,
                 gather->pending && gather->range.first <= last && gather->range.last >= first,
                 -PIOMMU_EEXIST);
    }
    core_must(verdict, core_reserved_overlap(world, domain, first, last), -PIOMMU_ERESERVED);
    core_may(verdict, core_fixed_overlap(world, domain, first, last), -PIOMMU_EEXIST);
    core_may(verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
    /* Addresses that a unit which has failed was not made to forget stay taken. */
    core_may(verdict, domain->scarred, -PIOMMU_EEXIST);
    core_may(verdict, domain->scarred && domain->tables, -PIOMMU_EBUSY);
}

static void judge_map(const struct core_world *world, struct core_verdict *verdict,
                      const struct core_domain *domain, const struct request *request)
{
    uint64_t last = request->iova + request->size - 1;

    judge_prot(verdict, domain, request->prot);
    judge_memory(verdict, domain, request->physical, request->size);
    if (judge_range(verdict, domain, request->iova, request->size)) {
        judge_place(world, verdict, domain, request->iova, last);
    }
}

/* A leaf that reaches over an end of the range. */
static bool is_cut(const struct core_domain *domain, uint64_t first, uint64_t last)
{
    const struct core_leaf *low = core_leaves_at(&domain->leaves, first);
    const struct core_leaf *high = core_leaves_at(&domain->leaves, last);

    return (low != NULL && low->first < first) || (high != NULL && high->last > last);
}

static void judge_unmap(const struct core_world *world, struct core_verdict *verdict,
                        const struct core_domain *domain, uint64_t first, uint64_t last)
{
    bool fixed = core_fixed_overlap(world, domain, first, last);

    core_must(verdict, fixed, -PIOMMU_ERESERVED);
    if (domain->populated || !domain->has_frames) {
        core_must(verdict, !fixed && !core_leaves_overlap(&domain->leaves, first, last),
                  -PIOMMU_ENOENT);
    } else {
        core_may(verdict, !fixed && !core_leaves_overlap(&domain->leaves, first, last),
                 -PIOMMU_ENOENT);
    }
}

/*
 * In page tables nothing may be mapped in the range of a gather that is pending: the caller's
 * duty. False if the sync is not possible.
 */
static bool clear_the_way(struct core_world *world, struct core_domain *domain, uint64_t first,
                          uint64_t last)
{
    for (unsigned int i = 0; domain->tables && i < CORE_GATHERS; i++) {
        struct piommu_gather *gather = &domain->gathers[i];

        if (gather->pending && gather->range.first <= last && gather->range.last >= first &&
            !core_sync_gather(world, domain, i)) {
            return false;
        }
    }
    return true;
}

/* ---- Learning ---- */

/*
 * How a range is cut into leaves is the tables' business; but they are leaves of what should be
 * there, and all of it.
 */
static void learn(struct core_world *world, struct core_domain *domain, uint64_t first,
                  uint64_t last, const struct core_leaves *expected)
{
    uint64_t bytes = 0;
    uint64_t address = first;

    core_leaves_remove(&domain->leaves, first, last);
    for (;;) {
        struct piommu_translation translation;
        struct core_leaf leaf;
        const struct core_leaf *whole;
        uint64_t found;
        int result = piommu_domain_next(domain->handle, address, last, &found, &translation);

        CORE_CHECK(result == 0 || result == -PIOMMU_ENOENT);
        if (result != 0) {
            break;
        }
        leaf = (struct core_leaf){found, found + (translation.leaf_size - 1), translation.physical,
                                  translation.prot};
        CORE_CHECK(leaf.last >= address);
        if (core_fixed_overlap(world, domain, leaf.first, leaf.last)) {
            CORE_CHECK(leaf.physical == leaf.first ||
                       core_leaves_at(&domain->doorbells, leaf.first) != NULL);
        } else {
            whole = core_leaves_at(expected, found);
            CORE_CHECK(whole != NULL && whole->last >= leaf.last);
            CORE_CHECK(leaf.physical == whole->physical + (found - whole->first));
            CORE_CHECK(leaf.prot == whole->prot);
            CORE_CHECK(
                ((leaf.first | leaf.physical | (leaf.last + 1)) & (granule_of(domain) - 1)) == 0);
            core_leaves_insert(&domain->leaves, &leaf);
            bytes += leaf.last - leaf.first + 1;
        }
        if (leaf.last >= last) {
            break;
        }
        address = leaf.last + 1;
    }
    CORE_CHECK(bytes == core_leaves_bytes(expected, 0, UINT64_MAX));
}

/* Copies what the model has in a range, going on where leaves lead on. */
static void copy_leaves(const struct core_domain *domain, uint64_t first, uint64_t last,
                        struct core_leaves *copy)
{
    for (size_t i = core_leaves_index(&domain->leaves, first);
         i < domain->leaves.count && domain->leaves.items[i].first <= last; i++) {
        struct core_leaf part = core_leaf_part(&domain->leaves.items[i], first, last);

        core_leaves_append(copy, &part);
    }
}

/* The range with the leaves at its ends. */
static struct piommu_range widen(const struct core_domain *domain, uint64_t first, uint64_t last)
{
    const struct core_leaf *low = core_leaves_at(&domain->leaves, first);
    const struct core_leaf *high = core_leaves_at(&domain->leaves, last);

    return (struct piommu_range){low != NULL ? low->first : first,
                                 high != NULL ? high->last : last};
}

void core_relearn(struct core_world *world, struct core_domain *domain,
                  const struct core_leaves *allowed)
{
    uint64_t address = 0;

    domain->leaves.count = 0;
    for (;;) {
        struct piommu_translation translation;
        struct core_leaf leaf;
        const struct core_leaf *whole;

        if (piommu_domain_next(domain->handle, address, UINT64_MAX, &leaf.first, &translation) !=
            0) {
            return;
        }
        leaf.last = leaf.first + (translation.leaf_size - 1);
        leaf.physical = translation.physical;
        leaf.prot = translation.prot;
        whole = core_leaves_at(allowed, leaf.first);
        CORE_CHECK(leaf.first >= address && whole != NULL && whole->last >= leaf.last);
        CORE_CHECK(leaf.physical == whole->physical + (leaf.first - whole->first));
        CORE_CHECK(leaf.prot == whole->prot);
        core_leaves_insert(&domain->leaves, &leaf);
        if (leaf.last >= domain->aperture.last) {
            return;
        }
        address = leaf.last + 1;
    }
    (void)world;
}

/* After a failure in the middle: each leaf is as it was, or as it should have become. */
static void learn_either(struct core_world *world, struct core_domain *domain,
                         struct piommu_range range, const struct core_leaves *before,
                         const struct core_leaves *after)
{
    uint64_t address = range.first;

    core_leaves_remove(&domain->leaves, range.first, range.last);
    while (address <= range.last) {
        struct piommu_translation translation;
        struct core_leaf leaf;
        bool known = false;

        if (piommu_domain_next(domain->handle, address, range.last, &leaf.first, &translation) !=
            0) {
            return;
        }
        leaf.last = leaf.first + (translation.leaf_size - 1);
        leaf.physical = translation.physical;
        leaf.prot = translation.prot;
        for (unsigned int i = 0; i < 2; i++) {
            const struct core_leaf *whole = core_leaves_at(i == 0 ? before : after, leaf.first);

            known = known || (whole != NULL && whole->last >= leaf.last &&
                              leaf.physical == whole->physical + (leaf.first - whole->first) &&
                              leaf.prot == whole->prot);
        }
        if (!core_fixed_overlap(world, domain, leaf.first, leaf.last)) {
            CORE_CHECK(known);
            core_leaves_insert(&domain->leaves, &leaf);
        }
        address = leaf.last + 1;
    }
}

/* ---- Mapping ---- */

static void add_extra(struct core_world *world, const struct core_domain *domain, uint64_t iova,
                      uint64_t physical, uint64_t size, piommu_prot prot)
{
    const struct core_leaf leaf = {iova, iova + (size - 1), physical, prot};

    if (size != 0 && iova + (size - 1) >= iova) {
        core_extra_add(world, domain->number, &leaf);
    }
}

/* After a successful map of one piece or several, none of which may be mapped already. */
static void mapped(struct core_world *world, struct core_domain *domain,
                   const struct core_leaves *pieces)
{
    const struct core_leaf *first = &pieces->items[0];
    const struct core_leaf *last = &pieces->items[pieces->count - 1];
    size_t before = domain->leaves.count;

    learn(world, domain, first->first, last->last, pieces);
    /* A request stays one piece. */
    if (!domain->tables) {
        CORE_CHECK(domain->leaves.count == before + pieces->count);
    }
}

static void say_map(const struct core_world *world, const char *call,
                    const struct core_domain *domain, const struct request *request)
{
    core_say(world, "%s(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ", prot 0x%" PRIx32 ")", call,
             domain->name, request->iova, request->physical, request->size, request->prot);
}

static void check_event(const struct core_world *world, enum piommu_event_kind kind,
                        uint64_t before)
{
    CORE_CHECK(world->events[kind] > before);
}

void core_call_map(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    struct core_leaves pieces = {0};
    struct core_leaf piece;
    struct request request;
    uint64_t events = world->events[PIOMMU_EVENT_MAP];
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_request(world, domain, raw);
    piece = (struct core_leaf){request.iova, request.iova + (request.size - 1), request.physical,
                               request.prot};
    if (!clear_the_way(world, domain, piece.first, piece.last)) {
        return;
    }
    note_spots(world, request.iova, request.size);
    judge_map(world, &verdict, domain, &request);
    core_must(&verdict,
              request.size != 0 && piece.last >= piece.first &&
                  core_leaves_overlap(&domain->leaves, piece.first, piece.last),
              -PIOMMU_EEXIST);
    add_extra(world, domain, request.iova, request.physical, request.size, request.prot);
    say_map(world, "map", domain, &request);
    core_begin(world, "map");
    result = piommu_domain_map(domain->handle, request.iova, request.physical, request.size,
                               request.prot);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        check_event(world, PIOMMU_EVENT_MAP, events);
        core_leaves_append(&pieces, &piece);
        mapped(world, domain, &pieces);
        core_leaves_free(&pieces);
    }
}

void core_call_map_list(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    struct piommu_segment segments[MAX_SEGMENTS];
    struct core_leaves pieces = {0};
    struct request request;
    size_t count = 1 + raw[5] % MAX_SEGMENTS;
    uint64_t total = 0;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_request(world, domain, raw);
    if (!is_sound(domain, request.iova, request.size) ||
        !is_inside(domain, request.iova, MAX_SEGMENTS * request.size)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        /* Some lead on where the one before ends. */
        bool goes_on = i != 0 && (raw[5] & (8u << i)) != 0;

        segments[i].size = request.size;
        segments[i].physical = goes_on ? segments[i - 1].physical + segments[i - 1].size
                                       : choose_memory(world, domain, request.iova + total);
        total += request.size;
    }
    if (raw[5] / 1024 % 16 == 0) {
        segments[count - 1].physical += 0x800;
    }
    if (!clear_the_way(world, domain, request.iova, request.iova + total - 1)) {
        return;
    }
    judge_prot(&verdict, domain, request.prot);
    total = 0;
    for (size_t i = 0; i < count; i++) {
        struct core_leaf piece = {request.iova + total,
                                  request.iova + total + (segments[i].size - 1),
                                  segments[i].physical, request.prot};

        core_must(&verdict, (piece.physical & (granule_of(domain) - 1)) != 0, -PIOMMU_EINVAL);
        core_leaves_append(&pieces, &piece);
        add_extra(world, domain, piece.first, piece.physical, segments[i].size, request.prot);
        total += segments[i].size;
    }
    note_spots(world, request.iova, total);
    judge_place(world, &verdict, domain, request.iova, request.iova + total - 1);
    core_must(&verdict,
              core_leaves_overlap(&domain->leaves, request.iova, request.iova + total - 1),
              -PIOMMU_EEXIST);
    core_say(world, "%zu pieces: ", count);
    say_map(world, "map_list", domain, &request);
    core_begin(world, "map_list");
    result = piommu_domain_map_list(domain->handle, request.iova, segments, count, request.prot);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        mapped(world, domain, &pieces);
    }
    core_leaves_free(&pieces);
}

/* Is what is mapped in a range mapped just so? */
static bool is_same(const struct core_domain *domain, const struct core_leaf *piece)
{
    for (size_t i = core_leaves_index(&domain->leaves, piece->first);
         i < domain->leaves.count && domain->leaves.items[i].first <= piece->last; i++) {
        struct core_leaf part = core_leaf_part(&domain->leaves.items[i], piece->first, piece->last);

        if (part.prot != piece->prot ||
            part.physical != piece->physical + (part.first - piece->first)) {
            return false;
        }
    }
    return true;
}

/* A request for something that is mapped already, and some more at both ends. */
static struct request choose_again(struct core_world *world, const struct core_domain *domain,
                                   const uint16_t *raw)
{
    struct request request = choose_request(world, domain, raw);
    const struct core_leaf *leaf;
    uint64_t below;

    if (domain->leaves.count == 0 || raw[5] % 4 == 0) {
        return request;
    }
    leaf = &domain->leaves.items[raw[1] % domain->leaves.count];
    below = raw[5] / 4 % 4 * granule_of(domain);
    if (below > leaf->first) {
        below = 0;
    }
    request.wild = false;
    request.iova = leaf->first - below;
    request.physical = leaf->physical - below;
    request.size = below + (leaf->last - leaf->first + 1) + raw[5] / 16 % 4 * granule_of(domain);
    request.prot = leaf->prot;
    return request;
}

void core_call_map_again(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    struct core_leaves pieces = {0};
    struct piommu_range hull;
    struct core_leaf piece;
    struct request request;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_again(world, domain, raw);
    piece = (struct core_leaf){request.iova, request.iova + (request.size - 1), request.physical,
                               request.prot};
    if (!clear_the_way(world, domain, piece.first, piece.last)) {
        return;
    }
    note_spots(world, request.iova, request.size);
    judge_map(world, &verdict, domain, &request);
    core_must(&verdict, request.size != 0 && piece.last >= piece.first && !is_same(domain, &piece),
              -PIOMMU_EEXIST);
    add_extra(world, domain, request.iova, request.physical, request.size, request.prot);
    say_map(world, "map_again", domain, &request);
    core_begin(world, "map_again");
    result = piommu_domain_map_again(domain->handle, request.iova, request.physical, request.size,
                                     request.prot);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result != 0) {
        return;
    }
    hull = widen(domain, piece.first, piece.last);
    if (hull.first < piece.first) {
        copy_leaves(domain, hull.first, piece.first - 1, &pieces);
    }
    core_leaves_append(&pieces, &piece);
    if (hull.last > piece.last) {
        copy_leaves(domain, piece.last + 1, hull.last, &pieces);
    }
    learn(world, domain, hull.first, hull.last, &pieces);
    core_leaves_free(&pieces);
}

void core_call_map_some(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct request request;
    uint32_t budget = raw[5] % 3 == 0 ? 0xffffffff : raw[5] / 4 % 256;
    unsigned int calls = 0;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_request(world, domain, raw);
    if (!clear_the_way(world, domain, request.iova, request.iova + request.size - 1)) {
        return;
    }
    note_spots(world, request.iova, request.size);
    add_extra(world, domain, request.iova, request.physical, request.size, request.prot);
    do {
        struct core_verdict verdict = {.must_count = 0};
        struct core_leaves pieces = {0};
        bool conflict =
            request.size != 0 && request.iova + request.size - 1 >= request.iova &&
            core_leaves_overlap(&domain->leaves, request.iova, request.iova + request.size - 1);
        uint64_t done = 1;

        judge_map(world, &verdict, domain, &request);
        core_may(&verdict, conflict, -PIOMMU_EEXIST);
        say_map(world, "map_some", domain, &request);
        core_begin(world, "map_some");
        result = piommu_domain_map_some(domain->handle, request.iova, request.physical,
                                        request.size, request.prot, budget, &done);
        core_end(world, result);
        /* What stands in the way may lie behind this portion. */
        if (result == -PIOMMU_EAGAIN) {
            CORE_CHECK(done < request.size);
            verdict = (struct core_verdict){.must_count = 0};
            judge_prot(&verdict, domain, request.prot);
            judge_memory(&verdict, domain, request.physical, request.size);
            if (judge_range(&verdict, domain, request.iova, request.size)) {
                judge_place(world, &verdict, domain, request.iova, request.iova + done - 1);
            }
        }
        core_judge(world, &verdict, result);
        if (result != 0 && result != -PIOMMU_EAGAIN) {
            CORE_CHECK(done == 0);
            return;
        }
        CORE_CHECK(done != 0 && (result == -PIOMMU_EAGAIN || done == request.size));
        CORE_CHECK(domain->tables || !domain->populated || result == 0);
        CORE_CHECK(!core_leaves_overlap(&domain->leaves, request.iova, request.iova + done - 1));
        core_leaves_append(&pieces, &(struct core_leaf){request.iova, request.iova + (done - 1),
                                                        request.physical, request.prot});
        mapped(world, domain, &pieces);
        core_leaves_free(&pieces);
        request.iova += done;
        request.physical += done;
        request.size -= done;
    } while (result == -PIOMMU_EAGAIN && ++calls < 8);
}

/* ---- Unmapping ---- */

/* What was mapped in a range, whole leaves, goes into a gather. */
static void removed(struct core_domain *domain, unsigned int gather, uint64_t first, uint64_t last)
{
    for (size_t i = core_leaves_index(&domain->leaves, first);
         i < domain->leaves.count && domain->leaves.items[i].first <= last; i++) {
        const struct core_leaf *leaf = &domain->leaves.items[i];

        CORE_CHECK(leaf->first >= first && leaf->last <= last);
        CORE_CHECK(domain->gathers[gather].pending);
        CORE_CHECK(domain->gathers[gather].range.first <= leaf->first);
        CORE_CHECK(domain->gathers[gather].range.last >= leaf->last);
        core_gone_add(&domain->gone, gather, leaf);
    }
    core_leaves_remove(&domain->leaves, first, last);
}

static void forbid_for_unmap(struct core_world *world)
{
    fake_os_forbid(world->os,
                   FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE | FAKE_OS_FORBID_WAIT);
}

void core_call_unmap(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int gather = raw[5] % CORE_GATHERS;
    struct request request;
    uint64_t unmapped = 1;
    uint64_t bytes;
    uint64_t last;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_mapped(world, domain, raw);
    last = request.iova + request.size - 1;
    note_spots(world, request.iova, request.size);
    if (judge_range(&verdict, domain, request.iova, request.size)) {
        judge_unmap(world, &verdict, domain, request.iova, last);
        core_must(&verdict, is_cut(domain, request.iova, last), -PIOMMU_ECUT);
    }
    core_say(world, "unmap(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", gather %u)", domain->name,
             request.iova, request.size, gather);
    core_begin(world, "unmap");
    forbid_for_unmap(world);
    result = piommu_domain_unmap(domain->handle, request.iova, request.size,
                                 &domain->gathers[gather], &unmapped);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        bytes = core_leaves_bytes(&domain->leaves, request.iova, last);
        CORE_CHECK(unmapped == bytes);
        removed(domain, gather, request.iova, last);
    }
}

void core_call_unmap_some(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    unsigned int gather = raw[5] % CORE_GATHERS;
    uint32_t budget = raw[5] / 4 % 64;
    struct core_verdict verdict = {.must_count = 0};
    struct request request;
    uint64_t unmapped = 1;
    uint64_t done = 1;
    uint64_t last;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_mapped(world, domain, raw);
    last = request.iova + request.size - 1;
    note_spots(world, request.iova, request.size);
    core_say(world, "unmap_some(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", %u, gather %u)", domain->name,
             request.iova, request.size, budget, gather);
    core_begin(world, "unmap_some");
    forbid_for_unmap(world);
    result = piommu_domain_unmap_some(domain->handle, request.iova, request.size, budget,
                                      &domain->gathers[gather], &done, &unmapped);
    core_end(world, result);
    if (judge_range(&verdict, domain, request.iova, request.size)) {
        const struct core_leaf *low = core_leaves_at(&domain->leaves, request.iova);
        bool some = result == -PIOMMU_EAGAIN;
        uint64_t behind = some ? request.iova + (done - 1) : last;

        CORE_CHECK(!some || (done != 0 && done < request.size));
        core_must(&verdict, low != NULL && low->first < request.iova, -PIOMMU_ECUT);
        core_must(&verdict, !some && is_cut(domain, request.iova, last), -PIOMMU_ECUT);
        core_must(&verdict, core_fixed_overlap(world, domain, request.iova, behind),
                  -PIOMMU_ERESERVED);
        core_may(&verdict, core_fixed_overlap(world, domain, request.iova, last),
                 -PIOMMU_ERESERVED);
    }
    core_judge(world, &verdict, result);
    if (result != 0 && result != -PIOMMU_EAGAIN) {
        CORE_CHECK(done == 0);
        return;
    }
    CORE_CHECK(result == -PIOMMU_EAGAIN || done == request.size);
    CORE_CHECK(unmapped ==
               core_leaves_bytes(&domain->leaves, request.iova, request.iova + (done - 1)));
    removed(domain, gather, request.iova, request.iova + (done - 1));
}

void core_call_unmap_leaves(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int gather = raw[5] % CORE_GATHERS;
    struct piommu_range range = {1, 0};
    struct request request;
    uint64_t unmapped = 1;
    uint64_t first;
    uint64_t last;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_mapped(world, domain, raw);
    first = request.iova + raw[5] / 8 % 5000;
    last = first + raw[4] % 0x8000;
    if (raw[5] / 8192 == 0) {
        last = first - 1 - raw[4] % 4;
    }
    note_spots(world, first, last - first + 1);
    core_must(&verdict, last < first, -PIOMMU_EINVAL);
    if (last >= first) {
        bool inside = first >= domain->aperture.first && last <= domain->aperture.last;

        core_must(&verdict, !inside, -PIOMMU_ERANGE);
        judge_unmap(world, &verdict, domain, first, last);
    }
    core_say(world, "unmap_leaves(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", gather %u)", domain->name,
             first, last, gather);
    core_begin(world, "unmap_leaves");
    forbid_for_unmap(world);
    result = piommu_domain_unmap_leaves(domain->handle, first, last, &domain->gathers[gather],
                                        &range, &unmapped);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        struct piommu_range whole = widen(domain, first, last);

        CORE_CHECK(range.first == whole.first && range.last == whole.last);
        CORE_CHECK(unmapped == core_leaves_bytes(&domain->leaves, whole.first, whole.last));
        removed(domain, gather, whole.first, whole.last);
    }
}

/* ---- Changing ---- */

static void judge_hole(const struct core_world *world, struct core_verdict *verdict,
                       const struct core_domain *domain, bool opens, bool may_open, uint16_t flags)
{
    if (flags == 0) {
        core_must(verdict, opens && core_has_active(world, domain), -PIOMMU_EHOLE);
        core_may(verdict, may_open && (core_has_devices(world, domain) || domain->haunted != 0),
                 -PIOMMU_EHOLE);
    }
    core_may(verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
}

static struct piommu_domain_info info_of(const struct core_domain *domain)
{
    struct piommu_domain_info info;

    piommu_domain_get_info(domain->handle, &info);
    return info;
}

/* The middle of something, or anything. */
static void choose_part(const struct core_domain *domain, const uint16_t *raw,
                        struct request *request)
{
    uint64_t granules = request->size / granule_of(domain);

    if (raw[5] % 2 == 0 && granules > 1 && !request->wild) {
        uint64_t skipped = raw[5] / 2 % granules;

        request->iova += skipped * granule_of(domain);
        request->size = (1 + raw[4] % (granules - skipped)) * granule_of(domain);
    }
}

/* The model after a range has become what `inside` says, cutting leaves at its ends. */
static void expect_change(const struct core_domain *domain, struct piommu_range hull,
                          uint64_t first, uint64_t last, const struct core_leaves *inside,
                          struct core_leaves *expected)
{
    if (hull.first < first) {
        copy_leaves(domain, hull.first, first - 1, expected);
    }
    for (size_t i = 0; i < inside->count; i++) {
        core_leaves_append(expected, &inside->items[i]);
    }
    if (hull.last > last) {
        copy_leaves(domain, last + 1, hull.last, expected);
    }
}

/*
 * Takes over the outcome of a change. After a failure it may have come to some point, or taken
 * out what it was about.
 */
static void changed(struct core_world *world, struct core_domain *domain, int result,
                    uint64_t first, uint64_t last, const struct core_leaves *inside)
{
    struct piommu_range hull = widen(domain, first, last);
    struct core_leaves before = {0};
    struct core_leaves expected = {0};

    expect_change(domain, hull, first, last, inside, &expected);
    if (result == 0) {
        learn(world, domain, hull.first, hull.last, &expected);
    } else if (core_injected(world) && (result == -PIOMMU_EIO || result == -PIOMMU_EFAILED)) {
        copy_leaves(domain, hull.first, hull.last, &before);
        learn_either(world, domain, hull, &before, &expected);
        core_leaves_free(&before);
    }
    core_leaves_free(&expected);
}

void core_call_unmap_cut(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    const struct core_leaves nothing = {0};
    unsigned int flags = raw[5] / 64 % 4 != 0 ? PIOMMU_ALLOW_HOLE : 0;
    struct request request;
    uint64_t unmapped = 1;
    uint64_t bytes = 0;
    uint64_t last;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_mapped(world, domain, raw);
    choose_part(domain, raw, &request);
    last = request.iova + request.size - 1;
    if (!clear_the_way(world, domain, request.iova, last)) {
        return;
    }
    note_spots(world, request.iova, request.size);
    if (judge_range(&verdict, domain, request.iova, request.size)) {
        struct piommu_range hull = widen(domain, request.iova, last);
        bool cut = is_cut(domain, request.iova, last);

        bytes = core_leaves_bytes(&domain->leaves, request.iova, last);
        judge_unmap(world, &verdict, domain, request.iova, last);
        judge_hole(world, &verdict, domain, cut && !info_of(domain).live_cut, cut, (uint16_t)flags);
        core_may(&verdict, core_gone_overlap(&domain->gone, hull.first, hull.last), -PIOMMU_EEXIST);
    }
    core_say(world, "unmap_cut(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", flags %u)", domain->name,
             request.iova, request.size, flags);
    core_begin(world, "unmap_cut");
    result = piommu_domain_unmap_cut(domain->handle, request.iova, request.size, flags, &unmapped);
    core_end(world, result);
    core_judge(world, &verdict, result);
    CORE_CHECK(result != 0 || unmapped == bytes);
    if (result == 0 || result == -PIOMMU_EIO || result == -PIOMMU_EFAILED) {
        changed(world, domain, result, request.iova, last, &nothing);
    }
}

static piommu_prot choose_access(const struct core_domain *domain, uint16_t number)
{
    static const piommu_prot prots[] = {
        PIOMMU_PROT_READ, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, PIOMMU_PROT_WRITE,
        PIOMMU_PROT_READ, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, PIOMMU_PROT_READ};
    piommu_prot prot = prots[number % 6];

    if (number / 8 % 16 != 0 && (prot & PIOMMU_PROT_READ) == 0 && !domain->write_only) {
        prot = PIOMMU_PROT_READ;
    }
    return number / 128 % 64 == 0 ? prot | PIOMMU_PROT_DEVICE : prot;
}

void core_call_protect(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int flags = raw[5] / 64 % 4 != 0 ? PIOMMU_ALLOW_HOLE : 0;
    struct core_leaves inside = {0};
    struct request request;
    piommu_prot prot;
    bool differs = false;
    uint64_t bytes = 1;
    uint64_t last;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_mapped(world, domain, raw);
    prot = choose_access(domain, raw[4]);
    last = request.iova + request.size - 1;
    note_spots(world, request.iova, request.size);
    core_must(&verdict, (prot & PIOMMU_PROT_DEVICE) != 0, -PIOMMU_EINVAL);
    core_must(&verdict, (prot & PIOMMU_PROT_READ) == 0 && !domain->write_only, -PIOMMU_EOPNOTSUPP);
    if (judge_range(&verdict, domain, request.iova, request.size)) {
        judge_unmap(world, &verdict, domain, request.iova, last);
        core_must(&verdict, is_cut(domain, request.iova, last), -PIOMMU_ECUT);
        copy_leaves(domain, request.iova, last, &inside);
        for (size_t i = 0; i < inside.count; i++) {
            piommu_prot after = (inside.items[i].prot & ~PIOMMU_PROT_ACCESS) | prot;

            differs = differs || after != inside.items[i].prot;
            inside.items[i].prot = after;
            if (i < CORE_EXTRAS / 2) {
                core_extra_add(world, domain->number, &inside.items[i]);
            }
        }
        judge_hole(world, &verdict, domain, differs && !info_of(domain).live_protect,
                   !info_of(domain).live_protect, (uint16_t)flags);
    }
    if (inside.count > CORE_EXTRAS / 2) {
        core_leaves_free(&inside);
        return;
    }
    core_say(world, "protect(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", prot 0x%" PRIx32 ", flags %u)",
             domain->name, request.iova, request.size, prot, flags);
    core_begin(world, "protect");
    fake_os_forbid(world->os, FAKE_OS_FORBID_ALLOCATION);
    result = piommu_domain_protect(domain->handle, request.iova, request.size, prot, flags, &bytes);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        struct core_leaves merged = {0};

        CORE_CHECK(bytes == core_leaves_bytes(&domain->leaves, request.iova, last));
        for (size_t i = 0; i < inside.count; i++) {
            core_leaves_append(&merged, &inside.items[i]);
        }
        changed(world, domain, 0, request.iova, last, &merged);
        core_leaves_free(&merged);
    } else if (result == -PIOMMU_EIO || result == -PIOMMU_EFAILED) {
        changed(world, domain, result, request.iova, last, &inside);
    }
    core_leaves_free(&inside);
}

void core_call_protect_some(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    unsigned int flags = raw[5] / 64 % 4 != 0 ? PIOMMU_ALLOW_HOLE : 0;
    uint32_t budget = raw[5] % 16;
    struct core_verdict verdict = {.must_count = 0};
    struct core_leaves inside = {0};
    struct core_leaves merged = {0};
    struct request request;
    piommu_prot prot;
    uint64_t bytes = 1;
    uint64_t done = 1;
    uint64_t last;
    int result;

    if (domain == NULL) {
        return;
    }
    request = choose_mapped(world, domain, raw);
    prot = choose_access(domain, raw[4]);
    last = request.iova + request.size - 1;
    if (request.size == 0 || last < request.iova) {
        return;
    }
    note_spots(world, request.iova, request.size);
    copy_leaves(domain, request.iova, last, &inside);
    for (size_t i = 0; i < inside.count; i++) {
        inside.items[i].prot = (inside.items[i].prot & ~PIOMMU_PROT_ACCESS) | prot;
        if (inside.count < CORE_EXTRAS) {
            core_extra_add(world, domain->number, &inside.items[i]);
        }
    }
    if (inside.count >= CORE_EXTRAS) {
        core_leaves_free(&inside);
        return;
    }
    core_say(world,
             "protect_some(%s, 0x%" PRIx64 ", 0x%" PRIx64 ", prot 0x%" PRIx32 ", flags %u, %u)",
             domain->name, request.iova, request.size, prot, flags, budget);
    core_begin(world, "protect_some");
    fake_os_forbid(world->os, FAKE_OS_FORBID_ALLOCATION);
    result = piommu_domain_protect_some(domain->handle, request.iova, request.size, prot, flags,
                                        budget, &done, &bytes);
    core_end(world, result);
    core_must(&verdict, (prot & PIOMMU_PROT_DEVICE) != 0, -PIOMMU_EINVAL);
    core_must(&verdict, (prot & PIOMMU_PROT_READ) == 0 && !domain->write_only, -PIOMMU_EOPNOTSUPP);
    if (judge_range(&verdict, domain, request.iova, request.size)) {
        uint64_t behind = result == -PIOMMU_EAGAIN ? request.iova + (done - 1) : last;

        /* Where a domain is filled in portions the far end is looked at when it is reached. */
        if (domain->populated || result == 0) {
            core_must(&verdict, is_cut(domain, request.iova, last), -PIOMMU_ECUT);
        } else {
            core_may(&verdict, is_cut(domain, request.iova, last), -PIOMMU_ECUT);
        }
        core_must(&verdict, core_fixed_overlap(world, domain, request.iova, behind),
                  -PIOMMU_ERESERVED);
        core_may(&verdict, core_fixed_overlap(world, domain, request.iova, last),
                 -PIOMMU_ERESERVED);
        judge_hole(world, &verdict, domain, false, !info_of(domain).live_protect, (uint16_t)flags);
    }
    core_judge(world, &verdict, result);
    if (result == 0 || result == -PIOMMU_EAGAIN) {
        CORE_CHECK(result == 0 ? done == request.size : done != 0 && done < request.size);
        CORE_CHECK(bytes ==
                   core_leaves_bytes(&domain->leaves, request.iova, request.iova + (done - 1)));
        for (size_t i = 0; i < inside.count; i++) {
            struct core_leaf part;

            if (inside.items[i].first < request.iova + done) {
                part = core_leaf_part(&inside.items[i], request.iova, request.iova + (done - 1));
                core_leaves_append(&merged, &part);
            }
        }
        changed(world, domain, 0, request.iova, request.iova + (done - 1), &merged);
        core_leaves_free(&merged);
    } else if (result == -PIOMMU_EIO || result == -PIOMMU_EFAILED) {
        changed(world, domain, result, request.iova, last, &inside);
    }
    core_leaves_free(&inside);
}

void core_call_replace(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);
    struct core_verdict verdict = {.must_count = 0};
    unsigned int flags = raw[5] / 64 % 4 != 0 ? PIOMMU_ALLOW_HOLE : 0;
    struct core_leaves inside = {0};
    struct request request;
    struct core_leaf piece;
    uint64_t replaced = 1;
    uint64_t bytes = 0;
    int result;

    if (domain == NULL) {
        return;
    }
    request = raw[5] / 512 % 3 == 0 ? choose_again(world, domain, raw)
                                    : choose_mapped(world, domain, raw);
    choose_part(domain, raw, &request);
    /* What lies between two windows would take more tables than there is memory. */
    if (!request.wild && request.size > 4 * BLOCK) {
        request.size = 16 * granule_of(domain);
    }
    piece = (struct core_leaf){request.iova, request.iova + (request.size - 1), request.physical,
                               request.prot};
    if (piece.last >= piece.first && request.size != 0) {
        struct piommu_range hull = widen(domain, piece.first, piece.last);

        if (!clear_the_way(world, domain, hull.first, hull.last)) {
            return;
        }
        core_may(&verdict, core_gone_overlap(&domain->gone, hull.first, hull.last), -PIOMMU_EEXIST);
        for (size_t i = core_leaves_index(&domain->leaves, piece.first);
             i < domain->leaves.count && domain->leaves.items[i].first <= piece.last; i++) {
            struct core_leaf part =
                core_leaf_part(&domain->leaves.items[i], piece.first, piece.last);

            if (part.prot != piece.prot ||
                part.physical != piece.physical + (part.first - piece.first)) {
                bytes += part.last - part.first + 1;
            }
        }
    }
    note_spots(world, request.iova, request.size);
    judge_map(world, &verdict, domain, &request);
    judge_hole(world, &verdict, domain, bytes != 0 && !info_of(domain).live_replace, bytes != 0,
               (uint16_t)flags);
    add_extra(world, domain, request.iova, request.physical, request.size, request.prot);
    say_map(world, "replace", domain, &request);
    core_say(world, ", flags %u", flags);
    core_begin(world, "replace");
    result = piommu_domain_replace(domain->handle, request.iova, request.physical, request.size,
                                   request.prot, flags, &replaced);
    core_end(world, result);
    core_judge(world, &verdict, result);
    CORE_CHECK(result != 0 || replaced == bytes);
    if (result == 0 || result == -PIOMMU_EIO || result == -PIOMMU_EFAILED) {
        core_leaves_append(&inside, &piece);
        changed(world, domain, result, piece.first, piece.last, &inside);
        core_leaves_free(&inside);
    }
}

/* ---- Forgetting ---- */

static unsigned int all_invalidations(const struct core_world *world)
{
    return mock_family_invalidations(world->units[0].mock) +
           (mock_family_invalidations(world->units[1].mock) !=
                    mock_family_invalidations(world->units[0].mock)
                ? mock_family_invalidations(world->units[1].mock)
                : 0) +
           mock_family_invalidations(world->units[2].mock);
}

bool core_sync_gather(struct core_world *world, struct core_domain *domain, unsigned int gather)
{
    struct core_verdict verdict = {.must_count = 0};
    unsigned int before = all_invalidations(world);
    bool pending = domain->gathers[gather].pending;
    int result;

    if (!core_is_paging(domain)) {
        return true;
    }
    core_may(&verdict, pending && core_touches_failed(world, domain), -PIOMMU_EFAILED);
    core_say(world, "sync(%s, gather %u)", domain->name, gather);
    core_begin(world, "sync");
    fake_os_forbid(world->os, FAKE_OS_FORBID_ALLOCATION);
    result = piommu_domain_sync(domain->handle, &domain->gathers[gather]);
    core_end(world, result);
    core_judge(world, &verdict, result);
    /* Once for each set of units that share a context. */
    if (!core_injected(world)) {
        CORE_CHECK(all_invalidations(world) - before <= (pending ? 2u : 0u));
    }
    if (result == 0) {
        CORE_CHECK(!domain->gathers[gather].pending);
        core_gone_drop(&domain->gone, gather);
        return true;
    }
    CORE_CHECK(domain->gathers[gather].pending);
    for (size_t i = 0; i < domain->gone.count; i++) {
        domain->gone.items[i].forgotten =
            domain->gone.items[i].forgotten || domain->gone.items[i].gather == gather;
    }
    if (core_injected(world)) {
        core_adopt(world);
    }
    return false;
}

void core_call_sync(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_target(world, raw[0]);

    if (domain != NULL) {
        core_sync_gather(world, domain, raw[1] % CORE_GATHERS);
    }
}

void core_call_invalidate(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = &world->domains[raw[0] % CORE_DOMAINS];
    uint64_t first = world->spots[raw[1] % CORE_SPOTS];
    uint64_t last = first + ((uint64_t)raw[2] << (raw[3] % 40)) - raw[4] % 2;
    struct core_verdict verdict = {.must_count = 0};
    int result;

    if (domain->handle == NULL) {
        return;
    }
    core_must(&verdict, last < first, -PIOMMU_EINVAL);
    core_must(&verdict, !domain->tables || domain->type == PIOMMU_DOMAIN_IDENTITY, -PIOMMU_EINVAL);
    core_may(&verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
    core_say(world, "invalidate(%s, 0x%" PRIx64 ", 0x%" PRIx64 ")", domain->name, first, last);
    core_begin(world, "invalidate");
    result = piommu_domain_invalidate(domain->handle, first, last);
    core_end(world, result);
    core_judge(world, &verdict, result);
}

/* ---- Looking ---- */

void core_call_lookup(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_domain(world, raw[0]);
    uint64_t iova = world->spots[raw[1] % CORE_SPOTS] + raw[2] % CORE_PAGE;
    struct piommu_translation translation;
    const struct core_leaf *leaf;
    int result;

    if (domain == NULL) {
        return;
    }
    leaf = core_leaves_at(&domain->leaves, iova);
    core_say(world, "lookup(%s, 0x%" PRIx64 ")", domain->name, iova);
    core_begin(world, "lookup");
    result = piommu_domain_lookup(domain->handle, iova, &translation);
    core_end(world, result);
    if (iova > domain->aperture.last) {
        CORE_CHECK(result == -PIOMMU_ERANGE);
    } else if (core_fixed_overlap(world, domain, iova, iova)) {
        CORE_CHECK(result == 0);
        CORE_CHECK(translation.physical == iova ||
                   core_leaves_at(&domain->doorbells, iova) != NULL);
    } else if (leaf == NULL) {
        CORE_CHECK(result == -PIOMMU_ENOENT);
    } else {
        CORE_CHECK(result == 0);
        CORE_CHECK(translation.physical == leaf->physical + (iova - leaf->first));
        CORE_CHECK(translation.leaf_size - 1 == leaf->last - leaf->first);
        CORE_CHECK(translation.prot == leaf->prot);
    }
}

void core_call_next(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_domain(world, raw[0]);
    uint64_t first = world->spots[raw[1] % CORE_SPOTS] + raw[2] % CORE_PAGE;
    uint64_t last = first + ((uint64_t)raw[3] << (raw[4] % 24));
    struct piommu_translation translation;
    const struct core_leaf *leaf = NULL;
    uint64_t found = 0;
    size_t index;
    int result;

    if (domain == NULL || last < first) {
        return;
    }
    index = core_leaves_index(&domain->leaves, first);
    if (index < domain->leaves.count && domain->leaves.items[index].first <= last) {
        leaf = &domain->leaves.items[index];
    }
    core_say(world, "next(%s, 0x%" PRIx64 ", 0x%" PRIx64 ")", domain->name, first, last);
    core_begin(world, "next");
    result = piommu_domain_next(domain->handle, first, last, &found, &translation);
    core_end(world, result);
    if (result == 0 && core_fixed_overlap(world, domain, found, found)) {
        CORE_CHECK(leaf == NULL || leaf->first > found);
    } else if (leaf == NULL) {
        CORE_CHECK(result == -PIOMMU_ENOENT);
    } else {
        CORE_CHECK(result == 0);
        CORE_CHECK(found == leaf->first);
        CORE_CHECK(translation.physical == leaf->physical);
        CORE_CHECK(translation.leaf_size - 1 == leaf->last - leaf->first);
        CORE_CHECK(translation.prot == leaf->prot);
    }
}

/* ---- Doorbells ---- */

/* A device that is in a domain, if any is. */
static struct core_device *choose_attached(struct core_world *world, uint16_t number)
{
    for (unsigned int i = 0; number % 64 > 7 && i < CORE_DEVICES; i++) {
        struct core_device *device = &world->devices[(number + i) % CORE_DEVICES];

        if (device->handle != NULL && device->domain >= 0) {
            return device;
        }
    }
    return &world->devices[number % CORE_DEVICES];
}

static bool is_translated(const struct core_device *device, uint64_t doorbell)
{
    for (size_t i = 0; i < device->region_count; i++) {
        if (device->regions[i].kind == PIOMMU_RESERVED_MSI &&
            device->regions[i].range.first <= doorbell &&
            device->regions[i].range.last >= doorbell) {
            return false;
        }
    }
    return true;
}

static void take_doorbell(struct core_domain *domain, uint64_t doorbell, uint64_t iova)
{
    uint64_t mask = granule_of(domain) - 1;
    struct core_leaf page = {iova & ~mask, iova | mask, doorbell & ~mask, 0};
    const struct core_leaf *known = core_leaves_at(&domain->doorbells, iova);
    struct piommu_translation translation;

    CORE_CHECK(iova >= domain->window.first && iova <= domain->window.last);
    CORE_CHECK((iova & mask) == (doorbell & mask));
    CORE_CHECK(piommu_domain_lookup(domain->handle, iova, &translation) == 0);
    CORE_CHECK(translation.physical == doorbell);
    CORE_CHECK((translation.prot & PIOMMU_PROT_WRITE) != 0);
    /* One that is there already has what could be expressed then. */
    CORE_CHECK(known != NULL ||
               (translation.prot & PIOMMU_PROT_DEVICE) == (domain->prot & PIOMMU_PROT_DEVICE));
    page.prot = translation.prot;
    /* Asked for again it is where it was, and it has one place. */
    for (size_t i = 0; i < domain->doorbells.count; i++) {
        CORE_CHECK(domain->doorbells.items[i].physical != page.physical ||
                   &domain->doorbells.items[i] == known);
    }
    if (known == NULL) {
        core_leaves_insert(&domain->doorbells, &page);
    } else {
        CORE_CHECK(known->physical == page.physical);
    }
}

void core_call_map_msi(struct core_world *world, const uint16_t *raw)
{
    struct core_device *device = choose_attached(world, raw[0]);
    uint64_t doorbell =
        raw[1] % 8 == 0 ? 0x08000040 : DOORBELL + raw[1] / 8 % 6 * 0x4000 + raw[1] / 64 % 8 * 4;
    struct core_verdict verdict = {.must_count = 0};
    struct core_domain *domain;
    uint64_t iova = 0;
    bool paging;
    int result;

    if (device->handle == NULL) {
        return;
    }
    domain = device->domain >= 0 ? &world->domains[device->domain] : NULL;
    paging = core_is_paging(domain);
    core_must(&verdict, domain == NULL || domain->type == PIOMMU_DOMAIN_SHARED, -PIOMMU_EINVAL);
    core_may(&verdict, device->fault_blocked, -PIOMMU_EINVAL);
    if (paging && is_translated(device, doorbell)) {
        uint64_t granule = granule_of(domain);
        uint64_t slots = (domain->window.last + 1 - domain->window.first) / granule;
        bool known = false;
        bool full = true;

        for (uint64_t i = 0; i < slots; i++) {
            uint64_t place = domain->window.first + i * granule;

            full = full && core_leaves_overlap(&domain->doorbells, place, place + (granule - 1));
        }
        for (size_t i = 0; i < domain->doorbells.count; i++) {
            const struct core_leaf *page = &domain->doorbells.items[i];

            known = known || page->physical == (doorbell & ~(granule - 1));
        }
        core_must(&verdict, !domain->has_window, -PIOMMU_ENOSPC);
        core_must(&verdict, !known && full, -PIOMMU_ENOSPC);
        core_may(&verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
        core_may(&verdict, domain->scarred && domain->tables, -PIOMMU_EBUSY);
        for (uint64_t i = 0; domain->has_window && i < slots; i++) {
            add_extra(world, domain, domain->window.first + i * granule, doorbell & ~(granule - 1),
                      granule, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
        }
    }
    core_say(world, "map_msi(%s, 0x%" PRIx64 ")", device->name, doorbell);
    core_begin(world, "map_msi");
    result = piommu_device_map_msi(device->handle, doorbell, &iova);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result != 0) {
        return;
    }
    if (!paging || !is_translated(device, doorbell)) {
        CORE_CHECK(iova == doorbell);
    } else {
        take_doorbell(domain, doorbell, iova);
        core_spot_add(world, iova);
    }
}

/* ---- Deferred domains ---- */

int core_next_frames(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    const struct core_domain *domain = cookie;
    size_t index = core_leaves_index(&domain->frames, from);
    const struct core_leaf *leaf;

    if (index == domain->frames.count) {
        return -PIOMMU_ENOENT;
    }
    leaf = &domain->frames.items[index];
    *frames = (struct piommu_frames){leaf->first, leaf->physical, leaf->last - leaf->first + 1,
                                     leaf->prot};
    return 0;
}

static void copy_all(const struct core_leaves *from, struct core_leaves *to)
{
    for (size_t i = 0; i < from->count; i++) {
        core_leaves_append(to, &from->items[i]);
    }
}

void core_call_populate(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = raw[2] % 8 == 0
                                     ? &world->domains[raw[0] % CORE_DOMAINS]
                                     : choose_of_type(world, raw[0], PIOMMU_DOMAIN_DEFERRED);
    uint32_t budget = raw[1] % 8 == 0 ? 0xffffffff : raw[1] / 8 % 32;
    struct core_verdict verdict = {.must_count = 0};
    struct core_leaves allowed = {0};
    int result;

    if (domain->handle == NULL) {
        return;
    }
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        core_may(&verdict, (domain->units & (1u << i)) != 0 && world->units[0].context_limit != 0,
                 -PIOMMU_ENOSPC);
        core_may(&verdict, (domain->units & (1u << i)) != 0 && world->units[i].context_limit != 0,
                 -PIOMMU_ENOSPC);
    }
    core_must(&verdict, domain->type != PIOMMU_DOMAIN_DEFERRED, -PIOMMU_EINVAL);
    core_may(&verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
    /* Where a table was taken out whose invalidation has failed. */
    core_may(&verdict, domain->scarred && domain->tables, -PIOMMU_EBUSY);
    core_say(world, "populate(%s, %u)", domain->name, budget);
    core_begin(world, "populate");
    result = piommu_domain_populate(domain->handle, budget);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (domain->type != PIOMMU_DOMAIN_DEFERRED || domain->populated) {
        CORE_CHECK(result == 0 || domain->type != PIOMMU_DOMAIN_DEFERRED || core_injected(world) ||
                   core_touches_failed(world, domain));
        return;
    }
    copy_all(domain->has_frames ? &domain->frames : &domain->leaves, &allowed);
    if (domain->has_frames) {
        core_relearn(world, domain, &allowed);
        if (result == 0) {
            CORE_CHECK(core_leaves_bytes(&domain->leaves, 0, UINT64_MAX) ==
                       core_leaves_bytes(&allowed, 0, UINT64_MAX));
        }
    } else {
        learn(world, domain, 0, UINT64_MAX, &allowed);
    }
    domain->populated = result == 0;
    core_leaves_free(&allowed);
}

/* A hypervisor changes its record, and tells the domain, as it would a populated one. */
void core_call_frames(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_of_type(world, raw[0], PIOMMU_DOMAIN_DEFERRED);
    struct core_verdict verdict = {.must_count = 0};
    struct core_leaves allowed = {0};
    struct request request;
    struct core_leaf piece;
    uint64_t unmapped = 0;
    int result;

    if (!core_is_paging(domain) || !domain->has_frames || domain->populated) {
        return;
    }
    request = choose_request(world, domain, raw);
    core_may(&verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
    if (raw[5] % 3 == 0 && domain->frames.count != 0) {
        piece = domain->frames.items[raw[1] % domain->frames.count];
        core_leaves_remove(&domain->frames, piece.first, piece.last);
        core_say(world, "unmap of frames(%s, 0x%" PRIx64 ", 0x%" PRIx64 ")", domain->name,
                 piece.first, piece.last - piece.first + 1);
        core_begin(world, "unmap of frames");
        result = piommu_domain_unmap(domain->handle, piece.first, piece.last - piece.first + 1,
                                     &domain->gathers[0], &unmapped);
        core_end(world, result);
        core_may(&verdict, true, -PIOMMU_ENOENT);
        core_judge(world, &verdict, result);
        CORE_CHECK(unmapped == core_leaves_bytes(&domain->leaves, piece.first, piece.last) ||
                   result != 0);
        CORE_CHECK(result == 0 || !core_leaves_overlap(&domain->leaves, piece.first, piece.last));
        core_leaves_remove(&domain->leaves, piece.first, piece.last);
        CORE_CHECK(core_sync_gather(world, domain, 0) || core_touches_failed(world, domain));
    } else {
        piece = (struct core_leaf){request.iova, request.iova + (request.size - 1),
                                   request.physical, request.prot};
        judge_map(world, &verdict, domain, &request);
        if (verdict.must_count != 0 || piece.last < piece.first ||
            core_leaves_overlap(&domain->frames, piece.first, piece.last)) {
            return;
        }
        say_map(world, "map of frames", domain, &request);
        core_begin(world, "map of frames");
        result = piommu_domain_map(domain->handle, request.iova, request.physical, request.size,
                                   request.prot);
        core_end(world, result);
        core_judge(world, &verdict, result);
        if (result == 0) {
            core_leaves_insert(&domain->frames, &piece);
        }
    }
    copy_all(&domain->frames, &allowed);
    core_relearn(world, domain, &allowed);
    core_leaves_free(&allowed);
}

/* ---- Shared domains ---- */

void core_call_shared_change(struct core_world *world, const uint16_t *raw)
{
    struct core_domain *domain = choose_of_type(world, raw[0], PIOMMU_DOMAIN_SHARED);
    uint64_t iova = WINDOW + (raw[1] % 1024) * CORE_PAGE;
    uint64_t size = (1 + raw[2] % 8) * CORE_PAGE;
    struct core_leaf piece = {iova, iova + size - 1, 0, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE};
    struct core_verdict verdict = {.must_count = 0};
    struct piommu_gather *gather = &domain->gathers[0]; /* of the CPU's table */
    uint64_t bytes;
    int result;

    if (domain->handle == NULL || domain->type != PIOMMU_DOMAIN_SHARED) {
        return;
    }
    core_spot_add(world, iova);
    if (!core_leaves_overlap(&domain->leaves, piece.first, piece.last)) {
        piece.physical = choose_memory(world, domain, iova);
        if (!core_gone_overlap(&domain->gone, piece.first, piece.last) &&
            piommu_pgtable_map(domain->cpu_table, iova, piece.physical, size, piece.prot, &bytes) ==
                0) {
            core_leaves_insert(&domain->leaves, &piece);
        }
        return;
    }
    piece = *core_leaves_at(
        &domain->leaves,
        domain->leaves.items[core_leaves_index(&domain->leaves, piece.first)].first);
    CORE_CHECK(piommu_pgtable_unmap(domain->cpu_table, piece.first, piece.last - piece.first + 1,
                                    gather, &bytes) == 0);
    piommu_pgtable_detach_empty(domain->cpu_table, gather);
    core_gone_add(&domain->gone, 0, &piece);
    core_leaves_remove(&domain->leaves, piece.first, piece.last);
    core_may(&verdict, core_touches_failed(world, domain), -PIOMMU_EFAILED);
    core_say(world, "invalidate(%s, 0x%" PRIx64 ", 0x%" PRIx64 ") after a change", domain->name,
             gather->range.first, gather->range.last);
    core_begin(world, "invalidate");
    result = piommu_domain_invalidate(domain->handle, gather->range.first, gather->range.last);
    core_end(world, result);
    core_judge(world, &verdict, result);
    if (result == 0) {
        core_gone_drop(&domain->gone, 0);
        piommu_pgtable_release(domain->cpu_table, gather);
        return;
    }
    for (size_t i = 0; i < domain->gone.count; i++) {
        domain->gone.items[i].forgotten = true;
    }
}

/* ---- What the next call meets ---- */

void core_call_fail_allocation(struct core_world *world, const uint16_t *raw)
{
    world->allocation_kth = 1 + raw[0] % 8;
    world->patience = 6;
}

/* A unit that runs, if any does. */
static void choose_failing(struct core_world *world, uint16_t number)
{
    world->backend_unit = number % CORE_UNITS;
    for (unsigned int i = 0; i < CORE_UNITS; i++) {
        const struct core_unit *unit = &world->units[(number + i) % CORE_UNITS];

        if (unit->instance != NULL && unit->state == PIOMMU_INSTANCE_RUNNING) {
            world->backend_unit = unit->number;
            return;
        }
    }
}

void core_call_fail_backend(struct core_world *world, const uint16_t *raw)
{
    static const int errors[] = {-PIOMMU_EIO, -PIOMMU_ENOMEM, -PIOMMU_EIO, -PIOMMU_ETIMEDOUT};

    choose_failing(world, raw[0]);
    world->backend_kth = raw[1] % 2 == 0 ? 1 : 1 + raw[1] / 2 % 6;
    world->patience = 20;
    world->backend_error = errors[raw[2] % 4];
    world->silent_unit = false;
    world->attach_failures = 0;
}

void core_call_fail_attaches(struct core_world *world, const uint16_t *raw)
{
    choose_failing(world, raw[0]);
    world->backend_kth = 0;
    world->silent_unit = false;
    world->attach_failures = 1 + raw[1] % 2;
    world->patience = 20;
}

void core_call_be_silent(struct core_world *world, const uint16_t *raw)
{
    choose_failing(world, raw[0]);
    world->silent_unit = true;
    world->patience = 20;
}

void core_call_speculate(struct core_world *world, const uint16_t *raw)
{
    mock_speculate(world->units[raw[0] % 3].mock);
}

static void take_line(void *cookie, const char *line)
{
    unsigned int *lines = cookie;

    CORE_CHECK(strlen(line) < 160 && strchr(line, '\n') == NULL);
    ++*lines;
}

void core_call_check_all(struct core_world *world, const uint16_t *raw)
{
    unsigned int lines = 0;
    unsigned int instances = 0;

    world->call = "looking at everything";
    core_check_all(world);
    if (raw[0] % 4 == 0) {
        piommu_context_dump(world->context, take_line, &lines);
        for (unsigned int i = 0; i < CORE_UNITS; i++) {
            instances += world->units[i].instance != NULL;
        }
        CORE_CHECK(lines >= instances);
    }
}
