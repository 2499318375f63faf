/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core.h"

#include <piommu/context.h>

int piommu_context_create(struct piommu_host host, const struct piommu_context_config *config,
                          struct piommu_context **result)
{
    struct piommu_context *context;
    int error;

    if (result == NULL) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE | PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    context = piommu_host_alloc(host, sizeof(*context));
    if (context == NULL) {
        return -PIOMMU_ENOMEM;
    }
    context->host = host;
    context->lock = host.os->lock_create(host.ctx);
    if (context->lock == NULL) {
        piommu_host_free(host, context, sizeof(*context));
        return -PIOMMU_ENOMEM;
    }
    if (config != NULL) {
        context->config = *config;
    }
    *result = context;
    return 0;
}

int piommu_context_destroy(struct piommu_context *context)
{
    if (context == NULL) {
        return 0;
    }
    if (context->instances != NULL || context->devices != NULL || context->domains != NULL) {
        return -PIOMMU_EBUSY;
    }
    context->host.os->lock_destroy(context->host.ctx, context->lock);
    piommu_host_free(context->host, context, sizeof(*context));
    return 0;
}
