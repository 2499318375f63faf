/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Spaces: the tree under a lock, and what CPUs keep in front of it. */

#include "../base/bits.h"
#include "../base/compiler.h"
#include "../base/host.h"
#include "store.h"
#include "tree.h"

/* Nodes that are asked for together. */
#define BATCH       16u
#define MIN_GRANULE 64u
#define MAX_CPUS    4096u
/* What a range of up to LEAF_SIZE granules may need: it may lie in two leaves. */
#define NODES_PER_RANGE 4u
/* Candidates that are looked at for a boundary. */
#define BOUNDARY_TRIES 64u
/* Slots of a store that are emptied without releasing the lock in between. */
#define DRAIN_TOGETHER 8u

struct batch {
    struct batch *next;
    struct node nodes[BATCH];
};

/*
 * What every call reads is in other cache lines than what is written under the lock, and that in
 * others than the stores: else CPUs with work in their own stores only would wait for each other
 * (row iova.threads_2 of the benchmark).
 */
struct piommu_iova_space {
    struct piommu_host host;
    void *lock;
    uint64_t first; /* granules that can be given out */
    uint64_t last;
    unsigned int granule_shift;
    unsigned int store_count;
    bool serialised;
    uint8_t apart[64];
    struct tree tree;
    struct batch *batches;
    uint64_t taken;
    uint64_t bytes;
    uint32_t visited_last;
    uint32_t visited_most;
    struct store stores[];
};

static size_t object_size(unsigned int cpus)
{
    return sizeof(struct piommu_iova_space) + cpus * sizeof(struct store);
}

static unsigned long lock(struct piommu_iova_space *space)
{
    return space->serialised ? 0 : piommu_host_lock(space->host, space->lock);
}

static void unlock(struct piommu_iova_space *space, unsigned long state)
{
    if (!space->serialised) {
        piommu_host_unlock(space->host, space->lock, state);
    }
}

static unsigned int shift_of(uint64_t power)
{
    return (unsigned int)__builtin_ctzll(power);
}

/* Asks for memory, with no lock held. */
static int add_batch(struct piommu_iova_space *space)
{
    struct batch *batch = piommu_host_alloc_(space->host, sizeof(*batch));
    unsigned long state;

    if (batch == NULL) {
        return -PIOMMU_ENOMEM;
    }
    state = lock(space);
    batch->next = space->batches;
    space->batches = batch;
    space->bytes += sizeof(*batch);
    for (unsigned int i = 0; i < BATCH; i++) {
        piommu_iova_tree_add_spare_(&space->tree, &batch->nodes[i]);
    }
    unlock(space, state);
    return 0;
}

/* The end of a call that has changed something. Under the lock. */
static void note_work(struct piommu_iova_space *space)
{
    space->visited_last = space->tree.visited;
    if (space->visited_last > space->visited_most) {
        space->visited_most = space->visited_last;
    }
}

/* Sees to it that a range can be taken. -PIOMMU_EAGAIN: after memory was asked for. */
static int prepare(struct piommu_iova_space *space, uint64_t first, uint64_t last)
{
    return piommu_iova_tree_needs_(&space->tree, first, last) <= space->tree.spares
               ? 0
               : -PIOMMU_EAGAIN;
}

static void take(struct piommu_iova_space *space, uint64_t first, uint64_t last)
{
    piommu_iova_tree_take_(&space->tree, first, last);
    space->taken += last - first + 1;
}

/* Takes what cannot be given out, in front of the aperture or behind it. */
static int take_edge(struct piommu_iova_space *space, uint64_t first, uint64_t last)
{
    while (piommu_iova_tree_needs_(&space->tree, first, last) > space->tree.spares) {
        int error = add_batch(space);

        if (error != 0) {
            return error;
        }
    }
    piommu_iova_tree_take_(&space->tree, first, last);
    return 0;
}

