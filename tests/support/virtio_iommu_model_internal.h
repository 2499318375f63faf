/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIRTIO_IOMMU_MODEL_INTERNAL_H
#define VIRTIO_IOMMU_MODEL_INTERNAL_H

/*
 * What the files of the model share: the device itself (virtio_iommu_model.c), its configuration
 * (virtio_config_model.c), its side of the rings (virtio_ring_model.c, virtio_packed_model.c,
 * virtio_chain_model.c, virtio_notification_model.c), what all transports have
 * (virtio_transport_model.c), virtio-pci (virtio_pci_model.c, virtio_msix_model.c), and virtio-mmio
 * (virtio_mmio_model.c).
 */

#include "virtio_iommu_model.h"

#if defined(__GNUC__)
#define VIOMMU_MODEL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define VIOMMU_MODEL_PRINTF(text, first)
#endif

enum {
    MODEL_QUEUES = 2,
    MODEL_MAX_QUEUE_SIZE = 32768,
    MODEL_MAX_CHAIN = 16,     /* descriptors; a driver of this device needs two */
    MODEL_MAX_READABLE = 256, /* bytes kept of a request; the longest one has 72 */
    MODEL_MAX_PROBE = 1 << 20,
    MODEL_MAX_SCRIPTS = 32,
    MODEL_KEPT_VIOLATIONS = 16,
    MODEL_HELD_EVENTS = 64,
    MODEL_EVENT_SIZE = 24,

    /* Flags of descriptors in packed rings. */
    MODEL_PACKED_AVAILABLE = 0x0080,
    MODEL_PACKED_USED = 0x8000,
    MODEL_PACKED_OTHER_FLAGS = 0x7f7f,

    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64,
    STATUS_FAILED = 128,

    /* What interrupts: a queue, by its number, or the configuration. */
    MODEL_CONFIG = MODEL_QUEUES,
    MODEL_SOURCES,
};

struct model_domain {
    uint32_t id;
    bool bypass;
    size_t endpoints;
    struct viommu_model_mapping *mappings; /* sorted, disjoint */
    size_t count;
    size_t capacity;
};

/* A translation that an endpoint has used and may keep for a while. */
struct model_cached {
    struct viommu_model_mapping mapping;
    bool attached; /* else it is the identity of an unattached endpoint */
    bool identity;
    uint32_t domain;
};

struct model_endpoint {
    uint32_t id;
    struct viommu_model_region *regions;
    size_t region_count;
    uint8_t *probe_bytes; /* the lie, if any */
    size_t probe_size;
    struct model_domain *domain;
    struct model_cached *cache;
    size_t cache_count;
    size_t cache_capacity;
};

struct model_segment {
    uint64_t address;
    uint32_t length;
};

/* A descriptor chain that the device has fetched and not given back. */
struct model_chain {
    uint16_t id;                     /* by which it is given back */
    uint16_t slots[MODEL_MAX_CHAIN]; /* where its descriptors are */
    bool given_up[MODEL_MAX_CHAIN];  /* packed: what is there is not the chain's any more */
    uint8_t descriptors[MODEL_MAX_CHAIN][16];
    size_t count;
    uint8_t *table; /* a copy of the indirect table, if there is one */
    uint64_t table_address;
    uint32_t table_length;
    struct model_segment readable[MODEL_MAX_CHAIN];
    size_t readable_count;
    uint64_t readable_length;
    struct model_segment writable[MODEL_MAX_CHAIN];
    size_t writable_count;
    uint64_t writable_length;
};

struct model_pending {
    struct model_pending *next;
    struct model_chain chain;
    uint8_t request[MODEL_MAX_READABLE]; /* as it was when the doorbell announced it */
    size_t request_length;
    bool performed;
    bool stuck;   /* will never be completed */
    bool held;    /* until the test releases it */
    uint64_t due; /* the tick */
    struct viommu_model_request decoded;
    int status;      /* -1: used length 0 */
    uint8_t *answer; /* what is to be written; answer_length bytes */
    size_t answer_length;
    size_t status_offset;
};

