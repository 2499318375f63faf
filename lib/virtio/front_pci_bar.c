/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The BAR of a front behind virtio-pci.
 *
 * Source: VIRTIO 1.2, sections 4.1.4.3 to 4.1.4.6; PCI Local Bus Specification 3.0, 6.8.2.
 */

#include "front_pci.h"

/* Common configuration: what the front does not know itself. */
#define CONFIG_VECTOR       16u
#define QUEUE_COUNT         18u
#define QUEUE_VECTOR        26u
#define QUEUE_ENABLE        28u
#define QUEUE_NOTIFY_OFFSET 30u
#define QUEUE_ADDRESSES     32u
#define QUEUE_ADDRESSES_END 56u

static const struct {
    uint8_t offset;
    uint8_t width;
    uint8_t what;
} registers[] = {
    {0, 4, FRONT_DEVICE_FEATURES_SELECT},
    {4, 4, FRONT_DEVICE_FEATURES},
    {8, 4, FRONT_DRIVER_FEATURES_SELECT},
    {12, 4, FRONT_DRIVER_FEATURES},
    {20, 1, FRONT_STATUS},
    {21, 1, FRONT_GENERATION},
    {22, 2, FRONT_QUEUE_SELECT},
    {24, 2, FRONT_QUEUE_SIZE},
    {QUEUE_ENABLE, 2, FRONT_QUEUE_ENABLE},
};

/* Which register of the front an access is to; false: to none. */
static bool find(uint32_t offset, unsigned int width, enum front_register *what)
{
    if (offset >= QUEUE_ADDRESSES && offset < QUEUE_ADDRESSES_END) {
        *what = FRONT_QUEUE_ADDRESSES + (offset - QUEUE_ADDRESSES) / 4;
        return width == 4;
    }
    for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        if (registers[i].offset == offset && registers[i].width == width) {
            *what = registers[i].what;
            return true;
        }
    }
    return false;
}

/* The source whose vector a register has; false: it has none. */
static bool find_source(const struct front_pci *pci, uint32_t offset, unsigned int *source)
{
    if (offset == QUEUE_VECTOR && pci->front.queue_select < pci->front.config.queue_count) {
        *source = FRONT_SOURCE_QUEUE(pci->front.queue_select);
        return true;
    }
    *source = FRONT_SOURCE_CONFIG;
    return offset == CONFIG_VECTOR;
}

static uint32_t read_common(struct front_pci *pci, uint32_t offset, unsigned int width)
{
    enum front_register what;
    unsigned int source;

    if (find(offset, width, &what)) {
        return piommu_virtio_front_read_(&pci->front, what) & (UINT32_MAX >> (32 - 8 * width));
    }
    if (width != 2) {
        return 0;
    }
    if (find_source(pci, offset, &source)) {
        return pci->vectors[source];
    }
    switch (offset) {
    case QUEUE_COUNT:
        return pci->front.config.queue_count;
    case QUEUE_VECTOR:
        return FRONT_PCI_NO_VECTOR; /* of a queue that does not exist */
    case QUEUE_NOTIFY_OFFSET:
        return pci->front.queue_select < pci->front.config.queue_count ? pci->front.queue_select
                                                                       : 0;
    default:
        return 0;
    }
}

static void write_common(struct front_pci *pci, uint32_t offset, unsigned int width, uint32_t value)
{
    enum front_register what;
    unsigned int source;

    if (find(offset, width, &what)) {
        /* Unlike with virtio-mmio a queue cannot be stopped: 4.1.4.3.2. */
        if (what != FRONT_QUEUE_ENABLE || value == 1) {
            piommu_virtio_front_write_(&pci->front, what, value);
        }
    } else if (width == 2 && find_source(pci, offset, &source)) {
        piommu_virtio_front_pci_set_vector_(pci, source, value);
    }
}

/* Reading it is what acknowledges: 4.1.4.5. */
static uint32_t read_isr(struct piommu_virtio_front *front)
{
    uint32_t value = front->isr;

    piommu_virtio_front_acknowledge_(front, value);
    return value;
}

static uint32_t read_word(struct front_pci *pci, uint32_t offset, unsigned int width)
{
    uint32_t at = offset % FRONT_PCI_PAGE;

    switch (offset - at) {
    case FRONT_PCI_COMMON:
        return read_common(pci, at, width);
    case FRONT_PCI_ISR:
        return at == 0 && width == 1 ? read_isr(&pci->front) : 0;
    case FRONT_PCI_DEVICE:
        return (uint32_t)piommu_virtio_front_read_config_(&pci->front, at, width);
    case FRONT_PCI_TABLE:
        return width == 4 ? piommu_virtio_front_pci_read_table_(pci, at) : 0;
    case FRONT_PCI_PENDING:
        return at == 0 && width == 4 ? pci->pending : 0;
    default:
        return 0;
    }
}

static void write_word(struct front_pci *pci, uint32_t offset, unsigned int width, uint32_t value)
{
    uint32_t at = offset % FRONT_PCI_PAGE;

    switch (offset - at) {
    case FRONT_PCI_COMMON:
        write_common(pci, at, width, value);
        break;
    case FRONT_PCI_DEVICE:
        piommu_virtio_front_write_config_(&pci->front, at, width, value);
        break;
    case FRONT_PCI_NOTIFY:
        /* The place says which queue, as it does for a hypervisor that catches doorbells itself. */
        if (width == 2 && at % PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE == 0) {
            piommu_virtio_front_notify_(&pci->front, at / PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE);
        }
        break;
    case FRONT_PCI_TABLE:
        if (width == 4) {
            piommu_virtio_front_pci_write_table_(pci, at, value);
        }
        break;
    default:
        break;
    }
}

uint64_t piommu_virtio_front_bar_read(struct piommu_virtio_front *front, uint64_t offset,
                                      unsigned int width)
{
    struct front_pci *pci = front_pci_of(front);
    uint64_t low;

    if (!front_is_access(offset, width, PIOMMU_VIRTIO_FRONT_BAR_SIZE)) {
        return 0;
    }
    if (width != 8) {
        return read_word(pci, (uint32_t)offset, width);
    }
    low = read_word(pci, (uint32_t)offset, 4);
    return low | ((uint64_t)read_word(pci, (uint32_t)offset + 4, 4) << 32);
}

void piommu_virtio_front_bar_write(struct piommu_virtio_front *front, uint64_t offset,
                                   unsigned int width, uint64_t value)
{
    struct front_pci *pci = front_pci_of(front);

    if (!front_is_access(offset, width, PIOMMU_VIRTIO_FRONT_BAR_SIZE)) {
        return;
    }
    if (width == 8) {
        write_word(pci, (uint32_t)offset, 4, (uint32_t)value);
        write_word(pci, (uint32_t)offset + 4, 4, (uint32_t)(value >> 32));
    } else {
        write_word(pci, (uint32_t)offset, width,
                   (uint32_t)value & (UINT32_MAX >> (32 - 8 * width)));
    }
}
