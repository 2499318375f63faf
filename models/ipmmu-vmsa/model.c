/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- readings ---- */

void piommu_ipmmu_model_default_readings(struct piommu_ipmmu_model_readings *readings)
{
    *readings = (struct piommu_ipmmu_model_readings){
        .disabled_micro_tlb = PIOMMU_IPMMU_MODEL_PASSES,
        .disabled_context = PIOMMU_IPMMU_MODEL_PASSES,
        .root_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_END,
        .cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE,
        .micro_tlb_entries = PIOMMU_IPMMU_MODEL_MICRO_TLB_UNTAGGED,
        .translation_code = 1,
    };
}

enum variant {
    VARIANT_DEFAULT,
    VARIANT_MICRO_TLB_ABORTS,
    VARIANT_CONTEXT_ABORTS,
    VARIANT_ROOT_AT_WRITE,
    VARIANT_CACHE_WITH_ROOT,
    VARIANT_CACHE_AT_END,
    VARIANT_REFILLS_REACHED,
    VARIANT_FLUSH_RESTARTS,
    VARIANT_FLUSH_SURVIVES,
    VARIANT_MICRO_TLB_EMPTY,
    VARIANT_MICRO_TLB_TAGGED,
    VARIANT_MICRO_TLB_FLUSH_READS_BACK,
    VARIANT_SECGRP_CLEAR,
    VARIANT_STATUS_ALL_OR_NOTHING,
    VARIANT_LAST_FAULT,
    VARIANT_PAGE_ADDRESS,
    VARIANT_ACCESS_FLAG_PERMISSION,
    VARIANT_OTHER_CODES,
    VARIANT_MULTIPLE_HITS,
    VARIANT_WALKS_NOT_KEPT,
    VARIANT_STAGE2_START,
    VARIANT_UPPER_HALF_FAULTS,
    VARIANT_S2PTE_FOR_ALL,
    VARIANT_ALL,
};

static const char *const variant_names[] = {
    [VARIANT_DEFAULT] = "defaults",
    [VARIANT_MICRO_TLB_ABORTS] = "a disabled micro-TLB aborts",
    [VARIANT_CONTEXT_ABORTS] = "a disabled context aborts",
    [VARIANT_ROOT_AT_WRITE] = "the root's FLUSH acts at the write",
    [VARIANT_CACHE_WITH_ROOT] = "a cache's FLUSH ends with the root's",
    [VARIANT_CACHE_AT_END] = "a cache's FLUSH acts at its end",
    [VARIANT_REFILLS_REACHED] = "the root's FLUSH reaches refills",
    [VARIANT_FLUSH_RESTARTS] = "FLUSH during a FLUSH begins again",
    [VARIANT_FLUSH_SURVIVES] = "a FLUSH survives other writes",
    [VARIANT_MICRO_TLB_EMPTY] = "micro-TLBs keep nothing",
    [VARIANT_MICRO_TLB_TAGGED] = "micro-TLB entries are tagged",
    [VARIANT_MICRO_TLB_FLUSH_READS_BACK] = "FLUSH of a micro-TLB reads back",
    [VARIANT_SECGRP_CLEAR] = "USE_SECGRP is clear at reset",
    [VARIANT_STATUS_ALL_OR_NOTHING] = "IMSTR is cleared by 0 only",
    [VARIANT_LAST_FAULT] = "the last fault wins",
    [VARIANT_PAGE_ADDRESS] = "fault addresses are pages",
    [VARIANT_ACCESS_FLAG_PERMISSION] = "AF = 0 is a permission fault",
    [VARIANT_OTHER_CODES] = "other error codes",
    [VARIANT_MULTIPLE_HITS] = "multiple hits fault",
    [VARIANT_WALKS_NOT_KEPT] = "table pointers are not kept",
    [VARIANT_STAGE2_START] = "stage 2 starts at level 1 with SL0 = 2",
    [VARIANT_UPPER_HALF_FAULTS] = "there is no upper half",
    [VARIANT_S2PTE_FOR_ALL] = "S2PTE excludes stage 1",
    [VARIANT_ALL] = "everything else than by default",
};

