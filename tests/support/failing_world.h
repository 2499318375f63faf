/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FAILING_WORLD_H
#define FAILING_WORLD_H

/**
 * @file failing_world.h
 * A small world around a core: units, devices and domains over mock backends, whose whole state can
 * be taken down and compared. After each call of a backend every modelled device tries every
 * watched address.
 */

#include "failing_calls.h"
#include "fake_os.h"
#include "mock_backend.h"

#include <piommu/piommu.h>

#define WORLD_UNITS     FAILING_MAX_UNITS
#define WORLD_DEVICES   4u
#define WORLD_DOMAINS   4u
#define WORLD_ADDRESSES 20u
#define WORLD_IDS       4u /* watched on each unit: WORLD_FIRST_ID and the next ones */
#define WORLD_FIRST_ID  10u
#define WORLD_KEY(unit) (100u + (uint64_t)(unit))
#define WORLD_NOTHING   UINT64_MAX

/** What every ID reaches, for reading and for writing: physical addresses, or WORLD_NOTHING. */
struct world_reach {
    uint64_t physical[WORLD_UNITS][WORLD_IDS][WORLD_ADDRESSES][2];
};

/** What a line of a snapshot is about. */
enum world_subject {
    WORLD_INSTANCE,   /**< by unit */
    WORLD_DEVICE,     /**< what is known of it, by device */
    WORLD_ID,         /**< states of its IDs, by device */
    WORLD_DOMAIN,     /**< what it can do, and counters of calls, by domain */
    WORLD_ENDPOINTS,  /**< how many are attached, by domain */
    WORLD_MAPPINGS,   /**< what is mapped, by domain */
    WORLD_GATHER,     /**< what is pending, by domain */
    WORLD_REACH_UNIT, /**< what devices reach, by unit */
    WORLD_SUBJECTS,
};

#define WORLD_MAX_LINES 320u

struct world_line {
    enum world_subject subject;
    unsigned int index;
    char text[116];
};

/** The state of a world. */
struct world_snapshot {
    unsigned int count;
    struct world_line lines[WORLD_MAX_LINES];
    struct world_reach reach;
    uint64_t bytes; /* that the library holds */
};

/** Lines that a comparison leaves out: bit n for index n. */
struct world_skip {
    unsigned int index[WORLD_SUBJECTS];
};

/** What kind of world. */
struct world_options {
    enum piommu_backend_kind kind;
    unsigned int units;  /**< that run from the beginning: the others can be started later */
    bool blocks_between; /**< endpoints do not switch domains in one step */
    bool block_now;      /**< units can block an endpoint in an interrupt */
    bool single;         /**< for setups: DMA has one ID, which can switch domains in one step */
    bool family;         /**< unit 0 can be the parent of the others... */
    bool related;        /**< ...and is, of those that run from the beginning */
};

struct failing_world {
    struct world_options options;
    struct fake_os *os;
    struct failing_calls *calls;
    struct mock *mocks[WORLD_UNITS];
    struct piommu_context *context;
    struct piommu_instance *instances[WORLD_UNITS];
    struct piommu_device *devices[WORLD_DEVICES];
    struct piommu_domain *domains[WORLD_DOMAINS];
    struct piommu_gather gathers[WORLD_DOMAINS]; /* one for each domain */
    /* What the callbacks of the context answer, and were told. */
    struct piommu_domain *choice;
    enum piommu_fault_answer fault_answer;
    unsigned int faults;
    unsigned int chosen;
    unsigned int instances_ready;
    int instance_error;
    unsigned int devices_ready;
    int device_error;
    unsigned int events[PIOMMU_EVENT_FAULT_BLOCK + 1u]; /* how often */
    int event_errors[PIOMMU_EVENT_FAULT_BLOCK + 1u];    /* the last one's */
    /* What may be reached while a call is going on; NULL: not looked at. */
    const struct world_reach *allowed[2];
    uint64_t probes;
    /* For whoever reads a failure. */
    const char *title;
    /* For the scenario. */
    uint64_t number;
    void *pointer;
};

/** The addresses that devices try. */
extern const uint64_t world_addresses[WORLD_ADDRESSES];

/** A world whose first units run, without devices and domains. */
struct failing_world *world_open(const struct world_options *options);
/** Takes everything down, which has to succeed whatever happened, and looks for leaks. */
void world_close(struct failing_world *world);
/** Starts a further unit. */
int world_start(struct failing_world *world, unsigned int unit, uint64_t parent_key,
                struct piommu_instance **instance);
/** Adds a device with `ids` IDs from `first` on, on each of the units named by a bit. */
int world_try_add(struct failing_world *world, unsigned int units, uint32_t first, unsigned int ids,
                  const struct piommu_device_config *more, struct piommu_device **device);
void world_add(struct failing_world *world, unsigned int device, unsigned int units, uint32_t first,
               unsigned int ids);
/** Makes a domain over the units named by a bit; what is NULL in `more` takes its default. */
int world_try_domain(struct failing_world *world, enum piommu_domain_type type, unsigned int units,
                     const struct piommu_domain_config *more, struct piommu_domain **domain);
void world_domain(struct failing_world *world, unsigned int domain, enum piommu_domain_type type,
                  unsigned int units);
void world_map(struct failing_world *world, unsigned int domain, uint64_t iova, uint64_t physical,
               uint64_t size, piommu_prot prot);
void world_attach(struct failing_world *world, unsigned int device, unsigned int domain);

/** Takes the state down. */
void world_look(struct failing_world *world, struct world_snapshot *snapshot);
/** Ends the test if the two differ elsewhere than in what is skipped. */
void world_compare(const struct failing_world *world, const struct world_snapshot *expected,
                   const struct world_snapshot *found, const struct world_skip *skip,
                   const char *what);
/** Ends the test if what the library says of itself does not fit what devices reach. */
void world_check(struct failing_world *world);
/** Ends the test with a message and the title. */
void world_broken(const struct failing_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#endif
