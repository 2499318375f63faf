# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Finds libfdt and defines the target piommu::libfdt; defines none if there is no libfdt. It brings
# neither a CMake package nor a pkg-config file of its own. Used by the build and, installed, by
# find_package(piommu).
#
# PIOMMU_LIBFDT_INCLUDE_DIR  the folder of libfdt.h      } set both to choose a libfdt,
# PIOMMU_LIBFDT_LIBRARY      libfdt.a or a shared one    } e.g. when cross-compiling

if(NOT TARGET piommu::libfdt)
  find_path(PIOMMU_LIBFDT_INCLUDE_DIR libfdt.h DOC "The folder of libfdt.h")
  find_library(PIOMMU_LIBFDT_LIBRARY fdt DOC "The libfdt to link with")
  mark_as_advanced(PIOMMU_LIBFDT_INCLUDE_DIR PIOMMU_LIBFDT_LIBRARY)
  if(PIOMMU_LIBFDT_INCLUDE_DIR AND PIOMMU_LIBFDT_LIBRARY)
    add_library(piommu::libfdt UNKNOWN IMPORTED)
    set_target_properties(piommu::libfdt PROPERTIES
      IMPORTED_LOCATION "${PIOMMU_LIBFDT_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${PIOMMU_LIBFDT_INCLUDE_DIR}"
    )
  endif()
endif()
