/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "tree.h"

#include <errno.h>
#include <libfdt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOB_SIZE     16384
#define MAX_FILE_SIZE (64u << 20)
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))

/* ---- R-Car H3 ---- */

enum phandle { NONE, GIC, HC, DS0, MM, DS1, VI0 };

/* In the order of addresses, as in a tree of a board: the root comes after some of its parts. */
static const struct unit {
    enum phandle phandle;
    const char *label;
    const char *name;
    uint64_t address;
    uint32_t bit; /* of a cache unit, in the root's summary of faults */
} units[] = {
    {HC, "ipmmu_hc", "iommu@e6570000", 0xe6570000, 2},
    {DS0, "ipmmu_ds0", "iommu@e6740000", 0xe6740000, 0},
    {MM, "ipmmu_mm", "iommu@e67b0000", 0xe67b0000, 0},
    {DS1, "ipmmu_ds1", "iommu@e7740000", 0xe7740000, 1},
    {VI0, "ipmmu_vi0", "iommu@febd0000", 0xfebd0000, 14},
};

/* VIN0 to VIN3 have one micro-TLB between them. */
static const struct master {
    const char *name;
    uint64_t address;
    enum phandle unit;
    uint32_t first; /* micro-TLB */
    uint32_t count;
} masters[] = {
    {"dma-controller@e6700000", 0xe6700000, DS0, 0, 16},
    {"ethernet@e6800000", 0xe6800000, DS0, 16, 1},
    {"video@e6ef0000", 0xe6ef0000, VI0, 0, 1},
    {"video@e6ef1000", 0xe6ef1000, VI0, 0, 1},
    {"video@e6ef2000", 0xe6ef2000, VI0, 0, 1},
    {"video@e6ef3000", 0xe6ef3000, VI0, 0, 1},
    {"dma-controller@e7300000", 0xe7300000, DS1, 0, 16},
    {"mmc@ee100000", 0xee100000, DS1, 32, 1},
    {"mmc@ee120000", 0xee120000, DS1, 33, 1},
    {"mmc@ee140000", 0xee140000, DS1, 34, 1},
    {"sata@ee300000", 0xee300000, HC, 2, 1},
    {"fcp@fea27000", 0xfea27000, VI0, 8, 1},
    {"fcp@fea2f000", 0xfea2f000, VI0, 9, 1},
};

/* A blob that is written, and what went wrong first. */
struct writer {
    void *blob;
    int error;
};

static void note_error(struct writer *writer, int error)
{
    writer->error = writer->error == 0 ? error : writer->error;
}

static void begin(struct writer *writer, const char *name)
{
    note_error(writer, fdt_begin_node(writer->blob, name));
}

static void end(struct writer *writer)
{
    note_error(writer, fdt_end_node(writer->blob));
}

static void text(struct writer *writer, const char *name, const char *value)
{
    note_error(writer, fdt_property(writer->blob, name, value, (int)strlen(value) + 1));
}

static void empty(struct writer *writer, const char *name)
{
    note_error(writer, fdt_property(writer->blob, name, NULL, 0));
}

static void cells(struct writer *writer, const char *name, const uint32_t *values, size_t count)
{
    fdt32_t big_endian[32];

    for (size_t i = 0; i < count && i < COUNT(big_endian); i++) {
        big_endian[i] = cpu_to_fdt32(values[i]);
    }
    note_error(writer,
               fdt_property(writer->blob, name, big_endian, (int)(count * sizeof(fdt32_t))));
}

/* CELLS(writer, name, value, ...) */
#define CELLS(writer, name, ...) \
    cells(writer, name, (const uint32_t[]){__VA_ARGS__}, COUNT(((const uint32_t[]){__VA_ARGS__})))

static void registers(struct writer *writer, uint64_t address, uint32_t size)
{
    CELLS(writer, "reg", (uint32_t)(address >> 32), (uint32_t)address, 0, size);
}

static void write_gic(struct writer *writer)
{
    begin(writer, "interrupt-controller@f1010000");
    text(writer, "compatible", "arm,gic-400");
    empty(writer, "interrupt-controller");
    CELLS(writer, "#interrupt-cells", 3);
    registers(writer, 0xf1010000, 0x1000);
    CELLS(writer, "phandle", GIC);
    end(writer);
}

