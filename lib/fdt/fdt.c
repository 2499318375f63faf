/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <piommu/error.h>
#include <piommu/fdt.h>

#include <libfdt.h>

#define CELL 4u /* bytes */

/* One entry of iommu-map: requester ID, phandle, ID, count. */
#define MAP_CELLS 4u

static int bad(struct piommu_fdt *tree, int node, const char *property)
{
    tree->bad_node = node;
    tree->bad_property = property;
    return -PIOMMU_EBADMSG;
}

/* A property as an array of cells; NULL if it is not there. */
static const fdt32_t *get_cells(const struct piommu_fdt *tree, int node, const char *name,
                                uint32_t *bytes)
{
    int length;
    const void *value = fdt_getprop(tree->blob, node, name, &length);

    *bytes = value != NULL ? (uint32_t)length : 0;
    return value;
}

/* Reads a property of exactly one cell. */
static int get_cell(struct piommu_fdt *tree, int node, const char *name, uint32_t *value)
{
    uint32_t bytes;
    const fdt32_t *cells = get_cells(tree, node, name, &bytes);

    if (cells == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (bytes != CELL) {
        return bad(tree, node, name);
    }
    *value = fdt32_ld(cells);
    return 0;
}

static bool is_string(const char *text, const char *wanted)
{
    while (*text != '\0' && *text == *wanted) {
        text++;
        wanted++;
    }
    return *text == *wanted;
}

/* Compares a property that holds one string. */
static bool property_is(const struct piommu_fdt *tree, int node, const char *name,
                        const char *wanted)
{
    int length;
    const char *value = fdt_getprop(tree->blob, node, name, &length);

    return value != NULL && length > 0 && value[length - 1] == '\0' && is_string(value, wanted);
}

/* Offsets come from the caller, who may have made them up. */
static bool is_node(const struct piommu_fdt *tree, int node)
{
    return node >= 0 && fdt_get_name(tree->blob, node, NULL) != NULL;
}

static bool is_enabled(const struct piommu_fdt *tree, int node)
{
    return fdt_getprop(tree->blob, node, "status", NULL) == NULL ||
           property_is(tree, node, "status", "okay") || property_is(tree, node, "status", "ok");
}

static bool is_compatible(const struct piommu_fdt *tree, int node, const char *const *compatible)
{
    for (; *compatible != NULL; compatible++) {
        if (fdt_node_check_compatible(tree->blob, node, *compatible) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * libfdt reads words and double words of the blob directly and does not check that they are
 * aligned; some CPUs do. The blob itself is aligned to 8 bytes, so its blocks are if their offsets
 * are.
 */
static bool is_aligned(const void *blob, size_t size)
{
    return size >= sizeof(struct fdt_header) && fdt_off_mem_rsvmap(blob) % 8 == 0 &&
           fdt_off_dt_struct(blob) % CELL == 0;
}

int piommu_fdt_open(struct piommu_fdt *tree, const void *blob, size_t size)
{
    if (tree == NULL || blob == NULL || ((uintptr_t)blob & 7) != 0) {
        return -PIOMMU_EINVAL;
    }
    tree->blob = blob;
    if (!is_aligned(blob, size) || fdt_check_full(blob, size) != 0) {
        return bad(tree, -1, NULL);
    }
    tree->bad_node = -1;
    tree->bad_property = NULL;
    return 0;
}

/* Finds out where a PCI function's node stands: below which host bridge, and at which address. */
static int read_pci_place(struct piommu_fdt *tree, struct piommu_fdt_iommu *iommu)
{
    uint32_t bytes;
    const fdt32_t *reg = get_cells(tree, iommu->node, "reg", &bytes);
    int parent = fdt_parent_offset(tree->blob, iommu->node);

    if (parent < 0 || !property_is(tree, parent, "device_type", "pci")) {
        iommu->is_pci = false;
        return 0;
    }
    /* An address on the PCI bus has three cells, its size two. */
    if (reg == NULL || bytes < 5 * CELL) {
        return bad(tree, iommu->node, "reg");
    }
    iommu->is_pci = true;
    iommu->host_bridge = parent;
    iommu->pci_bdf = (uint16_t)(fdt32_ld(reg) >> 8);
    return 0;
}

int piommu_fdt_next_iommu(struct piommu_fdt *tree, const char *const *compatible, int previous,
                          struct piommu_fdt_iommu *iommu)
{
    int node = previous;

    if (tree == NULL || compatible == NULL || iommu == NULL || previous < -1) {
        return -PIOMMU_EINVAL;
    }
    for (;;) {
        int error;

        node = fdt_next_node(tree->blob, node, NULL);
        if (node == -FDT_ERR_NOTFOUND) {
            return -PIOMMU_ENOENT;
        }
        if (node < 0) {
            return -PIOMMU_EINVAL;
        }
        if (!is_compatible(tree, node, compatible) || !is_enabled(tree, node)) {
            continue;
        }
        iommu->node = node;
        iommu->phandle = fdt_get_phandle(tree->blob, node);
        error = get_cell(tree, node, "#iommu-cells", &iommu->id_cells);
        if (error != 0 || iommu->id_cells > PIOMMU_FDT_MAX_ID_CELLS) {
            return bad(tree, node, "#iommu-cells");
        }
        return read_pci_place(tree, iommu);
    }
}

/* Finds the node that a specifier in `property` of `node` names, and its #iommu-cells. */
static int resolve(struct piommu_fdt *tree, int node, const char *property, uint32_t phandle,
                   uint32_t *id_cells)
{
    int iommu = fdt_node_offset_by_phandle(tree->blob, phandle);

    if (iommu < 0) {
        return bad(tree, node, property);
    }
    if (get_cell(tree, iommu, "#iommu-cells", id_cells) != 0 ||
        *id_cells > PIOMMU_FDT_MAX_ID_CELLS) {
        return bad(tree, iommu, "#iommu-cells");
    }
    return 0;
}

int piommu_fdt_pci_id(struct piommu_fdt *tree, int host_bridge, uint16_t rid,
                      struct piommu_fdt_id *id)
{
    uint32_t mask = UINT32_MAX;
    uint32_t bytes;
    uint32_t masked;
    const fdt32_t *map;
    int error;

    if (tree == NULL || id == NULL || !is_node(tree, host_bridge)) {
        return -PIOMMU_EINVAL;
    }
    map = get_cells(tree, host_bridge, "iommu-map", &bytes);
    if (map == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (bytes == 0 || bytes % (MAP_CELLS * CELL) != 0) {
        return bad(tree, host_bridge, "iommu-map");
    }
    error = get_cell(tree, host_bridge, "iommu-map-mask", &mask);
    if (error == -PIOMMU_EBADMSG) {
        return error;
    }
    masked = rid & mask;
    for (; bytes != 0; bytes -= MAP_CELLS * CELL, map += MAP_CELLS) {
        uint32_t first = fdt32_ld(&map[0]);
        uint32_t phandle = fdt32_ld(&map[1]);
        uint32_t base = fdt32_ld(&map[2]);
        uint32_t count = fdt32_ld(&map[3]);
        uint32_t id_cells;

        if (masked < first || masked - first >= count) {
            continue;
        }
        error = resolve(tree, host_bridge, "iommu-map", phandle, &id_cells);
        if (error != 0) {
            return error;
        }
        /*
         * The map gives one cell for the ID: an IOMMU with another number of cells cannot be meant.
         */
        if (id_cells != 1 || masked - first > UINT32_MAX - base) {
            return bad(tree, host_bridge, "iommu-map");
        }
        id->iommu = phandle;
        id->cell_count = 1;
        id->cells[0] = base + (masked - first);
        return 0;
    }
    return -PIOMMU_ENOENT;
}

int piommu_fdt_device_id(struct piommu_fdt *tree, int node, unsigned int index,
                         struct piommu_fdt_id *id)
{
    uint32_t bytes;
    const fdt32_t *cells;

    if (tree == NULL || id == NULL || !is_node(tree, node)) {
        return -PIOMMU_EINVAL;
    }
    cells = get_cells(tree, node, "iommus", &bytes);
    if (cells == NULL) {
        return -PIOMMU_ENOENT;
    }
    if (bytes == 0 || bytes % CELL != 0) {
        return bad(tree, node, "iommus");
    }
    while (bytes != 0) {
        uint32_t phandle = fdt32_ld(cells);
        uint32_t id_cells;
        int error = resolve(tree, node, "iommus", phandle, &id_cells);

        if (error != 0) {
            return error;
        }
        cells++;
        bytes -= CELL;
        if (bytes < id_cells * CELL) {
            return bad(tree, node, "iommus");
        }
        if (index-- == 0) {
            id->iommu = phandle;
            id->cell_count = id_cells;
            for (uint32_t i = 0; i < id_cells; i++) {
                id->cells[i] = fdt32_ld(&cells[i]);
            }
            return 0;
        }
        cells += id_cells;
        bytes -= id_cells * CELL;
    }
    return -PIOMMU_ENOENT;
}
