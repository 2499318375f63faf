/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef THREADED_HOST_H
#define THREADED_HOST_H

/*
 * A host for a core that several threads use at once. It is as strict as fake_os.h about memory,
 * locks and callbacks, but has no lock of its own: each thread takes memory from a share of its own
 * and gives it back there. So nothing but the locks and atomics of the library puts the threads in
 * an order, and the thread sanitizer sees where these are missing.
 *
 * The clock is the real one, so that whoever waits for another thread never does so in vain; no
 * test asserts a time.
 *
 * What is wrong ends the process by abort(), from whatever thread.
 */

#include "pgtable_host.h"

#include <piommu/os.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** Threads have the numbers 0 to this - 1; the last one is that of the test itself. */
#define THREADED_THREADS 9u
#define THREADED_MAIN    (THREADED_THREADS - 1)

struct threaded_host;

/** Makes a host; never NULL. */
struct threaded_host *threaded_host_create(void);
/** Checks that everything was given back, and frees it. */
void threaded_host_destroy(struct threaded_host *h);
struct piommu_host threaded_host_shim(struct threaded_host *h);
/** Its callbacks, which the test may change, and add others to, before there is any thread. */
struct piommu_os *threaded_host_callbacks(struct threaded_host *h);
/** Where tables are, for hardware that cannot name their virtual addresses: to be said first. */
void threaded_host_place_memory(struct threaded_host *h, uint64_t physical);

/** The number of this thread from now on. No two threads that run beside each other have one. */
void threaded_become(unsigned int number);
unsigned int threaded_self(void);

/** Called before table memory is taken back: for a check that no hardware can reach it. */
void threaded_host_on_dma_free(struct threaded_host *h,
                               void (*callback)(void *ctx, uint64_t physical, uint64_t size),
                               void *ctx);

/** What a walker sees: a descriptor as a number of the host. False: no table is there. */
bool threaded_host_read64(void *h, uint64_t physical, uint64_t *value);

/**
 * Between these two the thread sanitizer looks away: for what models hardware, or tells one thread
 * of the test about another, and must not make an order that the library itself does not make. They
 * nest.
 */
void threaded_unseen_begin(void);
void threaded_unseen_end(void);

/** What threads of the test tell each other, in no order for the sanitizer. */
unsigned int threaded_look(atomic_uint *value);
void threaded_set(atomic_uint *value, unsigned int to);
void threaded_add(atomic_uint *value, unsigned int count);

#endif
