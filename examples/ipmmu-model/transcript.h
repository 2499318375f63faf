/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TRANSCRIPT_H
#define TRANSCRIPT_H

/* What the program says: sections, checks, notes. Checks are counted. */

#include <stdbool.h>

/* A numbered headline. */
void section(const char *title);

/* A line with PASS or FAIL before it. Returns `holds`. */
bool check(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line that claims nothing. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same as a callback of the library's dump functions. */
void note_line(void *cookie, const char *line);

/* A step without which the rest makes no sense: if it failed, the program ends. */
void must(int error, const char *what);

/* The last line. Returns the exit status. */
int summary(void);

#endif
