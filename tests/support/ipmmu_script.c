/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_script.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LINE_SIZE 128u
#define KEY_SIZE  64u

void ipmmu_script_begin(struct ipmmu_script *script, struct piommu_ipmmu_model *model)
{
    script->model = model;
    script->count = 0;
    piommu_ipmmu_model_record(model, true);
}

static void write_key(const struct ipmmu_trace_line *line, char key[KEY_SIZE])
{
    int length = snprintf(key, KEY_SIZE, "%s %c %s", line->unit, line->access,
                          piommu_ipmmu_model_register_name(line->which));

    if (line->which < PIOMMU_IPMMU_MODEL_IMSCTLR) {
        (void)snprintf(key + length, KEY_SIZE - (size_t)length, "(%u)", line->number);
    }
}

static void insert(struct ipmmu_script *script, size_t at, const struct ipmmu_trace_line *line)
{
    assert_in_range(script->count, 0, IPMMU_SCRIPT_LINES - 1);
    memmove(&script->lines[at + 1], &script->lines[at],
            (script->count - at) * sizeof(script->lines[0]));
    script->lines[at] = *line;
    script->count++;
}

static void add_line(struct ipmmu_script *script, const struct ipmmu_trace_line *line)
{
    insert(script, script->count, line);
}

static struct ipmmu_trace_line line_of(const char *format, va_list arguments)
{
    char text[LINE_SIZE];
    char with_offset[LINE_SIZE + 4];
    struct ipmmu_trace_line line;
    const char *value;

    (void)vsnprintf(text, sizeof(text), format, arguments);
    value = strrchr(text, ' ');
    assert_non_null(value);
    (void)snprintf(with_offset, sizeof(with_offset), "%.*s 0x0%s", (int)(value - text), text,
                   value);
    assert_true(ipmmu_trace_parse(with_offset, &line));
    return line;
}

void ipmmu_script_add(struct ipmmu_script *script, const char *format, ...)
{
    struct ipmmu_trace_line line;
    va_list arguments;

    va_start(arguments, format);
    line = line_of(format, arguments);
    va_end(arguments);
    add_line(script, &line);
}

void ipmmu_script_add_trace(struct ipmmu_script *script, const char *name,
                            bool (*is_wanted)(const struct ipmmu_trace_line *line))
{
    const struct ipmmu_trace *trace = ipmmu_trace_named(name);
    size_t before = script->count;

    for (size_t i = 0; i < trace->count; i++) {
        struct ipmmu_trace_line line;

        assert_true(ipmmu_trace_parse(trace->lines[i], &line));
        if (is_wanted(&line)) {
            add_line(script, &line);
        }
    }
    assert_true(script->count > before);
}

void ipmmu_script_append(struct ipmmu_script *script, const struct ipmmu_script *part)
{
    for (size_t i = 0; i < part->count; i++) {
        add_line(script, &part->lines[i]);
    }
}

static size_t find(const struct ipmmu_script *script, const char *key)
{
    for (size_t i = 0; i < script->count; i++) {
        char actual[KEY_SIZE];

        write_key(&script->lines[i], actual);
        if (strcmp(actual, key) == 0) {
            return i;
        }
    }
    fail_msg("no line \"%s\" to edit", key);
    return 0;
}

static void drop_at(struct ipmmu_script *script, size_t at)
{
    script->count--;
    memmove(&script->lines[at], &script->lines[at + 1],
            (script->count - at) * sizeof(script->lines[0]));
}

void ipmmu_script_drop(struct ipmmu_script *script, const char *key)
{
    drop_at(script, find(script, key));
}

void ipmmu_script_change(struct ipmmu_script *script, const char *key, const char *value)
{
    (void)snprintf(script->lines[find(script, key)].value, sizeof(script->lines[0].value), "%s",
                   value);
}

void ipmmu_script_move_to_end(struct ipmmu_script *script, const char *key)
{
    size_t at = find(script, key);
    struct ipmmu_trace_line line = script->lines[at];

    drop_at(script, at);
    add_line(script, &line);
}

void ipmmu_script_insert_before(struct ipmmu_script *script, const char *key, const char *format,
                                ...)
{
    struct ipmmu_trace_line line;
    va_list arguments;

    va_start(arguments, format);
    line = line_of(format, arguments);
    va_end(arguments);
    insert(script, find(script, key), &line);
}

void ipmmu_script_drop_all(struct ipmmu_script *script, char access,
                           enum piommu_ipmmu_model_register which)
{
    size_t before = script->count;

    for (size_t i = script->count; i-- > 0;) {
        if (script->lines[i].access == access && script->lines[i].which == which) {
            drop_at(script, i);
        }
    }
    assert_true(script->count < before);
}

void ipmmu_script_change_all(struct ipmmu_script *script, enum piommu_ipmmu_model_register which,
                             const char *value)
{
    size_t changed = 0;

    for (size_t i = 0; i < script->count; i++) {
        if (script->lines[i].access == 'W' && script->lines[i].which == which) {
            (void)snprintf(script->lines[i].value, sizeof(script->lines[i].value), "%s", value);
            changed++;
        }
    }
    assert_true(changed != 0);
}

/* A value that hangs on what was not read would be compared with nothing. */
static void assert_all_known(const struct ipmmu_script *script,
                             const struct ipmmu_trace_names *names)
{
    for (size_t i = 0; i < script->count; i++) {
        char name = script->lines[i].value[0];

        if (name >= 'a' && name <= 'z' && !names->was_read[name - 'a']) {
            fail_msg("%c was not read", name);
        }
    }
}

void ipmmu_script_expect(struct ipmmu_script *script, uint64_t table, uint32_t mair)
{
    char lines[IPMMU_SCRIPT_LINES][LINE_SIZE];
    const char *pointers[IPMMU_SCRIPT_LINES];
    struct ipmmu_trace_names names = {.table = table, .mair = mair};

    for (size_t i = 0; i < script->count; i++) {
        const struct ipmmu_trace_line *line = &script->lines[i];
        char key[KEY_SIZE];

        write_key(line, key);
        (void)snprintf(lines[i], LINE_SIZE, "%s%s 0x%03" PRIx32 " %s",
                       line->any_order  ? "~"
                       : line->optional ? "?"
                                        : "",
                       key, piommu_ipmmu_model_offset(script->model, line->which, line->number),
                       line->value);
        pointers[i] = lines[i];
    }
    ipmmu_trace_compare(script->model, pointers, script->count, &names);
    assert_all_known(script, &names);
    ipmmu_script_begin(script, script->model);
}
