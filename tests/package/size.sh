#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: size.sh FOLDER
#
# Compiles the page tables below FOLDER for AArch64, for size, with one format and one granule, and prints
# the code and constants that the linker takes into a program: once for map, unmap and lookup alone with all
# that they call, and once for options/minimal.c, which creates, uses and destroys a table. Without disjoint
# tables, and with them. Fails if that is more than the limits below, if there is writable data, or if the
# linker has taken an object that the program does not need. Exit status 77 if the compiler is absent.
set -euo pipefail

# Bytes of lib/io-pgtable in the program.
limit_of_calls=8192 # map, unmap, lookup
limit_of_calls_disjoint=10240
limit_of_creation=3072 # the objects that creation alone needs
creation=(attributes create format)
limit_of_all=12288 # the minimal program
limit_of_all_disjoint=14848
# Nothing of these may be in it.
not_needed=(adopt cut dirty dump leaf_check plan portions protect registers verify walk)

# 64-bit stage 2 with 4 KiB.
left_out=(64_S1 32_S1 32_S2 16K 64K)

# As in cmake/aarch64-freestanding.cmake.
compiler=aarch64-linux-gnu-gcc
flags=(-std=c11 -Os -ffreestanding -mgeneral-regs-only -mno-outline-atomics -mstrict-align
    -fno-stack-protector -fno-pic -fno-pie -ffunction-sections -fdata-sections
    -fno-unwind-tables -fno-asynchronous-unwind-tables)

folder=$1
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
# shellcheck source=scripts/lib/linked.sh
. "$source/scripts/lib/linked.sh"
[[ -n $(type -P "$compiler") ]] || {
    echo "SKIPPED: no $compiler (Debian: gcc-aarch64-linux-gnu)"
    exit 77
}
rm -rf "$folder"
mkdir -p "$folder"

status=0
complain()
{
    status=1
    echo "size.sh: $*"
}

# compile OUT MACRO...: the archives of lib/base and lib/io-pgtable without what the macros name.
compile()
{
    local out=$1 part definitions
    shift

    definitions=("${@/#/-DPIOMMU_PGTABLE_WITH_}")
    definitions=("${definitions[@]/%/=0}")
    mkdir "$out"
    for part in base io-pgtable; do
        mkdir "$out/$part"
        printf '%s\n' "$source/lib/$part"/*.c |
            (cd "$out/$part" && xargs -P 2 -n 8 "$compiler" "${flags[@]}" -I"$source/include" \
                "${definitions[@]}" -c)
        ar rcs "$out/$part.a" "$out/$part"/*.o
    done
    "$compiler" "${flags[@]}" -I"$source/include" -c "$here/options/minimal.c" -o "$out/minimal.o"
}

# link OUT NAME ENTRY...: a program of these functions and what they need. Writes what is in it to
# OUT/NAME.sections, a line for each: its kind, bytes, archive and object.
link()
{
    local out=$1 name=$2
    shift 2

    # The other functions of minimal.c are the four that a host gives.
    "$compiler" "${flags[@]}" -nostdlib -static -Wl,--gc-sections -Wl,--entry="$1" "${@/#/-Wl,-u,}" \
        -Wl,--build-id=none -Wl,-Map="$out/$name.map" "$out/minimal.o" "$out/io-pgtable.a" \
        "$out/base.a" -o "$out/$name"
    linked_sections "$out/$name.map" >"$out/$name.sections"
    ! grep -qE '^(data|bss) ' "$out/$name.sections" || complain "$name: there is writable data"
}

# bytes_of SECTIONS ARCHIVE [OBJECT...]: code and constants of an archive, or of some of its objects.
bytes_of()
{
    awk -v archive="$2" -v objects=" ${*:3} " '
        $3 == archive && (objects ~ /^ *$/ || index(objects, " " $4 " ")) { sum += $2 }
        END { print sum + 0 }' "$1"
}

print_line()
{
    printf '%-44s %7d\n' "$1" "$2"
}

# check WHAT BYTES LIMIT
check()
{
    print_line "$1" "$2"
    [[ $2 -le $3 ]] || complain "$1: $2 bytes are more than $3"
}

# measure OUT KIND LIMIT-OF-CALLS LIMIT-OF-ALL
measure()
{
    local out=$1 calls all object

    link "$out" calls piommu_pgtable_map piommu_pgtable_unmap piommu_pgtable_lookup
    link "$out" all minimal
    calls=$out/calls.sections
    all=$out/all.sections
    check "  map, unmap, lookup, $2" "$(bytes_of "$calls" io-pgtable)" "$3"
    check "  and to create, sync and destroy" "$(bytes_of "$all" io-pgtable)" "$4"
    # A map that was not understood would pass as a very small program.
    for object in map unmap lookup; do
        [[ $(bytes_of "$calls" io-pgtable "$object") -gt 100 ]] || complain "$object is not there"
    done
    [[ $(bytes_of "$all" io-pgtable format) -gt 100 ]] || complain "format is not there"
    for object in "${not_needed[@]}"; do
        [[ -f $out/io-pgtable/$object.o ]] || complain "there is no $object to leave out"
        [[ $(bytes_of "$all" io-pgtable "$object") -eq 0 ]] ||
            complain "$object is linked, and not needed"
    done
}

compile "$folder/exclusive" "${left_out[@]}" DISJOINT
compile "$folder/disjoint" "${left_out[@]}"
echo "AArch64 -Os, one format, one granule"
measure "$folder/exclusive" "exclusive tables alone" "$limit_of_calls" "$limit_of_all"
measure "$folder/disjoint" "disjoint ones, too" "$limit_of_calls_disjoint" "$limit_of_all_disjoint"
check "  to create alone" \
    "$(bytes_of "$folder/disjoint/all.sections" io-pgtable "${creation[@]}")" "$limit_of_creation"
print_line "  of lib/base" "$(bytes_of "$folder/disjoint/all.sections" base)"
exit "$status"
