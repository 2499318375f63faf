/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "board.h"

#include "transcript.h"

#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

/* Nanoseconds for an answer: ten times what a unit of the model takes. */
#define TIMEOUT 50000
/* The product register of an H3 ES3.0. */
#define PRODUCT_H3 0x4f30
/* A PCI function that stands for those behind a host bridge: 01:00.0. */
#define REQUESTER_ID 0x100

/* ---- Reading the tree ---- */

static bool complain(const struct board *board, const char *what)
{
    fprintf(stderr, "ipmmu-model: %s: %s\n", board->file, what);
    return false;
}

static bool complain_of(const struct board *board, int error)
{
    const struct piommu_fdt *tree = &board->tree;

    if (error != -PIOMMU_EBADMSG) {
        return complain(board, piommu_strerror(error));
    }
    if (tree->bad_node < 0) {
        return complain(board, "not a sound device tree blob");
    }
    fprintf(stderr, "ipmmu-model: %s: %s: %s is malformed\n", board->file, tree->bad_path,
            tree->bad_property != NULL ? tree->bad_property : "the node");
    return false;
}

/* The name that a node has in the source of the tree, if the blob tells it; else the node's own. */
static const char *name_of(const struct board *board, int node)
{
    int symbols = fdt_path_offset(board->blob, "/__symbols__");
    char path[PIOMMU_FDT_PATH_SIZE];
    int property;

    if (piommu_fdt_path(&board->tree, node, path, sizeof(path)) == 0) {
        fdt_for_each_property_offset(property, board->blob, symbols)
        {
            const char *name;
            const char *value = fdt_getprop_by_offset(board->blob, property, &name, NULL);

            if (value != NULL && strcmp(value, path) == 0) {
                return name;
            }
        }
    }
    return fdt_get_name(board->blob, node, NULL);
}

static bool find_unit(const struct board *board, int node, size_t *number)
{
    for (*number = 0; *number < board->unit_count; (*number)++) {
        if (board->units[*number].found.node == node) {
            return true;
        }
    }
    return false;
}

static bool load_units(struct board *board)
{
    const char *const *compatible = piommu_ipmmu_vmsa_backend()->compatible;
    int error = 0;
    int node = -1;

    for (;;) {
        struct unit *unit = &board->units[board->unit_count];
        struct piommu_fdt_iommu found;

        error = piommu_fdt_next_iommu(&board->tree, compatible, node, &found);
        if (error == -PIOMMU_ENOENT) {
            break;
        }
        if (error == 0 && board->unit_count == BOARD_MAX_UNITS) {
            return complain(board, "more units than the model can have");
        }
        if (error == 0) {
            error = piommu_fdt_register(&board->tree, found.node, 0, &unit->registers);
        }
        if (error != 0) {
            return complain_of(board, error);
        }
        unit->board = board;
        unit->found = found;
        unit->name = name_of(board, found.node);
        node = found.node;
        board->unit_count++;
    }
    return board->unit_count != 0 || complain(board, "no IPMMU that is enabled");
}

/* A cache unit names its root; a root has nobody to name. */
static bool find_roots(struct board *board)
{
    for (size_t i = 0; i < board->unit_count; i++) {
        struct unit *unit = &board->units[i];
        int node = unit->found.main_node >= 0 ? unit->found.main_node : unit->found.node;

        if (!find_unit(board, node, &unit->root)) {
            return complain(board, "renesas,ipmmu-main leads to something else");
        }
    }
    return true;
}

/* The layout of the registers shows in the size of a unit, and in that there are cache units. */
static void find_generation(struct board *board)
{
    const struct piommu_range *registers = &board->units[0].registers;

    board->generation = PIOMMU_IPMMU_MODEL_GEN2;
    if (registers->last - registers->first >= 0x1000) {
        board->generation = PIOMMU_IPMMU_MODEL_GEN4;
    }
    for (size_t i = 0; i < board->unit_count; i++) {
        if (board->units[i].root != i && board->generation == PIOMMU_IPMMU_MODEL_GEN2) {
            board->generation = PIOMMU_IPMMU_MODEL_GEN3;
        }
    }
}

static void add_id(const struct board *board, struct master *master, const struct piommu_fdt_id *id)
{
    struct master_id *place = &master->ids[master->id_count];

    /* IDs on IOMMUs that are disabled, or of another kind, do not concern this program. */
    if (!id->disabled && id->cell_count == 1 && find_unit(board, id->node, &place->unit)) {
        place->micro_tlb = id->cells[0];
        master->id_count++;
    }
}