/* Makes the tree: as high as it takes for a root that begins at 0. */
static int open_tree(struct piommu_iova_space *space)
{
    unsigned int level = 1;
    uint64_t end;
    int error = add_batch(space);

    if (error != 0) {
        return error;
    }
    while (space->last >> (LEAF_SHIFT + level) != 0) {
        level++;
    }
    piommu_iova_tree_open_(&space->tree, level);
    end = last_of(space->tree.root);
    if (space->first != 0) {
        error = take_edge(space, 0, space->first - 1);
    }
    if (error == 0 && space->last != end) {
        error = take_edge(space, space->last + 1, end);
    }
    return error;
}

/* The granules of an aperture. */
static int set_aperture(struct piommu_iova_space *space, const struct piommu_iova_config *config)
{
    uint64_t mask = config->granule - 1;

    if (!is_power_of_two(config->granule) || config->granule < MIN_GRANULE ||
        config->aperture.first > config->aperture.last) {
        return -PIOMMU_EINVAL;
    }
    space->granule_shift = shift_of(config->granule);
    space->first = config->aperture.first >> space->granule_shift;
    space->first += (config->aperture.first & mask) != 0;
    space->last = config->aperture.last >> space->granule_shift;
    if ((config->aperture.last & mask) != mask) {
        if (space->last == 0) {
            return -PIOMMU_EINVAL;
        }
        space->last--;
    }
    if (space->first > space->last) {
        return -PIOMMU_EINVAL;
    }
    return space->last >= PIOMMU_IOVA_MAX_GRANULES ? -PIOMMU_ERANGE : 0;
}

int piommu_iova_create(struct piommu_host host, const struct piommu_iova_config *config,
                       struct piommu_iova_space **result)
{
    struct piommu_iova_space *space;
    unsigned int stores;
    int error;

    if (config == NULL || result == NULL || config->cpus > MAX_CPUS) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    stores = host.os->cpu == NULL && config->cpus != 0 ? 1 : config->cpus;
    space = piommu_host_alloc_(host, object_size(stores));
    if (space == NULL) {
        return -PIOMMU_ENOMEM;
    }
    space->host = host;
    space->store_count = stores;
    space->serialised = config->serialised;
    space->bytes = object_size(stores);
    space->tree.bottom_up = config->bottom_up;
    error = set_aperture(space, config);
    if (error == 0) {
        space->lock = host.os->lock_create(host.ctx);
        error = space->lock != NULL ? open_tree(space) : -PIOMMU_ENOMEM;
    }
    if (error != 0) {
        piommu_iova_destroy(space);
        return error;
    }
    *result = space;
    return 0;
}

void piommu_iova_destroy(struct piommu_iova_space *space)
{
    struct piommu_host host;

    if (space == NULL) {
        return;
    }
    host = space->host;
    while (space->batches != NULL) {
        struct batch *batch = space->batches;

        space->batches = batch->next;
        piommu_host_free_(host, batch, sizeof(*batch));
    }
    if (space->lock != NULL) {
        host.os->lock_destroy(host.ctx, space->lock);
    }
    piommu_host_free_(host, space, object_size(space->store_count));
}

int piommu_iova_reserve_memory(struct piommu_iova_space *space, uint32_t ranges)
{
    int error = 0;

    if (space == NULL) {
        return -PIOMMU_EINVAL;
    }
    while (error == 0) {
        unsigned long state = lock(space);
        bool enough = space->tree.spares >= (uint64_t)NODES_PER_RANGE * ranges;

        unlock(space, state);
        if (enough) {
            return 0;
        }
        error = add_batch(space);
    }
    return error;
}

/* The store of the CPU that runs this, where there are several. */
static struct store *store_of_cpu(struct piommu_iova_space *space)
{
    unsigned int cpu = space->host.os->cpu(space->host.ctx);

    return &space->stores[cpu < space->store_count ? cpu : 0];
}

