/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The demo: a device does DMA through a virtio-iommu that the library programs. Every claim is
 * checked by what the device did to memory, not by what the library says.
 */

#include "demo.h"
#include "host.h"
#include "sabotage.h"

#include <piommu/virtio-iommu.h>

#include <string.h>

#define COPY_SIZE 3072u /* not a divisor of the page size, so that copies cross pages */
#define SECRET    0x99

/* ---- Patterns ---- */

static bool contains(const uint8_t *memory, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] == value) {
            return true;
        }
    }
    return false;
}

/* The byte that belongs at an offset of the scattered buffer. */
static uint8_t pattern(size_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8) + 1);
}

/* ---- Finding ---- */

bool has_features(uint64_t features)
{
    return ((features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0) == !told("no-event-index") &&
           ((features & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0) == !told("no-indirect") &&
           ((features & PIOMMU_VIRTIO_F_RING_PACKED) != 0) == told("packed");
}

uint32_t endpoint_of(struct demo *demo, uint16_t bdf)
{
    struct piommu_fdt_id id;

    must(piommu_fdt_pci_id(&demo->tree, demo->host_bridge, machine_pci_requester(bdf), &id),
         "looking up an endpoint ID");
    return id.cells[0];
}

static void find(struct demo *demo)
{
    struct piommu_fdt_iommu iommu;
    struct piommu_fdt_id id;
    const void *blob = machine_device_tree();
    struct piommu_fdt *tree = &demo->tree;
    uint16_t edu_bdf;

    section("The device tree leads to the IOMMU");
    must(piommu_fdt_open(tree, host_shim(), blob, fdt_totalsize(blob)), "reading the device tree");
    must(piommu_fdt_next_iommu(tree, piommu_virtio_iommu_backend()->compatible, -1, &iommu),
         "finding a virtio-iommu in the device tree");
    check(iommu.is_pci && iommu.id_cells == 1, "a virtio-iommu at PCI %02x:%02x.%u, phandle 0x%x",
          iommu.pci_bdf >> 8, (iommu.pci_bdf >> 3) & 31u, iommu.pci_bdf & 7u, iommu.phandle);
    check(piommu_fdt_next_iommu(tree, piommu_virtio_iommu_backend()->compatible, iommu.node,
                                &iommu) == -PIOMMU_ENOENT,
          "and no second one");
    demo->iommu_bdf = iommu.pci_bdf;
    demo->host_bridge = iommu.host_bridge;
    check(piommu_fdt_pci_id(tree, iommu.host_bridge, iommu.pci_bdf, &id) == -PIOMMU_ENOENT,
          "iommu-map has a hole at requester ID 0x%x: the IOMMU is not behind itself",
          iommu.pci_bdf);
    must(machine_pci_find(EDU_VENDOR, EDU_DEVICE, &edu_bdf), "finding the edu device");
    demo->endpoint = endpoint_of(demo, edu_bdf);
    check(demo->endpoint == machine_pci_requester(edu_bdf),
          "the DMA device edu at PCI %02x:%02x.%u is endpoint 0x%x of that IOMMU", edu_bdf >> 8,
          (edu_bdf >> 3) & 31u, edu_bdf & 7u, demo->endpoint);
    must(edu_start(&demo->edu, edu_bdf), "starting edu");
}

static void start(struct demo *demo)
{
    struct piommu_context_config context_config = {.fault = on_fault};
    struct piommu_virtio_iommu_config place = {.pci = {.segment = 0, .bdf = demo->iommu_bdf}};
    /* The IOMMU is another program's thread: more patience than hardware needs. */
    struct piommu_instance_config config = {.name = "viommu0", .timeout = 2000000000};
    struct piommu_instance_info info;
    struct sabotage registers;
    const uint64_t rings =
        PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX | PIOMMU_VIRTIO_F_RING_PACKED;

    must(piommu_context_create(host_shim(), &context_config, &demo->context), "creating a context");
    must(piommu_instance_create(demo->context, piommu_virtio_iommu_backend(), &place, &config,
                                &demo->instance),
         "starting the IOMMU");
    piommu_instance_get_info(demo->instance, &info);
    check(info.granule == PAGE && !info.failed,
          "started over virtio-pci: IOVA 0x%llx..0x%llx, granule %llu, write-only %s, identity %s",
          (unsigned long long)info.aperture.first, (unsigned long long)info.aperture.last,
          (unsigned long long)info.granule, info.write_only ? "yes" : "no",
          info.identity ? "yes" : "no");
    must(sabotage_open(&registers, demo->iommu_bdf), "finding the registers of the IOMMU");
    check((sabotage_offered(&registers) & rings & ~sabotage_accepted(&registers)) == 0,
          "indirect descriptors, event indices and packed rings are used, if it has them");
    check(((sabotage_accepted(&registers) & PIOMMU_VIRTIO_F_RING_PACKED) != 0) == told("packed"),
          "its rings are %s", told("packed") ? "packed" : "split");
}

/* ---- Closed ---- */

static void control(struct demo *demo)
{
    uint64_t physical = machine_physical(demo->page);

    /* Without this, "nothing arrived" below would prove nothing. */
    load_device(demo, demo->page, physical);
    must(edu_dma_from_device(&demo->edu, 0, physical, PROBE_SIZE), "a DMA of the device");
    if (told("closed-at-reset")) {
        check(is_filled(demo->page, PAGE, UNTOUCHED),
              "the IOMMU is closed from reset on: DMA to physical 0x%llx does not arrive",
              (unsigned long long)physical);
    } else {
        check(is_filled(demo->page, PROBE_SIZE, DEVICE_DATA),
              "for comparison: before the IOMMU is started, DMA to physical 0x%llx arrives",
              (unsigned long long)physical);
    }
    memset(demo->page, UNTOUCHED, PAGE);
}

static void closed(struct demo *demo)
{
    uint64_t physical = machine_physical(demo->page);

    section("Closed: a device in no domain reaches nothing");
    check(write_is_refused(demo, physical, demo->page),
          "a device that nobody has added: its DMA to 0x%llx does not arrive",
          (unsigned long long)physical);
    check(fault_seen(demo->endpoint, physical), "and is reported");
    print_fault();
}

static void add_device(struct demo *demo)
{
    struct piommu_device_id id = {.instance = demo->instance, .id = demo->endpoint};
    struct piommu_device_config config = {.ids = &id, .id_count = 1, .name = "edu"};
    struct piommu_reserved_region region;
    uint64_t physical = machine_physical(demo->page);

    must(piommu_device_add(demo->context, &config, &demo->device), "adding the device");
    for (size_t i = 0; piommu_device_reserved_region(demo->device, i, &region) == 0; i++) {
        machine_printf("     reserved for it: 0x%llx..0x%llx (%s)\n",
                       (unsigned long long)region.range.first,
                       (unsigned long long)region.range.last,
                       region.kind == PIOMMU_RESERVED_MSI ? "interrupts" : "other");
    }
    check(write_is_refused(demo, physical, demo->page),
          "added, in no domain: DMA to 0x%llx does not arrive", (unsigned long long)physical);
    check(fault_seen(demo->endpoint, physical) && faults[0].device_name != NULL,
          "and is reported, with the device's name: %s",
          fault_count != 0 && faults[0].device_name != NULL ? faults[0].device_name : "-");
}

/* ---- Mapped ---- */

static void copy_through(struct demo *demo)
{
    bool all = true;

    for (size_t i = 0; i < PAGES * PAGE; i++) {
        demo->source[i / PAGE][i % PAGE] = pattern(i);
    }
    for (size_t offset = 0; offset < PAGES * PAGE; offset += COPY_SIZE) {
        size_t left = PAGES * PAGE - offset;
        size_t size = left < COPY_SIZE ? left : COPY_SIZE;

        must(edu_dma_to_device(&demo->edu, SOURCE_IOVA + offset, 0, size), "RAM -> device");
        must(edu_dma_from_device(&demo->edu, 0, TARGET_IOVA + offset, size), "device -> RAM");
    }
    collect_faults(demo->instance);
    for (unsigned int page = 0; page < PAGES; page++) {
        bool right = true;

        for (size_t i = 0; i < PAGE; i++) {
            right = right && demo->target[page][i] == pattern(page * PAGE + i);
        }
        all = all && right;
        check(right, "IOVA 0x%llx: all %u bytes arrived at physical 0x%llx",
              (unsigned long long)(TARGET_IOVA + page * PAGE), (unsigned int)PAGE,
              (unsigned long long)machine_physical(demo->target[page]));
        memset(demo->target[page], UNTOUCHED, PAGE);
    }
    check(all && fault_count == 0, "no fault was reported meanwhile");
}

static void mapped(struct demo *demo)
{
    uint64_t physical;

    section("Mapped: scattered pages, contiguous IOVAs, RAM -> device -> RAM");
    take_scattered(demo->source, PAGES);
    take_scattered(demo->target, PAGES);
    must(piommu_device_attach(demo->device, demo->a), "attaching the device to domain A");
    map_scattered(demo->a, SOURCE_IOVA, demo->source);
    map_scattered(demo->a, TARGET_IOVA, demo->target);
    print_pages("source", SOURCE_IOVA, demo->source, PAGES);
    print_pages("target", TARGET_IOVA, demo->target, PAGES);
    copy_through(demo);
    physical = machine_physical(demo->target[0]);
    check(write_is_refused(demo, physical, demo->target[0]),
          "the physical address 0x%llx itself is not an IOVA: DMA to it does not arrive",
          (unsigned long long)physical);
}

/* ---- Permissions ---- */

static void read_only(struct demo *demo)
{
    uint8_t *page = take_page();
    uint8_t *copy = take_page();

    section("Read-only: the device may read, not write");
    map_page(demo->a, READ_ONLY_IOVA, page, PIOMMU_PROT_READ);
    map_page(demo->a, SHARED_IOVA, copy, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);
    load_device(demo, page, READ_ONLY_IOVA);
    check(write_arrives(demo, SHARED_IOVA, copy), "reading IOVA 0x%llx works",
          (unsigned long long)READ_ONLY_IOVA);
    check(write_is_refused(demo, READ_ONLY_IOVA, page), "writing IOVA 0x%llx does not",
          (unsigned long long)READ_ONLY_IOVA);
    check(fault_seen(demo->endpoint, READ_ONLY_IOVA) && faults[0].write,
          "the fault names endpoint, IOVA and the permission that was missing");
    print_fault();
    unmap_and_sync(demo->a, READ_ONLY_IOVA, PAGE);
    unmap_and_sync(demo->a, SHARED_IOVA, PAGE);
    machine_pages_free(page, PAGE);
    machine_pages_free(copy, PAGE);
}

/* ---- Unmapped ---- */

static void unmapped(struct demo *demo)
{
    uint64_t physical = machine_physical(demo->target[0]);

    section("Unmapped: gone after unmap and sync");
    load_device(demo, demo->source[0], SOURCE_IOVA);
    check(write_arrives(demo, TARGET_IOVA, demo->target[0]), "before: DMA to IOVA 0x%llx arrives",
          (unsigned long long)TARGET_IOVA);
    unmap_and_sync(demo->a, TARGET_IOVA, PAGES * PAGE);
    check(write_is_refused(demo, TARGET_IOVA, demo->target[0]),
          "after: DMA to IOVA 0x%llx does not arrive at 0x%llx", (unsigned long long)TARGET_IOVA,
          (unsigned long long)physical);
    check(fault_seen(demo->endpoint, TARGET_IOVA) && faults[0].reason == PIOMMU_FAULT_MAPPING,
          "and is reported as a missing mapping");
    print_fault();

    /* Reading: what the device holds now must not become what the unmapped page holds. */
    unmap_and_sync(demo->a, SOURCE_IOVA, PAGES * PAGE);
    memset(demo->source[0], SECRET, PAGE);
    must(edu_dma_to_device(&demo->edu, SOURCE_IOVA, 0, PROBE_SIZE), "a DMA of the device");
    map_scattered(demo->a, TARGET_IOVA, demo->target);
    must(edu_dma_from_device(&demo->edu, 0, TARGET_IOVA, PROBE_SIZE), "a DMA of the device");
    check(!contains(demo->target[0], PROBE_SIZE, SECRET),
          "reading IOVA 0x%llx after unmap: no byte of 0x%llx leaks into the device",
          (unsigned long long)SOURCE_IOVA, (unsigned long long)machine_physical(demo->source[0]));
    unmap_and_sync(demo->a, TARGET_IOVA, PAGES * PAGE);
    give_pages(demo->source, PAGES);
    give_pages(demo->target, PAGES);
}

/* ---- Two domains ---- */

static void two_domains(struct demo *demo)
{
    const piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    uint8_t *page_a = take_page();
    uint8_t *page_b = take_page();
    uint8_t *only_a = take_page();

    section("Two domains: the device moves, and reaches only what its domain holds");
    map_page(demo->a, SHARED_IOVA, page_a, prot);
    map_page(demo->a, ONLY_A_IOVA, only_a, prot);
    map_page(demo->b, SHARED_IOVA, page_b, prot);
    load_device(demo, page_a, SHARED_IOVA);
    check(write_arrives(demo, SHARED_IOVA, page_a) && is_filled(page_b, PAGE, UNTOUCHED),
          "in A: IOVA 0x%llx is physical 0x%llx", (unsigned long long)SHARED_IOVA,
          (unsigned long long)machine_physical(page_a));
    check(write_arrives(demo, ONLY_A_IOVA, only_a), "in A: IOVA 0x%llx is physical 0x%llx",
          (unsigned long long)ONLY_A_IOVA, (unsigned long long)machine_physical(only_a));

    /* The copy happens 100 ms after its start: by then the device has been moved. */
    must(edu_dma_begin_from_device(&demo->edu, 0, ONLY_A_IOVA, PROBE_SIZE), "starting a DMA");
    must(piommu_device_attach(demo->device, demo->b), "moving the device from A to B");
    must(edu_dma_wait(&demo->edu), "waiting for the DMA");
    collect_faults(demo->instance);
    check(is_filled(only_a, PAGE, UNTOUCHED) && fault_seen(demo->endpoint, ONLY_A_IOVA),
          "a DMA that was under way to A's IOVA 0x%llx during the move does not arrive",
          (unsigned long long)ONLY_A_IOVA);
    check(write_arrives(demo, SHARED_IOVA, page_b) && is_filled(page_a, PAGE, UNTOUCHED),
          "in B: the same IOVA 0x%llx is physical 0x%llx", (unsigned long long)SHARED_IOVA,
          (unsigned long long)machine_physical(page_b));
    check(write_is_refused(demo, ONLY_A_IOVA, only_a),
          "in B: IOVA 0x%llx, which only A maps, does not arrive", (unsigned long long)ONLY_A_IOVA);
    must(piommu_device_attach(demo->device, demo->a), "moving the device back to A");
    check(write_arrives(demo, ONLY_A_IOVA, only_a) && write_arrives(demo, SHARED_IOVA, page_a) &&
              is_filled(page_b, PAGE, UNTOUCHED),
          "back in A: its mappings are all there again");
    unmap_and_sync(demo->a, SHARED_IOVA, PAGE);
    unmap_and_sync(demo->a, ONLY_A_IOVA, PAGE);
    unmap_and_sync(demo->b, SHARED_IOVA, PAGE);
    machine_pages_free(page_a, PAGE);
    machine_pages_free(page_b, PAGE);
    machine_pages_free(only_a, PAGE);
}

static void identity(struct demo *demo)
{
    struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_IDENTITY,
                                          .instances = &demo->instance,
                                          .instance_count = 1,
                                          .name = "identity"};
    struct piommu_domain *domain;
    uint64_t physical = machine_physical(demo->page);

    must(piommu_domain_create(&config, &domain), "creating an identity domain");
    must(piommu_device_attach(demo->device, domain), "moving the device to it");
    check(write_arrives(demo, physical, demo->page),
          "in an identity domain, an explicit grant: physical 0x%llx is reachable",
          (unsigned long long)physical);
    must(piommu_device_attach(demo->device, demo->a), "moving the device back to A");
    check(write_is_refused(demo, physical, demo->page), "back in A: it is not");
    must(piommu_domain_destroy(domain), "destroying the identity domain");
}

/* ---- The end ---- */

static void detach(struct demo *demo)
{
    const piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;

    section("Detach closes again; everything is given back");
    map_page(demo->a, SHARED_IOVA, demo->page, prot);
    load_device(demo, demo->page, SHARED_IOVA);
    check(write_arrives(demo, SHARED_IOVA, demo->page), "attached: DMA to IOVA 0x%llx arrives",
          (unsigned long long)SHARED_IOVA);
    must(piommu_device_detach(demo->device), "detaching the device");
    check(write_is_refused(demo, SHARED_IOVA, demo->page), "detached: it does not");
    check(fault_seen(demo->endpoint, SHARED_IOVA) && faults[0].reason == PIOMMU_FAULT_BLOCKED,
          "and is reported as the DMA of a blocked device");
    print_fault();
}

static void tear_down(struct demo *demo)
{
    must(piommu_domain_destroy(demo->a), "destroying domain A");
    must(piommu_domain_destroy(demo->b), "destroying domain B");
    must(piommu_device_remove(demo->device), "removing the device");
    must(piommu_instance_destroy(demo->instance), "stopping the IOMMU");
    must(piommu_context_destroy(demo->context), "destroying the context");
    piommu_fdt_close(&demo->tree);
}

int main(void)
{
    static struct demo demo;
    size_t heap_before = machine_heap_outstanding();
    size_t pages_before = machine_pages_outstanding();
    struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING};

    machine_printf("piommu %s on QEMU virt, EL%u, %llu MiB of RAM\n", piommu_version(),
                   machine_current_el(), (unsigned long long)(machine_ram_size() >> 20));
    demo.page = take_page();
    find(&demo);
    control(&demo);
    start(&demo);
    closed(&demo);
    add_device(&demo);
    domain.instances = &demo.instance;
    domain.instance_count = 1;
    domain.name = "A";
    must(piommu_domain_create(&domain, &demo.a), "creating domain A");
    domain.name = "B";
    must(piommu_domain_create(&domain, &demo.b), "creating domain B");
    mapped(&demo);
    read_only(&demo);
    unmapped(&demo);
    two_domains(&demo);
    identity(&demo);
    stage2();
    exact_faults(&demo);
    disk_start(&demo);
    recovery(&demo);
    disk_stop();
    disk_mmio(&demo);
    disk_dma(&demo);
    detach(&demo);
    tear_down(&demo);
    edu_stop(&demo.edu);
    machine_pages_free(demo.page, PAGE);
    check(machine_heap_outstanding() == heap_before && machine_pages_outstanding() == pages_before,
          "every byte taken from the shim was given back: %u of heap and %u of pages are left",
          (unsigned int)(machine_heap_outstanding() - heap_before),
          (unsigned int)(machine_pages_outstanding() - pages_before));
    return summary();
}
