/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TRANSCRIPT_H
#define TRANSCRIPT_H

/* What a demonstration prints, and what it is told on its command line. */

#include <stdbool.h>

/* One line of the transcript, counted. */
void check(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A step without which the rest makes no sense: an error of the library ends the run. */
void must(int error, const char *what);
/* A heading; they are numbered. */
void section(const char *title);
/* The last line. Returns the status of the run. */
int summary(void);

/* Whether QEMU's option -append has this word. */
bool told(const char *word);

#endif