/* The store for ranges of a size; NULL: there is none. */
static struct store *store_for(struct piommu_iova_space *space, uint64_t count)
{
    if (space->store_count == 0 || !store_has_size(count)) {
        return NULL;
    }
    return space->store_count > 1 ? store_of_cpu(space) : space->stores;
}

/* Frees a range in the tree, if it is one. Under the lock. */
static int give(struct piommu_iova_space *space, uint64_t place, uint64_t count)
{
    if (!piommu_iova_tree_give_(&space->tree, place, place + (count - 1))) {
        return -PIOMMU_EINVAL;
    }
    space->taken -= count;
    return 0;
}

/*
 * Frees what a store keeps from a slot on; returns the slot to go on with. A range is in the store
 * or free, for whoever has the lock; so who fails then has missed nothing.
 */
static unsigned int drain_some(struct piommu_iova_space *space, struct store *store,
                               unsigned int slot)
{
    unsigned long state = lock(space);

    for (unsigned int i = 0; i < DRAIN_TOGETHER && slot < STORE_SLOTS; i++, slot++) {
        uint64_t place;

        if (store_empty(store, slot, &place)) {
            (void)give(space, place, store_size_of(slot));
        }
    }
    unlock(space, state);
    return slot;
}

void piommu_iova_drain(struct piommu_iova_space *space)
{
    for (unsigned int i = 0; space != NULL && i < space->store_count; i++) {
        struct store *store = &space->stores[i];
        unsigned int slot = 0;

        while (slot < STORE_SLOTS) {
            if (atomic_load_explicit(&store->slot[slot], memory_order_relaxed) == 0) {
                slot++;
            } else {
                slot = drain_some(space, store, slot);
            }
        }
    }
}

/* A request in granules. */
struct wanted {
    uint64_t count;
    unsigned int shift;
    uint64_t limit;
    unsigned int boundary; /* shift; 64: none */
};

/* The last granule that ends at or below an address; UINT64_MAX: none. */
static uint64_t whole_granules(const struct piommu_iova_space *space, uint64_t address)
{
    uint64_t mask = (1ull << space->granule_shift) - 1;

    return (address >> space->granule_shift) - ((address & mask) != mask);
}

/* A power of two in granules, as a shift. */
static unsigned int granule_shift_of(const struct piommu_iova_space *space, uint64_t power)
{
    return power >> space->granule_shift > 1 ? shift_of(power) - space->granule_shift : 0;
}

static int translate(const struct piommu_iova_space *space,
                     const struct piommu_iova_request *request, struct wanted *wanted)
{
    uint64_t mask = (1ull << space->granule_shift) - 1;

    if (request->size == 0 || (request->alignment != 0 && !is_power_of_two(request->alignment)) ||
        (request->boundary != 0 &&
         (!is_power_of_two(request->boundary) || request->size > request->boundary))) {
        return -PIOMMU_EINVAL;
    }
    wanted->count = (request->size >> space->granule_shift) + ((request->size & mask) != 0);
    wanted->shift = granule_shift_of(space, request->alignment);
    /* A boundary below the granule cannot be crossed by what fits below it. */
    wanted->boundary = request->boundary != 0 ? granule_shift_of(space, request->boundary) : 64;
    wanted->limit = space->last;
    if (request->limit != 0) {
        uint64_t limit = whole_granules(space, request->limit);

        if (limit == UINT64_MAX) {
            return -PIOMMU_ENOSPC;
        }
        wanted->limit = limit < space->last ? limit : space->last;
    }
    return wanted->count < LONGEST ? 0 : -PIOMMU_ERANGE;
}

static bool crosses(const struct wanted *wanted, uint64_t place)
{
    return wanted->boundary < 64 &&
           (place >> wanted->boundary) != ((place + (wanted->count - 1)) >> wanted->boundary);
}

/* The shift of the smallest power of two that is not below a count. */
static unsigned int shift_above(uint64_t count)
{
    return count <= 1 ? 0 : 64u - (unsigned int)__builtin_clzll(count - 1);
}

