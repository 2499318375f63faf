#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: ptdump.sh FOLDER PROGRAM
#
# Makes images of memory below FOLDER, descriptor by descriptor as the architecture has them, and compares what
# PROGRAM, a piommu-ptdump, says of them with the files ptdump/*.expected: text, JSON, pictures, complaints and exit
# status. Among them are tables that lie. Then wrong usage, and files that are no good.
#
# PIOMMU_UPDATE_EXPECTED=yes writes the files *.expected anew instead, for a person to look at.
set -euo pipefail

folder=$1
program=$(realpath "$2")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

failed=0
fail()
{
    echo "FAIL: $*"
    failed=1
}

# new_image NAME KIBIBYTES: full of zeros.
new_image()
{
    image=$1
    head -c $(($2 * 1024)) /dev/zero >"$image"
}

# put OFFSET INDEX DESCRIPTOR...: into the table at an offset of the image.
put()
{
    local place=$(($1 + $2 * 8)) value byte bytes
    shift 2

    for value; do
        bytes=
        for ((byte = 0; byte < 64; byte += 8)); do
            bytes+=$(printf '\\x%02x' $((value >> byte & 255)))
        done
        # shellcheck disable=SC2059
        printf "$bytes" | dd of="$image" bs=1 seek="$place" conv=notrunc status=none
        place=$((place + 8))
    done
}

# show ARGUMENT...: all that the program says, and its exit status.
show()
{
    local status=0
    echo "\$ piommu-ptdump $*"
    timeout 60 "$program" "$@" 2>stderr || status=$?
    cat stderr
    echo "exit status $status"
}

# compare NAME: what was said, with what it should be, which stands below two lines about the licence.
compare()
{
    local expected=$here/ptdump/$1.expected
    if [[ ${PIOMMU_UPDATE_EXPECTED-} == yes ]]; then
        { sed -n 2,3p "$here/ptdump.sh" && cat "$1"; } >"$expected"
    fi
    tail -n +3 "$expected" | diff -u - "$1" || fail "$1 differs"
}

# well_formed KIND FILE: json or xml, judged by whatever is there.
well_formed()
{
    case $1 in
    json)
        [[ -z $(type -P python3) ]] || python3 -m json.tool "$2" >parsed || fail "$2 is no JSON"
        ;;
    xml)
        if [[ -n $(type -P xmllint) ]]; then
            xmllint --noout "$2" || fail "$2 is no XML"
        elif [[ -n $(type -P python3) ]]; then
            python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' "$2" || fail "$2 is no XML"
        fi
        ;;
    esac
}

# Stage 2, 4 KiB, 40 bits: two tables side by side are the root, of level 1. Valid bits: type 1 or 3, AF 0x400,
# SH 0x300 inner or 0x200 outer, S2AP 0x40 read and 0x80 write, MemAttr 0x3c write-back or 0x4 device, XN bit 54.
stage2()
{
    new_image "$1" 32
    put 0x0000 1 0x00400001000007fd 0x80002003 # 1 GiB; a table of level 2
    put 0x0000 512 0x80004003                  # in the second table of the root: an empty table
    put 0x2000 0 0x004000004000077d 0x004000004020077d # 2 MiB each, read only
    put 0x2000 5 0x80003003                            # a table of level 3
    put 0x3000 0 0x00400000090006c7 0x00400000090016c7 0x00400000090026c7 # device memory
    put 0x3000 8 0x00000000500007ff                                       # for everything
    put 0x3000 10 0x00000000500027ff
}

stage2 stage2.bin
options=(--memory stage2.bin@0x80000000 --root 0x80000000 --format 64-s2 --input-bits 40 --start-level 1)
{
    show "${options[@]}"
    show "${options[@]}" --only 0x80a00000+0x2000
    show "${options[@]}" --only 0x3fffffff
    # The same bits are no tables of a root of level 0, and there is none of level 2.
    show "${options[@]}" --start-level 0
    show "${options[@]}" --start-level 2
} >stage2
compare stage2
"$program" "${options[@]}" --json --svg stage2.svg >stage2.json
compare stage2.json
compare stage2.svg
well_formed json stage2.json
well_formed xml stage2.svg

# Stage 1, 16 KiB, 36 bits, both halves, in two files one of which ends in the middle of a table. The upper half is
# a contiguous group of 128 pages. Bits: AttrIndx 4 is slot 1 (cached), AP 0x40 unprivileged, 0x80 read only,
# nG 0x800, contiguous bit 52, PXN 53, UXN 54.
new_image whole 80
put 0x0000 3 0x1000010003          # lower root: level 2, 2048 slots, the table at 0x1000010000
put 0x4000 2047 0x1000008003       # upper root
put 0x10000 0 0x0060004000000f47 0x0060004000004f47
for ((page = 0; page < 128; page++)); do
    put 0x8000 "$page" $((0x00700020000007c7 + page * 0x4000))
