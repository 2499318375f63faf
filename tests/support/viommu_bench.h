/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_BENCH_H
#define VIOMMU_BENCH_H

/**
 * @file viommu_bench.h
 * The engine of a virtio-iommu over the core with mock units, software endpoints, and a guest whose
 * driver writes the rings by hand. After each request that was answered everything is compared
 * with a model of the guest's domains: what each device reaches, what the core says that it has
 * mapped, what each software endpoint was told, and what it translates.
 */

#include <piommu/viommu.h>

#include "core_bench.h"
#include "ring_guest.h"
#include "viommu_guest_model.h"

#define ENGINE_SLOTS      16u
#define ENGINE_RING       256u
#define ENGINE_EVENTS     128u
#define ENGINE_EVENT_SIZE 24u
#define ENGINE_PROBE_SIZE 96u
#define ENGINE_POISON     0xeeu
#define ENGINE_WINDOWS    4u

/** Memory of the guest, for its devices; the end of it can only be read. */
#define ENGINE_MEMORY 0x40000000ull
#define ENGINE_ROM    0x3ff00000ull
/** Registers behind it, which only a mapping with MMIO may reach. */
#define ENGINE_REGISTERS     ENGINE_MEMORY
#define ENGINE_REGISTERS_END (ENGINE_REGISTERS + 0x100000)
/** What is bypassed reaches memory below this. */
#define ENGINE_BYPASSED 0x200000ull

/** What the guest knows the nth device, and the nth software endpoint, by. */
#define ENGINE_DEVICE(number)   (0x10u + (number))
#define ENGINE_SOFTWARE(number) (0x80u + (number))

struct engine_options {
    struct core_case core;
    unsigned int devices;
    unsigned int software;
    uint64_t fragment; /**< pages of guest memory that are contiguous; 0: 16 */
    bool bypass;
    bool starts_bypassed;
    bool write_only;           /**< hardware can express it */
    core_adjust *adjust_units; /**< else what the units say of themselves; may be NULL */
    uint64_t refused;          /**< features that the driver does not accept */
    void (*adjust)(struct piommu_viommu_config *config);
};

enum engine_framing {
    ENGINE_IN_TWO,   /**< one piece to read, one to write */
    ENGINE_IN_BYTES, /**< each byte is a piece */
    ENGINE_UNEVEN,   /**< of seven bytes and less */
};

struct engine_request {
    uint8_t bytes[128];
    uint32_t readable;
    uint32_t writable;
};

struct engine_bench;

/** What a software endpoint was told. */
struct engine_told {
    struct piommu_range iova;
    uint64_t guest;
    piommu_prot prot;
};

struct engine_endpoint {
    struct engine_bench *bench;
    uint32_t id;
    struct piommu_device *device; /**< NULL: a software endpoint */
    uint32_t hardware_id;
    struct piommu_viommu_endpoint *endpoint; /**< NULL: not added */
    struct engine_told *told;
    unsigned int told_count;
};

struct engine_answer {
    unsigned int slot;
    uint32_t length;
    enum viommu_status status;
};

struct engine_bench {
    struct engine_options options;
    struct core_bench *core;
    struct guest *guest;
    struct piommu_device_ring *events;
    struct piommu_viommu *viommu;
    struct guest_model *model;
    struct piommu_domain *bypass;
    bool bypassed; /**< what the configuration should say */
    struct engine_endpoint endpoints[MODEL_ENDPOINTS];
    struct piommu_range windows[ENGINE_WINDOWS];
    unsigned int window_count;
    uint32_t budget;
    enum engine_framing framing;
    /** Things were made to fail: what is answered is not judged. */
    bool unjudged;
    /* The driver's end of the rings. */
    uint16_t posted;
    uint16_t next_descriptor;
    uint16_t answered;
    unsigned int slots[ENGINE_RING]; /**< by head */
    struct engine_request requests[ENGINE_SLOTS];
    uint16_t events_posted;
    uint16_t events_taken;
    /* What the engine has called. */
    unsigned int translations;
    unsigned int fail_translation; /**< the nth from now on fails */
    struct piommu_segment lie;     /**< what translate says, if its size is not 0 */
    unsigned int completions[2];
    unsigned int needed_resets;
    bool ring_gone[2];     /**< by queue */
    unsigned int services; /**< calls of the last engine_service */
    void (*on_completed)(struct engine_bench *bench);
};

