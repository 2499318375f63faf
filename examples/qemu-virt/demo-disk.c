/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Disks: a device that reads and writes memory by itself, with a ring, at addresses of its domain.
 *
 * The image has put "sector N" and blanks into each sector. What is copied is written elsewhere as
 * "Sector N", so that whoever looks at the image afterwards sees that the data went through here.
 */

#include "demo.h"
#include "host.h"
#include "virtio-blk.h"

#include <string.h>

#define RING_IOVA     0x0c000000ull
#define RING_SIZE     ((size_t)65536)
#define BUFFER_IOVA   0x0d000000ull
#define UNMAPPED_IOVA 0x0e000000ull

#define BUFFER_OFFSET   1024u /* so that requests cross pages */
#define REQUEST_SECTORS 4u
#define MOST_SECTORS    16u
#define REQUEST_TIME    50000000ull /* in which a request has always been answered */
#define TARGET_SECTOR   64u         /* where copies go: the sectors before are not changed */

struct disk {
    struct blk blk;
    bool started;
    unsigned int next; /* sector to be copied */
    struct host_arena arena;
    uint8_t *pages[PAGES]; /* the buffer */
    uint64_t buffer;       /* the device's address of it */
    unsigned int intid;
    /* Behind the IOMMU: */
    uint16_t bdf;
    uint32_t endpoint;
    struct piommu_device *device;
    struct piommu_domain *domain;
};

/* The one behind the IOMMU. */
static struct disk disk;

/* ---- Sectors ---- */

static uint8_t *buffer_at(const struct disk *from, size_t offset)
{
    return from->pages[offset / PAGE] + offset % PAGE;
}

/* Sector number `index` of those in the buffer; it lies in one page. */
static uint8_t *sector_at(const struct disk *from, unsigned int index)
{
    return buffer_at(from, BUFFER_OFFSET + index * BLK_SECTOR_SIZE);
}

static void write_text(uint8_t *sector, char first, unsigned int number)
{
    const char rest[] = "ector ";
    unsigned int divisor = 1;
    size_t length = sizeof(rest); /* with the first letter, without the zero */

    memset(sector, ' ', BLK_SECTOR_SIZE);
    sector[0] = (uint8_t)first;
    memcpy(sector + 1, rest, sizeof(rest) - 1);
    while (number / divisor >= 10) {
        divisor *= 10;
    }
    for (; divisor != 0; divisor /= 10) {
        sector[length++] = (uint8_t)('0' + number / divisor % 10);
    }
}

/* Whether the buffer holds the text of each of these sectors. */
static bool has_text(const struct disk *from, char first, unsigned int number, unsigned int count)
{
    uint8_t expected[BLK_SECTOR_SIZE];

    for (unsigned int i = 0; i < count; i++) {
        write_text(expected, first, number + i);
        if (memcmp(sector_at(from, i), expected, sizeof(expected)) != 0) {
            return false;
        }
    }
    return true;
}

/* Reads or writes: several requests at once, each in two pieces of one sector and of three. */
static int transfer(struct disk *with, enum blk_operation operation, unsigned int sector,
                    unsigned int count)
{
    int error = 0;

    for (unsigned int i = 0; i < count && error == 0; i += REQUEST_SECTORS) {
        uint64_t address = with->buffer + BUFFER_OFFSET + i * BLK_SECTOR_SIZE;
        const struct piommu_virtio_buffer pieces[] = {
            {.physical = address, .size = BLK_SECTOR_SIZE},
            {.physical = address + BLK_SECTOR_SIZE,
             .size = (REQUEST_SECTORS - 1) * BLK_SECTOR_SIZE},
        };

        error = blk_submit(&with->blk, operation, sector + i, pieces, 2);
    }
    return error != 0 ? error : blk_finish(&with->blk);
}

static void forget(const struct disk *with)
{
    for (unsigned int i = 0; i < PAGES; i++) {
        memset(with->pages[i], UNTOUCHED, PAGE);
    }
}

