/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "dma_fixture.h"

#include "core_bench.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY_SIZE (DMA_MEMORY_PAGES * DMA_PAGE)
#define LARGE_LEAF  (256 * DMA_PAGE) /* only the ends of larger ones are tried */
#define PATIENCE    200000u          /* nanoseconds of virtual time */
#define SCRIBBLE    0x11u
#define FIRST_DATA  0x80u /* all numbers from here on are no data */

#define MAY_READ  0x1u
#define MAY_WRITE 0x2u

void dma_run(void **state)
{
    static const char *const names[] = {"IPMMU", "IPMMU, disjoint", "virtio-iommu"};
    const struct dma_test *test = *state;

    for (unsigned int i = 0; i < 3; i++) {
        enum dma_kind kind = (enum dma_kind)(1u << i);

        if ((test->kinds & kind) != 0 && (kind != DMA_DISJOINT || CORE_DISJOINT_EXISTS)) {
            print_message("%s\n", names[i]);
            test->body(kind);
        }
    }
}

/* ---- Devices behind the models ---- */

static uint32_t id_of(size_t device)
{
    return DMA_FIRST_ID + (uint32_t)device;
}

bool dma_translate(struct dma_fixture *fixture, size_t device, uint64_t address, bool write,
                   uint64_t *physical)
{
    if (fixture->viommu != NULL) {
        return viommu_model_translate(fixture->viommu->model, id_of(device), address, write,
                                      physical) != VIOMMU_MODEL_BLOCKED;
    }
    return piommu_ipmmu_model_look(fixture->ipmmu->model, IPMMU_CACHE_1, id_of(device), address,
                                   write, physical) != PIOMMU_IPMMU_MODEL_BLOCKED;
}

bool dma_reaches(struct dma_fixture *fixture, size_t device, uint64_t address, bool write)
{
    uint64_t physical;

    return dma_translate(fixture, device, address, write, &physical);
}

/* As dma_translate, but as true DMA does: it fills TLBs. */
static bool translate_and_keep(struct dma_fixture *fixture, size_t device, uint64_t address,
                               bool write, uint64_t *physical)
{
    return fixture->ipmmu == NULL
               ? dma_translate(fixture, device, address, write, physical)
               : piommu_ipmmu_model_dma(fixture->ipmmu->model, IPMMU_CACHE_1, id_of(device),
                                        address, write, physical) != PIOMMU_IPMMU_MODEL_BLOCKED;
}

/* An access that does not leave a page. */
static bool access_page(struct dma_fixture *fixture, size_t device, uint64_t address, void *buffer,
                        size_t size, bool write)
{
    uint64_t physical;

    if (!translate_and_keep(fixture, device, address, write, &physical)) {
        return false;
    }
    return write ? fake_os_device_write(fixture->os, physical, buffer, size)
                 : fake_os_device_read(fixture->os, physical, buffer, size);
}

static size_t access_pages(struct dma_fixture *fixture, size_t device, uint64_t address,
                           uint8_t *buffer, size_t size, bool write)
{
    size_t done = 0;

    while (done < size) {
        size_t rest = (size_t)(DMA_PAGE - (address + done) % DMA_PAGE);
        size_t part = rest < size - done ? rest : size - done;

        if (!access_page(fixture, device, address + done, buffer + done, part, write)) {
            break;
        }
        done += part;
    }
    return done;
}

size_t dma_read(struct dma_fixture *fixture, size_t device, uint64_t address, void *buffer,
                size_t size)
{
    return access_pages(fixture, device, address, buffer, size, false);
}

size_t dma_write(struct dma_fixture *fixture, size_t device, uint64_t address, const void *buffer,
                 size_t size)
{
    uint8_t *copy = malloc(size);
    size_t done;

    assert_non_null(copy);
    memcpy(copy, buffer, size);
    done = access_pages(fixture, device, address, copy, size, true);
    free(copy);
    return done;
}

