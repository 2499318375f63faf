/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The images of the guests, as they are copied into their memory. */

    .section .rodata.images, "a"
    .balign 8
    .global image_a, image_a_end, image_b, image_b_end, image_c, image_c_end
image_a:
    .incbin "guest-a.bin"
image_a_end:
    .balign 8
image_b:
    .incbin "guest-b.bin"
image_b_end:
    .balign 8
image_c:
    .incbin "guest-c.bin"
image_c_end:

    .section .note.GNU-stack, "", %progbits
