/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Opening a blob: the checks, the one walk, and the index; and what the other files ask it for. */

#include "tree.h"

/* The most that a table grows by at a time, in elements. */
#define FIRST_CAPACITY 64u

/* In the order of enum property_kind. */
static const char *const names[PROPERTY_KINDS] = {
    "#address-cells",
    "compatible",
    "device_type",
    "dma-coherent",
    "dma-noncoherent",
    "dma-ranges",
    "#interrupt-cells",
    "interrupt-parent",
    "interrupts",
    "interrupts-extended",
    "iommu-addresses",
    "#iommu-cells",
    "renesas,ipmmu-main",
    "iommu-map",
    "iommu-map-mask",
    "iommus",
    "linux,phandle",
    "memory-region",
    "phandle",
    "ranges",
    "reg",
    "#size-cells",
    "status",
};

/* ---- Errors and paths ---- */

static int bad_blob(struct piommu_fdt *tree)
{
    tree->bad_node = -1;
    tree->bad_property = NULL;
    tree->bad_path[0] = '\0';
    return -PIOMMU_EBADMSG;
}

/* Puts one name in front of those that are there already; false if there is no room. */
static bool put_name(char *text, size_t *begin, const char *name, size_t length)
{
    if (length + 1 > *begin) {
        return false;
    }
    *begin -= length;
    for (size_t i = 0; i < length; i++) {
        text[*begin + i] = (char)(name[i] >= ' ' && name[i] <= '~' ? name[i] : '?');
    }
    *begin -= 1;
    text[*begin] = '/';
    return true;
}

/* From the node to the root, so from the end of the text to its beginning. */
static void write_path(const struct piommu_fdt *tree, uint32_t node, char *text, size_t size)
{
    size_t begin = size - 1;
    bool cut = false;

    text[begin] = '\0';
    for (; node != ROOT && !cut; node = tree->nodes[node].parent) {
        int length;
        const char *name = fdt_get_name(tree->blob, tree->nodes[node].offset, &length);

        cut = name == NULL || length < 0 || !put_name(text, &begin, name, (size_t)length);
    }
    if (cut) {
        /* Dots in place of what did not fit, if need be over what did. */
        begin = begin >= 3 ? begin - 3 : 0;
        text[begin] = text[begin + 1] = text[begin + 2] = '.';
    } else if (begin == size - 1) {
        text[--begin] = '/';
    }
    for (size_t i = 0; begin + i < size; i++) {
        text[i] = text[begin + i];
    }
}

void piommu_fdt_blame_(struct piommu_fdt *tree, uint32_t node, enum property_kind kind)
{
    tree->bad_node = tree->nodes[node].offset;
    tree->bad_property = kind < PROPERTY_KINDS ? names[kind] : NULL;
    write_path(tree, node, tree->bad_path, sizeof(tree->bad_path));
}

int piommu_fdt_path(const struct piommu_fdt *tree, int node, char *text, size_t size)
{
    uint32_t number = tree != NULL ? piommu_fdt_at_(tree, node) : NO_NODE;

    if (number == NO_NODE || text == NULL || size < 8) {
        return -PIOMMU_EINVAL;
    }
    write_path(tree, number, text, size);
    return 0;
}

/* ---- Asking the index ---- */

