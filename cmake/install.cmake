# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# What `cmake --install` puts where: headers, archives, a CMake package and pkg-config files. All of
# it finds its own place at use, so that the installed tree can be moved.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/piommu")
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(DIRECTORY include/piommu TYPE INCLUDE)

configure_package_config_file(cmake/piommuConfig.cmake.in
  "${PROJECT_BINARY_DIR}/piommuConfig.cmake"
  INSTALL_DESTINATION "${package_dir}"
)
# Below 1.0.0 each minor version may change the programming interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/piommuConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion
)
install(FILES
  "${PROJECT_BINARY_DIR}/piommuConfig.cmake"
  "${PROJECT_BINARY_DIR}/piommuConfigVersion.cmake"
  cmake/piommu-libfdt.cmake
  DESTINATION "${package_dir}"
)

# The way from the folder of the .pc files up to the prefix.
file(RELATIVE_PATH pkgconfig_to_prefix
  "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH prefix_to_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH prefix_to_includedir
  "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")

# piommu_install_archive(<target> <export set> <pkg-config template>)
function(piommu_install_archive target export template)
  install(TARGETS ${target} EXPORT ${export} ARCHIVE)
  install(EXPORT ${export}
    NAMESPACE piommu::
    DESTINATION "${package_dir}"
  )
  configure_file("cmake/${template}.in" "${PROJECT_BINARY_DIR}/${template}" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${template}" DESTINATION "${pkgconfig_dir}")
endfunction()

piommu_install_archive(piommu piommuTargets piommu.pc)
if(PIOMMU_FDT)
  # An export set of its own: without libfdt, users of the package still get piommu::piommu.
  piommu_install_archive(piommu-fdt piommu-fdtTargets piommu-fdt.pc)
endif()
