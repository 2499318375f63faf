/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PROGRAM_SHRINK_H
#define PROGRAM_SHRINK_H

/*
 * Makes a program that fails shorter as long as it still fails. A program is a list of operations
 * of equal size, each of which means something whatever precedes it, with numbers of which 0 is
 * the simplest.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shrink_program {
    void *operations;
    size_t operation_size;
    size_t *length;
    /* The numbers of an operation. */
    uint16_t *(*numbers)(void *operation);
    unsigned int number_count;
    /* Numbers of its own. */
    uint16_t *config;
    unsigned int config_count;
    /* Runs the program as it is now. */
    bool (*fails)(void *ctx);
    void *ctx;
};

void shrink_program(const struct shrink_program *program, unsigned int attempts);

#endif
