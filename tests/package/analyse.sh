#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: analyse.sh clang-tidy|cppcheck FOLDER [LIBFDT_INCLUDE_DIR]
#
# Has one of the two look at lib/, backends/ and models/, with the build folder FOLDER for its own. Without
# LIBFDT_INCLUDE_DIR, the device tree reader is left out. With PIOMMU_TEST_EFFORT=full in the environment clang-tidy
# follows as many paths through each function as it would by itself. Exit status 77 if the tool is absent.
set -euo pipefail

tool=$1
folder=$2
libfdt_headers=${3-}
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
cd "$source"

[[ -n $(type -P "$tool") ]] || {
    echo "SKIPPED: no $tool (Debian: $tool)"
    exit 77
}

# A configuration of its own: only the library, and the compiler commands in a file.
options=(-DPIOMMU_FDT=OFF)
if [[ -n $libfdt_headers ]]; then
    options=(
        -DPIOMMU_FDT=ON
        -DPIOMMU_LIBFDT_INCLUDE_DIR="$libfdt_headers"
        -DPIOMMU_LIBFDT_LIBRARY="$libfdt_headers/not-linked"
    )
fi
cmake -S "$source" -B "$folder" -G Ninja -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
    -DPIOMMU_BUILD_TESTS=OFF "${options[@]}" >"$folder.log" 2>&1 || {
    cat "$folder.log"
    exit 1
}

case $tool in
clang-tidy)
    # A quarter of the paths takes a quarter of the time.
    paths=()
    if [[ ${PIOMMU_TEST_EFFORT:-usual} != full ]]; then
        for option in -analyzer-config max-nodes=50000; do
            paths+=(--extra-arg=-Xclang --extra-arg="$option")
        done
    fi
    find lib backends models -name '*.c' -type f |
        if [[ -z $libfdt_headers ]]; then grep -v '^lib/fdt/'; else cat; fi |
        # One file a process: clang-tidy 14 may take va_lists for uninitialised in any but the first.
        xargs -P 2 -n 1 clang-tidy -p "$folder" --quiet --warnings-as-errors='*' "${paths[@]}"
    ;;
cppcheck)
    cppcheck --project="$folder/compile_commands.json" --enable=warning,performance,portability \
        --inline-suppr --error-exitcode=1 --quiet -j 2
    ;;
esac
