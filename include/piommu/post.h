/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_POST_H
#define PIOMMU_POST_H

/**
 * @file post.h
 * Changes to a domain that nobody waits for: a call *posts* a change, and when the hardware has
 * answered, a *completion* says what became of it. For backends that are told each mapping, which
 * takes a round trip to another program; many posts of one domain can be under way at once.
 *
 * A post returns
 *  - 1: the change is complete already, and `done` is not called. That is always so with page
 *    tables (a post does what the call of the same name without _post does, and a sync waits for
 *    the hardware as that does), and where no hardware has to be told: in a domain without devices,
 *    or whose instances are suspended. (A library that was built without posts posts nothing in
 *    domains of backends that are told each mapping, whatever they have: -PIOMMU_EOPNOTSUPP.)
 *  - 0: it is under way. The completion (and the gather of a sync) belongs to the library until
 *    `done` is called, which happens exactly once, even before the post has returned, on another
 *    CPU.
 *  - an error: `done` is not called, and nothing was changed.
 *
 * Who brings completions about: piommu_instance_service and piommu_instance_interrupt, and nobody
 * else calls `done`. They have to be called while posts are under way: when the unit interrupts
 * (see the backend's header for whether it does so for answers), and now and then besides, since a
 * unit that does not answer does not interrupt either. A post that is not answered within the
 * instance's timeout fails the instance, as a call that waits would; whoever services it next
 * notices that, or a call that waits for the post. Calls that wait for a unit take in its answers,
 * too; the completions are brought about by the next servicing.
 *
 * What is under way is neither mapped nor free. Maps of its range are refused (-PIOMMU_EEXIST);
 * unmaps, lookups and all else do not see it. It is mapped, or free, when `done` is called at the
 * latest: so whatever is posted meanwhile is independent of it, in whatever order a unit works on
 * requests.
 *
 * Posts are Mapping (context.h): the caller serialises them with the other calls on the domain. A
 * call that speaks to the hardware about the domain, or moves devices into or out of it, waits
 * until nothing is under way there. So do the suspending, resuming and recovery of an instance
 * that the domain is on. A domain with posts whose completions are still to come cannot be
 * destroyed (-PIOMMU_EBUSY). If a unit fails, its posts complete with -PIOMMU_EFAILED after it was
 * stopped, as far as it could be.
 */

#include <piommu/domain.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Memory of the caller for one post. It must not be moved or reused from a post that returned 0
 * until `done` is called. All but `done` is private, and need not be set.
 */
struct piommu_completion {
    /**
     * Takes the news that the post has come to its end; the completion (and the gather) belongs to
     * the caller again.
     *
     * @param error 0, or as the function that has posted says.
     *
     * Called within piommu_instance_service or piommu_instance_interrupt, of whatever instance of
     * the context, in their context and with no lock held; of different completions also at the
     * same time, and in any order. It may call what that context and the caller's serialisation
     * allow, posts among that, but neither Registration nor Servicing.
     */
    void (*done)(struct piommu_completion *completion, int error);
    struct piommu_completion *next; /**< private: in a list of the core, or of the backend */
    struct piommu_domain *domain;   /**< private: what it is about */
    struct piommu_gather *gather;   /**< private: of a sync; NULL: a map */
    void *chain;                    /**< private: the records it is about */
    void *rest;                     /**< private: the first of them that is to be told */
    void *binding;                  /**< private: to whom */
    uint64_t deadline;              /**< private: when its answers have to be there */
    uint32_t unanswered;            /**< private: requests that were sent, and not answered */
    int answer;                     /**< private: of the first of them that was refused */
    int error;                      /**< private: the outcome */
    bool maps;                      /**< private: mappings are being told, and not removed */
};

/**
 * Posts a map: as piommu_domain_map.
 *
 * @param completion its `done` is set.
 * @return 1, 0 (see above); -PIOMMU_EAGAIN: the unit has no room for a request now, or a device of
 *         the domain is being blocked because of its faults: the same post may succeed later, and
 *         piommu_domain_map would wait; -PIOMMU_EOPNOTSUPP: also if the backend, or the library as
 *         it was built, cannot do this; or another error of piommu_domain_map, for what is seen at
 *         once.
 *
 * `done` is told 0: all devices in the domain can use the mapping; or an error of piommu_domain_map
 * for what the hardware has refused: it was removed again wherever it had been made.
 *
 * Context: any that may allocate. Never waits, but as said above with page tables. Mapping.
 */
int piommu_domain_map_post(struct piommu_domain *domain, uint64_t iova, uint64_t physical,
                           uint64_t size, piommu_prot prot, struct piommu_completion *completion);

/**
 * Posts the map of a list: as piommu_domain_map_list, all of it or none. What does not find room
 * in the unit at once follows when servicing finds some; only if there is none at all the post is
 * refused (-PIOMMU_EAGAIN). The list itself is not looked at any more when the call has returned.
 *
 * Everything else as piommu_domain_map_post.
 */
int piommu_domain_map_list_post(struct piommu_domain *domain, uint64_t iova,
                                const struct piommu_segment *segments, size_t count,
                                piommu_prot prot, struct piommu_completion *completion);

/**
 * Posts a sync: as piommu_domain_sync. The requests that find no room follow as those of
 * piommu_domain_map_list_post do.
 *
 * @param gather     belongs to the library while the post is under way: nothing may be unmapped
 *                   into it.
 * @param completion its `done` is set.
 * @return 1, 0 (see above); -PIOMMU_EAGAIN, -PIOMMU_EOPNOTSUPP: as piommu_domain_map_post; or
 *         another error of piommu_domain_sync.
 *
 * `done` is told 0: no device can use any more what was in the gather, which is empty; or
 * -PIOMMU_EFAILED: an instance did not obey, now or earlier (all others have done it): the gather
 * stays pending, and the memory must be kept, as piommu_domain_sync says.
 *
 * Context: any. Never waits, but as said above with page tables; allocates nothing; frees. Mapping.
 */
int piommu_domain_sync_post(struct piommu_domain *domain, struct piommu_gather *gather,
                            struct piommu_completion *completion);

#ifdef __cplusplus
}
#endif

#endif