/* ---- Data ---- */

uint8_t dma_pattern(uint64_t seed, uint64_t index)
{
    return (uint8_t)(0x20u + (seed * 29 + index * 7 + index / 64) % 89);
}

static void mark_data(struct dma_fixture *fixture, uint64_t offset, uint64_t size)
{
    assert_true(offset + size <= MEMORY_SIZE);
    for (uint64_t i = 0; i < size; i++) {
        fixture->is_data[offset + i] = true;
        fixture->has_data[(offset + i) / DMA_PAGE] = true;
    }
}

/* What is in a buffer is no canary: a device may see it. */
static void make_data(struct dma_fixture *fixture, uint64_t offset, uint64_t size)
{
    for (uint64_t i = offset; i < offset + size; i++) {
        if (!fixture->is_data[i]) {
            fixture->bytes[i] = SCRIBBLE;
        }
    }
    mark_data(fixture, offset, size);
}

void dma_fill(struct dma_fixture *fixture, uint64_t offset, uint64_t size, uint64_t seed)
{
    mark_data(fixture, offset, size);
    for (uint64_t i = 0; i < size; i++) {
        fixture->bytes[offset + i] = dma_pattern(seed, i);
    }
}

void dma_assert_filled(struct dma_fixture *fixture, uint64_t offset, uint64_t size, uint64_t seed,
                       uint64_t from)
{
    for (uint64_t i = 0; i < size; i++) {
        if (fixture->bytes[offset + i] != dma_pattern(seed, from + i)) {
            fail_msg("the CPU sees 0x%02x instead of 0x%02x at byte %" PRIu64 " of %" PRIu64,
                     fixture->bytes[offset + i], dma_pattern(seed, from + i), i, size);
        }
    }
}

void dma_device_fill(struct dma_fixture *fixture, size_t device, uint64_t address, uint64_t size,
                     uint64_t seed)
{
    uint8_t *data = malloc((size_t)size);

    assert_non_null(data);
    for (uint64_t i = 0; i < size; i++) {
        data[i] = dma_pattern(seed, i);
    }
    assert_int_equal(dma_write(fixture, device, address, data, (size_t)size), size);
    free(data);
}

void dma_device_assert_filled(struct dma_fixture *fixture, size_t device, uint64_t address,
                              uint64_t size, uint64_t seed, uint64_t from)
{
    uint8_t *data = malloc((size_t)size);

    assert_non_null(data);
    assert_int_equal(dma_read(fixture, device, address, data, (size_t)size), size);
    for (uint64_t i = 0; i < size; i++) {
        if (data[i] != dma_pattern(seed, from + i)) {
            fail_msg("the device sees 0x%02x instead of 0x%02x at byte %" PRIu64 " of %" PRIu64,
                     data[i], dma_pattern(seed, from + i), i, size);
        }
    }
    free(data);
}

/* ---- What may be reached ---- */

void dma_grant_more(struct dma_fixture *fixture, unsigned int handle, uint64_t address,
                    uint64_t size, uint64_t physical, uint64_t physical_size,
                    enum piommu_dma_direction direction)
{
    size_t i = 0;

    while (i < DMA_MAX_GRANTS && fixture->grants[i].handle != 0) {
        i++;
    }
    assert_true(i < DMA_MAX_GRANTS);
    fixture->grants[i] = (struct dma_grant){
        .handle = handle,
        .address = address,
        .size = size,
        .physical = physical,
        .physical_size = physical_size,
        .read = direction != PIOMMU_DMA_FROM_DEVICE || !fixture->info.write_only,
        .write = direction != PIOMMU_DMA_TO_DEVICE,
    };
}

unsigned int dma_grant(struct dma_fixture *fixture, uint64_t address, uint64_t size,
                       uint64_t physical, uint64_t physical_size,
                       enum piommu_dma_direction direction)
{
    dma_grant_more(fixture, ++fixture->last_handle, address, size, physical, physical_size,
                   direction);
    return fixture->last_handle;
}

