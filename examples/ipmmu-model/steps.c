/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "steps.h"

#include "transcript.h"

#include <inttypes.h>

/* ---- Units and masters ---- */

static unsigned int count_running(const struct board *board)
{
    unsigned int running = 0;

    for (size_t i = 0; i < board->unit_count; i++) {
        struct piommu_instance_info info;

        piommu_instance_get_info(board->units[i].instance, &info);
        running += info.state == PIOMMU_INSTANCE_RUNNING;
    }
    return running;
}

static bool all_have_nothing(struct demo *demo)
{
    bool holds = master_has_nothing(demo, &demo->board.stranger);

    for (size_t i = 0; i < demo->board.master_count; i++) {
        holds = master_has_nothing(demo, &demo->board.masters[i]) && holds;
    }
    return holds;
}

bool step_start(struct demo *demo)
{
    struct board *board = &demo->board;
    struct piommu_instance_info info;
    int error;

    section("The units that the device tree names are started, in whatever order they come");
    error = board_start(board);
    if (error == -PIOMMU_EOPNOTSUPP) {
        return false;
    }
    must(error, "starting the units");
    check(count_running(board) == board->unit_count,
          "all %zu units run, product register 0x%" PRIx32, board->unit_count,
          piommu_ipmmu_model_product(board->port.model));
    piommu_instance_get_info(board->units[0].instance, &info);
    check(info.aperture.last ==
              (board->tables == PIOMMU_IPMMU_VMSA_STAGE2 ? 0xffffffffff : 0xffffffff),
          "devices have addresses 0x%" PRIx64 "..0x%" PRIx64 ", granule %" PRIu64,
          info.aperture.first, info.aperture.last, info.granule);
    check(all_have_nothing(demo), "nobody has added a master yet: all %zu reach nothing",
          board->master_count + 1);
    return true;
}

void step_add(struct demo *demo)
{
    struct board *board = &demo->board;

    section("Masters become devices; those that the hardware cannot tell apart become a group");
    must(board_add_masters(board), "adding a device");
    demo_find_groups(demo);
    note("%s is left out: nobody adds it", board->stranger.name);
    for (size_t i = 0; i < demo->group_count; i++) {
        const struct group *group = &demo->groups[i];
        const struct master *first = &board->masters[group->first];

        check(first->shares == (group->count > 1),
              "group %zu: %zu masters, first %s; micro-TLBs: %zu, first %" PRIu32 " of %s", i,
              group->count, first->name, first->id_count, first->ids[0].micro_tlb,
              board->units[first->ids[0].unit].name);
    }
    check(all_have_nothing(demo), "in no domain, all of them reach nothing");
}

/* ---- Guests ---- */

/* A line for each master of a guest. */
static void check_guest(struct demo *demo, size_t guest)
{
    for (size_t i = 0; i < demo->board.master_count; i++) {
        const struct master *master = &demo->board.masters[i];

        if (demo->groups[master->group].guest == guest) {
            check(master_has_guest(demo, master), "%s has the memory of %s and nothing else",
                  master->name, demo->guests[guest].name);
        }
    }
}

void step_guests(struct demo *demo)
{
    section("Two guests; at the same addresses, each has memory of its own");
    for (size_t guest = GUEST_A; guest <= GUEST_B; guest++) {
        guest_create(demo, guest);
        for (unsigned int bank = 0; bank < BANKS; bank++) {
            note("%s: 0x%" PRIx64 " is physical 0x%" PRIx64 ", size 0x%" PRIx64,
                 demo->guests[guest].name, bank_address(demo, (enum bank)bank),
                 bank_physical(&demo->guests[guest], (enum bank)bank), bank_size((enum bank)bank));
        }
    }
    for (size_t i = 0; i < demo->group_count; i++) {
        must(group_move(demo, i, i % 2 == 0 ? GUEST_A : GUEST_B), "attaching a group");
    }
    check_guest(demo, GUEST_A);
    check_guest(demo, GUEST_B);
    check(master_has_nothing(demo, &demo->board.stranger), "%s, which nobody added, has nothing",
          demo->board.stranger.name);
}

void step_tables(struct demo *demo)
{
    section("What the library knows, and what the hardware walks");
    piommu_context_dump(demo->board.context, note_line, NULL);
    for (size_t i = GUEST_A; i <= GUEST_B; i++) {
        must(piommu_domain_dump(demo->guests[i].domain, 0, UINT64_MAX, note_line, NULL),
             "dumping a domain");
        board_print_tables(&demo->board, &demo->board.masters[demo->groups[i].first]);
    }
}