struct model_queue {
    uint16_t size;
    bool enabled;
    bool stop_unread; /* switched off, which the driver has not read back yet */
    uint8_t known;    /* what virtio-mmio has been told and asked of it */
    uint64_t descriptors;
    uint64_t driver;
    uint64_t device;
    uint16_t announced; /* avail.idx at the last doorbell; packed: chains until then */
    uint16_t fetched;   /* up to where entries were taken */
    uint16_t used;      /* used entries that were written */
    uint16_t published; /* used.idx; packed: used entries that the driver can see */
    uint16_t avail_event;
    uint16_t used_flags;
    bool missed; /* a doorbell was missing, when avail.idx was missed_at */
    uint16_t missed_at;
    /*
     * Packed rings. Places count descriptors from when the queue was switched on, so that slot and
     * wrap counter follow from them.
     */
    uint64_t announced_place;
    uint64_t fetched_place;
    uint64_t used_place;
    uint64_t published_place;
    uint16_t withheld_flags;                    /* of the used entry at published_place */
    uint16_t known_flags[MODEL_MAX_QUEUE_SIZE]; /* of each slot, when the device saw it last */
    bool in_flight[MODEL_MAX_QUEUE_SIZE];
    struct model_pending *first;
};

/* Of a source of interrupts. */
struct model_vector {
    uint16_t number;
    bool unread; /* written, and not read back since */
};

/* Up to where a driver has made buffers available. */
struct model_available {
    uint16_t index; /* avail.idx; packed: chains */
    uint64_t place; /* packed */
};

/* When the device wants doorbells. */
struct model_notification {
    enum viommu_model_notification mode;
    uint16_t count;
};

struct model_script {
    uint8_t type;
    uint8_t status;
    uint64_t nth;
};

struct model_misbehaviour {
    bool on;
    uint64_t nth;
    uint64_t argument;
};

struct viommu_model {
    struct viommu_model_parameters parameters;
    struct viommu_model_memory memory;
    struct viommu_model_parameters next_config; /* when reads_to_change gets to 0 */
    uint64_t reads_to_change;
    struct viommu_model_counters counters;
    char violations[MODEL_KEPT_VIOLATIONS][160];
    size_t violation_count;

    /* knobs */
    enum viommu_model_processing processing;
    enum viommu_model_order order;
    uint32_t random;
    uint64_t ticks;
    uint64_t delay;
    uint64_t hold_in; /* requests; 0: holds none */
    uint16_t batch;
    struct model_notification notifications[MODEL_QUEUES];
    enum viommu_model_effect effect;
    bool retain;
    struct model_misbehaviour misbehaviours[VIOMMU_MODEL_MISBEHAVIOURS];
    struct model_script scripts[MODEL_MAX_SCRIPTS];
    size_t script_count;
    void (*observer)(void *ctx, const struct viommu_model_request *request, int status);
    void *observer_ctx;

    /* transport */
    uint8_t config[256];
    uint64_t bar_address;
    uint8_t status;
    bool zero_was_read;      /* of device_status, since the last reset */
    bool features_were_read; /* device_status, since FEATURES_OK was set */
    bool resetting;
    unsigned int reset_reads_left;
    uint32_t device_feature_select;
    uint32_t driver_feature_select;
    uint64_t accepted;
    uint32_t queue_select;
    uint8_t isr;
    struct model_vector vectors[MODEL_SOURCES];
    uint16_t msix_control;
    uint32_t msix_table[VIOMMU_MODEL_MSIX_MAX_VECTORS][4];
    uint64_t msix_pending; /* a bit for each vector */
    void (*sink)(void *ctx, uint64_t address, uint32_t data);
    void *sink_ctx;
    uint8_t isr_seen;      /* by the driver, of virtio-mmio */
    uint8_t mmio_known;    /* what the driver knows of virtio-mmio */
    uint8_t mmio_selected; /* selectors that it has written */
    uint8_t generation;
    uint64_t generation_reads_left;
    struct model_queue queues[MODEL_QUEUES];
    uint8_t held[MODEL_HELD_EVENTS][MODEL_EVENT_SIZE];
    size_t held_count;
    uint8_t storm[MODEL_EVENT_SIZE]; /* what all event buffers get */
    uint64_t storm_left;
    uint32_t last_id; /* of the request that was completed last, and what was said of it */
    uint32_t last_length;

    /* device */
    uint8_t bypass;
    bool bypass_was_written;
    struct model_endpoint *endpoints;
    size_t endpoint_count;
    struct model_domain **domains;
    size_t domain_count;
};

/* Little-endian numbers in bytes, on any host. */
uint16_t viommu_model_get16(const uint8_t *bytes);
uint32_t viommu_model_get32(const uint8_t *bytes);
uint64_t viommu_model_get64(const uint8_t *bytes);
void viommu_model_put16(uint8_t *bytes, uint16_t value);
void viommu_model_put32(uint8_t *bytes, uint32_t value);
void viommu_model_put64(uint8_t *bytes, uint64_t value);

