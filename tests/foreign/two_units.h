/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TWO_UNITS_H
#define TWO_UNITS_H

/* The hardware of the tests here: an R-Car H3 of a root and a cache unit, by the model. */

#include <piommu/models/ipmmu-vmsa.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TWO_UNITS_ROOT       0xe67b0000u
#define TWO_UNITS_CACHE      0xe7740000u
#define TWO_UNITS_COMPATIBLE "renesas,ipmmu-r8a7795"

/* Walks see what was cleaned, and a FLUSH takes a while. */
static inline struct piommu_ipmmu_model *two_units_create(bool (*read64)(void *ctx,
                                                                         uint64_t physical,
                                                                         uint64_t *value))
{
    static const struct piommu_ipmmu_model_unit units[] = {
        {.name = "MM", .base = TWO_UNITS_ROOT, .root = 0},
        {.name = "DS1", .base = TWO_UNITS_CACHE, .root = 0},
    };
    const struct piommu_ipmmu_model_parameters parameters = {
        .generation = PIOMMU_IPMMU_MODEL_GEN3,
        .units = units,
        .unit_count = 2,
        .non_coherent = true,
    };
    struct piommu_ipmmu_model *model =
        piommu_ipmmu_model_create(&parameters, (struct piommu_walker_memory){.read64 = read64});

    assert_non_null(model);
    piommu_ipmmu_model_set_flush_polls(model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 3);
    return model;
}

/* Fails the test if a rule of the hardware was broken. */
static inline void two_units_destroy(struct piommu_ipmmu_model *model)
{
    if (piommu_ipmmu_model_violations(model) != 0) {
        fail_msg("%s", piommu_ipmmu_model_violation(model, 0));
    }
    piommu_ipmmu_model_destroy(model);
}

#endif
