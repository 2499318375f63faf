/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * From the first instruction to C. QEMU starts one CPU here, with MMU and caches off, at EL1, or at
 * EL2 with virtualization=on. An ELF image gets no pointer to the device tree.
 */

    .section .text.boot, "ax"
    .global _start
    .type _start, %function
_start:
    msr     daifset, #0xf               /* no interrupts; nothing here handles any */
    msr     spsel, #1                   /* the stack pointer of this exception level */
    adrp    x0, stack_top
    add     sp, x0, :lo12:stack_top

    /* C expects zeros in .bss. The linker script aligns both ends to 16 bytes. */
    adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, bss_end
    add     x1, x1, :lo12:bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b

2:  adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    mrs     x1, CurrentEL               /* the level is in bits 3:2 */
    cmp     x1, #(1 << 2)
    b.eq    at_el1
    cmp     x1, #(2 << 2)
    b.eq    at_el2
    b       to_c                        /* EL3: machine_start says that it cannot */

at_el1:
    msr     vbar_el1, x0
    mov     x1, #(3 << 20)              /* CPACR_EL1.FPEN: no traps; libfdt.a uses SIMD registers */
    msr     cpacr_el1, x1
    isb
    b       to_c

at_el2:
    msr     vbar_el2, x0
    mov     x1, #(1 << 31)              /* HCR_EL2.RW: EL1 is AArch64; all else off, E2H too */
    msr     hcr_el2, x1
    isb                                 /* CPTR_EL2 has another layout while E2H is set */
    mov     x1, #0x33ff                 /* CPTR_EL2: RES1, TZ (no SVE); TFP clear: SIMD works */
    msr     cptr_el2, x1
    msr     cntvoff_el2, xzr            /* the virtual counter equals the physical one */
    isb

to_c:
    mov     x29, xzr                    /* the end of the chain of frames, for a debugger */
    mov     x30, xzr
    bl      machine_start               /* does not return */
3:  wfi
    b       3b
    .size _start, . - _start

/*
 * The vector table: 16 entries of 0x80 bytes, aligned to 2 KiB (Arm ARM D1, "Exception vectors").
 * Every exception ends the run, so nothing is saved. The report runs on a stack of its own: the
 * program's stack pointer may be the reason for the exception.
 */
    .section .text.vectors, "ax"
    .balign 0x800
vectors:
    .set    number, 0
    .rept   16
    .balign 0x80
    mov     x0, #number
    b       machine_vector_report
    .set    number, number + 1
    .endr

    /* x0: the number of the vector. Also for vector tables of others, for what they do not expect. */
    .balign 0x80
    .global machine_vector_report
    .type machine_vector_report, %function
machine_vector_report:
    msr     spsel, #1
    adrp    x1, exception_stack_top
    add     sp, x1, :lo12:exception_stack_top
    bl      machine_exception           /* does not return */
4:  wfi
    b       4b

    .section .bss.stacks, "aw", %nobits
    .balign 16
    .space  0x10000
stack_top:
    .space  0x2000
exception_stack_top:

    .section .note.GNU-stack, "", %progbits