static void apply_variant(enum variant variant, struct piommu_ipmmu_model_readings *readings)
{
    switch (variant) {
    case VARIANT_MICRO_TLB_ABORTS:
        readings->disabled_micro_tlb = PIOMMU_IPMMU_MODEL_ABORTS;
        break;
    case VARIANT_CONTEXT_ABORTS:
        readings->disabled_context = PIOMMU_IPMMU_MODEL_ABORTS;
        break;
    case VARIANT_ROOT_AT_WRITE:
        readings->root_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE;
        break;
    case VARIANT_CACHE_WITH_ROOT:
        readings->cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_WITH_ROOT;
        break;
    case VARIANT_CACHE_AT_END:
        readings->cache_flush = PIOMMU_IPMMU_MODEL_FLUSH_AT_END;
        break;
    case VARIANT_REFILLS_REACHED:
        readings->root_flush_reaches_refills = true;
        break;
    case VARIANT_FLUSH_RESTARTS:
        readings->flush_restarts = true;
        break;
    case VARIANT_FLUSH_SURVIVES:
        readings->flush_survives_writes = true;
        break;
    case VARIANT_MICRO_TLB_EMPTY:
        readings->micro_tlb_entries = PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY;
        break;
    case VARIANT_MICRO_TLB_TAGGED:
        readings->micro_tlb_entries = PIOMMU_IPMMU_MODEL_MICRO_TLB_TAGGED;
        break;
    case VARIANT_MICRO_TLB_FLUSH_READS_BACK:
        readings->micro_tlb_flush_reads_back = true;
        break;
    case VARIANT_SECGRP_CLEAR:
        readings->secgrp_clear_at_reset = true;
        break;
    case VARIANT_STATUS_ALL_OR_NOTHING:
        readings->status_write_all_or_nothing = true;
        break;
    case VARIANT_LAST_FAULT:
        readings->last_fault_wins = true;
        break;
    case VARIANT_PAGE_ADDRESS:
        readings->fault_address_is_page = true;
        break;
    case VARIANT_ACCESS_FLAG_PERMISSION:
        readings->access_flag_is_permission = true;
        break;
    case VARIANT_OTHER_CODES:
        readings->translation_code = 0;
        readings->abort_code = 1;
        readings->multiple_code = 1;
        break;
    case VARIANT_MULTIPLE_HITS:
        readings->multiple_hits_fault = true;
        break;
    case VARIANT_WALKS_NOT_KEPT:
        readings->walks_not_kept = true;
        break;
    case VARIANT_STAGE2_START:
        readings->stage2_start = PIOMMU_IPMMU_MODEL_STAGE2_START_2;
        break;
    case VARIANT_UPPER_HALF_FAULTS:
        readings->upper_half_faults = true;
        break;
    case VARIANT_S2PTE_FOR_ALL:
        readings->s2pte_for_all = true;
        break;
    case VARIANT_DEFAULT:
    case VARIANT_ALL:
        break;
    }
}

bool piommu_ipmmu_model_readings_variant(unsigned int number,
                                         struct piommu_ipmmu_model_readings *readings,
                                         const char **name)
{
    if (number > VARIANT_ALL) {
        return false;
    }
    piommu_ipmmu_model_default_readings(readings);
    if (number != VARIANT_ALL) {
        apply_variant((enum variant)number, readings);
    } else {
        for (unsigned int i = 0; i < VARIANT_ALL; i++) {
            apply_variant((enum variant)i, readings);
        }
    }
    *name = variant_names[number];
    return true;
}

struct piommu_ipmmu_model_readings *piommu_ipmmu_model_readings(struct piommu_ipmmu_model *model)
{
    return &model->readings;
}

/* ---- making ---- */

void piommu_ipmmu_model_check_number_(const char *what, size_t number, size_t limit)
{
    if (number >= limit) {
        (void)fprintf(stderr, "IPMMU model: there is no %s %zu\n", what, number);
        abort();
    }
}