struct engine_bench *engine_open(const struct engine_options *options);
/** Destroys the engine, which has to work, and all else. */
void engine_close(struct engine_bench *bench);
/** Starts the rings from their beginning, and the engine. */
void engine_start(struct engine_bench *bench);
/** Resets the device, services to the end, and starts it again; checks. */
void engine_reset(struct engine_bench *bench);
/** Adds the endpoint of a number below MODEL_ENDPOINTS, as it was configured, and removes it. */
void engine_add(struct engine_bench *bench, unsigned int number);
int engine_remove(struct engine_bench *bench, unsigned int number);
/** Gives the endpoint that is not added a region that cannot be mapped. */
int engine_add_with(struct engine_bench *bench, unsigned int number,
                    const struct piommu_reserved_region *regions, size_t count);
/** Saves the state, after what is half done was done. To be freed. */
void *engine_save(struct engine_bench *bench, size_t *size);
/** Puts another engine, with the same endpoints, in the place of the one that there is. */
void engine_renew(struct engine_bench *bench);
/** Both, and restores the state. */
void engine_migrate(struct engine_bench *bench);
/** Pages that are compared; the first ones are the first of all. */
void engine_window(struct engine_bench *bench, uint64_t first, uint64_t size);
void engine_write_bypass(struct engine_bench *bench, uint8_t value);

struct engine_request engine_attach_request(uint32_t domain, uint32_t endpoint, uint32_t flags);
struct engine_request engine_detach_request(uint32_t domain, uint32_t endpoint);
struct engine_request engine_map_request(uint32_t domain, uint64_t first, uint64_t last,
                                         uint64_t guest, uint32_t flags);
struct engine_request engine_unmap_request(uint32_t domain, uint64_t first, uint64_t last);
struct engine_request engine_probe_request(uint32_t endpoint);
void engine_put(struct engine_request *request, unsigned int offset, uint64_t value,
                unsigned int size);

/** Makes a request available; returns its slot. */
unsigned int engine_post(struct engine_bench *bench, const struct engine_request *request);
uint64_t engine_readable(unsigned int slot);
uint64_t engine_writable(unsigned int slot);
/** Services until there is nothing more to do. */
void engine_service(struct engine_bench *bench);
/** The next answer, which the model takes over, if it was OK. False: there is none. */
bool engine_answer(struct engine_bench *bench, struct engine_answer *answer);
/** Posts a request, services, and checks all. */
enum viommu_status engine_ask(struct engine_bench *bench, const struct engine_request *request);
/** The same with the usual requests. */
enum viommu_status engine_attach(struct engine_bench *bench, uint32_t domain, uint32_t endpoint,
                                 uint32_t flags);
enum viommu_status engine_detach(struct engine_bench *bench, uint32_t domain, uint32_t endpoint);
enum viommu_status engine_map(struct engine_bench *bench, uint32_t domain, uint64_t first,
                              uint64_t last, uint64_t guest, uint32_t flags);
enum viommu_status engine_unmap(struct engine_bench *bench, uint32_t domain, uint64_t first,
                                uint64_t last);

/** Makes a buffer for an event available. */
void engine_post_event(struct engine_bench *bench, uint32_t size);
/** The bytes of the next one that was given back, and its length in *length; NULL: none was. */
const uint8_t *engine_event(struct engine_bench *bench, uint32_t *length);

/** Where memory of the guest is. */
uint64_t engine_machine(const struct engine_bench *bench, uint64_t guest);
struct piommu_viommu_statistics engine_statistics(const struct engine_bench *bench);
/** What endpoints reach is as the model says; what is counted may be on its way there. */
void engine_check_reach(struct engine_bench *bench);
/** Everything is as the model says. */
void engine_check(struct engine_bench *bench);

/** Entries for cmocka: a test over each kind of hardware. */
#define ENGINE_TEST(function, label, number)                       \
    {                                                              \
#function label, function, NULL, NULL, &core_cases[number] \
    }
#define ENGINE_FOR_EACH_KIND(function) \
    ENGINE_TEST(function, " (tables)", 0), ENGINE_TEST(function, " (requests)", 2)

#endif
