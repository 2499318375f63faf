#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: ipmmu-model.sh FOLDER BUILD [LIBFDT_INCLUDE_DIR]
#
# Builds a copy of examples/ipmmu-model below FOLDER against an installed piommu; BUILD is a finished build, to
# install from. Runs it in all its modes, on its own tree and, if there is dtc, on others; with the mistakes that
# it can make on request; with files and arguments that are no good. Exit status 77 without LIBFDT_INCLUDE_DIR,
# when there is no device tree reader.
set -euo pipefail

folder=$1
build=$2
libfdt_headers=${3-}
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
example=$(realpath "$here/../../examples/ipmmu-model")

[[ -n $libfdt_headers ]] || {
    echo "SKIPPED: this build has no device tree reader"
    exit 77
}

rm -rf "$folder"
mkdir -p "$folder"
cp -r "$example" "$folder/project"
if ! {
    cmake --install "$build" --prefix "$folder/installed" &&
        cmake -S "$folder/project" -B "$folder/build" -G Ninja -DUSE_INSTALLED_PIOMMU=ON \
            -DCMAKE_PREFIX_PATH="$folder/installed" -DPIOMMU_LIBFDT_INCLUDE_DIR="$libfdt_headers" &&
        cmake --build "$folder/build"
} >"$folder/build.log" 2>&1; then
    cat "$folder/build.log"
    exit 1
fi
program=$folder/build/ipmmu-model

failed=0
fail()
{
    echo "FAIL: $*"
    failed=1
}

# run STATUS ARGUMENT...: its output is in $said, what it says on stderr in $complaint.
said=$folder/said
complaint=$folder/complaint
run()
{
    local expected=$1 status=0
    shift
    "$program" "$@" >"$said" 2>"$complaint" || status=$?
    [[ $status -eq $expected ]] || fail "ipmmu-model $*: exit status $status, not $expected: $(cat "$complaint")"
}

# says LINE [FILE]: the line is there, whatever blanks are before it.
says()
{
    sed 's/^ *//' "${2-$said}" | grep -xF -- "$1" >/dev/null || fail "it does not say: $1"
}

# all_hold LEAST ARGUMENT...: a run without a failure, with so many checks at least, each of them counted.
all_hold()
{
    local least=$1 passed
    shift
    run 0 "$@"
    passed=$(grep -c '^PASS ' "$said")
    if grep '^FAIL ' "$said" || [[ $passed -lt $least || -s $complaint ]]; then
        fail "ipmmu-model $*: $passed checks hold, and it says: $(cat "$complaint")"
    fi
    says "ipmmu-model: $passed checks, 0 failed"
}

# All modes, on its own tree.
all_hold 62
awk '/^```text$/ { on = 1; next } /^```/ { on = 0 } on { sub(/^ */, ""); print }' "$example/README.md" >"$folder/sample"
[[ -s $folder/sample ]] || fail "README.md of the example has no sample"
while read -r line; do
    says "$line"
done <"$folder/sample"
! grep -q 'skipped' "$said" || fail "a step was skipped on the tree that is made for all of them"

all_hold 62 --stage1
says "devices have addresses 0x0..0xffffffff, granule 4096" <(sed 's/^PASS //' "$said")

all_hold 66 --tables
says "adopted 64-bit LPAE stage 2, granule 4 KiB, 40 bits in, 40 bits out"
says "0x40000000-0x401fffff 1 x 2 MiB -> 0x500000000 rw--- cacheable"
says "0x40000000-0x401fffff 1 x 2 MiB -> 0x600000000 rw--- cacheable"
all_hold 66 --stage1 --tables
says "adopted 32-bit LPAE stage 1, granule 4 KiB, 32 bits in, 40 bits out"

