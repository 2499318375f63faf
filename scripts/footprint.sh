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
# With --check nothing is written, but compared with the budgets below: for AArch64 all of it, for the other processors whose
# compiler is there the stack. Exit status 77 if the compiler for AArch64 is absent.
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

# Budgets, in bytes.
budget_of_virtio_iommu=32768 # code and constants of core, virtio-iommu and virtio in a small program that maps and unmaps
budget_of_stack=1024         # of any chain of calls, on processors of Arm

# What has no budget has a limit, so that it does not grow unnoticed.
limit_of_all_features=55296    # code and constants of a program that has all features
limit_with_frame_pointers=1280 # of stack, where the compiler keeps them, as gcc does on AArch64 if it is not told
limit_of_other_stacks=1344     # on processors that are not of Arm

# What that program calls. It has all that comes with these: groups, reserved regions, faults, identity domains, devices
# and instances in any order; unless it is a small one both transports, both layouts of rings, and all other features, too.
calls=(
    piommu_context_create piommu_context_destroy
    piommu_virtio_iommu_backend piommu_instance_create piommu_instance_destroy
    piommu_instance_service piommu_instance_interrupt
    piommu_device_add piommu_device_remove piommu_device_attach piommu_device_detach
    piommu_domain_create piommu_domain_destroy
    piommu_domain_map piommu_domain_unmap piommu_domain_sync
)

# What a small program is built without (lib/base/options.h). It is for a device behind virtio-mmio, and linked with
# link-time optimisation, without frame pointers.
small=(-DPIOMMU_CORE_WITH_{TABLES,DEFERRED,POSTS,POWER,TRACE}"=0" -DPIOMMU_VIRTIO_WITH_{PCI,PACKED}"=0"
    -DPIOMMU_WITH_SHALLOW_CALLS=0)

# Name, compiler and options of each processor.
processors=(
    "Cortex-A53 (AArch64)|aarch64-linux-gnu-gcc|-mcpu=cortex-a53 -mgeneral-regs-only -mno-outline-atomics"
    "Cortex-R52 (Armv8-R, Thumb)|arm-linux-gnueabihf-gcc|-mcpu=cortex-r52 -mthumb -mfloat-abi=soft"
    "Armv7-A (Cortex-A7, Thumb)|arm-linux-gnueabihf-gcc|-mcpu=cortex-a7 -mthumb -mfloat-abi=soft"
    "RISC-V 64 (RV64GC)|riscv64-linux-gnu-gcc|-march=rv64gc -mabi=lp64 -mcmodel=medany"
    "x86-64|x86_64-linux-gnu-gcc|-mno-red-zone -mgeneral-regs-only"
)
flags=(-std=c11 -Os -fomit-frame-pointer -ffreestanding -fno-stack-protector -fno-pic -fno-pie -ffunction-sections -fdata-sections
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
        # The names of the sources stay relative, and stand in the graphs, beside which the assembly is kept.
        printf '%s\n' "$part"/*.c |
            xargs -P 2 -I '{}' "$compiler" "${flags[@]}" "${options[@]}" -S '{}' -o "$out/{}.s"
        printf '%s\n' "$part"/*.c | xargs -P 2 -I '{}' "$compiler" "${options[@]}" -c "$out/{}.s" -o "$out/{}.o"
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

# link_small OUT COMPILER OPTIONS: a small program. From link-time optimisation comes one object, in whose map sections are
# named after functions; so a line for each section, its bytes and the folder of its source, goes to OUT/small/sections.
link_small()
{
    local out=$1/small compiler=$2 options name bytes folders=(lib/base lib/io-pgtable lib/core lib/virtio backends/virtio-iommu) file
    read -ra options <<<"$3"
    options+=("${flags[@]}" -g -flto)

    rm -rf "$out"
    mkdir -p "$out"
    options+=("${small[@]}")
    for file in "${folders[@]}"; do
        mkdir -p "$out/$file"
        printf '%s\n' "$file"/*.c | xargs -P 2 -I '{}' "$compiler" "${options[@]}" -c '{}' -o "$out/{}.o"
    done
    find "$out" -name '*.o' -exec "${compiler%gcc}gcc-ar" rcs "$out/piommu.a" {} +
    # Its debug information says from which source a function is; for constants the objects that are compiled one by one.
    "$compiler" "${options[@]}" -save-temps=obj -fwhole-program -flto-partition=none -nostdlib -static -Wl,--gc-sections \
        -Wl,--entry="${calls[0]}" "${calls[@]/#/-Wl,-u,}" -Wl,--build-id=none -Wl,--unresolved-symbols=ignore-all \
        -Wl,-Map="$out/map" "$out/piommu.a" -o "$out/program"
    "${compiler%gcc}nm" -l "$out/program" | awk 'NF == 4 { print $3, $4 }' >"$out/lines"
    for file in "${folders[@]}"; do
        "${compiler%gcc}nm" "$1/$file"/*.o | awk -v home="$PWD/$file/constants:" '$2 ~ /^[rR]$/ { print $3, home }'
    done >>"$out/lines"
    sed -n '/^Linker script and memory map/,$p' "$out/map" | sed -E ':join; /^ \.[^ ]+$/ { N; s/\n//; b join }' |
        sed -nE 's#^ \.(text|rodata)\.?([^ ]*) +0x[0-9a-f]+ +(0x[0-9a-f]+) .*\.lto\.o.*#\2 \3#p' |
        while read -r name bytes; do
            echo "$((bytes)) $name"
        done |
        awk -v root="$PWD/" '
            FILENAME != "-" {
                sub(/:[0-9?]*$/, "", $2)
                while (sub(/[^\/]+\/\.\.\//, "", $2)) { }
                # What a header has counts for those that include it, as where each file is compiled alone.
                if (!sub(/[^\/]*\.h$/, "headers", $2)) {
                    sub(/\/[^\/]*$/, "", $2)
                }
                $2 = substr($2, length(root) + 1)
                home[$1] = $2
                next
            }
            { sub(/\.(str|cst)[0-9].*/, "", $2); print $1, $2 in home ? home[$2] : "unknown", $2 }
        ' "$out/lines" - >"$out/sections"
}

