# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors

# The warnings that all C code of the project is clean under, library and tests alike.
function(piommu_set_warnings target)
  target_compile_options(${target} PRIVATE
    -Wall
    -Wextra
    -Wpedantic
    -Wconversion
    -Wshadow
    -Wcast-align
    -Wmissing-prototypes
    -Wstrict-prototypes
    -Wundef
    -Wvla
    $<$<BOOL:${PIOMMU_WARNINGS_AS_ERRORS}>:-Werror>
  )
endfunction()
