/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_PROGRAM_H
#define IPMMU_PROGRAM_H

/*
 * Programs of calls in a world of IPMMU units, made of raw numbers, so that any numbers are a
 * program. Running one compares everything with the plain model, and ends the process at the first
 * difference.
 */

#include "ipmmu_calls.h"

#define IPMMU_PROGRAM_LENGTH 200u

struct ipmmu_operation {
    uint16_t kind; /* an enum of the implementation, modulo how many there are */
    uint16_t raw[IPMMU_CALL_NUMBERS];
};

struct ipmmu_program {
    uint16_t config[IPMMU_WORLD_NUMBERS];
    size_t length;
    struct ipmmu_operation operations[IPMMU_PROGRAM_LENGTH];
};

/* Chooses a configuration, and operations with weights; the first ones make something to use. */
void ipmmu_program_generate(struct ipmmu_program *program, uint64_t seed, size_t length);

void ipmmu_program_run(const struct ipmmu_program *program, bool verbose);

#endif
