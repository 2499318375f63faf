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

/* Whether a micro-TLB is one that this backend may write to. */
static bool is_ours(const struct ipmmu_unit *unit, unsigned int micro_tlb)
{
    return ((unit->place.untouched_micro_tlbs >> micro_tlb) & 1) == 0;
}

/* Whether firmware has left a micro-TLB enabled: the context that it names is a domain's now. */
static bool translates(const struct ipmmu_unit *unit, unsigned int micro_tlb)
{
    return (piommu_ipmmu_read_micro_tlb_(unit, micro_tlb, IMUCTR) & IMUCTR_MMUEN) != 0;
}

void piommu_ipmmu_block_all_(struct ipmmu_unit *unit)
{
    bool unknown = unit->config.unknown_ids == PIOMMU_UNKNOWN_IDS_BLOCK;

    for (unsigned int i = 0; has_micro_tlbs(unit) && i < unit->class->micro_tlbs; i++) {
        if (is_ours(unit, i) && (unknown || unit->endpoints[i].touched || translates(unit, i))) {
            piommu_ipmmu_select_(unit, i, &unit->root->blocked);
        }
        unit->endpoints[i].inside = false;
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

    if (!has_micro_tlbs(unit) || id >= unit->class->micro_tlbs) {
        return -PIOMMU_ENOENT;
    }
    if (!is_ours(unit, id) || ((unit->place.denied_micro_tlbs >> id) & 1) != 0) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (!is_usable(unit)) {
        return -PIOMMU_EFAILED;
    }
    if (has_one_context(unit->root)) {
        piommu_backend_set_group(facts, 1);
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

/* Puts the empty table into the only context when no device is left in its domain. */
static int hide_if_left(struct ipmmu_unit *unit)
{
    for (unsigned int i = 0; i < unit->class->micro_tlbs; i++) {
        if (unit->endpoints[i].inside) {
            return 0;
        }
    }
    return piommu_ipmmu_show_(unit->root, &unit->root->blocked);
}

int piommu_ipmmu_attach_(void *handle, void *endpoint_handle, void *domain)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_endpoint *endpoint = endpoint_handle;
    struct ipmmu_context *context = domain;
    int error = 0;

    if (!is_usable(unit)) {
        return -PIOMMU_EFAILED;
    }
    endpoint->inside = context->number != PASS;
    if (!endpoint->inside) {
        piommu_ipmmu_select_(unit, endpoint->number, context);
        return has_one_context(unit->root) ? hide_if_left(unit) : 0;
    }
    error = has_one_context(unit->root) ? piommu_ipmmu_show_(unit->root, context)
                                        : piommu_ipmmu_settle_(unit, context);
    if (error == 0) {
        piommu_ipmmu_select_(unit, endpoint->number, context);
    }
    return error;
}

int piommu_ipmmu_block_(void *handle, void *endpoint_handle)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_endpoint *endpoint = endpoint_handle;

    endpoint->inside = false;
    piommu_ipmmu_select_(unit, endpoint->number, &unit->root->blocked);
    return has_one_context(unit->root) ? hide_if_left(unit) : 0;
}

int piommu_ipmmu_block_now_(void *handle, void *endpoint)
{
    const struct ipmmu_unit *unit = handle;

    /* With one context the table has to change, and that be waited for. */
    return has_one_context(unit->root) ? -PIOMMU_EAGAIN : piommu_ipmmu_block_(handle, endpoint);
}
