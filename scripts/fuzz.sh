#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/fuzz.sh [SECONDS [ARGUMENT...]]
#
# A fuzz campaign against the page tables: builds the fuzz target and runs it for SECONDS (600 if not
# given). What it learns is kept in build/fuzz/corpus for the next time. Arguments go to libFuzzer, for
# example -jobs=2 -workers=2. A failing input is kept in the working folder;
#
#   build/fuzz/tests/fuzz/random_io_pgtable FILE
#
# prints it as calls.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PIOMMU_FUZZ_SECONDS=${1:-600}
export PIOMMU_FUZZ_CORPUS=$PWD/build/fuzz/corpus
[[ $# -eq 0 ]] || shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
tests/fuzz/run.sh build/fuzz/tests/fuzz/fuzz_io_pgtable build/fuzz/tests/fuzz/seeds "$@"