/* Copies the next sectors: reads, changes, writes, and reads again what was written. */
static bool copy(struct disk *with, unsigned int count)
{
    unsigned int from = with->next;
    unsigned int to = from + TARGET_SECTOR;
    bool right;

    with->next += count;
    forget(with);
    must(transfer(with, BLK_READ, from, count), "reading from the disk");
    right = has_text(with, 's', from, count);
    for (unsigned int i = 0; i < count; i++) {
        *sector_at(with, i) = 'S';
    }
    must(transfer(with, BLK_WRITE, to, count), "writing to the disk");
    must(blk_submit(&with->blk, BLK_FLUSH, 0, NULL, 0), "flushing the disk");
    must(blk_finish(&with->blk), "flushing the disk");
    forget(with);
    must(transfer(with, BLK_READ, to, count), "reading from the disk");
    return right && has_text(with, 'S', from, count);
}

/* ---- Interrupts ---- */

static bool wait_interrupt(void *context, uint64_t deadline)
{
    return machine_interrupt_wait(((struct disk *)context)->intid, deadline);
}

static void done_interrupt(void *context)
{
    machine_interrupt_done(((struct disk *)context)->intid);
}

/* ---- Starting, by polling or interrupts ---- */

static void start_blk(struct disk *with, struct piommu_host host,
                      struct piommu_virtio_device *device, bool interrupts)
{
    const struct blk_interrupt interrupt = {
        .wait = interrupts ? wait_interrupt : NULL, .done = done_interrupt, .context = with};

    must(blk_start(&with->blk, host, device, &interrupt), "starting the disk");
    with->started = true;
}

static void stop_blk(struct disk *with)
{
    must(blk_stop(&with->blk), "stopping the disk");
    with->started = false;
}

/* The disk behind the IOMMU, with a message or without one. */
static void open_pci(const struct piommu_virtio_message *message, bool interrupts)
{
    const struct piommu_virtio_pci_config config = {.function = {.bdf = disk.bdf},
                                                    .type = BLK_TYPE,
                                                    .messages = message,
                                                    .message_count = message == NULL ? 0 : 1};
    struct piommu_host host = host_shim_in(&disk.arena);
    struct piommu_virtio_device *device;

    must(piommu_virtio_pci_open(host, &config, &device), "opening the disk");
    check(piommu_virtio_messages_used(device) == config.message_count,
          "opened over virtio-pci, with %u interrupt messages", config.message_count);
    start_blk(&disk, host, device, interrupts);
}

/* ---- Behind the IOMMU ---- */

static void put_into_domain(struct demo *demo)
{
    const piommu_prot prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
    const struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING,
                                                .instances = &demo->instance,
                                                .instance_count = 1,
                                                .name = "disk"};
    struct piommu_device_id id = {.instance = demo->instance};
    const struct piommu_device_config config = {.ids = &id, .id_count = 1, .name = "disk"};

    disk.endpoint = id.id = endpoint_of(demo, disk.bdf);
    must(piommu_domain_create(&domain, &disk.domain), "creating the disk's domain");
    must(piommu_device_add(demo->context, &config, &disk.device), "adding the disk");
    must(piommu_device_attach(disk.device, disk.domain), "attaching the disk");

    disk.arena = (struct host_arena){.memory = machine_pages_alloc(RING_SIZE, PAGE),
                                     .device_address = RING_IOVA,
                                     .size = RING_SIZE};
    must(disk.arena.memory != NULL ? 0 : -PIOMMU_ENOMEM, "memory for the disk's ring");
    must(piommu_domain_map(disk.domain, RING_IOVA, machine_physical(disk.arena.memory), RING_SIZE,
                           prot),
         "mapping the disk's ring");
    disk.buffer = BUFFER_IOVA;
    take_scattered(disk.pages, PAGES);
    map_scattered(disk.domain, BUFFER_IOVA, disk.pages);
    machine_printf("     ring: IOVA 0x%llx..0x%llx -> physical 0x%llx\n", RING_IOVA,
                   RING_IOVA + RING_SIZE - 1,
                   (unsigned long long)machine_physical(disk.arena.memory));
    print_pages("buffer", BUFFER_IOVA, disk.pages, PAGES);
}

