/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef GUESTS_H
#define GUESTS_H

/*
 * The guests: each has memory of its own, which all of them see at the same addresses, a domain
 * that grants its devices the same, and groups of devices. What devices reach is judged by what
 * happens to memory, not by what the library says.
 */

#include "board.h"

enum { GUEST_A, GUEST_B, GUEST_C, GUESTS };

#define NO_GUEST SIZE_MAX

/* A piece of a guest's memory. */
enum bank { BANK_ROM, BANK_RAM, BANK_HIGH, BANKS };

struct guest {
    const char *name;
    enum region region;
    struct piommu_domain *domain;
    struct piommu_pgtable *table; /* the CPU's stage 2, if devices share it; else NULL */
    bool has[BANKS];
};

/* Devices that the hardware cannot tell apart. */
struct group {
    struct piommu_group *group;
    size_t guest;
    size_t first; /* its first master */
    size_t count; /* how many masters */
};

struct demo {
    struct board board;
    struct guest guests[GUESTS];
    struct group groups[BOARD_MAX_MASTERS];
    size_t group_count;
};

/* Guests have no domain yet; their names and memory are known. */
void demo_begin(struct demo *demo);
/* Notes what groups the library has made of the masters. */
void demo_find_groups(struct demo *demo);

/* A domain for a guest, with all banks mapped. */
void guest_create(struct demo *demo, size_t guest);
/* The same, with a domain that has devices use the CPU's own table; stage 2 only. */
void guest_create_shared(struct demo *demo, size_t guest);
void guest_destroy(struct demo *demo, size_t guest);

/* Where a guest's memory is for it and its devices. */
uint64_t bank_address(const struct demo *demo, enum bank bank);
uint64_t bank_size(enum bank bank);
uint64_t bank_physical(const struct guest *guest, enum bank bank);

/* Gives a guest a bank, or takes it away; devices have forgotten it when guest_sync has ended. */
int guest_map(struct demo *demo, size_t guest, enum bank bank);
int guest_unmap(struct demo *demo, size_t guest, enum bank bank, struct piommu_gather *gather);
int guest_sync(struct demo *demo, size_t guest, struct piommu_gather *gather);

/* Moves a group; NO_GUEST blocks it. */
int group_move(struct demo *demo, size_t group, size_t guest);

/* Does a master have its guest's memory, all banks of it, and nothing else? */
bool master_has_guest(struct demo *demo, const struct master *master);
/* Does it reach nothing at all? */
bool master_has_nothing(struct demo *demo, const struct master *master);
/* Can it write to this memory at this address? Can it neither read nor write there? */
bool master_writes(struct demo *demo, const struct master *master, uint64_t iova,
                   uint64_t physical);
bool master_is_refused(struct demo *demo, const struct master *master, uint64_t iova);

#endif
