/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#include "instrumented.h"

static const struct instrumented_hooks *current;

void instrumented_set_hooks(const struct instrumented_hooks *hooks)
{
    current = hooks;
}

void instrumented_before(const volatile void *object)
{
    if (current != NULL && current->before != NULL) {
        current->before(current->ctx, object);
    }
}

void instrumented_after_store(const volatile void *object, size_t size)
{
    if (current != NULL && current->after_store != NULL) {
        current->after_store(current->ctx, object, size);
    }
}
