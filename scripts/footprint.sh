#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/footprint.sh [--check] [FOLDER]
#
# Compiles the library for size (-Os), for each of the processors below whose compiler is there, and writes what it takes
# to docs/footprint.md: code, constants and writable data by part, and the worst stack of a call, with the chain of
# functions that needs it (scripts/lib/stack.awk says how that is found). Objects go below FOLDER, build/footprint if it is
# not given.
#
# With --check, for AArch64 alone, nothing is written, but compared with the budgets below. Exit status 77 if the compiler
# is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/linked.sh
. scripts/lib/linked.sh

check=no
if [[ ${1-} == --check ]]; then
    check=yes
    shift
fi
folder=$(realpath -m "${1:-build/footprint}")

# Bytes on AArch64.
budget_of_virtio_iommu=32768 # code and constants of core, virtio-iommu and virtio in a program that maps and unmaps
budget_of_stack=1024         # of any chain of calls

# Budgets that are missed, and by how much, rounded up a little: debts, which are to become smaller, and must not grow.
owed_by_virtio_iommu=23552
owed_by_stack=1216
owed_recursions=0

# What that program calls. It has all that comes with these: both transports, both layouts of rings, groups, reserved
# regions, faults, recovery, and domains of either kind.
calls=(
    piommu_context_create piommu_context_destroy
    piommu_virtio_iommu_backend piommu_instance_create piommu_instance_destroy
    piommu_instance_service piommu_instance_interrupt
    piommu_device_add piommu_device_remove piommu_device_attach piommu_device_detach
    piommu_domain_create piommu_domain_destroy
    piommu_domain_map piommu_domain_unmap piommu_domain_sync
)

# Name, compiler and options of each processor.
processors=(
    "Cortex-A53 (AArch64)|aarch64-linux-gnu-gcc|-mcpu=cortex-a53 -mgeneral-regs-only -mno-outline-atomics"
    "Cortex-R52 (Armv8-R, Thumb)|arm-linux-gnueabihf-gcc|-mcpu=cortex-r52 -mthumb -mfloat-abi=soft"
    "Armv7-A (Cortex-A7, Thumb)|arm-linux-gnueabihf-gcc|-mcpu=cortex-a7 -mthumb -mfloat-abi=soft"
    "RISC-V 64 (RV64GC)|riscv64-linux-gnu-gcc|-march=rv64gc -mabi=lp64 -mcmodel=medany"
    "x86-64|x86_64-linux-gnu-gcc|-mno-red-zone -mgeneral-regs-only"
)
flags=(-std=c11 -Os -ffreestanding -fno-stack-protector -fno-pic -fno-pie -ffunction-sections -fdata-sections
    -fno-unwind-tables -fno-asynchronous-unwind-tables -fcallgraph-info=su -Iinclude)

# The parts: the folders of their sources.
parts=(lib/base lib/io-pgtable lib/iova lib/core lib/dma lib/virtio lib/viommu backends/virtio-iommu backends/ipmmu-vmsa backends/null-iommu
    lib/fdt)

# What programs may be made of: a name, and the parts that are linked. The stack is that of calls into the last part.
programs=(
    "page tables alone|lib/base lib/io-pgtable"
    "IOVA allocator alone|lib/base lib/iova"
    "virtio alone|lib/base lib/virtio"
    "device tree reader alone|lib/base lib/fdt"
    "core, with virtio-iommu|lib/base lib/io-pgtable lib/virtio backends/virtio-iommu lib/core"
    "core, with ipmmu-vmsa|lib/base lib/io-pgtable backends/ipmmu-vmsa lib/core"
    "DMA API, with virtio-iommu|lib/base lib/io-pgtable lib/iova lib/core lib/virtio backends/virtio-iommu lib/dma"
    "virtio-iommu for guests, with ipmmu-vmsa|lib/base lib/io-pgtable lib/core lib/virtio backends/ipmmu-vmsa lib/viommu"
    "DMA API, with ipmmu-vmsa|lib/base lib/io-pgtable lib/iova lib/core backends/ipmmu-vmsa lib/dma"
)

# has_part OUT PART: the device tree reader is left out where there are no headers of libfdt.
has_part()
{
    [[ -d $1/$2 ]]
}