void dma_revoke(struct dma_fixture *fixture, unsigned int handle)
{
    for (size_t i = 0; i < DMA_MAX_GRANTS; i++) {
        struct dma_grant *grant = &fixture->grants[i];

        if (handle != 0 && grant->handle == handle) {
            grant->parked = fixture->options.space.lazy;
            grant->handle = grant->parked ? handle : 0;
        }
    }
}

void dma_settle(struct dma_fixture *fixture)
{
    for (size_t i = 0; i < DMA_MAX_GRANTS; i++) {
        if (fixture->grants[i].parked) {
            fixture->grants[i].handle = 0;
            fixture->grants[i].parked = false;
        }
    }
    dma_sweep(fixture);
}

static bool is_test_memory(const struct dma_fixture *fixture, uint64_t physical)
{
    return physical >= fixture->memory && physical - fixture->memory < MEMORY_SIZE;
}

/* A trusted device may use all of the granules that its buffers are in. */
static void note_grant(struct dma_fixture *fixture, const struct dma_grant *grant)
{
    uint64_t first = grant->physical;
    uint64_t last = grant->physical + grant->physical_size - 1;

    if (!fixture->options.untrusted) {
        first &= ~(DMA_PAGE - 1);
        last |= DMA_PAGE - 1;
    }
    for (uint64_t byte = first; byte <= last; byte++) {
        fixture->may[byte - fixture->memory] |=
            (uint8_t)((grant->read ? MAY_READ : 0) | (grant->write ? MAY_WRITE : 0));
    }
}

static void note_grants(struct dma_fixture *fixture)
{
    memset(fixture->may, 0, MEMORY_SIZE);
    for (size_t i = 0; i < DMA_MAX_GRANTS; i++) {
        const struct dma_grant *grant = &fixture->grants[i];

        if (grant->handle != 0 && grant->physical_size != 0 &&
            is_test_memory(fixture, grant->physical)) {
            note_grant(fixture, grant);
        }
    }
}

/* Memory of nobody, for registers of other devices, that was granted. */
static bool is_granted_elsewhere(const struct dma_fixture *fixture, uint64_t physical)
{
    for (size_t i = 0; i < DMA_MAX_GRANTS; i++) {
        const struct dma_grant *grant = &fixture->grants[i];

        if (grant->handle != 0 && grant->physical_size != 0 &&
            (physical | (DMA_PAGE - 1)) >= grant->physical &&
            physical <= grant->physical + (grant->physical_size - 1)) {
            return true;
        }
    }
    return false;
}

/* ---- What is reached ---- */

static void see(struct dma_fixture *fixture, uint64_t page)
{
    for (size_t i = 0; i < fixture->seen_count; i++) {
        if (fixture->seen[i] == page) {
            return;
        }
    }
    assert_true(fixture->seen_count < DMA_MAX_SEEN);
    fixture->seen[fixture->seen_count++] = page;
}

static void see_range(struct dma_fixture *fixture, uint64_t first, uint64_t size)
{
    uint64_t step = size > LARGE_LEAF ? size - DMA_PAGE : DMA_PAGE;

    for (uint64_t offset = 0; offset < size; offset += step) {
        see(fixture, first + offset);
    }
}

struct walk {
    struct dma_fixture *fixture;
    uint64_t pages;
};

static bool see_leaf(void *ctx, const struct piommu_walker_leaf *leaf)
{
    struct walk *walk = ctx;

    see_range(walk->fixture, leaf->input, UINT64_C(1) << leaf->shift);
    walk->pages += (UINT64_C(1) << leaf->shift) / DMA_PAGE;
    return true;
}

