/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIRTIO_IOMMU_MODEL_H
#define VIRTIO_IOMMU_MODEL_H

/**
 * @file virtio_iommu_model.h
 * A behavioural model of a virtio-iommu behind the modern virtio-pci transport, or behind
 * virtio-mmio, for tests in user space. It is written from the virtio specification alone and
 * shares nothing with the driver under test.
 *
 * Whatever a driver does against the specification is recorded as a violation and then answered as
 * a device may answer it; a test ends with `assert_int_equal(viommu_model_violations(model), 0)`.
 * What a driver may do but a device refuses (an unknown endpoint, say) is no violation; the answers
 * are counted in viommu_model_counters::answers.
 *
 * Rings are split, or packed if the driver accepts VIOMMU_MODEL_F_RING_PACKED, which the defaults
 * do not offer; then queue sizes need not be powers of two, and buffer ids are below the size.
 *
 * Nothing here is thread-safe: the fake OS serialises. No function calls back except the memory
 * callbacks, the observer and the sink of messages, and those must not call the model.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Feature bits, as masks. */
#define VIOMMU_MODEL_F_INPUT_RANGE     (UINT64_C(1) << 0)
#define VIOMMU_MODEL_F_DOMAIN_RANGE    (UINT64_C(1) << 1)
#define VIOMMU_MODEL_F_MAP_UNMAP       (UINT64_C(1) << 2)
#define VIOMMU_MODEL_F_BYPASS          (UINT64_C(1) << 3)
#define VIOMMU_MODEL_F_PROBE           (UINT64_C(1) << 4)
#define VIOMMU_MODEL_F_MMIO            (UINT64_C(1) << 5)
#define VIOMMU_MODEL_F_BYPASS_CONFIG   (UINT64_C(1) << 6)
#define VIOMMU_MODEL_F_INDIRECT_DESC   (UINT64_C(1) << 28)
#define VIOMMU_MODEL_F_EVENT_IDX       (UINT64_C(1) << 29)
#define VIOMMU_MODEL_F_VERSION_1       (UINT64_C(1) << 32)
#define VIOMMU_MODEL_F_ACCESS_PLATFORM (UINT64_C(1) << 33)
#define VIOMMU_MODEL_F_RING_PACKED     (UINT64_C(1) << 34)
#define VIOMMU_MODEL_F_IN_ORDER        (UINT64_C(1) << 35)
#define VIOMMU_MODEL_F_ORDER_PLATFORM  (UINT64_C(1) << 36)
#define VIOMMU_MODEL_F_RING_RESET      (UINT64_C(1) << 40)

/** Request types and answers, by the numbers of the specification. */
enum {
    VIOMMU_MODEL_ATTACH = 1,
    VIOMMU_MODEL_DETACH = 2,
    VIOMMU_MODEL_MAP = 3,
    VIOMMU_MODEL_UNMAP = 4,
    VIOMMU_MODEL_PROBE = 5,

    VIOMMU_MODEL_S_OK = 0,
    VIOMMU_MODEL_S_IOERR = 1,
    VIOMMU_MODEL_S_UNSUPP = 2,
    VIOMMU_MODEL_S_DEVERR = 3,
    VIOMMU_MODEL_S_INVAL = 4,
    VIOMMU_MODEL_S_RANGE = 5,
    VIOMMU_MODEL_S_NOENT = 6,
    VIOMMU_MODEL_S_FAULT = 7,
    VIOMMU_MODEL_S_NOMEM = 8,

    VIOMMU_MODEL_REQUEST_QUEUE = 0,
    VIOMMU_MODEL_EVENT_QUEUE = 1,
};

/** Where the model puts its registers in BAR 4 (as QEMU does); a driver looks at capabilities. */
enum {
    VIOMMU_MODEL_BAR = 4,
    VIOMMU_MODEL_BAR_SIZE = 0x4000,
    VIOMMU_MODEL_COMMON_OFFSET = 0x0000,
    VIOMMU_MODEL_ISR_OFFSET = 0x1000,
    VIOMMU_MODEL_DEVICE_OFFSET = 0x2000,
    VIOMMU_MODEL_NOTIFY_OFFSET = 0x3000,
    VIOMMU_MODEL_NOTIFY_MULTIPLIER = 4,
    VIOMMU_MODEL_MSIX_TABLE_OFFSET = 0x0800,
    VIOMMU_MODEL_MSIX_PENDING_OFFSET = 0x0c00,
    VIOMMU_MODEL_MSIX_MAX_VECTORS = 64,
};

