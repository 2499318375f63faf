#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/bench.sh [OPTION...]
#
# Measures our page tables and our allocator of IOVAs against Linux's own, in one process, and the tables
# against the limit: a plain store for each descriptor. Besides, counts the requests and doorbells of
# virtio-iommu, next to those of a model of what Linux's driver does, and measures virtio's rings.
#
#   --quick       fewer calls in each repetition, for continuous integration: seconds instead of minutes
#   --json FILE   writes the table as JSON too
#   --plot FILE   draws how many times faster we are (SVG)
#   --strict      too many instructions are a failure too, not only a FAIL in the table
#   --no-peer     without Linux
#   --no-install  installs no packages; what is missing is left out
#
# The peer is drivers/iommu/io-pgtable-arm.c and iova.c of the distribution's kernel source package, compiled
# unchanged behind headers of our own (tests/bench/linux_shim.h, linux_iova_shim.h). It is unpacked below
# build/bench, and nothing of it is part of this project.
#
# What makes it fair: the same compiler and flags, memory from the same pool, which is dirty; the same
# barrier; invalidations that do nothing, behind pointers; our side through the library's archive as everybody
# gets it; the peer's own test passes. Where one of these does not hold, the script fails.
#
# Rows of IOVAs, in ns for allocating a range and releasing one: lifo and lifo_64, single pages, 1 and 64 at a
# time; random_10k, 10 000 ranges of 1 to 64 pages live, one at random is replaced; fragmented_100k, the same
# with 100 000, grown old (with --quick: less old); full_32bit, powers of two below 4 GiB, as full as whoever
# reaches less can hold it; threads_2, two threads on one allocator. worst: the nodes that the worst call
# looks at, over those of the median call. Both sides have the same locks and CPU numbers, and align each
# range to its size rounded up to a power of two, as Linux always does. What they give out is checked between
# the times.
#
# Exit status 0; 1 if the comparison was unfair, a result wrong, or a count that depends on nothing but our
# code not what it must be. Times are only reported: they depend on the machine.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh

linux="linux-source-6.12"
tarball=/usr/src/$linux.tar.xz
linux_files=(
    drivers/iommu/io-pgtable-arm.c
    drivers/iommu/io-pgtable-arm.h
    drivers/iommu/io-pgtable.c
    drivers/iommu/iommu-pages.h
    drivers/iommu/iova.c
    include/linux/io-pgtable.h
    include/linux/iova.h
    include/linux/rbtree.h
    include/linux/rbtree_augmented.h
    include/linux/rbtree_types.h
    lib/rbtree.c
)
scratch=$PWD/build/bench
peer=yes
install=yes
json=
plot=
arguments=()

# from_caller FILE: the file that the caller means.
from_caller()
{
    (cd "$caller" && realpath --canonicalize-missing -- "$1")
}

while [[ $# -gt 0 ]]; do
    case $1 in
    --quick | --strict) arguments+=("$1") ;;
    --no-peer) peer=no ;;
    --no-install) install=no ;;
    --json | --plot)
        [[ $# -ge 2 ]] || {
            echo "bench.sh: $1 needs a file" >&2
            exit 2
        }
        if [[ $1 == --json ]]; then
            json=$(from_caller "$2")
        else
            plot=$(from_caller "$2")
        fi
        shift
        ;;
    *)
        echo "bench.sh: what is $1? See the top of scripts/bench.sh" >&2
        exit 2
        ;;
    esac
    shift
done

fail()
{
    echo "bench.sh: $*" >&2
    exit 1
}

# want PACKAGE...: installs them, if that is allowed and possible.
want()
{
    [[ $install == no ]] || need_packages "$@"
}

# logged COMMAND...: keeps the output in $log, and shows its end if the command fails.
logged()
{
    "$@" >>"$log" 2>&1 || {
        tail -n 60 "$log" >&2
        return 1
    }
}

