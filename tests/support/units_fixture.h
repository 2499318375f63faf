/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef UNITS_FIXTURE_H
#define UNITS_FIXTURE_H

/**
 * @file units_fixture.h
 * A context with several instances over spy_backend.h, for tests of the half of the core that is
 * Registration. It keeps what the callbacks were told, and the devices try to reach memory after
 * every call that the core makes of a backend: what they reach must be granted at that moment.
 *
 * Each domain made here maps two pages: UNITS_PAGE, where every domain has a page of its own, and
 * an address that only this domain has.
 */

#include <piommu/piommu.h>

#include "fake_os.h"
#include "spy_backend.h"

#define UNITS_MAX_DEVICES 12u
#define UNITS_MAX_DOMAINS 8u
#define UNITS_MAX_NEWS    32u
#define UNITS_MAX_FAULTS  512u
#define UNITS_MAX_EVENTS  1024u
#define UNITS_LOG_SIZE    65536u
/** The address that every domain maps. */
#define UNITS_PAGE 0x10000ull
/** One second on the shim's clock. */
#define UNITS_SECOND 1000000000ull

/** An ID of a device, by the number of the unit. */
struct units_id {
    unsigned int unit;
    uint32_t id;
};

/** What instance_ready or device_ready was told. */
struct units_news {
    const struct piommu_instance *instance; /**< NULL: it was device_ready */
    const struct piommu_device *device;     /**< NULL: it was instance_ready */
    int error;
};

struct units_device {
    struct piommu_device *device;
    struct units_id ids[PIOMMU_DEVICE_MAX_IDS];
    size_t id_count;
};

struct units {
    struct fake_os *os;
    struct spy *spy;
    struct piommu_context *context;
    struct piommu_instance *instances[SPY_MAX_UNITS];
    struct units_device devices[UNITS_MAX_DEVICES];
    unsigned int device_count;
    struct piommu_domain *domains[UNITS_MAX_DOMAINS];
    unsigned int domain_count;
    /** Of each ID: the domains, as bits, that it may reach now. */
    uint32_t granted[SPY_MAX_UNITS][MOCK_ID_LIMIT];
    unsigned long probes;
    unsigned long reached; /**< how many of them have reached memory */
    /** Set: devices may reach whatever they do (identity domains, tables of the test's own). */
    bool anything_goes;

    /** What choose_domain answers, if `choose` is NULL; how often it was asked, of whom last. */
    struct piommu_domain *chosen;
    struct piommu_domain *(*choose)(struct units *units, const struct piommu_device *device);
    unsigned int choices;
    const struct piommu_device *asked;

    struct units_news news[UNITS_MAX_NEWS];
    unsigned int news_count;
    void (*on_news)(struct units *units, struct piommu_instance *instance,
                    struct piommu_device *device, int error);

    struct piommu_fault faults[UNITS_MAX_FAULTS];
    unsigned int fault_count;
    enum piommu_fault_answer answer; /**< what the fault callback answers */
    void (*on_fault)(struct units *units, const struct piommu_fault *fault);

    struct piommu_event events[UNITS_MAX_EVENTS];
    unsigned int event_count;
    void (*on_event)(struct units *units, const struct piommu_event *event);

    /** Everything that was logged, one line after the other. */
    char log[UNITS_LOG_SIZE];
    size_t log_length;
    uint64_t clock_offset;
    void *hook_data; /**< for the test's own callbacks */
};

/** A context without instances. The callbacks of the configuration are all set. */
struct units *units_open(void);
/** The same over a host that behaves so. */
struct units *units_open_over(const struct fake_os_options *options);
/** Detaches and takes down whatever is left, and asserts that all of it can be. */
void units_close(struct units *units);

