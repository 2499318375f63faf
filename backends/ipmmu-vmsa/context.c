/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Contexts: one of the root for each domain, enabled in each cache unit that has devices of it. */

#include "unit.h"

#define LOW_MASK  0xfffff000u
#define HIGH_MASK 0xffu

static uint32_t low(uint64_t table)
{
    return (uint32_t)table & LOW_MASK;
}

static uint32_t high(uint64_t table)
{
    return (uint32_t)(table >> 32) & HIGH_MASK;
}

void piommu_ipmmu_program_(struct ipmmu_context *context)
{
    struct ipmmu_unit *root = context->root->unit;
    unsigned int number = context->number;
    unsigned long state;

    piommu_ipmmu_write_context_(root, number, IMTTLBR0, low(context->table));
    piommu_ipmmu_write_context_(root, number, IMTTUBR0, high(context->table));
    if (context->stage1 && (context->control & IMCTR_VA64) != 0) {
        piommu_ipmmu_write_context_(root, number, IMTTLBR1, low(context->table));
        piommu_ipmmu_write_context_(root, number, IMTTUBR1, high(context->table));
    }
    piommu_ipmmu_write_context_(root, number, IMTTBCR, context->ttbcr);
    if (context->stage1) {
        piommu_ipmmu_write_context_(root, number, IMMAIR0, context->mair);
    }
    if (root->class->has_bus_select) {
        piommu_ipmmu_write_context_(root, number, IMBUSCR,
                                    piommu_ipmmu_read_context_(root, number, IMBUSCR) &
                                        ~IMBUSCR_MASK);
    }
    /* 0 clears; what was read, written back, may not. */
    piommu_ipmmu_write_context_(root, number, IMSTR, 0);
    state = piommu_host_lock(root->host, context->root->lock);
    context->enabled++;
    root->holds |= 1u << number;
    piommu_ipmmu_write_context_(root, number, IMCTR, context->control | IMCTR_FLUSH);
    piommu_host_unlock(root->host, context->root->lock, state);
}

void piommu_ipmmu_enable_(struct ipmmu_unit *unit, struct ipmmu_context *context)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);

    unit->enabled |= 1u << context->number;
    unit->holds |= 1u << context->number;
    context->enabled++;
    piommu_ipmmu_write_context_(unit, context->number, IMCTR,
                                (context->control | IMCTR_FLUSH) & IMCTR_CACHE);
    piommu_host_unlock(unit->host, unit->root->lock, state);
}

/*
 * Whether a cache unit has to take part in the flush of a context: until it was stopped, also one
 * that does not answer. Under the root's lock.
 */
static bool takes_part(const struct ipmmu_unit *unit, const struct ipmmu_context *context)
{
    return !is_root(unit) && (unit->enabled & (1u << context->number)) != 0;
}

/* Writes FLUSH in all cache units that have a context. Under the root's lock. */
static void flush_caches(const struct ipmmu_context *context)
{
    for (const struct ipmmu_unit *unit = context->root->units; unit != NULL; unit = unit->next) {
        if (takes_part(unit, context)) {
            piommu_ipmmu_write_context_(unit, context->number, IMCTR,
                                        (context->control | IMCTR_FLUSH) & IMCTR_CACHE);
        }
    }
}

static bool is_flushing(const struct ipmmu_unit *unit, unsigned int number)
{
    return (piommu_ipmmu_read_context_(unit, number, IMCTR) & IMCTR_FLUSH) != 0;
}

int piommu_ipmmu_wait_(struct ipmmu_unit *unit, unsigned int number)
{
    uint64_t deadline = piommu_host_deadline_(unit->host, unit->config.timeout);

    while (is_flushing(unit, number)) {
        if (!piommu_host_poll_(unit->host, deadline)) {
            set_dead(unit, true);
            return -PIOMMU_ETIMEDOUT;
        }
    }
    return 0;
}

/* The unit behind one in the root's list, which may become longer meanwhile. */
static struct ipmmu_unit *next_unit(const struct ipmmu_unit *unit)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);
    struct ipmmu_unit *next = unit->next;

    piommu_host_unlock(unit->host, unit->root->lock, state);
    return next;
}

