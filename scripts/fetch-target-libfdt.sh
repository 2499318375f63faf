#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/fetch-target-libfdt.sh ARCH DEST
#
# Leaves Debian's libfdt for another architecture (arm64, armhf, ...) in DEST/include/libfdt.h and
# DEST/lib/libfdt.a. Does nothing when it is there already.
#
# The package cannot be installed beside the host's own (the two exclude each other), so this
# downloads and unpacks it with a private apt state: dpkg and the machine's apt are not touched, and
# root is not needed. The mirror is that of the machine's own apt sources.
set -euo pipefail
# shellcheck source=scripts/lib/apt-private.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/apt-private.sh"

fail()
{
    echo "fetch-target-libfdt.sh: $*" >&2
    exit 1
}

if [[ $# -ne 2 ]] || ! [[ $1 =~ ^[a-z0-9-]+$ ]]; then
    fail "usage: $0 ARCH DEST"
fi
arch=$1
dest=$(realpath -m "$2")
stamp="libfdt-dev:$arch"

if [[ -f $dest/include/libfdt.h && -f $dest/lib/libfdt.a && -f $dest/package ]] &&
    [[ $(<"$dest/package") == "$stamp" ]]; then
    exit 0
fi

[[ -n $(type -P dpkg-deb) ]] || fail "needs dpkg-deb, so a Debian machine"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt_private_set_up "$work" deb "arch=$arch" || fail "cannot get $stamp"
architectures=$(dpkg --print-architecture),$arch
if ! {
    apt_private -o APT::Architectures="$architectures" update &&
        cd "$work" && apt_private -o APT::Architectures="$architectures" download "$stamp"
} >"$work/log" 2>&1; then
    cat "$work/log" >&2
    fail "cannot get $stamp of $apt_private_release from $apt_private_mirrors" \
        "(is $arch an architecture of $apt_private_release?)"
fi
dpkg-deb -x "$work"/libfdt-dev_*.deb "$work/root"

archive=("$work"/root/usr/lib/*/libfdt.a)
[[ ${#archive[@]} -eq 1 && -f $work/root/usr/include/libfdt.h ]] ||
    fail "$stamp has no libfdt.a and libfdt.h where they are expected"
mkdir -p "$dest/include" "$dest/lib"
cp "$work"/root/usr/include/{fdt,libfdt,libfdt_env}.h "$dest/include"
cp "${archive[0]}" "$dest/lib"
echo "$stamp" >"$dest/package" # last: a run that was cut off is done again
