#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: makefile.sh FOLDER
#
# Builds the program of README.md below FOLDER with the makefile that docs/porting.md shows, and runs it. Then has that
# makefile build each part with those that sources.txt says it needs, and all parts together, which have to need
# nothing else. Exit status 77 if make is absent.
set -euo pipefail

folder=$1
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
[[ -n $(type -P make) ]] || {
    echo "SKIPPED: no make (Debian: make)"
    exit 77
}

# blocks LANGUAGE PAGE: what a page of documentation has in blocks of a language.
blocks()
{
    awk -v fence="^\`\`\`$1\$" '$0 ~ fence { on = 1; next } /^```/ { on = 0 } on' "$2"
}

rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
ln -s "$source" piommu
blocks make "$source/docs/porting.md" >Makefile
blocks c "$source/README.md" >hello.c
[[ $(wc -l <Makefile) -gt 5 ]] || {
    echo "docs/porting.md has no makefile"
    exit 1
}

# build ARGUMENT...: shows what make has said only if it failed.
build()
{
    make -j2 "$@" >log 2>&1 || {
        cat log
        exit 1
    }
}

build
./hello | tee output
grep -q '^0x40001234 is 0x80001234, by a leaf of 1024 MiB$' output

# alone NAME PART...: an archive of these parts, in which nothing of another is missing.
alone()
{
    local name=$1
    shift

    rm -f libpiommu.a
    build PARTS="$*" libpiommu.a
    ar t libpiommu.a >members
    "$here/check-archives.sh" libpiommu.a >checked || {
        echo "$name, which is built of $*:"
        cat checked
        exit 1
    }
    echo "$name: $(wc -l <members) files"
}

alone io-pgtable base io-pgtable
alone iova base iova
alone virtio base virtio
alone core base io-pgtable core
alone dma base io-pgtable core iova dma
alone viommu base io-pgtable core virtio viommu
alone ipmmu-vmsa base io-pgtable core ipmmu-vmsa
alone virtio-iommu base io-pgtable core virtio virtio-iommu
alone null-iommu base io-pgtable core null-iommu
all=(base io-pgtable iova core dma virtio viommu ipmmu-vmsa virtio-iommu null-iommu)
alone all "${all[@]}"
# Those that are archives of their own.
others=(fdt ipmmu-vmsa-model lpae-walker)
diff <(awk '!/^(#|$)/ { print $1 }' "$source/sources.txt" | sort -u) <(printf '%s\n' "${all[@]}" "${others[@]}" | sort)
