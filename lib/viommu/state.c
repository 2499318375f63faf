/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The state of the engine, as bytes. What is read is carried out as requests: so the rules for
 * these are all that is needed against bytes that lie.
 */

#include "../base/blob.h"
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

/* What a guest would ask for; not inlined, as it needs nothing of the stack when it is done. */
static NEVER_INLINE void read_attach(uint32_t id, bool bypass, struct blob *blob, uint8_t *bytes)
{
    uint32_t endpoint = 0;

    blob_32(blob, &endpoint);
    memset(bytes, 0, REQUEST_BYTES);
    bytes[0] = REQUEST_ATTACH;
    piommu_put_le32(bytes + 4, id);
    piommu_put_le32(bytes + 8, endpoint);
    piommu_put_le32(bytes + 12, bypass ? ATTACH_BYPASS : 0);
}

static NEVER_INLINE void read_map(uint32_t id, struct blob *blob, uint8_t *bytes)
{
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t guest = 0;
    uint32_t flags = 0;

    blob_64(blob, &first);
    blob_64(blob, &last);
    blob_64(blob, &guest);
    blob_32(blob, &flags);
    memset(bytes, 0, REQUEST_BYTES);
    bytes[0] = REQUEST_MAP;
    piommu_put_le32(bytes + 4, id);
    piommu_put_le64(bytes + 8, first);
    piommu_put_le64(bytes + 16, last);
    piommu_put_le64(bytes + 24, guest);
    piommu_put_le32(bytes + 32, flags);
}

static int carry_out(struct piommu_viommu *viommu, const struct blob *blob, const uint8_t *bytes)
{
    return blob->refused ? -PIOMMU_EINVAL : error_of(piommu_viommu_carry_out_(viommu, bytes));
}

static int read_domain(struct piommu_viommu *viommu, struct blob *blob)
{
    uint8_t bytes[REQUEST_BYTES];
    uint32_t id = 0;
    bool bypass = false;
    uint32_t count = 0;
    int error = 0;

    blob_32(blob, &id);
    blob_flag(blob, &bypass);
    blob_32(blob, &count);
    for (uint32_t i = 0; i < count && error == 0; i++) {
        read_attach(id, bypass, blob, bytes);
        error = carry_out(viommu, blob, bytes);
    }
    blob_32(blob, &count);
    for (uint32_t i = 0; i < count && error == 0; i++) {
        read_map(id, blob, bytes);
        error = carry_out(viommu, blob, bytes);
    }
    /* Whatever a count says, the bytes end. */
    return blob->refused ? -PIOMMU_EINVAL : error;
}

static int read_state(struct piommu_viommu *viommu, struct blob *blob)
{
    bool is_started = false;
    uint32_t count = 0;
    int error = 0;

    describe(viommu, blob);
    blob_64(blob, &viommu->features);
    blob_check(blob, (viommu->features & ~viommu->offered) == 0);
    blob_flag(blob, &is_started);
    blob_flag(blob, &viommu->is_bypassed);
    blob_check(blob, !viommu->is_bypassed || viommu->config.bypass != NULL);
    if (blob->refused) {
        return -PIOMMU_EINVAL;
    }
    error = piommu_viommu_park_all_(viommu) != 0 ? -PIOMMU_EFAILED : 0;
    blob_32(blob, &count);
    for (uint32_t i = 0; i < count && error == 0; i++) {
        error = read_domain(viommu, blob);
    }
    if (error != 0) {
        return error;
    }
    reports(viommu, blob);
    answer(viommu, blob);
    viommu->is_started = is_started;
    return blob_is_right(blob) ? 0 : -PIOMMU_EINVAL;
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
    struct blob blob = blob_for_reading(buffer, size);
    int error;

    if (viommu == NULL || buffer == NULL) {
        return -PIOMMU_EINVAL;
    }
    start_over(viommu);
    error = read_state(viommu, &blob);
    if (error != 0) {
        start_over(viommu);
    }
    return error;
}
