/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_PCI_H
#define PIOMMU_LIB_VIRTIO_PCI_H

/* The device behind virtio-pci, shared by the files of this transport. */

#include "virtio.h"

#define PCI_CAP_VENDOR  0x09u
#define PCI_CAP_MSIX    0x11u
#define PCI_BAR_COUNT   6u
#define PCI_HEADER_SIZE 64u
#define PCI_CONFIG_SIZE 256u

enum { REGION_COMMON, REGION_NOTIFY, REGION_ISR, REGION_DEVICE, REGION_COUNT };

struct region {
    uint64_t physical;
    uint32_t size; /* 0: not found */
    uintptr_t base;
};

struct virtio_pci_device {
    struct piommu_virtio_device device;
    struct piommu_pci_function function;
    uint16_t old_command;
    uint32_t notify_multiplier;
    struct region regions[REGION_COUNT];
    unsigned int capabilities; /* seen in the walk that goes on */
    /* MSI-X; 0: there is none. */
    uint32_t msix;
    uint16_t old_msix_control;
    struct piommu_virtio_message messages[PIOMMU_VIRTIO_MAX_MESSAGES];
    uintptr_t msix_table;
};

static inline struct virtio_pci_device *virtio_pci_of(struct piommu_virtio_device *device)
{
    return (struct virtio_pci_device *)(void *)device;
}

static inline uint32_t virtio_pci_read(const struct virtio_pci_device *pci, uint32_t offset,
                                       unsigned int width)
{
    struct piommu_host host = pci->device.host;

    return host.os->pci_config_read(host.ctx, pci->function, offset, width);
}

static inline void virtio_pci_write(const struct virtio_pci_device *pci, uint32_t offset,
                                    unsigned int width, uint32_t value)
{
    struct piommu_host host = pci->device.host;

    host.os->pci_config_write(host.ctx, pci->function, offset, width, value);
}

/* pci.c: goes on to the next capability of a kind, or to the first one from 0; false: no more. */
bool piommu_virtio_pci_next_capability_(struct virtio_pci_device *pci, uint8_t id, uint32_t *at);

/* pci_messages.c */

/*
 * Has the device interrupt with messages, as far as it can; without any, by its line. An error is
 * one of the shim's.
 */
int piommu_virtio_pci_messages_open_(struct virtio_pci_device *pci,
                                     const struct piommu_virtio_message *messages,
                                     unsigned int count);
/* Writes the messages that are in use into the device's table, and switches them on. */
void piommu_virtio_pci_messages_write_(const struct virtio_pci_device *pci);
void piommu_virtio_pci_messages_close_(struct virtio_pci_device *pci);

#endif
