/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Bytes that a fuzzer makes up are taken for a sequence of calls of the core, with arguments that
 * nobody in his right mind would pass, over units of which some are told to fail. Only what the
 * headers forbid to callers is left out: objects that are gone, calls beside each other, mapping
 * what is not synced.
 *
 * A shadow knows what was granted. After each call no device reaches anything else, and lookups say
 * what the shadow says. In the end all can be taken down, and nothing is left. Whatever is broken
 * meanwhile, the strict fake OS, the mocks and the sanitizers see.
 *
 * With PIOMMU_FUZZ_TALK in the environment it prints the calls and what comes of them.
 */

#include "fake_os.h"
#include "mock_backend.h"

#include <piommu/piommu.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define UNITS      4u /* the last one is of the other kind */
#define DEVICES    6u
#define DOMAINS    5u
#define GATHERS    2u /* of each domain */
#define GRANTS     192u
#define PLACES     6u /* that are probed besides */
#define IDS        6u
#define FIRST_ID   10u
#define MAX_CALLS  300u
#define PAGE       0x1000ull
#define APERTURE   (1ull << 39)
#define OUTPUT     (1ull << 40)
#define MAX_LEAVES 160u
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

/* What a domain grants or has granted. */
struct grant {
    struct piommu_range range;
    uint64_t physical;
    piommu_prot prot;
    bool certain;        /* it is mapped; if not, it may be */
    unsigned int gather; /* 1 and above: unmapped, and pending in that gather */
};

struct domain {
    struct piommu_domain *domain;
    enum piommu_domain_type type;
    struct piommu_gather gathers[GATHERS];
    struct piommu_range window;
    struct grant grants[GRANTS];
    unsigned int grant_count;
    bool dying; /* in the midst of destroy_some */
    bool vague; /* what is mapped in it is not known any more */
    bool by_callback;
    unsigned int frame; /* what its callback tells next */
};

struct device {
    struct piommu_device *device;
    struct piommu_reserved_region regions[3];
    size_t region_count;
};

struct fuzz {
    const uint8_t *bytes;
    size_t left;
    struct fake_os *os;
    struct mock *mocks[UNITS];
    struct piommu_context *context;
    struct piommu_instance *instances[UNITS];
    struct device devices[DEVICES];
    struct domain domains[DOMAINS];
    uint64_t places[PLACES];
    unsigned int place; /* where the next one goes */
    unsigned int checks;
    uint64_t doorbells[4];
    unsigned int doorbell_count;
    struct piommu_domain *choice;
    enum piommu_fault_answer answer;
    uint64_t shared_root;
    unsigned int faults[UNITS]; /* that were raised: the mocks' queues are short */
    bool talks;                 /* says what it does, for whoever looks for a mistake */
    bool failures;              /* something was told to fail */
};

static void broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void broken(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

/* For whoever looks for the mistake. */
static void say(const struct fuzz *fuzz, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct fuzz *fuzz, const char *format, ...)
{
    va_list arguments;

    if (fuzz->talks) {
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
}

/* ---- Arguments ---- */

static unsigned int byte(struct fuzz *fuzz)
{
    if (fuzz->left == 0) {
        return 0;
    }
    fuzz->left--;
    return *fuzz->bytes++;
}

static uint64_t number(struct fuzz *fuzz, unsigned int bytes)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < bytes; i++) {
        value = value << 8 | byte(fuzz);
    }
    return value;
}

/* Numbers at which arithmetic goes wrong. */
static uint64_t boundary(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);
    uint64_t power = 1ull << (choice % 64);

    switch (choice / 64) {
    case 0:
        return power;
    case 1:
        return power - 1;
    case 2:
        return 0 - power;
    default:
        return choice % 8 == 0 ? UINT64_MAX : choice % 8 == 1 ? 0 : number(fuzz, 8);
    }
}

static uint64_t address(struct fuzz *fuzz)
{
    static const uint64_t bases[] = {
        0, 0x10000, 0x40000000, 0x401f8000, 0x80000000, APERTURE - 0x10000, 0x5000000, 0x200000};
    unsigned int choice = byte(fuzz);

    if (choice >= 224) {
        return boundary(fuzz);
    }
    return bases[choice % COUNT(bases)] + PAGE * (choice / 8 % 24);
}

static uint64_t size_of(struct fuzz *fuzz)
{
    static const uint64_t sizes[] = {0x200000, 0x40000000, 0x1ff000,   0x203000,
                                     0x400000, 0x3000,     0x80000000, PAGE};
    unsigned int choice = byte(fuzz);

    if (choice >= 232) {
        return boundary(fuzz);
    }
    return choice < 160 ? PAGE * (choice % 16 + 1) : sizes[choice % COUNT(sizes)];
}

static piommu_prot prot(struct fuzz *fuzz)
{
    unsigned int choice = byte(fuzz);

    if (choice >= 240) {
        return (piommu_prot)boundary(fuzz);
    }
    return choice % 4 == 0 ? PIOMMU_PROT_READ : PIOMMU_PROT_READ | PIOMMU_PROT_WRITE;
}

/* Memory that leads to leaves as large as can be, or to pages, or nowhere. */
static uint64_t memory(struct fuzz *fuzz, uint64_t iova)
{
    unsigned int choice = byte(fuzz);

    if (choice >= 232) {
        return boundary(fuzz);
    }
    return (iova & (APERTURE - 1)) + ((uint64_t)(choice % 8) << 36) + PAGE * (choice / 8 % 4);
}

static bool is_page(uint64_t value)
{
    return value % PAGE == 0;
}

/* A map that would take too long is made smaller. One that will be refused is left alone. */
static uint64_t bounded(uint64_t iova, uint64_t physical, uint64_t size)
{
    uint64_t delta = iova ^ physical;
    uint64_t leaf = (delta & 0x3fffffff) == 0 ? 0x40000000
                    : (delta & 0x1fffff) == 0 ? 0x200000
                                              : PAGE;
    uint64_t most = leaf * MAX_LEAVES / (leaf == PAGE ? 1 : 4);

    if (is_page(iova) && is_page(physical) && is_page(size) && iova < APERTURE &&
        size <= APERTURE - iova && size > most) {
        return most;
    }
    return size;
}

/* ---- The shadow ---- */

static bool overlap(struct piommu_range a, uint64_t first, uint64_t last)
{
    return a.first <= last && first <= a.last;
}

static void add_grant(struct domain *domain, struct grant grant)
{
    if (domain->grant_count == GRANTS) {
        /* Too much to remember: from here on nothing is said of this domain. */
        domain->vague = true;
        return;
    }
    domain->grants[domain->grant_count++] = grant;
}

static struct grant part(const struct grant *grant, uint64_t first, uint64_t last)
{
    struct grant result = *grant;

