/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "store_watch.h"

#include "instrumented.h"
#include "little_endian.h"
#include "pgtable_host.h"

#include <piommu/io-pgtable-dirty.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_WORDS (FAKE_OS_CACHE_LINE / 8)

/* More than this would take longer to search than all the rest. */
#define TLB_ROOM 64u
#define PROBES   7u
/* Of groups, those that are touched later in a call are not looked at again at its end. */
#define TOUCHED_ROOM 32u
#define HASH_SLOTS   65536u

/* Permissions, dirty state and software's bits of a leaf: what may change while it is live. */
#define LEAF_RIGHTS ((0xffull << 51 & ~(1ull << 52)) | 0xc0ull)

/* Where a table stands in the tree, as the CPU or the hardware sees that. */
struct place {
    bool linked;
    int level;
    uint64_t input; /* the first address that it translates */
};

enum view { CPU, HARDWARE };

/* A table, or the tables of a root. */
struct piece {
    uint64_t physical; /* as hardware knows it */
    size_t words;
    uint8_t *memory;
    uint64_t *known;     /* what each word was after the last store */
    uint64_t *visible;   /* what hardware sees; NULL if it snoops */
    uint32_t *stamps;    /* the call in which each word has last changed for hardware */
    uint8_t *dirty;      /* by line: on the list of dirty lines */
    uint8_t *pending;    /* by line: cleaned, and need not have arrived */
    uint64_t last_store; /* when */
    struct place places[2];
    bool detached; /* was linked, and is not released */
    struct piece *next;
};

enum operation {
    LOOK,
    MAP,
    UNMAP,
    CUT,
    PROTECT,
    TRACK, /* and read dirty state */
    DETACH,
    RELEASE,
    DESTROY,
};

enum probe_class { OUTSIDE, INSIDE, BESIDE };

/* An address that is walked from the root after each store. */
struct probe {
    uint64_t address;
    enum probe_class class;
    unsigned int changes;
    struct piommu_walker_result before; /* the call */
    struct piommu_walker_result last;
};

/* A descriptor that has changed, one for each contiguous group. */
struct touched {
    const struct piece *piece;
    size_t index;
};

struct call {
    enum operation operation;
    uint64_t first;
    uint64_t last;
    /* The same, widened to the leaves at the ends where these go, too. */
    struct piommu_range whole;
    const struct piommu_segment *segments;
    size_t count;
    piommu_prot prot;
    bool replaces; /* a cut that needs no break */
    bool invalidated;
    /* The leaves at the ends of a cut, as they were. */
    struct piommu_walker_result ends[2];
    struct probe probes[PROBES];
    size_t probe_count;
    uint64_t changes;
    uint64_t stores;
    struct touched groups[TOUCHED_ROOM];
    size_t group_count;
};

struct line {
    struct piece *piece;
    size_t number;
};

struct watch {
    struct pgtable_host *h;
    struct piommu_os below;
    bool (*exchange)(void *ctx, uint64_t physical, uint64_t expected, uint64_t desired);
    bool coherent;
    bool tracking;
    bool has_groups;
    bool is_disjoint;
    bool is_torn_down;
    uint64_t random;
    unsigned int leak_rate; /* in 256 stores */
    unsigned int late_rate; /* of 256 cleaned lines, how many arrive at the barrier alone */
    struct piece *pieces[HASH_SLOTS]; /* by the first page of their memory */
    struct piece *by_page[HOST_PAGES];
    struct line *lines; /* dirty ones */
    size_t line_count;
    size_t line_room;
    struct line *pending;
    size_t pending_count;
    size_t pending_room;
    uint64_t time;         /* counts stores and barriers */
    uint64_t last_barrier; /* for stores */
    uint64_t last_change;
    uint32_t call_number;
    unsigned int depth;
    struct call call;
    /* A descriptor of which one half is stored. */
    struct {
        struct piece *piece; /* NULL: none */
        size_t index;
        size_t half;
        uint64_t before;
        uint64_t middle;
    } half;
};

static struct watch *watch;
static struct store_watch_counts counts;
static uint64_t base_seed;
static void (*before_access)(void *ctx);
static void *before_access_ctx;

void store_watch_seed(uint64_t seed)
{
    base_seed = seed;
}

struct store_watch_counts store_watch_counts(void)
{
    return counts;
}

void store_watch_before(void (*before)(void *ctx), void *ctx)
{
    before_access = before;
    before_access_ctx = ctx;
}

static uint64_t choose(struct watch *w, uint64_t count)
{
    return pgtable_random(&w->random) % count;
}

static bool happens(struct watch *w, unsigned int of_256)
{
    return of_256 != 0 && choose(w, 256) < of_256;
}

/* ---- Pieces of memory ---- */

static uint64_t load(const struct piece *piece, size_t index)
{
    return little_endian_word(&piece->memory[8 * index]);
}

static size_t hash_of_page(uintptr_t page)
{
    return (size_t)((page * 0x9e3779b97f4a7c15ull) >> 40) % HASH_SLOTS;
}

static struct piece *piece_of_pointer(const struct watch *w, const volatile void *pointer)
{
    uintptr_t address = (uintptr_t)pointer;
    /* Tables are aligned to their size; a root of several pages is larger than any of them. */
    static const uintptr_t sizes[] = {4096,   16384,  65536,  32768,  8192,
                                      131072, 262144, 524288, 1048576};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uintptr_t start = address & ~(sizes[i] - 1);
        struct piece *piece = w->pieces[hash_of_page(start >> 12)];

        /* A small root lies somewhere in its page. */
        while (piece != NULL && ((uintptr_t)piece->memory & ~(uintptr_t)0xfff) != start) {
            piece = piece->next;
        }
        if (piece != NULL && address - (uintptr_t)piece->memory < 8 * piece->words) {
            return piece;
        }
    }
    return NULL;
}

static struct piece *piece_at(const struct watch *w, uint64_t physical)
{
    uint64_t distance = physical - w->h->offset - FAKE_OS_MEMORY_BASE;

    return distance < FAKE_OS_MEMORY_SIZE ? w->by_page[distance / FAKE_OS_PAGE_SIZE] : NULL;
}

static struct piece *add_piece(struct watch *w, uint64_t physical, void *memory, size_t size)
{
    struct piece *piece = calloc(1, sizeof(*piece));
    struct piece **chain = &w->pieces[hash_of_page((uintptr_t)memory >> 12)];

    piece->physical = physical;
    piece->words = size / 8;
    piece->memory = memory;
    piece->known = malloc(size);
    piece->stamps = calloc(piece->words, sizeof(*piece->stamps));
    if (!w->coherent) {
        piece->visible = malloc(size);
        piece->dirty = calloc(piece->words / LINE_WORDS + 1, 1);
        piece->pending = calloc(piece->words / LINE_WORDS + 1, 1);
    }
    for (size_t i = 0; i < piece->words; i++) {
        piece->known[i] = load(piece, i);
        if (!w->coherent) {
            piece->visible[i] = piece->known[i];
        }
    }
    piece->next = *chain;
    *chain = piece;
    w->by_page[(physical - w->h->offset - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE] = piece;
    return piece;
}

static void drop_lines(struct line *lines, size_t *count, const struct piece *piece)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++) {
        if (lines[i].piece != piece) {
            lines[kept++] = lines[i];
        }
    }
    *count = kept;
}

