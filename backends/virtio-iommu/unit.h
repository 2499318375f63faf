/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_BACKENDS_VIRTIO_IOMMU_UNIT_H
#define PIOMMU_BACKENDS_VIRTIO_IOMMU_UNIT_H

/* The backend's objects, shared by the files of this folder. */

#include <piommu/virtio-iommu.h>
#include <piommu/virtio.h>

#include <stdatomic.h>

#include "../../lib/base/byte_order.h"
#include "../../lib/base/compiler.h"
#include "../../lib/base/completions.h"
#include "../../lib/base/host.h"
#include "../../lib/base/options.h"
#include "protocol.h"

/*
 * A request has two pieces: what the device reads and what it writes, a descriptor each, as every
 * device takes them. Without indirect descriptors half as many can be in flight as here.
 */
#define REQUEST_PIECES     2u
#define REQUEST_QUEUE_SIZE 128u
#define EVENT_QUEUE_SIZE   64u
#define MAX_REQUESTS       REQUEST_QUEUE_SIZE

/*
 * A slot of request memory: what the device reads, and behind it the status that it writes. No two
 * slots share a cache line, the widest that there is.
 */
#define SLOT_SIZE       128u
#define SLOT_TAIL       96u
#define NO_SLOT         0xffffu
#define EVENT_SLOT_SIZE 32u
#define MAX_PROBE_SIZE  65536u

/* Requests that one call waits for together. On the stack of the caller. */
struct batch {
    uint32_t pending; /* sent and not answered */
    int error;        /* of the first that failed */
};

/* A request that is in flight or was given up. Private: the device cannot reach it. */
struct slot {
    struct batch *batch;                  /* who waits; NULL: nobody, or nobody any more */
    struct piommu_completion *completion; /* for what was posted; NULL: for nothing, or not now */
    uint8_t *tail;                        /* where the device writes the status */
    uint32_t tail_offset;                 /* of the status, in what the device writes */
    uint8_t type;                         /* of the request */
    uint16_t next;                        /* of a free one: the next free one, or NO_SLOT */
};

/* What the device says of itself in its configuration. */
struct virtio_iommu_facts {
    struct piommu_range aperture;
    uint64_t leaf_sizes;
    uint32_t first_domain;
    uint32_t last_domain;
    uint32_t probe_size;
};

/* One request to be sent. What follows the bytes, up to its size, is 0. */
struct request {
    uint8_t bytes[MAP_SIZE];
    uint32_t size;
};

struct virtio_iommu {
    struct piommu_host host;
    struct piommu_instance *instance;
    struct piommu_instance_config config;
    struct piommu_virtio_iommu_config place;
    struct piommu_virtio_device *device;
    struct piommu_virtqueue *requests;
    struct piommu_virtqueue *events;
    uint64_t features;
    struct virtio_iommu_facts facts;
    /* An endpoint in no domain reaches nothing. If not, blocked ones sit in an empty domain. */
    bool unattached_is_blocked;
    /* What the bypass field is to be when the unit runs, with the policy to leave unknown IDs. */
    uint8_t bypass;

    /* Set when the device has stopped answering, or was stopped: no request is sent any more. */
    _Atomic uint32_t dead;

    /* Protects the request queue and the slots. */
    void *lock;
    struct slot slots[MAX_REQUESTS];
    uint16_t slot_of_head[REQUEST_QUEUE_SIZE];
    uint16_t slot_count;
    uint16_t free_slot;
    uint16_t posted;                  /* slots with a completion */
    struct request post;              /* what is being posted */
    struct completion_queue answered; /* those that have no slot any more */

    /* Memory that the device reads and writes. */
    uint8_t *slot_memory;
    uint64_t slot_physical;
    uint8_t *event_memory;
    uint64_t event_physical;
    uint16_t event_slot_of_head[EVENT_QUEUE_SIZE];
    uint16_t event_count; /* buffers */
    uint8_t *probe_memory;
    uint64_t probe_physical;

    struct virtio_domain *domains;
    uint32_t next_domain;

    /*
     * All that are known: those that the core has, those that run and were not added yet, and those
     * that nobody has any more but that are still in the empty domain, so as to stay blocked.
     */
    struct virtio_endpoint *endpoints;
};

struct virtio_domain {
    struct virtio_domain *next;
    uint32_t number;
    bool identity;
};

struct virtio_endpoint {
    struct virtio_endpoint *next;
    uint32_t id;
    bool added;      /* the core has it */
    bool running;    /* it is left in the identity domain until it is added */
    bool attached;   /* it is in a domain, or may be */
    bool doubtful;   /* the last ATTACH was not clearly refused: it may be where that led to */
    uint32_t domain; /* the number of the domain it is in, if attached */

    /* Where identity domains are made of mappings: one for each endpoint, without these. */
    bool has_identity;
    uint32_t identity;
    struct piommu_range *reserved;
    uint32_t reserved_count; /* for which there is memory */
    uint32_t reserved_used;  /* in ascending order, apart from each other */
};

