# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# The target docs: the public headers as pages, in the folder reference of the build, by doxygen. What it
# warns of is an error.

find_program(PIOMMU_DOXYGEN doxygen DOC "doxygen, for the target docs")
mark_as_advanced(PIOMMU_DOXYGEN)
if(PIOMMU_DOXYGEN)
  set(reference_output "${PROJECT_BINARY_DIR}/reference")
  configure_file(cmake/Doxyfile.in "${PROJECT_BINARY_DIR}/Doxyfile" @ONLY)
  add_custom_target(docs
    COMMAND "${PIOMMU_DOXYGEN}" "${PROJECT_BINARY_DIR}/Doxyfile"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
    COMMENT "Pages of the headers: ${reference_output}/html/index.html"
    VERBATIM
  )
else()
  add_custom_target(docs
    COMMAND "${CMAKE_COMMAND}" -E echo "piommu: the target docs needs doxygen (Debian: doxygen)."
    COMMAND "${CMAKE_COMMAND}" -E false
    VERBATIM
  )
endif()