    result.range.first = first > grant->range.first ? first : grant->range.first;
    result.range.last = last < grant->range.last ? last : grant->range.last;
    result.physical += result.range.first - grant->range.first;
    return result;
}

/*
 * Takes what is mapped in a range away: for ever, or into a gather. The rest of each grant stays.
 */
static void revoke(struct domain *domain, uint64_t first, uint64_t last, unsigned int gather)
{
    unsigned int count = domain->grant_count;
    struct grant old[GRANTS];

    memcpy(old, domain->grants, sizeof(old));
    domain->grant_count = 0;
    for (unsigned int i = 0; i < count; i++) {
        struct grant *grant = &old[i];

        if (grant->gather != 0 || !overlap(grant->range, first, last)) {
            add_grant(domain, *grant);
            continue;
        }
        if (grant->range.first < first) {
            add_grant(domain, part(grant, grant->range.first, first - 1));
        }
        if (grant->range.last > last) {
            add_grant(domain, part(grant, last + 1, grant->range.last));
        }
        if (gather != 0) {
            struct grant pending = part(grant, first, last);

            pending.gather = gather;
            add_grant(domain, pending);
        }
    }
}

/*
 * Gives what is mapped in a range other permissions; the kind of memory stays. If that is not
 * certain, both are possible.
 */
static void change_prot(struct domain *domain, uint64_t first, uint64_t last, piommu_prot allowed,
                        bool certain)
{
    unsigned int count = domain->grant_count;
    struct grant old[GRANTS];

    memcpy(old, domain->grants, sizeof(old));
    if (certain) {
        revoke(domain, first, last, 0);
    }
    for (unsigned int i = 0; i < count; i++) {
        struct grant changed = part(&old[i], first, last);

        if (old[i].gather == 0 && overlap(old[i].range, first, last)) {
            changed.prot &= ~(PIOMMU_PROT_ACCESS | PIOMMU_PROT_SOFTWARE_MASK);
            changed.prot |= allowed;
            changed.certain = changed.certain && certain;
            add_grant(domain, changed);
        }
    }
}

static void grant(struct domain *domain, uint64_t iova, uint64_t physical, uint64_t size,
                  piommu_prot allowed)
{
    struct grant new_grant = {
        .range = {iova, iova + (size - 1)}, .physical = physical, .prot = allowed, .certain = true};

    revoke(domain, new_grant.range.first, new_grant.range.last, 0);
    add_grant(domain, new_grant);
}

/* What was in the gather is forgotten. */
static void forget(struct domain *domain, unsigned int gather)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < domain->grant_count; i++) {
        if (domain->grants[i].gather != gather) {
            domain->grants[kept++] = domain->grants[i];
        }
    }
    domain->grant_count = kept;
}

/* After a failure it is not known what of the domain is mapped; what was not granted is not. */
static void doubt(struct domain *domain)
{
    for (unsigned int i = 0; i < domain->grant_count; i++) {
        domain->grants[i].certain = false;
    }
}

/* Whether there is a grant that leads there, and whose permissions are these in what counts. */
static bool granted(const struct domain *domain, uint64_t iova, uint64_t physical,
                    piommu_prot counts, piommu_prot allowed)
{
    for (unsigned int i = 0; i < domain->grant_count; i++) {
        const struct grant *candidate = &domain->grants[i];

        if (overlap(candidate->range, iova, iova) &&
            candidate->physical + (iova - candidate->range.first) == physical &&
            (candidate->prot & counts) == allowed) {
            return true;
        }
    }
    return false;
}

/* What the library maps by itself: direct regions, and doorbells in the window. */
static bool is_the_librarys(const struct fuzz *fuzz, const struct domain *domain, uint64_t iova,
                            uint64_t physical)
{
    for (unsigned int i = 0; i < fuzz->doorbell_count; i++) {
        if (overlap(domain->window, iova, iova) && domain->window.last != 0 &&
            (fuzz->doorbells[i] & ~(PAGE - 1)) == (physical & ~(PAGE - 1))) {
            return true;
        }
    }
    for (unsigned int i = 0; i < DEVICES; i++) {
        const struct device *device = &fuzz->devices[i];

        for (size_t j = 0; device->device != NULL && j < device->region_count; j++) {
            if (device->regions[j].kind >= PIOMMU_RESERVED_DIRECT && iova == physical &&
                overlap(device->regions[j].range, iova & ~(PAGE - 1), iova | (PAGE - 1))) {
                return true;
            }
        }
    }
    return false;
}

static struct domain *find_domain(struct fuzz *fuzz, const struct piommu_domain *domain)
{
    for (unsigned int i = 0; i < DOMAINS; i++) {
        if (domain != NULL && fuzz->domains[i].domain == domain) {
            return &fuzz->domains[i];
        }
    }
    return NULL;
}

static bool is_paging(const struct domain *domain)
{
    return domain->type == PIOMMU_DOMAIN_PAGING || domain->type == PIOMMU_DOMAIN_DMA ||
           domain->type == PIOMMU_DOMAIN_DEFERRED;
}

/*
 * A range: most often one that something was granted in, or a part of it, since few others lead
 * anywhere.
 */
static void choose_range(struct fuzz *fuzz, const struct domain *domain, uint64_t *iova,
                         uint64_t *size)
{
    unsigned int choice = byte(fuzz);
    const struct piommu_range *range;

    if (choice < 96 || domain->grant_count == 0) {
        *iova = address(fuzz);
        *size = size_of(fuzz);
        return;
    }
    range = &domain->grants[byte(fuzz) % domain->grant_count].range;
    *iova = range->first;
    *size = range->last - range->first + 1;
    if (choice < 160 && *size > PAGE) {
        uint64_t pages = *size / PAGE;
        uint64_t skipped = number(fuzz, 2) % pages;

        *iova += PAGE * skipped;
        *size = choice % 2 == 0 ? PAGE : *size - PAGE * skipped;
    }
}

/* ---- Checks ---- */

/* Where a check looks: at what was touched last, and at one more place, in turn. */
static uint64_t place(const struct fuzz *fuzz, unsigned int i)
{
    static const uint64_t fixed[] = {0x10000, 0x40000000};
    unsigned int turn = fuzz->checks % (PLACES + (unsigned int)COUNT(fixed));

    if (i < 2) {
        return fuzz->places[(fuzz->place + PLACES - 1 - i) % PLACES];
    }
    return turn < PLACES ? fuzz->places[turn] : fixed[turn - PLACES];
}

#define PLACES_AT_ONCE 3u

