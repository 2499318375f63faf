#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: amalgamation.sh FOLDER BUILD [LIBFDT_INCLUDE_DIR]
#
# Has the target amalgamation make piommu.h and piommu.c below FOLDER, and shows that they are the library: made twice they
# are the same, every compiler here takes them alone with all warnings as errors, they define and need what the archives of
# BUILD do, programs of README.md and of the tests work with them, and so do those made of some parts. Prints the sizes.
# BUILD is a finished build with tests, made by ninja. Without LIBFDT_INCLUDE_DIR, it has no device tree reader.
set -euo pipefail

folder=$(realpath -m "$1")
build=$(realpath "$2")
libfdt_headers=${3-}
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
with_fdt=OFF
files=(piommu)
if [[ -n $libfdt_headers ]]; then
    with_fdt=ON
    files+=(piommu-fdt)
fi

rm -rf "$folder"
mkdir -p "$folder"

fail()
{
    echo "FAIL: $*"
    exit 1
}

# make_files NAME OPTION...: the files, in FOLDER/NAME.
make_files()
{
    local name=$1
    shift

    if ! {
        cmake -S "$source" -B "$folder/build" -G Ninja -DPIOMMU_BUILD_TESTS=OFF -DPIOMMU_FDT="$with_fdt" "$@" &&
            cmake --build "$folder/build" --target amalgamation
    } >"$folder/log" 2>&1; then
        cat "$folder/log"
        exit 1
    fi
    mv "$folder/build/amalgamation" "$folder/$name"
}

mapfile -t warnings < <(sed -n 's/^ *\(-W[a-z-]*\)$/\1/p' "$source/cmake/warnings.cmake")
[[ ${#warnings[@]} -gt 5 ]] || fail "cmake/warnings.cmake has a form that is not understood"
strict=(-std=c11 "${warnings[@]}" -Werror)

make_files whole
make_files again
diff -rq "$folder/whole" "$folder/again"
grep -q "^ \* piommu $(sed -n 's/^#define PIOMMU_VERSION_STRING "\(.*\)"/\1/p' "$source/include/piommu/version.h"): " \
    "$folder/whole/piommu.c" || fail "piommu.c does not say its version"

# Each compiler, in a folder that has nothing else; gcc has its turn below.
cd "$folder/whole"
compilers=()
for compiler in clang aarch64-linux-gnu-gcc; do
    if [[ -n $(type -P "$compiler") ]]; then
        compilers+=("$compiler")
    else
        echo "without $compiler"
    fi
done
for compiler in "${compilers[@]}"; do
    flags=()
    [[ $compiler != aarch64-* ]] || flags=(-mno-outline-atomics)
    "$compiler" "${strict[@]}" "${flags[@]}" -ffreestanding -Os -c piommu.c -o "$compiler.o"
    echo "$compiler -Os: $(size "$compiler.o" | awk 'NR == 2 { print $1 + $2 }') bytes in one file"
done
if [[ -n $(type -P g++) ]]; then
    g++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ piommu.h
fi

# symbols KIND FILE...: names that are defined, or undefined and not of the library.
symbols()
{
    nm --"$1" --extern-only --format=posix "${@:2}" | awk 'NF > 1 { print $1 }' |
        if [[ $1 == undefined-only ]]; then grep -v '^piommu_' || true; else cat; fi | sort -u
}

for file in "${files[@]}"; do
    gcc "${strict[@]}" -ffreestanding -O2 -c "$file.c"
    for kind in defined-only undefined-only; do
        diff <(symbols "$kind" "$build/lib$file.a") <(symbols "$kind" "$file.o") ||
            fail "$file.c and lib$file.a: the symbols differ ($kind)"
    done
    ar qcs "lib$file.a" "$file.o"
    echo "$file.c: $(wc -l <"$file.c") lines, $(symbols defined-only "$file.o" | wc -l) symbols"
done
"$here/check-archives.sh" libpiommu.a

# As its user would.
awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$source/README.md" |
    sed 's,<piommu/piommu.h>,"piommu.h",' >hello.c
gcc -std=c11 -Wall -Wextra -Wpedantic -Werror hello.c piommu.c -o hello
./hello | grep '^0x40001234 is 0x80001234, by a leaf of 1024 MiB$'

# Programs of the tests, linked with it in place of the archives; each part has one.
programs=(unit_error unit_io_pgtable_map unit_iova unit_core unit_dma_single unit_virtio_ring unit_viommu unit_ipmmu_vmsa
    unit_virtio_iommu unit_null_iommu)
[[ $with_fdt == OFF ]] || programs+=(unit_fdt)
mkdir programs
for program in "${programs[@]}"; do
    link=$(cd "$build" && ninja -t commands "$program" | tail -n 1)
    for file in "${files[@]}"; do
        link=${link//" lib$file.a"/" $folder/whole/lib$file.a"}
    done
    link=${link/"-o tests/$program"/"-o $folder/whole/programs/$program"}
    [[ $link == *"$folder/whole/libpiommu.a"* ]] || fail "$program: how it is linked is not understood: $link"
    if ! (cd "$build" && eval "$link" && "$folder/whole/programs/$program") >log 2>&1; then
        cat log
        fail "$program with piommu.c"
    fi
done
echo "${#programs[@]} programs of the tests"

# Of less: page tables alone, with one format; then what a driver of devices takes;
# then a virtio-iommu with as little as there can be.
none=(-DPIOMMU_VIRTIO=OFF -DPIOMMU_VIOMMU=OFF -DPIOMMU_VIRTIO_IOMMU=OFF -DPIOMMU_NULL_IOMMU=OFF -DPIOMMU_IPMMU_VMSA=OFF)
with_fdt=OFF
make_files tables "${none[@]}" -DPIOMMU_IOVA=OFF -DPIOMMU_DMA=OFF -DPIOMMU_CORE=OFF \
    -DPIOMMU_PGTABLE_FORMATS=64-s2 -DPIOMMU_PGTABLE_GRANULES=4K
make_files dma "${none[@]}" -DPIOMMU_IOVA=ON -DPIOMMU_DMA=ON -DPIOMMU_CORE=ON \
    '-DPIOMMU_PGTABLE_FORMATS=64-s1;64-s2;32-s1;32-s2' '-DPIOMMU_PGTABLE_GRANULES=4K;16K;64K'
make_files small "${none[@]}" -DPIOMMU_IOVA=OFF -DPIOMMU_DMA=OFF -DPIOMMU_CORE=ON -DPIOMMU_VIRTIO=ON \
    -DPIOMMU_VIRTIO_IOMMU=ON -DPIOMMU_CORE_FEATURES= -DPIOMMU_VIRTIO_FEATURES=mmio
for set in tables dma small; do
    cd "$folder/$set"
    [[ ! -e piommu-fdt.c ]] || fail "there is a device tree reader, which was left out"
    gcc "${strict[@]}" -ffreestanding -Os -c piommu.c
    ar qcs libpiommu.a piommu.o
    "$here/check-archives.sh" libpiommu.a
    echo "gcc -Os: $(size piommu.o | awk 'NR == 2 { print $1 + $2 }') bytes with $(sed -n 's/^ \* Parts: //p' piommu.c)"
done
gcc -std=c11 -I"$folder/tables" -I"$source/include" "$here/options/smoke.c" "$folder/tables/libpiommu.a" -o "$folder/smoke"
"$folder/smoke" 64-s2 4K
