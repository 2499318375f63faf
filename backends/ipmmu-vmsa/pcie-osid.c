/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The PCIe controller's table of who is whose: R-Car Gen4. It knows nothing of the IPMMU. */

#include <piommu/rcar-pcie-osid.h>

#include "../../lib/base/host.h"

#define CNVID(entry)     (0x700u + 4u * (entry))
#define CNVID_ENABLE     (1u << 31)
#define CNVID_OSID(osid) ((uint32_t)(osid) << 16)
#define CNVIDMSK(entry)  (0x780u + 4u * (entry))
#define CNVOSIDCTRL      0x800u
#define CNVOSIDCTRL_MASK 0xf0000u /* the OSID of all others */
#define REGISTERS_SIZE   0x1000u

struct entry {
    bool used;
    uint16_t requester;
    uint16_t ignored;
};

struct piommu_rcar_pcie_osid {
    struct piommu_host host;
    uintptr_t base;
    struct entry entries[PIOMMU_RCAR_PCIE_OSID_ENTRIES];
};

static void write(const struct piommu_rcar_pcie_osid *steering, uint32_t offset, uint32_t value)
{
    steering->host.os->mmio_write(steering->host.ctx, steering->base + offset, 4, value);
}

static void reset(const struct piommu_rcar_pcie_osid *steering)
{
    uint32_t control =
        steering->host.os->mmio_read(steering->host.ctx, steering->base + CNVOSIDCTRL, 4);

    for (unsigned int i = 0; i < PIOMMU_RCAR_PCIE_OSID_ENTRIES; i++) {
        write(steering, CNVID(i), 0);
    }
    write(steering, CNVOSIDCTRL, control & ~CNVOSIDCTRL_MASK);
}

int piommu_rcar_pcie_osid_open(struct piommu_host host, uint64_t registers,
                               struct piommu_rcar_pcie_osid **result)
{
    struct piommu_rcar_pcie_osid *steering;
    int error;

    if (result == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE | PIOMMU_OS_NEED_MMIO);
    if (error != 0) {
        return error;
    }
    steering = piommu_host_alloc_(host, sizeof(*steering));
    if (steering == NULL) {
        return -PIOMMU_ENOMEM;
    }
    steering->host = host;
    error = host.os->mmio_map(host.ctx, registers, REGISTERS_SIZE, &steering->base);
    if (error != 0) {
        piommu_host_free_(host, steering, sizeof(*steering));
        return error;
    }
    reset(steering);
    *result = steering;
    return 0;
}

void piommu_rcar_pcie_osid_close(struct piommu_rcar_pcie_osid *steering)
{
    if (steering != NULL) {
        reset(steering);
        steering->host.os->mmio_unmap(steering->host.ctx, steering->base, REGISTERS_SIZE);
        piommu_host_free_(steering->host, steering, sizeof(*steering));
    }
}

/* Finds what was steered just so, or PIOMMU_RCAR_PCIE_OSID_ENTRIES. */
static unsigned int find(const struct piommu_rcar_pcie_osid *steering, uint16_t requester,
                         uint16_t ignored)
{
    unsigned int i = 0;

    while (i < PIOMMU_RCAR_PCIE_OSID_ENTRIES &&
           (!steering->entries[i].used || steering->entries[i].requester != requester ||
            steering->entries[i].ignored != ignored)) {
        i++;
    }
    return i;
}

/* Finds a free entry for functions of which none is in another one. */
static int find_free(const struct piommu_rcar_pcie_osid *steering, uint16_t requester,
                     uint16_t ignored, unsigned int *found)
{
    *found = PIOMMU_RCAR_PCIE_OSID_ENTRIES;
    for (unsigned int i = PIOMMU_RCAR_PCIE_OSID_ENTRIES; i-- > 0;) {
        const struct entry *entry = &steering->entries[i];

        if (!entry->used) {
            *found = i;
        } else if (((entry->requester ^ requester) & ~(entry->ignored | ignored)) == 0) {
            return -PIOMMU_EEXIST;
        }
    }
    return *found != PIOMMU_RCAR_PCIE_OSID_ENTRIES ? 0 : -PIOMMU_ENOSPC;
}

int piommu_rcar_pcie_osid_steer(struct piommu_rcar_pcie_osid *steering, uint16_t requester,
                                uint16_t ignored, unsigned int osid)
{
    unsigned int i;

    if (steering == NULL || osid == 0 || osid > PIOMMU_RCAR_PCIE_OSID_LAST ||
        (requester & ignored) != 0) {
        return -PIOMMU_EINVAL;
    }
    i = find(steering, requester, ignored);
    if (i == PIOMMU_RCAR_PCIE_OSID_ENTRIES) {
        int error = find_free(steering, requester, ignored, &i);

        if (error != 0) {
            return error;
        }
    }
    steering->entries[i] = (struct entry){true, requester, ignored};
    write(steering, CNVIDMSK(i), ignored);
    write(steering, CNVID(i), CNVID_ENABLE | CNVID_OSID(osid) | requester);
    return 0;
}

int piommu_rcar_pcie_osid_forget(struct piommu_rcar_pcie_osid *steering, uint16_t requester,
                                 uint16_t ignored)
{
    unsigned int i;

    if (steering == NULL) {
        return -PIOMMU_EINVAL;
    }
    i = find(steering, requester, ignored);
    if (i == PIOMMU_RCAR_PCIE_OSID_ENTRIES) {
        return -PIOMMU_ENOENT;
    }
    steering->entries[i].used = false;
    write(steering, CNVID(i), 0);
    return 0;
}