static void write_unit(struct writer *writer, const struct unit *unit)
{
    begin(writer, unit->name);
    text(writer, "compatible", "renesas,ipmmu-r8a7795");
    registers(writer, unit->address, 0x1000);
    if (unit->phandle == MM) {
        CELLS(writer, "interrupts", 0, 196, 4, 0, 197, 4);
    } else {
        CELLS(writer, "renesas,ipmmu-main", MM, unit->bit);
    }
    CELLS(writer, "#iommu-cells", 1);
    CELLS(writer, "phandle", unit->phandle);
    end(writer);
}

static void write_master(struct writer *writer, const struct master *master)
{
    uint32_t iommus[32];

    for (uint32_t i = 0; i < master->count; i++) {
        iommus[2 * i] = master->unit;
        iommus[2 * i + 1] = master->first + i;
    }
    begin(writer, master->name);
    registers(writer, master->address, 0x1000);
    cells(writer, "iommus", iommus, 2 * master->count);
    end(writer);
}

/* All functions behind the host bridge have one micro-TLB. */
static void write_pcie(struct writer *writer)
{
    begin(writer, "pcie@fe000000");
    text(writer, "device_type", "pci");
    CELLS(writer, "#address-cells", 3);
    CELLS(writer, "#size-cells", 2);
    registers(writer, 0xfe000000, 0x80000);
    CELLS(writer, "iommu-map", 0, HC, 0, 1);
    CELLS(writer, "iommu-map-mask", 0);
    end(writer);
}

static void write_product_register(struct writer *writer)
{
    begin(writer, "chipid@fff00044");
    text(writer, "compatible", "renesas,prr");
    registers(writer, 0xfff00044, 4);
    end(writer);
}

/* What `dtc -@` writes: the names that the units have in the tree's source. */
static void write_labels(struct writer *writer)
{
    char path[64];

    begin(writer, "__symbols__");
    for (size_t i = 0; i < COUNT(units); i++) {
        snprintf(path, sizeof(path), "/soc/%s", units[i].name);
        text(writer, units[i].label, path);
    }
    end(writer);
}

static void write_soc(struct writer *writer)
{
    begin(writer, "soc");
    text(writer, "compatible", "simple-bus");
    CELLS(writer, "#address-cells", 2);
    CELLS(writer, "#size-cells", 2);
    CELLS(writer, "interrupt-parent", GIC);
    empty(writer, "ranges");
    for (size_t i = 0; i < COUNT(units); i++) {
        write_unit(writer, &units[i]);
    }
    write_pcie(writer);
    for (size_t i = 0; i < COUNT(masters); i++) {
        write_master(writer, &masters[i]);
    }
    write_gic(writer);
    write_product_register(writer);
    end(writer);
}

void *tree_build(size_t *size)
{
    struct writer writer = {.blob = malloc(BLOB_SIZE), .error = 0};

    if (writer.blob == NULL) {
        return NULL;
    }
    note_error(&writer, fdt_create(writer.blob, BLOB_SIZE));
    note_error(&writer, fdt_finish_reservemap(writer.blob));
    begin(&writer, "");
    text(&writer, "model", "Salvator-X, as far as it is needed here");
    text(&writer, "compatible", "renesas,r8a7795");
    CELLS(&writer, "#address-cells", 2);
    CELLS(&writer, "#size-cells", 2);
    write_soc(&writer);
    write_labels(&writer);
    end(&writer);
    note_error(&writer, fdt_finish(writer.blob));
    if (writer.error != 0) {
        free(writer.blob);
        return NULL;
    }
    *size = fdt_totalsize(writer.blob);
    return writer.blob;
}

/* ---- Files ---- */

/* Appends what the file has. False: no memory, too long, or not readable. */
static bool read_all(FILE *file, char **bytes, size_t *size)
{
    size_t capacity = 0;
    size_t got;

    do {
        if (*size == capacity) {
            char *more;

            capacity = capacity == 0 ? 65536 : 2 * capacity;
            more = capacity > MAX_FILE_SIZE ? NULL : realloc(*bytes, capacity);
            if (more == NULL) {
                return false;
            }
            *bytes = more;
        }
        got = fread(*bytes + *size, 1, capacity - *size, file);
        *size += got;
    } while (got != 0);
    return !ferror(file);
}

void *tree_read(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    char *bytes = NULL;

    *size = 0;
    if (file == NULL) {
        fprintf(stderr, "ipmmu-model: %s: %s\n", name, strerror(errno));
        return NULL;
    }
    if (!read_all(file, &bytes, size)) {
        fprintf(stderr, "ipmmu-model: %s: cannot be read, or is no device tree\n", name);
        free(bytes);
        bytes = NULL;
    }
    fclose(file);
    return bytes;
}
