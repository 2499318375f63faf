/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "guests.h"

#include "transcript.h"

#include <string.h>

#define CHUNK 16u /* of one DMA */

/* The last one is above 4 GiB, where stage 1 of this IOMMU has no addresses. */
static const struct bank_kind {
    uint64_t address;
    uint64_t low_address; /* with stage 1 */
    uint64_t offset;      /* in the guest's memory */
    uint64_t size;
    piommu_prot prot;
} banks[BANKS] = {
    [BANK_ROM] = {0x08000000, 0x08000000, 0x220000, 0x1000, PIOMMU_PROT_READ},
    [BANK_RAM] = {0x40000000, 0x40000000, 0, 0x210000, PIOMMU_PROT_READ | PIOMMU_PROT_WRITE},
    [BANK_HIGH] = {0x8000000000, 0x80000000, 0x210000, 0x10000,
                   PIOMMU_PROT_READ | PIOMMU_PROT_WRITE},
};

void demo_begin(struct demo *demo)
{
    static const char *const names[GUESTS] = {"guest A", "guest B", "guest C"};

    for (size_t i = 0; i < GUESTS; i++) {
        demo->guests[i].name = names[i];
        demo->guests[i].region = (enum region)(REGION_GUEST_A + i);
    }
}

static void join_group(struct demo *demo, size_t number)
{
    struct master *master = &demo->board.masters[number];
    struct piommu_group *group = piommu_device_group(master->device);
    size_t i = 0;

    while (i < demo->group_count && demo->groups[i].group != group) {
        i++;
    }
    if (i == demo->group_count) {
        demo->groups[demo->group_count++] =
            (struct group){.group = group, .guest = NO_GUEST, .first = number};
    }
    demo->groups[i].count++;
    master->group = i;
}

void demo_find_groups(struct demo *demo)
{
    for (size_t i = 0; i < demo->board.master_count; i++) {
        join_group(demo, i);
    }
}

/* ---- Domains ---- */

uint64_t bank_address(const struct demo *demo, enum bank bank)
{
    return demo->board.tables == PIOMMU_IPMMU_VMSA_STAGE2 ? banks[bank].address
                                                          : banks[bank].low_address;
}

uint64_t bank_size(enum bank bank)
{
    return banks[bank].size;
}

uint64_t bank_physical(const struct guest *guest, enum bank bank)
{
    return memory_base(guest->region) + banks[bank].offset;
}

/* A guest has devices behind any unit. */
static void create_domain(struct demo *demo, struct guest *guest,
                          const struct piommu_shared_table *shared)
{
    struct piommu_instance *instances[BOARD_MAX_UNITS];
    struct piommu_domain_config config = {
        .type = shared != NULL ? PIOMMU_DOMAIN_SHARED : PIOMMU_DOMAIN_PAGING,
        .instances = instances,
        .instance_count = demo->board.unit_count,
        .name = guest->name,
        .owner = guest,
        .shared = shared,
    };

    for (size_t i = 0; i < demo->board.unit_count; i++) {
        instances[i] = demo->board.units[i].instance;
    }
    must(piommu_domain_create(&config, &guest->domain), "creating a domain");
}

static void map_all(struct demo *demo, size_t guest)
{
    for (unsigned int bank = 0; bank < BANKS; bank++) {
        must(guest_map(demo, guest, (enum bank)bank), "mapping a guest's memory");
    }
}

void guest_create(struct demo *demo, size_t guest)
{
    create_domain(demo, &demo->guests[guest], NULL);
    map_all(demo, guest);
}

/*
 * What a hypervisor does before it lays out the stage 2 of a guest: it asks what the IOMMU demands,
 * and obeys. The table is then the hypervisor's; that it uses this library to build it is taste.
 */
void guest_create_shared(struct demo *demo, size_t number)
{
    struct guest *guest = &demo->guests[number];
    struct piommu_instance *root = board_root(&demo->board);
    struct piommu_requirements demands;
    struct piommu_pgtable_config config;
    struct piommu_pgtable_info info;
    struct piommu_shared_table shared = {.config = &config};

    must(piommu_requirements_get(&root, 1, &demands, NULL), "asking for the requirements");
    config = (struct piommu_pgtable_config){
        .format = PIOMMU_ARM_64_LPAE_S2,
        .granule = MEMORY_PAGE,
        .input_bits = demands.shared.input_last,
        .output_bits = demands.shared.output_bits,
        .coherent_walk = demands.shared.coherent_walk,
        .leaf_sizes = demands.shared.leaf_sizes,
        .flags = PIOMMU_PGTABLE_CONCATENATE,
    };
    must(piommu_pgtable_create(port_host(&demo->board.port), &config, &guest->table),
         "creating the CPU's stage 2");
    piommu_pgtable_get_info(guest->table, &info);
    shared.root = info.root_physical;
    create_domain(demo, guest, &shared);
    map_all(demo, number);
}

