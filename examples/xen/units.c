/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The units: from the device tree, their interrupts, power, and the table of operations. */

#include "piommu-xen.h"

/* Callers hold spin locks while a unit is waited for. */
#define TIMEOUT (1000000u)
/* Reports that are taken in at a time, by interrupt and by tasklet. */
#define BUDGET 16u
/* Of one master in a second: a guest must not fill the log. */
#define FAULT_LIMIT 10u

struct piommu_xen piommu_xen;

/* ---- Faults ---- */

static const char *name_or(const char *name, const char *otherwise)
{
    return name != NULL ? name : otherwise;
}

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    const struct domain *d = fault->domain_owner;

    (void)cookie;
    printk(XENLOG_WARNING "piommu: %s: d%d, %s: %s at %#" PRIx64 " (status %#x)\n",
           name_or(fault->instance_name, "unit"), d != NULL ? (int)d->domain_id : -1,
           name_or(fault->device_name, "device not told"), piommu_fault_reason_name(fault->reason),
           fault->iova, fault->raw);
    return PIOMMU_FAULT_NOTE;
}

static void on_interrupt(int irq, void *dev)
{
    struct piommu_xen_unit *unit = dev;
    bool more = false;

    (void)irq;
    (void)piommu_instance_interrupt(unit->instance, BUDGET, &more);
    if (more) {
        tasklet_schedule(&unit->service);
    }
}

/*
 * With interrupts off: the line is a level, and on this CPU its handler could do nothing but come
 * back while the service is under way. Another CPU's handler gives up and comes back at most until
 * this ends. It takes no longer than the unit's timeout.
 */
static void service(void *data)
{
    struct piommu_xen_unit *unit = data;
    unsigned long flags;
    int handled;

    local_irq_save(flags);
    handled = piommu_instance_service(unit->instance, BUDGET);
    local_irq_restore(flags);
    if (handled == (int)BUDGET) {
        tasklet_schedule(&unit->service);
    }
}

/* ---- From the device tree ---- */

static uint64_t key_of(const struct dt_device_node *node)
{
    return (uint64_t)(uintptr_t)node;
}

/* Which of the strings that the library knows is this node's; NULL: none. */
static const char *compatible_of(const struct dt_device_node *node)
{
    const char *const *names = piommu_ipmmu_vmsa_backend()->compatible;

    for (unsigned int i = 0; names[i] != NULL; i++) {
        if (dt_device_is_compatible(node, names[i])) {
            return names[i];
        }
    }
    return NULL;
}

/* What tells parts that can do stage 2 from those that cannot. 0: the tree does not have it. */
static uint64_t find_product_register(void)
{
    const struct dt_device_node *node = dt_find_compatible_node(NULL, NULL, "renesas,prr");
    paddr_t address = 0;

    if (node == NULL || dt_device_get_paddr(node, 0, &address, NULL) != 0) {
        return 0;
    }
    return address;
}

static int describe(struct piommu_xen_unit *unit, struct dt_device_node *node)
{
    paddr_t address;
    int error = dt_device_get_paddr(node, 0, &address, NULL);

    if (error != 0) {
        return error;
    }
    *unit = (struct piommu_xen_unit){
        .config = {.compatible = compatible_of(node),
                   .registers = address,
                   .tables = PIOMMU_IPMMU_VMSA_STAGE2,
                   .product_register = find_product_register()},
        .node = node,
        .is_root = dt_parse_phandle(node, "renesas,ipmmu-main", 0) == NULL,
    };
    return unit->config.compatible != NULL ? 0 : -ENODEV;
}

static int create_context(void)
{
    const struct piommu_context_config config = {.fault = on_fault};

    if (piommu_xen.context != NULL) {
        return 0;
    }
    spin_lock_init(&piommu_xen.registration);
    return piommu_context_create(piommu_xen_host(), &config, &piommu_xen.context);
}

static int create_instance(struct piommu_xen_unit *unit)
{
    const struct dt_device_node *root = dt_parse_phandle(unit->node, "renesas,ipmmu-main", 0);
    const struct piommu_instance_config config = {
        .name = dt_node_name(unit->node),
        .owner = unit,
        .timeout = TIMEOUT,
        .key = key_of(unit->node),
        .parent_key = unit->is_root ? 0 : key_of(root),
        .fault_limit = FAULT_LIMIT,
    };

    return piommu_instance_create(piommu_xen.context, piommu_ipmmu_vmsa_backend(), &unit->config,
                                  &config, &unit->instance);
}

/* Stage 2 of the CPU and of the units have one table, so the lesser limit holds for both. */
static int restrict_p2m(struct piommu_xen_unit *root)
{
    struct piommu_requirements requirements;
    int error = piommu_requirements_get(&root->instance, 1, &requirements, NULL);

    if (error == 0) {
        p2m_restrict_ipa_bits(requirements.shared.input_last);
    }
    return error;
}