/*
 * Looks at one candidate after the other. In a space that is bottom up, too, from the top: only
 * from above can a search be kept away from those that were looked at. Under the lock.
 */
static bool search_downwards(struct tree *tree, const struct wanted *wanted, uint64_t *place)
{
    bool bottom_up = tree->bottom_up;
    uint64_t limit = wanted->limit;
    bool found = true;
    bool fits = false;

    tree->bottom_up = false;
    for (unsigned int i = 0; i < BOUNDARY_TRIES && found && !fits; i++) {
        found = piommu_iova_tree_search_(tree, wanted->count, wanted->shift, limit, place);
        fits = found && !crosses(wanted, *place);
        /* The next candidate ends before the boundary that this one crosses. */
        limit = ((*place + (wanted->count - 1)) >> wanted->boundary << wanted->boundary) - 1;
    }
    tree->bottom_up = bottom_up;
    return fits;
}

/* Finds a place that does not cross the boundary. Under the lock. */
static bool search(struct piommu_iova_space *space, const struct wanted *wanted, uint64_t *place)
{
    struct tree *tree = &space->tree;
    unsigned int aligned = shift_above(wanted->count);

    if (wanted->boundary == 64) {
        return piommu_iova_tree_search_(tree, wanted->count, wanted->shift, wanted->limit, place);
    }
    if (piommu_iova_tree_search_(tree, wanted->count,
                                 aligned > wanted->shift ? aligned : wanted->shift, wanted->limit,
                                 place)) {
        return true;
    }
    return search_downwards(tree, wanted, place);
}

/* Finds a place in the tree and takes it. -PIOMMU_EAGAIN: memory has to be asked for. */
static int alloc_in_tree(struct piommu_iova_space *space, const struct wanted *wanted,
                         uint64_t *place)
{
    unsigned long state = lock(space);
    int error = -PIOMMU_ENOSPC;

    space->tree.visited = 0;
    if (search(space, wanted, place)) {
        error = prepare(space, *place, *place + (wanted->count - 1));
        if (error == 0) {
            take(space, *place, *place + (wanted->count - 1));
        }
    }
    note_work(space);
    unlock(space, state);
    return error;
}

/* Looks for a place up to a limit, without draining; asks for memory where it is needed. */
static int alloc_below(struct piommu_iova_space *space, const struct wanted *wanted,
                       uint64_t *place)
{
    int error;

    do {
        error = alloc_in_tree(space, wanted, place);
        if (error == -PIOMMU_EAGAIN) {
            error = add_batch(space);
            error = error != 0 ? error : -PIOMMU_EAGAIN;
        }
    } while (error == -PIOMMU_EAGAIN);
    return error;
}

/* With a preferred limit: that first, but not at the price of a drain. */
static int alloc_slowly(struct piommu_iova_space *space, const struct wanted *wanted,
                        uint64_t preferred, uint64_t *place)
{
    int error = -PIOMMU_ENOSPC;

    if (preferred < wanted->limit) {
        struct wanted first = *wanted;

        first.limit = preferred;
        error = alloc_below(space, &first, place);
    }
    if (error == -PIOMMU_ENOSPC) {
        error = alloc_below(space, wanted, place);
    }
    return error;
}

static NEVER_INLINE int give_back(struct piommu_iova_space *space, uint64_t place, uint64_t count)
{
    unsigned long state = lock(space);
    int error;

    space->tree.visited = 0;
    error = give(space, place, count);
    note_work(space);
    unlock(space, state);
    return error;
}

/* Takes a range that a CPU has kept. One that crosses the boundary is of no use to this caller. */
static bool take_stored(struct piommu_iova_space *space, const struct wanted *wanted,
                        uint64_t limit, uint64_t *place)
{
    struct store *store = store_for(space, wanted->count);

    if (store == NULL ||
        !store_take(store, space->serialised, wanted->count, wanted->shift, limit, place)) {
        return false;
    }
    if (!crosses(wanted, *place)) {
        return true;
    }
    (void)give_back(space, *place, wanted->count);
    return false;
}

