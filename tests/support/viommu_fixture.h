/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_FIXTURE_H
#define VIOMMU_FIXTURE_H

/**
 * @file viommu_fixture.h
 * The library's core on a virtio-iommu model on the fake OS, ready for a test.
 *
 * The fixture is also a DMA prober. A test says what it grants to whom (viommu_fixture_allow,
 * _forbid) and from when on an endpoint is guarded (viommu_fixture_watch). From then on, whenever
 * the library touches a register, and whenever it waits, each watched endpoint is tried at each
 * interesting address, and the test fails if any of them reaches memory that it was not granted. So
 * no step between two calls of the library goes unseen.
 *
 * A test that fails leaves everything as it is: the fake OS may be inside a callback.
 */

#include "fake_os.h"
#include "viommu_kinds.h"

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

struct CMUnitTest;

enum {
    VIOMMU_FIXTURE_MAX_DEVICES = 16,
    VIOMMU_FIXTURE_MAX_DOMAINS = 16,
    VIOMMU_FIXTURE_MAX_FAULTS = 1024,
    VIOMMU_FIXTURE_MAX_LOG = 16384,
    VIOMMU_FIXTURE_MAX_GRANTS = 512,
    VIOMMU_FIXTURE_MAX_LOOKS = 256,
    VIOMMU_FIXTURE_MAX_WATCHED = 16,
    VIOMMU_FIXTURE_PAGES = 64, /**< pages of test data at viommu_fixture::memory */
};

/** How the device is connected. */
enum viommu_connection {
    VIOMMU_INTX,     /**< virtio-pci with an interrupt line */
    VIOMMU_MESSAGE,  /**< virtio-pci with one message for everything */
    VIOMMU_MESSAGES, /**< virtio-pci with one for changes of the configuration and one for queues */
    VIOMMU_OVER_MMIO, /**< virtio-mmio */
};

/**
 * How to build it. Start from viommu_fixture_default_options. The backend is told of
 * os.non_coherent_rings and os.sleeps.
 */
struct viommu_fixture_options {
    struct viommu_model_parameters model;
    struct fake_os_options os;
    unsigned int message_count; /**< virtio-pci: how many messages it is to interrupt with */
    enum piommu_unknown_ids unknown_ids;
    uint64_t timeout; /**< 0: the library's default */
    /**
     * AT_RUN: each wait of the library completes `run_per_wait` requests. AT_TICK: each wait is a
     * tick. A device that wants no doorbells looks at its rings in each wait, too.
     */
    enum viommu_model_processing processing;
    size_t run_per_wait; /**< default 1 */
    uint64_t delay;      /**< AT_TICK: ticks, default 0 */
};

/** What an endpoint may reach. */
struct viommu_fixture_grant {
    uint32_t endpoint;
    uint64_t first;
    uint64_t last;
    uint64_t physical;
    piommu_prot prot;
};

/** A request as the device took it. */
struct viommu_fixture_request {
    struct viommu_model_request request;
    int status;
};

/** Read what you like; change only what says so. */
struct viommu_fixture {
    uint64_t serial; /**< tells fixtures apart; they are made by one thread */
    struct fake_os *os;
    struct viommu_model *model;
    struct viommu_fixture_options options;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *devices[VIOMMU_FIXTURE_MAX_DEVICES];
    struct piommu_domain *domains[VIOMMU_FIXTURE_MAX_DOMAINS];
    uint64_t memory; /**< physical address of the test's data pages */

    struct piommu_fault faults[VIOMMU_FIXTURE_MAX_FAULTS];
    size_t fault_count;

    struct viommu_fixture_request log[VIOMMU_FIXTURE_MAX_LOG];
    size_t log_count; /**< may be set to 0 */

    struct viommu_fixture_grant grants[VIOMMU_FIXTURE_MAX_GRANTS];
    size_t grant_count;
    uint64_t looks[VIOMMU_FIXTURE_MAX_LOOKS];
    size_t look_count;
    uint32_t watched[VIOMMU_FIXTURE_MAX_WATCHED];
    size_t watched_count;
    char scene[96];          /**< may be set: what the prober says when it fails the test */
    bool paused;             /**< may be set: no automatic probing */
    uint64_t probes;         /**< accesses that were tried so far */
    uint64_t memory_dropped; /**< DMA buffers that were taken back while the device was running */
    bool forgive_free;       /**< may be set: the device cannot tell that it stopped (it is gone) */
    enum piommu_fault_answer fault_answer; /**< may be set: of the fault callback */
    /** May be set before the start; its cookie is the fixture. */
    piommu_choose_domain *choose_domain;
    /** May be set: called after each access of a register, and in each wait. */
    void (*on_look)(struct viommu_fixture *fixture);
    bool completion_stopped; /**< may be set: waiting completes nothing, there are no ticks */

    struct piommu_virtio_message messages[PIOMMU_VIRTIO_MAX_MESSAGES]; /**< what was agreed on */
    uint64_t messages_sent[PIOMMU_VIRTIO_MAX_MESSAGES];                /**< by which */
    bool was_running; /**< the device was, when it was looked at last */
};

/** Options: the model's defaults, BLOCK, requests done at the doorbell; or what a variant says. */
void viommu_fixture_default_options(struct viommu_fixture_options *options);
/** There are variants with the numbers 1 to this, which cover kinds, connections and rings. */
unsigned int viommu_fixture_variants(void);
/** The default options are of this variant from now on. 0: of none. */
void viommu_fixture_use(unsigned int number);
/** The number of the variant in use: to let each do a part of long work. */
unsigned int viommu_fixture_variant(void);
/**
 * Whether the rings of such a device are packed: it offers that, and snoops the caches, without
 * which driver and device cannot write the same lines; and the library knows them, see below.
 */
