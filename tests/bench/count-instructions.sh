#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: count-instructions.sh PROGRAM [IMPLEMENTATION...]
#
# Counts with callgrind how many instructions a call takes, for piommu-bench at PROGRAM; prints lines that
# its option --add reads. IMPLEMENTATION: piommu (the default) and Linux. Exit status 77 without valgrind.
#
# A count is what twice as many calls take more, so that what only happens once is not in it. The adapter
# is, which is equally thin for both.
set -euo pipefail

program=$1
shift
implementations=("$@")
[[ $# -gt 0 ]] || implementations=(piommu)
calls=200

[[ -n $(type -P valgrind) ]] || {
    echo "SKIPPED: no valgrind (Debian: valgrind)" >&2
    exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# collected FUNCTION OPERATION IMPLEMENTATION CALLS: instructions inside of FUNCTION.
collected()
{
    valgrind --tool=callgrind --toggle-collect="$1" --callgrind-out-file="$scratch/out" \
        "$program" --count "$2" "$3" "$4" >"$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        return 1
    }
    sed -n 's/^==[0-9]*== Collected : \([0-9]*\)$/\1/p' "$scratch/log"
}

# per_call FUNCTION OPERATION IMPLEMENTATION PAGES: with one decimal if PAGES is not 1.
per_call()
{
    local once twice

    once=$(collected "$1" "$2" "$3" "$calls")
    twice=$(collected "$1" "$2" "$3" $((2 * calls)))
    [[ -n $once && -n $twice && $once -gt 0 ]] || {
        echo "count-instructions.sh: callgrind counted nothing in $1" >&2
        return 1
    }
    awk -v n=$((twice - once)) -v calls="$calls" -v pages="$4" \
        'BEGIN { printf pages == 1 ? "%.0f\n" : "%.1f\n", n / calls / pages }'
}

# count_rows: lines "OPERATION FUNCTION PAGES UNIT" to rows of all implementations.
count_rows()
{
    local operation function pages unit implementation ours peer count

    while read -r operation function pages unit; do
        ours=-
        peer=-
        for implementation in "${implementations[@]}"; do
            count=$(per_call "$function" "$operation" "$implementation" "$pages")
            if [[ $implementation == piommu ]]; then
                ours=$count
            else
                peer=$count
            fi
        done
        echo "insn $operation $unit $ours $peer"
    done
}

count_rows <<'ROWS'
map_1 counted_maps 1 insn/call
unmap_1 counted_unmaps 1 insn/call
map_256 counted_maps 256 insn/page
unmap_256 counted_unmaps 256 insn/page
lookup counted_lookups 1 insn/call
ROWS

# A request in virtio's rings, with what a device does to answer it.
for operation in ring_{split,packed}{,_event_idx}; do
    count=$(per_call counted_requests "$operation" piommu 1)
    echo "insn $operation insn/call $count -"
done

# The same calls through the core, which has no peer.
while read -r operation function; do
    count=$(per_call "$function" "$operation" core 1)
    echo "insn core_$operation insn/call $count -"
done <<'ROWS'
map_1 counted_maps
unmap_1 counted_unmaps
ROWS

# Pairs of allocating and releasing an IOVA: so many that the sizes drawn are a fair sample.
calls=2000
count_rows <<'ROWS'
iova_lifo counted_pairs 1 insn/pair
iova_random_10k counted_steps 1 insn/pair
ROWS
