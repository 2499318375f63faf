/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* All leaves, and all links. */

#include "internal.h"

#include <string.h>

/* Does the other half have all of this range? It lies at the end, so the ends tell. */
static bool is_out_of_reach(const struct piommu_walker_regime *regime, uint64_t input,
                            unsigned int shift)
{
    return !piommu_walker_input_is_in_range(regime, input) &&
           !piommu_walker_input_is_in_range(regime, input | bits_below(shift));
}

struct tour {
    const struct piommu_walker_regime *regime;
    const struct piommu_walker_memory *memory;
    /* Either may be NULL. */
    piommu_walker_visit visit_leaf;
    piommu_walker_visit_link visit_link;
    void *ctx;
    bool is_incomplete; /* a table could not be read */
};

static bool visit_leaf(const struct tour *tour, const struct sweep *sweep, const struct spot *spot,
                       uint64_t output)
{
    struct piommu_walker_leaf leaf;

    if (tour->visit_leaf == NULL) {
        return true;
    }
    memset(&leaf, 0, sizeof(leaf));
    leaf.input = spot->input;
    leaf.output = output;
    leaf.shift = level_shift(tour->regime, spot->level);
    leaf.level = spot->level;
    leaf.location = spot->location;
    leaf.descriptor = spot->descriptor;
    piommu_walker_decode_attributes_(tour->regime, spot->level, spot->descriptor,
                                     sweep->position.inherited, &leaf.attributes);
    return tour->visit_leaf(tour->ctx, &leaf);
}

static bool visit_link(const struct tour *tour, const struct sweep *child, const struct spot *spot)
{
    const struct piommu_walker_link link = {spot->input, spot->level, spot->location,
                                            spot->descriptor, child->position};

    return tour->visit_link == NULL || tour->visit_link(tour->ctx, &link);
}

/* Calls itself one level further down each time. Returns false if a visitor ended the sweep. */
static bool visit_table(struct tour *tour, const struct sweep *sweep)
{
    unsigned int shift = level_shift(tour->regime, sweep->position.level);

    for (size_t i = 0; i < sweep->entries; i++) {
        struct spot spot = spot_at(tour->regime, sweep, i);
        struct entry entry;

        if (!tour->memory->read64(tour->memory->ctx, spot.location, &spot.descriptor)) {
            tour->is_incomplete = true;
            return true;
        }
        if (!(spot.descriptor & BIT(0))) {
            continue; /* most of them: not worth a closer look */
        }
        entry = piommu_walker_decode_entry_(tour->regime, spot.level, spot.descriptor);
        if (entry.is_too_high || is_out_of_reach(tour->regime, spot.input, shift)) {
            continue;
        }
        if (entry.kind == ENTRY_LEAF) {
            if (!visit_leaf(tour, sweep, &spot, entry.address)) {
                return false;
            }
        } else if (entry.kind == ENTRY_TABLE) {
            struct sweep child = child_sweep(tour->regime, sweep, &spot, entry.address);

            if (!visit_link(tour, &child, &spot) || !visit_table(tour, &child)) {
                return false;
            }
        }
    }
    return true;
}

static bool make_tour(struct tour *tour)
{
    struct sweep root;

    if (piommu_walker_validate(tour->regime) != PIOMMU_WALKER_SETUP_OK) {
        return false;
    }
    if (tour->regime->is_disabled) {
        return true;
    }
    root = root_sweep(tour->regime);
    return visit_table(tour, &root) && !tour->is_incomplete;
}

bool piommu_walker_for_each_link(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_memory *memory,
                                 piommu_walker_visit_link visit, void *ctx)
{
    struct tour tour = {regime, memory, NULL, visit, ctx, false};

    return make_tour(&tour);
}

bool piommu_walker_for_each_leaf(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_memory *memory,
                                 piommu_walker_visit visit, void *ctx)
{
    struct tour tour = {regime, memory, visit, NULL, ctx, false};

    return make_tour(&tour);
}