done
head -c 74000 whole >low.bin
tail -c +74001 whole >high.bin
options=(--memory low.bin@0x1000000000 --memory high.bin@0x1000012110 --root 0x1000000000 --ttbr1 0x1000004000
    --granule 16K --input-bits 36 --feature dirty)
show "${options[@]}" --svg stage1.svg >stage1
compare stage1
well_formed xml stage1.svg
"$program" "${options[@]}" --json >stage1.json
compare stage1.json
well_formed json stage1.json

# 32-bit stage 1 in two files, of which the second holds the table and the first the root of 32 bytes. NS is set,
# and NSTable, as an IPMMU wants it.
new_image root.bin 1
put 0x20 3 0x8000000045678003
new_image table.bin 4
put 0 511 0x0060000012200f65
show --memory root.bin@0xc0000000 --memory table.bin@0x45678000 --root 0xc0000020 --format 32-s1 \
    --feature non-secure >short
compare short

# Lies. Loops to the root, and of a table to itself; a table twice; tables that are not there, partly, or beyond 48
# bits; a block where there is none; reserved bits; a reserved page; a clear access flag.
stage2 lies.bin
put 0x0000 3 0x80000003 0x80002003 0x1234567003 0x80007003
put 0x0000 500 0xffff80000003 0x0040000100001ffd
put 0x2000 6 0x80002003 0x80004003
put 0x3000 20 0x00400000090006c5 0x00400000090003c7
put 0x4000 0 0x80004003
truncate --size 30000 lies.bin
options=(--memory lies.bin@0x80000000 --root 0x80000000 --format 64-s2 --input-bits 40 --start-level 1)
show "${options[@]}" >lies
compare lies
"$program" "${options[@]}" --json --svg lies.svg >lies.json && fail "lies are sound"
compare lies.json
well_formed json lies.json
well_formed xml lies.svg

# Every slot of every table leads to the next table, and those of the last to the first: 512 to the fourth ways.
new_image maze.bin 16
for table in 0 1 2 3; do
    slot=
    for byte in 3 $(((table + 1) % 4 * 16)) 0 0x80 0 0 0 0; do
        slot+=$(printf '\\x%02x' "$byte")
    done
    for ((i = 0; i < 512; i++)); do printf '%s' "$slot"; done
done >maze.escaped
# shellcheck disable=SC2059
printf "$(cat maze.escaped)" >maze.bin
options=(--memory maze.bin@0x80000000 --root 0x80000000)
show "${options[@]}" >maze
[[ $(wc -l <maze) -lt 2500 && $(tail -n 1 maze) == "exit status 1" ]] || fail "the maze: $(wc -l <maze) lines"
"$program" "${options[@]}" --json --svg maze.svg >maze.json && fail "the maze is sound"
well_formed json maze.json
well_formed xml maze.svg

# Usage and files.
: >empty.bin
memory=(--memory stage2.bin@0x80000000)
{
    show
    show "${memory[@]}"
    show "${memory[@]}" --root
    show "${memory[@]}" --root 12z
    show "${memory[@]}" --root 0x80000000 --granule 8K
    show "${memory[@]}" --root 0x80000000 --what
    show "${memory[@]}" --root 0x80000000 --format 64-s2 --ttbr1 0x80000000
    show "${memory[@]}" --root 0x80000000 --format 32-s2 --granule 64K
    show "${memory[@]}" --root 0x80000100
    show "${memory[@]}" --root 0x80008000
    show "${memory[@]}" --root 0x80000000 --only 5..4
    show "${memory[@]}" "${memory[@]}" --root 0x80000000
    show --memory stage2.bin@0xfffffffffffff000 --root 0x80000000
    show --memory empty.bin@0 --root 0
    show --memory absent.bin@0 --root 0
    show --memory stage2.bin --root 0
    show --version
} >usage
sed -i 's/^piommu-ptdump [0-9.]*$/piommu-ptdump VERSION/' usage
compare usage
"$program" --help >help
for option in memory root ttbr1 format granule input-bits output-bits start-level feature only json svg help version; do
    grep -q -- "--$option " help || fail "--help says nothing of --$option"
done
if [[ -w /dev/full ]]; then
    "$program" "${options[@]}" >/dev/full 2>stderr && fail "a full disk is not noticed"
    grep -q '^piommu-ptdump: stdout: ' stderr || fail "a full disk is not told of"
fi
exit "$failed"