void guest_destroy(struct demo *demo, size_t guest)
{
    must(piommu_domain_destroy(demo->guests[guest].domain), "destroying a domain");
    if (demo->guests[guest].table != NULL) {
        piommu_pgtable_destroy(demo->guests[guest].table);
    }
}

/* ---- Memory ---- */

int guest_map(struct demo *demo, size_t number, enum bank bank)
{
    struct guest *guest = &demo->guests[number];
    uint64_t address = bank_address(demo, bank);
    uint64_t physical = bank_physical(guest, bank);
    uint64_t mapped;
    int error;

    if (guest->table != NULL) {
        error = piommu_pgtable_map(guest->table, address, physical, banks[bank].size,
                                   banks[bank].prot, &mapped);
    } else {
        error =
            piommu_domain_map(guest->domain, address, physical, banks[bank].size, banks[bank].prot);
    }
    guest->has[bank] = error == 0;
    return error;
}

int guest_unmap(struct demo *demo, size_t number, enum bank bank, struct piommu_gather *gather)
{
    struct guest *guest = &demo->guests[number];
    uint64_t address = bank_address(demo, bank);
    uint64_t unmapped;
    int error;

    if (guest->table != NULL) {
        error = piommu_pgtable_unmap(guest->table, address, banks[bank].size, gather, &unmapped);
        piommu_pgtable_detach_empty(guest->table, gather);
    } else {
        error = piommu_domain_unmap(guest->domain, address, banks[bank].size, gather, NULL);
    }
    guest->has[bank] = false;
    return error;
}

int guest_sync(struct demo *demo, size_t number, struct piommu_gather *gather)
{
    struct guest *guest = &demo->guests[number];
    int error;

    if (demo->board.forgets_sync) {
        return 0;
    }
    if (guest->table == NULL) {
        return piommu_domain_sync(guest->domain, gather);
    }
    error = piommu_domain_invalidate(guest->domain, gather->range.first, gather->range.last);
    if (error == 0) {
        piommu_pgtable_release(guest->table, gather);
    }
    return error;
}

int group_move(struct demo *demo, size_t number, size_t guest)
{
    struct group *group = &demo->groups[number];
    int error = guest == NO_GUEST ? piommu_group_detach(group->group)
                                  : piommu_group_attach(group->group, demo->guests[guest].domain);

    group->guest = error == 0 ? guest : group->guest;
    return error;
}

/* ---- DMA ---- */

/* Does the place hold these bytes? If so, they are swapped with `other`. */
static bool swap_if_equal(struct demo *demo, uint64_t physical, const uint8_t *bytes,
                          const uint8_t *other)
{
    for (unsigned int i = 0; i < CHUNK; i++) {
        const uint8_t *byte = memory_byte(demo->board.port.memory, physical + i);

        if (byte == NULL || *byte != bytes[i]) {
            return false;
        }
    }
    for (unsigned int i = 0; i < CHUNK; i++) {
        *memory_byte(demo->board.port.memory, physical + i) = other[i];
    }
    return true;
}

/* Whatever has gone wrong, what comes next begins with memory as it was. */
static bool leave_untouched(struct demo *demo, bool holds)
{
    bool untouched = memory_is_untouched(demo->board.port.memory);

    if (!untouched) {
        memory_restore(demo->board.port.memory);
    }
    return holds && untouched;
}

/* Reads what was there, writes something else, reads it back. */
static bool id_writes(struct demo *demo, struct master_id id, uint64_t iova, uint64_t physical)
{
    const uint8_t sent[CHUNK] = "sixteen of them";
    uint8_t before[CHUNK];
    uint8_t bytes[CHUNK];
    bool holds;

    memcpy(bytes, sent, CHUNK);
    holds = board_dma(&demo->board, id, iova, false, before, CHUNK) == DMA_DONE &&
            board_dma(&demo->board, id, iova, true, bytes, CHUNK) == DMA_DONE &&
            board_dma(&demo->board, id, iova, false, bytes, CHUNK) == DMA_DONE &&
            memcmp(bytes, sent, CHUNK) == 0 && swap_if_equal(demo, physical, sent, before);
    return leave_untouched(demo, holds);
}