static void print_features(const struct blk *blk)
{
    machine_printf("     %llu sectors; %s ring, indirect descriptors %s, event index %s\n",
                   (unsigned long long)blk->sectors,
                   (blk->features & PIOMMU_VIRTIO_F_RING_PACKED) != 0 ? "packed" : "split",
                   (blk->features & PIOMMU_VIRTIO_F_INDIRECT_DESC) != 0 ? "yes" : "no",
                   (blk->features & PIOMMU_VIRTIO_F_EVENT_IDX) != 0 ? "yes" : "no");
}

static void by_polling(struct demo *demo)
{
    open_pci(NULL, false);
    print_features(&disk.blk);
    check((disk.blk.features & PIOMMU_VIRTIO_F_ACCESS_PLATFORM) != 0,
          "the disk says that its DMA goes through the IOMMU");
    check(has_features(disk.blk.features), "it was agreed on what the device was said to offer");
    check(copy(&disk, MOST_SECTORS),
          "by polling: sectors read, changed, written and read again, all at IOVAs");
    collect_faults(demo->instance);
    check(fault_count == 0, "no fault was reported meanwhile");
    stop_blk(&disk);
    check(disk.arena.outstanding == 0, "stopped: it has given back its ring");
}

static void by_line(void)
{
    must(machine_pci_interrupt(disk.bdf, &disk.intid), "finding the disk's interrupt line");
    machine_interrupt_enable(disk.intid, false);
    open_pci(NULL, true);
    check(copy(&disk, MOST_SECTORS / 2), "by its line, interrupt %u: the next sectors, after %u",
          disk.intid, disk.blk.interrupts);
    stop_blk(&disk);
    machine_interrupt_disable(disk.intid);
}

/* The doorbell is behind the IOMMU as all else: the library says at which address. */
static void by_message(void)
{
    struct machine_message message;
    struct piommu_virtio_message for_device;

    must(machine_message_create(machine_pci_requester(disk.bdf), &message),
         "making an interrupt message");
    disk.intid = message.intid;
    for_device.data = message.data;
    must(piommu_device_map_msi(disk.device, message.address, &for_device.address),
         "mapping the doorbell");
    open_pci(&for_device, true);
    check(copy(&disk, MOST_SECTORS / 2), "by messages, interrupt %u: the next sectors, after %u",
          disk.intid, disk.blk.interrupts);
}

static void unmapped_buffer(struct demo *demo)
{
    /* QEMU has a page of its own that it uses in place of one, and loses; two pages stop it. */
    const struct piommu_virtio_buffer piece = {.physical = UNMAPPED_IOVA, .size = 2 * PAGE};
    uint8_t status;

    must(blk_submit(&disk.blk, BLK_READ, 0, &piece, 1), "a request");
    check(blk_finish(&disk.blk) == -PIOMMU_EIO, "a buffer that is not mapped: the request fails");
    status = piommu_virtio_status(disk.blk.device);
    check(status == 0x4f, "and the disk has stopped: status 0x%x", status);
    collect_faults(demo->instance);
    check(fault_seen(disk.endpoint, UNMAPPED_IOVA) && faults[0].reason == PIOMMU_FAULT_MAPPING,
          "the IOMMU has reported it");
    print_fault();
}

static void restart(void)
{
    must(blk_restart(&disk.blk), "restarting the disk");
    check(copy(&disk, MOST_SECTORS / 2), "restarted: it works again");
}

void disk_start(struct demo *demo)
{
    section("A disk behind the IOMMU: its ring and buffers are at IOVAs");
    if (machine_pci_find(BLK_VENDOR, BLK_DEVICE, &disk.bdf) != 0) {
        machine_printf("     skipped: this machine has no such disk\n");
        return;
    }
    must(machine_pci_bus_master(disk.bdf, true), "allowing DMA");
    put_into_domain(demo);
    by_polling(demo);
    by_line();
    by_message();
    if ((disk.blk.features & PIOMMU_VIRTIO_F_RING_PACKED) == 0) {
        unmapped_buffer(demo);
    } else {
        /* QEMU (7.2) never leaves the packed ring of a disk that has stopped. */
        machine_printf(
            "     skipped: a buffer that is not mapped, which stops QEMU and not the disk\n");
    }
    restart();
}

