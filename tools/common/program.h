/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TOOLS_PROGRAM_H
#define TOOLS_PROGRAM_H

/*
 * What every tool does the same way: its exit statuses, its complaints, --help and --version, and
 * memory that is there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit statuses. */
enum status {
    STATUS_OK = 0,    /* all was well */
    STATUS_INPUT = 1, /* the input could not be read, or something is wrong in it */
    STATUS_USAGE = 2, /* wrong usage, or no memory */
};

/* Who speaks: the name in front of each complaint. To be set first of all. */
void program_begin(const char *name);

/* Prints a line on stderr, with the name of the program before it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Complains, tells where help is, and returns STATUS_USAGE. */
enum status wrong_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether an argument asks for --help or --version, which is then printed. */
bool program_answers(const char *argument, const char *help);

/* Whether all that was written to a file has arrived there; complains if not. */
bool written(FILE *file, const char *name);

/* Memory that is there; ends the program if there is none. */
void *must_realloc(void *memory, size_t count, size_t size);

/* The shim's callbacks for memory of the library's own. */
void *library_alloc(void *ctx, size_t size);
void library_free(void *ctx, void *memory, size_t size);

#endif
