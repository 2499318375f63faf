/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * A program of calls of the core over a virtio-iommu device that the fuzzer leads
 * (hostile_device.h). What such a device grants cannot be judged. But whatever it does: no access
 * outside of what the library was given, no call without end, no error that its header does not
 * name; and when the device is honest again all can be taken down, and all memory comes back, but
 * for that of a device which has not confirmed its reset.
 */

#include "hostile_device.h"

#include <piommu/piommu.h>
#include <piommu/virtio-iommu.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define DEVICES   4u
#define DOMAINS   3u
#define MAX_CALLS 200u
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define TIMEOUT   200000u /* of the instance, in nanoseconds */

struct fuzz {
    struct hostile_device *hostile;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_instance_info info;
    struct piommu_device *devices[DEVICES];
    struct piommu_domain *domains[DOMAINS];
    struct piommu_gather gathers[DOMAINS];
    enum piommu_fault_answer answer;
    bool lost; /* memory that a device which did not stop may go on using */
};

static unsigned int byte(struct fuzz *fuzz)
{
    return hostile_byte(fuzz->hostile);
}

static void begin(struct fuzz *fuzz, const char *name)
{
    hostile_begin_call(fuzz->hostile, name);
}

#define EXPECT(fuzz, error, ...) \
    hostile_expect((fuzz)->hostile, error, (const int[]){__VA_ARGS__, 0})

/* What piommu_group_attach names, once the domain and the group are of the one instance here. */
#define ATTACH_ERRORS                                                                 \
    PIOMMU_ERANGE, PIOMMU_EOPNOTSUPP, PIOMMU_ERESERVED, PIOMMU_ENOENT, PIOMMU_ENOSPC, \
        PIOMMU_ENOMEM, PIOMMU_EIO, PIOMMU_EBLOCKED, PIOMMU_EFAILED
#define MAP_ERRORS                                                                                \
    PIOMMU_EINVAL, PIOMMU_ERANGE, PIOMMU_EOPNOTSUPP, PIOMMU_ERESERVED, PIOMMU_ENOMEM, PIOMMU_EIO, \
        PIOMMU_EFAILED

/* ---- Objects ---- */

static void create_instance(struct fuzz *fuzz)
{
    static const uint32_t running[] = {1, 7};
    static const struct piommu_virtio_message messages[] = {{0x8000000, 1}, {0x8000000, 2}};
    unsigned int choice = byte(fuzz);
    struct piommu_virtio_iommu_config where = {.pci = {0, HOSTILE_BDF},
                                               .non_coherent = fuzz->hostile->non_coherent,
                                               .wait_sleeps = (choice & 1) != 0,
                                               .running = running,
                                               .running_count = choice >> 1 & 1,
                                               .messages = messages,
                                               .message_count = (choice >> 2) % 3};
    const struct piommu_instance_config config = {
        .timeout = TIMEOUT,
        .fault_records = 4,
        .fault_limit = (choice & 0x20) != 0 ? 3 : 0,
        .unknown_ids = (choice & 0x40) != 0 ? PIOMMU_UNKNOWN_IDS_LEAVE : PIOMMU_UNKNOWN_IDS_BLOCK};
    int error;

    if (fuzz->instance != NULL) {
        return;
    }
    if (fuzz->hostile->mmio) {
        where.registers = HOSTILE_MMIO_ADDRESS;
        where.registers_size = HOSTILE_MMIO_SIZE;
    }
    begin(fuzz, "piommu_instance_create");
    error = piommu_instance_create(fuzz->context, piommu_virtio_iommu_backend(), &where, &config,
                                   &fuzz->instance);
    EXPECT(fuzz, error, PIOMMU_EINVAL, PIOMMU_ENOMEM, PIOMMU_ENODEV, PIOMMU_EOPNOTSUPP,
           PIOMMU_EBADMSG, PIOMMU_EIO, PIOMMU_ETIMEDOUT);
    if (error != 0) {
        fuzz->instance = NULL;
        fuzz->lost |= hostile_is_live(fuzz->hostile);
        return;
    }
    piommu_instance_get_info(fuzz->instance, &fuzz->info);
    if (fuzz->info.granule == 0 || (fuzz->info.granule & (fuzz->info.granule - 1)) != 0 ||
        fuzz->info.aperture.first > fuzz->info.aperture.last) {
        hostile_broken("an impossible granule or aperture was accepted");
    }
}

