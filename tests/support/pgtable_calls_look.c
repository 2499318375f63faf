/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Calls that look and change nothing. */

#include "pgtable_calls.h"

#include <piommu/io-pgtable-inspect.h>

#include <inttypes.h>
#include <string.h>

/* All leaves that reach into a range, one after the other. */
void run_next_leaf(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    const struct pgtable_model *m = &run->m;
    size_t index = model_index(m, first);
    struct piommu_translation translation;
    uint64_t found;

    model_say(m, "    next_leaf from 0x%" PRIx64 " to 0x%" PRIx64 "\n", first, last);
    for (;;) {
        const struct model_leaf *leaf;
        int result = piommu_pgtable_next_leaf(run->h->table, first, last, &found, &translation);

        if (index == m->count || m->leaves[index].first > last) {
            CHECK(result == -PIOMMU_ENOENT);
            return;
        }
        leaf = &m->leaves[index];
        CHECK(result == 0);
        CHECK(found == leaf->first);
        CHECK(translation.physical == leaf->physical);
        CHECK(translation.leaf_size - 1 == leaf->last - leaf->first);
        CHECK(translation.prot == leaf->prot);
        if (leaf->last >= last) {
            return;
        }
        first = leaf->last + 1;
        index++;
    }
}

struct visiting {
    struct pgtable_run *run;
    uint64_t next; /* the mapping begins here or later */
    uint64_t last;
    uint32_t visits_left;
    bool ended;
};

/* The mapping that begins with a leaf, clipped to a range. */
static struct piommu_pgtable_mapping merge(const struct pgtable_model *m, size_t index,
                                           uint64_t first, uint64_t last)
{
    const struct model_leaf *leaf = &m->leaves[index];
    struct piommu_pgtable_mapping mapping = {
        .range = {.first = leaf->first, .last = leaf->last},
        .physical = leaf->physical,
        .prot = leaf->prot,
    };

    if (mapping.range.first < first) {
        mapping.physical += first - mapping.range.first;
        mapping.range.first = first;
    }
    for (index++; index < m->count; index++) {
        leaf = &m->leaves[index];
        if (leaf->first != mapping.range.last + 1 || leaf->prot != mapping.prot ||
            leaf->physical != mapping.physical + (leaf->first - mapping.range.first)) {
            break;
        }
        mapping.range.last = leaf->last;
    }
    if (mapping.range.last > last) {
        mapping.range.last = last;
    }
    return mapping;
}

static bool visit(void *cookie, const struct piommu_pgtable_mapping *mapping)
{
    struct visiting *visiting = cookie;
    struct pgtable_model *m = &visiting->run->m;
    size_t index = model_index(m, visiting->next);
    struct piommu_pgtable_mapping expected;

    CHECK(!visiting->ended);
    CHECK(index < m->count && m->leaves[index].first <= visiting->last);
    expected = merge(m, index, visiting->next, visiting->last);
    CHECK(mapping->range.first == expected.range.first);
    CHECK(mapping->range.last == expected.range.last);
    CHECK(mapping->physical == expected.physical);
    CHECK(mapping->prot == expected.prot);
    if (mapping->range.last == visiting->last) {
        visiting->ended = true;
    }
    visiting->next = mapping->range.last + 1;
    visiting->visits_left--;
    if (visiting->visits_left == 0) {
        visiting->ended = true;
        return false;
    }
    return true;
}

void run_for_each_mapping(struct pgtable_run *run, uint64_t first, uint64_t last, uint32_t visits)
{
    struct visiting visiting = {.run = run, .next = first, .last = last, .visits_left = visits};
    size_t index;
    int result = piommu_pgtable_for_each_mapping(run->h->table, first, last, visit, &visiting);

    model_say(&run->m, "    for_each_mapping from 0x%" PRIx64 " to 0x%" PRIx64 " = %d\n", first,
              last, result);
    if (first > last) {
        CHECK(result == -PIOMMU_EINVAL && visiting.visits_left == visits);
        return;
    }
    CHECK(result == 0);
    index = model_index(&run->m, visiting.next);
    CHECK(visiting.ended || index == run->m.count || run->m.leaves[index].first > last);
}

