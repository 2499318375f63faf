/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_DMA_H
#define PIOMMU_DMA_H

/**
 * @file dma.h
 * The DMA API: what a driver needs to let its device use memory. It finds addresses, maps buffers
 * there and unmaps them, keeps to the limits of the device, and takes care of caches and of what
 * lies beside a buffer in the same page.
 *
 * A *space* is a domain together with the addresses to give out in it; a *DMA device* is a device
 * with its limits, in one space. The caller creates the domain and attaches the device.
 *
 * Buffers are named by physical addresses; they may begin and end anywhere. A device address stands
 * for the byte that the physical address stands for. Address 0 is never given out.
 *
 * Isolation. When an unmap of a *strict* space has returned success, the device cannot reach the
 * buffer any more. In a *lazy* one it may, until so many mappings were unmapped, or so much time
 * has passed, as the configuration says; see piommu_dma_space_poll. (What was bounced is unmapped
 * as in a strict space.) What lies in the same granule as the end of a buffer can be reached, too,
 * while the buffer is mapped: but not by an *untrusted* device, for which such ends are copied to
 * zeroed pages of their own (*bounced*). The same is done for a device that does not snoop caches,
 * where it writes to an end that shares a cache line.
 *
 * Order. The caller gives a buffer to the device by mapping it, or by a sync for the device, and
 * takes it back by unmapping it, or by a sync for the CPU; in between only the device touches it.
 * With a device that does not snoop caches, or with a bounced end, nothing else works.
 *
 * Errors that a driver can do nothing about: -PIOMMU_EFAILED: an IOMMU did not obey, now or
 * earlier. The memory must be kept, since the device may still reach it, until
 * piommu_dma_space_flush returns success. The addresses are not given out before (and where that
 * happens to more than 256 mappings, those of the others stay taken).
 *
 * Concurrency. *Space registration* (creation and destruction of spaces, taking addresses, adding,
 * removing and setting up DMA devices) is serialised by the caller per space; where a function says
 * so it is DMA mapping at the same time. All else is *DMA mapping*: if the
 * domain was created with `disjoint` it runs beside itself, on any number of CPUs and from
 * interrupts, as far as nobody uses one mapping twice at once; in other domains the caller
 * serialises it per space. Context: what maps may allocate; what unmaps allocates nothing; both may
 * wait for hardware.
 */

#include <piommu/device.h>
#include <piommu/iova.h>

