/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_CORE_CORE_H
#define PIOMMU_LIB_CORE_CORE_H

/* The core's objects, shared by the files of this folder. */

#include <piommu/backend.h>

#include <stdatomic.h>

#include "../base/compiler.h"
#include "../base/completions.h"
#include "../base/host.h"
#include "../base/options.h"
#include "../base/range_tree.h"

struct piommu_context {
    struct piommu_host host;
    struct piommu_context_config config;
    /*
     * Protects against servicing what that looks at or changes: the trees of endpoints, the groups,
     * the counters and rings of faults. Never held over a callback that is not the shim's.
     */
    void *lock;
    struct piommu_group *blocks;       /* groups whose block is wanted; under the lock */
    struct completion_queue stalled;   /* posts that do not go on by themselves; under it */
    struct completion_queue ready;     /* those that have come to their end; under the lock */
    struct piommu_instance *instances; /* in the order of their creation */
    struct piommu_device *devices;     /* in the order in which they were added */
    struct piommu_domain *domains;     /* in the order of their creation; changed under the lock */
};

/* Counts what may be counted wrong when calls run beside each other, so as to cost nothing. */
static inline void count_loosely(_Atomic uint32_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* How many faults of one source have come in the current second. */
struct storm {
    uint64_t start;
    uint32_t count;
};

/* A fault that waits to be taken, and whose cookies have to go with their objects. */
struct fault_record {
    struct piommu_fault fault;
    const struct piommu_device *device;
    const struct piommu_domain *domain;
};

struct piommu_instance {
    struct piommu_context *context;
    struct piommu_instance *peer; /* next in the context */
    struct piommu_host host;
    const struct piommu_backend *backend;
    const void *backend_config; /* while it waits */
    void *unit;                 /* the backend's object; NULL: it waits, or was never started */
    struct piommu_backend_info info;
    struct piommu_instance_config config;
    struct piommu_instance *parent;
    uint32_t users; /* IDs of devices, domains that were created for it, bindings, children */
    struct binding *bindings;
    bool waiting;
    bool suspended;

    /* Read by any call; all but `stopping` go from 0 to 1 once, and stay. */
    _Atomic uint32_t failed;
    _Atomic uint32_t stopped;  /* the unit has confirmed that it is blocked for good */
    _Atomic uint32_t stopping; /* somebody is trying to stop it */
    _Atomic uint32_t tried;    /* somebody has tried */

    _Atomic uint32_t invalidations; /* low half of a counter that `info` shows */

    /* All under the context's lock. */
    struct range_tree endpoints; /* by ID */
    uint64_t faults;
    uint64_t faults_held_back;
    uint64_t faults_dropped;
    struct storm unknown;         /* faults of IDs that nobody has */
    uint32_t callbacks;           /* odd while a fault callback runs */
    bool servicing;               /* somebody takes in reports */
    bool missed;                  /* somebody else wanted to, meanwhile */
    struct fault_record *records; /* a ring of config.fault_records */
    uint32_t record_first;
    uint32_t record_count;
};

struct reserved_node {
    struct reserved_node *next;
    struct piommu_reserved_region region;
};

/* What the backend has told of an endpoint. */
struct piommu_endpoint_facts {
    struct piommu_host host;
    struct reserved_node *reserved;
    uint32_t group; /* 0: none */
    bool running;   /* it is not blocked yet */
};

/* One ID on one instance. */
struct endpoint {
    struct range_node node; /* first and last are the ID */
    struct piommu_instance *instance;
    struct endpoint *next; /* in its group */
    struct piommu_group *group;
    void *handle;            /* the backend's object */
    struct binding *binding; /* where it counts; NULL: it is blocked */
    bool out;                /* blocked in hardware although it counts: fault, or suspended */
    bool cut_off;            /* blocked at once because of a fault, and not yet properly */
    uint32_t users;          /* devices that have the ID */
    struct storm storm;
    struct piommu_endpoint_facts facts;
};

struct piommu_group {
    struct piommu_context *context;
    struct piommu_domain *domain; /* NULL: blocked */
    struct piommu_group *next;    /* in its domain */
    struct endpoint *endpoints;
    struct piommu_device *devices;
    /*
     * Under the context's lock. Whoever moves the group, or blocks it because of a fault, has it
     * busy: nobody else looks at its endpoints then. A fault makes its block wanted (and the group
     * a member of context->blocks), and where hardware can, block_now makes its endpoints cut_off.
     * Whoever gives the group back, or servicing, then does the proper block: its endpoints are
     * `out`, though they count, and nothing is left to do until the host moves the group.
     */
    bool busy;
    bool block_wanted;
    bool fault_blocked; /* all of its endpoints are cut_off or out, because of a fault */
    bool block_done;    /* all of them are out */
    struct piommu_group *next_block; /* in context->blocks */
    struct piommu_group *next_taken; /* of those that one report has made busy */
};

/* An ID as a device has it. */
struct device_id {
    struct endpoint *endpoint;        /* NULL: its instance is not there */
    struct piommu_instance *instance; /* NULL: not there; counted as one of its users */
    uint64_t key;
    uint32_t id;
    bool broken; /* it cannot be had: its instance came, and refused */
};

struct piommu_device {
    struct piommu_context *context;
    struct piommu_device *peer; /* next in the context */
    struct piommu_group *group;
    struct piommu_device *next; /* in its group */
    const char *name;
    void *owner;
    uint64_t group_key;
    bool untrusted;
    bool waiting;  /* for some of its IDs' instances */
    bool leaving;  /* under the context's lock: faults are not attributed to it any more */
    bool arriving; /* its completion has been tried, and has to be told */
    int arrival;   /* what came of it */
    struct piommu_reserved_region *regions; /* behind the IDs */
    size_t region_count;
    size_t id_count;
    struct device_id ids[];
};

/* A domain on one instance. */
struct binding {
    struct piommu_domain *domain;
    struct piommu_instance *instance;
    struct binding *next; /* in the domain */
    struct binding *peer; /* in the instance */
    void *handle;         /* the backend's object; units of a family may share one */
    uint32_t endpoints;   /* that count as being in it */
    uint32_t live;        /* kind REQUESTS: those of them that are so in hardware */
    bool permanent;       /* made with the domain, and going with it */
    bool doubtful;        /* an endpoint that counts elsewhere may be in it */
};

/* What can be mapped in a domain. */
struct geometry {
    struct piommu_range aperture;
    uint64_t granule_mask; /* granule less 1 */
    uint64_t leaf_sizes;
    uint64_t last_output;
    piommu_prot prot;
    bool write_only;
};

/* The phases of a deferred domain; others are complete from the beginning. */
enum phase {
    PHASE_COMPLETE,
    PHASE_DORMANT,    /* no table yet */
    PHASE_POPULATING, /* the table, or with requests the record, is right below the cursor */
};

/* A doorbell's page that is mapped in the MSI window. */
struct doorbell {
    struct doorbell *next;
    uint64_t physical;
    uint64_t iova;
    uint64_t size; /* the domain's granule at that time */
};

struct piommu_domain {
    struct piommu_context *context;
    struct piommu_domain *peer; /* next in the context */
    struct piommu_domain_config config;
    struct piommu_instance **instances; /* for which it was created */
    enum piommu_backend_kind kind;
    struct binding *bindings;
    struct geometry geometry;     /* of all bindings */
    struct geometry base;         /* of the instances for which it was created */
    struct piommu_range window;   /* for doorbells; if there is none, no address lies in it */
    uint64_t reserved_regions;    /* that maps must respect; counted with repetition */
    struct piommu_group *groups;  /* attached ones */
    struct piommu_pgtable *table; /* kind TABLES, once there is one */
    struct piommu_pgtable_info table_info;     /* of the table, or of the shared one */
    struct piommu_pgtable_config table_config; /* what it is made from */
    bool table_checks;           /* the table has the domain's aperture and granule, and checks */
    bool quick;                  /* nothing else is to be thought of, but reserved regions */
    bool traced;                 /* there is a trace callback */
    bool splits;                 /* calls have to be taken apart at the cursor */
    bool destroying;             /* piommu_domain_destroy_some has begun */
    enum phase phase;            /* see there */
    uint64_t cursor;             /* the first address that is not populated */
    struct range_tree mappings;  /* struct mapping, live and pending ones */
    struct mapping *spare;       /* for the next record that is needed, if there is one */
    struct piommu_gather parked; /* tables whose invalidation has failed; see tables_sync */
    _Atomic uint32_t has_parked;
    bool tables_lost; /* hardware has not confirmed that it has forgotten the tables */
    bool busy; /* kind REQUESTS, under the context's lock: hardware is being told of mappings */
    /*
     * Posts, see post.c. `gone` are records that are not in the tree any more, and can be used
     * again; all else is under the context's lock, and `has_settled` can be looked at without.
     */
    uint32_t posts; /* that are under way */
    uint32_t owed;  /* those, and others whose completion was not called yet */
    struct mapping *settled;
    _Atomic uint32_t has_settled;
    struct mapping *gone;
    struct piommu_domain_statistics posted; /* besides `statistics` */
    struct doorbell *doorbells;
    struct storm storm; /* of faults for which only the domain is known */
    struct piommu_domain_statistics statistics;
    _Atomic uint32_t disjoint_syncs; /* in place of statistics.syncs, if calls run in parallel */
};

/* One mapping request: what the hardware takes and gives back as a whole. */
struct mapping {
    struct range_node node;
    uint64_t physical;
    piommu_prot prot;
    bool pending;         /* unmapped, and waiting in a gather for its sync; or posted */
    bool gone;            /* of a settled one: it goes out of the tree */
    bool direct;          /* mapped by the library for a direct region */
    struct mapping *next; /* in the chain of a map call, in the gather, or of settled ones */
};

/* A moment of a wait for another CPU, which does not keep what is waited for over long. */
static inline void pause_for_other(struct piommu_context *context)
{
    if (context->host.os->wait != NULL) {
        context->host.os->wait(context->host.ctx, piommu_host_deadline_(context->host, 100000));
    }
}

static inline bool instance_failed(struct piommu_instance *instance)
{
    return atomic_load_explicit(&instance->failed, memory_order_acquire) != 0;
}

/* Whether a unit that has failed is known to block everything for good. */
static inline bool instance_stopped(struct piommu_instance *instance)
{
    return atomic_load_explicit(&instance->stopped, memory_order_acquire) != 0;
}

/* Whether nobody has tried yet to stop a unit that has failed. */
static inline bool instance_untouched(struct piommu_instance *instance)
{
    return atomic_load_explicit(&instance->tried, memory_order_acquire) == 0;
}

static inline bool instance_suspended(const struct piommu_instance *instance)
{
    return PIOMMU_CORE_WITH_POWER && instance->suspended;
}

/* Whether the hardware of an instance can be asked for something. */
static inline bool instance_usable(struct piommu_instance *instance)
{
    return !instance_failed(instance) && !instance_suspended(instance);
}

/* Whether the failing of a binding's instance concerns the domain. */
static inline bool binding_matters(const struct binding *binding)
{
    return binding->endpoints != 0 || (binding->doubtful && !instance_stopped(binding->instance));
}

/*
 * Whether a domain cannot be used: devices in it are behind an instance that has failed, or all of
 * its instances have.
 */
static inline bool domain_failed(const struct piommu_domain *domain)
{
    bool running = domain->bindings == NULL;

    for (const struct binding *binding = domain->bindings; binding != NULL;
         binding = binding->next) {
        if (!instance_failed(binding->instance)) {
            running = true;
        } else if (binding_matters(binding)) {
            return true;
        }
    }
    return !running;
}

/*
 * Lists of objects, linked by a member `peer`. Registration only, where length does not matter:
 * the list keeps the order.
 */
#define LIST_APPEND(list, object)            \
    do {                                     \
        __typeof__(object) *link_ = &(list); \
                                             \
        while (*link_ != NULL) {             \
            link_ = &(*link_)->peer;         \
        }                                    \
        *link_ = (object);                   \
    } while (0)

#define LIST_REMOVE(list, object)            \
    do {                                     \
        __typeof__(object) *link_ = &(list); \
                                             \
        while (*link_ != (object)) {         \
            link_ = &(*link_)->peer;         \
        }                                    \
        *link_ = (object)->peer;             \
    } while (0)

/* The same for lists that are linked by `next`. */
#define CHAIN_APPEND(list, object)           \
    do {                                     \
        __typeof__(object) *link_ = &(list); \
                                             \
        while (*link_ != NULL) {             \
            link_ = &(*link_)->next;         \
        }                                    \
        *link_ = (object);                   \
    } while (0)

#define CHAIN_REMOVE(list, object)           \
    do {                                     \
        __typeof__(object) *link_ = &(list); \
                                             \
        while (*link_ != (object)) {         \
            link_ = &(*link_)->next;         \
        }                                    \
        *link_ = (object)->next;             \
    } while (0)

/* PAGING, and those after it, which are made of mappings too. */
static inline bool domain_is_paging(const struct piommu_domain *domain)
{
    return domain != NULL && domain->config.type >= PIOMMU_DOMAIN_PAGING;
}

/*
 * The questions that decide between ways of doing things. Where one way is not built the answer
 * is a constant, and code for it folds away.
 */

/* Whether the domain's backends take tables; else they take requests. */
static inline bool domain_takes_tables(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TABLES && domain->kind == PIOMMU_BACKEND_TABLES;
}

/* Whether the domain has a table of its own now. */
static inline bool domain_has_table(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TABLES && domain->table != NULL;
}

static inline bool domain_is_shared(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TABLES && domain->config.type == PIOMMU_DOMAIN_SHARED;
}

static inline bool domain_is_disjoint(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TABLES && domain->config.disjoint;
}

static inline bool domain_is_quick(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TABLES && PIOMMU_CORE_WITH_SHORT_WAYS && domain->quick;
}

/* Whether the table makes all checks of addresses. */
static inline bool domain_table_checks(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TABLES && domain->table_checks;
}

static inline bool domain_splits(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_DEFERRED && domain->splits;
}

static inline bool domain_is_populated(const struct piommu_domain *domain)
{
    return !PIOMMU_CORE_WITH_DEFERRED || domain->phase == PHASE_COMPLETE;
}

static inline bool domain_is_traced(const struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_TRACE && domain->traced;
}

/* Whether a domain exists in hardware; a blocked one does not. */
static inline bool domain_grants(const struct piommu_domain *domain)
{
    return domain != NULL && domain->config.type != PIOMMU_DOMAIN_BLOCKED;
}

/* context.c */

/* Takes the context's lock; what it returns is for the unlock. */
unsigned long piommu_context_lock_(struct piommu_context *context);
void piommu_context_unlock_(struct piommu_context *context, unsigned long state);

/* post.c */

/* Takes into the record of mappings what has become of posts. Mapping. */
void piommu_posts_settle_(struct piommu_domain *domain);
/* Waits until no post of a domain is under way: nobody must be able to make new ones. */
void piommu_posts_wait_(struct piommu_domain *domain);
/* Both, in a domain that may have posts. Mapping. */
void piommu_posts_finish_(struct piommu_domain *domain);
/* Whether completions of a domain's posts are still to come. */
bool piommu_posts_owed_(struct piommu_domain *domain);
/* Takes in the answers of a unit to what was posted. If it may not wait, nor does it stop units. */
void piommu_posts_poll_(struct piommu_instance *instance, bool may_wait);
/* Calls the completions of all posts that have come to their end. */
void piommu_posts_complete_(struct piommu_context *context);

/* How others call these: there is nothing to do where nothing can be posted. */

/* NULL is ignored. */
static inline void domain_finish_posts(struct piommu_domain *domain)
{
    if (PIOMMU_CORE_WITH_POSTS && domain != NULL && !domain_takes_tables(domain)) {
        piommu_posts_finish_(domain);
    }
}

static inline bool domain_owes_posts(struct piommu_domain *domain)
{
    return PIOMMU_CORE_WITH_POSTS && piommu_posts_owed_(domain);
}

static inline void instance_poll_posts(struct piommu_instance *instance, bool may_wait)
{
    if (PIOMMU_CORE_WITH_POSTS) {
        piommu_posts_poll_(instance, may_wait);
    }
}

static inline void context_complete_posts(struct piommu_context *context)
{
    if (PIOMMU_CORE_WITH_POSTS) {
        piommu_posts_complete_(context);
    }
}

/*
 * The beginning of each mapping call: whether there can be mappings in the domain. What was posted
 * and has come to its end is in the record from then on.
 */
static inline bool enter_mapping(struct piommu_domain *domain)
{
    if (!domain_is_paging(domain)) {
        return false;
    }
    if (PIOMMU_CORE_WITH_POSTS && !domain_takes_tables(domain) &&
        atomic_load_explicit(&domain->has_settled, memory_order_acquire) != 0) {
        piommu_posts_settle_(domain);
    }
    return true;
}

/*
 * Whether something may keep callers out of a range: then piommu_reserved_overlaps_ or
 * piommu_held_overlaps_ tells.
 */
static inline bool may_be_reserved(const struct piommu_domain *domain, uint64_t first,
                                   uint64_t last)
{
    return domain->reserved_regions != 0 ||
           (first <= domain->window.last && last >= domain->window.first);
}

static inline uint64_t range_size(struct piommu_range range)
{
    return range.last - range.first + 1;
}

static inline bool ranges_overlap(struct piommu_range a, struct piommu_range b)
{
    return a.first <= b.last && b.first <= a.last;
}

static inline uint64_t lowest_bit(uint64_t value)
{
    return value & (~value + 1);
}

/* The highest address of a width; 0 stands for 64. */
static inline uint64_t last_of_width(unsigned int bits)
{
    return bits == 0 || bits >= 64 ? UINT64_MAX : (1ull << bits) - 1;
}

/* The features of tables that a domain has if all its units have them. */
#define TABLE_FEATURES                                                       \
    (PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_XNX | PIOMMU_PGTABLE_DIRTY | \
     PIOMMU_PGTABLE_BBM_LEVEL_2)

/* The width of addresses at which a table's root may lie. */
static inline uint8_t root_width(const struct piommu_pgtable_config *table)
{
    return table->root_bits != 0 ? table->root_bits : table->output_bits;
}

/* How many bytes a list of segments has; below 2^64 once it was checked. */
static inline uint64_t segments_size(const struct piommu_segment *segments, size_t count)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++) {
        size += segments[i].size;
    }
    return size;
}

