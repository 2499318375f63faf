/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_GUEST_MODEL_H
#define VIOMMU_GUEST_MODEL_H

/**
 * @file viommu_guest_model.h
 * The domains of a guest as its requests make them: lists that are searched from their beginning.
 * Written from the specification, section 5.13. Where a request has several defects, or the
 * specification leaves a choice, a set of statuses is right.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_DOMAINS   80u
#define MODEL_ENDPOINTS 8u
#define MODEL_MAPPINGS  512u
#define MODEL_REGIONS   4u

enum viommu_type {
    VIOMMU_ATTACH = 1,
    VIOMMU_DETACH = 2,
    VIOMMU_MAP = 3,
    VIOMMU_UNMAP = 4,
    VIOMMU_PROBE = 5,
};

/** Flags of ATTACH and MAP. */
enum { VIOMMU_BYPASS = 1, VIOMMU_READ = 1, VIOMMU_WRITE = 2, VIOMMU_MMIO = 4 };

enum viommu_status {
    VIOMMU_OK = 0,
    VIOMMU_IOERR = 1,
    VIOMMU_UNSUPP = 2,
    VIOMMU_DEVERR = 3,
    VIOMMU_INVAL = 4,
    VIOMMU_RANGE = 5,
    VIOMMU_NOENT = 6,
    VIOMMU_FAULT = 7,
    VIOMMU_NOMEM = 8,
    /** Given back with nothing written. */
    VIOMMU_UNANSWERED = 9,
};

struct model_mapping {
    uint64_t first;
    uint64_t last;
    uint64_t guest;
    uint32_t flags;
};

struct model_domain {
    bool used;
    uint32_t id;
    bool bypass;
    bool had_device;
    struct model_mapping *mappings; /**< MODEL_MAPPINGS */
    unsigned int count;
};

struct model_region {
    uint64_t first;
    uint64_t last;
};

struct model_endpoint {
    bool used;
    uint32_t id;
    bool device; /**< it has hardware */
    struct model_domain *domain;
    struct model_region regions[MODEL_REGIONS];
    unsigned int region_count;
};

struct guest_model {
    uint64_t granule;
    uint64_t input_first;
    uint64_t input_last;
    uint64_t hardware_last; /**< what the units of the devices can map */
    uint32_t last_domain;
    unsigned int max_domains;
    unsigned int max_mappings;
    uint32_t probe_size;
    bool agreed_mmio;
    bool agreed_bypass;
    /** Whether a device may have this memory of the guest, for what the flags of MAP say. */
    bool (*grants)(uint64_t guest, uint64_t size, uint32_t flags);
    struct model_domain domains[MODEL_DOMAINS];
    struct model_endpoint endpoints[MODEL_ENDPOINTS];
};

struct guest_model *guest_model_create(void);
void guest_model_destroy(struct guest_model *model);
/** All endpoints leave their domains. */
void guest_model_reset(struct guest_model *model);
/** Only domains in which a device is now have had one. */
void guest_model_forget_devices(struct guest_model *model);
void guest_model_leave(struct guest_model *model, struct model_endpoint *endpoint);

/**
 * What the answer to a request may be: the sum of 1 << status over all that are right. Changes
 * nothing.
 */
uint32_t guest_model_judge(struct guest_model *model, const uint8_t *bytes, uint32_t readable,
                           uint32_t writable);
/** Does what a request asks for, which was answered with OK. */
void guest_model_apply(struct guest_model *model, const uint8_t *bytes);

struct model_domain *guest_model_domain(struct guest_model *model, uint32_t id);
struct model_endpoint *guest_model_endpoint(struct guest_model *model, uint32_t id);
/** The mapping of an address; NULL: there is none. */
const struct model_mapping *guest_model_find(const struct model_domain *domain, uint64_t iova);
unsigned int guest_model_domains(const struct guest_model *model);
unsigned int guest_model_mappings(const struct guest_model *model);

#endif
