#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: tests/system/run-image.sh TEST
#
# Runs the image of examples/qemu-virt, which must have been built (TEST build does that), on one machine. Exit
# status 77 if a tool is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/lib/image.sh
. scripts/lib/image.sh

for tool in qemu-system-aarch64 aarch64-linux-gnu-gcc ninja; do
    if [[ -z $(type -P "$tool") ]]; then
        echo "skipped: $tool is not installed"
        exit 77
    fi
done

edu=edu,dma_mask=0xffffffffffffffff
el2=virt,virtualization=on,gic-version=3
test=$1
case $test in
build)
    image_build
    exit 0
    ;;
el1_gicv2) image_run "$test" virt -device virtio-iommu-pci -device $edu ;;
el1_gicv3) image_run "$test" virt,gic-version=3 -device virtio-iommu-pci -device $edu ;;
el2_gicv2) image_run "$test" virt,virtualization=on -device virtio-iommu-pci -device $edu ;;
el2_gicv3) image_run "$test" $el2 -device virtio-iommu-pci -device $edu ;;
# The IOMMU elsewhere than the first slot: the hole in iommu-map moves with it.
other_slots) image_run "$test" virt -device virtio-iommu-pci,addr=5 -device $edu,addr=3 ;;
# The device on a bus of its own: its endpoint ID is 0x100.
behind_root_port)
    image_run "$test" virt -device virtio-iommu-pci -device pcie-root-port,id=rp,chassis=1 \
        -device $edu,bus=rp
    ;;
# An IOMMU that blocks from reset on. The image is told, since it checks what it meets.
closed_at_reset)
    image_run "$test" virt -device virtio-iommu-pci,boot-bypass=off -device $edu -append closed-at-reset
    ;;
# The checks can fail: without an IOMMU, and with one that the driver must not touch.
no_iommu_fails)
    image_run "$test" virt -device $edu
    [[ $image_failed -eq 1 ]] && grep -q '^FAIL finding a virtio-iommu' "$image_dir/$test.log"
    exit
    ;;
unwilling_iommu_fails)
    # It demands ACCESS_PLATFORM, which the driver does not offer: it refuses FEATURES_OK.
    image_run "$test" virt -device virtio-iommu-pci,iommu_platform=on -device $edu
    [[ $image_failed -eq 1 ]] && grep -q '^FAIL starting the IOMMU' "$image_dir/$test.log"
    exit
    ;;
*)
    echo "unknown test $test" >&2
    exit 2
    ;;
esac
echo "$test: $image_passed checks passed, $image_failed failed"
[[ $image_failed -eq 0 && $image_passed -gt 30 ]]