/* instance.c */

/* Marks the instance as failed and stops the unit. Returns -PIOMMU_EFAILED. */
int piommu_instance_fail_(struct piommu_instance *instance, int error);
/* The same, where it may not wait: somebody else has to stop the unit. */
int piommu_instance_note_failure_(struct piommu_instance *instance, int error);
/*
 * Looks at what a call of the backend has returned: an error that says that the unit is lost fails
 * the instance and becomes -PIOMMU_EFAILED; anything else is passed on.
 */
int piommu_instance_judge_(struct piommu_instance *instance, int error);
/*
 * Tries again to stop a failed unit; true if it has confirmed, now or earlier. It may wait as long
 * as the hardware may take: each call of the library tries once.
 */
bool piommu_instance_stopped_(struct piommu_instance *instance);
struct piommu_instance *piommu_instance_by_key_(const struct piommu_context *context, uint64_t key);

/* device.c */

struct endpoint *piommu_find_endpoint_(const struct piommu_instance *instance, uint32_t id);
/* Completes the devices that waited for an instance, and tells the host. */
void piommu_devices_complete_(struct piommu_context *context);

/* attach.c */

/* Notes that a group is to be blocked, or that it is not. Both under the context's lock. */
void piommu_group_want_block_(struct piommu_group *group);
void piommu_group_forget_block_(struct piommu_group *group);
/* Waits until nobody else has the group busy, and has it. */
void piommu_group_acquire_(struct piommu_group *group);
/* Tries again to stop those units of a group that have failed and not confirmed it. */
void piommu_group_stop_failed_(const struct piommu_group *group);
/* Gives the group back; blocks it first if that was wanted meanwhile. */
void piommu_group_release_(struct piommu_group *group);
/* Blocks a group, which the caller has busy, in hardware, because of a fault. */
void piommu_group_block_(struct piommu_group *group);
/*
 * Blocks an endpoint and takes it out of its domain. -PIOMMU_EFAILED: its instance has failed and
 * does not confirm that it is stopped; then nothing is known of the endpoint, and it stays counted.
 */
