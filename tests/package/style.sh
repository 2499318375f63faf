#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: style.sh format|license|shell
#
# format: clang-format has nothing to change in the C files. license: each file says its licence, in its
# first lines or in a file beside it with .license added to the name. shell: shellcheck has nothing to say
# of the scripts. Exit status 77 if the tool is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

need()
{
    [[ -n $(type -P "$1") ]] || {
        echo "SKIPPED: no $1 (Debian: $1)"
        exit 77
    }
}

# The files of the project: what git has or would take, or everything outside of build/.
if [[ -e .git && -n $(type -P git) ]] && git rev-parse --git-dir >/dev/null 2>&1; then
    mapfile -t files < <(git ls-files --cached --others --exclude-standard)
else
    mapfile -t files < <(find . -path ./.git -prune -o -path ./build -prune -o -type f -print | sed 's,^\./,,')
fi

# with_name PATTERN: those whose names match the extended regular expression and which are still there.
with_name()
{
    local file
    for file in "${files[@]}"; do
        if [[ -f $file && $file =~ $1 ]]; then
            printf '%s\n' "$file"
        fi
    done
}

status=0
case $1 in
format)
    need clang-format
    mapfile -t sources < <(with_name '\.[ch]$')
    clang-format --dry-run --Werror "${sources[@]}" || status=1
    # It leaves comments alone.
    awk 'length > 100 { print FILENAME ":" FNR ": more than 100 columns"; n++ } END { exit n > 0 }' \
        "${sources[@]}" || status=1
    echo "${#sources[@]} C files"
    ;;
license)
    mapfile -t all < <(with_name .)
    for file in "${all[@]}"; do
        case $file in
        LICENSE | LICENSES/* | *.license) continue ;;
        esac
        said=$file
        [[ ! -f $file.license ]] || said=$file.license
        head -n 10 "$said" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' || {
            echo "$file: no line SPDX-License-Identifier: BSD-2-Clause"
            status=1
        }
    done
    echo "${#all[@]} files"
    ;;
shell)
    need shellcheck
    mapfile -t scripts < <(with_name '(\.sh|^\.ci/run)$')
    shellcheck --external-sources "${scripts[@]}" || status=1
    echo "${#scripts[@]} scripts"
    ;;
*)
    echo "style.sh: what is $1?" >&2
    exit 2
    ;;
esac
exit "$status"
