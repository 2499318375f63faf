/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "threaded_mapper.h"

#include <piommu/error.h>

#include <stdlib.h>
#include <string.h>

#define PAGE        MAPPER_PAGE
#define BLOCK       0x200000ull
#define READ        PIOMMU_PROT_READ
#define READ_WRITE  (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define MEMORY      0x1000000000ull
#define BLOCKS      400u
#define MOST_PIECES 4u
#define SAMPLES     6u

/* A run of pages of a section; the last one is not in it. */
struct run {
    struct mapper_section *section;
    uint32_t begin;
    uint32_t end;
};

static uint32_t choose(struct mapper *m, uint64_t count)
{
    return (uint32_t)(pgtable_random(&m->random) % count);
}

static uint64_t iova_of(const struct mapper_section *section, uint32_t page)
{
    return section->iova + page * PAGE;
}

static uint64_t run_size(const struct run *run)
{
    return (run->end - run->begin) * PAGE;
}

static uint64_t run_iova(const struct run *run)
{
    return iova_of(run->section, run->begin);
}

static uint32_t mapped_in(const struct run *run)
{
    uint32_t count = 0;

    for (uint32_t i = run->begin; i < run->end; i++) {
        count += run->section->pages[i].prot != 0;
    }
    return count;
}

/* Can no leaf reach over the start of this page? */
static bool is_edge(const struct mapper_section *section, uint32_t page)
{
    return page == 0 || page == section->count || section->edges[page] ||
           section->pages[page].prot == 0 || section->pages[page - 1].prot == 0;
}

static struct run any_run(struct mapper *m)
{
    struct mapper_section *section = &m->sections[choose(m, m->section_count)];
    static const uint32_t lengths[] = {4, 8, 40, 200, 1000};
    uint32_t most = lengths[choose(m, sizeof(lengths) / sizeof(lengths[0]))];
    struct run run = {.section = section, .begin = choose(m, section->count)};

    /* All of it, where a block has room. */
    if (choose(m, 5) == 0) {
        return (struct run){.section = section, .begin = 0, .end = section->count};
    }
    if (most > section->count - run.begin) {
        most = section->count - run.begin;
    }
    run.end = run.begin + 1 + choose(m, most);
    return run;
}

/* ---- Looking ---- */

static void look_at(const struct mapper *m, const struct mapper_section *section, uint32_t page,
                    unsigned int eye, bool write)
{
    const struct mapper_page *known = &section->pages[page];
    uint64_t physical = 0;
    bool is_reached = threaded_unit_reaches(m->eye_units[eye], m->eye_ids[eye],
                                            iova_of(section, page) + 16, write, &physical);

    if (known->prot != 0) {
        CHECK(is_reached == (!write || (known->prot & PIOMMU_PROT_WRITE) != 0));
        CHECK(!is_reached || physical == known->physical + 16);
    } else if (known->is_stale) {
        CHECK(!is_reached || physical == known->stale + 16);
    } else {
        CHECK(!is_reached);
    }
}

static void check_page(const struct mapper *m, const struct mapper_section *section, uint32_t page)
{
    for (unsigned int eye = 0; eye < m->eyes; eye++) {
        look_at(m, section, page, eye, false);
        look_at(m, section, page, eye, true);
    }
}

void mapper_check_all(const struct mapper *m)
{
    for (unsigned int i = 0; i < m->section_count; i++) {
        for (uint32_t page = 0; page < m->sections[i].count; page++) {
            check_page(m, &m->sections[i], page);
        }
    }
}

/* The ends of a run, what lies beside it, some of it, and something else. */
static void check_around(struct mapper *m, const struct run *run)
{
    struct run other = any_run(m);

    if (run->begin != 0) {
        check_page(m, run->section, run->begin - 1);
    }
    if (run->end != run->section->count) {
        check_page(m, run->section, run->end);
    }
    check_page(m, run->section, run->begin);
    check_page(m, run->section, run->end - 1);
    for (unsigned int i = 0; i < SAMPLES; i++) {
        check_page(m, run->section, run->begin + choose(m, run->end - run->begin));
    }
    check_page(m, other.section, other.begin);
}

/* ---- What becomes of pages ---- */

static void forget_stale(struct mapper_section *section)
{
    for (uint32_t i = 0; i < section->count; i++) {
        section->pages[i].is_stale = false;
    }
}

