/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DEMO_DMA_H
#define DEMO_DMA_H

/* What the files of the DMA API's part of the demo share. */

#include "demo.h"
#include "dma-blk.h"

/*
 * The disk. Each line of 16 bytes says where it belongs, "sector SSSSS LL". What was read is
 * written elsewhere in capital letters, so whoever looks at the image afterwards sees that every
 * byte went through here, and to its place. From the first sector on there are: parts to be read,
 * one for each space; as many to be written; a sector for each space; one sector.
 */
#define SPACES        3u
#define ROUNDS        4u
#define ROUND_SECTORS 171u /* of all shapes together */
#define PART_SECTORS  (ROUNDS * ROUND_SECTORS)
#define TARGET_SECTOR (SPACES * PART_SECTORS)
#define KEPT_SECTOR   (2 * TARGET_SECTOR)
#define BESIDE_SECTOR (KEPT_SECTOR + SPACES)
#define ALL_SECTORS   (BESIDE_SECTOR + 1)

#define AREA_PAGES   16u
#define AREA_SIZE    (AREA_PAGES * PAGE)
#define SEGMENT_SIZE (4 * PAGE) /* the most that the disk's driver wants in one */
#define MOST_PIECES  12u

/* For one request of the worst shape: others have to wait. */
#define BOUNCE_PAGES 14u
/* Fewer than the requests of a round: the space is flushed while they go on. */
#define LAZY_COUNT 5u

/* What is different from space to space. */
struct variant {
    const char *name;
    bool lazy;
    bool untrusted;
    unsigned int number;
};

/* A request, with memory in which nothing else is. */
struct job {
    uint8_t *area;
    unsigned int sector;
    unsigned int sectors;
    struct piommu_segment list[MOST_PIECES];
    size_t count;
    size_t segments; /* that the list is to become */
};

#define SHAPES 4u

struct dma_demo {
    const struct variant *variant;
    struct piommu_instance *instance;
    uint16_t bdf;
    uint32_t endpoint;
    struct piommu_domain *domain;
    struct piommu_device *device;
    struct piommu_range window; /* reserved for interrupt messages */
    uint64_t mask;
    struct piommu_dma_space *space;
    struct piommu_dma_device *dma;
    struct dma_blk disk;
    struct job jobs[SHAPES];
    bool right;          /* all that was looked at so far */
    bool below;          /* addresses below the window were used */
    bool above;          /* and some above it */
    unsigned int unmaps; /* of requests */
    unsigned int waits;  /* for room */
    uint8_t *stale;      /* memory at an address that is to become invalid */
    uint64_t stale_iova; /* that address */
    bool released;       /* the space has said that nothing reaches it */
};

/* ---- Copying (demo-dma-copy.c) ---- */

/* Looks whether a list of buffers holds what the disk has from this sector on; makes it capital. */
bool check_and_change(const struct piommu_segment *list, size_t count, unsigned int sector);
/* Takes back what was submitted. */
void finish(struct dma_demo *demo);
/* Reads, checks, changes and writes the part of the disk that is this space's. */
void copy_part(struct dma_demo *demo);
/* The same for a sector, in a buffer that stays mapped. */
void kept_buffer(struct dma_demo *demo);

/* A single buffer, for both directions. */
uint64_t map_buffer(struct dma_demo *demo, const uint8_t *memory, size_t size);
void unmap_buffer(struct dma_demo *demo, uint64_t address, size_t size);
/* Reads or writes a sector, at an address of the device. */
void transfer_sector(struct dma_demo *demo, enum blk_operation operation, unsigned int sector,
                     uint64_t address);

#endif
