#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: tests/system/run-image.sh TEST
#
# Runs the image of examples/qemu-virt, which must have been built (TEST build does that), on one machine. TEST
# is what image_configure (scripts/lib/image.sh) wants to know of the machine, with underscores between the
# words. Exit status 77 if a tool is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/lib/image.sh
. scripts/lib/image.sh
# shellcheck source=tests/system/tools.sh
. tests/system/tools.sh

edu=edu,dma_mask=0xffffffffffffffff
test=$1
case $test in
build) image_build ;;
# The checks can fail: with a program that forgets to sync or to flush, without an IOMMU, and with one that the driver
# must not touch.
forgotten_sync_fails)
    image_run "$test" -M virt -device virtio-iommu-pci -device "$edu" -append forget-sync
    [[ $image_failed -gt 1 ]] && grep -q '^FAIL after: DMA to IOVA .* does not arrive' "$image_dir/$test.log"
    ;;
forgotten_flush_fails)
    # One request of the disk reaches memory that it should not; all else is as it should be.
    image_run_configured "$test" el1 gicv2 forgetflush
    [[ $image_failed -eq 3 ]] && grep -q '^FAIL after the flush: a request .* faults' "$image_dir/$test.log"
    ;;
no_iommu_fails)
    image_run "$test" -M virt -device "$edu"
    [[ $image_failed -eq 1 ]] && grep -q '^FAIL finding a virtio-iommu' "$image_dir/$test.log"
    ;;
unwilling_iommu_fails)
    # It demands ACCESS_PLATFORM, which the driver does not offer: it refuses FEATURES_OK.
    image_run "$test" -M virt -device virtio-iommu-pci,iommu_platform=on -device "$edu"
    [[ $image_failed -eq 1 ]] && grep -q '^FAIL starting the IOMMU' "$image_dir/$test.log"
    ;;
*)
    IFS=_ read -ra words <<<"$test"
    image_run_configured "$test" "${words[@]}"
    echo "$test: $image_passed checks passed, $image_failed failed"
    [[ $image_failed -eq 0 && $image_passed -gt 50 ]]
    ;;
esac
