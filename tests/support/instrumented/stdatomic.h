/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef INSTRUMENTED_STDATOMIC_H
#define INSTRUMENTED_STDATOMIC_H

/*
 * The compiler's <stdatomic.h>, but all generic functions tell a test of what they do; see
 * instrumented.h. To be found before the compiler's own. What the library would do to an _Atomic
 * object by plain operators is not seen; it does nothing so.
 */

/* The header behind this one belongs to the compiler. */
#pragma GCC system_header

#include_next <stdatomic.h>

#include <stddef.h>

void instrumented_before(const volatile void *object);
void instrumented_after_store(const volatile void *object, size_t size);

#undef atomic_load_explicit
#undef atomic_load
#undef atomic_store_explicit
#undef atomic_store
#undef atomic_exchange_explicit
#undef atomic_exchange
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak_explicit
#undef atomic_compare_exchange_weak
#undef atomic_fetch_add_explicit
#undef atomic_fetch_add
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_or_explicit
#undef atomic_fetch_or
#undef atomic_fetch_xor_explicit
#undef atomic_fetch_xor
#undef atomic_fetch_and_explicit
#undef atomic_fetch_and
#undef atomic_thread_fence
#undef atomic_flag_test_and_set_explicit
#undef atomic_flag_test_and_set
#undef atomic_flag_clear_explicit
#undef atomic_flag_clear

/* gcc's builtins take _Atomic objects as they are; clang has others for these. */
#ifdef __clang__
#define INSTRUMENTED_BARE(name, object, ...) __c11_atomic_##name(object, __VA_ARGS__)
#define INSTRUMENTED_EXCHANGE_IF(object, expected, value, weak, success, failure) \
    INSTRUMENTED_EXCHANGE_IF_(weak)(object, expected, value, success, failure)
#define INSTRUMENTED_EXCHANGE_IF_(weak) INSTRUMENTED_EXCHANGE_IF_##weak
#define INSTRUMENTED_EXCHANGE_IF_0      __c11_atomic_compare_exchange_strong
#define INSTRUMENTED_EXCHANGE_IF_1      __c11_atomic_compare_exchange_weak
#else
#define INSTRUMENTED_BARE(name, object, ...)      INSTRUMENTED_BARE_##name(object, __VA_ARGS__)
#define INSTRUMENTED_BARE_load(object, order)     __atomic_load_n(object, order)
#define INSTRUMENTED_BARE_store(object, v, order) __atomic_store_n(object, v, order)
#define INSTRUMENTED_BARE_exchange(object, v, o)  __atomic_exchange_n(object, v, o)
#define INSTRUMENTED_BARE_fetch_add(object, v, o) __atomic_fetch_add(object, v, o)
#define INSTRUMENTED_BARE_fetch_sub(object, v, o) __atomic_fetch_sub(object, v, o)
#define INSTRUMENTED_BARE_fetch_or(object, v, o)  __atomic_fetch_or(object, v, o)
#define INSTRUMENTED_BARE_fetch_xor(object, v, o) __atomic_fetch_xor(object, v, o)
#define INSTRUMENTED_BARE_fetch_and(object, v, o) __atomic_fetch_and(object, v, o)
#define INSTRUMENTED_EXCHANGE_IF(object, expected, value, weak, success, failure) \
    __atomic_compare_exchange(object, expected, &(value), weak, success, failure)
#endif

/* All arguments are evaluated, once, before anything is told. */
#define atomic_load_explicit(object, order)                    \
    __extension__({                                            \
        __auto_type instrumented_object = (object);            \
        instrumented_before(instrumented_object);              \
        INSTRUMENTED_BARE(load, instrumented_object, (order)); \
    })

#define atomic_store_explicit(object, value, order)                                 \
    __extension__({                                                                 \
        __auto_type instrumented_object = (object);                                 \
        __typeof__((void)0, *instrumented_object) instrumented_value = (value);     \
        instrumented_before(instrumented_object);                                   \
        INSTRUMENTED_BARE(store, instrumented_object, instrumented_value, (order)); \
        instrumented_after_store(instrumented_object, sizeof *instrumented_object); \
    })

#define INSTRUMENTED_CHANGE(name, object, value, order)                                \
    __extension__({                                                                    \
        __auto_type instrumented_object = (object);                                    \
        __typeof__((void)0, *instrumented_object) instrumented_value = (value);        \
        instrumented_before(instrumented_object);                                      \
        __auto_type instrumented_old =                                                 \
            INSTRUMENTED_BARE(name, instrumented_object, instrumented_value, (order)); \
        instrumented_after_store(instrumented_object, sizeof *instrumented_object);    \
        instrumented_old;                                                              \
    })