static void walk_tables(struct walk *walk)
{
    const struct piommu_walker_memory memory = {.read64 = fake_os_device_read64,
                                                .ctx = walk->fixture->os};

    for (unsigned int i = 0; i < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; i++) {
        struct piommu_walker_regime regime;

        if (piommu_ipmmu_model_regime(walk->fixture->ipmmu->model, IPMMU_ROOT, i, &regime)) {
            assert_true(piommu_walker_for_each_leaf(&regime, &memory, see_leaf, walk));
        }
    }
}

static void walk_mappings(struct walk *walk)
{
    const struct viommu_model *model = walk->fixture->viommu->model;
    struct viommu_model_mapping mapping;
    uint32_t domain;

    if (!viommu_model_domain_of(model, id_of(0), &domain)) {
        return;
    }
    for (size_t i = 0; viommu_model_mapping(model, domain, i, &mapping); i++) {
        uint64_t size = mapping.last - mapping.first + 1;

        see_range(walk->fixture, mapping.first, size);
        walk->pages += size / DMA_PAGE;
    }
}

size_t dma_mapped_pages(struct dma_fixture *fixture)
{
    struct walk walk = {.fixture = fixture};

    if (fixture->ipmmu != NULL) {
        walk_tables(&walk);
    } else {
        walk_mappings(&walk);
    }
    return (size_t)walk.pages;
}

static void check_test_memory(struct dma_fixture *fixture, uint64_t address, uint64_t physical,
                              bool write)
{
    uint64_t offset = physical - fixture->memory;

    for (uint64_t i = 0; i < DMA_PAGE; i++) {
        if ((fixture->may[offset + i] & (write ? MAY_WRITE : MAY_READ)) == 0) {
            fail_msg("byte 0x%" PRIx64 " of the memory can be %s at 0x%" PRIx64, offset + i,
                     write ? "written" : "read", address + i);
        }
    }
}

/* Pages of the library: nothing of the test's or of their former content is in them. */
static void check_library_memory(struct dma_fixture *fixture, size_t device, uint64_t address)
{
    uint8_t page[DMA_PAGE];

    assert_int_equal(dma_read(fixture, device, address, page, sizeof(page)), sizeof(page));
    for (uint64_t i = 0; i < DMA_PAGE; i++) {
        if (page[i] >= FIRST_DATA) {
            fail_msg("the device sees 0x%02x at 0x%" PRIx64, page[i], address + i);
        }
    }
}

/* The bytes of a page that are no data get another number. */
static void scribble_beside_data(const struct dma_fixture *fixture, uint64_t address, uint8_t *page)
{
    uint8_t old[DMA_PAGE];

    memcpy(old, page, sizeof(old));
    memset(page, SCRIBBLE, DMA_PAGE);
    for (size_t i = 0; i < DMA_MAX_GRANTS; i++) {
        const struct dma_grant *grant = &fixture->grants[i];
        uint64_t first = grant->address > address ? grant->address - address : 0;
        uint64_t end = grant->address + grant->size;

        if (grant->handle == 0 || end <= address || first >= DMA_PAGE) {
            continue;
        }
        end = end - address < DMA_PAGE ? end - address : DMA_PAGE;
        memcpy(page + first, old + first, (size_t)(end - first));
    }
}

/* The device writes beside the data, where it can. What it writes to is a page of the library's. */
static void scribble(struct dma_fixture *fixture, size_t device, uint64_t address)
{
    uint8_t page[DMA_PAGE];
    uint64_t physical;

    if (dma_translate(fixture, device, address, true, &physical) &&
        fake_os_device_read(fixture->os, physical, page, sizeof(page))) {
        scribble_beside_data(fixture, address, page);
        assert_int_equal(dma_write(fixture, device, address, page, sizeof(page)), DMA_PAGE);
    }
}