void viommu_model_violate(struct viommu_model *model, const char *format, ...)
    VIOMMU_MODEL_PRINTF(2, 3);

/* What all transports have. */
void viommu_model_transport_init(struct viommu_model *model);
void viommu_model_transport_reset(struct viommu_model *model);
void viommu_model_transport_destroy(struct viommu_model *model);
uint32_t viommu_model_all_ones(unsigned int width);
bool viommu_model_misbehaves(const struct viommu_model *model, enum viommu_model_misbehaviour what);
uint64_t viommu_model_argument_of(const struct viommu_model *model,
                                  enum viommu_model_misbehaviour what);
/* The argument of a misbehaviour that is on, else the truth. */
uint32_t viommu_model_lie_or(const struct viommu_model *model, enum viommu_model_misbehaviour what,
                             uint32_t truth);
/* Whether a misbehaviour applies to the event that is happening now; counts down. */
bool viommu_model_strikes(struct viommu_model *model, enum viommu_model_misbehaviour what);
void viommu_model_raise_interrupt(struct viommu_model *model, unsigned int source);
void viommu_model_need_reset(struct viommu_model *model);
uint8_t viommu_model_read_status(struct viommu_model *model);
void viommu_model_write_status(struct viommu_model *model, uint8_t value);
/* The halves that the driver has selected. */
uint32_t viommu_model_read_features(struct viommu_model *model);
void viommu_model_write_features(struct viommu_model *model, uint32_t value);
uint32_t viommu_model_read_generation(struct viommu_model *model);
/* The low half of a value if the offset is a multiple of 8, else the high one. */
uint32_t viommu_model_half(uint64_t value, uint64_t offset);
void viommu_model_set_half(uint64_t *value, uint64_t offset, uint32_t part);
uint16_t viommu_model_offered_size(const struct viommu_model *model, unsigned int number);
/* The selected queue, if its registers may be written now; else NULL, and that is recorded. */
struct model_queue *viommu_model_queue_to_set(struct viommu_model *model, uint64_t offset);
void viommu_model_set_queue_size(struct viommu_model *model, struct model_queue *queue,
                                 uint32_t value);
void viommu_model_enable_queue(struct viommu_model *model, struct model_queue *queue);
/* What queue_enable or QueueReady reads as. */
uint32_t viommu_model_queue_ready(const struct viommu_model *model,
                                  const struct model_queue *queue);
/* Whether the device may touch memory. */
bool viommu_model_is_master(const struct viommu_model *model);

/* virtio-pci. */
void viommu_model_pci_init(struct viommu_model *model);
void viommu_model_build_capabilities(struct viommu_model *model);
bool viommu_model_bus_master_is_on(const struct viommu_model *model);
bool viommu_model_intx_is_on(const struct viommu_model *model);
uint32_t viommu_model_bar_read(struct viommu_model *model, uint64_t offset, unsigned int width);
void viommu_model_bar_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                            uint32_t value);

/* MSI-X. */
bool viommu_model_msix_is_on(const struct viommu_model *model);
void viommu_model_msix_init(struct viommu_model *model);
void viommu_model_send_message(struct viommu_model *model, unsigned int source);
void viommu_model_reset_vectors(struct viommu_model *model);
uint32_t viommu_model_read_vector(struct viommu_model *model, unsigned int source);
void viommu_model_write_vector(struct viommu_model *model, unsigned int source, uint32_t value);
/* At DRIVER_OK: whether the driver knows which vectors it got. */
void viommu_model_check_vectors(struct viommu_model *model);
/* Whether something of MSI-X is there in the BAR. */
bool viommu_model_msix_has(const struct viommu_model *model, uint64_t offset);
uint32_t viommu_model_msix_read(struct viommu_model *model, uint64_t offset, unsigned int width);
void viommu_model_msix_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                             uint32_t value);
void viommu_model_put_msix_capability(const struct viommu_model *model, uint8_t *bytes);
void viommu_model_write_msix_control(struct viommu_model *model, uint16_t value);

/* virtio-mmio. */
uint32_t viommu_model_registers_read(struct viommu_model *model, uint64_t offset,
                                     unsigned int width);
void viommu_model_registers_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                                  uint32_t value);

/* Chains. Fetches the next one of a queue; returns NULL, or what is wrong with it. */
const char *viommu_model_fetch_chain(struct viommu_model *model, struct model_queue *queue,
                                     struct model_chain *chain);
void viommu_model_release_chain(const struct viommu_model *model, struct model_queue *queue,
                                const struct model_chain *chain);
