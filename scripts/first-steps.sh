#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/first-steps.sh [--fresh [--write]] [PATH...]
#
# Follows docs/first-steps.md as a new user would: for each path, or for those that are named, the commands of its
# block "sh" are run in an empty folder that has nothing but a clone of this tree in piommu, and have to print the lines
# of its block "text". Below build/first-steps; each path has its log there.
#
# With --fresh that is done in a Debian 12 that has nothing but its base system (made by debootstrap, a new copy for each
# path; needs root), where the packages that the page names are installed first. --write puts the times into the page.
#
# Exit status 0 if all works, 77 if the compilers for a path are missing (without --fresh, when all others work).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh

page=docs/first-steps.md
work=build/first-steps
seconds=900 # for one path
fresh=no
write=no
while [[ ${1-} == --* ]]; do
    case $1 in
    --fresh) fresh=yes ;;
    --write) write=yes ;;
    *)
        sed -n '5s/^# //p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
    esac
    shift
done

# The paths, as the headings of the page name them.
# shellcheck disable=SC2016 # the backticks are the page's
mapfile -t known < <(sed -n 's/^## .*: `\(.*\)`$/\1/p' "$page")
paths=("$@")
[[ $# -gt 0 ]] || paths=("${known[@]}")
for path in "${paths[@]}"; do
    [[ " ${known[*]} " == *" $path "* ]] || {
        echo "first-steps.sh: there is no path $path; there are ${known[*]}" >&2
        exit 2
    }
done
if [[ $write == yes && ($fresh == no || ${#paths[@]} -ne ${#known[@]}) ]]; then
    echo "first-steps.sh: the times in the page are those of all paths, on a fresh system" >&2
    exit 2
fi

# block LANGUAGE PATH: what stands in a block of a path.
block()
{
    awk -v heading=": \`$2\`\$" -v fence="^\`\`\`$1\$" '
        /^## / { here = $0 ~ heading }
        /^```/ { on = !on && here && $0 ~ fence; next }
        on' "$page"
}

# title PATH
title()
{
    sed -n "s/^## \(.*\): \`$1\`\$/\1/p" "$page"
}

# clone FOLDER: what git has of this tree, or would take.
clone()
{
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create --ignore-failed-read |
        tar --extract --directory="$1"
}

# prints_all LOG PATH: whether the log has what the page says.
prints_all()
{
    local line

    while IFS= read -r line; do
        grep -qF -- "$line" "$1" || {
            echo "first-steps.sh: $2 does not print: $line" >&2
            return 1
        }
    done < <(block text "$2")
}

# ---- On this machine ----

# follow_here PATH
follow_here()
{
    local folder=$work/$1 log=$work/$1.log commands

    commands=$(block sh "$1")
    rm -rf "$folder"
    clone "$folder/piommu"
    # What was downloaded already is not downloaded again.
    if [[ -d build/libfdt-arm64 ]]; then
        mkdir "$folder/piommu/build"
        cp -r build/libfdt-arm64 "$folder/piommu/build/"
    fi
    (cd "$folder" && timeout -k 10 "$seconds" bash -euo pipefail -c "$commands") >"$log" 2>&1
}

# ---- On a fresh one ----

base=$work/debian

make_base()
{
    need_packages debootstrap
    [[ -d $base ]] || {
        echo "== a Debian 12 with nothing but its base system (log: $work/debian.log)"
        rm -rf "$base.new"
        debootstrap --variant=minbase --include=ca-certificates bookworm "$base.new" >"$work/debian.log" 2>&1
        # The mirrors of this machine, which may be the only ones that it reaches.
        rm -f "$base.new/etc/apt/sources.list"
        cp -r /etc/apt/sources.list* /etc/apt/apt.conf.d "$base.new/etc/apt/"
        cp /usr/share/keyrings/debian-archive-* "$base.new/usr/share/keyrings/"
        mv "$base.new" "$base"
    }
}

# inside ROOT COMMAND: runs it there with an environment of its own. What it mounts and starts ends with it.
inside()
{
    timeout -k 10 "$seconds" unshare --mount --pid --fork --kill-child --mount-proc="$1/proc" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb DEBIAN_FRONTEND=noninteractive \
        chroot "$1" bash -euo pipefail -c "cd /root; $2"
}

# follow_fresh PATH: leaves the seconds that the packages took in installing.
follow_fresh()
{
    local root=$work/$1 log=$work/$1.log packages begin

    rm -rf "$root"
    cp -a "$base" "$root"
    clone "$root/root/piommu"
    : >"$log"
    packages=$(block packages "$1")
    begin=$SECONDS
    if [[ $packages != \(* ]]; then
        inside "$root" "apt-get -q update; apt-get -q -y --no-install-recommends install $packages" >>"$log" 2>&1 ||
            return 1
    fi
    installing=$((SECONDS - begin))
    inside "$root" "$(block sh "$1")" >>"$log" 2>&1
}

# ---- All of them ----

mkdir -p "$work"
work=$(realpath "$work")
base=$work/debian
[[ $fresh == no ]] || make_base
failed=0
skipped=0
table=('| path | packages | from the clone to success |' '| --- | ---: | ---: |')
for path in "${paths[@]}"; do
    echo "== $path: $(title "$path") (log: build/first-steps/$path.log)"
    begin=$SECONDS
    installing=0
    needed=$(block packages "$path")
    if [[ $fresh == no && $needed == *aarch64* && -z $(type -P aarch64-linux-gnu-gcc) ]] ||
        [[ $fresh == no && $needed == *qemu* && -z $(type -P qemu-system-aarch64) ]]; then
        echo "skipped: it needs $needed"
        skipped=$((skipped + 1))
        continue
    fi
    if [[ $fresh == yes ]]; then
        follow_fresh "$path" && prints_all "$work/$path.log" "$path" && works=yes || works=no
    else
        follow_here "$path" && prints_all "$work/$path.log" "$path" && works=yes || works=no
    fi
    if [[ $works == no ]]; then
        tail -n 30 "$work/$path.log" >&2
        echo "FAIL $path" >&2
        failed=$((failed + 1))
        continue
    fi
    took=$((SECONDS - begin - installing))
    echo "works: packages $installing s, commands $took s"
    table+=("| [$(title "$path")](#$(title "$path" | tr '[:upper:] ' '[:lower:]-' | tr -d ',.:')-$path) | $installing s | $took s |")
    rm -rf "${work:?}/$path"
done
if [[ $write == yes && $failed -eq 0 ]]; then
    table+=("" "Taken on $(date +%Y-%m-%d), $(nproc) CPUs, in seconds of wall time. The mirror's speed is in it, and what else the machine did.")
    printf '%s\n' "${table[@]}" >"$work/table"
    sed -i -e '/^<!-- times -->$/,/^<!-- end of times -->$/{//!d}' -e "/^<!-- times -->\$/r $work/table" "$page"
fi
[[ $failed -eq 0 ]] || exit 1
[[ $skipped -eq 0 ]] || exit 77
