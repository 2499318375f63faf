/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What firmware does elsewhere: finds the PCI host bridge in the device tree, gives numbers to all
 * buses and addresses to all memory BARs.
 *
 * On the root bus, 64-bit BARs go to the 64-bit window if there is one, all others to the 32-bit
 * window. Behind a bridge everything goes to the 32-bit window, because that is where the one
 * bridge window that takes all kinds of BARs has to be.
 *
 * Register numbers: PCI Local Bus Specification 3.0 chapter 6, PCI-to-PCI Bridge Architecture
 * Specification 1.2 chapter 3. Device tree: the binding "pci-host-ecam-generic".
 */

#include <libfdt.h>

#include "internal.h"
#include "machine.h"

#define MAX_FUNCTIONS 64
#define MAX_BARS      6

#define PCI_IDS           0x00
#define PCI_COMMAND       0x04
#define PCI_HEADER_TYPE   0x0e
#define PCI_BAR(n)        (0x10 + 4 * (n))
#define PCI_BUS_NUMBERS   0x18 /* primary, secondary, subordinate, one byte each */
#define PCI_IO_WINDOW     0x1c /* base and limit, one byte each */
#define PCI_MEMORY_WINDOW 0x20 /* base and limit, 2 bytes each, in units of 64 KiB; MiB count */
#define PCI_PREFETCH      0x24 /* the same for the prefetchable window */
#define PCI_CAPABILITIES  0x34
#define PCI_INTERRUPT_PIN 0x3d /* 1 to 4 are A to D; 0: none */

#define PCI_COMMAND_IO     0x1u
#define PCI_COMMAND_MEMORY 0x2u
#define PCI_COMMAND_MASTER 0x4u

#define PCI_CAPABILITY_EXPRESS  0x10
#define PCI_EXPRESS_TYPE(flags) ((flags) >> 4 & 0xf) /* of the 16 bits at offset 2 */
#define PCI_EXPRESS_TO_PCI      7u

#define PCI_HEADER_LAYOUT         0x7fu
#define PCI_HEADER_BRIDGE         0x01u
#define PCI_HEADER_MULTI_FUNCTION 0x80u

#define PCI_BAR_IO           0x1u
#define PCI_BAR_64           0x4u /* bits 2:1 = 0b10 */
#define PCI_BAR_TYPE         0x6u
#define PCI_BAR_ADDRESS_MASK 0xfffffff0u

#define BRIDGE_GRANULE ((uint64_t)1 << 20)

struct bar {
    uint64_t physical;
    uint64_t size;
};

struct function {
    uint16_t bdf;
    bool is_bridge;
    bool to_conventional;           /* a bridge from PCI Express to conventional PCI */
    uint8_t secondary, subordinate; /* the buses behind a bridge */
    struct bar bars[MAX_BARS];
};

/* A range of addresses for BARs: as PCI sees it and as the CPU does, and how much is given out. */
struct window {
    uint64_t pci;
    uint64_t cpu;
    uint64_t size;
    uint64_t used;
};

static struct {
    int node;      /* in the device tree */
    uint64_t base; /* of configuration space */
    unsigned int first_bus, last_bus;
    struct window window32, window64;
    unsigned int buses_used; /* the highest bus number given out */
    struct function functions[MAX_FUNCTIONS];
    unsigned int count;
} host;

/* ---- Configuration space ---- */

/*
 * ECAM: 4 KiB for each function, in the order of the BDFs. 0 for a bus that the bridge does not
 * have.
 */
static uintptr_t config_address(uint16_t bdf, unsigned int offset, unsigned int width)
{
    unsigned int bus = bdf >> 8;

    if (bus < host.first_bus || bus > host.last_bus || offset >= 4096 || offset % width != 0) {
        return 0;
    }
    return (uintptr_t)host.base + ((uintptr_t)(bdf - (host.first_bus << 8)) << 12) + offset;
}

