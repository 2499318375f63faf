/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CORE_WORLD_H
#define CORE_WORLD_H

/*
 * A context with units of both kinds, devices and domains, and beside it what the headers say of
 * them: which device is in which domain, what is mapped, what was unmapped and may still be used.
 * While calls run, devices try to reach memory after each call of a backend: whatever they reach
 * must be granted at that moment. Nothing here is known from anywhere but the headers.
 */

#include "fake_os.h"
#include "mock_backend.h"

#include <piommu/piommu.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CORE_UNITS          5u
#define CORE_DEVICES        6u
#define CORE_DEVICE_IDS     3u
#define CORE_REGIONS        12u
#define CORE_DOMAINS        5u
#define CORE_GATHERS        2u
#define CORE_RECORDS        4u
#define CORE_SPOTS          24u
#define CORE_CONFIG_NUMBERS 8u
#define CORE_HOST_IDS       12u /* IDs that devices have: 1 to this */
#define CORE_NO_DOMAIN      (-1)

#define CORE_PAGE 0x1000ull

/* What is mapped: a leaf or a mapping request, in ascending lists that do not overlap. */
struct core_leaf {
    uint64_t first;
    uint64_t last;
    uint64_t physical;
    piommu_prot prot;
};

struct core_leaves {
    struct core_leaf *items;
    size_t count;
    size_t room;
};

/* Unmapped, and not synced. */
struct core_gone {
    struct core_leaf leaf;
    unsigned int gather;
    bool forgotten; /* by all units that have not failed */
};

struct core_gone_list {
    struct core_gone *items;
    size_t count;
    size_t room;
};

struct core_unit {
    struct mock *mock;
    enum piommu_backend_kind kind;
    unsigned int number;
    unsigned int parent; /* its number + 1; 0: none */
    uint64_t key;
    char name[8];
    struct piommu_instance *instance; /* NULL: not created */
    enum piommu_instance_state state;
    bool can_suspend;
    bool has_block_now;
    unsigned int context_limit; /* 0: none */
    uint32_t fault_records;
    uint32_t fault_limit;
    /* Faults. */
    uint64_t faults;
    uint64_t held_back;
    uint64_t dropped;
    struct piommu_fault records[CORE_RECORDS];
    unsigned int record_count;
    uint64_t noticed[CORE_HOST_IDS + 1]; /* of each ID; 0: unknown ones */
};

struct core_id {
    unsigned int unit;
    uint32_t id;
    bool by_key;
    bool attached; /* reaches what the domain grants */
    bool doubtful; /* on a unit that has not confirmed that it has stopped */
};

struct core_device {
    struct piommu_device *handle; /* NULL: not added */
    unsigned int number;
    char name[8];
    struct core_id ids[CORE_DEVICE_IDS];
    size_t id_count;
    uint64_t group_key;
    struct piommu_reserved_region regions[CORE_REGIONS]; /* the host's, then the hardware's */
    size_t region_count;
    size_t host_regions;
    bool waiting;
    bool stuck; /* it could not be completed, and waits for ever */
    bool fault_blocked;
    int domain; /* index, or CORE_NO_DOMAIN */
    struct piommu_group *group;
};

struct core_domain {
    struct piommu_domain *handle; /* NULL: not created */
    unsigned int number;
    char name[8];
    enum piommu_domain_type type;
    bool tables;
    unsigned int home;    /* bit of each unit that it was made for */
    unsigned int units;   /* and of those that devices have brought, as long as they are there */
    unsigned int haunted; /* bit of each unit that has failed while a device was to enter */
    bool scarred;         /* a unit of it has failed */
    bool relaxable;
    bool disjoint;
    bool populated; /* or not of a type that has to be */
    bool has_frames;
    bool has_window;
    struct piommu_range window;
    struct piommu_range aperture;
    uint64_t granule;
    piommu_prot prot;
    bool write_only;
    struct core_leaves leaves; /* SHARED: what the CPU's table holds */
    struct core_leaves doorbells;
    struct core_leaves frames; /* the hypervisor's own record */
    struct core_gone_list gone;
    struct piommu_gather gathers[CORE_GATHERS];
    struct piommu_domain_statistics statistics;
    /* SHARED */
    struct piommu_pgtable *cpu_table;
};

/* What may be reached in addition while a call runs. */
struct core_extra {
    unsigned int domain;
    struct core_leaf leaf;
};

#define CORE_EXTRAS 64u

struct core_world {
    struct fake_os *os;
    bool verbose;
    uint16_t config[CORE_CONFIG_NUMBERS];
    struct piommu_context *context;
    struct core_unit units[CORE_UNITS];
    struct core_device devices[CORE_DEVICES];
    struct core_domain domains[CORE_DOMAINS];
    uint64_t random; /* for probes: not a part of a program's meaning */
    uint64_t version;
    uint64_t spots[CORE_SPOTS]; /* addresses that were talked about */
    unsigned int spot;

    /* The call that is running. */
    const char *call;
    unsigned int number;
    unsigned int moving; /* bit of each device that goes from its domain to `target` */
    int target;
    struct core_extra extras[CORE_EXTRAS];
    size_t extra_count;
    bool quiet_time; /* no probes: nothing is promised now */
    int choice;      /* what the policy callback answers */
    unsigned int choices;
    unsigned int ready_devices; /* bit of each device of which device_ready has told */
    int ready_error;
    unsigned int ready_instances;
    enum piommu_fault_answer answer;
    struct piommu_fault fault;
    unsigned int fault_calls;
    int frames_error;
    uint64_t events[PIOMMU_EVENT_FAULT_BLOCK + 1];
    struct piommu_event event; /* the last one */