#define INSTRUMENTED_CHANGE_IF(object, expected, value, weak, success, failure)         \
    __extension__({                                                                     \
        __auto_type instrumented_object = (object);                                     \
        __auto_type instrumented_expected = (expected);                                 \
        __typeof__((void)0, *instrumented_object) instrumented_value = (value);         \
        instrumented_before(instrumented_object);                                       \
        _Bool instrumented_done =                                                       \
            INSTRUMENTED_EXCHANGE_IF(instrumented_object, instrumented_expected,        \
                                     instrumented_value, weak, (success), (failure));   \
        if (instrumented_done) {                                                        \
            instrumented_after_store(instrumented_object, sizeof *instrumented_object); \
        }                                                                               \
        instrumented_done;                                                              \
    })

#define atomic_exchange_explicit(object, value, order) \
    INSTRUMENTED_CHANGE(exchange, object, value, order)
#define atomic_fetch_add_explicit(object, value, order) \
    INSTRUMENTED_CHANGE(fetch_add, object, value, order)
#define atomic_fetch_sub_explicit(object, value, order) \
    INSTRUMENTED_CHANGE(fetch_sub, object, value, order)
#define atomic_fetch_or_explicit(object, value, order) \
    INSTRUMENTED_CHANGE(fetch_or, object, value, order)
#define atomic_fetch_xor_explicit(object, value, order) \
    INSTRUMENTED_CHANGE(fetch_xor, object, value, order)
#define atomic_fetch_and_explicit(object, value, order) \
    INSTRUMENTED_CHANGE(fetch_and, object, value, order)
#define atomic_compare_exchange_strong_explicit(object, expected, value, success, failure) \
    INSTRUMENTED_CHANGE_IF(object, expected, value, 0, success, failure)
#define atomic_compare_exchange_weak_explicit(object, expected, value, success, failure) \
    INSTRUMENTED_CHANGE_IF(object, expected, value, 1, success, failure)

#define atomic_load(object)            atomic_load_explicit(object, memory_order_seq_cst)
#define atomic_store(object, value)    atomic_store_explicit(object, value, memory_order_seq_cst)
#define atomic_exchange(object, value) atomic_exchange_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_add(object, value) \
    atomic_fetch_add_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_sub(object, value) \
    atomic_fetch_sub_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_or(object, value) atomic_fetch_or_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_xor(object, value) \
    atomic_fetch_xor_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_and(object, value) \
    atomic_fetch_and_explicit(object, value, memory_order_seq_cst)
#define atomic_compare_exchange_strong(object, expected, value)                            \
    atomic_compare_exchange_strong_explicit(object, expected, value, memory_order_seq_cst, \
                                            memory_order_seq_cst)
#define atomic_compare_exchange_weak(object, expected, value)                            \
    atomic_compare_exchange_weak_explicit(object, expected, value, memory_order_seq_cst, \
                                          memory_order_seq_cst)

#define atomic_thread_fence(order)    \
    __extension__({                   \
        instrumented_before(0);       \
        __atomic_thread_fence(order); \
    })

/* A flag is a structure: only its address matters here. */
#define atomic_flag_test_and_set_explicit(object, order)                            \
    __extension__({                                                                 \
        volatile atomic_flag *instrumented_object = (object);                       \
        instrumented_before(instrumented_object);                                   \
        _Bool instrumented_old =                                                    \
            __atomic_test_and_set((volatile void *)instrumented_object, order);     \
        instrumented_after_store(instrumented_object, sizeof *instrumented_object); \
        instrumented_old;                                                           \
    })
#define atomic_flag_clear_explicit(object, order)                                   \
    __extension__({                                                                 \
        volatile atomic_flag *instrumented_object = (object);                       \
        instrumented_before(instrumented_object);                                   \
        __atomic_clear((volatile _Bool *)instrumented_object, order);               \
        instrumented_after_store(instrumented_object, sizeof *instrumented_object); \
    })
#define atomic_flag_test_and_set(object) \
    atomic_flag_test_and_set_explicit(object, memory_order_seq_cst)
#define atomic_flag_clear(object) atomic_flag_clear_explicit(object, memory_order_seq_cst)

#endif