#ifdef __cplusplus
extern "C" {
#endif

struct piommu_dma_space;
struct piommu_dma_device;

/** Who writes into a buffer. */
enum piommu_dma_direction {
    PIOMMU_DMA_BIDIRECTIONAL, /**< both: the device may read and write */
    PIOMMU_DMA_TO_DEVICE,     /**< the CPU: the device may read */
    /**
     * The device: it may write; and read, if piommu_domain_info::write_only is false. Bytes that it
     * leaves alone stay what they were.
     */
    PIOMMU_DMA_FROM_DEVICE,
};

/**
 * For map, unmap: leave caches and bounced ends alone. The caller does a sync of what matters, or
 * nothing does.
 */
#define PIOMMU_DMA_NO_CPU_SYNC 1u

/**
 * Takes the news that a lazy space has made some addresses unreachable, and so the memory.
 *
 * Context: that of the unmap, flush, poll, map or registration that has ended the wait; no lock is
 * held. It may map and unmap in the space. (A flush from here returns -PIOMMU_EAGAIN.)
 */
typedef void piommu_dma_released(void *cookie, uint64_t address, uint64_t size);

/** What a space is to be. Zero selects the default of each member marked so. */
struct piommu_dma_space_config {
    struct piommu_domain *domain; /**< a PIOMMU_DOMAIN_DMA; nobody else maps in it */
    unsigned int cpus;            /**< as piommu_iova_config::cpus */
    bool bottom_up;               /**< as piommu_iova_config::bottom_up */
    /**
     * Unmapping leaves it to later, for many mappings at once, that the hardware is made to forget.
     * Default: strict. With page tables the domain must be `disjoint`.
     */
    bool lazy;
    uint32_t lazy_count; /**< the most mappings that wait, for each CPU; to 65536. Default: 256 */
    /** Nanoseconds until piommu_dma_space_poll ends the wait. Default: 10 ms. */
    uint64_t lazy_time;
    /**
     * Called for what has waited. Not for what an IOMMU did not forget when that was over: all that
     * was unmapped before piommu_dma_space_flush returns success is unreachable. May be NULL.
     */
    piommu_dma_released *released;
    void *cookie; /**< handed to it */
    /**
     * Pages of one granule for ends of buffers; got at creation. A buffer may need two, each
     * stretch of a list that is physically contiguous, too. At most 65536. Default: none, and what
     * needs one is refused.
     */
    uint32_t bounce_pages;
    uint32_t cache_line; /**< of the CPU, in bytes; a power of two, to a granule. Default: 64 */
    /**
     * Every mapping is recorded: an unmap or sync that does not fit it is refused and logged, and
     * what is still mapped when a device is removed is logged. Takes memory and time.
     */
    bool debug;
};

/** Counters of a space. */
struct piommu_dma_statistics {
    uint32_t bounce_pages_used; /**< now */
    uint32_t bounce_pages_most; /**< at any time */
    uint32_t waiting;           /**< unmapped lazily, and not yet unreachable for certain */
    uint32_t stuck;             /**< unmapped, but an IOMMU did not obey */
    uint64_t flushes;           /**< invalidations for what has waited */
};

/**
 * Creates a space. The MSI window of the domain is not given out, nor what lies beyond
 * PIOMMU_IOVA_MAX_GRANULES.
 *
 * @param host   the shim; BASE and LOCK callbacks; for bounce pages also memory_at.
 * @param config what it is to be; copied.
 * @param space  set on success.
 * @return 0; -PIOMMU_EINVAL (not such a domain, a cache line that is no power of two or larger than
 *         the granule, an incomplete shim);
 *         -PIOMMU_EOPNOTSUPP: lazy, and the domain has exclusive page tables; -PIOMMU_ERANGE: the
 *         whole aperture lies beyond; -PIOMMU_ENOMEM.
 *
 * Context: task.
 */
int piommu_dma_space_create(struct piommu_host host, const struct piommu_dma_space_config *config,
                            struct piommu_dma_space **space);

/**
 * Destroys a space; what is mapped in the domain stays. To be called before the domain is
 * destroyed. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: it has devices; -PIOMMU_EFAILED, -PIOMMU_EAGAIN: as
 *         piommu_dma_space_flush. After an error nothing was changed. If the domain was destroyed
 *         nevertheless, as it can be when a unit has failed, see piommu_dma_space_abandon.
 *
 * Context: task; may wait.
 */
int piommu_dma_space_destroy(struct piommu_dma_space *space);

/**
 * Destroys a space without devices whose domain is of no use any more. Bounce pages that a device
 * may still reach are not given back. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: it has devices.
 *
 * Context: task.
 */
int piommu_dma_space_abandon(struct piommu_dma_space *space);

/**
 * Keeps addresses from being given out: those that the caller maps himself.
 *
 * @return as piommu_iova_take; the granule at 0 and the MSI window are taken already. What was
 *         unmapped lazily is not in the way, but flushed; -PIOMMU_EAGAIN: another call is about to
 *         do that.
 *
 * Space registration; in a lazy space also DMA mapping.
 */
int piommu_dma_space_take(struct piommu_dma_space *space, struct piommu_range range);

/**
 * Makes unreachable all that was unmapped lazily, or that an IOMMU has not forgotten because it
 * failed.
 *
 * @return 0; -PIOMMU_EAGAIN: another call is about to: call again; -PIOMMU_EFAILED: an IOMMU still
 *         does not obey. DMA mapping.
 */
int piommu_dma_space_flush(struct piommu_dma_space *space);

/**
 * Does so for what has waited longer than piommu_dma_space_config::lazy_time. A host calls it from
 * a timer, if the space is lazy.
 *
 * @param next set to the nanoseconds after which it is to be called again; UINT64_MAX: when
 *             something was unmapped again. May be NULL.
 * @return 0; -PIOMMU_EFAILED. DMA mapping.
 */
int piommu_dma_space_poll(struct piommu_dma_space *space, uint64_t *next);

/** Fills in the counters. Exact only while nothing else uses the space. */
void piommu_dma_space_get_statistics(struct piommu_dma_space *space,
                                     struct piommu_dma_statistics *statistics);

/** The limits of a device. Zero selects the default of each member. */
struct piommu_dma_device_config {
    uint64_t mask;          /**< the highest address it can use. Default: all addresses */
    uint64_t coherent_mask; /**< the same for coherent buffers. Default: `mask` */
    uint64_t preferred;     /**< as piommu_iova_request::preferred. Default: none */
    /** The most bytes of one segment of a list. Default: 64 KiB; UINT64_MAX: no limit. */
    uint64_t max_segment_size;
    /** A segment of a list crosses no multiple of it; a power of two. Default: 4 GiB. */
    uint64_t segment_boundary;
    /** It does not snoop the CPU's caches: these are cleaned and invalidated for it. */
    bool non_coherent;
};

/**
 * Tells a space of a device. Its reserved regions are not given out from now on, as long as the
 * space lives: to be called before it is attached.
 *
 * @param config its limits; copied. NULL: all defaults.
 * @return 0; -PIOMMU_EINVAL (a boundary that is not a power of two, or below the granule; for a
 *         device that does not snoop: the shim lacks memory_at, cache_clean or cache_invalidate);
 *         -PIOMMU_ERANGE: no address lies below a mask; -PIOMMU_EOPNOTSUPP: it is untrusted, and
 *         the space is lazy; -PIOMMU_EEXIST: something is mapped in one of its reserved regions;
 *         -PIOMMU_EAGAIN: as piommu_dma_space_take; -PIOMMU_ENOMEM. After an error nothing was
 *         changed.
 *
 * Context: task. Space registration, in a lazy space also DMA mapping; the core's Registration must
 * not run beside it.
 */
int piommu_dma_device_add(struct piommu_dma_space *space, struct piommu_device *device,
                          const struct piommu_dma_device_config *config,
                          struct piommu_dma_device **added);

/**
 * Takes a device out. All that was mapped for it has been unmapped, and its ranges were given up
 * (in a space with `debug` what was not is logged, by device and address). NULL is ignored.
 * Context: task. Space registration.
 */
void piommu_dma_device_remove(struct piommu_dma_device *device);

/**
 * Changes the masks of a device: its driver knows better. Only for mappings to come.
 *
 * @return 0; -PIOMMU_ERANGE: no address lies below. Space registration.
 */
int piommu_dma_device_set_masks(struct piommu_dma_device *device, uint64_t mask,
                                uint64_t coherent_mask);

/**
 * Maps a buffer.
 *
 * @param physical any address.
 * @param size     bytes, not 0.
 * @param flags    PIOMMU_DMA_NO_CPU_SYNC or 0.
 * @param address  set on success: what the device uses.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE: beyond the end of memory, as hardware sees it;
 *         -PIOMMU_ENOSPC: no addresses below the mask; -PIOMMU_EAGAIN: no bounce page is free, or
 *         no addresses are, and another call is about to release some in a lazy space;
 *         -PIOMMU_EOPNOTSUPP: one is needed, and the space has none; -PIOMMU_ENOMEM;
 *         -PIOMMU_EIO; -PIOMMU_EBUSY: an IOMMU that works again has not forgotten yet what it did
 *         not obey about: piommu_dma_space_flush helps; -PIOMMU_EFAILED. DMA mapping.
 */
int piommu_dma_map_single(struct piommu_dma_device *device, uint64_t physical, uint64_t size,
                          enum piommu_dma_direction direction, unsigned int flags,
                          uint64_t *address);

/**
 * Unmaps what piommu_dma_map_single has mapped.
 *
 * @param address, size, direction as there.
 * @return 0; -PIOMMU_EINVAL: not as it was mapped. Found only for certain if the space has `debug`,
 *         and then nothing was changed; else what of the range was mapped is not, any more, and the
 *         addresses stay taken where the mistake was noticed; -PIOMMU_ENOENT: nothing is mapped
 *         there: unmapped before, or never mapped; -PIOMMU_EFAILED: it is unmapped, but may still
 *         be reached. DMA mapping.
 */
int piommu_dma_unmap_single(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                            enum piommu_dma_direction direction, unsigned int flags);

/** Maps a part of a page: piommu_dma_map_single with a start in two parts. */
static inline int piommu_dma_map_page(struct piommu_dma_device *device, uint64_t page,
                                      uint64_t offset, uint64_t size,
                                      enum piommu_dma_direction direction, unsigned int flags,
                                      uint64_t *address)
{
    return piommu_dma_map_single(device, page + offset, size, direction, flags, address);
}

/** As piommu_dma_unmap_single. */
static inline int piommu_dma_unmap_page(struct piommu_dma_device *device, uint64_t address,
                                        uint64_t size, enum piommu_dma_direction direction,
                                        unsigned int flags)
{
    return piommu_dma_unmap_single(device, address, size, direction, flags);
}

/**
 * Maps registers of another device (as device memory, where that can be expressed). No cache is
 * looked after and nothing is bounced: whole granules are mapped, so for an untrusted device both
 * ends must be on the granule (-PIOMMU_EINVAL). Everything else as piommu_dma_map_single.
 */
int piommu_dma_map_resource(struct piommu_dma_device *device, uint64_t physical, uint64_t size,
                            enum piommu_dma_direction direction, uint64_t *address);

/** Unmaps what piommu_dma_map_resource has mapped; as piommu_dma_unmap_single. */
int piommu_dma_unmap_resource(struct piommu_dma_device *device, uint64_t address, uint64_t size,
                              enum piommu_dma_direction direction);

/** A piece of a list, as the device is to use it. */
struct piommu_dma_segment {
    uint64_t address; /**< for the device */
    uint64_t size;    /**< bytes */
};

/**
 * Maps a list of buffers. What is adjacent in the device's addresses becomes one segment, and is
 * cut where a limit of the device demands it: pieces that are adjacent in memory are adjacent
 * there, too, and so are those that meet at a granule.
 *
 * @param list   the buffers; not changed. None is empty.
 * @param count  how many, not 0.
 * @param result set, on success, to what the device is to use, in the order of the list.
 * @param room   how many segments there is room for. `count` suffices where no buffer is larger
 *               than max_segment_size or crosses a boundary.
 * @param used   set to the number of segments, on success.
 * @return as piommu_dma_map_single; -PIOMMU_ENOSPC also: there is not room enough. After an error
 *         nothing is mapped. DMA mapping.
 */
int piommu_dma_map_sg(struct piommu_dma_device *device, const struct piommu_segment *list,
                      size_t count, enum piommu_dma_direction direction, unsigned int flags,
                      struct piommu_dma_segment *result, size_t room, size_t *used);

/**
 * Unmaps what piommu_dma_map_sg has mapped.
 *
 * @param segments, count its result, all of it.
 * @return as piommu_dma_unmap_single. DMA mapping.
 */
int piommu_dma_unmap_sg(struct piommu_dma_device *device, const struct piommu_dma_segment *segments,
                        size_t count, enum piommu_dma_direction direction, unsigned int flags);

/**
 * Gives a part of a mapped buffer, or all of it, to the CPU: it sees what the device has written
 * before. For a device that snoops and is trusted there is nothing to do.
 *
 * @param address, size the part; need not be aligned to anything. But a cache line is in one hand:
 *                      with a device that does not snoop, the CPU must not use what shares a line
 *                      with bytes of the device.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ENOENT: not all of it is mapped, which is noticed where there
 *         is something to do. DMA mapping.
 */
int piommu_dma_sync_single_for_cpu(struct piommu_dma_device *device, uint64_t address,
                                   uint64_t size, enum piommu_dma_direction direction);

/** Gives it back to the device: it sees what the CPU has written. As the one for the CPU. */
int piommu_dma_sync_single_for_device(struct piommu_dma_device *device, uint64_t address,
                                      uint64_t size, enum piommu_dma_direction direction);

/** piommu_dma_sync_single_for_cpu for each segment of a list. */
int piommu_dma_sync_sg_for_cpu(struct piommu_dma_device *device,
                               const struct piommu_dma_segment *segments, size_t count,
                               enum piommu_dma_direction direction);

/** piommu_dma_sync_single_for_device for each segment of a list. */
int piommu_dma_sync_sg_for_device(struct piommu_dma_device *device,
                                  const struct piommu_dma_segment *segments, size_t count,
                                  enum piommu_dma_direction direction);

/** Memory that CPU and device use together. */
struct piommu_dma_buffer {
    void *memory;     /**< for the CPU */
    uint64_t address; /**< for the device */
    uint64_t size;    /**< bytes, as asked for */
    void *pieces;     /**< private */
    bool unmapped;    /**< private */
};

/**
 * Gives memory that CPU and device may both use at any time, with barriers and nothing else. It is
 * zeroed, begins on a granule, and shares none with anything. Where the host has no such piece it
 * is made of several that the host joins (piommu_os::dma_join), if it can.
 *
 * @param size   bytes, not 0.
 * @param buffer set on success.
 * @return as piommu_dma_map_single; after -PIOMMU_EFAILED a device may have seen the memory:
 *         piommu_dma_free gives it back, as soon as that can be. DMA mapping, but in a context in
 *         which piommu_os::alloc may be called.
 */
int piommu_dma_alloc(struct piommu_dma_device *device, uint64_t size,
                     struct piommu_dma_buffer *buffer);

/**
 * Takes such memory back: in a lazy space, too, no device can reach it then.
 *
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_EFAILED: a device may still reach it: it was not given back;
 *         to be called again, as after -PIOMMU_EAGAIN: another call is about to flush.
 *
 * DMA mapping, where piommu_os::free may be called.
 */
int piommu_dma_free(struct piommu_dma_device *device, struct piommu_dma_buffer *buffer);

/**
 * Addresses for a mapping that is built piece by piece: reserved once, and then linked to memory
 * as it comes. One call at a time uses a range.
 */
struct piommu_dma_range;

/**
 * Reserves addresses. Nothing is mapped there.
 *
 * @param physical where the first piece will begin in memory: the address has the same place in a
 *                 granule; and if this begins a larger leaf, so does the address where it can.
 * @param size     bytes, not 0.
 * @param range    set on success.
 * @param address  set on success to where it begins for the device.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE; -PIOMMU_ENOSPC; -PIOMMU_EAGAIN: as
 *         piommu_dma_map_single; -PIOMMU_ENOMEM. DMA mapping.
 */
int piommu_dma_reserve(struct piommu_dma_device *device, uint64_t physical, uint64_t size,
                       struct piommu_dma_range **range, uint64_t *address);

/**
 * Links a part of a range to memory. The device can use it when piommu_dma_range_sync has returned
 * success: links that follow each other are mapped together.
 *
 * @param offset   from the beginning of the range; it and `physical` have the same place in a
 *                 granule. No granule of the part is linked.
 * @param direction, flags as piommu_dma_map_single.
 * @return 0; -PIOMMU_EINVAL; -PIOMMU_ERANGE: beyond the range; or an error of
 *         piommu_dma_range_sync. DMA mapping.
 */
int piommu_dma_link(struct piommu_dma_range *range, uint64_t offset, uint64_t physical,
                    uint64_t size, enum piommu_dma_direction direction, unsigned int flags);

/**
 * Lets the device use all that was linked.
 *
 * @return 0; -PIOMMU_EEXIST: something is linked there already; or an error of
 *         piommu_dma_map_single: nothing is linked any more of what was since the last call, of
 *         this function or of one that has failed. DMA mapping.
 */
int piommu_dma_range_sync(struct piommu_dma_range *range);

/**
 * Makes a part unreachable again, at once in a lazy space, too. It can be linked again.
 *
 * @param offset, size what one call has linked, or several that follow each other without a gap,
 *                     also of bytes.
 * @param direction, flags as they were linked.
 * @return as piommu_dma_unmap_single (`debug` records the range, not its links: a direction that
 *         does not fit is not noticed); also an error of piommu_dma_range_sync, which is done
 *         first. DMA mapping.
 */
int piommu_dma_unlink(struct piommu_dma_range *range, uint64_t offset, uint64_t size,
                      enum piommu_dma_direction direction, unsigned int flags);

/**
 * Gives a range up. NULL is ignored.
 *
 * @return 0; -PIOMMU_EBUSY: something is linked; -PIOMMU_EFAILED: links without a sync could not be
 *         taken back, and the range is gone; their memory must be kept until
 *         piommu_dma_space_flush succeeds. DMA mapping.
 */
int piommu_dma_unreserve(struct piommu_dma_range *range);

#ifdef __cplusplus
}
#endif

#endif
