#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/fuzz.sh [--core|--fdt] [SECONDS [ARGUMENT...]]
#
# A fuzz campaign against the page tables, or with --core against the core, or with --fdt against the device
# tree reader: builds the fuzz targets and runs one for SECONDS (600 if not given). What it learns is kept in
# build/fuzz/corpus, build/fuzz/corpus_of_core or build/fuzz/corpus_of_fdt for the next time. Arguments go to
# libFuzzer, for example -jobs=2 -workers=2. A failing input is kept in the working folder;
#
#   build/fuzz/tests/fuzz/random_io_pgtable FILE
#
# prints one of page tables as calls.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=fuzz_io_pgtable
corpus=corpus
seeds=seeds
options=()
if [[ ${1-} == --core ]]; then
    target=fuzz_core
    corpus=corpus_of_core
    seeds=seeds_of_core
    options=(-max_len=1600)
    shift
elif [[ ${1-} == --fdt ]]; then
    target=fuzz_fdt
    corpus=corpus_of_fdt
    seeds=seeds_of_fdt
    options=(-max_len=4096 -dict=tests/fuzz/fdt.dict)
    shift
fi
export PIOMMU_FUZZ_SECONDS=${1:-600}
export PIOMMU_FUZZ_CORPUS=$PWD/build/fuzz/$corpus
[[ $# -eq 0 ]] || shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
tests/fuzz/run.sh build/fuzz/tests/fuzz/$target build/fuzz/tests/fuzz/$seeds "${options[@]}" "$@"
