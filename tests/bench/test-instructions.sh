#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: test-instructions.sh PROGRAM [ARGUMENT...]
#
# Has piommu-bench at PROGRAM report its exact rows together with the instruction counts. ARGUMENT: for the
# program; with --strict too many instructions are a failure. Exit status 77 without valgrind.
set -euo pipefail

program=$1
shift
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

"$(dirname "${BASH_SOURCE[0]}")/count-instructions.sh" "$program" >"$rows" || exit
"$program" --exact --add "$rows" "$@"
