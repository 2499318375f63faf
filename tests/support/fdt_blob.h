/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef FDT_BLOB_H
#define FDT_BLOB_H

/**
 * @file fdt_blob.h
 * Makes device tree blobs for the tests, with libfdt's sequential writer, and opens them under the
 * strict fake OS. Whatever goes wrong here ends the test.
 */

#include <piommu/fdt.h>

#include <stdint.h>

#define FDT_BLOB_SIZE 16384u
#define COUNT(a)      (sizeof(a) / sizeof((a)[0]))

/** A property of cells. */
#define CELLS(blob, name, ...) \
    put_cells(blob, name, (const uint32_t[]){__VA_ARGS__}, COUNT(((const uint32_t[]){__VA_ARGS__})))
/** A property of one string, or of several with zeros between them. */
#define STRING(blob, name, text) put_bytes(blob, name, text, sizeof(text))

/** Ends the test if this is not 0. */
void ok(int error);

/** Begins a blob and its root, which has two cells for addresses and sizes. */
void *begin(void);
/** Ends the root. The result has its size exactly, so that a look behind it is noticed. */
void *finish(void *blob);
void begin_node(void *blob, const char *name);
void end_node(void *blob);
void put_cells(void *blob, const char *name, const uint32_t *cells, size_t count);
void put_bytes(void *blob, const char *name, const void *bytes, size_t size);
void put_flag(void *blob, const char *name);

/** A PCI host bridge, left open. */
void begin_bridge(void *blob, const char *name);
/** A bus, left open, with these cells and an empty `ranges`. */
void begin_bus(void *blob, const char *name, uint32_t address_cells, uint32_t size_cells);
void put_pci_iommu(void *blob, const char *name, uint32_t phandle, uint32_t reg);
/** An IOMMU "vendor,ipmmu" on a bus of 2 and 2 cells, at 0xe6740000. */
void put_platform_iommu(void *blob, const char *name, uint32_t phandle, uint32_t cells,
                        const char *status);

/** A blob, finished, that has all properties of interest, and is well-formed. */
void *rich_blob(void);

/** Setup and teardown of a test: the fake OS, and that nothing is left. */
int fdt_setup(void **state);
int fdt_teardown(void **state);
struct piommu_host fdt_host(void);
/** The fake OS itself. */
struct fake_os *fdt_os(void);

/** Opens a blob that is well-formed. */
struct piommu_fdt opened(const void *blob);
/** Closes a tree and frees its blob. */
void shut(struct piommu_fdt *tree, void *blob);
int node_at(const void *blob, const char *path);

/** Expects -PIOMMU_EBADMSG that names this node and property; NULL: no property. */
void expect_bad(const struct piommu_fdt *tree, int error, int node, const char *property);

/** Ends the test if this is no error that fdt.h documents. */
void documented(int error);

/**
 * Opens a blob of any kind and asks everything of every node, and of offsets that are none. Checks
 * what must hold whatever is in it: results in their limits, errors that name something. Returns
 * what piommu_fdt_open has said.
 */
int ask_all(const void *blob, size_t size);

#endif
