/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_LIB_VIOMMU_ENGINE_H
#define PIOMMU_LIB_VIOMMU_ENGINE_H

/*
 * Private to the engine.
 *
 * One thing is done at a time: a request, or what is left of a domain that ends. Both may take many
 * calls of service; in between nothing else of the guest is looked at, so that no request sees
 * another half done.
 */

#include <piommu/viommu.h>

#include "../base/blob.h"
#include "../base/byte_order.h"
#include "../base/compiler.h"
#include "../base/host.h"
#include "../base/range_tree.h"

/* What may wait for the guest to have room for it. */
#define FAULTS_KEPT 16u

#define QUEUES 2u

/* Of the specification. */
#define REQUEST_ATTACH 1u
#define REQUEST_DETACH 2u
#define REQUEST_MAP    3u
#define REQUEST_UNMAP  4u
#define REQUEST_PROBE  5u
#define REQUEST_BYTES  72u /* that are read of a request */
#define ATTACH_BYTES   20u
#define MAP_BYTES      36u
#define ATTACH_BYPASS  1u

/* Of the specification. */
enum status {
    STATUS_OK = 0,
    STATUS_IOERR = 1,
    STATUS_UNSUPP = 2,
    STATUS_DEVERR = 3,
    STATUS_INVAL = 4,
    STATUS_RANGE = 5,
    STATUS_NOENT = 6,
    STATUS_FAULT = 7,
    STATUS_NOMEM = 8,
    /* Not of the specification: not there yet. */
    STATUS_UNFINISHED = 256,
};

/* A mapping of the guest. */
struct mapping {
    struct range_node node; /* of I/O virtual addresses */
    uint64_t guest;         /* guest physical */
    piommu_prot prot;
};

/* Room for remembering a domain of the core that cannot be destroyed yet. */
struct stuck {
    struct piommu_domain *core;
    struct stuck *next;
};

/* A domain of the guest. */
struct guest_domain {
    struct range_node node; /* its number, twice */
    bool bypass;
    struct range_tree mappings;
    struct piommu_viommu_endpoint *endpoints;
    struct piommu_domain *core; /* NULL: no device has been in it */
    struct stuck *room;         /* there with `core` */
    struct guest_domain *next;  /* in the list of those that end */
};

struct piommu_viommu_endpoint {
    struct range_node node; /* its number, twice */
    struct piommu_viommu *viommu;
    struct piommu_device *device; /* NULL: a software endpoint */
    void *cookie;
    struct guest_domain *domain;         /* NULL: not attached */
    struct piommu_viommu_endpoint *next; /* in its domain */
    size_t region_count;
    struct piommu_reserved_region regions[];
};

/* How far a request has come. */
enum stage {
    STAGE_NONE,   /* there is no request */
    STAGE_REPLAY, /* ATTACH: a device joins a domain that only software endpoints were in */
    STAGE_TELL,   /* ATTACH: a software endpoint is told of all mappings */
    STAGE_MAP,
    STAGE_UNDO, /* of MAP */
    STAGE_UNMAP,
    STAGE_DROP, /* of ATTACH: what the core has of a domain is to be as if it had not begun */
    STAGE_ANSWER,
};

/* The request that is being carried out. */
struct request {
    enum stage stage;
    uint16_t head;
    enum status status; /* its answer, where that is known before it ends */
    struct guest_domain *domain;
    struct piommu_viommu_endpoint *endpoint;
    struct mapping *mapping; /* MAP: the new one, not in the tree yet */
    struct range_node *next; /* the record to go on with */
    struct piommu_range range;
    uint64_t done;   /* bytes of the mapping that are mapped, or unmapped */
    uint64_t undone; /* MAP that failed: bytes of these that are unmapped again */
    bool fresh;      /* ATTACH: the domain is new */
    bool has_core;   /* ATTACH: what the core has of it is new */
    bool unheard;    /* nobody waits for the answer */
    struct piommu_gather gather;
};

/* A report for the guest, as it will be written. */
struct report {
    uint8_t bytes[24];
};

struct piommu_viommu {
    struct piommu_host host;
    struct piommu_viommu_config config;
    uint64_t granule_mask;
    uint64_t offered;
    uint64_t features; /* agreed on */
    bool is_bypassed;  /* of the configuration */
    bool is_started;
    bool
        completed[QUEUES]; /* by queue: of what was given back the hypervisor is still to be told */
    struct range_tree endpoints;
    struct range_tree domains;
    struct guest_domain *ending;
    struct stuck *stuck;
    struct piommu_domain_config core_config; /* of what the core has for a domain of the guest */
    struct piommu_instance *core_instance;   /* the one in it */
    struct blob blob;                        /* what is being restored */
    struct request request;
    uint8_t bytes[REQUEST_BYTES]; /* of the one that was begun last */
    uint8_t *properties;          /* probe_size bytes, for PROBE */
    struct piommu_viommu_statistics statistics;
    void *lock; /* protects the rest */
    struct report faults[FAULTS_KEPT];
    uint32_t first_fault;
    uint32_t fault_count;
    uint64_t faults_dropped;
};

static inline bool has_agreed(const struct piommu_viommu *viommu, uint64_t feature)
{
    return (viommu->features & feature) != 0;
}

/* ---- engine.c ---- */

/* Memory for an object that the guest makes us need; NULL: there is none, or it has enough. */
void *piommu_viommu_alloc_(struct piommu_viommu *viommu, size_t size);
void piommu_viommu_free_(struct piommu_viommu *viommu, void *object, size_t size);
/* The ring of a queue; NULL: there is none now. */
struct piommu_device_ring *piommu_viommu_ring_(const struct piommu_viommu *viommu,
                                               unsigned int queue);
