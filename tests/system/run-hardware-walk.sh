#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: tests/system/run-hardware-walk.sh aarch64|arm [ARGUMENT...]
#
# Builds the image of tests/system/hardware-walk for one architecture, and has QEMU run it. The arguments are
# the image's: seed=NUMBER, programs=NUMBER, groups=SUM (see its README.md). Exit status 77 if a tool is
# absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

architecture=$1
shift
case $architecture in
aarch64)
    compiler=aarch64-linux-gnu-gcc
    toolchain=cmake/aarch64-freestanding.cmake
    # RAM that reaches above 4 GiB, for tables there. It is touched only here and there.
    qemu=(qemu-system-aarch64 -M 'virt,virtualization=on,memory-backend=ram' -cpu max
        -m 4G -object 'memory-backend-ram,id=ram,size=4G,reserve=off')
    at_least=1000000
    ;;
arm)
    compiler=arm-linux-gnueabihf-gcc
    toolchain=tests/system/hardware-walk/arm-freestanding.cmake
    qemu=(qemu-system-arm -M 'virt,virtualization=on,highmem=off' -cpu cortex-a15 -m 1G)
    at_least=100000
    ;;
*)
    echo "unknown architecture $architecture" >&2
    exit 2
    ;;
esac
for tool in "${qemu[0]}" "$compiler" cmake ninja; do
    if [[ -z $(type -P "$tool") ]]; then
        echo "skipped: $tool is not installed"
        exit 77
    fi
done

folder=build/hardware-walk-$architecture
mkdir -p "$folder"
if ! {
    cmake -S tests/system/hardware-walk -B "$folder" -G Ninja --toolchain "$PWD/$toolchain" &&
        cmake --build "$folder"
} >"$folder/build.log" 2>&1; then
    cat "$folder/build.log" >&2
    echo "the image could not be built" >&2
    exit 1
fi

# QEMU may ignore a request to end: it is killed.
status=0
timeout -s KILL "${HARDWARE_WALK_SECONDS:-250}" "${qemu[@]}" -nographic -nic none -semihosting \
    -kernel "$folder/hardware-walk.elf" -append "$*" </dev/null | tr -d '\r' | tee "$folder/run.log" || status=$?
summary=$(tail -n 1 "$folder/run.log")
if [[ ! $summary =~ ^hardware-walk:\ ([0-9]+)\ queries,\ .*,\ ([0-9]+)\ failures$ ]]; then
    echo "FAIL the run did not come to its end (status $status)"
    exit 1
fi
if [[ $status -ne 0 || ${BASH_REMATCH[2]} -ne 0 ]]; then
    echo "FAIL the run ended with status $status and ${BASH_REMATCH[2]} failures"
    exit 1
fi
# With arguments it may be a part of the test.
if [[ $# -eq 0 && ${BASH_REMATCH[1]} -lt $at_least ]]; then
    echo "FAIL there were only ${BASH_REMATCH[1]} queries"
    exit 1
fi
