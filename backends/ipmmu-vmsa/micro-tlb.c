/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Micro-TLBs: where masters are wired to. One that is switched off lets DMA pass, so none is, but
 * for an identity domain.
 */

#include "unit.h"

void piommu_ipmmu_select_(struct ipmmu_unit *unit, unsigned int micro_tlb,
                          const struct ipmmu_context *context)
{
    uint32_t control = 0;

    unit->endpoints[micro_tlb].touched = true;
    /* The whole register is written: what was selected before must not shine through. */
    if (context->number != PASS) {
        control = IMUCTR_SELECT(context->number) | IMUCTR_FLUSH | IMUCTR_MMUEN;
        piommu_ipmmu_write_micro_tlb_(unit, micro_tlb, IMUASID, 0);
    }
    piommu_ipmmu_write_micro_tlb_(unit, micro_tlb, IMUCTR, control);
}

void piommu_ipmmu_block_all_(struct ipmmu_unit *unit)
{
    bool unknown = unit->config.unknown_ids == PIOMMU_UNKNOWN_IDS_BLOCK;

    for (unsigned int i = 0; has_micro_tlbs(unit) && i < unit->class->micro_tlbs; i++) {
        if (unknown || unit->endpoints[i].added) {
            piommu_ipmmu_select_(unit, i, &unit->root->blocked);
        }
    }
}

void piommu_ipmmu_let_go_(struct ipmmu_unit *unit)
{
    for (unsigned int i = 0; has_micro_tlbs(unit) && i < unit->class->micro_tlbs; i++) {
        if (unit->endpoints[i].touched) {
            piommu_ipmmu_select_(unit, i, &unit->root->pass);
        }
    }
}

int piommu_ipmmu_add_endpoint_(void *handle, uint32_t id, struct piommu_endpoint_facts *facts,
                               void **result)
{
    struct ipmmu_unit *unit = handle;

    (void)facts;
    if (!has_micro_tlbs(unit) || id >= unit->class->micro_tlbs) {
        return -PIOMMU_ENOENT;
    }
    if (root_dead(unit->root)) {
        return -PIOMMU_EFAILED;
    }
    unit->endpoints[id].unit = unit;
    unit->endpoints[id].number = (uint8_t)id;
    unit->endpoints[id].added = true;
    piommu_ipmmu_select_(unit, id, &unit->root->blocked);
    *result = &unit->endpoints[id];
    return 0;
}

void piommu_ipmmu_release_endpoint_(void *unit, void *handle)
{
    struct ipmmu_endpoint *endpoint = handle;

    /* It stays on the blocked context. */
    (void)unit;
    endpoint->added = false;
}

int piommu_ipmmu_attach_(void *unit, void *handle, void *domain)
{
    const struct ipmmu_endpoint *endpoint = handle;
    const struct ipmmu_context *context = domain;

    (void)unit;
    if (root_dead(endpoint->unit->root)) {
        return -PIOMMU_EFAILED;
    }
    piommu_ipmmu_select_(endpoint->unit, endpoint->number, context);
    return 0;
}

int piommu_ipmmu_block_(void *unit, void *handle)
{
    const struct ipmmu_endpoint *endpoint = handle;

    (void)unit;
    piommu_ipmmu_select_(endpoint->unit, endpoint->number, &endpoint->unit->root->blocked);
    return 0;
}
