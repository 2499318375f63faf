/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PGTABLE_PROGRAM_H
#define PGTABLE_PROGRAM_H

/*
 * Programs of calls of io-pgtable.h, made of raw numbers, so that any numbers are a program and an
 * operation means something whatever precedes it: random generators, a fuzzer and a shrinker can
 * all work on them. Running one compares everything with the model, and ends the process by abort()
 * at the first difference.
 */

#include "pgtable_rules.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM_LENGTH  400u
#define PROGRAM_NUMBERS 8u
/* What program_decode() reads: the configuration, and each operation. */
#define PROGRAM_HEAD_BYTES      (2 * RULES_CONFIG_NUMBERS)
#define PROGRAM_OPERATION_BYTES (1 + 2 * PROGRAM_NUMBERS)

struct program_operation {
    uint8_t kind; /* an enum of the implementation, modulo how many there are */
    uint16_t raw[PROGRAM_NUMBERS];
};

struct pgtable_program {
    uint16_t config[RULES_CONFIG_NUMBERS];
    size_t length;
    struct program_operation operations[PROGRAM_LENGTH];
};

struct fake_os;

struct program_options {
    bool verbose; /* print every call on stderr */
    /*
     * A strict host for each kind, to save the time of making them: [scattered][non-coherent].
     * NULL: each run makes its own.
     */
    struct fake_os *hosts[2][2];
};

/* Chooses configuration and operations at random, the latter with weights. */
void program_generate(struct pgtable_program *program, uint64_t seed, size_t length);
/* Any bytes are a program; what is left over at the end is ignored. */
void program_decode(struct pgtable_program *program, const uint8_t *bytes, size_t size);
/* The reverse: returns the number of bytes, at most `room`. */
size_t program_encode(const struct pgtable_program *program, uint8_t *bytes, size_t room);

void program_run(const struct pgtable_program *program, const struct program_options *options);

#endif