uint32_t piommu_fdt_at_(const struct piommu_fdt *tree, int offset)
{
    uint32_t low = 0;
    uint32_t high = tree->node_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (tree->nodes[middle].offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < tree->node_count && tree->nodes[low].offset == offset ? low : NO_NODE;
}

uint32_t piommu_fdt_behind_(const struct piommu_fdt *tree, int offset)
{
    uint32_t node;

    if (offset == -1) {
        return 0;
    }
    node = piommu_fdt_at_(tree, offset);
    return node != NO_NODE ? node + 1 : NO_NODE;
}

uint32_t piommu_fdt_by_phandle_(const struct piommu_fdt *tree, uint32_t phandle)
{
    uint32_t low = 0;
    uint32_t high = tree->phandle_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (tree->phandles[middle].phandle < phandle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == tree->phandle_count || tree->phandles[low].phandle != phandle) {
        return NO_NODE;
    }
    return tree->phandles[low].node;
}

const struct piommu_fdt_property *piommu_fdt_find_(const struct piommu_fdt *tree, uint32_t node,
                                                   enum property_kind kind)
{
    const struct piommu_fdt_property *property;

    if (!piommu_fdt_has(tree, node, kind)) {
        return NULL;
    }
    property = &tree->properties[tree->nodes[node].first_property];
    while (property->kind != kind) {
        property++;
    }
    return property;
}

int piommu_fdt_cell_(struct piommu_fdt *tree, uint32_t node, enum property_kind kind,
                     uint32_t *value)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, kind);

    if (property == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (property->bytes != CELL) {
        return piommu_fdt_bad(tree, node, kind);
    }
    *value = fdt32_ld(property->cells);
    return 0;
}

bool piommu_fdt_same_(const char *text, const char *wanted)
{
    while (*text != '\0' && *text == *wanted) {
        text++;
        wanted++;
    }
    return *text == *wanted;
}

bool piommu_fdt_is_(const struct piommu_fdt *tree, uint32_t node, enum property_kind kind,
                    const char *wanted)
{
    const struct piommu_fdt_property *property = piommu_fdt_find_(tree, node, kind);
    const char *text;

    if (property == NULL || property->bytes == 0) {
        return false;
    }
    text = (const char *)property->cells;
    return text[property->bytes - 1] == '\0' && piommu_fdt_same_(text, wanted);
}

/* ---- The walk ---- */

static void give_back(struct piommu_host host, void *table, size_t size)
{
    if (table != NULL) {
        host.os->free(host.ctx, table, size);
    }
}

/* Makes room for one more element. What the table holds is moved. */
static int make_room(struct piommu_host host, void **table, uint32_t *capacity, uint32_t count,
                     size_t element)
{
    uint32_t more = *capacity == 0 ? FIRST_CAPACITY : *capacity * 2;
    void *moved;

    if (count < *capacity) {
        return 0;
    }
    moved = host.os->alloc(host.ctx, more * element);
    if (moved == NULL) {
        return -PIOMMU_ENOMEM;
    }
    if (count != 0) {
        memcpy(moved, *table, count * element);
    }
    give_back(host, *table, *capacity * element);
    *table = moved;
    *capacity = more;
    return 0;
}

static int begin_node(struct piommu_fdt *tree, uint32_t *current, int offset)
{
    uint32_t parent = *current;
    struct piommu_fdt_node *node;
    void *table = tree->nodes;
    int error;

    if (parent == NO_NODE && tree->node_count != 0) {
        return bad_blob(tree); /* a second root */
    }
    if (tree->node_count == MAX_NODES) {
        return bad_blob(tree);
    }
    error = make_room(tree->host, &table, &tree->node_capacity, tree->node_count, sizeof(*node));
    tree->nodes = table;
    if (error != 0) {
        return error;
    }
    *current = tree->node_count++;
    node = &tree->nodes[*current];
    memset(node, 0, sizeof(*node));
    node->offset = offset;
    node->parent = parent;
    node->first_property = tree->property_count;
    node->enabled = true;
    if (parent != NO_NODE) {
        tree->nodes[parent].has_subnode = true;
        node->enabled = tree->nodes[parent].enabled;
        if (tree->nodes[parent].depth == MAX_DEPTH) {
            return piommu_fdt_bad(tree, parent, PROPERTY_KINDS);
        }
        node->depth = (uint8_t)(tree->nodes[parent].depth + 1);
    }
    return 0;
}

