#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: run.sh PROGRAM SEEDS [ARGUMENT...]
#
# Runs a fuzz target for PIOMMU_FUZZ_SECONDS (5 if unset), beginning with the inputs in the folder SEEDS.
# New inputs are kept in PIOMMU_FUZZ_CORPUS, or else thrown away. Arguments go to libFuzzer. An input that
# fails is kept in the working folder, and its name is printed.
set -euo pipefail

program=$1
seeds=$2
shift 2
corpus=${PIOMMU_FUZZ_CORPUS-}
if [[ -z $corpus ]]; then
    corpus=$(mktemp -d)
    trap 'rm -rf "$corpus"' EXIT
fi
mkdir -p "$corpus"

# A program of 400 operations is no better than one of 64, but slower. cmocka must not exit by itself.
CMOCKA_TEST_ABORT=1 "$program" -max_total_time="${PIOMMU_FUZZ_SECONDS:-5}" -max_len=1112 -timeout=60 \
    -rss_limit_mb=3000 -print_final_stats=1 -verbosity=1 "$@" "$corpus" "$seeds"