void disk_goes_on(const char *when)
{
    if (disk.started) {
        check(copy(&disk, MOST_SECTORS / 2), "%s: the disk goes on with the next sectors", when);
    }
}

void disk_stumbles(void)
{
    const struct piommu_virtio_buffer piece = {.physical = BUFFER_IOVA, .size = BLK_SECTOR_SIZE};

    if (!disk.started) {
        return;
    }
    forget(&disk);
    must(blk_submit(&disk.blk, BLK_READ, 0, &piece, 1), "a request");
    piommu_virtqueue_kick(disk.blk.queue);
    machine_delay(REQUEST_TIME);
    check(is_filled(disk.pages[0], PAGE, UNTOUCHED),
          "meanwhile a disk that is told to read writes nothing to memory");
}

void disk_restart(void)
{
    if (disk.started) {
        must(blk_restart(&disk.blk), "restarting the disk");
    }
}

void disk_stop(void)
{
    if (!disk.started) {
        return;
    }
    stop_blk(&disk);
    must(machine_pci_bus_master(disk.bdf, false), "forbidding DMA");
    must(piommu_device_detach(disk.device), "detaching the disk");
    must(piommu_device_remove(disk.device), "removing the disk");
    must(piommu_domain_destroy(disk.domain), "destroying its domain");
    machine_pages_free(disk.arena.memory, RING_SIZE);
    give_pages(disk.pages, PAGES);
}

/* ---- Behind virtio-mmio ---- */

/* Finds the first slot with a disk in it. */
static int open_mmio(struct demo *demo, struct piommu_virtio_device **device, int *node)
{
    const void *tree = machine_device_tree();
    struct piommu_range registers;
    int error = -PIOMMU_ENODEV;

    for (*node = -1; error != 0;) {
        *node = fdt_node_offset_by_compatible(tree, *node, "virtio,mmio");
        if (*node < 0) {
            return -PIOMMU_ENODEV;
        }
        error = piommu_fdt_register(&demo->tree, *node, 0, &registers);
        if (error == 0) {
            const struct piommu_virtio_mmio_config config = {.registers = registers.first,
                                                             .size = registers.last -
                                                                     registers.first + 1,
                                                             .type = BLK_TYPE};

            error = piommu_virtio_mmio_open(host_shim(), &config, device);
        }
    }
    return error;
}

void disk_mmio(struct demo *demo)
{
    struct disk plain = {.buffer = 0};
    struct piommu_virtio_device *device;
    struct piommu_fdt_interrupt interrupt;
    int node;

    section("The same driver, for a disk behind virtio-mmio and no IOMMU");
    if (open_mmio(demo, &device, &node) != 0) {
        machine_printf("     skipped: this machine has no such disk\n");
        return;
    }
    plain.pages[0] = machine_pages_alloc(PAGES * PAGE, PAGE);
    must(plain.pages[0] != NULL ? 0 : -PIOMMU_ENOMEM, "memory for the disk");
    for (unsigned int i = 1; i < PAGES; i++) {
        plain.pages[i] = plain.pages[0] + i * PAGE;
    }
    plain.buffer = machine_physical(plain.pages[0]);

    start_blk(&plain, host_shim(), device, false);
    print_features(&plain.blk);
    check((plain.blk.features & PIOMMU_VIRTIO_F_ACCESS_PLATFORM) == 0,
          "the disk says that it is behind no IOMMU");
    check(copy(&plain, MOST_SECTORS), "by polling: sectors read, changed, written and read again");
    stop_blk(&plain);

    must(piommu_fdt_interrupt(&demo->tree, node, 0, &interrupt), "finding its interrupt");
    plain.intid = interrupt.cells[1] + MACHINE_FIRST_SPI;
    machine_interrupt_enable(plain.intid, interrupt.cells[2] <= 2);
    must(open_mmio(demo, &device, &node), "opening the disk");
    start_blk(&plain, host_shim(), device, true);
    check(copy(&plain, MOST_SECTORS / 2), "by interrupt %u: the next sectors, after %u",
          plain.intid, plain.blk.interrupts);
    stop_blk(&plain);
    machine_interrupt_disable(plain.intid);
    machine_pages_free(plain.pages[0], PAGES * PAGE);
}
