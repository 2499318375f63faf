/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef INSTRUMENTED_H
#define INSTRUMENTED_H

/*
 * Tells a test of every atomic access that the library makes. For this the library's own sources
 * are compiled once more, with the <stdatomic.h> that lies beside this file (the CMake target
 * piommu_instrumented, and piommu_instrumented_halves with PIOMMU_DESCRIPTOR_HALVES).
 */

#include <stddef.h>

struct instrumented_hooks {
    /*
     * Before each atomic access, loads and fences included: here another thread could have got in
     * between. The object is NULL for a fence.
     */
    void (*before)(void *ctx, const volatile void *object);
    /* After each access that has stored, of a compare-exchange only if it did. */
    void (*after_store)(void *ctx, const volatile void *object, size_t size);
    void *ctx;
};

/*
 * From now on these are called, on whatever thread the access is made; NULL, as at the start: none
 * are. Members may be NULL. What `hooks` points to must live as long as it is set, and nothing of
 * the library may run on another thread meanwhile.
 */
void instrumented_set_hooks(const struct instrumented_hooks *hooks);

/* For stdatomic.h alone. */
void instrumented_before(const volatile void *object);
void instrumented_after_store(const volatile void *object, size_t size);

#endif