/* Whether an endpoint can be attached to a domain that lets it pass. */
static inline bool passes_by_domain(const struct virtio_iommu *unit)
{
    return (unit->features & F_BYPASS_CONFIG) != 0;
}

/* The first domain numbers have a fixed meaning; paging domains come after them. */
static inline uint32_t identity_domain(const struct virtio_iommu *unit)
{
    return unit->facts.first_domain;
}

/*
 * Two empty domains for blocked endpoints: to be sure of an endpoint it is attached to the one
 * where it is not, since attaching it to the one where it is has no defined meaning.
 */
static inline uint32_t blocked_domain(const struct virtio_iommu *unit, unsigned int which)
{
    return unit->facts.first_domain + 1 + which;
}

/* How many numbers have a fixed meaning: identity, and those for blocked endpoints. */
static inline uint32_t fixed_domains(const struct virtio_iommu *unit)
{
    return unit->config.unknown_ids == PIOMMU_UNKNOWN_IDS_LEAVE ? 3 : 2;
}

static inline bool unit_dead(struct virtio_iommu *unit)
{
    return atomic_load_explicit(&unit->dead, memory_order_acquire) != 0;
}

/* requests.c */

/* Makes the next request; false if there are no more. */
typedef bool piommu_virtio_iommu_make_request_(void *source, struct request *request);

/*
 * Sends requests until there are no more or one has failed, and waits until all that were sent are
 * answered. 0, or the error of the first that failed; -PIOMMU_ETIMEDOUT if the device did not
 * answer, -PIOMMU_EFAILED if it answered nonsense: the unit is dead then, or was before.
 */
int piommu_virtio_iommu_send_(struct virtio_iommu *unit, piommu_virtio_iommu_make_request_ *make,
                              void *source);
/* Sends one request. */
int piommu_virtio_iommu_send_one_(struct virtio_iommu *unit, const struct request *request);
/*
 * Sends requests without waiting, as many as there is room for; piommu_backend::post_map says the
 * rest.
 */
int piommu_virtio_iommu_post_(struct virtio_iommu *unit, piommu_virtio_iommu_make_request_ *make,
                              void *source, struct piommu_completion *completion);
int piommu_virtio_iommu_poll_(void *unit);
/* Answers all that was posted, in place of the device, which is dead. */
void piommu_virtio_iommu_abort_posts_(struct virtio_iommu *unit);
/* Forgets all requests; the device was reset. */
void piommu_virtio_iommu_forget_requests_(struct virtio_iommu *unit);

/* config.c */

/* Reads the device's configuration into the unit. */
int piommu_virtio_iommu_read_config_(struct virtio_iommu *unit);
/* Writes the bypass field, always, and makes sure that the device has taken it. */
int piommu_virtio_iommu_write_bypass_(struct virtio_iommu *unit, uint8_t bypass);

/* endpoints.c */
int piommu_virtio_iommu_add_endpoint_(void *unit, uint32_t id, struct piommu_endpoint_facts *facts,
                                      void **endpoint);
void piommu_virtio_iommu_release_endpoint_(void *unit, void *endpoint);
int piommu_virtio_iommu_domain_create_(void *unit, const struct piommu_backend_domain *request,
                                       void **domain);
int piommu_virtio_iommu_domain_destroy_(void *unit, void *domain);
int piommu_virtio_iommu_attach_(void *unit, void *endpoint, void *domain);
int piommu_virtio_iommu_block_(void *unit, void *endpoint);
/* Makes endpoints known that are to run until they are added, and attaches them. */
int piommu_virtio_iommu_let_run_(struct virtio_iommu *unit);
/* After a reset, with nothing attached: blocks all endpoints for which that takes a request. */
int piommu_virtio_iommu_block_all_(struct virtio_iommu *unit);
/* Forgets all endpoints. */
void piommu_virtio_iommu_free_endpoints_(struct virtio_iommu *unit);

/* mappings.c */

/* Maps addresses to themselves, but for an endpoint's reserved regions. */
int piommu_virtio_iommu_map_identity_(struct virtio_iommu *unit,
                                      const struct virtio_endpoint *endpoint);
int piommu_virtio_iommu_map_(void *unit, void *domain, struct piommu_mapping_source *source);
int piommu_virtio_iommu_unmap_(void *unit, void *domain, struct piommu_range_source *source);
int piommu_virtio_iommu_post_map_(void *unit, void *domain, struct piommu_mapping_source *source,
                                  struct piommu_completion *completion);
int piommu_virtio_iommu_post_unmap_(void *unit, void *domain, struct piommu_range_source *source,
                                    struct piommu_completion *completion);

/* events.c */

/* Gives all event buffers to the device. */
void piommu_virtio_iommu_post_events_(struct virtio_iommu *unit);
/* Whether the device says that it will answer nothing any more. */
bool piommu_virtio_iommu_is_broken_(const struct virtio_iommu *unit);
int piommu_virtio_iommu_service_(void *unit, unsigned int budget);

#endif
