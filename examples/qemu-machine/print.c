/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The small printf. */

#include <string.h>

#include "machine.h"

/* One conversion, as read from the format. */
struct conversion {
    bool left;     /* flag '-' */
    bool zero;     /* flag '0' */
    int width;     /* the least number of characters */
    int precision; /* the largest number of characters of %s; below 0 is no limit */
    int size;      /* of an integer argument, in bytes */
};

static void pad(char c, int count)
{
    while (count-- > 0) {
        machine_putc(c);
    }
}

/* Prints prefix and text, padded to the width. Zeros go between the two, blanks outside. */
static void put_padded(const struct conversion *conversion, const char *prefix, const char *text,
                       size_t length)
{
    int missing = conversion->width - (int)(strlen(prefix) + length);
    bool zero = conversion->zero && !conversion->left;

    if (!zero && !conversion->left) {
        pad(' ', missing);
    }
    while (*prefix != '\0') {
        machine_putc(*prefix++);
    }
    if (zero) {
        pad('0', missing);
    }
    while (length-- > 0) {
        machine_putc(*text++);
    }
    if (conversion->left) {
        pad(' ', missing);
    }
}

static void put_number(const struct conversion *conversion, const char *prefix, uint64_t value,
                       unsigned int base, const char *digits)
{
    char text[20]; /* 2^64 - 1 has 20 decimal digits */
    size_t start = sizeof(text);

    do {
        text[--start] = digits[value % base];
        value /= base;
    } while (value != 0);
    put_padded(conversion, prefix, text + start, sizeof(text) - start);
}

static void put_string(const struct conversion *conversion, const char *text)
{
    size_t length;

    if (text == NULL) {
        text = "(null)";
    }
    if (conversion->precision >= 0) {
        length = strnlen(text, (size_t)conversion->precision);
    } else {
        length = strlen(text);
    }
    put_padded(conversion, "", text, length);
}

/* Reads a decimal number or, for '*', an argument. */
static int read_number(const char **format, int star)
{
    int value = 0;

    if (**format == '*') {
        (*format)++;
        return star;
    }
    while (**format >= '0' && **format <= '9') {
        value = value * 10 + (*(*format)++ - '0');
    }
    return value;
}

void machine_vprintf(const char *format, va_list arguments)
{
    static const char lower[] = "0123456789abcdef";
    static const char upper[] = "0123456789ABCDEF";

    while (*format != '\0') {
        struct conversion conversion = {.precision = -1, .size = sizeof(int)};
        uint64_t value;
        int64_t number;
        char c;

        if (*format != '%') {
            machine_putc(*format++);
            continue;
        }
        format++;
        for (; *format == '-' || *format == '0'; format++) {
            if (*format == '-') {
                conversion.left = true;
            } else {
                conversion.zero = true;
            }
        }
        conversion.width = read_number(&format, *format == '*' ? va_arg(arguments, int) : 0);
        if (*format == '.') {
            format++;
            conversion.precision =
                read_number(&format, *format == '*' ? va_arg(arguments, int) : 0);
        }
        /* On AArch64 all of l, ll, z and j mean 64 bits. */
        for (; *format == 'l' || *format == 'z' || *format == 'j'; format++) {
            conversion.size = sizeof(uint64_t);
        }

        switch (*format) {
        case 'd':
        case 'i':
            if (conversion.size == sizeof(uint64_t)) {
                number = va_arg(arguments, int64_t);
            } else {
                number = va_arg(arguments, int);
            }
            value = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
            put_number(&conversion, number < 0 ? "-" : "", value, 10, lower);
            break;
        case 'u':
        case 'x':
        case 'X':
            if (conversion.size == sizeof(uint64_t)) {
                value = va_arg(arguments, uint64_t);
            } else {
                value = va_arg(arguments, unsigned int);
            }
            put_number(&conversion, "", value, *format == 'u' ? 10 : 16,
                       *format == 'X' ? upper : lower);
            break;
        case 'p':
            value = (uint64_t)(uintptr_t)va_arg(arguments, void *);
            put_number(&conversion, "0x", value, 16, lower);
            break;
        case 'c':
            c = (char)va_arg(arguments, int);
            conversion.zero = false;
            put_padded(&conversion, "", &c, 1);
            break;
        case 's':
            conversion.zero = false;
            put_string(&conversion, va_arg(arguments, const char *));
            break;
        case '%':
            machine_putc('%');
            break;
        case '\0':
            return;
        default:
            /* The compiler checks formats, so this is one that only a full printf knows. */
            machine_putc('?');
            break;
        }
        format++;
    }
}

void machine_printf(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    machine_vprintf(format, arguments);
    va_end(arguments);
}