static void check_reach(struct fuzz *fuzz, unsigned int unit, uint32_t id, struct domain *domain)
{
    for (unsigned int i = 0; i < PLACES_AT_ONCE; i++) {
        for (unsigned int write = 0; write < 2; write++) {
            uint64_t iova = place(fuzz, i);
            uint64_t physical;

            if (!mock_reaches(fuzz->mocks[unit], id, iova, write != 0, &physical)) {
                continue;
            }
            if (domain == NULL) {
                broken("ID %u of unit %u is blocked and reaches %#" PRIx64, id, unit, physical);
            }
            if (domain->vague || domain->type == PIOMMU_DOMAIN_SHARED) {
                continue;
            }
            if (domain->type == PIOMMU_DOMAIN_IDENTITY && physical == iova) {
                continue;
            }
            if (!granted(domain, iova, physical, write != 0 ? PIOMMU_PROT_WRITE : 0,
                         write != 0 ? PIOMMU_PROT_WRITE : 0) &&
                !is_the_librarys(fuzz, domain, iova, physical)) {
                broken("ID %u of unit %u %s %#" PRIx64 " and reaches %#" PRIx64, id, unit,
                       write != 0 ? "writes" : "reads", iova, physical);
            }
        }
    }
}

static unsigned int unit_of(const struct fuzz *fuzz, const struct piommu_instance *instance)
{
    unsigned int unit = 0;

    while (instance != NULL && unit < UNITS && fuzz->instances[unit] != instance) {
        unit++;
    }
    return instance != NULL ? unit : UNITS;
}

static void check_device(struct fuzz *fuzz, struct piommu_device *device)
{
    struct piommu_device_info info;
    struct piommu_id_info id;

    piommu_device_get_info(device, &info);
    for (size_t i = 0; piommu_device_get_id(device, i, &id) == 0; i++) {
        unsigned int unit = unit_of(fuzz, id.instance);

        if (id.state == PIOMMU_ID_DOUBTFUL || id.state == PIOMMU_ID_WAITING || unit == UNITS) {
            continue;
        }
        if (id.state == PIOMMU_ID_ATTACHED && info.domain == NULL) {
            broken("ID %u is attached, its device is not", id.id);
        }
        check_reach(fuzz, unit, id.id,
                    id.state == PIOMMU_ID_ATTACHED ? find_domain(fuzz, info.domain) : NULL);
    }
}

/* Both ways: what is mapped is what was granted. */
static void check_lookup(struct fuzz *fuzz, struct domain *domain, uint64_t iova)
{
    struct piommu_translation leaf;
    int error = piommu_domain_lookup(domain->domain, iova, &leaf);

    if (domain->vague) {
        return;
    }
    if (error == 0) {
        if (!granted(domain, iova, leaf.physical, PIOMMU_PROT_ALL, leaf.prot) &&
            !is_the_librarys(fuzz, domain, iova, leaf.physical)) {
            broken("%#" PRIx64 " leads to %#" PRIx64 " with %#x, which nobody has granted", iova,
                   leaf.physical, leaf.prot);
        }
        return;
    }
    for (unsigned int i = 0; i < domain->grant_count; i++) {
        const struct grant *lost = &domain->grants[i];

        if (lost->certain && lost->gather == 0 && overlap(lost->range, iova, iova)) {
            broken("%#" PRIx64 " is not mapped any more: %d", iova, error);
        }
    }
}

static void check(struct fuzz *fuzz)
{
    fuzz->checks++;
    for (unsigned int i = 0; i < DEVICES; i++) {
        if (fuzz->devices[i].device != NULL) {
            check_device(fuzz, fuzz->devices[i].device);
        }
    }
    for (unsigned int i = 0; i < DOMAINS; i++) {
        struct domain *domain = &fuzz->domains[i];

        for (unsigned int j = 0; domain->domain != NULL && !domain->dying && is_paging(domain) &&
                                 !domain->by_callback && j < PLACES_AT_ONCE;
             j++) {
            check_lookup(fuzz, domain, place(fuzz, j));
        }
    }
}

static void touch(struct fuzz *fuzz, uint64_t first, uint64_t last)
{
    fuzz->places[fuzz->place++ % PLACES] = first;
    fuzz->places[fuzz->place++ % PLACES] = last;
}

static void check_error(int error)
{
    if (strcmp(piommu_strerror(error), piommu_strerror(-12345)) == 0 && error != -7777) {
        broken("an error that does not exist: %d", error);
    }
}

/* ---- Callbacks ---- */

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct fuzz *fuzz = cookie;

    (void)fault;
    return fuzz->answer;
}

static struct piommu_domain *choose_domain(void *cookie, const struct piommu_device *device)
{
    struct fuzz *fuzz = cookie;

    (void)device;
    return fuzz->choice;
}

static void instance_ready(void *cookie, struct piommu_instance *instance, int error)
{
    (void)cookie;
    (void)instance;
    check_error(error);
}

static void device_ready(void *cookie, struct piommu_device *device, int error)
{
    (void)cookie;
    (void)device;
    check_error(error);
}

static void on_event(void *cookie, const struct piommu_event *event)
{
    struct fuzz *fuzz = cookie;
    const struct device *device = event->device_owner;
    const struct domain *domain = event->domain_owner;

    check_error(event->error > 0 ? 0 : event->error);
    say(fuzz,
        "    event %d: error %d, device %d, domain %d, at %#" PRIx64 ", %#" PRIx64
        " bytes, to %#" PRIx64 ", prot %#x\n",
        (int)event->kind, event->error, device != NULL ? (int)(device - fuzz->devices) : -1,
        domain != NULL ? (int)(domain - fuzz->domains) : -1, event->iova, event->size,
        event->physical, event->prot);
}

static void take_line(void *cookie, const char *line)
{
    (void)cookie;
    if (strlen(line) > 159) {
        broken("a line is too long: %s", line);
    }
}

/* Walks of a hypervisor's record that may go backwards, or tell nonsense. */
static int next_frames(void *cookie, uint64_t from, struct piommu_frames *frames)
{
    static const struct piommu_frames all[] = {
        {0x10000, 0x910000000, 3 * PAGE, PIOMMU_PROT_READ},
        {0x40000000, 0x980000000, 0x400000, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE},
        {0x80000000, 0x990000000, 5 * PAGE, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE},
        {0x10000, 0x920000000, PAGE, PIOMMU_PROT_READ},
        {0x80100000, 0x123, PAGE, PIOMMU_PROT_READ},
        {UINT64_MAX - PAGE + 1, 0, 2 * PAGE, PIOMMU_PROT_READ},
        {0x80200000, 0, 0, 0},
    };
    struct domain *domain = cookie;
    unsigned int frame = domain->frame;

    domain->vague = true;
    if (frame >= 64) {
        domain->frame = 0;
        return frame % 2 == 0 ? -PIOMMU_EIO : -7777;
    }
    for (size_t i = frame == 0 ? 0 : frame % COUNT(all); i < (frame == 0 ? 3 : COUNT(all)); i++) {
        if (frame != 0 || from <= all[i].iova + (all[i].size - 1)) {
            domain->frame = 0;
            *frames = all[i];
            return 0;
        }
    }
    return -PIOMMU_ENOENT;
}

