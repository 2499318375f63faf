/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The demo: a device does DMA through a virtio-iommu that the library programs. Every claim is
 * checked by what the device did to memory, not by what the library says.
 */

#include "edu.h"
#include "host.h"
#include "machine.h"

#include <piommu/fdt.h>
#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#include <libfdt.h>
#include <string.h>

#define PAGE MACHINE_PAGE_SIZE

/* Where the demo maps things. All below 256 MiB, but that is taste: any IOVA would do. */
#define SOURCE_IOVA    0x01234000ull
#define TARGET_IOVA    0x02468000ull
#define READ_ONLY_IOVA 0x03000000ull
#define SHARED_IOVA    0x04000000ull
#define ONLY_A_IOVA    0x05000000ull

#define PAGES       4u
#define COPY_SIZE   3072u /* not a divisor of the page size, so that copies cross pages */
#define PROBE_SIZE  16u /* for DMA that is to be refused: each 4 bytes of it give a fault report */
#define UNTOUCHED   0x5a
#define DEVICE_DATA 0xc3
#define SECRET      0x99
#define MAX_FAULTS  64u

/* ---- The transcript ---- */

static unsigned int passed;
static unsigned int failed;

/* One line of the transcript. */
#define CHECK(condition, ...)                       \
    do {                                            \
        bool holds_ = (condition);                  \
        machine_printf(holds_ ? "ok   " : "FAIL "); \
        machine_printf(__VA_ARGS__);                \
        machine_printf("\n");                       \
        holds_ ? passed++ : failed++;               \
    } while (0)

/* A step without which the rest makes no sense. */
static void must(int error, const char *what)
{
    if (error != 0) {
        machine_printf("FAIL %s: %s\n", what, piommu_strerror(error));
        machine_printf("demo: %u checks passed, %u failed\n", passed, failed + 1);
        machine_exit(1);
    }
}

static void section(const char *title)
{
    machine_printf("\n%s\n", title);
}

/* ---- Faults ---- */

static struct piommu_fault faults[MAX_FAULTS];
static unsigned int fault_count;

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    if (fault_count < MAX_FAULTS) {
        faults[fault_count] = *fault;
    }
    fault_count++;
    return PIOMMU_FAULT_NOTE;
}

/* Takes in what the IOMMU has reported since the last time, for as long as something comes. */
static void collect_faults(struct piommu_instance *instance)
{
    fault_count = 0;
    do {
        machine_delay(5000000);
    } while (piommu_instance_service(instance, 32) > 0);
}

/* Tells whether a fault of this endpoint in the range that was tried is among those collected. */
static bool fault_seen(uint32_t endpoint, uint64_t iova)
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

static void print_fault(void)
{
    if (fault_count != 0) {
        machine_printf("     fault: endpoint 0x%x, IOVA 0x%llx, reason %s%s%s (%u reports)\n",
                       faults[0].id, (unsigned long long)faults[0].iova,
                       reason_name(faults[0].reason), faults[0].read ? ", read" : "",
                       faults[0].write ? ", write" : "", fault_count);
    }
}

/* ---- Memory of the demo ---- */

static uint8_t *take_page(void)
{
    uint8_t *page = machine_pages_alloc(PAGE, PAGE);

    must(page != NULL ? 0 : -PIOMMU_ENOMEM, "memory for the demo");
    memset(page, UNTOUCHED, PAGE);
    return page;
}

/* Pages that lie apart from each other, in falling order of addresses. */
static void take_scattered(uint8_t **pages, unsigned int count)
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

static void give_pages(uint8_t **pages, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        machine_pages_free(pages[i], PAGE);
    }
}

static bool is_filled(const uint8_t *memory, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != value) {
            return false;
        }
    }
    return true;
}

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

static void print_pages(const char *what, uint64_t iova, uint8_t **pages, unsigned int count)
{
    machine_printf("     %s: IOVA 0x%llx..0x%llx -> physical", what, (unsigned long long)iova,
                   (unsigned long long)(iova + count * PAGE - 1));
    for (unsigned int i = 0; i < count; i++) {
        machine_printf(" 0x%llx", (unsigned long long)machine_physical(pages[i]));
    }
    machine_printf("\n");
}

/* ---- What the checks share ---- */

