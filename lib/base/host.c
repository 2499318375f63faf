/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "host.h"

#include "compiler.h"

void piommu_host_log_(struct piommu_host host, enum piommu_log_level level, const char *format,
                      uint64_t first, uint64_t second, uint64_t third)
{
    const uint64_t values[] = {first, second, third};
    struct piommu_text text;

    if (host.os->log == NULL) {
        return;
    }
    piommu_text_begin(&text);
    piommu_text_put_values_(&text, format, values, 3);
    host.os->log(host.ctx, level, text.line);
}

void *piommu_host_alloc_(struct piommu_host host, size_t size)
{
    void *memory = host.os->alloc(host.ctx, size);

    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

void piommu_host_free_(struct piommu_host host, void *memory, size_t size)
{
    if (memory != NULL) {
        host.os->free(host.ctx, memory, size);
    }
}

uint64_t piommu_host_deadline_(struct piommu_host host, uint64_t timeout)
{
    uint64_t now = host.os->now(host.ctx);

    return timeout < UINT64_MAX - now ? now + timeout : UINT64_MAX;
}

/* Lets the host pause, no longer than `most`. */
static bool pause_at_most(struct piommu_host host, uint64_t deadline, uint64_t most)
{
    uint64_t now = host.os->now(host.ctx);

    if (now >= deadline) {
        return false;
    }
    if (host.os->wait != NULL) {
        host.os->wait(host.ctx, deadline - now > most ? now + most : deadline);
    }
    return true;
}

bool piommu_host_wait_(struct piommu_host host, uint64_t deadline)
{
    return pause_at_most(host, deadline, UINT64_MAX);
}

bool piommu_host_poll_(struct piommu_host host, uint64_t deadline)
{
    return pause_at_most(host, deadline, 50000);
}

/*
 * The callbacks and what needs them. As data, with the names in place, this is half of what code
 * takes that asks for one member after the other.
 */
#define CALLBACK(member, reason)                                             \
    {                                                                        \
        offsetof(struct piommu_os, member), PIOMMU_OS_NEED_##reason, #member \
    }
static const struct {
    uint16_t offset;
    uint8_t need;
    char name[18];
} callbacks[] = {
    CALLBACK(alloc, BASE),
    CALLBACK(free, BASE),
    CALLBACK(dma_alloc, BASE),
    CALLBACK(dma_free, BASE),
    CALLBACK(barrier, BASE),
    CALLBACK(cache_clean, CLEAN),
    CALLBACK(lock_create, LOCK),
    CALLBACK(lock_destroy, LOCK),
    CALLBACK(lock, LOCK),
    CALLBACK(unlock, LOCK),
    CALLBACK(now, LOCK),
    CALLBACK(mmio_map, MMIO),
    CALLBACK(mmio_unmap, MMIO),
    CALLBACK(mmio_read, MMIO),
    CALLBACK(mmio_write, MMIO),
    CALLBACK(pci_config_read, PCI),
    CALLBACK(pci_config_write, PCI),
    CALLBACK(pci_bar, PCI),
    CALLBACK(cache_invalidate, INVALIDATE),
};

/*
 * The members up to and including `log` existed in the first version: a smaller table is a mistake.
 */
static const char *find_missing(const struct piommu_os *os, unsigned int needs)
{
    for (size_t i = 0; i < sizeof(callbacks) / sizeof(callbacks[0]); i++) {
        void (*callback)(void); /* all pointers to functions look alike in memory */

        memcpy(&callback, (const char *)os + callbacks[i].offset, sizeof(callback));
        if ((callbacks[i].need & needs) == callbacks[i].need && callback == NULL) {
            return callbacks[i].name;
        }
    }
    return NULL;
}

static bool is_whole(struct piommu_host host)
{
    return host.os != NULL && host.os->size >= sizeof(struct piommu_os);
}

int piommu_os_check(struct piommu_host host, unsigned int needs, const char **missing)
{
    const char *name = host.os != NULL ? "size" : "os";

    if (is_whole(host)) {
        name = find_missing(host.os, needs);
    }
    if (missing != NULL) {
        *missing = name;
    }
    return name == NULL ? 0 : -PIOMMU_EINVAL;
}

static APART_IF_SHALLOW int log_missing(struct piommu_host host, const char *missing)
{
    piommu_host_log_(host, PIOMMU_LOG_ERROR, "the ops shim lacks the callback %s",
                     text_value(missing), 0, 0);
    return -PIOMMU_EINVAL;
}

int piommu_host_check_(struct piommu_host host, unsigned int needs)
{
    const char *missing;

    if (!is_whole(host)) {
        return -PIOMMU_EINVAL;
    }
    missing = find_missing(host.os, needs);
    /* By a jump: what logs needs much of the stack. */
    return missing == NULL ? 0 : log_missing(host, missing);
}
