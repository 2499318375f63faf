/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FRONT_HOSTILE_H
#define FRONT_HOSTILE_H

/**
 * @file front_hostile.h
 * A guest that does anything with a front: accesses of all offsets and widths, rings full of
 * nonsense, and a device behind the front that changes, fails and resets slowly. The test fails if
 * memory is touched for a queue that was not ready, or of a device that was not running, if
 * something changes that is latched, or if a bit of the status vanishes without a reset.
 */

#include "front_machine.h"

/** Where its decisions come from. */
struct front_hostile_source {
    uint32_t (*random)(void *ctx, unsigned int bytes); /**< so many bytes of randomness, or more */
    bool (*more)(void *ctx);                           /**< false: no further step */
    void *ctx;
};

/** A number below a limit. */
uint32_t front_hostile_below(const struct front_hostile_source *source, uint32_t limit);
/** One that means something more often than by chance: `places` are addresses from `first` on. */
uint64_t front_hostile_value(const struct front_hostile_source *source, uint64_t first,
                             uint64_t stride, uint32_t places);
/** One that never ends, from a number that is not 0 and changes with it. */
struct front_hostile_source front_hostile_from(uint64_t *state);

/** What has come of it; added to what was there. */
struct front_hostile_result {
    unsigned int lives;    /**< how often the device was started */
    unsigned int requests; /**< that were completed */
};

/** Makes a machine, and does at most `count` steps. */
void front_hostile_run(const struct front_machine_options *options,
                       const struct front_hostile_source *randomness, size_t count,
                       struct front_hostile_result *result);

#endif
