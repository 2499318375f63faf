/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What masters do, and the interrupts that come of it. */

#include "board.h"

#include "transcript.h"

/* At most so many reports are taken in at a time. */
#define BUDGET 16u
/* A line that stays up after so many rounds would never fall. */
#define ROUNDS 16u

/* The handler of the root's interrupt, and the task that does what a handler cannot. */
static void take_interrupt(const struct unit *unit)
{
    bool more = false;
    int handled = piommu_instance_interrupt(unit->instance, BUDGET, &more);

    if (handled >= 0 && more) {
        handled = piommu_instance_service(unit->instance, BUDGET);
    }
    must(handled < 0 ? handled : 0, "taking an interrupt");
}

static void take_interrupts(struct board *board)
{
    const struct piommu_ipmmu_model *model = board->port.model;

    for (size_t i = 0; i < board->unit_count; i++) {
        for (unsigned int round = 0; piommu_ipmmu_model_interrupt(model, i); round++) {
            must(round == ROUNDS ? -PIOMMU_EIO : 0, "silencing an interrupt");
            take_interrupt(&board->units[i]);
        }
    }
}

static enum dma transfer(struct board *board, struct master_id id, uint64_t iova, bool write,
                         uint8_t *data)
{
    uint64_t physical;
    uint8_t *byte;

    if (piommu_ipmmu_model_dma(board->port.model, id.unit, id.micro_tlb, iova, write, &physical) ==
        PIOMMU_IPMMU_MODEL_BLOCKED) {
        return DMA_REFUSED;
    }
    byte = memory_byte(board->port.memory, physical);
    if (byte == NULL) {
        return DMA_ASTRAY;
    }
    *(write ? byte : data) = *(write ? data : byte);
    return DMA_DONE;
}

enum dma board_dma(struct board *board, struct master_id id, uint64_t iova, bool write,
                   uint8_t *bytes, size_t size)
{
    enum dma all;

    board_trace_registers(board);
    all = transfer(board, id, iova, write, bytes);
    for (size_t i = 1; i < size; i++) {
        if (transfer(board, id, iova + i, write, &bytes[i]) != all) {
            all = DMA_ASTRAY;
        }
    }
    take_interrupts(board);
    if (!board->shows_faults) {
        piommu_ipmmu_model_forget_recording(board->port.model);
    }
    return all;
}

void board_prefetch(struct board *board, const struct master *master)
{
    for (size_t i = 0; i < master->id_count; i++) {
        piommu_ipmmu_model_prefetch(board->port.model, master->ids[i].unit,
                                    master->ids[i].micro_tlb);
    }
}

static void read_again(void *ctx, const struct piommu_ipmmu_model_access *access)
{
    const struct board *board = ctx;
    const struct master *busy = board->busy;

    (void)access;
    for (size_t i = 0; i < busy->id_count; i++) {
        piommu_ipmmu_model_dma(board->port.model, busy->ids[i].unit, busy->ids[i].micro_tlb,
                               board->busy_iova, false, NULL);
    }
}

void board_keep_busy(struct board *board, const struct master *master, uint64_t iova)
{
    board->busy = master;
    board->busy_iova = iova;
    piommu_ipmmu_model_observe(board->port.model, master != NULL ? read_again : NULL, board);
}