static bool takes_part_now(const struct ipmmu_unit *unit, const struct ipmmu_context *context)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);
    bool has = takes_part(unit, context);

    piommu_host_unlock(unit->host, unit->root->lock, state);
    return has;
}

/*
 * Waits for the ends of the flushes of all cache units that have a context. One that does not
 * answer is out of the game when it is stopped: its micro-TLBs are blocked then. The list may
 * become longer meanwhile, by units that have nothing to forget; a unit leaves it only when no
 * domain is on it any more.
 */
static void wait_for_caches(const struct ipmmu_context *context)
{
    for (struct ipmmu_unit *unit = context->root->units; unit != NULL; unit = next_unit(unit)) {
        if (takes_part_now(unit, context)) {
            (void)piommu_ipmmu_wait_(unit, context->number);
        }
    }
}

/*
 * Reports the units that did not answer, but for who asked, which says so itself. They are stopped
 * when this returns, unless they do not obey, or another CPU is at it: then they go on taking part,
 * and are waited for again. Without the root nobody forgets anything: all that have the context go.
 *
 * It is called where little of the stack is in use: what follows a failure needs more than a flush.
 */
static ALWAYS_INLINE void report_lost(struct ipmmu_unit *asked, const struct ipmmu_context *context)
{
    bool all = is_dead(context->root->unit);

    for (struct ipmmu_unit *unit = context->root->units; unit != NULL; unit = next_unit(unit)) {
        if (unit != asked && (is_dead(unit) || all) &&
            (is_root(unit) || takes_part_now(unit, context))) {
            piommu_backend_report_failure(unit->instance, -PIOMMU_ETIMEDOUT);
        }
    }
}

/* Waits for all flushes of a context. */
static void wait_for_all(const struct ipmmu_context *context)
{
    if (piommu_ipmmu_wait_(context->root->unit, context->number) == 0) {
        wait_for_caches(context);
    }
}

/* Waits for the flushes with which a context began; false if that was done before. */
static bool settle(struct ipmmu_context *context)
{
    struct ipmmu_unit *root = context->root->unit;
    unsigned long state = piommu_host_lock(root->host, context->root->lock);
    uint32_t enabled = context->enabled;
    bool settled = context->settled == enabled;

    piommu_host_unlock(root->host, context->root->lock, state);
    if (settled) {
        return false;
    }
    wait_for_all(context);
    state = piommu_host_lock(root->host, context->root->lock);
    if (!is_dead(root) && (int32_t)(enabled - context->settled) > 0) {
        context->settled = enabled;
    }
    piommu_host_unlock(root->host, context->root->lock, state);
    return true;
}

/*
 * One flush, in stages. A cache unit that was flushed can fetch again what the root has not
 * forgotten yet, and nobody says whether the root's flush reaches that: so the caches are flushed
 * before it and once more after it. No source says either that a cache's flush ends with the
 * root's, or what a second one does during a first, so each is waited for, and so is the one with
 * which a context began. (A cache unit that begins to use the context after that is covered by the
 * second flush.)
 */
enum stage { STAGE_NONE, STAGE_SETTLE, STAGE_FLUSH, STAGE_CACHES, STAGE_LAST = STAGE_CACHES };

static NEVER_INLINE void flush_now(struct ipmmu_context *context, enum stage stage)
{
    struct ipmmu_unit *root = context->root->unit;
    unsigned long state;

    if (is_dead(root)) {
        return;
    }
    if (stage == STAGE_SETTLE) {
        (void)settle(context);
        return;
    }
    state = piommu_host_lock(root->host, context->root->lock);
    flush_caches(context);
    if (stage == STAGE_FLUSH) {
        piommu_ipmmu_write_context_(root, context->number, IMCTR, context->control | IMCTR_FLUSH);
    }
    piommu_host_unlock(root->host, context->root->lock, state);
    piommu_host_barrier(root->host, PIOMMU_BARRIER_FULL);
    if (stage == STAGE_FLUSH) {
        wait_for_all(context);
    } else {
        wait_for_caches(context);
    }
}

/*
 * Ends the flush that this CPU has run, if it has, and begins with another, if one is needed and
 * nobody is at it. Tells whether there is nothing left to wait for.
 */
