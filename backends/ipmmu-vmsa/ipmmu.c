/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Units: how they are found, started, stopped, and given their power back. */

#include <piommu/io-pgtable-inspect.h>

#include "unit.h"

#define PRODUCT_REGISTER_SIZE 4u
#define ADDRESS_BITS          40u
#define STAGE1_64_BITS        39u
#define SECTION_SIZES         0x40201000u

static int set_power(struct ipmmu_unit *unit, bool on)
{
    int error = unit->place.power != NULL ? unit->place.power(unit->place.power_cookie, on) : 0;

    if (error == 0) {
        unit->powered = on;
    }
    return error;
}

static bool is_stage1(const struct ipmmu_root *root)
{
    return root->tables != PIOMMU_IPMMU_VMSA_STAGE2;
}

/* What tables of the library's own are to be. */
static struct piommu_pgtable_config table_config(const struct ipmmu_root *root)
{
    struct piommu_pgtable_config config = {
        .format = PIOMMU_ARM_32_LPAE_S1,
        .granule = 4096,
        .input_bits = 32,
        .output_bits = ADDRESS_BITS,
        /* Nobody knows of walks that snoop, but on Gen2, where Linux does not count on it. */
        .coherent_walk = false,
        .flags = is_stage1(root) ? PIOMMU_PGTABLE_NON_SECURE : PIOMMU_PGTABLE_CONCATENATE,
        .leaf_sizes = SECTION_SIZES,
        .root_alignment = 4096, /* the lower bits of IMTTLBR0 are not an address */
        /* The only context changes its table by one store, which is of the lower word. */
        .root_bits = has_one_context(root) ? 32 : ADDRESS_BITS,
    };

    if (root->tables == PIOMMU_IPMMU_VMSA_STAGE1_64) {
        config.format = PIOMMU_ARM_64_LPAE_S1;
        config.input_bits = STAGE1_64_BITS;
    } else if (!is_stage1(root)) {
        config.format = PIOMMU_ARM_64_LPAE_S2;
        config.input_bits = ADDRESS_BITS;
    }
    return config;
}

/* An empty table of either stage is all zeroes; the larger one is two tables side by side. */
static size_t empty_table_size(const struct ipmmu_root *root)
{
    return is_stage1(root) ? 0x1000 : 0x2000;
}

static void free_root(struct ipmmu_root *root)
{
    struct piommu_host host = root->unit->host;

    if (root->empty_table != NULL) {
        host.os->dma_free(host.ctx, root->empty_table, empty_table_size(root));
    }
    if (root->lock != NULL) {
        host.os->lock_destroy(host.ctx, root->lock);
    }
    piommu_host_free_(host, root, sizeof(*root));
}

