/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IOVA_PROGRAM_H
#define IOVA_PROGRAM_H

/*
 * Programs of calls of iova.h, made of raw numbers, so that any numbers are a program. Running one
 * compares each answer with a model that knows exactly what is free, and ends the process at the
 * first difference.
 */

#include "fake_os.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IOVA_PROGRAM_LENGTH  400u
#define IOVA_PROGRAM_CONFIG  6u
#define IOVA_PROGRAM_NUMBERS 7u

struct iova_operation {
    uint16_t kind; /* an enum of the implementation, modulo how many there are */
    uint16_t raw[IOVA_PROGRAM_NUMBERS];
};

struct iova_program {
    uint16_t config[IOVA_PROGRAM_CONFIG];
    size_t length;
    struct iova_operation operations[IOVA_PROGRAM_LENGTH];
};

void iova_program_generate(struct iova_program *program, uint64_t seed, size_t length);
/* From bytes that a fuzzer makes up. */
void iova_program_decode(struct iova_program *program, const uint8_t *bytes, size_t size);
/* Under a fake OS that is used for nothing else; NULL: one is made for it. */
void iova_program_run(const struct iova_program *program, struct fake_os *os, bool verbose);

#endif
