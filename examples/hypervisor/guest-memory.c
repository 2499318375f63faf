/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What belongs to a guest is mapped twice: at stage 2 for its CPU, in its domain for its devices.
 *
 * RAM is one mapping, since it comes and goes as a whole. Each single page is a mapping of its own,
 * although neighbours may be mapped by one: so it can go without a moment in which the guest's
 * device does not find the pages beside it.
 */

#include "guest.h"

#include "machine.h"
#include "transcript.h"

#include <string.h>

#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

uint64_t guest_slot_address(unsigned int slot)
{
    return GUEST_PAGES + (uint64_t)slot * GUEST_PAGE_SIZE;
}

unsigned int guest_slot_at(uint64_t address)
{
    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        if (guest_slot_address(slot) == address) {
            return slot;
        }
    }
    return GUEST_SLOTS;
}

static void map(struct guest *guest, uint64_t address, const uint8_t *memory, uint64_t size,
                piommu_prot cpu_prot)
{
    stage2_map(&guest->stage2, address, machine_physical(memory), size, cpu_prot);
    must(piommu_domain_map(guest->domain, address, machine_physical(memory), size, READ_WRITE),
         "mapping in a domain");
}

/* The devices' side of it. */
static int unmap_dma(struct guest *guest, uint64_t address, uint64_t size)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_domain_unmap(guest->domain, address, size, &gather, NULL);
    if (error != 0 || told("forget-sync")) {
        return error;
    }
    return piommu_domain_sync(guest->domain, &gather);
}

void guest_map_ram(struct guest *guest)
{
    map(guest, GUEST_RAM, guest->ram, GUEST_RAM_SIZE, READ_WRITE | PIOMMU_PROT_EXECUTE_ALL);
}

void guest_unmap_all(struct guest *guest)
{
    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        if (guest->slots[slot] != NULL) {
            must(unmap_dma(guest, guest_slot_address(slot), GUEST_PAGE_SIZE), "unmapping a page");
            stage2_unmap(&guest->stage2, guest_slot_address(slot), GUEST_PAGE_SIZE);
        }
    }
    must(unmap_dma(guest, GUEST_RAM, GUEST_RAM_SIZE), "unmapping RAM");
    stage2_unmap(&guest->stage2, GUEST_RAM, GUEST_RAM_SIZE);
}

void guest_put_page(struct guest *guest, unsigned int slot, uint8_t *page)
{
    guest->slots[slot] = page;
    map(guest, guest_slot_address(slot), page, GUEST_PAGE_SIZE, READ_WRITE);
}

bool guest_take_page(struct guest *guest, unsigned int slot, uint8_t **page)
{
    /*
     * Devices first: they do not notice. If the IOMMU fails, the guest has lost nothing yet, and
     * goes on; the page must not go to anybody, since a device may still write to it.
     */
    if (guest->viommu != NULL || unmap_dma(guest, guest_slot_address(slot), GUEST_PAGE_SIZE) != 0) {
        return false;
    }
    stage2_unmap(&guest->stage2, guest_slot_address(slot), GUEST_PAGE_SIZE);
    /* Now that nobody writes to it any more. */
    *page = memset(guest->slots[slot], 0, GUEST_PAGE_SIZE);
    guest->slots[slot] = NULL;
    return true;
}

bool guest_find(const struct guest *guest, uint64_t address, struct piommu_segment *piece)
{
    struct piommu_translation found;

    /* Not all that is mapped is memory: a device's registers are not to be read like this. */
    if (piommu_pgtable_lookup(guest->stage2.table, address, &found) != 0 ||
        (found.prot & PIOMMU_PROT_DEVICE) != 0) {
        return false;
    }
    piece->physical = found.physical;
    piece->size = found.leaf_size - address % found.leaf_size;
    return true;
}

/* The start of a range of guest memory; *size becomes how much of it is in one piece. */
static uint8_t *first_piece(const struct guest *guest, uint64_t address, size_t *size)
{
    struct piommu_segment piece;

    if (!guest_find(guest, address, &piece)) {
        return NULL;
    }
    if (piece.size < *size) {
        *size = (size_t)piece.size;
    }
    return (uint8_t *)(uintptr_t)piece.physical;
}

static bool is_memory(const struct guest *guest, uint64_t address, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t piece = size - done;

        if (first_piece(guest, address + done, &piece) == NULL) {
            return false;
        }
        done += piece;
    }
    return true;
}

bool guest_read(const struct guest *guest, uint64_t address, void *buffer, size_t size)
{
    if (!is_memory(guest, address, size)) {
        return false;
    }
    for (size_t done = 0; done < size;) {
        size_t piece = size - done;
        const uint8_t *memory = first_piece(guest, address + done, &piece);

        memcpy((uint8_t *)buffer + done, memory, piece);
        done += piece;
    }
    return true;
}

bool guest_write(const struct guest *guest, uint64_t address, const void *buffer, size_t size)
{
    if (!is_memory(guest, address, size)) {
        return false;
    }
    for (size_t done = 0; done < size;) {
        size_t piece = size - done;
        uint8_t *memory = first_piece(guest, address + done, &piece);

        memcpy(memory, (const uint8_t *)buffer + done, piece);
        done += piece;
    }
    return true;
}
