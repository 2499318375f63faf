#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: check-archives.sh [--linker=LD] [--hosted] [--provided-by=ARCHIVE] [--allow=FUNCTION]... ARCHIVE...
#
# Links all objects of the archives into one and fails if that
#  - needs a function or variable other than memcpy, memmove, memset, memcmp, those that ARCHIVE of
#    --provided-by defines, and those of --allow (which must be needed: no stale entries); with --hosted:
#    one that begins with piommu_,
#  - has a writable variable,
#  - defines a global symbol that does not begin with piommu_.
set -euo pipefail

linker=ld
not_hosted=.
provided=()
allowed=()
archives=()
while [[ $# -gt 0 ]]; do
    case $1 in
    --linker=*) linker=${1#*=} ;;
    --hosted) not_hosted=^piommu_ ;;
    --provided-by=*) provided+=("${1#*=}") ;;
    --allow=*) allowed+=("${1#*=}") ;;
    *) archives+=("$1") ;;
    esac
    shift
done
[[ ${#archives[@]} -gt 0 ]] || {
    echo "check-archives.sh: which archives?" >&2
    exit 2
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$linker" -r --whole-archive "${archives[@]}" -o "$work/all.o"

status=0
complain()
{
    status=1
    echo "${archives[*]##*/}: $*"
}

# An archive that was made of nothing would pass every check.
nm --defined-only --extern-only --format=posix "$work/all.o" | cut -d' ' -f1 >"$work/defined"
[[ -s $work/defined ]] || complain "defines nothing"

while read -r symbol; do
    complain "defines $symbol, a global symbol without the prefix piommu_"
done < <(grep -v '^piommu_' "$work/defined")

{
    printf '%s\n' memcpy memmove memset memcmp
    if [[ ${#provided[@]} -gt 0 ]]; then
        nm --defined-only --extern-only --format=posix "${provided[@]}" | awk 'NF > 1 { print $1 }'
    fi
} >"$work/provided"
printf '%s\n' "${allowed[@]}" >"$work/allowed"
nm --undefined-only --format=posix "$work/all.o" | cut -d' ' -f1 >"$work/undefined"
while read -r symbol; do
    complain "needs $symbol"
done < <(grep -vxF -f "$work/provided" -f "$work/allowed" "$work/undefined" | grep "$not_hosted")
for symbol in "${allowed[@]}"; do
    grep -qxF "$symbol" "$work/undefined" || complain "is allowed to need $symbol, and does not"
done

# Judged by section, not by nm's letter: position-independent code keeps constants that hold pointers in
# .data.rel.ro, which is writable to the loader only.
readelf --wide --section-headers "$work/all.o" |
    sed -n 's/^ *\[ *\([0-9]*\)\] \([^ ]\)/\1 \2/p' |
    awk '$2 !~ /^\.data\.rel\.ro/ && $8 ~ /W/ && $6 !~ /^0+$/ { print $1, $2 }' >"$work/writable"
readelf --wide --symbols "$work/all.o" | awk '$4 == "OBJECT" || $4 == "TLS" { print $7, $8 }' >"$work/objects"
while read -r number name; do
    complain "has writable data in section $name:" \
        "$(awk -v number="$number" '$1 == number { printf "%s ", $2 }' "$work/objects")"
done <"$work/writable"
while read -r _ name; do
    complain "has writable data, tentatively defined: $name"
done < <(grep '^COM ' "$work/objects")

[[ $status -ne 0 ]] || echo "${archives[*]##*/}: clean, $(wc -l <"$work/defined") global symbols"
exit "$status"
