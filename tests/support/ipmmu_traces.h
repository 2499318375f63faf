/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_TRACES_H
#define IPMMU_TRACES_H

/**
 * @file ipmmu_traces.h
 * Golden traces: the register accesses of drivers that are known to work, line by line, and the
 * means to compare a recording of the IPMMU model with such lines.
 *
 * A line is "unit access register offset value", as the model records it. The units are M, a root;
 * D, H and P, cache units behind it; on Gen2 M alone. An access is
 *
 *   R  a read; the value may be >name, which keeps what was read under a name of one letter
 *   W  a write
 *   P  polling for the end of a FLUSH: reads with bit 1 set, then one with bit 1 clear; a value of
 *      the last read, or *
 *
 * and a value is * for any, n/m for one that is n as far as the bits of m go, or terms that are
 * applied from left to right: >name's, Tlo and Thi (the words of the table's address), MAIR, and
 * numbers, with |, & and &~ between them. Consecutive lines that begin with ~ and have the same
 * access come in any order. What a line that begins with ? says may happen, or not.
 */

#include <piommu/models/ipmmu-vmsa.h>

/** A trace. What it begins with is what earlier ones have left. */
struct ipmmu_trace {
    const char *name; /**< "T2", "T4 Xen", ... */
    enum piommu_ipmmu_model_class generation;
    const char *const *lines;
    size_t count;
};

/** What the names in values stand for. */
struct ipmmu_trace_names {
    uint64_t table;
    uint32_t mair;
    uint32_t read[26]; /**< by letter */
    bool was_read[26];
};

/** The nth trace; NULL: there are no more. */
const struct ipmmu_trace *ipmmu_trace(size_t number);
/** By name; fails the test if there is none. */
const struct ipmmu_trace *ipmmu_trace_named(const char *name);

/** Fails the test, with both sides, unless the model's recording is these lines. */
void ipmmu_trace_compare(const struct piommu_ipmmu_model *model, const char *const *lines,
                         size_t count, struct ipmmu_trace_names *names);
/**
 * The same for what was written alone, on both sides: for a driver that knows from its own state
 * what others read from a register. Values that hang on a read are not compared.
 */
void ipmmu_trace_compare_writes(const struct piommu_ipmmu_model *model, const char *const *lines,
                                size_t count, struct ipmmu_trace_names *names);
/** Tells whether they are the same; if not, `message` says where they differ. */
bool ipmmu_trace_matches(const struct piommu_ipmmu_model *model, const char *const *lines,
                         size_t count, bool writes_only, struct ipmmu_trace_names *names,
                         char *message, size_t message_size);

/**
 * Makes the accesses of a trace. Polls end after 100 reads. Values of reads are not looked at.
 *
 * @param units those of the model, to find addresses by name.
 */
void ipmmu_trace_replay(struct piommu_ipmmu_model *model,
                        const struct piommu_ipmmu_model_unit *units, size_t unit_count,
                        const struct ipmmu_trace *trace, struct ipmmu_trace_names *names);

/** A line in parts. */
struct ipmmu_trace_line {
    bool any_order;
    bool optional;
    char unit[16];
    char access; /**< R, W, P */
    enum piommu_ipmmu_model_register which;
    unsigned int number;
    uint32_t offset;
    char value[32];
};

/** false: it is not a line of a trace. */
bool ipmmu_trace_parse(const char *text, struct ipmmu_trace_line *line);

#endif
