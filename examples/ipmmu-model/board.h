/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef BOARD_H
#define BOARD_H

/*
 * What the device tree says of the board: the units of the IPMMU, out of which both the model and
 * the library's instances are made, and the masters behind them.
 */

#include "port.h"

#include <piommu/fdt.h>
#include <piommu/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#define BOARD_MAX_UNITS   PIOMMU_IPMMU_MODEL_MAX_UNITS
#define BOARD_MAX_MASTERS 96u
#define BOARD_NAME_SIZE   48u
/* How often the model shows a FLUSH as running, so that the driver really has to wait. */
#define BOARD_FLUSH_POLLS 3u

struct board;

/* A unit. Its number is the same in the model. */
struct unit {
    struct board *board;
    struct piommu_fdt_iommu found;
    const char *name;
    struct piommu_range registers;
    size_t root; /* number of the unit that walks tables for it: itself, if it does */
    struct piommu_ipmmu_vmsa_config config;
    struct piommu_instance *instance;
};

/* Where the DMA of a master enters. */
struct master_id {
    size_t unit;
    uint32_t micro_tlb;
};

struct master {
    char name[BOARD_NAME_SIZE];
    struct master_id ids[PIOMMU_DEVICE_MAX_IDS];
    size_t id_count;
    bool shares; /* a micro-TLB with another master */
    struct piommu_device *device;
    size_t group; /* number, from guests.h */
};

struct board {
    struct port port;
    const char *file; /* for messages */
    const void *blob;
    struct piommu_fdt tree;
    enum piommu_ipmmu_vmsa_tables tables;
    enum piommu_ipmmu_model_class generation;
    uint64_t product_register; /* 0: the tree does not have it */
    struct unit units[BOARD_MAX_UNITS];
    size_t unit_count;
    struct master masters[BOARD_MAX_MASTERS];
    size_t master_count;
    struct master stranger; /* one more, that nobody adds */
    struct piommu_context *context;
    /* What the fault callback was told: how often, and what last. */
    unsigned int fault_count;
    struct piommu_fault fault;
    const struct master *busy; /* see board_keep_busy */
    uint64_t busy_iova;
    bool shows_faults; /* the checks make so many that only those of one step are shown */
    bool traces;
    bool forgets_sync; /* a hypervisor with a mistake in it */
};

/*
 * Reads a blob and makes the model. The blob stays the caller's, and must stay. False, after saying
 * why on stderr: it cannot be used.
 */
bool board_load(struct board *board, const char *file, const void *blob, size_t size);
/* Frees all but the blob. */
void board_unload(struct board *board);

/* Creates the context and an instance for each unit, in the order of the tree. */
int board_start(struct board *board);
/* Destroys them again. */
int board_stop(struct board *board);
/* The unit that walks the tables, and has the interrupt. */
struct piommu_instance *board_root(const struct board *board);
/* Adds all masters but the stranger as devices. */
int board_add_masters(struct board *board);

/* ---- DMA (dma.c) ---- */

enum dma {
    DMA_REFUSED, /* the IOMMU let nothing through */
    DMA_DONE,    /* all of it has met memory */
    DMA_ASTRAY,  /* some of it came through, and not all of that has met memory */
};

/* A master reads or writes by DMA, and the hypervisor takes the interrupts that this raises. */
enum dma board_dma(struct board *board, struct master_id id, uint64_t iova, bool write,
                   uint8_t *bytes, size_t size);
/* Every TLB on the way of a master gets all that it can hold: the worst case for a stale entry. */
void board_prefetch(struct board *board, const struct master *master);

/*
 * From now on a master does not rest: after each access to a register it reads from an address,
 * successfully or not. NULL ends it.
 */
void board_keep_busy(struct board *board, const struct master *master, uint64_t iova);

/* ---- Looking (look.c) ---- */

/* Prints accesses to registers since the last time, if this was asked for. */
void board_trace_registers(struct board *board);
/* The callback for the core's events; the cookie is the board. */
piommu_trace_callback board_trace_event;
/* Prints the tree of tables on which the hardware has put a master. */
void board_print_tables(struct board *board, const struct master *master);

#endif