static void try_page(struct dma_fixture *fixture, size_t device, uint64_t address, bool write)
{
    uint64_t physical;

    if (!dma_translate(fixture, device, address, write, &physical)) {
        return;
    }
    if (is_test_memory(fixture, physical)) {
        check_test_memory(fixture, address, physical, write);
    } else if (fake_os_is_dma_memory(fixture->os, physical, DMA_PAGE)) {
        if (!write) {
            check_library_memory(fixture, device, address);
        }
    } else if (!is_granted_elsewhere(fixture, physical)) {
        fail_msg("the device reaches 0x%" PRIx64 " at 0x%" PRIx64, physical, address);
    }
}

static void check_canaries_of(const struct dma_fixture *fixture, uint64_t page)
{
    for (uint64_t i = page * DMA_PAGE; i < (page + 1) * DMA_PAGE; i++) {
        if (!fixture->is_data[i] && fixture->bytes[i] != DMA_CANARY) {
            fail_msg("byte 0x%" PRIx64 " of the memory was changed", i);
        }
    }
}

static void check_canaries(const struct dma_fixture *fixture)
{
    uint8_t intact[DMA_PAGE];

    memset(intact, DMA_CANARY, sizeof(intact));
    for (uint64_t page = 0; page < DMA_MEMORY_PAGES; page++) {
        if (fixture->has_data[page] ||
            memcmp(fixture->bytes + page * DMA_PAGE, intact, sizeof(intact)) != 0) {
            check_canaries_of(fixture, page);
        }
    }
}

void dma_sweep(struct dma_fixture *fixture)
{
    (void)dma_mapped_pages(fixture);
    note_grants(fixture);
    for (size_t device = 0; device < fixture->options.devices; device++) {
        if (fixture->ipmmu != NULL) {
            piommu_ipmmu_model_prefetch(fixture->ipmmu->model, IPMMU_CACHE_1, id_of(device));
        }
        for (size_t i = 0; i < fixture->seen_count; i++) {
            try_page(fixture, device, fixture->seen[i], false);
            try_page(fixture, device, fixture->seen[i], true);
            if (fixture->options.untrusted) {
                scribble(fixture, device, fixture->seen[i]);
            }
        }
    }
    check_canaries(fixture);
}

/* Nobody reaches memory that is given back. */
static void check_freed(void *ctx, uint64_t physical, uint64_t size)
{
    struct dma_fixture *fixture = ctx;

    for (size_t device = 0; device < fixture->options.devices; device++) {
        for (size_t i = 0; i < fixture->seen_count; i++) {
            uint64_t reached;

            if (dma_translate(fixture, device, fixture->seen[i], false, &reached) ||
                dma_translate(fixture, device, fixture->seen[i], true, &reached)) {
                assert_false(reached >= physical && reached - physical < size);
            }
        }
    }
}

/* ---- Life ---- */

static void open_ipmmu(struct dma_fixture *fixture)
{
    const struct ipmmu_options options = {.non_coherent_buffers =
                                              fixture->options.device.non_coherent,
                                          .scattered = fixture->options.scattered};
    const char *name = fixture->kind == DMA_IPMMU ? "Gen3, stage 1" : "Gen4, 64-bit stage 1";
    struct ipmmu_fixture *ipmmu = ipmmu_open(ipmmu_system_named(name), &options);

    for (size_t i = 0; i < ipmmu->unit_count; i++) {
        ipmmu->configs[i].timeout = PATIENCE;
    }
    ipmmu_start(ipmmu);
    ipmmu->probing = false;
    fixture->ipmmu = ipmmu;
    fixture->os = ipmmu->os;
}

static void open_viommu(struct dma_fixture *fixture)
{
    struct viommu_fixture_options options;

    viommu_fixture_default_options(&options);
    options.timeout = PATIENCE;
    options.model.input_start = fixture->options.first;
    if (!fixture->options.wide) {
        options.model.input_end = (UINT64_C(1) << 48) - 1;
    }
    options.os.non_coherent_buffers = fixture->options.device.non_coherent;
    options.os.scattered = fixture->options.scattered;
    fixture->viommu = viommu_fixture_started(&options);
    fixture->viommu->paused = true;
    fixture->os = fixture->viommu->os;
}

