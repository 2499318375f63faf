# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Every source file of the library, one a line, by part. A host with a build system of its own
# compiles the same files with the include path include/. A test fails if a file is missing here.

# Needed by all parts.
set(PIOMMU_SOURCES_BASE
  lib/base/error.c
  lib/base/host.c
  lib/base/text.c
)

set(PIOMMU_SOURCES_IO_PGTABLE
  lib/io-pgtable/adopt.c
  lib/io-pgtable/attributes.c
  lib/io-pgtable/create.c
  lib/io-pgtable/cut.c
  lib/io-pgtable/destroy.c
  lib/io-pgtable/dirty.c
  lib/io-pgtable/disjoint.c
  lib/io-pgtable/dump.c
  lib/io-pgtable/empty.c
  lib/io-pgtable/format.c
  lib/io-pgtable/leaf.c
  lib/io-pgtable/leaf_check.c
  lib/io-pgtable/lookup.c
  lib/io-pgtable/map.c
  lib/io-pgtable/path.c
  lib/io-pgtable/plan.c
  lib/io-pgtable/portions.c
  lib/io-pgtable/protect.c
  lib/io-pgtable/registers.c
  lib/io-pgtable/reserve.c
  lib/io-pgtable/tables.c
  lib/io-pgtable/unmap.c
  lib/io-pgtable/verify.c
  lib/io-pgtable/walk.c
)

set(PIOMMU_SOURCES_IOVA
  lib/iova/iova.c
  lib/iova/search.c
  lib/iova/tree.c
)

set(PIOMMU_SOURCES_DMA
  lib/dma/bounce.c
  lib/dma/buffer.c
  lib/dma/list.c
  lib/dma/map.c
  lib/dma/range.c
  lib/dma/record.c
  lib/dma/release.c
  lib/dma/space.c
  lib/dma/sync.c
)

set(PIOMMU_SOURCES_CORE
  lib/base/range_tree.c
  lib/core/attach.c
  lib/core/binding.c
  lib/core/change.c
  lib/core/context.c
  lib/core/deferred.c
  lib/core/device.c
  lib/core/domain.c
  lib/core/doorbell.c
  lib/core/dump.c
  lib/core/fault.c
  lib/core/instance.c
  lib/core/requests.c
  lib/core/portions.c
  lib/core/post.c
  lib/core/power.c
  lib/core/region.c
  lib/core/replace.c
  lib/core/requirements.c
  lib/core/trace.c
)

set(PIOMMU_SOURCES_VIRTIO
  lib/virtio/device.c
  lib/virtio/device_packed_ring.c
  lib/virtio/device_ring.c
  lib/virtio/device_split_ring.c
  lib/virtio/front.c
  lib/virtio/front_mmio.c
  lib/virtio/front_pci.c
  lib/virtio/front_pci_bar.c
  lib/virtio/front_pci_messages.c
  lib/virtio/front_state.c
  lib/virtio/mmio.c
  lib/virtio/packed_ring.c
  lib/virtio/pci.c
  lib/virtio/pci_messages.c
  lib/virtio/queue.c
  lib/virtio/split_ring.c
)

set(PIOMMU_SOURCES_VIOMMU
  lib/viommu/attach.c
  lib/viommu/device.c
  lib/viommu/domain.c
  lib/viommu/endpoint.c
  lib/viommu/engine.c
  lib/viommu/fault.c
  lib/viommu/mapping.c
  lib/viommu/request.c
  lib/viommu/state.c
)

set(PIOMMU_SOURCES_IPMMU_VMSA
  backends/ipmmu-vmsa/context.c
  backends/ipmmu-vmsa/fault.c
  backends/ipmmu-vmsa/ipmmu.c
  backends/ipmmu-vmsa/micro-tlb.c
  backends/ipmmu-vmsa/pcie-osid.c
  backends/ipmmu-vmsa/registers.c
)

set(PIOMMU_SOURCES_VIRTIO_IOMMU
  backends/virtio-iommu/config.c
  backends/virtio-iommu/endpoints.c
  backends/virtio-iommu/events.c
  backends/virtio-iommu/mappings.c
  backends/virtio-iommu/requests.c
  backends/virtio-iommu/virtio_iommu.c
)

set(PIOMMU_SOURCES_NULL_IOMMU
  backends/null-iommu/null_iommu.c
)

# The archive piommu-fdt, which is the only one that needs libfdt.
set(PIOMMU_SOURCES_FDT
  lib/fdt/address.c
  lib/fdt/interrupt.c
  lib/fdt/iommu.c
  lib/fdt/master.c
  lib/fdt/region.c
  lib/fdt/tree.c
)

set(PIOMMU_SOURCES_LPAE_WALKER
  models/lpae-walker/check.c
  models/lpae-walker/descriptor.c
  models/lpae-walker/regime.c
  models/lpae-walker/sweep.c
  models/lpae-walker/walk.c
)

# The archive piommu-models, which is for hosted C, with the include path models/include/.
set(PIOMMU_SOURCES_MODELS
  models/ipmmu-vmsa/dma.c
  models/ipmmu-vmsa/flush.c
  models/ipmmu-vmsa/memory.c
  models/ipmmu-vmsa/model.c
  models/ipmmu-vmsa/registers.c
  models/ipmmu-vmsa/setup.c
  ${PIOMMU_SOURCES_LPAE_WALKER}
)