/* The context in which blocked micro-TLBs are: its table is empty. */
static int make_blocked(struct ipmmu_root *root)
{
    struct piommu_host host = root->unit->host;
    const struct piommu_pgtable_config config = table_config(root);
    struct piommu_dma_request request = {
        .size = empty_table_size(root),
        .alignment = empty_table_size(root),
        .max_physical = (1ull << config.root_bits) - 1,
        .purpose = PIOMMU_DMA_TABLE,
        .owner = root->unit->config.owner,
    };
    struct piommu_pgtable_info info;
    uint64_t physical;
    int error;

    root->empty_table = host.os->dma_alloc(host.ctx, &request, &physical);
    if (root->empty_table == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if ((physical & (request.alignment - 1)) != 0 ||
        physical > request.max_physical - (request.size - 1)) {
        return -PIOMMU_EINVAL;
    }
    memset(root->empty_table, 0, request.size);
    host.os->cache_clean(host.ctx, root->empty_table, request.size);
    piommu_host_barrier(host, PIOMMU_BARRIER_WRITE);
    error = piommu_pgtable_describe(host, &config, physical, &info);
    if (error != 0) {
        return error;
    }
    root->blocked.root = root;
    root->blocked.number = (uint8_t)(root->count - 1);
    piommu_ipmmu_describe_(&info, &root->blocked);
    root->pass.root = root;
    root->pass.number = PASS;
    return 0;
}

static int make_root(struct ipmmu_unit *unit, uint32_t product)
{
    struct ipmmu_root *root = piommu_host_alloc_(unit->host, sizeof(*root));
    int error;

    if (root == NULL) {
        return -PIOMMU_ENOMEM;
    }
    unit->root = root;
    root->unit = unit;
    root->units = unit;
    root->tables = unit->place.tables;
    root->mixed = unit->place.mixed_stages;
    root->erratum = piommu_ipmmu_has_erratum_(unit->part, product);
    root->count =
        unit->place.contexts != 0 ? (uint8_t)unit->place.contexts : unit->class->default_contexts;
    root->lock = unit->host.os->lock_create(unit->host.ctx);
    error = root->lock != NULL ? make_blocked(root) : -PIOMMU_ENOMEM;
    if (error != 0) {
        free_root(root);
    }
    return error;
}

static int read_product(const struct ipmmu_unit *unit, uint32_t *product)
{
    const struct piommu_os *os = unit->host.os;
    uintptr_t base;
    int error;

    *product = unit->place.product;
    if (unit->place.product_register == 0) {
        return 0;
    }
    error =
        os->mmio_map(unit->host.ctx, unit->place.product_register, PRODUCT_REGISTER_SIZE, &base);
    if (error == 0) {
        *product = os->mmio_read(unit->host.ctx, base, PRODUCT_REGISTER_SIZE);
        os->mmio_unmap(unit->host.ctx, base, PRODUCT_REGISTER_SIZE);
    }
    return error;
}

/* Starts a root: no context but the blocked one, and those that domains have already. */
static int start_root(struct ipmmu_root *root)
{
    struct ipmmu_unit *unit = root->unit;
    bool stage2 = !is_stage1(root) || root->mixed;

    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        piommu_ipmmu_write_context_(unit, i, IMCTR, 0);
    }
    if (unit->class->has_high_address) {
        /* Whoever was here before may have wanted it otherwise. */
        piommu_ipmmu_change_control_(unit, IMSAUXCTLR, IMSAUXCTLR_S2PTE,
                                     stage2 ? IMSAUXCTLR_S2PTE : 0);
        piommu_ipmmu_change_control_(unit, IMSCTLR, IMSCTLR_USE_SECGRP, 0);
    }
    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        /* A fault that firmware has left would keep the interrupt raised. */
        piommu_ipmmu_write_context_(unit, i, IMSTR, 0);
    }
    piommu_ipmmu_program_(&root->blocked);
    for (unsigned int i = 0; i < root->count; i++) {
        if (root->contexts[i] != NULL) {
            piommu_ipmmu_program_(root->contexts[i]);
        }
    }
    return piommu_ipmmu_flush_(unit, &root->blocked);
}

/* Enables the contexts of the domains that a cache unit has. */
static void enable_used(struct ipmmu_unit *unit)
{
    for (unsigned int i = 0; i < unit->root->count; i++) {
        if ((unit->used & (1u << i)) != 0) {
            piommu_ipmmu_enable_(unit, unit->root->contexts[i]);
        }
    }
}

/* Starts a cache unit: the blocked context before the micro-TLBs that are to be in it. */
static int start_cache(struct ipmmu_unit *unit)
{
    struct ipmmu_root *root = unit->root;

    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        piommu_ipmmu_write_context_(unit, i, IMCTR, 0);
    }
    /* The TLB may be switched off only while no context uses it. */
    piommu_ipmmu_change_control_(unit, IMSCTLR, IMSCTLR_USE_SECGRP,
                                 root->erratum ? IMSCTLR_DISCACHE : 0);
    unit->enabled = 0;
    unit->holds = 0; /* the FLUSH with which a context is enabled is for what firmware has left */
    piommu_ipmmu_enable_(unit, &root->blocked);
    enable_used(unit);
    return piommu_ipmmu_wait_(unit, root->blocked.number);
}

static int start(struct ipmmu_unit *unit)
{
    int error = is_root(unit) ? start_root(unit->root) : start_cache(unit);

    if (error == 0) {
        piommu_ipmmu_block_all_(unit);
    }
    return error;
}

/* Lets go of masters and tables. -PIOMMU_ETIMEDOUT: the empty table may still be in use. */
static int shut(struct ipmmu_unit *unit)
{
    struct ipmmu_root *root = unit->root;

    piommu_ipmmu_let_go_(unit);
    for (unsigned int i = 0; is_root(unit) && i < root->count; i++) {
        piommu_ipmmu_write_context_(unit, i, IMCTR, IMCTR_FLUSH);
    }
    return piommu_ipmmu_disable_(unit, root->blocked.number);
}

