#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: check-sources.sh [ROOT]
#
# Who may include whom, in the source tree at ROOT (this one, if not given):
#  - lib/ and backends/ include the freestanding headers of C11, piommu/, and files of the same folder or
#    of lib/base; backends also those of lib/virtio; lib/fdt also libfdt.h;
#  - lib/ names no backend;
#  - models/ includes the headers of C11, piommu/models/, and files of the same folder;
#  - tests/support, which judges the library, includes nothing of lib/ or backends/.
# And: sources.txt lists just the C files that there are, each once.
set -euo pipefail

cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
root=$(realpath .)
freestanding='^(stdint|stddef|stdbool|stdarg|stdatomic|limits)\.h$'
hosted='^(assert|ctype|errno|inttypes|limits|stdarg|stdbool|stddef|stdint|stdio|stdlib|string)\.h$'
status=0
complain()
{
    status=1
    echo "$*"
}

# includes FOLDER: "FILE LINE FORM" of each include directive; FORM is what follows the word include.
includes()
{
    find "$1" -name '*.[ch]' -type f -exec grep -HnE '^[[:space:]]*#[[:space:]]*include' {} + |
        sed -E 's/^([^:]*):([0-9]*):[[:space:]]*#[[:space:]]*include[[:space:]]*/\1 \2 /' || true
}

# The file that a quoted include means, as seen from ROOT.
target()
{
    realpath -m --relative-to="$root" "$(dirname "$1")/$2"
}

# The folder of lib/ or backends/ that a file belongs to: lib/core, backends/virtio-iommu.
folder()
{
    cut -d/ -f1,2 <<<"$1"
}

while read -r file line form; do
    case $form in
    '<'*)
        name=${form#<}
        name=${name%%>*}
        [[ $name =~ $freestanding || $name == piommu/* ]] ||
            [[ $name == libfdt.h && $file == lib/fdt/* ]] ||
            complain "$file:$line: includes <$name>, which a host may not have"
        ;;
    '"'*)
        name=${form#\"}
        name=${name%%\"*}
        to=$(folder "$(target "$file" "$name")")
        [[ $to == "$(folder "$file")" || $to == lib/base ]] ||
            [[ $to == lib/virtio && $file == backends/* ]] ||
            complain "$file:$line: includes \"$name\", which is private to another part"
        ;;
    *)
        complain "$file:$line: an include whose file cannot be seen: $form"
        ;;
    esac
done < <(includes lib; includes backends)

for backend in backends/*/; do
    backend=$(basename "$backend")
    while read -r place; do
        complain "$place: lib/ names the backend $backend"
    done < <(grep -rniE "${backend//-/[-_]}" lib || true)
done

# They judge the library: what they know of it would be judged by itself.
while read -r file line form; do
    case $form in
    '<'*)
        name=${form#<}
        name=${name%%>*}
        [[ $name == piommu/models/* || $name =~ $hosted ]] ||
            complain "$file:$line: a model includes <$name>"
        ;;
    '"'*)
        name=${form#\"}
        to=$(target "$file" "${name%%\"*}")
        [[ $(folder "$to") == "$(folder "$file")" ]] || complain "$file:$line: a model includes $to"
        ;;
    *) complain "$file:$line: a model includes what cannot be seen: $form" ;;
    esac
done < <(includes models)

while read -r file line form; do
    case $form in
    *lib/* | *backends/*) complain "$file:$line: the judge includes $form of the library" ;;
    '"'*)
        name=${form#\"}
        to=$(target "$file" "${name%%\"*}")
        [[ $to == tests/support/* ]] || complain "$file:$line: the judge includes $to"
        ;;
    esac
done < <(includes tests/support)

listed=$(sed -E '/^(#|$)/d; s/^[a-z0-9-]+ //' sources.txt | sort)
present=$(find lib backends models -name '*.c' -type f | sort)
while read -r difference; do
    complain "sources.txt against the files there are: $difference"
done < <(diff <(echo "$listed") <(echo "$present") | grep '^[<>]' || true)

[[ $status -ne 0 ]] || echo "clean: $(wc -l <<<"$present") C files"
exit "$status"
