/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef DEMO_H
#define DEMO_H

/* What the files of the demo share. */

#include "edu.h"
#include "machine.h"
#include "transcript.h"

#include <piommu/fdt.h>
#include <piommu/piommu.h>

#include <libfdt.h>

#define PAGE MACHINE_PAGE_SIZE

/* Where the demo maps things. All below 256 MiB, but that is taste: any IOVA would do. */
#define SOURCE_IOVA    0x01234000ull
#define TARGET_IOVA    0x02468000ull
#define READ_ONLY_IOVA 0x03000000ull
#define SHARED_IOVA    0x04000000ull
#define ONLY_A_IOVA    0x05000000ull

#define PAGES       4u
#define PROBE_SIZE  16u /* for DMA that is to be refused: each 4 bytes of it give a fault report */
#define UNTOUCHED   0x5a
#define DEVICE_DATA 0xc3
#define MAX_FAULTS  64u

struct demo {
    struct piommu_fdt tree;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *a;
    struct piommu_domain *b;
    struct edu edu;
    uint16_t iommu_bdf;
    int host_bridge;
    uint32_t endpoint;
    uint8_t *page; /* where refused DMA would arrive */
    uint8_t *source[PAGES];
    uint8_t *target[PAGES];
};

/* ---- Faults (demo-tools.c) ---- */

/* Those that collect_faults has taken in, the first MAX_FAULTS of fault_count. */
extern struct piommu_fault faults[MAX_FAULTS];
extern unsigned int fault_count;

/* What is answered to the next ones; PIOMMU_FAULT_NOTE to begin with. */
extern enum piommu_fault_answer fault_answer;

/* The context's fault callback. */
enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault);
/* Takes in what the IOMMU has reported since the last time, for as long as something comes. */
void collect_faults(struct piommu_instance *instance);
/* Tells whether a fault of this endpoint in the range that was tried is among those collected. */
bool fault_seen(uint32_t endpoint, uint64_t iova);
void print_fault(void);

/* ---- Memory and DMA (demo-tools.c) ---- */

/* A page filled with UNTOUCHED. */
uint8_t *take_page(void);
/* Pages that lie apart from each other, in falling order of addresses. At most PAGES. */
void take_scattered(uint8_t **pages, unsigned int count);
void print_pages(const char *what, uint64_t iova, uint8_t **pages, unsigned int count);
void give_pages(uint8_t **pages, unsigned int count);
bool is_filled(const uint8_t *memory, size_t size, uint8_t value);

/* Loads the device's buffer with DEVICE_DATA, through a page that is mapped at this IOVA. */
void load_device(struct demo *demo, uint8_t *page, uint64_t iova);
/* Lets the device write to an address; true if nothing has arrived in the page. */
bool write_is_refused(struct demo *demo, uint64_t iova, const uint8_t *page);
/*
 * Lets the device write to an address; true if its data has arrived in the page. Cleans the page
 * up.
 */
bool write_arrives(struct demo *demo, uint64_t iova, uint8_t *page);

void map_page(struct piommu_domain *domain, uint64_t iova, const uint8_t *page, piommu_prot prot);
/* Maps PAGES scattered pages at contiguous IOVAs, for reading and writing. */
void map_scattered(struct piommu_domain *domain, uint64_t iova, uint8_t **pages);
/* (With -append forget-sync it does not sync, and the checks must notice.) */
void unmap_and_sync(struct piommu_domain *domain, uint64_t iova, uint64_t size);

/* ---- The machine, as this run was told that it is (demo.c) ---- */

/*
 * Whether a disk has the features of rings that QEMU's have by themselves, but for those that this
 * run was told to be absent; and packed rings if it was told of them.
 */
bool has_features(uint64_t features);
/* By which ID the IOMMU knows the DMA of a PCI function. */
uint32_t endpoint_of(struct demo *demo, uint16_t bdf);

/* ---- Parts of the demo ---- */

/* Each report that a refused DMA gives. */
void exact_faults(struct demo *demo);

/* Suspend and recovery, with the disk if there is one. */
void recovery(struct demo *demo);

/* A disk behind the IOMMU: the functions do nothing if the machine has none (demo-disk.c). */
void disk_start(struct demo *demo);
void disk_goes_on(const char *when);
/* Gives it a request while it cannot reach any memory; disk_restart has to follow when it can. */
void disk_stumbles(void);
void disk_restart(void);
void disk_stop(void);
/* Another one behind virtio-mmio, if the machine has it. */
void disk_mmio(struct demo *demo);

/* A second disk behind the IOMMU, by the DMA API, if the machine has it (demo-dma.c). */
void disk_dma(struct demo *demo);

/* The same kind of mappings in page tables, judged by the CPU's stage-2 translation. */
void stage2(void);

#endif
