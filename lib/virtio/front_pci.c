/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The front of a virtio device behind virtio-pci, modern interface: configuration space. It is an
 * array of bytes and one of the bits that can be written; what a write means is seen from its
 * result.
 *
 * Source: VIRTIO 1.2, sections 4.1.2 to 4.1.4; PCI Local Bus Specification 3.0, sections 6.1, 6.2,
 * 6.7 and 6.8.
 */

#include "front_pci.h"

#define VENDOR               0x00u
#define VENDOR_VIRTIO        0x1af4u
#define DEVICE               0x02u
#define DEVICE_MODERN        0x1040u
#define COMMAND              0x04u
#define COMMAND_MEMORY       0x0002u
#define COMMAND_MASTER       0x0004u
#define COMMAND_NO_INTERRUPT 0x0400u
#define STATUS               0x06u
#define STATUS_INTERRUPT     0x08u
#define STATUS_CAPABILITIES  0x10u
#define REVISION             0x08u
#define REVISION_MODERN      0x01u
#define CLASS                0x09u
#define CLASS_NONE           0xff0000u
#define CLASS_MAX            0xffffffu
#define BAR                  0x10u
#define BAR_MEMORY_64        0x4u
#define BAR_ADDRESS          (~(uint64_t)(PIOMMU_VIRTIO_FRONT_BAR_SIZE - 1u))
#define SUBSYSTEM_VENDOR     0x2cu
#define SUBSYSTEM            0x2eu
#define SUBSYSTEM_MODERN     0x40u
#define CAPABILITIES         0x34u
#define INTERRUPT_LINE       0x3cu
#define INTERRUPT_PIN        0x3du
#define INTERRUPT_PIN_MAX    4u
#define HEADER_SIZE          0x40u

/* A capability of virtio: 4.1.4. */
#define CAP_VENDOR         0x09u
#define CAP_TYPE           3u
#define CAP_BAR            4u
#define CAP_OFFSET         8u
#define CAP_SIZE           12u
#define CAP_LENGTH         16u
#define CAP_MULTIPLIER     16u /* of the doorbells */
#define CAP_DATA           16u /* of the window */
#define CAP_LENGTH_AND_ONE 20u

enum { TYPE_COMMON = 1, TYPE_NOTIFY, TYPE_ISR, TYPE_DEVICE, TYPE_WINDOW };

#define CAP_MSIX         0x11u
#define MSIX_CONTROL     2u
#define MSIX_TABLE       4u
#define MSIX_PENDING     8u
#define MSIX_LENGTH      12u
#define MSIX_CAN_CONTROL 0xc0u /* enable, and mask all */

/* ---- What the function is ---- */

/* Where the next capability goes, and where it is named. */
struct list {
    struct front_pci *pci;
    unsigned int link;
    unsigned int end;
};

static unsigned int add_capability(struct list *list, uint32_t id, unsigned int length)
{
    unsigned int at = list->end;

    front_pci_put(list->pci, list->link, 1, at);
    front_pci_put(list->pci, at, 1, id);
    list->link = at + 1;
    list->end = at + length;
    return at;
}

static unsigned int add_region(struct list *list, uint32_t type, unsigned int length,
                               uint32_t offset, uint32_t size)
{
    unsigned int at = add_capability(list, CAP_VENDOR, length);

    front_pci_put(list->pci, at + 2, 1, length);
    front_pci_put(list->pci, at + CAP_TYPE, 1, type);
    front_pci_put(list->pci, at + CAP_OFFSET, 4, offset);
    front_pci_put(list->pci, at + CAP_SIZE, 4, size);
    return at;
}

static void add_messages(struct list *list)
{
    struct front_pci *pci = list->pci;

    pci->msix = (uint8_t)add_capability(list, CAP_MSIX, MSIX_LENGTH);
    front_pci_put(pci, pci->msix + MSIX_CONTROL, 2, pci->vector_count - 1u);
    front_pci_put(pci, pci->msix + MSIX_TABLE, 4, FRONT_PCI_TABLE);
    front_pci_put(pci, pci->msix + MSIX_PENDING, 4, FRONT_PCI_PENDING);
    pci->writable[pci->msix + MSIX_CONTROL + 1u] = MSIX_CAN_CONTROL;
}