int piommu_endpoint_block_(struct endpoint *endpoint);
/* Brings a group, some IDs of which a failure has left blocked, into its domain as a whole. */
int piommu_group_complete_(struct piommu_group *group);
/* Takes an endpoint out of the domain where it counts, in the books. */
void piommu_endpoint_uncount_(struct endpoint *endpoint);
/* Brings an endpoint that counts in a domain back into it, in hardware. */
int piommu_endpoint_enter_(struct endpoint *endpoint);

/* binding.c */

struct binding *piommu_binding_find_(const struct piommu_domain *domain,
                                     const struct piommu_instance *instance);
/* Makes a domain exist on an instance, if it can be there; see piommu_group_attach for errors. */
int piommu_binding_make_(struct piommu_domain *domain, struct piommu_instance *instance,
                         bool permanent);
/* Makes those on the instances for which it was created; after an error some may be there. */
int piommu_bindings_make_permanent_(struct piommu_domain *domain);
/* Drops what nobody needs any more: bindings that came with a group, without endpoints. */
void piommu_bindings_drop_unused_(struct piommu_domain *domain);
void piommu_bindings_drop_all_(struct piommu_domain *domain);

/* requirements.c */

/*
 * What a domain over some instances can be; the configuration of its tables if it has any. Errors
 * as piommu_requirements_get. If `culprit` is NULL it is not noted which instance limits what.
 */
