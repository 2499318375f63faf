# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Sourced by the scripts: what a linker has taken into a program, from its map.

# linked_sections MAP: a line for each section that is in the program, and came from an archive: its kind (text,
# rodata, data, bss), bytes, archive, object.
linked_sections()
{
    # A long name has the rest on a line of its own. What was dropped stands before the memory map, or has
    # no bytes.
    sed -n '/^Linker script and memory map/,$p' "$1" |
        sed -E ':join; /^ \.[^ ]+$/ { N; s/\n//; b join }' |
        sed -nE 's#^ \.(text|rodata|data|bss)[^ ]* +0x[0-9a-f]+ +(0x[0-9a-f]+) .*/([a-z-]+)\.a\((.*)\.o\)$#\1 \2 \3 \4#p' |
        while read -r kind bytes archive object; do
            echo "$kind $((bytes)) $archive $object"
        done | awk '$2 > 0'
}