static void remove_piece(struct watch *w, struct piece *piece)
{
    struct piece **chain = &w->pieces[hash_of_page((uintptr_t)piece->memory >> 12)];

    while (*chain != piece) {
        chain = &(*chain)->next;
    }
    *chain = piece->next;
    w->by_page[(piece->physical - w->h->offset - FAKE_OS_MEMORY_BASE) / FAKE_OS_PAGE_SIZE] = NULL;
    drop_lines(w->lines, &w->line_count, piece);
    drop_lines(w->pending, &w->pending_count, piece);
    free(piece->known);
    free(piece->stamps);
    free(piece->visible);
    free(piece->dirty);
    free(piece->pending);
    free(piece);
}

/* ---- What a descriptor means ---- */

enum meaning { NOTHING, LEAF, LINK };

struct decoded {
    enum meaning meaning;
    struct piommu_walker_result leaf;
    uint64_t table;
};

struct one_word {
    uint64_t value;
    bool is_read;
};

static bool read_one_word(void *ctx, uint64_t physical, uint64_t *value)
{
    struct one_word *word = ctx;

    (void)physical;
    *value = word->is_read ? 0 : word->value;
    word->is_read = true;
    return true;
}

static void report_problem(void *ctx, const struct piommu_walker_problem *problem)
{
    const struct watch *w = ctx;
    uint32_t flags = w->h->rules.config.flags;

    if (problem->kind == PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES &&
        (flags & PIOMMU_PGTABLE_NON_SECURE) != 0 && problem->descriptor >> 59 == 0x10) {
        return; /* NSTable, as was asked for */
    }
    if (problem->kind == PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER && (flags & PIOMMU_PGTABLE_XNX) != 0) {
        return; /* the privileged alone may execute */
    }
    fprintf(stderr, "a store: %s at level %d, input 0x%llx: descriptor 0x%llx\n",
            piommu_walker_problem_name(problem->kind), problem->level,
            (unsigned long long)problem->input, (unsigned long long)problem->descriptor);
    abort();
}

static struct decoded decode(struct watch *w, int level, uint64_t input, uint64_t descriptor)
{
    static const struct piommu_walker_access nothing = {.privileged = true};
    const struct piommu_walker_position start = {level, 0, 0};
    struct decoded decoded = {.meaning = NOTHING};
    struct one_word word = {.value = descriptor};
    const struct piommu_walker_memory memory = {.read64 = read_one_word, .ctx = &word};

    if ((descriptor & 1) == 0) {
        return decoded;
    }
    piommu_walker_check_descriptor(&w->h->regime, level, input, descriptor, report_problem, w);
    piommu_walker_translate_from(&w->h->regime, &memory, input, &nothing, &start, &decoded.leaf);
    if (decoded.leaf.step_count != 0 && decoded.leaf.steps[0].is_table) {
        decoded.meaning = LINK;
        decoded.table = decoded.leaf.steps[0].next_table;
    } else {
        CHECK(decoded.leaf.fault == PIOMMU_WALKER_FAULT_NONE);
        decoded.meaning = LEAF;
    }
    return decoded;
}

/* The bits of a link that hardware takes notice of: not 58:51 and 11:2, but for the address. */
static uint64_t lasting_bits_of_link(const struct watch *w, uint64_t descriptor)
{
    return descriptor & ~((0xffull << 51) | (w->h->rules.has_ds ? 0x8fcull : 0xbfcull));
}

/* Is there no difference that hardware could take notice of? */
static bool looks_the_same(const struct watch *w, int level, uint64_t one, uint64_t other)
{
    if (one == other || ((one | other) & 1) == 0) {
        return true;
    }
    return level < 3 && (one & 3) == 3 && (other & 3) == 3 &&
           lasting_bits_of_link(w, one) == lasting_bits_of_link(w, other);
}

static uint64_t span_of(const struct watch *w, int level)
{
    return 1ull << piommu_walker_level_shift(&w->h->regime, level);
}

static bool same_rights(const struct piommu_walker_attributes *one,
                        const struct piommu_walker_attributes *other)
{
    return memcmp(&one->privileged, &other->privileged, sizeof(one->privileged)) == 0 &&
           memcmp(&one->unprivileged, &other->unprivileged, sizeof(one->unprivileged)) == 0;
}

/* The same memory, in the same way, whoever may use it for what. */
static bool same_nature(const struct piommu_walker_attributes *one,
                        const struct piommu_walker_attributes *other)
{
    return one->memory_index == other->memory_index && one->shareability == other->shareability &&
           one->access_flag == other->access_flag && one->not_global == other->not_global &&
           one->non_secure == other->non_secure && one->no_cache_entry == other->no_cache_entry;
}

/* ---- Walks from the root ---- */

static bool has_halves(void)
{
#ifdef PIOMMU_DESCRIPTOR_HALVES
    return true;
#else
    return false;
#endif
}

static bool same_answer(const struct piommu_walker_result *one,
                        const struct piommu_walker_result *other)
{
    if (one->fault != PIOMMU_WALKER_FAULT_NONE || other->fault != PIOMMU_WALKER_FAULT_NONE) {
        return one->fault == other->fault;
    }
    return one->output == other->output && same_nature(&one->attributes, &other->attributes) &&
           same_rights(&one->attributes, &other->attributes);
}

static void judge_probe(struct watch *w, struct probe *probe,
                        const struct piommu_walker_result *now)
{
    const struct call *call = &w->call;
    bool fault = now->fault != PIOMMU_WALKER_FAULT_NONE;
    bool was_fault = probe->last.fault != PIOMMU_WALKER_FAULT_NONE;

    CHECK(now->fault == PIOMMU_WALKER_FAULT_NONE || now->fault == PIOMMU_WALKER_FAULT_TRANSLATION);
    if (same_answer(now, &probe->last)) {
        return;
    }
    /* Outside of its range nothing changes in any call. */
    CHECK(probe->class != OUTSIDE);
    probe->changes++;
    probe->last = *now;
    if (probe->class == BESIDE && !call->replaces) {
        /* Of a leaf that is cut: away until hardware has forgotten it, then as before. */
        CHECK(probe->changes == 1 ? fault : probe->changes == 2 && !fault && call->invalidated);
        CHECK(fault || now->output == probe->before.output);
        return;
    }
    switch (call->operation) {
    case MAP:
        CHECK(was_fault && !fault);
        break;
    case UNMAP:
        CHECK(!was_fault && fault);
        break;
    case CUT:
        CHECK(probe->class == BESIDE ? !fault && now->output == probe->before.output : fault);
        break;
    default:
        /* In two halves there can be a third answer; see judge_half(). */
        CHECK(!fault && now->output == probe->before.output);
        CHECK(same_nature(&now->attributes, &probe->before.attributes));
        break;
    }
    CHECK(probe->changes == 1 || (has_halves() && call->operation == PROTECT));
}