static void note_mapped(const struct run *run, uint64_t physical, piommu_prot prot)
{
    struct mapper_section *section = run->section;

    for (uint32_t i = run->begin; i < run->end; i++) {
        CHECK(!section->pages[i].is_stale);
        section->pages[i].physical = physical + (i - run->begin) * PAGE;
        section->pages[i].prot = prot;
        section->edges[i] = i == run->begin;
    }
    section->edges[run->end] = true;
}

static void note_unmapped(const struct run *run, bool is_stale)
{
    for (uint32_t i = run->begin; i < run->end; i++) {
        struct mapper_page *page = &run->section->pages[i];

        if (page->prot != 0) {
            page->is_stale = is_stale;
            page->stale = page->physical;
            page->prot = 0;
        }
    }
}

static void note_protected(const struct run *run, piommu_prot prot)
{
    for (uint32_t i = run->begin; i < run->end; i++) {
        if (run->section->pages[i].prot != 0) {
            run->section->pages[i].prot = prot;
        }
    }
}

/* ---- Sync ---- */

static struct piommu_gather *gather_of(struct mapper *m, struct mapper_section *section)
{
    return m->options.has_one_gather ? &m->gather : &section->gather;
}

static void sync_section(struct mapper *m, struct mapper_section *section)
{
    struct piommu_gather *gather = gather_of(m, section);

    if (!gather->pending) {
        return;
    }
    CHECK(piommu_domain_sync(m->domain, gather) == 0);
    CHECK(!gather->pending);
    for (unsigned int i = 0; i < m->section_count; i++) {
        if (gather_of(m, &m->sections[i]) == gather) {
            forget_stale(&m->sections[i]);
        }
    }
    m->outcomes[MAPPER_SYNCED]++;
}

/*
 * Before something may be mapped. A table that was taken out of an exclusive domain may be needed
 * for any section.
 */
static void settle(struct mapper *m, struct mapper_section *section)
{
    if (m->options.is_disjoint) {
        sync_section(m, section);
        return;
    }
    for (unsigned int i = 0; i < m->section_count; i++) {
        sync_section(m, &m->sections[i]);
    }
}

static void try_sync(struct mapper *m, struct run *run)
{
    sync_section(m, run->section);
}

/* ---- Maps ---- */

/* Memory to which blocks can lead, or pages only. */
static uint64_t any_memory(struct mapper *m, const struct run *run)
{
    uint64_t physical = m->physical + choose(m, BLOCKS) * BLOCK + run_iova(run) % BLOCK;

    return choose(m, 2) == 0 ? physical : physical + PAGE;
}

static piommu_prot any_prot(struct mapper *m)
{
    return choose(m, 3) == 0 ? READ : READ_WRITE;
}

/* A section made of leaves as large as they can be, which calls to come will meet. */
static void try_map_large(struct mapper *m, struct run *run)
{
    struct mapper_section *section = run->section;
    uint64_t physical;

    *run = (struct run){.section = section, .begin = 0, .end = section->count};
    if (mapped_in(run) != 0) {
        CHECK(piommu_domain_unmap(m->domain, run_iova(run), run_size(run), gather_of(m, section),
                                  NULL) == 0);
        note_unmapped(run, true);
    }
    settle(m, section);
    physical = m->physical + choose(m, BLOCKS) * BLOCK + run_iova(run) % BLOCK;
    CHECK(piommu_domain_map(m->domain, run_iova(run), physical, run_size(run), READ_WRITE) == 0);
    note_mapped(run, physical, READ_WRITE);
}

/* Makes the run one of holes; false: there is none in it. */
static bool shrink_to_holes(struct run *run)
{
    const struct mapper_page *pages = run->section->pages;
    uint32_t end;

    while (run->begin < run->end && pages[run->begin].prot != 0) {
        run->begin++;
    }
    end = run->begin;
    while (end < run->end && pages[end].prot == 0) {
        end++;
    }
    run->end = end;
    return run->begin < run->end;
}

static void try_map(struct mapper *m, struct run *run)
{
    uint64_t physical = any_memory(m, run);
    piommu_prot prot = any_prot(m);
    int result;

    settle(m, run->section);
    result = piommu_domain_map(m->domain, run_iova(run), physical, run_size(run), prot);
    if (mapped_in(run) != 0) {
        CHECK(result == -PIOMMU_EEXIST);
        m->outcomes[MAPPER_FOUND_OCCUPIED]++;
        return;
    }
    CHECK(result == 0);
    note_mapped(run, physical, prot);
    m->outcomes[MAPPER_MAPPED]++;
}

