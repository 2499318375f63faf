/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What --trace and --tables print. */

#include "board.h"

#include "transcript.h"

#include <inttypes.h>
#include <stdio.h>

/* IMUCTR.TTSEL, the number of the context. */
#define TTSEL_SHIFT 4
#define TTSEL_MASK  0x1fu

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void board_trace_registers(struct board *board)
{
    struct piommu_ipmmu_model *model = board->port.model;
    char line[PIOMMU_IPMMU_MODEL_LINE_SIZE];

    for (size_t i = 0; i < piommu_ipmmu_model_recorded(model); i++) {
        piommu_ipmmu_model_recorded_line(model, i, line);
        note("| %s", line);
    }
    piommu_ipmmu_model_forget_recording(model);
}

void board_trace_event(void *cookie, const struct piommu_event *event)
{
    struct board *board = cookie;
    const char *const of[] = {event->instance_name, event->device_name, event->domain_name};

    if (!board->shows_faults && event->kind == PIOMMU_EVENT_FAULT) {
        return;
    }
    /* An event is told after what it has done to registers. */
    board_trace_registers(board);
    printf("     > %s", piommu_event_name(event->kind));
    for (size_t i = 0; i < COUNT(of); i++) {
        printf("%s%s", of[i] != NULL ? " " : "", of[i] != NULL ? of[i] : "");
    }
    if (event->size != 0) {
        printf(" 0x%" PRIx64 " size 0x%" PRIx64, event->iova, event->size);
    }
    printf("%s%s\n", event->error != 0 ? ": " : "",
           event->error != 0 ? piommu_strerror(event->error) : "");
}

/* The tables are read as a debugger would: from what the registers of the units say. */
void board_print_tables(struct board *board, const struct master *master)
{
    const struct piommu_ipmmu_model *model = board->port.model;
    size_t unit = master->ids[0].unit;
    uint32_t control =
        piommu_ipmmu_model_get(model, unit, PIOMMU_IPMMU_MODEL_IMUCTR, master->ids[0].micro_tlb);
    unsigned int context = control >> TTSEL_SHIFT & TTSEL_MASK;
    struct piommu_walker_regime regime;
    struct piommu_pgtable_config config = {.granule = MEMORY_PAGE};
    struct piommu_pgtable_report report;
    struct piommu_pgtable *table;
    int error;

    if (!check(piommu_ipmmu_model_regime(model, board->units[unit].root, context, &regime),
               "%s is on context %u, which is enabled", master->name, context)) {
        return;
    }
    config.format = regime.stage == 2 ? PIOMMU_ARM_64_LPAE_S2 : PIOMMU_ARM_32_LPAE_S1;
    config.flags = regime.stage == 2 ? PIOMMU_PGTABLE_CONCATENATE : PIOMMU_PGTABLE_NON_SECURE;
    config.input_bits = (uint8_t)regime.input_bits;
    config.output_bits = (uint8_t)regime.output_bits;
    must(piommu_pgtable_adopt(port_host(&board->port), &config,
                              memory_tables_virtual(board->port.memory, regime.root), regime.root,
                              &table),
         "looking into tables");
    error = piommu_pgtable_verify(table, NULL, NULL, &report);
    check(error == 0,
          "its tables are sound: %" PRIu64 " below the root, %" PRIu64 " leaves, 0x%" PRIx64
          " bytes",
          report.tables, report.leaves, report.mapped);
    piommu_pgtable_dump(table, 0, UINT64_MAX, note_line, NULL);
    piommu_pgtable_destroy(table);
}