static void walk_probes(struct watch *w)
{
    for (size_t i = 0; i < w->call.probe_count; i++) {
        struct piommu_walker_result now;

        host_walk_as_cpu(w->h, w->call.probes[i].address, &now);
        counts.walks++;
        judge_probe(w, &w->call.probes[i], &now);
    }
}

static void add_probe(struct watch *w, uint64_t address)
{
    struct call *call = &w->call;
    struct probe *probe = &call->probes[call->probe_count];
    const struct piommu_range *aperture = &w->h->rules.aperture;

    if (address < aperture->first || address > aperture->last) {
        return;
    }
    *probe = (struct probe){.address = address, .class = OUTSIDE};
    if (call->operation >= MAP && call->operation <= TRACK && address >= call->first &&
        address <= call->last) {
        probe->class = INSIDE;
    } else if (call->operation == CUT && address >= call->whole.first &&
               address <= call->whole.last) {
        probe->class = BESIDE;
    } else if ((call->operation == UNMAP || call->operation == TRACK) &&
               address >= call->whole.first && address <= call->whole.last) {
        probe->class = INSIDE;
    }
    host_walk_as_cpu(w->h, address, &probe->before);
    probe->last = probe->before;
    call->probe_count++;
}

/* ---- Contiguous groups ---- */

/*
 * The members of a group are made and removed one after the other, so some of them may be missing
 * in the middle of a call, and rights may differ. But those that are there must fit.
 */
