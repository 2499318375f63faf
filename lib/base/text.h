/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_TEXT_H
#define PIOMMU_LIB_BASE_TEXT_H

/* A line of text that is put together piece by piece; what is too long is cut. */

#include <stdarg.h>
#include <stddef.h>

#define TEXT_SIZE 128

struct piommu_text {
    char line[TEXT_SIZE]; /* always terminated */
    size_t length;
};

static inline void piommu_text_begin(struct piommu_text *text)
{
    text->length = 0;
    text->line[0] = '\0';
}

/*
 * Appends to the line. The format knows %s (string, NULL allowed), %u (uint32_t) and %x (uint64_t,
 * written with 0x); nothing else, so that no format string can go wrong.
 */
void piommu_text_put_(struct piommu_text *text, const char *format, ...);
void piommu_text_put_arguments_(struct piommu_text *text, const char *format, va_list *arguments);

#endif
