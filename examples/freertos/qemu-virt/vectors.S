/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The vector table that the kernel's port for AArch64 asks for, and installs when its scheduler
 * starts. Tasks run at EL1 on SP_EL0, so theirs are the first four entries; handlers run on SP_EL1,
 * and an interrupt of higher priority interrupts them by the sixth. All else ends the run.
 */

    .macro unexpected number
    .balign 0x80
    mov     x0, #\number
    b       machine_vector_report
    .endm

    .macro interrupt
    .balign 0x80
    b       FreeRTOS_IRQ_Handler
    .endm

    .section .text.freertos_vectors, "ax"
    .global _freertos_vector_table
    .balign 0x800
_freertos_vector_table:
    b       task_exception
    interrupt
    unexpected 2
    unexpected 3
    unexpected 4
    interrupt
    .irp    number, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    unexpected \number
    .endr

    /* The kernel waits for ever when it is given anything but the SVC by which a task yields. */
    .balign 0x80
task_exception:
    stp     x0, x1, [sp, #-16]!
    mrs     x0, esr_el1
    lsr     x0, x0, #26                 /* the class is in bits 31:26, and above them are zeros */
    cmp     x0, #0x15                   /* SVC of AArch64 */
    ldp     x0, x1, [sp], #16
    b.ne    1f
    b       FreeRTOS_SWI_Handler
1:  mov     x0, #0
    b       machine_vector_report

    .section .note.GNU-stack, "", %progbits