static void on_dma_free(void *ctx, uint64_t physical, uint64_t size)
{
    struct fuzz *fuzz = ctx;

    for (unsigned int i = 0; i < UNITS; i++) {
        if (mock_walks(fuzz->mocks[i], physical, size)) {
            broken("unit %u can walk a table that is given back", i);
        }
    }
}

/* ---- Objects ---- */

/* Mostly one that exists, or if `empty`, a place where none is. */
static struct domain *any_domain(struct fuzz *fuzz, bool empty)
{
    unsigned int choice = byte(fuzz);
    unsigned int at = choice % DOMAINS;

    for (unsigned int i = 0; choice < 240 && i < DOMAINS; i++) {
        if ((fuzz->domains[at].domain == NULL) == empty) {
            break;
        }
        at = (at + 1) % DOMAINS;
    }
    return &fuzz->domains[at];
}

static struct device *any_device(struct fuzz *fuzz, bool empty)
{
    unsigned int choice = byte(fuzz);
    unsigned int at = choice % DEVICES;

    for (unsigned int i = 0; choice < 240 && i < DEVICES; i++) {
        if ((fuzz->devices[at].device == NULL) == empty) {
            break;
        }
        at = (at + 1) % DEVICES;
    }
    return &fuzz->devices[at];
}

/* NULL is refused, where a domain is asked for. One that is being destroyed must not be used. */
static struct piommu_domain *usable(const struct domain *domain)
{
    return domain->dying ? NULL : domain->domain;
}

/* Only one that works can be told to stop, or else memory is lost on purpose. */
static void obey(struct fuzz *fuzz)
{
    for (unsigned int i = 0; i < UNITS; i++) {
        mock_refuse_stop(fuzz->mocks[i], false);
        mock_never_answer(fuzz->mocks[i], false);
    }
}

static bool sync_gather(struct domain *domain, unsigned int gather)
{
    int error;

    if (!domain->gathers[gather].pending) {
        return true;
    }
    error = piommu_domain_sync(domain->domain, &domain->gathers[gather]);
    check_error(error);
    if (error == 0) {
        if (domain->gathers[gather].pending) {
            broken("a gather is pending after a sync");
        }
        forget(domain, gather + 1);
    }
    return error == 0;
}

/* What is not synced must not be mapped, which is the caller's duty. */
static bool may_map(struct domain *domain, uint64_t iova, uint64_t size)
{
    uint64_t last = size == 0 || size - 1 > UINT64_MAX - iova ? UINT64_MAX : iova + (size - 1);

    for (unsigned int i = 0; usable(domain) != NULL && i < GATHERS; i++) {
        if (domain->gathers[i].pending && overlap(domain->gathers[i].range, iova, last) &&
            !sync_gather(domain, i)) {
            return false;
        }
    }
    return true;
}

static bool sync_all(struct domain *domain)
{
    return may_map(domain, 0, 0);
}

/* ---- Calls ---- */

static void create_instance(struct fuzz *fuzz)
{
    unsigned int unit = byte(fuzz) % UNITS;
    unsigned int parent = byte(fuzz);
    struct piommu_instance_config config = {
        .name = byte(fuzz) % 4 == 0 ? NULL : "unit",
        .owner = fuzz,
        .unknown_ids = (enum piommu_unknown_ids)(byte(fuzz) % 2),
        .timeout = 100000,
        .key = 100 + unit,
        .parent_key = unit == 1 && parent % 2 == 0 ? 100
                      : parent == 255              ? 100 + unit
                                                   : 0,
        .fault_records = byte(fuzz) % 4,
        .fault_limit = byte(fuzz) % 4,
    };

    if (fuzz->instances[unit] != NULL) {
        return;
    }
    if (parent >= 128 && fuzz->instances[(unit + 1) % UNITS] != NULL) {
        config.key = 100 + (unit + 1) % UNITS; /* which is taken */
    }
    obey(fuzz);
    check_error(piommu_instance_create(fuzz->context, mock_backend(fuzz->mocks[unit]),
                                       &fuzz->mocks[unit], &config, &fuzz->instances[unit]));
}

static void destroy_instance(struct fuzz *fuzz)
{
    unsigned int unit = byte(fuzz) % UNITS;
    int error = piommu_instance_destroy(fuzz->instances[unit]);

    check_error(error);
    if (error == 0) {
        fuzz->instances[unit] = NULL;
    }
}

static void suspend(struct fuzz *fuzz)
{
    check_error(piommu_instance_suspend(fuzz->instances[byte(fuzz) % UNITS]));
}

static void resume(struct fuzz *fuzz)
{
    check_error(piommu_instance_resume(fuzz->instances[byte(fuzz) % UNITS]));
}

