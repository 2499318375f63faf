/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef RANDOM_PROGRAMS_H
#define RANDOM_PROGRAMS_H

/*
 * Runs random programs, each in a process of its own, so that a crash or an endless loop is a
 * failure like any other. A program that fails is shortened while it still fails, and printed.
 *
 * Environment: PIOMMU_RANDOM_STEPS, the number of operations in all; PIOMMU_RANDOM_SEED. With a
 * number as argument, that one program of the seed is run, and printed.
 */

#include "program_shrink.h"

struct random_programs {
    const char *name;
    uint64_t default_steps;
    size_t longest; /* operations of a program */
    /* One program, and how to shorten it; `fails` and its `ctx` are filled in here. */
    struct shrink_program shrinking;
    void *program;
    void (*generate)(void *program, uint64_t seed, size_t length);
    /* Ends the process at the first failure. */
    void (*run)(const void *program, bool verbose);
};

/* To be called from main, with its arguments. Returns the status to exit with. */
int random_programs_main(const struct random_programs *programs, int argc, char **argv);

#endif