static NEVER_INLINE bool take_turn(struct ipmmu_unit *unit, struct ipmmu_context *context,
                                   uint32_t needed, enum stage *stage)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);
    bool over;

    if (*stage != STAGE_NONE) {
        context->flushing = false;
        context->done = is_dead(unit->root->unit) ? context->done : context->started;
    }
    over = (int32_t)(context->done - needed) >= 0 || !is_usable(unit);
    *stage = STAGE_NONE;
    if (!over && !context->flushing) {
        context->flushing = true;
        context->started++;
        *stage = STAGE_SETTLE;
    }
    piommu_host_unlock(unit->host, unit->root->lock, state);
    return over;
}

/*
 * Does what is next for somebody who waits for the end of a flush: a stage of it, or a look at that
 * of another CPU. Tells whether the end has come.
 */
static NEVER_INLINE bool flush_step(struct ipmmu_unit *unit, struct ipmmu_context *context,
                                    uint32_t needed, enum stage *stage)
{
    if (*stage != STAGE_NONE && *stage != STAGE_LAST) {
        ++*stage;
    } else if (take_turn(unit, context, needed, stage)) {
        return true;
    }
    if (*stage != STAGE_NONE) {
        flush_now(context, *stage);
    } else {
        /* Whoever runs it has a deadline. */
        (void)piommu_host_poll_(unit->host, UINT64_MAX);
    }
    return false;
}

/* A flush that runs already does not cover what was made visible since it began. */
static NEVER_INLINE uint32_t needed_flush(const struct ipmmu_context *context)
{
    struct ipmmu_root *root = context->root;
    unsigned long state = piommu_host_lock(root->unit->host, root->lock);
    uint32_t needed = context->started + 1;

    piommu_host_unlock(root->unit->host, root->lock, state);
    return needed;
}

int piommu_ipmmu_flush_(struct ipmmu_unit *unit, struct ipmmu_context *context)
{
    uint32_t needed = needed_flush(context);
    int error = is_usable(unit) ? -PIOMMU_ETIMEDOUT : -PIOMMU_EFAILED;
    enum stage stage = STAGE_NONE;

    while (!flush_step(unit, context, needed, &stage)) {
        if (stage != STAGE_NONE) {
            /* Before the next stage, and before the flush counts as done for others. */
            report_lost(unit, context);
        }
    }
    return is_usable(unit) ? 0 : error;
}

int piommu_ipmmu_settle_(struct ipmmu_unit *unit, struct ipmmu_context *context)
{
    unsigned long state = piommu_host_lock(unit->host, context->root->lock);
    bool owed = (int32_t)(context->done - context->owed) < 0;

    piommu_host_unlock(unit->host, context->root->lock, state);
    if (owed) {
        return piommu_ipmmu_flush_(unit, context);
    }
    if (settle(context)) {
        report_lost(unit, context);
    }
    return is_usable(unit) ? 0 : -PIOMMU_ETIMEDOUT;
}

int piommu_ipmmu_invalidate_(void *handle, void *domain, struct piommu_range range, bool tables)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_context *context = domain;
    struct ipmmu_root *root = context->root;

    /* There is no invalidation by address, and none that would spare walks. */
    (void)range;
    (void)tables;
    if (!has_one_context(root)) {
        return piommu_ipmmu_flush_(unit, context);
    }
    /* What another domain's table has replaced was forgotten then. */
    return root->contexts[0] == context ? piommu_ipmmu_flush_(unit, &root->blocked) : 0;
}

void piommu_ipmmu_describe_(const struct piommu_pgtable_info *table, struct ipmmu_context *context)
{
    context->table = table->root_physical;
    context->control = IMCTR_MMUEN | IMCTR_INTEN;
    context->stage1 = table->format != PIOMMU_ARM_64_LPAE_S2;
    if (context->stage1) {
        context->mair = (uint32_t)table->registers.stage1.mair;
        context->ttbcr = context->root->unit->class->stage1_ttbcr;
    } else {
        context->ttbcr =
            IMTTBCR_EAE | IMTTBCR_PMB | IMTTBCR_SL0_LEVEL_1 | (64u - (uint32_t)table->input_bits);
    }
    if (table->format == PIOMMU_ARM_64_LPAE_S1) {
        context->ttbcr = IMTTBCR_STAGE1_64(64u - (uint32_t)table->input_bits);
    }
    if (table->format != PIOMMU_ARM_32_LPAE_S1) {
        context->control |= IMCTR_VA64;
    }
}