int piommu_intersect_(struct piommu_instance *const *instances, size_t count,
                      struct piommu_requirements *requirements, struct piommu_pgtable_config *table,
                      struct piommu_instance **culprit);
/* Checks a table of the CPU against what an instance demands; logs what does not fit. */
int piommu_check_shared_(struct piommu_instance *instance, const struct piommu_pgtable_info *table);

/* region.c */

/* Goes through all reserved regions of a group. All 0 before the first call, but for `group`. */
struct region_cursor {
    const struct piommu_group *group;
    const struct piommu_device *device;
    size_t index;
    const struct endpoint *endpoint;
    const struct reserved_node *node;
    bool begun;
};
const struct piommu_reserved_region *piommu_next_region_(struct region_cursor *cursor);
/* How many regions of a group keep others from mapping in a domain. */
uint64_t piommu_regions_count_(const struct piommu_domain *domain,
                               const struct piommu_group *group);
/* Whether a range overlaps what is reserved in a domain. */
bool piommu_reserved_overlaps_(const struct piommu_domain *domain, struct piommu_range range);
/* Whether a range overlaps what the library itself has mapped. */
bool piommu_held_overlaps_(const struct piommu_domain *domain, struct piommu_range range);
/* Whether a range overlaps what devices of the domain do not want to be mapped at all. */
bool piommu_regions_forbid_(const struct piommu_domain *domain, struct piommu_range range);
/* Whether a mapping in the domain is in the way of a group. */
bool piommu_regions_conflict_(const struct piommu_group *group, struct piommu_domain *domain);
/*
 * Maps the direct regions of a group that is not in the domain yet. After an error some may be:
 * piommu_direct_unmap_ removes them.
 */
