/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef GROUPS_H
#define GROUPS_H

/* The parts of the test. Each prints a line for each kind of table that it has looked at. */

#include "subject.h"

/* Counts what a line of the output is about. */
struct tally {
    const char *name;
    unsigned int tables;
    uint64_t queries_before;
    unsigned int failures_before;
};

/* main.c */
struct tally tally_start(const char *name);
void tally_end(const struct tally *tally);

/* Is there such a table, and does the CPU that runs the test walk it as the architecture says? */
bool configuration_exists(const struct piommu_pgtable_config *config);
bool configuration_is_judged(const struct piommu_pgtable_config *config);

/* configurations.c: every geometry that there is, with a leaf of each size at each end. */
void group_configurations(uint64_t seed);

/* programs.c: random programs of operations. */
void group_programs(uint64_t seed, unsigned int programs);
/* programs.c: the same with tables where only the software walker can follow. */
void group_beyond_ram(uint64_t seed);
/* programs.c: a configuration that exists, of a format. */
void random_configuration(struct random *random, enum piommu_pgtable_format format,
                          struct piommu_pgtable_config *config);

/* execute.c: who may execute what. */
void group_execute(uint64_t seed);

/* regimes.c: tables for both halves at once, and a stage 1 on top of a stage 2. */
void group_regimes(uint64_t seed);

/* dirty.c: dirty tracking. */
void group_dirty(uint64_t seed);

/* descriptors.c: the software walker against the CPU, with descriptors that nobody would make. */
void group_descriptors(uint64_t seed);

#endif