static void add_device(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);
    unsigned int number = choice % DEVICES;
    const struct piommu_device_id ids[] = {
        {.instance = fuzz->instance, .id = 1 + number},
        {.instance = fuzz->instance, .id = (choice & 0x40) != 0 ? 7 : 11 + number}};
    const struct piommu_reserved_region regions[] = {
        {{fuzz->info.granule * 16, fuzz->info.granule * 17 - 1}, PIOMMU_RESERVED_DIRECT}};
    const struct piommu_device_config config = {.ids = ids,
                                                .id_count = 1 + (choice >> 4) % 2,
                                                .regions = regions,
                                                .region_count = (choice >> 5) & 1,
                                                .owner = &fuzz->devices[number]};

    if (fuzz->instance == NULL || fuzz->devices[number] != NULL) {
        return;
    }
    begin(fuzz, "piommu_device_add");
    EXPECT(fuzz, piommu_device_add(fuzz->context, &config, &fuzz->devices[number]), PIOMMU_EINVAL,
           PIOMMU_ENOENT, PIOMMU_EOPNOTSUPP, PIOMMU_EBUSY, PIOMMU_ENOMEM, PIOMMU_EBADMSG,
           PIOMMU_EIO, PIOMMU_EFAILED);
}

static void create_domain(struct fuzz *fuzz)
{
    static const enum piommu_domain_type types[] = {PIOMMU_DOMAIN_PAGING, PIOMMU_DOMAIN_IDENTITY,
                                                    PIOMMU_DOMAIN_PAGING, PIOMMU_DOMAIN_DMA};
    unsigned int choice = byte(fuzz);
    unsigned int number = choice % DOMAINS;
    struct piommu_domain_config config = {.type = types[(choice >> 2) % COUNT(types)],
                                          .instances = &fuzz->instance,
                                          .instance_count = 1,
                                          .owner = &fuzz->domains[number]};

    if (fuzz->instance == NULL || fuzz->domains[number] != NULL) {
        return;
    }
    begin(fuzz, "piommu_domain_create");
    EXPECT(fuzz, piommu_domain_create(&config, &fuzz->domains[number]), PIOMMU_EOPNOTSUPP,
           PIOMMU_ERANGE, PIOMMU_ENOMEM, PIOMMU_ENOSPC, PIOMMU_EFAILED);
    piommu_gather_init(&fuzz->gathers[number]);
}

static void destroy_domain(struct fuzz *fuzz)
{
    unsigned int number = byte(fuzz) % DOMAINS;
    int error;

    begin(fuzz, "piommu_domain_destroy");
    error = piommu_domain_destroy(fuzz->domains[number]);
    EXPECT(fuzz, error, PIOMMU_EBUSY, PIOMMU_EFAILED);
    if (error == 0) {
        fuzz->domains[number] = NULL;
    }
}

static void remove_device(struct fuzz *fuzz)
{
    unsigned int number = byte(fuzz) % DEVICES;
    int error;

    begin(fuzz, "piommu_device_remove");
    error = piommu_device_remove(fuzz->devices[number]);
    EXPECT(fuzz, error, PIOMMU_EBUSY, PIOMMU_EFAILED);
    if (error == 0) {
        fuzz->devices[number] = NULL;
    }
}

/* ---- Groups ---- */

static void attach(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);
    struct piommu_device *device = fuzz->devices[choice % DEVICES];
    struct piommu_domain *domain = fuzz->domains[(choice >> 4) % DOMAINS];

    if (device == NULL || domain == NULL) {
        return;
    }
    begin(fuzz, "piommu_group_attach");
    EXPECT(fuzz, piommu_group_attach(piommu_device_group(device), domain), ATTACH_ERRORS);
}

static void detach(struct fuzz *fuzz)
{
    struct piommu_device *device = fuzz->devices[byte(fuzz) % DEVICES];

    if (device == NULL) {
        return;
    }
    begin(fuzz, "piommu_group_detach");
    EXPECT(fuzz, piommu_group_detach(piommu_device_group(device)), PIOMMU_EFAILED);
}

