/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef MMIO_H
#define MMIO_H

/*
 * Ranges of a guest's addresses where no memory is but a handler: an access traps, and the handler
 * does what a device would. The ranges of one guest do not overlap.
 */

#include <stdbool.h>
#include <stdint.h>

struct mmio_access {
    uint64_t offset;    /* from the start of the range; all of the access is inside */
    unsigned int width; /* bytes: 1, 2, 4 or 8 */
    bool write;
    uint64_t value; /* what is written, or what the handler says that is read; of this width */
};

typedef void mmio_handler(void *ctx, struct mmio_access *access);

struct mmio_range {
    uint64_t first;
    uint64_t last;
    mmio_handler *handler;
    void *ctx; /* handed to it */
};

#define MMIO_RANGES 8u

struct mmio_table {
    struct mmio_range ranges[MMIO_RANGES];
    unsigned int count;
};

/* -1: there is no room, or the range is not free. */
int mmio_add(struct mmio_table *table, uint64_t first, uint64_t size, mmio_handler *handler,
             void *ctx);
/* The range that begins here; nothing happens if there is none. */
void mmio_remove(struct mmio_table *table, uint64_t first);
/* False: no range has all of the access. `address` is where it begins; access->offset is set. */
bool mmio_access(const struct mmio_table *table, uint64_t address, struct mmio_access *access);

#endif
