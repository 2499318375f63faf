#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: consumer.sh find_package|pkg_config|add_subdirectory|own_libfdt|without_libfdt|readme|models|components
#                    |parts|destinations FOLDER BUILD [LIBFDT_INCLUDE_DIR]
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
    if [[ -n $(find "$folder/installed" -path '*/share/doc/*' -prune -o -name '*models*' -print) ]]; then
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
parts)
    # A library of less says what it has, and refuses what it has not.
    cmake -S "$source" -B "$folder/piommu" -G Ninja -DPIOMMU_FDT=OFF -DPIOMMU_CORE=OFF -DPIOMMU_DMA=OFF \
        -DPIOMMU_VIOMMU=OFF -DPIOMMU_VIRTIO=OFF -DPIOMMU_VIRTIO_IOMMU=OFF -DPIOMMU_IPMMU_VMSA=OFF \
        -DPIOMMU_NULL_IOMMU=OFF -DPIOMMU_MODELS=OFF -DPIOMMU_TOOLS=OFF -DPIOMMU_BUILD_TESTS=OFF \
        '-DPIOMMU_PGTABLE_FORMATS=64-s1;64-s2' '-DPIOMMU_PGTABLE_GRANULES=4K;64K' -DPIOMMU_PGTABLE_DISJOINT=OFF
    cmake --build "$folder/piommu"
    build=$folder/piommu
    install_piommu
    # ask COMPONENT...: whether a project gets them. What CMake says is left in one line.
    ask()
    {
        local status=0
        local IFS=';'
        cmake -S "$here/consumer/parts" -B "$folder/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/installed" \
            "-DCOMPONENTS=$*" >"$folder/log" 2>&1 || status=1
        said=$(tr -s ' \n' ' ' <"$folder/log")
        return "$status"
    }
    fail()
    {
        cat "$folder/log"
        echo "$*"
        exit 1
    }
    ask io-pgtable iova || fail "There is no iova."
    [[ $said == *'parts: io-pgtable iova; formats: 64-s1 64-s2; granules: 4K 64K; disjoint: OFF'* ]] ||
        fail "CMake does not say what the archive has."
    [[ $said == *'core: ; virtio: '* ]] || fail "CMake says that there is a core, or virtio."
    ! ask iova dma ipmmu-vmsa models fdt nothing || fail "All of it is found, which was left out."
    for what in 'built without the part dma.' 'built without the part ipmmu-vmsa.' 'models was not installed.' \
        'fdt was not installed.' 'no component nothing.'; do
        [[ $said == *"$what"* ]] || fail "CMake does not say: $what"
    done
    [[ $said != *'the part iova'* ]] || fail "CMake says that there is no iova."
    # The whole has all of it.
    rm -rf "$folder/installed" "$folder/build"
    build=$3
    install_piommu
    mapfile -t parts < <(sed -nE 's/^set\(optional_parts (.*)\)$/\1/p' "$source/CMakeLists.txt" | tr ' ' '\n')
    [[ ${#parts[@]} -gt 5 ]] || fail "CMakeLists.txt has a form that is not understood."
    ask io-pgtable "${parts[@]}" models || fail "Not all parts of the whole are found."
    [[ $said == *'core: tables deferred posts power trace; virtio: pci mmio packed'* ]] ||
        fail "CMake does not say what the core and virtio have."
    if [[ -n $(type -P pkg-config) ]]; then
        said=$(PKG_CONFIG_PATH=$(dirname "$(find "$folder/installed" -name piommu.pc)") \
            pkg-config --variable=parts piommu)
        [[ $said == "io-pgtable ${parts[*]}" ]] || fail "pkg-config says that there are: $said"
    fi
    ;;
destinations)
    # Into the root of another system, as packagers do; and below the current folder.
    DESTDIR=$folder/root cmake --install "$build" --prefix /opt/piommu
    [[ $(ls "$folder/root") == opt ]]
    consume find_package -DCMAKE_FIND_ROOT_PATH="$folder/root" -DCMAKE_PREFIX_PATH=/opt/piommu -DWITH_FDT=$with_fdt
    grep -q "piommu_DIR:PATH=$folder/root/opt/piommu/" "$folder/build/CMakeCache.txt"
    build=$(realpath "$build")
    (cd "$folder" && cmake --install "$build" --prefix beside)
    diff -r "$folder/root/opt/piommu" "$folder/beside"
    # With it come the licence and the guides.
    for page in LICENSE README.md docs/porting.md; do
        cmp "$source/$page" "$folder/beside/share/doc/piommu/$page"
    done
    ;;
*)
    echo "consumer.sh: what is $way?" >&2
    exit 2
    ;;
esac