static bool load_master(struct board *board, const struct piommu_fdt_master *found)
{
    struct master *master = &board->masters[board->master_count];
    struct piommu_fdt_id id;

    memset(master, 0, sizeof(*master));
    snprintf(master->name, sizeof(master->name), "%s%s",
             found->id_count == 0 ? "PCI 01:00.0 at " : "",
             fdt_get_name(board->blob, found->node, NULL));
    if (found->id_count > PIOMMU_DEVICE_MAX_IDS) {
        return complain(board, "a master with more IDs than a device can have");
    }
    for (unsigned int i = 0; piommu_fdt_device_id(&board->tree, found->node, i, &id) == 0; i++) {
        add_id(board, master, &id);
    }
    if (found->id_count == 0 &&
        piommu_fdt_pci_id(&board->tree, found->node, REQUESTER_ID, &id) == 0) {
        add_id(board, master, &id);
    }
    board->master_count += master->id_count != 0;
    return true;
}

static bool load_masters(struct board *board)
{
    struct piommu_fdt_master found = {.node = -1};
    int error;

    while ((error = piommu_fdt_next_master(&board->tree, found.node, &found)) != -PIOMMU_ENOENT) {
        if (error != 0) {
            return complain_of(board, error);
        }
        if (board->master_count == BOARD_MAX_MASTERS) {
            return complain(board, "more masters than this program can hold");
        }
        if (!load_master(board, &found)) {
            return false;
        }
    }
    return true;
}

static bool have_common_id(const struct master *one, const struct master *other)
{
    for (size_t i = 0; i < one->id_count; i++) {
        for (size_t j = 0; j < other->id_count; j++) {
            if (one->ids[i].unit == other->ids[j].unit &&
                one->ids[i].micro_tlb == other->ids[j].micro_tlb) {
                return true;
            }
        }
    }
    return false;
}

/* The last master that shares nothing becomes the one that nobody adds. */
static bool choose_stranger(struct board *board)
{
    size_t chosen = board->master_count;

    for (size_t i = 0; i < board->master_count; i++) {
        struct master *master = &board->masters[i];

        for (size_t j = 0; j < board->master_count; j++) {
            master->shares =
                master->shares || (i != j && have_common_id(master, &board->masters[j]));
        }
        chosen = master->shares ? chosen : i;
    }
    if (chosen == board->master_count) {
        return complain(board, "no master behind an IPMMU has a micro-TLB of its own");
    }
    board->stranger = board->masters[chosen];
    board->master_count--;
    memmove(&board->masters[chosen], &board->masters[chosen + 1],
            (board->master_count - chosen) * sizeof(board->masters[0]));
    return true;
}

static void find_product_register(struct board *board)
{
    int node = fdt_node_offset_by_compatible(board->blob, -1, "renesas,prr");
    struct piommu_range registers;

    if (node >= 0 && piommu_fdt_register(&board->tree, node, 0, &registers) == 0) {
        board->product_register = registers.first;
    }
}

/* ---- The model ---- */

static bool make_model(struct board *board)
{
    struct piommu_ipmmu_model_unit units[BOARD_MAX_UNITS];
    struct piommu_ipmmu_model_parameters parameters = {
        .generation = board->generation,
        .units = units,
        .unit_count = board->unit_count,
        .product =
            strcmp(board->units[0].found.compatible, "renesas,ipmmu-r8a7795") == 0 ? PRODUCT_H3 : 0,
    };
    struct piommu_walker_memory memory = {.read64 = memory_read64, .ctx = board->port.memory};
    struct piommu_ipmmu_model *model;

    for (size_t i = 0; i < board->unit_count; i++) {
        units[i] = (struct piommu_ipmmu_model_unit){
            .name = board->units[i].name,
            .base = board->units[i].registers.first,
            .root = board->units[i].root,
            .is_off = true,
        };
    }
    model = piommu_ipmmu_model_create(&parameters, memory);
    if (model == NULL) {
        return complain(board, "the model cannot have these units");
    }
    for (size_t i = 0; i < board->unit_count; i++) {
        piommu_ipmmu_model_set_flush_polls(model, i, BOARD_FLUSH_POLLS);
    }
    piommu_ipmmu_model_record(model, board->traces);
    board->port.model = model;
    return true;
}

bool board_load(struct board *board, const char *file, const void *blob, size_t size)
{
    int error;

    board->file = file;
    board->blob = blob;
    board->port.memory = memory_create();
    if (board->port.memory == NULL) {
        return complain(board, "no memory");
    }
    error = piommu_fdt_open(&board->tree, port_host(&board->port), blob, size);
    if (error != 0) {
        return complain_of(board, error);
    }
    if (!load_units(board) || !find_roots(board) || !load_masters(board) ||
        !choose_stranger(board)) {
        return false;
    }
    find_generation(board);
    find_product_register(board);
    return make_model(board);
}