/* A ring is broken: nothing more is done with any before a reset. */
void piommu_viommu_break_(struct piommu_viommu *viommu);
static inline void spend(uint32_t *budget, uint32_t work)
{
    *budget -= work < *budget ? work : *budget;
}
/* What the guest is told of an error of the core. */
enum status piommu_viommu_status_of_(int error);

/* ---- endpoint.c ---- */

struct piommu_viommu_endpoint *piommu_viommu_find_endpoint_(const struct piommu_viommu *viommu,
                                                            uint32_t id);
/* Each device that is not attached is blocked, or bypassed. 0, or the last error. */
int piommu_viommu_park_all_(struct piommu_viommu *viommu);
/* A device is blocked, or bypassed, as one that is not attached is to be. */
int piommu_viommu_park_(struct piommu_viommu_endpoint *endpoint);
/* Takes an endpoint out of its domain, which ends if nobody is left; hardware has been told. */
void piommu_viommu_leave_(struct piommu_viommu_endpoint *endpoint);
void piommu_viommu_join_(struct piommu_viommu_endpoint *endpoint, struct guest_domain *domain);
/* The properties that PROBE tells, into probe_size bytes of zeroes. */
void piommu_viommu_properties_(const struct piommu_viommu_endpoint *endpoint, uint8_t *properties);
size_t piommu_viommu_properties_size_(size_t region_count);

/* ---- domain.c ---- */

struct guest_domain *piommu_viommu_find_domain_(const struct piommu_viommu *viommu, uint32_t id);
/* A new domain; NULL: too many, or no memory. */
struct guest_domain *piommu_viommu_make_domain_(struct piommu_viommu *viommu, uint32_t id,
                                                bool bypass);
/* A domain that nobody is in has come to its end: it has no number any more. */
void piommu_viommu_end_domain_(struct piommu_viommu *viommu, struct guest_domain *domain);
/* Goes on with those that end; false: there is more. */
bool piommu_viommu_clean_up_(struct piommu_viommu *viommu, uint32_t *budget);
/* Gives a domain one of the core, for a device. */
int piommu_viommu_make_core_(struct piommu_viommu *viommu, struct guest_domain *domain,
                             struct piommu_device *device);
/* Takes it away again, from a domain that no device is in; false: there is more. */
bool piommu_viommu_drop_core_(struct piommu_viommu *viommu, struct guest_domain *domain,
                              uint32_t *budget);
/* Destroys what could not be destroyed before: 0, or an error of piommu_domain_destroy. */
int piommu_viommu_drop_stuck_(struct piommu_viommu *viommu);

/* ---- mapping.c ---- */

/* Maps a portion of a mapping; adds to what is done. */
enum status piommu_viommu_map_portion_(struct piommu_viommu *viommu, struct piommu_domain *core,
                                       const struct mapping *mapping, uint32_t *budget);
/* The stages of MAP and UNMAP. */
enum status piommu_viommu_begin_map_(struct piommu_viommu *viommu, const uint8_t *bytes);
enum status piommu_viommu_map_(struct piommu_viommu *viommu, uint32_t *budget);
enum status piommu_viommu_undo_(struct piommu_viommu *viommu, uint32_t *budget);
/* Flags of MAP. */
uint32_t piommu_viommu_map_flags_(piommu_prot prot);
enum status piommu_viommu_begin_unmap_(struct piommu_viommu *viommu, const uint8_t *bytes);
enum status piommu_viommu_unmap_(struct piommu_viommu *viommu, uint32_t *budget);

/* ---- attach.c ---- */

enum status piommu_viommu_begin_attach_(struct piommu_viommu *viommu, const uint8_t *bytes);
enum status piommu_viommu_replay_(struct piommu_viommu *viommu, uint32_t *budget);
enum status piommu_viommu_tell_(struct piommu_viommu *viommu, uint32_t *budget);
enum status piommu_viommu_drop_(struct piommu_viommu *viommu, uint32_t *budget);
enum status piommu_viommu_detach_(struct piommu_viommu *viommu, const uint8_t *bytes);

/* ---- request.c ---- */

/* Takes the next request and begins with it; false: there is none, or the ring is broken. */
bool piommu_viommu_take_request_(struct piommu_viommu *viommu);
/* Whether there is one that has done something, and not all. */
bool piommu_viommu_is_half_done_(const struct piommu_viommu *viommu);
/* Goes on with the one that there is. */
void piommu_viommu_advance_(struct piommu_viommu *viommu, uint32_t *budget);
/* Tells its answer; false: there is no ring to do it with. */
bool piommu_viommu_tell_answer_(struct piommu_viommu *viommu);
/*
 * To carry one out at once that nobody has asked for: before it is begun, and, with what came of
 * that, after.
 */
void piommu_viommu_open_unheard_(struct piommu_viommu *viommu);
enum status piommu_viommu_complete_unheard_(struct piommu_viommu *viommu, enum status status);
/* Forgets the one that there is: the device is reset. */
void piommu_viommu_abandon_(struct piommu_viommu *viommu);

/* ---- fault.c ---- */

/* Writes reports into the guest's buffers, as far as there are any. */
void piommu_viommu_deliver_(struct piommu_viommu *viommu, uint32_t *budget);
/* Those that are kept are of a life that has ended. */
void piommu_viommu_forget_faults_(struct piommu_viommu *viommu);

#endif
