/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The edu device as a PCI function: where its registers are, and whether it may do DMA. */

#include "edu.h"
#include "machine.h"

int edu_start(struct edu *edu, uint16_t bdf)
{
    uint64_t registers;
    uint64_t size;

    if (machine_pci_read(bdf, 0, 4) != ((uint32_t)EDU_DEVICE << 16 | EDU_VENDOR) ||
        machine_pci_bar(bdf, 0, &registers, &size) != 0 || size < EDU_REGISTERS_SIZE ||
        edu_open(edu, (uintptr_t)registers) != 0) {
        return -1;
    }
    edu->bdf = bdf;
    return machine_pci_bus_master(bdf, true);
}

void edu_stop(struct edu *edu)
{
    machine_pci_bus_master(edu->bdf, false);
}