/** How big the registers of virtio-mmio are: as much as platforms with them give a slot. */
#define VIOMMU_MODEL_MMIO_SIZE 0x200u

/** What stands between the driver and the device. */
enum viommu_model_transport {
    VIOMMU_MODEL_PCI,  /**< virtio-pci, the modern interface alone */
    VIOMMU_MODEL_MMIO, /**< virtio-mmio, version 2; there is no PCI function then */
};

/** Guest memory by physical address. false: there is no memory there. */
struct viommu_model_memory {
    bool (*read)(void *ctx, uint64_t physical, void *buffer, size_t size);
    bool (*write)(void *ctx, uint64_t physical, const void *buffer, size_t size);
    void *ctx;
};

/** When requests are worked on. */
enum viommu_model_processing {
    VIOMMU_MODEL_AT_DOORBELL, /**< inside the doorbell write */
    VIOMMU_MODEL_AT_RUN,      /**< only in viommu_model_run */
    VIOMMU_MODEL_AT_TICK,     /**< some ticks after the doorbell: viommu_model_set_delay */
    VIOMMU_MODEL_NEVER,       /**< a dead device: neither requests nor events are ever answered */
};

/** In which order requests that are pending at the same time are completed. */
enum viommu_model_order {
    VIOMMU_MODEL_IN_ORDER,
    VIOMMU_MODEL_REVERSED,
    VIOMMU_MODEL_SHUFFLED,
};

/** For what the device wants doorbells. Unless always, it looks by itself, at ticks and runs. */
enum viommu_model_notification {
    VIOMMU_MODEL_NOTIFY_ALWAYS, /**< for all that is new */
    VIOMMU_MODEL_NOTIFY_NEVER,
    /** For the `count`th new buffer (of packed rings: descriptor, and no further than all of them),
        from 1 on, if EVENT_IDX is in force; without it, always. */
    VIOMMU_MODEL_NOTIFY_AFTER,
};

/** When a request changes what endpoints can reach. */
enum viommu_model_effect {
    /** Together with the used entry: until then old translations work and new ones do not. */
    VIOMMU_MODEL_EFFECT_AT_COMPLETION,
    /** When the doorbell makes it visible, in ring order; the answer is only delivered later. */
    VIOMMU_MODEL_EFFECT_AT_DOORBELL,
};

/**
 * What the device is. Start from viommu_model_default_parameters. Everything is shown to the driver
 * as it is, nonsense too.
 */
struct viommu_model_parameters {
    enum viommu_model_transport transport; /**< default VIOMMU_MODEL_PCI */
    uint64_t mmio_address;      /**< where the registers of virtio-mmio are; default 0x0a003e00 */
    uint16_t bdf;               /**< the device's own address; default 0x0008 */
    uint64_t offered_features;  /**< default: device bits 0, 1, 2, 4, 5, 6 and VERSION_1 */
    uint64_t demanded_features; /**< FEATURES_OK is refused without these; default VERSION_1 */
    uint64_t page_size_mask;    /**< default 0xfffffffffffff000 */
    uint64_t input_start;       /**< default 0 */
    uint64_t input_end;         /**< inclusive; default 2^64 - 1 */
    uint32_t domain_start;      /**< default 0 */
    uint32_t domain_end;        /**< inclusive; default 2^32 - 1 */
    uint32_t probe_size;        /**< default 512 */
    uint8_t initial_bypass;     /**< the bypass byte after a system reset; default 1, as QEMU */
    bool bypass_is_unsaid;      /**< the byte reads 0 until it is written, whatever is in force */
    uint32_t config_length; /**< of the device config; default 40, 36 for devices without bypass */
    uint16_t queue_size[2]; /**< the maxima, by queue; default 256 */
    uint16_t msix_vectors;  /**< of virtio-pci, 64 at most; default 0: no MSI-X, as QEMU 7.2 */
    uint64_t bar_address;   /**< what the BAR register holds at first; default 0x8000000000 */