static void service(struct fuzz *fuzz)
{
    static const uint32_t ids[] = {FIRST_ID, FIRST_ID + 1, FIRST_ID + 2, 999, UINT32_MAX, 0};
    unsigned int unit = byte(fuzz) % UNITS;
    unsigned int choice = byte(fuzz);
    const struct piommu_backend_fault fault = {
        .id = ids[choice % COUNT(ids)],
        .reason = (enum piommu_fault_reason)(choice % 3),
        .iova_valid = choice % 2 == 0,
        .read = choice % 4 == 1,
        .iova = address(fuzz),
    };
    unsigned int budget = byte(fuzz);
    struct piommu_fault record;
    bool more;
    int reports;

    if (fuzz->instances[unit] == NULL) {
        check_error(piommu_instance_service(NULL, 1));
        check_error(piommu_instance_interrupt(NULL, 1, NULL));
        check_error(piommu_instance_take_fault(NULL, &record));
        return;
    }
    fuzz->answer = (enum piommu_fault_answer)(choice / 8 % 3);
    if (choice >= 64 && fuzz->faults[unit] < 60) {
        fuzz->faults[unit]++;
        mock_raise_fault(fuzz->mocks[unit], &fault);
    }
    say(fuzz, "    unit %u: %s, ID %u, answer %d, %s\n", unit, choice >= 64 ? "fault" : "nothing",
        fault.id, (int)fuzz->answer, budget % 2 == 0 ? "interrupt" : "service");
    if (budget % 2 == 0) {
        fake_os_forbid(fuzz->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
        mock_set_interrupt(fuzz->mocks[unit], true);
        reports = piommu_instance_interrupt(fuzz->instances[unit], budget / 2,
                                            choice % 2 == 0 ? &more : NULL);
        mock_set_interrupt(fuzz->mocks[unit], false);
        fake_os_forbid(fuzz->os, 0);
    } else {
        reports =
            piommu_instance_service(fuzz->instances[unit], budget == 255 ? UINT32_MAX : budget / 2);
    }
    if (reports < 0) {
        check_error(reports);
    }
    check_error(piommu_instance_take_fault(fuzz->instances[unit], &record));
}

static void add_device(struct fuzz *fuzz)
{
    struct device *device = any_device(fuzz, true);
    struct piommu_device_id ids[PIOMMU_DEVICE_MAX_IDS + 1];
    struct piommu_device_config config = {.ids = ids, .name = "device", .owner = device};
    unsigned int count = byte(fuzz);
    unsigned int choice = byte(fuzz);
    unsigned int id_count = count < 192 ? count % 3 + 1 : count < 250 ? count % 8 : 65;

    if (device->device != NULL) {
        return;
    }
    for (unsigned int i = 0; i < id_count; i++) {
        unsigned int which = byte(fuzz);
        unsigned int unit = which % UNITS;

        ids[i] = (struct piommu_device_id){
            .instance = which < 160 ? fuzz->instances[unit] : NULL,
            .key = which < 250 ? 100 + unit : 0,
            .id = which == 249 ? UINT32_MAX : FIRST_ID + which / UNITS % IDS,
        };
    }
    for (unsigned int i = 0; i < id_count; i++) {
        say(fuzz, "    ID %u of unit %u, key %" PRIu64 "\n", ids[i].id,
            unit_of(fuzz, ids[i].instance), ids[i].key);
    }
    config.id_count = count == 255 ? SIZE_MAX : id_count;
    device->region_count = choice % 16 == 0 ? 3 : choice % 4 == 0 ? 1 : 0;
    for (size_t i = 0; i < device->region_count; i++) {
        uint64_t first = address(fuzz);
        uint64_t size = size_of(fuzz);

        if (size > 0x1000000) {
            size = PAGE; /* it is mapped page by page, perhaps */
        }
        device->regions[i] = (struct piommu_reserved_region){
            .range = {first, first + (size - 1)},
            .kind = (enum piommu_reserved_kind)(byte(fuzz) % 5),
        };
    }
    config.regions = device->region_count != 0 ? device->regions : NULL;
    config.region_count = choice == 253 ? SIZE_MAX : device->region_count;
    config.group_key = choice >= 192 ? choice % 2 + 1 : 0;
    config.untrusted = choice % 2 == 0;
    fuzz->choice = choice % 8 == 3 ? usable(&fuzz->domains[choice / 16 % DOMAINS]) : NULL;
    if (fuzz->choice != NULL && !sync_all(find_domain(fuzz, fuzz->choice))) {
        fuzz->choice = NULL;
    }
    check_error(piommu_device_add(choice == 255 ? NULL : fuzz->context,
                                  choice == 254 ? NULL : &config, &device->device));
    fuzz->choice = NULL;
    if (device->device == NULL) {
        device->region_count = 0;
    }
}

static void remove_device(struct fuzz *fuzz)
{
    struct device *device = any_device(fuzz, false);
    int error = piommu_device_remove(device->device);

    check_error(error);
    if (error == 0) {
        device->device = NULL;
        device->region_count = 0;
    }
}

static void move(struct fuzz *fuzz)
{
    struct device *device = any_device(fuzz, false);
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz) % 8;
    struct piommu_group *group =
        device->device != NULL ? piommu_device_group(device->device) : NULL;
    struct piommu_device_info info = {0};

    /* What the group brings with it is mapped, so nothing must be pending. */
    if (domain->domain != NULL && !sync_all(domain)) {
        return;
    }
    if (device->device != NULL) {
        piommu_device_get_info(device->device, &info);
        if (info.domain != NULL && find_domain(fuzz, info.domain) != NULL &&
            !sync_all(find_domain(fuzz, info.domain))) {
            return;
        }
    }
    switch (choice) {
    case 0:
        check_error(piommu_group_detach(group));
        break;
    case 1:
        check_error(piommu_device_detach(device->device));
        break;
    case 2:
        check_error(piommu_device_attach(device->device, usable(domain)));
        break;
    default:
        check_error(piommu_group_attach(group, usable(domain)));
        break;
    }
}

static void doorbell(struct fuzz *fuzz)
{
    struct device *device = any_device(fuzz, false);
    uint64_t physical = 0xb00000000 + PAGE * (byte(fuzz) % 3) + 0x40;
    struct piommu_device_info info;
    struct domain *domain;
    uint64_t iova;
    int error;

    if (byte(fuzz) % 8 == 0) {
        physical = boundary(fuzz);
    }
    if (device->device == NULL) {
        check_error(piommu_device_map_msi(NULL, physical, &iova));
        return;
    }
    piommu_device_get_info(device->device, &info);
    domain = find_domain(fuzz, info.domain);
    error = piommu_device_map_msi(device->device, physical, &iova);
    check_error(error);
    if (error != 0) {
        return;
    }
    if (fuzz->doorbell_count == COUNT(fuzz->doorbells)) {
        if (domain != NULL) {
            domain->vague = true;
        }
        return;
    }
    fuzz->doorbells[fuzz->doorbell_count++] = physical;
    touch(fuzz, iova, physical);
}

static void create_domain(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, true);
    unsigned int choice = byte(fuzz);
    unsigned int units = byte(fuzz);
    struct piommu_instance *instances[UNITS + 1];
    struct piommu_pgtable_config table = {.format = PIOMMU_ARM_64_LPAE_S2,
                                          .granule = 4096,
                                          .input_bits = 39,
                                          .output_bits = 40,
                                          .coherent_walk = true};
    struct piommu_shared_table shared = {.config = &table, .root = fuzz->shared_root};
    struct piommu_domain_config config = {
        .type = (enum piommu_domain_type)(choice < 128   ? PIOMMU_DOMAIN_PAGING
                                          : choice < 176 ? PIOMMU_DOMAIN_DEFERRED
                                                         : choice % 7),
        .instances = instances,
        .name = "domain",
        .owner = domain,
        .disjoint = units >= 224,
        .map_relaxable = units % 2 == 0,
    };

    if (domain->domain != NULL) {
        return;
    }
    for (unsigned int i = 0; i < UNITS; i++) {
        if ((units & 1u << i) != 0 && (i < 3 || choice % 8 == 0)) {
            instances[config.instance_count++] = fuzz->instances[i];
        }
    }
    if (choice % 32 == 1) {
        instances[config.instance_count++] = fuzz->instances[0];
    }
    if (choice % 4 == 2) {
        config.msi_window.first = address(fuzz);
        config.msi_window.last = config.msi_window.first + (size_of(fuzz) - 1);
    }
    if (config.type == PIOMMU_DOMAIN_SHARED || choice == 255) {
        unsigned int wrong = byte(fuzz);

        table.input_bits = wrong >= 192 ? (uint8_t)byte(fuzz) : 39;
        table.format = (enum piommu_pgtable_format)(wrong % 32 == 1 ? byte(fuzz) : 2);
        shared.root += wrong % 32 == 2 ? 1 : 0;
        shared.config = wrong % 32 == 3 ? NULL : &table;
        config.shared = wrong % 32 == 4 ? NULL : &shared;
    }
    memset(domain, 0, sizeof(*domain));
    if (config.type == PIOMMU_DOMAIN_DEFERRED && choice % 2 == 0) {
        config.next_frames = next_frames;
        config.frames_cookie = domain;
    }
    if (piommu_domain_create(choice == 254 ? NULL : &config, &domain->domain) != 0) {
        memset(domain, 0, sizeof(*domain));
        return;
    }
    domain->type = config.type;
    domain->window = config.msi_window;
    domain->by_callback = config.next_frames != NULL;
    domain->vague = domain->by_callback;
    for (unsigned int i = 0; i < GATHERS; i++) {
        piommu_gather_init(&domain->gathers[i]);
    }
}