bool viommu_model_read_request(struct viommu_model *model, const struct model_chain *chain,
                               uint8_t *bytes, size_t *length);
bool viommu_model_write_buffer(struct viommu_model *model, const struct model_chain *chain,
                               size_t offset, const uint8_t *bytes, size_t size);
void viommu_model_check_untouched(struct viommu_model *model, const struct model_queue *queue,
                                  const struct model_pending *pending);
void viommu_model_scribble(struct viommu_model *model, struct model_queue *queue,
                           struct model_chain *chain);
/* The ring alone, but no indirect table. */
void viommu_model_scribble_slots(struct viommu_model *model, struct model_queue *queue,
                                 struct model_chain *chain);
bool viommu_model_read_word(struct viommu_model *model, uint64_t physical, uint16_t *value);
bool viommu_model_write_memory(struct viommu_model *model, uint64_t physical, const void *buffer,
                               size_t size);

/* What packed rings have of their own. */
bool viommu_model_is_packed(const struct viommu_model *model);
uint16_t viommu_model_packed_slot(const struct model_queue *queue, uint64_t place);
/* Whether flags in a place make the descriptor there the device's. */
bool viommu_model_packed_is_available(const struct model_queue *queue, uint64_t place,
                                      uint16_t flags);
/* An offset and a wrap counter, as they are in event suppression structures. */
uint16_t viommu_model_packed_event_at(const struct model_queue *queue, uint64_t place);
/* Whether such an event is among the places from `first` to before `end`. */
bool viommu_model_packed_event_is_in(const struct model_queue *queue, uint16_t event,
                                     uint64_t first, uint64_t end);
bool viommu_model_packed_read_available(struct viommu_model *model, const struct model_queue *queue,
                                        struct model_available *available);
/* Records a descriptor that the driver has changed and that is not available. */
void viommu_model_packed_check_wrap(struct viommu_model *model, unsigned int number);
/* Writes a used entry, and gives the driver as many descriptors. Shown by _publish. */
void viommu_model_packed_write_used(struct viommu_model *model, struct model_queue *queue,
                                    uint16_t id, uint32_t length, size_t descriptors);
/* Flags so many descriptors as used that nobody has made available. */
void viommu_model_packed_jump(struct viommu_model *model, struct model_queue *queue,
                              uint64_t descriptors);
void viommu_model_packed_publish(struct viommu_model *model, struct model_queue *queue);

/* Notifications. Whether the driver has to ring when so much is available. */
bool viommu_model_wants_doorbell(const struct viommu_model *model, const struct model_queue *queue,
                                 const struct model_available *available);
void viommu_model_ask_for_doorbells(struct viommu_model *model, unsigned int number);
void viommu_model_count_missing_doorbell(struct viommu_model *model, unsigned int number,
                                         const struct model_available *available);
/* Records what cannot be what the driver wants. false: it is not in memory. */
bool viommu_model_check_interrupt_wish(struct viommu_model *model, unsigned int number);
/* Shows the driver the used entries that were written, and interrupts it if it wants that. */
void viommu_model_publish_used(struct viommu_model *model, struct model_queue *queue);

/* The rings. */
void viommu_model_queue_started(struct viommu_model *model, unsigned int number);
void viommu_model_reset_queue(struct model_queue *queue);
void viommu_model_start_storm(struct viommu_model *model, const uint8_t *event, uint64_t count);
void viommu_model_doorbell(struct viommu_model *model, unsigned int number);
/* Delivers, holds or drops a report. */
bool viommu_model_send_event(struct viommu_model *model, const uint8_t *bytes, size_t size,
                             uint32_t length, bool may_hold);

/* The device half. Whether a feature was offered, or accepted. */
bool viommu_model_offers(const struct viommu_model *model, uint64_t feature);
bool viommu_model_accepted(const struct viommu_model *model, uint64_t feature);
void viommu_model_forget_unattached_identity(struct viommu_model *model);
uint32_t viommu_model_device_read(struct viommu_model *model, uint64_t offset, unsigned int width);
void viommu_model_device_write(struct viommu_model *model, uint64_t offset, unsigned int width,
                               uint32_t value);
void viommu_model_device_reset(struct viommu_model *model);
/* Understands and performs a request: fills in decoded, status, answer. */
void viommu_model_perform(struct viommu_model *model, struct model_pending *pending);
/* Whatever the request took away is now unreachable. */
void viommu_model_completed(struct viommu_model *model, const struct model_pending *pending);

#endif
