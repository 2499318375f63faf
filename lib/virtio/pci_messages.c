/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Interrupt messages of virtio-pci: MSI-X.
 *
 * Source: PCI Local Bus Specification 3.0, section 6.8.2 "MSI-X Capability and Table Structures";
 * VIRTIO 1.2, section 4.1.5.1.2 "MSI-X Vector Configuration".
 */

#include "pci.h"

/* In the capability. */
#define MSIX_CONTROL        2u
#define MSIX_CONTROL_SIZE   0x07ffu /* entries of the table, less one */
#define MSIX_CONTROL_MASK   0x4000u
#define MSIX_CONTROL_ENABLE 0x8000u
#define MSIX_TABLE          4u
#define MSIX_TABLE_BAR      0x7u
#define MSIX_LENGTH         12u

/* In an entry of the table. */
#define ENTRY_ADDRESS_LOW  0u
#define ENTRY_ADDRESS_HIGH 4u
#define ENTRY_DATA         8u
#define ENTRY_CONTROL      12u
#define ENTRY_SIZE         16u

/* Where the first entries of the table are, as many as there are messages; size 0: nowhere. */
static int find_table(const struct virtio_pci_device *pci, unsigned int count, struct region *table)
{
    struct piommu_host host = pci->device.host;
    uint32_t place = virtio_pci_read(pci, pci->msix + MSIX_TABLE, 4);
    uint64_t offset = place & ~MSIX_TABLE_BAR;
    struct piommu_pci_bar bar = {0, 0};
    int error;

    table->size = 0;
    if ((place & MSIX_TABLE_BAR) >= PCI_BAR_COUNT) {
        return 0;
    }
    error = host.os->pci_bar(host.ctx, pci->function, place & MSIX_TABLE_BAR, &bar);
    if (error == 0 && offset <= bar.size && count * ENTRY_SIZE <= bar.size - offset) {
        table->physical = bar.physical + offset;
        table->size = count * ENTRY_SIZE;
    }
    return error;
}

static void write_entry(const struct virtio_pci_device *pci, unsigned int number,
                        const struct piommu_virtio_message *message)
{
    struct piommu_host host = pci->device.host;
    uintptr_t entry = pci->msix_table + (uintptr_t)number * ENTRY_SIZE;

    host.os->mmio_write(host.ctx, entry + ENTRY_ADDRESS_LOW, 4, (uint32_t)message->address);
    host.os->mmio_write(host.ctx, entry + ENTRY_ADDRESS_HIGH, 4,
                        (uint32_t)(message->address >> 32));
    host.os->mmio_write(host.ctx, entry + ENTRY_DATA, 4, message->data);
    host.os->mmio_write(host.ctx, entry + ENTRY_CONTROL, 4, 0);
}

static void set_control(const struct virtio_pci_device *pci, uint32_t control)
{
    virtio_pci_write(pci, pci->msix + MSIX_CONTROL, 2, control);
}

void piommu_virtio_pci_messages_write_(const struct virtio_pci_device *pci)
{
    uint32_t control = pci->old_msix_control & ~(MSIX_CONTROL_MASK | MSIX_CONTROL_ENABLE);

    if (pci->device.messages_used == 0) {
        return;
    }
    /* Masked until the entries are whole; some devices take writes to them only when enabled. */
    set_control(pci, control | MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK);
    for (unsigned int i = 0; i < pci->device.messages_used; i++) {
        write_entry(pci, i, &pci->messages[i]);
    }
    set_control(pci, control | MSIX_CONTROL_ENABLE);
}

/* Takes as many messages into use as the device has entries for. */
static int use_messages(struct virtio_pci_device *pci, const struct piommu_virtio_message *messages,
                        unsigned int count)
{
    struct piommu_host host = pci->device.host;
    unsigned int entries = (pci->old_msix_control & MSIX_CONTROL_SIZE) + 1u;
    struct region table;
    int error;

    if (count > entries) {
        count = entries;
    }
    error = find_table(pci, count, &table);
    if (error != 0 || table.size == 0) {
        return error;
    }
    error = host.os->mmio_map(host.ctx, table.physical, table.size, &pci->msix_table);
    if (error != 0) {
        return error;
    }
    memcpy(pci->messages, messages, count * sizeof(*messages));
    pci->device.messages_used = (uint8_t)count;
    piommu_virtio_pci_messages_write_(pci);
    return 0;
}

int piommu_virtio_pci_messages_open_(struct virtio_pci_device *pci,
                                     const struct piommu_virtio_message *messages,
                                     unsigned int count)
{
    uint32_t at = 0;
    int error = 0;

    if (!piommu_virtio_pci_next_capability_(pci, PCI_CAP_MSIX, &at) ||
        at + MSIX_LENGTH > PCI_CONFIG_SIZE) {
        return 0;
    }
    pci->msix = at;
    pci->old_msix_control = (uint16_t)virtio_pci_read(pci, at + MSIX_CONTROL, 2);
    if (count != 0) {
        error = use_messages(pci, messages, count);
    }
    if (pci->device.messages_used == 0 && (pci->old_msix_control & MSIX_CONTROL_ENABLE) != 0) {
        /* Somebody has left it on: then the line would stay silent. */
        set_control(pci, pci->old_msix_control & ~MSIX_CONTROL_ENABLE);
    }
    return error;
}

void piommu_virtio_pci_messages_close_(struct virtio_pci_device *pci)
{
    struct piommu_host host = pci->device.host;

    if (pci->device.messages_used != 0) {
        set_control(pci, pci->old_msix_control & ~MSIX_CONTROL_ENABLE);
        host.os->mmio_unmap(host.ctx, pci->msix_table, pci->device.messages_used * ENTRY_SIZE);
    }
}
