/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "random_programs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM_SECONDS 300u
#define SHRINK_ATTEMPTS 1500u

/* Runs the program in a process of its own; 0 if it passed, else how it ended. */
static int run(const struct random_programs *programs, bool silent, bool verbose)
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
        programs->run(programs->program, verbose);
        exit(0);
    }
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        exit(2);
    }
    return status;
}

struct failure {
    const struct random_programs *programs;
    int status;
};

static bool still_fails(void *ctx)
{
    const struct failure *failure = ctx;

    return run(failure->programs, true, false) == failure->status;
}

static void shrink(const struct random_programs *programs, int status)
{
    struct failure failure = {programs, status};
    struct shrink_program shrinking = programs->shrinking;

    shrinking.fails = still_fails;
    shrinking.ctx = &failure;
    shrink_program(&shrinking, SHRINK_ATTEMPTS);
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

static void generate(const struct random_programs *programs, uint64_t seed, uint64_t number,
                     size_t length)
{
    programs->generate(programs->program, seed * 0x100000001b3ull + number * 0x9e3779b9ull, length);
}

static int run_all(const struct random_programs *programs, uint64_t seed, uint64_t steps)
{
    uint64_t number = 0;

    printf("random %s: PIOMMU_RANDOM_SEED=%" PRIu64 " PIOMMU_RANDOM_STEPS=%" PRIu64 "\n",
           programs->name, seed, steps);
    for (uint64_t done = 0; done < steps; number++) {
        size_t length =
            steps - done < programs->longest ? (size_t)(steps - done) : programs->longest;
        int status;

        generate(programs, seed, number, length);
        status = run(programs, false, false);
        if (status != 0) {
            fprintf(stderr, "program %" PRIu64 " failed; PIOMMU_RANDOM_SEED=%" PRIu64 "\n", number,
                    seed);
            shrink(programs, status);
            fprintf(stderr, "smallest failing program, %zu operations:\n",
                    *programs->shrinking.length);
            run(programs, false, true);
            return 1;
        }
        done += length;
    }
    printf("%" PRIu64 " programs passed\n", number);
    return 0;
}

int random_programs_main(const struct random_programs *programs, int argc, char **argv)
{
    uint64_t seed = number_from_environment("PIOMMU_RANDOM_SEED", 1);

    if (argc > 1) {
        generate(programs, seed, strtoull(argv[1], NULL, 0), programs->longest);
        return run(programs, false, true) != 0 ? 1 : 0;
    }
    return run_all(programs, seed,
                   number_from_environment("PIOMMU_RANDOM_STEPS", programs->default_steps));
}