static void fill_info(const struct ipmmu_unit *unit, struct piommu_backend_info *info)
{
    const struct ipmmu_root *root = unit->root;
    bool stage1 = is_stage1(root);

    info->table = table_config(root);
    info->aperture.last = (1ull << info->table.input_bits) - 1;
    info->leaf_sizes = SECTION_SIZES;
    info->identity = true;
    info->atomic_switch = true;
    info->output_bits = ADDRESS_BITS;
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL |
                 PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SHARE_MASK |
                 PIOMMU_PROT_SOFTWARE_MASK | (stage1 ? PIOMMU_PROT_PRIVILEGED : 0);
    info->write_only = !stage1;
    if (!stage1 || root->mixed) {
        info->shared = (struct piommu_shared_limits){
            .formats = 1u << PIOMMU_ARM_64_LPAE_S2,
            .granules = 4096,
            .input_first = 32,
            .input_last = ADDRESS_BITS,
            .start_first = 1,
            .start_last = 1,
            .concatenated = 2,
            .output_bits = ADDRESS_BITS,
            .leaf_sizes = SECTION_SIZES,
        };
    }
}

static void add_to_list(struct ipmmu_unit *unit)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);
    struct ipmmu_unit **link = &unit->root->units;

    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = unit;
    piommu_host_unlock(unit->host, unit->root->lock, state);
}

static void take_from_list(struct ipmmu_unit *unit)
{
    unsigned long state = piommu_host_lock(unit->host, unit->root->lock);
    struct ipmmu_unit **link = &unit->root->units;

    while (*link != unit) {
        link = &(*link)->next;
    }
    *link = unit->next;
    piommu_host_unlock(unit->host, unit->root->lock, state);
}

/* Decides whether a root can be as its place wants it. */
static int check_root(const struct ipmmu_unit *unit, uint32_t product)
{
    const struct piommu_ipmmu_vmsa_config *place = &unit->place;
    bool stage2 = place->tables == PIOMMU_IPMMU_VMSA_STAGE2;
    unsigned int least = unit->class->first_context != 0 ? 3 : 1;

    if ((unsigned int)place->tables > PIOMMU_IPMMU_VMSA_STAGE2 || (place->mixed_stages && stage2) ||
        place->contexts > unit->class->contexts ||
        (place->contexts != 0 && place->contexts < least)) {
        return -PIOMMU_EINVAL;
    }
    if (place->tables == PIOMMU_IPMMU_VMSA_STAGE1_64 && !unit->class->has_high_address) {
        return -PIOMMU_EOPNOTSUPP;
    }
    if ((stage2 || place->mixed_stages) && !piommu_ipmmu_can_stage2_(unit->part, product)) {
        piommu_host_log_(unit->host, PIOMMU_LOG_ERROR, "%s: product %x has no stage 2",
                         text_value(unit->config.name), product, 0);
        return -PIOMMU_EOPNOTSUPP;
    }
    return 0;
}

/* Decides whether the unit is one that can be driven, and finds or makes its root. */
static int find_root(struct ipmmu_unit *unit, const struct ipmmu_unit *parent)
{
    uint32_t product;
    int error;

    if (unit->part == NULL) {
        piommu_host_log_(unit->host, PIOMMU_LOG_ERROR, "%s: not a known IPMMU: %s",
                         text_value(unit->config.name), text_value(unit->place.compatible), 0);
        return -PIOMMU_ENODEV;
    }
    if (parent != NULL) {
        unit->root = parent->root;
        return unit->class->has_caches && parent->class == unit->class && is_root(parent)
                   ? 0
                   : -PIOMMU_EINVAL;
    }
    error = read_product(unit, &product);
    if (error == 0) {
        error = check_root(unit, product);
    }
    return error != 0 ? error : make_root(unit, product);
}