int piommu_direct_map_(struct piommu_domain *domain, const struct piommu_group *group);
/* Unmaps the direct regions of a group that is not in the domain any more. */
void piommu_direct_unmap_(struct piommu_domain *domain, const struct piommu_group *group);
/* The same for one region, of which whoever had it has left the domain. */
void piommu_direct_sweep_(struct piommu_domain *domain,
                          const struct piommu_reserved_region *region);

/* fault.c */

/* Takes a device out of attribution; -PIOMMU_EBUSY if a callback does not end. */
int piommu_faults_leave_(struct piommu_device *device);
/* Waits until callbacks that run on any instance have ended. */
int piommu_faults_quiesce_(struct piommu_context *context);
/* Takes the cookies of an object out of all records. */
void piommu_faults_purge_(struct piommu_context *context, const struct piommu_device *device,
                          const struct piommu_domain *domain);

/* requests.c, for domains whose backend takes requests, and for records of deferred ones */

/* Tells all live mappings of a domain to the hardware of a binding. */
int piommu_requests_replay_(struct binding *binding);
/* Frees records that are not in the tree any more. */
void piommu_requests_free_chain_(const struct piommu_domain *domain, struct mapping *chain);
void piommu_requests_free_gone_(struct piommu_domain *domain);
/* Makes the records of a map call, one for each physically contiguous run: a chain. */
int piommu_requests_make_(struct piommu_domain *domain, uint64_t iova,
                          const struct piommu_segment *segments, size_t count, piommu_prot prot,
                          struct mapping **chain);