struct model_unit *piommu_ipmmu_model_unit_(const struct piommu_ipmmu_model *model, size_t number)
{
    piommu_ipmmu_model_check_number_("unit", number, model->unit_count);
    return &model->units[number];
}

void *piommu_ipmmu_model_grow_(void *array, size_t *room, size_t element_size)
{
    *room = *room != 0 ? 2 * *room : 64;
    array = realloc(array, *room * element_size);
    if (array == NULL) {
        abort();
    }
    return array;
}

static uint32_t default_product(enum piommu_ipmmu_model_class generation)
{
    static const uint32_t products[] = {
        [PIOMMU_IPMMU_MODEL_GEN2] = 0x4520, /* H2 */
        [PIOMMU_IPMMU_MODEL_GEN3] = 0x4f30, /* H3 ES3.0 */
        [PIOMMU_IPMMU_MODEL_GEN4] = 0x5c00, /* V4H */
    };

    return products[generation];
}

static bool product_has_stage2(uint32_t product)
{
    unsigned int cut = product & 0xff;

    switch (product >> 8 & 0x7f) {
    case 0x4f: /* H3 */
    case 0x52: /* M3-W, M3-W+ */
        return cut >= 0x20;
    case 0x55: /* M3-N */
    case 0x5a: /* S4 */
    case 0x5c: /* V4H */
        return true;
    default:
        return false;
    }
}

static const unsigned int class_contexts[] = {
    [PIOMMU_IPMMU_MODEL_GEN2] = 4,
    [PIOMMU_IPMMU_MODEL_GEN3] = 8,
    [PIOMMU_IPMMU_MODEL_GEN4] = 16,
};

static const unsigned int class_micro_tlbs[] = {
    [PIOMMU_IPMMU_MODEL_GEN2] = 32,
    [PIOMMU_IPMMU_MODEL_GEN3] = 48,
    [PIOMMU_IPMMU_MODEL_GEN4] = 64,
};

static uint64_t class_size(enum piommu_ipmmu_model_class generation)
{
    return generation == PIOMMU_IPMMU_MODEL_GEN4 ? MODEL_LARGEST_SPACE : 0x1000;
}

uint64_t piommu_ipmmu_model_size(const struct piommu_ipmmu_model *model)
{
    return class_size(model->parameters.generation);
}

static bool unit_makes_sense(const struct piommu_ipmmu_model_parameters *parameters, size_t number)
{
    const struct piommu_ipmmu_model_unit *unit = &parameters->units[number];

    if (unit->name == NULL || strlen(unit->name) > MODEL_NAME_LENGTH ||
        unit->root >= parameters->unit_count || parameters->units[unit->root].root != unit->root ||
        unit->contexts > class_contexts[parameters->generation] ||
        unit->micro_tlbs > class_micro_tlbs[parameters->generation] || (unit->base & 3) != 0 ||
        unit->base > UINT64_MAX - (class_size(parameters->generation) - 1) ||
        (unit->has_erratum && unit->root == number)) {
        return false;
    }
    return parameters->generation != PIOMMU_IPMMU_MODEL_GEN2 || unit->root == number;
}

static void make_unit(struct piommu_ipmmu_model *model, size_t number)
{
    enum piommu_ipmmu_model_class generation = model->parameters.generation;
    struct model_unit *unit = &model->units[number];

    unit->is = model->parameters.units[number];
    memcpy(unit->name, unit->is.name, strlen(unit->is.name));
    unit->is.name = unit->name;
    unit->is_root = unit->is.root == number;
    unit->is_on = !unit->is.is_off;
    if (unit->is.contexts == 0) {
        unit->is.contexts = class_contexts[generation];
    }
    if (unit->is.micro_tlbs == 0) {
        unit->is.micro_tlbs = class_micro_tlbs[generation];
    }
    piommu_ipmmu_model_reset_unit_(model, unit);
    if (unit->is_on && unit->is_root && generation == PIOMMU_IPMMU_MODEL_GEN3) {
        unit->imsctlr |= UINT32_C(0xc0000000);
        unit->imsauxctlr = UINT32_C(0x01000000);
    }
}

