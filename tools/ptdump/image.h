/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PTDUMP_IMAGE_H
#define PTDUMP_IMAGE_H

/*
 * An image of memory: pieces of files, each with the physical address at which it was. Tables are
 * read when they are asked for, into memory of their own that is aligned as the library wants it;
 * so an image may be larger than the memory here, and a table may lie across two pieces.
 */

#include <piommu/os.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes of tables that are read at most: an image that lies could have tables without end. */
#define IMAGE_MAX_TABLE_BYTES (1ull << 30)

struct image_piece {
    const char *name; /* for messages */
    FILE *file;       /* can be read anywhere */
    struct piommu_range range;
};

/* A table that was asked for. */
struct image_table {
    uint64_t physical;
    void *memory;          /* its content, or NULL: not all of it is in the image */
    unsigned int entered;  /* the number of the tree in which it was entered last; 0: none */
    uint64_t entered_from; /* the first input address of the link that was followed */
};

struct image {
    struct image_piece *pieces;
    size_t piece_count;
    size_t table_size; /* bytes of a table: the granule. To be set before tables are asked for */
    struct image_table *tables; /* hashed by physical address */
    size_t table_slots;         /* a power of two, or 0 */
    size_t table_count;
    uint64_t bytes_read; /* of tables */
    bool too_large;      /* there were more than IMAGE_MAX_TABLE_BYTES */
};

/*
 * Adds a file, which the image closes in the end. False: it cannot be read, is empty, does not fit
 * below 2^64, or overlaps another piece; a complaint was made, and the file is closed.
 */
bool image_add(struct image *image, FILE *file, const char *name, uint64_t physical);

/* Reads bytes. False: not all of them are in the image. */
bool image_read(const struct image *image, uint64_t physical, void *buffer, size_t size);

/* The table at a physical address; never NULL, and valid until the next call. */
struct image_table *image_table(struct image *image, uint64_t physical);

/* The shim with which the library looks into the image. */
struct piommu_host image_host(struct image *image);

void image_free(struct image *image);

#endif
