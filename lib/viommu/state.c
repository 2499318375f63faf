/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The state of the engine, as bytes. What is read is carried out as requests: so the rules for
 * these are all that is needed against bytes that lie.
 */

#include "engine.h"

#define MAGIC   0x656e696765766970ull /* "pivegine" */
#define VERSION 1u

/* What has to be the same where it is restored. */
static void describe(const struct piommu_viommu *viommu, struct blob *blob)
{
    const struct piommu_viommu_config *config = &viommu->config;

    blob_same(blob, MAGIC);
    blob_same(blob, VERSION);
    blob_same(blob, config->page_sizes);
    blob_same(blob, config->input.first);
    blob_same(blob, config->input.last);
    blob_same(blob, config->last_domain);
    blob_same(blob, config->probe_size);
    blob_same(blob, viommu->offered);
}

static void reports(struct piommu_viommu *viommu, struct blob *blob)
{
    unsigned long state = piommu_host_lock(viommu->host, viommu->lock);

    if (blob_is_read(blob)) {
        viommu->first_fault = 0;
    }
    blob_32(blob, &viommu->fault_count);
    if (viommu->fault_count > FAULTS_KEPT) {
        viommu->fault_count = 0;
        blob_refuse(blob);
    }
    for (uint32_t i = 0; i < viommu->fault_count; i++) {
        struct report *report = &viommu->faults[(viommu->first_fault + i) % FAULTS_KEPT];

        for (size_t j = 0; j < sizeof(report->bytes); j++) {
            blob_byte(blob, &report->bytes[j]);
        }
    }
    piommu_host_unlock(viommu->host, viommu->lock, state);
}

/* What is left to do of a request: to tell its answer. */
static void answer(struct piommu_viommu *viommu, struct blob *blob)
{
    struct request *request = &viommu->request;
    bool waits = request->stage == STAGE_ANSWER && !request->unheard;
    uint16_t head = request->head;
    uint8_t status = (uint8_t)request->status;

    blob_flag(blob, &waits);
    if (!waits) {
        return;
    }
    blob_16(blob, &head);
    blob_byte(blob, &status);
    blob_check(blob, status <= STATUS_NOMEM);
    if (blob_is_read(blob) && !blob->refused) {
        *request =
            (struct request){.stage = STAGE_ANSWER, .head = head, .status = (enum status)status};
    }
}

/* ---- Writing ---- */

static void write_mappings(const struct guest_domain *domain, struct blob *blob)
{
    struct range_node *first = piommu_range_tree_from_(&domain->mappings, 0);
    uint32_t count = 0;

    for (struct range_node *node = first; node != NULL; node = piommu_range_tree_next_(node)) {
        count++;
    }
    blob_32(blob, &count);
    for (struct range_node *node = first; node != NULL; node = piommu_range_tree_next_(node)) {
        struct mapping *mapping = RANGE_TREE_ENTRY(node, struct mapping, node);
        uint32_t flags = piommu_viommu_map_flags_(mapping->prot);

        blob_64(blob, &node->first);
        blob_64(blob, &node->last);
        blob_64(blob, &mapping->guest);
        blob_32(blob, &flags);
    }
}

static void write_endpoints(const struct guest_domain *domain, struct blob *blob)
{
    uint32_t count = 0;

    for (const struct piommu_viommu_endpoint *endpoint = domain->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        count++;
    }
    blob_32(blob, &count);
    for (const struct piommu_viommu_endpoint *endpoint = domain->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        uint32_t id = (uint32_t)endpoint->node.first;

        blob_32(blob, &id);
    }
}

static void write_domains(const struct piommu_viommu *viommu, struct blob *blob)
{
    struct range_node *first = piommu_range_tree_from_(&viommu->domains, 0);
    uint32_t count = 0;

    for (struct range_node *node = first; node != NULL; node = piommu_range_tree_next_(node)) {
        count++;
    }
    blob_32(blob, &count);
    for (struct range_node *node = first; node != NULL; node = piommu_range_tree_next_(node)) {
        struct guest_domain *domain = RANGE_TREE_ENTRY(node, struct guest_domain, node);
        uint32_t id = (uint32_t)node->first;

        blob_32(blob, &id);
        blob_flag(blob, &domain->bypass);
        write_endpoints(domain, blob);
        write_mappings(domain, blob);
    }
}

int piommu_viommu_save(struct piommu_viommu *viommu, void *buffer, size_t room, size_t *size)
{
    struct blob blob = blob_for_writing(buffer, room);

    if (viommu == NULL || size == NULL) {
        return -PIOMMU_EINVAL;
    }
    if (piommu_viommu_is_half_done_(viommu)) {
        return -PIOMMU_EAGAIN;
    }
    describe(viommu, &blob);
    blob_64(&blob, &viommu->features);
    blob_flag(&blob, &viommu->is_started);
    blob_flag(&blob, &viommu->is_bypassed);
    write_domains(viommu, &blob);
    reports(viommu, &blob);
    answer(viommu, &blob);
    *size = blob.at;
    return blob.at <= blob.size ? 0 : -PIOMMU_ENOSPC;
}

/* ---- Reading ---- */