static void judge_group(struct watch *w, const struct piece *piece, size_t index, int level,
                        bool is_complete)
{
    const uint64_t hint = 1ull << 52;
    size_t members = piommu_walker_contiguous_entries(&w->h->regime, level);
    size_t start = index & ~(members - 1);
    uint64_t leader = piece->known[index];
    bool is_leaf = (leader & 1) != 0 && (level == 3 || (leader & 2) == 0);
    bool may_mix = (w->h->rules.config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0 && !is_complete;
    size_t there = 0;
    bool hinted = false;

    if (members == 0 || !w->has_groups || start + members > piece->words) {
        return;
    }
    for (size_t i = start; i < start + members; i++) {
        uint64_t other = piece->known[i];
        uint64_t distance = (i - index) << piommu_walker_level_shift(&w->h->regime, level);

        if ((other & 1) == 0 || (level < 3 && (other & 2) != 0)) {
            continue;
        }
        there++;
        hinted = hinted || (other & hint) != 0;
        if ((leader & 1) == 0 || ((other | (is_leaf ? leader : 0)) & hint) == 0) {
            continue;
        }
        if (may_mix && (!is_leaf || ((other ^ leader) & hint) != 0)) {
            continue;
        }
        CHECK((other & ~LEAF_RIGHTS) == (leader & ~LEAF_RIGHTS) + distance);
    }
    CHECK(!is_complete || !hinted || there == members);
}

/* ---- What the CPU stores ---- */

static bool is_in(uint64_t first, uint64_t last, uint64_t range_first, uint64_t range_last)
{
    return first >= range_first && last <= range_last;
}

static uint64_t expected_output(const struct call *call, uint64_t input)
{
    uint64_t distance = input - call->first;
    size_t i = 0;

    while (i + 1 < call->count && distance >= call->segments[i].size) {
        distance -= call->segments[i].size;
        i++;
    }
    CHECK(distance < call->segments[i].size);
    return call->segments[i].physical + distance;
}

/* A translation that was not there. */
static void judge_new_leaf(struct watch *w, uint64_t first, uint64_t last,
                           const struct piommu_walker_result *leaf)
{
    const struct call *call = &w->call;

    if (call->operation == MAP) {
        bool tracked = w->tracking && (call->prot & PIOMMU_PROT_WRITE) != 0;

        CHECK(is_in(first, last, call->first, call->last));
        CHECK(leaf->output == expected_output(call, first));
        CHECK(leaf->output + (last - first) == expected_output(call, last));
        CHECK(host_attributes_mean(w->h, &leaf->attributes,
                                   rules_normal_prot(&w->h->rules, call->prot),
                                   leaf->attributes.contiguous, tracked));
    } else {
        bool is_front = first < call->first;
        const struct piommu_walker_result *old = &call->ends[!is_front];
        uint64_t end = is_front ? call->whole.first : call->whole.last;

        CHECK(call->operation == CUT);
        /* What was invalid comes back only when it is forgotten. */
        CHECK(call->invalidated || call->replaces);
        CHECK(is_front ? is_in(first, last, call->whole.first, call->first - 1)
                       : is_in(first, last, call->last + 1, call->whole.last));
        CHECK(old->fault == PIOMMU_WALKER_FAULT_NONE);
        CHECK(leaf->output - first == old->output - end);
        CHECK(same_nature(&leaf->attributes, &old->attributes));
        CHECK(old->attributes.dirty_bit_modifier ||
              same_rights(&leaf->attributes, &old->attributes));
    }
}

/* What is in a table that is linked now, or below it: registers it; returns the bytes mapped. */
static uint64_t take_in(struct watch *w, struct piece *piece, int level, uint64_t input)
{
    uint64_t span = span_of(w, level);
    uint64_t bytes = 0;

    /* What is linked is final, and a barrier keeps the order. */
    CHECK(piece != NULL && !piece->places[CPU].linked);
    CHECK(!piece->detached);
    CHECK(piece->last_store <= w->last_barrier);
    CHECK(!stale_tlb_table_reaches(w->h->tlb, piece->physical, 8 * piece->words));
    piece->places[CPU] = (struct place){.linked = true, .level = level, .input = input};
    for (size_t i = 0; i < piece->words; i++) {
        piece->known[i] = load(piece, i);
        piece->stamps[i] = 0;
    }
    for (size_t i = 0; i < piece->words; i++) {
        uint64_t at = input + i * span;
        struct decoded decoded = decode(w, level, at, piece->known[i]);

        if (!w->coherent) {
            CHECK(looks_the_same(w, level, piece->visible[i], piece->known[i]));
            CHECK(!piece->pending[i / LINE_WORDS]);
        }
        if (decoded.meaning == LEAF) {
            piece->stamps[i] = w->call_number;
            judge_new_leaf(w, at, at + (span - 1), &decoded.leaf);
            judge_group(w, piece, i, level, true);
            bytes += span;
        } else if (decoded.meaning == LINK) {
            CHECK(level < 3);
            bytes += take_in(w, piece_at(w, decoded.table), level + 1, at);
        }
    }
    return bytes;
}

/* Hardware finds no way to a table any more: it may only if nothing is in it. */
static void let_go(struct watch *w, struct piece *piece)
{
    CHECK(piece != NULL && piece->places[CPU].linked);
    for (size_t i = 0; i < piece->words; i++) {
        CHECK((piece->known[i] & 1) == 0);
    }
    piece->places[CPU].linked = false;
    piece->detached = true;
    (void)w;
}

static void judge_leaf_change(struct watch *w, uint64_t first, uint64_t last,
                              const struct piommu_walker_result *before,
                              const struct piommu_walker_result *now)
{
    const struct call *call = &w->call;
    bool hint_goes = before->attributes.contiguous && !now->attributes.contiguous;

    CHECK(before->output == now->output && before->leaf_shift == now->leaf_shift);
    CHECK(same_nature(&before->attributes, &now->attributes));
    switch (call->operation) {
    case PROTECT:
        CHECK(is_in(first, last, call->first, call->last));
        CHECK(before->attributes.contiguous == now->attributes.contiguous);
        break;
    case TRACK:
        CHECK(is_in(first, last, call->whole.first, call->whole.last));
        CHECK(before->attributes.contiguous == now->attributes.contiguous);
        CHECK(before->attributes.dirty_bit_modifier || now->attributes.dirty_bit_modifier);
        CHECK(before->attributes.software_bits == now->attributes.software_bits);
        break;
    case CUT: /* a member of a group of which the rest is removed */
        CHECK(call->replaces && hint_goes);
        CHECK(is_in(first, last, call->whole.first, call->whole.last));
        CHECK(last < call->first || first > call->last);
        CHECK(before->attributes.dirty_bit_modifier ||
              same_rights(&before->attributes, &now->attributes));
        break;
    default:
        CHECK(!"this call changes no leaves");
    }
}

static void judge_removed_leaf(const struct watch *w, uint64_t first, uint64_t last)
{
    const struct call *call = &w->call;

    if (call->operation == UNMAP) {
        CHECK(is_in(first, last, call->whole.first, call->whole.last));
    } else if (call->replaces) {
        CHECK(call->operation == CUT && is_in(first, last, call->first, call->last));
    } else {
        CHECK(call->operation == CUT && !call->invalidated);
        CHECK(is_in(first, last, call->whole.first, call->whole.last));
    }
}

/* A block gives way to a table, which says the same but for what is unmapped. */
static void judge_split(struct watch *w, uint64_t first, uint64_t last, struct piece *piece,
                        int level)
{
    const struct call *call = &w->call;
    uint64_t inner_first = first > call->first ? first : call->first;
    uint64_t inner_last = last < call->last ? last : call->last;
    uint64_t removed = inner_first <= inner_last ? inner_last - inner_first + 1 : 0;

    CHECK(call->operation == CUT && call->replaces);
    CHECK(take_in(w, piece, level + 1, first) == last - first + 1 - removed);
}

static void note_group(struct watch *w, const struct piece *piece, size_t index, int level)
{
    size_t members = piommu_walker_contiguous_entries(&w->h->regime, level);
    struct call *call = &w->call;

    if (!w->has_groups || members == 0 || call->group_count == TOUCHED_ROOM) {
        return;
    }
    if (call->group_count != 0) {
        const struct touched *last = &call->groups[call->group_count - 1];

        if (last->piece == piece && last->index / members == index / members) {
            return;
        }
    }
    call->groups[call->group_count++] = (struct touched){piece, index};
}

/* One descriptor in a table that hardware can reach was something and is something else. */
static void judge_change(struct watch *w, struct piece *piece, size_t index, uint64_t before,
                         uint64_t now)
{
    struct call *call = &w->call;
    int level = piece->places[CPU].level;
    uint64_t first = piece->places[CPU].input + index * span_of(w, level);
    uint64_t last = first + (span_of(w, level) - 1);
    struct decoded old = decode(w, level, first, before);
    struct decoded new = decode(w, level, first, now);
    bool comes_back = call->operation == CUT && call->invalidated && old.meaning == NOTHING;

    if (looks_the_same(w, level, before, now)) {
        return;
    }
    counts.changes++;
    call->changes++;
    w->last_change = w->time;
    CHECK(call->operation != LOOK && call->operation != RELEASE);
    /* There are an old answer and a new one. */
    CHECK(piece->stamps[index] != w->call_number || comes_back);
    piece->stamps[index] = w->call_number;

    if (old.meaning == NOTHING && new.meaning == LEAF) {
        judge_new_leaf(w, first, last, &new.leaf);
    } else if (old.meaning == NOTHING) {
        CHECK(call->operation == MAP || call->operation == CUT);
        take_in(w, piece_at(w, new.table), level + 1, first);
    } else if (old.meaning == LEAF && new.meaning == NOTHING) {
        judge_removed_leaf(w, first, last);
    } else if (old.meaning == LEAF && new.meaning == LEAF) {
        judge_leaf_change(w, first, last, &old.leaf, &new.leaf);
    } else if (old.meaning == LEAF) {
        judge_split(w, first, last, piece_at(w, new.table), level);
    } else {
        /* Neither another table nor a block takes the place of a table. */
        CHECK(new.meaning == NOTHING);
        CHECK(call->operation == DETACH ||
              (w->is_disjoint && call->operation == UNMAP &&
               is_in(first, last, call->whole.first, call->whole.last)));
        let_go(w, piece_at(w, old.table));
    }
    judge_group(w, piece, index, level, false);
    note_group(w, piece, index, level);
}

/*
 * The state between two halves. What is made valid or invalid is invalid. What is valid before and
 * after leads to the same place; what is allowed both times is so in between, nobody may do what he
 * may do neither before nor after, and what can be written is not executable, unless the old leaf
 * or the new one says so.
 */
static void judge_rights_between(struct piommu_walker_rights middle,
                                 struct piommu_walker_rights before,
                                 struct piommu_walker_rights now, bool execution_reads)
{
    if (execution_reads) {
        middle.execute = middle.execute && middle.read;
        before.execute = before.execute && before.read;
        now.execute = now.execute && now.read;
    }
    CHECK(middle.read == before.read || middle.read == now.read);
    CHECK(middle.write == before.write || middle.write == now.write);
    CHECK(middle.execute == before.execute || middle.execute == now.execute);
    CHECK(!middle.write || !middle.execute || (now.write && now.execute) ||
          (before.write && before.execute));
}

static void judge_half(struct watch *w, const struct piece *piece, size_t index, uint64_t before,
                       uint64_t middle, uint64_t now)
{
    int level = piece->places[CPU].level;
    uint64_t first = piece->places[CPU].input + index * span_of(w, level);
    struct decoded old = decode(w, level, first, before);
    struct decoded new = decode(w, level, first, now);
    struct decoded half;

    if (middle == before || middle == now) {
        return;
    }
    if (old.meaning == NOTHING || new.meaning == NOTHING) {
        CHECK((middle & 1) == 0);
        return;
    }
    half = decode(w, level, first, middle);
    CHECK(half.meaning == old.meaning && half.meaning == new.meaning);
    if (half.meaning == LINK) {
        CHECK(half.table == old.table && half.table == new.table);
        return;
    }
    CHECK(half.leaf.output == old.leaf.output);
    CHECK(same_nature(&half.leaf.attributes, &old.leaf.attributes));
    CHECK(half.leaf.attributes.contiguous == old.leaf.attributes.contiguous);
    judge_rights_between(half.leaf.attributes.privileged, old.leaf.attributes.privileged,
                         new.leaf.attributes.privileged, w->h->rules.stage == 1);
    judge_rights_between(half.leaf.attributes.unprivileged, old.leaf.attributes.unprivileged,
                         new.leaf.attributes.unprivileged, w->h->rules.stage == 1);
}

/* ---- What hardware sees ---- */

/* Hardware takes up what can be found at an address, and forgets nothing by itself. */
static void fill_tlb(struct watch *w, uint64_t input)
{
    static const struct piommu_walker_access nothing = {.privileged = true};
    const struct piommu_walker_memory silent = {.read64 = w->h->memory.read64,
                                                .ctx = w->h->memory.ctx};
    struct piommu_walker_result result;

    if (stale_tlb_leaf_count(w->h->tlb) < TLB_ROOM && stale_tlb_table_count(w->h->tlb) < TLB_ROOM) {
        stale_tlb_translate(w->h->tlb, &w->h->regime, &silent, input, &nothing, &result);
        CHECK(stale_tlb_conflicts(w->h->tlb) == 0);
    }
}

static void place_in_hardware(struct watch *w, struct piece *piece, int level, uint64_t input)
{
    CHECK(piece != NULL && !piece->places[HARDWARE].linked);
    piece->places[HARDWARE] = (struct place){.linked = true, .level = level, .input = input};
    for (size_t i = 0; i < piece->words; i++) {
        uint64_t at = input + i * span_of(w, level);
        struct decoded decoded = decode(w, level, at, piece->visible[i]);

        /* A link is seen after the content of its table. */
        CHECK(looks_the_same(w, level, piece->visible[i], load(piece, i)));
        if (decoded.meaning == LINK) {
            place_in_hardware(w, piece_at(w, decoded.table), level + 1, at);
        }
    }
}

static void leave_hardware(struct watch *w, struct piece *piece)
{
    struct place place = piece->places[HARDWARE];

    piece->places[HARDWARE].linked = false;
    for (size_t i = 0; i < piece->words; i++) {
        uint64_t at = place.input + i * span_of(w, place.level);
        struct decoded decoded = decode(w, place.level, at, piece->visible[i]);

        if (decoded.meaning == LINK) {
            leave_hardware(w, piece_at(w, decoded.table));
        }
    }
}

static void arrive_word(struct watch *w, struct piece *piece, size_t index)
{
    uint64_t before = piece->visible[index];
    uint64_t now = load(piece, index);
    struct place place = piece->places[HARDWARE];
    struct decoded old;
    struct decoded new;
    uint64_t input;

    if (before == now) {
        return;
    }
    counts.arrivals++;
    piece->visible[index] = now;
    if (!place.linked) {
        return;
    }
    input = place.input + index * span_of(w, place.level);
    old = decode(w, place.level, input, before);
    new = decode(w, place.level, input, now);
    if (looks_the_same(w, place.level, before, now)) {
        return;
    }
    if (old.meaning == LEAF && new.meaning == LEAF) {
        CHECK(old.leaf.output == new.leaf.output);
        CHECK(same_nature(&old.leaf.attributes, &new.leaf.attributes));
        CHECK(old.leaf.attributes.contiguous == new.leaf.attributes.contiguous ||
              (w->h->rules.config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0);
    } else if (old.meaning != NOTHING && new.meaning != NOTHING) {
        CHECK(old.meaning == LEAF && (w->h->rules.config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0);
    }
    if (old.meaning == LINK) {
        leave_hardware(w, piece_at(w, old.table));
    }
    if (new.meaning == LINK) {
        place_in_hardware(w, piece_at(w, new.table), place.level + 1, input);
    }
    fill_tlb(w, input);
}

/* A line is written back: its words may be seen in any order. */
static void arrive(struct watch *w, struct piece *piece, size_t number)
{
    size_t first = number * LINE_WORDS;
    size_t count = piece->words - first < LINE_WORDS ? piece->words - first : LINE_WORDS;
    size_t turn = choose(w, count);
    bool backwards = choose(w, 2) == 0;

    for (size_t i = 0; i < count; i++) {
        size_t word = (i + turn) % count;

        arrive_word(w, piece, first + (backwards ? count - 1 - word : word));
    }
}

static void add_line(struct line **lines, size_t *count, size_t *room, struct line line)
{
    if (*count == *room) {
        *room = 2 * *room + 64;
        *lines = realloc(*lines, *room * sizeof(**lines));
    }
    (*lines)[(*count)++] = line;
}

static void note_dirty_line(struct watch *w, struct piece *piece, size_t index)
{
    size_t number = index / LINE_WORDS;

    if (!piece->dirty[number]) {
        piece->dirty[number] = 1;
        add_line(&w->lines, &w->line_count, &w->line_room, (struct line){piece, number});
    }
}

static void forget_line(struct watch *w, size_t i)
{
    w->lines[i].piece->dirty[w->lines[i].number] = 0;
    w->lines[i] = w->lines[--w->line_count];
}

/* The cache has to make room, in the least favourable moment. */
static void leak(struct watch *w)
{
    while (w->line_count != 0 && happens(w, w->leak_rate)) {
        size_t i = choose(w, w->line_count);
        struct line line = w->lines[i];

        counts.leaks++;
        forget_line(w, i);
        arrive(w, line.piece, line.number);
        if (w->leak_rate < 256 && choose(w, 2) == 0) {
            return;
        }
    }
}

static void after_half(struct watch *w, struct piece *piece, size_t index, size_t half)
{
    uint64_t now = load(piece, index);

    if (w->half.piece == NULL) {
        w->half.piece = piece;
        w->half.index = index;
        w->half.half = half;
        w->half.before = piece->known[index];
        w->half.middle = now;
        return;
    }
    CHECK(w->half.piece == piece && w->half.index == index && w->half.half != half);
    w->half.piece = NULL;
    if (piece->places[CPU].linked) {
        judge_half(w, piece, index, w->half.before, w->half.middle, now);
    }
}

static void on_access(void *ctx, const volatile void *object)
{
    (void)ctx;
    (void)object;
    if (before_access != NULL) {
        before_access(before_access_ctx);
    }
}

static void on_store(void *ctx, const volatile void *object, size_t size)
{
    struct watch *w = ctx;
    struct piece *piece = piece_of_pointer(w, object);
    size_t offset;
    size_t index;
    uint64_t before;
    uint64_t now;

    w->time++;
    if (piece == NULL || w->is_torn_down) {
        return;
    }
    offset = (size_t)((uintptr_t)object - (uintptr_t)piece->memory);
    index = offset / 8;
    piece->last_store = w->time;
    now = load(piece, index);
    /* Walk caches may still lead there, until it is released. */
    CHECK(!piece->detached || (now & 1) == 0);
    if (!piece->places[CPU].linked && !piece->detached) {
        piece->known[index] = now;
        return;
    }
    counts.stores++;
    CHECK(size == 8 || size == 4);
    if (size == 4) {
        after_half(w, piece, index, offset / 4 % 2);
    }
    before = piece->known[index];
    if (w->half.piece == NULL) {
        before = size == 4 ? w->half.before : before;
        piece->known[index] = now;
        if (piece->places[CPU].linked) {
            judge_change(w, piece, index, before, now);
        }
    }
    if (piece->places[CPU].linked) {
        w->call.stores++;
        /* In large calls, what one store does to its own descriptor is all that is looked at. */
        if (w->call.stores < 48 || w->call.stores % 16 == 0) {
            walk_probes(w);
        }
    }
    if (!w->coherent) {
        note_dirty_line(w, piece, index);
        leak(w);
    } else if (piece->places[CPU].linked && before != now) {
        fill_tlb(w, piece->places[CPU].input + index * span_of(w, piece->places[CPU].level));
    }
}

/* ---- The shim, below the observer of pgtable_host.c ---- */

static void *below_dma_alloc(void *ctx, const struct piommu_dma_request *request,
                             uint64_t *physical)
{
    void *memory = watch->below.dma_alloc(ctx, request, physical);

    if (memory != NULL) {
        add_piece(watch, *physical + watch->h->offset, memory, request->size);
    }
    return memory;
}

static void below_dma_free(void *ctx, void *memory, size_t size)
{
    struct watch *w = watch;
    struct piece *piece = piece_of_pointer(w, memory);

    CHECK(piece != NULL && (void *)piece->memory == memory);
    if (!w->is_torn_down) {
        CHECK(!piece->places[CPU].linked && !piece->places[HARDWARE].linked);
        CHECK(!piece->detached);
    }
    remove_piece(w, piece);
    w->below.dma_free(ctx, memory, size);
}

static void below_cache_clean(void *ctx, const void *address, size_t size)
{
    struct watch *w = watch;
    struct piece *piece = piece_of_pointer(w, address);
    size_t offset;

    w->below.cache_clean(ctx, address, size);
    CHECK(piece != NULL);
    offset = (size_t)((uintptr_t)address - (uintptr_t)piece->memory);
    for (size_t i = offset / FAKE_OS_CACHE_LINE; i <= (offset + size - 1) / FAKE_OS_CACHE_LINE;
         i++) {
        if (w->is_torn_down || !happens(w, w->late_rate)) {
            arrive(w, piece, i);
        } else if (!piece->pending[i]) {
            piece->pending[i] = 1;
            add_line(&w->pending, &w->pending_count, &w->pending_room, (struct line){piece, i});
        }
    }
}

static void below_barrier(void *ctx, enum piommu_barrier kind)
{
    struct watch *w = watch;

    w->below.barrier(ctx, kind);
    if (kind == PIOMMU_BARRIER_READ) {
        return;
    }
    w->time++;
    w->last_barrier = w->time;
    while (w->pending_count != 0) {
        size_t i = choose(w, w->pending_count);
        struct line line = w->pending[i];

        w->pending[i] = w->pending[--w->pending_count];
        line.piece->pending[line.number] = 0;
        arrive(w, line.piece, line.number);
    }
}

static bool visible_read64(void *ctx, uint64_t physical, uint64_t *value)
{
    uint64_t table = physical & ~(uint64_t)(FAKE_OS_PAGE_SIZE - 1);
    struct piece *piece = NULL;

    /* Tables are larger than a page of the simulated memory. */
    for (unsigned int i = 0; piece == NULL && i < 256; i++) {
        piece = piece_at(watch, table - i * FAKE_OS_PAGE_SIZE);
    }
    (void)ctx;
    if (piece == NULL || physical - piece->physical >= 8 * piece->words) {
        return false;
    }
    *value = piece->visible[(physical - piece->physical) / 8];
    return true;
}

/* Hardware notes a write. */
static bool noting_exchange64(void *ctx, uint64_t physical, uint64_t expected, uint64_t desired)
{
    struct watch *w = watch;
    uint64_t table = physical & ~(uint64_t)(FAKE_OS_PAGE_SIZE - 1);
    struct piece *piece = NULL;

    if (!w->exchange(ctx, physical, expected, desired)) {
        return false;
    }
    for (unsigned int i = 0; piece == NULL; i++) {
        piece = piece_at(w, table - i * FAKE_OS_PAGE_SIZE);
    }
    piece->known[(physical - piece->physical) / 8] = desired;
    return true;
}

/* ---- Calls ---- */

/* Nothing is stored in a way that nobody sees, and what was stored can be seen where it has to. */
static void check_known(struct watch *w)
{
    struct piece *piece = w->by_page[choose(w, HOST_PAGES)];

    if (piece == NULL) {
        piece = piece_at(w, w->h->regime.root);
    }
    for (size_t i = 0; piece->places[CPU].linked && i < piece->words; i++) {
        CHECK(piece->known[i] == load(piece, i));
    }
}

/* Hardware sees what the CPU has stored, for certain. */
static void check_arrived(struct watch *w)
{
    CHECK(w->last_change <= w->last_barrier);
    if (w->coherent) {
        return;
    }
    CHECK(w->pending_count == 0);
    for (size_t i = w->line_count; i-- != 0;) {
        const struct piece *piece = w->lines[i].piece;
        bool is_seen = true;

        for (size_t j = 0; j < LINE_WORDS; j++) {
            size_t word = w->lines[i].number * LINE_WORDS + j;

            if (word < piece->words) {
                CHECK(looks_the_same(w, piece->places[CPU].level, piece->visible[word],
                                     load(piece, word)));
                is_seen = is_seen && piece->visible[word] == load(piece, word);
            }
        }
        if (is_seen) {
            forget_line(w, i);
        }
    }
}

/* Returns NULL where nobody watches. */
static struct watch *watching(const struct piommu_pgtable *table)
{
    return watch != NULL && watch->h->table == table && !watch->is_torn_down ? watch : NULL;
}

static void widen(struct watch *w, uint64_t address, struct piommu_walker_result *leaf, bool is_end)
{
    struct call *call = &w->call;
    uint64_t size;

    host_walk_as_cpu(w->h, address, leaf);
    if (leaf->fault != PIOMMU_WALKER_FAULT_NONE) {
        return;
    }
    size = 1ull << leaf->leaf_shift;
    if (leaf->attributes.contiguous) {
        size *= piommu_walker_contiguous_entries(&w->h->regime, leaf->level);
    }
    /* What is kept of a leaf leads from its end. */
    if (is_end) {
        call->whole.last = address | (size - 1);
        leaf->output += call->whole.last - address;
    } else {
        call->whole.first = address & ~(size - 1);
        leaf->output -= address - call->whole.first;
    }
}

static void begin(struct watch *w, enum operation operation, uint64_t first, uint64_t last,
                  bool whole_leaves)
{
    struct call *call = &w->call;
    const struct piommu_range *aperture = &w->h->rules.aperture;
    bool has_range = first <= last && first >= aperture->first && last <= aperture->last;

    counts.calls++;
    w->call_number++;
    *call = (struct call){.operation = operation, .first = first, .last = last};
    call->whole = (struct piommu_range){.first = first, .last = last};
    call->replaces = operation == CUT && !has_halves() &&
                     (w->h->rules.config.flags & PIOMMU_PGTABLE_BBM_LEVEL_2) != 0;
    if (!has_range) {
        add_probe(w, aperture->first + choose(w, aperture->last - aperture->first) / 4096 * 4096);
        return;
    }
    if (whole_leaves) {
        widen(w, first, &call->ends[0], false);
        widen(w, last, &call->ends[1], true);
    }
    add_probe(w, first);
    add_probe(w, last);
    add_probe(w, first + choose(w, 1024) * ((last - first) / 1024));
    if (call->whole.first != 0) {
        add_probe(w, call->whole.first - 1);
    }
    if (call->whole.last != UINT64_MAX) {
        add_probe(w, call->whole.last + 1);
    }
    if (call->whole.first != first) {
        add_probe(w, call->whole.first);
    }
    if (call->whole.last != last) {
        add_probe(w, call->whole.last);
    }
}

static void end(struct watch *w, int result, bool is_visible)
{
    struct call *call = &w->call;
    bool is_partial = result == -PIOMMU_EAGAIN || result == -PIOMMU_EEXIST;

    CHECK(w->half.piece == NULL);
    if (result != 0 && !is_partial && !call->invalidated) {
        CHECK(call->changes == 0);
    }
    walk_probes(w);
    for (size_t i = 0; i < call->probe_count; i++) {
        const struct probe *probe = &call->probes[i];

        if (probe->class == BESIDE && result == 0) {
            /* What was to stay is there again. */
            CHECK(probe->last.fault == PIOMMU_WALKER_FAULT_NONE);
        }
    }
    for (size_t i = 0; i < call->group_count; i++) {
        const struct touched *group = &call->groups[i];

        if (group->piece->places[CPU].linked) {
            judge_group(w, group->piece, group->index, group->piece->places[CPU].level, true);
        }
    }
    if (is_visible && (call->changes != 0 || call->operation == DETACH)) {
        check_arrived(w);
    }
    check_known(w);
    call->operation = LOOK;
    call->probe_count = 0;
}

/* The function behind the linker's back; see CMakeLists.txt. */
#define WRAPPED(type, name, ...)     \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

static void begin_map(struct watch *w, uint64_t iova, const struct piommu_segment *segments,
                      size_t count, piommu_prot prot)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++) {
        size += segments[i].size;
    }
    begin(w, MAP, iova, iova + (size - 1), false);
    w->call.segments = segments;
    w->call.count = count;
    w->call.prot = prot;
}

WRAPPED(int, piommu_pgtable_map, struct piommu_pgtable *table, uint64_t iova, uint64_t physical,
        uint64_t size, piommu_prot prot, uint64_t *mapped)
{
    struct watch *w = watching(table);
    struct piommu_segment segment = {.physical = physical, .size = size};
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_map(table, iova, physical, size, prot, mapped);
    }
    begin_map(w, iova, &segment, 1, prot);
    result = __real_piommu_pgtable_map(table, iova, physical, size, prot, mapped);
    end(w, result, true);
    return result;
}

