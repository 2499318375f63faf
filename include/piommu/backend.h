/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_BACKEND_H
#define PIOMMU_BACKEND_H

/**
 * @file backend.h
 * What the core asks of a backend, for those who write one. Users of the library need not read it.
 *
 * A backend is one `const struct piommu_backend`. The core knows a unit, an endpoint and a domain
 * of the backend as opaque pointers that the backend has made.
 *
 * Concurrency. The core serialises what context.h says callers serialise. So these may run in
 * parallel on one unit: map and unmap of different domains; invalidate, of one domain too; service,
 * beside all but itself. `block` because of a fault comes from servicing, of this instance or of
 * another: beside everything of other endpoints and domains, and beside invalidate of its own
 * domain; never beside map and unmap of its own domain, or while posts of that are under way, or
 * beside another function for the same endpoint. post_map and post_unmap run beside each other and
 * all else but moves of their domain's endpoints; poll beside everything. `stop` comes when a call
 * finds the unit lost: beside calls that are under way, or just about to be made, on other CPUs,
 * which the backend refuses; but not beside itself.
 *
 * A function that fails leaves things as they were, unless its comment says otherwise. A backend
 * never waits without a deadline. A unit that does not answer before it, or answers nonsense, is
 * lost: the function returns -PIOMMU_ETIMEDOUT or -PIOMMU_EFAILED, and the core fails the instance
 * and calls `stop`. Any other error concerns that one call.
 */

#include <piommu/device.h>
#include <piommu/domain.h>
#include <piommu/instance.h>
#include <piommu/io-pgtable.h>
#include <piommu/post.h>
#include <piommu/requirements.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How a backend gets its translations. */
enum piommu_backend_kind {
    /** It walks page tables that the core builds: `invalidate` is required. */
    PIOMMU_BACKEND_TABLES,
    /** It is told each mapping: `map` and `unmap` are required. */
    PIOMMU_BACKEND_REQUESTS,
};

/** What a unit turned out to be; filled in by probe. */
struct piommu_backend_info {
    struct piommu_range aperture; /**< addresses that can be mapped */
    uint64_t leaf_sizes;          /**< the lowest is the granule */
    piommu_prot prot;             /**< flags that can be expressed */
    bool write_only;              /**< write without read can be expressed */
    bool identity;                /**< identity domains exist */
    /**
     * `attach` takes an endpoint from one domain to another in one step. If not, the core blocks it
     * in between.
     */
    bool atomic_switch;
    uint8_t output_bits; /**< width of physical addresses that it can emit; 0: all 64 */
    /**
     * Kind TABLES: what the tables should be, at best. A domain over several units gets what all of
     * them have: the lowest input_bits, output_bits, root_bits and leaf_sizes, the highest
     * root_alignment, coherent_walk if all have it, the features (CONTIGUOUS, XNX, DIRTY,
     * BBM_LEVEL_2) that all have. Format, granule and the other flags must be the same.
     */
    struct piommu_pgtable_config table;
    /** Kind TABLES: what a table of the CPU must be; all 0: shared domains do not exist. */
    struct piommu_shared_limits shared;
};

/** What a domain of the core is, for a unit that is to have it. */
struct piommu_backend_domain {
    enum piommu_domain_type type; /**< IDENTITY, PAGING or SHARED */
    /** PAGING with kind TABLES, and SHARED: the hardware's values; else NULL. */
    const struct piommu_pgtable_info *table;
    /**
     * Tells domains apart: the same for all units that have one domain. Units that share their
     * contexts (see piommu_instance_config::parent_key) make one handle of it, which they count.
     * When the last of them that is not suspended lets go of it, by suspend or domain_destroy, what
     * is cached of it is forgotten: nobody could be asked to do so later.
     */
    const void *identity;
};

/** One translation to be told to the hardware. */
struct piommu_backend_mapping {
    struct piommu_range iova; /**< where */
    uint64_t physical;        /**< to which memory */
    piommu_prot prot;         /**< what is allowed */
};

/** Mappings in ascending order, produced one by one so that a backend can fill its queue. */
struct piommu_mapping_source {
    /** Sets *mapping to the next one; false if there are no more. */
    bool (*next)(struct piommu_mapping_source *source, struct piommu_backend_mapping *mapping);
};

/** Ranges to be unmapped. Each begins and ends on the edge of mappings. */
struct piommu_range_source {
    /** Sets *range to the next one; false if there are no more. */
    bool (*next)(struct piommu_range_source *source, struct piommu_range *range);
};