uint32_t machine_pci_read(uint16_t bdf, unsigned int offset, unsigned int width)
{
    uintptr_t address = config_address(bdf, offset, width);

    return address == 0 ? UINT32_MAX : (uint32_t)machine_mmio_read(address, width);
}

void machine_pci_write(uint16_t bdf, unsigned int offset, unsigned int width, uint32_t value)
{
    uintptr_t address = config_address(bdf, offset, width);

    if (address != 0) {
        machine_mmio_write(address, width, value);
    }
}

unsigned int machine_pci_capability(uint16_t bdf, unsigned int id, unsigned int previous)
{
    unsigned int offset = previous == 0 ? PCI_CAPABILITIES : previous + 1;

    /* Each takes 4 bytes or more of the 192 behind the header: a longer list goes round. */
    for (unsigned int i = 0; i < 48; i++) {
        offset = machine_pci_read(bdf, offset, 1) & 0xfc;
        if (offset < 0x40) {
            return 0;
        }
        if (machine_pci_read(bdf, offset, 1) == id) {
            return offset;
        }
        offset++; /* the link is the second byte */
    }
    return 0;
}

/* ---- The host bridge in the device tree ---- */

/*
 * An entry of "ranges" is a PCI address of three cells, an address of the CPU, and a size of two
 * cells. Bits 25:24 of the first cell tell the space.
 */
static void read_ranges(const fdt32_t *ranges, int cells, int parent_cells)
{
    int entry = 3 + parent_cells + 2;

    for (; cells >= entry; cells -= entry, ranges += entry) {
        struct window window = {
            .pci = machine_read_cells(ranges + 1, 2),
            .cpu = machine_read_cells(ranges + 3, parent_cells),
            .size = machine_read_cells(ranges + 3 + parent_cells, 2),
        };

        switch (fdt32_to_cpu(ranges[0]) >> 24 & 3) {
        case 2:
            host.window32 = window;
            break;
        case 3:
            host.window64 = window;
            break;
        default: /* configuration space, I/O ports */
            break;
        }
    }
}

static bool find_host(void)
{
    const void *tree = machine_device_tree();
    int node = fdt_node_offset_by_compatible(tree, -1, "pci-host-ecam-generic");
    int parent = node < 0 ? node : fdt_parent_offset(tree, node);
    int address_cells = fdt_address_cells(tree, parent);
    int size_cells = fdt_size_cells(tree, parent);
    const int cell = (int)sizeof(fdt32_t);
    const fdt32_t *property;
    uint64_t size;
    int length;

    if (parent < 0) {
        return false;
    }
    property = fdt_getprop(tree, node, "reg", &length);
    if (property == NULL || address_cells < 1 || address_cells > 2 || size_cells < 1 ||
        size_cells > 2 || length < (address_cells + size_cells) * cell) {
        machine_fail("the PCI host bridge has no reg that makes sense");
    }
    host.node = node;
    host.base = machine_read_cells(property, address_cells);
    size = machine_read_cells(property + address_cells, size_cells);

    /* The region starts with the first bus and has 1 MiB for each. */
    host.first_bus = 0;
    host.last_bus = 255;
    property = fdt_getprop(tree, node, "bus-range", &length);
    if (property != NULL && length == 2 * cell) {
        host.first_bus = fdt32_to_cpu(property[0]) & 0xff;
        host.last_bus = fdt32_to_cpu(property[1]) & 0xff;
    }
    if (size >> 20 == 0 || host.first_bus > host.last_bus) {
        machine_fail("the PCI host bridge has no buses");
    }
    if (host.last_bus - host.first_bus >= size >> 20) {
        host.last_bus = host.first_bus + (unsigned int)(size >> 20) - 1;
    }

    property = fdt_getprop(tree, node, "ranges", &length);
    if (property != NULL) {
        read_ranges(property, length / cell, address_cells);
    }
    return true;
}

/* ---- Addresses ---- */

