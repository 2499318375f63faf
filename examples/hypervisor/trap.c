/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Why a guest came to EL2, and what is done about it. Bits: Arm ARM, the pages of ESR_EL2 and
 * HPFAR_EL2.
 */

#include "hypervisor.h"

#include "machine.h"
#include "sysreg.h"

#define ESR_CLASS(esr) ((unsigned int)((esr) >> 26) & 0x3f)
#define ESR_LENGTH     ((uint64_t)1 << 25) /* the instruction has 32 bits */

#define CLASS_UNKNOWN     0x00u
#define CLASS_WFX         0x01u
#define CLASS_HVC         0x16u
#define CLASS_SMC         0x17u
#define CLASS_INSTRUCTION 0x20u /* abort of a lower exception level; at the same one 1 more */
#define CLASS_DATA        0x24u

#define WFX_IS_WFE(esr) (((esr)&1) != 0)

/* Data aborts. */
#define ABORT_VALID(esr)    (((esr) >> 24 & 1) != 0) /* the next five mean something */
#define ABORT_WIDTH(esr)    (1u << ((esr) >> 22 & 3))
#define ABORT_SIGNED(esr)   (((esr) >> 21 & 1) != 0)
#define ABORT_REGISTER(esr) ((unsigned int)((esr) >> 16) & 31)
#define ABORT_64_BITS(esr)  (((esr) >> 15 & 1) != 0)
#define ABORT_WRITE(esr)    (((esr) >> 6 & 1) != 0)
#define ABORT_STATUS(esr)   ((unsigned int)(esr)&0x3f)
#define STATUS_TRANSLATION  0x04u /* with the level in bits 1:0 */
#define STATUS_EXTERNAL     0x10u

#define ZERO_REGISTER 31u
#define EL0(pstate)   (((pstate)&0xf) == 0)

#define INSTRUCTION 4u /* bytes */

static void inject(struct guest *guest, unsigned int class, uint64_t status, uint64_t address)
{
    guest->aborts++;
    if (!cpu_inject(&guest->cpu, (uint64_t) class << 26 | ESR_LENGTH | status, address)) {
        guest_stop(guest, "it cannot take an exception");
    }
}

/* What a machine without anything at an address would do. */
static void inject_abort(struct guest *guest, unsigned int class)
{
    bool same_level = !EL0(guest->cpu.frame.pstate);

    inject(guest, same_level ? class + 1 : class, STATUS_EXTERNAL, READ_SYSREG(far_el2));
}

static uint64_t truncated(uint64_t value, unsigned int width)
{
    return width == 8 ? value : value & ((1ull << 8 * width) - 1);
}

/* What a load leaves in its register. */
static uint64_t extended(uint64_t value, uint64_t esr)
{
    unsigned int width = ABORT_WIDTH(esr);

    value = truncated(value, width);
    if (ABORT_SIGNED(esr) && (value >> (8 * width - 1) & 1) != 0) {
        value |= ~truncated(~0ull, width);
    }
    return ABORT_64_BITS(esr) ? value : truncated(value, 4);
}

/* False: nobody is there, or the CPU does not say what the instruction was. */
static bool emulate(struct guest *guest, uint64_t esr)
{
    /* Bits 47:12 of the address are in bits 39:4; the rest is that of the virtual address. */
    uint64_t address = READ_SYSREG(hpfar_el2) << 8 | (READ_SYSREG(far_el2) & 0xfff);
    unsigned int number = ABORT_REGISTER(esr);
    struct mmio_access access = {.width = ABORT_WIDTH(esr), .write = ABORT_WRITE(esr)};

    if (!ABORT_VALID(esr) || (ABORT_STATUS(esr) & ~3u) != STATUS_TRANSLATION) {
        return false;
    }
    if (access.write && number != ZERO_REGISTER) {
        access.value = truncated(guest->cpu.frame.x[number], access.width);
    }
    if (!mmio_access(&guest->mmio, address, &access)) {
        return false;
    }
    if (!access.write && number != ZERO_REGISTER) {
        guest->cpu.frame.x[number] = extended(access.value, esr);
    }
    guest->cpu.frame.pc += INSTRUCTION;
    return true;
}

/* WFI waits for news, WFE for nobody knows what. */
static bool wait(struct guest *guest, uint64_t esr)
{
    guest->cpu.frame.pc += INSTRUCTION;
    if (!WFX_IS_WFE(esr) && guest->news_count == 0) {
        guest->state = GUEST_WAITING;
    }
    return false;
}

static bool synchronous(struct hypervisor *hypervisor, struct guest *guest)
{
    uint64_t esr = READ_SYSREG(esr_el2);

    switch (ESR_CLASS(esr)) {
    case CLASS_WFX:
        return wait(guest, esr);
    case CLASS_HVC:
        return hypercall_handle(hypervisor, guest);
    case CLASS_SMC: /* there is no firmware: what the SMC Calling Convention says to that */
        guest->cpu.frame.x[0] = ~0ull;
        guest->cpu.frame.pc += INSTRUCTION;
        return true;
    case CLASS_DATA:
        if (!emulate(guest, esr)) {
            inject_abort(guest, CLASS_DATA);
        }
        return true;
    case CLASS_INSTRUCTION:
        inject_abort(guest, CLASS_INSTRUCTION);
        return true;
    default: /* an instruction that this machine does not have */
        inject(guest, CLASS_UNKNOWN, 0, 0);
        return true;
    }
}

static void interrupt(struct hypervisor *hypervisor)
{
    struct iommu *iommu = &hypervisor->iommu;

    if (machine_interrupt_wait(iommu->intid, 0)) {
        iommu->interrupts++;
        service(hypervisor);
        machine_interrupt_done(iommu->intid);
    }
}

bool trap_handle(struct hypervisor *hypervisor, struct guest *guest, enum cpu_exit reason)
{
    switch (reason) {
    case CPU_EXIT_SYNCHRONOUS:
        return synchronous(hypervisor, guest);
    case CPU_EXIT_IRQ:
        interrupt(hypervisor);
        return true;
    default:
        guest_stop(guest, "the machine reports an error");
        return false;
    }
}
