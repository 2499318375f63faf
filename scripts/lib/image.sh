# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Sourced by the scripts: builds the bare-metal images of examples/qemu-virt and examples/hypervisor and runs
# them in QEMU. To be used from the top of the source tree.

image_example=qemu-virt
image_dir=build/$image_example
image_seconds=120 # a run takes about ten
image_passed=0
image_failed=0

# image_use EXAMPLE: which image the functions below are about.
image_use()
{
    image_example=$1
    image_dir=build/$1
}

# image_build: builds the image; after a failure prints the log and returns 1.
image_build()
{
    mkdir -p "$image_dir"
    if ! {
        scripts/fetch-target-libfdt.sh arm64 build/libfdt-arm64 &&
            cmake -S "examples/$image_example" -B "$image_dir" -G Ninja \
                --toolchain "$PWD/cmake/aarch64-freestanding.cmake" \
                -DLIBFDT_DIR="$PWD/build/libfdt-arm64" &&
            cmake --build "$image_dir"
    } >"$image_dir/build.log" 2>&1; then
        cat "$image_dir/build.log" >&2
        echo "the image could not be built" >&2
        return 1
    fi
}

# hypervisor_configure WORD...: describes a machine for the image of examples/hypervisor, in image_arguments.
# Words:
#   cortex-a57 max gicv2 gicv3
#   rootport    the device is on a bus of its own
#   closed      the IOMMU blocks from reset on
#   el1         there is no EL2, so that it cannot work
#   forget-sync forget-tlbi forget-owner
#               the program leaves out what it must not, so that checks must fail
hypervisor_configure()
{
    local machine=virt,virtualization=on iommu=virtio-iommu-pci bus='' cpu=max told='' ports=() word

    for word; do
        case $word in
        cortex-a57 | max) cpu=$word ;;
        gicv2) machine+=,gic-version=2 ;;
        gicv3) machine+=,gic-version=3 ;;
        rootport)
            ports=(-device "pcie-root-port,id=port1,chassis=1")
            bus=,bus=port1
            ;;
        closed) iommu+=,boot-bypass=off ;;
        el1) machine=virt ;;
        forget-*) told=$word ;;
        *)
            echo "unknown word $word" >&2
            return 2
            ;;
        esac
    done
    image_arguments=(-cpu "$cpu" -M "$machine" -device "$iommu" "${ports[@]}"
        -device "edu,dma_mask=0xffffffffffffffff$bus" -append "$told")
}

# image_configure NAME WORD...: describes a machine for a run of examples/qemu-virt of this name, in
# image_arguments. Words:
#   el1 el2 gicv2 gicv3
#   otherslots  the IOMMU is not in the first slot, so that the hole in iommu-map moves with it
#   rootport    the devices are on buses of their own
#   bridge      the device edu is behind a bridge to conventional PCI, which does DMA in its place
#   closed      the IOMMU blocks from reset on
#   noevents    the disks have no event indices (the IOMMU of QEMU 7.2 always has them)
#   noindirect  the disks have no indirect descriptors (likewise)
#   packed      the IOMMU and the disks offer packed rings, but for the disk of the DMA API
#   forgetflush the program does not flush a lazy space where it should, so that checks must fail
# The image is told by -append what it cannot see, since it checks what it meets.
image_configure()
{
    local name=$1 machine=virt iommu=virtio-iommu-pci edu=edu,dma_mask=0xffffffffffffffff ring='' told='' word
    local pci_disk=virtio-blk-pci,iommu_platform=on,disable-legacy=on disk_port='' dma_port='' buses=()
    shift

    for word; do
        case $word in
        el1) ;;
        el2) machine+=,virtualization=on ;;
        gicv2) machine+=,gic-version=2 ;;
        gicv3) machine+=,gic-version=3 ;;
        otherslots)
            iommu+=,addr=5
            edu+=,addr=3
            ;;
        rootport)
            buses=(-device "pcie-root-port,id=port1,chassis=1" -device "pcie-root-port,id=port2,chassis=2"
                -device "pcie-root-port,id=port3,chassis=3")
            edu+=,bus=port1
            disk_port=,bus=port2
            dma_port=,bus=port3
            ;;
        bridge)
            buses=(-device "pcie-pci-bridge,id=bridge")
            edu+=,bus=bridge,addr=3
            ;;
        closed)
            iommu+=,boot-bypass=off
            told+=' closed-at-reset'
            ;;
        noevents)
            ring+=,event_idx=off
            told+=' no-event-index'
            ;;
        noindirect)
            ring+=,indirect_desc=off
            told+=' no-indirect'
            ;;
        packed)
            iommu+=,packed=on
            ring+=,packed=on
            told+=' packed'
            ;;
        forgetflush) told+=' forget-flush' ;;
        *)
            echo "unknown word $word" >&2
            return 2
            ;;
        esac
    done
    # The disk of the DMA API is stopped again and again, which QEMU 7.2 does not survive with a packed ring.
    image_arguments=(-M "$machine" -device "$iommu" "${buses[@]}" -device "$edu"
        -drive "file=$image_dir/$name-pci.disk,if=none,format=raw,id=pci" -device "$pci_disk,drive=pci$disk_port$ring"
        -drive "file=$image_dir/$name-dma.disk,if=none,format=raw,id=dma"
        -device "$pci_disk,drive=dma$dma_port${ring/,packed=on/}"
        -global virtio-mmio.force-legacy=false
        -drive "file=$image_dir/$name-mmio.disk,if=none,format=raw,id=mmio"
        -device "virtio-blk-device,drive=mmio$ring" -append "${told# }")
}

