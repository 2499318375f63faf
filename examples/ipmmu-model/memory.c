/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "memory.h"

#include <stdlib.h>
#include <string.h>

#define TABLES_SIZE   0x100000u
#define TABLE_PAGES   (TABLES_SIZE / MEMORY_PAGE)
#define UNTOUCHED     0x5a
#define NEVER_CLEANED 0xa5 /* to a walker: descriptors that lead nowhere */

/* In the style of R-Car H3, whose memory begins at 1 GiB and goes on in banks above 4 GiB. */
static const struct place {
    uint64_t base;
    size_t size;
} places[REGIONS] = {
    [REGION_HOST] = {0x40000000, 0x210000},
    [REGION_TABLES] = {0x48000000, TABLES_SIZE},
    [REGION_GUEST_A] = {0x500000000, MEMORY_GUEST_SIZE},
    [REGION_GUEST_B] = {0x600000000, MEMORY_GUEST_SIZE},
    [REGION_GUEST_C] = {0x700000000, MEMORY_GUEST_SIZE},
};

struct memory {
    uint8_t *bytes[REGIONS];
    uint8_t *cached; /* REGION_TABLES as the CPU sees it */
    bool taken[TABLE_PAGES];
};

struct memory *memory_create(void)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    bool complete = memory != NULL;

    for (unsigned int i = 0; complete && i < REGIONS; i++) {
        memory->bytes[i] = malloc(places[i].size);
        complete = memory->bytes[i] != NULL;
    }
    if (complete) {
        memory->cached = aligned_alloc(TABLES_SIZE, TABLES_SIZE);
        complete = memory->cached != NULL;
    }
    if (!complete) {
        memory_destroy(memory);
        return NULL;
    }
    memset(memory->cached, NEVER_CLEANED, TABLES_SIZE);
    memset(memory->bytes[REGION_TABLES], NEVER_CLEANED, TABLES_SIZE);
    memory_restore(memory);
    return memory;
}

void memory_destroy(struct memory *memory)
{
    for (unsigned int i = 0; memory != NULL && i < REGIONS; i++) {
        free(memory->bytes[i]);
    }
    if (memory != NULL) {
        free(memory->cached);
    }
    free(memory);
}

uint64_t memory_base(enum region region)
{
    return places[region].base;
}

/* ---- What devices see ---- */

/* Memory of `size` bytes that lies in one region, which is told; NULL: there is none. */
static uint8_t *find(struct memory *memory, uint64_t physical, size_t size, unsigned int *region)
{
    for (*region = 0; *region < REGIONS; (*region)++) {
        const struct place *place = &places[*region];

        if (physical >= place->base && physical - place->base <= place->size - size) {
            return memory->bytes[*region] + (size_t)(physical - place->base);
        }
    }
    return NULL;
}

uint8_t *memory_byte(struct memory *memory, uint64_t physical)
{
    unsigned int region;
    uint8_t *byte = find(memory, physical, 1, &region);

    return region == REGION_TABLES ? NULL : byte;
}

void memory_restore(struct memory *memory)
{
    for (unsigned int i = 0; i < REGIONS; i++) {
        if (i != REGION_TABLES) {
            memset(memory->bytes[i], UNTOUCHED, places[i].size);
        }
    }
}

bool memory_is_untouched(const struct memory *memory)
{
    for (unsigned int i = 0; i < REGIONS; i++) {
        const uint8_t *bytes = memory->bytes[i];

        /* All bytes are equal if each is equal to the next one. */
        if (i != REGION_TABLES &&
            (bytes[0] != UNTOUCHED || memcmp(bytes, bytes + 1, places[i].size - 1) != 0)) {
            return false;
        }
    }
    return true;
}

bool memory_read64(void *memory, uint64_t physical, uint64_t *value)
{
    unsigned int region;
    const uint8_t *bytes = find(memory, physical, sizeof(*value), &region);

    *value = 0;
    for (unsigned int i = 0; bytes != NULL && i < sizeof(*value); i++) {
        *value |= (uint64_t)bytes[i] << 8 * i;
    }
    return bytes != NULL;
}

/* ---- What the CPU sees ---- */

/* The pages are free, and aligned: the pool itself is, both for the CPU and for devices. */
static bool is_free(const struct memory *memory, size_t first, size_t pages)
{
    for (size_t i = first; i < first + pages; i++) {
        if (memory->taken[i]) {
            return false;
        }
    }
    return true;
}

static void mark(struct memory *memory, size_t offset, size_t size, bool taken)
{
    for (size_t i = offset / MEMORY_PAGE; i * MEMORY_PAGE < offset + size; i++) {
        memory->taken[i] = taken;
    }
}

void *memory_tables_take(struct memory *memory, size_t size, size_t alignment, uint64_t highest,
                         uint64_t *physical)
{
    size_t step = alignment < MEMORY_PAGE ? MEMORY_PAGE : alignment;
    size_t pages = (size + (MEMORY_PAGE - 1)) / MEMORY_PAGE;

    for (size_t offset = 0; offset < TABLES_SIZE && pages <= TABLE_PAGES - offset / MEMORY_PAGE;
         offset += step) {
        *physical = places[REGION_TABLES].base + offset;
        if (*physical + (size - 1) <= highest && is_free(memory, offset / MEMORY_PAGE, pages)) {
            mark(memory, offset, size, true);
            return memory->cached + offset;
        }
    }
    return NULL;
}

void memory_tables_give(struct memory *memory, const void *tables, size_t size)
{
    size_t offset = (size_t)((const uint8_t *)tables - memory->cached);

    mark(memory, offset, size, false);
    memset(memory->cached + offset, NEVER_CLEANED, size);
    memset(memory->bytes[REGION_TABLES] + offset, NEVER_CLEANED, size);
}

unsigned int memory_tables_taken(const struct memory *memory)
{
    unsigned int taken = 0;

    for (unsigned int i = 0; i < TABLE_PAGES; i++) {
        taken += memory->taken[i];
    }
    return taken;
}

void *memory_tables_virtual(struct memory *memory, uint64_t physical)
{
    uint64_t base = places[REGION_TABLES].base;

    if (physical < base || physical - base >= TABLES_SIZE) {
        return NULL;
    }
    return memory->cached + (size_t)(physical - base);
}

void memory_tables_clean(struct memory *memory, const void *address, size_t size)
{
    size_t offset = (size_t)((const uint8_t *)address - memory->cached);

    memcpy(memory->bytes[REGION_TABLES] + offset, memory->cached + offset, size);
}
