#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: variant.sh FOLDER VARIANT
#
# Builds the library below FOLDER in another way than for this machine, and runs the tests of page tables; in fewer
# cases unless PIOMMU_TEST_EFFORT in the environment is "full".
#
#   half-stores    as for a host that cannot store 64 bits at once, such as many 32-bit microcontrollers:
#                  descriptors are then written in two halves, in the order in which no walker sees half a
#                  descriptor, and there are exclusive tables only. Not optimised, either
#   general-ways   without the short ways of map, unmap and lookup, as when compiled for size: what those
#                  mostly do is then done by the general code
set -euo pipefail

build=$1/$2
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
case $2 in
half-stores) options=(-O0 -DPIOMMU_DESCRIPTOR_HALVES) ;;
general-ways) options=(-O1 -DPIOMMU_PGTABLE_WITH_SHORT_WAYS=0) ;;
*)
    echo "variant.sh: what is $2?" >&2
    exit 2
    ;;
esac

cmake -S "$source" -B "$build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE= -DPIOMMU_WARNINGS_AS_ERRORS=ON \
    -DPIOMMU_TEST_PROGRAMS=pgtable -DCMAKE_C_FLAGS="${options[*]}"
cmake --build "$build" --parallel 2

steps=9000 # leaves many cases out
[[ ${PIOMMU_TEST_EFFORT:-usual} != full ]] || steps=20000
export PIOMMU_RANDOM_STEPS=${PIOMMU_RANDOM_STEPS:-$steps}
ctest --test-dir "$build" --output-on-failure --parallel 2 --no-tests=error \
    --label-regex '^(unit|random)$' --tests-regex pgtable
