/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_FIXTURE_H
#define IPMMU_FIXTURE_H

/**
 * @file ipmmu_fixture.h
 * The library's core and its IPMMU-VMSA backend on the model of the hardware, on the fake OS.
 *
 * The fixture is also a prober: after each write to a register every master tries every page, and
 * the test fails if one reaches what it was not granted. Around a call a master has two sets of
 * grants: a test says what will be granted (ipmmu_grant), makes the call, in which both are
 * allowed, and then ends what was (ipmmu_settle).
 */

#include <piommu/ipmmu-vmsa.h>
#include <piommu/models/ipmmu-vmsa.h>
#include <piommu/piommu.h>

#include "fake_os.h"

#define IPMMU_PAGE 0x1000ull
/** Where the pages are that masters try, as addresses of theirs. */
#define IPMMU_IOVA 0x40000000ull
/** Memory for them to be mapped to: as good as any, since nothing is stored there. */
#define IPMMU_MEMORY     0x80000000ull
#define IPMMU_PAGES      6u
#define IPMMU_READ       PIOMMU_PROT_READ
#define IPMMU_READ_WRITE (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

enum {
    IPMMU_MAX_UNITS = 8,
    IPMMU_MAX_MASTERS = 32,
    IPMMU_MAX_IDS = 4, /**< of one master */
    IPMMU_MAX_DOMAINS = 16,
    IPMMU_MAX_FAULTS = 64,
};

/** Number of a unit in a system that is not told its units; on Gen2 each is its own root. */
enum { IPMMU_ROOT, IPMMU_CACHE_1, IPMMU_CACHE_2, IPMMU_UNITS };

/** A kind of system. */
struct ipmmu_system {
    const char *name; /**< for messages */
    enum piommu_ipmmu_model_class generation;
    const char *compatible;
    enum piommu_ipmmu_vmsa_tables tables;
    unsigned int contexts; /**< as in piommu_ipmmu_vmsa_config */
    unsigned int domains;  /**< how many can be at a time; 0: any number */
    uint32_t product;
};

/** The nth kind of system, with each layout of registers and each kind of tables; NULL: no more. */
const struct ipmmu_system *ipmmu_system(size_t number);
/** By name; fails the test if there is none. */
const struct ipmmu_system *ipmmu_system_named(const char *name);

/** Which kinds a test is about. */
enum ipmmu_kinds {
    IPMMU_ALL,
    IPMMU_CACHED, /**< those with cache units: one domain over units that share its context */
};

/** A test of many kinds of system, one after the other; see IPMMU_TEST. */
struct ipmmu_test {
    enum ipmmu_kinds kinds;
    void (*body)(const struct ipmmu_system *system);
};

/** What runs such a test; says which system it is at. */
void ipmmu_run(void **state);

/** The same as an entry of cmocka's list of tests, within a function. */
#define IPMMU_TEST(kinds, body)                                           \
    {                                                                     \
#body, ipmmu_run, NULL, NULL, &(struct ipmmu_test){kinds, body }, \
    }

/** How to build one. Zero is a default for everything. */
struct ipmmu_options {
    const struct piommu_ipmmu_model_readings *readings; /**< default: the model's */
    /** Must stay; default: M, with the cache units D and H behind it. On Gen2 three roots. */
    const struct piommu_ipmmu_model_unit *units;
    size_t unit_count;
    uint32_t product;          /**< what the product register says; default: as the system */
    uint64_t memory_base;      /**< as in fake_os_options */
    bool non_coherent_buffers; /**< the same */
    bool scattered;            /**< the same */
    uint32_t forgiven;         /**< rules of the model that this test breaks */
};

/** Where a master is wired. */
struct ipmmu_place {
    size_t unit;
    uint32_t micro_tlb;
};

struct ipmmu_granted {
    bool mapped;
    bool write;
    uint64_t physical;
};

struct ipmmu_master {
    struct ipmmu_place places[IPMMU_MAX_IDS];
    size_t place_count;
    struct piommu_device *device; /**< NULL: the library knows nothing of it */
    /** What it may reach: before the call in progress, and after it. */
    struct ipmmu_granted granted[2][IPMMU_PAGES];
    bool passes; /**< everything may be reached */
    char name[8];
};

/** Read what you like; change only what says so. */
struct ipmmu_fixture {
    const struct ipmmu_system *system;
    struct fake_os *os;
    struct piommu_ipmmu_model *model;
    struct piommu_context *context;
    const struct piommu_ipmmu_model_unit *units;
    size_t unit_count;
    /** Change these before the unit is started; owner is &instances[unit]. */
    struct piommu_ipmmu_vmsa_config places[IPMMU_MAX_UNITS];
    struct piommu_instance_config configs[IPMMU_MAX_UNITS];
    struct piommu_instance *instances[IPMMU_MAX_UNITS];
    struct ipmmu_master masters[IPMMU_MAX_MASTERS]; /**< owner of a device: its master */
    size_t master_count;
    struct piommu_domain *domains[IPMMU_MAX_DOMAINS]; /**< owner: &domains[number] */
    size_t domain_count;

    bool loses_memory;    /**< may be set: a unit does not let go of what it was given */
    bool probing;         /**< may be changed; ipmmu_start sets it, ipmmu_close clears it */
    bool probes_prefetch; /**< may be changed: everything is cached before each round of probes */
    unsigned long probes;
    /** A test's own observer of the registers: called after the probes. May be changed. */
    void (*on_access)(struct ipmmu_fixture *fixture,
                      const struct piommu_ipmmu_model_access *access);