static void destroy_domain(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz);
    int error;

    if (choice % 4 == 0 && !domain->dying) {
        error = piommu_domain_destroy(domain->domain);
    } else {
        error = piommu_domain_destroy_some(domain->domain, choice / 4);
    }
    check_error(error);
    if (error == 0) {
        memset(domain, 0, sizeof(*domain));
    } else if (error == -PIOMMU_EAGAIN) {
        domain->dying = true;
    }
}

/* What a map call means for the shadow. */
static void settle_map(struct fuzz *fuzz, struct domain *domain, int error, uint64_t iova,
                       uint64_t physical, uint64_t size, piommu_prot allowed)
{
    check_error(error);
    if ((error == 0 || error == -PIOMMU_EAGAIN) && size != 0) {
        grant(domain, iova, physical, size, allowed);
        touch(fuzz, iova, iova + (size - 1));
    }
}

static void map(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz);
    uint64_t iova;
    uint64_t physical;
    uint64_t size;
    uint64_t mapped = 0;
    piommu_prot allowed;
    int error;

    choose_range(fuzz, domain, &iova, &size);
    physical = memory(fuzz, iova);
    size = bounded(iova, physical, size);
    allowed = prot(fuzz);
    if (!may_map(domain, iova, size)) {
        return;
    }
    if (choice < 128) {
        error = piommu_domain_map(usable(domain), iova, physical, size, allowed);
        settle_map(fuzz, domain, error, iova, physical, size, allowed);
    } else if (choice < 192) {
        error = piommu_domain_map_again(usable(domain), iova, physical, size, allowed);
        settle_map(fuzz, domain, error, iova, physical, size, allowed);
    } else {
        error = piommu_domain_map_some(usable(domain), iova, physical, size, allowed,
                                       choice == 255 ? UINT32_MAX : choice % 16, &mapped);
        if (error != 0 && error != -PIOMMU_EAGAIN) {
            mapped = 0;
        }
        settle_map(fuzz, domain, error, iova, physical, mapped, allowed);
    }
}

static void map_list(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    struct piommu_segment segments[8];
    size_t count = byte(fuzz) % 9;
    uint64_t iova = address(fuzz);
    piommu_prot allowed = prot(fuzz);
    uint64_t at = iova;
    int error;

    for (size_t i = 0; i < count; i++) {
        segments[i].physical = memory(fuzz, at);
        segments[i].size = bounded(at, segments[i].physical, size_of(fuzz));
        at += segments[i].size;
    }
    /* The sum may overflow, and then nothing is mapped. */
    if (!may_map(domain, iova, at > iova ? at - iova : 0)) {
        return;
    }
    error = piommu_domain_map_list(usable(domain), iova,
                                   count == 0 && iova % 2 != 0 ? NULL : segments, count, allowed);
    check_error(error);
    at = iova;
    for (size_t i = 0; error == 0 && i < count; i++) {
        settle_map(fuzz, domain, 0, at, segments[i].physical, segments[i].size, allowed);
        at += segments[i].size;
    }
}

static void settle_unmap(struct fuzz *fuzz, struct domain *domain, int error, uint64_t iova,
                         uint64_t size, unsigned int gather)
{
    check_error(error);
    if ((error == 0 || error == -PIOMMU_EAGAIN) && size != 0) {
        revoke(domain, iova, iova + (size - 1), gather);
        touch(fuzz, iova, iova + (size - 1));
    }
}

static void unmap(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz);
    unsigned int gather = choice % GATHERS;
    uint64_t iova;
    uint64_t size;
    uint64_t unmapped = 0;
    uint64_t done = 0;
    struct piommu_range removed = {0, 0};
    struct piommu_gather *collected = &domain->gathers[gather];
    int error;

    choose_range(fuzz, domain, &iova, &size);
    fake_os_forbid(fuzz->os, FAKE_OS_FORBID_ALLOCATION | FAKE_OS_FORBID_WAIT);
    if (choice < 128) {
        error = piommu_domain_unmap(usable(domain), iova, size, collected, &unmapped);
        settle_unmap(fuzz, domain, error, iova, size, gather + 1);
    } else if (choice < 192) {
        error = piommu_domain_unmap_leaves(usable(domain), iova, iova + (size - 1), collected,
                                           &removed, choice % 4 == 0 ? NULL : &unmapped);
        if (error == 0 && (removed.first > iova || removed.last < iova + (size - 1))) {
            broken("less was removed than was asked for");
        }
        settle_unmap(fuzz, domain, error, removed.first, removed.last - removed.first + 1,
                     gather + 1);
    } else {
        error = piommu_domain_unmap_some(usable(domain), iova, size, choice % 8, collected, &done,
                                         &unmapped);
        settle_unmap(fuzz, domain, error, iova, error == 0 || error == -PIOMMU_EAGAIN ? done : 0,
                     gather + 1);
        unmapped = 0;
    }
    fake_os_forbid(fuzz->os, 0);
    if (unmapped > size && choice < 128 && error == 0) {
        broken("more was unmapped than there is in the range");
    }
}

static void sync(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz);

    if (usable(domain) == NULL) {
        check_error(piommu_domain_sync(NULL, &domain->gathers[0]));
    } else if (choice == 255) {
        check_error(piommu_domain_sync(domain->domain, NULL));
    } else {
        sync_gather(domain, choice % GATHERS);
    }
}

/* Of calls that change and wait: what they have done after each error. */
static void settle_change(struct fuzz *fuzz, struct domain *domain, int error, uint64_t iova,
                          uint64_t size)
{
    check_error(error);
    if (error == -PIOMMU_EIO || error == -PIOMMU_EFAILED) {
        /* The range is unmapped, or not, and perhaps what reached beyond it. */
        doubt(domain);
        touch(fuzz, iova, iova + (size - 1));
    }
}