WRAPPED(int, piommu_pgtable_map_list, struct piommu_pgtable *table, uint64_t iova,
        const struct piommu_segment *segments, size_t count, piommu_prot prot, uint64_t *mapped)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_map_list(table, iova, segments, count, prot, mapped);
    }
    begin_map(w, iova, segments, count, prot);
    result = __real_piommu_pgtable_map_list(table, iova, segments, count, prot, mapped);
    end(w, result, true);
    return result;
}

WRAPPED(int, piommu_pgtable_map_some, struct piommu_pgtable *table, uint64_t iova,
        const struct piommu_segment *segments, size_t count, piommu_prot prot, uint32_t budget,
        struct piommu_pgtable_cursor *cursor)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_map_some(table, iova, segments, count, prot, budget, cursor);
    }
    begin_map(w, iova, segments, count, prot);
    result = __real_piommu_pgtable_map_some(table, iova, segments, count, prot, budget, cursor);
    end(w, result, true);
    return result;
}

WRAPPED(int, piommu_pgtable_unmap, struct piommu_pgtable *table, uint64_t iova, uint64_t size,
        struct piommu_gather *gather, uint64_t *unmapped)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_unmap(table, iova, size, gather, unmapped);
    }
    begin(w, UNMAP, iova, iova + (size - 1), false);
    result = __real_piommu_pgtable_unmap(table, iova, size, gather, unmapped);
    end(w, result, false);
    return result;
}

