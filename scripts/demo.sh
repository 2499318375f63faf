#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/demo.sh
#
# Shows the library at work, in three parts. Builds a bare-metal AArch64 image that links it, and boots the image
# on an emulated machine with a virtio-iommu, a device that does DMA, and a disk, at EL1 with GICv2 and at EL2
# with GICv3. Does the same with a hypervisor, whose guests drive such a device themselves. Then builds
# examples/ipmmu-model for this machine, and runs it with both stages: a Renesas IPMMU by its model. Every line
# that begins with "ok", "PASS" or "FAIL" is a check. Exit status 0 if all hold. Where one part is not possible
# the others are shown all the same, and the exit status is 1.
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

# Builds the image of an example. Returns 1 if that is not possible.
image_prepare()
{
    need_packages cmake ninja-build gcc-aarch64-linux-gnu qemu-system-arm || return 1
    [[ -n $(type -P qemu-system-aarch64) ]] || {
        echo "There is no qemu-system-aarch64." >&2
        return 1
    }
    image_use "$1"
    echo "== building the image of examples/$1 (log: $image_dir/build.log)"
    image_build
}

# Two runs of the image.
image_part()
{
    local machine name words image_arguments

    image_prepare qemu-virt || return 1
    for machine in "el1 gicv2" "el2 gicv3"; do
        read -ra words <<<"$machine"
        name=demo-${machine// /-}
        image_configure "$name" "${words[@]}"
        echo
        echo "== $machine: qemu-system-aarch64 ${image_arguments[*]} (log: $image_dir/$name.log)"
        image_run_configured "$name" "${words[@]}"
    done
}

hypervisor_part()
{
    local image_arguments

    echo
    image_prepare hypervisor || return 1
    hypervisor_configure cortex-a57 gicv2
    echo
    echo "== qemu-system-aarch64 ${image_arguments[*]} (log: $image_dir/demo.log)"
    image_run demo "${image_arguments[@]}"
}

model_dir=build/ipmmu-model
model_passed=0
model_failed=0

# model_run NAME ARGUMENT...: runs the program and adds up its checks. A run that does not come to its last line,
# or whose exit status differs from what that line says, counts as one more failure.
model_run()
{
    local log=$model_dir/$1.log status=0 summary
    shift

    echo
    echo "== $model_dir/ipmmu-model${*:+ $*} (log: $log)"
    "$model_dir/ipmmu-model" "$@" | tee "$log" || status=$?
    summary=$(tail -n 1 "$log")
    if [[ $summary =~ ^ipmmu-model:\ ([0-9]+)\ checks,\ ([0-9]+)\ failed$ ]]; then
        model_passed=$((model_passed + BASH_REMATCH[1] - BASH_REMATCH[2]))
        model_failed=$((model_failed + BASH_REMATCH[2]))
        [[ $status -eq 0 || ${BASH_REMATCH[2]} -ne 0 ]] && return
    fi
    echo "FAIL the run ended with status $status"
    model_failed=$((model_failed + 1))
}

# The same program, with both stages. Returns 1 if that is not possible.
model_part()
{
    need_packages cmake ninja-build gcc libc6-dev libfdt-dev || return 1
    mkdir -p "$model_dir"
    echo
    echo "== building examples/ipmmu-model (log: $model_dir/build.log)"
    {
        cmake -S examples/ipmmu-model -B "$model_dir" -G Ninja && cmake --build "$model_dir"
    } >"$model_dir/build.log" 2>&1 || {
        cat "$model_dir/build.log" >&2
        echo "examples/ipmmu-model could not be built" >&2
        return 1
    }
    model_run stage2
    model_run stage1 --stage1
}

left_out=()
image_part || left_out+=("examples/qemu-virt")
hypervisor_part || left_out+=("examples/hypervisor")
model_part || left_out+=("examples/ipmmu-model")

echo
for part in "${left_out[@]}"; do
    echo "left out, for the reason above: $part"
done
failed=$((image_failed + model_failed))
echo "demo: $((image_passed + model_passed)) checks passed, $failed failed"
[[ $failed -eq 0 && ${#left_out[@]} -eq 0 ]]
