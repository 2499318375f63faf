/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The engine: its life, its configuration, and what is done next. */

#include "engine.h"

#define DEFAULT_PAGE_SIZES   0x40201000u
#define DEFAULT_MAX_DOMAINS  64u
#define DEFAULT_MAX_MAPPINGS 65536u
#define DEFAULT_PROBE_SIZE   512u
#define MOST_PROBE_SIZE      4096u
#define CONFIG_BYPASS        36u

void *piommu_viommu_alloc_(struct piommu_viommu *viommu, size_t size)
{
    void *object;

    if (viommu->config.max_bytes != 0 &&
        viommu->statistics.bytes + size > viommu->config.max_bytes) {
        return NULL;
    }
    object = piommu_host_alloc_(viommu->host, size);
    viommu->statistics.bytes += object != NULL ? size : 0;
    return object;
}

void piommu_viommu_free_(struct piommu_viommu *viommu, void *object, size_t size)
{
    viommu->statistics.bytes -= size;
    piommu_host_free_(viommu->host, object, size);
}

enum status piommu_viommu_status_of_(int error)
{
    switch (error) {
    case 0:
        return STATUS_OK;
    case -PIOMMU_ENOMEM:
    case -PIOMMU_ENOSPC:
        return STATUS_NOMEM;
    case -PIOMMU_ERANGE:
        return STATUS_RANGE;
    case -PIOMMU_EEXIST:
    case -PIOMMU_ERESERVED:
    case -PIOMMU_EINVAL:
        return STATUS_INVAL;
    case -PIOMMU_EMIXED:
    case -PIOMMU_EGROUP:
    case -PIOMMU_EWAITING:
    case -PIOMMU_EOPNOTSUPP:
        return STATUS_UNSUPP;
    default:
        return STATUS_DEVERR;
    }
}

struct piommu_device_ring *piommu_viommu_ring_(const struct piommu_viommu *viommu,
                                               unsigned int queue)
{
    return viommu->is_started ? viommu->config.callbacks.ring(viommu->config.cookie, queue) : NULL;
}

void piommu_viommu_break_(struct piommu_viommu *viommu)
{
    viommu->is_started = false;
    /* Nobody will go on with it: an endpoint can be removed before the reset, too. */
    piommu_viommu_abandon_(viommu);
    viommu->config.callbacks.needs_reset(viommu->config.cookie);
}

static void set_defaults(struct piommu_viommu_config *config)
{
    config->page_sizes = config->page_sizes != 0 ? config->page_sizes : DEFAULT_PAGE_SIZES;
    if (config->input.first == 0 && config->input.last == 0) {
        config->input.last = UINT64_MAX;
    }
    config->last_domain = config->last_domain != 0 ? config->last_domain : UINT32_MAX;
    config->max_domains = config->max_domains != 0 ? config->max_domains : DEFAULT_MAX_DOMAINS;
    config->max_mappings = config->max_mappings != 0 ? config->max_mappings : DEFAULT_MAX_MAPPINGS;
    config->probe_size = config->probe_size != 0 ? config->probe_size : DEFAULT_PROBE_SIZE;
}

static uint64_t features_of(const struct piommu_viommu_config *config)
{
    uint64_t features = PIOMMU_VIOMMU_F_MAP_UNMAP | PIOMMU_VIOMMU_F_PROBE | PIOMMU_VIOMMU_F_MMIO;

    if (config->input.first != 0 || config->input.last != UINT64_MAX) {
        features |= PIOMMU_VIOMMU_F_INPUT_RANGE;
    }
    if (config->last_domain != UINT32_MAX) {
        features |= PIOMMU_VIOMMU_F_DOMAIN_RANGE;
    }
    return config->bypass != NULL ? features | PIOMMU_VIOMMU_F_BYPASS_CONFIG : features;
}

static void free_engine(struct piommu_viommu *viommu)
{
    if (viommu->lock != NULL) {
        viommu->host.os->lock_destroy(viommu->host.ctx, viommu->lock);
    }
    piommu_host_free_(viommu->host, viommu->properties, viommu->config.probe_size);
    piommu_host_free_(viommu->host, viommu, sizeof(*viommu));
}