WRAPPED(int, piommu_pgtable_unmap_some, struct piommu_pgtable *table, uint64_t iova, uint64_t size,
        uint32_t budget, struct piommu_gather *gather, struct piommu_pgtable_cursor *cursor)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_unmap_some(table, iova, size, budget, gather, cursor);
    }
    begin(w, UNMAP, iova, iova + (size - 1), false);
    result = __real_piommu_pgtable_unmap_some(table, iova, size, budget, gather, cursor);
    end(w, result == -PIOMMU_ENOENT ? -PIOMMU_EAGAIN : result, false);
    return result;
}

WRAPPED(int, piommu_pgtable_unmap_leaves, struct piommu_pgtable *table, uint64_t first,
        uint64_t last, struct piommu_gather *gather, struct piommu_range *removed,
        uint64_t *unmapped)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_unmap_leaves(table, first, last, gather, removed, unmapped);
    }
    begin(w, UNMAP, first, last, true);
    result = __real_piommu_pgtable_unmap_leaves(table, first, last, gather, removed, unmapped);
    end(w, result, false);
    return result;
}

struct invalidation {
    struct watch *w;
    piommu_pgtable_invalidate function;
    void *cookie;
};

static int watched_invalidate(void *cookie, const struct piommu_range *range)
{
    struct invalidation *invalidation = cookie;
    struct watch *w = invalidation->w;
    int result;

    /* Hardware is told to forget what it cannot find any more. */
    check_arrived(w);
    CHECK(w->call.ends[0].fault != PIOMMU_WALKER_FAULT_NONE || range->first <= w->call.whole.first);
    CHECK(w->call.ends[1].fault != PIOMMU_WALKER_FAULT_NONE || range->last >= w->call.whole.last);
    for (uint64_t i = 0; i < 2; i++) {
        fill_tlb(w, i == 0 ? w->call.first : w->call.last);
    }
    result = invalidation->function(invalidation->cookie, range);
    /* After a failure nothing comes back. */
    w->call.invalidated = true;
    return result;
}

