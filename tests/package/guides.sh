#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: guides.sh FOLDER BUILD PAGE...
#
# Follows pages of docs/ below FOLDER: the program and the project that a page shows are built against an installed piommu,
# from BUILD, and then each command in blocks of "console" is run, which has to print what stands below it, or that nothing
# is wrong with it if nothing stands there. BUILD/tools are in the path.
#
# PIOMMU_UPDATE_EXPECTED=yes writes into the page what was printed, for a person to look at.
set -euo pipefail

folder=$1
build=$(realpath "$2")
shift 2
docs=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../docs")

# blocks LANGUAGE PAGE
blocks()
{
    awk -v fence="^\`\`\`$1\$" '$0 ~ fence { on = 1; next } /^```/ { on = 0 } on' "$2"
}

# said COMMAND: what it prints, and a line with its exit status unless that is 0.
said()
{
    local status=0
    eval "$1" 2>&1 || status=$?
    [[ $status -eq 0 ]] || echo "(exit status $status)"
}

# replay PAGE: the page with what its commands print now.
replay()
{
    local line inside=no
    while IFS= read -r line; do
        case $inside,$line in
        no,'```console') inside=yes ;;
        yes,'```') inside=no ;;
        yes,'$ '*)
            printf '%s\n' "$line"
            said "${line#\$ }"
            continue
            ;;
        yes,*) continue ;;
        esac
        printf '%s\n' "$line"
    done <"$1"
}

rm -rf "$folder"
mkdir -p "$folder"
folder=$(realpath "$folder")
cmake --install "$build" --prefix "$folder/installed" >"$folder/install.log"
failed=0
for page; do
    work=$folder/${page%.md}
    mkdir -p "$work/project"
    if grep -q '^```cmake$' "$docs/$page"; then
        blocks cmake "$docs/$page" >"$work/project/CMakeLists.txt"
        name=$(sed -n 's/^project(\([a-z-]*\) C)$/\1/p' "$work/project/CMakeLists.txt")
        blocks c "$docs/$page" >"$work/project/$name.c"
        cmake -S "$work/project" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/installed" \
            -DCMAKE_C_FLAGS="-std=c11 -Wall -Wextra -Wpedantic -Werror" >"$work/log"
        cmake --build "$work/build" >>"$work/log" || {
            cat "$work/log"
            exit 1
        }
    fi
    (cd "$work" && PATH=$work/build:$folder/installed/bin:$PATH && replay "$docs/$page") >"$work/page"
    if [[ ${PIOMMU_UPDATE_EXPECTED-} == yes ]]; then
        cp "$work/page" "$docs/$page"
    fi
    diff -u "$docs/$page" "$work/page" || failed=1
done
exit "$failed"
