#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: deb.sh FOLDER [LIBFDT_INCLUDE_DIR]
#
# Makes the Debian packages below FOLDER as docs/packaging.md says, looks at what they say of themselves, and has lintian
# look if it is there. Then unpacks them into a root of their own, builds programs with what is there, by CMake and by
# pkg-config, and runs these and the tools. Without LIBFDT_INCLUDE_DIR, the device tree reader is left out. Exit status
# 77 without dpkg-deb, or what it takes to find a program's libraries.
set -euo pipefail

folder=$(realpath -m "$1")
libfdt_headers=${2-}
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
source=$(realpath "$here/../..")
with_fdt=OFF
[[ -z $libfdt_headers ]] || with_fdt=ON
for tool in dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev file:file; do
    [[ -n $(type -P "${tool%:*}") ]] || {
        echo "SKIPPED: no ${tool%:*} (Debian: ${tool#*:})"
        exit 77
    }
done

fail()
{
    echo "FAIL: $*"
    exit 1
}

rm -rf "$folder"
mkdir -p "$folder/root"
if ! {
    cmake -S "$source" -B "$folder/build" -G Ninja -DCMAKE_INSTALL_PREFIX=/usr -DPIOMMU_BUILD_TESTS=OFF \
        -DPIOMMU_FDT="$with_fdt" -DPIOMMU_PACKAGE_MAINTAINER='Some Packager <packager@piommu.test>' &&
        # The packages must not depend on who makes them.
        (umask 077 && cmake --build "$folder/build" --target package)
} >"$folder/log" 2>&1; then
    cat "$folder/log"
    exit 1
fi

version=$(sed -n 's/^#define PIOMMU_VERSION_STRING "\(.*\)"/\1/p' "$source/include/piommu/version.h")
architecture=$(dpkg --print-architecture)
packages=(libpiommu-dev libpiommu-models-dev piommu-tools)
debs=("${packages[@]/%/_${version}_$architecture.deb}")
cd "$folder/build"
diff <(printf '%s\n' "${debs[@]}") <(ls -- *.deb)

# says PACKAGE FIELD PATTERN: the pattern of the shell fits what the package says.
says()
{
    local said
    said=$(dpkg-deb --field "$1_${version}_$architecture.deb" "$2")
    # The pattern is meant to be one.
    # shellcheck disable=SC2053
    [[ $said == $3 ]] || fail "$1 says $2: $said, which should be $3"
}
for package in "${packages[@]}"; do
    says "$package" Package "$package"
    says "$package" Version "$version"
    says "$package" Architecture "$architecture"
    says "$package" Maintainer '*@*'
    says "$package" Description '[a-z]*'
done
says libpiommu-dev Section libdevel
says libpiommu-models-dev Section libdevel
says libpiommu-models-dev Depends "libpiommu-dev (= $version)"
if [[ $with_fdt == ON ]]; then
    says libpiommu-dev Depends libfdt-dev
    says piommu-tools Depends 'libc6 (*, libfdt1 (*'
else
    says libpiommu-dev Depends ''
    says piommu-tools Depends 'libc6 (*'
fi
if [[ -n $(type -P lintian) ]]; then
    # It has a word about being run by root, too.
    lintian --fail-on error "${debs[@]}" 2>"$folder/lintian.log" || {
        cat "$folder/lintian.log"
        fail "lintian is not content"
    }
    echo "lintian is content"
else
    echo "without lintian"
fi

# No file is in two of them, and nobody but its maker may not read one.
for deb in "${debs[@]}"; do
    dpkg-deb --contents "$deb"
done | grep -v '/$' >"$folder/contents"
twice=$(awk '{ print $6 }' "$folder/contents" | sort | uniq -d)
[[ -z $twice ]] || fail "in two packages: $twice"
! grep -v '^-r..r..r.. root/root' "$folder/contents" || fail "not everybody may read that"

# By CMake with the first package alone; the archives are where those of this architecture are.
root=$folder/root
dpkg-deb --extract "${debs[0]}" "$root"
cmake -S "$here/consumer/find_package" -B "$folder/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$root/usr" \
    -DWITH_FDT="$with_fdt" -DWITH_MODELS=OFF >"$folder/log"
cmake --build "$folder/consumer" >>"$folder/log"
"$folder/consumer/consumer"
triplet=$(gcc -print-multiarch)
grep -q "piommu_DIR:PATH=$root/usr/lib/$triplet/cmake/piommu" "$folder/consumer/CMakeCache.txt" ||
    fail "CMake has found another piommu"

for deb in "${debs[@]:1}"; do
    dpkg-deb --extract "$deb" "$root"
done
for package in "${packages[@]}"; do
    # Both conditions of the licence, and the last word of it.
    copyright=$(tr -s ' \n' ' ' <"$root/usr/share/doc/$package/copyright")
    for text in 'License: BSD-2-Clause' 'Redistributions of source code' 'Redistributions in binary form' \
        'POSSIBILITY OF SUCH DAMAGE.'; do
        [[ $copyright == *"$text"* ]] || fail "$package: the copyright file does not say: $text"
    done
    zcat "$root/usr/share/doc/$package/changelog.gz" | grep -q "^piommu ($version) " ||
        fail "$package: the changelog does not say its version"
done
[[ -f $root/usr/share/doc/libpiommu-dev/docs/porting.md ]] || fail "there are no guides"

if [[ -n $(type -P pkg-config) ]]; then
    export PKG_CONFIG_LIBDIR=$root/usr/lib/$triplet/pkgconfig
    names=(piommu piommu-models)
    options=()
    if [[ $with_fdt == ON ]]; then
        names+=(piommu-fdt)
        options=(-DCONSUMER_HAS_FDT)
    fi
    pkg-config --exact-version="$version" "${names[@]}"
    # The answers of pkg-config are words to be split, as a makefile would.
    # shellcheck disable=SC2046
    gcc -std=c11 -Wall -Wextra -Werror "${options[@]}" $(pkg-config --cflags "${names[@]}") \
        "$here/consumer/consumer.c" $(pkg-config --libs "${names[@]}") -o "$folder/by-pkg-config"
    "$folder/by-pkg-config"
else
    echo "without pkg-config"
fi

tools=(piommu-ptdump)
[[ $with_fdt == OFF ]] || tools+=(piommu-topology)
for tool in "${tools[@]}"; do
    [[ $("$root/usr/bin/$tool" --version) == "$tool $version" ]] || fail "$tool is another one"
    zcat "$root/usr/share/man/man1/$tool.1.gz" | grep -q '^\.Sh SYNOPSIS$' || fail "$tool has no manual"
done
echo "${debs[*]}"
