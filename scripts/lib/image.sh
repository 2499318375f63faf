# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Sourced by the scripts: builds the bare-metal image of examples/qemu-virt and runs it in QEMU. To be used
# from the top of the source tree.

image_dir=build/qemu-virt
image_seconds=120 # a run takes about ten
image_passed=0
image_failed=0

# image_build: builds the image; after a failure prints the log and returns 1.
image_build()
{
    mkdir -p "$image_dir"
    if ! {
        scripts/fetch-target-libfdt.sh arm64 build/libfdt-arm64 &&
            cmake -S examples/qemu-virt -B "$image_dir" -G Ninja \
                --toolchain "$PWD/cmake/aarch64-freestanding.cmake" \
                -DLIBFDT_DIR="$PWD/build/libfdt-arm64" &&
            cmake --build "$image_dir"
    } >"$image_dir/build.log" 2>&1; then
        cat "$image_dir/build.log" >&2
        echo "the image could not be built" >&2
        return 1
    fi
}

# image_run NAME MACHINE [QEMU-ARGUMENT...]: boots the image and adds up its checks in image_passed and
# image_failed. A run that does not come to its last line, or whose exit status differs from what that line
# says, counts as one more failure.
image_run()
{
    local name=$1 machine=$2 log=$image_dir/$1.log status=0 summary
    shift 2

    # QEMU may ignore a request to end: it is killed. What it says itself of refused DMA goes to a file.
    timeout -s KILL "$image_seconds" qemu-system-aarch64 -M "$machine" -cpu max -nographic -nic none \
        -semihosting -kernel "$image_dir/qemu-virt-demo.elf" "$@" \
        </dev/null 2>"$image_dir/$name.stderr" | tr -d '\r' | tee "$log" || status=$?
    summary=$(tail -n 1 "$log")
    if [[ $summary =~ ^demo:\ ([0-9]+)\ checks\ passed,\ ([0-9]+)\ failed$ ]]; then
        image_passed=$((image_passed + BASH_REMATCH[1]))
        image_failed=$((image_failed + BASH_REMATCH[2]))
        if [[ $status -ne 0 && ${BASH_REMATCH[2]} -eq 0 ]]; then
            echo "FAIL the run ended with status $status"
            image_failed=$((image_failed + 1))
        fi
    else
        echo "FAIL the run did not come to its end (status $status):"
        cat "$image_dir/$name.stderr"
        image_failed=$((image_failed + 1))
    fi
}