/* -PIOMMU_EAGAIN: there is no place, unless it is in the stores. */
static NEVER_INLINE int try_to_alloc(struct piommu_iova_space *space,
                                     const struct piommu_iova_request *request, uint64_t *address)
{
    struct wanted wanted;
    uint64_t preferred;
    uint64_t place;
    int error = translate(space, request, &wanted);

    if (error != 0) {
        return error;
    }
    preferred = request->preferred != 0 ? whole_granules(space, request->preferred) : UINT64_MAX;
    if (!take_stored(space, &wanted, preferred < wanted.limit ? preferred : wanted.limit, &place)) {
        error = alloc_slowly(space, &wanted, preferred, &place);
        error = error == -PIOMMU_ENOSPC ? -PIOMMU_EAGAIN : error;
    }
    if (error == 0) {
        *address = place << space->granule_shift;
    }
    return error;
}

static NEVER_INLINE int alloc(struct piommu_iova_space *space,
                              const struct piommu_iova_request *request, uint64_t *address)
{
    int error = try_to_alloc(space, request, address);

    if (error == -PIOMMU_EAGAIN && space->store_count != 0) {
        piommu_iova_drain(space);
        error = try_to_alloc(space, request, address);
    }
    return error == -PIOMMU_EAGAIN ? -PIOMMU_ENOSPC : error;
}

/* Takes what a store has, if any place below the limit will do. */
static ALWAYS_INLINE int alloc_quickly(struct piommu_iova_space *space,
                                       const struct piommu_iova_request *request, uint64_t *address,
                                       struct store *store)
{
    unsigned int shift = space->granule_shift;
    /* Too large a size makes this 0, or is too large for a store. */
    uint64_t count = (request->size + ((1ull << shift) - 1)) >> shift;
    uint64_t limit = request->limit != 0 ? whole_granules(space, request->limit) : space->last;
    uint64_t place;

    if (UNLIKELY((request->alignment >> shift) > 1 ||
                 (request->boundary | request->preferred) != 0 ||
                 (request->alignment & (request->alignment - 1)) != 0 || count == 0 ||
                 !store_has_size(count) || limit == UINT64_MAX ||
                 !store_take(store, space->serialised, count, 0, limit, &place))) {
        return alloc(space, request, address);
    }
    *address = place << shift;
    return 0;
}

/* Apart, so that where there is one store nothing has to be kept over the call of the shim. */
static NEVER_INLINE int alloc_on_cpu(struct piommu_iova_space *space,
                                     const struct piommu_iova_request *request, uint64_t *address)
{
    return alloc_quickly(space, request, address, store_of_cpu(space));
}

/*
 * The most common requests have a short way to what the CPU keeps. All others go the long one (rows
 * iova.lifo, insn.iova_lifo of the benchmark).
 */
int piommu_iova_alloc(struct piommu_iova_space *space, const struct piommu_iova_request *request,
                      uint64_t *address)
{
    if (UNLIKELY(space == NULL || request == NULL || address == NULL)) {
        return -PIOMMU_EINVAL;
    }
    if (space->store_count > 1) {
        return alloc_on_cpu(space, request, address);
    }
    if (space->store_count == 0) {
        return alloc(space, request, address);
    }
    return alloc_quickly(space, request, address, space->stores);
}

static ALWAYS_INLINE int free_quickly(struct piommu_iova_space *space, uint64_t address,
                                      uint64_t size, struct store *store)
{
    unsigned int shift = space->granule_shift;
    uint64_t mask = (1ull << shift) - 1;
    uint64_t place = address >> shift;
    uint64_t count = (size >> shift) + ((size & mask) != 0);

    if (UNLIKELY(size == 0 || (address & mask) != 0 || place < space->first ||
                 place > space->last)) {
        return -PIOMMU_EINVAL;
    }
    if (LIKELY(store != NULL && store_has_size(count) &&
               store_put(store, space->serialised, count, place))) {
        return 0;
    }
    return give_back(space, place, count);
}