struct demo {
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

/* Loads the device's buffer with DEVICE_DATA, through a page that is mapped at this IOVA. */
static void load_device(struct demo *demo, uint8_t *page, uint64_t iova)
{
    memset(page, DEVICE_DATA, PROBE_SIZE);
    must(edu_dma_to_device(&demo->edu, iova, 0, PROBE_SIZE), "loading the device");
    memset(page, UNTOUCHED, PROBE_SIZE);
}

/* Lets the device write to an address; true if nothing has arrived in the page. */
static bool write_is_refused(struct demo *demo, uint64_t iova, const uint8_t *page)
{
    must(edu_dma_from_device(&demo->edu, 0, iova, PROBE_SIZE), "a DMA of the device");
    collect_faults(demo->instance);
    return is_filled(page, PAGE, UNTOUCHED);
}

/*
 * Lets the device write to an address; true if its data has arrived in the page. Cleans the page
 * up.
 */
static bool write_arrives(struct demo *demo, uint64_t iova, uint8_t *page)
{
    bool arrived;

    must(edu_dma_from_device(&demo->edu, 0, iova, PROBE_SIZE), "a DMA of the device");
    collect_faults(demo->instance);
    arrived = is_filled(page, PROBE_SIZE, DEVICE_DATA) &&
              is_filled(page + PROBE_SIZE, PAGE - PROBE_SIZE, UNTOUCHED);
    memset(page, UNTOUCHED, PAGE);
    return arrived;
}

static void unmap_and_sync(struct piommu_domain *domain, uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    must(piommu_domain_unmap(domain, iova, size, &gather, NULL), "unmap");
    must(piommu_domain_sync(domain, &gather), "sync");
}

/* ---- 1: finding ---- */

static void find(struct demo *demo)
{
    struct piommu_fdt tree;
    struct piommu_fdt_iommu iommu;
    struct piommu_fdt_id id;
    const void *blob = machine_device_tree();
    uint16_t edu_bdf;

    section("1. The device tree leads to the IOMMU");
    must(piommu_fdt_open(&tree, host_shim(), blob, fdt_totalsize(blob)), "reading the device tree");
    must(piommu_fdt_next_iommu(&tree, piommu_virtio_iommu_backend()->compatible, -1, &iommu),
         "finding a virtio-iommu in the device tree");
    CHECK(iommu.is_pci && iommu.id_cells == 1, "a virtio-iommu at PCI %02x:%02x.%u, phandle 0x%x",
          iommu.pci_bdf >> 8, (iommu.pci_bdf >> 3) & 31u, iommu.pci_bdf & 7u, iommu.phandle);
    CHECK(piommu_fdt_next_iommu(&tree, piommu_virtio_iommu_backend()->compatible, iommu.node,
                                &iommu) == -PIOMMU_ENOENT,
          "and no second one");
    demo->iommu_bdf = iommu.pci_bdf;
    demo->host_bridge = iommu.host_bridge;
    CHECK(piommu_fdt_pci_id(&tree, iommu.host_bridge, iommu.pci_bdf, &id) == -PIOMMU_ENOENT,
          "iommu-map has a hole at requester ID 0x%x: the IOMMU is not behind itself",
          iommu.pci_bdf);
    must(machine_pci_find(EDU_VENDOR, EDU_DEVICE, &edu_bdf), "finding the edu device");
    must(piommu_fdt_pci_id(&tree, iommu.host_bridge, edu_bdf, &id), "looking up its endpoint ID");
    CHECK(id.iommu == iommu.phandle && id.cell_count == 1,
          "the DMA device edu at PCI %02x:%02x.%u is endpoint 0x%x of that IOMMU", edu_bdf >> 8,
          (edu_bdf >> 3) & 31u, edu_bdf & 7u, id.cells[0]);
    demo->endpoint = id.cells[0];
    piommu_fdt_close(&tree);
    must(edu_start(&demo->edu, edu_bdf), "starting edu");
}

static void start(struct demo *demo)
{
    struct piommu_context_config context_config = {.fault = on_fault};
    struct piommu_virtio_iommu_config place = {.pci = {.segment = 0, .bdf = demo->iommu_bdf}};
    struct piommu_instance_config config = {.name = "viommu0"};
    struct piommu_instance_info info;

    must(piommu_context_create(host_shim(), &context_config, &demo->context), "creating a context");
    must(piommu_instance_create(demo->context, piommu_virtio_iommu_backend(), &place, &config,
                                &demo->instance),
         "starting the IOMMU");
    piommu_instance_get_info(demo->instance, &info);
    CHECK(info.granule == PAGE && !info.failed,
          "started over virtio-pci: IOVA 0x%llx..0x%llx, granule %llu, write-only %s, identity %s",
          (unsigned long long)info.aperture.first, (unsigned long long)info.aperture.last,
          (unsigned long long)info.granule, info.write_only ? "yes" : "no",
          info.identity ? "yes" : "no");
}

/* ---- 2: closed ---- */

/* QEMU's option -append ends up here. */
static bool closed_at_reset(void)
{
    const void *blob = machine_device_tree();
    int chosen = fdt_path_offset(blob, "/chosen");
    int length;
    const char *arguments = fdt_getprop(blob, chosen, "bootargs", &length);

    return arguments != NULL && length > 0 && strcmp(arguments, "closed-at-reset") == 0;
}

static void control(struct demo *demo)
{
    uint64_t physical = machine_physical(demo->page);

    /* Without this, "nothing arrived" below would prove nothing. */
    load_device(demo, demo->page, physical);
    must(edu_dma_from_device(&demo->edu, 0, physical, PROBE_SIZE), "a DMA of the device");
    if (closed_at_reset()) {
        CHECK(is_filled(demo->page, PAGE, UNTOUCHED),
              "the IOMMU is closed from reset on: DMA to physical 0x%llx does not arrive",
              (unsigned long long)physical);
    } else {
        CHECK(is_filled(demo->page, PROBE_SIZE, DEVICE_DATA),
              "for comparison: before the IOMMU is started, DMA to physical 0x%llx arrives",
              (unsigned long long)physical);
    }
    memset(demo->page, UNTOUCHED, PAGE);
}

static void closed(struct demo *demo)
{
    uint64_t physical = machine_physical(demo->page);

    section("2. Closed: a device in no domain reaches nothing");
    CHECK(write_is_refused(demo, physical, demo->page),
          "a device that nobody has added: its DMA to 0x%llx does not arrive",
          (unsigned long long)physical);
    CHECK(fault_seen(demo->endpoint, physical), "and is reported");
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
    CHECK(write_is_refused(demo, physical, demo->page),
          "added, in no domain: DMA to 0x%llx does not arrive", (unsigned long long)physical);
    CHECK(fault_seen(demo->endpoint, physical) && faults[0].device_name != NULL,
          "and is reported, with the device's name: %s",
          fault_count != 0 && faults[0].device_name != NULL ? faults[0].device_name : "-");
}

/* ---- 3: mapped ---- */

static void map_scattered(struct demo *demo, uint64_t iova, uint8_t **pages)
{
    struct piommu_segment segments[PAGES];

    for (unsigned int i = 0; i < PAGES; i++) {
        segments[i].physical = machine_physical(pages[i]);
        segments[i].size = PAGE;
    }
    must(piommu_domain_map_list(demo->a, iova, segments, PAGES,
                                PIOMMU_PROT_READ | PIOMMU_PROT_WRITE),
         "mapping a list");
}

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
        CHECK(right, "IOVA 0x%llx: all %u bytes arrived at physical 0x%llx",
              (unsigned long long)(TARGET_IOVA + page * PAGE), (unsigned int)PAGE,
              (unsigned long long)machine_physical(demo->target[page]));
        memset(demo->target[page], UNTOUCHED, PAGE);
    }
    CHECK(all && fault_count == 0, "no fault was reported meanwhile");
}