void board_unload(struct board *board)
{
    piommu_fdt_close(&board->tree);
    piommu_ipmmu_model_destroy(board->port.model);
    memory_destroy(board->port.memory);
}

/* ---- The library's objects ---- */

/* What a board does with its power domains. The model forgets everything, as hardware would. */
static int switch_power(void *cookie, bool on)
{
    const struct unit *unit = cookie;

    piommu_ipmmu_model_power(unit->board->port.model, (size_t)(unit - unit->board->units), on);
    return 0;
}

static const char *name_or(const char *name, const char *otherwise)
{
    return name != NULL ? name : otherwise;
}

static enum piommu_fault_answer on_fault(void *cookie, const struct piommu_fault *fault)
{
    struct board *board = cookie;

    board->fault_count++;
    board->fault = *fault;
    if (board->shows_faults) {
        note("fault by interrupt: %s, %s, IOVA 0x%" PRIx64 ": %s at level %d (status 0x%" PRIx32
             " of %s)",
             name_or(fault->domain_name, "no guest"),
             name_or(fault->device_name, "device not told"), fault->iova,
             piommu_fault_reason_name(fault->reason), fault->level_valid ? fault->level : -1,
             fault->raw, fault->instance_name);
    }
    return PIOMMU_FAULT_NOTE;
}

static void on_instance_ready(void *cookie, struct piommu_instance *instance, int error)
{
    struct piommu_instance_info info;

    (void)cookie;
    piommu_instance_get_info(instance, &info);
    note("%s, which has waited: %s", info.name, error == 0 ? "started" : piommu_strerror(error));
}

/* Keys are nodes of the tree. The number of a node that is an IOMMU is never 0. */
static int start_unit(struct board *board, struct unit *unit)
{
    struct piommu_instance_config config = {
        .name = unit->name,
        .owner = unit,
        .key = (uint64_t)unit->found.node,
        .parent_key = unit->found.main_node >= 0 ? (uint64_t)unit->found.main_node : 0,
        .timeout = TIMEOUT,
        .fault_records = 8,
    };

    unit->config = (struct piommu_ipmmu_vmsa_config){
        .compatible = unit->found.compatible,
        .registers = unit->registers.first,
        .tables = board->tables,
        .product_register = board->product_register,
        .product = piommu_ipmmu_model_product(board->port.model),
        .power = switch_power,
        .power_cookie = unit,
    };
    return piommu_instance_create(board->context, piommu_ipmmu_vmsa_backend(), &unit->config,
                                  &config, &unit->instance);
}

int board_start(struct board *board)
{
    struct piommu_context_config config = {
        .cookie = board,
        .fault = on_fault,
        .instance_ready = on_instance_ready,
        .trace = board->traces ? board_trace_event : NULL,
    };
    int error = piommu_context_create(port_host(&board->port), &config, &board->context);

    for (size_t i = 0; error == 0 && i < board->unit_count; i++) {
        struct unit *unit = &board->units[i];
        struct piommu_instance_info info;

        error = start_unit(board, unit);
        if (error == 0) {
            piommu_instance_get_info(unit->instance, &info);
            note("%s at 0x%" PRIx64 ": %s", unit->name, unit->registers.first,
                 info.state == PIOMMU_INSTANCE_WAITING ? "waits for its root" : "started");
        }
    }
    return error;
}

int board_stop(struct board *board)
{
    int error = 0;

    /* The parts of a root first. */
    for (unsigned int roots = 0; roots < 2; roots++) {
        for (size_t i = 0; error == 0 && i < board->unit_count; i++) {
            if ((board->units[i].root == i) == (roots == 1)) {
                error = piommu_instance_destroy(board->units[i].instance);
            }
        }
    }
    return error == 0 ? piommu_context_destroy(board->context) : error;
}

struct piommu_instance *board_root(const struct board *board)
{
    return board->units[board->units[0].root].instance;
}

static int add_master(struct board *board, struct master *master)
{
    struct piommu_device_id ids[PIOMMU_DEVICE_MAX_IDS];
    struct piommu_device_config config = {
        .ids = ids,
        .id_count = master->id_count,
        .name = master->name,
        .owner = master,
    };

    for (size_t i = 0; i < master->id_count; i++) {
        ids[i] = (struct piommu_device_id){
            .instance = board->units[master->ids[i].unit].instance,
            .id = master->ids[i].micro_tlb,
        };
    }
    return piommu_device_add(board->context, &config, &master->device);
}

int board_add_masters(struct board *board)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < board->master_count; i++) {
        error = add_master(board, &board->masters[i]);
    }
    return error;
}
