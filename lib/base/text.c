/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "text.h"

#include <stdarg.h>

static void put_char(struct piommu_text *text, char character)
{
    if (text->length < TEXT_SIZE - 1) {
        text->line[text->length++] = character;
    }
}

static void put_string(struct piommu_text *text, const char *string)
{
    for (; *string != '\0'; string++) {
        put_char(text, *string);
    }
}

static void put_hexadecimal(struct piommu_text *text, uint64_t value)
{
    unsigned int shift = 60;

    put_string(text, "0x");
    while (shift > 0 && (value >> shift) == 0) {
        shift -= 4;
    }
    for (;; shift -= 4) {
        put_char(text, "0123456789abcdef"[(value >> shift) & 15]);
        if (shift == 0) {
            break;
        }
    }
}

static void put_decimal(struct piommu_text *text, uint32_t value)
{
    uint32_t divisor = 1;

    while (value / divisor >= 10) {
        divisor *= 10;
    }
    for (; divisor != 0; divisor /= 10) {
        put_char(text, (char)('0' + value / divisor % 10));
    }
}

void piommu_text_put_values_(struct piommu_text *text, const char *format, const uint64_t *values,
                             unsigned int count)
{
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put_char(text, *format);
            continue;
        }
        if (count-- == 0) {
            break;
        }
        format++;
        if (*format == 's') {
            const char *string = (const char *)(uintptr_t)*values;

            put_string(text, string != NULL ? string : "(none)");
        } else if (*format == 'u') {
            put_decimal(text, (uint32_t)*values);
        } else if (*format == 'x') {
            put_hexadecimal(text, *values);
        } else {
            break;
        }
        values++;
    }
    text->line[text->length] = '\0';
}

void piommu_text_put_(struct piommu_text *text, const char *format, ...)
{
    uint64_t values[TEXT_VALUES];
    unsigned int count = 0;
    va_list arguments;

    va_start(arguments, format);
    for (const char *at = format; *at != '\0' && count < TEXT_VALUES; at++) {
        if (at[0] != '%') {
            continue;
        }
        if (at[1] == 's') {
            values[count++] = text_value(va_arg(arguments, const char *));
        } else if (at[1] == 'u') {
            values[count++] = va_arg(arguments, uint32_t);
        } else if (at[1] == 'x') {
            values[count++] = va_arg(arguments, uint64_t);
        } else {
            break;
        }
    }
    va_end(arguments);
    piommu_text_put_values_(text, format, values, count);
}
