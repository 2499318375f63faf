#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: headers-compile-alone.sh c|c++
#
# Compiles each public header as the only one of a program, and included twice; those of the models without
# those of the library. Exit status 77 if there
# is no compiler for the language.
set -euo pipefail

language=$1
source=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
case $language in
c) compiler=gcc standard=c11 ;;
c++) compiler=g++ standard=c++11 ;;
*) exit 2 ;;
esac
[[ -n $(type -P "$compiler") ]] || {
    echo "SKIPPED: no $compiler"
    exit 77
}

status=0
for header in "$source"/include/piommu/*.h "$source"/models/include/piommu/models/*.h; do
    name=piommu/${header##*/piommu/}
    printf '#include <%s>\n#include <%s>\n' "$name" "$name" |
        "$compiler" -x "$language" -std=$standard -pedantic -Wall -Wextra -Wundef -Werror \
            -ffreestanding -fsyntax-only -I "${header%"/$name"}" - || {
        echo "$name does not compile alone"
        status=1
    }
done
exit "$status"