static void add_capabilities(struct front_pci *pci)
{
    const struct piommu_virtio_front_config *config = &pci->front.config;
    struct list list = {.pci = pci, .link = CAPABILITIES, .end = HEADER_SIZE};
    unsigned int at;

    add_region(&list, TYPE_COMMON, CAP_LENGTH, FRONT_PCI_COMMON, FRONT_PCI_COMMON_SIZE);
    add_region(&list, TYPE_ISR, CAP_LENGTH, FRONT_PCI_ISR, 1);
    if (config->config_size != 0) {
        add_region(&list, TYPE_DEVICE, CAP_LENGTH, FRONT_PCI_DEVICE, config->config_size);
    }
    at = add_region(&list, TYPE_NOTIFY, CAP_LENGTH_AND_ONE, FRONT_PCI_NOTIFY,
                    config->queue_count * PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE);
    front_pci_put(pci, at + CAP_MULTIPLIER, 4, PIOMMU_VIRTIO_FRONT_DOORBELL_SIZE);
    /* Which BAR, where, how much, and the data are the driver's to write: 4.1.4.9. */
    at = add_region(&list, TYPE_WINDOW, CAP_LENGTH_AND_ONE, 0, 0);
    pci->window = (uint8_t)at;
    pci->writable[at + CAP_BAR] = 0xff;
    memset(&pci->writable[at + CAP_OFFSET], 0xff, CAP_LENGTH_AND_ONE - CAP_OFFSET);
    if (pci->vector_count != 0) {
        add_messages(&list);
    }
}

static void make_bar(struct front_pci *pci)
{
    front_pci_put(pci, BAR, 4, BAR_MEMORY_64);
    for (unsigned int i = 0; i < 8; i++) {
        pci->writable[BAR + i] = (uint8_t)(BAR_ADDRESS >> (8 * i));
    }
}

static void make_header(struct front_pci *pci)
{
    const struct piommu_virtio_front_pci_config *config = &pci->config;

    front_pci_put(pci, VENDOR, 2, VENDOR_VIRTIO);
    front_pci_put(pci, DEVICE, 2, DEVICE_MODERN + pci->front.config.type);
    pci->writable[COMMAND] = COMMAND_MEMORY | COMMAND_MASTER;
    pci->writable[COMMAND + 1] = COMMAND_NO_INTERRUPT >> 8;
    front_pci_put(pci, REVISION, 1, REVISION_MODERN);
    front_pci_put(pci, CLASS, 3, config->class_code != 0 ? config->class_code : CLASS_NONE);
    make_bar(pci);
    front_pci_put(pci, SUBSYSTEM_VENDOR, 2, pci->front.config.vendor);
    front_pci_put(pci, SUBSYSTEM, 2, config->subsystem != 0 ? config->subsystem : SUBSYSTEM_MODERN);
    pci->writable[INTERRUPT_LINE] = 0xff;
    front_pci_put(pci, INTERRUPT_PIN, 1, config->interrupt_pin);
}

/* ---- What the driver has written ---- */

static uint32_t command(const struct front_pci *pci)
{
    return front_pci_get(pci, COMMAND, 2);
}

static void place_bar(struct front_pci *pci)
{
    const struct piommu_virtio_front_config *config = &pci->front.config;
    bool decoded = (command(pci) & COMMAND_MEMORY) != 0;
    uint64_t address =
        (front_pci_get(pci, BAR, 4) | ((uint64_t)front_pci_get(pci, BAR + 4, 4) << 32)) &
        BAR_ADDRESS;

    if (decoded == pci->decoded && (!decoded || address == pci->address)) {
        return;
    }
    pci->decoded = decoded;
    pci->address = address;
    if (config->callbacks.bar_moved != NULL) {
        config->callbacks.bar_moved(config->ctx, decoded, address);
    }
}

/* Lets the function master the bus or not; what was not seen in between is looked at. */
static void set_master(struct front_pci *pci)
{
    struct piommu_virtio_front *front = &pci->front;
    bool old = front->may_use_memory;

    front->may_use_memory = (command(pci) & COMMAND_MASTER) != 0;
    if (old || !front->may_use_memory) {
        return;
    }
    for (unsigned int i = 0; i < front->config.queue_count; i++) {
        piommu_virtio_front_notify_(front, i);
    }
}

/* Whether an access touches the data of the window, and which access to the BAR that makes. */
static bool is_window(const struct front_pci *pci, uint64_t offset, unsigned int width,
                      uint32_t *bar_offset, uint32_t *bar_width)
{
    unsigned int data = pci->window + CAP_DATA;

    *bar_offset = front_pci_get(pci, pci->window + CAP_OFFSET, 4);
    *bar_width = front_pci_get(pci, pci->window + CAP_SIZE, 4);
    return offset + width > data && offset < data + 4 &&
           front_pci_get(pci, pci->window + CAP_BAR, 1) == 0 && *bar_width <= 4;
}

static bool is_config_access(uint64_t offset, unsigned int width)
{
    return width <= 4 && front_is_access(offset, width, FRONT_PCI_SPACE);
}

static bool shows_interrupt(const struct front_pci *pci)
{
    return pci->front.isr != 0 && !piommu_virtio_front_pci_has_messages_(pci);
}

