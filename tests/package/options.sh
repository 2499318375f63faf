#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: options.sh FOLDER
#
# Builds the page tables below FOLDER with each format and granule alone, and with some sets of them, and
# has options/smoke.c find out whether what is in works, and what is out is refused. Then lets CMake build
# one set, and some features of the core, and refuse what makes no sense. All with warnings as errors, by clang too if it is there.
set -euo pipefail

folder=$1
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
rm -rf "$folder"
mkdir -p "$folder"

mapfile -t warnings < <(sed -n 's/^ *\(-W[a-z-]*\)$/\1/p' "$source/cmake/warnings.cmake")
[[ ${#warnings[@]} -gt 5 ]] || {
    echo "options.sh: cmake/warnings.cmake has a form that is not understood" >&2
    exit 1
}
warnings+=(-Werror)
library=("$source"/lib/{base,io-pgtable}/*.c)

# definitions FORMATS GRANULES: the macros that leave out the rest.
definitions()
{
    local name

    for name in 64-s1 64-s2 32-s1 32-s2 4K 16K 64K; do
        [[ " $1 $2 " == *" $name "* ]] || {
            name=${name^^}
            echo "-DPIOMMU_PGTABLE_WITH_${name//-/_}=0"
        }
    done
}

# by_hand FORMATS GRANULES: builds that library as a makefile would, and tries it.
by_hand()
{
    local out=$folder/${1// /+},${2// /+} options answer
    mapfile -t options < <(definitions "$1" "$2")
    options+=(-std=c11 -I"$source/include" "${warnings[@]}")

    mkdir "$out"
    (cd "$out" && gcc -O1 -ffreestanding "${options[@]}" -c "${library[@]}")
    gcc "${options[@]}" "$here/options/smoke.c" "$out"/*.o -o "$out/smoke"
    [[ -z $(type -P clang) ]] || clang -fsyntax-only -ffreestanding "${options[@]}" "${library[@]}"
    # Not within the echo, which would succeed always.
    answer=$("$out/smoke" "$1" "$2")
    echo "$1, $2: $answer"
}

# Two at a time. Each says at once what is wrong, if something is.
sets=(
    "64-s1,4K" "64-s1,16K" "64-s1,64K" "64-s2,4K" "64-s2,16K" "64-s2,64K" "32-s1,4K" "32-s2,4K"
    "64-s1 64-s2,16K 64K" "64-s2 32-s2,4K 64K"
)
half()
{
    local i

    for ((i = $1; i < ${#sets[@]}; i += 2)); do
        by_hand "${sets[i]%,*}" "${sets[i]#*,}"
    done
}
half 0 &
first=$!
half 1 &
second=$!
status=0
wait "$first" || status=1
wait "$second" || status=1
[[ $status -eq 0 ]] || exit 1

# What no set may be, by hand.
for options in "$(definitions '' 4K)" "$(definitions 64-s1 '')" "$(definitions 32-s2 64K)"; do
    # The macros are words.
    # shellcheck disable=SC2086
    if gcc -std=c11 -fsyntax-only -I"$source/include" $options "$source/lib/io-pgtable/format.c" \
        >"$folder/log" 2>&1 || ! grep -q '#error "piommu: ' "$folder/log"; then
        echo "options.sh: the compiler does not refuse" $options >&2
        exit 1
    fi
done

# configure OPTION...: CMake, for the least library that there is.
configure()
{
    cmake -S "$source" -B "$folder/cmake" -G Ninja -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Release \
        -DPIOMMU_BUILD_TESTS=OFF -DPIOMMU_WARNINGS_AS_ERRORS=ON -DPIOMMU_FDT=OFF -DPIOMMU_CORE=OFF \
        -DPIOMMU_VIOMMU=OFF -DPIOMMU_DMA=OFF -DPIOMMU_IOVA=OFF -DPIOMMU_VIRTIO=OFF -DPIOMMU_VIRTIO_IOMMU=OFF \
        -DPIOMMU_IPMMU_VMSA=OFF -DPIOMMU_NULL_IOMMU=OFF -DPIOMMU_TOOLS=OFF \
        "$@" >"$folder/log" 2>&1
}

built()
{
    cmake --build "$folder/cmake" >"$folder/log" 2>&1 &&
        gcc -std=c11 -I"$source/include" "$here/options/smoke.c" "$folder/cmake/libpiommu.a" \
            -o "$folder/cmake/smoke"
}

if ! configure '-DPIOMMU_PGTABLE_FORMATS=64-s2;32-s1' '-DPIOMMU_PGTABLE_GRANULES=4K;16K' || ! built; then
    cat "$folder/log"
    exit 1
fi
answer=$("$folder/cmake/smoke" "64-s2 32-s1" "4K 16K")
echo "by CMake: $answer"
if ! configure -DPIOMMU_PGTABLE_DISJOINT=OFF || ! built; then
    cat "$folder/log"
    exit 1
fi
answer=$("$folder/cmake/smoke" "64-s2 32-s1" "4K 16K" exclusive)
echo "by CMake, without disjoint tables: $answer"

# Features of the core and of virtio: the macros arrive. Whether they do what they say is for features.sh.
if ! configure -DPIOMMU_CORE=ON -DPIOMMU_VIRTIO=ON '-DPIOMMU_CORE_FEATURES=posts;trace' -DPIOMMU_VIRTIO_FEATURES=mmio ||
    ! cmake --build "$folder/cmake" >"$folder/log" 2>&1; then
    cat "$folder/log"
    exit 1
fi
macros=$(ninja -C "$folder/cmake" -t commands libpiommu.a | grep -F '/lib/core/domain.c' |
    grep -oE 'PIOMMU_(CORE|VIRTIO)_WITH_[A-Z]+=0' | sort)
[[ $macros == "$(printf 'PIOMMU_%s=0\n' CORE_WITH_{DEFERRED,POWER,TABLES} VIRTIO_WITH_{PACKED,PCI})" ]] || {
    echo "options.sh: CMake leaves out: $macros"
    exit 1
}
echo "by CMake: without ${macros//$'\n'/, }"
if gcc -std=c11 -fsyntax-only -I"$source/include" -DPIOMMU_VIRTIO_WITH_PCI=0 -DPIOMMU_VIRTIO_WITH_MMIO=0 \
    "$source/lib/virtio/device.c" >"$folder/log" 2>&1 || ! grep -q '#error "piommu: ' "$folder/log"; then
    echo "options.sh: the compiler does not refuse virtio without a transport" >&2
    exit 1
fi

# refused MESSAGE OPTION...
refused()
{
    local message=$1
    shift
    if configure "$@" || ! tr -s ' \n' ' ' <"$folder/log" | grep -qF "$message"; then
        cat "$folder/log"
        echo "options.sh: CMake does not say \"$message\" to $*" >&2
        exit 1
    fi
}
refused 'PIOMMU_PGTABLE_FORMATS is empty' -DPIOMMU_PGTABLE_FORMATS=
refused 'PIOMMU_PGTABLE_FORMATS names "64-s3", which does not exist' '-DPIOMMU_PGTABLE_FORMATS=64-s2;64-s3'
refused 'PIOMMU_PGTABLE_GRANULES is empty' -DPIOMMU_PGTABLE_FORMATS=64-s2 -DPIOMMU_PGTABLE_GRANULES=
refused 'Add 4K to PIOMMU_PGTABLE_GRANULES' -DPIOMMU_PGTABLE_FORMATS=32-s2 -DPIOMMU_PGTABLE_GRANULES=64K
formats=(-DPIOMMU_PGTABLE_FORMATS=64-s2 -DPIOMMU_PGTABLE_GRANULES=4K)
refused 'PIOMMU_CORE_FEATURES names "speed", which does not exist' "${formats[@]}" '-DPIOMMU_CORE_FEATURES=tables;speed'
refused 'PIOMMU_VIRTIO_FEATURES names no transport' "${formats[@]}" -DPIOMMU_CORE_FEATURES= -DPIOMMU_VIRTIO=ON \
    -DPIOMMU_VIRTIO_FEATURES=packed
refused 'PIOMMU_IPMMU_VMSA needs tables' "${formats[@]}" -DPIOMMU_CORE=ON -DPIOMMU_IPMMU_VMSA=ON -DPIOMMU_CORE_FEATURES= \
    -DPIOMMU_VIRTIO_FEATURES=pci
refused 'Switch PIOMMU_BUILD_TESTS off' -DPIOMMU_BUILD_TESTS=ON -DPIOMMU_CORE=ON -DPIOMMU_IOVA=ON -DPIOMMU_DMA=ON \
    -DPIOMMU_VIOMMU=ON -DPIOMMU_VIRTIO=ON -DPIOMMU_VIRTIO_IOMMU=ON -DPIOMMU_IPMMU_VMSA=ON -DPIOMMU_NULL_IOMMU=ON \
    -DPIOMMU_TOOLS=ON "${formats[@]}" '-DPIOMMU_CORE_FEATURES=tables;deferred;posts;power;trace' \
    '-DPIOMMU_VIRTIO_FEATURES=pci;mmio;packed'
