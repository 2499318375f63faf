/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "image.h"

#include "../common/program.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define MIN_SLOTS 64u

/* ---- Pieces ---- */

/* The size of a file, or 0 if it has none that could be found out. */
static uint64_t file_size(FILE *file)
{
    off_t end = fseeko(file, 0, SEEK_END) == 0 ? ftello(file) : -1;

    return end > 0 ? (uint64_t)end : 0;
}

static const struct image_piece *piece_at(const struct image *image, uint64_t physical)
{
    for (size_t i = 0; i < image->piece_count; i++) {
        const struct piommu_range *range = &image->pieces[i].range;

        if (range->first <= physical && physical <= range->last) {
            return &image->pieces[i];
        }
    }
    return NULL;
}

/* Whether a new piece has no byte in common with those that there are. */
static bool is_free(const struct image *image, const struct piommu_range *range)
{
    for (size_t i = 0; i < image->piece_count; i++) {
        const struct piommu_range *other = &image->pieces[i].range;

        if (other->first <= range->last && range->first <= other->last) {
            return false;
        }
    }
    return true;
}

bool image_add(struct image *image, FILE *file, const char *name, uint64_t physical)
{
    uint64_t size = file_size(file);
    struct image_piece piece = {
        .name = name,
        .file = file,
        .range = {.first = physical, .last = physical + (size - 1)},
    };

    if (size == 0) {
        complain("%s: empty, or not a file that can be read at any place", name);
    } else if (piece.range.last < physical) {
        complain("%s: reaches beyond the last address there is", name);
    } else if (!is_free(image, &piece.range)) {
        complain("%s: overlaps another file", name);
    } else {
        image->pieces = must_realloc(image->pieces, image->piece_count + 1, sizeof(piece));
        image->pieces[image->piece_count++] = piece;
        return true;
    }
    fclose(file);
    return false;
}

bool image_read(const struct image *image, uint64_t physical, void *buffer, size_t size)
{
    char *bytes = buffer;

    while (size != 0) {
        const struct image_piece *piece = piece_at(image, physical);
        uint64_t rest;
        size_t part;

        if (piece == NULL) {
            return false;
        }
        rest = piece->range.last - physical;
        part = rest < size - 1 ? (size_t)rest + 1 : size;
        if (fseeko(piece->file, (off_t)(physical - piece->range.first), SEEK_SET) != 0 ||
            fread(bytes, 1, part, piece->file) != part) {
            complain("%s: cannot be read any more", piece->name);
            return false;
        }
        bytes += part;
        physical += part;
        size -= part;
        if (size != 0 && physical == 0) {
            return false;
        }
    }
    return true;
}

/* ---- Tables ---- */

/* A slot that nothing is in has no memory, and has not been asked for: this marks the others. */
#define IN_USE 1u

static struct image_table *find_slot(struct image_table *tables, size_t slots, uint64_t physical)
{
    /* Multiplication by a large odd number spreads page numbers over the high bits. */
    size_t place = (size_t)((physical * 0x9e3779b97f4a7c15ull) >> 32) & (slots - 1);

    while (tables[place].physical != 0 && tables[place].physical != (physical | IN_USE)) {
        place = (place + 1) & (slots - 1);
    }
    return &tables[place];
}

static void grow(struct image *image)
{
    size_t slots = image->table_slots != 0 ? 2 * image->table_slots : MIN_SLOTS;
    struct image_table *tables = must_realloc(NULL, slots, sizeof(*tables));

    memset(tables, 0, slots * sizeof(*tables));
    for (size_t i = 0; i < image->table_slots; i++) {
        const struct image_table *old = &image->tables[i];

        if (old->physical != 0) {
            *find_slot(tables, slots, old->physical & ~(uint64_t)IN_USE) = *old;
        }
    }
    free(image->tables);
    image->tables = tables;
    image->table_slots = slots;
}

/* The content of a table, or NULL. */
static void *read_table(struct image *image, uint64_t physical)
{
    void *memory;

    if (image->bytes_read > IMAGE_MAX_TABLE_BYTES - image->table_size) {
        image->too_large = true;
        return NULL;
    }
    memory = must_realloc(NULL, image->table_size, 1);
    if (!image_read(image, physical, memory, image->table_size)) {
        free(memory);
        return NULL;
    }
    image->bytes_read += image->table_size;
    return memory;
}

struct image_table *image_table(struct image *image, uint64_t physical)
{
    struct image_table *table;

    if (image->table_count * 2 >= image->table_slots) {
        grow(image);
    }
    table = find_slot(image->tables, image->table_slots, physical);
    if (table->physical == 0) {
        table->physical = physical | IN_USE;
        table->memory = read_table(image, physical);
        image->table_count++;
    }
    return table;
}

void image_free(struct image *image)
{
    for (size_t i = 0; i < image->table_slots; i++) {
        free(image->tables[i].memory);
    }
    free(image->tables);
    for (size_t i = 0; i < image->piece_count; i++) {
        fclose(image->pieces[i].file);
    }
    free(image->pieces);
}

/* ---- The shim ---- */

/* Nothing is built here. */
static void *refuse(void *ctx, const struct piommu_dma_request *request, uint64_t *physical)
{
    (void)ctx;
    (void)request;
    (void)physical;
    return NULL;
}

static void *find_table(void *ctx, uint64_t physical)
{
    return image_table(ctx, physical)->memory;
}

/* There is one thread, and no hardware. */
static void order(void *ctx, enum piommu_barrier kind)
{
    (void)ctx;
    (void)kind;
}

static const struct piommu_os os = {
    .size = sizeof(struct piommu_os),
    .alloc = library_alloc,
    .free = library_free,
    .dma_alloc = refuse,
    .dma_free = library_free,
    .dma_virtual = find_table,
    .barrier = order,
};

struct piommu_host image_host(struct image *image)
{
    struct piommu_host host = {.os = &os, .ctx = image};

    return host;
}
