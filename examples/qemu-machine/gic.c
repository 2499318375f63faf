/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The interrupt controller: what is needed to ask it for single interrupts.
 *
 * Registers: Arm Generic Interrupt Controller Architecture Specification, version 2.0 (IHI 0048B)
 * chapter 4, versions 3 and 4 (IHI 0069) chapter 12; GICv2m: Server Base System Architecture,
 * appendix E.
 */

#include <libfdt.h>

#include "internal.h"
#include "machine.h"

#define GICD_CTLR         0x0000
#define GICD_IGROUPR      0x0080
#define GICD_ISENABLER    0x0100
#define GICD_ICENABLER    0x0180
#define GICD_IPRIORITYR   0x0400
#define GICD_ITARGETSR    0x0800
#define GICD_ICFGR        0x0c00
#define GICD_IROUTER      0x6000
#define GICD_CTLR_GROUP0  0x01u
#define GICD_CTLR_GROUP1  0x02u
#define GICD_CTLR_ROUTING 0x10u /* by affinity; GICv3 */

#define GICC_CTLR 0x00
#define GICC_PMR  0x04
#define GICC_IAR  0x0c
#define GICC_EOIR 0x10

#define GICR_WAKER                0x14
#define GICR_WAKER_SLEEP          0x2u
#define GICR_WAKER_CHILDREN_SLEEP 0x4u
/* The frame for interrupts of the CPU alone; its registers are where the distributor's are. */
#define GICR_PRIVATE 0x10000

#define V2M_TYPER        0x08 /* first interrupt in bits 25:16, how many in bits 9:0 */
#define V2M_SETSPI       0x40
#define V2M_FIRST(typer) ((typer) >> 16 & 0x3ff)
#define V2M_COUNT(typer) ((typer)&0x3ff)

#define LOWEST_PRIORITY 0xff
#define FIRST_SPECIAL   1020u /* 1020 to 1023 are not interrupts; 1023: there is none */
#define LAST_SPECIAL    1023u

static struct {
    unsigned int version; /* 2 or 3; 0: none was found */
    uintptr_t distributor;
    uintptr_t cpu;     /* GICv2: the CPU interface */
    uintptr_t frame;   /* GICv2: the frame for messages, or 0 */
    uintptr_t private; /* GICv3: the redistributor's frame for interrupts of the CPU alone */
    unsigned int frame_used;
} gic;

static void write(unsigned int offset, uint32_t value)
{
    machine_mmio_write(gic.distributor + offset, 4, value);
}

static void start_v2(int node)
{
    const void *tree = machine_device_tree();
    int frame = fdt_node_offset_by_compatible(tree, node, "arm,gic-v2m-frame");

    gic.version = 2;
    gic.cpu = machine_registers(node, 1);
    gic.frame = frame < 0 ? 0 : machine_registers(frame, 0);
    machine_mmio_write(gic.cpu + GICC_PMR, 4, LOWEST_PRIORITY);
    machine_mmio_write(gic.cpu + GICC_CTLR, 4, 1);
    write(GICD_CTLR, GICD_CTLR_GROUP0);
}

static void start_v3(int node)
{
    uintptr_t redistributor = machine_registers(node, 1);
    uintptr_t waker = redistributor + GICR_WAKER;

    gic.version = 3;
    gic.private = redistributor + GICR_PRIVATE;
    write(GICD_CTLR, GICD_CTLR_ROUTING | GICD_CTLR_GROUP1);
    machine_mmio_write(waker, 4, machine_mmio_read(waker, 4) & ~(uint64_t)GICR_WAKER_SLEEP);
    while ((machine_mmio_read(waker, 4) & GICR_WAKER_CHILDREN_SLEEP) != 0) {
    }
    if (machine_current_el() == 2) {
        WRITE_SYSREG(icc_sre_el2, READ_SYSREG(icc_sre_el2) | 9); /* registers, also for EL1 */
        instruction_barrier();
    }
    WRITE_SYSREG(icc_sre_el1, READ_SYSREG(icc_sre_el1) | 1);
    instruction_barrier();
    WRITE_SYSREG(icc_pmr_el1, LOWEST_PRIORITY);
    WRITE_SYSREG(icc_igrpen1_el1, 1);
    instruction_barrier();
    machine_its_start(redistributor);
}

