/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Fault reports. The interrupt does not say which context it is about: all are looked at. */

#include "unit.h"

/* The gravest of what a status says. */
static enum piommu_fault_reason reason_of(uint32_t status)
{
    if ((status & IMSTR_MHIT) != 0) {
        return PIOMMU_FAULT_CONFLICT;
    }
    if ((status & IMSTR_ABORT) != 0) {
        return PIOMMU_FAULT_TABLE;
    }
    if (IMSTR_CODE(status) == IMSTR_CODE_SECURE) {
        return PIOMMU_FAULT_SECURITY;
    }
    return (status & IMSTR_PF) != 0 ? PIOMMU_FAULT_PERMISSION : PIOMMU_FAULT_TRANSLATION;
}

/* What a context's status says, and whose it is; false: nothing. */
static bool take(struct ipmmu_root *root, unsigned int number, struct piommu_backend_fault *fault)
{
    const struct ipmmu_unit *unit = root->unit;
    uint32_t status = piommu_ipmmu_read_context_(unit, number, IMSTR);

    if ((status & IMSTR_FAULT) == 0) {
        return false;
    }
    /* The address is gone when the status is cleared, which 0 does. */
    fault->iova = piommu_ipmmu_read_context_(unit, number, IMELAR);
    if (unit->class->has_high_address) {
        fault->iova |= (uint64_t)(piommu_ipmmu_read_context_(unit, number, IMEUAR) & 0xffu) << 32;
    }
    piommu_ipmmu_write_context_(unit, number, IMSTR, 0);
    fault->iova_valid = true;
    fault->raw = status;
    fault->reason = reason_of(status);
    fault->level_valid = (status & (IMSTR_TF | IMSTR_PF | IMSTR_ABORT)) != 0;
    fault->level = (uint8_t)IMSTR_LEVEL(status);
    if (fault->domain == NULL) {
        fault->domain = &root->blocked; /* no domain of the core's */
        fault->reason = PIOMMU_FAULT_BLOCKED;
    }
    return true;
}

/* The identity of the domain that has a context; NULL: none has. */
static const void *identity_of(struct ipmmu_root *root, unsigned int number)
{
    struct piommu_host host = root->unit->host;
    unsigned long state = piommu_host_lock(host, root->lock);
    const void *identity = root->contexts[number] != NULL ? root->contexts[number]->identity : NULL;

    piommu_host_unlock(host, root->lock, state);
    return identity;
}

int piommu_ipmmu_service_(void *handle, unsigned int budget)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_root *root = unit->root;
    int handled = 0;

    if (is_dead(root->unit)) {
        return -PIOMMU_EFAILED;
    }
    for (unsigned int i = 0; is_root(unit) && i < root->count; i++) {
        struct piommu_backend_fault fault = {.domain = identity_of(root, i)};

        if ((unsigned int)handled == budget) {
            break;
        }
        if ((fault.domain != NULL || i == root->blocked.number) && take(root, i, &fault)) {
            handled++;
            piommu_backend_report_fault(unit->instance, &fault);
        }
    }
    return handled;
}
