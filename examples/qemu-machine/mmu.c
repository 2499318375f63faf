/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The CPU's own MMU: the stage-1 translation of the exception level that the image runs at, with a
 * 4 KiB granule and 40-bit addresses, virtual equal to physical. RAM is Normal memory; all else, up
 * to 1 TiB, is Device memory.
 *
 * Bits: Arm ARM D8.3 "Translation table descriptor formats", and the pages of TCR_ELx, SCTLR_ELx.
 */

#include "internal.h"
#include "machine.h"

#define ADDRESS_BITS 40
#define SPACE_SIZE   ((uint64_t)1 << ADDRESS_BITS)
#define SIZE_2M      ((uint64_t)1 << 21)
#define SIZE_1G      ((uint64_t)1 << 30)
#define ENTRIES      512

/*
 * Descriptors. AP[2:1] = 0 is read-write at this level; EL2, which has no EL0 below it in its
 * regime, wants AP[1] as 1. SH = 0b11 is Inner Shareable.
 */
#define DESC_TABLE       ((uint64_t)3)
#define DESC_BLOCK       ((uint64_t)1)
#define DESC_ATTR(index) ((uint64_t)(index) << 2)
#define DESC_AP1_EL2     ((uint64_t)1 << 6)
#define DESC_SH_INNER    ((uint64_t)3 << 8)
#define DESC_AF          ((uint64_t)1 << 10)
#define DESC_PXN_EL1     ((uint64_t)1 << 53)
#define DESC_XN          ((uint64_t)1 << 54) /* at EL1 UXN: for EL0, which has nothing to run */
#define DESC_ADDRESS     ((uint64_t)0x0000fffffffff000)

/* MAIR_ELx. */
#define ATTR_DEVICE 0
#define ATTR_NORMAL 1
#define MAIR_VALUE  ((uint64_t)0x00 << 8 * ATTR_DEVICE | (uint64_t)0xff << 8 * ATTR_NORMAL)

/*
 * TCR_EL1 and TCR_EL2 agree on the low half: T0SZ, table walks Write-Back and Inner Shareable, TG0.
 */
#define TCR_COMMON (((uint64_t)(64 - ADDRESS_BITS)) | 1u << 8 | 1u << 10 | 3u << 12 | 0u << 14)
/* The output size 0b010 is 40 bits. EPD1 turns the upper half of the EL1 space off. */
#define TCR_EL1_VALUE (TCR_COMMON | (uint64_t)1 << 23 | (uint64_t)2 << 32)
#define TCR_EL2_VALUE (TCR_COMMON | (uint64_t)2 << 16 | (uint64_t)1 << 23 | (uint64_t)1 << 31)

/*
 * SCTLR_ELx: M, C and I on top of the bits that are RES1 in Armv8.0. A = 0 allows unaligned access.
 */
#define SCTLR_ON        (1u << 0 | 1u << 2 | 1u << 12)
#define SCTLR_EL1_VALUE (0x30d00800u | SCTLR_ON)
#define SCTLR_EL2_VALUE (0x30c50830u | SCTLR_ON)

/*
 * Tables: one of level 0, two of level 1 (512 GiB each), and one of level 2 for each GiB that is
 * not the same all through: the one with the end of the image, and the one with the end of RAM.
 */
static _Alignas(4096) uint64_t tables[8][ENTRIES];
static unsigned int tables_used = 1;

/* The first byte behind what machine_mmu_start mapped of RAM. */
static uint64_t image_mapped_end;

static uint64_t *next_table(uint64_t *descriptor)
{
    if (*descriptor == 0) {
        if (tables_used == sizeof(tables) / sizeof(tables[0])) {
            machine_fail("out of translation tables");
        }
        *descriptor = (uint64_t)(uintptr_t)tables[tables_used++] | DESC_TABLE;
    }
    return (uint64_t *)(uintptr_t)(*descriptor & DESC_ADDRESS);
}

