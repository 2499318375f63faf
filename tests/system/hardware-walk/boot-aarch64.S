/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * From the first instruction to C, at EL2 with the MMU off, where it stays: what translates is only
 * what the test puts into the registers of the levels below.
 */

    .section .text.boot, "ax"
    .global _start
    .type _start, %function
_start:
    msr     daifset, #0xf
    msr     spsel, #1
    adrp    x0, stack_top
    add     sp, x0, :lo12:stack_top

    adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, bss_end
    add     x1, x1, :lo12:bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b

2:  mrs     x1, CurrentEL               /* the level is in bits 3:2 */
    cmp     x1, #(2 << 2)
    b.ne    3f                          /* no virtualization=on: the run ends by its time limit */
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el2, x0
    mov     x1, #(1 << 31)              /* HCR_EL2.RW: EL1 is AArch64 */
    msr     hcr_el2, x1
    isb
    mov     x29, xzr
    mov     x30, xzr
    bl      image_main                  /* does not return */
3:  wfi
    b       3b
    .size _start, . - _start

/*
 * uint64_t cpu_visit(uint64_t address, uint64_t spsr): goes to a lower level, comes back with the
 * next exception that is taken to EL2, and returns its ESR_EL2.
 */
    .text
    .global cpu_visit
    .type cpu_visit, %function
cpu_visit:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    msr     elr_el2, x0
    msr     spsr_el2, x1
    isb
    eret
visit_end:
    mrs     x0, esr_el2
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
    .size cpu_visit, . - cpu_visit

/* Entry 8 is that for synchronous exceptions of a lower level; any other one is a mistake. */
    .section .text.vectors, "ax"
    .balign 0x800
vectors:
    .set    number, 0
    .rept   16
    .balign 0x80
    .if     number == 8
    b       visit_end
    .else
    mov     x0, #number
    b       unexpected
    .endif
    .set    number, number + 1
    .endr

    .balign 0x80
unexpected:
    msr     spsel, #1
    adrp    x1, exception_stack_top
    add     sp, x1, :lo12:exception_stack_top
    mrs     x1, esr_el2
    mrs     x2, elr_el2
    mrs     x3, far_el2
    bl      image_exception             /* does not return */
4:  wfi
    b       4b

    .section .bss.stacks, "aw", %nobits
    .balign 16
    .space  0x20000
stack_top:
    .space  0x2000
exception_stack_top:

    .section .note.GNU-stack, "", %progbits