uint32_t piommu_virtio_front_pci_config_read(struct piommu_virtio_front *front, uint64_t offset,
                                             unsigned int width)
{
    struct front_pci *pci = front_pci_of(front);
    uint32_t bar_offset;
    uint32_t bar_width;

    if (!is_config_access(offset, width)) {
        return 0;
    }
    if (is_window(pci, offset, width, &bar_offset, &bar_width)) {
        front_pci_put(pci, pci->window + CAP_DATA, bar_width,
                      (uint32_t)piommu_virtio_front_bar_read(front, bar_offset, bar_width));
    }
    front_pci_put(pci, STATUS, 1,
                  STATUS_CAPABILITIES | (shows_interrupt(pci) ? STATUS_INTERRUPT : 0));
    return front_pci_get(pci, (unsigned int)offset, width);
}

void piommu_virtio_front_pci_config_write(struct piommu_virtio_front *front, uint64_t offset,
                                          unsigned int width, uint32_t value)
{
    struct front_pci *pci = front_pci_of(front);
    uint32_t bar_offset;
    uint32_t bar_width;

    if (!is_config_access(offset, width)) {
        return;
    }
    for (unsigned int i = 0; i < width; i++) {
        uint8_t *byte = &pci->space[offset + i];
        uint8_t bits = pci->writable[offset + i];

        *byte = (uint8_t)((*byte & ~bits) | ((value >> (8 * i)) & bits));
    }
    place_bar(pci);
    set_master(pci);
    piommu_virtio_front_update_line_(front);
    piommu_virtio_front_pci_send_pending_(pci);
    if (is_window(pci, offset, width, &bar_offset, &bar_width)) {
        piommu_virtio_front_bar_write(front, bar_offset, bar_width,
                                      front_pci_get(pci, pci->window + CAP_DATA, 4));
    }
}

/* ---- Life ---- */

/* 4.1.4.5.1, and bit 10 of the command register. */
static bool line(const struct piommu_virtio_front *front)
{
    const struct front_pci *pci = front_pci_of_const(front);

    return shows_interrupt(pci) && front_pci_get(pci, INTERRUPT_PIN, 1) != 0 &&
           (command(pci) & COMMAND_NO_INTERRUPT) == 0;
}

static void power_on(struct piommu_virtio_front *front)
{
    struct front_pci *pci = front_pci_of(front);

    memset(pci->space, 0, sizeof(pci->space));
    memset(pci->writable, 0, sizeof(pci->writable));
    memset(pci->table, 0, sizeof(pci->table));
    piommu_virtio_front_pci_mask_messages_(pci);
    make_header(pci);
    add_capabilities(pci);
    place_bar(pci);
    set_master(pci);
}

static void state(struct piommu_virtio_front *front, struct blob *blob)
{
    struct front_pci *pci = front_pci_of(front);

    blob_same(blob, pci->vector_count);
    for (unsigned int i = 0; i < FRONT_PCI_SPACE; i++) {
        uint8_t byte = pci->space[i];

        /* The function is what it is made as: of what is read, what a driver can write counts. */
        blob_byte(blob, &byte);
        pci->space[i] = (uint8_t)((pci->space[i] & ~pci->writable[i]) | (byte & pci->writable[i]));
    }
    piommu_virtio_front_pci_messages_state_(pci, blob);
    if (blob_is_read(blob) && !blob->refused) {
        place_bar(pci);
        front->may_use_memory = (command(pci) & COMMAND_MASTER) != 0;
    }
}

static const struct front_transport pci_transport = {
    .size = sizeof(struct front_pci),
    .kind = 2,
    .line = line,
    .message = piommu_virtio_front_pci_message_,
    .initialise = piommu_virtio_front_pci_reset_messages_,
    .power_on = power_on,
    .state = state,
};

static bool is_possible(const struct piommu_virtio_front_config *config,
                        const struct piommu_virtio_front_pci_config *pci)
{
    return pci->class_code <= CLASS_MAX && pci->interrupt_pin <= INTERRUPT_PIN_MAX &&
           pci->message_count <= PIOMMU_VIRTIO_FRONT_MAX_MESSAGES &&
           (pci->subsystem == 0 || pci->subsystem >= SUBSYSTEM_MODERN) &&
           config->vendor <= UINT16_MAX &&
           (pci->interrupt_pin == 0 || config->callbacks.set_interrupt != NULL) &&
           (pci->message_count == 0 || config->callbacks.send_message != NULL);
}

int piommu_virtio_front_create_pci(struct piommu_host host,
                                   const struct piommu_virtio_front_config *config,
                                   const struct piommu_virtio_front_pci_config *pci_config,
                                   struct piommu_virtio_front **front)
{
    struct front_pci *pci;
    int error;

    if (config == NULL || pci_config == NULL || front == NULL || !is_possible(config, pci_config)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_virtio_front_create_(host, config, &pci_transport, front);
    if (error != 0) {
        return error;
    }
    pci = front_pci_of(*front);
    pci->config = *pci_config;
    pci->vector_count = pci_config->message_count;
    power_on(*front);
    return 0;
}
