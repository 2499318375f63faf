/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Bytes that a fuzzer makes up are decoded into a configuration and a program of calls of
 * io-pgtable.h, and judged as the random programs are. What it finds can be printed as calls by
 * `random_io_pgtable FILE`.
 */

#include "fake_os.h"
#include "pgtable_program.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct pgtable_program program;
    static struct program_options options;

    /* A strict host reserves much memory, and the next program can use what the last one left. */
    for (unsigned int i = 0; i < 4 && options.hosts[i / 2][i % 2] == NULL; i++) {
        struct fake_os_options host = {
            .scattered = i / 2 == 1, .non_coherent = i % 2 == 1, .seed = 7};

        options.hosts[i / 2][i % 2] = fake_os_create(&host);
    }
    program_decode(&program, bytes, size);
    program_run(&program, &options);
    return 0;
}
