/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Contexts: one of the root for each domain, enabled in each cache unit that has devices of it. */

#include "unit.h"

#define LOW_MASK  0xfffff000u
#define HIGH_MASK 0xffu

void piommu_ipmmu_program_(struct ipmmu_context *context)
{
    const struct ipmmu_unit *root = context->root->unit;
    unsigned int number = context->number;

    piommu_ipmmu_write_context_(root, number, IMTTLBR0, (uint32_t)context->table & LOW_MASK);
    piommu_ipmmu_write_context_(root, number, IMTTUBR0,
                                (uint32_t)(context->table >> 32) & HIGH_MASK);
    piommu_ipmmu_write_context_(root, number, IMTTBCR, context->ttbcr);
    if (context->root->stage == 1) {
        piommu_ipmmu_write_context_(root, number, IMMAIR0, context->mair);
    }
    if (root->class->has_bus_select) {
        piommu_ipmmu_write_context_(root, number, IMBUSCR,
                                    piommu_ipmmu_read_context_(root, number, IMBUSCR) &
                                        ~IMBUSCR_MASK);
    }
    /* 0 clears; what was read, written back, may not. */
    piommu_ipmmu_write_context_(root, number, IMSTR, 0);
    piommu_ipmmu_write_context_(root, number, IMCTR, context->control | IMCTR_FLUSH);
}

void piommu_ipmmu_enable_(struct ipmmu_unit *unit, const struct ipmmu_context *context)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);

    unit->enabled |= 1u << context->number;
    piommu_ipmmu_write_context_(unit, context->number, IMCTR,
                                (context->control | IMCTR_FLUSH) & IMCTR_CACHE);
    piommu_host_unlock(unit->host, unit->root->lock, state);
}

/* Writes FLUSH in all cache units that have a context. Under the root's lock. */
static void flush_caches(const struct ipmmu_context *context)
{
    for (const struct ipmmu_unit *unit = context->root->units; unit != NULL; unit = unit->next) {
        if (!is_root(unit) && (unit->enabled & (1u << context->number)) != 0) {
            piommu_ipmmu_write_context_(unit, context->number, IMCTR,
                                        (context->control | IMCTR_FLUSH) & IMCTR_CACHE);
        }
    }
}

/* Waits for the end of a unit's flush of a context. */
static int wait_for_unit(const struct ipmmu_unit *unit, unsigned int number)
{
    struct ipmmu_root *root = unit->root;
    uint64_t deadline = piommu_host_deadline(unit->host, unit->config.timeout);

    while ((piommu_ipmmu_read_context_(unit, number, IMCTR) & IMCTR_FLUSH) != 0) {
        if (!piommu_host_wait(unit->host, deadline)) {
            atomic_store_explicit(&root->dead, 1, memory_order_release);
            return -PIOMMU_ETIMEDOUT;
        }
    }
    return 0;
}

/*
 * Waits for the ends of the flushes of all cache units that have a context. The list may become
 * longer meanwhile, by units that have nothing to forget; a unit leaves it only when no domain is
 * on it any more.
 */
static int wait_for_caches(const struct ipmmu_context *context)
{
    const struct ipmmu_unit *unit = context->root->units;
    struct piommu_host host = context->root->unit->host;
    int error = 0;

    while (unit != NULL && error == 0) {
        unsigned long state = piommu_host_lock(host, context->root->lock);
        const struct ipmmu_unit *next = unit->next;
        bool has = !is_root(unit) && (unit->enabled & (1u << context->number)) != 0;

        piommu_host_unlock(host, context->root->lock, state);
        if (has) {
            error = wait_for_unit(unit, context->number);
        }
        unit = next;
    }
    return error;
}

/*
 * One flush. A cache unit that was flushed can fetch again what the root has not forgotten yet, and
 * nobody says whether the root's flush reaches that: so the caches are flushed before it and once
 * more after it. No source says either that a cache's flush ends with the root's, or what a second
 * one does during a first, so each is waited for.
 */
static int flush_now(struct ipmmu_context *context)
{
    struct ipmmu_root *root = context->root;
    struct piommu_host host = root->unit->host;
    unsigned long state = piommu_host_lock(host, root->lock);
    int error;

    flush_caches(context);
    piommu_ipmmu_write_context_(root->unit, context->number, IMCTR, context->control | IMCTR_FLUSH);
    piommu_host_unlock(host, root->lock, state);
    piommu_host_barrier(host, PIOMMU_BARRIER_FULL);
    error = wait_for_unit(root->unit, context->number);
    if (error == 0) {
        error = wait_for_caches(context);
    }
    if (error == 0) {
        state = piommu_host_lock(host, root->lock);
        flush_caches(context);
        piommu_host_unlock(host, root->lock, state);
        piommu_host_barrier(host, PIOMMU_BARRIER_FULL);
        error = wait_for_caches(context);
    }
    return error;
}

int piommu_ipmmu_flush_(struct ipmmu_context *context)
{
    struct ipmmu_root *root = context->root;
    struct piommu_host host = root->unit->host;
    unsigned long state = piommu_host_lock(host, root->lock);
    /* A flush that runs already does not cover what was made visible since it began. */
    uint32_t needed = context->started + 1;
    int error = 0;

    while ((int32_t)(context->done - needed) < 0 && error == 0) {
        bool mine = !context->flushing;
        uint32_t number = 0;

        if (mine) {
            context->flushing = true;
            number = ++context->started;
        }
        piommu_host_unlock(host, root->lock, state);
        if (root_dead(root)) {
            error = -PIOMMU_EFAILED;
        } else if (mine) {
            error = flush_now(context);
        } else if (host.os->wait != NULL) {
            host.os->wait(host.ctx, piommu_host_deadline(host, root->unit->config.timeout));
        }
        state = piommu_host_lock(host, root->lock);
        if (mine) {
            context->flushing = false;
            context->done = error == 0 ? number : context->done;
        }
    }
    piommu_host_unlock(host, root->lock, state);
    return error;
}

