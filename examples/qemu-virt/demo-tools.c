/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What the parts of the demo share: fault reports, memory, single DMAs. */

#include "demo.h"

#include <string.h>

/* ---- Faults ---- */

struct piommu_fault faults[MAX_FAULTS];
unsigned int fault_count;
enum piommu_fault_answer fault_answer = PIOMMU_FAULT_NOTE;

enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    if (fault_count < MAX_FAULTS) {
        faults[fault_count] = *fault;
    }
    fault_count++;
    return fault_answer;
}

void collect_faults(struct piommu_instance *instance)
{
    fault_count = 0;
    do {
        machine_delay(5000000);
    } while (piommu_instance_service(instance, 32) > 0);
}

bool fault_seen(uint32_t endpoint, uint64_t iova)
{
    for (unsigned int i = 0; i < fault_count && i < MAX_FAULTS; i++) {
        if (faults[i].id == endpoint && faults[i].iova_valid && faults[i].iova >= iova &&
            faults[i].iova < iova + PROBE_SIZE) {
            return true;
        }
    }
    return false;
}

static const char *reason_name(enum piommu_fault_reason reason)
{
    static const char *const names[] = {"unknown", "blocked", "mapping"};

    return names[reason];
}

void print_fault(void)
{
    if (fault_count != 0) {
        machine_printf("     fault: endpoint 0x%x, IOVA 0x%llx, reason %s%s%s (%u reports)\n",
                       faults[0].id, (unsigned long long)faults[0].iova,
                       reason_name(faults[0].reason), faults[0].read ? ", read" : "",
                       faults[0].write ? ", write" : "", fault_count);
    }
}

/* ---- Memory ---- */

uint8_t *take_page(void)
{
    uint8_t *page = machine_pages_alloc(PAGE, PAGE);

    must(page != NULL ? 0 : -PIOMMU_ENOMEM, "memory for the demo");
    memset(page, UNTOUCHED, PAGE);
    return page;
}

void take_scattered(uint8_t **pages, unsigned int count)
{
    uint8_t *all[2 * PAGES];

    for (unsigned int i = 0; i < 2 * count; i++) {
        all[i] = take_page();
    }
    for (unsigned int i = 0; i < count; i++) {
        pages[count - 1 - i] = all[2 * i];
        machine_pages_free(all[2 * i + 1], PAGE);
    }
}

void print_pages(const char *what, uint64_t iova, uint8_t **pages, unsigned int count)
{
    machine_printf("     %s: IOVA 0x%llx..0x%llx -> physical", what, (unsigned long long)iova,
                   (unsigned long long)(iova + count * PAGE - 1));
    for (unsigned int i = 0; i < count; i++) {
        machine_printf(" 0x%llx", (unsigned long long)machine_physical(pages[i]));
    }
    machine_printf("\n");
}

void give_pages(uint8_t **pages, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        machine_pages_free(pages[i], PAGE);
    }
}

bool is_filled(const uint8_t *memory, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != value) {
            return false;
        }
    }
    return true;
}

/* ---- DMA ---- */

void load_device(struct demo *demo, uint8_t *page, uint64_t iova)
{
    memset(page, DEVICE_DATA, PROBE_SIZE);
    must(edu_dma_to_device(&demo->edu, iova, 0, PROBE_SIZE), "loading the device");
    memset(page, UNTOUCHED, PROBE_SIZE);
}

bool write_is_refused(struct demo *demo, uint64_t iova, const uint8_t *page)
{
    must(edu_dma_from_device(&demo->edu, 0, iova, PROBE_SIZE), "a DMA of the device");
    collect_faults(demo->instance);
    return is_filled(page, PAGE, UNTOUCHED);
}

bool write_arrives(struct demo *demo, uint64_t iova, uint8_t *page)
{
    bool arrived;

    must(edu_dma_from_device(&demo->edu, 0, iova, PROBE_SIZE), "a DMA of the device");
    collect_faults(demo->instance);
    arrived = is_filled(page, PROBE_SIZE, DEVICE_DATA) &&
              is_filled(page + PROBE_SIZE, PAGE - PROBE_SIZE, UNTOUCHED);
    memset(page, UNTOUCHED, PAGE);
    return arrived;
}

void map_page(struct piommu_domain *domain, uint64_t iova, const uint8_t *page, piommu_prot prot)
{
    must(piommu_domain_map(domain, iova, machine_physical(page), PAGE, prot), "mapping a page");
}

void unmap_and_sync(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    must(piommu_domain_unmap(domain, iova, size, &gather, NULL), "unmap");
    if (!told("forget-sync")) {
        must(piommu_domain_sync(domain, &gather), "sync");
    }
}

void map_scattered(struct piommu_domain *domain, uint64_t iova, uint8_t **pages)
{
    struct piommu_segment segments[PAGES];

    for (unsigned int i = 0; i < PAGES; i++) {
        segments[i].physical = machine_physical(pages[i]);
        segments[i].size = PAGE;
    }
    must(
        piommu_domain_map_list(domain, iova, segments, PAGES, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE),
        "mapping a list");
}
