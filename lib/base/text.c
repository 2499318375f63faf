/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "text.h"

#include <stdint.h>

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

void piommu_text_put_arguments_(struct piommu_text *text, const char *format, va_list *arguments)
{
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put_char(text, *format);
            continue;
        }
        format++;
        if (*format == 's') {
            const char *string = va_arg(*arguments, const char *);

            put_string(text, string != NULL ? string : "(none)");
        } else if (*format == 'u') {
            put_decimal(text, va_arg(*arguments, uint32_t));
        } else if (*format == 'x') {
            put_hexadecimal(text, va_arg(*arguments, uint64_t));
        } else {
            break;
        }
    }
    text->line[text->length] = '\0';
}

void piommu_text_put_(struct piommu_text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    piommu_text_put_arguments_(text, format, &arguments);
    va_end(arguments);
}
