/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CORE_SCENARIOS_H
#define CORE_SCENARIOS_H

/**
 * @file core_scenarios.h
 * Scenarios of calls to the core, and the exploration of everything that can fail in them: each is
 * run with each call of the shim and of a backend failing that it makes, in each way that the
 * contract of that call leaves open; then with each pair of failures; then with a unit that does
 * not answer at all. After each run the whole state is compared with what the headers promise, and
 * all is taken down, which has to succeed and to leave nothing behind. Meanwhile no device reaches
 * what it reaches neither before nor after the call.
 */

#include "failing_world.h"

#define R        PIOMMU_PROT_READ
#define RW       (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define PAGE     0x1000ull
#define BLOCK    0x200000ull
#define IOVA     0x10000ull /* mapped in A and in B, to different pages */
#define ONLY_A   0x20000ull
#define ONLY_B   0x300000ull
#define LARGE    0x40000000ull /* a block in A */
#define NEW      0x80000000ull
#define MEMORY   0xa00000000ull /* what scenarios map */
#define LARGE_TO 0x980000000ull

/* The domains of most scenarios, and the devices. */
enum { A, B, C, SPARE };
/* The device in the middle of it, one that must not notice, and more. */
enum { DMA, OTHER, THIRD, LATE };

/* In which worlds a scenario makes sense. */
#define TABLES   0x01u
#define REQUESTS 0x02u
#define ONE      0x04u /* unit, or... */
#define TWO      0x08u /* ...several that share the domains */
#define NONE     0x10u /* runs at the beginning */
#define RELATED  0x20u /* two, one the parent of the other, that share their contexts */
#define ALL      (TABLES | REQUESTS | ONE | TWO)

/* What is special about it. */
#define MAY_BLOCK    0x001u  /* -PIOMMU_EBLOCKED is possible */
#define MOVES        0x002u  /* it moves the group of DMA */
#define STEPS        0x004u  /* it goes on where it stopped: what it has done before stays */
#define LATE_ERRORS  0x008u  /* callbacks are told of errors, and the call succeeds */
#define INFALLIBLE   0x010u  /* nothing in it can fail, allocates or waits */
#define SWITCHES     0x020u  /* also where endpoints do not switch domains in one step */
#define IO_UNMAPS    0x040u  /* after -PIOMMU_EIO the state is another one */
#define ANY_RESULT   0x080u  /* it may or may not tell that an instance has failed */
#define BLOCKS_NOW   0x100u  /* units can block endpoints in interrupts */
#define FAMILY       0x200u  /* unit 0 can be the parent of others */
#define MAY_FREE     0x400u  /* infallible, but gives memory back */
#define FAILED_FIRST 0x800u  /* a unit has failed before the call */
#define ALL_FATAL    0x1000u /* whatever a unit refuses, it fails */
#define STOPS        0x2000u /* it succeeds if a unit fails that can be stopped */

#define BLOCKS_THIRD 0x8000u  /* because of a fault, as DMA */
#define BLOCK_WAITS  0x10000u /* DMA is to be blocked because of a fault: any call may do it */
#define MAY_STAY     0x4000u  /* THIRD is there if a unit cannot be stopped */

/* What the mappings, and what units reach that have not failed, are after -PIOMMU_EFAILED. */
enum afterwards { AS_BEFORE, AS_AFTER, ITS_OWN };

/** A call, what comes before it, and what is special. */
struct core_scenario {
    const char *name;
    unsigned int worlds;
    unsigned int special;
    enum afterwards failed;
    void (*setup)(struct failing_world *world);
    int (*call)(struct failing_world *world);
    /* What general rules cannot know. May be NULL. */
    void (*check)(struct failing_world *world, int error);
};

/** What a call must not touch when it fails. */
#define UNTOUCHED core_untouched()
void *core_untouched(void);
/** The result of a call that creates something: NULL after an error. */
void *core_keep(const struct failing_world *world, int error, void *result);
unsigned int core_all_units(const struct failing_world *world);
/** How many IDs DMA has on each unit. */
unsigned int core_id_count(const struct failing_world *world);
unsigned int core_last_unit(const struct failing_world *world);
struct piommu_group *core_group(const struct failing_world *world, unsigned int device);
/** For piommu_context_dump and piommu_domain_dump: takes a line that is as it should be. */
void core_take_line(void *cookie, const char *line);

/** Nothing but units. */
void core_setup_nothing(struct failing_world *world);
/** Two domains that are filled; OTHER is in B. */
void core_setup_domains(struct failing_world *world);
/** The same, and DMA with two IDs on each unit, blocked... */
void core_setup_blocked(struct failing_world *world);
/** ...or in A. */
void core_setup_in_a(struct failing_world *world);

/** Makes a shared domain of an empty stage-2 table, which is the host's own. */
int core_create_shared(struct failing_world *world, struct piommu_domain **domain);

/**
 * Explores scenarios: those whose names contain argv[1], if it is there. For main.
 *
 * Pairs of failures are those of the main ways; PIOMMU_FAILURES in the environment can ask for
 * "all" ways, or for "single" failures.
 */
int core_explore(const struct core_scenario *scenarios, size_t count, int argc, char **argv);

#endif