/** Adds a unit to the spy without creating an instance. */
unsigned int units_prepare(struct units *units, const struct spy_options *options);
/** Creates the instance of a prepared unit; its owner is the address of instances[unit]. */
int units_start(struct units *units, unsigned int unit, struct piommu_instance_config config);
/** Both, with the defaults and a name; must succeed. */
unsigned int units_add(struct units *units, const struct spy_options *options, const char *name);
/** Both, with a key and a key of a parent (0: none); must succeed. */
unsigned int units_add_keyed(struct units *units, const struct spy_options *options,
                             const char *name, uint64_t key, uint64_t parent_key);
/** The state of the instance of a unit. */
enum piommu_instance_state units_state(struct units *units, unsigned int unit);

/** Adds a device by the configuration; ids[].unit says where each ID is, for the probes. */
int units_try_device(struct units *units, const struct piommu_device_config *config,
                     const struct units_id *ids, struct piommu_device **device);
/** Adds a device whose instances are there; its owner is its place in `devices`. */
struct piommu_device *units_device(struct units *units, const char *name,
                                   const struct units_id *ids, size_t count);
/** The same with one ID. */
struct piommu_device *units_device_one(struct units *units, const char *name, unsigned int unit,
                                       uint32_t id);
/** Removes a device; must succeed. */
void units_remove(struct units *units, struct piommu_device *device);

/** Creates a domain by the configuration, without mappings. */
int units_try_domain(struct units *units, const struct piommu_domain_config *config,
                     struct piommu_domain **domain);
/** A paging domain of so many units from `first` on, with its two pages mapped. */
struct piommu_domain *units_domain(struct units *units, const char *name, unsigned int first,
                                   unsigned int count);
/** Maps the two pages of a domain. */
void units_fill(struct units *units, struct piommu_domain *domain);
/** Where the domain's own page is, and where its pages lead. */
uint64_t units_own_page(const struct units *units, const struct piommu_domain *domain);
uint64_t units_memory(const struct units *units, const struct piommu_domain *domain);
/** Destroys a domain; must succeed. */
void units_drop(struct units *units, struct piommu_domain *domain);

/**
 * Attaches the group of a device; while this runs it may reach what it reached before and what is
 * in the domain, and afterwards what the error says.
 */
int units_attach(struct units *units, struct piommu_device *device, struct piommu_domain *domain);
/** Detaches the group of a device; must succeed. */
void units_detach(struct units *units, struct piommu_device *device);
/** From now on the device, and its group, may reach this domain only (NULL: nothing). */
void units_grant(struct units *units, struct piommu_device *device, struct piommu_domain *domain);
/** All IDs of a device reach both pages of this domain, and nothing else (NULL: nothing). */
bool units_is_in(struct units *units, struct piommu_device *device, struct piommu_domain *domain);
/** One ID does. */
bool units_id_is_in(struct units *units, unsigned int unit, uint32_t id,
                    struct piommu_domain *domain);
/** Every device tries everything; the test fails if it reaches what is not granted. */
void units_probe(void *units);

/** The piommu_id_state of an ID of a device. */
enum piommu_id_state units_id_state(struct piommu_device *device, size_t index);
/** The domain that a device says it is in. */
struct piommu_domain *units_domain_of(struct piommu_device *device);
/** Whether a device says that it is blocked because of a fault. */
bool units_fault_blocked(struct piommu_device *device);
bool units_waits(struct piommu_device *device);

/** Unmaps and syncs; must succeed. */
void units_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size);

/** Lets the shim's clock go on. */
void units_pass(struct units *units, uint64_t nanoseconds);
/** Does this text stand in the log? */
bool units_logged(const struct units *units, const char *text);
/** Does a line of the log have both texts? */
bool units_logged_both(const struct units *units, const char *one, const char *other);
void units_forget_log(struct units *units);
/** The nth (1: the first) event of a kind since the events were forgotten; NULL: there is none. */
const struct piommu_event *units_event(const struct units *units, enum piommu_event_kind kind,
                                       unsigned int nth);
void units_forget_events(struct units *units);

#endif
