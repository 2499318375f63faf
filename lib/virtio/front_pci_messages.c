/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Interrupt messages of a front behind virtio-pci: MSI-X.
 *
 * Source: PCI Local Bus Specification 3.0, section 6.8.2 "MSI-X Capability and Table Structures";
 * VIRTIO 1.2, section 4.1.5.1.2 "MSI-X Vector Configuration".
 */

#include "front_pci.h"

#define CONTROL        2u /* in the capability */
#define CONTROL_MASK   0x4000u
#define CONTROL_ENABLE 0x8000u

#define ENTRY_CONTROL_MASK 0x1u
#define ADDRESS_LOW_BITS   0xfffffffcu /* a message is a word */

static uint32_t control(const struct front_pci *pci)
{
    return pci->msix != 0 ? front_pci_get(pci, pci->msix + CONTROL, 2) : 0;
}

bool piommu_virtio_front_pci_has_messages_(const struct front_pci *pci)
{
    return (control(pci) & CONTROL_ENABLE) != 0;
}

/* A message is a write of the function, which it must not make if it may not master the bus. */
static bool can_send(const struct front_pci *pci, unsigned int vector)
{
    return (control(pci) & (CONTROL_ENABLE | CONTROL_MASK)) == CONTROL_ENABLE &&
           pci->front.may_use_memory &&
           (pci->table[vector][ENTRY_CONTROL] & ENTRY_CONTROL_MASK) == 0;
}

void piommu_virtio_front_pci_send_pending_(struct front_pci *pci)
{
    const struct piommu_virtio_front_config *config = &pci->front.config;

    for (unsigned int i = 0; i < pci->vector_count; i++) {
        const uint32_t *entry = pci->table[i];

        if ((pci->pending & (1u << i)) != 0 && can_send(pci, i)) {
            pci->pending &= ~(1u << i);
            config->callbacks.send_message(
                config->ctx, ((uint64_t)entry[ENTRY_ADDRESS_HIGH] << 32) | entry[ENTRY_ADDRESS_LOW],
                entry[ENTRY_DATA]);
        }
    }
}

bool piommu_virtio_front_pci_message_(struct piommu_virtio_front *front, unsigned int source)
{
    struct front_pci *pci = front_pci_of(front);

    if (!piommu_virtio_front_pci_has_messages_(pci)) {
        return false;
    }
    if (pci->vectors[source] != FRONT_PCI_NO_VECTOR) {
        pci->pending |= 1u << pci->vectors[source];
        piommu_virtio_front_pci_send_pending_(pci);
    }
    return true;
}

void piommu_virtio_front_pci_reset_messages_(struct piommu_virtio_front *front)
{
    struct front_pci *pci = front_pci_of(front);

    pci->pending = 0;
    for (unsigned int i = 0; i < PIOMMU_VIRTIO_FRONT_MAX_MESSAGES; i++) {
        pci->vectors[i] = FRONT_PCI_NO_VECTOR;
    }
}

void piommu_virtio_front_pci_mask_messages_(struct front_pci *pci)
{
    for (unsigned int i = 0; i < pci->vector_count; i++) {
        pci->table[i][ENTRY_CONTROL] = ENTRY_CONTROL_MASK;
    }
}

void piommu_virtio_front_pci_set_vector_(struct front_pci *pci, unsigned int source,
                                         uint32_t vector)
{
    pci->vectors[source] = vector < pci->vector_count ? (uint16_t)vector : FRONT_PCI_NO_VECTOR;
}

uint32_t piommu_virtio_front_pci_read_table_(const struct front_pci *pci, uint32_t offset)
{
    uint32_t word = offset / 4;

    return word < pci->vector_count * (uint32_t)ENTRY_WORDS
               ? pci->table[word / ENTRY_WORDS][word % ENTRY_WORDS]
               : 0;
}

static const uint32_t table_bits[ENTRY_WORDS] = {ADDRESS_LOW_BITS, UINT32_MAX, UINT32_MAX,
                                                 ENTRY_CONTROL_MASK};

void piommu_virtio_front_pci_write_table_(struct front_pci *pci, uint32_t offset, uint32_t value)
{
    uint32_t word = offset / 4;

    if (word < pci->vector_count * (uint32_t)ENTRY_WORDS) {
        pci->table[word / ENTRY_WORDS][word % ENTRY_WORDS] = value & table_bits[word % ENTRY_WORDS];
        piommu_virtio_front_pci_send_pending_(pci);
    }
}

void piommu_virtio_front_pci_messages_state_(struct front_pci *pci, struct blob *blob)
{
    for (unsigned int i = 0; i < PIOMMU_VIRTIO_FRONT_MAX_MESSAGES; i++) {
        blob_16(blob, &pci->vectors[i]);
        blob_check(blob,
                   pci->vectors[i] < pci->vector_count || pci->vectors[i] == FRONT_PCI_NO_VECTOR);
    }
    for (unsigned int i = 0; i < pci->vector_count; i++) {
        for (unsigned int word = 0; word < ENTRY_WORDS; word++) {
            blob_32(blob, &pci->table[i][word]);
            pci->table[i][word] &= table_bits[word];
        }
    }
    blob_32(blob, &pci->pending);
    blob_check(blob, pci->pending >> pci->vector_count == 0);
}
