# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# What is built of page tables, turned into the macros of lib/io-pgtable/options.h, and of the core
# and virtio, turned into those of lib/base/options.h. Those files say what each of them does.

set(piommu_all_formats 64-s1 64-s2 32-s1 32-s2)
set(piommu_all_granules 4K 16K 64K)
set(piommu_all_core_features tables deferred posts power trace)
set(piommu_all_virtio_features pci mmio packed)

set(PIOMMU_PGTABLE_FORMATS "${piommu_all_formats}" CACHE STRING
  "Page-table formats to build: a list of 64-s1, 64-s2, 32-s1, 32-s2 (width, stage)")
set(PIOMMU_PGTABLE_GRANULES "${piommu_all_granules}" CACHE STRING
  "Granules of page tables to build: a list of 4K, 16K, 64K")

option(PIOMMU_PGTABLE_DISJOINT "Page tables that several CPUs can change at once" ON)

set(PIOMMU_CORE_FEATURES "${piommu_all_core_features}" CACHE STRING
  "What the core can do besides domains, devices and faults: a list of tables, deferred, posts, power, trace")
set(PIOMMU_VIRTIO_FEATURES "${piommu_all_virtio_features}" CACHE STRING
  "Transports of virtio and kinds of rings besides split ones: a list of pci, mmio, packed")

# piommu_choose(<result> <variable> <prefix> <name>...): appends to <result> the definition
# <prefix>_WITH_*=0 of each of the names that the list in the variable leaves out. Of page tables it
# may not leave out all.
function(piommu_choose result variable prefix)
  list(JOIN ARGN ", " names)
  if("${${variable}}" STREQUAL "" AND prefix STREQUAL "PIOMMU_PGTABLE")
    message(FATAL_ERROR "piommu: ${variable} is empty. It must name at least one of ${names}.")
  endif()
  foreach(name IN LISTS ${variable})
    if(NOT name IN_LIST ARGN)
      message(FATAL_ERROR
        "piommu: ${variable} names \"${name}\", which does not exist. There are ${names}.")
    endif()
  endforeach()
  set(definitions ${${result}})
  foreach(name IN LISTS ARGN)
    if(NOT name IN_LIST ${variable})
      string(TOUPPER "${name}" macro)
      string(REPLACE "-" "_" macro "${macro}")
      list(APPEND definitions "${prefix}_WITH_${macro}=0")
    endif()
  endforeach()
  set(${result} "${definitions}" PARENT_SCOPE)
endfunction()

set(PIOMMU_DEFINITIONS "")
piommu_choose(PIOMMU_DEFINITIONS PIOMMU_PGTABLE_FORMATS PIOMMU_PGTABLE ${piommu_all_formats})
piommu_choose(PIOMMU_DEFINITIONS PIOMMU_PGTABLE_GRANULES PIOMMU_PGTABLE ${piommu_all_granules})
piommu_choose(PIOMMU_DEFINITIONS PIOMMU_CORE_FEATURES PIOMMU_CORE ${piommu_all_core_features})
piommu_choose(PIOMMU_DEFINITIONS PIOMMU_VIRTIO_FEATURES PIOMMU_VIRTIO ${piommu_all_virtio_features})

if(NOT PIOMMU_PGTABLE_DISJOINT)
  list(APPEND PIOMMU_DEFINITIONS "PIOMMU_PGTABLE_WITH_DISJOINT=0")
endif()

if("${PIOMMU_PGTABLE_FORMATS}" MATCHES "32-s" AND NOT "4K" IN_LIST PIOMMU_PGTABLE_GRANULES)
  message(FATAL_ERROR
    "piommu: the 32-bit formats, of which PIOMMU_PGTABLE_FORMATS names one, have a granule of "
    "4 KiB alone. Add 4K to PIOMMU_PGTABLE_GRANULES, or leave those formats out.")
endif()

if(PIOMMU_VIRTIO AND NOT "${PIOMMU_VIRTIO_FEATURES}" MATCHES "pci|mmio")
  message(FATAL_ERROR
    "piommu: PIOMMU_VIRTIO_FEATURES names no transport. Add pci or mmio.")
endif()

if(PIOMMU_IPMMU_VMSA AND NOT "tables" IN_LIST PIOMMU_CORE_FEATURES)
  message(FATAL_ERROR
    "piommu: PIOMMU_IPMMU_VMSA needs tables in PIOMMU_CORE_FEATURES. Add them, or switch it off.")
endif()

# The tests are about all there is.
if(PIOMMU_BUILD_TESTS AND PIOMMU_DEFINITIONS)
  message(FATAL_ERROR
    "piommu: PIOMMU_BUILD_TESTS needs all of PIOMMU_PGTABLE_FORMATS, PIOMMU_PGTABLE_GRANULES, "
    "PIOMMU_CORE_FEATURES and PIOMMU_VIRTIO_FEATURES, and PIOMMU_PGTABLE_DISJOINT. Switch "
    "PIOMMU_BUILD_TESTS off.")
endif()