/* Maps the registers, and starts the unit. */
static int bring_up(struct ipmmu_unit *unit)
{
    const struct piommu_os *os = unit->host.os;
    int error = set_power(unit, true);

    if (error != 0) {
        return error;
    }
    error = os->mmio_map(unit->host.ctx, unit->place.registers, unit->class->size, &unit->base);
    if (error == 0) {
        error = start(unit);
        if (error != 0 && shut(unit) != 0) {
            piommu_host_log_(unit->host, PIOMMU_LOG_ERROR,
                             "%s: does not stop; a table of it is never used again",
                             text_value(unit->config.name), 0, 0);
            unit->root->empty_table = NULL;
        }
        if (error != 0) {
            os->mmio_unmap(unit->host.ctx, unit->base, unit->class->size);
        }
    }
    if (error != 0) {
        (void)set_power(unit, false);
    }
    return error;
}

static int probe(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **result, struct piommu_backend_info *info)
{
    struct ipmmu_unit *unit;
    int error;

    if (backend_config == NULL) {
        return -PIOMMU_EINVAL;
    }
    unit = piommu_host_alloc_(host, sizeof(*unit));
    if (unit == NULL) {
        return -PIOMMU_ENOMEM;
    }
    unit->host = host;
    unit->instance = instance;
    unit->config = *config;
    unit->place = *(const struct piommu_ipmmu_vmsa_config *)backend_config;
    unit->part = piommu_ipmmu_find_part_(unit->place.compatible);
    unit->class = unit->part != NULL ? unit->part->class : NULL;
    error = find_root(unit, parent);
    if (error == 0) {
        error = bring_up(unit);
        if (error != 0 && is_root(unit)) {
            free_root(unit->root);
        }
    }
    if (error != 0) {
        piommu_host_free_(host, unit, sizeof(*unit));
        return error;
    }
    if (!is_root(unit)) {
        add_to_list(unit);
    }
    fill_info(unit, info);
    *result = unit;
    return 0;
}

/* Whether the micro-TLBs that devices have are blocked, as the hardware itself says. */
static bool all_blocked(const struct ipmmu_unit *unit)
{
    uint32_t blocked = IMUCTR_SELECT(unit->root->blocked.number) | IMUCTR_MMUEN;

    for (unsigned int i = 0; has_micro_tlbs(unit) && i < unit->class->micro_tlbs; i++) {
        if (unit->endpoints[i].added &&
            (piommu_ipmmu_read_micro_tlb_(unit, i, IMUCTR) & ~IMUCTR_FLUSH) != blocked) {
            return false;
        }
    }
    return true;
}

/* Blocks all that devices have, and looks whether the unit obeys. */
static int stop(void *handle)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_root *root = unit->root;
    unsigned long state;

    set_dead(unit, true);
    if (!unit->powered) {
        return 0;
    }
    piommu_ipmmu_block_all_(unit);
    piommu_host_barrier(unit->host, PIOMMU_BARRIER_FULL);
    if (!all_blocked(unit)) {
        return -PIOMMU_ETIMEDOUT;
    }
    if (has_one_context(root)) {
        return piommu_ipmmu_hide_(root);
    }
    /* No flush needs it any more; what it holds is forgotten before it is used again. */
    state = piommu_host_lock(unit->host, root->lock);
    unit->enabled &= 1u << root->blocked.number;
    piommu_host_unlock(unit->host, root->lock, state);
    /* Nor can it be asked to have the root forget what its domains lose from now on. */
    for (unsigned int i = 0; !is_root(unit) && i < root->count; i++) {
        if ((unit->used & (1u << i)) != 0) {
            (void)piommu_ipmmu_owe_(root->contexts[i]);
        }
    }
    return 0;
}

static int remove_unit(void *handle)
{
    struct ipmmu_unit *unit = handle;
    bool root = is_root(unit);

    /* The table of the blocked context is about to go: nothing may use it. */
    if (unit->powered && shut(unit) != 0) {
        return -PIOMMU_ETIMEDOUT;
    }
    unit->host.os->mmio_unmap(unit->host.ctx, unit->base, unit->class->size);
    if (unit->powered) {
        (void)set_power(unit, false);
    }
    if (root) {
        free_root(unit->root);
    } else {
        take_from_list(unit);
    }
    piommu_host_free_(unit->host, unit, sizeof(*unit));
    return 0;
}

