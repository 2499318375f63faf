/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * What the device tree says of an IPMMU, by the macros of the port. No register is touched: a cache
 * unit whose root is not there waits for it.
 */

#include <piommu_zephyr.h>
#include <piommu_zephyr_dt.h>

#include <piommu/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#include <string.h>

#include <zephyr/irq.h>
#include <zephyr/ztest.h>

#define ROOT   DT_NODELABEL(ipmmu_mm)
#define CACHE  DT_NODELABEL(ipmmu_ds1)
#define MASTER DT_NODELABEL(master)

static const struct piommu_ipmmu_vmsa_config root = PIOMMU_ZEPHYR_IPMMU(ROOT);
static const struct piommu_ipmmu_vmsa_config cache = PIOMMU_ZEPHYR_IPMMU(CACHE);

#define UNIT(node) PIOMMU_ZEPHYR_KEY(node),
static const uint64_t keys[] = {DT_FOREACH_STATUS_OKAY(renesas_ipmmu_vmsa, UNIT)};

ZTEST(piommu_devicetree, test_units)
{
    zassert_equal(strcmp(root.compatible, "renesas,ipmmu-r8a77951"), 0);
    zassert_equal(root.registers, 0xe67b0000);
    zassert_equal(strcmp(cache.compatible, "renesas,ipmmu-r8a77951"), 0);
    zassert_equal(cache.registers, 0xe7740000);
}

ZTEST(piommu_devicetree, test_keys)
{
    zassert_equal(ARRAY_SIZE(keys), 2);
    zassert_true(keys[0] != 0 && keys[1] != 0 && keys[0] != keys[1]);
    zassert_equal(PIOMMU_ZEPHYR_PARENT_KEY(ROOT), 0);
    zassert_equal(PIOMMU_ZEPHYR_PARENT_KEY(CACHE), PIOMMU_ZEPHYR_KEY(ROOT));
}

ZTEST(piommu_devicetree, test_ids)
{
    const struct piommu_device_id ids[] = {PIOMMU_ZEPHYR_DEVICE_ID(MASTER, 0),
                                           PIOMMU_ZEPHYR_DEVICE_ID(MASTER, 1)};

    for (uint32_t i = 0; i < ARRAY_SIZE(ids); i++) {
        zassert_equal(ids[i].key, PIOMMU_ZEPHYR_KEY(CACHE));
        zassert_equal(ids[i].id, 32 + i);
    }
}

static struct k_mutex calls;
static struct piommu_zephyr_unit unit;

ZTEST(piommu_devicetree, test_unit_waits)
{
    const struct piommu_instance_config config = {.key = PIOMMU_ZEPHYR_KEY(CACHE),
                                                  .parent_key = PIOMMU_ZEPHYR_PARENT_KEY(CACHE)};
    struct piommu_instance_info info;
    struct piommu_context *context;
    struct piommu_instance *instance;

    (void)k_mutex_init(&calls);
    zassert_equal(piommu_context_create(piommu_zephyr_host(), NULL, &context), 0);
    zassert_equal(
        piommu_instance_create(context, piommu_ipmmu_vmsa_backend(), &cache, &config, &instance),
        0);
    piommu_instance_get_info(instance, &info);
    zassert_equal(info.state, PIOMMU_INSTANCE_WAITING);

    piommu_zephyr_unit_init(&unit, instance, DT_IRQN(ROOT), &calls);
    IRQ_CONNECT(DT_IRQN(ROOT), 1, piommu_zephyr_isr, &unit, DT_IRQ(ROOT, flags));
    irq_enable(DT_IRQN(ROOT));
    piommu_zephyr_unit_stop(&unit);

    zassert_equal(piommu_instance_destroy(instance), 0);
    zassert_equal(piommu_context_destroy(context), 0);
}

ZTEST_SUITE(piommu_devicetree, NULL, NULL, NULL, NULL, NULL);
