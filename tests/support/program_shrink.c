/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "program_shrink.h"

#include <stdlib.h>
#include <string.h>

/* Tries without some operations; true if it still fails, and they are gone. */
static bool try_without(const struct shrink_program *program, size_t start, size_t behind)
{
    uint8_t *operations = program->operations;
    size_t size = program->operation_size;
    size_t length = *program->length;
    uint8_t *copy = malloc(length * size);

    memcpy(copy, operations, length * size);
    memmove(operations + start * size, operations + behind * size, (length - behind) * size);
    *program->length = length - (behind - start);
    if (program->fails(program->ctx)) {
        free(copy);
        return true;
    }
    memcpy(operations, copy, length * size);
    *program->length = length;
    free(copy);
    return false;
}

/* Large chunks first, and from the end: what follows the failure goes at once. */
static void delete_operations(const struct shrink_program *program, unsigned int *attempts)
{
    size_t chunk = *program->length / 2;

    while (chunk != 0) {
        bool shorter = false;
        size_t behind = *program->length;

        while (behind != 0 && *attempts != 0) {
            size_t start = behind > chunk ? behind - chunk : 0;

            --*attempts;
            shorter = try_without(program, start, behind) || shorter;
            behind = start;
        }
        if (!shorter || chunk > 1) {
            chunk /= 2;
        }
    }
}

static void simplify(const struct shrink_program *program, uint16_t *numbers, unsigned int count,
                     unsigned int *attempts)
{
    for (unsigned int i = 0; i < count && *attempts != 0; i++) {
        uint16_t before = numbers[i];

        if (before == 0) {
            continue;
        }
        --*attempts;
        numbers[i] = 0;
        if (!program->fails(program->ctx)) {
            numbers[i] = before;
        }
    }
}

void shrink_program(const struct shrink_program *program, unsigned int attempts)
{
    delete_operations(program, &attempts);
    simplify(program, program->config, program->config_count, &attempts);
    for (size_t i = 0; i < *program->length; i++) {
        void *operation = (uint8_t *)program->operations + i * program->operation_size;

        simplify(program, program->numbers(operation), program->number_count, &attempts);
    }
}
