# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# What `cmake --install` puts where: headers, archives, a CMake package, pkg-config files, licence and guides. All of
# it finds its own place at use, so that the installed tree can be moved. Who packages it can take the
# archives apart: each is a component of its name, and what all of them need belongs to piommu.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/piommu")
set(pkgconfig_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(DIRECTORY include/piommu TYPE INCLUDE COMPONENT piommu)
install(FILES LICENSE README.md CHANGELOG.md SECURITY.md TYPE DOC COMPONENT piommu)
install(DIRECTORY docs TYPE DOC COMPONENT piommu FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")

# Of parts that are not there nothing is built.
set(installed_core_features "")
set(installed_virtio_features "")
if(PIOMMU_CORE)
  set(installed_core_features ${PIOMMU_CORE_FEATURES})
endif()
if(PIOMMU_VIRTIO)
  set(installed_virtio_features ${PIOMMU_VIRTIO_FEATURES})
endif()
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
  COMPONENT piommu
)

# The way from the folder of the .pc files up to the prefix.
file(RELATIVE_PATH pkgconfig_to_prefix
  "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
file(RELATIVE_PATH prefix_to_libdir "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH prefix_to_includedir
  "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")

# What users can ask pkg-config for, as words with spaces.
list(JOIN PIOMMU_PARTS " " pkgconfig_parts)
list(JOIN PIOMMU_PGTABLE_FORMATS " " pkgconfig_formats)
list(JOIN PIOMMU_PGTABLE_GRANULES " " pkgconfig_granules)
list(JOIN installed_core_features " " pkgconfig_core_features)
list(JOIN installed_virtio_features " " pkgconfig_virtio_features)

# An export set each: without libfdt, or without the models, users of the package still get piommu::piommu.
function(piommu_install_archive target)
  install(TARGETS ${target} EXPORT ${target}Targets ARCHIVE COMPONENT ${target})
  install(EXPORT ${target}Targets
    NAMESPACE piommu::
    DESTINATION "${package_dir}"
    COMPONENT ${target}
  )
  configure_file("cmake/${target}.pc.in" "${PROJECT_BINARY_DIR}/${target}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${target}.pc"
    DESTINATION "${pkgconfig_dir}"
    COMPONENT ${target}
  )
endfunction()

piommu_install_archive(piommu)
if(PIOMMU_FDT)
  piommu_install_archive(piommu-fdt)
endif()
if(PIOMMU_MODELS)
  piommu_install_archive(piommu-models)
  install(DIRECTORY models/include/piommu TYPE INCLUDE COMPONENT piommu-models)
endif()
