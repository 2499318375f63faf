/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls of io-pgtable.h, in all configurations, against a plain list of what
 * should be mapped, the independent walker and a TLB that forgets nothing by itself.
 *
 * Each program runs in a process of its own, so that a crash or an endless loop is a failure like
 * any other. A program that fails is shortened while it still fails, and printed as calls.
 *
 * Environment: PIOMMU_RANDOM_STEPS, the number of operations in all; PIOMMU_RANDOM_SEED;
 * PIOMMU_RANDOM_CORPUS, a folder: the programs are written there, for the fuzzer, and not run.
 * With a file as argument, that one program is run and printed: for what the fuzzer has found.
 */

#include "pgtable_program.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Programs made of this file may have others. */
#ifndef DEFAULT_STEPS
#define DEFAULT_STEPS 500000u
#endif
#define PROGRAM_SECONDS 300u
#define SHRINK_ATTEMPTS 1500u

static const struct program_options quiet = {.verbose = false};
static const struct program_options talking = {.verbose = true};

/* Runs a program in a process of its own; true if it failed. */
static bool fails(const struct pgtable_program *program, bool silent, bool verbose)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        if (silent) {
            int nowhere = open("/dev/null", O_WRONLY);

            dup2(nowhere, STDOUT_FILENO);
            dup2(nowhere, STDERR_FILENO);
        }
        alarm(PROGRAM_SECONDS);
        program_run(program, verbose ? &talking : &quiet);
        exit(0);
    }
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Deletes chunks of operations, large ones first, as long as what is left still fails. */
static void delete_operations(struct pgtable_program *program, struct pgtable_program *candidate,
                              unsigned int *attempts)
{
    size_t chunk = program->length / 2;

    while (chunk != 0) {
        bool shorter = false;
        size_t behind = program->length;

        /* From the end: what follows the failure goes at once. */
        while (behind != 0 && *attempts < SHRINK_ATTEMPTS) {
            size_t start = behind > chunk ? behind - chunk : 0;

            *candidate = *program;
            memmove(&candidate->operations[start], &candidate->operations[behind],
                    (program->length - behind) * sizeof(struct program_operation));
            candidate->length -= behind - start;
            ++*attempts;
            if (fails(candidate, true, false)) {
                *program = *candidate;
                shorter = true;
            }
            behind = start;
        }
        if (!shorter || chunk > 1) {
            chunk /= 2;
        }
    }
}

/* Turns numbers of what is left into 0, the simplest meaning of most. */
static void simplify_numbers(struct pgtable_program *program, struct pgtable_program *candidate,
                             unsigned int *attempts)
{
    size_t count = program->length < 12 ? program->length : 12;

    for (size_t i = 0; i < count; i++) {
        for (unsigned int j = 0; j < PROGRAM_NUMBERS && *attempts < SHRINK_ATTEMPTS; j++) {
            if (program->operations[i].raw[j] != 0) {
                *candidate = *program;
                candidate->operations[i].raw[j] = 0;
                ++*attempts;
                if (fails(candidate, true, false)) {
                    *program = *candidate;
                }
            }
        }
    }
}

static void shrink(struct pgtable_program *program)
{
    struct pgtable_program *candidate = malloc(sizeof(*candidate));
    unsigned int attempts = 0;

    delete_operations(program, candidate, &attempts);
    simplify_numbers(program, candidate, &attempts);
    free(candidate);
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

static void write_program(const struct pgtable_program *program, const char *folder,
                          uint64_t number)
{
    static uint8_t bytes[PROGRAM_HEAD_BYTES + PROGRAM_LENGTH * PROGRAM_OPERATION_BYTES];
    size_t size = program_encode(program, bytes, sizeof(bytes));
    char name[1024];
    FILE *file;

    snprintf(name, sizeof(name), "%s/random-%" PRIu64, folder, number);
    file = fopen(name, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(name);
        exit(2);
    }
}

static int run_file(const char *name, struct pgtable_program *program)
{
    static uint8_t bytes[PROGRAM_HEAD_BYTES + PROGRAM_LENGTH * PROGRAM_OPERATION_BYTES];
    FILE *file = fopen(name, "rb");

    if (file == NULL) {
        perror(name);
        return 2;
    }
    program_decode(program, bytes, fread(bytes, 1, sizeof(bytes), file));
    fclose(file);
    return fails(program, false, true) ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t steps = number_from_environment("PIOMMU_RANDOM_STEPS", DEFAULT_STEPS);
    uint64_t seed = number_from_environment("PIOMMU_RANDOM_SEED", 1);
    const char *corpus = getenv("PIOMMU_RANDOM_CORPUS");
    struct pgtable_program *program = malloc(sizeof(*program));
    uint64_t number = 0;

    if (argc > 1) {
        int status = run_file(argv[1], program);

        free(program);
        return status;
    }
    printf("random io-pgtable: PIOMMU_RANDOM_SEED=%" PRIu64 " PIOMMU_RANDOM_STEPS=%" PRIu64 "\n",
           seed, steps);
    for (uint64_t done = 0; done < steps; number++) {
        size_t length = steps - done < PROGRAM_LENGTH ? (size_t)(steps - done) : PROGRAM_LENGTH;

        program_generate(program, seed * 0x100000001b3ull + number * 0x9e3779b9ull, length);
        if (corpus != NULL) {
            write_program(program, corpus, number);
        } else if (fails(program, false, false)) {
            fprintf(stderr, "program %" PRIu64 " failed; PIOMMU_RANDOM_SEED=%" PRIu64 "\n", number,
                    seed);
            shrink(program);
            fprintf(stderr, "smallest failing program, %zu operations:\n", program->length);
            fails(program, false, true);
            free(program);
            return 1;
        }
        done += length;
    }
    printf("%" PRIu64 " programs passed\n", number);
    free(program);
    return 0;
}
