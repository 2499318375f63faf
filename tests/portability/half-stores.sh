#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: half-stores.sh FOLDER
#
# Builds the library below FOLDER as for a host that cannot store 64 bits at once, such as many 32-bit
# microcontrollers, and runs the tests of page tables: descriptors are then written in two halves, in the
# order in which no walker sees half a descriptor.
set -euo pipefail

build=$1/half-stores
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")

cmake -S "$source" -B "$build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O2 -DPIOMMU_WARNINGS_AS_ERRORS=ON \
    -DCMAKE_C_FLAGS=-DPIOMMU_DESCRIPTOR_HALVES
cmake --build "$build" --parallel 2

export PIOMMU_RANDOM_STEPS=${PIOMMU_RANDOM_STEPS:-20000}
ctest --test-dir "$build" --output-on-failure --parallel 2 --no-tests=error \
    --label-regex '^(unit|random)$' --tests-regex pgtable
