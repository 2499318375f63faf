/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CORE_PROGRAM_H
#define CORE_PROGRAM_H

/*
 * Programs of calls of the core, made of raw numbers, so that any numbers are a program. Running
 * one compares everything with the model, and ends the process at the first difference.
 */

#include "core_calls.h"

#define CORE_PROGRAM_LENGTH 400u

struct core_operation {
    uint16_t kind; /* an enum of the implementation, modulo how many there are */
    uint16_t raw[CORE_CALL_NUMBERS];
};

struct core_program {
    uint16_t config[CORE_CONFIG_NUMBERS];
    size_t length;
    struct core_operation operations[CORE_PROGRAM_LENGTH];
};

/* Chooses a configuration, and operations with weights; the first ones make something to use. */
void core_program_generate(struct core_program *program, uint64_t seed, size_t length);

void core_program_run(const struct core_program *program, bool verbose);

#endif
