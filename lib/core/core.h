/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_CORE_CORE_H
#define PIOMMU_LIB_CORE_CORE_H

/* The core's objects, shared by the files of this folder. */

#include <piommu/backend.h>

#include <stdatomic.h>

#include "../base/host.h"
#include "range_tree.h"

struct piommu_context {
    struct piommu_host host;
    struct piommu_context_config config;
    struct piommu_instance *instances; /* in the order of their creation */
};

struct piommu_instance {
    struct piommu_context *context;
    struct piommu_instance *peer; /* next in the context */
    struct piommu_host host;
    const struct piommu_backend *backend;
    void *unit; /* the backend's object */
    struct piommu_backend_info info;
    struct piommu_instance_config config;
    struct piommu_device *devices; /* in the order in which they were added */
    struct piommu_domain *domains; /* in the order of their creation */

    /* Written once each, from 0 to 1; read by any call. */
    _Atomic uint32_t failed;
    _Atomic uint32_t stopped;  /* the unit has confirmed that it is blocked for good */
    _Atomic uint32_t stopping; /* somebody is trying to stop it */

    /* Protects the tree of endpoints against the fault path, and the counter. */
    void *lock;
    struct range_tree endpoints; /* by ID */
    uint64_t faults;
};

struct reserved_node {
    struct reserved_node *next;
    struct piommu_reserved_region region;
};

struct piommu_reserved_list {
    struct piommu_host host;
    struct reserved_node *first;
};

/* One ID on one instance. */
struct endpoint {
    struct range_node node; /* first and last are the ID */
    struct endpoint *next;  /* in its group */
    struct piommu_group *group;
    void *handle;   /* the backend's object */
    uint32_t users; /* devices that have the ID */
    struct piommu_reserved_list reserved;
};

struct piommu_group {
    struct piommu_instance *instance;
    struct piommu_domain *domain; /* NULL: blocked */
    struct piommu_group *next;    /* in its domain */
    struct endpoint *endpoints;
    struct piommu_device *devices;
};

struct piommu_device {
    struct piommu_instance *instance;
    struct piommu_device *peer; /* next in the instance */
    struct piommu_group *group;
    struct piommu_device *next; /* in its group */
    const char *name;
    void *owner;
    size_t endpoint_count;
    struct endpoint *endpoints[];
};

struct piommu_domain {
    struct piommu_instance *instance;
    struct piommu_domain *peer; /* next in the instance */
    struct piommu_domain_config config;
    void *handle;                 /* the backend's object; NULL for a blocked domain */
    struct piommu_range aperture; /* of the instance */
    uint64_t granule_mask;        /* of the instance: its granule less 1 */
    uint64_t reserved_regions;    /* of all devices in the domain, counted with repetition */
    struct piommu_group *groups;  /* attached ones */
    struct piommu_pgtable *table; /* kind TABLES */
    bool live_cut;                /* of the table */
    bool table_checks;            /* the table has the domain's aperture and granule, and checks */
    struct range_tree mappings;   /* kind REQUESTS: struct mapping, live and pending ones */
    struct piommu_gather parked;  /* tables whose invalidation has failed */
    struct piommu_domain_statistics statistics;
};

/* One mapping request: what the hardware takes and gives back as a whole. */
struct mapping {
    struct range_node node;
    uint64_t physical;
    piommu_prot prot;
    bool pending;         /* unmapped, and waiting in a gather for its sync */
    struct mapping *next; /* in the chain of a map call, or in the gather */
};

static inline bool instance_failed(struct piommu_instance *instance)
{
    return atomic_load_explicit(&instance->failed, memory_order_acquire) != 0;
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

static inline uint64_t endpoint_reserved_regions(const struct endpoint *endpoint)
{
    uint64_t count = 0;

    for (const struct reserved_node *node = endpoint->reserved.first; node != NULL;
         node = node->next) {
        count++;
    }
    return count;
}

/* Only paging domains have tables. */
static inline bool domain_uses_tables(const struct piommu_domain *domain)
{
    return domain->table != NULL;
}

static inline bool domain_is_paging(const struct piommu_domain *domain)
{
    return domain != NULL && domain->config.type == PIOMMU_DOMAIN_PAGING;
}

static inline uint64_t instance_granule(const struct piommu_instance *instance)
{
    return instance->info.leaf_sizes & (~instance->info.leaf_sizes + 1);
}

/* instance.c */

/* Marks the instance as failed and stops the unit. Returns -PIOMMU_EFAILED. */
int piommu_instance_fail_(struct piommu_instance *instance, int error);
/*
 * Looks at what a call of the backend has returned: an error that says that the unit is lost fails
 * the instance and becomes -PIOMMU_EFAILED; anything else is passed on.
 */
int piommu_instance_judge_(struct piommu_instance *instance, int error);
/* Tries again to stop a failed unit; true if it has confirmed, now or earlier. */
bool piommu_instance_stopped_(struct piommu_instance *instance);

/* mapping.c, for domains whose backend takes requests */

/* Tells all live mappings of a domain to the hardware. */
int piommu_domain_replay_(struct piommu_domain *domain);
/* Frees all records. */
void piommu_domain_free_mappings_(struct piommu_domain *domain);
int piommu_requests_map_(struct piommu_domain *domain, uint64_t iova,
                         const struct piommu_segment *segments, size_t count, piommu_prot prot);
int piommu_requests_unmap_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                           struct piommu_gather *gather, uint64_t *unmapped);
int piommu_requests_sync_(struct piommu_domain *domain, struct piommu_gather *gather);
int piommu_requests_lookup_(struct piommu_domain *domain, uint64_t iova,
                            struct piommu_translation *result);
int piommu_requests_next_(struct piommu_domain *domain, uint64_t first, uint64_t last,
                          uint64_t *found, struct piommu_translation *result);
/* Widens a range to the live mappings that reach across its ends. */
struct piommu_range piommu_requests_widen_(const struct piommu_domain *domain,
                                           struct piommu_range range);
/*
 * Removes a range exactly; `whole` is it, widened. Tells the bytes removed, and in `lost` those
 * besides that the hardware did not take again (-PIOMMU_EIO).
 */
int piommu_requests_cut_(struct piommu_domain *domain, struct piommu_range range,
                         struct piommu_range whole, uint64_t *unmapped, uint64_t *lost);
/* Changes the access flags of a range that cuts nothing; see piommu_domain_protect. */
int piommu_requests_protect_(struct piommu_domain *domain, struct piommu_range range,
                             piommu_prot prot, bool hole, uint64_t *changed, uint64_t *lost);

/* domain.c */

/* Checks a range of addresses against granule and aperture. */
int piommu_domain_check_range_(const struct piommu_domain *domain, uint64_t iova, uint64_t size);
/* Checks the access flags that a mapping is to have against what the hardware can express. */
int piommu_domain_check_prot_(const struct piommu_domain *domain, piommu_prot prot);
/* Makes the hardware forget what a gather of a table holds, and empties it. */
int piommu_tables_sync_(struct piommu_domain *domain, struct piommu_gather *gather);
/* Tells whether something in the domain is mapped in a range. */
bool piommu_domain_any_mapped_(struct piommu_domain *domain, struct piommu_range range);

#endif
