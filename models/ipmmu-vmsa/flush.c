/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* IMCTR.FLUSH: when it begins, when it ends, and what it has reached then. */

#include "internal.h"

static enum piommu_ipmmu_model_flush flush_reading(const struct piommu_ipmmu_model *model,
                                                   const struct model_unit *unit)
{
    return unit->is_root ? model->readings.root_flush : model->readings.cache_flush;
}

/* The bit goes away; what it still has to do is done. */
static void end_flush(struct piommu_ipmmu_model *model, struct model_unit *unit,
                      unsigned int context)
{
    struct model_flush *flush = &unit->flush[context];

    if (!flush->is_running) {
        return;
    }
    flush->is_running = false;
    piommu_ipmmu_model_drop_(unit, context, flush->started);
    if (!unit->is_root) {
        return;
    }
    for (size_t i = 0; i < model->unit_count; i++) {
        struct model_unit *cache = &model->units[i];

        if (cache->is_root || root_of(model, cache) != unit) {
            continue;
        }
        if (model->readings.cache_flush == PIOMMU_IPMMU_MODEL_FLUSH_WITH_ROOT &&
            cache->flush[context].is_running && cache->flush[context].started < flush->started) {
            end_flush(model, cache, context);
        }
        if (model->readings.root_flush_reaches_refills) {
            piommu_ipmmu_model_drop_refills_(cache, context, flush->started);
        }
    }
}

void piommu_ipmmu_model_begin_flush_(struct piommu_ipmmu_model *model, struct model_unit *unit,
                                     unsigned int context)
{
    struct model_flush *flush = &unit->flush[context];
    bool is_immediate = flush_reading(model, unit) == PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE;

    flush->count++;
    unit->counters.flushes++;
    if (flush->is_running) {
        unit->counters.flushes_meanwhile++;
        if (!is_immediate && !model->readings.flush_restarts) {
            return;
        }
    }
    flush->is_running = true;
    flush->started = model->now;
    flush->polls = unit->polls;
    if (is_immediate) {
        piommu_ipmmu_model_drop_(unit, context, flush->started);
    }
    if (flush->polls == 0) {
        end_flush(model, unit, context);
    }
}

void piommu_ipmmu_model_poll_flush_(struct piommu_ipmmu_model *model, struct model_unit *unit,
                                    unsigned int context)
{
    struct model_flush *flush = &unit->flush[context];

    if (flush->is_running && flush->polls != PIOMMU_IPMMU_MODEL_NEVER) {
        flush->polls--;
        if (flush->polls == 0) {
            end_flush(model, unit, context);
        }
    }
}

static void check_one_or_all(const struct piommu_ipmmu_model *model, size_t unit)
{
    if (unit != PIOMMU_IPMMU_MODEL_ALL_UNITS) {
        piommu_ipmmu_model_check_number_("unit", unit, model->unit_count);
    }
}

void piommu_ipmmu_model_set_flush_polls(struct piommu_ipmmu_model *model, size_t unit,
                                        uint32_t polls)
{
    check_one_or_all(model, unit);
    for (size_t i = 0; i < model->unit_count; i++) {
        if (unit == i || unit == PIOMMU_IPMMU_MODEL_ALL_UNITS) {
            model->units[i].polls = polls;
        }
    }
}

void piommu_ipmmu_model_end_flushes(struct piommu_ipmmu_model *model, size_t unit)
{
    check_one_or_all(model, unit);
    for (size_t i = 0; i < model->unit_count; i++) {
        for (unsigned int n = 0; n < PIOMMU_IPMMU_MODEL_MAX_CONTEXTS; n++) {
            if (unit == i || unit == PIOMMU_IPMMU_MODEL_ALL_UNITS) {
                end_flush(model, &model->units[i], n);
            }
        }
    }
}

bool piommu_ipmmu_model_is_flushing(const struct piommu_ipmmu_model *model, size_t unit,
                                    unsigned int context)
{
    piommu_ipmmu_model_check_number_("context", context, PIOMMU_IPMMU_MODEL_MAX_CONTEXTS);
    return piommu_ipmmu_model_unit_(model, unit)->flush[context].is_running;
}
