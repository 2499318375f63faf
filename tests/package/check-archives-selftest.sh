#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Shows check-archives.sh one sound archive and, for each thing that it looks for, one that has it.
set -euo pipefail

check=$(realpath "$(dirname "${BASH_SOURCE[0]}")")/check-archives.sh
compiler=${CC:-gcc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# archive NAME: compiles standard input into NAME.a.
archive()
{
    # shellcheck disable=SC2086 # none or one flag
    "$compiler" -O0 -ffreestanding ${flags-} -x c -c - -o "$work/$1.o"
    ar rc "$work/$1.a" "$work/$1.o"
}

# expect STATUS PATTERN NAME [OPTION...]: the verdict on NAME.a, and what must be said of it.
expect()
{
    local wanted=$1 pattern=$2 name=$3 got=0
    shift 3
    "$check" "$@" "$work/$name.a" >"$work/out" 2>&1 || got=$?
    if [[ $got -ne $wanted ]] || ! grep -q "$pattern" "$work/out"; then
        echo "$name: exit status $got instead of $wanted, or does not say: $pattern"
        cat "$work/out"
        status=1
    else
        echo "$name: as expected"
    fi
}

archive sound <<'C'
typedef __SIZE_TYPE__ size_t;
void *memset(void *, int, size_t);
void piommu_other(void);
void fdt_example(void);
static const int numbers[] = {1, 2, 3};
static void (*const calls[])(void) = {piommu_other, fdt_example};
int piommu_sound(void *p, int i)
{
    memset(p, 0, 4096);
    calls[i & 1]();
    return numbers[i & 1];
}
C
archive other <<'C'
void piommu_other(void);
void piommu_other(void) {}
C
provided=--provided-by=$work/other.a
expect 0 'clean, 1 global' sound "$provided" --allow=fdt_example
flags=-fpic
archive position_independent <<<'int piommu_a; static int *const piommu_b[] = {0, &piommu_a};
    int *piommu_c(int i); int *piommu_c(int i) { return piommu_b[i]; }'
expect 1 'section .bss' position_independent
archive position_independent <<<'void piommu_a(void); void piommu_a(void) {} static void (*const b[])(void) = {0, piommu_a};
    void piommu_c(int i); void piommu_c(int i) { b[i](); }'
expect 0 'clean, 2 global' position_independent
flags=

expect 1 'needs fdt_example' sound "$provided"
expect 1 'needs piommu_other' sound --allow=fdt_example
expect 1 'allowed to need fdt_unused' sound "$provided" --allow=fdt_example --allow=fdt_unused

archive library_call <<<'int puts(const char *); int piommu_a(void); int piommu_a(void) { return puts(""); }'
expect 1 'needs puts' library_call
expect 0 'clean' library_call --hosted
archive library_call <<<'int piommu_b(void); int piommu_a(void); int piommu_a(void) { return piommu_b(); }'
expect 1 'needs piommu_b' library_call --hosted
archive outside_variable <<<'extern int elsewhere; int piommu_a(void); int piommu_a(void) { return elsewhere; }'
expect 1 'needs elsewhere' outside_variable

archive initialised <<<'int piommu_a = 1;'
expect 1 'writable data in section .data: piommu_a' initialised
archive zero <<<'int piommu_a(void); int piommu_a(void) { static int calls; return ++calls; }'
expect 1 'writable data in section .bss: calls' zero
flags=-fdata-sections
archive own_section <<<'int piommu_a(void); int piommu_a(void) { static int calls = 1; return ++calls; }'
expect 1 'writable data in section .data.calls' own_section
flags=-fcommon
archive common <<<'int piommu_a; int piommu_b(void); int piommu_b(void) { return piommu_a; }'
expect 1 'tentatively defined: piommu_a' common
flags=
archive named_section <<<'__attribute__((section("secret"))) int piommu_a = 1;'
expect 1 'writable data in section secret' named_section
archive per_thread <<<'_Thread_local int piommu_a = 1;'
expect 1 'writable data in section .tdata' per_thread

archive prefix <<<'int other_a(void); int other_a(void) { return 0; }'
expect 1 'defines other_a' prefix
archive prefix_of_variable <<<'extern const int a; const int a = 1;'
expect 1 'defines a,' prefix_of_variable
archive empty <<<'static const int a __attribute__((unused)) = 1;'
expect 1 'defines nothing' empty

exit "$status"
