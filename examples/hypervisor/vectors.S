/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Into a guest and out of it. The hypervisor waits for the exit of a guest as for the end of a
 * function: guest_enter saves what a function has to keep, and the exception returns from it.
 *
 * The hypervisor's own stack pointer is not touched by guests, which have SP_EL1 and SP_EL0.
 */

    .set FRAME_PC, 248                  /* struct cpu_frame */
    .set SAVED_SIZE, 112
    .set SAVED_FRAME, 96

/* The 31 registers of a frame at x1, but for x0 and x1: `stp` or `ldp`. */
    .macro guest_registers operation
    \operation x2, x3, [x1, #16]
    \operation x4, x5, [x1, #32]
    \operation x6, x7, [x1, #48]
    \operation x8, x9, [x1, #64]
    \operation x10, x11, [x1, #80]
    \operation x12, x13, [x1, #96]
    \operation x14, x15, [x1, #112]
    \operation x16, x17, [x1, #128]
    \operation x18, x19, [x1, #144]
    \operation x20, x21, [x1, #160]
    \operation x22, x23, [x1, #176]
    \operation x24, x25, [x1, #192]
    \operation x26, x27, [x1, #208]
    \operation x28, x29, [x1, #224]
    .endm

/* What the hypervisor's C code expects to find again: `stp` or `ldp`. */
    .macro own_registers operation
    \operation x19, x20, [sp, #0]
    \operation x21, x22, [sp, #16]
    \operation x23, x24, [sp, #32]
    \operation x25, x26, [sp, #48]
    \operation x27, x28, [sp, #64]
    \operation x29, x30, [sp, #80]
    .endm

/* enum cpu_exit guest_enter(struct cpu_frame *frame) */
    .section .text.guest_enter, "ax"
    .global guest_enter
    .type guest_enter, %function
guest_enter:
    sub     sp, sp, #SAVED_SIZE
    own_registers stp
    str     x0, [sp, #SAVED_FRAME]
    mov     x1, x0
    ldp     x2, x3, [x1, #FRAME_PC]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    guest_registers ldp
    ldr     x30, [x1, #240]
    ldp     x0, x1, [x1]
    eret
    dsb     nsh                         /* no CPU runs ahead of the return */
    isb
    .size guest_enter, . - guest_enter

/* The guest's x0 and x1 are on the stack, the exit is in x0. */
guest_exit:
    ldr     x1, [sp, #(16 + SAVED_FRAME)]
    guest_registers stp
    str     x30, [x1, #240]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x1]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x1, #FRAME_PC]
    own_registers ldp
    add     sp, sp, #SAVED_SIZE
    ret

/*
 * Guests come in by the entries 8 to 11 from AArch64, and 12 to 15 if their EL0 is AArch32.
 */
    .section .text.guest_vectors, "ax"
    .global guest_vectors
    .balign 0x800
guest_vectors:
    .set    number, 0
    .rept   8
    .balign 0x80
    mov     x0, #number
    b       machine_vector_report
    .set    number, number + 1
    .endr
    .rept   8
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mov     x0, #(number % 4)
    b       guest_exit
    .set    number, number + 1
    .endr

    .section .note.GNU-stack, "", %progbits