/* Takes `size` bytes, aligned to `alignment` on the side of PCI, and sets the address there. */
static bool take(struct window *window, uint64_t size, uint64_t alignment, uint64_t *pci)
{
    uint64_t start = (window->pci + window->used + alignment - 1) & ~(alignment - 1);
    uint64_t offset = start - window->pci;

    if (offset > window->size || size > window->size - offset) {
        return false;
    }
    window->used = offset + size;
    *pci = start;
    return true;
}

/* The size of a BAR is in the address bits that cannot be set. Decoding has to be off. */
static uint64_t bar_size(uint16_t bdf, unsigned int number, bool wide)
{
    uint64_t mask;

    machine_pci_write(bdf, PCI_BAR(number), 4, UINT32_MAX);
    mask = machine_pci_read(bdf, PCI_BAR(number), 4) & PCI_BAR_ADDRESS_MASK;
    if (wide) {
        machine_pci_write(bdf, PCI_BAR(number + 1), 4, UINT32_MAX);
        mask |= (uint64_t)machine_pci_read(bdf, PCI_BAR(number + 1), 4) << 32;
    } else if (mask != 0) {
        mask |= (uint64_t)UINT32_MAX << 32;
    }
    return 0 - mask;
}

static void assign_bars(struct function *function)
{
    unsigned int limit = function->is_bridge ? 2 : MAX_BARS;
    uint16_t bdf = function->bdf;
    bool on_root_bus = (unsigned int)(bdf >> 8) == host.first_bus;

    for (unsigned int i = 0; i < limit; i++) {
        uint32_t old = machine_pci_read(bdf, PCI_BAR(i), 4);
        bool wide = (old & (PCI_BAR_IO | PCI_BAR_TYPE)) == PCI_BAR_64 && i + 1 < limit;
        struct window *window = &host.window32;
        struct bar *bar = &function->bars[i];
        uint64_t size;
        uint64_t pci;

        if ((old & PCI_BAR_IO) != 0) {
            continue;
        }
        size = bar_size(bdf, i, wide);
        if (size != 0) {
            if (wide && on_root_bus && host.window64.size != 0) {
                window = &host.window64;
            }
            if (!take(window, size, size, &pci)) {
                machine_fail("no address for BAR %u of function %04x", i, bdf);
            }
            machine_pci_write(bdf, PCI_BAR(i), 4, (uint32_t)pci);
            if (wide) {
                machine_pci_write(bdf, PCI_BAR(i + 1), 4, (uint32_t)(pci >> 32));
            }
            bar->physical = pci - window->pci + window->cpu;
            bar->size = size;
        }
        if (wide) {
            i++; /* the next register is the upper half of this one */
        }
    }
}

/* ---- The scan ---- */

static void scan_bus(unsigned int bus);

/*
 * Numbers the buses behind a bridge and opens a window to them. While they are scanned the bridge
 * forwards configuration accesses to every higher bus; what they took is known only afterwards.
 */
static void scan_bridge(struct function *bridge)
{
    uint16_t bdf = bridge->bdf;
    unsigned int primary = bdf >> 8;
    unsigned int secondary = host.buses_used + 1;
    uint64_t start, end;

    if (secondary > host.last_bus) {
        machine_fail("no bus number for the bridge %04x", bdf);
    }
    host.buses_used = secondary;
    machine_pci_write(bdf, PCI_BUS_NUMBERS, 1, primary);
    machine_pci_write(bdf, PCI_BUS_NUMBERS + 1, 1, secondary);
    machine_pci_write(bdf, PCI_BUS_NUMBERS + 2, 1, host.last_bus);

    if (!take(&host.window32, 0, BRIDGE_GRANULE, &start)) {
        machine_fail("no window for the bridge %04x", bdf);
    }
    scan_bus(secondary);
    if (!take(&host.window32, 0, BRIDGE_GRANULE, &end)) {
        machine_fail("no window for the bridge %04x", bdf);
    }

    bridge->secondary = (uint8_t)secondary;
    bridge->subordinate = (uint8_t)host.buses_used;
    machine_pci_write(bdf, PCI_BUS_NUMBERS + 2, 1, host.buses_used);
    /* A base above the limit closes a window. */
    machine_pci_write(bdf, PCI_IO_WINDOW, 2, 0x00f0);
    machine_pci_write(bdf, PCI_PREFETCH, 4, 0x0000fff0);
    if (end > start) {
        machine_pci_write(bdf, PCI_MEMORY_WINDOW, 4,
                          (uint32_t)((end - BRIDGE_GRANULE) & 0xfff00000) |
                              (uint32_t)(start >> 16 & 0xfff0));
    } else {
        machine_pci_write(bdf, PCI_MEMORY_WINDOW, 4, 0x0000fff0);
    }
}

