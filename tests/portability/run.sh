#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: run.sh ARCHITECTURE FOLDER
#
# Builds the library and its unit and random tests for another architecture below FOLDER and runs them
# under QEMU; with PIOMMU_TEST_EFFORT=full in the environment also those that take longest, and with more
# random steps. Exit status 77 if the compiler, its C library or the emulator is absent.
set -euo pipefail

architecture=$1
folder=$2
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
build=$folder/$architecture
effort=${PIOMMU_TEST_EFFORT:-usual}

# debian: the architecture's name for Debian, empty where the release has no packages of it: then there
# is no libfdt, and the device tree reader is left out.
case $architecture in
aarch64) triplet=aarch64-linux-gnu emulator=qemu-aarch64 debian=arm64 libc=libc6-dev-arm64-cross ;;
armhf) triplet=arm-linux-gnueabihf emulator=qemu-arm debian=armhf libc=libc6-dev-armhf-cross ;;
riscv64) triplet=riscv64-linux-gnu emulator=qemu-riscv64 debian='' libc=libc6-dev-riscv64-cross ;;
s390x) triplet=s390x-linux-gnu emulator=qemu-s390x debian=s390x libc=libc6-dev-s390x-cross ;;
*)
    echo "run.sh: $architecture is not one of aarch64, armhf, riscv64, s390x" >&2
    exit 2
    ;;
esac

skip()
{
    echo "SKIPPED: $*"
    exit 77
}

[[ -n $(type -P "$triplet-gcc") ]] || skip "no $triplet-gcc (Debian: gcc-$triplet)"
[[ -n $(type -P "$emulator") ]] || skip "no $emulator (Debian: qemu-user)"
# Debian's cross compilers come without the C library.
echo 'int main(void) { return 0; }' |
    "$triplet-gcc" -static -x c -o /dev/null - 2>/dev/null || skip "no C library for $triplet (Debian: $libc)"

mkdir -p "$folder"
"$source/scripts/fetch-cmocka-source.sh" "$folder/cmocka"
options=(-DPIOMMU_CMOCKA_SOURCE_DIR="$folder/cmocka")
if [[ -n $debian ]]; then
    libfdt=$folder/libfdt-$debian
    "$source/scripts/fetch-target-libfdt.sh" "$debian" "$libfdt"
    options+=(
        -DPIOMMU_FDT=ON
        -DPIOMMU_LIBFDT_INCLUDE_DIR="$libfdt/include"
        -DPIOMMU_LIBFDT_LIBRARY="$libfdt/lib/libfdt.a"
    )
else
    echo "No libfdt for $architecture in this Debian release: without the device tree reader."
    options+=(-DPIOMMU_FDT=OFF)
fi

cmake -S "$source" -B "$build" -G Ninja \
    --toolchain "$source/cmake/linux-$architecture.cmake" \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O2 -DPIOMMU_WARNINGS_AS_ERRORS=ON \
    -DPIOMMU_TEST_EFFORT="$effort" "${options[@]}"
cmake --build "$build" --parallel 2

# Emulation is slow, and what differs between architectures shows early.
steps=4000
[[ $effort != full ]] || steps=20000
export PIOMMU_RANDOM_STEPS=${PIOMMU_RANDOM_STEPS:-$steps}
ctest --test-dir "$build" --output-on-failure --parallel 2 --no-tests=error --label-regex '^(unit|random)$'
