/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Guest C: has an IOMMU of its own before the device, and the library to drive it. */

#include "guest.h"
#include "host.h"

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#include <string.h>

/* Where the device finds the pages: nowhere near to where the CPU does. */
#define SOURCE_IOVA  0x20000000ull /* pages 0 and 1, to read */
#define TARGET_IOVA  0x30000000ull /* pages 2 and 3, to read and write */
#define FOREIGN_IOVA 0x48000000ull
#define MANY_IOVA    0x60000000ull /* mappings with a page between them */
#define MANY         ((unsigned int)GUEST_IOMMU_MAPPINGS - 2)
#define PAIR_SIZE    (2 * (uint64_t)GUEST_PAGE_SIZE)

#define READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)
#define TRY_SIZE   16u
#define MARK       0x11 /* the device has nothing like it at its start, after a copy */

/* The machine's IOMMU has to answer, too, and is another program's thread. */
#define PATIENCE ((uint64_t)20000000000)
#define REPORTS  16u

static struct {
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
    uint64_t awaited; /* where a fault is to come up */
    bool faulted;     /* it did */
} driver;

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    if (fault->device_owner == &guest_edu && fault->id_valid && fault->id == GUEST_EDU_ENDPOINT &&
        fault->iova_valid && fault->iova >= driver.awaited &&
        fault->iova - driver.awaited < TRY_SIZE) {
        driver.faulted = true;
    }
    return PIOMMU_FAULT_NOTE;
}

/* Reports come through the queue for events, whenever the machine's IOMMU has told them. */
static bool wait_for_fault(void)
{
    uint64_t start = machine_now();

    while (!driver.faulted && machine_now() - start < PATIENCE) {
        hypercall(HYPERCALL_YIELD, 0, 0, 0);
        piommu_instance_service(driver.instance, REPORTS);
    }
    return driver.faulted;
}

/* Lets the device write there. True: it has a fault, which names it and the address. */
static bool device_faults_at(uint64_t address)
{
    driver.awaited = address;
    driver.faulted = false;
    return edu_dma_from_device(&guest_edu, 0, address, TRY_SIZE) == 0 && wait_for_fault();
}

/* The same for an address that could lead to this page of the guest's: nothing arrives in it. */
static bool device_is_kept_from(uint64_t address, unsigned int slot)
{
    memset(guest_page(slot), MARK, GUEST_PAGE_SIZE);
    return device_faults_at(address) && guest_is_filled(guest_page(slot), GUEST_PAGE_SIZE, MARK);
}

static int map(uint64_t iova, unsigned int slot, uint64_t size, piommu_prot prot)
{
    return piommu_domain_map(driver.domain, iova, (uintptr_t)guest_page(slot), size, prot);
}

static int unmap(uint64_t iova, uint64_t size)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    error = piommu_domain_unmap(driver.domain, iova, size, &gather, NULL);
    return error != 0 ? error : piommu_domain_sync(driver.domain, &gather);
}

static bool start_driver(void)
{
    struct piommu_context_config context = {.fault = on_fault};
    struct piommu_virtio_iommu_config place = {.registers = GUEST_IOMMU,
                                               .registers_size = GUEST_IOMMU_SIZE};
    struct piommu_instance_config config = {.name = "viommu", .timeout = PATIENCE};

    return piommu_context_create(guest_shim(), &context, &driver.context) == 0 &&
           piommu_instance_create(driver.context, piommu_virtio_iommu_backend(), &place, &config,
                                  &driver.instance) == 0;
}

static bool make_domain(void)
{
    struct piommu_device_id id = {.instance = driver.instance, .id = GUEST_EDU_ENDPOINT};
    struct piommu_device_config device = {
        .ids = &id, .id_count = 1, .name = "edu", .owner = &guest_edu};
    struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &driver.instance,
                                          .instance_count = 1,
                                          .name = "of edu"};

    return piommu_device_add(driver.context, &device, &driver.device) == 0 &&
           piommu_domain_create(&domain, &driver.domain) == 0;
}

static void start(void)
{
    struct piommu_reserved_region region;

    guest_check(start_driver() && make_domain(),
                "the library's driver starts the virtio-iommu, which knows the device");
    guest_check(device_is_kept_from((uintptr_t)guest_page(0), 0),
                "from then on the device is blocked: DMA to the guest's memory is a fault");
    guest_check(piommu_device_reserved_region(driver.device, 0, &region) == 0 &&
                    region.kind == PIOMMU_RESERVED_MSI,
                "the driver is told at which addresses nothing is translated");
    guest_check(map(SOURCE_IOVA, 0, PAIR_SIZE, PIOMMU_PROT_READ) == 0 &&
                    map(TARGET_IOVA, 2, PAIR_SIZE, READ_WRITE) == 0 &&
                    piommu_device_attach(driver.device, driver.domain) == 0,
                "4 pages are mapped for the device, at addresses that are not the guest's");
    guest_check(guest_copies(SOURCE_IOVA, TARGET_IOVA),
                "3072 bytes go to the device and back, by these addresses");
    guest_check(device_is_kept_from(SOURCE_IOVA, 0), "a page that it may read it cannot write to");
    guest_check(device_is_kept_from((uintptr_t)guest_page(2), 2),
                "nor any by the address that the CPU has for it");
}

