/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DMA_PROGRAM_H
#define DMA_PROGRAM_H

/*
 * Programs of calls of the DMA API, made of raw numbers, so that any numbers are a program. Running
 * one compares everything with the plain model, and ends the process at the first difference.
 */

#include "dma_calls.h"

#define DMA_PROGRAM_LENGTH 200u

struct dma_operation {
    uint16_t kind; /* an enum of the implementation, modulo how many there are */
    uint16_t raw[DMA_CALL_NUMBERS];
};

struct dma_program {
    uint16_t config[DMA_WORLD_NUMBERS];
    size_t length;
    struct dma_operation operations[DMA_PROGRAM_LENGTH];
};

/* Chooses a configuration, and operations with weights. */
void dma_program_generate(struct dma_program *program, uint64_t seed, size_t length);

void dma_program_run(const struct dma_program *program, bool verbose);

#endif
