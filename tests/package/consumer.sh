#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: consumer.sh find_package|pkg_config|add_subdirectory|own_libfdt|without_libfdt|readme|models|components
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

# install_piommu [COMPONENT...]: installs BUILD, or parts of it, and moves the result: an installed tree must
# not depend on where it was made.
install_piommu()
{
    local component

    [[ $# -gt 0 ]] || cmake --install "$build" --prefix "$folder/first place"
    for component; do
        cmake --install "$build" --prefix "$folder/first place" --component "$component"
    done
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

# blocks LANGUAGE PAGE: what a page of documentation has in blocks of a language.
blocks()
{
    awk -v fence="^\`\`\`$1\$" '$0 ~ fence { on = 1; next } /^```/ { on = 0 } on' "$2"
}

# Options for C that is shown to others.
strict=(-std=c11 -Wall -Wextra -Wpedantic -Werror)

# follow PAGE SOURCE PROGRAM: the project and the program that a page shows, word for word, against what is
# installed. The output goes to FOLDER/output.
follow()
{
    mkdir "$folder/project"
    blocks c "$source/$1" >"$folder/project/$2"
    blocks cmake "$source/$1" >"$folder/project/CMakeLists.txt"
    cmake -S "$folder/project" -B "$folder/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/installed" \
        -DCMAKE_C_FLAGS="${strict[*]}"
    cmake --build "$folder/build"
    "$folder/build/$3" | tee "$folder/output"
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
    gcc "${strict[@]}" "${options[@]}" $(pkg-config --cflags "$package") \
        "$here/consumer/consumer.c" $(pkg-config --libs "$package") -o "$folder/consumer"
    "$folder/consumer"
    pkg-config --exact-version="$("$folder/consumer" | sed 's/^piommu \([^:]*\):.*/\1/')" "$package"
    blocks c "$source/docs/testing-with-models.md" >"$folder/test.c"
    # shellcheck disable=SC2046
    gcc "${strict[@]}" $(pkg-config --cflags piommu piommu-models) "$folder/test.c" \
        $(pkg-config --libs piommu piommu-models) -o "$folder/test"
    "$folder/test"
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
    install_piommu
    follow README.md hello.c hello
    grep -q '^0x40001234 is 0x80001234, by a leaf of 1024 MiB$' "$folder/output"
    ;;
models)
    install_piommu
    follow docs/testing-with-models.md test.c test-iommu
    grep -q '^the IOMMU works in [1-9][0-9]* readings$' "$folder/output"
    [[ -z $(type -P clang-format) ]] ||
        clang-format --style="file:$source/.clang-format" --dry-run --Werror "$folder/project/test.c"
    ;;
components)
    # The library without what is for tests; then nobody can ask for that.
    parts=(piommu)
    [[ $with_fdt == OFF ]] || parts+=(piommu-fdt)
    install_piommu "${parts[@]}"
    consume find_package -DCMAKE_PREFIX_PATH="$folder/installed" -DWITH_FDT=$with_fdt -DWITH_MODELS=OFF
    if [[ -n $(find "$folder/installed" -name '*models*') ]]; then
        echo "The models are installed, which were left out."
        exit 1
    fi
    rm -rf "$folder/build"
    if consume find_package -DCMAKE_PREFIX_PATH="$folder/installed" -DWITH_FDT=$with_fdt \
        >"$folder/log" 2>&1 || ! grep -q 'piommu::models was not installed' "$folder/log"; then
        cat "$folder/log"
        echo "CMake does not say that the models are missing."
        exit 1
    fi
    # The parts make the whole, and the models and the tools are two of them.
    rm -rf "$folder/installed"
    install_piommu
    mv "$folder/installed" "$folder/whole"
    install_piommu "${parts[@]}" piommu-models tools
    diff -r "$folder/whole" "$folder/installed"
    ;;
*)
    echo "consumer.sh: what is $way?" >&2
    exit 2
    ;;
esac