void piommu_requests_describe_(const struct mapping *mapping,
                               struct piommu_backend_mapping *result);
/* Brings the records of a gather into ascending order. */
void piommu_requests_sort_(struct piommu_gather *gather);
/*
 * Whether an instance has to be told of changes. One that has failed and still has devices in the
 * domain cannot be told, and makes the call fail.
 */
bool piommu_must_know_(const struct binding *binding, int *error);
/* Frees up to `budget` records; true if none is left. */
bool piommu_requests_free_(struct piommu_domain *domain, uint32_t *budget);
/* Keeps others from telling hardware of mappings, and from moving endpoints in and out. */
void piommu_requests_begin_(struct piommu_domain *domain);
void piommu_requests_end_(struct piommu_domain *domain);
int piommu_requests_map_(struct piommu_domain *domain, uint64_t iova,
                         const struct piommu_segment *segments, size_t count, piommu_prot prot);
/* The same in a domain that no device has ever been in: there is nobody to be told. */
int piommu_requests_record_only_(struct piommu_domain *domain, uint64_t iova,
                                 const struct piommu_segment *segments, size_t count,
                                 piommu_prot prot);
/* At most `budget` records; `done` is the last address that is behind. */
int piommu_requests_unmap_(struct piommu_domain *domain, struct piommu_range range, uint32_t budget,
                           struct piommu_gather *gather, uint64_t *done, uint64_t *unmapped);
