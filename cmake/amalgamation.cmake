# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# The target amalgamation: what the options have chosen, as piommu.h and piommu.c, in the folder amalgamation of the build;
# with the device tree reader piommu-fdt.c, too. amalgamate.cmake says how.

set(amalgamation "${PROJECT_BINARY_DIR}/amalgamation")
set(parts ${PIOMMU_PARTS})
if(PIOMMU_FDT)
  list(APPEND parts fdt)
endif()
list(JOIN parts "," parts)
list(JOIN PIOMMU_DEFINITIONS "," definitions)
# It takes a second, so it is made anew each time.
add_custom_target(amalgamation
  COMMAND "${CMAKE_COMMAND}" "-DPARTS=${parts}" "-DDEFINITIONS=${definitions}" "-DOUTPUT=${amalgamation}"
          -P "${PROJECT_SOURCE_DIR}/cmake/amalgamate.cmake"
  COMMENT "The library in one file: ${amalgamation}/piommu.c"
  VERBATIM
)
