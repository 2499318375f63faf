/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "steps.h"

#include "transcript.h"

#include <inttypes.h>

/* Do all masters have what their guests have? */
static bool all_have_their_guests(struct demo *demo)
{
    bool holds = master_has_nothing(demo, &demo->board.stranger);

    for (size_t i = 0; i < demo->board.master_count; i++) {
        holds = master_has_guest(demo, &demo->board.masters[i]) && holds;
    }
    return holds;
}

/* ---- A group stays together ---- */

void step_split(struct demo *demo)
{
    const struct master *member = NULL;
    struct group *group;
    size_t other;
    int error;

    section("Masters on one micro-TLB cannot be in two guests");
    for (size_t i = 0; i < demo->board.master_count; i++) {
        member = demo->board.masters[i].shares ? &demo->board.masters[i] : member;
    }
    if (member == NULL) {
        note("skipped: no masters share a micro-TLB in this tree");
        return;
    }
    group = &demo->groups[member->group];
    other = group->guest == GUEST_A ? GUEST_B : GUEST_A;
    error = piommu_device_attach(member->device, demo->guests[other].domain);
    check(error == -PIOMMU_EGROUP, "%s alone into %s: %s", member->name, demo->guests[other].name,
          piommu_strerror(error));
    check(master_has_guest(demo, &demo->board.masters[group->first]) &&
              master_has_guest(demo, member),
          "all %zu of the group have the memory of %s, as before", group->count,
          demo->guests[group->guest].name);
}

/* ---- Faults ---- */

/* Lets a master write where it must not; true if one interrupt came of it, with this reason. */
static bool provoke(struct demo *demo, const struct master *master, uint64_t iova,
                    enum piommu_fault_reason reason)
{
    struct board *board = &demo->board;
    unsigned int before = board->fault_count;
    uint8_t byte = 0;
    bool refused;

    board->shows_faults = true;
    refused = board_dma(board, master->ids[0], iova, true, &byte, 1) == DMA_REFUSED;
    board_trace_registers(board);
    board->shows_faults = false;
    return refused && board->fault_count == before + 1 && board->fault.reason == reason &&
           board->fault.iova_valid && board->fault.iova == iova && board->fault.level_valid;
}

static size_t count_devices(const struct demo *demo, size_t guest)
{
    size_t devices = 0;

    for (size_t i = 0; i < demo->group_count; i++) {
        devices += demo->groups[i].guest == guest ? demo->groups[i].count : 0;
    }
    return devices;
}

void step_faults(struct demo *demo)
{
    const struct board *board = &demo->board;
    const struct master *alone = &board->masters[demo->groups[demo->group_count - 1].first];
    const struct master *one = &board->masters[demo->groups[1].first];
    const struct piommu_fault *fault = &board->fault;
    uint64_t hole = bank_address(demo, BANK_RAM) + bank_size(BANK_RAM);
    struct piommu_fault record;
    size_t devices;

    section("A fault comes as an interrupt of the root, which names a context and no master");
    check(provoke(demo, alone, hole, PIOMMU_FAULT_TRANSLATION), "%s writes where nothing is",
          alone->name);
    check(fault->domain_owner == &demo->guests[GUEST_C] && fault->device_owner == alone,
          "it is alone in its guest: the fault is known to be its own");
    check(provoke(demo, alone, bank_address(demo, BANK_ROM), PIOMMU_FAULT_PERMISSION),
          "it writes to what is read-only");
    check(provoke(demo, one, hole, PIOMMU_FAULT_TRANSLATION), "%s writes where nothing is",
          one->name);
    devices = count_devices(demo, GUEST_B);
    check(fault->domain_owner == &demo->guests[GUEST_B] &&
              fault->device_owner == (devices == 1 ? one : NULL),
          "devices of guest B: %zu; the guest is known, the device %s", devices,
          devices == 1 ? "too" : "is not");
    check(provoke(demo, &board->stranger, hole, PIOMMU_FAULT_BLOCKED),
          "%s, which nobody added, writes somewhere", board->stranger.name);
    check(piommu_instance_take_fault(board_root(board), &record) == 0,
          "and a record is kept for whoever asks later");
}

/* ---- Sleep ---- */

static bool is_part(const struct board *board, size_t unit)
{
    return board->units[unit].root != unit;
}

/* Parts go to sleep before their roots, and wake up after them. */
static void sleep_all(struct board *board, bool parts)
{
    for (size_t i = 0; i < board->unit_count; i++) {
        if (is_part(board, i) == parts) {
            must(piommu_instance_suspend(board->units[i].instance), "suspending a unit");
        }
    }
}

static void wake_all(struct board *board, bool parts)
{
    for (size_t i = 0; i < board->unit_count; i++) {
        if (is_part(board, i) == parts) {
            must(piommu_instance_resume(board->units[i].instance), "resuming a unit");
        }
    }
}

static unsigned int count_powered(const struct board *board)
{
    unsigned int powered = 0;

    for (size_t i = 0; i < board->unit_count; i++) {
        powered += piommu_ipmmu_model_is_on(board->port.model, i);
    }
    return powered;
}

