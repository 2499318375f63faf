/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Writes images for fuzz_ptdump to begin with: `seeds_ptdump FOLDER`. Each is of one format: eight
 * pages in which every eighth word or so is a link to one of them, or a leaf.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SEEDS 16u
#define PAGES 8u
#define WORDS (PAGES * 512u)

static uint32_t state;

static uint32_t next_number(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* A descriptor: most are none. */
static uint64_t next_word(void)
{
    switch (next_number() % 16) {
    case 0:
        return 0x80000003ull + (uint64_t)(next_number() % PAGES) * 4096;
    case 1:
        return 0x40000000ull + (uint64_t)next_number() * 4096 + 0x7c3;
    default:
        return 0;
    }
}

static bool write_seed(const char *folder, unsigned int number)
{
    char path[4096];
    FILE *file;
    bool written = true;

    snprintf(path, sizeof(path), "%s/seed-%u", folder, number);
    file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    state = number;
    for (unsigned int i = 0; i < 8 && written; i++) {
        /* The first byte is the format; the last one says that the first page is the only root. */
        unsigned int byte = i == 0 ? number : i == 7 ? 1 : next_number() & 0x7f;

        written = fputc((int)byte, file) != EOF;
    }
    for (unsigned int i = 0; i < WORDS && written; i++) {
        uint64_t word = next_word();

        for (unsigned int byte = 0; byte < 8 && written; byte++) {
            written = fputc((int)(word >> (8 * byte) & 0xff), file) != EOF;
        }
    }
    return fclose(file) == 0 && written;
}

int main(int argc, char **argv)
{
    for (unsigned int i = 0; i < SEEDS; i++) {
        if (argc != 2 || !write_seed(argv[1], i)) {
            fprintf(stderr, "usage: seeds_ptdump FOLDER\n");
            return 1;
        }
    }
    return 0;
}