    unsigned int reset_reads;  /**< reads of device_status that still show the old one; default 0 */
    uint32_t max_domains;      /**< then ATTACH answers NOMEM; default 0: no limit */
    uint32_t max_mappings;     /**< per domain, then MAP answers NOMEM; default 0: no limit */
    uint32_t max_all_mappings; /**< in all domains, then MAP answers NOMEM; default 0: no limit */
    uint32_t unsupported;   /**< a bit for each request type: answered UNSUPP, and not performed */
    bool unknown_is_unsupp; /**< unknown types are answered UNSUPP (QEMU); default: length 0 */
    bool no_top;            /**< MAP up to 2^64 - 1 is RANGE, as some devices have it */
    bool no_move;           /**< ATTACH of an attached endpoint is UNSUPP */
    bool lone_detach;       /**< who is not alone in a domain cannot leave it: UNSUPP */
    bool one_endpoint;      /**< a second endpoint in a domain is UNSUPP */
    bool keep_on_reattach; /**< ATTACH to the same domain keeps mappings; default: detaches first */
    bool partial_unmap;    /**< an UNMAP that cuts removes what precedes the cut mapping (QEMU) */
    bool fixed_framing;    /**< any framing but one readable + one writable, exact: length 0 */
    bool read_is_implied;  /**< every mapping can be read, as some devices do */
    bool no_events;        /**< faults are never reported */
    bool hold_events;      /**< without a buffer a report waits (64 at most); default: is dropped */
    bool write_is_unsaid;  /**< used descriptors of packed rings lack the flag WRITE (QEMU) */
    uint32_t event_piece;  /**< a failed DMA is retried, and reported, in pieces of so many bytes
                                     (QEMU: 4); default 0: one report for each DMA */
};

/** Fills in the defaults named above. */
void viommu_model_default_parameters(struct viommu_model_parameters *parameters);

/** A range that PROBE reports. */
struct viommu_model_region {
    uint64_t start;
    uint64_t end;    /**< inclusive */
    uint8_t subtype; /**< 0 RESERVED, 1 MSI; as PROBE shows it. MSI lets writes through */
};

struct viommu_model;

/** Makes a model, switched on: memory decode and bus master off, no endpoint. NULL: no memory. */
struct viommu_model *viommu_model_create(const struct viommu_model_parameters *parameters,
                                         struct viommu_model_memory memory);
void viommu_model_destroy(struct viommu_model *model);

/**
 * As the platform's reset: device reset, bypass back to its first value, PCI registers too.
 * Endpoints, knobs, counters and violations stay.
 */
void viommu_model_system_reset(struct viommu_model *model);

/** The device's own BDF: config accesses for it go to the model. */
uint16_t viommu_model_bdf(const struct viommu_model *model);

/* ---- endpoints ----------------------------------------------------------------------------- */

/** Makes an endpoint exist. Regions are copied. false: no memory, or it exists already. */
bool viommu_model_add_endpoint(struct viommu_model *model, uint32_t endpoint,
                               const struct viommu_model_region *regions, size_t count);

/** Makes an endpoint vanish (hot-unplug): detaches it first. */
void viommu_model_remove_endpoint(struct viommu_model *model, uint32_t endpoint);

/**
 * What PROBE answers for an endpoint instead of its regions, byte for byte; cut or zero-filled to
 * probe_size. The regions stay in force. NULL: the truth again. false: no such endpoint, no memory.
 */
bool viommu_model_set_probe_bytes(struct viommu_model *model, uint32_t endpoint, const void *bytes,
                                  size_t size);

/**
 * Changes the configuration: page_size_mask, input_*, domain_* and probe_size of `next` count from
 * now on, for requests too. The generation changes, and after DRIVER_OK there is an interrupt.
 *
 * @param after_reads 0: at once; else the change comes right behind so many reads of fields. A
 *                    second call replaces the first.
 */
void viommu_model_change_config(struct viommu_model *model,
                                const struct viommu_model_parameters *next, uint64_t after_reads);

/* ---- what the fake OS forwards ------------------------------------------------------------- */

/** PCI configuration space, 256 bytes; naturally aligned 1, 2 or 4 bytes. */
uint32_t viommu_model_config_read(struct viommu_model *model, unsigned int offset,
                                  unsigned int width);
void viommu_model_config_write(struct viommu_model *model, unsigned int offset, unsigned int width,
                               uint32_t value);

/** Size of BAR 0 to 5: 16 KiB for 4, 0 for the others. */
uint64_t viommu_model_bar_size(const struct viommu_model *model, unsigned int number);
/** What the BAR registers hold, flags removed. */
uint64_t viommu_model_bar_address(const struct viommu_model *model, unsigned int number);

