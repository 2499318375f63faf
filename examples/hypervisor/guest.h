/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef GUEST_H
#define GUEST_H

/* A guest: its memory, as its CPU and its devices see it, and what it has been told. */

#include "console.h"
#include "cpu.h"
#include "guest-abi.h"
#include "mmio.h"
#include "stage2.h"
#include "viommu.h"

#include <piommu/piommu.h>

enum guest_state {
    GUEST_RUNNABLE,
    GUEST_WAITING, /* for an event */
    GUEST_STOPPED, /* for ever */
};

#define GUEST_EVENTS 8u

struct guest_news {
    enum guest_event event;
    uint64_t argument;
};

struct guest {
    const char *name;
    enum guest_state state;
    struct cpu cpu;
    /* Two translations of the same memory: an IOMMU that takes requests cannot walk the CPU's. */
    struct stage2 stage2;
    struct piommu_domain *domain;
    struct mmio_table mmio;
    struct viommu *viommu; /* before its devices; NULL: it has none, and they use its addresses */
    struct console console;
    uint8_t *ram;
    uint8_t *slots[GUEST_SLOTS]; /* NULL: no page is there */
    /* What becomes of a device of this guest that does DMA outside of the guest's memory. */
    enum piommu_fault_answer stray_dma;
    struct guest_news news[GUEST_EVENTS];
    unsigned int news_first, news_count;
    unsigned int turns;  /* how often it had the CPU */
    unsigned int aborts; /* exceptions that were put into it */
};

struct guest_config {
    const char *name;
    const char *domain_name;
    const uint8_t *image; /* copied to GUEST_RAM */
    const uint8_t *image_end;
    uint8_t vmid;
    enum piommu_fault_answer stray_dma;
    struct piommu_instance *instance; /* of whose devices it may get some */
    const struct stage2_geometry *geometry;
};

/* ---- guest.c ---- */

/* A guest with RAM and image, without single pages, that waits for its first turn. */
void guest_create(struct guest *guest, const struct guest_config *config);
/* Takes all of its memory back. It must have no device. */
void guest_destroy(struct guest *guest);

/* It is told when it asks; if it waits it waits no longer. */
void guest_tell(struct guest *guest, enum guest_event event, uint64_t argument);
/* EVENT_NONE if there is no news. */
struct guest_news guest_take_news(struct guest *guest);

/* Never again runs it. */
void guest_stop(struct guest *guest, const char *why);

/* ---- guest-memory.c ---- */

/* The address of a slot. */
uint64_t guest_slot_address(unsigned int slot);
/* The slot that begins at an address; GUEST_SLOTS if there is none. */
unsigned int guest_slot_at(uint64_t address);

/* Maps RAM at GUEST_RAM; and unmaps all that the guest has. */
void guest_map_ram(struct guest *guest);
void guest_unmap_all(struct guest *guest);

/* Puts a page into a slot that is free, for CPU and devices. */
void guest_put_page(struct guest *guest, unsigned int slot, uint8_t *page);
/*
 * Takes a page out of its slot. When it returns true neither a CPU nor a device of the guest can
 * reach the page, and it is blank. False: the page stays where it is, since the IOMMU did not obey,
 * or the guest has an IOMMU of its own, by which its devices may have the page anywhere.
 */
bool guest_take_page(struct guest *guest, unsigned int slot, uint8_t **page);

/*
 * Finds memory that this guest has at an address: where that is in the machine, and how much of it
 * is in one piece there. False: there is none.
 */
bool guest_find(const struct guest *guest, uint64_t address, struct piommu_segment *piece);

/*
 * Copies out of guest memory, and into it. False: not all of it is memory that this guest has, and
 * nothing was copied.
 */
bool guest_read(const struct guest *guest, uint64_t address, void *buffer, size_t size);
bool guest_write(const struct guest *guest, uint64_t address, const void *buffer, size_t size);

#endif
