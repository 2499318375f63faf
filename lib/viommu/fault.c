/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Reports of faults: kept until the guest has a buffer for them. Source: VIRTIO 1.2, section
 * 5.13.6.9 "Fault reporting".
 */

#include "engine.h"

#define REASON_UNKNOWN 0u
#define REASON_DOMAIN  1u
#define REASON_MAPPING 2u

#define FAULT_READ    1u
#define FAULT_WRITE   2u
#define FAULT_ADDRESS 0x100u

static uint8_t reason_of(enum piommu_fault_reason reason)
{
    switch (reason) {
    case PIOMMU_FAULT_BLOCKED:
        return REASON_DOMAIN;
    case PIOMMU_FAULT_MAPPING:
    case PIOMMU_FAULT_TRANSLATION:
    case PIOMMU_FAULT_PERMISSION:
        return REASON_MAPPING;
    default:
        return REASON_UNKNOWN;
    }
}

static struct report report_of(uint32_t id, const struct piommu_fault *fault)
{
    struct report report = {{0}};
    uint32_t flags = (fault->read ? FAULT_READ : 0) | (fault->write ? FAULT_WRITE : 0) |
                     (fault->iova_valid ? FAULT_ADDRESS : 0);

    report.bytes[0] = reason_of(fault->reason);
    piommu_put_le32(report.bytes + 4, flags);
    piommu_put_le32(report.bytes + 8, id);
    piommu_put_le64(report.bytes + 16, fault->iova_valid ? fault->iova : 0);
    return report;
}

bool piommu_viommu_report_fault(struct piommu_viommu *viommu, uint32_t id,
                                const struct piommu_fault *fault)
{
    unsigned long state;
    bool kept;

    if (viommu == NULL || fault == NULL) {
        return false;
    }
    state = piommu_host_lock(viommu->host, viommu->lock);
    kept = viommu->fault_count < FAULTS_KEPT;
    if (kept) {
        viommu->faults[(viommu->first_fault + viommu->fault_count) % FAULTS_KEPT] =
            report_of(id, fault);
        viommu->fault_count++;
    } else {
        viommu->faults_dropped++;
    }
    piommu_host_unlock(viommu->host, viommu->lock, state);
    return kept;
}

void piommu_viommu_forget_faults_(struct piommu_viommu *viommu)
{
    unsigned long state = piommu_host_lock(viommu->host, viommu->lock);

    viommu->fault_count = 0;
    piommu_host_unlock(viommu->host, viommu->lock, state);
}

/* The oldest report; false: there is none. */
static bool next_report(struct piommu_viommu *viommu, struct report *report, bool take)
{
    unsigned long state = piommu_host_lock(viommu->host, viommu->lock);
    bool any = viommu->fault_count != 0;

    if (any) {
        *report = viommu->faults[viommu->first_fault];
    }
    if (any && take) {
        viommu->first_fault = (viommu->first_fault + 1) % FAULTS_KEPT;
        viommu->fault_count--;
    }
    piommu_host_unlock(viommu->host, viommu->lock, state);
    return any;
}

void piommu_viommu_deliver_(struct piommu_viommu *viommu, uint32_t *budget)
{
    struct piommu_device_ring *ring = piommu_viommu_ring_(viommu, PIOMMU_VIOMMU_EVENTS);
    struct report report;

    while (*budget != 0 && ring != NULL && next_report(viommu, &report, false)) {
        struct piommu_device_request buffer;
        int taken = piommu_device_ring_take(ring, &buffer);
        bool fits;

        if (taken == 0) {
            break;
        }
        fits = taken > 0 &&
               piommu_device_ring_write(ring, 0, report.bytes, sizeof(report)) == sizeof(report);
        if (taken < 0 ||
            piommu_device_ring_complete(ring, buffer.head, fits ? sizeof(report) : 0) != 0) {
            piommu_viommu_break_(viommu);
            return;
        }
        viommu->completed[PIOMMU_VIOMMU_EVENTS] = true;
        spend(budget, 1);
        if (fits) {
            /* Only this call takes any out. */
            (void)next_report(viommu, &report, true);
            viommu->statistics.faults++;
        }
    }
}