/** Where the registers of virtio-mmio are. */
uint64_t viommu_model_mmio_address(const struct viommu_model *model);

/**
 * Registers: with virtio-pci those in BAR 4, for which memory decode must be on, as else all ones
 * are read and writes are lost; with virtio-mmio all there are.
 */
uint32_t viommu_model_mmio_read(struct viommu_model *model, uint64_t offset, unsigned int width);
void viommu_model_mmio_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                             uint32_t value);

/**
 * Whether the interrupt line (INTx) is asserted. The driver's read of the ISR register clears it,
 * or with virtio-mmio its write to InterruptACK. It never is while MSI-X is on.
 */
bool viommu_model_interrupt_pending(const struct viommu_model *model);

/** Sets a function that is told of each message of MSI-X that is sent. NULL: none. */
void viommu_model_on_message(struct viommu_model *model,
                             void (*sink)(void *ctx, uint64_t address, uint32_t data), void *ctx);

/* ---- time ---------------------------------------------------------------------------------- */

void viommu_model_set_processing(struct viommu_model *model,
                                 enum viommu_model_processing processing);
void viommu_model_set_order(struct viommu_model *model, enum viommu_model_order order,
                            uint32_t seed);
void viommu_model_set_effect(struct viommu_model *model, enum viommu_model_effect effect);

/**
 * With VIOMMU_MODEL_EFFECT_AT_DOORBELL: translations that an endpoint has used remain usable by it,
 * as in a TLB, until the UNMAP, DETACH or ATTACH that took them away is *completed*.
 */
void viommu_model_set_retain(struct viommu_model *model, bool retain);

/** With VIOMMU_MODEL_AT_TICK: after how many ticks a request is done, from its doorbell on. */
void viommu_model_set_delay(struct viommu_model *model, uint64_t ticks);

/**
 * used.idx moves only when `requests` of them are done, or when none is left to be done; default 1.
 * In a packed ring the flags of the first of them are held back as long. Requests take effect, one
 * after the other, before that.
 */
void viommu_model_set_batch(struct viommu_model *model, uint16_t requests);

/**
 * The nth request that is announced from now on (1: the next) is not completed, in any processing
 * mode, until viommu_model_release. 0: none.
 */
void viommu_model_hold(struct viommu_model *model, uint64_t nth);
/** Lets go of what is held: it is completed when the processing mode says so. */
void viommu_model_release(struct viommu_model *model);

/** Lets the device ask for doorbells of a queue so, from now on. It outlasts resets. */
void viommu_model_set_notification(struct viommu_model *model, unsigned int queue,
                                   enum viommu_model_notification mode, uint16_t count);

/** A look at the clock has been taken: the device makes progress if it is so set up. */
void viommu_model_tick(struct viommu_model *model);

/** An interrupt of the queues, without anything new in them. */
void viommu_model_raise_for_nothing(struct viommu_model *model);

/**
 * Completes up to max_requests requests that a doorbell has announced (SIZE_MAX: all), or that the
 * device has found by itself if it wants no doorbells. Works in every processing mode but
 * VIOMMU_MODEL_NEVER. Returns how many were completed.
 */
size_t viommu_model_run(struct viommu_model *model, size_t max_requests);

/** Requests announced by a doorbell and not completed yet. */
size_t viommu_model_pending(const struct viommu_model *model);

/** Buffers that were made available in a queue without a doorbell since; 0 if the queue is off. */
size_t viommu_model_unannounced(struct viommu_model *model, unsigned int queue);

/* ---- the DMA masters ----------------------------------------------------------------------- */

enum viommu_model_verdict {
    VIOMMU_MODEL_BLOCKED,  /**< a fault */
    VIOMMU_MODEL_MAPPED,   /**< translated by a mapping */
    VIOMMU_MODEL_IDENTITY, /**< bypass: physical = IOVA */
    VIOMMU_MODEL_DOORBELL, /**< a write to the MSI window: not translated, never reaches memory */
};

/**
 * Lets an endpoint access memory: what comes before the first byte that faults does arrive. A fault
 * is reported in the event queue. Where the guest has no memory an access is lost without a report.
 *
 * @return the number of bytes that arrived.
 */
size_t viommu_model_dma(struct viommu_model *model, uint32_t endpoint, uint64_t iova, void *buffer,
                        size_t size, bool write);