static int suspend(void *handle)
{
    struct ipmmu_unit *unit = handle;
    struct ipmmu_root *root = unit->root;
    int error = 0;

    piommu_ipmmu_block_all_(unit);
    if (has_one_context(root)) {
        error = piommu_ipmmu_show_(root, &root->blocked);
    }
    /* What the root holds of contexts that only this unit has could not be forgotten later. */
    for (unsigned int i = 0; i < root->count && error == 0; i++) {
        if ((unit->used & (1u << i)) != 0 && root->contexts[i] != NULL) {
            error = piommu_ipmmu_flush_(unit, root->contexts[i]);
        }
    }
    if (error == 0) {
        unsigned long state = piommu_host_lock(unit->host, root->lock);

        unit->enabled = 0;
        unit->holds = 0;
        piommu_host_unlock(unit->host, root->lock, state);
        error = set_power(unit, false);
    }
    return error;
}

/* Whether a context is in the root's registers as it should be. */
static bool is_programmed(const struct ipmmu_context *context)
{
    const struct ipmmu_unit *root = context->root->unit;

    return (piommu_ipmmu_read_context_(root, context->number, IMCTR) & ~IMCTR_FLUSH) ==
               context->control &&
           piommu_ipmmu_read_context_(root, context->number, IMTTLBR0) ==
               (uint32_t)context->table &&
           piommu_ipmmu_read_context_(root, context->number, IMTTBCR) == context->ttbcr;
}

/*
 * Brings a root back that did not answer. Masters may be live behind cache units that work, so no
 * context is disabled: what runs is waited for, and everything is forgotten.
 */
static int revive_root(struct ipmmu_root *root)
{
    int error;

    if (!is_programmed(&root->blocked)) {
        return start(root->unit); /* it was reset */
    }
    error = piommu_ipmmu_flush_(root->unit, &root->blocked);
    for (unsigned int i = 0; i < root->count && error == 0; i++) {
        if (root->contexts[i] != NULL) {
            error = piommu_ipmmu_flush_(root->unit, root->contexts[i]);
        } else if ((root->unit->holds & (1u << i)) != 0 && i != root->blocked.number) {
            error = piommu_ipmmu_disable_(root->unit, i);
        }
    }
    return error;
}

/* Brings a cache unit back that did not answer; its micro-TLBs stay on the blocked context. */
static int revive_cache(struct ipmmu_unit *unit)
{
    const struct ipmmu_root *root = unit->root;
    int error = 0;

    if ((piommu_ipmmu_read_context_(unit, root->blocked.number, IMCTR) & IMCTR_MMUEN) == 0) {
        return start(unit); /* it was reset */
    }
    for (unsigned int i = 0; i < root->count && error == 0; i++) {
        if (i != root->blocked.number) {
            error = piommu_ipmmu_disable_(unit, i);
        }
    }
    if (error == 0) {
        enable_used(unit);
        error = piommu_ipmmu_flush_(unit, &unit->root->blocked);
    }
    return error;
}

static int resume(void *handle)
{
    struct ipmmu_unit *unit = handle;
    bool was_off = !unit->powered;
    int error = was_off ? set_power(unit, true) : 0;

    if (error != 0) {
        return error;
    }
    set_dead(unit, false);
    if (was_off) {
        return start(unit);
    }
    return is_root(unit) ? revive_root(unit->root) : revive_cache(unit);
}

const struct piommu_backend *piommu_ipmmu_vmsa_backend(void)
{
    static const struct piommu_backend backend = {
        .size = sizeof(backend),
        .name = "ipmmu-vmsa",
        .compatible = piommu_ipmmu_compatible_,
        .kind = PIOMMU_BACKEND_TABLES,
        .needs = PIOMMU_OS_NEED_LOCK | PIOMMU_OS_NEED_MMIO | PIOMMU_OS_NEED_CLEAN,
        .probe = probe,
        .remove = remove_unit,
        .stop = stop,
        .add_endpoint = piommu_ipmmu_add_endpoint_,
        .release_endpoint = piommu_ipmmu_release_endpoint_,
        .domain_create = piommu_ipmmu_domain_create_,
        .domain_destroy = piommu_ipmmu_domain_destroy_,
        .attach = piommu_ipmmu_attach_,
        .block = piommu_ipmmu_block_,
        .block_now = piommu_ipmmu_block_now_,
        .invalidate = piommu_ipmmu_invalidate_,
        .service = piommu_ipmmu_service_,
        .suspend = suspend,
        .resume = resume,
    };

    return &backend;
}
