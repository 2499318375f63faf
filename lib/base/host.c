/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "host.h"

#include <stdarg.h>

#include "text.h"

void piommu_host_log_(struct piommu_host host, enum piommu_log_level level, const char *format, ...)
{
    struct piommu_text text;
    va_list arguments;

    if (host.os->log == NULL) {
        return;
    }
    piommu_text_begin(&text);
    va_start(arguments, format);
    piommu_text_put_arguments_(&text, format, arguments);
    va_end(arguments);
    host.os->log(host.ctx, level, text.line);
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