static void change(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz);
    unsigned int flags = choice % 8 == 0 ? 0 : choice % 64 == 1 ? 2 : PIOMMU_ALLOW_HOLE;
    uint64_t iova;
    uint64_t physical;
    uint64_t size;
    uint64_t changed = 0;
    piommu_prot allowed;
    int error;

    choose_range(fuzz, domain, &iova, &size);
    physical = memory(fuzz, iova);
    size = bounded(iova, physical, size);
    allowed = prot(fuzz);
    if (choice < 96) {
        error = piommu_domain_unmap_cut(usable(domain), iova, size, flags, &changed);
        settle_change(fuzz, domain, error, iova, size);
        if (error == 0) {
            settle_unmap(fuzz, domain, 0, iova, size, 0);
        }
    } else if (choice < 176) {
        uint64_t done = size;

        if (choice < 136) {
            error = piommu_domain_protect(usable(domain), iova, size, allowed, flags,
                                          choice % 2 == 0 ? &changed : NULL);
        } else {
            error = piommu_domain_protect_some(usable(domain), iova, size, allowed, flags,
                                               choice % 4, &done, &changed);
        }
        settle_change(fuzz, domain, error, iova, size);
        if (error == 0 || error == -PIOMMU_EAGAIN) {
            if (done == 0 || done > size) {
                broken("a portion of %#" PRIx64 " bytes", done);
            }
            change_prot(domain, iova, iova + (done - 1), allowed, true);
        } else if (error == -PIOMMU_EFAILED) {
            change_prot(domain, iova, iova + (size - 1), allowed, false);
        }
        touch(fuzz, iova, iova + (size - 1));
    } else {
        if (!may_map(domain, iova, size)) {
            return;
        }
        error =
            piommu_domain_replace(usable(domain), iova, physical, size, allowed, flags, &changed);
        settle_change(fuzz, domain, error, iova, size);
        if (error == 0) {
            settle_map(fuzz, domain, 0, iova, physical, size, allowed);
        }
    }
}

static void invalidate(struct fuzz *fuzz)
{
    uint64_t first = address(fuzz);

    check_error(piommu_domain_invalidate(usable(any_domain(fuzz, false)), first,
                                         first + size_of(fuzz) - 1));
}

static void populate(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int budget = byte(fuzz);

    if (domain->domain != NULL && !sync_all(domain)) {
        return;
    }
    if (domain->by_callback) {
        domain->frame = byte(fuzz) % 128;
    }
    check_error(piommu_domain_populate(usable(domain), budget == 255 ? UINT32_MAX : budget));
}

static void look(struct fuzz *fuzz)
{
    struct domain *domain = any_domain(fuzz, false);
    unsigned int choice = byte(fuzz);
    uint64_t first = address(fuzz);
    uint64_t last = first + (size_of(fuzz) - 1);
    struct piommu_translation leaf;
    struct piommu_requirements requirements;
    struct piommu_instance *culprit;
    struct piommu_instance *instances[UNITS];
    struct piommu_use use;
    uint64_t found;
    size_t count = 0;

    switch (choice % 4) {
    case 0:
        for (unsigned int i = 0; i < 32; i++) {
            int error = piommu_domain_next(usable(domain), first, last, &found, &leaf);

            check_error(error);
            if (error != 0 || found + (leaf.leaf_size - 1) >= last) {
                break;
            }
            first = found + leaf.leaf_size;
        }
        break;
    case 1:
        piommu_context_dump(fuzz->context, take_line, NULL);
        if (domain->grant_count < 64) {
            check_error(piommu_domain_dump(usable(domain), first, last, take_line, NULL));
        }
        break;
    case 2:
        for (unsigned int i = 0; i < UNITS; i++) {
            instances[count] = fuzz->instances[i];
            count += (choice & 4u << i) != 0;
        }
        check_error(piommu_requirements_get(instances, count, &requirements,
                                            choice % 8 == 2 ? &culprit : NULL));
        break;
    default:
        check_error(
            piommu_context_find_use(fuzz->context, first, last, choice < 128 ? &use : NULL));
        for (unsigned int i = 0; i < 3; i++) {
            struct piommu_reserved_region region;
            const struct device *device = any_device(fuzz, false);

            check_error(
                piommu_device_reserved_region(device->device, (size_t)boundary(fuzz), &region));
        }
        break;
    }
}

static void inject(struct fuzz *fuzz)
{
    static const int errors[] = {-PIOMMU_EIO, -PIOMMU_ENOMEM, -PIOMMU_ENOSPC, -PIOMMU_ETIMEDOUT,
                                 -PIOMMU_EOPNOTSUPP};
    struct mock *mock = fuzz->mocks[byte(fuzz) % UNITS];
    unsigned int choice = byte(fuzz);

    fuzz->failures = true;
    switch (choice % 8) {
    case 0:
        mock_refuse_stop(mock, choice >= 128);
        break;
    case 1:
        mock_never_answer(mock, choice >= 192);
        break;
    case 2:
        mock_fail_call(mock, choice / 16, errors[byte(fuzz) % COUNT(errors)], false);
        break;
    case 3:
        mock_fail_attaches(mock, choice / 64, errors[byte(fuzz) % COUNT(errors)]);
        mock_set_failed_attach(mock, (enum mock_failed_attach)(byte(fuzz) % 3));
        break;
    case 4:
        mock_fail_block_now(mock, choice >= 128 ? -PIOMMU_EIO : 0);
        break;
    case 5:
        mock_fail_service(mock, choice >= 192 ? -PIOMMU_EIO : 0);
        break;
    default:
        fake_os_fail_call(fuzz->os, choice / 16, choice % 16 == 6);
        break;
    }
}

static void speculate(struct fuzz *fuzz)
{
    mock_speculate(fuzz->mocks[byte(fuzz) % UNITS]);
}

static void bring_back_order(struct fuzz *fuzz)
{
    obey(fuzz);
    for (unsigned int i = 0; i < UNITS; i++) {
        mock_fail_call(fuzz->mocks[i], 0, 0, false);
        mock_fail_attaches(fuzz->mocks[i], 0, 0);
        mock_fail_block_now(fuzz->mocks[i], 0);
        mock_fail_service(fuzz->mocks[i], 0);
    }
    fake_os_fail_call(fuzz->os, 0, false);
}

/* ---- The whole ---- */

#define CALL(function)      \
    {                       \
#function, function \
    }