static void try_map_list(struct mapper *m, struct run *run)
{
    struct piommu_segment segments[MOST_PIECES];
    struct run piece = *run;
    piommu_prot prot = any_prot(m);
    size_t count = 0;

    if (!shrink_to_holes(run)) {
        return;
    }
    settle(m, run->section);
    for (piece = *run; piece.begin < run->end; piece.begin = piece.end) {
        uint32_t left = run->end - piece.begin;

        piece.end = count == MOST_PIECES - 1 ? run->end : piece.begin + 1 + choose(m, left);
        segments[count++] =
            (struct piommu_segment){.physical = any_memory(m, &piece), .size = run_size(&piece)};
    }
    CHECK(piommu_domain_map_list(m->domain, run_iova(run), segments, count, prot) == 0);
    piece.end = run->begin;
    for (size_t i = 0; i < count; i++) {
        piece.begin = piece.end;
        piece.end = piece.begin + (uint32_t)(segments[i].size / PAGE);
        note_mapped(&piece, segments[i].physical, prot);
    }
    /* Memory may go on from piece to piece, and leaves with it. */
    for (uint32_t i = run->begin + 1; i < run->end; i++) {
        run->section->edges[i] = false;
    }
    m->outcomes[MAPPER_MAPPED_LIST]++;
}

static void try_map_some(struct mapper *m, struct run *run)
{
    struct run left;
    uint64_t physical;
    piommu_prot prot = any_prot(m);
    int result = -PIOMMU_EAGAIN;

    if (!shrink_to_holes(run)) {
        return;
    }
    settle(m, run->section);
    physical = any_memory(m, run);
    left = *run;
    while (result == -PIOMMU_EAGAIN) {
        struct run portion = left;
        uint64_t mapped = 0;

        result = piommu_domain_map_some(m->domain, run_iova(&left), physical, run_size(&left), prot,
                                        choose(m, 40), &mapped);
        CHECK(result == 0 ? mapped == run_size(&left)
                          : result == -PIOMMU_EAGAIN && mapped != 0 && mapped < run_size(&left));
        CHECK(mapped % PAGE == 0);
        portion.end = left.begin + (uint32_t)(mapped / PAGE);
        note_mapped(&portion, physical, prot);
        check_page(m, run->section, portion.end - 1);
        left.begin = portion.end;
        physical += mapped;
    }
    m->outcomes[MAPPER_MAPPED_IN_PORTIONS]++;
}

/* Asks for what is mapped at some place of the run, all over the run. */
static void try_map_again(struct mapper *m, struct run *run)
{
    struct mapper_section *section = run->section;
    uint32_t place = run->begin + choose(m, run->end - run->begin);
    piommu_prot prot = section->pages[place].prot;
    uint64_t physical = section->pages[place].physical - (place - run->begin) * PAGE;
    bool fits = true;
    int result;

    if (prot == 0) {
        return;
    }
    for (uint32_t i = run->begin; i < run->end; i++) {
        const struct mapper_page *page = &section->pages[i];

        fits = fits && (page->prot == 0 || (page->prot == prot &&
                                            page->physical == physical + (i - run->begin) * PAGE));
    }
    settle(m, section);
    result = piommu_domain_map_again(m->domain, run_iova(run), physical, run_size(run), prot);
    if (!fits) {
        CHECK(result == -PIOMMU_EEXIST);
        m->outcomes[MAPPER_FOUND_OCCUPIED]++;
        return;
    }
    CHECK(result == 0);
    for (struct run left = *run; shrink_to_holes(&left);
         left = (struct run){.section = section, .begin = left.end, .end = run->end}) {
        note_mapped(&left, physical + (left.begin - run->begin) * PAGE, prot);
    }
    m->outcomes[MAPPER_MAPPED_AGAIN]++;
}

/* ---- Unmaps ---- */

/* True if an exact call has done its work; else it was right not to. */
static bool is_done(struct mapper *m, const struct run *run, int result, uint64_t bytes)
{
    uint32_t count = mapped_in(run);

    if (count == 0) {
        CHECK(result == -PIOMMU_ENOENT);
        m->outcomes[MAPPER_FOUND_NOTHING]++;
        return false;
    }
    if (result == -PIOMMU_ECUT) {
        CHECK(!is_edge(run->section, run->begin) || !is_edge(run->section, run->end));
        m->outcomes[MAPPER_REFUSED_TO_CUT]++;
        return false;
    }
    CHECK(result == 0);
    CHECK(bytes == count * PAGE);
    return true;
}

