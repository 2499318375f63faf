#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/demo.sh
#
# Shows the library at work: builds a bare-metal AArch64 image that links it, and boots the image on an
# emulated machine with a virtio-iommu and a device that does DMA, at EL1 with GICv2 and at EL2 with GICv3.
# Every line of the transcript that begins with "ok" or "FAIL" is a check. Exit status 0 if all hold.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh
# shellcheck source=scripts/lib/image.sh
. scripts/lib/image.sh

if [[ $# -ne 0 ]]; then
    echo "usage: scripts/demo.sh" >&2
    exit 2
fi
need_packages cmake ninja-build gcc-aarch64-linux-gnu qemu-system-arm

echo "== building the image (log: $image_dir/build.log)"
image_build

devices=(-device virtio-iommu-pci -device "edu,dma_mask=0xffffffffffffffff")
for run in "el1-gicv2 virt" "el2-gicv3 virt,virtualization=on,gic-version=3"; do
    read -r name machine <<<"$run"
    echo
    echo "== $name: qemu-system-aarch64 -M $machine ${devices[*]} (log: $image_dir/$name.log)"
    image_run "$name" "$machine" "${devices[@]}"
done

echo
echo "demo: $image_passed checks passed, $image_failed failed"
[[ $image_failed -eq 0 && $image_passed -gt 0 ]]
