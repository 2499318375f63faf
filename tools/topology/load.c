/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "topology.h"

#include <errno.h>
#include <libfdt.h>
#include <piommu/error.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_SIZE (64u << 20)

/* ---- The port: memory is all that the reader asks for ---- */

static const struct piommu_os os = {
    .size = sizeof(struct piommu_os),
    .alloc = library_alloc,
    .free = library_free,
};

/* ---- Files ---- */

/* The whole of a file in memory as malloc aligns it, or NULL after saying why. */
static void *read_file(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    size_t capacity = 0;
    char *bytes = NULL;
    size_t got;

    *size = 0;
    if (file == NULL) {
        complain("%s: %s", name, strerror(errno));
        return NULL;
    }
    do {
        if (*size == capacity) {
            capacity = capacity == 0 ? 65536 : 2 * capacity;
            bytes = must_realloc(bytes, capacity, 1);
        }
        got = fread(bytes + *size, 1, capacity - *size, file);
        *size += got;
    } while (got != 0 && *size <= MAX_FILE_SIZE);
    if (ferror(file) || *size > MAX_FILE_SIZE) {
        complain("%s: cannot be read, or is no device tree", name);
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}

/* ---- Trees ---- */

static void complain_of(struct topology *topology, int error)
{
    const struct piommu_fdt *tree = &topology->tree;

    topology->errors++;
    if (error != -PIOMMU_EBADMSG) {
        complain("%s: %s", topology->file, piommu_strerror(error));
    } else if (tree->bad_node < 0) {
        complain("%s: not a sound device tree blob", topology->file);
    } else {
        complain("%s: %s: %s is malformed", topology->file, tree->bad_path,
                 tree->bad_property != NULL ? tree->bad_property : "the node");
    }
}

static void load_iommus(struct topology *topology)
{
    struct piommu_fdt_iommu iommu = {.node = -1};
    int error;

    while ((error = piommu_fdt_next_iommu(&topology->tree, NULL, iommu.node, &iommu)) !=
           -PIOMMU_ENOENT) {
        if (error != 0) {
            complain_of(topology, error);
            continue;
        }
        topology->iommus = must_realloc(topology->iommus, topology->iommu_count + 1, sizeof(iommu));
        topology->iommus[topology->iommu_count++] = iommu;
    }
}

static struct link *add_link(struct topology *topology, size_t master)
{
    struct link *link;

    topology->links = must_realloc(topology->links, topology->link_count + 1, sizeof(*link));
    link = &topology->links[topology->link_count++];
    memset(link, 0, sizeof(*link));
    link->master = master;
    return link;
}

/* They have been looked at when the device was found, so nothing can go wrong any more. */
static void load_links(struct topology *topology, size_t number)
{
    struct piommu_fdt *tree = &topology->tree;
    const struct piommu_fdt_master *master = &topology->masters[number].found;
    struct piommu_fdt_id id;
    struct piommu_fdt_map map;

    for (unsigned int i = 0; piommu_fdt_device_id(tree, master->node, i, &id) == 0; i++) {
        add_link(topology, number)->id = id;
    }
    for (unsigned int i = 0; piommu_fdt_map(tree, master->node, i, &map) == 0; i++) {
        struct link *link = add_link(topology, number);

        link->mapped = true;
        link->first_rid = map.first;
        link->count = map.count;
        link->id = map.id;
    }
}

static void load_masters(struct topology *topology)
{
    struct master master = {.found = {.node = -1}, .group = NO_GROUP};
    int error;

    while ((error = piommu_fdt_next_master(&topology->tree, master.found.node, &master.found)) !=
           -PIOMMU_ENOENT) {
        if (error != 0) {
            complain_of(topology, error);
            continue;
        }
        topology->masters =
            must_realloc(topology->masters, topology->master_count + 1, sizeof(master));
        topology->masters[topology->master_count] = master;
        load_links(topology, topology->master_count++);
    }
}

/* The library leaves disabled ones out; that there are some may explain a lot. */
static void count_disabled(struct topology *topology)
{
    size_t all = 0;

    for (int node = fdt_next_node(topology->blob, -1, NULL); node >= 0;
         node = fdt_next_node(topology->blob, node, NULL)) {
        all += fdt_getprop(topology->blob, node, "#iommu-cells", NULL) != NULL;
    }
    topology->disabled_count = all - topology->iommu_count;
}

bool topology_load(struct topology *topology, const char *file)
{
    const struct piommu_host host = {.os = &os, .ctx = NULL};
    size_t size;
    int error;

    memset(topology, 0, sizeof(*topology));
    topology->file = file;
    topology->blob = read_file(file, &size);
    if (topology->blob == NULL) {
        topology->errors++;
        return false;
    }
    error = piommu_fdt_open(&topology->tree, host, topology->blob, size);
    if (error != 0) {
        complain_of(topology, error);
        return false;
    }
    load_iommus(topology);
    count_disabled(topology);
    topology->disabled_count -= topology->errors;
    load_masters(topology);
    return true;
}

void topology_free(struct topology *topology)
{
    piommu_fdt_close(&topology->tree);
    free(topology->iommus);
    free(topology->masters);
    free(topology->links);
    free(topology->blob);
}
