/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Finds a virtio-iommu on bus 0 and puts another function of the bus behind it: QEMU's device edu
 * if there is one, whose DMA is looked at then; else any, with which a page is mapped, looked up,
 * and taken away again.
 */

#include "sample.h"

#include <piommu/virtio-iommu.h>

#include <zephyr/drivers/pcie/pcie.h>
#include <zephyr/dt-bindings/interrupt-controller/arm-gic.h>
#include <zephyr/irq.h>
#include <zephyr/sys/device_mmio.h>
#include <zephyr/sys/printk.h>

#define DEVICES  32u
#define ID_WORD  0u /* of configuration space: device above, vendor below */
#define IOMMU_ID 0x10571af4u
#define EDU_ID   ((uint32_t)EDU_DEVICE << 16 | EDU_VENDOR)
#define NOBODY   UINT32_MAX
#define IOVA     0x01000000u

/* On QEMU's machine "virt", pin A of a device on bus 0 is one of four interrupts, all levels. */
#define FIRST_INTERRUPT (32u + 3u)
#define INTERRUPTS      4u
#define PRIORITY        1u

static struct sample sample;
static unsigned int checks;
static unsigned int failures;

void check(bool holds, const char *claim)
{
    checks++;
    failures += !holds;
    printk("%s %s\n", holds ? "ok  " : "FAIL", claim);
}

/* ---- Devices ---- */

/* The IOMMU, and another function behind device 0 (the bridge itself): an edu before any other. */
static int find(void)
{
    bool edu = false;

    for (uint16_t i = 1; i < DEVICES; i++) {
        uint32_t id = pcie_conf_read(PCIE_BDF(0, i, 0), ID_WORD);
        uint16_t bdf = (uint16_t)(i << 3);

        if (id == IOMMU_ID) {
            sample.iommu = bdf;
        } else if (id != NOBODY && !edu && (id == EDU_ID || sample.function == 0)) {
            sample.function = bdf;
            edu = id == EDU_ID;
        }
    }
    return sample.iommu != 0 && sample.function != 0 ? 0 : -PIOMMU_ENODEV;
}

/* Its registers, and its leave to do DMA: from here on only the IOMMU is in its way. */
static int start_edu(void)
{
    pcie_bdf_t bdf = PCIE_BDF(0, sample.function >> 3, 0);
    struct pcie_bar bar;
    mm_reg_t registers;

    if (pcie_conf_read(bdf, ID_WORD) != EDU_ID) {
        return 0;
    }
    if (!pcie_get_mbar(bdf, 0, &bar) || bar.size < EDU_REGISTERS_SIZE) {
        return -PIOMMU_ENODEV;
    }
    device_map(&registers, bar.phys_addr, bar.size, K_MEM_CACHE_NONE);
    pcie_set_cmd(bdf, PCIE_CONF_CMDSTAT_MEM | PCIE_CONF_CMDSTAT_MASTER, true);
    return edu_open(&sample.edu, registers) == 0 ? 0 : -PIOMMU_ENODEV;
}

/* ---- The library ---- */

/* In the interrupt, or in the work that it leaves. */
static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    (void)fault;
    return sample.answer;
}

/* The configuration of the backend stays as long as the instance. */
static int create(void)
{
    static struct piommu_virtio_iommu_config config;
    const struct piommu_context_config context = {.fault = on_fault};
    const struct piommu_instance_config instance = {.name = "virtio-iommu", .fault_records = 8};
    int error = piommu_context_create(piommu_zephyr_host(), &context, &sample.context);

    config.pci.bdf = sample.iommu;
    if (error == 0) {
        error = piommu_instance_create(sample.context, piommu_virtio_iommu_backend(), &config,
                                       &instance, &sample.instance);
    }
    return error;
}

static int connect(void)
{
    unsigned int irq = FIRST_INTERRUPT + (sample.iommu >> 3) % INTERRUPTS;

    piommu_zephyr_unit_init(&sample.unit, sample.instance, irq, &sample.calls);
    if (irq_connect_dynamic(irq, PRIORITY, piommu_zephyr_isr, &sample.unit, IRQ_TYPE_LEVEL) < 0) {
        return -PIOMMU_EIO;
    }
    irq_enable(irq);
    return 0;
}