all_hold 62 --trace
says "| ipmmu_mm W IMTTBCR(1) 0x048 0xc0000058"
says "> unmap guest A 0x8000000000 size 0x10000"
says "> sync guest A 0x8000000000 size 0x10000"
says "> instance resume ipmmu_vi0"
all_hold 66 --stage1 --tables --trace
says "| ipmmu_mm W IMTTBCR(1) 0x048 0x80000080"
cp "$said" "$folder/first"
all_hold 66 --trace --tables --stage1
cmp "$folder/first" "$said" || fail "two runs differ"

# Mistakes are noticed.
for stage in "" --stage1; do
    run 1 --forget clean $stage
    says "FAIL ethernet@e6800000 has the memory of guest A and nothing else"
    run 1 --forget sync $stage
    says "FAIL synced: no TLB of any unit leads there any more"
    says "FAIL and the write is refused: only now the memory may be given to somebody else"
    [[ $(tail -n 1 "$said") =~ ^ipmmu-model:\ [0-9]+\ checks,\ [1-9][0-9]*\ failed$ ]] ||
        fail "--forget sync $stage: no summary"
done

# refused ARGUMENT... : MESSAGE
refused()
{
    local arguments=()
    while [[ $1 != : ]]; do
        arguments+=("$1")
        shift
    done
    run 2 "${arguments[@]}"
    says "ipmmu-model: $2" "$complaint"
}

# Arguments and files that are no good.
run 0 --help
says "usage: ipmmu-model [--stage1] [--tables] [--trace] [--forget clean|sync] [FILE.dtb]"
refused --stage3 : "--stage3: not understood"
refused --forget : "--forget: not understood"
refused --forget everything : "--forget everything: not understood"
refused one two : "two: not understood"
cd "$folder"
: >empty.dtb
head -c 4096 /dev/zero >zeros.dtb
refused empty.dtb : "empty.dtb: not a sound device tree blob"
refused zeros.dtb : "zeros.dtb: not a sound device tree blob"
refused absent.dtb : "absent.dtb: No such file or directory"
refused "$folder" : "$folder: cannot be read, or is no device tree"

# Other trees.
if [[ -z $(type -P dtc) ]]; then
    echo "without dtc: other trees are left out"
    exit "$failed"
fi

# compile NAME EXPRESSION...: the tree beside this script, edited by sed.
compile()
{
    local name=$1
    shift
    sed "$@" "$here/ipmmu-model/gen4.dts" | dtc --quiet -@ -I dts -O dtb -o "$name.dtb" - 2>/dev/null
}
compile gen4 -e ''
all_hold 30 gen4.dtb
says "skipped: no masters share a micro-TLB in this tree"
says "skipped: this tree has not as many groups as there are contexts"
all_hold 30 --stage1 --trace gen4.dtb
says "| ipmmu_mm W IMTTBCR(1) 0x11048 0x80000080"
says "| ipmmu_ds0 W IMUCTR(63) 0x37f0 0x000000f3"

compile no-stage2 -e 's/r8a779g0/r8a779h0/'
refused no-stage2.dtb : "no-stage2.dtb: this part has no such tables; try --stage1"
all_hold 30 --stage1 no-stage2.dtb
compile few -e 's/iommus = <&ipmmu_hc [01]>;//'
refused few.dtb : "few.dtb: too few masters for 3 guests and one that nobody adds"
compile lonely -e '/iommus = /d'
refused lonely.dtb : "lonely.dtb: no master behind an IPMMU has a micro-TLB of its own"
compile none -e 's/renesas,ipmmu-r8a779g0", "renesas,rcar-gen4-ipmmu-vmsa/vendor,example/'
refused none.dtb : "none.dtb: no IPMMU that is enabled"
compile malformed -e 's/<&ipmmu_hc 1>/<\&ipmmu_hc>/'
refused malformed.dtb : "malformed.dtb: /soc/ethernet@e6810000: iommus is malformed"
head -c 300 gen4.dtb >cut.dtb
refused cut.dtb : "cut.dtb: not a sound device tree blob"
exit "$failed"
