# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Sourced by the tests of images: ends the script with status 77 if a tool is absent.

for tool in qemu-system-aarch64 aarch64-linux-gnu-gcc ninja; do
    if [[ -z $(type -P "$tool") ]]; then
        echo "skipped: $tool is not installed"
        exit 77
    fi
done
