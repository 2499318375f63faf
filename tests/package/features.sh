#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: features.sh FOLDER BUILD
#
# Builds libraries below FOLDER that lack features of the core and of virtio (lib/base/options.h): all that can be
# lacking together, and page tables alone; with PIOMMU_TEST_EFFORT=full each feature alone. The first, and one with all
# features, is compiled for size (-Os), which does some things in other ways. BUILD is a finished build of
# this tree with its tests, made by ninja, whose tests are linked with them. options/core.c has to find that what is lacking
# is refused, and of the tests of the whole just those may fail that features/NAME lists for the feature: a regular
# expression for their names in each line, which fits one at least. With clang, too, nothing of it may cause a warning.
set -euo pipefail

mkdir -p "$1"
folder=$(realpath "$1")
build=$(realpath "$2")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
status=0
fail()
{
    echo "FAIL: $*"
    status=1
}

# macro FEATURE: the one that leaves it out. "speed" has none: what lacks it is compiled for size.
macro()
{
    case $1 in
    speed) ;;
    pci | mmio | packed) echo "-DPIOMMU_VIRTIO_WITH_${1^^}=0" ;;
    *) echo "-DPIOMMU_CORE_WITH_${1^^}=0" ;;
    esac
}

# compile OUT FEATURE...: the library without these, by the commands that the build was made by.
ninja -C "$build" -t commands libpiommu.a | grep ' -c ' >"$folder/commands"
compile()
{
    local out=$1 macros level=-O2
    shift
    macros=$(for feature; do macro "$feature"; done | tr '\n' ' ')
    [[ " $* " != *" speed "* ]] || level=-Os

    rm -rf "$out"
    mkdir -p "$out"
    sed -E "s|^([^ ]+) |\1 $macros|; s| -O[0-9a-z]* | |; s| -MD -MT [^ ]+ -MF [^ ]+ -o [^ ]+ -c (.*/)([^/]+)/([^/ ]+)\$| $level -o $out/\2_\3.o -c \1\2/\3|" \
        "$folder/commands" | (cd "$build" && xargs -P 2 -I '{}' sh -c '{}')
    [[ $(find "$out" -name '*.o' | wc -l) -eq $(wc -l <"$folder/commands") ]] || {
        echo "features.sh: the commands of $build have a form that is not understood"
        exit 1
    }
    ar rcs "$out/library.a" "$out"/*.o
    if [[ -n $(type -P clang) ]]; then
        # The macros are words.
        # shellcheck disable=SC2086
        (cd "$source" && clang -std=c11 -fsyntax-only -ffreestanding -Iinclude -Wall -Wextra -Wpedantic -Wconversion -Werror \
            $macros lib/core/*.c lib/virtio/*.c backends/virtio-iommu/*.c)
    fi
}

# link OUT PROGRAM [OBJECT]: a test of the build, with the library in OUT in place of its own, and maybe another object.
link()
{
    local command name
    command=$(ninja -C "$build" -t commands "tests/$2" | tail -n 1)
    name=${3-$2}
    [[ $command == *" libpiommu.a "* && $command =~ \ -o\ ([^\ ]+)\  ]]
    command=${command/" libpiommu.a "/" $1/library.a "}
    command=${command/" -o ${BASH_REMATCH[1]} "/" -o $1/$(basename "$name" .o) "}
    [[ $# -lt 3 ]] || command=$(sed -E "s| [^ ]*$2.dir[^ ]*| $3|" <<<"$command")
    (cd "$build" && eval "$command")
}

# refusals OUT FEATURE...: what is lacking is refused.
refusals()
{
    local out=$1 command macros
    shift
    macros=$(for feature; do macro "$feature"; done | tr '\n' ' ')

    # Compiled and linked as a test of the same fixture.
    command=$(ninja -C "$build" -t commands tests/unit_virtio_iommu_posts | grep -F '/test_virtio_iommu_posts.c' | head -n 1)
    command=$(sed -E "s|^([^ ]+) |\1 $macros|; s| -MD .*| -o $out/core.o -c $here/options/core.c|" <<<"$command")
    (cd "$build" && eval "$command")
    link "$out" unit_virtio_iommu_posts "$out/core.o"
    "$out/core" >"$out/core.log" 2>&1 || {
        cat "$out/core.log"
        fail "without $*: what is lacking is not refused, or something else is"
    }
}

# judge OUT LEAST FEATURE... -- PROGRAM...: just tests that need the features fail, and so many others at least pass.
judge()
{
    local out=$1 least=$2 program features=() patterns pattern
    shift 2
    while [[ $1 != -- ]]; do
        features+=("$1")
        shift
    done
    shift

    : >"$out/log"
    for program; do
        link "$out" "$program" >"$out/link.log" 2>&1 || {
            cat "$out/link.log"
            fail "$program: does not link without ${features[*]}"
            return
        }
        PIOMMU_WITHOUT="${features[*]}" timeout -k 5 300 "$out/$program" >>"$out/log" 2>&1 || [[ $? -lt 124 ]] || fail "$program does not end"
    done
    patterns=$(for feature in "${features[@]}"; do grep -hvE '^(#|$)' "$here/features/$feature" 2>/dev/null || true; done)
    sed -nE 's/^\[       OK \] //p' "$out/log" | sort -u >"$out/passed"
    sed -nE 's/^\[  FAILED  \] (test_.*)/\1/p' "$out/log" | sort -u >"$out/failed"
    grep -vE "${patterns:-^$}" "$out/failed" >"$out/unexpected" || true
    [[ ! -s $out/unexpected ]] || fail "without ${features[*]}: these fail: $(cat "$out/unexpected")"
    while IFS= read -r pattern; do
        [[ ${#features[@]} -gt 1 || -z $pattern ]] || grep -qE "$pattern" "$out/failed" ||
            fail "without ${features[*]}: no test fails that is called $pattern"
    done <<<"$patterns"
    [[ $(wc -l <"$out/passed") -ge $least ]] || fail "without ${features[*]}: few tests pass: $(wc -l <"$out/passed")"
    echo "without ${features[*]}: $(wc -l <"$out/passed") tests pass, $(wc -l <"$out/failed") need it"
}

core=(unit_core unit_core_boundaries unit_core_changes unit_core_direct unit_core_faults unit_core_several
    unit_core_spanning unit_core_orders unit_core_pitfalls unit_core_topology)

# In all variants of devices that there are for it.
small=(speed tables deferred posts power trace pci packed)
compile "$folder/small" "${small[@]}"
refusals "$folder/small" "${small[@]}"
judge "$folder/small" 60 "${small[@]}" -- unit_virtio_iommu unit_virtio_iommu_requests unit_virtio_mmio

# try FEATURE: alone.
try()
{
    local out=$folder/$1

    compile "$out" "$1"
    refusals "$out" "$1"
    case $1 in
    pci | packed) judge "$out" 60 "$1" -- unit_virtio_iommu unit_virtio_iommu_requests unit_virtio_mmio ;;
    mmio) judge "$out" 60 mmio -- unit_virtio_iommu unit_virtio_iommu_requests unit_virtio_pci ;;
    speed) judge "$out" 80 speed -- "${core[@]}" unit_virtio_iommu unit_dma_single unit_dma_list unit_dma_bounce unit_dma_range ;;
    trace) judge "$out" 50 trace -- unit_virtio_iommu unit_virtio_iommu_requests ;;
    *) judge "$out" 80 "$1" -- "${core[@]}" unit_virtio_iommu unit_virtio_iommu_requests ;;
    esac
}

export PIOMMU_VARIANTS=few
try tables
try speed
if [[ ${PIOMMU_TEST_EFFORT-} == full ]]; then
    for feature in deferred posts power trace pci mmio packed; do
        try "$feature"
    done
fi
exit "$status"
