#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: stack-selftest.sh FOLDER
#
# Shows that scripts/lib/stack.awk, on whose word the budget of stack rests, finds the longest chain of calls in small
# programs: that it counts the frame of a function that calls, but not of one that leaves by a jump, follows calls by pointer
# to whatever is assigned to a member of that name, and says so when it does not know one.
set -euo pipefail

rm -rf "$1"
mkdir -p "$1"
folder=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
awk_program=$PWD/scripts/lib/stack.awk
cd "$folder"
status=0

# chain TEXT [NEVER]: what is said of calls into sample.c, which has this text.
chain()
{
    printf '%s\n' "$1" >sample.c
    echo '# none' | tee pointers >assigned
    grep -oE '[.][a-z_]+ = [a-z_]+' sample.c | sed -E 's/^[.]([a-z_]+) = (.*)/sample.c \1 \2/' >>assigned || true
    printf 'sample.c %s\n' "${2-}" >never
    "$compiler" -std=c11 -Os -fomit-frame-pointer -fno-stack-protector -fno-pic -fno-ipa-icf -fcallgraph-info=su "${options[@]}" \
        -S sample.c -o sample.c.s
    awk -f "$awk_program" -v components=sample.c -v never=never pointers assigned sample.c.ci 2>&1 || echo "status $?"
}

# expect WHAT PATTERN TEXT [NEVER]
expect()
{
    local said

    said=$(chain "$3" "${4-}")
    if [[ $said =~ $2 ]]; then
        echo "$1"
    else
        echo "FAIL: $1: $said"
        status=1
    fi
}

common='
__attribute__((noinline)) static int deep(int x) { volatile char room[200]; room[x] = 1; return room[x + 1]; }
__attribute__((noinline)) static int flat(int x) { volatile char room[100]; room[x] = 1; return room[x + 1]; }
struct ways { int (*way)(int x); };
'


# Natively, and for the other processors whose compilers are there.
for compiler in gcc {aarch64,riscv64}-linux-gnu-gcc arm-linux-gnueabihf-gcc; do
    [[ -n $(type -P "$compiler") ]] || continue
    echo "$compiler"
    options=()
    case $("$compiler" -dumpmachine) in
    x86_64*) options=(-mno-red-zone) ;; # what is in that is in no frame
    arm*) options=(-mthumb -mfloat-abi=soft) ;;
    esac
    expect "who calls keeps a frame" '^sample\.c [0-9]+ caller/[1-9][0-9]* deep/[0-9]+$' "$common
int caller(int x) { return deep(x) + 1; }"
    expect "who leaves by a jump keeps none" '^sample\.c [0-9]+ middle/[1-9][0-9]* jumper/0 deep/[0-9]+$' "$common
__attribute__((noinline)) static int jumper(int x) { volatile char own[50]; own[x] = 2; return deep(own[x + 1]); }
int middle(int x) { return jumper(x) + 1; }"
    expect "who does both keeps it" '^sample\.c [0-9]+ both/[1-9][0-9]* deep/[0-9]+$' "$common
int both(int x) { if (x == 7) { return deep(x) + 1; } return deep(x + 2); }"
    expect "a jump from a large frame counts no less than that frame" '^sample\.c (29[0-9]|[3-9][0-9][0-9]) large/' "$common
int large(int x) { volatile char own[300]; own[x] = 2; return flat(own[x + 1]); }"
    expect "a member leads to what is assigned to it" '^sample\.c [0-9]+ by_member/[1-9][0-9]* deep/[0-9]+$' "$common
const struct ways ways = {.way = deep};
int by_member(const struct ways *given, int x) { return given->way(x) + 1; }"
    expect "a member that nobody assigns is an error" 'a call by pointer that nobody knows: way.*status 1$' "$common
int by_member(const struct ways *given, int x) { return given->way(x) + 1; }"
    expect "what never happens is left out" '^sample\.c [0-9]+ caller/[1-9][0-9]* flat/[0-9]+$' "$common
int caller(int x) { return (x == 7 ? deep(x) : 0) + flat(x); }
" "deep"
    expect "recursion is named" 'recursion ' "$common
int again(int x) { return x == 0 ? 0 : again(x - 1) + deep(x); }"
    expect "a jump by pointer keeps no frame" '^sample\.c [0-9]+ middle/[1-9][0-9]* by_jump[a-z0-9.]*/0 deep/[0-9]+$' "$common
const struct ways ways = {.way = deep};
__attribute__((noinline)) static int by_jump(const struct ways *given, int x) { volatile char own[50]; own[x] = 2; return given->way(own[x + 1]); }
int middle(const struct ways *given, int x) { return by_jump(given, x) + 1; }"
    expect "who calls and jumps by pointer keeps it" '^sample\.c [0-9]+ both/[1-9][0-9]* deep/[0-9]+$' "$common
const struct ways ways = {.way = deep};
int both(const struct ways *given, int x) { return given->way(given->way(x) + 1); }"

done
rm -f sample.c.s
if awk -f "$awk_program" -v components=sample.c pointers assigned sample.c.ci >/dev/null 2>&1; then
    echo "FAIL: a graph without its assembly is taken"
    status=1
else
    echo "a graph without its assembly is an error"
fi
exit "$status"