int piommu_ipmmu_show_(struct ipmmu_root *root, struct ipmmu_context *context)
{
    struct piommu_host host = root->unit->host;
    struct ipmmu_context *shown = context != &root->blocked ? context : NULL;
    unsigned long state;
    int error;

    if (root->contexts[0] == shown) {
        return 0;
    }
    /*
     * Masters live: while the context is disabled they might pass. So it stays enabled, and the one
     * store that changes it takes it from one table to the other (the upper half is 0 for all).
     */
    piommu_ipmmu_write_context_(root->unit, 0, IMTTLBR0, low(context->table));
    state = piommu_host_lock(host, root->lock);
    root->contexts[0] = shown;
    piommu_host_unlock(host, root->lock, state);
    error = piommu_ipmmu_flush_(root->unit, &root->blocked);
    /* A fault that nobody has looked at yet is not the next domain's. */
    piommu_ipmmu_write_context_(root->unit, 0, IMSTR, 0);
    return error;
}

int piommu_ipmmu_hide_(struct ipmmu_root *root)
{
    root->contexts[0] = NULL;
    piommu_ipmmu_write_context_(root->unit, 0, IMTTLBR0, low(root->blocked.table));
    piommu_ipmmu_write_context_(root->unit, 0, IMCTR, root->blocked.control | IMCTR_FLUSH);
    return piommu_ipmmu_wait_(root->unit, 0);
}

/* The contexts of which a unit still holds something. */
static uint32_t held(const struct ipmmu_root *root)
{
    struct piommu_host host = root->unit->host;
    unsigned long state = piommu_host_lock(host, root->lock);
    uint32_t holds = 0;

    for (const struct ipmmu_unit *unit = root->units; unit != NULL; unit = unit->next) {
        holds |= unit->holds;
    }
    piommu_host_unlock(host, root->lock, state);
    return holds;
}

/* Finds the domain's context, or a number for it that is free and forgotten. */
static struct ipmmu_context *find_context(struct ipmmu_root *root, const void *identity,
                                          unsigned int *number)
{
    uint32_t holds = held(root);

    *number = has_one_context(root) ? 0 : MAX_CONTEXTS;
    for (unsigned int i = root->blocked.number; i-- > root->unit->class->first_context;) {
        if (root->contexts[i] == NULL) {
            *number = (holds & (1u << i)) == 0 ? i : *number;
        } else if (root->contexts[i]->identity == identity) {
            return root->contexts[i];
        }
    }
    return NULL;
}

/* Whether a table is one that the hardware can be told of. */
static bool can_walk(const struct ipmmu_root *root, const struct piommu_pgtable_info *table)
{
    if ((table->root_physical & ~(uint64_t)LOW_MASK & UINT32_MAX) != 0 ||
        (table->root_physical >> 32) > (has_one_context(root) ? 0 : HIGH_MASK) ||
        table->granule != 4096 || table->start_level != 1 || table->output_bits > 40) {
        return false;
    }
    switch (table->format) {
    case PIOMMU_ARM_32_LPAE_S1:
        return root->tables == PIOMMU_IPMMU_VMSA_STAGE1 && table->input_bits == 32;
    case PIOMMU_ARM_64_LPAE_S1:
        return root->tables == PIOMMU_IPMMU_VMSA_STAGE1_64 && table->input_bits == 39;
    case PIOMMU_ARM_64_LPAE_S2:
        return (root->tables == PIOMMU_IPMMU_VMSA_STAGE2 || root->mixed) && table->input_bits <= 40;
    default:
        return false;
    }
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
    context = piommu_host_alloc_(host, sizeof(*context));
    if (context == NULL) {
        return -PIOMMU_ENOMEM;
    }
    context->root = root;
    context->identity = request->identity;
    context->number = (uint8_t)number;
    piommu_ipmmu_describe_(request->table, context);
    *result = context;
    if (has_one_context(root)) {
        return 0; /* it is shown when a device enters */
    }
    if (root->unit->powered) {
        piommu_ipmmu_program_(context);
    }
    state = piommu_host_lock(host, root->lock);
    root->contexts[number] = context;
    piommu_host_unlock(host, root->lock, state);
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

    if (!is_usable(unit)) {
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

static void write_disabled(struct ipmmu_unit *unit, unsigned int number)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);

    unit->enabled &= ~(1u << number);
    piommu_ipmmu_write_context_(unit, number, IMCTR, IMCTR_FLUSH);
    piommu_host_unlock(unit->host, unit->root->lock, state);
}