void step_sleep(struct demo *demo)
{
    struct board *board = &demo->board;
    struct piommu_gather gather;

    section("All units lose their power and what they knew, and are programmed again");
    sleep_all(board, true);
    sleep_all(board, false);
    check(count_powered(board) == 0, "suspended: no unit has power, every register is lost");
    piommu_gather_init(&gather);
    must(guest_unmap(demo, GUEST_B, BANK_HIGH, &gather), "unmapping while units sleep");
    must(guest_sync(demo, GUEST_B, &gather), "sync while units sleep");
    note("meanwhile, guest B loses its memory at 0x%" PRIx64, bank_address(demo, BANK_HIGH));
    wake_all(board, false);
    wake_all(board, true);
    check(count_powered(board) == board->unit_count, "resumed: all units have power");
    check(all_have_their_guests(demo),
          "all %zu masters have what their guests have now, nobody has more", board->master_count);
    must(guest_map(demo, GUEST_B, BANK_HIGH), "mapping again");
}

/* ---- A unit that hangs ---- */

static size_t count_ids_behind(const struct master *master, size_t unit)
{
    size_t behind = 0;

    for (size_t i = 0; i < master->id_count; i++) {
        behind += master->ids[i].unit == unit;
    }
    return behind;
}

/*
 * Do masters behind the unit have nothing, and all others what their guests have? Those that are
 * behind others as well are left out.
 */
static bool only_unit_is_blocked(struct demo *demo, size_t unit)
{
    bool holds = true;

    for (size_t i = 0; i < demo->board.master_count; i++) {
        const struct master *master = &demo->board.masters[i];
        size_t behind = count_ids_behind(master, unit);

        if (behind == 0) {
            holds = master_has_guest(demo, master) && holds;
        } else if (behind == master->id_count) {
            holds = master_has_nothing(demo, master) && holds;
        }
    }
    return holds;
}

void step_hang(struct demo *demo)
{
    struct board *board = &demo->board;
    size_t unit = board->masters[demo->groups[0].first].ids[0].unit;
    struct piommu_gather gather;
    int error;

    section("A unit hangs: its masters are blocked, the others go on, and it is brought back");
    if (!is_part(board, unit)) {
        note("skipped: there are no cache units in this tree");
        return;
    }
    piommu_ipmmu_model_set_flush_polls(board->port.model, unit, PIOMMU_IPMMU_MODEL_NEVER);
    piommu_gather_init(&gather);
    must(guest_unmap(demo, GUEST_A, BANK_HIGH, &gather), "unmapping");
    error = guest_sync(demo, GUEST_A, &gather);
    check(error == -PIOMMU_EFAILED, "%s does not end a flush; the sync says: %s",
          board->units[unit].name, piommu_strerror(error));
    check(only_unit_is_blocked(demo, unit), "masters behind it have nothing, all others go on");
    piommu_ipmmu_model_set_flush_polls(board->port.model, unit, BOARD_FLUSH_POLLS);
    piommu_ipmmu_model_end_flushes(board->port.model, unit);
    must(piommu_instance_recover(board->units[unit].instance), "bringing the unit back");
    must(guest_sync(demo, GUEST_A, &gather), "the sync that had failed");
    check(all_have_their_guests(demo), "it works again: all masters have what their guests have");
    must(guest_map(demo, GUEST_A, BANK_HIGH), "mapping again");
}

/* ---- Contexts ---- */

/* Domains that can have devices at a time, as piommu/ipmmu-vmsa.h has it; 0: it does not say. */
static unsigned int usable_contexts(const struct board *board)
{
    static const unsigned int numbers[] = {
        [PIOMMU_IPMMU_MODEL_GEN3] = 6,
        [PIOMMU_IPMMU_MODEL_GEN4] = 14,
    };

    return board->generation == PIOMMU_IPMMU_MODEL_GEN2 ? 0 : numbers[board->generation];
}

static int fill_domain(struct demo *demo, size_t group, struct piommu_domain **domain)
{
    struct piommu_instance *root = board_root(&demo->board);
    struct piommu_domain_config config = {
        .type = PIOMMU_DOMAIN_PAGING,
        .instances = &root,
        .instance_count = 1,
        .name = "one more",
    };
    int error = piommu_domain_create(&config, domain);

    if (error == 0) {
        error = piommu_group_attach(demo->groups[group].group, *domain);
    }
    return error;
}

/* Groups go back to their guests, and the domains go. */
static void empty_domains(struct demo *demo, size_t first, struct piommu_domain **domains,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        must(group_move(demo, first + i, demo->groups[first + i].guest), "moving a group back");
        must(piommu_domain_destroy(domains[i]), "destroying a domain");
        domains[i] = NULL;
    }
}

void step_run_out(struct demo *demo)
{
    /* Each guest keeps a device: the first two groups stay, and the last one is guest C's. */
    const size_t first = 2;
    unsigned int limit = usable_contexts(&demo->board);
    struct piommu_domain *domains[BOARD_MAX_MASTERS] = {NULL};
    size_t count = 0;
    int error = 0;

    section("The hardware has so many contexts; one guest too many is told so");
    if (limit == 0 || demo->group_count < first + (limit - GUESTS) + 2) {
        note("skipped: this tree has not as many groups as there are contexts");
        return;
    }
    while (error == 0 && first + count < demo->group_count - 1) {
        error = fill_domain(demo, first + count, &domains[count]);
        count += error == 0;
    }
    check(error == -PIOMMU_ENOSPC && GUESTS + count == limit,
          "%zu domains with devices, and one more: %s", GUESTS + count, piommu_strerror(error));
    check(master_has_guest(demo, &demo->board.masters[demo->groups[first + count].first]),
          "the device that should have gone there is where it was");
    must(piommu_domain_destroy(domains[count]), "destroying a domain");
    empty_domains(demo, first, domains, count);
    check(fill_domain(demo, first, &domains[0]) == 0, "one is given back, and can be had again");
    empty_domains(demo, first, domains, 1);
    check(all_have_their_guests(demo), "all devices are back in their guests");
}