/* The gather covers what is to be forgotten, and nothing of sections that are not its own. */
static void check_gather(struct mapper *m, struct mapper_section *section)
{
    const struct piommu_gather *gather = gather_of(m, section);
    const struct piommu_range *range = &gather->range;

    CHECK(gather->pending);
    CHECK(m->options.has_one_gather ||
          (range->first >= section->iova && range->last < iova_of(section, section->count)));
    for (uint32_t i = 0; i < section->count; i++) {
        CHECK(!section->pages[i].is_stale || (range->first <= iova_of(section, i) &&
                                              range->last >= iova_of(section, i) + PAGE - 1));
    }
}

static void try_unmap(struct mapper *m, struct run *run)
{
    uint64_t unmapped = 0;
    int result = piommu_domain_unmap(m->domain, run_iova(run), run_size(run),
                                     gather_of(m, run->section), &unmapped);

    if (is_done(m, run, result, unmapped)) {
        note_unmapped(run, true);
        check_gather(m, run->section);
        m->outcomes[MAPPER_UNMAPPED]++;
    }
}

static void widen_to_edges(struct run *run)
{
    while (!is_edge(run->section, run->begin)) {
        run->begin--;
    }
    while (!is_edge(run->section, run->end)) {
        run->end++;
    }
}

static void try_unmap_some(struct mapper *m, struct run *run)
{
    struct run left;
    int result = -PIOMMU_EAGAIN;

    widen_to_edges(run);
    left = *run;
    while (result == -PIOMMU_EAGAIN) {
        struct run portion = left;
        uint64_t done = 0;
        uint64_t unmapped = 0;

        result =
            piommu_domain_unmap_some(m->domain, run_iova(&left), run_size(&left), choose(m, 60),
                                     gather_of(m, run->section), &done, &unmapped);
        CHECK(result == 0 ? done == run_size(&left)
                          : result == -PIOMMU_EAGAIN && done != 0 && done < run_size(&left));
        CHECK(done % PAGE == 0);
        portion.end = left.begin + (uint32_t)(done / PAGE);
        CHECK(unmapped == mapped_in(&portion) * PAGE);
        note_unmapped(&portion, true);
        if (choose(m, 4) == 0) {
            sync_section(m, run->section);
        }
        check_page(m, run->section, portion.end - 1);
        left.begin = portion.end;
    }
    m->outcomes[MAPPER_UNMAPPED_IN_PORTIONS]++;
}

static void try_unmap_leaves(struct mapper *m, struct run *run)
{
    struct mapper_section *section = run->section;
    uint64_t first = run_iova(run) + choose(m, PAGE / 2);
    uint64_t last = run_iova(run) + (run_size(run) - 1) - choose(m, PAGE / 2);
    struct piommu_range removed = {.first = 0, .last = 0};
    struct run wide = *run;
    uint64_t unmapped = 0;
    int result = piommu_domain_unmap_leaves(m->domain, first, last, gather_of(m, section), &removed,
                                            &unmapped);

    if (mapped_in(run) == 0) {
        CHECK(result == -PIOMMU_ENOENT);
        m->outcomes[MAPPER_FOUND_NOTHING]++;
        return;
    }
    CHECK(result == 0);
    CHECK(removed.first >= section->iova && removed.first <= first);
    CHECK(removed.last < iova_of(section, section->count) && removed.last >= last);
    wide.begin = (uint32_t)((removed.first - section->iova) / PAGE);
    wide.end = (uint32_t)((removed.last - section->iova) / PAGE) + 1;
    /* Whole pages, and widened over nothing but leaves that reach into the range. */
    CHECK(section->pages[wide.begin].prot == 0 || removed.first == run_iova(&wide));
    CHECK(section->pages[wide.end - 1].prot == 0 ||
          removed.last == run_iova(&wide) + (run_size(&wide) - 1));
    for (uint32_t i = wide.begin + 1; i <= run->begin; i++) {
        CHECK(!is_edge(section, i));
    }
    for (uint32_t i = run->end; i < wide.end; i++) {
        CHECK(!is_edge(section, i));
    }
    CHECK(unmapped == mapped_in(&wide) * PAGE);
    note_unmapped(&wide, true);
    check_gather(m, section);
    m->outcomes[MAPPER_UNMAPPED_LEAVES]++;
}