static void place(struct piommu_ipmmu_model *model, enum piommu_ipmmu_model_register which,
                  unsigned int number)
{
    uint32_t offset = piommu_ipmmu_model_offset(model, which, number);

    if (offset < piommu_ipmmu_model_size(model) &&
        model->map[offset / 4].which == PIOMMU_IPMMU_MODEL_REGISTERS) {
        model->map[offset / 4] = (struct model_place){(uint8_t)which, (uint8_t)number};
    }
}

/*
 * Also where a class has no such context or micro-TLB, so that a violation can name what software
 * took it for. What the formulas of two registers claim belongs to the lower number.
 */
static void make_map(struct piommu_ipmmu_model *model)
{
    for (size_t i = 0; i < MODEL_LARGEST_SPACE / 4; i++) {
        model->map[i].which = PIOMMU_IPMMU_MODEL_REGISTERS;
    }
    if (model->parameters.generation != PIOMMU_IPMMU_MODEL_GEN2) {
        place(model, PIOMMU_IPMMU_MODEL_IMSCTLR, 0);
        place(model, PIOMMU_IPMMU_MODEL_IMSAUXCTLR, 0);
    }
    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; n++) {
        for (unsigned int which = 0; which < PIOMMU_IPMMU_MODEL_IMUCTR; which++) {
            bool is_gen2 = model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2;

            if ((which != PIOMMU_IPMMU_MODEL_IMBUSCR || is_gen2) &&
                (which != PIOMMU_IPMMU_MODEL_IMEUAR || !is_gen2)) {
                place(model, (enum piommu_ipmmu_model_register)which, n);
            }
        }
    }
    for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS; n++) {
        place(model, PIOMMU_IPMMU_MODEL_IMUCTR, n);
        place(model, PIOMMU_IPMMU_MODEL_IMUASID, n);
    }
}

static bool units_overlap(const struct piommu_ipmmu_model_parameters *parameters)
{
    uint64_t size = class_size(parameters->generation);

    for (size_t i = 0; i < parameters->unit_count; i++) {
        for (size_t k = 0; k < i; k++) {
            uint64_t one = parameters->units[i].base;
            uint64_t other = parameters->units[k].base;

            if ((one > other ? one - other : other - one) < size) {
                return true;
            }
        }
    }
    return false;
}

struct piommu_ipmmu_model *piommu_ipmmu_model_create(
    const struct piommu_ipmmu_model_parameters *parameters, struct piommu_walker_memory memory)
{
    struct piommu_ipmmu_model *model;

    if (parameters->units == NULL || parameters->unit_count == 0 ||
        parameters->unit_count > PIOMMU_IPMMU_MODEL_MAX_UNITS ||
        parameters->generation > PIOMMU_IPMMU_MODEL_GEN4) {
        return NULL;
    }
    for (size_t i = 0; i < parameters->unit_count; i++) {
        if (!unit_makes_sense(parameters, i)) {
            return NULL;
        }
    }
    if (units_overlap(parameters)) {
        return NULL;
    }
    model = calloc(1, sizeof(*model));
    if (model == NULL) {
        return NULL;
    }
    model->units = calloc(parameters->unit_count, sizeof(*model->units));
    if (model->units == NULL) {
        free(model);
        return NULL;
    }
    model->parameters = *parameters;
    piommu_ipmmu_model_open_memory_(model, memory);
    model->unit_count = parameters->unit_count;
    if (model->parameters.product == 0) {
        model->parameters.product = default_product(parameters->generation);
    }
    model->has_stage2 = parameters->stage2 == PIOMMU_IPMMU_MODEL_STAGE2_BY_PRODUCT
                            ? product_has_stage2(model->parameters.product)
                            : parameters->stage2 == PIOMMU_IPMMU_MODEL_STAGE2_PRESENT;
    if (parameters->readings != NULL) {
        model->readings = *parameters->readings;
    } else {
        piommu_ipmmu_model_default_readings(&model->readings);
    }
    make_map(model);
    for (size_t i = 0; i < model->unit_count; i++) {
        make_unit(model, i);
    }
    /* They were the caller's. */
    model->parameters.units = NULL;
    model->parameters.readings = NULL;
    return model;
}

