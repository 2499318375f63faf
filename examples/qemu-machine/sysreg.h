/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef SYSREG_H
#define SYSREG_H

/* System registers of the CPU. */

#include <stdint.h>

/* Reads a system register by its name in the assembler. */
#define READ_SYSREG(name)                                  \
    __extension__({                                        \
        uint64_t value_;                                   \
        __asm__ volatile("mrs %0, " #name : "=r"(value_)); \
        value_;                                            \
    })

/* Writes one. The caller adds the ISB, where the write has to take effect. */
#define WRITE_SYSREG(name, value) \
    __asm__ volatile("msr " #name ", %0" ::"r"((uint64_t)(value)) : "memory")

static inline void instruction_barrier(void)
{
    __asm__ volatile("isb" ::: "memory");
}

#endif
