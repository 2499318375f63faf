#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: consumer.sh find_package|pkg_config|add_subdirectory|own_libfdt|without_libfdt|readme
#                    FOLDER BUILD [LIBFDT_INCLUDE_DIR]
#
# Builds a program outside of piommu that uses it, in one of the ways there are, below FOLDER, and runs
# it. BUILD is a finished build of piommu, to install from. Without LIBFDT_INCLUDE_DIR, BUILD has no
# device tree reader. Exit status 77 if pkg-config, which is to be used, is absent.
set -euo pipefail

way=$1
folder=$2
build=$3
libfdt_headers=${4-}
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
with_fdt=OFF
[[ -z $libfdt_headers ]] || with_fdt=ON

rm -rf "$folder"
mkdir -p "$folder"

# Installs BUILD, and moves the result: an installed tree must not depend on where it was made.
install_piommu()
{
    cmake --install "$build" --prefix "$folder/first place"
    mv "$folder/first place" "$folder/installed"
}

# consume PROJECT OPTION...: builds and runs one of the projects beside this script.
consume()
{
    local project=$1
    shift
    cmake -S "$here/consumer/$project" -B "$folder/build" -G Ninja "$@"
    cmake --build "$folder/build"
    "$folder/build/consumer"
}

case $way in
find_package)
    install_piommu
    consume find_package -DCMAKE_PREFIX_PATH="$folder/installed" -DWITH_FDT=$with_fdt
    ;;
pkg_config)
    [[ -n $(type -P pkg-config) ]] || {
        echo "SKIPPED: no pkg-config (Debian: pkg-config)"
        exit 77
    }
    install_piommu
    PKG_CONFIG_PATH=$(dirname "$(find "$folder/installed" -name piommu.pc)")
    export PKG_CONFIG_PATH
    package=piommu
    options=()
    if [[ $with_fdt == ON ]]; then
        package=piommu-fdt
        options=(-DCONSUMER_HAS_FDT)
    fi
    # The answers of pkg-config are words to be split, as a makefile would.
    # shellcheck disable=SC2046
    gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "${options[@]}" $(pkg-config --cflags "$package") \
        "$here/consumer/consumer.c" $(pkg-config --libs "$package") -o "$folder/consumer"
    "$folder/consumer"
    pkg-config --exact-version="$("$folder/consumer" | sed 's/^piommu \([^:]*\):.*/\1/')" "$package"
    ;;
add_subdirectory)
    consume add_subdirectory -DPIOMMU_SOURCE="$source" -DWITH_FDT=$with_fdt
    # What the consumer installs is its own affair.
    cmake --install "$folder/build" --prefix "$folder/installed"
    [[ ! -e $folder/installed ]] || {
        echo "piommu installs files as a part of another project:"
        find "$folder/installed"
        exit 1
    }
    ;;
own_libfdt)
    [[ $with_fdt == ON ]] || {
        echo "SKIPPED: this build has no device tree reader"
        exit 77
    }
    consume add_subdirectory -DPIOMMU_SOURCE="$source" -DOWN_LIBFDT="$libfdt_headers"
    ;;
without_libfdt)
    consume add_subdirectory -DPIOMMU_SOURCE="$source" -DWITH_FDT=OFF
    rm -rf "$folder/build"
    # The same for an installed piommu, from a build of its own.
    cmake -S "$source" -B "$folder/piommu" -G Ninja -DPIOMMU_FDT=OFF -DPIOMMU_BUILD_TESTS=OFF
    cmake --build "$folder/piommu"
    build=$folder/piommu
    install_piommu
    consume find_package -DCMAKE_PREFIX_PATH="$folder/installed" -DWITH_FDT=OFF
    ;;
readme)
    # The program and the project that README.md shows, word for word, against an installed tree.
    install_piommu
    mkdir "$folder/project"
    awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$source/README.md" >"$folder/project/hello.c"
    awk '/^```cmake$/ { on = 1; next } /^```/ { on = 0 } on' "$source/README.md" \
        >"$folder/project/CMakeLists.txt"
    cmake -S "$folder/project" -B "$folder/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/installed" \
        -DCMAKE_C_FLAGS="-std=c11 -Wall -Wextra -Wpedantic -Werror"
    cmake --build "$folder/build"
    "$folder/build/hello" | tee "$folder/output"
    grep -q '^0x40001234 is 0x80001234, by a leaf of 1024 MiB$' "$folder/output"
    ;;
*)
    echo "consumer.sh: what is $way?" >&2
    exit 2
    ;;
esac