/* ---- Mappings ---- */

/* A domain, and a range that is most often one that it can map. */
struct place {
    struct piommu_domain *domain;
    struct piommu_gather *gather;
    uint64_t iova;
    uint64_t size;
    uint64_t physical;
};

static bool choose_place(struct fuzz *fuzz, struct place *place)
{
    unsigned int choice = byte(fuzz);
    unsigned int where = byte(fuzz);
    uint64_t granule = fuzz->info.granule;

    place->domain = fuzz->domains[choice % DOMAINS];
    if (place->domain == NULL) {
        return false;
    }
    place->gather = &fuzz->gathers[choice % DOMAINS];
    place->iova = (where & 0x80) != 0 ? fuzz->info.aperture.last + 1 - granule * (where % 32)
                                      : fuzz->info.aperture.first + granule * (where % 64);
    place->size = granule * (choice / 8);
    place->physical = 0x100000000ull / granule * granule + granule * (where % 8);
    return true;
}

static const piommu_prot prots[] = {PIOMMU_PROT_READ | PIOMMU_PROT_WRITE, PIOMMU_PROT_READ,
                                    PIOMMU_PROT_READ | PIOMMU_PROT_DEVICE, PIOMMU_PROT_WRITE};

static void map(struct fuzz *fuzz)
{
    struct place place;

    if (!choose_place(fuzz, &place)) {
        return;
    }
    begin(fuzz, "piommu_domain_map");
    EXPECT(fuzz,
           piommu_domain_map(place.domain, place.iova, place.physical, place.size,
                             prots[byte(fuzz) % COUNT(prots)]),
           MAP_ERRORS, PIOMMU_EEXIST);
}

static void map_list(struct fuzz *fuzz)
{
    struct piommu_segment segments[96];
    struct place place;
    size_t count = 1 + byte(fuzz) % COUNT(segments);

    if (!choose_place(fuzz, &place)) {
        return;
    }
    /* No piece continues the one before. */
    for (size_t i = 0; i < count; i++) {
        segments[i].physical = fuzz->info.granule * (2 * count - 2 * i);
        segments[i].size = fuzz->info.granule;
    }
    begin(fuzz, "piommu_domain_map_list");
    EXPECT(fuzz, piommu_domain_map_list(place.domain, place.iova, segments, count, prots[0]),
           MAP_ERRORS, PIOMMU_EEXIST);
}

static void unmap(struct fuzz *fuzz)
{
    struct place place;
    struct piommu_range removed;
    uint64_t unmapped;

    if (!choose_place(fuzz, &place)) {
        return;
    }
    begin(fuzz, "piommu_domain_unmap");
    if (byte(fuzz) % 2 == 0) {
        EXPECT(fuzz,
               piommu_domain_unmap(place.domain, place.iova, place.size, place.gather, &unmapped),
               PIOMMU_EINVAL, PIOMMU_ERANGE, PIOMMU_ERESERVED, PIOMMU_ECUT, PIOMMU_ENOENT);
    } else {
        EXPECT(fuzz,
               piommu_domain_unmap_leaves(place.domain, place.iova, place.iova | 0xfffff,
                                          place.gather, &removed, NULL),
               PIOMMU_EINVAL, PIOMMU_ERANGE, PIOMMU_ERESERVED, PIOMMU_ENOENT);
    }
}

static void sync_gather(struct fuzz *fuzz)
{
    unsigned int number = byte(fuzz) % DOMAINS;

    /* An identity domain has none, and nothing to sync. */
    if (fuzz->domains[number] == NULL || !fuzz->gathers[number].pending) {
        return;
    }
    begin(fuzz, "piommu_domain_sync");
    EXPECT(fuzz, piommu_domain_sync(fuzz->domains[number], &fuzz->gathers[number]), PIOMMU_EFAILED);
}

static void unmap_cut(struct fuzz *fuzz)
{
    struct place place;

    if (!choose_place(fuzz, &place)) {
        return;
    }
    begin(fuzz, "piommu_domain_unmap_cut");
    EXPECT(fuzz,
           piommu_domain_unmap_cut(place.domain, place.iova, place.size, PIOMMU_ALLOW_HOLE, NULL),
           PIOMMU_EINVAL, PIOMMU_ERANGE, PIOMMU_ERESERVED, PIOMMU_ENOENT, PIOMMU_ENOMEM, PIOMMU_EIO,
           PIOMMU_EFAILED);
}