int piommu_ipmmu_invalidate_(void *unit, void *domain, struct piommu_range range, bool tables)
{
    /* There is no invalidation by address, and none that would spare walks. */
    (void)unit;
    (void)range;
    (void)tables;
    return piommu_ipmmu_flush_(domain);
}

/* What the registers of a context are to be. */
static void describe(const struct ipmmu_root *root, const struct piommu_pgtable_info *table,
                     struct ipmmu_context *context)
{
    context->table = table->root_physical;
    context->control = IMCTR_MMUEN | IMCTR_INTEN;
    if (root->stage == 1) {
        context->ttbcr = root->unit->class->stage1_ttbcr;
        context->mair = (uint32_t)table->registers.stage1.mair;
    } else {
        context->control |= IMCTR_VA64;
        context->ttbcr =
            IMTTBCR_EAE | IMTTBCR_PMB | IMTTBCR_SL0_LEVEL_1 | (64u - (uint32_t)table->input_bits);
    }
}

/* Finds the domain's context, or a free number for it. */
static struct ipmmu_context *find_context(struct ipmmu_root *root, const void *identity,
                                          unsigned int *number)
{
    *number = MAX_CONTEXTS;
    for (unsigned int i = root->blocked.number; i-- > root->unit->class->first_context;) {
        if (root->contexts[i] == NULL) {
            *number = i;
        } else if (root->contexts[i]->identity == identity) {
            return root->contexts[i];
        }
    }
    return NULL;
}

/* Whether a table is one that the hardware can be told of. */
static bool can_walk(const struct ipmmu_root *root, const struct piommu_pgtable_info *table)
{
    bool stage1 = table->format == PIOMMU_ARM_32_LPAE_S1;

    if (root->stage == 1) {
        return stage1 && table->input_bits == 32;
    }
    return table->format == PIOMMU_ARM_64_LPAE_S2 && table->granule == 4096 &&
           table->start_level == 1 && table->input_bits <= 40 && table->output_bits <= 40;
}

static int make_context(struct ipmmu_root *root, const struct piommu_backend_domain *request,
                        unsigned int number, struct ipmmu_context **result)
{
    struct piommu_host host = root->unit->host;
    struct ipmmu_context *context;
    unsigned long state;

    if (!can_walk(root, request->table)) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if (number == MAX_CONTEXTS) {
        return -PIOMMU_ENOSPC;
    }
    context = piommu_host_alloc(host, sizeof(*context));
    if (context == NULL) {
        return -PIOMMU_ENOMEM;
    }
    context->root = root;
    context->identity = request->identity;
    context->number = (uint8_t)number;
    describe(root, request->table, context);
    if (root->unit->powered) {
        piommu_ipmmu_program_(context);
    }
    state = piommu_host_lock(host, root->lock);
    root->contexts[number] = context;
    piommu_host_unlock(host, root->lock, state);
    *result = context;
    return 0;
}

int piommu_ipmmu_domain_create_(void *handle, const struct piommu_backend_domain *request,
                                void **result)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_root *root = unit->root;
    struct ipmmu_context *context;
    unsigned int number;
    int error = 0;

    if (root_dead(root)) {
        return -PIOMMU_EFAILED;
    }
    if (request->type == PIOMMU_DOMAIN_IDENTITY) {
        *result = &root->pass;
        return 0;
    }
    context = find_context(root, request->identity, &number);
    if (context == NULL) {
        error = make_context(root, request, number, &context);
    }
    if (error != 0) {
        return error;
    }
    context->references++;
    unit->used |= 1u << context->number;
    if (!is_root(unit) && unit->powered) {
        piommu_ipmmu_enable_(unit, context);
    }
    *result = context;
    return 0;
}

/* Disables a context in a unit's registers, and makes the unit forget it. */
static void disable(struct ipmmu_unit *unit, unsigned int number)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);

    unit->enabled &= ~(1u << number);
    piommu_ipmmu_write_context_(unit, number, IMCTR, IMCTR_FLUSH);
    piommu_host_unlock(unit->host, unit->root->lock, state);
}

void piommu_ipmmu_domain_destroy_(void *handle, void *domain)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_context *context = domain;
    struct ipmmu_root *root = unit->root;
    unsigned long state;

    if (context->number == PASS) {
        return;
    }
    unit->used &= ~(1u << context->number);
    if (!is_root(unit) && unit->powered) {
        disable(unit, context->number);
    }
    if (--context->references != 0) {
        return;
    }
    state = piommu_host_lock(unit->host, root->lock);
    root->contexts[context->number] = NULL;
    piommu_host_unlock(unit->host, root->lock, state);
    if (root->unit->powered && !root_dead(root)) {
        piommu_ipmmu_write_context_(root->unit, context->number, IMCTR, IMCTR_FLUSH);
        /* If it does not end the root is dead, and no number of it is ever used again. */
        (void)wait_for_unit(root->unit, context->number);
    }
    piommu_host_free(unit->host, context, sizeof(*context));
}