/* ---- Changes ---- */

static void try_cut(struct mapper *m, struct run *run)
{
    uint64_t unmapped = 0;
    int result;

    settle(m, run->section);
    result = piommu_domain_unmap_cut(m->domain, run_iova(run), run_size(run), PIOMMU_ALLOW_HOLE,
                                     &unmapped);
    CHECK(result != -PIOMMU_ECUT);
    if (is_done(m, run, result, unmapped)) {
        run->section->edges[run->begin] = true;
        run->section->edges[run->end] = true;
        note_unmapped(run, false);
        m->outcomes[MAPPER_CUT]++;
    }
}

static void try_protect(struct mapper *m, struct run *run)
{
    piommu_prot prot = any_prot(m);
    uint64_t changed = 0;
    int result;

    settle(m, run->section);
    result = piommu_domain_protect(m->domain, run_iova(run), run_size(run), prot, PIOMMU_ALLOW_HOLE,
                                   &changed);
    if (!is_done(m, run, result, changed)) {
        return;
    }
    note_protected(run, prot);
    m->outcomes[MAPPER_PROTECTED]++;
}

static void try_protect_some(struct mapper *m, struct run *run)
{
    struct run left;
    piommu_prot prot = any_prot(m);
    int result = -PIOMMU_EAGAIN;

    settle(m, run->section);
    widen_to_edges(run);
    left = *run;
    while (result == -PIOMMU_EAGAIN) {
        struct run portion = left;
        uint64_t done = 0;
        uint64_t changed = 0;

        result = piommu_domain_protect_some(m->domain, run_iova(&left), run_size(&left), prot,
                                            PIOMMU_ALLOW_HOLE, choose(m, 60), &done, &changed);
        CHECK(result == 0 ? done == run_size(&left)
                          : result == -PIOMMU_EAGAIN && done != 0 && done < run_size(&left));
        CHECK(done % PAGE == 0);
        portion.end = left.begin + (uint32_t)(done / PAGE);
        CHECK(changed == mapped_in(&portion) * PAGE);
        note_protected(&portion, prot);
        check_page(m, run->section, portion.end - 1);
        left.begin = portion.end;
    }
    m->outcomes[MAPPER_PROTECTED_IN_PORTIONS]++;
}

static void try_replace(struct mapper *m, struct run *run)
{
    struct mapper_section *section = run->section;
    uint64_t physical = any_memory(m, run);
    piommu_prot prot = any_prot(m);
    bool is_first_kept = false;
    bool is_last_kept = false;
    bool was_edge[2] = {is_edge(section, run->begin), is_edge(section, run->end)};
    uint64_t replaced = 0;
    uint64_t otherwise = 0;

    /* Not by range. */
    if (m->options.is_disjoint) {
        return;
    }
    for (uint32_t i = run->begin; i < run->end; i++) {
        const struct mapper_page *page = &section->pages[i];
        bool is_same = page->prot == prot && page->physical == physical + (i - run->begin) * PAGE;

        otherwise += page->prot != 0 && !is_same ? PAGE : 0;
        is_first_kept = i == run->begin ? is_same : is_first_kept;
        is_last_kept = is_same;
    }
    settle(m, section);
    CHECK(piommu_domain_replace(m->domain, run_iova(run), physical, run_size(run), prot,
                                PIOMMU_ALLOW_HOLE, &replaced) == 0);
    CHECK(replaced == otherwise);
    note_mapped(run, physical, prot);
    section->edges[run->begin] = was_edge[0] || !is_first_kept;
    section->edges[run->end] = was_edge[1] || !is_last_kept;
    m->outcomes[MAPPER_REPLACED]++;
}

/* ---- Looking through the library ---- */

static void try_lookup(struct mapper *m, struct run *run)
{
    const struct mapper_page *page = &run->section->pages[run->begin];
    struct piommu_translation translation = {.physical = 1};
    uint64_t offset = choose(m, PAGE);
    int result = piommu_domain_lookup(m->domain, run_iova(run) + offset, &translation);

    CHECK(result == (page->prot != 0 ? 0 : -PIOMMU_ENOENT));
    if (result == 0) {
        CHECK(translation.physical == page->physical + offset);
        CHECK((translation.prot & PIOMMU_PROT_ACCESS) == page->prot);
        CHECK(translation.leaf_size >= PAGE);
    }
    m->outcomes[MAPPER_LOOKED_UP]++;
}

