#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/renesas-trees.sh [KERNEL-SOURCE.tar.xz]
#
# A campaign, not a test: compiles the device trees of all Renesas boards in the distribution's kernel source
# package (Debian: linux-source-6.12, which has /usr/src/linux-source-6.12.tar.xz), has piommu-topology read
# each, and counts what it finds against what a plain search in the tree's text finds: enabled IOMMUs, and
# enabled devices with iommus or iommu-map. Prints a line for each board and a summary. Nothing that comes from
# the kernel is kept anywhere but in build/renesas-trees. Needs tar, xz, cpp and dtc.
#
# Exit status 0 if no tree was refused and all counts agree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

archive=${1-}
if [[ -z $archive ]]; then
    archive=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.xz' | sort -V | tail -n 1)
fi
[[ -f $archive ]] || {
    echo "no kernel source: install linux-source-6.12, or name the archive" >&2
    exit 2
}
for tool in tar xz cpp dtc cmake ninja; do
    [[ -n $(type -P "$tool") ]] || {
        echo "needs $tool" >&2
        exit 2
    }
done

work=$PWD/build/renesas-trees
tool=$work/build/tools/piommu-topology
mkdir -p "$work/blobs"
if ! {
    cmake -S . -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPIOMMU_BUILD_TESTS=OFF &&
        cmake --build "$work/build" --target piommu-topology
} >"$work/build.log" 2>&1; then
    cat "$work/build.log" >&2
    exit 1
fi
if [[ ! -d $work/kernel/include/dt-bindings ]]; then
    echo "== unpacking what is needed of $archive"
    mkdir -p "$work/kernel"
    tar -I 'xz -d -T0' -xf "$archive" -C "$work/kernel" --strip-components=1 --wildcards \
        '*/arch/arm64/boot/dts/renesas' '*/arch/arm/boot/dts/renesas' '*/include/dt-bindings' \
        '*/scripts/dtc/include-prefixes' '*/include/uapi/linux/input-event-codes.h'
fi

# compile BOARD.dts BLOB
compile()
{
    cpp -nostdinc -undef -D__DTS__ -x assembler-with-cpp -I scripts/dtc/include-prefixes -I include \
        -I arch/arm64/boot/dts -I arch/arm/boot/dts "$1" |
        dtc -q -I dts -O dtb -@ -i "$(dirname "$1")" -o "$2" -
}

# count TEXT PROPERTY...: nodes in a tree's text that have one of the properties, and that neither they nor a
# parent of theirs disables. Another way of reading than the library's.
count()
{
    local text=$1 pattern
    shift
    pattern=$(IFS='|'; echo "$*")
    awk -v pattern="^(${pattern}) =" '
        { sub(/^[ \t]+/, "") }
        /\{$/ { depth++; has[depth] = 0; off[depth] = depth > 1 && off[depth - 1]; counted[depth] = 0; next }
        /^\};/ { if (has[depth] && !off[depth]) n++; depth--; next }
        /^status = / && !/"(okay|ok)"/ { off[depth] = 1 }
        $0 ~ pattern { has[depth] = 1 }
        END { print n + 0 }' "$text"
}

cd "$work/kernel"
boards=0
with=0
wrong=0
for source in arch/arm/boot/dts/renesas/*.dts arch/arm64/boot/dts/renesas/*.dts; do
    name=$(basename "$source" .dts)
    blob=$work/blobs/$name.dtb
    compile "$source" "$blob" || {
        echo "$name: cannot be compiled"
        wrong=$((wrong + 1))
        continue
    }
    boards=$((boards + 1))
    dtc -q -I dtb -O dts "$blob" >"$work/text"
    status=0
    "$tool" --dot "$blob" >"$work/said" 2>"$work/complaints" || status=$?
    # In the picture, instances are boxes and edges with labels come from devices.
    iommus=$(grep -c '\[shape=box\];$' "$work/said" || true)
    masters=$(sed -n 's/^  \(".*"\) -> ".*" \[label=.*/\1/p' "$work/said" | sort -u | wc -l)
    expected_iommus=$(count "$work/text" '#iommu-cells')
    expected_masters=$(count "$work/text" iommus iommu-map)
    verdict=ok
    if [[ $status -ne 0 || $iommus -ne $expected_iommus || $masters -ne $expected_masters ]]; then
        verdict="WRONG (expected $expected_iommus and $expected_masters, exit status $status)"
        wrong=$((wrong + 1))
        cat "$work/complaints"
    fi
    [[ $iommus -eq 0 ]] || with=$((with + 1))
    printf '%-40s %3d instances %3d devices  %s\n' "$name" "$iommus" "$masters" "$verdict"
done
echo
echo "$boards trees, $with with enabled IOMMUs, $wrong wrong"
[[ $wrong -eq 0 ]]