static int start_root(struct piommu_xen_unit *unit)
{
    int irq = platform_get_irq(unit->node, 0);
    int error;

    if (irq < 0) {
        return -ENODEV;
    }
    tasklet_init(&unit->service, service, unit);
    error = restrict_p2m(unit);
    if (error == 0) {
        unit->irq = (unsigned int)irq;
        error = request_irq(unit->irq, 0, on_interrupt, dt_node_name(unit->node), unit);
    }
    return error;
}

static int probe(struct piommu_xen_unit *unit, struct dt_device_node *node)
{
    int error = create_context();

    if (error == 0) {
        error = describe(unit, node);
    }
    if (error == 0) {
        error = create_instance(unit);
    }
    if (error == 0 && unit->is_root) {
        error = start_root(unit);
        if (error != 0) {
            (void)piommu_instance_destroy(unit->instance);
        }
    }
    return error;
}

/* ---- Power ---- */

/* Units that are parts of a root sleep before it, and wake after it. */
static int suspend_units(bool roots)
{
    int error = 0;

    for (unsigned int i = 0; error == 0 && i < piommu_xen.unit_count; i++) {
        if (piommu_xen.units[i].is_root == roots) {
            error = piommu_instance_suspend(piommu_xen.units[i].instance);
        }
    }
    return error;
}

static void resume_units(bool roots)
{
    for (unsigned int i = 0; i < piommu_xen.unit_count; i++) {
        struct piommu_xen_unit *unit = &piommu_xen.units[i];

        if (unit->is_root == roots && piommu_instance_resume(unit->instance) != 0) {
            /* Its masters are blocked; the rest of the system can go on. */
            printk(XENLOG_ERR "piommu: %s does not come back\n", dt_node_name(unit->node));
        }
    }
}

static void piommu_xen_resume(void)
{
    resume_units(true);
    resume_units(false);
}

/* No guest runs, and no other call is in progress. */
static int piommu_xen_suspend(void)
{
    int error = suspend_units(false);

    if (error == 0) {
        error = suspend_units(true);
    }
    if (error != 0) {
        piommu_xen_resume();
    }
    return piommu_xen_error(error);
}

/* What the units do stays as it is; they are not heard any more. */
static void piommu_xen_quiesce(void)
{
    for (unsigned int i = 0; i < piommu_xen.unit_count; i++) {
        if (piommu_xen.units[i].is_root) {
            release_irq(piommu_xen.units[i].irq, &piommu_xen.units[i]);
        }
    }
}

/* ---- The operations ---- */

static const struct iommu_ops operations = {
    .page_sizes = PAGE_SIZE,
    .init = piommu_xen_domain_init,
    .hwdom_init = arch_iommu_hwdom_init,
    .add_device = piommu_xen_add_device,
    .remove_device = piommu_xen_remove_device,
    .assign_device = piommu_xen_assign_device,
    .reassign_device = piommu_xen_reassign_device,
    .teardown = piommu_xen_domain_teardown,
    .map_page = piommu_xen_map_page,
    .unmap_page = piommu_xen_unmap_page,
    .lookup_page = piommu_xen_lookup_page,
    .suspend = piommu_xen_suspend,
    .resume = piommu_xen_resume,
    .iotlb_flush = piommu_xen_iotlb_flush,
    .dump_page_tables = piommu_xen_dump_page_tables,
    .dt_xlate = piommu_xen_dt_xlate,
    .quiesce = piommu_xen_quiesce,
};

/* A unit that cannot be used is not the hardware domain's either. */
static int piommu_xen_init(struct dt_device_node *node, const void *data)
{
    int error;

    (void)data;
    dt_device_set_used_by(node, DOMID_XEN);
    if (piommu_xen.unit_count == PIOMMU_XEN_MAX_UNITS) {
        return -ENOSPC;
    }
    error = probe(&piommu_xen.units[piommu_xen.unit_count], node);
    if (error != 0) {
        printk(XENLOG_ERR "piommu: %s: %s\n", dt_node_name(node), piommu_strerror(error));
        return piommu_xen_error(error);
    }
    piommu_xen.unit_count++;
    iommu_set_ops(&operations);
    return 0;
}

static const struct dt_device_match matches[] = {
    DT_MATCH_COMPATIBLE("renesas,ipmmu-r8a7795"),
    DT_MATCH_COMPATIBLE("renesas,ipmmu-r8a7796"),
    DT_MATCH_COMPATIBLE("renesas,ipmmu-r8a77961"),
    DT_MATCH_COMPATIBLE("renesas,ipmmu-r8a77965"),
    DT_MATCH_COMPATIBLE("renesas,ipmmu-r8a779f0"),
    DT_MATCH_COMPATIBLE("renesas,ipmmu-r8a779g0"),
    {.compatible = NULL},
};

/* clang-format off */
DT_DEVICE_START(piommu, "piommu: Renesas IPMMU-VMSA", DEVICE_IOMMU)
    .dt_match = matches,
    .init = piommu_xen_init,
DT_DEVICE_END