int piommu_viommu_create(struct piommu_host host, const struct piommu_viommu_config *config,
                         struct piommu_viommu **result)
{
    struct piommu_viommu *viommu;
    int error;

    if (config == NULL || result == NULL || config->callbacks.translate == NULL ||
        config->callbacks.completed == NULL || config->callbacks.needs_reset == NULL ||
        config->callbacks.ring == NULL || config->input.first > config->input.last ||
        config->probe_size > MOST_PROBE_SIZE ||
        (config->starts_bypassed && config->bypass == NULL)) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_host_check_(host, PIOMMU_OS_NEED_LOCK);
    if (error != 0) {
        return error;
    }
    viommu = piommu_host_alloc_(host, sizeof(*viommu));
    if (viommu == NULL) {
        return -PIOMMU_ENOMEM;
    }
    viommu->host = host;
    viommu->config = *config;
    set_defaults(&viommu->config);
    viommu->granule_mask = (viommu->config.page_sizes & (~viommu->config.page_sizes + 1)) - 1;
    viommu->offered = features_of(&viommu->config);
    viommu->core_config.type = PIOMMU_DOMAIN_PAGING;
    viommu->core_config.instances = &viommu->core_instance;
    viommu->core_config.instance_count = 1;
    viommu->core_config.name = viommu->config.name;
    viommu->core_config.owner = viommu->config.owner;
    viommu->is_bypassed = config->starts_bypassed;
    viommu->properties = piommu_host_alloc_(host, viommu->config.probe_size);
    viommu->lock = host.os->lock_create(host.ctx);
    if (viommu->properties == NULL || viommu->lock == NULL) {
        free_engine(viommu);
        return -PIOMMU_ENOMEM;
    }
    *result = viommu;
    return 0;
}

static struct piommu_viommu_endpoint *first_endpoint(const struct piommu_viommu *viommu)
{
    struct range_node *node = piommu_range_tree_from_(&viommu->endpoints, 0);

    return node != NULL ? RANGE_TREE_ENTRY(node, struct piommu_viommu_endpoint, node) : NULL;
}

int piommu_viommu_destroy(struct piommu_viommu *viommu)
{
    struct piommu_viommu_endpoint *endpoint;
    int error = 0;

    if (viommu == NULL) {
        return 0;
    }
    viommu->is_started = false;
    piommu_viommu_abandon_(viommu);
    while ((endpoint = first_endpoint(viommu)) != NULL) {
        error = piommu_viommu_remove_endpoint(endpoint);
        if (error != 0) {
            return error;
        }
    }
    for (bool done = false; !done;) {
        uint32_t budget = UINT32_MAX;

        done = piommu_viommu_clean_up_(viommu, &budget);
    }
    error = piommu_viommu_drop_stuck_(viommu);
    if (error != 0) {
        return error;
    }
    free_engine(viommu);
    return 0;
}

uint64_t piommu_viommu_features(const struct piommu_viommu *viommu)
{
    return viommu != NULL ? viommu->offered : 0;
}

void piommu_viommu_start(struct piommu_viommu *viommu, uint64_t features)
{
    if (viommu != NULL) {
        viommu->features = features & viommu->offered;
        viommu->is_started = true;
    }
}

void piommu_viommu_queue_stopped(struct piommu_viommu *viommu, unsigned int queue)
{
    if (viommu != NULL && queue == PIOMMU_VIOMMU_REQUESTS) {
        viommu->request.unheard = true;
    }
}

/* ---- Reset ---- */

void piommu_viommu_reset(struct piommu_viommu *viommu)
{
    if (viommu == NULL) {
        return;
    }
    viommu->is_started = false;
    viommu->features = 0;
    piommu_viommu_abandon_(viommu);
    for (struct range_node *node = piommu_range_tree_from_(&viommu->endpoints, 0); node != NULL;
         node = piommu_range_tree_next_(node)) {
        struct piommu_viommu_endpoint *endpoint =
            RANGE_TREE_ENTRY(node, struct piommu_viommu_endpoint, node);

        if (endpoint->domain != NULL) {
            (void)piommu_viommu_park_(endpoint); /* what fails is blocked, or the core's affair */
            piommu_viommu_leave_(endpoint);
        }
    }
    piommu_viommu_forget_faults_(viommu);
}

