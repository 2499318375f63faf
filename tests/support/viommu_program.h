/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_PROGRAM_H
#define VIOMMU_PROGRAM_H

/*
 * What a hostile guest does to the engine of a virtio-iommu, and what a hypervisor does meanwhile,
 * made of raw numbers, so that any numbers are a program. Running one compares everything with the
 * model, and ends the process at the first difference.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIOMMU_PROGRAM_LENGTH  300u
#define VIOMMU_PROGRAM_NUMBERS 6u
#define VIOMMU_PROGRAM_CONFIG  8u

struct viommu_operation {
    uint16_t kind; /* an enum of the implementation, modulo how many there are */
    uint16_t raw[VIOMMU_PROGRAM_NUMBERS];
};

struct viommu_program {
    uint16_t config[VIOMMU_PROGRAM_CONFIG];
    size_t length;
    struct viommu_operation operations[VIOMMU_PROGRAM_LENGTH];
};

/* Any program; `weights` says how often each of the kinds comes, in parts of their sum. */
void viommu_program_fill(struct viommu_program *program, uint64_t seed, size_t length,
                         const unsigned int *weights, unsigned int kinds);
void viommu_program_print(size_t number, const char *name,
                          const struct viommu_operation *operation);

typedef void viommu_program_maker(struct viommu_program *program, uint64_t seed, size_t length);
typedef void viommu_program_runner(const struct viommu_program *program, bool verbose);
/* The main of a random test. */
int viommu_program_main(const char *name, uint64_t steps, viommu_program_maker *generate,
                        viommu_program_runner *run, int argc, char **argv);

void viommu_program_generate(struct viommu_program *program, uint64_t seed, size_t length);

void viommu_program_run(const struct viommu_program *program, bool verbose);

#endif
