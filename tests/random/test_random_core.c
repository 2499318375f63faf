/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random programs of calls of the core, over mock units of both kinds, against a model written
 * from the headers. Devices try to reach memory after every call of a backend.
 *
 * Each program runs in a process of its own, so that a crash or an endless loop is a failure like
 * any other. A program that fails is shortened while it still fails, and printed as calls.
 *
 * Environment: PIOMMU_RANDOM_STEPS, the number of operations in all; PIOMMU_RANDOM_SEED. With a
 * number as argument, that one program of the seed is run, and printed.
 */

#include "core_program.h"
#include "program_shrink.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_STEPS   1000000u
#define PROGRAM_SECONDS 300u
#define SHRINK_ATTEMPTS 1500u

/* Runs a program in a process of its own; 0 if it passed, else how it ended. */
static int run(const struct core_program *program, bool silent, bool verbose)
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
        core_program_run(program, verbose);
        exit(0);
    }
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    return status;
}

struct failure {
    struct core_program *program;
    int status;
};

static bool still_fails(void *ctx)
{
    const struct failure *failure = ctx;

    return run(failure->program, true, false) == failure->status;
}

static uint16_t *numbers_of(void *operation)
{
    return ((struct core_operation *)operation)->raw;
}

static void shrink(struct core_program *program, int status)
{
    struct failure failure = {program, status};
    const struct shrink_program shrinking = {
        .operations = program->operations,
        .operation_size = sizeof(program->operations[0]),
        .length = &program->length,
        .numbers = numbers_of,
        .number_count = CORE_CALL_NUMBERS,
        .config = program->config,
        .config_count = CORE_CONFIG_NUMBERS,
        .fails = still_fails,
        .ctx = &failure,
    };

    shrink_program(&shrinking, SHRINK_ATTEMPTS);
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

static void generate(struct core_program *program, uint64_t seed, uint64_t number, size_t length)
{
    core_program_generate(program, seed * 0x100000001b3ull + number * 0x9e3779b9ull, length);
}

int main(int argc, char **argv)
{
    uint64_t steps = number_from_environment("PIOMMU_RANDOM_STEPS", DEFAULT_STEPS);
    uint64_t seed = number_from_environment("PIOMMU_RANDOM_SEED", 1);
    struct core_program *program = malloc(sizeof(*program));
    uint64_t number = 0;
    int failed = 0;

    if (argc > 1) {
        generate(program, seed, strtoull(argv[1], NULL, 0), CORE_PROGRAM_LENGTH);
        failed = run(program, false, true);
        free(program);
        return failed != 0 ? 1 : 0;
    }
    printf("random core: PIOMMU_RANDOM_SEED=%" PRIu64 " PIOMMU_RANDOM_STEPS=%" PRIu64 "\n", seed,
           steps);
    for (uint64_t done = 0; done < steps && failed == 0; number++) {
        size_t length =
            steps - done < CORE_PROGRAM_LENGTH ? (size_t)(steps - done) : CORE_PROGRAM_LENGTH;

        generate(program, seed, number, length);
        failed = run(program, false, false);
        if (failed != 0) {
            fprintf(stderr, "program %" PRIu64 " failed; PIOMMU_RANDOM_SEED=%" PRIu64 "\n", number,
                    seed);
            shrink(program, failed);
            fprintf(stderr, "smallest failing program, %zu operations:\n", program->length);
            run(program, false, true);
        }
        done += length;
    }
    if (failed == 0) {
        printf("%" PRIu64 " programs passed\n", number);
    }
    free(program);
    return failed != 0 ? 1 : 0;
}
