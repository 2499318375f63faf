/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_TEXT_H
#define PIOMMU_LIB_BASE_TEXT_H

/* A line of text that is put together piece by piece; what is too long is cut. */

#include <stddef.h>
#include <stdint.h>

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

/* Of one format. */
#define TEXT_VALUES 8

/*
 * Appends to the line. The format knows %s (string, NULL allowed), %u (uint32_t) and %x (uint64_t,
 * written with 0x), TEXT_VALUES together; nothing else, so that no format string can go wrong.
 */
void piommu_text_put_(struct piommu_text *text, const char *format, ...);
/*
 * The same for values that lie side by side; that of %s is text_value of it. The text ends where
 * there are no more.
 */
void piommu_text_put_values_(struct piommu_text *text, const char *format, const uint64_t *values,
                             unsigned int count);

static inline uint64_t text_value(const char *string)
{
    return (uint64_t)(uintptr_t)string;
}

#endif