    /* Failures to be injected into the next call, and whether that has happened. */
    uint64_t fallible_before;
    uint64_t backend_before;
    unsigned int allocation_kth;
    unsigned int backend_kth;
    unsigned int backend_unit;
    int backend_error;
    bool silent_unit;
    unsigned int attach_failures; /* the next so many attaches fail, and no other call */
    unsigned int attaches_failed; /* of these, in this call */
    uint64_t attaches_before;
    unsigned int patience; /* how many calls the failure waits */
    bool injected_allocation;
    bool injected_backend;
    unsigned int disturbed_units; /* bit of each unit whose backend has failed since then */
    bool disturbed;               /* since core_adopt: some call of the library has met a failure */
    uint64_t faults_injected;     /* failures that had an effect */
};

void core_check_failed(const char *file, int line, const char *condition) __attribute__((noreturn));

#define CORE_CHECK(condition)                                  \
    do {                                                       \
        if (!(condition)) {                                    \
            core_check_failed(__FILE__, __LINE__, #condition); \
        }                                                      \
    } while (0)

/* ---- Lists ---- */

/* The index of the first leaf that ends at or behind an address; count if there is none. */
size_t core_leaves_index(const struct core_leaves *leaves, uint64_t address);
const struct core_leaf *core_leaves_at(const struct core_leaves *leaves, uint64_t address);
bool core_leaves_overlap(const struct core_leaves *leaves, uint64_t first, uint64_t last);
/* Puts a leaf in its place, which is free. */
void core_leaves_insert(struct core_leaves *leaves, const struct core_leaf *leaf);
/* As that, but goes on with the leaf in front if it leads on. */
void core_leaves_append(struct core_leaves *leaves, const struct core_leaf *leaf);
/* Takes a range out, cutting what reaches beyond it. */
void core_leaves_remove(struct core_leaves *leaves, uint64_t first, uint64_t last);
/* Bytes within a range. */
uint64_t core_leaves_bytes(const struct core_leaves *leaves, uint64_t first, uint64_t last);
/* The part of a leaf within a range that it reaches into. */
struct core_leaf core_leaf_part(const struct core_leaf *leaf, uint64_t first, uint64_t last);
void core_leaves_free(struct core_leaves *leaves);
void core_gone_add(struct core_gone_list *gone, unsigned int gather, const struct core_leaf *leaf);
void core_gone_drop(struct core_gone_list *gone, unsigned int gather);
bool core_gone_overlap(const struct core_gone_list *gone, uint64_t first, uint64_t last);

/* ---- The world ---- */

uint64_t core_random(uint64_t *state);
struct core_world *core_world_create(const uint16_t *config, uint64_t seed, bool verbose);
/* Says what the units are like. */
void core_world_print(const struct core_world *world);
/* Takes all down, expecting that it can be; NULL is ignored. */
void core_world_destroy(struct core_world *world);

void core_say(const struct core_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Around each call of the library: failures are injected, probes made. */
void core_begin(struct core_world *world, const char *call);
void core_end(struct core_world *world, int result);
/* Whether a failure was injected in the call that has just ended. */
bool core_injected(const struct core_world *world);
void core_extra_add(struct core_world *world, unsigned int domain, const struct core_leaf *leaf);
void core_spot_add(struct core_world *world, uint64_t address);

/* Frees the table that a shared domain has had. */
void core_free_cpu_table(struct core_domain *domain);

/* Is this region mapped in the domain while its device is there? */
bool core_is_direct(const struct core_domain *domain, const struct piommu_reserved_region *region);
/* Is there a direct region, or a doorbell, in a range of a domain? */
bool core_fixed_overlap(const struct core_world *world, const struct core_domain *domain,
                        uint64_t first, uint64_t last);
/* Is there anything in the range where nothing can be mapped? */
bool core_reserved_overlap(const struct core_world *world, const struct core_domain *domain,
                           uint64_t first, uint64_t last);
/* What a domain can do, with the devices that are in it now. */
void core_limit_domain(const struct core_world *world, struct core_domain *domain);
/* Whether a unit of the domain has failed. */
bool core_touches_failed(const struct core_world *world, const struct core_domain *domain);
/* Whether a device of the domain can do DMA now; and whether there is one at all. */
bool core_has_active(const struct core_world *world, const struct core_domain *domain);
bool core_has_devices(const struct core_world *world, const struct core_domain *domain);
/* Bits of all devices in the group of one. */
unsigned int core_group_of(const struct core_world *world, const struct core_device *device);
unsigned int core_units_of(const struct core_world *world, unsigned int devices);

/* Devices try addresses; what they reach must be granted, and what is granted must be reached. */
void core_probe(struct core_world *world);
/* Whether there is a unit that has failed and not stopped: who knows what its IDs reach? */
bool core_in_doubt(const struct core_world *world);
/* Compares what the library says of everything with the model. */
void core_check_all(struct core_world *world);
/* One device, chosen at random. */
void core_check_some(struct core_world *world);
/* After a failure: takes over what the library says, as far as it may be so. */
void core_adopt(struct core_world *world);

/* ---- Verdicts ---- */

#define CORE_ERRORS 48u

/* What a call may return. */
struct core_verdict {
    int must[CORE_ERRORS]; /* one of these, if there are any */
    size_t must_count;
    int may[CORE_ERRORS]; /* or one of these */
    size_t may_count;
};

void core_must(struct core_verdict *verdict, bool condition, int error);
void core_may(struct core_verdict *verdict, bool condition, int error);
/* Ends the test unless the verdict, or a failure that was injected, permits the result. */
void core_judge(const struct core_world *world, const struct core_verdict *verdict, int result);

#endif