/* What of a property has to be known during the walk already. */
static int note_property(struct piommu_fdt *tree, uint32_t current,
                         const struct piommu_fdt_property *property)
{
    struct piommu_fdt_node *node = &tree->nodes[current];
    uint32_t phandle;

    switch (property->kind) {
    case STATUS:
        node->enabled = node->enabled && (piommu_fdt_is_(tree, current, STATUS, "okay") ||
                                          piommu_fdt_is_(tree, current, STATUS, "ok"));
        return 0;
    case PHANDLE:
    case LINUX_PHANDLE:
        if (property->bytes != CELL) {
            return piommu_fdt_bad(tree, current, property->kind);
        }
        phandle = fdt32_ld(property->cells);
        /* The second is the first under its old name. */
        if (phandle == 0 || phandle == UINT32_MAX ||
            (node->phandle != 0 && node->phandle != phandle)) {
            return piommu_fdt_bad(tree, current, property->kind);
        }
        if (node->phandle == 0) {
            node->phandle = phandle;
            tree->phandle_count++;
        }
        return 0;
    default:
        return 0;
    }
}

static int add_property(struct piommu_fdt *tree, uint32_t current, int offset)
{
    struct piommu_fdt_property property;
    struct piommu_fdt_node *node;
    void *table = tree->properties;
    const char *name;
    int length;
    const void *value = fdt_getprop_by_offset(tree->blob, offset, &name, &length);
    int error;

    if (value == NULL || length < 0 || current == NO_NODE) {
        return bad_blob(tree);
    }
    property.cells = value;
    property.bytes = (uint32_t)length;
    property.kind = 0;
    while (property.kind < PROPERTY_KINDS && !piommu_fdt_same_(name, names[property.kind])) {
        property.kind++;
    }
    if (property.kind == PROPERTY_KINDS) {
        return 0;
    }
    node = &tree->nodes[current];
    if (node->has_subnode || piommu_fdt_has(tree, current, property.kind)) {
        return piommu_fdt_bad(tree, current, property.kind);
    }
    error = make_room(tree->host, &table, &tree->property_capacity, tree->property_count,
                      sizeof(property));
    tree->properties = table;
    if (error != 0) {
        return error;
    }
    tree->properties[tree->property_count++] = property;
    node->property_count++;
    node->kinds |= (uint32_t)1 << property.kind;
    return note_property(tree, current, &property);
}

static int walk(struct piommu_fdt *tree)
{
    uint32_t current = NO_NODE;
    int next = 0;

    for (;;) {
        int offset = next;
        uint32_t tag = fdt_next_tag(tree->blob, offset, &next);
        int error = 0;

        switch (tag) {
        case FDT_BEGIN_NODE:
            error = begin_node(tree, &current, offset);
            break;
        case FDT_PROP:
            error = add_property(tree, current, offset);
            break;
        case FDT_END_NODE:
            if (current == NO_NODE) {
                return bad_blob(tree);
            }
            current = tree->nodes[current].parent;
            break;
        case FDT_NOP:
            break;
        default: /* FDT_END, which is also what a mistake looks like */
            return next >= 0 && current == NO_NODE && tree->node_count != 0 ? 0 : bad_blob(tree);
        }
        if (error != 0) {
            return error;
        }
    }
}

/* ---- Phandles ---- */

/* Lets an element of a heap sink to its place; the heap has `count` elements. */
static void sink(struct piommu_fdt_phandle *heap, uint32_t at, uint32_t count)
{
    struct piommu_fdt_phandle sinking = heap[at];

    while (at < count / 2) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < count && heap[child + 1].phandle > heap[child].phandle) {
            child++;
        }
        if (heap[child].phandle <= sinking.phandle) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = sinking;
}

static void sort(struct piommu_fdt_phandle *phandles, uint32_t count)
{
    for (uint32_t i = count / 2; i-- > 0;) {
        sink(phandles, i, count);
    }
    for (uint32_t i = count; i-- > 1;) {
        struct piommu_fdt_phandle largest = phandles[0];

        phandles[0] = phandles[i];
        phandles[i] = largest;
        sink(phandles, 0, i);
    }
}

