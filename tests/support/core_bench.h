/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef CORE_BENCH_H
#define CORE_BENCH_H

/**
 * @file core_bench.h
 * A context with some instances over mock backends, for tests of what domains map. After each call
 * of a backend every device tries every page of the windows: what it reaches must be allowed by a
 * rule, and what a rule demands must be reached as long as hardware has the device in a domain.
 */

#include <piommu/piommu.h>

#include "mock_backend.h"

#include <stdatomic.h>

/** Whether domains with `disjoint` exist on this host. */
#if ATOMIC_LLONG_LOCK_FREE == 2 && !defined(PIOMMU_DESCRIPTOR_HALVES)
#define CORE_DISJOINT_EXISTS true
#else
#define CORE_DISJOINT_EXISTS false
#endif

#define CORE_PAGE    0x1000ull
#define CORE_BLOCK   0x200000ull
#define CORE_NOTHING UINT64_MAX
#define CORE_R       PIOMMU_PROT_READ
#define CORE_RW      (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

#define CORE_MAX_UNITS     3u
#define CORE_MAX_ENDPOINTS 8u
#define CORE_MAX_DEVICES   8u
#define CORE_MAX_DOMAINS   8u
#define CORE_MAX_RULES     128u
#define CORE_MAX_WINDOWS   4u
/** In a rule: whatever ID a device has. */
#define CORE_ANY_ID UINT32_MAX

/** What a test runs with. */
struct core_case {
    enum piommu_backend_kind kind;
    unsigned int units;
};

/** Functions of the backend that are counted and can be made to fail. */
enum core_call {
    CORE_DOMAIN_CREATE,
    CORE_ATTACH,
    CORE_BLOCK_ID,
    CORE_MAP,
    CORE_UNMAP,
    CORE_INVALIDATE,
    CORE_CALLS,
};

/** What an ID may reach, or must. */
struct core_rule {
    uint32_t id;
    bool must;
    struct piommu_range iova;
    uint64_t physical;
    piommu_prot prot;
};

struct core_bench;
struct core_unit;

/** A domain as a unit has it. */
struct core_hardware_domain {
    struct core_unit *unit;
    void *inner;
    unsigned int endpoints;
    /** It has mappings; one that takes requests has none until it is told of them. */
    bool filled;
};

/** An ID as a unit has it. */
struct core_endpoint {
    bool used;
    uint32_t id;
    void *inner;
    struct core_hardware_domain *domain;
};

struct core_unit {
    struct core_bench *bench;
    struct mock *mock;
    void *inner; /**< what the mock has made */
    struct piommu_backend backend;
    struct piommu_instance *instance;
    struct core_endpoint endpoints[CORE_MAX_ENDPOINTS];
    unsigned int calls[CORE_CALLS];
    unsigned int fail_in[CORE_CALLS];
    int fail_error[CORE_CALLS];
    bool fail_forever[CORE_CALLS];
};

/** Changes what the unit of that number says of itself. */
typedef void core_adjust(unsigned int unit, struct piommu_backend_info *info);

struct core_bench {
    struct core_case options;
    struct fake_os *os;
    struct piommu_context *context;
    struct core_unit units[CORE_MAX_UNITS];
    struct piommu_instance *instances[CORE_MAX_UNITS];
    struct piommu_device *devices[CORE_MAX_DEVICES];
    unsigned int device_count;
    struct piommu_domain *domains[CORE_MAX_DOMAINS];
    unsigned int domain_count;
    struct core_rule rules[CORE_MAX_RULES];
    unsigned int rule_count;
    struct piommu_range windows[CORE_MAX_WINDOWS];
    unsigned int window_count;
    /** What must be reached only may be: while a test sets up, or takes down. */
    bool relaxed;
    unsigned long probes;
    unsigned long demands; /**< how often a rule that demands something was looked at */
};

/** A context with instances, no device and no domain. `adjust` may be NULL. */
struct core_bench *core_open(const struct core_case *options, core_adjust *adjust);
/** Takes everything down again, which has to work, and checks that nothing is left. */
void core_close(struct core_bench *bench);
/** The case that cmocka was given as the state of a test. */
const struct core_case *core_case_of(void **state);
bool core_has_tables(const struct core_bench *bench);

/** Adds a device with one ID. The last three arguments may be NULL, 0 and 0. */
struct piommu_device *core_add_device(struct core_bench *bench, unsigned int unit, uint32_t id,
                                      const struct piommu_reserved_region *regions, size_t count,
                                      uint64_t group_key);
/** Removes it, which has to work. */
void core_remove_device(struct core_bench *bench, struct piommu_device *device);
int core_attach(struct piommu_device *device, struct piommu_domain *domain);
void core_detach(struct piommu_device *device);

/** A configuration for a domain over all instances. */
struct piommu_domain_config core_config(struct core_bench *bench, enum piommu_domain_type type);
struct piommu_domain *core_create(struct core_bench *bench,
                                  const struct piommu_domain_config *config);
/** A paging domain over all instances. */
struct piommu_domain *core_paging(struct core_bench *bench);
/** Destroys it, which has to work. */
void core_destroy(struct core_bench *bench, struct piommu_domain *domain);

void core_map(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
              piommu_prot prot);
/** Unmaps, which has to remove something, and syncs. */
void core_unmap(struct piommu_domain *domain, uint64_t iova, uint64_t size);
struct piommu_domain_statistics core_statistics(struct piommu_domain *domain);
struct piommu_domain_info core_info(struct piommu_domain *domain);

/** The nth call of that function from now (1: the next) fails before it does anything. */
void core_fail(struct core_unit *unit, enum core_call call, unsigned int nth, int error,
               bool forever);
void core_fail_nothing(struct core_unit *unit);
/** Calls of a function by all units. */
unsigned int core_calls(const struct core_bench *bench, enum core_call call);

/** Pages that are probed. */
void core_window(struct core_bench *bench, uint64_t first, uint64_t size);
void core_may(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t physical,
              uint64_t size, piommu_prot prot);
void core_must(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t physical,
               uint64_t size, piommu_prot prot);
void core_forget_rules(struct core_bench *bench);
/** Lets every device try every page now. */
void core_probe(struct core_bench *bench);

/** Where an ID gets to, or CORE_NOTHING. */
uint64_t core_reached(struct core_bench *bench, uint32_t id, uint64_t iova, bool write);
/** Each page of the range leads where it should, with these permissions, and with no others. */
void core_expect_mapped(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t physical,
                        uint64_t size, piommu_prot prot);
void core_expect_nothing(struct core_bench *bench, uint32_t id, uint64_t iova, uint64_t size);
/** The same of what the domain says, by looking it up. */
void core_expect_held(struct piommu_domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
                      piommu_prot prot);
void core_expect_hole(struct piommu_domain *domain, uint64_t iova, uint64_t size);

/** Entries for cmocka: a test with one unit and with three, of one kind or of both. */
#define CORE_TEST(function, label, number)                         \
    {                                                              \
#function label, function, NULL, NULL, &core_cases[number] \
    }
#define CORE_FOR_TABLES(function) \
    CORE_TEST(function, " (tables)", 0), CORE_TEST(function, " (tables, three units)", 1)
#define CORE_FOR_REQUESTS(function) \
    CORE_TEST(function, " (requests)", 2), CORE_TEST(function, " (requests, three units)", 3)
#define CORE_FOR_EACH_CASE(function) CORE_FOR_TABLES(function), CORE_FOR_REQUESTS(function)
extern struct core_case core_cases[4];

#endif
