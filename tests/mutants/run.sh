#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: run.sh FOLDER [PART/PARTS | MUTANT...]
#
# Shows that the tests bite: makes one mistake at a time in a copy of the library below FOLDER, builds,
# and expects that one of the tests that the mutant names fails. A mutant that they let pass, or whose
# text is no longer in the library, is a failure. Without MUTANT (files *.mutant) all of them are tried.
#
# With PART/PARTS it is those of which the number leaves the remainder PART when divided by PARTS, and of
# those that name the same program first only every other one, unless PIOMMU_TEST_EFFORT in the environment
# is "full": so each program shows that it bites. Of the others the text has to be in the library.
#
# A mutant file says what is broken, in which file, by which tests it is found, and the text before and
# after:
#
#   # A sentence.
#   file lib/...
#   tests PROGRAM...
#   <<<<
#   text as it is
#   ====
#   text with the mistake
#   >>>>
set -euo pipefail

folder=$1
shift
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
copy=$folder/source
build=$folder/build

# field NAME FILE: what follows a name at the beginning of a line.
field()
{
    sed -n "s/^$1 //p" "$2"
}

# mutate MUTANT TO: writes the mutant's file with its mistake to another one.
mutate()
{
    # shellcheck disable=SC2016 # the dollars are perl's
    perl -0777 -e '
        my ($mutant, $from, $to) = @ARGV;
        open(my $in, "<", $mutant) or die; my $text = <$in>;
        $text =~ /^<<<<\n(.*?)\n====\n(.*?)\n?>>>>$/ms or die "$mutant: no text\n";
        my ($old, $new) = ($1, $2);
        open(my $code, "<", $from) or die "$from: $!\n"; my $library = <$code>;
        my $at = index($library, $old);
        die "$mutant: its text is not in the library\n" if $at < 0;
        die "$mutant: its text is there twice\n" if index($library, $old, $at + 1) >= 0;
        substr($library, $at, length($old)) = $new;
        open(my $out, ">", $to) or die "$to: $!\n"; print $out $library;
    ' "$1" "$source/$(field file "$1")" "$2"
}

part=''
left_out=()
if [[ $# -eq 1 && $1 =~ ^([0-9]+)/([1-9][0-9]*)$ ]]; then
    part=$1
    mutants=()
    number=0
    declare -A met=()
    for mutant in "$here"/*.mutant; do
        number=$((number + 1))
        [[ $((number % BASH_REMATCH[2])) -eq ${BASH_REMATCH[1]} ]] || continue
        read -r program _ < <(field tests "$mutant")
        met[$program]=$((${met[$program]:-0} + 1))
        if [[ ${PIOMMU_TEST_EFFORT:-usual} == full || $((met[$program] % 2)) -eq 1 ]]; then
            mutants+=("$mutant")
        else
            left_out+=("$mutant")
        fi
    done
elif [[ $# -gt 0 ]]; then
    mutants=("$@")
else
    mutants=("$here"/*.mutant)
fi

# The copy gets new time stamps: objects of a mutant that an earlier run has left behind are not used.
mkdir -p "$copy"
for item in CMakeLists.txt CMakePresets.json sources.txt cmake examples include lib backends models tools tests; do
    rm -rf "${copy:?}/$item"
    cp -r "$source/$item" "$copy/"
done

mapfile -t programs < <(for mutant in "${mutants[@]}"; do field tests "$mutant"; done | tr ' ' '\n' | sort -u)
cmake -S "$copy" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O1 >"$folder/build.log"
cmake --build "$build" --target "${programs[@]}" >>"$folder/build.log" || {
    tail -n 40 "$folder/build.log"
    exit 1
}

# finds PROGRAM SECONDS: whether the program fails, or takes longer than that. Nobody waits for the rest of it
# once it has said so.
finds()
{
    timeout -k 5 "$2" "$build/tests/$1" 2>&1 | tee "$folder/test.log" | grep -q '^\[  FAILED  \]' ||
        [[ ${PIPESTATUS[0]} -ne 0 ]]
}

# All steps of random programs, whatever is set for slow machines; but few of the many kinds of devices and
# no pairs of failures, of which no mistake needs all to be found.
unset PIOMMU_RANDOM_STEPS
export PIOMMU_VARIANTS=few PIOMMU_FAILURES=single
# A test that fails anyway would find everything. A part of the mutants is tried beside the tests themselves,
# which show that they pass.
if [[ -z $part ]]; then
    for program in "${programs[@]}"; do
        if finds "$program" 3600; then
            tail -n 40 "$folder/test.log"
            echo "$program fails without a mutant"
            exit 1
        fi
    done
fi

survivors=0
number=0
for mutant in "${left_out[@]}"; do
    mutate "$mutant" /dev/null || survivors=$((survivors + 1))
done
for mutant in "${mutants[@]}"; do
    name=$(basename "$mutant" .mutant)
    file=$(field file "$mutant")
    killer=''
    broken=''
    number=$((number + 1))

    mutate "$mutant" "$copy/$file" || {
        survivors=$((survivors + 1))
        continue
    }
    # Each test is built when it is its turn: the first one finds most mutants.
    for program in $(field tests "$mutant"); do
        if ! cmake --build "$build" --target "$program" >"$folder/build.log" 2>&1; then
            tail -n 20 "$folder/build.log"
            broken=yes
            break
        fi
        if finds "$program" 120; then
            killer=$program
            break
        fi
    done
    if [[ -n $broken ]]; then
        echo "$name: does not build"
        survivors=$((survivors + 1))
    elif [[ -n $killer ]]; then
        printf '%3d of %d  %-40s found by %s\n' "$number" "${#mutants[@]}" "$name" "$killer"
    else
        printf '%3d of %d  %-40s SURVIVED: %s\n' "$number" "${#mutants[@]}" "$name" "$(sed -n 's/^# //p;' "$mutant" | tail -n 1)"
        survivors=$((survivors + 1))
    fi
    cp "$source/$file" "$copy/$file"
done
echo "${#mutants[@]} mutants, $survivors survived; ${#left_out[@]} others were not tried"
[[ $survivors -eq 0 ]]