static NEVER_INLINE int free_on_cpu(struct piommu_iova_space *space, uint64_t address,
                                    uint64_t size)
{
    return free_quickly(space, address, size, store_of_cpu(space));
}

int piommu_iova_free(struct piommu_iova_space *space, uint64_t address, uint64_t size)
{
    if (UNLIKELY(space == NULL)) {
        return -PIOMMU_EINVAL;
    }
    if (space->store_count > 1) {
        return free_on_cpu(space, address, size);
    }
    return free_quickly(space, address, size, space->store_count != 0 ? space->stores : NULL);
}

/* -PIOMMU_EAGAIN: memory has to be asked for. */
static int take_in_tree(struct piommu_iova_space *space, uint64_t first, uint64_t last)
{
    unsigned long state = lock(space);
    int error = -PIOMMU_EEXIST;

    space->tree.visited = 0;
    if (piommu_iova_tree_is_free_(&space->tree, first, last)) {
        error = prepare(space, first, last);
        if (error == 0) {
            take(space, first, last);
        }
    }
    note_work(space);
    unlock(space, state);
    return error;
}

int piommu_iova_take(struct piommu_iova_space *space, struct piommu_range range)
{
    bool drained = false;
    uint64_t first;
    uint64_t last;
    int error;

    if (space == NULL || range.first > range.last) {
        return -PIOMMU_EINVAL;
    }
    first = range.first >> space->granule_shift;
    last = range.last >> space->granule_shift;
    if (last < space->first || first > space->last) {
        return 0;
    }
    first = first > space->first ? first : space->first;
    last = last < space->last ? last : space->last;
    for (;;) {
        error = take_in_tree(space, first, last);
        if (error == -PIOMMU_EAGAIN) {
            error = add_batch(space);
        } else if (error == -PIOMMU_EEXIST && !drained && space->store_count != 0) {
            piommu_iova_drain(space);
            drained = true;
            error = 0;
        } else {
            return error;
        }
        if (error != 0) {
            return error;
        }
    }
}

int piommu_iova_find(struct piommu_iova_space *space, uint64_t address, struct piommu_range *range)
{
    uint64_t granule;
    uint64_t first;
    uint64_t last;
    unsigned long state;
    bool found;

    if (space == NULL || range == NULL) {
        return -PIOMMU_EINVAL;
    }
    granule = address >> space->granule_shift;
    if (granule < space->first || granule > space->last) {
        return -PIOMMU_ENOENT;
    }
    state = lock(space);
    found = piommu_iova_tree_find_(&space->tree, granule, &first, &last);
    unlock(space, state);
    if (!found) {
        return -PIOMMU_ENOENT;
    }
    range->first = first << space->granule_shift;
    range->last = (last << space->granule_shift) | ((1ull << space->granule_shift) - 1);
    return 0;
}

void piommu_iova_get_statistics(struct piommu_iova_space *space,
                                struct piommu_iova_statistics *statistics)
{
    unsigned long state = lock(space);

    *statistics = (struct piommu_iova_statistics){.granules_taken = space->taken,
                                                  .bytes = space->bytes,
                                                  .nodes = space->tree.nodes,
                                                  .nodes_spare = space->tree.spares,
                                                  .visited_last = space->visited_last,
                                                  .visited_most = space->visited_most};
    unlock(space, state);
    for (unsigned int i = 0; i < space->store_count; i++) {
        for (unsigned int slot = 0; slot < STORE_SLOTS; slot++) {
            if (atomic_load_explicit(&space->stores[i].slot[slot], memory_order_relaxed) != 0) {
                statistics->granules_kept += store_size_of(slot);
            }
        }
    }
}
