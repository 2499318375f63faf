#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: run.sh FOLDER BUILD [PART/PARTS | MUTANT...]
#
# Shows that the tests bite: makes one mistake at a time in a copy of the library below FOLDER, builds,
# and expects that one of the tests that the mutant names fails. A mutant that they let pass, or whose
# text is no longer in the library, is a failure. Without MUTANT (files *.mutant) all of them are tried.
#
# BUILD is a finished build of this tree with its tests, made by ninja. It is left as it is: what a mistake
# changes is compiled here, and linked in place of the objects of that build.
#
# With PART/PARTS it is those of which the number leaves the remainder PART when divided by PARTS, and of
# those that name the same program first only every third, unless PIOMMU_TEST_EFFORT in the environment
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

mkdir -p "$1"
folder=$(realpath "$1")
build=$(realpath "$2")
shift 2
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
copy=$folder/source

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
        if [[ ${PIOMMU_TEST_EFFORT:-usual} == full || $((met[$program] % 3)) -eq 1 ]]; then
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

rm -rf "$copy" "$folder"/*.commands
mkdir -p "$copy"
cp -r "$source"/{backends,include,lib,models,tests,tools} "$copy/"

# A line for each file that an object is made of: the file, the object.
ninja -C "$build" -t deps | awk -v root="$source/" '
    /^[^ ]/ { sub(/:$/, "", $1); object = $1; next }
    index($1, root) == 1 { print substr($1, length(root) + 1), object }' >"$folder/deps"
[[ -s $folder/deps ]] || {
    echo "run.sh: $build is no finished build of $source by ninja"
    exit 1
}

# commands PROGRAM: the commands that make it; the last one links it.
commands()
{
    [[ -f $folder/$1.commands ]] || ninja -C "$build" -t commands "$1" >"$folder/$1.commands"
    cat "$folder/$1.commands"
}

# make_program PROGRAM FILE: links the program with what FILE of the copy, which has a mistake, is compiled into.
# It is in FOLDER/program.
make_program()
{
    local link command object number=0 objects=''
    local -A affected=()

    while read -r object; do
        affected[$object]=yes
    done < <(awk -v file="$2" '$1 == file { print $2 }' "$folder/deps")
    link=$(commands "$1" | tail -n 1)
    while IFS= read -r command; do
        [[ $command =~ \ -o\ ([^\ ]+)\ -c\  && -n ${affected[${BASH_REMATCH[1]}]-} ]] || continue
        object=${BASH_REMATCH[1]}
        number=$((number + 1))
        command=${command//"$source/"/"$copy/"}
        command=${command/" -MF $object.d"/" -MF $folder/$number.d"}
        command=${command/" -o $object"/" -o $folder/$number.o -w"}
        (cd "$build" && eval "$command") || return 1
        # Of an archive nobody takes a member whose functions are there already.
        if [[ $link == *" $object "* ]]; then
            link=${link/" $object "/" $folder/$number.o "}
        else
            objects+=" $folder/$number.o"
        fi
    done < <(commands "$1")
    [[ $number -gt 0 && $link =~ \ -o\ ([^\ ]+)\  ]] || {
        echo "$1 is not made of $2"
        return 1
    }
    link=${link/" -o ${BASH_REMATCH[1]} "/"$objects -o $folder/program "}
    (cd "$build" && eval "$link")
}

# finds PROGRAM SECONDS: whether the program fails, or takes longer than that. Nobody waits for the rest of it
# once it has said so.
finds()
{
    timeout -k 5 "$2" "$1" 2>&1 | tee "$folder/test.log" | grep -q '^\[  FAILED  \]' ||
        [[ ${PIPESTATUS[0]} -ne 0 ]]
}

# All steps of random programs, whatever is set for slow machines; but few of the many kinds of devices and
# no pairs of failures, of which no mistake needs all to be found.
unset PIOMMU_RANDOM_STEPS
export PIOMMU_VARIANTS=few PIOMMU_FAILURES=single
# A test that fails anyway would find everything. A part of the mutants is tried beside the tests themselves,
# which show that they pass.
if [[ -z $part ]]; then
    mapfile -t programs < <(for mutant in "${mutants[@]}"; do field tests "$mutant"; done | tr ' ' '\n' | sort -u)
    for program in "${programs[@]}"; do
        if finds "$build/tests/$program" 3600; then
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
    # The first test finds most mutants.
    for program in $(field tests "$mutant"); do
        if ! make_program "$program" "$file" >"$folder/build.log" 2>&1; then
            tail -n 20 "$folder/build.log"
            broken=yes
            break
        fi
        if finds "$folder/program" 30; then
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
