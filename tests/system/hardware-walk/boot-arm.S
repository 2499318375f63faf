/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * From the first instruction to C, in Hyp mode with the MMU off: as boot-aarch64.S. Without
 * virtualization=on the CPU is in another mode, and the run ends by its time limit.
 */

    .syntax unified
    .arm
    .arch_extension virt

    .section .text.boot, "ax"
    .global _start
    .type _start, %function
_start:
    cpsid   aif
    mrs     r0, cpsr
    and     r0, r0, #0x1f
    cmp     r0, #0x1a                   /* Hyp mode */
    bne     3f
    ldr     sp, =stack_top

    ldr     r0, =bss_start
    ldr     r1, =bss_end
    mov     r2, #0
1:  cmp     r0, r1
    bhs     2f
    str     r2, [r0], #4
    b       1b

2:  ldr     r0, =vectors
    mcr     p15, 4, r0, c12, c0, 0      /* HVBAR */
    isb
    mov     r11, #0
    mov     lr, #0
    bl      image_main                  /* does not return */
3:  wfi
    b       3b
    .size _start, . - _start
    .ltorg

/* No exception is expected. */
    .section .text.vectors, "ax"
    .balign 32
vectors:
    .rept   8
    b       unexpected
    .endr

unexpected:
    ldr     sp, =exception_stack_top
    mrc     p15, 4, r0, c5, c2, 0       /* HSR */
    mrs     r1, elr_hyp
    mrc     p15, 4, r2, c6, c0, 0       /* HDFAR */
    bl      cpu_exception               /* does not return */
4:  wfi
    b       4b
    .ltorg

    .section .bss.stacks, "aw", %nobits
    .balign 16
    .space  0x20000
stack_top:
    .space  0x2000
exception_stack_top:

    .section .note.GNU-stack, "", %progbits
