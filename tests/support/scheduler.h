/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SCHEDULER_H
#define SCHEDULER_H

/*
 * Tasks that run beside each other on one thread of the CPU: one gives way to another at certain
 * points only, and who goes on is chosen, not left to chance. So the same choices make the same run
 * again, and all choices of a small case can be tried one after the other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCHEDULER_TASKS       3u
#define SCHEDULER_MOST_POINTS 1024u

enum scheduler_policy {
    SCHEDULER_RANDOM, /* a switch at each point with a certain chance */
    SCHEDULER_FEW,    /* `bound` switches, at points drawn before */
    /*
     * Every way with at most `bound` switches, one after the other; not at the points of a run that
     * come behind the first SCHEDULER_MOST_POINTS.
     */
    SCHEDULER_ALL,
};

struct scheduler_options {
    enum scheduler_policy policy;
    unsigned int chance; /* RANDOM: of 256 */
    unsigned int bound;  /* FEW, ALL: how often a task that could go on has to give way */
    uint64_t seed;
};

struct scheduler;

/* NULL: not with the thread sanitizer, which takes the stacks of tasks for those of threads. */
struct scheduler *scheduler_create(void);
void scheduler_destroy(struct scheduler *s);

/* What the runs from now on do. */
void scheduler_set(struct scheduler *s, const struct scheduler_options *options);
/*
 * Runs tasks 0 to count - 1 to their ends. Returns false after the last run that the policy wants:
 * ALL ends by itself, the others go on for ever.
 */
bool scheduler_run(struct scheduler *s, unsigned int count, void (*run)(void *ctx, unsigned int),
                   void *ctx);
/* To be called by a task: here others may go on. No effect outside of a run. */
void scheduler_point(struct scheduler *s);
/*
 * As scheduler_point, for a task that cannot go on until another one has: that one goes on now, and
 * it counts as no switch. Returns false if there is no other.
 */
bool scheduler_give_way(struct scheduler *s);
/* The task that runs; SCHEDULER_TASKS outside of a run. */
unsigned int scheduler_current(const struct scheduler *s);
/* Prints what it takes to repeat the run in progress, and its switches, on stderr. */
void scheduler_describe(const struct scheduler *s);

#endif