int piommu_ipmmu_disable_(struct ipmmu_unit *unit, unsigned int number)
{
    /* What is written during another flush may be lost. */
    int error = piommu_ipmmu_wait_(unit, number);
    unsigned long state;

    write_disabled(unit, number);
    if (error == 0) {
        error = piommu_ipmmu_wait_(unit, number);
    }
    if (error == 0) {
        state = piommu_host_lock(unit->host, unit->root->lock);
        unit->holds &= ~(1u << number);
        piommu_host_unlock(unit->host, unit->root->lock, state);
    }
    return error;
}

/*
 * Makes a unit forget a context that no device is in any more. -PIOMMU_ETIMEDOUT: it has not, and
 * has to do so before it is used again.
 */
static int retire(struct ipmmu_unit *unit, unsigned int number)
{
    if (!unit->powered) {
        return 0;
    }
    if (!is_dead(unit)) {
        return piommu_ipmmu_disable_(unit, number);
    }
    /* It is not waited for once more. */
    write_disabled(unit, number);
    return is_flushing(unit, number) ? -PIOMMU_ETIMEDOUT : 0;
}

/* Whether a unit that can be asked has a context for a domain. Under the root's lock. */
static bool is_awake(const struct ipmmu_context *context)
{
    struct ipmmu_unit *unit = context->root->units;

    while (unit != NULL &&
           (!unit->powered || is_dead(unit) || (unit->used & (1u << context->number)) == 0)) {
        unit = unit->next;
    }
    return unit != NULL;
}

bool piommu_ipmmu_owe_(struct ipmmu_context *context)
{
    struct piommu_host host = context->root->unit->host;
    unsigned long state = piommu_host_lock(host, context->root->lock);
    bool owes = !is_awake(context);

    if (owes) {
        /* One that runs already began before. */
        context->owed = context->started + 1;
    }
    piommu_host_unlock(host, context->root->lock, state);
    return owes;
}

/*
 * Makes the root forget a context that a unit had, and no unit has any more that could be asked. An
 * error was told to the core.
 */
static int forget_in_root(struct ipmmu_context *context)
{
    struct ipmmu_root *root = context->root;
    struct piommu_host host = root->unit->host;
    int error = 0;

    if (context->references == 0) {
        unsigned long state = piommu_host_lock(host, root->lock);

        root->contexts[context->number] = NULL;
        piommu_host_unlock(host, root->lock, state);
        error = retire(root->unit, context->number);
    } else if (piommu_ipmmu_owe_(context) && root->unit->powered && !is_dead(root->unit)) {
        error = piommu_ipmmu_flush_(root->unit, context);
    }
    if (error != 0) {
        piommu_backend_report_failure(root->unit->instance, error);
    }
    return error;
}

int piommu_ipmmu_domain_destroy_(void *handle, void *domain)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_context *context = domain;
    int error = 0;
    int root_error = 0;

    if (context->number == PASS) {
        return 0;
    }
    unit->used &= ~(1u << context->number);
    if (!is_root(unit)) {
        error = retire(unit, context->number);
    }
    context->references--;
    if (!has_one_context(context->root)) {
        root_error = forget_in_root(context);
    }
    if (context->references == 0) {
        piommu_host_free_(unit->host, context, sizeof(*context));
    }
    return error != 0 || root_error != 0 ? -PIOMMU_ETIMEDOUT : 0;
}
