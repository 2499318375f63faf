/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Bytes that a fuzzer makes up are decoded into a space of addresses and a program of calls of
 * iova.h, and judged as the random programs are. With PIOMMU_FUZZ_TALK in the environment the calls
 * are printed.
 */

#include "iova_program.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct iova_program program;
    static struct fake_os *os;

    /* A strict host reserves much memory, and the next program can use what the last one left. */
    if (os == NULL) {
        os = fake_os_create(NULL);
    }
    iova_program_decode(&program, bytes, size);
    iova_program_run(&program, os, getenv("PIOMMU_FUZZ_TALK") != NULL);
    return 0;
}