/**
 * What an access of one byte would meet now, without side effects. *physical is set for the
 * verdicts mapped and identity; `physical` may be NULL.
 */
enum viommu_model_verdict viommu_model_translate(const struct viommu_model *model,
                                                 uint32_t endpoint, uint64_t iova, bool write,
                                                 uint64_t *physical);

/* ---- looking inside ------------------------------------------------------------------------ */

/** Everything since creation; never reset. Take differences. */
struct viommu_model_counters {
    uint64_t
        requests[6]; /**< that the device has performed or refused, by type; [0]: unknown type */
    uint64_t answers[9];    /**< completed with this status (as written, scripted lies included) */
    uint64_t odd_answers;   /**< completed with a status above 8, or with none written */
    uint64_t empty_answers; /**< completed with used length 0 */
    uint64_t doorbells[2];  /**< by queue */
    uint64_t superfluous_doorbells[2]; /**< those that the device had not asked for */
    /** Buffers that the device, looking by itself at a tick or run, found though it had asked for a
        doorbell and there was none; once for each number of them. */
    uint64_t missing_doorbells[2];
    uint64_t events_sent;       /**< written to an event buffer */
    uint64_t events_dropped;    /**< for want of a buffer */
    uint64_t resets;            /**< status 0 writes */
    uint64_t bypass_writes;     /**< to the byte in the configuration */
    uint64_t dma_faults;        /**< viommu_model_dma calls that were stopped by a fault */
    uint64_t interrupts;        /**< times that the ISR went from 0 to something */
    uint64_t messages;          /**< of MSI-X that were sent */
    uint64_t interrupts_spared; /**< uses of buffers that the driver did not want to be told of */
};

const struct viommu_model_counters *viommu_model_counters(const struct viommu_model *model);

/** How often the driver broke the specification. */
size_t viommu_model_violations(const struct viommu_model *model);
/** What the first 16 violations were; NULL if there is no such violation. */
const char *viommu_model_violation(const struct viommu_model *model, size_t index);
/** Forgets them: for tests that provoke violations. */
void viommu_model_forget_violations(struct viommu_model *model);

uint8_t viommu_model_status(const struct viommu_model *model);
uint64_t viommu_model_accepted_features(const struct viommu_model *model);
uint8_t viommu_model_bypass(const struct viommu_model *model);
size_t viommu_model_domain_count(const struct viommu_model *model);
bool viommu_model_domain_exists(const struct viommu_model *model, uint32_t domain);
size_t viommu_model_mapping_count(const struct viommu_model *model, uint32_t domain);

/** A mapping, as MAP has made it. */
struct viommu_model_mapping {
    uint64_t first;
    uint64_t last; /**< inclusive */
    uint64_t physical;
    uint32_t flags;
};

/** The mapping that an address lies in. false: there is none. */
bool viommu_model_mapping_at(const struct viommu_model *model, uint32_t domain, uint64_t iova,
                             struct viommu_model_mapping *mapping);

/** The mappings of a domain one by one, in the order of addresses, from 0. false: no more. */
bool viommu_model_mapping(const struct viommu_model *model, uint32_t domain, size_t index,
                          struct viommu_model_mapping *mapping);

/** The domain an endpoint is attached to. false: unattached. */
bool viommu_model_domain_of(const struct viommu_model *model, uint32_t endpoint, uint32_t *domain);
/** Empty event buffers the device holds (announced by a doorbell). */
size_t viommu_model_event_buffers(const struct viommu_model *model);

/** A request as the device understood it. Members that the type lacks are 0. */
struct viommu_model_request {
    uint8_t type;
    uint32_t domain;
    uint32_t endpoint;
    uint32_t flags;
    uint64_t virt_start;
    uint64_t virt_end;
    uint64_t phys_start;
};

/**
 * Sets a function that is told of each request when its effect takes place; status is the honest
 * one (or a scripted failure), or -1 where the device will answer with used length 0. NULL: none.
 */
void viommu_model_observe(struct viommu_model *model,
                          void (*observer)(void *ctx, const struct viommu_model_request *request,
                                           int status),
                          void *ctx);

/* ---- misbehaviour -------------------------------------------------------------------------- */

/**
 * The nth request of a type from now on (1: the next) is not performed and answered with `status`.
 * type 0: of any type. Scripts add up. false: more than 32 are waiting.
 */
bool viommu_model_fail_request(struct viommu_model *model, uint8_t type, uint64_t nth,
                               uint8_t status);

