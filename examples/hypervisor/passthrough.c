/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "passthrough.h"

#include "machine.h"
#include "transcript.h"

#include <string.h>

#define BLANK_IOVA 0x10000000ull

/* What is behind the registers of a device that is gone: as on PCI, when nobody answers. */
static void gone(void *ctx, struct mmio_access *access)
{
    (void)ctx;
    if (!access->write) {
        access->value = UINT64_MAX;
    }
}

void passthrough_open(struct passthrough *passthrough, struct iommu *iommu)
{
    struct piommu_device_id id = {.instance = iommu->instance};
    struct piommu_device_config config = {
        .ids = &id, .id_count = 1, .untrusted = true, .name = "edu", .owner = passthrough};
    struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &iommu->instance,
                                          .instance_count = 1,
                                          .name = "between guests"};
    uint16_t bdf;

    must(machine_pci_find(EDU_VENDOR, EDU_DEVICE, &bdf), "finding the edu device");
    passthrough->endpoint = iommu_endpoint(iommu, bdf);
    id.id = passthrough->endpoint;
    must(piommu_device_add(iommu->context, &config, &passthrough->device), "adding the device");
    must(edu_start(&passthrough->edu, bdf), "finding out that it works");
    edu_stop(&passthrough->edu);

    passthrough->blank = machine_pages_alloc(GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
    must(passthrough->blank != NULL ? 0 : -PIOMMU_ENOMEM, "a blank page");
    memset(passthrough->blank, 0, GUEST_PAGE_SIZE);
    must(piommu_domain_create(&domain, &passthrough->domain), "creating a domain");
    must(piommu_domain_map(passthrough->domain, BLANK_IOVA, machine_physical(passthrough->blank),
                           GUEST_PAGE_SIZE, PIOMMU_PROT_READ),
         "mapping the blank page");
    passthrough->owner = NULL;
}

void passthrough_close(struct passthrough *passthrough)
{
    must(piommu_device_remove(passthrough->device), "removing the device");
    must(piommu_domain_destroy(passthrough->domain), "destroying a domain");
    machine_pages_free(passthrough->blank, GUEST_PAGE_SIZE);
}

/*
 * The device cannot be reset, so the hypervisor makes its own DMA overwrite what it holds. Whatever
 * it is still about to do for its last owner comes to an end before, while it reaches nothing.
 */
static void clear(struct passthrough *passthrough)
{
    must(edu_dma_wait(&passthrough->edu), "waiting for the last DMA");
    must(piommu_device_attach(passthrough->device, passthrough->domain), "attaching the device");
    must(edu_start(&passthrough->edu, passthrough->edu.bdf), "starting the device");
    must(edu_clear(&passthrough->edu, BLANK_IOVA), "clearing the device");
    edu_stop(&passthrough->edu);
    must(piommu_device_detach(passthrough->device), "detaching the device");
}

/* Lets the device reach the guest's memory: all of it, or what the guest's own IOMMU maps. */
static void connect(struct passthrough *passthrough, struct guest *guest)
{
    if (guest->viommu != NULL) {
        viommu_add_device(guest->viommu, GUEST_EDU_ENDPOINT, passthrough->device);
    } else {
        must(piommu_device_attach(passthrough->device, guest->domain), "attaching the device");
    }
}

static void disconnect(struct passthrough *passthrough, struct guest *guest)
{
    if (guest->viommu != NULL) {
        viommu_remove_device(guest->viommu);
    } else {
        must(piommu_device_detach(passthrough->device), "detaching the device");
    }
}

void passthrough_give(struct passthrough *passthrough, struct guest *guest)
{
    clear(passthrough);
    connect(passthrough, guest);
    must(machine_pci_bus_master(passthrough->edu.bdf, true), "allowing DMA");
    /* Last of all: now the guest can start something. */
    mmio_remove(&guest->mmio, GUEST_EDU);
    stage2_map(&guest->stage2, GUEST_EDU, passthrough->edu.registers, EDU_REGISTERS_SIZE,
               PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_DEVICE);
    passthrough->owner = guest;
    guest_tell(guest, EVENT_DEVICE, 0);
}

void passthrough_take(struct passthrough *passthrough)
{
    struct guest *guest = passthrough->owner;

    /* First of all: now the guest can start nothing any more. */
    stage2_unmap(&guest->stage2, GUEST_EDU, EDU_REGISTERS_SIZE);
    must(mmio_add(&guest->mmio, GUEST_EDU, EDU_REGISTERS_SIZE, gone, NULL), "its registers");
    must(machine_pci_bus_master(passthrough->edu.bdf, false), "forbidding DMA");
    disconnect(passthrough, guest);
    passthrough->owner = NULL;
    guest_tell(guest, EVENT_DEVICE_GONE, 0);
}

bool passthrough_is_blocked(const struct passthrough *passthrough)
{
    struct piommu_device_info info;

    piommu_device_get_info(passthrough->device, &info);
    return info.fault_blocked;
}
