/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* A guest, from its first instruction to C. guest-abi.h says what it finds. */

    .section .text.boot, "ax"
    .global _start
    .type _start, %function
_start:
    msr     spsel, #1
    adrp    x1, stack_top
    add     sp, x1, :lo12:stack_top
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    isb
    mov     x29, xzr
    mov     x30, xzr
    b       guest_main                  /* x0 is handed on; memory was zero, and so is .bss */
    .size _start, . - _start

/*
 * The vector table. Only what EL1 does with its own stack pointer is expected: the entry at 0x200.
 * The handler is a C function: what it may change is saved for whoever was interrupted.
 */
    .section .text.vectors, "ax"
    .balign 0x800
vectors:
    .rept   4
    .balign 0x80
    b       lost
    .endr
    .balign 0x80
    sub     sp, sp, #160
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    b       handle
    .rept   11
    .balign 0x80
    b       lost
    .endr

handle:
    bl      guest_exception
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    add     sp, sp, #160
    eret

lost:
    mov     x0, #5                      /* HYPERCALL_STOP */
    hvc     #0

    .section .bss.stack, "aw", %nobits
    .balign 16
    .space  0x4000
stack_top:

    .section .note.GNU-stack, "", %progbits
