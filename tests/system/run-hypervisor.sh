#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: tests/system/run-hypervisor.sh TEST
#
# Runs the image of examples/hypervisor, which must have been built (TEST build does that), on one machine.
# TEST is what hypervisor_configure (scripts/lib/image.sh) wants to know of the machine, with underscores
# between the words. Exit status 77 if a tool is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/lib/image.sh
. scripts/lib/image.sh
# shellcheck source=tests/system/tools.sh
. tests/system/tools.sh

checks=88 # of a whole run

test=$1
image_use hypervisor
if [[ $test == build ]]; then
    image_build
    exit
fi
IFS=_ read -ra words <<<"$test"
hypervisor_configure "${words[@]}"
image_run "$test" "${image_arguments[@]}"
echo "$test: $image_passed checks passed, $image_failed failed"

# The checks can fail: with a hypervisor that forgets what it must not, and on a machine that has no EL2.
case $test in
forget-sync)
    [[ $image_failed -eq 2 && $image_passed -eq $((checks - 2)) ]] &&
        grep -q '^FAIL guest A: the page that has come holds what was written to it' "$image_dir/$test.log"
    ;;
forget-tlbi)
    [[ $image_failed -eq 1 && $image_passed -eq $((checks - 1)) ]] &&
        grep -q '^FAIL guest B: to look at it is an abort' "$image_dir/$test.log"
    ;;
# What is mapped once is in the way of all that follows.
forget-owner)
    [[ $image_failed -eq 8 && $image_passed -eq $((checks - 8)) ]] &&
        grep -q '^FAIL guest C: memory that it has not cannot be mapped' "$image_dir/$test.log" &&
        grep -q '^FAIL no byte of A has changed' "$image_dir/$test.log"
    ;;
el1)
    [[ $image_failed -eq 1 && $image_passed -eq 0 ]] && grep -q '^machine: guests need EL2' "$image_dir/$test.log"
    ;;
*) [[ $image_failed -eq 0 && $image_passed -eq $checks ]] ;;
esac