struct printing {
    uint64_t lines;
};

static void print(void *cookie, const char *line)
{
    struct printing *printing = cookie;
    size_t length = strlen(line);

    CHECK(length <= 159);
    for (size_t i = 0; i < length; i++) {
        CHECK(line[i] >= ' ' && line[i] <= '~');
    }
    printing->lines++;
}

void run_dump(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    struct printing printing = {0};

    piommu_pgtable_dump(run->h->table, first, last, print, &printing);
    model_say(&run->m, "    dump from 0x%" PRIx64 " to 0x%" PRIx64 ": %" PRIu64 " lines\n", first,
              last, printing.lines);
    /* At least what it is, and where the leaves are. */
    CHECK(printing.lines != 0);
}

static void check_read_only(struct pgtable_run *run, struct piommu_pgtable *adopted)
{
    uint64_t iova = run->rules->aperture.first;
    uint64_t size = run->rules->config.granule;
    uint64_t bytes = 0;
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    CHECK(piommu_pgtable_map(adopted, iova, 0, size, PIOMMU_PROT_READ, &bytes) ==
          -PIOMMU_EOPNOTSUPP);
    CHECK(piommu_pgtable_unmap(adopted, iova, size, &gather, &bytes) == -PIOMMU_EOPNOTSUPP);
    CHECK(piommu_pgtable_protect(adopted, iova, size, PIOMMU_PROT_READ, &gather, &bytes) ==
          -PIOMMU_EOPNOTSUPP);
    CHECK(piommu_pgtable_reserve(adopted, 1) == -PIOMMU_EOPNOTSUPP);
    CHECK(!gather.pending);
}

/* Looks at the table as if somebody else had made it. */
void run_adopt(struct pgtable_run *run, uint32_t seed)
{
    struct pgtable_host *h = run->h;
    struct pgtable_model *m = &run->m;
    struct piommu_pgtable *adopted = NULL;
    struct piommu_pgtable_info info;
    uint64_t random = seed;

    if (h->shim.dma_virtual == NULL) {
        return;
    }
    h->is_adopted_use = true;
    CHECK(piommu_pgtable_adopt(h->host, &run->rules->config,
                               fake_os_pointer(h->os, h->info.root_physical - h->offset, 8),
                               h->info.root_physical, &adopted) == 0);
    model_say(m, "    adopt, look, destroy\n");
    piommu_pgtable_get_info(adopted, &info);
    CHECK(info.adopted && info.start_level == h->info.start_level);
    CHECK(info.root_physical == h->info.root_physical);
    for (unsigned int i = 0; i < 8 && m->count != 0; i++) {
        const struct model_leaf *leaf = &m->leaves[pgtable_random(&random) % m->count];
        uint64_t offset = pgtable_random(&random) % (leaf->last - leaf->first + 1);
        struct piommu_translation translation;

        CHECK(piommu_pgtable_lookup(adopted, leaf->first + offset, &translation) == 0);
        CHECK(translation.physical == leaf->physical + offset);
        CHECK(translation.prot == leaf->prot);
    }
    CHECK(piommu_pgtable_verify(adopted, NULL, NULL, NULL) == 0);
    check_read_only(run, adopted);
    piommu_pgtable_destroy(adopted);
    h->is_adopted_use = false;
}

void run_verify_without_memory(struct pgtable_run *run)
{
    uint64_t bytes = fake_os_bytes_outstanding(run->h->os);
    struct piommu_pgtable_report report;
    int result;

    fake_os_fail_call(run->h->os, 1, true);
    result = piommu_pgtable_verify(run->h->table, NULL, NULL, &report);
    fake_os_fail_call(run->h->os, 0, false);
    model_say(&run->m, "    verify without memory = %d\n", result);
    CHECK(result == 0 || result == -PIOMMU_ENOMEM);
    CHECK(fake_os_bytes_outstanding(run->h->os) == bytes);
}