static void make_domain(struct dma_fixture *fixture)
{
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_DMA,
        .instance_count = 1,
        .name = "dma",
        .disjoint = fixture->kind == DMA_DISJOINT,
        .msi_window = fixture->options.msi_window,
    };

    config.instances = fixture->ipmmu != NULL ? &fixture->ipmmu->instances[IPMMU_CACHE_1]
                                              : &fixture->viommu->instance;
    assert_int_equal(piommu_domain_create(&config, &fixture->domain), 0);
    piommu_domain_get_info(fixture->domain, &fixture->info);
    if (fixture->ipmmu != NULL) {
        fixture->ipmmu->domains[fixture->ipmmu->domain_count++] = fixture->domain;
    } else {
        fixture->viommu->domains[0] = fixture->domain;
    }
}

static void add_device(struct dma_fixture *fixture, size_t number)
{
    static const char *const names[] = {"first", "second", "third"};
    struct piommu_device_id id = {.id = id_of(number)};
    struct piommu_device_config config = {
        .ids = &id, .id_count = 1, .untrusted = fixture->options.untrusted, .name = names[number]};
    struct piommu_device **device = &fixture->devices[number];
    struct piommu_context *context;

    if (number == 0) {
        config.regions = fixture->options.regions;
        config.region_count = fixture->options.region_count;
    }
    if (fixture->ipmmu != NULL) {
        const struct ipmmu_place place = {IPMMU_CACHE_1, id.id};

        (void)ipmmu_wire(fixture->ipmmu, &place, 1);
        id.instance = fixture->ipmmu->instances[IPMMU_CACHE_1];
        context = fixture->ipmmu->context;
    } else {
        assert_true(viommu_model_add_endpoint(fixture->viommu->model, id.id, NULL, 0));
        id.instance = fixture->viommu->instance;
        context = fixture->viommu->context;
    }
    assert_int_equal(piommu_device_add(context, &config, device), 0);
    if (fixture->ipmmu != NULL) {
        fixture->ipmmu->masters[number].device = *device;
    } else {
        fixture->viommu->devices[number] = *device;
    }
}

struct dma_fixture *dma_open_bare(enum dma_kind kind, const struct dma_options *options)
{
    struct dma_fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fixture->kind = kind;
    if (options != NULL) {
        fixture->options = *options;
    }
    if (fixture->options.devices == 0) {
        fixture->options.devices = 1;
    }
    if (kind == DMA_VIRTIO) {
        open_viommu(fixture);
    } else {
        open_ipmmu(fixture);
    }
    make_domain(fixture);
    for (size_t i = 0; i < fixture->options.devices; i++) {
        add_device(fixture, i);
    }
    fixture->memory = fake_os_test_pages(fixture->os, DMA_MEMORY_PAGES);
    fixture->bytes = fake_os_pointer(fixture->os, fixture->memory, MEMORY_SIZE);
    fixture->may = calloc(1, MEMORY_SIZE);
    fixture->is_data = calloc(MEMORY_SIZE, sizeof(*fixture->is_data));
    memset(fixture->bytes, DMA_CANARY, MEMORY_SIZE);
    fake_os_evict(fixture->os);
    fake_os_on_dma_free(fixture->os, check_freed, fixture);
    return fixture;
}

int dma_try_space(struct dma_fixture *fixture)
{
    struct piommu_dma_space_config config = fixture->options.space;

    config.domain = fixture->domain;
    return piommu_dma_space_create(fake_os_host(fixture->os), &config, &fixture->space);
}

struct dma_fixture *dma_open(enum dma_kind kind, const struct dma_options *options)
{
    struct dma_fixture *fixture = dma_open_bare(kind, options);

