# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# What `cmake --build BUILD --target package` makes: on Debian and its like a package for development, one for tests of an
# integration and one with the tools; elsewhere an archive of all that is installed. `cpack -G` chooses another form.
# CMAKE_INSTALL_PREFIX=/usr when configuring lets the archives go where Debian has those of this architecture.

# As other tools of Debian have it. A package to be handed out should have an address.
if(DEFINED ENV{DEBEMAIL})
  set(maintainer "The piommu authors <$ENV{DEBEMAIL}>")
  if(DEFINED ENV{DEBFULLNAME})
    set(maintainer "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
  endif()
else()
  set(maintainer "The piommu authors <piommu@localhost>")
endif()
set(PIOMMU_PACKAGE_MAINTAINER "${maintainer}" CACHE STRING
  "Who makes the Debian packages: NAME <ADDRESS>; from DEBFULLNAME and DEBEMAIL if these are set")

find_program(PIOMMU_DPKG_DEB dpkg-deb DOC "dpkg-deb, for Debian packages")
mark_as_advanced(PIOMMU_DPKG_DEB)
if(PIOMMU_DPKG_DEB)
  set(CPACK_GENERATOR DEB)
else()
  set(CPACK_GENERATOR TGZ)
endif()

set(CPACK_PACKAGE_NAME piommu)
set(CPACK_PACKAGE_VENDOR "The piommu authors")
set(CPACK_PACKAGE_CONTACT "${PIOMMU_PACKAGE_MAINTAINER}")
# Each package has a description of its own, and no line for all.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_STRIP_FILES ON)

# A package each: dev, models, tools. Components that were not built leave theirs out.
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_COMPONENT_PIOMMU_GROUP dev)
set(CPACK_COMPONENT_PIOMMU-FDT_GROUP dev)
set(CPACK_COMPONENT_PIOMMU-MODELS_GROUP models)
set(CPACK_COMPONENT_TOOLS_GROUP tools)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SOURCE piommu)
if(CMAKE_CROSSCOMPILING)
  # Debian's names of processors; otherwise dpkg says what it is.
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE "${CMAKE_SYSTEM_PROCESSOR}")
  foreach(name IN ITEMS aarch64=arm64 armv7l=armhf x86_64=amd64)
    if(name MATCHES "^${CMAKE_SYSTEM_PROCESSOR}=(.*)$")
      set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE "${CMAKE_MATCH_1}")
    endif()
  endforeach()
endif()

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libpiommu-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_DESCRIPTION "portable IOMMU library (development files)
Puts devices behind an IOMMU, for hypervisors, kernels and RTOS images: Arm
page tables, domains, mappings, faults, a DMA API, device trees, the Renesas
IPMMU and virtio-iommu. It is freestanding C11 and needs a host that gives it
memory, locks and registers.

This package has the headers and static archives, and files for CMake and
pkg-config.")
if(PIOMMU_FDT)
  set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS libfdt-dev)
endif()

set(CPACK_DEBIAN_MODELS_PACKAGE_NAME libpiommu-models-dev)
set(CPACK_DEBIAN_MODELS_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_MODELS_PACKAGE_DEPENDS "libpiommu-dev (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_MODELS_DESCRIPTION "models of IOMMU hardware for tests of a port of piommu
The registers, TLBs and masters of a Renesas IPMMU and a walker of Arm page
tables, in hosted C: a port of the library piommu can be tested with them on
a build machine.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME piommu-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
if(CMAKE_CROSSCOMPILING)
  # The libraries of another architecture are not there to be looked at.
  set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS libc6)
  if(PIOMMU_FDT)
    set(CPACK_DEBIAN_TOOLS_PACKAGE_DEPENDS "libc6, libfdt1")
  endif()
else()
  set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
endif()
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "programs that show what IOMMUs have to do
The program piommu-topology prints what a device tree says of IOMMUs and the
devices behind them; piommu-ptdump prints Arm page tables in an image of
memory. Both write text, or pictures.")

# The sources, by the target package_source.
set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME "piommu-${PROJECT_VERSION}")
set(CPACK_SOURCE_IGNORE_FILES "^${PROJECT_SOURCE_DIR}/(build|[.]git)/" "^${PROJECT_BINARY_DIR}/")

# What Debian's rules want beside what is installed.
set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/cmake/debian-files.cmake")
set(CPACK_PIOMMU_LICENCE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_PIOMMU_DOCDIR "${CMAKE_INSTALL_DOCDIR}")
set(CPACK_PIOMMU_MANDIR "${CMAKE_INSTALL_MANDIR}")
set(CPACK_PIOMMU_STRIP "${CMAKE_STRIP}")

include(CPack)
