/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_SCRIPT_H
#define IPMMU_SCRIPT_H

/**
 * @file ipmmu_script.h
 * What a driver should do to registers, made of the lines of golden traces and of edits. An edit
 * that finds nothing to edit fails the test, so that none is left when its reason has gone.
 *
 * Lines are as in ipmmu_traces.h, but without offsets, which are those of the model's layout: a
 * trace of one generation serves others, too. A key is what a line begins with: unit, access and
 * register, "M W IMCTR(1)"; the first such line is meant.
 */

#include "ipmmu_traces.h"

enum { IPMMU_SCRIPT_LINES = 256 };

struct ipmmu_script {
    struct piommu_ipmmu_model *model;
    struct ipmmu_trace_line lines[IPMMU_SCRIPT_LINES];
    size_t count;
};

/** Begins without lines, and with a new recording of the model. */
void ipmmu_script_begin(struct ipmmu_script *script, struct piommu_ipmmu_model *model);

/** Adds a line; the text is formatted. */
__attribute__((format(printf, 2, 3))) void ipmmu_script_add(struct ipmmu_script *script,
                                                            const char *format, ...);
/** Adds those lines of a trace that are wanted. */
void ipmmu_script_add_trace(struct ipmmu_script *script, const char *name,
                            bool (*is_wanted)(const struct ipmmu_trace_line *line));

/** Adds the lines of another script, edited apart: keys look at nothing else then. */
void ipmmu_script_append(struct ipmmu_script *script, const struct ipmmu_script *part);

/** Inserts a line before the one with this key. */
__attribute__((format(printf, 3, 4))) void ipmmu_script_insert_before(struct ipmmu_script *script,
                                                                      const char *key,
                                                                      const char *format, ...);
void ipmmu_script_drop(struct ipmmu_script *script, const char *key);
/** Drops all accesses ('R' or 'W') to registers of a kind. */
void ipmmu_script_drop_all(struct ipmmu_script *script, char access,
                           enum piommu_ipmmu_model_register which);
/** Gives a line another value. */
void ipmmu_script_change(struct ipmmu_script *script, const char *key, const char *value);
/** Gives all writes to registers of a kind another value. */
void ipmmu_script_change_all(struct ipmmu_script *script, enum piommu_ipmmu_model_register which,
                             const char *value);
void ipmmu_script_move_to_end(struct ipmmu_script *script, const char *key);

/**
 * Fails the test unless the model's recording is the script; then begins again.
 *
 * @param table what Tlo and Thi are.
 * @param mair  what MAIR is.
 */
void ipmmu_script_expect(struct ipmmu_script *script, uint64_t table, uint32_t mair);

#endif