    struct piommu_fault faults[IPMMU_MAX_FAULTS]; /**< the first ones told to the callback */
    size_t fault_count;                           /**< may be set to 0 */
    enum piommu_fault_answer answer;              /**< of the callback; may be changed */
    void *test_data;                              /**< the test's own */
};

/** Makes the host, the hardware and a context. Nothing is started. */
struct ipmmu_fixture *ipmmu_open(const struct ipmmu_system *system,
                                 const struct ipmmu_options *options);
/** Is this unit one with contexts? */
bool ipmmu_is_root(const struct ipmmu_fixture *fixture, size_t unit);
/** Creates the instance of a unit. */
int ipmmu_try_unit(struct ipmmu_fixture *fixture, size_t unit);
/** The same, and must succeed. */
void ipmmu_start_unit(struct ipmmu_fixture *fixture, size_t unit);
/** Starts all units that are not there, the last one first (before its root); then probes begin. */
void ipmmu_start(struct ipmmu_fixture *fixture);
/** ipmmu_start; four masters, two behind each of units 1 and 2, and two domains for them. */
void ipmmu_start_with_masters(struct ipmmu_fixture *fixture);

/** Wires a master, of which the library is told nothing. Returns its number. */
size_t ipmmu_wire(struct ipmmu_fixture *fixture, const struct ipmmu_place *places, size_t count);
/** Adds the device of a wired master. */
int ipmmu_try_device(struct ipmmu_fixture *fixture, size_t master);
/** Wires a master with one ID and adds its device; must succeed. Returns its number. */
size_t ipmmu_add_master(struct ipmmu_fixture *fixture, size_t unit, uint32_t micro_tlb);
/** Removes its device; must succeed. The master stays, and must reach nothing. */
void ipmmu_remove_device(struct ipmmu_fixture *fixture, size_t master);

/** Creates a domain of a type for all units that have micro-TLBs. */
int ipmmu_try_domain(struct ipmmu_fixture *fixture, enum piommu_domain_type type,
                     struct piommu_domain **domain);
/** A paging one, as a further one of `domains`; must succeed. */
struct piommu_domain *ipmmu_add_domain(struct ipmmu_fixture *fixture);
/** Destroys one of `domains`, which becomes NULL; must succeed. */
void ipmmu_destroy_domain(struct ipmmu_fixture *fixture, size_t number);

/**
 * A stage-2 table of 40 bits as a CPU has it, which the caller destroys; and what a shared domain
 * has to be told of it.
 */
struct piommu_pgtable *ipmmu_table_of_cpu(struct ipmmu_fixture *fixture,
                                          struct piommu_shared_table *shared);

/** Attaches the group of a master's device; must succeed. */
void ipmmu_attach(struct ipmmu_fixture *fixture, size_t master, struct piommu_domain *domain);
/** Detaches it; must succeed. Grants nothing any more to this master, and settles. */
void ipmmu_detach(struct ipmmu_fixture *fixture, size_t master);
/** Unmaps from a domain and syncs; must succeed. */
void ipmmu_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size);

/** What a master may reach at a page from now on, beside what it could before; 0: nothing. */
void ipmmu_grant(struct ipmmu_fixture *fixture, size_t master, size_t page, uint64_t physical,
                 piommu_prot prot);
/** The same for all pages: nothing. */
void ipmmu_revoke(struct ipmmu_fixture *fixture, size_t master);
/** Ends what could be reached before, of all masters. */
void ipmmu_settle(struct ipmmu_fixture *fixture);
/** DMA of a master, by each of its IDs: does it get to this memory? */
bool ipmmu_reaches(struct ipmmu_fixture *fixture, size_t master, uint64_t iova, bool write,
                   uint64_t physical);
/** Does it get to any memory, by any of its IDs? */
bool ipmmu_reaches_anything(struct ipmmu_fixture *fixture, size_t master, uint64_t iova,
                            bool write);
/** Every master tries every page, and gets nowhere where it must not. */
void ipmmu_probe(struct ipmmu_fixture *fixture);
/** All that is granted can be reached. */
void ipmmu_assert_granted(struct ipmmu_fixture *fixture);

/**
 * Which of the registers of a kind were written in a unit, as far as the model has recorded: a bit
 * for each context or micro-TLB.
 */
uint64_t ipmmu_numbers_written(const struct ipmmu_fixture *fixture, size_t unit,
                               enum piommu_ipmmu_model_register which);

/** How a unit is. */
enum piommu_instance_state ipmmu_state(const struct ipmmu_fixture *fixture, size_t unit);

/** Suspends all units, cache units first, and takes their power. Probes end. */
void ipmmu_suspend(struct ipmmu_fixture *fixture);
/** Gives power to all units and resumes them, roots first. Probes begin. */
void ipmmu_resume(struct ipmmu_fixture *fixture);
/** The same for units that have power already: firmware may have left something in them. */
void ipmmu_resume_powered(struct ipmmu_fixture *fixture);

/** Takes in what is reported, so that no interrupt is left, and forgets it. */
void ipmmu_drain(struct ipmmu_fixture *fixture);

/**
 * Takes down what is there, down to the units, which can be started again; all of it must succeed.
 * The masters stay wired. Probes end, since DMA passes then.
 */
void ipmmu_take_down(struct ipmmu_fixture *fixture);
/** Takes down what is there, asserts that all can be and that no rule was broken, frees all. */
void ipmmu_close(struct ipmmu_fixture *fixture);
/** Closes what ipmmu_open has made, where nothing was started, or all was destroyed. */
void ipmmu_close_empty(struct ipmmu_fixture *fixture);

#endif
