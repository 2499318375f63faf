/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "iommu.h"

#include "guest.h"
#include "host.h"
#include "machine.h"
#include "passthrough.h"
#include "transcript.h"

#include <piommu/virtio-iommu.h>

#include <libfdt.h>

#define SERVICE_BUDGET 64u

/* What is done about it depends on the guest in whose domain it came up. */
static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct iommu *iommu = cookie;
    const struct guest *guest = fault->domain_owner;
    const struct passthrough *device = fault->device_owner;

    /* A guest with an IOMMU is told, also of a device that is in no domain. */
    if (device != NULL && device->owner != NULL && device->owner->viommu != NULL) {
        viommu_fault(device->owner->viommu, GUEST_EDU_ENDPOINT, fault);
    }
    if (iommu->fault_count < IOMMU_FAULTS) {
        iommu->faults[iommu->fault_count] = *fault;
    }
    iommu->fault_count++;
    return guest == NULL ? PIOMMU_FAULT_NOTE : guest->stray_dma;
}

static void find(struct iommu *iommu)
{
    const void *blob = machine_device_tree();
    struct piommu_fdt_iommu found;

    must(piommu_fdt_open(&iommu->tree, host_shim(), blob, fdt_totalsize(blob)),
         "reading the device tree");
    must(piommu_fdt_next_iommu(&iommu->tree, piommu_virtio_iommu_backend()->compatible, -1, &found),
         "finding a virtio-iommu in the device tree");
    must(found.is_pci ? 0 : -PIOMMU_ENODEV, "an IOMMU on PCI");
    iommu->bdf = found.pci_bdf;
    iommu->host_bridge = found.host_bridge;
}

void iommu_start(struct iommu *iommu)
{
    struct piommu_context_config context = {.cookie = iommu, .fault = on_fault};
    struct piommu_virtio_iommu_config place = {0};
    /* The IOMMU is another program's thread: more patience than hardware needs. */
    struct piommu_instance_config config = {.name = "viommu0", .timeout = 2000000000};

    find(iommu);
    place.pci.bdf = iommu->bdf;
    must(piommu_context_create(host_shim(), &context, &iommu->context), "creating a context");
    must(piommu_instance_create(iommu->context, piommu_virtio_iommu_backend(), &place, &config,
                                &iommu->instance),
         "starting the IOMMU");
    must(piommu_requirements_get(&iommu->instance, 1, &iommu->requirements, NULL),
         "asking what the IOMMU demands");
    must(machine_pci_interrupt(iommu->bdf, &iommu->intid), "finding the IOMMU's interrupt");
    machine_interrupt_enable(iommu->intid, false);
}

void iommu_stop(struct iommu *iommu)
{
    machine_interrupt_disable(iommu->intid);
    must(piommu_instance_destroy(iommu->instance), "stopping the IOMMU");
    must(piommu_context_destroy(iommu->context), "destroying the context");
    piommu_fdt_close(&iommu->tree);
}

uint32_t iommu_endpoint(struct iommu *iommu, uint16_t bdf)
{
    struct piommu_fdt_id id;

    must(piommu_fdt_pci_id(&iommu->tree, iommu->host_bridge, machine_pci_requester(bdf), &id),
         "looking up an endpoint ID");
    return id.cells[0];
}

unsigned int iommu_service(struct iommu *iommu)
{
    int handled = piommu_instance_service(iommu->instance, SERVICE_BUDGET);

    must(handled < 0 ? handled : 0, "servicing the IOMMU");
    return (unsigned int)handled;
}

void iommu_forget(struct iommu *iommu)
{
    iommu->fault_count = 0;
}