void machine_gic_start(void)
{
    const void *tree = machine_device_tree();
    int v2 = fdt_node_offset_by_compatible(tree, -1, "arm,cortex-a15-gic");
    int v3 = fdt_node_offset_by_compatible(tree, -1, "arm,gic-v3");

    if (v3 >= 0) {
        gic.distributor = machine_registers(v3, 0);
        start_v3(v3);
    } else if (v2 >= 0) {
        gic.distributor = machine_registers(v2, 0);
        start_v2(v2);
    }
}

unsigned int machine_gic_version(void)
{
    return gic.version;
}

/* Where a table of fields has that of an interrupt. */
static uintptr_t find_field(unsigned int table, unsigned int intid, unsigned int bits)
{
    uintptr_t registers =
        gic.version == 3 && intid < MACHINE_FIRST_SPI ? gic.private : gic.distributor;

    return registers + table + intid * bits / 32 * 4;
}

/* Sets or clears a field of an interrupt in a table of such fields. */
static void set_field(unsigned int table, unsigned int intid, unsigned int bits, uint32_t value)
{
    uintptr_t address = find_field(table, intid, bits);
    unsigned int shift = intid * bits % 32;
    uint32_t mask = ((1u << bits) - 1) << shift;
    uint32_t old = (uint32_t)machine_mmio_read(address, 4);

    machine_mmio_write(address, 4, (old & ~mask) | value << shift);
}

void machine_interrupt_enable(unsigned int intid, bool edge)
{
    set_field(GICD_ICFGR, intid, 2, edge ? 2 : 0);
    if (gic.version == 2) {
        set_field(GICD_ITARGETSR, intid, 8, 1); /* CPU 0 */
    } else {
        set_field(GICD_IGROUPR, intid, 1, 1);
        if (intid >= MACHINE_FIRST_SPI) {
            machine_mmio_write(gic.distributor + GICD_IROUTER + 8ul * intid, 8, 0); /* CPU 0 */
        }
    }
    machine_mmio_write(find_field(GICD_ISENABLER, intid, 1), 4, 1u << intid % 32);
}

void machine_interrupt_disable(unsigned int intid)
{
    machine_mmio_write(find_field(GICD_ICENABLER, intid, 1), 4, 1u << intid % 32);
}

void machine_interrupt_set_priority(unsigned int intid, unsigned int priority)
{
    set_field(GICD_IPRIORITYR, intid, 8, priority);
}

static unsigned int acknowledge(void)
{
    if (gic.version == 2) {
        return (unsigned int)machine_mmio_read(gic.cpu + GICC_IAR, 4) & 0x3ff;
    }
    return (unsigned int)READ_SYSREG(icc_iar1_el1);
}

void machine_interrupt_done(unsigned int intid)
{
    /* What the device was told is with it before the interrupt may come again. */
    machine_barrier();
    if (gic.version == 2) {
        machine_mmio_write(gic.cpu + GICC_EOIR, 4, intid);
    } else {
        WRITE_SYSREG(icc_eoir1_el1, intid);
        instruction_barrier();
    }
}

bool machine_interrupt_wait(unsigned int intid, uint64_t deadline)
{
    do {
        unsigned int signalled = acknowledge();

        if (signalled == intid) {
            machine_barrier();
            return true;
        }
        if (signalled < FIRST_SPECIAL || signalled > LAST_SPECIAL) {
            machine_interrupt_done(signalled);
        }
    } while (machine_now() < deadline);
    return false;
}

int machine_message_create(uint16_t requester, struct machine_message *message)
{
    uint32_t typer;

    if (gic.version == 3) {
        return machine_its_message(requester, message);
    }
    if (gic.frame == 0) {
        return -1;
    }
    typer = (uint32_t)machine_mmio_read(gic.frame + V2M_TYPER, 4);
    if (gic.frame_used == V2M_COUNT(typer)) {
        return -1;
    }
    message->intid = V2M_FIRST(typer) + gic.frame_used++;
    message->address = gic.frame + V2M_SETSPI;
    message->data = message->intid;
    machine_interrupt_enable(message->intid, true);
    return 0;
}
