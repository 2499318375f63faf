/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_BASE_BLOB_H
#define PIOMMU_LIB_BASE_BLOB_H

/*
 * State as little-endian bytes. One function says what they are for writing and for reading: it
 * goes through the members of an object, which are put into the blob, or set from it. What is read
 * may be anything: whether it makes sense is for that function to find out, and to say with
 * blob_refuse. At the end of a blob all reads are 0.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blob {
    uint8_t *to;         /* when writing; what there is no room for is only counted */
    const uint8_t *from; /* when reading; else NULL */
    size_t size;         /* of the buffer */
    size_t at;
    bool refused;
};

static inline struct blob blob_for_writing(void *buffer, size_t size)
{
    return (struct blob){.to = buffer, .size = buffer != NULL ? size : 0};
}

static inline struct blob blob_for_reading(const void *buffer, size_t size)
{
    return (struct blob){.from = buffer, .size = size};
}

static inline bool blob_is_read(const struct blob *blob)
{
    return blob->from != NULL;
}

static inline void blob_refuse(struct blob *blob)
{
    blob->refused = true;
}

/* What is read must be as the rules want it. */
static inline void blob_check(struct blob *blob, bool is_right)
{
    blob->refused = blob->refused || (blob_is_read(blob) && !is_right);
}

static inline void blob_byte(struct blob *blob, uint8_t *byte)
{
    bool fits = blob->at < blob->size;

    if (blob_is_read(blob)) {
        *byte = fits ? blob->from[blob->at] : 0;
        blob->refused = blob->refused || !fits;
    } else if (fits) {
        blob->to[blob->at] = *byte;
    }
    /* What is read is not counted beyond its end: a loop over it ends there. */
    blob->at += fits || !blob_is_read(blob);
}

static inline void blob_number(struct blob *blob, uint64_t *value, unsigned int bytes)
{
    uint64_t number = *value;

    if (blob_is_read(blob)) {
        *value = 0;
    }
    for (unsigned int i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(number >> (8 * i));

        blob_byte(blob, &byte);
        if (blob_is_read(blob)) {
            *value |= (uint64_t)byte << (8 * i);
        }
    }
}

static inline void blob_16(struct blob *blob, uint16_t *value)
{
    uint64_t number = *value;

    blob_number(blob, &number, sizeof(*value));
    *value = (uint16_t)number;
}

static inline void blob_32(struct blob *blob, uint32_t *value)
{
    uint64_t number = *value;

    blob_number(blob, &number, sizeof(*value));
    *value = (uint32_t)number;
}

static inline void blob_64(struct blob *blob, uint64_t *value)
{
    blob_number(blob, value, sizeof(*value));
}

static inline void blob_flag(struct blob *blob, bool *flag)
{
    uint8_t byte = *flag;

    blob_byte(blob, &byte);
    blob_check(blob, byte <= 1);
    *flag = byte != 0;
}

/* What has to be the same on both sides. */
static inline void blob_same(struct blob *blob, uint64_t value)
{
    uint64_t read = value;

    blob_64(blob, &read);
    blob_check(blob, read == value);
}

/* What was read is all that there is, and makes sense. */
static inline bool blob_is_right(const struct blob *blob)
{
    return !blob->refused && blob->at == blob->size;
}

#endif