WRAPPED(int, piommu_pgtable_unmap_cut, struct piommu_pgtable *table, uint64_t iova, uint64_t size,
        piommu_pgtable_invalidate invalidate, void *cookie, struct piommu_gather *gather,
        uint64_t *unmapped)
{
    struct watch *w = watching(table);
    struct invalidation invalidation = {.w = w, .function = invalidate, .cookie = cookie};
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_unmap_cut(table, iova, size, invalidate, cookie, gather,
                                               unmapped);
    }
    begin(w, CUT, iova, iova + (size - 1), true);
    result = __real_piommu_pgtable_unmap_cut(table, iova, size, watched_invalidate, &invalidation,
                                             gather, unmapped);
    end(w, result, true);
    return result;
}

WRAPPED(int, piommu_pgtable_protect, struct piommu_pgtable *table, uint64_t iova, uint64_t size,
        piommu_prot prot, struct piommu_gather *gather, uint64_t *changed)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_protect(table, iova, size, prot, gather, changed);
    }
    begin(w, PROTECT, iova, iova + (size - 1), false);
    result = __real_piommu_pgtable_protect(table, iova, size, prot, gather, changed);
    end(w, result, true);
    return result;
}

WRAPPED(int, piommu_pgtable_protect_some, struct piommu_pgtable *table, uint64_t iova,
        uint64_t size, piommu_prot prot, uint32_t budget, struct piommu_gather *gather,
        struct piommu_pgtable_cursor *cursor)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_protect_some(table, iova, size, prot, budget, gather, cursor);
    }
    begin(w, PROTECT, iova, iova + (size - 1), false);
    result = __real_piommu_pgtable_protect_some(table, iova, size, prot, budget, gather, cursor);
    end(w, result == -PIOMMU_ENOENT ? -PIOMMU_EAGAIN : result, true);
    return result;
}