static int index_phandles(struct piommu_fdt *tree)
{
    uint32_t used = 0;

    if (tree->phandle_count == 0) {
        return 0;
    }
    tree->phandles =
        tree->host.os->alloc(tree->host.ctx, tree->phandle_count * sizeof(tree->phandles[0]));
    if (tree->phandles == NULL) {
        return -PIOMMU_ENOMEM;
    }
    for (uint32_t i = 0; i < tree->node_count; i++) {
        if (tree->nodes[i].phandle != 0) {
            tree->phandles[used].phandle = tree->nodes[i].phandle;
            tree->phandles[used].node = i;
            used++;
        }
    }
    sort(tree->phandles, used);
    for (uint32_t i = 1; i < used; i++) {
        if (tree->phandles[i].phandle == tree->phandles[i - 1].phandle) {
            return piommu_fdt_bad(tree, tree->phandles[i].node, PHANDLE);
        }
    }
    return 0;
}

/* ---- Opening and closing ---- */

/*
 * Checks what libfdt does not. It reads words and double words of the blob directly and does not
 * check that they are aligned; some CPUs do. The blob itself is aligned to 8 bytes, so its blocks
 * are if their offsets are. And it looks for the end of a property's name at each property: with a
 * block of strings that is a single one, that would take the square of the blob's size.
 */
static bool is_plausible(const void *blob, size_t size)
{
    const char *strings;
    uint32_t length = 0;

    if (size < sizeof(struct fdt_header) || fdt_check_header(blob) != 0 ||
        fdt_totalsize(blob) > size || fdt_version(blob) < 17 || fdt_off_mem_rsvmap(blob) % 8 != 0 ||
        fdt_off_dt_struct(blob) % CELL != 0) {
        return false;
    }
    strings = (const char *)blob + fdt_off_dt_strings(blob);
    for (uint32_t i = 0; i < fdt_size_dt_strings(blob); i++) {
        length = strings[i] != '\0' ? length + 1 : 0;
        if (length > MAX_PROPERTY_NAME) {
            return false;
        }
    }
    return true;
}

static int make_index(struct piommu_fdt *tree)
{
    int error = walk(tree);

    return error != 0 ? error : index_phandles(tree);
}

int piommu_fdt_open(struct piommu_fdt *tree, struct piommu_host host, const void *blob, size_t size)
{
    int error;

    if (tree == NULL) {
        return -PIOMMU_EINVAL;
    }
    memset(tree, 0, sizeof(*tree));
    tree->bad_node = -1;
    if (host.os == NULL || host.os->size < sizeof(struct piommu_os) || host.os->alloc == NULL ||
        host.os->free == NULL || blob == NULL || ((uintptr_t)blob & 7) != 0) {
        return -PIOMMU_EINVAL;
    }
    if (!is_plausible(blob, size) || fdt_check_full(blob, size) != 0) {
        return bad_blob(tree);
    }
    tree->host = host;
    tree->blob = blob;
    error = make_index(tree);
    if (error != 0) {
        piommu_fdt_close(tree);
    }
    return error;
}

void piommu_fdt_close(struct piommu_fdt *tree)
{
    if (tree == NULL || tree->blob == NULL) {
        return;
    }
    give_back(tree->host, tree->nodes, tree->node_capacity * sizeof(tree->nodes[0]));
    give_back(tree->host, tree->properties, tree->property_capacity * sizeof(tree->properties[0]));
    give_back(tree->host, tree->phandles, tree->phandle_count * sizeof(tree->phandles[0]));
    tree->nodes = NULL;
    tree->properties = NULL;
    tree->phandles = NULL;
    tree->node_count = 0;
    tree->node_capacity = 0;
    tree->property_count = 0;
    tree->property_capacity = 0;
    tree->phandle_count = 0;
    tree->blob = NULL;
}
