# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Run by CPack when it has installed everything and made no package yet: adds what Debian's rules want in a package:
# copyright and changelog, its documents under its name, compressed manuals, archives without debug information.

if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()

# The licence in the form of debian/copyright: blank lines are a dot, others are indented.
file(READ "${CPACK_PIOMMU_LICENCE}" licence)
string(STRIP "${licence}" licence)
string(REGEX MATCH "Copyright \\(c\\) [^\n]*" copyright "${licence}")
string(REPLACE "${copyright}" "" licence "${licence}")
string(REPLACE "Copyright (c) " "" copyright "${copyright}")
string(STRIP "${licence}" licence)
string(REPLACE "\n\n" "\n.\n" licence "${licence}")
string(REPLACE "\n" "\n " licence "${licence}")
string(CONCAT copyright
  "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
  "Upstream-Name: piommu\n\n"
  "Files: *\n"
  "Copyright: ${copyright}\n"
  "License: BSD-2-Clause\n ${licence}\n"
)
# It is the time that SOURCE_DATE_EPOCH says, if it is set.
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
string(CONCAT changelog
  "piommu (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium\n\n"
  "  * Made by the library's own build; its CHANGELOG.md says what has changed.\n\n"
  " -- ${CPACK_PACKAGE_CONTACT}  ${date}\n"
)

foreach(group IN ITEMS DEV MODELS TOOLS)
  string(TOLOWER "${group}" folder)
  set(top "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/${folder}")
  set(root "${top}${CPACK_PACKAGING_INSTALL_PREFIX}")
  if(NOT EXISTS "${root}")
    continue()
  endif()
  set(documents "${root}/share/doc/${CPACK_DEBIAN_${group}_PACKAGE_NAME}")
  if(EXISTS "${root}/${CPACK_PIOMMU_DOCDIR}")
    file(RENAME "${root}/${CPACK_PIOMMU_DOCDIR}" "${documents}")
    file(REMOVE "${documents}/LICENSE")
  endif()
  file(MAKE_DIRECTORY "${documents}")
  file(WRITE "${documents}/copyright" "${copyright}")
  file(WRITE "${documents}/changelog" "${changelog}")
  file(GLOB compressed "${root}/${CPACK_PIOMMU_MANDIR}/man*/*")
  execute_process(COMMAND gzip -9n "${documents}/changelog" ${compressed} COMMAND_ERROR_IS_FATAL ANY)
  file(GLOB_RECURSE archives "${root}/*.a")
  if(archives)
    execute_process(COMMAND "${CPACK_PIOMMU_STRIP}" --strip-debug ${archives} COMMAND_ERROR_IS_FATAL ANY)
  endif()
  # Whatever the umask is.
  execute_process(COMMAND chmod -R u=rwX,go=rX "${top}" COMMAND_ERROR_IS_FATAL ANY)
endforeach()
