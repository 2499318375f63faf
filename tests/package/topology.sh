#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: topology.sh FOLDER [PROGRAM]
#
# Runs PROGRAM, a piommu-topology, on the trees in topology/, compiled below FOLDER, and compares what it says with
# the files *.expected there: tables, picture, complaints and exit status. Then on trees that are no trees, and on
# those that QEMU dumps, if there is one. Exit status 77 if dtc is absent, or without PROGRAM, when there is no device
# tree reader.
#
# PIOMMU_UPDATE_EXPECTED=yes writes the files *.expected anew instead, for a person to look at.
set -euo pipefail

folder=$1
program=${2-}
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")

skip()
{
    echo "SKIPPED: $1"
    exit 77
}
[[ -n $program ]] || skip "this build has no device tree reader"
[[ -n $(type -P dtc) ]] || skip "no dtc (Debian: device-tree-compiler)"

mkdir -p "$folder"

# show ARGUMENT...: all that the program says, and its exit status.
show()
{
    local status=0
    "$program" "$@" 2>"$folder/stderr" || status=$?
    sed "s,$folder/,," "$folder/stderr"
    echo "exit status $status"
}

failed=0
fail()
{
    echo "FAIL: $*"
    failed=1
}

for tree in "$here"/topology/*.dts; do
    name=$(basename "$tree" .dts)
    expected=$here/topology/$name.expected
    # The warnings are about trees that are wrong on purpose.
    dtc --force --quiet -I dts -O dtb -o "$folder/$name.dtb" "$tree" 2>/dev/null
    {
        head -n 2 "$tree" | sed 's,^//,#,'
        show "$folder/$name.dtb"
        show --dot "$folder/$name.dtb"
    } >"$folder/$name.said"
    if [[ ${PIOMMU_UPDATE_EXPECTED-} == yes ]]; then
        cp "$folder/$name.said" "$expected"
    fi
    diff -u "$expected" "$folder/$name.said" || fail "$name: the output differs"
    if [[ -n $(type -P dot) ]]; then
        { "$program" --dot "$folder/$name.dtb" 2>/dev/null || true; } | dot -Tsvg >"$folder/$name.svg" ||
            fail "$name: graphviz does not like the picture"
    fi
done

# No trees at all.
: >"$folder/empty.dtb"
head -c 200 "$folder/gen3.dtb" >"$folder/cut.dtb"
head -c 4096 /dev/zero >"$folder/zeros.dtb"
for name in empty cut zeros; do
    [[ $(show "$folder/$name.dtb") == "piommu-topology: $name.dtb: not a sound device tree blob
exit status 1" ]] || fail "$name: not refused as it should be"
done
[[ $(show "$folder/absent.dtb") == *"exit status 1" ]] || fail "a file that is not there"
for wrong in "" --dot --what "$folder/gen3.dtb $folder/gen3.dtb"; do
    # shellcheck disable=SC2086
    [[ $(show $wrong) == *"Try 'piommu-topology --help'."*"exit status 2" ]] || fail "wrong usage: $wrong"
done
[[ $(show --help) == "usage: piommu-topology [--dot] FILE.dtb"*"--version"*"exit status 0" ]] || fail "--help"
[[ $(show --version) =~ ^piommu-topology\ [0-9]+\.[0-9]+\.[0-9]+.exit\ status\ 0$ ]] || fail "--version"

# What QEMU's virt machine says of itself.
if [[ -n $(type -P qemu-system-aarch64) ]]; then
    # dump NAME MACHINE [ARGUMENT...]
    dump()
    {
        local name=$1 machine=$2
        shift 2
        timeout -s KILL 60 qemu-system-aarch64 -nic none -nographic \
            -M "$machine,dumpdtb=$folder/$name.dtb" "$@" >"$folder/$name.log" 2>&1
        show "$folder/$name.dtb"
    }
    said=$(dump smmuv3 virt,iommu=smmuv3)
    [[ $said =~ /smmuv3@[0-9a-f]+\ +arm,smmu-v3\ +0x9050000\.\.0x906ffff\ +1\ .*\ yes\  ]] ||
        fail "QEMU's SMMUv3: $said"
    [[ $said =~ /pcie@10000000\ +00:00\.0\.\.ff:1f\.7\ +/smmuv3@[0-9a-f]+\ +0x0\.\.0xffff\ +each ]] ||
        fail "what is behind QEMU's SMMUv3: $said"
    said=$(dump viommu virt -device virtio-iommu-pci)
    [[ $said =~ virtio,pci-iommu\ +PCI\ 00:01\.0\ +1\  ]] || fail "QEMU's virtio-iommu: $said"
    [[ $said =~ 00:00\.0\.\.00:00\.7\ .*\ 0x0\.\.0x7\ .*00:01\.1\.\.ff:1f\.7\ .*\ 0x9\.\.0xffff\  ]] ||
        fail "what is behind QEMU's virtio-iommu: $said"
    [[ $(dump none virt) == "There is no IOMMU.
exit status 0" ]] || fail "QEMU without an IOMMU"
else
    echo "without QEMU: its trees are left out"
fi
exit "$failed"