static void mapped(struct demo *demo)
{
    uint64_t physical;

    section("3. Mapped: scattered pages, contiguous IOVAs, RAM -> device -> RAM");
    take_scattered(demo->source, PAGES);
    take_scattered(demo->target, PAGES);
    must(piommu_device_attach(demo->device, demo->a), "attaching the device to domain A");
    map_scattered(demo, SOURCE_IOVA, demo->source);
    map_scattered(demo, TARGET_IOVA, demo->target);
    print_pages("source", SOURCE_IOVA, demo->source, PAGES);
    print_pages("target", TARGET_IOVA, demo->target, PAGES);
    copy_through(demo);
    physical = machine_physical(demo->target[0]);
    CHECK(write_is_refused(demo, physical, demo->target[0]),
          "the physical address 0x%llx itself is not an IOVA: DMA to it does not arrive",
          (unsigned long long)physical);
}

/* ---- 4: permissions ---- */

static void read_only(struct demo *demo)
{
    uint8_t *page = take_page();
    uint8_t *copy = take_page();

    section("4. Read-only: the device may read, not write");
    must(piommu_domain_map(demo->a, READ_ONLY_IOVA, machine_physical(page), PAGE, PIOMMU_PROT_READ),
         "mapping read-only");
    must(piommu_domain_map(demo->a, SHARED_IOVA, machine_physical(copy), PAGE,
                           PIOMMU_PROT_READ | PIOMMU_PROT_WRITE),
         "mapping read-write");
    load_device(demo, page, READ_ONLY_IOVA);
    CHECK(write_arrives(demo, SHARED_IOVA, copy), "reading IOVA 0x%llx works",
          (unsigned long long)READ_ONLY_IOVA);
    CHECK(write_is_refused(demo, READ_ONLY_IOVA, page), "writing IOVA 0x%llx does not",
          (unsigned long long)READ_ONLY_IOVA);
    CHECK(fault_seen(demo->endpoint, READ_ONLY_IOVA) && faults[0].write,
          "the fault names endpoint, IOVA and the permission that was missing");
    print_fault();
    unmap_and_sync(demo->a, READ_ONLY_IOVA, PAGE);
    unmap_and_sync(demo->a, SHARED_IOVA, PAGE);
    machine_pages_free(page, PAGE);
    machine_pages_free(copy, PAGE);
}

