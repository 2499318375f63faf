# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# What the bare-metal examples for QEMU's "virt" machine share: to be included by their CMakeLists.txt, behind
# project(). Defines the libraries image-libfdt, the host's libfdt, and qemu-machine, the machine and the port;
# adds the library; and defines
#
#   qemu_machine_image(TARGET SOURCE...)   an image that runs on the machine without anything else
#
# after which the target can be linked with the library, with image-libfdt and with qemu-machine.

set(LIBFDT_DIR "" CACHE PATH "Where libfdt for the target is: include/libfdt.h and lib/libfdt.a")
if(NOT EXISTS "${LIBFDT_DIR}/lib/libfdt.a")
  message(FATAL_ERROR "LIBFDT_DIR does not hold lib/libfdt.a; see scripts/fetch-target-libfdt.sh")
endif()

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")

set(QEMU_MACHINE_DIR "${CMAKE_CURRENT_LIST_DIR}")

# The few headers of a C library that libfdt.h asks for are the image's own: there is none for this target,
# and the one beside the cross compiler is for Linux.
add_library(image-headers INTERFACE)
target_include_directories(image-headers SYSTEM INTERFACE "${QEMU_MACHINE_DIR}/libc")

# libfdt is the host's: piommu uses the target that it is given.
add_library(image-libfdt INTERFACE)
target_include_directories(image-libfdt SYSTEM INTERFACE "${LIBFDT_DIR}/include")
target_link_libraries(image-libfdt INTERFACE image-headers "${LIBFDT_DIR}/lib/libfdt.a")
set(PIOMMU_LIBFDT_TARGET image-libfdt)

add_subdirectory("${QEMU_MACHINE_DIR}/../.." piommu)

# How C is compiled for the machine, and what is told the linker.
function(qemu_machine_options target)
  set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:C>:
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-align
    -Wmissing-prototypes -Wstrict-prototypes -Wundef -Wvla -Werror
  >)
  target_include_directories(${target} PRIVATE "${QEMU_MACHINE_DIR}")
  target_link_libraries(${target} PRIVATE image-headers)
endfunction()

# A program that is linked at the place that a linker script names, from its sources alone.
function(qemu_machine_program target script)
  add_executable(${target} ${ARGN})
  qemu_machine_options(${target})
  set_target_properties(${target} PROPERTIES SUFFIX .elf LINK_DEPENDS "${script}")
  target_link_options(${target} PRIVATE
    -nostdlib -static -no-pie
    -Wl,--gc-sections -Wl,--build-id=none
    "-Wl,-T,${script}"
  )
endfunction()

function(qemu_machine_image target)
  qemu_machine_program(${target} "${QEMU_MACHINE_DIR}/image.ld" ${ARGN})
endfunction()

# Objects rather than an archive: the library needs memcpy and its like of them, whatever the order.
set(machine boot.S edu.c edu-pci.c exit.c gic.c host.c its.c memory.c mmu.c pci.c print.c stage2.c start.c string.c
  time.c transcript.c uart.c)
list(TRANSFORM machine PREPEND "${QEMU_MACHINE_DIR}/")
add_library(qemu-machine OBJECT ${machine})
qemu_machine_options(qemu-machine)
target_link_libraries(qemu-machine PRIVATE piommu::piommu image-libfdt)
