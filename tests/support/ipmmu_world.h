/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_WORLD_H
#define IPMMU_WORLD_H

/*
 * IPMMU units with masters and domains for random calls, and beside them a plain model of who was
 * granted what. After each access to a register every master tries addresses: it must get nowhere
 * where it was not granted to go, and wherever it was.
 */

#include "ipmmu_fixture.h"

enum {
    IPMMU_WORLD_UNITS = 5,
    IPMMU_WORLD_PLACES = 12,
    IPMMU_WORLD_DEVICES = 6,
    IPMMU_WORLD_DEVICE_PLACES = 3,
    IPMMU_WORLD_DOMAINS = 5,
    IPMMU_WORLD_SLOTS = 17,
    IPMMU_WORLD_AREAS = 4,
    IPMMU_WORLD_NUMBERS = 8,  /* of its configuration */
    IPMMU_WORLD_FORGOTTEN = 8 /* pieces of memory that nobody may reach any more */
};

struct ipmmu_world_memory {
    bool mapped;
    bool write;
    uint64_t physical;
};

/* Addresses of a domain that are mapped together or not at all. */
struct ipmmu_world_slot {
    struct ipmmu_world_memory now;    /* as the tables say */
    struct ipmmu_world_memory before; /* what may still be reached until the hardware forgets it */
    bool is_changing;                 /* in this call: `now` need not be reached yet */
};

struct ipmmu_world_domain {
    struct piommu_domain *domain; /* NULL: does not exist */
    enum piommu_domain_type type;
    struct piommu_pgtable *table; /* SHARED: the CPU's */
    struct piommu_gather gather;
    unsigned int created_for; /* units, a bit each */
    unsigned int used_by;
    struct ipmmu_world_slot slots[IPMMU_WORLD_SLOTS];
};

struct ipmmu_world_device {
    struct piommu_device *device; /* NULL: was not added */
    unsigned int places;          /* a bit each */
    unsigned int group;           /* a number that all members have */
};

/* By number. */
struct ipmmu_world_group {
    struct ipmmu_world_domain *domain;
    bool is_fault_blocked;
};

/* A micro-TLB, and what its masters are granted. */
struct ipmmu_world_place {
    size_t unit;
    uint32_t micro_tlb;
    bool was_added;                    /* by some device since its unit was started */
    bool is_ours;                      /* some device has it: what it is granted it gets */
    struct ipmmu_world_domain *now;    /* NULL: blocked */
    struct ipmmu_world_domain *before; /* where it was before the call in progress */
    bool is_moving;
    bool is_moving_at_once; /* and is in one of both all the time */
};

enum ipmmu_world_state {
    IPMMU_WORLD_ABSENT,
    IPMMU_WORLD_WAITING,
    IPMMU_WORLD_RUNNING,
    IPMMU_WORLD_SUSPENDED,
};

struct ipmmu_world_unit {
    enum ipmmu_world_state state;
    bool is_guarded; /* isolation is guaranteed */
    bool is_stale;   /* has power and is not in use: its TLBs may hold anything */
};

struct ipmmu_world {
    struct ipmmu_fixture *fixture;
    struct piommu_ipmmu_model_unit units[IPMMU_WORLD_UNITS];
    size_t unit_count;
    struct ipmmu_world_unit states[IPMMU_WORLD_UNITS];
    struct ipmmu_world_place places[IPMMU_WORLD_PLACES];
    size_t place_count;
    struct ipmmu_world_device devices[IPMMU_WORLD_DEVICES];
    struct ipmmu_world_group groups[IPMMU_WORLD_DEVICES];
    struct ipmmu_world_domain domains[IPMMU_WORLD_DOMAINS];
    struct ipmmu_world_memory forgotten[IPMMU_WORLD_FORGOTTEN];
    unsigned int forgotten_count;
    const char *readings;
    bool has_one_context; /* Gen2: masters of a unit cannot be told apart */
    uint32_t forgiven;    /* rules of the model; with one context it changes while it is enabled */
    bool has_cache_units;
    bool has_shared;
    bool leaves_unknown;
    bool passes_when_off; /* a micro-TLB that is switched off */
    bool prefetches_always;
    unsigned int contexts; /* of each root */
    unsigned int usable_contexts;
    uint64_t aperture_last;
    uint64_t next_memory;
    uint32_t random;
    bool verbose;
};

/* Any numbers are a configuration; 0 is the simplest choice of each. */
struct ipmmu_world *ipmmu_world_create(const uint16_t config[IPMMU_WORLD_NUMBERS], bool verbose);
/* Takes everything down, which must be possible. */
void ipmmu_world_destroy(struct ipmmu_world *world);

uint32_t ipmmu_world_random(struct ipmmu_world *world);
/* A line about a call, if there is anyone to read it. */
void ipmmu_world_say(const struct ipmmu_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Ends the process if a call did not return what it had to. */
void ipmmu_world_expect(const struct ipmmu_world *world, const char *call, int error, int expected);

uint64_t ipmmu_world_iova(const struct ipmmu_world *world, unsigned int slot);
uint64_t ipmmu_world_size(unsigned int slot);
/* How many slots follow each other without a hole, from this one on; it is one of them. */
unsigned int ipmmu_world_run(unsigned int slot);
/* Memory that nothing else was mapped to, for these slots. */
uint64_t ipmmu_world_memory(struct ipmmu_world *world, unsigned int slot, unsigned int count);
/* What may be reached no more, when the hardware was made to forget it. */
void ipmmu_world_forget(struct ipmmu_world *world, uint64_t physical);

bool ipmmu_world_is_root(const struct ipmmu_world *world, size_t unit);
/* The group is in the domain and may reach what it grants. */
struct ipmmu_world_domain *ipmmu_world_domain_of(const struct ipmmu_world *world,
                                                 unsigned int group);

/*
 * A call that moves masters: after the model was told how it will be, and before the call; and
 * after it, when how it was counts no more.
 */
void ipmmu_world_begin_moves(struct ipmmu_world *world);
void ipmmu_world_end_moves(struct ipmmu_world *world);

/* Every master tries every address; and all that is granted can be reached. */
void ipmmu_world_probe(struct ipmmu_world *world);
/* What the library and the hardware say of each domain and place is what the plain model says. */
void ipmmu_world_check(struct ipmmu_world *world);

#endif