# Unpacks the files of the peer that are not there yet, and checks those that are.
unpack_linux()
{
    local members=() file

    linux_tree=$scratch/$(stat --format='linux-%Y-%s' "$tarball")
    if ! (cd "$linux_tree" && sha256sum --check --quiet SHA256SUMS &&
        diff <(printf '%s\n' "${linux_files[@]}") <(sed 's/^[0-9a-f]*  //' SHA256SUMS)) >/dev/null 2>&1; then
        echo "== unpacking the peer from $tarball"
        rm -rf "$linux_tree"
        mkdir -p "$linux_tree"
        for file in "${linux_files[@]}"; do
            members+=("$linux/$file")
        done
        # The first occurrence of each name is enough: the tarball is not read to its end.
        tar --extract --file "$tarball" --use-compress-program 'xz -d -T0' --occurrence=1 \
            --directory "$linux_tree" --strip-components=1 "${members[@]}"
        (cd "$linux_tree" && sha256sum "${linux_files[@]}" >SHA256SUMS)
    fi
}

build()
{
    log=$scratch/build.log
    : >"$log"
    echo "== building (log: $log)"
    # What CFLAGS and the like say must not make a difference.
    logged cmake -S tests/bench -B "$scratch/build" -G Ninja \
        -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS= \
        -DCMAKE_C_FLAGS_RELEASE=-O2 -DCMAKE_EXE_LINKER_FLAGS= \
        -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DPIOMMU_WARNINGS_AS_ERRORS=ON \
        -DPIOMMU_BENCH_LINUX="$linux_tree" &&
        logged cmake --build "$scratch/build" --parallel 1
}

# The compilers and the options that decide on code, of all files: a line for each set of them.
flags()
{
    grep '"command"' "$scratch/build/compile_commands.json" |
        sed 's/.*"command": "//; s/",$//' |
        while read -ra words; do
            printf '%s' "${words[0]}"
            # The standard that sources are written in makes no code. Of the library's own options only
            # the one that its sources demand is left out: it takes possibilities from the compiler.
            printf '%s\n' "${words[@]:1}" | grep -E '^-(O|f|m|g|std=)' |
                grep -vxE -- '-ffreestanding|-std=(c|gnu)11' | sort -u | sed 's/^/ /' | tr -d '\n'
            echo
        done | sort -u
}

check_flags()
{
    local found

    found=$(flags)
    [[ $found == */gcc' -O2' && $found != *$'\n'* ]] ||
        fail "unfair: not all is compiled with gcc -O2, but:"$'\n'"$found"
    echo "== both sides: $found, $(gcc --version | sed -n 1p)"
}

check_peer()
{
    log=$scratch/selftest.log
    : >"$log"
    logged "$scratch/build/piommu-bench-linux-selftest" ||
        fail "the peer's own test fails behind our shim"
    grep -qE 'completed with [1-9][0-9]* PASS 0 FAIL' "$log" ||
        fail "the peer's own test did not run"
    # The expansion is dpkg-query's, not the shell's.
    # shellcheck disable=SC2016
    echo "== the peer: $(dpkg-query --show --showformat='${Package} ${Version}' "$linux")"
    echo "== its own test: $(sed -n 's/.*completed with //p' "$log"), $(tail -n 1 "$log")"
}

# print_size LABEL OBJECT...
print_size()
{
    local label=$1
    shift
    printf '%-44s %7d\n' "$label" "$(size --totals "$@" | awk 'END { print $1 }')"
}

