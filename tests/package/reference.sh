#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: reference.sh FOLDER
#
# Has the target docs make pages of the headers, below FOLDER: doxygen has nothing to warn of, and each header has a page.
# Then of copies of the sources with mistakes in a header, which it must not let pass. Exit status 77 if doxygen is absent.
set -euo pipefail

folder=$(realpath -m "$1")
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
[[ -n $(type -P doxygen) ]] || {
    echo "SKIPPED: no doxygen (Debian: doxygen)"
    exit 77
}
rm -rf "$folder"
mkdir -p "$folder"

# make_pages SOURCE BUILD
make_pages()
{
    cmake -S "$1" -B "$2" -G Ninja -DPIOMMU_BUILD_TESTS=OFF -DPIOMMU_FDT=OFF &&
        cmake --build "$2" --target docs
}

make_pages "$source" "$folder/build" >"$folder/log" 2>&1 || {
    cat "$folder/log"
    exit 1
}
status=0
for header in "$source"/include/piommu/*.h; do
    grep -qrF --include='*_8h.html' "piommu/$(basename "$header") File Reference" "$folder/build/reference/html" || {
        echo "$(basename "$header") has no page"
        status=1
    }
done

# mistake WHAT LINE...: the lines, at the end of a header, are noticed.
mistake()
{
    local what=$1
    shift

    rm -rf "$folder/copy"
    mkdir "$folder/copy"
    cp -r "$source"/{CMakeLists.txt,sources.txt,cmake,docs,include,lib,backends,models,tools} "$folder/copy"
    printf '%s\n' "$@" >>"$folder/copy/include/piommu/error.h"
    if make_pages "$folder/copy" "$folder/copy/build" >"$folder/log" 2>&1; then
        echo "not noticed: $what"
        status=1
    fi
}
mistake "a function without a comment" "int piommu_mistake(void);"
mistake "a parameter that is not there" "/** Does it. @param other what. */" "int piommu_mistake(int one);"
exit "$status"
