/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The interrupt translation service of GICv3: turns what a device writes to its doorbell into an
 * interrupt of the kind LPI, by tables in memory that it is given and told of by commands. Here all
 * messages are event 0 of their device.
 *
 * Registers, commands: Arm Generic Interrupt Controller Architecture Specification, versions 3 and
 * 4 (IHI 0069), chapters 5 and 12.
 */

#include <libfdt.h>
#include <string.h>

#include "internal.h"
#include "machine.h"

#define GITS_CTLR       0x0000
#define GITS_TYPER      0x0008
#define GITS_CBASER     0x0080
#define GITS_CWRITER    0x0088
#define GITS_CREADR     0x0090
#define GITS_BASER(n)   (0x0100ul + 8ul * (n))
#define GITS_TRANSLATER 0x10040

#define GICR_CTLR      0x00
#define GICR_TYPER     0x08
#define GICR_PROPBASER 0x70
#define GICR_PENDBASER 0x78

#define GITS_TYPER_PTA ((uint64_t)1 << 19) /* redistributors go by address, not by number */

#define BASER_TYPE(value)       ((unsigned int)((value) >> 56) & 7)
#define BASER_ENTRY_SIZE(value) (((size_t)((value) >> 48) & 31) + 1)
#define BASER_KEEP              ((uint64_t)0x7 << 56 | (uint64_t)0x1f << 48)
#define BASER_DEVICES           1u
#define BASER_COLLECTIONS       4u
#define BASERS                  8u

#define VALID ((uint64_t)1 << 63)
/* How table memory is accessed: Normal Write-Back, Inner Shareable. */
#define ITS_MEMORY   ((uint64_t)7 << 59 | (uint64_t)1 << 10)
#define GICR_MEMORY  ((uint64_t)7 << 7 | (uint64_t)1 << 10)
#define PENDING_ZERO ((uint64_t)1 << 62) /* the table is all zero */

#define COMMAND_SYNC  0x05u
#define COMMAND_MAPD  0x08u
#define COMMAND_MAPC  0x09u
#define COMMAND_MAPTI 0x0au
#define COMMAND_INV   0x0cu

#define DEVICES     ((size_t)65536) /* every requester ID */
#define ID_BITS     14u             /* LPIs are 8192 to 16383 */
#define FIRST_LPI   8192u
#define EVENT_TABLE ((size_t)256) /* bytes for the events of one device: what alignment asks for */
#define MESSAGES    (MACHINE_PAGE_SIZE / EVENT_TABLE)
#define ENABLED     0xa1u /* an LPI's priority, and that it is enabled */

static struct {
    uintptr_t registers; /* 0: there is no ITS */
    uint64_t *commands;  /* one page, a ring */
    size_t next;         /* offset there */
    uint64_t target;     /* the redistributor, as commands name it */
    uint8_t *properties; /* one byte for each LPI */
    uint8_t *event_tables;
    unsigned int used; /* messages */
} its;

static uint8_t *zeroed(size_t size, size_t alignment)
{
    uint8_t *memory = machine_pages_alloc(size, alignment);

    if (memory == NULL) {
        machine_fail("no memory for the tables of the ITS");
    }
    return memset(memory, 0, size);
}

static void command(uint64_t first, uint64_t second, uint64_t third)
{
    uint64_t *words = its.commands + its.next / sizeof(uint64_t);

    words[0] = first;
    words[1] = second;
    words[2] = third;
    words[3] = 0;
    its.next = (its.next + 32) % MACHINE_PAGE_SIZE;
    machine_barrier();
    machine_mmio_write(its.registers + GITS_CWRITER, 8, its.next);
    while (machine_mmio_read(its.registers + GITS_CREADR, 8) != its.next) {
    }
}

/* Gives it the tables that it asks for. */
static void give_tables(void)
{
    for (unsigned int i = 0; i < BASERS; i++) {
        uint64_t baser = machine_mmio_read(its.registers + GITS_BASER(i), 8);
        unsigned int type = BASER_TYPE(baser);
        size_t size = MACHINE_PAGE_SIZE;

        if (type != BASER_DEVICES && type != BASER_COLLECTIONS) {
            continue;
        }
        if (type == BASER_DEVICES) {
            size = DEVICES * BASER_ENTRY_SIZE(baser);
        }
        /* Pages of 4 KiB, one after the other. */
        machine_mmio_write(its.registers + GITS_BASER(i), 8,
                           VALID | ITS_MEMORY | (baser & BASER_KEEP) |
                               machine_physical(zeroed(size, MACHINE_PAGE_SIZE)) |
                               (size / MACHINE_PAGE_SIZE - 1));
    }
}

/* LPIs are configured and pending in memory, too. */
static void start_redistributor(uintptr_t redistributor)
{
    const size_t pending_alignment = 65536;

    its.properties = zeroed(((size_t)1 << ID_BITS) - FIRST_LPI, MACHINE_PAGE_SIZE);
    machine_mmio_write(redistributor + GICR_PROPBASER, 8,
                       GICR_MEMORY | machine_physical(its.properties) | (ID_BITS - 1));
    machine_mmio_write(redistributor + GICR_PENDBASER, 8,
                       PENDING_ZERO | GICR_MEMORY |
                           machine_physical(zeroed(((size_t)1 << ID_BITS) / 8, pending_alignment)));
    machine_mmio_write(redistributor + GICR_CTLR, 4, 1);
}

void machine_its_start(uintptr_t redistributor)
{
    int node = fdt_node_offset_by_compatible(machine_device_tree(), -1, "arm,gic-v3-its");

    if (node < 0) {
        return;
    }
    its.registers = machine_registers(node, 0);
    its.commands = (uint64_t *)(void *)zeroed(MACHINE_PAGE_SIZE, MACHINE_PAGE_SIZE);
    its.event_tables = zeroed(MACHINE_PAGE_SIZE, MACHINE_PAGE_SIZE);
    if ((machine_mmio_read(its.registers + GITS_TYPER, 8) & GITS_TYPER_PTA) != 0) {
        its.target = redistributor;
    } else {
        its.target = (machine_mmio_read(redistributor + GICR_TYPER, 8) >> 8 & 0xffff) << 16;
    }
    start_redistributor(redistributor);
    give_tables();
    machine_mmio_write(its.registers + GITS_CBASER, 8,
                       VALID | ITS_MEMORY | machine_physical(its.commands));
    machine_mmio_write(its.registers + GITS_CWRITER, 8, 0);
    machine_mmio_write(its.registers + GITS_CTLR, 4, 1);
    command(COMMAND_MAPC, 0, VALID | its.target); /* collection 0 */
    command(COMMAND_SYNC, 0, its.target);
}

int machine_its_message(uint16_t requester, struct machine_message *message)
{
    uint64_t device = (uint64_t)requester << 32;
    unsigned int intid = FIRST_LPI + its.used;

    if (its.registers == 0 || its.used == MESSAGES) {
        return -1;
    }
    its.properties[its.used] = ENABLED;
    /* One bit of event numbers: the least that can be said. */
    command(COMMAND_MAPD | device, 0,
            VALID | machine_physical(its.event_tables + its.used * EVENT_TABLE));
    command(COMMAND_MAPTI | device, (uint64_t)intid << 32, 0);
    command(COMMAND_INV | device, 0, 0); /* the configuration of the LPI is new */
    command(COMMAND_SYNC, 0, its.target);
    its.used++;
    *message = (struct machine_message){
        .address = its.registers + GITS_TRANSLATER, .data = 0, .intid = intid};
    return 0;
}
