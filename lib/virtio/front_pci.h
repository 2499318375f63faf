/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIRTIO_FRONT_PCI_H
#define PIOMMU_LIB_VIRTIO_FRONT_PCI_H

/* The front behind virtio-pci, shared by the files of this transport. */

#include "front.h"

#define FRONT_PCI_SPACE 256u

/* What lies where in the BAR: in pages of their own, so that a hypervisor can tell them apart. */
#define FRONT_PCI_PAGE    0x1000u
#define FRONT_PCI_COMMON  0x0000u
#define FRONT_PCI_ISR     0x1000u
#define FRONT_PCI_DEVICE  0x2000u
#define FRONT_PCI_NOTIFY  PIOMMU_VIRTIO_FRONT_DOORBELLS
#define FRONT_PCI_TABLE   0x4000u
#define FRONT_PCI_PENDING 0x5000u

/* All of VIRTIO 1.2; the last two registers belong to features that are not offered. */
#define FRONT_PCI_COMMON_SIZE 60u

/* An entry of the MSI-X table: address in two halves, data, control. */
enum { ENTRY_ADDRESS_LOW, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_WORDS };

/* No message: VIRTIO 1.2, 4.1.5.1.2. */
#define FRONT_PCI_NO_VECTOR 0xffffu

struct front_pci {
    struct piommu_virtio_front front;
    uint8_t space[FRONT_PCI_SPACE];
    uint8_t writable[FRONT_PCI_SPACE]; /* bits of it that the driver can change */
    uint8_t window;                    /* where the capabilities are: of the window to the BAR */
    uint8_t msix;                      /* of MSI-X; 0: there is none */
    /* Where the BAR is, as the hypervisor has been told. */
    bool decoded;
    uint64_t address;
    struct piommu_virtio_front_pci_config config;
    uint16_t vector_count;
    uint16_t vectors[PIOMMU_VIRTIO_FRONT_MAX_MESSAGES]; /* by source */
    uint32_t table[PIOMMU_VIRTIO_FRONT_MAX_MESSAGES][ENTRY_WORDS];
    uint32_t pending; /* messages that were masked when they were due */
};

static inline struct front_pci *front_pci_of(struct piommu_virtio_front *front)
{
    return (struct front_pci *)(void *)front;
}

static inline const struct front_pci *front_pci_of_const(const struct piommu_virtio_front *front)
{
    return (const struct front_pci *)(const void *)front;
}

static inline uint32_t front_pci_get(const struct front_pci *pci, unsigned int offset,
                                     unsigned int width)
{
    uint32_t value = 0;

    for (unsigned int i = 0; i < width; i++) {
        value |= (uint32_t)pci->space[offset + i] << (8 * i);
    }
    return value;
}

static inline void front_pci_put(struct front_pci *pci, unsigned int offset, unsigned int width,
                                 uint32_t value)
{
    for (unsigned int i = 0; i < width; i++) {
        pci->space[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

/* front_pci_messages.c */

/* Whether messages are switched on, so that the line stays low. */
bool piommu_virtio_front_pci_has_messages_(const struct front_pci *pci);
/* Interrupts by the message of a source, if they are switched on: front_transport::message. */
bool piommu_virtio_front_pci_message_(struct piommu_virtio_front *front, unsigned int source);
/* Sends what has waited and need not any more. */
void piommu_virtio_front_pci_send_pending_(struct front_pci *pci);
/* As after a reset of the device, which leaves the table as it is. */
void piommu_virtio_front_pci_reset_messages_(struct piommu_virtio_front *front);
/* As after a reset of the function. */
void piommu_virtio_front_pci_mask_messages_(struct front_pci *pci);
/* Messages, and what they are for. */
void piommu_virtio_front_pci_messages_state_(struct front_pci *pci, struct blob *blob);
/* A source is to have this message; one that does not exist becomes none. */
void piommu_virtio_front_pci_set_vector_(struct front_pci *pci, unsigned int source,
                                         uint32_t vector);
/* Words of the table, and of the bits that say which messages wait. */
uint32_t piommu_virtio_front_pci_read_table_(const struct front_pci *pci, uint32_t offset);
void piommu_virtio_front_pci_write_table_(struct front_pci *pci, uint32_t offset, uint32_t value);

#endif
