/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Units: how they are found, started, stopped, and given their power back. */

#include "unit.h"

#define PRODUCT_REGISTER_SIZE 4u
#define ADDRESS_BITS          40u
#define SECTION_SIZES         0x40201000u

static int set_power(struct ipmmu_unit *unit, bool on)
{
    int error = unit->place.power != NULL ? unit->place.power(unit->place.power_cookie, on) : 0;

    if (error == 0) {
        unit->powered = on;
    }
    return error;
}

/* An empty table of either stage is all zeroes; the larger one is two tables side by side. */
static size_t empty_table_size(const struct ipmmu_root *root)
{
    return root->stage == 1 ? 0x1000 : 0x2000;
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
    piommu_host_free(host, root, sizeof(*root));
}

/* The context in which blocked micro-TLBs are: its table is empty. */
static int make_blocked(struct ipmmu_root *root)
{
    struct piommu_host host = root->unit->host;
    struct piommu_dma_request request = {
        .size = empty_table_size(root),
        .alignment = empty_table_size(root),
        .max_physical = (1ull << ADDRESS_BITS) - 1,
        .purpose = PIOMMU_DMA_TABLE,
        .owner = root->unit->config.owner,
    };
    struct ipmmu_context *blocked = &root->blocked;

    root->empty_table = host.os->dma_alloc(host.ctx, &request, &blocked->table);
    if (root->empty_table == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if ((blocked->table & (request.alignment - 1)) != 0 ||
        blocked->table > request.max_physical - (request.size - 1)) {
        return -PIOMMU_EINVAL;
    }
    memset(root->empty_table, 0, request.size);
    host.os->cache_clean(host.ctx, root->empty_table, request.size);
    piommu_host_barrier(host, PIOMMU_BARRIER_WRITE);
    blocked->root = root;
    blocked->number = (uint8_t)(root->unit->class->contexts - 1);
    blocked->control = IMCTR_MMUEN | IMCTR_INTEN;
    blocked->ttbcr = root->unit->class->stage1_ttbcr;
    if (root->stage == 2) {
        blocked->control |= IMCTR_VA64;
        blocked->ttbcr = IMTTBCR_EAE | IMTTBCR_PMB | IMTTBCR_SL0_LEVEL_1 | (64u - ADDRESS_BITS);
    }
    root->pass.root = root;
    root->pass.number = PASS;
    return 0;
}

static int make_root(struct ipmmu_unit *unit)
{
    struct ipmmu_root *root = piommu_host_alloc(unit->host, sizeof(*root));
    int error;

    if (root == NULL) {
        return -PIOMMU_ENOMEM;
    }
    root->unit = unit;
    root->units = unit;
    root->stage = unit->place.stage != 0 ? unit->place.stage : 1;
    root->lock = unit->host.os->lock_create(unit->host.ctx);
    error = root->lock != NULL ? make_blocked(root) : -PIOMMU_ENOMEM;
    if (error != 0) {
        free_root(root);
        return error;
    }
    unit->root = root;
    return 0;
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

    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        piommu_ipmmu_write_context_(unit, i, IMCTR, 0);
    }
    if (root->stage == 2) {
        piommu_ipmmu_change_control_(unit, IMSAUXCTLR, 0, IMSAUXCTLR_S2PTE);
    }
    if (unit->class->has_high_address) {
        piommu_ipmmu_change_control_(unit, IMSCTLR, IMSCTLR_USE_SECGRP, 0);
    }
    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        /* A fault that firmware has left would keep the interrupt raised. */
        piommu_ipmmu_write_context_(unit, i, IMSTR, 0);
    }
    piommu_ipmmu_program_(&root->blocked);
    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        if (root->contexts[i] != NULL) {
            piommu_ipmmu_program_(root->contexts[i]);
        }
    }
    return piommu_ipmmu_flush_(&root->blocked);
}

/* Starts a cache unit: the blocked context before the micro-TLBs that are to be in it. */
static void start_cache(struct ipmmu_unit *unit)
{
    piommu_ipmmu_change_control_(unit, IMSCTLR, IMSCTLR_USE_SECGRP, 0);
    unit->enabled = 0;
    piommu_ipmmu_enable_(unit, &unit->root->blocked);
    for (unsigned int i = 0; i < unit->class->contexts; i++) {
        if ((unit->used & (1u << i)) != 0) {
            piommu_ipmmu_enable_(unit, unit->root->contexts[i]);
        }
    }
}

static int start(struct ipmmu_unit *unit)
{
    int error = is_root(unit) ? start_root(unit->root) : 0;

    if (error != 0) {
        return error;
    }
    if (!is_root(unit)) {
        start_cache(unit);
    }
    piommu_ipmmu_block_all_(unit);
    return 0;
}