    assert_int_equal(dma_try_space(fixture), 0);
    for (size_t i = 0; i < fixture->options.devices; i++) {
        assert_int_equal(piommu_dma_device_add(fixture->space, fixture->devices[i],
                                               &fixture->options.device, &fixture->dma[i]),
                         0);
        assert_int_equal(piommu_device_attach(fixture->devices[i], fixture->domain), 0);
    }
    return fixture;
}

void dma_close(struct dma_fixture *fixture)
{
    if (fixture->space != NULL) {
        assert_int_equal(piommu_dma_space_flush(fixture->space), 0);
        dma_settle(fixture);
    }
    for (size_t i = 0; i < fixture->options.devices; i++) {
        piommu_dma_device_remove(fixture->dma[i]);
    }
    assert_int_equal(piommu_dma_space_destroy(fixture->space), 0);
    if (fixture->ipmmu != NULL) {
        ipmmu_close(fixture->ipmmu);
    } else {
        viommu_fixture_destroy(fixture->viommu);
    }
    free(fixture->may);
    free(fixture->is_data);
    free(fixture);
}

/* ---- Calls ---- */

int dma_try_map(struct dma_fixture *fixture, uint64_t offset, uint64_t size,
                enum piommu_dma_direction direction, struct dma_mapping *mapping)
{
    uint64_t physical = fixture->memory + offset;
    int error;

    *mapping = (struct dma_mapping){.offset = offset, .size = size, .direction = direction};
    make_data(fixture, offset, size);
    error = piommu_dma_map_single(fixture->dma[0], physical, size, direction, 0, &mapping->address);
    if (error == 0) {
        mapping->handle = dma_grant(fixture, mapping->address, size, physical, size, direction);
    }
    dma_sweep(fixture);
    return error;
}

struct dma_mapping dma_map(struct dma_fixture *fixture, uint64_t offset, uint64_t size,
                           enum piommu_dma_direction direction)
{
    struct dma_mapping mapping;

    assert_int_equal(dma_try_map(fixture, offset, size, direction, &mapping), 0);
    assert_int_not_equal(mapping.address, 0);
    return mapping;
}

void dma_unmap(struct dma_fixture *fixture, const struct dma_mapping *mapping)
{
    assert_int_equal(piommu_dma_unmap_single(fixture->dma[0], mapping->address, mapping->size,
                                             mapping->direction, 0),
                     0);
    dma_revoke(fixture, mapping->handle);
    dma_sweep(fixture);
}

struct piommu_dma_statistics dma_statistics(struct dma_fixture *fixture)
{
    struct piommu_dma_statistics statistics;

    piommu_dma_space_get_statistics(fixture->space, &statistics);
    return statistics;
}

void dma_break_unit(struct dma_fixture *fixture)
{
    if (fixture->ipmmu != NULL) {
        piommu_ipmmu_model_set_flush_polls(fixture->ipmmu->model, PIOMMU_IPMMU_MODEL_ALL_UNITS,
                                           PIOMMU_IPMMU_MODEL_NEVER);
    } else {
        viommu_model_set_processing(fixture->viommu->model, VIOMMU_MODEL_NEVER);
    }
}

void dma_heal_unit(struct dma_fixture *fixture)
{
    if (fixture->ipmmu != NULL) {
        piommu_ipmmu_model_set_flush_polls(fixture->ipmmu->model, PIOMMU_IPMMU_MODEL_ALL_UNITS, 0);
        piommu_ipmmu_model_end_flushes(fixture->ipmmu->model, PIOMMU_IPMMU_MODEL_ALL_UNITS);
        for (size_t i = 0; i < fixture->ipmmu->unit_count; i++) {
            assert_int_equal(piommu_instance_recover(fixture->ipmmu->instances[i]), 0);
        }
    } else {
        viommu_model_set_processing(fixture->viommu->model, VIOMMU_MODEL_AT_DOORBELL);
        assert_int_equal(piommu_instance_recover(fixture->viommu->instance), 0);
    }
}
