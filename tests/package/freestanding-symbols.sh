#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: freestanding-symbols.sh native|aarch64-gcc|aarch64-clang FOLDER [LIBFDT_INCLUDE_DIR]
#
# Builds the archives for a target below FOLDER, unoptimised and for size, natively also for speed, and has
# check-archives.sh look at them; natively at the models, too, which are for hosted C. Without
# LIBFDT_INCLUDE_DIR, the device tree reader is left out. Exit status 77 if the compiler is absent.
set -euo pipefail

variant=$1
folder=$2
libfdt_headers=${3-}
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")

# What the device tree reader calls of libfdt.
libfdt_functions=(
    fdt_check_full
    fdt_check_header
    fdt_get_name
    fdt_getprop_by_offset
    fdt_next_tag
)

need()
{
    [[ -n $(type -P "$1") ]] || {
        echo "SKIPPED: no $1 (Debian: $2)"
        exit 77
    }
}

linker=ld
flags=''
options=()
case $variant in
native) ;;
aarch64-gcc)
    need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    linker=aarch64-linux-gnu-ld
    options=(--toolchain "$source/cmake/aarch64-freestanding.cmake")
    ;;
aarch64-clang)
    need clang clang
    need aarch64-linux-gnu-ld binutils-aarch64-linux-gnu
    linker=aarch64-linux-gnu-ld
    flags='-mgeneral-regs-only -mstrict-align -fno-stack-protector -fno-pic'
    options=(
        -DCMAKE_SYSTEM_NAME=Generic
        -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY
        -DCMAKE_C_COMPILER=clang
        -DCMAKE_C_COMPILER_TARGET=aarch64-none-elf
    )
    ;;
*)
    echo "freestanding-symbols.sh: what is $variant?" >&2
    exit 2
    ;;
esac

if [[ $variant == native ]]; then
    options+=(-DPIOMMU_MODELS=ON)
else
    options+=(-DPIOMMU_MODELS=OFF)
    # Nothing of a C library is there but what libfdt.h includes, in the form in which the bare-metal
    # example has it.
    flags+=" -isystem $source/examples/qemu-machine/libc"
fi

if [[ -n $libfdt_headers ]]; then
    # Only libfdt's headers, not the whole folder: that is the build machine's /usr/include.
    mkdir -p "$folder/libfdt"
    cp "$libfdt_headers"/{fdt,libfdt,libfdt_env}.h "$folder/libfdt"
    # Archives are not linked, so it does not matter which libfdt that would be.
    options+=(
        -DPIOMMU_FDT=ON
        -DPIOMMU_LIBFDT_INCLUDE_DIR="$folder/libfdt"
        -DPIOMMU_LIBFDT_LIBRARY="$folder/libfdt/libfdt.a"
    )
else
    options+=(-DPIOMMU_FDT=OFF)
fi

status=0
levels=(-O0 -Os)
[[ $variant != native ]] || levels+=(-O2)
for level in "${levels[@]}"; do
    build=$folder/$variant$level
    if [[ -f $build/CMakeCache.txt ]]; then
        # Some of the options can be given only once to a build folder.
        rm -rf "$build"
    fi
    if ! {
        cmake -S "$source" -B "$build" -G Ninja "${options[@]}" -DPIOMMU_BUILD_TESTS=OFF -DPIOMMU_TOOLS=OFF \
            -DPIOMMU_WARNINGS_AS_ERRORS=ON -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="$level $flags" &&
            cmake --build "$build"
    } >"$folder/$variant$level.log" 2>&1; then
        cat "$folder/$variant$level.log"
        exit 1
    fi
    echo "$variant $level:"
    "$here/check-archives.sh" --linker="$linker" "$build/libpiommu.a" || status=1
    if [[ -n $libfdt_headers ]]; then
        "$here/check-archives.sh" --linker="$linker" --provided-by="$build/libpiommu.a" \
            "${libfdt_functions[@]/#/--allow=}" "$build/libpiommu-fdt.a" || status=1
    fi
    if [[ $variant == native ]]; then
        "$here/check-archives.sh" --hosted "$build/libpiommu-models.a" || status=1
    fi
done
exit "$status"