enum viommu_model_misbehaviour {
    /*
     * Completions in the request queue. `nth` picks the completion: 1 is the next, 0 every one.
     * What a packed ring gets too much of lies where the next used entry is to come, and is
     * overwritten by that: a driver with nothing in flight has no reason to look there.
     */
    VIOMMU_MODEL_USED_ID_OUT_OF_RANGE,  /**< id = argument, or queue size if that is 0 */
    VIOMMU_MODEL_USED_ID_NOT_IN_FLIGHT, /**< id of a descriptor that heads nothing in flight */
    VIOMMU_MODEL_USED_ID_MIDDLE,   /**< id of the second descriptor of the chain, or the next one;
                                        packed: the next id behind the chain's not in flight */
    VIOMMU_MODEL_USED_ID_REPEATED, /**< the honest entry, twice */
    VIOMMU_MODEL_USED_INDEX_JUMPS, /**< used.idx moves by `argument` more than it should; packed: so
                                        many more descriptors are flagged as used */
    VIOMMU_MODEL_USED_LENGTH,      /**< len = argument, everything else honest */
    VIOMMU_MODEL_ANSWER_EMPTY,     /**< used length 0, nothing written; still performed */
    VIOMMU_MODEL_STATUS_UNTOUCHED, /**< honest length, but the status byte is not written */
    VIOMMU_MODEL_STATUS_VALUE,     /**< performed, but the status byte says `argument` */
    VIOMMU_MODEL_NOT_PERFORMED,    /**< says OK and does nothing (no driver can notice) */
    VIOMMU_MODEL_NOT_COMPLETED,    /**< performed, but its used entry never comes */
    VIOMMU_MODEL_SCRIBBLE_AVAILABLE, /**< after it, overwrites the available ring with 0xff, where
                                          nothing waits to be fetched; packed: the descriptors in
                                          flight, but the flags AVAIL and USED */
    VIOMMU_MODEL_SCRIBBLE,           /**< after it, overwrites the chain's descriptors with 0xff;
                                          packed: but where used entries are, and AVAIL and USED */
    VIOMMU_MODEL_NEEDS_RESET_AFTER,  /**< completed, then DEVICE_NEEDS_RESET */

    /* `nth` picks the read of a field of the configuration: 1 is the next, 0 every one. */
    VIOMMU_MODEL_CONFIG_FLICKERS, /**< it comes out XORed with `argument`; same generation */

    /* `nth` picks the read of one half of the device's features: 1 is the next, 0 every one. */
    VIOMMU_MODEL_FEATURES_FLICKER, /**< it comes out XORed with its half of `argument` */

    /* `nth` picks the access of a register: 1 is the next. */
    VIOMMU_MODEL_NEEDS_RESET_AT_ACCESS, /**< just before it, as VIOMMU_MODEL_NEEDS_RESET */
    VIOMMU_MODEL_GONE_AT_ACCESS,        /**< from it on, as VIOMMU_MODEL_GONE */

    /* `nth` picks the vector that is written to a vector register: 1 is the next, 0 every one. */
    VIOMMU_MODEL_NO_VECTORS, /**< it reads back as 0xffff: there was no room for it */