# compile OUT COMPILER OPTIONS
compile()
{
    local out=$1 compiler=$2 options part
    read -ra options <<<"$3"

    rm -rf "$out"
    for part in "${parts[@]}"; do
        if [[ $part == lib/fdt ]]; then
            [[ -f /usr/include/libfdt.h ]] || continue
            # Only libfdt's headers, and of a C library what the bare-metal example has.
            mkdir -p "$out/include"
            cp /usr/include/{fdt,libfdt,libfdt_env}.h "$out/include"
            options+=(-isystem "$out/include" -isystem examples/qemu-machine/libc)
        fi
        mkdir -p "$out/$part"
        # The names of the sources stay relative, and stand in the graphs.
        printf '%s\n' "$part"/*.c |
            xargs -P 2 -I '{}' "$compiler" "${flags[@]}" "${options[@]}" -c '{}' -o "$out/{}.o"
    done
}

# bytes OUT KIND PART...: of sections of a kind: text, rodata, or data, which is all that is writable.
bytes()
{
    local out=$1 kind=$2
    shift 2

    for part; do
        size -A -d "$out/$part"/*.o
    done | awk -v kind="$kind" '
        $1 ~ /^\.(data|bss|tdata|tbss)/ && kind == "data" { sum += $2 }
        $1 ~ ("^\\." kind) && kind != "data" { sum += $2 }
        END { print sum + 0 }'
}

# link OUT COMPILER: a program that makes the calls above. What the host has to bring may be missing in it.
link()
{
    local out=$1 compiler=$2 part archives=()

    for part in lib/core backends/virtio-iommu lib/virtio lib/io-pgtable lib/base; do
        rm -f "$out/${part##*/}.a"
        ar rcs "$out/${part##*/}.a" "$out/$part"/*.o
        archives+=("$out/${part##*/}.a")
    done
    "$compiler" -nostdlib -static -Wl,--gc-sections -Wl,--entry="${calls[0]}" "${calls[@]/#/-Wl,-u,}" \
        -Wl,--build-id=none -Wl,--unresolved-symbols=ignore-all -Wl,-Map="$out/map" -Wl,--start-group "${archives[@]}" \
        -Wl,--end-group -o "$out/program"
    linked_sections "$out/map" >"$out/sections"
}

# bytes_linked OUT ARCHIVE...: code and constants of these in that program.
bytes_linked()
{
    awk -v archives=" ${*:2} " '
        index(archives, " " $3 " ") { sum += $2 }
        END { print sum + 0 }' "$1/sections"
}