static int add(void)
{
    const struct piommu_device_id id = {.instance = sample.instance, .id = sample.function};
    const struct piommu_device_config device = {.ids = &id, .id_count = 1, .name = "function"};
    const struct piommu_domain_config domain = {
        .type = PIOMMU_DOMAIN_PAGING, .instances = &sample.instance, .instance_count = 1};
    int error = piommu_device_add(sample.context, &device, &sample.device);

    return error == 0 ? piommu_domain_create(&domain, &sample.domain) : error;
}

int attach(struct sample *of)
{
    int error;

    (void)k_mutex_lock(&of->calls, K_FOREVER);
    error = piommu_device_attach(of->device, of->domain);
    (void)k_mutex_unlock(&of->calls);
    return error;
}

/* On this target the image is mapped where it lies. */
int map(struct sample *of, uint64_t iova, void *page, piommu_prot prot)
{
    int error;

    (void)k_mutex_lock(&of->calls, K_FOREVER);
    error = piommu_domain_map(of->domain, iova, (uintptr_t)page, PAGE_SIZE, prot);
    (void)k_mutex_unlock(&of->calls);
    return error;
}

int unmap(struct sample *of, uint64_t iova)
{
    struct piommu_gather gather;
    int error;

    piommu_gather_init(&gather);
    (void)k_mutex_lock(&of->calls, K_FOREVER);
    error = piommu_domain_unmap(of->domain, iova, PAGE_SIZE, &gather, NULL);
    if (error == 0) {
        error = piommu_domain_sync(of->domain, &gather);
    }
    (void)k_mutex_unlock(&of->calls);
    return error;
}

static int stop(void)
{
    int error = piommu_device_detach(sample.device);

    if (error == 0) {
        error = piommu_domain_destroy(sample.domain);
    }
    if (error == 0) {
        error = piommu_device_remove(sample.device);
    }
    if (error == 0) {
        error = piommu_instance_destroy(sample.instance);
    }
    if (error == 0) {
        error = piommu_context_destroy(sample.context);
    }
    return error;
}

/* ---- What is shown ---- */

static int start(void)
{
    int error;

    (void)k_mutex_init(&sample.calls);
    (void)k_mutex_lock(&sample.calls, K_FOREVER);
    error = create();
    if (error == 0) {
        error = connect();
    }
    if (error == 0) {
        error = add();
    }
    (void)k_mutex_unlock(&sample.calls);
    return error;
}

/* What can be seen without a device that makes DMA. */
static int check_lookup(void)
{
    static unsigned char page[PAGE_SIZE] __aligned(PAGE_SIZE);
    struct piommu_translation found = {.physical = 0};
    int error = map(&sample, IOVA, page, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE);

    if (error == 0) {
        check(piommu_domain_lookup(sample.domain, IOVA + 5, &found) == 0 &&
                  found.physical == (uintptr_t)page + 5,
              "a page that is mapped is found");
        error = unmap(&sample, IOVA);
    }
    if (error == 0) {
        check(piommu_domain_lookup(sample.domain, IOVA + 5, &found) == -PIOMMU_ENOENT,
              "and is not when it is unmapped");
    }
    return error;
}

static int show(void)
{
    bool has_edu = sample.edu.registers != 0;
    int error;

    if (has_edu) {
        check_closed(&sample);
    }
    error = attach(&sample);
    if (error == 0) {
        error = check_lookup();
    }
    if (error == 0 && has_edu) {
        error = check_dma(&sample);
    }
    return error;
}

/* No interrupt, and no work, comes when the instance goes. */
static int end(void)
{
    int error;

    piommu_zephyr_unit_stop(&sample.unit);
    (void)k_mutex_lock(&sample.calls, K_FOREVER);
    error = stop();
    (void)k_mutex_unlock(&sample.calls);
    check(error == 0, "all is taken down");
    return error;
}

int main(void)
{
    static int (*const steps[])(void) = {find, start_edu, start, show, end};
    int error = 0;

    for (unsigned int i = 0; error == 0 && i < sizeof(steps) / sizeof(steps[0]); i++) {
        error = steps[i]();
    }
    printk("piommu sample: %u checks, %u failed\n", checks, failures);
    if (error != 0) {
        printk("piommu sample: %s\n", piommu_strerror(error));
    } else if (failures == 0) {
        printk("piommu sample: done\n");
    }
    return 0;
}