void piommu_ipmmu_model_destroy(struct piommu_ipmmu_model *model)
{
    if (model == NULL) {
        return;
    }
    for (size_t i = 0; i < model->unit_count; i++) {
        piommu_ipmmu_model_free_tlbs_(&model->units[i]);
    }
    piommu_ipmmu_model_close_memory_(model);
    free(model->units);
    free(model->recording);
    free(model);
}

void piommu_ipmmu_model_reset_unit_(struct piommu_ipmmu_model *model, struct model_unit *unit)
{
    memset(unit->context_registers, 0, sizeof(unit->context_registers));
    memset(unit->is_left_over, 0, sizeof(unit->is_left_over));
    memset(unit->imuctr, 0, sizeof(unit->imuctr));
    memset(unit->imuasid, 0, sizeof(unit->imuasid));
    memset(unit->micro_tlb_is_left_over, 0, sizeof(unit->micro_tlb_is_left_over));
    for (unsigned int i = 0; i < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; i++) {
        unit->flush[i].is_running = false;
    }
    unit->imsctlr = model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2 ||
                            model->readings.secgrp_clear_at_reset
                        ? 0
                        : IMSCTLR_SECGRP;
    unit->imsauxctlr = 0;
    unit->was_written = false;
    piommu_ipmmu_model_drop_all_(unit);
    piommu_ipmmu_model_update_interrupt_(unit);
}

void piommu_ipmmu_model_power(struct piommu_ipmmu_model *model, size_t number, bool on)
{
    struct model_unit *unit = piommu_ipmmu_model_unit_(model, number);

    if (unit->is_on != on) {
        unit->is_on = on;
        piommu_ipmmu_model_reset_unit_(model, unit);
    }
}

bool piommu_ipmmu_model_is_on(const struct piommu_ipmmu_model *model, size_t unit)
{
    return piommu_ipmmu_model_unit_(model, unit)->is_on;
}

uint64_t piommu_ipmmu_model_product_address(const struct piommu_ipmmu_model *model)
{
    return model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN2 ? UINT64_C(0xff000044)
                                                                   : UINT64_C(0xfff00044);
}

uint32_t piommu_ipmmu_model_product(const struct piommu_ipmmu_model *model)
{
    return model->parameters.product;
}

/* ---- violations ---- */

void piommu_ipmmu_model_violation_(struct piommu_ipmmu_model *model,
                                   enum piommu_ipmmu_model_rule rule, const char *format, ...)
{
    va_list arguments;

    model->broken |= (uint32_t)rule;
    if ((model->parameters.forgiven & (uint32_t)rule) != 0) {
        return;
    }
    if (model->violation_count < PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS) {
        va_start(arguments, format);
        (void)vsnprintf(model->violations[model->violation_count], MODEL_MESSAGE_SIZE, format,
                        arguments);
        va_end(arguments);
    }
    model->violation_count++;
}

void piommu_ipmmu_model_forgive(struct piommu_ipmmu_model *model, uint32_t rules)
{
    model->parameters.forgiven = rules;
}

size_t piommu_ipmmu_model_violations(const struct piommu_ipmmu_model *model)
{
    return model->violation_count;
}

const char *piommu_ipmmu_model_violation(const struct piommu_ipmmu_model *model, size_t index)
{
    if (index >= model->violation_count || index >= PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS) {
        return NULL;
    }
    return model->violations[index];
}

uint32_t piommu_ipmmu_model_broken_rules(const struct piommu_ipmmu_model *model)
{
    return model->broken;
}

void piommu_ipmmu_model_forget_violations(struct piommu_ipmmu_model *model)
{
    model->violation_count = 0;
    model->broken = 0;
}

/* ---- counters ---- */

