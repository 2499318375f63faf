#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: scripts/fuzz.sh [--TARGET] [SECONDS [ARGUMENT...]]
#
# A fuzz campaign against the page tables, or with --core against the core, --fdt against the device tree
# reader, --iova against the IOVA allocator, --ptdump against piommu-ptdump, --virtio_iommu against the virtio-iommu
# driver, --virtqueue against virtio's rings, --virtio_open against how a virtio device is found and set up, --virtio_front against the registers
# of one that is shown to a guest, --viommu against the rings of a virtio-iommu that is offered to a guest,
# --viommu_device against its registers as well. Builds the fuzz targets and runs one for SECONDS (600 if not given).
# What it learns is kept in build/fuzz/corpus, or build/fuzz/corpus_of_TARGET, for the next time. Arguments go to
# libFuzzer, for example -jobs=2 -workers=2. A failing input is kept in the working folder;
#
#   build/fuzz/tests/fuzz/random_io_pgtable FILE
#
# prints one of page tables as calls, and with PIOMMU_FUZZ_TALK in the environment the targets of the core, of
# spaces of addresses and of virtio's drivers print those of theirs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=io_pgtable
corpus=corpus
seeds=seeds
options=()
if [[ ${1-} == --* ]]; then
    target=${1#--}
    corpus=corpus_of_$target
    shift
    case $target in
    core)
        seeds=seeds_of_core
        options=(-max_len=1600)
        ;;
    fdt)
        seeds=seeds_of_fdt
        options=(-max_len=4096 -dict=tests/fuzz/fdt.dict)
        ;;
    iova)
        seeds=seeds_of_core
        options=(-max_len=2060)
        ;;
    ptdump)
        seeds=seeds_of_ptdump
        options=(-max_len=32776 -close_fd_mask=2)
        ;;
    virtio_iommu | virtqueue | virtio_open | virtio_front | viommu | viommu_device)
        seeds=seeds_of_virtio
        options=(-max_len=1600)
        ;;
    *)
        echo "fuzz.sh: there is no target $target" >&2
        exit 2
        ;;
    esac
fi
export PIOMMU_FUZZ_SECONDS=${1:-600}
export PIOMMU_FUZZ_CORPUS=$PWD/build/fuzz/$corpus
[[ $# -eq 0 ]] || shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
tests/fuzz/run.sh "build/fuzz/tests/fuzz/fuzz_$target" build/fuzz/tests/fuzz/$seeds "${options[@]}" "$@"
