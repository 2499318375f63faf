/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "pgtable_calls.h"

#include <stdlib.h>

struct pgtable_run *run_open(const struct piommu_pgtable_config *config,
                             const struct pgtable_host_options *options, uint64_t seed)
{
    struct pgtable_run *run;
    struct pgtable_host *h = host_open(config, options);

    if (h == NULL) {
        return NULL;
    }
    run = calloc(1, sizeof(*run));
    run->h = h;
    run->rules = &h->rules;
    run->predicted = malloc(CALLS_LEAVES_PER_MAP * sizeof(*run->predicted));
    run->alternative = malloc(CALLS_LEAVES_PER_MAP * sizeof(*run->alternative));
    model_init(&run->m, h, seed);
    for (unsigned int i = 0; i < CALLS_GATHERS; i++) {
        piommu_gather_init(&run->gathers[i]);
    }
    piommu_gather_init(&run->hospital);
    return run;
}

void run_close(struct pgtable_run *run, uint32_t budget)
{
    model_free(&run->m);
    free(run->predicted);
    free(run->alternative);
    host_close(run->h, budget);
    free(run);
}

void note_removed(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    ranges_add(&run->m.removed, OWNER_OF(run->current), first, last);
}

void note_changed(struct pgtable_run *run, uint64_t first, uint64_t last)
{
    ranges_add(&run->m.changed, OWNER_OF(run->current), first, last);
}

bool make_room(struct pgtable_run *run)
{
    if (ranges_full(&run->m.removed) || ranges_full(&run->m.changed) ||
        ranges_full(&run->m.given)) {
        run_sync_all(run);
        return true;
    }
    return false;
}

void forbid(struct pgtable_run *run, unsigned int what)
{
    if (run->planned_count != 0) {
        what |= FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_FREE;
    }
    fake_os_forbid(run->h->os, what);
}

void allow(struct pgtable_run *run)
{
    fake_os_forbid(run->h->os, 0);
}

struct table_count count_tables(struct pgtable_run *run)
{
    struct piommu_pgtable_statistics statistics;

    piommu_pgtable_get_statistics(run->h->table, &statistics);
    return (struct table_count){
        .pieces = run->h->piece_count,
        .spare = statistics.tables_spare,
        .bytes = fake_os_bytes_outstanding(run->h->os),
    };
}

uint64_t tables_taken(struct pgtable_run *run, const struct table_count *before, bool is_complete)
{
    struct table_count after = count_tables(run);

    /*
     * The shim is asked only when the reserve is used up. A call that fails half way gives back
     * what it did not need, to the reserve first.
     */
    CHECK(after.pieces <= before->pieces || after.spare == 0 || !is_complete);
    return after.pieces + before->spare < before->pieces + after.spare
               ? 0
               : after.pieces + before->spare - before->pieces - after.spare;
}

uint64_t slots_of_tables(const struct pgtable_run *run)
{
    return host_table_bytes(run->h) / 8;
}
