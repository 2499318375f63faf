# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# AArch64 without an operating system, with the compiler that Linux distributions have for AArch64
# Linux. Its defaults need undoing before the code can run bare:

set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_ASM_COMPILER aarch64-linux-gnu-gcc)

# There is no C library to link a test program with.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

# -mgeneral-regs-only     floating point and SIMD registers may be trapped or not be saved
# -mno-outline-atomics    atomics in the code, not in helpers that want a Linux start-up
# -mstrict-align          with the MMU off, every unaligned access faults
# -fno-stack-protector    the guard is the C library's
# -fno-pic -fno-pie       tables of function pointers stay read-only data, no global offset table
# -fno-*unwind-tables     nothing unwinds, but they would be in the image
string(CONCAT CMAKE_C_FLAGS_INIT
  "-ffreestanding -mgeneral-regs-only -mno-outline-atomics -mstrict-align "
  "-fno-stack-protector -fno-pic -fno-pie -fno-unwind-tables -fno-asynchronous-unwind-tables "
  "-ffunction-sections -fdata-sections"
)

# Libraries and headers of the build machine are of no use here. (Without a root path the modes below
# would mean nothing.)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