bool viommu_fixture_is_packed(const struct viommu_fixture_options *options);
/** Skips the test if the device of the variant in use lacks a feature (all of a set). */
void viommu_fixture_need_features(uint64_t features);
/** Skips the test if it cannot be made with the device of the variant in use. */
enum viommu_need {
    VIOMMU_NEED_EVENTS, /**< it reports faults */
    VIOMMU_NEED_TOP,    /**< mappings may end at 2^64 - 1 */
    VIOMMU_NEED_DETACH, /**< endpoints leave domains that others stay in */
    VIOMMU_NEED_PCI,    /**< it is behind virtio-pci */
};
void viommu_fixture_need(enum viommu_need need);
/**
 * Runs tests without a variant, and then with one after the other, or, if PIOMMU_VARIANTS is "few"
 * in the environment, with few of them. Returns how many have failed. If PIOMMU_WITHOUT names
 * things that the library was built without ("pci packed"), devices behind such transports are left
 * out, and no device has packed rings.
 */
int viommu_fixture_run(const char *name, const struct CMUnitTest *tests, size_t count);

/**
 * Fake OS and model, connected; no context yet. NULL: defaults. With virtio-mmio the registers are
 * at viommu_model_mmio_address, and an access to what is beside them fails the test.
 */
struct viommu_fixture *viommu_fixture_create(const struct viommu_fixture_options *options);
/**
 * Creates context and instance with what the options say; returns what creating the instance did.
 */
int viommu_fixture_start(struct viommu_fixture *fixture);
/** Where the device is, as the options say. */
struct piommu_virtio_iommu_config viommu_fixture_place(struct viommu_fixture *fixture);
/** The same, with the words of the caller on where the device is. */
int viommu_fixture_start_at(struct viommu_fixture *fixture,
                            const struct piommu_virtio_iommu_config *where);
/** Creates and starts, which must succeed. */
struct viommu_fixture *viommu_fixture_started(const struct viommu_fixture_options *options);

/**
 * Adds a device with one ID: the model gets the endpoint if it does not know it. It is watched
 * then.
 */
struct piommu_device *viommu_fixture_add_device(struct viommu_fixture *fixture, uint32_t id);
/**
 * Adds a device with what IDs it likes; the model must know them. They are watched if that
 * succeeds.
 */
int viommu_fixture_try_add(struct viommu_fixture *fixture, const uint32_t *ids, size_t count,
                           struct piommu_device **device);
/** Creates a domain, which must succeed. */
struct piommu_domain *viommu_fixture_add_domain(struct viommu_fixture *fixture,
                                                enum piommu_domain_type type);
/** Removes what the functions above have made. The calls must succeed. */
void viommu_fixture_remove_device(struct viommu_fixture *fixture, struct piommu_device *device);
void viommu_fixture_remove_domain(struct viommu_fixture *fixture, struct piommu_domain *domain);

/**
 * Detaches and removes all devices, destroys all domains, the instance and the context. All must
 * succeed. `fixture` lives on.
 */
void viommu_fixture_take_down(struct viommu_fixture *fixture);
/**
 * Takes down what is up, asserts that the device saw no violation and that all memory came back,
 * and frees everything.
 */
void viommu_fixture_destroy(struct viommu_fixture *fixture);

/** A wait as the library has them: the device works as in those, and time goes on. */
void viommu_fixture_wait(struct viommu_fixture *fixture);

/** The power of the device is lost and comes back. The host has restored the BARs. */
void viommu_fixture_lose_power(struct viommu_fixture *fixture);

/** How many requests of a type the log has; type 0: all. */
size_t viommu_fixture_count(const struct viommu_fixture *fixture, uint8_t type);
/** The nth (0, 1, ...) request of a type in the log; fails the test if there is none. */
const struct viommu_fixture_request *viommu_fixture_logged(const struct viommu_fixture *fixture,
                                                           uint8_t type, size_t nth);

/** An endpoint is guarded from now on. */
void viommu_fixture_watch(struct viommu_fixture *fixture, uint32_t endpoint);
void viommu_fixture_unwatch(struct viommu_fixture *fixture, uint32_t endpoint);
/** An address that is worth trying. The ends of all grants are added by themselves. */
void viommu_fixture_look(struct viommu_fixture *fixture, uint64_t iova);
/** The endpoint may, but need not, reach this. */
void viommu_fixture_allow(struct viommu_fixture *fixture, uint32_t endpoint, uint64_t iova,
                          uint64_t physical, uint64_t size, piommu_prot prot);
/** The endpoint may use all memory untranslated. */
void viommu_fixture_allow_identity(struct viommu_fixture *fixture, uint32_t endpoint);
/** Takes grants back that lie in a range; size 0: all of the endpoint. */
void viommu_fixture_forbid(struct viommu_fixture *fixture, uint32_t endpoint, uint64_t iova,
                           uint64_t size);
/** Fails the test if a watched endpoint can reach anything that it was not granted. */
void viommu_fixture_probe(struct viommu_fixture *fixture);
/** The same, and each grant must work. With true DMA, so that the model's TLB gets filled. */
void viommu_fixture_probe_exactly(struct viommu_fixture *fixture);

/** Maps in a domain, granting it to the endpoints (ended by UINT32_MAX) first. Must succeed. */
void viommu_fixture_map(struct viommu_fixture *fixture, struct piommu_domain *domain, uint64_t iova,
                        uint64_t physical, uint64_t size, piommu_prot prot,
                        const uint32_t *endpoints);
/** Unmaps and syncs, then forbids. Must succeed. */
void viommu_fixture_unmap(struct viommu_fixture *fixture, struct piommu_domain *domain,
                          uint64_t iova, uint64_t size, const uint32_t *endpoints);

#endif
