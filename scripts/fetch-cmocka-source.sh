#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/fetch-cmocka-source.sh DEST
#
# Leaves the sources of cmocka, the test framework, in DEST, as Debian's source package has them; the
# tests for foreign architectures compile them. Does nothing when they are there already.
set -euo pipefail
# shellcheck source=scripts/lib/apt-private.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/apt-private.sh"

fail()
{
    echo "fetch-cmocka-source.sh: $*" >&2
    exit 1
}

[[ $# -eq 1 ]] || fail "usage: $0 DEST"
dest=$(realpath -m "$1")
[[ ! -f $dest/complete ]] || exit 0
[[ -n $(type -P xz) ]] || fail "needs xz (Debian: xz-utils)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt_private_set_up "$work" deb-src || fail "cannot get the sources of cmocka"
# Only downloaded, because unpacking Debian's way takes a package that is needed for nothing else.
if ! {
    apt_private update && cd "$work" && apt_private --download-only source cmocka
} >"$work/log" 2>&1; then
    cat "$work/log" >&2
    fail "cannot get the sources of cmocka from $apt_private_mirrors"
fi

mkdir -p "$dest"
tar -C "$dest" --strip-components=1 -xf "$work"/cmocka_*.orig.tar.xz
[[ -f $dest/src/cmocka.c && -f $dest/include/cmocka.h ]] || fail "the source package has changed its layout"
: >"$dest/complete" # last: a run that was cut off is done again
