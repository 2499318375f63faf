/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The IOMMU loses all that it was told: because it is switched off, and because it breaks. Then
 * everything works as before, and what must not work does not.
 */

#include "demo.h"
#include "sabotage.h"

#define LATER_IOVA  0x07000000ull
#define MILLISECOND 1000000ull

/* What the device is to find again: pages in domain A, and one in B. */
struct grants {
    uint8_t *shared;           /* at SHARED_IOVA in A */
    uint8_t *read_only;        /* at READ_ONLY_IOVA in A */
    uint8_t *scattered[PAGES]; /* at SOURCE_IOVA in A */
    uint8_t *other;            /* at SHARED_IOVA in B */
};

static enum piommu_instance_state state_of(struct demo *demo)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(demo->instance, &info);
    return info.state;
}

static void grant(struct demo *demo, struct grants *grants)
{
    const piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;

    grants->shared = take_page();
    grants->read_only = take_page();
    grants->other = take_page();
    take_scattered(grants->scattered, PAGES);
    map_page(demo->a, SHARED_IOVA, grants->shared, prot);
    map_page(demo->a, READ_ONLY_IOVA, grants->read_only, PIOMMU_PROT_READ);
    map_scattered(demo->a, SOURCE_IOVA, grants->scattered);
    map_page(demo->b, SHARED_IOVA, grants->other, prot);
}

static void revoke(struct demo *demo, struct grants *grants)
{
    unmap_and_sync(demo->a, SHARED_IOVA, PAGE);
    unmap_and_sync(demo->a, READ_ONLY_IOVA, PAGE);
    unmap_and_sync(demo->a, SOURCE_IOVA, PAGES * PAGE);
    unmap_and_sync(demo->b, SHARED_IOVA, PAGE);
    machine_pages_free(grants->shared, PAGE);
    machine_pages_free(grants->read_only, PAGE);
    machine_pages_free(grants->other, PAGE);
    give_pages(grants->scattered, PAGES);
}

/* The device hits what it hit before, in both domains, and nothing else; it is left in A. */
static void all_is_back(struct demo *demo, struct grants *grants, const char *when)
{
    bool scattered = true; /* the first page and the last one */

    load_device(demo, grants->shared, SHARED_IOVA);
    for (unsigned int i = 0; i < PAGES; i += PAGES - 1) {
        scattered = write_arrives(demo, SOURCE_IOVA + i * PAGE, grants->scattered[i]) && scattered;
    }
    check(scattered && write_arrives(demo, SHARED_IOVA, grants->shared),
          "%s: DMA to what domain A holds arrives where it did", when);
    check(write_is_refused(demo, READ_ONLY_IOVA, grants->read_only) && faults[0].write,
          "%s: what is read-only there still is", when);
    check(write_is_refused(demo, machine_physical(demo->page), demo->page) &&
              faults[0].reason == PIOMMU_FAULT_MAPPING,
          "%s: physical addresses still mean nothing", when);
    must(piommu_device_attach(demo->device, demo->b), "moving the device to B");
    check(write_arrives(demo, SHARED_IOVA, grants->other) &&
              write_is_refused(demo, SOURCE_IOVA, grants->scattered[0]),
          "%s: so it is with domain B", when);
    must(piommu_device_attach(demo->device, demo->a), "moving the device back to A");
    disk_goes_on(when);
}

/* ---- Suspend ---- */