static void protect(struct fuzz *fuzz)
{
    struct place place;

    if (!choose_place(fuzz, &place)) {
        return;
    }
    begin(fuzz, "piommu_domain_protect");
    EXPECT(fuzz,
           piommu_domain_protect(place.domain, place.iova, place.size, prots[byte(fuzz) % 2],
                                 PIOMMU_ALLOW_HOLE, NULL),
           PIOMMU_EINVAL, PIOMMU_ERANGE, PIOMMU_EOPNOTSUPP, PIOMMU_ERESERVED, PIOMMU_ECUT,
           PIOMMU_ENOENT, PIOMMU_EIO, PIOMMU_EFAILED);
}

static void replace(struct fuzz *fuzz)
{
    struct place place;

    if (!choose_place(fuzz, &place)) {
        return;
    }
    begin(fuzz, "piommu_domain_replace");
    EXPECT(fuzz,
           piommu_domain_replace(place.domain, place.iova, place.physical, place.size, prots[0],
                                 PIOMMU_ALLOW_HOLE, NULL),
           MAP_ERRORS, PIOMMU_EEXIST);
}

static void map_msi(struct fuzz *fuzz)
{
    struct piommu_device *device = fuzz->devices[byte(fuzz) % DEVICES];
    uint64_t iova;

    if (device == NULL) {
        return;
    }
    begin(fuzz, "piommu_device_map_msi");
    EXPECT(fuzz, piommu_device_map_msi(device, 0x8020040, &iova), MAP_ERRORS, PIOMMU_ENOSPC,
           PIOMMU_EEXIST);
}

/* ---- The unit ---- */

static void service(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);
    int budget = 1 + (int)(choice % 32);
    struct piommu_fault fault;
    bool more;
    int handled;

    fuzz->answer = (enum piommu_fault_answer)((choice >> 5) % 3);
    if (fuzz->instance == NULL) {
        return;
    }
    begin(fuzz, "servicing");
    handled = (choice & 0x80) != 0
                  ? piommu_instance_interrupt(fuzz->instance, (unsigned int)budget, &more)
                  : piommu_instance_service(fuzz->instance, (unsigned int)budget);
    if (handled > budget) {
        hostile_broken("%d reports were handled, of at most %d", handled, budget);
    }
    EXPECT(fuzz, handled < 0 ? handled : 0, PIOMMU_EFAILED);
    piommu_instance_take_fault(fuzz->instance, &fault);
}

static void suspend(struct fuzz *fuzz)
{
    if (fuzz->instance != NULL) {
        begin(fuzz, "piommu_instance_suspend");
        EXPECT(fuzz, piommu_instance_suspend(fuzz->instance), PIOMMU_EFAILED);
    }
}

static void resume(struct fuzz *fuzz)
{
    if (fuzz->instance != NULL) {
        begin(fuzz, "piommu_instance_resume");
        EXPECT(fuzz, piommu_instance_resume(fuzz->instance), PIOMMU_EFAILED);
    }
}

static void recover(struct fuzz *fuzz)
{
    if (fuzz->instance != NULL) {
        begin(fuzz, "piommu_instance_recover");
        EXPECT(fuzz, piommu_instance_recover(fuzz->instance), PIOMMU_ETIMEDOUT, ATTACH_ERRORS);
    }
}

static void destroy_instance(struct fuzz *fuzz)
{
    int error;

    begin(fuzz, "piommu_instance_destroy");
    error = piommu_instance_destroy(fuzz->instance);
    EXPECT(fuzz, error, PIOMMU_EBUSY, PIOMMU_ETIMEDOUT);
    if (error == 0) {
        fuzz->instance = NULL;
    }
}

static void act(struct fuzz *fuzz)
{
    hostile_act(fuzz->hostile);
}

/* ---- Life ---- */

