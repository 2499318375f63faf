#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: manuals.sh FOLDER
#
# Every page of the manual in tools/ is one that mandoc, or else groff, has nothing to say about, names the options
# that the tool's --help names, and no others. FOLDER has the tools that were built. Exit status 77 if neither formatter
# is there.
set -euo pipefail

folder=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../../tools"

if [[ -n $(type -P mandoc) ]]; then
    lint=(mandoc -T lint -W warning)
elif [[ -n $(type -P groff) ]]; then
    lint=(groff -mandoc -ww -z)
else
    echo "SKIPPED: no groff (Debian: groff)"
    exit 77
fi

# options: the words in the input that are long options, sorted.
options()
{
    grep -oE -- '--[a-z][a-z0-9-]*' | sort -u
}

status=0
pages=0
for page in *.1; do
    pages=$((pages + 1))
    said=$("${lint[@]}" "$page" 2>&1) || true
    [[ -z $said ]] || {
        echo "$said"
        status=1
    }
    [[ -x $folder/${page%.1} ]] || continue # not built here
    diff <(sed -nE 's/^\.It Fl (-[a-z0-9-]*).*/-\1/p' "$page" | options) \
        <("$folder/${page%.1}" --help | options) || {
        echo "$page: the options differ from those of --help"
        status=1
    }
done
echo "$pages pages"
exit "$status"