# bytes_small OUT [FOLDER...]: code and constants from these in the small program; if none is given, of core, virtio-iommu and
# virtio, where what headers have, and nobody can tell whose it is, counts as theirs.
bytes_small()
{
    awk -v folders=" ${*:2} " '
        folders == "  " ? $2 != "lib/base" : index(folders, " " $2 " ") { sum += $1 }
        END { print sum + 0 }' "$1/small/sections"
}

# print_programs OUT: what both programs take.
print_programs()
{
    printf '| linked | core | virtio-iommu | virtio | these three | page tables | base |\n'
    printf '| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n'
    printf '| with all features | %d | %d | %d | %d | %d | %d |\n' "$(bytes_linked "$1" core)" \
        "$(bytes_linked "$1" virtio-iommu)" "$(bytes_linked "$1" virtio)" "$(bytes_linked "$1" core virtio-iommu virtio)" \
        "$(bytes_linked "$1" io-pgtable)" "$(bytes_linked "$1" base)"
    printf '| small | %d | %d | %d | %d | %d | %d |\n' "$(bytes_small "$1" lib/core)" \
        "$(bytes_small "$1" backends/virtio-iommu)" "$(bytes_small "$1" lib/virtio)" "$(bytes_small "$1")" \
        "$(bytes_small "$1" lib/io-pgtable)" "$(bytes_small "$1" lib/base)"
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
    awk -f scripts/lib/stack.awk -v components="${*: -1}/" -v never=scripts/lib/calls-that-never-happen.txt \
        scripts/lib/calls-by-pointer.txt "$out/assigned" "${graphs[@]}"
}