/* A guest whose devices are not where it has put them must not go on. */
static void park_all_or_break(struct piommu_viommu *viommu)
{
    if (piommu_viommu_park_all_(viommu) != 0) {
        piommu_viommu_break_(viommu);
    }
}

void piommu_viommu_system_reset(struct piommu_viommu *viommu)
{
    if (viommu != NULL) {
        viommu->is_bypassed = viommu->config.starts_bypassed;
        park_all_or_break(viommu);
        piommu_viommu_reset(viommu);
    }
}

/* ---- Configuration ---- */

/* Source: VIRTIO 1.2, section 5.13.4 "Device configuration layout". */
static void make_config(const struct piommu_viommu *viommu, uint8_t *bytes)
{
    const struct piommu_viommu_config *config = &viommu->config;

    memset(bytes, 0, PIOMMU_VIOMMU_CONFIG_SIZE);
    piommu_put_le64(bytes, config->page_sizes);
    piommu_put_le64(bytes + 8, config->input.first);
    piommu_put_le64(bytes + 16, config->input.last);
    piommu_put_le32(bytes + 28, config->last_domain);
    piommu_put_le32(bytes + 32, config->probe_size);
    bytes[CONFIG_BYPASS] = viommu->is_bypassed;
}

void piommu_viommu_read_config(const struct piommu_viommu *viommu, uint32_t offset, void *buffer,
                               size_t size)
{
    uint8_t bytes[PIOMMU_VIOMMU_CONFIG_SIZE];

    if (viommu == NULL || buffer == NULL) {
        return;
    }
    make_config(viommu, bytes);
    memset(buffer, 0, size);
    if (offset < sizeof(bytes)) {
        size_t left = sizeof(bytes) - offset;

        memcpy(buffer, bytes + offset, size < left ? size : left);
    }
}

void piommu_viommu_write_config(struct piommu_viommu *viommu, uint32_t offset, const void *buffer,
                                size_t size)
{
    const uint8_t *bytes = buffer;
    bool bypassed;

    if (viommu == NULL || buffer == NULL || offset > CONFIG_BYPASS ||
        size <= CONFIG_BYPASS - offset || viommu->config.bypass == NULL) {
        return;
    }
    bypassed = (bytes[CONFIG_BYPASS - offset] & 1) != 0;
    if (bypassed != viommu->is_bypassed) {
        viommu->is_bypassed = bypassed;
        park_all_or_break(viommu);
    }
}

/* ---- Work ---- */

static bool work(struct piommu_viommu *viommu, uint32_t budget)
{
    while (budget != 0) {
        if (!piommu_viommu_clean_up_(viommu, &budget) || budget == 0) {
            return true;
        }
        if (!viommu->is_started) {
            return false;
        }
        if (viommu->request.stage == STAGE_ANSWER) {
            if (!piommu_viommu_tell_answer_(viommu)) {
                return false;
            }
        } else if (viommu->request.stage != STAGE_NONE) {
            piommu_viommu_advance_(viommu, &budget);
        } else {
            piommu_viommu_deliver_(viommu, &budget);
            if (!viommu->is_started || (budget != 0 && !piommu_viommu_take_request_(viommu))) {
                return false;
            }
            spend(&budget, 1);
        }
    }
    return true;
}

int piommu_viommu_service(struct piommu_viommu *viommu, uint32_t budget)
{
    bool more;

    if (viommu == NULL) {
        return 0;
    }
    more = work(viommu, budget != 0 ? budget : 1);
    for (unsigned int queue = 0; queue < QUEUES; queue++) {
        if (viommu->completed[queue]) {
            viommu->completed[queue] = false;
            viommu->config.callbacks.completed(viommu->config.cookie, queue);
        }
    }
    return more;
}

void piommu_viommu_get_statistics(const struct piommu_viommu *viommu,
                                  struct piommu_viommu_statistics *statistics)
{
    unsigned long state = piommu_host_lock(viommu->host, viommu->lock);

    *statistics = viommu->statistics;
    statistics->faults_dropped = viommu->faults_dropped;
    piommu_host_unlock(viommu->host, viommu->lock, state);
}
