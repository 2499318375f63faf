/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The order in which the machine comes up, and what happens when an exception brings it down. */

#include <libfdt.h>
#include <string.h>

#include "internal.h"
#include "machine.h"

static const void *device_tree;
static uint64_t ram_base;
static uint64_t ram_size;

unsigned int machine_current_el(void)
{
    return (unsigned int)(READ_SYSREG(CurrentEL) >> 2) & 3;
}

const void *machine_device_tree(void)
{
    return device_tree;
}

uint64_t machine_ram_base(void)
{
    return ram_base;
}

uint64_t machine_ram_size(void)
{
    return ram_size;
}

uint64_t machine_read_cells(const void *property, int count)
{
    const fdt32_t *cells = property;
    uint64_t value = 0;

    while (count-- > 0) {
        value = value << 32 | fdt32_to_cpu(*cells++);
    }
    return value;
}

uintptr_t machine_registers(int node, unsigned int index)
{
    int parent = fdt_parent_offset(device_tree, node);
    int address_cells = fdt_address_cells(device_tree, parent);
    int size_cells = fdt_size_cells(device_tree, parent);
    int length;
    const fdt32_t *reg = fdt_getprop(device_tree, node, "reg", &length);
    int entry = address_cells + size_cells;

    if (reg == NULL || address_cells < 1 || address_cells > 2 || size_cells < 1 || size_cells > 2 ||
        length / (int)sizeof(*reg) < (int)(index + 1) * entry) {
        return 0;
    }
    return (uintptr_t)machine_read_cells(reg + index * (unsigned int)entry, address_cells);
}

static void find_device_tree(void)
{
    const void *blob = (const void *)(uintptr_t)RAM_BASE;
    size_t room = (size_t)(image_start - (const char *)blob);
    int error = fdt_check_full(blob, room);

    if (error != 0) {
        machine_fail("no device tree at %p: %s", blob, fdt_strerror(error));
    }
    device_tree = blob;
}

/* Takes the first range of the first node with device_type "memory". The board makes only one. */
static void find_ram(void)
{
    int address_cells = fdt_address_cells(device_tree, 0);
    int size_cells = fdt_size_cells(device_tree, 0);
    int node =
        fdt_node_offset_by_prop_value(device_tree, -1, "device_type", "memory", sizeof("memory"));
    int length = 0;
    const fdt32_t *reg = node < 0 ? NULL : fdt_getprop(device_tree, node, "reg", &length);

    if (reg == NULL || address_cells < 1 || address_cells > 2 || size_cells < 1 || size_cells > 2 ||
        length < (address_cells + size_cells) * (int)sizeof(*reg)) {
        machine_fail("the device tree has no memory node that makes sense");
    }
    ram_base = machine_read_cells(reg, address_cells);
    ram_size = machine_read_cells(reg + address_cells, size_cells);
    if (ram_base != RAM_BASE || ram_size < (uint64_t)(image_end - (char *)(uintptr_t)RAM_BASE)) {
        machine_fail("RAM at 0x%llx, size 0x%llx: not where this image was linked",
                     (unsigned long long)ram_base, (unsigned long long)ram_size);
    }
}

void machine_start(void)
{
    unsigned int el = machine_current_el();

    if (el != 1 && el != 2) {
        machine_fail("started at EL%u; EL1 and EL2 work (leave out secure=on)", el);
    }
    /*
     * First of all the MMU: without it all of memory is Device memory, where the unaligned loads
     * that compilers make of libfdt's byte accesses would trap.
     */
    machine_mmu_start();
    find_device_tree();
    find_ram();
    machine_mmu_map_all(ram_base, ram_size);
    machine_memory_start(ram_base, ram_size);
    machine_gic_start();
    machine_pci_start();
    machine_exit(main());
}

/* Called on a stack of its own. */
void machine_exception(unsigned int vector)
{
    static const char *const kinds[] = {"synchronous exception", "IRQ", "FIQ", "SError"};
    static bool once;
    unsigned int el = machine_current_el();
    uint64_t esr, far, elr, spsr;

    /*
     * On the way out, because semihosting is off and its HLT came here; or the report itself fails.
     */
    if (once || machine_is_ending()) {
        machine_exit(1);
    }
    once = true;
    if (el == 2) {
        esr = READ_SYSREG(esr_el2);
        far = READ_SYSREG(far_el2);
        elr = READ_SYSREG(elr_el2);
        spsr = READ_SYSREG(spsr_el2);
    } else {
        esr = READ_SYSREG(esr_el1);
        far = READ_SYSREG(far_el1);
        elr = READ_SYSREG(elr_el1);
        spsr = READ_SYSREG(spsr_el1);
    }
    /* The class is ESR bits 31:26; for aborts bits 5:0 are the fault status (Arm ARM, ESR_ELx). */
    machine_fail("%s (vector %u) at EL%u: ESR 0x%llx (class 0x%llx) FAR 0x%llx ELR 0x%llx "
                 "SPSR 0x%llx",
                 kinds[vector % 4], vector, el, (unsigned long long)esr,
                 (unsigned long long)(esr >> 26 & 0x3f), (unsigned long long)far,
                 (unsigned long long)elr, (unsigned long long)spsr);
}