/*
 * Maps [start, end), multiples of 2 MiB, by the largest blocks that fit. Only entries that are
 * invalid are written, so that the MMU may be on and no TLB maintenance is needed.
 */
static void map(uint64_t start, uint64_t end, uint64_t attributes)
{
    uint64_t address = start;

    while (address < end) {
        uint64_t *level1 = next_table(&tables[0][address >> 39]);
        uint64_t *entry = &level1[address / SIZE_1G % ENTRIES];
        uint64_t size = SIZE_1G;

        if (address % SIZE_1G != 0 || end - address < SIZE_1G) {
            entry = &next_table(entry)[address / SIZE_2M % ENTRIES];
            size = SIZE_2M;
        }
        *entry = address | attributes | DESC_BLOCK | DESC_AF;
        address += size;
    }
    /*
     * The table walker sees the stores, and no later instruction was fetched with the old tables.
     */
    __asm__ volatile("dsb ishst" ::: "memory");
    instruction_barrier();
}

static void map_ram(uint64_t start, uint64_t end)
{
    uint64_t own = machine_current_el() == 2 ? DESC_AP1_EL2 : DESC_XN;

    map(start, end, DESC_ATTR(ATTR_NORMAL) | DESC_SH_INNER | own);
}

static void map_device(uint64_t start, uint64_t end)
{
    uint64_t own = machine_current_el() == 2 ? DESC_AP1_EL2 : DESC_PXN_EL1;

    map(start, end, DESC_ATTR(ATTR_DEVICE) | DESC_XN | own);
}

static uint64_t round_up(uint64_t value)
{
    return (value + SIZE_2M - 1) & ~(SIZE_2M - 1);
}

/*
 * Maps no more RAM than the image and the blob below it, because nobody knows yet where RAM ends: a
 * CPU may read ahead in Normal memory, and must not do that where there is none.
 *
 * A port to real hardware has to make sure that the caches hold no stale lines of the image when
 * they are switched on. QEMU has no caches.
 */
void machine_mmu_start(void)
{
    uint64_t root = (uint64_t)(uintptr_t)tables[0];

    if ((READ_SYSREG(id_aa64mmfr0_el1) & 0xf) < 2) { /* PARange: 40 bits or more */
        machine_fail("this CPU has physical addresses of less than 40 bits");
    }
    image_mapped_end = round_up((uint64_t)(uintptr_t)image_end);
    map_device(0, RAM_BASE);
    map_ram(RAM_BASE, image_mapped_end);

    if (machine_current_el() == 2) {
        WRITE_SYSREG(mair_el2, MAIR_VALUE);
        WRITE_SYSREG(tcr_el2, TCR_EL2_VALUE);
        WRITE_SYSREG(ttbr0_el2, root);
        __asm__ volatile("dsb sy; isb; tlbi alle2; ic iallu; dsb sy; isb" ::: "memory");
        WRITE_SYSREG(sctlr_el2, SCTLR_EL2_VALUE);
    } else {
        WRITE_SYSREG(mair_el1, MAIR_VALUE);
        WRITE_SYSREG(tcr_el1, TCR_EL1_VALUE);
        WRITE_SYSREG(ttbr0_el1, root);
        __asm__ volatile("dsb sy; isb; tlbi vmalle1; ic iallu; dsb sy; isb" ::: "memory");
        WRITE_SYSREG(sctlr_el1, SCTLR_EL1_VALUE);
    }
    instruction_barrier();
}

void machine_mmu_map_all(uint64_t ram_base, uint64_t ram_size)
{
    uint64_t ram_end = ram_base + ram_size;

    if (ram_end > SPACE_SIZE) {
        machine_fail("RAM ends above 1 TiB");
    }
    /*
     * A last piece of RAM smaller than a block stays unmapped; machine_memory_start leaves it out.
     */
    map_ram(image_mapped_end, ram_end & ~(SIZE_2M - 1));
    map_device(round_up(ram_end), SPACE_SIZE);
}