# sectors WORD FIRST END: sectors of a disk, from the first to before the end, each with its number behind the word.
sectors()
{
    local i

    for ((i = $2; i < $3; i++)); do
        printf '%-512s' "$1 $i"
    done
}

# copied_disk COPIED: what a disk is to hold when so many sectors have been copied, from its start to its middle,
# and no others were touched.
copied_disk()
{
    sectors sector 0 64
    sectors Sector 0 "$1"
    sectors sector $((64 + $1)) 128
}

# The same for the disk of the DMA API, whose sectors consist of lines; see examples/qemu-virt/demo-dma.h.
dma_spaces=3
dma_part=684 # sectors that are copied in each of the spaces
dma_half=$((dma_spaces * dma_part))
dma_end=$((2 * dma_half + dma_spaces + 1))

# sector_lines WORD FIRST END: as sectors, but the sector is 32 lines, each with its number behind that of the sector.
sector_lines()
{
    awk -v word="$1" -v first="$2" -v end="$3" 'BEGIN {
        for (sector = first; sector < end; sector++)
            for (line = 0; line < 32; line++)
                printf "%s %5d %2d\n", word, sector, line
    }'
}

# dma_disk: what that disk is to hold afterwards: the half that was read, the one that was written, the first sector
# of each space's part, and a sector of zeros.
dma_disk()
{
    local space

    sector_lines sector 0 "$dma_half"
    sector_lines SECTOR 0 "$dma_half"
    for ((space = 0; space < dma_spaces; space++)); do
        sector_lines SECTOR $((space * dma_part)) $((space * dma_part + 1))
    done
    head -c 512 /dev/zero
}

# image_disk_check FILE: whether the image is what standard input says. Counts as a check.
image_disk_check()
{
    local found expected

    expected=$(sha256sum)
    found=$(sha256sum <"$1")
    if [[ $found == "$expected" ]]; then
        echo "ok   ${1##*/} has what was written to it, and else what it had: SHA-256 ${found%% *}"
        image_passed=$((image_passed + 1))
    else
        echo "FAIL ${1##*/} has not what was written to it, or else not what it had"
        image_failed=$((image_failed + 1))
    fi
}

# image_run NAME QEMU-ARGUMENT...: boots the image, with the CPU max if no other is named, and adds up its
# checks in image_passed and image_failed. A run that does not come to its last line, or whose exit status
# differs from what that line says, counts as one more failure.
image_run()
{
    local name=$1 log=$image_dir/$1.log status=0 summary
    shift

    # QEMU may ignore a request to end: it is killed. What it says itself of refused DMA goes to a file.
    timeout -s KILL "$image_seconds" qemu-system-aarch64 -cpu max -nographic -nic none \
        -semihosting -kernel "$image_dir/$image_example-demo.elf" "$@" \
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

# image_run_configured NAME WORD...: image_run on a machine with disks, which are looked at afterwards.
image_run_configured()
{
    local image_arguments=()

    image_configure "$@"
    sectors sector 0 128 | tee "$image_dir/$1-mmio.disk" >"$image_dir/$1-pci.disk"
    sector_lines sector 0 "$dma_end" >"$image_dir/$1-dma.disk"
    image_run "$1" "${image_arguments[@]}"
    image_disk_check "$image_dir/$1-pci.disk" < <(copied_disk 64)
    image_disk_check "$image_dir/$1-mmio.disk" < <(copied_disk 24)
    image_disk_check "$image_dir/$1-dma.disk" < <(dma_disk)
}
