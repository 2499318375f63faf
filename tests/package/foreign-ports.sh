#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: foreign-ports.sh freertos|zephyr|xen FOLDER
#
# Compiles the port of examples/ for that system against the headers of foreign-headers/, which state what the
# system's documentation promises: with every compiler that is here, warnings as errors. It shows that the port
# compiles, and not that it runs. FOLDER is for logs.
set -euo pipefail

name=$1
folder=$2
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
example=$source/examples/$name
mkdir -p "$folder"

mapfile -t warnings < <(sed -n 's/^ *\(-W[a-z-]*\)$/\1/p' "$source/cmake/warnings.cmake")
[[ ${#warnings[@]} -gt 5 ]] || {
    echo "foreign-ports.sh: cmake/warnings.cmake has a form that is not understood" >&2
    exit 1
}
status=0
count=0

# compile COMPILER OPTION... -- FILE...: silently, with the project's warnings; a compiler that is not here, or has
# no C library for the option, is left out.
compile()
{
    local compiler=$1 options=() file
    shift
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    if [[ -z $(type -P "$compiler") ]] ||
        ! echo '#include <stdint.h>' | "$compiler" "${options[@]}" -x c -fsyntax-only - >/dev/null 2>&1; then
        echo "without $compiler ${options[*]}"
        return
    fi
    for file in "$@"; do
        count=$((count + 1))
        "$compiler" -std=c11 -O1 "${warnings[@]}" -Werror -I"$source/include" -I"$source/models/include" \
            "${options[@]}" -I"$here/foreign-headers/$name" -I"$example" -c -o "$folder/object.o" "$file" || {
            echo "$file: $compiler ${options[*]}"
            status=1
        }
    done
}

# everywhere FILE...: files that want nothing of a C library.
everywhere()
{
    compile gcc -ffreestanding -- "$@"
    compile gcc -ffreestanding -m32 -- "$@"
    compile clang -ffreestanding -- "$@"
    compile aarch64-linux-gnu-gcc -ffreestanding -mno-outline-atomics -- "$@"
    compile arm-linux-gnueabihf-gcc -ffreestanding -- "$@"
}

case $name in
freertos)
    everywhere "$example"/{piommu_freertos,sample}.c
    # Ticks are as wide as the configuration says.
    for type in uint16_t uint64_t; do
        compile gcc -ffreestanding "-DFOREIGN_TICK_TYPE=$type" -- "$example"/{piommu_freertos,sample}.c
    done
    # The simulator is for hosts. Here and below, with the configuration of the example.
    compile gcc "-I$example/posix" -- "$example"/{main,piommu_freertos,sample,simulator}.c
    compile clang "-I$example/posix" -- "$example"/{main,piommu_freertos,sample,simulator}.c
    # The image for QEMU, with the headers that it has instead of a C library's, and with libfdt's.
    machine=$source/examples/qemu-machine
    image=(-ffreestanding "-I$example/qemu-virt" "-I$machine" -isystem "$machine/libc" -DBOARD_GIC_VERSION=2u)
    files=("$example"/{piommu_freertos,sample}.c "$example"/qemu-virt/board.c)
    if echo '#include <libfdt.h>' | gcc -x c -fsyntax-only - >/dev/null 2>&1; then
        image+=(-idirafter /usr/include)
        files+=("$example/qemu-virt/main.c")
    else
        echo "without qemu-virt/main.c: no libfdt.h (Debian: libfdt-dev)"
    fi
    compile aarch64-linux-gnu-gcc "${image[@]}" -mgeneral-regs-only -- "${files[@]}"
    compile aarch64-linux-gnu-gcc "${image[@]}" -- "$example"/qemu-virt/vectors.S
    ;;
zephyr)
    everywhere "$example/piommu_zephyr.c"
    compile gcc -ffreestanding -DFOREIGN_SMALL -- "$example/piommu_zephyr.c"
    compile gcc -ffreestanding -DFOREIGN_OLD -- "$example/piommu_zephyr.c"
    for compiler in gcc clang; do
        compile "$compiler" -ffreestanding -I"$source/examples/qemu-machine" -- "$example/sample/src"/*.c
    done
    ;;
xen)
    # Xen for 64-bit Arm; the other compilers see more.
    compile gcc -ffreestanding -- "$example"/*.c
    compile clang -ffreestanding -- "$example"/*.c
    compile aarch64-linux-gnu-gcc -ffreestanding -mno-outline-atomics -- "$example"/*.c
    ;;
*)
    echo "foreign-ports.sh: what is $name?" >&2
    exit 2
    ;;
esac
rm -f "$folder/object.o"
echo "$name: $count compilations; nothing was run"
exit "$status"
