/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * ipmmu-model: drives a Renesas IPMMU without a board. See README.md beside this file.
 *
 * Exit status: 0: all checks hold; 1: some do not; 2: wrong usage, or a file that cannot be used.
 */

#include "steps.h"
#include "transcript.h"
#include "tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    bool stage1;
    bool tables;
    bool trace;
    bool help;
    const char *forget;
    const char *file;
};

static const char usage[] =
    "usage: ipmmu-model [--stage1] [--tables] [--trace] [--forget clean|sync] [FILE.dtb]\n";

static const char help[] =
    "\n"
    "Drives a Renesas IPMMU with the library, without a board: the units and masters are those of\n"
    "a device tree (an R-Car H3 if no file is named), the registers are a model's. Two guests and\n"
    "what happens to them; each line with PASS or FAIL is a check.\n"
    "\n"
    "  --stage1        tables of stage 1 with 32-bit addresses; else stage 2 with 40 bits\n"
    "  --tables        prints the tables of the guests, as the hardware finds them\n"
    "  --trace         prints each access to a register (|) and each event of the library (>)\n"
    "  --forget clean  a port that cleans no cache, for seeing that the checks notice it\n"
    "  --forget sync   a hypervisor that unmaps and does not sync, likewise\n"
    "  --help          this\n"
    "\n"
    "Exit status: 0: all checks hold; 1: some do not; 2: wrong usage, or a file that cannot be\n"
    "used.\n";

static bool parse(struct options *options, int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        const char *argument = arguments[i];

        if (strcmp(argument, "--stage1") == 0) {
            options->stage1 = true;
        } else if (strcmp(argument, "--tables") == 0) {
            options->tables = true;
        } else if (strcmp(argument, "--trace") == 0) {
            options->trace = true;
        } else if (strcmp(argument, "--help") == 0) {
            options->help = true;
        } else if (strcmp(argument, "--forget") == 0 && i + 1 < count) {
            options->forget = arguments[++i];
        } else if (argument[0] != '-' && options->file == NULL) {
            options->file = argument;
        } else {
            fprintf(stderr, "ipmmu-model: %s: not understood\n", argument);
            return false;
        }
    }
    if (options->forget != NULL && strcmp(options->forget, "clean") != 0 &&
        strcmp(options->forget, "sync") != 0) {
        fprintf(stderr, "ipmmu-model: --forget %s: not understood\n", options->forget);
        return false;
    }
    return true;
}

static bool forgets(const struct options *options, const char *what)
{
    return options->forget != NULL && strcmp(options->forget, what) == 0;
}

static void finish(struct demo *demo, void (*step)(struct demo *demo))
{
    step(demo);
    board_trace_registers(&demo->board);
}

static int run(struct demo *demo, const struct options *options)
{
    static void (*const steps[])(struct demo * demo) = {
        step_split, step_move, step_unmap,   step_third_guest, step_faults,
        step_sleep, step_hang, step_run_out, step_remove,
    };

    demo_begin(demo);
    if (!step_start(demo)) {
        board_stop(&demo->board);
        fprintf(stderr, "ipmmu-model: %s: this part has no such tables%s\n", demo->board.file,
                options->stage1 ? "" : "; try --stage1");
        return 2;
    }
    finish(demo, step_add);
    if (demo->group_count < GUESTS) {
        fprintf(stderr, "ipmmu-model: %s: too few masters for %d guests and one that nobody adds\n",
                demo->board.file, GUESTS);
        return 2;
    }
    finish(demo, step_guests);
    if (options->tables) {
        finish(demo, step_tables);
    }
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        finish(demo, steps[i]);
    }
    return summary();
}

int main(int count, char **arguments)
{
    static struct demo demo;
    struct options options = {.stage1 = false};
    const char *name;
    void *blob;
    size_t size;
    int status = 2;

    if (!parse(&options, count, arguments)) {
        fputs(usage, stderr);
        return 2;
    }
    if (options.help) {
        fputs(usage, stdout);
        fputs(help, stdout);
        return 0;
    }
    name = options.file != NULL ? options.file : "R-Car H3";
    blob = options.file != NULL ? tree_read(options.file, &size) : tree_build(&size);
    demo.board.tables = options.stage1 ? PIOMMU_IPMMU_VMSA_STAGE1 : PIOMMU_IPMMU_VMSA_STAGE2;
    demo.board.traces = options.trace;
    demo.board.port.forgets_clean = forgets(&options, "clean");
    demo.board.forgets_sync = forgets(&options, "sync");
    if (blob != NULL && board_load(&demo.board, name, blob, size)) {
        printf("piommu %s drives the IPMMU of %s, tables of stage %d\n", piommu_version(), name,
               options.stage1 ? 1 : 2);
        status = run(&demo, &options);
    }
    board_unload(&demo.board);
    free(blob);
    return status;
}