/** A report of the hardware, as the backend has decoded it. */
struct piommu_backend_fault {
    /**
     * The identity of the domain (piommu_backend_domain), if the hardware names a context and no
     * ID. It must be one that a unit still has at the time of the report. NULL: `id` counts.
     */
    const void *domain;
    uint32_t id;                     /**< the ID that the hardware named */
    enum piommu_fault_reason reason; /**< why */
    bool iova_valid;                 /**< iova means something */
    bool read;                       /**< known to be a read */
    bool write;                      /**< known to be a write */
    bool level_valid;                /**< level means something */
    uint8_t level;                   /**< of the table at which the walk ended */
    uint64_t iova;                   /**< the address */
    uint32_t raw;                    /**< status as the hardware gave it */
};

/** Collects what is to be known of an endpoint during add_endpoint. */
struct piommu_endpoint_facts;

/** The functions of a backend. All are required unless the comment says otherwise. */
struct piommu_backend {
    size_t size;                   /**< sizeof(struct piommu_backend) */
    const char *name;              /**< for log lines */
    const char *const *compatible; /**< device tree strings it drives, ended by NULL; may be NULL */
    enum piommu_backend_kind kind; /**< tables or requests */
    unsigned int needs;            /**< sum of enum piommu_os_need */

    /**
     * Finds and starts a unit, so that unknown IDs are treated as the policy says.
     *
     * @param instance handle for piommu_backend_report_fault.
     * @param config   with all defaults filled in.
     * @param parent   the unit of the instance that has config->parent_key; it is of the same
     *                 backend, runs, and stays as long as this one. NULL if there is no such key.
     * @param unit     set on success: the backend's object.
     * @param info     zeroed; to be filled in.
     * @return 0 or an error of piommu_instance_create; the unit is stopped then.
     */
    int (*probe)(struct piommu_host host, struct piommu_instance *instance,
                 const struct piommu_instance_config *config, const void *backend_config,
                 void *parent, void **unit, struct piommu_backend_info *info);
    /** Stops a unit and frees it. 0, or -PIOMMU_ETIMEDOUT: it does not stop, nothing was freed. */
    int (*remove)(void *unit);
    /**
     * Makes a unit that misbehaves stop: afterwards all its endpoints are blocked and no call will
     * reach it any more but remove, release_endpoint, domain_destroy and poll. 0 if the unit has
     * confirmed; else -PIOMMU_ETIMEDOUT, and the core may call it again. In either case all that
     * was posted and not answered counts as answered with -PIOMMU_EFAILED, and nothing can be
     * posted.
     */
    int (*stop)(void *unit);
    /**
     * Makes an ID known, and blocks it (but see piommu_backend_set_running). Reserved regions go to
     * piommu_backend_add_reserved, what else it cannot be told apart from to
     * piommu_backend_set_group.
     * @return 0 or an error of piommu_device_add.
     */
    int (*add_endpoint)(void *unit, uint32_t id, struct piommu_endpoint_facts *facts,
                        void **endpoint);
    /** Forgets an ID, which is blocked and stays so in hardware. */
    void (*release_endpoint)(void *unit, void *endpoint);
    /**
     * Makes a domain; the core does so when the unit's first endpoint is to enter it, or before.
     * Handles are compared: no other domain, and no unrelated unit of any backend, may have it too.
     * -PIOMMU_ENOSPC: no context is left; -PIOMMU_EOPNOTSUPP: it cannot use that table. May be
     * called while the unit is suspended, and does not touch it then; so may domain_destroy.
     */
    int (*domain_create)(void *unit, const struct piommu_backend_domain *domain, void **handle);
    /**
     * Frees a domain in which no endpoint is. 0; or -PIOMMU_ETIMEDOUT, kind TABLES: the hardware
     * may still read the domain's tables, whose memory is never used again then. It is freed in any
     * case. After a failure the unit has failed.
     */
    int (*domain_destroy)(void *unit, void *domain);
    /**
     * Moves an endpoint into a domain: from blocked or, with atomic_switch, from another domain. In
     * between it may be blocked, never anything else. For kind REQUESTS, a domain that gets its
     * first endpoint has no mappings in hardware: the core sends them afterwards. After a failure
     * the endpoint may be in either domain, or blocked: the core blocks it next.
     */
    int (*attach)(void *unit, void *endpoint, void *domain);
    /** Blocks an endpoint, whatever it is in. A failure fails the instance. */
    int (*block)(void *unit, void *endpoint);
    /**
     * Kind REQUESTS. Tells mappings to a domain with endpoints. Returns when all are usable, or
     * with an error when none is in progress any more; the core unmaps the range then.
     */
    int (*map)(void *unit, void *domain, struct piommu_mapping_source *source);
    /**
     * Kind REQUESTS. Removes mappings of a domain with endpoints; a range may hold none. Returns
     * when the hardware has forgotten all of them. A failure fails the instance.
     */
    int (*unmap)(void *unit, void *domain, struct piommu_range_source *source);
    /**
     * Kind TABLES. Invalidates a range of a domain, walk caches included if `tables`. Returns when
     * the hardware has completed it. A failure fails the instance. Of units that have made one
     * handle of a domain one is asked, on behalf of all; piommu_backend_report_failure says which
     * of the others did not obey.
     */
    int (*invalidate)(void *unit, void *domain, struct piommu_range range, bool tables);
    /**
     * Takes in up to `budget` reports, calling piommu_backend_report_fault for each. Must neither
     * wait nor allocate. Returns how many, or an error if the unit needs to be stopped.
     */
    int (*service)(void *unit, unsigned int budget);
    /**
     * Blocks an endpoint at once, without waiting: in interrupt context, and beside all but the
     * endpoint's own attach, block and release. The endpoint counts as being in its domain until
     * `block`. 0, or an error: then the core calls `block` where it can wait. May be NULL.
     */
    int (*block_now)(void *unit, void *endpoint);
    /**
     * Stops the unit, which may lose its power then: no endpoint reaches anything through it as
     * long as it is not resumed or without power. What endpoints and domains are stays known; none
     * is in a domain any more. A failure fails the instance. May be NULL, with resume: it cannot.
     */
    int (*suspend)(void *unit);
    /**
     * Starts a unit that is suspended, or was stopped, as probe did: all endpoints that were added
     * are blocked, and all domains are there, without endpoints. The core attaches those that were
     * in one next. A failure fails the instance.
     */
    int (*resume)(void *unit);
    /**
     * Kind REQUESTS. Sends mappings to a domain with endpoints, as many as there is room for, and
     * takes no others from the source. Never waits. The backend counts the requests in
     * piommu_completion::unanswered, keeps the error of the first that is refused in `answer`, and
     * uses `deadline` and, from when all are answered, `next` as it likes; then `poll` gives the
     * completion back. Of one completion no second batch is sent before.
     *
     * @return how many were sent: then the completion is the backend's; 0: the source had none;
     *         -PIOMMU_EAGAIN: there was no room for any; -PIOMMU_EFAILED: the unit is lost.
     *
     * May be NULL, with post_unmap and poll: then nothing can be posted.
     */
    int (*post_map)(void *unit, void *domain, struct piommu_mapping_source *source,
                    struct piommu_completion *completion);
    /** The same for ranges that are to be removed; each begins and ends on the edge of mappings. */
    int (*post_unmap)(void *unit, void *domain, struct piommu_range_source *source,
                      struct piommu_completion *completion);
    /**
     * Kind REQUESTS. Takes in answers, also if somebody else is at it, and calls
     * piommu_backend_report_answer for each completion all of whose requests are answered by now.
     * Must neither wait nor allocate. 0; or an error if a unit that has something posted is lost,
     * -PIOMMU_ETIMEDOUT if an answer is overdue.
     */
    int (*poll)(void *unit);
};