/* ---- 5: unmapped ---- */

static void unmapped(struct demo *demo)
{
    uint64_t physical = machine_physical(demo->target[0]);

    section("5. Unmapped: gone after unmap and sync");
    load_device(demo, demo->source[0], SOURCE_IOVA);
    CHECK(write_arrives(demo, TARGET_IOVA, demo->target[0]), "before: DMA to IOVA 0x%llx arrives",
          (unsigned long long)TARGET_IOVA);
    unmap_and_sync(demo->a, TARGET_IOVA, PAGES * PAGE);
    CHECK(write_is_refused(demo, TARGET_IOVA, demo->target[0]),
          "after: DMA to IOVA 0x%llx does not arrive at 0x%llx", (unsigned long long)TARGET_IOVA,
          (unsigned long long)physical);
    CHECK(fault_seen(demo->endpoint, TARGET_IOVA) && faults[0].reason == PIOMMU_FAULT_MAPPING,
          "and is reported as a missing mapping");
    print_fault();

    /* Reading: what the device holds now must not become what the unmapped page holds. */
    unmap_and_sync(demo->a, SOURCE_IOVA, PAGES * PAGE);
    memset(demo->source[0], SECRET, PAGE);
    must(edu_dma_to_device(&demo->edu, SOURCE_IOVA, 0, PROBE_SIZE), "a DMA of the device");
    map_scattered(demo, TARGET_IOVA, demo->target);
    must(edu_dma_from_device(&demo->edu, 0, TARGET_IOVA, PROBE_SIZE), "a DMA of the device");
    CHECK(!contains(demo->target[0], PROBE_SIZE, SECRET),
          "reading IOVA 0x%llx after unmap: no byte of 0x%llx leaks into the device",
          (unsigned long long)SOURCE_IOVA, (unsigned long long)machine_physical(demo->source[0]));
    unmap_and_sync(demo->a, TARGET_IOVA, PAGES * PAGE);
    give_pages(demo->source, PAGES);
    give_pages(demo->target, PAGES);
}

/* ---- 6: two domains ---- */

