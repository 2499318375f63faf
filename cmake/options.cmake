# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# What of page tables is built: formats, granules and kinds, turned into the macros of
# lib/io-pgtable/options.h, which says what they do.

set(piommu_all_formats 64-s1 64-s2 32-s1 32-s2)
set(piommu_all_granules 4K 16K 64K)

set(PIOMMU_PGTABLE_FORMATS "${piommu_all_formats}" CACHE STRING
  "Page-table formats to build: a list of 64-s1, 64-s2, 32-s1, 32-s2 (width, stage)")
set(PIOMMU_PGTABLE_GRANULES "${piommu_all_granules}" CACHE STRING
  "Granules of page tables to build: a list of 4K, 16K, 64K")

option(PIOMMU_PGTABLE_DISJOINT "Page tables that several CPUs can change at once" ON)

# piommu_choose(<result> <variable> <name>...): appends to <result> the definition
# PIOMMU_PGTABLE_WITH_*=0 of each of the names that the list in the variable leaves out.
function(piommu_choose result variable)
  list(JOIN ARGN ", " names)
  if("${${variable}}" STREQUAL "")
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
      list(APPEND definitions "PIOMMU_PGTABLE_WITH_${macro}=0")
    endif()
  endforeach()
  set(${result} "${definitions}" PARENT_SCOPE)
endfunction()

set(PIOMMU_PGTABLE_DEFINITIONS "")
piommu_choose(PIOMMU_PGTABLE_DEFINITIONS PIOMMU_PGTABLE_FORMATS ${piommu_all_formats})
piommu_choose(PIOMMU_PGTABLE_DEFINITIONS PIOMMU_PGTABLE_GRANULES ${piommu_all_granules})

if(NOT PIOMMU_PGTABLE_DISJOINT)
  list(APPEND PIOMMU_PGTABLE_DEFINITIONS "PIOMMU_PGTABLE_WITH_DISJOINT=0")
endif()

if("${PIOMMU_PGTABLE_FORMATS}" MATCHES "32-s" AND NOT "4K" IN_LIST PIOMMU_PGTABLE_GRANULES)
  message(FATAL_ERROR
    "piommu: the 32-bit formats, of which PIOMMU_PGTABLE_FORMATS names one, have a granule of "
    "4 KiB alone. Add 4K to PIOMMU_PGTABLE_GRANULES, or leave those formats out.")
endif()

# The tests are about all there is.
if(PIOMMU_BUILD_TESTS AND PIOMMU_PGTABLE_DEFINITIONS)
  message(FATAL_ERROR
    "piommu: PIOMMU_BUILD_TESTS needs all of PIOMMU_PGTABLE_FORMATS and PIOMMU_PGTABLE_GRANULES, and "
    "PIOMMU_PGTABLE_DISJOINT. Switch PIOMMU_BUILD_TESTS off.")
endif()
