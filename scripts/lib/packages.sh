# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Sourced by the scripts: installs Debian packages that they need.

# need_packages PACKAGE...
#
# Returns 0 with all of the packages installed. Says nothing if they are already; otherwise installs
# the missing ones, all in one go. Returns 1, after naming what is missing, where that is not possible:
# no root and no sudo, not a Debian, no network.
need_packages()
{
    local package missing=() log

    if [[ -z $(type -P dpkg-query) ]]; then
        echo "This is no Debian system. Make sure yourself that there is what these packages hold: $*" >&2
        return 0
    fi
    for package in "$@"; do
        # The expansion is dpkg-query's, not the shell's.
        # shellcheck disable=SC2016
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0

    local as_root=()
    if [[ $EUID -ne 0 ]]; then
        if [[ -z $(type -P sudo) ]]; then
            echo "Missing packages: ${missing[*]}" >&2
            echo "Neither root nor sudo: please have them installed, then run this again." >&2
            return 1
        fi
        as_root=(sudo)
    fi
    # env, since sudo starts with a clean environment.
    as_root+=(env DEBIAN_FRONTEND=noninteractive)

    echo "== installing ${missing[*]}"
    log=$(mktemp)
    if ! packages_install "${missing[@]}" >"$log" 2>&1; then
        # The lists of packages may be absent or too old. They are fetched only now, because usually
        # that is not needed.
        echo "== updating the lists of packages first"
        if ! "${as_root[@]}" apt-get --quiet update >"$log" 2>&1 ||
            ! packages_install "${missing[@]}" >"$log" 2>&1; then
            cat "$log" >&2
            rm -f "$log"
            echo "Missing packages that cannot be installed: ${missing[*]}" >&2
            return 1
        fi
    fi
    rm -f "$log"
}

# For need_packages alone, whose as_root it uses.
packages_install()
{
    "${as_root[@]}" apt-get --quiet --yes --no-install-recommends install "$@"
}
