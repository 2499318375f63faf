# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# 32-bit Arm without an operating system, on a core with LPAE, with the compiler that Linux distributions
# have for Arm Linux. cmake/aarch64-freestanding.cmake says why its defaults need undoing.

set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_ASM_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)

# The CPU has doubleword accesses that are atomic, which descriptors want.
string(CONCAT CMAKE_C_FLAGS_INIT
  "-ffreestanding -mcpu=cortex-a15 -marm -mgeneral-regs-only -mno-unaligned-access "
  "-fno-stack-protector -fno-pic -fno-pie -ffunction-sections -fdata-sections"
)
set(CMAKE_ASM_FLAGS_INIT "-mcpu=cortex-a15 -marm")

set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
