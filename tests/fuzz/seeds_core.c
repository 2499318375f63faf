/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Writes programs for fuzz_core to begin with: `seeds_core FOLDER`. Any bytes are a program, so
 * these are random; but each has all objects in place after its first calls more often than not,
 * since the fuzzer is quick at leaving out and slow at putting in.
 *
 * `seeds_core FOLDER patient` writes them for the targets with a hostile device, which takes its
 * bytes from the end: there they are high, so that it lets many turns pass before it does
 * something.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SEEDS  128u
#define LENGTH 900u

static uint64_t state;

static uint8_t next_byte(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint8_t)(state >> 24);
}

static bool write_seed(const char *folder, unsigned int number, bool patient)
{
    char path[4096];
    FILE *file;
    bool written = true;

    snprintf(path, sizeof(path), "%s/seed-%03u", folder, number);
    file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    state = 88172645463325253ull + number;
    /* The first byte says what the units are: all kinds come. */
    written = fputc((int)(number % 128), file) != EOF;
    for (unsigned int i = 1; i < LENGTH && written; i++) {
        unsigned int high = patient && i > LENGTH / 2 && i % 3 == 0 ? 0xe0 : 0;

        written = fputc((int)(next_byte() | high), file) != EOF;
    }
    return fclose(file) == 0 && written;
}

int main(int argc, char **argv)
{
    for (unsigned int i = 0; i < SEEDS; i++) {
        if (argc < 2 || argc > 3 || !write_seed(argv[1], i, argc == 3)) {
            fprintf(stderr, "usage: seeds_core FOLDER [patient]\n");
            return 1;
        }
    }
    return 0;
}
