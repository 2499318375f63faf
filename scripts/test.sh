#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/test.sh [--no-install] [CTEST-ARGUMENT...]
#
# Builds everything and runs every test:
#
#   gcc         all of them, also those for other architectures, for the packages and in QEMU
#   asan-ubsan  the unit and random tests by clang, with the address and undefined behaviour sanitizers, in fewer
#               cases and random steps
#   tsan        the same with the thread sanitizer
#   fuzz        the fuzz targets, for PIOMMU_FUZZ_SECONDS each (5 if unset); scripts/fuzz.sh for longer
#
# That takes less than twenty minutes on two CPUs. With PIOMMU_TEST_EFFORT=full in the environment clang also builds
# and tests without sanitizers, and gcc with them, there is less thinning, all programs run on the other architectures,
# too, and all mutants are tried.
#
# Arguments go to ctest, for example -L unit or -R pgtable; builds in which they select nothing are left
# out, but if they select nothing in any, that is a failure. Labels: unit, random, portability, package,
# mutants, system, bench, and fuzz in its own build.
#
# Missing Debian packages are installed, unless --no-install comes first; tests whose tools are absent are
# skipped. The last line is "N passed, N failed, N skipped", counted in tests; a build that cannot be made
# counts as one failure. Exit status 0 if nothing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh

effort=${PIOMMU_TEST_EFFORT:-usual}
if [[ $effort != usual && $effort != full ]]; then
    echo "test.sh: PIOMMU_TEST_EFFORT is usual or full, not $effort." >&2
    exit 2
fi

install=yes
if [[ ${1-} == --no-install ]]; then
    install=no
    shift
fi
arguments=("$@")
jobs=$(nproc)
tests=$((jobs + 1)) # at once: some wait for time to pass

total_passed=0
total_failed=0
total_skipped=0
table=()   # one line a build, as printed at the end
remarks=() # what failed and what was skipped

# row NAME PASSED FAILED SKIPPED SECONDS: adds to the table and to the totals.
row()
{
    table+=("$(printf '%-12s %8s %8s %8s %8s' "$@")")
    total_passed=$((total_passed + $2))
    total_failed=$((total_failed + $3))
    total_skipped=$((total_skipped + $4))
}

# logged COMMAND...: keeps the output in $log, and shows its end if the command fails.
logged()
{
    "$@" >>"$log" 2>&1 || {
        tail -n 60 "$log"
        return 1
    }
}

configure()
{
    log=build/$1.log
    mkdir -p build
    : >"$log"
    echo "== $1: configuring (log: $log)"
    logged cmake --preset "$1"
}

# names_with STATUS FILE: the names of the tests with that status in a result file of ctest.
names_with()
{
    sed -n "s/^[[:space:]]*<testcase name=\"\([^\"]*\)\".* status=\"$1\".*/\1/p" "$2" | paste -sd' '
}

# result ATTRIBUTE FILE: a number from the head of a result file of ctest.
result()
{
    sed -n "s/^[[:space:]]*$1=\"\([0-9]*\)\"\$/\1/p; /<testcase/q" "$2"
}

# tests_of PRESET: the preset for its tests, which says how many cases are tried.
tests_of()
{
    case $effort:$1 in
    full:asan-ubsan | full:clang-asan-ubsan) echo "$1-full" ;;
    *) echo "$1" ;;
    esac
}