# stack_small OUT: of a call into the core, in the small program; in the graph of what link-time optimisation has left of it.
stack_small()
{
    awk -f scripts/lib/stack.awk -v components=lib/core/ scripts/lib/calls-by-pointer.txt "$1/assigned" "$1"/small/*.ci
}

# Every function that is assigned to a member anywhere, and much that is no function.
find_assigned()
{
    grep -rnoE '[.>][a-z_]+ = (PIOMMU_[A-Z_]+ \? )?[a-z][a-z_0-9]*' lib backends --include='*.[ch]' |
        sed -E 's/:[0-9]+:[.>]/ /; s/ = (PIOMMU_[A-Z_]+ \? )?/ /' | sort -u >"$1"
}

# measure OUT COMPILER OPTIONS
measure()
{
    mkdir -p "$(dirname "$1")"
    compile "$@"
    link "$1" "$2"
    link_small "$@"
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
    stack_small "$out" >"$out/stack"
    printf '| the small program | %d |\n' "$(awk '{ print $2 }' "$out/stack")"
    chains+=("* the small program: $(awk '{ $1 = $2 = ""; print }' "$out/stack" | sed 's/^ *//; s/ /, /g')")
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
builds for size (`-Os -fomit-frame-pointer`), and, in the first table of each processor, of whole parts with everything in (all formats, granules
and kinds of page tables). A linker that drops what is not used (`--gc-sections`) leaves less: with one format and one
granule, map, unmap and lookup take less than 8 KiB on AArch64, and a program that creates, uses and destroys a table
12 KiB, which the test `pgtable_size` checks.

The second table is about a program that puts devices behind a virtio-iommu into domains, maps, unmaps, and takes in faults.
Once it is linked from all features. The other one, small, needs no page tables, no PCI, no packed rings, and none of what
else an option leaves out ([porting.md](porting.md#building)), and is linked with link-time optimisation of the whole
program; the tables say what it takes. Its sum has what inline functions of headers leave behind, too. What counts as base is
shared with all other parts.

There is no writable data: everything hangs on objects for which the host gives the memory.

## How the stack is found

The compiler says how large each frame is and who calls whom (`-fcallgraph-info=su`); the worst chain of calls into a
part of the library is searched in that graph, through all parts that the program links.

* A function that ends in a call to another one may leave by a jump, when its frame is gone already; that is seen in the
  assembly, and the chain has 0 for it. The library is written so that what comes last, as after a failure, needs the stack
  alone.
* Where a chain cannot happen although the graph has it, `scripts/lib/calls-that-never-happen.txt` says so, and why.

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
        printf '\n'
        print_programs "$out"
        printf '\n'
        print_stacks "$out"
        printf '\n'
    done
}

# ---- The budgets ----

status=0

# judge WHAT NUMBER BUDGET [UNIT]
judge()
{
    local unit=${4-bytes}

    if [[ $2 -gt $3 ]]; then
        echo "FAIL: $1: $2 $unit, $(($2 - $3)) more than $3"
        status=1
    else
        echo "$1: $2 $unit of $3"
    fi
}

# find_worst_stack OUT: of all programs, to OUT/worst, with what each takes as lines; recursions to OUT/recursions.
find_worst_stack()
{
    local out=$1 program name linked words=() worst=0 here

    find_assigned "$out/assigned"
    for program in "${programs[@]}"; do
        IFS='|' read -r name linked <<<"$program"
        read -ra words <<<"$linked"
        has_part "$out" "${words[-1]}" || continue
        stack "$out" "${words[@]}" >"$out/stack" || status=1
        here=$(awk '$1 != "recursion" { print $2 }' "$out/stack")
        [[ ${here:-0} -gt 0 ]] || status=1
        echo "stack, $name: $here bytes"
        worst=$((here > worst ? here : worst))
        grep '^recursion' "$out/stack" >>"$out/recursions" || true
    done
    [[ $worst -gt 300 ]] || {
        echo "FAIL: nothing was measured in $out" >&2
        status=1
    }
    echo "$worst" >"$out/worst"
}

check_other_stacks()
{
    local processor name compiler options out most

    for processor in "${processors[@]:1}"; do
        IFS='|' read -r name compiler options <<<"$processor"
        [[ -n $(type -P "$compiler") ]] || continue
        out=$folder/check-${name%% *}
        compile "$out" "$compiler" "$options"
        find_worst_stack "$out" >/dev/null
        most=$limit_of_other_stacks
        [[ $compiler != arm-* ]] || most=$budget_of_stack
        judge "the worst stack on $name" "$(<"$out/worst")" "$most"
    done
}

check_budgets()
{
    local name compiler options out part
    local recursions=0

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
        judge "writable data of $part" "$(bytes "$out" data "$part")" 0
    done
    for part in core virtio-iommu virtio; do
        [[ $(bytes_linked "$out" "$part") -gt 5000 ]] || {
            echo "FAIL: $part is not in the program"
            status=1
        }
    done
    for part in lib/core backends/virtio-iommu lib/virtio; do
        [[ $(bytes_small "$out" "$part") -gt 3000 ]] || {
            echo "FAIL: $part is not in the small program"
            status=1
        }
    done
    judge "core, virtio-iommu and virtio, linked, small" "$(bytes_small "$out")" "$budget_of_virtio_iommu"
    judge "page tables in that program" "$(bytes_small "$out" lib/io-pgtable)" 0
    judge "core, virtio-iommu and virtio, linked, with all features" "$(bytes_linked "$out" core virtio-iommu virtio)" \
        "$limit_of_all_features"
    find_worst_stack "$out"
    stack_small "$out" >"$out/stack" || status=1
    grep -q ' piommu_virtio_iommu_' "$out/stack" || {
        echo "FAIL: the stack of the small program does not know the backend: $(cat "$out/stack")"
        status=1
    }
    judge "stack, the small program" "$(awk '$1 != "recursion" { print $2 }' "$out/stack")" "$budget_of_stack"
    judge "the worst stack" "$(<"$out/worst")" "$budget_of_stack"
    compile "$out/with-frame-pointers" "$compiler" "$options -fno-omit-frame-pointer"
    find_worst_stack "$out/with-frame-pointers" >/dev/null
    judge "the worst stack, with frame pointers" "$(<"$out/with-frame-pointers/worst")" "$limit_with_frame_pointers"
    check_other_stacks
    if [[ -s $out/recursions ]]; then
        sort -u "$out/recursions"
        recursions=$(sort -u "$out/recursions" | wc -l)
    fi
    judge "recursions" "$recursions" 0 times
}

if [[ $check == yes ]]; then
    check_budgets
    exit "$status"
fi
{
    print_page
    # shellcheck disable=SC2016
    printf '## Budgets\n\nOn AArch64, and the stack on all of them: a test fails if one is missed.\n\n```\n'
    check_budgets
    # shellcheck disable=SC2016
    printf '```\n'
} >"$folder.md"
mv "$folder.md" docs/footprint.md
exit "$status"