WRAPPED(void, piommu_pgtable_detach_empty, struct piommu_pgtable *table,
        struct piommu_gather *gather)
{
    struct watch *w = watching(table);

    if (w != NULL) {
        begin(w, DETACH, 1, 0, false);
    }
    __real_piommu_pgtable_detach_empty(table, gather);
    if (w != NULL) {
        end(w, 0, true);
    }
}

WRAPPED(void, piommu_pgtable_trim, struct piommu_pgtable *table, struct piommu_gather *gather)
{
    struct watch *w = watching(table);

    if (w != NULL) {
        begin(w, DETACH, 1, 0, false);
    }
    __real_piommu_pgtable_trim(table, gather);
    if (w != NULL) {
        end(w, 0, true);
    }
}

/* The tables that this gather can have. If they were moved, their range stayed behind. */
static void note_release(struct watch *w, const struct piommu_gather *gather)
{
    for (size_t i = 0; i < HOST_PAGES; i++) {
        struct piece *piece = w->by_page[i];

        if (piece != NULL && piece->detached) {
            uint64_t first = piece->places[CPU].input;
            uint64_t last = first + (piece->words * span_of(w, piece->places[CPU].level) - 1);

            piece->detached =
                gather->pending && !is_in(first, last, gather->range.first, gather->range.last);
        }
    }
}

WRAPPED(void, piommu_pgtable_release, struct piommu_pgtable *table, struct piommu_gather *gather)
{
    struct watch *w = watching(table);

    if (w != NULL) {
        begin(w, RELEASE, 1, 0, false);
        if (gather->tables != NULL) {
            note_release(w, gather);
        }
    }
    __real_piommu_pgtable_release(table, gather);
    if (w != NULL) {
        end(w, 0, false);
    }
}

static int begin_track(struct watch *w, bool on)
{
    begin(w, TRACK, w->h->rules.aperture.first, w->h->rules.aperture.last, true);
    if ((w->h->rules.config.flags & PIOMMU_PGTABLE_DIRTY) != 0) {
        w->tracking = on;
    }
    return 0;
}

WRAPPED(int, piommu_pgtable_track_dirty, struct piommu_pgtable *table, bool on,
        struct piommu_gather *gather)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_track_dirty(table, on, gather);
    }
    begin_track(w, on);
    result = __real_piommu_pgtable_track_dirty(table, on, gather);
    end(w, result, result == 0);
    return result;
}

WRAPPED(int, piommu_pgtable_track_dirty_some, struct piommu_pgtable *table, bool on,
        uint32_t budget, struct piommu_gather *gather, struct piommu_pgtable_cursor *cursor)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_track_dirty_some(table, on, budget, gather, cursor);
    }
    begin_track(w, on);
    result = __real_piommu_pgtable_track_dirty_some(table, on, budget, gather, cursor);
    end(w, result, result == 0);
    return result;
}

WRAPPED(int, piommu_pgtable_read_dirty, struct piommu_pgtable *table, uint64_t iova, uint64_t size,
        uint64_t unit, uint8_t *bitmap, bool clear, struct piommu_gather *gather, uint64_t *dirty)
{
    struct watch *w = watching(table);
    int result;

    if (w == NULL) {
        return __real_piommu_pgtable_read_dirty(table, iova, size, unit, bitmap, clear, gather,
                                                dirty);
    }
    begin(w, clear ? TRACK : LOOK, iova, iova + (size - 1), clear);
    result =
        __real_piommu_pgtable_read_dirty(table, iova, size, unit, bitmap, clear, gather, dirty);
    end(w, result, result == 0 && clear);
    return result;
}

/* ---- Opening and closing ---- */

static struct instrumented_hooks hooks = {.before = on_access, .after_store = on_store};

WRAPPED(struct pgtable_host *, host_open, const struct piommu_pgtable_config *config,
        const struct pgtable_host_options *options)
{
    struct pgtable_host *h = __real_host_open(config, options);
    static const uint8_t rates[] = {0, 8, 128, 255};
    struct watch *w;
    struct piece *root;

    if (h == NULL) {
        return NULL;
    }
    w = calloc(1, sizeof(*w));
    CHECK(watch == NULL);
    w->h = h;
    w->coherent = config->coherent_walk;
    w->is_disjoint = (config->flags & PIOMMU_PGTABLE_DISJOINT) != 0;
    w->has_groups = h->rules.contiguous_sizes != 0;
    w->random = base_seed + config->input_bits * 1000003u + config->flags * 10007u +
                config->granule + options->placement;
    w->leak_rate = rates[choose(w, 4)];
    w->late_rate = rates[choose(w, 4)];
    w->below = h->below;
    h->below.dma_alloc = below_dma_alloc;
    h->below.dma_free = below_dma_free;
    h->below.cache_clean = below_cache_clean;
    h->below.barrier = below_barrier;
    w->exchange = h->memory.compare_exchange64;
    if (w->exchange != NULL) {
        h->memory.compare_exchange64 = noting_exchange64;
    }
    CHECK(h->piece_count == 1);
    root = add_piece(w, h->pieces[0]->physical,
                     fake_os_pointer(h->os, h->pieces[0]->physical - h->offset, 8),
                     h->rules.root_size);
    root->places[CPU] = (struct place){
        .linked = true, .level = h->rules.start_level, .input = h->rules.aperture.first};
    if (!w->coherent) {
        root->places[HARDWARE] = root->places[CPU];
        h->memory.read64 = visible_read64;
    }
    watch = w;
    hooks.ctx = w;
    instrumented_set_hooks(&hooks);
    return h;
}

WRAPPED(void, host_close, struct pgtable_host *h, uint32_t budget)
{
    struct watch *w = watch;

    CHECK(w != NULL && w->h == h);
    w->is_torn_down = true;
    __real_host_close(h, budget);
    instrumented_set_hooks(NULL);
    watch = NULL;
    free(w->lines);
    free(w->pending);
    free(w);
}