# build_and_test NAME PRESET: for a build that is configured already; its log is $log.
build_and_test()
{
    local name=$1 preset=$2 begin=$SECONDS results=$PWD/build/$2/results.xml status=0
    local prefix=() passed failed skipped names

    echo "== $name: building"
    if ! logged cmake --build --preset "$preset" --parallel "$jobs"; then
        remarks+=("$name: could not be built, see $log")
        row "$name" 0 1 0 $((SECONDS - begin))
        return
    fi

    # The thread sanitizer of clang 14 cannot start where the kernel randomises addresses a lot.
    if [[ $preset == tsan ]] && setarch "$(uname -m)" --addr-no-randomize true 2>/dev/null; then
        prefix=(setarch "$(uname -m)" --addr-no-randomize)
    fi
    echo "== $name: testing"
    rm -f "$results"
    "${prefix[@]}" ctest --preset "$(tests_of "$preset")" --parallel "$tests" --output-junit "$results" \
        "${arguments[@]}" || status=$?
    if [[ ! -f $results || $(result tests "$results") -eq 0 ]]; then
        remarks+=("$name: no test was run; do the arguments select any?")
        row "$name" 0 1 0 $((SECONDS - begin))
        return
    fi
    failed=$(result failures "$results")
    skipped=$(($(result skipped "$results") + $(result disabled "$results")))
    passed=$(($(result tests "$results") - failed - skipped))
    if [[ $status -ne 0 && $failed -eq 0 ]]; then
        remarks+=("$name: ctest ended with status $status")
        failed=1
    fi
    names=$(names_with fail "$results")
    [[ -z $names ]] || remarks+=("$name failed: $names")
    names=$(names_with '\(notrun\|disabled\)' "$results")
    [[ -z $names ]] || remarks+=("$name skipped: $names")
    row "$name" "$passed" "$failed" "$skipped" $((SECONDS - begin))
}

# another_build NAME PRESET COMPILER: configured, built and tested, if the arguments select any of its tests.
another_build()
{
    local name=$1 preset=$2 compiler=$3

    if [[ -z $(type -P "$compiler") ]]; then
        remarks+=("$name skipped: no $compiler")
        row "$name" 0 0 1 0
    elif ! configure "$preset"; then
        remarks+=("$name: could not be configured, see $log")
        row "$name" 0 1 0 0
    elif ctest --preset "$preset" --show-only "${arguments[@]}" | grep -q '^Total Tests: 0$'; then
        echo "== $name: none of its tests is selected"
    else
        build_and_test "$name" "$preset"
    fi
}

if [[ $install == yes ]]; then
    need_packages gcc libc6-dev cmake ninja-build libcmocka-dev libfdt-dev
fi

configure release || {
    echo "The build cannot be configured." >&2
    exit 1
}
# Which kinds of tests are selected decides what else has to be there.
labels=$(ctest --preset release --print-labels "${arguments[@]}" 2>&1 | sed -n 's/^  //p')
packages=()
for label in $labels; do
    case $label in
    unit | random) packages+=(clang libclang-rt-14-dev llvm) ;;
    package)
        packages+=(clang clang-format clang-tidy cppcheck shellcheck doxygen g++ git groff libxml2-utils make pkg-config python3
            gcc-aarch64-linux-gnu device-tree-compiler dpkg-dev file)
        ;;
    portability)
        packages+=(qemu-user xz-utils
            gcc-aarch64-linux-gnu libc6-dev-arm64-cross
            gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
            gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
            gcc-s390x-linux-gnu libc6-dev-s390x-cross)
        ;;
    system) packages+=(qemu-system-arm gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf) ;;
    bench) packages+=(valgrind) ;;
    esac
done
# What the first build does not have may be in the last one.
[[ -n $labels ]] || packages+=(clang libclang-rt-14-dev llvm)
if [[ $install == yes && ${#packages[@]} -gt 0 ]]; then
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    need_packages "${packages[@]}" || echo "== going on without; the tests that need them will be skipped"
fi

another_build gcc release gcc
[[ $effort != full ]] || another_build clang clang clang
another_build asan-ubsan clang-asan-ubsan clang
[[ $effort != full ]] || another_build gcc-asan asan-ubsan gcc
another_build tsan tsan clang
another_build fuzz fuzz clang
if [[ ${#table[@]} -eq 0 ]]; then
    remarks+=("no test was run; do the arguments select any?")
    total_failed=1
fi

echo
printf '%-12s %8s %8s %8s %8s\n' build passed failed skipped seconds
[[ ${#table[@]} -eq 0 ]] || printf '%s\n' "${table[@]}"
if [[ ${#remarks[@]} -gt 0 ]]; then
    echo
    printf '%s\n' "${remarks[@]}"
fi
echo
echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
[[ $total_failed -eq 0 ]]