static void fill_info(const struct ipmmu_unit *unit, struct piommu_backend_info *info)
{
    bool stage1 = unit->root->stage == 1;

    info->aperture.last = stage1 ? UINT32_MAX : (1ull << ADDRESS_BITS) - 1;
    info->leaf_sizes = SECTION_SIZES;
    info->identity = true;
    info->atomic_switch = true;
    info->output_bits = ADDRESS_BITS;
    info->table = (struct piommu_pgtable_config){
        .format = stage1 ? PIOMMU_ARM_32_LPAE_S1 : PIOMMU_ARM_64_LPAE_S2,
        .granule = 4096,
        .input_bits = stage1 ? 32 : ADDRESS_BITS,
        .output_bits = ADDRESS_BITS,
        /* Nobody knows of walks that snoop, but on Gen2, where Linux does not count on it. */
        .coherent_walk = false,
        .flags = stage1 ? PIOMMU_PGTABLE_NON_SECURE : PIOMMU_PGTABLE_CONCATENATE,
        .leaf_sizes = SECTION_SIZES,
    };
    info->prot = PIOMMU_PROT_READ | PIOMMU_PROT_WRITE | PIOMMU_PROT_EXECUTE_ALL |
                 PIOMMU_PROT_NONCACHEABLE | PIOMMU_PROT_DEVICE | PIOMMU_PROT_SHARE_MASK |
                 PIOMMU_PROT_SOFTWARE_MASK | (stage1 ? PIOMMU_PROT_PRIVILEGED : 0);
    info->write_only = !stage1;
    if (!stage1) {
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

/* Decides whether the unit is one that can be driven as it is to be. */
static int check(struct ipmmu_unit *unit, const struct ipmmu_unit *parent)
{
    uint32_t product;
    int error;

    if (unit->part == NULL) {
        piommu_host_log_(unit->host, PIOMMU_LOG_ERROR, "%s: not a known IPMMU: %s",
                         unit->config.name, unit->place.compatible);
        return -PIOMMU_ENODEV;
    }
    if (parent != NULL && (!unit->class->has_caches || parent->class != unit->class)) {
        return -PIOMMU_EINVAL;
    }
    if (unit->place.stage > 2) {
        return -PIOMMU_EINVAL;
    }
    if (parent != NULL || unit->place.stage != 2) {
        return 0;
    }
    error = read_product(unit, &product);
    if (error == 0 && !piommu_ipmmu_can_stage2_(unit->part, product)) {
        piommu_host_log_(unit->host, PIOMMU_LOG_ERROR, "%s: product %x has no stage 2",
                         unit->config.name, (uint64_t)product);
        error = -PIOMMU_EOPNOTSUPP;
    }
    return error;
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
    struct ipmmu_unit *main_unit = parent;
    struct ipmmu_unit *unit;
    int error;

    if (backend_config == NULL) {
        return -PIOMMU_EINVAL;
    }
    unit = piommu_host_alloc(host, sizeof(*unit));
    if (unit == NULL) {
        return -PIOMMU_ENOMEM;
    }
    unit->host = host;
    unit->instance = instance;
    unit->config = *config;
    unit->place = *(const struct piommu_ipmmu_vmsa_config *)backend_config;
    unit->part = piommu_ipmmu_find_part_(unit->place.compatible);
    unit->class = unit->part != NULL ? unit->part->class : NULL;
    error = check(unit, main_unit);
    if (error == 0) {
        if (main_unit != NULL) {
            unit->root = main_unit->root;
        } else {
            error = make_root(unit);
        }
    }
    if (error == 0) {
        error = bring_up(unit);
        if (error != 0 && is_root(unit)) {
            free_root(unit->root);
        }
    }
    if (error != 0) {
        piommu_host_free(host, unit, sizeof(*unit));
        return error;
    }
    if (!is_root(unit)) {
        add_to_list(unit);
    }
    fill_info(unit, info);
    *result = unit;
    return 0;
}

/* Blocks all that devices have, and looks whether the unit obeys. */
static int stop(void *handle)
{
    struct ipmmu_unit *unit = handle;
    const struct ipmmu_context *blocked = &unit->root->blocked;

    atomic_store_explicit(&unit->root->dead, 1, memory_order_release);
    if (!unit->powered) {
        return 0;
    }
    piommu_ipmmu_block_all_(unit);
    piommu_host_barrier(unit->host, PIOMMU_BARRIER_FULL);
    for (unsigned int i = 0; has_micro_tlbs(unit) && i < unit->class->micro_tlbs; i++) {
        uint32_t control;

        if (!unit->endpoints[i].added) {
            continue;
        }
        control = piommu_ipmmu_read_micro_tlb_(unit, i, IMUCTR) & ~IMUCTR_FLUSH;
        if (control != (IMUCTR_SELECT(blocked->number) | IMUCTR_MMUEN)) {
            return -PIOMMU_ETIMEDOUT;
        }
    }
    return 0;
}

static int remove_unit(void *handle)
{
    struct ipmmu_unit *unit = handle;
    bool root = is_root(unit);

    if (unit->powered) {
        /* The root's tables are about to go: nothing may be in any of its contexts. */
        piommu_ipmmu_let_go_(unit);
        for (unsigned int i = 0; root && i < unit->class->contexts; i++) {
            piommu_ipmmu_write_context_(unit, i, IMCTR, IMCTR_FLUSH);
        }
        unit->host.os->mmio_unmap(unit->host.ctx, unit->base, unit->class->size);
        (void)set_power(unit, false);
    }
    if (root) {
        free_root(unit->root);
    } else {
        take_from_list(unit);
    }
    piommu_host_free(unit->host, unit, sizeof(*unit));
    return 0;
}

static int suspend(void *handle)
{
    struct ipmmu_unit *unit = handle;
    int error = 0;

    piommu_ipmmu_block_all_(unit);
    /* What the root holds of contexts that only this unit has could not be forgotten later. */
    for (unsigned int i = 0; i < unit->class->contexts && error == 0; i++) {
        if ((unit->used & (1u << i)) != 0) {
            error = piommu_ipmmu_flush_(unit->root->contexts[i]);
        }
    }
    if (error == 0) {
        unsigned long state = piommu_host_lock(unit->host, unit->root->lock);

        unit->enabled = 0;
        piommu_host_unlock(unit->host, unit->root->lock, state);
        error = set_power(unit, false);
    }
    return error;
}

static int resume(void *handle)
{
    struct ipmmu_unit *unit = handle;
    int error = set_power(unit, true);

    return error != 0 ? error : start(unit);
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
        .block_now = piommu_ipmmu_block_,
        .invalidate = piommu_ipmmu_invalidate_,
        .service = piommu_ipmmu_service_,
        .suspend = suspend,
        .resume = resume,
    };

    return &backend;
}