static void stray(uint64_t address)
{
    machine_printf("the device is to write to 0x%llx\n", (unsigned long long)address);
    guest_check(device_faults_at(address), "the guest is told of the fault: device and address");
}

static bool cannot_map(uint64_t physical, uint64_t size, piommu_prot prot)
{
    struct piommu_translation found;

    return piommu_domain_map(driver.domain, FOREIGN_IOVA, physical, size, prot) != 0 &&
           piommu_domain_lookup(driver.domain, FOREIGN_IOVA, &found) == -PIOMMU_ENOENT;
}

static bool is_running(void)
{
    struct piommu_instance_info info;

    piommu_instance_get_info(driver.instance, &info);
    return info.state == PIOMMU_INSTANCE_RUNNING;
}

static void map_foreign(uint64_t address)
{
    machine_printf("the device is to get 0x%llx\n", (unsigned long long)address);
    guest_check(cannot_map(address, GUEST_PAGE_SIZE, READ_WRITE) &&
                    cannot_map(0, GUEST_PAGE_SIZE, PIOMMU_PROT_READ) &&
                    cannot_map((uintptr_t)guest_page(3), PAIR_SIZE, READ_WRITE) &&
                    cannot_map(GUEST_RAM + GUEST_RAM_SIZE, GUEST_PAGE_SIZE, READ_WRITE),
                "memory that it has not cannot be mapped, nor a range that begins in its own");
    guest_check(cannot_map(GUEST_EDU, GUEST_PAGE_SIZE, READ_WRITE | PIOMMU_PROT_DEVICE) &&
                    cannot_map(GUEST_IOMMU, GUEST_PAGE_SIZE, READ_WRITE),
                "nor can registers");
    guest_check(is_running() && device_is_kept_from(FOREIGN_IOVA, 3),
                "the driver goes on; DMA to where it was tried is a fault");
}

static void fill(void)
{
    struct piommu_gather gather;
    unsigned int count = 0;
    bool all = true;

    while (count < 2 * MANY &&
           map(MANY_IOVA + count * PAIR_SIZE, 0, GUEST_PAGE_SIZE, PIOMMU_PROT_READ) == 0) {
        count++;
    }
    guest_check(count == MANY, "no more mappings than there may be: the next one is refused");
    /* All at once: more requests than the hypervisor carries out at a time. */
    piommu_gather_init(&gather);
    for (unsigned int i = 0; i < count; i++) {
        all = piommu_domain_unmap(driver.domain, MANY_IOVA + i * PAIR_SIZE, GUEST_PAGE_SIZE,
                                  &gather, NULL) == 0 &&
              all;
    }
    all = piommu_domain_sync(driver.domain, &gather) == 0 && all;
    guest_check(all && map(MANY_IOVA, 0, GUEST_PAGE_SIZE, PIOMMU_PROT_READ) == 0 &&
                    unmap(MANY_IOVA, GUEST_PAGE_SIZE) == 0 &&
                    guest_copies(SOURCE_IOVA, TARGET_IOVA),
                "without them there is room again, and the first ones are as they were");
}

static void take_target(void)
{
    guest_check(unmap(TARGET_IOVA, PAIR_SIZE) == 0 && device_is_kept_from(TARGET_IOVA, 2),
                "pages are unmapped: what the device writes does not arrive any more");
    guest_check(hypercall(HYPERCALL_GIVE_PAGE, (uintptr_t)guest_page(3), 0, 0).x0 ==
                    HYPERCALL_REFUSED,
                "a page that the device could have is not taken back");
}

static void stop(void)
{
    guest_check(piommu_device_detach(driver.device) == 0 &&
                    piommu_domain_destroy(driver.domain) == 0 &&
                    piommu_device_remove(driver.device) == 0 &&
                    piommu_instance_destroy(driver.instance) == 0 &&
                    piommu_context_destroy(driver.context) == 0 && guest_pool_outstanding() == 0,
                "the driver stops, and has given all its memory back");
}

void guest_event(enum guest_event event, uint64_t argument)
{
    switch (event) {
    case EVENT_DEVICE:
        guest_device_works();
        break;
    case EVENT_IOMMU_START:
        start();
        break;
    case EVENT_STRAY_DMA:
        stray(argument);
        break;
    case EVENT_IOMMU_FOREIGN:
        map_foreign(argument);
        break;
    case EVENT_IOMMU_FILL:
        fill();
        break;
    case EVENT_IOMMU_UNMAP:
        take_target();
        break;
    case EVENT_IOMMU_STOP:
        stop();
        break;
    default:
        guest_check(false, "an event that is not for this guest");
        break;
    }
}