void step_move(struct demo *demo)
{
    const struct group *group = &demo->groups[0];
    const struct master *master = &demo->board.masters[group->first];

    section("A device goes from one guest to the other, and back");
    board_prefetch(&demo->board, master);
    must(group_move(demo, 0, GUEST_B), "moving a group");
    check(master_has_guest(demo, master), "%s, now in guest B: has B's memory, nothing of A's",
          master->name);
    board_prefetch(&demo->board, master);
    must(group_move(demo, 0, GUEST_A), "moving a group back");
    check(master_has_guest(demo, master), "back in guest A: has A's memory, nothing of B's");
}

/* ---- Unmapping ---- */

static void prefetch_guest(struct demo *demo, size_t guest)
{
    for (size_t i = 0; i < demo->board.master_count; i++) {
        if (demo->groups[demo->board.masters[i].group].guest == guest) {
            board_prefetch(&demo->board, &demo->board.masters[i]);
        }
    }
}

/* Takes a bank away from a guest whose devices have it in their TLBs, and gives it back. */
static void take_bank(struct demo *demo, size_t number, const struct master *master)
{
    struct guest *guest = &demo->guests[number];
    uint64_t address = bank_address(demo, BANK_HIGH);
    uint64_t physical = bank_physical(guest, BANK_HIGH);
    uint64_t size = bank_size(BANK_HIGH);
    const struct piommu_ipmmu_model *model = demo->board.port.model;
    struct piommu_gather gather;

    prefetch_guest(demo, number);
    piommu_gather_init(&gather);
    must(guest_unmap(demo, number, BANK_HIGH, &gather), "unmapping");
    check(master_writes(demo, master, address, physical),
          "%s: unmapped and not synced, %s still writes to 0x%" PRIx64, guest->name, master->name,
          address);
    board_keep_busy(&demo->board, master, address);
    must(guest_sync(demo, number, &gather), "sync");
    board_keep_busy(&demo->board, NULL, 0);
    check(!piommu_ipmmu_model_leaf_reaches(model, physical, size),
          "synced: no TLB of any unit leads there any more");
    check(master_is_refused(demo, master, address) &&
              master_is_refused(demo, master, address + size / 2),
          "and the write is refused: only now the memory may be given to somebody else");
    must(guest_map(demo, number, BANK_HIGH), "mapping again");
    check(master_has_guest(demo, master), "mapped again: %s has all of its guest's memory",
          master->name);
}

void step_unmap(struct demo *demo)
{
    section("Unmap and sync: a translation that devices hold in their TLBs is forgotten");
    take_bank(demo, GUEST_A, &demo->board.masters[demo->groups[0].first]);
}

void step_third_guest(struct demo *demo)
{
    bool stage2 = demo->board.tables == PIOMMU_IPMMU_VMSA_STAGE2;
    size_t last = demo->group_count - 1;
    const struct master *master = &demo->board.masters[demo->groups[last].first];

    section(stage2 ? "A third guest, whose devices walk the CPU's own stage-2 table"
                   : "A third guest, with a device alone");
    if (stage2) {
        guest_create_shared(demo, GUEST_C);
    } else {
        guest_create(demo, GUEST_C);
    }
    must(group_move(demo, last, GUEST_C), "moving a group");
    check_guest(demo, GUEST_C);
    take_bank(demo, GUEST_C, master);
}

/* ---- The end ---- */

static bool detach_all(struct demo *demo)
{
    bool holds = true;

    for (size_t i = 0; i < demo->group_count; i++) {
        const struct group *group = &demo->groups[i];

        must(group_move(demo, i, NO_GUEST), "detaching a group");
        holds = master_has_nothing(demo, &demo->board.masters[group->first]) && holds;
    }
    return holds;
}

void step_remove(struct demo *demo)
{
    struct board *board = &demo->board;

    section("Everything is taken down again");
    prefetch_guest(demo, GUEST_A);
    check(detach_all(demo), "one group after the other leaves its guest, and has nothing then");
    for (size_t i = 0; i < board->master_count; i++) {
        must(piommu_device_remove(board->masters[i].device), "removing a device");
    }
    check(all_have_nothing(demo), "devices are removed: their masters have nothing");
    for (size_t i = 0; i < GUESTS; i++) {
        guest_destroy(demo, i);
    }
    must(board_stop(board), "stopping the units");
    for (size_t i = 0; i < board->unit_count; i++) {
        board->units[i].instance = NULL;
    }
    piommu_fdt_close(&board->tree);
    check(port_is_empty(&board->port),
          "all that the library has taken is given back: %zu bytes, %u locks, %u register maps, %u "
          "pages of tables are left",
          board->port.heap, board->port.locks, board->port.register_maps,
          memory_tables_taken(board->port.memory));
    if (!check(piommu_ipmmu_model_violations(board->port.model) == 0,
               "the model has seen nothing that hardware has no answer to")) {
        note("%s", piommu_ipmmu_model_violation(board->port.model, 0));
    }
}