static void add_counters(struct piommu_ipmmu_model_counters *sum,
                         const struct piommu_ipmmu_model_counters *one)
{
    sum->reads += one->reads;
    sum->writes += one->writes;
    sum->flushes += one->flushes;
    sum->flushes_meanwhile += one->flushes_meanwhile;
    sum->micro_tlb_flushes += one->micro_tlb_flushes;
    sum->dma_blocked += one->dma_blocked;
    sum->dma_translated += one->dma_translated;
    sum->dma_bypassed += one->dma_bypassed;
    sum->walks += one->walks;
    sum->faults += one->faults;
    sum->interrupts += one->interrupts;
    sum->conflicts += one->conflicts;
}

struct piommu_ipmmu_model_counters piommu_ipmmu_model_counters(
    const struct piommu_ipmmu_model *model, size_t unit)
{
    struct piommu_ipmmu_model_counters sum = {0};

    if (unit != PIOMMU_IPMMU_MODEL_ALL_UNITS) {
        return piommu_ipmmu_model_unit_(model, unit)->counters;
    }
    for (size_t i = 0; i < model->unit_count; i++) {
        add_counters(&sum, &model->units[i].counters);
    }
    return sum;
}

uint64_t piommu_ipmmu_model_writes(const struct piommu_ipmmu_model *model, size_t unit,
                                   enum piommu_ipmmu_model_register which)
{
    uint64_t sum = 0;

    if (unit != PIOMMU_IPMMU_MODEL_ALL_UNITS) {
        return piommu_ipmmu_model_unit_(model, unit)->writes[which];
    }
    for (size_t i = 0; i < model->unit_count; i++) {
        sum += model->units[i].writes[which];
    }
    return sum;
}

uint64_t piommu_ipmmu_model_flushes(const struct piommu_ipmmu_model *model, size_t unit,
                                    unsigned int context)
{
    piommu_ipmmu_model_check_number_("context", context, PIOMMU_IPMMU_MODEL_MAX_CONTEXTS);
    return piommu_ipmmu_model_unit_(model, unit)->flush[context].count;
}

/* ---- watching ---- */

void piommu_ipmmu_model_observe(struct piommu_ipmmu_model *model,
                                void (*observer)(void *ctx,
                                                 const struct piommu_ipmmu_model_access *access),
                                void *ctx)
{
    model->observer = observer;
    model->observer_ctx = ctx;
}

void piommu_ipmmu_model_record(struct piommu_ipmmu_model *model, bool on)
{
    if (on) {
        model->recorded = 0;
    }
    model->is_recording = on;
}

void piommu_ipmmu_model_forget_recording(struct piommu_ipmmu_model *model)
{
    model->recorded = 0;
}

size_t piommu_ipmmu_model_recorded(const struct piommu_ipmmu_model *model)
{
    return model->recorded;
}

const struct piommu_ipmmu_model_access *piommu_ipmmu_model_recorded_access(
    const struct piommu_ipmmu_model *model, size_t index)
{
    return index < model->recorded ? &model->recording[index] : NULL;
}

static bool has_number(enum piommu_ipmmu_model_register which)
{
    return which != PIOMMU_IPMMU_MODEL_IMSCTLR && which != PIOMMU_IPMMU_MODEL_IMSAUXCTLR;
}

void piommu_ipmmu_model_recorded_line(const struct piommu_ipmmu_model *model, size_t index,
                                      char line[PIOMMU_IPMMU_MODEL_LINE_SIZE])
{
    const struct piommu_ipmmu_model_access *access =
        piommu_ipmmu_model_recorded_access(model, index);
    char number[16] = "";

    line[0] = '\0';
    if (access == NULL) {
        return;
    }
    if (has_number(access->which)) {
        (void)snprintf(number, sizeof(number), "(%u)", access->number);
    }
    (void)snprintf(line, PIOMMU_IPMMU_MODEL_LINE_SIZE, "%s %c %s%s 0x%03" PRIx32 " 0x%08" PRIx32,
                   model->units[access->unit].is.name, access->is_write ? 'W' : 'R',
                   piommu_ipmmu_model_register_name(access->which), number, access->offset,
                   access->value);
}
