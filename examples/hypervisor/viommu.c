/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The guest programs it by accesses that trap. What they ask for is carried out on domains of the
 * hypervisor's own core, and so ends up in the machine's IOMMU.
 */

#include "viommu.h"

#include "guest.h"
#include "host.h"
#include "transcript.h"

/* How much of the guest's requests is done at a time: all other guests wait meanwhile. */
#define BUDGET  8u
#define REGIONS 8u

static void on_access(void *ctx, struct mmio_access *access)
{
    const struct viommu *viommu = ctx;
    struct piommu_virtio_front *front = piommu_viommu_device_front(viommu->device);

    if (access->write) {
        piommu_virtio_front_mmio_write(front, access->offset, access->width, access->value);
    } else {
        access->value = piommu_virtio_front_mmio_read(front, access->offset, access->width);
    }
}

/* Memory of the guest's own, and nothing else: neither another's, nor registers. */
static int translate(void *cookie, uint64_t address, uint64_t size, piommu_prot prot,
                     struct piommu_segment *piece)
{
    const struct viommu *viommu = cookie;

    if ((prot & PIOMMU_PROT_DEVICE) != 0) {
        return -PIOMMU_ENOENT;
    }
    if (!guest_find(viommu->guest, address, piece)) {
        *piece = (struct piommu_segment){.physical = address, .size = size};
        return told("forget-owner") ? 0 : -PIOMMU_ENOENT;
    }
    if (piece->size > size) {
        piece->size = size;
    }
    return 0;
}

static void on_work(void *cookie)
{
    struct viommu *viommu = cookie;

    viommu->work = true;
}

/* There is no interrupt controller to tell: the guest's driver looks by itself. */
static void on_interrupt(void *cookie, bool high)
{
    (void)cookie;
    (void)high;
}

static bool read_memory(void *ctx, uint64_t address, void *buffer, size_t size)
{
    return guest_read(ctx, address, buffer, size);
}

static bool write_memory(void *ctx, uint64_t address, const void *buffer, size_t size)
{
    return guest_write(ctx, address, buffer, size);
}

void viommu_create(struct viommu *viommu, const char *name, struct guest *guest,
                   const struct piommu_requirements *requirements)
{
    struct piommu_viommu_device_config config = {
        .engine = {.callbacks = {.translate = translate},
                   .cookie = viommu,
                   .page_sizes = requirements->leaf_sizes,
                   .input = requirements->aperture,
                   .max_domains = VIOMMU_DOMAINS,
                   .max_mappings = GUEST_IOMMU_MAPPINGS,
                   .max_bytes = VIOMMU_BYTES,
                   .bypass = guest->domain,
                   .starts_bypassed = true,
                   .owner = guest,
                   .name = name},
        .memory = {.read = read_memory, .write = write_memory, .ctx = guest},
        .work = on_work,
        .set_interrupt = on_interrupt,
    };

    *viommu = (struct viommu){.guest = guest};
    must(piommu_viommu_device_create_mmio(host_shim(), &config, &viommu->device),
         "creating a virtual IOMMU");
    must(mmio_add(&guest->mmio, GUEST_IOMMU, GUEST_IOMMU_SIZE, on_access, viommu),
         "registers of a virtual IOMMU");
    guest->viommu = viommu;
}

void viommu_destroy(struct viommu *viommu)
{
    mmio_remove(&viommu->guest->mmio, GUEST_IOMMU);
    viommu->guest->viommu = NULL;
    must(piommu_viommu_device_destroy(viommu->device), "destroying a virtual IOMMU");
}

void viommu_add_device(struct viommu *viommu, uint32_t endpoint, struct piommu_device *device)
{
    /*
     * What the machine's IOMMU does not translate the guest's does not either. Its driver has to
     * know.
     */
    struct piommu_reserved_region regions[REGIONS];
    struct piommu_viommu_endpoint_config config = {
        .id = endpoint, .device = device, .regions = regions};

    while (config.region_count < REGIONS &&
           piommu_device_reserved_region(device, config.region_count,
                                         &regions[config.region_count]) == 0) {
        config.region_count++;
    }
    must(piommu_viommu_add_endpoint(piommu_viommu_device_engine(viommu->device), &config,
                                    &viommu->endpoint),
         "adding an endpoint");
}

void viommu_remove_device(struct viommu *viommu)
{
    /* Nothing is left half done; the guest, which does not run, adds nothing to it. */
    while (viommu_service(viommu)) {
    }
    must(piommu_viommu_remove_endpoint(viommu->endpoint), "removing an endpoint");
    viommu->endpoint = NULL;
}

void viommu_fault(struct viommu *viommu, uint32_t endpoint, const struct piommu_fault *fault)
{
    if (piommu_viommu_report_fault(piommu_viommu_device_engine(viommu->device), endpoint, fault)) {
        viommu->work = true;
    }
}

bool viommu_service(struct viommu *viommu)
{
    if (viommu->work) {
        /* Before the call, during which there may come up more. */
        viommu->work = false;
        if (piommu_viommu_service(piommu_viommu_device_engine(viommu->device), BUDGET) != 0) {
            viommu->work = true;
            viommu->portions++;
        }
    }
    return viommu->work;
}

struct piommu_viommu_statistics viommu_statistics(const struct viommu *viommu)
{
    struct piommu_viommu_statistics statistics;

    piommu_viommu_get_statistics(piommu_viommu_device_engine(viommu->device), &statistics);
    return statistics;
}