print_sizes()
{
    local compiler=aarch64-linux-gnu-gcc
    local base=$scratch/build/piommu/CMakeFiles/piommu.dir/lib
    local peer_base=$scratch/build/CMakeFiles/piommu-bench-linux

    echo
    echo "bytes of code and constants"
    print_size "io-pgtable, x86-64 -O2" "$base"/io-pgtable/*.o
    if [[ -n $linux_tree ]]; then
        print_size "io-pgtable-arm.c of Linux, x86-64 -O2" \
            "$peer_base.dir/$linux_tree"/drivers/iommu/io-pgtable-arm.c.o
    fi
    print_size "iova, x86-64 -O2" "$base"/iova/*.o
    if [[ -n $linux_tree ]]; then
        print_size "iova.c and rbtree.c of Linux, x86-64 -O2" \
            "$peer_base-iova.dir/$linux_tree"/{drivers/iommu/iova,lib/rbtree}.c.o
    fi
    if [[ -n $(type -P "$compiler") ]]; then
        tests/package/size.sh "$scratch/aarch64" || status=1
    else
        echo "No $compiler: no sizes for AArch64."
    fi
}

# draw JSON SVG: a bar for each row and shape.
draw()
{
    local data=$scratch/plot.data rows shape row

    rows=$(sed -n 's/.*"name": "s[12]_[0-9]*k\.\([^"]*\)".*"ratio_peer": [0-9.]*,.*/\1/p' "$1" |
        awk '!/tables/ && !seen[$0]++')
    [[ -n $rows ]] || {
        echo "Nothing to draw without a peer."
        return 0
    }
    echo "row s1_4k s2_4k s1_64k" >"$data"
    while read -r row; do
        printf '%s' "$row"
        for shape in s1_4k s2_4k s1_64k; do
            printf ' %s' "$(sed -n "s/.*\"name\": \"$shape\.$row\".*\"ratio_peer\": \([0-9.]*\),.*/\1/p" "$1")"
        done
        echo
    done <<<"$rows" >>"$data"
    gnuplot <<COMMANDS
set terminal svg size 1000,480 dynamic background "white"
set output "$2"
set title "piommu and Linux 6.12: how many times faster"
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9 noborder
set boxwidth 0.9
set logscale y 2
set ylabel "times faster than Linux"
set xtics rotate by -40 noenhanced
set key top left noenhanced
set grid ytics
set arrow from graph 0, first 1 to graph 1, first 1 nohead linewidth 2 linecolor rgb "black" front
plot for [i=2:4] "$data" using i:xtic(1) title columnheader(i)
COMMANDS
    echo "Drawn: $2"
}

[[ $(uname -m) == x86_64 ]] || fail "this comparison is made for x86-64"
want gcc libc6-dev cmake ninja-build || true
for tool in gcc cmake ninja; do
    [[ -n $(type -P "$tool") ]] || fail "there is no $tool"
done
mkdir -p "$scratch"

linux_tree=
if [[ $peer == yes ]]; then
    if want "$linux" xz-utils && [[ -f $tarball && -n $(type -P xz) ]]; then
        unpack_linux
    else
        echo "== no $tarball, and it cannot be installed: our own rows only, without the peer"
        peer=no
    fi
fi
build || fail "it cannot be built"
check_flags
[[ $peer == no ]] || check_peer

program=$scratch/build/piommu-bench
if want valgrind && [[ -n $(type -P valgrind) ]]; then
    implementations=(piommu)
    [[ $peer == no ]] || implementations+=(Linux)
    echo "== counting instructions"
    tests/bench/count-instructions.sh "$program" "${implementations[@]}" >"$scratch/instructions" ||
        fail "instructions cannot be counted"
    arguments+=(--add "$scratch/instructions")
else
    echo "== no valgrind: no instruction counts"
fi

echo "== measuring"
status=0
"$program" "${arguments[@]}" --json "$scratch/table.json" || status=$?
[[ $status -le 1 ]] || fail "piommu-bench ended with status $status"
print_sizes
if [[ -n $json ]]; then
    cp "$scratch/table.json" "$json"
fi
if [[ -n $plot ]]; then
    if want gnuplot-nox 2>/dev/null && [[ -n $(type -P gnuplot) ]]; then
        draw "$scratch/table.json" "$plot"
    fi
fi
exit "$status"
