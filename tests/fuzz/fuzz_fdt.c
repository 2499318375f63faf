/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Bytes that a fuzzer makes up are a device tree blob, of which everything is asked. The magic
 * number, the versions and the size are put right first, so that the fuzzer need not find out about
 * them; the unit tests have wrong ones.
 */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_os.h"
#include "fdt_blob.h"

#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    void *blob;

    if (size < sizeof(struct fdt_header)) {
        return 0;
    }
    if (fdt_os() == NULL) {
        fdt_setup(NULL);
    }
    /* Of its size exactly, so that a look behind it is noticed. */
    blob = malloc(size);
    if (blob == NULL) {
        return 0;
    }
    memcpy(blob, bytes, size);
    fdt_set_magic(blob, FDT_MAGIC);
    fdt_set_totalsize(blob, (uint32_t)size);
    fdt_set_version(blob, 17);
    fdt_set_last_comp_version(blob, 16);
    ask_all(blob, size);
    assert_int_equal(fake_os_bytes_outstanding(fdt_os()), 0);
    free(blob);
    return 0;
}