static bool is_to_conventional(uint16_t bdf)
{
    unsigned int express = machine_pci_capability(bdf, PCI_CAPABILITY_EXPRESS, 0);

    return express != 0 &&
           PCI_EXPRESS_TYPE(machine_pci_read(bdf, express + 2, 2)) == PCI_EXPRESS_TO_PCI;
}

static void add_function(uint16_t bdf)
{
    unsigned int layout = machine_pci_read(bdf, PCI_HEADER_TYPE, 1) & PCI_HEADER_LAYOUT;
    uint32_t command = machine_pci_read(bdf, PCI_COMMAND, 2);
    struct function *function;

    if (host.count == MAX_FUNCTIONS) {
        machine_fail("more than %u PCI functions", MAX_FUNCTIONS);
    }
    function = &host.functions[host.count++];
    function->bdf = bdf;
    function->is_bridge = layout == PCI_HEADER_BRIDGE;
    function->to_conventional = function->is_bridge && is_to_conventional(bdf);

    command &= ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    machine_pci_write(bdf, PCI_COMMAND, 2, command);
    if (layout > PCI_HEADER_BRIDGE) {
        return; /* CardBus has another layout; leave it off */
    }
    assign_bars(function);
    if (function->is_bridge) {
        scan_bridge(function);
    }
    machine_pci_write(bdf, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
}

/* As deep in calls as there are bridges in a row. */
static void scan_bus(unsigned int bus)
{
    for (unsigned int device = 0; device < 32; device++) {
        unsigned int functions = 1;

        for (unsigned int i = 0; i < functions; i++) {
            uint16_t bdf = (uint16_t)(bus << 8 | device << 3 | i);

            if ((machine_pci_read(bdf, PCI_IDS, 4) & 0xffff) == 0xffff) {
                continue;
            }
            if (i == 0 &&
                (machine_pci_read(bdf, PCI_HEADER_TYPE, 1) & PCI_HEADER_MULTI_FUNCTION) != 0) {
                functions = 8;
            }
            add_function(bdf);
        }
    }
}

void machine_pci_start(void)
{
    if (!find_host()) {
        return; /* a machine without PCI has no functions */
    }
    host.buses_used = host.first_bus;
    scan_bus(host.first_bus);
}

/* ---- For the program ---- */

static struct function *find_function(uint16_t bdf)
{
    for (unsigned int i = 0; i < host.count; i++) {
        if (host.functions[i].bdf == bdf) {
            return &host.functions[i];
        }
    }
    return NULL;
}

unsigned int machine_pci_count(void)
{
    return host.count;
}

uint16_t machine_pci_function(unsigned int index)
{
    return index < host.count ? host.functions[index].bdf : UINT16_MAX;
}

int machine_pci_find(uint16_t vendor, uint16_t device, uint16_t *bdf)
{
    for (unsigned int i = 0; i < host.count; i++) {
        uint16_t found = host.functions[i].bdf;

        if (machine_pci_read(found, PCI_IDS, 4) == ((uint32_t)device << 16 | vendor)) {
            *bdf = found;
            return 0;
        }
    }
    return -1;
}

int machine_pci_bar(uint16_t bdf, unsigned int number, uint64_t *physical, uint64_t *size)
{
    const struct function *function = find_function(bdf);

    if (function == NULL || number >= MAX_BARS) {
        return -1;
    }
    *physical = function->bars[number].physical;
    *size = function->bars[number].size;
    return 0;
}

static void set_bus_master(uint16_t bdf, bool allow)
{
    uint32_t command = machine_pci_read(bdf, PCI_COMMAND, 2);

    if (allow) {
        command |= PCI_COMMAND_MASTER;
    } else {
        command &= ~PCI_COMMAND_MASTER;
    }
    machine_pci_write(bdf, PCI_COMMAND, 2, command);
}

int machine_pci_bus_master(uint16_t bdf, bool allow)
{
    unsigned int bus = bdf >> 8;

    if (find_function(bdf) == NULL) {
        return -1;
    }
    /* Bridges stay open when one of the devices behind them is stopped: others may be at work. */
    for (unsigned int i = 0; allow && i < host.count; i++) {
        const struct function *bridge = &host.functions[i];

        if (bridge->is_bridge && bus >= bridge->secondary && bus <= bridge->subordinate) {
            set_bus_master(bridge->bdf, true);
        }
    }
    set_bus_master(bdf, allow);
    return 0;
}

/* The bridge whose secondary bus this is; NULL for the root bus. */
static const struct function *bridge_to(unsigned int bus)
{
    for (unsigned int i = 0; i < host.count; i++) {
        if (host.functions[i].is_bridge && host.functions[i].secondary == bus) {
            return &host.functions[i];
        }
    }
    return NULL;
}

uint16_t machine_pci_requester(uint16_t bdf)
{
    const struct function *bridge = bridge_to(bdf >> 8);
    uint16_t requester = bdf;

    /* The one that is nearest to the root puts its name in place of all others. */
    for (; bridge != NULL; bridge = bridge_to(bridge->bdf >> 8)) {
        if (bridge->to_conventional) {
            requester = (uint16_t)(bridge->secondary << 8);
        }
    }
    return requester;
}

/*
 * An entry of "interrupt-map" is a PCI address of three cells, a pin, the phandle of the interrupt
 * controller, an address there, and three cells of the GIC's: kind, number, flags.
 */
int machine_pci_interrupt(uint16_t bdf, unsigned int *intid)
{
    const void *tree = machine_device_tree();
    unsigned int pin = machine_pci_read(bdf, PCI_INTERRUPT_PIN, 1);
    const struct function *bridge;
    const fdt32_t *map;
    int cells, entry;

    if (find_function(bdf) == NULL || pin < 1 || pin > 4) {
        return -1;
    }
    /* A bridge turns the pins of each device behind it by the device's number. */
    for (; (bridge = bridge_to(bdf >> 8)) != NULL; bdf = bridge->bdf) {
        pin = (pin - 1 + (bdf >> 3 & 31u)) % 4 + 1;
    }
    map = fdt_getprop(tree, host.node, "interrupt-map", &cells);
    cells = map == NULL ? 0 : cells / (int)sizeof(*map);
    for (; cells >= 5; cells -= entry, map += entry) {
        int controller = fdt_node_offset_by_phandle(tree, fdt32_to_cpu(map[4]));
        int address = controller < 0 ? -1 : fdt_address_cells(tree, controller);

        entry = 5 + address + 3;
        if (address < 0 || cells < entry) {
            return -1;
        }
        /* The map repeats itself every four devices, so two bits of the number are compared. */
        if ((fdt32_to_cpu(map[0]) >> 11 & 3) == (bdf >> 3 & 3u) && fdt32_to_cpu(map[3]) == pin) {
            *intid = fdt32_to_cpu(map[5 + address + 1]) + MACHINE_FIRST_SPI;
            return 0;
        }
    }
    return -1;
}
