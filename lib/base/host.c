/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "host.h"

#include <stdarg.h>

#define LINE_SIZE 160

struct line {
    char text[LINE_SIZE];
    size_t length;
};

static void put_char(struct line *line, char character)
{
    if (line->length < LINE_SIZE - 1) {
        line->text[line->length++] = character;
    }
}

static void put_string(struct line *line, const char *string)
{
    for (; *string != '\0'; string++) {
        put_char(line, *string);
    }
}

static void put_hexadecimal(struct line *line, uint64_t value)
{
    unsigned int shift = 60;

    put_string(line, "0x");
    while (shift > 0 && (value >> shift) == 0) {
        shift -= 4;
    }
    for (;; shift -= 4) {
        put_char(line, "0123456789abcdef"[(value >> shift) & 15]);
        if (shift == 0) {
            break;
        }
    }
}

static void put_decimal(struct line *line, uint32_t value)
{
    uint32_t divisor = 1;

    while (value / divisor >= 10) {
        divisor *= 10;
    }
    for (; divisor != 0; divisor /= 10) {
        put_char(line, (char)('0' + value / divisor % 10));
    }
}

void piommu_host_log_(struct piommu_host host, enum piommu_log_level level, const char *format, ...)
{
    struct line line = {.length = 0};
    va_list arguments;

    if (host.os->log == NULL) {
        return;
    }
    va_start(arguments, format);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put_char(&line, *format);
            continue;
        }
        format++;
        if (*format == 's') {
            const char *string = va_arg(arguments, const char *);

            put_string(&line, string != NULL ? string : "(none)");
        } else if (*format == 'u') {
            put_decimal(&line, va_arg(arguments, uint32_t));
        } else if (*format == 'x') {
            put_hexadecimal(&line, va_arg(arguments, uint64_t));
        } else {
            break;
        }
    }
    va_end(arguments);
    line.text[line.length] = '\0';
    host.os->log(host.ctx, level, line.text);
}

/*
 * The members up to and including `log` existed in the first version: a smaller table is a mistake.
 */
static const char *find_missing(const struct piommu_os *os, unsigned int needs)
{
    const struct {
        const char *name;
        unsigned int need;
        bool present;
    } callbacks[] = {
        {"alloc", PIOMMU_OS_NEED_BASE, os->alloc != NULL},
        {"free", PIOMMU_OS_NEED_BASE, os->free != NULL},
        {"dma_alloc", PIOMMU_OS_NEED_BASE, os->dma_alloc != NULL},
        {"dma_free", PIOMMU_OS_NEED_BASE, os->dma_free != NULL},
        {"barrier", PIOMMU_OS_NEED_BASE, os->barrier != NULL},
        {"cache_clean", PIOMMU_OS_NEED_CLEAN, os->cache_clean != NULL},
        {"lock_create", PIOMMU_OS_NEED_LOCK, os->lock_create != NULL},
        {"lock_destroy", PIOMMU_OS_NEED_LOCK, os->lock_destroy != NULL},
        {"lock", PIOMMU_OS_NEED_LOCK, os->lock != NULL},
        {"unlock", PIOMMU_OS_NEED_LOCK, os->unlock != NULL},
        {"now", PIOMMU_OS_NEED_LOCK, os->now != NULL},
        {"mmio_map", PIOMMU_OS_NEED_MMIO, os->mmio_map != NULL},
        {"mmio_unmap", PIOMMU_OS_NEED_MMIO, os->mmio_unmap != NULL},
        {"mmio_read", PIOMMU_OS_NEED_MMIO, os->mmio_read != NULL},
        {"mmio_write", PIOMMU_OS_NEED_MMIO, os->mmio_write != NULL},
        {"pci_config_read", PIOMMU_OS_NEED_PCI, os->pci_config_read != NULL},
        {"pci_config_write", PIOMMU_OS_NEED_PCI, os->pci_config_write != NULL},
        {"pci_bar", PIOMMU_OS_NEED_PCI, os->pci_bar != NULL},
    };

    for (size_t i = 0; i < sizeof(callbacks) / sizeof(callbacks[0]); i++) {
        if ((callbacks[i].need & needs) == callbacks[i].need && !callbacks[i].present) {
            return callbacks[i].name;
        }
    }
    return NULL;
}

int piommu_os_check(struct piommu_host host, unsigned int needs, const char **missing)
{
    const char *name = "os";

    if (host.os != NULL) {
        name = host.os->size < sizeof(struct piommu_os) ? "size" : find_missing(host.os, needs);
    }
    if (missing != NULL) {
        *missing = name;
    }
    return name == NULL ? 0 : -PIOMMU_EINVAL;
}

int piommu_host_check_(struct piommu_host host, unsigned int needs)
{
    const char *missing;
    int error = piommu_os_check(host, needs, &missing);

    if (error != 0 && host.os != NULL && host.os->size >= sizeof(struct piommu_os)) {
        piommu_host_log_(host, PIOMMU_LOG_ERROR, "the ops shim lacks the callback %s", missing);
    }
    return error;
}