int piommu_requests_sync_(struct piommu_domain *domain, struct piommu_gather *gather);
/* Puts the records of one gather behind those of another. */
void piommu_requests_merge_(struct piommu_gather *from, struct piommu_gather *into);
/* Takes the records of a gather out, whatever hardware knows. */
void piommu_requests_forget_(struct piommu_domain *domain, struct piommu_gather *gather);
int piommu_requests_lookup_(struct piommu_domain *domain, uint64_t iova,
                            struct piommu_translation *result);
int piommu_requests_next_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                          uint64_t *found, struct piommu_translation *result);
/* Widens a range to the live mappings that reach across its ends. */
struct piommu_range piommu_requests_widen_(const struct piommu_domain *domain,
                                           struct piommu_range range);
/* Makes a record that is a direct region's. */
int piommu_requests_map_direct_(struct piommu_domain *domain, struct piommu_range range,
                                piommu_prot prot);
/* Whether a live record in the range is a direct region's. */
bool piommu_requests_direct_(const struct piommu_domain *domain, struct piommu_range range);
/* The first record that reaches `from` or lies above it, pending or not. */
bool piommu_requests_record_(const struct piommu_domain *domain, uint64_t from,
                             struct piommu_frames *frames);
/* Whether a record in the range is not a direct region's. */
bool piommu_requests_foreign_(const struct piommu_domain *domain, struct piommu_range range);
/* Whether something in the range is unmapped and not synced. */
bool piommu_requests_pending_(const struct piommu_domain *domain, struct piommu_range range);
/* Whether a live mapping lies across an edge of the range. */
bool piommu_requests_cuts_(const struct piommu_domain *domain, struct piommu_range range);
/*
 * Removes a range exactly. Tells the bytes removed, and in `lost` those besides that the hardware
 * did not take again (-PIOMMU_EIO).
 */
int piommu_requests_cut_(struct piommu_domain *domain, struct piommu_range range,
                         uint64_t *unmapped, uint64_t *lost);
/* Changes the access flags of a range that cuts nothing; see piommu_domain_protect. */
int piommu_requests_protect_(struct piommu_domain *domain, struct piommu_range range,
                             piommu_prot prot, bool hole, uint64_t *changed, uint64_t *lost);
/*
 * The lowest live record, which is then taken out up to `last` (so that it can be mapped in
 * tables); see deferred.c.
 */
bool piommu_requests_peek_(const struct piommu_domain *domain, struct piommu_frames *frames);
void piommu_requests_consume_(struct piommu_domain *domain, uint64_t size);
/* Where the first `budget` live records of a range that cuts none end; or the range does. */
uint64_t piommu_requests_end_of_(const struct piommu_domain *domain, struct piommu_range range,
                                 uint32_t budget);
/* Forgets live records of a range that no hardware knows. */
void piommu_requests_discard_(struct piommu_domain *domain, struct piommu_range range);

/* domain.c */

/* Checks a range of addresses against granule and aperture. */
int piommu_domain_check_range_(const struct piommu_domain *domain, uint64_t iova, uint64_t size);
/* Checks the access flags that a mapping is to have against what the hardware can express. */
int piommu_domain_check_prot_(const struct piommu_domain *domain, piommu_prot prot);
/* Checks all arguments of a map call; sets the last address of its range. */
int piommu_domain_check_map_(const struct piommu_domain *domain, uint64_t iova,
                             const struct piommu_segment *segments, size_t count, piommu_prot prot,
                             uint64_t *last);