/* Reads what is there, and cannot write. */
static bool id_only_reads(struct demo *demo, struct master_id id, uint64_t iova, uint64_t physical)
{
    uint8_t mark[CHUNK] = "read this bytes";
    uint8_t before[CHUNK];
    uint8_t bytes[CHUNK];
    bool holds;

    for (unsigned int i = 0; i < CHUNK; i++) {
        before[i] = *memory_byte(demo->board.port.memory, physical + i);
        *memory_byte(demo->board.port.memory, physical + i) = mark[i];
    }
    holds = board_dma(&demo->board, id, iova, false, bytes, CHUNK) == DMA_DONE &&
            memcmp(bytes, mark, CHUNK) == 0 &&
            board_dma(&demo->board, id, iova, true, before, CHUNK) == DMA_REFUSED &&
            swap_if_equal(demo, physical, mark, before);
    return leave_untouched(demo, holds);
}

static bool id_is_refused(struct demo *demo, struct master_id id, uint64_t iova)
{
    uint8_t bytes[CHUNK] = {0};
    bool holds = board_dma(&demo->board, id, iova, false, bytes, CHUNK) == DMA_REFUSED &&
                 board_dma(&demo->board, id, iova, true, bytes, CHUNK) == DMA_REFUSED;

    return leave_untouched(demo, holds);
}

bool master_writes(struct demo *demo, const struct master *master, uint64_t iova, uint64_t physical)
{
    bool holds = true;

    for (size_t i = 0; i < master->id_count; i++) {
        holds = id_writes(demo, master->ids[i], iova, physical) && holds;
    }
    return holds;
}

bool master_is_refused(struct demo *demo, const struct master *master, uint64_t iova)
{
    bool holds = true;

    for (size_t i = 0; i < master->id_count; i++) {
        holds = id_is_refused(demo, master->ids[i], iova) && holds;
    }
    return holds;
}

/* One place of a bank, by all ways that the master has. */
static bool has_place(struct demo *demo, const struct master *master, const struct guest *guest,
                      enum bank bank, uint64_t offset)
{
    uint64_t iova = bank_address(demo, bank) + offset;
    uint64_t physical = bank_physical(guest, bank) + offset;
    bool holds = true;

    if (!guest->has[bank]) {
        return master_is_refused(demo, master, iova);
    }
    if ((banks[bank].prot & PIOMMU_PROT_WRITE) != 0) {
        return master_writes(demo, master, iova, physical);
    }
    for (size_t i = 0; i < master->id_count; i++) {
        holds = id_only_reads(demo, master->ids[i], iova, physical) && holds;
    }
    return holds;
}

/*
 * What is beside the banks, and where the memory of all guests, the host and the tables would be if
 * addresses were physical.
 */
static bool has_nothing_else(struct demo *demo, const struct master *master)
{
    bool holds = true;

    for (unsigned int bank = 0; bank < BANKS; bank++) {
        uint64_t address = bank_address(demo, (enum bank)bank);

        holds = master_is_refused(demo, master, address - CHUNK) && holds;
        holds = master_is_refused(demo, master, address + banks[bank].size) && holds;
    }
    for (unsigned int region = REGION_TABLES; region < REGIONS; region++) {
        holds = master_is_refused(demo, master, memory_base((enum region)region)) && holds;
    }
    return holds;
}

bool master_has_guest(struct demo *demo, const struct master *master)
{
    const struct guest *guest = &demo->guests[demo->groups[master->group].guest];
    bool holds = has_nothing_else(demo, master);

    for (unsigned int bank = 0; bank < BANKS; bank++) {
        holds = has_place(demo, master, guest, (enum bank)bank, 0) && holds;
        holds = has_place(demo, master, guest, (enum bank)bank, banks[bank].size - CHUNK) && holds;
    }
    return holds;
}

bool master_has_nothing(struct demo *demo, const struct master *master)
{
    bool holds = has_nothing_else(demo, master);

    for (unsigned int bank = 0; bank < BANKS; bank++) {
        holds = master_is_refused(demo, master, bank_address(demo, (enum bank)bank)) && holds;
    }
    return holds;
}
