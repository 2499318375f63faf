/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Finds a virtio-iommu on bus 0 and puts another function of the bus behind it: a page is mapped,
 * looked up, and taken away again. Nothing drives the function, so no DMA is made.
 */

#include <piommu_zephyr.h>

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#include <zephyr/drivers/pcie/pcie.h>
#include <zephyr/sys/printk.h>

#define DEVICES   32u
#define ID_WORD   0u /* of configuration space: device above, vendor below */
#define IOMMU_ID  0x10571af4u
#define NOBODY    UINT32_MAX
#define IOVA      0x40000000u
#define PAGE_SIZE 4096u

static unsigned char buffer[PAGE_SIZE] __aligned(PAGE_SIZE);

struct sample {
    uint16_t iommu; /* bus in bits 15:8, device in 7:3, function in 2:0 */
    uint16_t function;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *device;
    struct piommu_domain *domain;
};

/* The IOMMU, and the first function behind device 0 (the bridge itself) that is another one. */
static bool find(struct sample *sample)
{
    for (uint16_t i = 1; i < DEVICES; i++) {
        uint32_t id = pcie_conf_read(PCIE_BDF(0, i, 0), ID_WORD);
        uint16_t bdf = (uint16_t)(i << 3);

        if (id == IOMMU_ID) {
            sample->iommu = bdf;
        } else if (id != NOBODY && sample->function == 0) {
            sample->function = bdf;
        }
    }
    return sample->iommu != 0 && sample->function != 0;
}

/* The configuration of the backend stays as long as the instance. */
static int start(struct sample *sample)
{
    static struct piommu_virtio_iommu_config config;
    int error = piommu_context_create(piommu_zephyr_host(), NULL, &sample->context);

    config.pci.bdf = sample->iommu;
    if (error == 0) {
        error = piommu_instance_create(sample->context, piommu_virtio_iommu_backend(), &config,
                                       NULL, &sample->instance);
    }
    return error;
}

static int add(struct sample *sample)
{
    const struct piommu_device_id id = {.instance = sample->instance, .id = sample->function};
    const struct piommu_device_config device = {.ids = &id, .id_count = 1, .name = "function"};
    const struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &sample->instance, .instance_count = 1};
    int error = piommu_device_add(sample->context, &device, &sample->device);

    if (error == 0) {
        error = piommu_domain_create(&domain, &sample->domain);
    }
    if (error == 0) {
        error = piommu_device_attach(sample->device, sample->domain);
    }
    return error;
}

/* On this target the image is mapped where it lies. */
static int use(struct sample *sample)
{
    struct piommu_gather gather;
    struct piommu_translation found;
    int error = piommu_domain_map(sample->domain, IOVA, (uintptr_t)buffer, PAGE_SIZE,
                                  PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);

    if (error == 0) {
        error = piommu_domain_lookup(sample->domain, IOVA + 5, &found);
    }
    if (error == 0 && found.physical != (uintptr_t)buffer + 5) {
        error = -PIOMMU_EIO;
    }
    piommu_gather_init(&gather);
    if (error == 0) {
        error = piommu_domain_unmap(sample->domain, IOVA, PAGE_SIZE, &gather, NULL);
    }
    if (error == 0) {
        error = piommu_domain_sync(sample->domain, &gather);
    }
    return error;
}

static int stop(struct sample *sample)
{
    int error = piommu_device_detach(sample->device);

    if (error == 0) {
        error = piommu_domain_destroy(sample->domain);
    }
    if (error == 0) {
        error = piommu_device_remove(sample->device);
    }
    if (error == 0) {
        error = piommu_instance_destroy(sample->instance);
    }
    if (error == 0) {
        error = piommu_context_destroy(sample->context);
    }
    return error;
}

int main(void)
{
    static int (*const steps[])(struct sample * sample) = {start, add, use, stop};
    struct sample sample = {.iommu = 0};
    int error = find(&sample) ? 0 : -PIOMMU_ENODEV;

    for (unsigned int i = 0; error == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
        error = steps[i](&sample);
    }
    printk("piommu sample: %s\n", error == 0 ? "done" : piommu_strerror(error));
    return 0;
}