static void two_domains(struct demo *demo)
{
    const piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    uint8_t *page_a = take_page();
    uint8_t *page_b = take_page();
    uint8_t *only_a = take_page();

    section("6. Two domains: the device moves, and reaches only what its domain holds");
    must(piommu_domain_map(demo->a, SHARED_IOVA, machine_physical(page_a), PAGE, prot), "map in A");
    must(piommu_domain_map(demo->a, ONLY_A_IOVA, machine_physical(only_a), PAGE, prot), "map in A");
    must(piommu_domain_map(demo->b, SHARED_IOVA, machine_physical(page_b), PAGE, prot), "map in B");
    load_device(demo, page_a, SHARED_IOVA);
    CHECK(write_arrives(demo, SHARED_IOVA, page_a) && is_filled(page_b, PAGE, UNTOUCHED),
          "in A: IOVA 0x%llx is physical 0x%llx", (unsigned long long)SHARED_IOVA,
          (unsigned long long)machine_physical(page_a));
    CHECK(write_arrives(demo, ONLY_A_IOVA, only_a), "in A: IOVA 0x%llx is physical 0x%llx",
          (unsigned long long)ONLY_A_IOVA, (unsigned long long)machine_physical(only_a));

    /* The copy happens 100 ms after its start: by then the device has been moved. */
    must(edu_dma_begin_from_device(&demo->edu, 0, ONLY_A_IOVA, PROBE_SIZE), "starting a DMA");
    must(piommu_device_attach(demo->device, demo->b), "moving the device from A to B");
    must(edu_dma_wait(&demo->edu), "waiting for the DMA");
    collect_faults(demo->instance);
    CHECK(is_filled(only_a, PAGE, UNTOUCHED) && fault_seen(demo->endpoint, ONLY_A_IOVA),
          "a DMA that was under way to A's IOVA 0x%llx during the move does not arrive",
          (unsigned long long)ONLY_A_IOVA);
    CHECK(write_arrives(demo, SHARED_IOVA, page_b) && is_filled(page_a, PAGE, UNTOUCHED),
          "in B: the same IOVA 0x%llx is physical 0x%llx", (unsigned long long)SHARED_IOVA,
          (unsigned long long)machine_physical(page_b));
    CHECK(write_is_refused(demo, ONLY_A_IOVA, only_a),
          "in B: IOVA 0x%llx, which only A maps, does not arrive", (unsigned long long)ONLY_A_IOVA);
    must(piommu_device_attach(demo->device, demo->a), "moving the device back to A");
    CHECK(write_arrives(demo, ONLY_A_IOVA, only_a) && write_arrives(demo, SHARED_IOVA, page_a) &&
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
    CHECK(write_arrives(demo, physical, demo->page),
          "in an identity domain, an explicit grant: physical 0x%llx is reachable",
          (unsigned long long)physical);
    must(piommu_device_attach(demo->device, demo->a), "moving the device back to A");
    CHECK(write_is_refused(demo, physical, demo->page), "back in A: it is not");
    must(piommu_domain_destroy(domain), "destroying the identity domain");
}

/* ---- 7: stage 2 ---- */

/* Compares what the CPU's own stage-2 walk says of an address with what the library says. */
static bool walk_agrees(struct piommu_pgtable *table, uint64_t address, bool write)
{
    struct piommu_pgtable_info info;
    struct piommu_translation expected;
    struct machine_par par;
    uint64_t raw;
    int error = piommu_pgtable_lookup(table, address, &expected);
    bool allowed =
        error == 0 && (expected.prot & (write ? PIOMMU_PROT_WRITE : PIOMMU_PROT_READ)) != 0;

    piommu_pgtable_get_info(table, &info);
    must(machine_stage2_translate(info.registers.stage2.vttbr, piommu_pgtable_vtcr_el2(&info),
                                  address, write, &raw),
         "a stage-2 walk");
    par = machine_par_decode(raw, address);
    if (par.fault || !allowed) {
        return par.fault && !allowed;
    }
    return par.physical == expected.physical;
}

static unsigned int walks;
static unsigned int disagreements;

static void compare(struct piommu_pgtable *table, uint64_t address)
{
    for (unsigned int write = 0; write < 2; write++) {
        walks++;
        if (!walk_agrees(table, address, write != 0)) {
            disagreements++;
            machine_printf("     differ at 0x%llx, %s\n", (unsigned long long)address,
                           write != 0 ? "write" : "read");
        }
    }
}

static void stage2(void)
{
    const uint64_t mib = 1024 * 1024;
    const uint64_t big = 3 * 1024 * mib; /* a gigabyte, a 2 MiB block and pages: all leaf sizes */
    const uint64_t big_size = 1024 * mib + 2 * mib + 3 * PAGE;
    struct piommu_pgtable_config config = {.format = PIOMMU_ARM_64_LPAE_S2,
                                           .granule = PAGE,
                                           .input_bits = 40,
                                           .output_bits = 40,
                                           .coherent_walk = true};
    struct piommu_pgtable *table;
    struct piommu_pgtable_info info;
    struct piommu_segment segments[PAGES];
    struct piommu_gather gather;
    uint8_t *pages[PAGES];
    uint64_t done;

    section("7. The same mappings in a stage-2 table, walked by the CPU's own hardware");
    if (machine_current_el() != 2) {
        machine_printf("     skipped: this run is at EL1, which has no stage 2 to use\n");
        return;
    }
    take_scattered(pages, PAGES);
    for (unsigned int i = 0; i < PAGES; i++) {
        segments[i].physical = machine_physical(pages[i]);
        segments[i].size = PAGE;
    }
    must(piommu_pgtable_create(host_shim(), &config, &table), "creating a stage-2 table");
    piommu_pgtable_get_info(table, &info);
    machine_printf("     VTTBR_EL2 0x%llx, VTCR_EL2 0x%llx: start level %u, root of %u bytes\n",
                   (unsigned long long)info.registers.stage2.vttbr,
                   (unsigned long long)piommu_pgtable_vtcr_el2(&info), info.start_level,
                   (unsigned int)info.root_size);
    must(piommu_pgtable_map_list(table, SOURCE_IOVA, segments, PAGES,
                                 PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &done),
         "mapping the list");
    must(piommu_pgtable_map(table, READ_ONLY_IOVA, machine_physical(pages[0]), PAGE,
                            PIOMMU_PROT_READ, &done),
         "mapping read-only");
    must(piommu_pgtable_map(table, big, big, big_size, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, &done),
         "mapping blocks");

    /* Every page around the list and the read-only page, holes included. */
    for (uint64_t address = SOURCE_IOVA - 16 * PAGE; address < SOURCE_IOVA + 32 * PAGE;
         address += PAGE) {
        compare(table, address);
        compare(table, address + PAGE - 1);
    }
    for (uint64_t address = READ_ONLY_IOVA - 2 * PAGE; address < READ_ONLY_IOVA + 3 * PAGE;
         address += PAGE) {
        compare(table, address);
    }
    CHECK(disagreements == 0, "pages, read-only and holes: %u walks agree with lookup", walks);
    walks = 0;
    for (uint64_t address = big - 4 * mib; address < big + big_size + 4 * mib; address += mib / 2) {
        compare(table, address);
    }
    for (uint64_t address = big + 1026 * mib - 2 * PAGE; address < big + big_size + 2 * PAGE;
         address += PAGE) {
        compare(table, address);
    }
    compare(table, 0);
    compare(table, (1ull << 40) - 1);
    compare(table, 1ull << 40);
    CHECK(disagreements == 0, "1 GiB and 2 MiB blocks, their edges, the ends: %u walks agree",
          walks);
    walks = 0;
    piommu_gather_init(&gather);
    must(piommu_pgtable_unmap(table, SOURCE_IOVA, PAGES * PAGE, &gather, &done), "unmapping");
    piommu_pgtable_detach_empty(table, &gather);
    piommu_pgtable_release(table, &gather);
    for (unsigned int i = 0; i < PAGES; i++) {
        compare(table, SOURCE_IOVA + i * PAGE);
    }
    CHECK(disagreements == 0, "after unmap: %u walks fault as lookup says", walks);
    piommu_pgtable_destroy(table);
    give_pages(pages, PAGES);
}

/* ---- 8: the end ---- */

static void detach(struct demo *demo)
{
    const piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;

    section("8. Detach closes again; everything is given back");
    must(piommu_domain_map(demo->a, SHARED_IOVA, machine_physical(demo->page), PAGE, prot), "map");
    load_device(demo, demo->page, SHARED_IOVA);
    CHECK(write_arrives(demo, SHARED_IOVA, demo->page), "attached: DMA to IOVA 0x%llx arrives",
          (unsigned long long)SHARED_IOVA);
    must(piommu_device_detach(demo->device), "detaching the device");
    CHECK(write_is_refused(demo, SHARED_IOVA, demo->page), "detached: it does not");
    CHECK(fault_seen(demo->endpoint, SHARED_IOVA) && faults[0].reason == PIOMMU_FAULT_BLOCKED,
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
    detach(&demo);
    tear_down(&demo);
    edu_stop(&demo.edu);
    machine_pages_free(demo.page, PAGE);
    CHECK(machine_heap_outstanding() == heap_before && machine_pages_outstanding() == pages_before,
          "every byte taken from the shim was given back: %u of heap and %u of pages are left",
          (unsigned int)(machine_heap_outstanding() - heap_before),
          (unsigned int)(machine_pages_outstanding() - pages_before));
    machine_printf("\ndemo: %u checks passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