static const struct {
    const char *name;
    void (*function)(struct fuzz *fuzz);
} calls[] = {
    CALL(create_instance),
    CALL(destroy_instance),
    CALL(suspend),
    CALL(resume),
    CALL(service),
    CALL(add_device),
    CALL(add_device),
    CALL(remove_device),
    CALL(move),
    CALL(move),
    CALL(move),
    CALL(move),
    CALL(doorbell),
    CALL(create_domain),
    CALL(create_domain),
    CALL(destroy_domain),
    CALL(map),
    CALL(map),
    CALL(map),
    CALL(map_list),
    CALL(unmap),
    CALL(unmap),
    CALL(sync),
    CALL(change),
    CALL(change),
    CALL(populate),
    CALL(look),
    CALL(inject),
    CALL(invalidate),
    CALL(speculate),
    CALL(bring_back_order),
};

static void must(int error, const char *what)
{
    if (error != 0) {
        broken("taking down: %s: %d", what, error);
    }
}

/* What most programs want to have, and would take long to come by. */
static void furnish(struct fuzz *fuzz)
{
    for (unsigned int i = 0; i < 2; i++) {
        struct domain *domain = &fuzz->domains[i];
        const struct piommu_domain_config config = {.type = PIOMMU_DOMAIN_PAGING,
                                                    .owner = domain,
                                                    .instances = fuzz->instances,
                                                    .instance_count = i == 0 ? 3 : 1,
                                                    .name = "first"};

        must(piommu_domain_create(&config, &domain->domain), "a domain");
        domain->type = PIOMMU_DOMAIN_PAGING;
        piommu_gather_init(&domain->gathers[0]);
        piommu_gather_init(&domain->gathers[1]);
    }
    for (unsigned int i = 0; i < 3; i++) {
        const struct piommu_device_id ids[] = {
            {.instance = fuzz->instances[i % 2], .id = FIRST_ID + 2 + i},
            {.instance = fuzz->instances[i], .id = FIRST_ID + 5}};
        const struct piommu_device_config config = {
            .ids = ids, .id_count = 2, .name = "first", .owner = &fuzz->devices[i]};

        must(piommu_device_add(fuzz->context, &config, &fuzz->devices[i].device), "a device");
        must(piommu_device_attach(fuzz->devices[i].device, fuzz->domains[i % 2].domain),
             "an attachment");
    }
}

static void open_world(struct fuzz *fuzz)
{
    const struct fake_os_options options = {.scattered = true};
    struct piommu_context_config config = {.cookie = fuzz,
                                           .fault = on_fault,
                                           .choose_domain = choose_domain,
                                           .instance_ready = instance_ready,
                                           .device_ready = device_ready,
                                           .trace = on_event};
    unsigned int choice = byte(fuzz);
    bool tables = choice % 2 == 0;

    fuzz->os = fake_os_create(&options);
    fake_os_on_dma_free(fuzz->os, on_dma_free, fuzz);
    fuzz->shared_root = fake_os_test_pages(fuzz->os, 1);
    memset(fake_os_pointer(fuzz->os, fuzz->shared_root, PAGE), 0, PAGE);
    for (unsigned int i = 0; i < UNITS; i++) {
        enum piommu_backend_kind kind =
            tables == (i != UNITS - 1) ? PIOMMU_BACKEND_TABLES : PIOMMU_BACKEND_REQUESTS;

        fuzz->mocks[i] = i == 1 ? mock_create_child(fuzz->mocks[0]) : mock_create(fuzz->os, kind);
        mock_set_atomic_switch(fuzz->mocks[i], (choice & 2) != 0);
        if (i != 1) {
            mock_set_suspend(fuzz->mocks[i], (choice & 4) == 0);
            mock_set_block_now(fuzz->mocks[i], (choice & 8) != 0);
        }
        mock_limit_contexts(fuzz->mocks[i], (choice & 16) != 0 ? 2 : 16);
        if ((choice & 32) != 0) {
            mock_set_group(fuzz->mocks[i], FIRST_ID, 1);
            mock_set_group(fuzz->mocks[i], FIRST_ID + 1, 1);
        }
    }
    if (piommu_context_create(fake_os_host(fuzz->os), &config, &fuzz->context) != 0) {
        broken("no context");
    }
    /* Most programs should not have to begin with this. */
    for (unsigned int i = 0; (choice & 64) == 0 && i < 3; i++) {
        const struct piommu_instance_config instance = {
            .timeout = 100000, .key = 100 + i, .fault_records = 2};

        must(piommu_instance_create(fuzz->context, mock_backend(fuzz->mocks[i]), &fuzz->mocks[i],
                                    &instance, &fuzz->instances[i]),
             "an instance");
    }
    if (choice % 128 < 64) {
        furnish(fuzz);
    }
}

static void close_world(struct fuzz *fuzz)
{
    bring_back_order(fuzz);
    for (unsigned int i = 0; i < DEVICES; i++) {
        if (fuzz->devices[i].device != NULL) {
            must(piommu_group_detach(piommu_device_group(fuzz->devices[i].device)), "detaching");
        }
    }
    for (unsigned int i = 0; i < DOMAINS; i++) {
        struct domain *domain = &fuzz->domains[i];

        for (unsigned int j = 0; domain->domain != NULL && !domain->dying && j < GATHERS; j++) {
            if (domain->gathers[j].pending) {
                must(piommu_domain_sync(domain->domain, &domain->gathers[j]), "a sync");
            }
        }
        while (domain->dying && domain->domain != NULL) {
            int error = piommu_domain_destroy_some(domain->domain, 1000);

            if (error == 0) {
                domain->domain = NULL;
            } else if (error != -PIOMMU_EAGAIN) {
                must(error, "destroying the rest of a domain");
            }
        }
        must(piommu_domain_destroy(domain->domain), "destroying a domain");
    }
    for (unsigned int i = 0; i < DEVICES; i++) {
        must(piommu_device_remove(fuzz->devices[i].device), "removing a device");
    }
    for (unsigned int i = UNITS; i-- > 0;) {
        must(piommu_instance_destroy(fuzz->instances[i]), "destroying an instance");
    }
    must(piommu_context_destroy(fuzz->context), "destroying the context");
    for (unsigned int i = 0; i < UNITS && !fuzz->failures; i++) {
        if (mock_conflicts(fuzz->mocks[i]) != 0) {
            broken("break before make was forgotten");
        }
    }
    fake_os_destroy(fuzz->os);
    for (unsigned int i = UNITS; i-- > 0;) {
        mock_destroy(fuzz->mocks[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz *fuzz = calloc(1, sizeof(*fuzz));

    fuzz->bytes = bytes;
    fuzz->left = size;
    fuzz->talks = getenv("PIOMMU_FUZZ_TALK") != NULL;
    open_world(fuzz);
    for (unsigned int i = 0; i < MAX_CALLS && fuzz->left != 0; i++) {
        unsigned int call = byte(fuzz) % COUNT(calls);

        say(fuzz, "%s\n", calls[call].name);
        calls[call].function(fuzz);
        check(fuzz);
    }
    close_world(fuzz);
    free(fuzz);
    return 0;
}
