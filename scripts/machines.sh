#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/machines.sh [--short | MACHINE...]
#
# A campaign: boots the image of examples/qemu-virt on every machine that the words of scripts/lib/image.sh
# describe, 160 in all (with packed rings on 32 of them), two at a time; with --short on those of the system
# tests, or on the ones named (such as el2_gicv3_rootport_closed). Prints a line for each and a summary; the
# transcripts are in build/qemu-virt.
#
# Exit status 0 if all checks hold on all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1-} in
--short) mapfile -t machines < <(grep '^[a-z]' tests/system/machines.txt) ;;
'') machines=({el1,el2}_{gicv2,gicv3}{,_otherslots,_rootport,_bridge}{,_closed}{,_noevents}{,_noindirect}
    el{1_gicv2,2_gicv3}{,_rootport}{,_noevents}{,_noindirect}{,_closed}_packed) ;;
*) machines=("$@") ;;
esac

tests/system/run-image.sh build
failed=0
# shellcheck disable=SC2016 # the inner shell expands it
while read -r status line; do
    [[ $status == 0 ]] || failed=$((failed + 1))
    echo "$line"
done < <(printf '%s\n' "${machines[@]}" | xargs -P 2 -I NAME bash -c '
    line=$(tests/system/run-image.sh NAME 2>&1) && status=0 || status=$?
    line=$(tail -n 1 <<<"$line")
    echo "$status NAME: ${line#NAME: }"')
echo "machines: ${#machines[@]} tried, $failed failed"
[[ $failed -eq 0 ]]