static int error_of(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return 0;
    case STATUS_NOMEM:
        return -PIOMMU_ENOMEM;
    case STATUS_UNSUPP:
        return -PIOMMU_EOPNOTSUPP;
    case STATUS_DEVERR:
    case STATUS_IOERR:
        return -PIOMMU_EFAILED;
    default:
        return -PIOMMU_EINVAL;
    }
}

/*
 * What is left to be read is in the engine, not on the stack, which what is done with it needs. For
 * the same reason these are not inlined.
 */
static NEVER_INLINE uint32_t read_32(struct piommu_viommu *viommu)
{
    uint32_t value = 0;

    blob_32(&viommu->blob, &value);
    return value;
}

static NEVER_INLINE uint64_t read_64(struct piommu_viommu *viommu)
{
    uint64_t value = 0;

    blob_64(&viommu->blob, &value);
    return value;
}

static NEVER_INLINE bool read_flag(struct piommu_viommu *viommu)
{
    bool value = false;

    blob_flag(&viommu->blob, &value);
    return value;
}

/*
 * What a guest would ask for, without the type that nobody looks at, and the beginning of it. What
 * cannot be read is refused.
 */
static NEVER_INLINE enum status begin_attach(struct piommu_viommu *viommu, uint32_t id, bool bypass)
{
    uint8_t *bytes = viommu->bytes;

    memset(bytes, 0, ATTACH_BYTES);
    piommu_put_le32(bytes + 4, id);
    piommu_put_le32(bytes + 8, read_32(viommu));
    piommu_put_le32(bytes + 12, bypass ? ATTACH_BYPASS : 0);
    return viommu->blob.refused ? STATUS_INVAL : piommu_viommu_begin_attach_(viommu, bytes);
}

static NEVER_INLINE enum status begin_map(struct piommu_viommu *viommu, uint32_t id)
{
    uint8_t *bytes = viommu->bytes;

    memset(bytes, 0, MAP_BYTES);
    for (unsigned int i = 8; i < 32; i += 8) {
        piommu_put_le64(bytes + i, read_64(viommu));
    }
    piommu_put_le32(bytes + 4, id);
    piommu_put_le32(bytes + 32, read_32(viommu));
    return viommu->blob.refused ? STATUS_INVAL : piommu_viommu_begin_map_(viommu, bytes);
}

static int read_domain(struct piommu_viommu *viommu)
{
    uint32_t id = read_32(viommu);
    bool bypass = read_flag(viommu);
    uint32_t count = read_32(viommu);
    int error = 0;

    for (; count != 0 && error == 0; count--) {
        piommu_viommu_open_unheard_(viommu);
        error = error_of(piommu_viommu_complete_unheard_(viommu, begin_attach(viommu, id, bypass)));
    }
    count = read_32(viommu);
    for (; count != 0 && error == 0; count--) {
        piommu_viommu_open_unheard_(viommu);
        error = error_of(piommu_viommu_complete_unheard_(viommu, begin_map(viommu, id)));
    }
    /* Whatever a count says, the bytes end. */
    return viommu->blob.refused ? -PIOMMU_EINVAL : error;
}

/* All up to the domains; whether the device is running is told. */
static NEVER_INLINE int read_beginning(struct piommu_viommu *viommu, bool *is_started)
{
    struct blob *blob = &viommu->blob;

    describe(viommu, blob);
    blob_64(blob, &viommu->features);
    blob_check(blob, (viommu->features & ~viommu->offered) == 0);
    blob_flag(blob, is_started);
    blob_flag(blob, &viommu->is_bypassed);
    blob_check(blob, !viommu->is_bypassed || viommu->config.bypass != NULL);
    return blob->refused ? -PIOMMU_EINVAL : 0;
}

static APART_IF_SHALLOW int read_state(struct piommu_viommu *viommu)
{
    bool is_started = false;
    int error = read_beginning(viommu, &is_started);

    if (error == 0) {
        error = piommu_viommu_park_all_(viommu) != 0 ? -PIOMMU_EFAILED : 0;
    }
    for (uint32_t count = read_32(viommu); count != 0 && error == 0; count--) {
        error = read_domain(viommu);
    }
    if (error != 0) {
        return error;
    }
    reports(viommu, &viommu->blob);
    answer(viommu, &viommu->blob);
    viommu->is_started = is_started;
    return blob_is_right(&viommu->blob) ? 0 : -PIOMMU_EINVAL;
}

static NEVER_INLINE void begin_reading(struct piommu_viommu *viommu, const void *buffer,
                                       size_t size)
{
    viommu->blob = blob_for_reading(buffer, size);
}

/* Back to where nothing has happened. */
static void start_over(struct piommu_viommu *viommu)
{
    uint32_t budget = UINT32_MAX;

    piommu_viommu_system_reset(viommu);
    while (!piommu_viommu_clean_up_(viommu, &budget)) {
        budget = UINT32_MAX;
    }
}

int piommu_viommu_restore(struct piommu_viommu *viommu, const void *buffer, size_t size)
{
    int error;

    if (viommu == NULL || buffer == NULL) {
        return -PIOMMU_EINVAL;
    }
    start_over(viommu);
    begin_reading(viommu, buffer, size);
    error = read_state(viommu);
    /* The buffer is the caller's again. */
    begin_reading(viommu, NULL, 0);
    if (error != 0) {
        start_over(viommu);
    }
    return error;
}