static void suspend(struct demo *demo, const struct sabotage *sabotage, struct grants *grants)
{
    uint8_t *later = take_page();
    uint8_t *gone = take_page();

    section("Suspended: the IOMMU loses its power, and is told all again");
    map_page(demo->a, ONLY_A_IOVA, gone, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    load_device(demo, grants->shared, SHARED_IOVA);
    must(piommu_instance_suspend(demo->instance), "suspending the IOMMU");
    must(edu_dma_from_device(&demo->edu, 0, SHARED_IOVA, PROBE_SIZE), "a DMA of the device");
    check(state_of(demo) == PIOMMU_INSTANCE_SUSPENDED && is_filled(grants->shared, PAGE, UNTOUCHED),
          "suspended: DMA to what is mapped does not arrive");
    map_page(demo->a, LATER_IOVA, later, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    unmap_and_sync(demo->a, ONLY_A_IOVA, PAGE);
    sabotage_power_cycle(sabotage);
    check(sabotage_bypasses(sabotage), "the power was off: the IOMMU is open to everybody");
    must(piommu_instance_resume(demo->instance), "resuming the IOMMU");
    check(state_of(demo) == PIOMMU_INSTANCE_RUNNING && !sabotage_bypasses(sabotage),
          "resumed: it is closed");
    all_is_back(demo, grants, "resumed");
    check(write_arrives(demo, LATER_IOVA, later), "what was mapped meanwhile is there");
    check(write_is_refused(demo, ONLY_A_IOVA, gone), "what was unmapped meanwhile is not");
    unmap_and_sync(demo->a, LATER_IOVA, PAGE);
    machine_pages_free(later, PAGE);
    machine_pages_free(gone, PAGE);
}

/* ---- Recovery ---- */

/* The instance has failed: nothing is reached until it is brought back. */
static void is_closed(struct demo *demo, const struct sabotage *sabotage,
                      const struct grants *grants)
{
    check(state_of(demo) == PIOMMU_INSTANCE_FAILED &&
              piommu_domain_map(demo->a, LATER_IOVA, machine_physical(demo->page), PAGE,
                                PIOMMU_PROT_READ) == -PIOMMU_EFAILED,
          "the IOMMU has failed, and says so to every call that needs it");
    must(edu_dma_from_device(&demo->edu, 0, SHARED_IOVA, PROBE_SIZE), "a DMA of the device");
    check(is_filled(grants->shared, PAGE, UNTOUCHED) && !sabotage_bypasses(sabotage),
          "meanwhile it is closed: DMA to what is mapped does not arrive");
}

static void recover(struct demo *demo, const struct sabotage *sabotage, struct grants *grants,
                    const char *when)
{
    must(piommu_instance_recover(demo->instance), "recovering the IOMMU");
    check(state_of(demo) == PIOMMU_INSTANCE_RUNNING && !sabotage_bypasses(sabotage),
          "%s: it works, and is closed", when);
    disk_restart();
    all_is_back(demo, grants, when);
}

static void broken_by_request(struct demo *demo, const struct sabotage *sabotage,
                              struct grants *grants)
{
    uint64_t start;
    int error;

    section("Broken: a request that makes no sense; the library brings the IOMMU back");
    load_device(demo, grants->shared, SHARED_IOVA);
    sabotage_short_request(sabotage);
    check(sabotage_is_broken(sabotage), "the IOMMU says that it needs a reset");
    start = machine_now();
    error = piommu_domain_map(demo->a, LATER_IOVA, machine_physical(demo->page), PAGE,
                              PIOMMU_PROT_READ);
    check(error == -PIOMMU_EFAILED, "the next map fails: %s, after %u ms", piommu_strerror(error),
          (unsigned int)((machine_now() - start) / MILLISECOND));
    is_closed(demo, sabotage, grants);
    disk_stumbles();
    recover(demo, sabotage, grants, "recovered");
}

static void broken_by_event(struct demo *demo, const struct sabotage *sabotage,
                            struct grants *grants)
{
    bool more = false;
    int taken;

    section("Broken: a fault that it cannot report; the library brings the IOMMU back");
    load_device(demo, grants->shared, SHARED_IOVA);
    sabotage_short_events(sabotage);
    must(edu_dma_from_device(&demo->edu, 0, LATER_IOVA, PROBE_SIZE), "a DMA of the device");
    check(sabotage_is_broken(sabotage), "the IOMMU says that it needs a reset");
    taken = piommu_instance_interrupt(demo->instance, MAX_FAULTS, &more);
    check(taken == -PIOMMU_EFAILED && more, "its handler is told, and that service is needed");
    check(piommu_instance_service(demo->instance, MAX_FAULTS) == -PIOMMU_EFAILED,
          "which resets it");
    is_closed(demo, sabotage, grants);
    sabotage_power_cycle(sabotage);
    check(sabotage_bypasses(sabotage), "somebody has switched it off and on: it is open");
    recover(demo, sabotage, grants, "recovered again");
    load_device(demo, grants->shared, SHARED_IOVA);
    check(write_is_refused(demo, LATER_IOVA, demo->page) && fault_seen(demo->endpoint, LATER_IOVA),
          "and faults are reported again");
}

void recovery(struct demo *demo)
{
    struct sabotage sabotage;
    struct grants grants;

    must(sabotage_open(&sabotage, demo->iommu_bdf), "finding the registers of the IOMMU");
    grant(demo, &grants);
    suspend(demo, &sabotage, &grants);
    broken_by_request(demo, &sabotage, &grants);
    broken_by_event(demo, &sabotage, &grants);
    revoke(demo, &grants);
}