    /* The transport; `nth` is ignored, but picks the cfg_type where "all capabilities" stands. */
    VIOMMU_MODEL_REFUSE_FEATURES,      /**< FEATURES_OK never stays */
    VIOMMU_MODEL_NEEDS_RESET,          /**< at once: DEVICE_NEEDS_RESET is set, work stops */
    VIOMMU_MODEL_GONE,                 /**< everything reads as all ones, work stops */
    VIOMMU_MODEL_RESET_HANGS,          /**< device_status never goes back to 0 */
    VIOMMU_MODEL_STATUS_IS,            /**< device_status reads as `argument`; who adds bits
                                            to that clears none */
    VIOMMU_MODEL_PCI_ID,               /**< vendor and device ID read as `argument` */
    VIOMMU_MODEL_BAR_SIZE_IS,          /**< BAR 4 is said to have `argument` bytes */
    VIOMMU_MODEL_GENERATION_CHANGES,   /**< for `argument` reads of it; 0: always */
    VIOMMU_MODEL_QUEUE_SIZE,           /**< both queues offer size `argument` (0, 3, 1, ...) */
    VIOMMU_MODEL_QUEUE_COUNT,          /**< num_queues reads as `argument`; with virtio-mmio, queues
                                            from there on have QueueNumMax 0 */
    VIOMMU_MODEL_QUEUE_READY,          /**< QueueReady (queue_enable) reads as `argument`: 1 stays
                                            set, whatever is written; 0 never gets set, and a
                                            driver need not notice */
    VIOMMU_MODEL_MMIO_MAGIC,           /**< MagicValue is `argument` */
    VIOMMU_MODEL_MMIO_VERSION,         /**< Version is `argument` (1: the legacy interface) */
    VIOMMU_MODEL_MMIO_DEVICE_ID,       /**< DeviceID is `argument` (0: an empty slot) */
    VIOMMU_MODEL_CAPABILITY_LOOP,      /**< the last capability points back to the first */
    VIOMMU_MODEL_CAPABILITY_POINTER,   /**< the capability pointer in 0x34 is `argument` */
    VIOMMU_MODEL_CAPABILITY_DECOY,     /**< one with cfg_type = argument and a BAR that cannot be
                                            used comes before the true one */
    VIOMMU_MODEL_CAPABILITY_BAR,       /**< all capabilities name BAR `argument` (6, 255) */
    VIOMMU_MODEL_CAPABILITY_OFFSET,    /**< all capabilities have this offset (argument) */
    VIOMMU_MODEL_CAPABILITY_LENGTH,    /**< all capabilities have this length (argument) */
    VIOMMU_MODEL_CAPABILITY_SHORT,     /**< all have cap_len = argument */
    VIOMMU_MODEL_CAPABILITY_MISSING,   /**< the one with cfg_type = argument is not in the list */
    VIOMMU_MODEL_NOTIFY_OFF,           /**< queue_notify_off of both queues is `argument` */
    VIOMMU_MODEL_NOTIFY_MULTIPLIER_IS, /**< notify_off_multiplier is `argument` */
    VIOMMU_MODEL_MSIX_SIZE,            /**< the table size in the MSI-X capability is `argument` */
    VIOMMU_MODEL_MSIX_TABLE,           /**< the offset and BAR of the table there are `argument` */
    VIOMMU_MODEL_NO_INTERRUPTS,        /**< the ISR is never set, no message is sent */
    VIOMMU_MODEL_AVAIL_EVENT,          /**< avail_event is always written as `argument`; packed, and
                                            with EVENT_IDX: the offset and wrap counter are */
    VIOMMU_MODEL_USED_FLAGS,           /**< used.flags are always written as `argument`; packed: the
                                            flags of the device's event suppression are */

    VIOMMU_MODEL_MISBEHAVIOURS, /**< how many there are */
};

/** Switches a misbehaviour on; a second call for the same one replaces the first. */
void viommu_model_misbehave(struct viommu_model *model, enum viommu_model_misbehaviour what,
                            uint64_t nth, uint64_t argument);

/** Switches all misbehaviour and all scripted failures off. What was done is not undone. */
void viommu_model_behave(struct viommu_model *model);

/**
 * Puts raw bytes into the next event buffer, with used length `length` whatever was written. false:
 * no buffer was there (counted as dropped).
 */
bool viommu_model_inject_event(struct viommu_model *model, const void *bytes, size_t size,
                               uint32_t length);

/** Reports a fault that never was, `count` times; returns how many found a buffer. */
size_t viommu_model_flood(struct viommu_model *model, uint32_t endpoint, uint64_t address,
                          size_t count);

/**
 * Fills every event buffer that there is, and every one that is made available later, with a report
 * of a fault that never was; `count` times, or until the device is reset.
 */
void viommu_model_storm(struct viommu_model *model, uint32_t endpoint, uint64_t address,
                        uint64_t count);
/** How many of those are left to be sent. */
uint64_t viommu_model_storm_left(const struct viommu_model *model);

/**
 * Adds an entry to the used ring of a queue that answers nothing: any id, any length. In a packed
 * ring the next one follows behind it if the id is in flight, else it comes in the same place.
 */
void viommu_model_inject_used(struct viommu_model *model, unsigned int queue, uint32_t id,
                              uint32_t length);
/** Completes the last request that was completed once more. */
void viommu_model_complete_again(struct viommu_model *model);
/** Adds an entry to the event queue's used ring that answers nothing: any id, any length. */
void viommu_model_inject_used_event(struct viommu_model *model, uint32_t id, uint32_t length);

#endif