# stack OUT PART...: the worst stack of a call into the last part, and its chain; before that, lines of recursion.
stack()
{
    local out=$1 part graphs=()
    shift

    for part; do
        graphs+=("$out/$part"/*.ci)
    done
    awk -f scripts/lib/stack.awk -v components="${*: -1}/" scripts/lib/calls-by-pointer.txt "$out/assigned" \
        "${graphs[@]}"
}

# Every function that is assigned to a member anywhere, and much that is no function.
find_assigned()
{
    grep -rnoE '[.>][a-z_]+ = [a-z][a-z_0-9]*' lib backends --include='*.[ch]' |
        sed -E 's/:[0-9]+:[.>]/ /; s/ = / /' | sort -u >"$1"
}

# measure OUT COMPILER OPTIONS
measure()
{
    mkdir -p "$(dirname "$1")"
    compile "$@"
    link "$1" "$2"
    find_assigned "$1/assigned"
}

# ---- The page ----

print_sizes()
{
    local out=$1 part

    printf '| part | code | constants | writable data |\n| --- | ---: | ---: | ---: |\n'
    for part in "${parts[@]}"; do
        has_part "$out" "$part" || continue
        printf '| %s | %d | %d | %d |\n' "$part" "$(bytes "$out" text "$part")" "$(bytes "$out" rodata "$part")" \
            "$(bytes "$out" data "$part")"
    done
}

# print_stacks OUT: and the chains, as a list.
print_stacks()
{
    local out=$1 program name linked words=() chains=()

    printf '| program | stack |\n| --- | ---: |\n'
    for program in "${programs[@]}"; do
        IFS='|' read -r name linked <<<"$program"
        read -ra words <<<"$linked"
        has_part "$out" "${words[-1]}" || continue
        stack "$out" "${words[@]}" >"$out/stack"
        printf '| %s | %s%d |\n' "$name" "$(grep -q '^recursion' "$out/stack" && echo 'no limit; without recursion ')" \
            "$(awk '$1 != "recursion" { print $2 }' "$out/stack")"
        chains+=("* $name: $(awk '$1 != "recursion" { $1 = $2 = ""; print }' "$out/stack" | sed 's/^ *//; s/ /, /g')")
        while read -r _ circle; do
            chains+=("* $name, recursion: ${circle// /, }")
        done < <(grep '^recursion' "$out/stack" || true)
    done
    printf '\nThe chains, each function with its frame:\n\n'
    printf '%s\n' "${chains[@]//_/\\_}"
}

print_page()
{
    local processor name compiler options out

    cat <<'END'
<!-- SPDX-License-Identifier: BSD-2-Clause -->
<!-- SPDX-FileCopyrightText: The piommu authors -->
# Footprint

What the library takes of an image, and of a stack. Made by `scripts/footprint.sh`: do not edit. All numbers are bytes, of
builds for size (`-Os`) with everything in (all formats, granules and kinds of page tables), and of whole parts. A linker
that drops what is not used (`--gc-sections`) leaves less: with one format and one granule, map, unmap and lookup take less
than 8 KiB on AArch64, and a program that creates, uses and destroys a table 12 KiB, which the test `pgtable_size` checks.

There is no writable data: everything hangs on objects for which the host gives the memory.

## How the stack is found

The compiler says how large each frame is and who calls whom (`-fcallgraph-info=su`); the worst chain of calls into a
part of the library is searched in that graph, through all parts that the program links.

* A call through the shim (`piommu_os`) ends the chain: the host's callback, with all that it calls, comes on top. So do
  callbacks of the context, visitors, libfdt, and `memcpy` and the compiler's runtime.
* Any other call by pointer, as into a backend, is taken to reach every function that is assigned to a member of that name
  anywhere in what is linked, and what `scripts/lib/calls-by-pointer.txt` names. So a chain may be longer than any that
  happens, but not shorter. A call of which nothing is known is an error.
* Where functions can call each other in a circle there is no limit by this way of counting; the circle is named.

END
    for processor in "${processors[@]}"; do
        IFS='|' read -r name compiler options <<<"$processor"
        [[ -n $(type -P "$compiler") ]] || {
            echo "footprint.sh: no $compiler: without $name" >&2
            continue
        }
        echo "footprint.sh: $name" >&2
        out=$folder/${name%% *}
        measure "$out" "$compiler" "$options"
        printf '## %s\n\n%s %s, with %s\n\n' "$name" "$compiler" "$("$compiler" -dumpfullversion)" "$options"
        print_sizes "$out"
        printf '\nLinked into a program that maps and unmaps: core %d, virtio-iommu %d, virtio %d, page tables %d, base %d.\n\n' \
            "$(bytes_linked "$out" core)" "$(bytes_linked "$out" virtio-iommu)" "$(bytes_linked "$out" virtio)" \
            "$(bytes_linked "$out" io-pgtable)" "$(bytes_linked "$out" base)"
        print_stacks "$out"
        printf '\n'
    done
}

# ---- The budgets ----

status=0

# judge WHAT NUMBER BUDGET OWED [UNIT]
judge()
{
    local unit=${5-bytes}

    if [[ $2 -gt $(($3 + $4)) ]]; then
        echo "FAIL: $1: $2 $unit, $(($2 - $3)) more than the budget of $3, where $4 are owed"
        status=1
    elif [[ $2 -gt $3 ]]; then
        echo "MISSED: $1: $2 $unit, $(($2 - $3)) more than the budget of $3"
    else
        echo "$1: $2 $unit of $3"
    fi
}

check_budgets()
{
    local name compiler options out program linked words part
    local worst=0 here recursions=0

    IFS='|' read -r name compiler options <<<"${processors[0]}"
    [[ -n $(type -P "$compiler") ]] || {
        echo "SKIPPED: no $compiler (Debian: gcc-aarch64-linux-gnu)"
        exit 77
    }
    out=$folder/check
    measure "$out" "$compiler" "$options"
    for part in "${parts[@]}"; do
        has_part "$out" "$part" || continue
        [[ $(bytes "$out" text "$part") -gt 200 ]] || {
            echo "FAIL: $part: there is nothing"
            status=1
        }
        judge "writable data of $part" "$(bytes "$out" data "$part")" 0 0
    done
    for part in core virtio-iommu virtio; do
        [[ $(bytes_linked "$out" "$part") -gt 5000 ]] || {
            echo "FAIL: $part is not in the program"
            status=1
        }
    done
    judge "core, virtio-iommu and virtio, linked" "$(bytes_linked "$out" core virtio-iommu virtio)" \
        "$budget_of_virtio_iommu" "$owed_by_virtio_iommu"
    for program in "${programs[@]}"; do
        IFS='|' read -r name linked <<<"$program"
        read -ra words <<<"$linked"
        has_part "$out" "${words[-1]}" || continue
        stack "$out" "${words[@]}" >"$out/stack" || status=1
        here=$(awk '$1 != "recursion" { print $2 }' "$out/stack")
        echo "stack, $name: $here bytes"
        worst=$((here > worst ? here : worst))
        grep '^recursion' "$out/stack" >>"$out/recursions" || true
    done
    judge "the worst stack" "$worst" "$budget_of_stack" "$owed_by_stack"
    if [[ -s $out/recursions ]]; then
        sort -u "$out/recursions"
        recursions=$(sort -u "$out/recursions" | wc -l)
    fi
    judge "recursions" "$recursions" 0 "$owed_recursions" times
}

if [[ $check == yes ]]; then
    check_budgets
    exit "$status"
fi
{
    print_page
    # shellcheck disable=SC2016
    printf '## Budgets\n\nOn AArch64; what is missed is a debt, and a test fails when it grows.\n\n```\n'
    check_budgets
    # shellcheck disable=SC2016
    printf '```\n'
} >"$folder.md"
mv "$folder.md" docs/footprint.md
exit "$status"