/* Makes the hardware forget what a gather of a table holds, and empties it. */
int piommu_tables_sync_(struct piommu_domain *domain, struct piommu_gather *gather);
/* Invalidates a range on all instances. -PIOMMU_EFAILED: one of them did not obey. */
int piommu_domain_invalidate_(struct piommu_domain *domain, struct piommu_range range, bool tables);
/* Tells whether something in the domain is mapped in a range. */
bool piommu_domain_any_mapped_(struct piommu_domain *domain, struct piommu_range range);
/* Maps what was checked, all or nothing, and counts nothing. */
int piommu_domain_map_checked_(struct piommu_domain *domain, uint64_t iova,
                               const struct piommu_segment *segments, size_t count,
                               piommu_prot prot);
int piommu_tables_map_(struct piommu_domain *domain, uint64_t iova,
                       const struct piommu_segment *segments, size_t count, piommu_prot prot);
/*
 * The same in a domain that no device has ever been in: hardware has not walked its tables, and has
 * nothing to forget.
 */
int piommu_tables_map_unseen_(struct piommu_domain *domain, uint64_t iova,
                              const struct piommu_segment *segments, size_t count,
                              piommu_prot prot);
/* Returns the error that it is given. */
int piommu_tables_unmap_unseen_(struct piommu_domain *domain, uint64_t iova, uint64_t size,
                                int error);
/*
 * Removes what a failed map call has left in the tables, and waits until the hardware has forgotten
 * it. Returns that call's error, or -PIOMMU_EFAILED.
 */
int piommu_tables_undo_map_(struct piommu_domain *domain, uint64_t iova, uint64_t size, int error);
/* Unmaps what was checked, and counts nothing. */
int piommu_domain_unmap_checked_(struct piommu_domain *domain, struct piommu_range range,
                                 struct piommu_gather *gather, uint64_t *unmapped);
int piommu_domain_sync_checked_(struct piommu_domain *domain, struct piommu_gather *gather);
int piommu_domain_make_table_(struct piommu_domain *domain);
/* Counts a map call; of what a deferred domain does not keep, nothing. */
void piommu_domain_count_map_(struct piommu_domain *domain, uint64_t iova, uint64_t bytes);
void piommu_domain_count_unmap_(struct piommu_domain *domain, uint64_t bytes);
void piommu_domain_count_sync_(struct piommu_domain *domain);

/* change.c */

/* piommu_domain_unmap_cut after the checks; nothing in the range is fine. */
int piommu_domain_cut_checked_(struct piommu_domain *domain, struct piommu_range range,
                               uint64_t *unmapped);

/* deferred.c: calls on a domain that `splits` */

int piommu_deferred_map_(struct piommu_domain *domain, uint64_t iova,
                         const struct piommu_segment *segments, size_t count, piommu_prot prot);
int piommu_deferred_unmap_(struct piommu_domain *domain, struct piommu_range range,
                           struct piommu_gather *gather, uint64_t *unmapped);
int piommu_deferred_unmap_leaves_(struct piommu_domain *domain, struct piommu_range *range,
                                  struct piommu_gather *gather, uint64_t *unmapped);
int piommu_deferred_lookup_(struct piommu_domain *domain, uint64_t iova,
                            struct piommu_translation *result);
int piommu_deferred_next_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                          uint64_t *found, struct piommu_translation *result);
/* The part of a range that is populated, and the other; false for a part that is empty. */
bool piommu_deferred_below_(const struct piommu_domain *domain, struct piommu_range *range);
bool piommu_deferred_above_(const struct piommu_domain *domain, struct piommu_range *range);
/* Whether the host is still to tell what is in a part of the range. */
bool piommu_deferred_unknown_(const struct piommu_domain *domain, struct piommu_range range);

/* trace.c */

void piommu_trace_instance_(struct piommu_instance *instance, enum piommu_event_kind kind,
                            int error);
void piommu_trace_device_(const struct piommu_device *device, const struct piommu_domain *domain,
                          enum piommu_event_kind kind, int error);
/* Fills in what the domain is. */
void piommu_trace_domain_(const struct piommu_domain *domain, struct piommu_event *event);
void piommu_trace_change_(const struct piommu_domain *domain, enum piommu_event_kind kind,
                          uint64_t iova, uint64_t size, int error);
void piommu_trace_map_(const struct piommu_domain *domain, uint64_t iova,
                       const struct piommu_segment *segments, size_t count, piommu_prot prot,
                       int error);

#endif