/** Reports a fault to the core; to be called from `service` only, with no lock held. */
void piommu_backend_report_fault(struct piommu_instance *instance,
                                 const struct piommu_backend_fault *fault);

/**
 * Tells that a unit does not answer which was not the one that was asked, but had to take part: it
 * has failed, and its `stop` is called before this returns. To be called where the function in
 * progress may wait, with no lock held. For the unit that was asked the function returns an error.
 *
 * @param error why: -PIOMMU_ETIMEDOUT or -PIOMMU_EFAILED.
 */
void piommu_backend_report_failure(struct piommu_instance *instance, int error);

/**
 * Gives a completion back, all of whose requests have been answered; to be called from `poll` only,
 * with no lock held. The core sends what is next of it, to any unit, when `poll` has returned.
 *
 * @param instance   whose unit has answered.
 * @param completion its `answer` tells what.
 */
void piommu_backend_report_answer(struct piommu_instance *instance,
                                  struct piommu_completion *completion);

/**
 * Adds a reserved region of the endpoint that is being added. Regions that overlap are fine.
 *
 * @return 0; -PIOMMU_EINVAL: the range is reversed; -PIOMMU_EBADMSG: more than 256 regions;
 *         -PIOMMU_ENOMEM. Anything but 0 should end add_endpoint.
 */
int piommu_backend_add_reserved(struct piommu_endpoint_facts *facts,
                                const struct piommu_reserved_region *region);

/**
 * Tells that the endpoint that is being added cannot be told apart from others of its unit that
 * have been given the same number, which is not 0.
 */
void piommu_backend_set_group(struct piommu_endpoint_facts *facts, uint32_t number);

/**
 * Tells that the endpoint that is being added is not blocked, but works as it did before, since the
 * host has said of it that it must not be interrupted. The core attaches or blocks it next.
 */
void piommu_backend_set_running(struct piommu_endpoint_facts *facts);

#ifdef __cplusplus
}
#endif

#endif