static void (*const calls[])(struct fuzz *fuzz) = {
    create_instance, add_device, create_domain, attach,  map,     map_list,       unmap,
    sync_gather,     unmap_cut,  protect,       replace, map_msi, service,        detach,
    suspend,         resume,     recover,       attach,  map,     unmap,          sync_gather,
    remove_device,   act,        act,           service, recover, destroy_domain, destroy_instance,
};

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    const struct fuzz *fuzz = cookie;

    (void)fault;
    return fuzz->answer;
}

static void open_world(struct fuzz *fuzz)
{
    const struct piommu_context_config config = {.cookie = fuzz, .fault = on_fault};
    static const uint64_t ring_features[] = {
        0, PIOMMU_VIRTIO_F_INDIRECT_DESC, PIOMMU_VIRTIO_F_EVENT_IDX,
        PIOMMU_VIRTIO_F_INDIRECT_DESC | PIOMMU_VIRTIO_F_EVENT_IDX};
    unsigned int choice = byte(fuzz);
    struct hostile_device *hostile = fuzz->hostile;

    hostile->mmio = (choice & 1) != 0;
    hostile->driver_judged = true;
    hostile->features = PIOMMU_VIRTIO_F_VERSION_1 | ring_features[(choice >> 1) % 4] | 0x77;
    if ((choice & 8) != 0) {
        hostile->features &= ~(uint64_t)(byte(fuzz));
        hostile->features |= 4;
    }
    hostile->features |= (choice & 128) != 0 ? PIOMMU_VIRTIO_F_RING_PACKED : 0;
    hostile->queue_max = (uint16_t)((choice & 16) != 0 ? 8 : 64);
    /* Granule, last address, last domain, bytes of properties, bypass. */
    hostile->config[1] = 0x10;
    memset(&hostile->config[16], 0xff, 8);
    hostile->config[28] = 0xff;
    hostile->config[32] = 72;
    hostile->config[36] = 1;
    for (unsigned int i = (choice >> 5) & 3; i > 0; i--) {
        hostile->config[byte(fuzz) % HOSTILE_CONFIG] = (uint8_t)byte(fuzz);
    }
    begin(fuzz, "piommu_context_create");
    if (piommu_context_create(fake_os_host(hostile->os), &config, &fuzz->context) != 0) {
        hostile_broken("no context");
    }
    /* Most programs should not have to begin with this. */
    if ((choice & 0x80) == 0) {
        create_instance(fuzz);
        for (unsigned int i = 0; i < 2; i++) {
            add_device(fuzz);
            create_domain(fuzz);
            attach(fuzz);
        }
    }
}

static void must(int error, const char *what)
{
    if (error != 0) {
        hostile_broken("%s an honest device: %d", what, error);
    }
}

/* All can be taken down once the device obeys. */
static void close_world(struct fuzz *fuzz)
{
    fuzz->hostile->honest = true;
    /* What could not be stopped before can be now, whether the unit works then or not. */
    if (fuzz->instance != NULL) {
        begin(fuzz, "piommu_instance_recover");
        EXPECT(fuzz, piommu_instance_recover(fuzz->instance), ATTACH_ERRORS);
    }
    begin(fuzz, "taking down");
    for (unsigned int i = 0; i < DEVICES; i++) {
        if (fuzz->devices[i] != NULL) {
            /* The first one may find out what the device has done. */
            if (piommu_group_detach(piommu_device_group(fuzz->devices[i])) != 0) {
                must(piommu_group_detach(piommu_device_group(fuzz->devices[i])), "detaching from");
            }
        }
    }
    for (unsigned int i = 0; i < DOMAINS; i++) {
        must(piommu_domain_destroy(fuzz->domains[i]), "destroying a domain of");
    }
    for (unsigned int i = 0; i < DEVICES; i++) {
        must(piommu_device_remove(fuzz->devices[i]), "removing from");
    }
    must(piommu_instance_destroy(fuzz->instance), "destroying");
    must(piommu_context_destroy(fuzz->context), "destroying the context of");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz fuzz = {.hostile = hostile_create(bytes, size, false)};

    open_world(&fuzz);
    for (unsigned int i = 0; i < MAX_CALLS && fuzz.hostile->left != 0; i++) {
        calls[byte(&fuzz) % COUNT(calls)](&fuzz);
    }
    close_world(&fuzz);
    hostile_destroy(fuzz.hostile, fuzz.lost);
    return 0;
}
