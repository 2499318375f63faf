/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* Writes the blobs with which the fuzzer of device trees begins into the folder that is named. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fdt_blob.h"

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>

static const char *folder;

static void write_blob(const char *name, void *blob)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(blob, 1, fdt_totalsize(blob), file), fdt_totalsize(blob));
    assert_int_equal(fclose(file), 0);
    free(blob);
}

static void *pci_blob(void)
{
    void *blob = begin();

    begin_bridge(blob, "pcie");
    CELLS(blob, "iommu-map", 0, 3, 0, 8, 9, 3, 9, 0xfff7);
    put_pci_iommu(blob, "i", 3, 0x800);
    end_node(blob);
    return finish(blob);
}

static void *bus_blob(void)
{
    void *blob = begin();

    begin_bus(blob, "soc", 2, 2);
    put_platform_iommu(blob, "i", 1, 2, "okay");
    begin_node(blob, "d");
    CELLS(blob, "iommus", 1, 2, 3);
    end_node(blob);
    end_node(blob);
    return finish(blob);
}

static void write_all(void **state)
{
    (void)state;
    write_blob("rich", rich_blob());
    write_blob("pci", pci_blob());
    write_blob("bus", bus_blob());
    write_blob("empty", finish(begin()));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(write_all)};

    if (argc != 2) {
        return 2;
    }
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
