/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "core.h"

#include <piommu/context.h>

unsigned long piommu_context_lock_(struct piommu_context *context)
{
    return piommu_host_lock(context->host, context->lock);
}

void piommu_context_unlock_(struct piommu_context *context, unsigned long state)
{
    piommu_host_unlock(context->host, context->lock, state);
}

int piommu_context_create(struct piommu_host host, const struct piommu_context_config *config,
                          struct piommu_context **result)
{
    struct piommu_context *context;
    int error;

    if (result == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (!PIOMMU_CORE_WITH_TRACE && config != NULL && config->trace != NULL) {
        return -PIOMMU_EOPNOTSUPP;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_BASE | PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    context = piommu_host_alloc_(host, sizeof(*context));
    if (context == NULL) {
        return -PIOMMU_ENOMEM;
    }
    context->host = host;
    context->lock = host.os->lock_create(host.ctx);
    if (context->lock == NULL) {
        piommu_host_free_(host, context, sizeof(*context));
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
    piommu_host_free_(context->host, context, sizeof(*context));
    return 0;
}