static void try_next(struct mapper *m, struct run *run)
{
    const struct mapper_section *section = run->section;
    uint64_t first = run_iova(run);
    uint64_t last = first + (run_size(run) - 1);

    for (uint32_t page = run->begin; page < run->end;) {
        struct piommu_translation translation;
        uint64_t found = 0;
        int result = piommu_domain_next(m->domain, first, last, &found, &translation);

        while (page < run->end && section->pages[page].prot == 0) {
            page++;
        }
        CHECK(result == (page < run->end ? 0 : -PIOMMU_ENOENT));
        if (result != 0) {
            return;
        }
        CHECK(found >= section->iova && found <= iova_of(section, page));
        CHECK(found + (translation.leaf_size - 1) >= iova_of(section, page));
        CHECK(found + (translation.leaf_size - 1) < iova_of(section, section->count));
        CHECK(translation.physical == section->pages[(found - section->iova) / PAGE].physical);
        m->outcomes[MAPPER_WENT_ON]++;
        first = found + translation.leaf_size;
        page = (uint32_t)((first - section->iova) / PAGE);
    }
}

static void try_invalidate(struct mapper *m, struct run *run)
{
    if (!m->options.takes_requests) {
        CHECK(piommu_domain_invalidate(m->domain, run_iova(run),
                                       run_iova(run) + (run_size(run) - 1)) == 0);
        m->outcomes[MAPPER_INVALIDATED]++;
    }
}

/* ---- For the test ---- */

void mapper_init(struct mapper *m, struct piommu_domain *domain,
                 const struct mapper_options *options, unsigned int number, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    m->domain = domain;
    m->options = *options;
    m->physical = MEMORY + ((uint64_t)number << 30);
    m->random = seed * 1000 + number;
    piommu_gather_init(&m->gather);
}

void mapper_add_section(struct mapper *m, uint64_t iova, uint32_t pages)
{
    struct mapper_section *section = &m->sections[m->section_count++];

    CHECK(m->section_count <= MAPPER_SECTIONS);
    section->iova = iova;
    section->count = pages;
    section->pages = calloc(pages, sizeof(*section->pages));
    section->edges = calloc(pages + 1, sizeof(*section->edges));
    CHECK(section->pages != NULL && section->edges != NULL);
    piommu_gather_init(&section->gather);
}

void mapper_add_eye(struct mapper *m, struct threaded_unit *unit, uint32_t id)
{
    CHECK(m->eyes < MAPPER_EYES);
    m->eye_units[m->eyes] = unit;
    m->eye_ids[m->eyes] = id;
    m->eyes++;
}

void mapper_step(struct mapper *m)
{
    static void (*const tries[])(struct mapper * m, struct run * run) = {
        try_map_large, try_map,    try_map,   try_map_list,   try_map_some,
        try_map_again, try_unmap,  try_unmap, try_unmap_some, try_unmap_leaves,
        try_sync,      try_sync,   try_cut,   try_protect,    try_protect_some,
        try_replace,   try_lookup, try_next,  try_invalidate};
    struct run run = any_run(m);

    tries[choose(m, sizeof(tries) / sizeof(tries[0]))](m, &run);
    if (run.begin < run.end) {
        check_around(m, &run);
    }
}

uint64_t mapper_bytes(const struct mapper *m)
{
    uint64_t bytes = 0;

    for (unsigned int i = 0; i < m->section_count; i++) {
        for (uint32_t page = 0; page < m->sections[i].count; page++) {
            bytes += m->sections[i].pages[page].prot != 0 ? PAGE : 0;
        }
    }
    return bytes;
}

void mapper_clear(struct mapper *m)
{
    for (unsigned int i = 0; i < m->section_count; i++) {
        struct mapper_section *section = &m->sections[i];
        struct run all = {.section = section, .begin = 0, .end = section->count};

        if (mapped_in(&all) != 0) {
            uint64_t unmapped = 0;

            CHECK(piommu_domain_unmap(m->domain, section->iova, run_size(&all),
                                      gather_of(m, section), &unmapped) == 0);
            CHECK(unmapped == mapped_in(&all) * PAGE);
            note_unmapped(&all, true);
        }
        sync_section(m, section);
    }
    mapper_check_all(m);
}

void mapper_close(struct mapper *m)
{
    for (unsigned int i = 0; i < m->section_count; i++) {
        free(m->sections[i].pages);
        free(m->sections[i].edges);
    }
    m->section_count = 0;
}
