# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# The list sources.txt as variables: the files of the part io-pgtable are PIOMMU_SOURCES_IO_PGTABLE, and so on.

cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH piommu_list)
string(APPEND piommu_list "/sources.txt")
# A build is configured anew when the list has changed.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${piommu_list}")

file(STRINGS "${piommu_list}" piommu_lines REGEX "^[^#]")
set(piommu_seen "")
foreach(piommu_line IN LISTS piommu_lines)
  if(NOT piommu_line MATCHES "^([a-z0-9-]+) ([^ ]+[.]c)$")
    message(FATAL_ERROR "piommu: sources.txt has a line that is not \"PART PATH\": ${piommu_line}")
  endif()
  set(piommu_path "${CMAKE_MATCH_2}")
  string(TOUPPER "${CMAKE_MATCH_1}" piommu_part)
  string(REPLACE "-" "_" piommu_part "${piommu_part}")
  # A project may read the list twice, with more in between.
  if(NOT piommu_part IN_LIST piommu_seen)
    list(APPEND piommu_seen "${piommu_part}")
    set(PIOMMU_SOURCES_${piommu_part} "")
  endif()
  list(APPEND PIOMMU_SOURCES_${piommu_part} "${piommu_path}")
endforeach()

# The archive piommu-models.
set(PIOMMU_SOURCES_MODELS ${PIOMMU_SOURCES_IPMMU_VMSA_MODEL} ${PIOMMU_SOURCES_LPAE_WALKER})
