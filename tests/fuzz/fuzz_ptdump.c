/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Bytes that a fuzzer makes up are an image of memory for piommu-ptdump, behind some that say how
 * to read it. Whatever they are, text, JSON and picture end, and are not long.
 */

#include "ptdump.h"

#include <stdlib.h>
#include <string.h>

#define IMAGE_BASE 0x80000000ull
#define HEAD_SIZE  8u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What goes wrong ends the program, as the fuzzer wants it. */
static void must(bool good)
{
    if (!good) {
        abort();
    }
}

static void make_request(const uint8_t *head, struct request *request)
{
    static const uint32_t granules[] = {4096, 16384, 65536};
    static const uint8_t outputs[] = {40, 48, 52, 36};

    memset(request, 0, sizeof(*request));
    request->config.format = (enum piommu_pgtable_format)(1 + head[0] % 4);
    request->config.granule = granules[head[1] % 3];
    request->config.output_bits = outputs[head[2] % 4];
    request->config.coherent_walk = true;
    request->config.flags =
        (head[3] &
         (PIOMMU_PGTABLE_NON_SECURE | PIOMMU_PGTABLE_FORCE_WRITE_BACK | PIOMMU_PGTABLE_XNX |
          PIOMMU_PGTABLE_SMALL_INPUT | PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_DIRTY));
    request->has_start_level = (head[4] & 0x80) != 0;
    request->start_level = head[4] % 5 - 1;
    for (unsigned int i = 0; i < HALVES; i++) {
        request->input_bits[i] = (uint8_t)(16 + head[5 + i] % 37);
        request->has_root[i] = (head[7] >> i & 1) != 0;
        request->root[i] = IMAGE_BASE + ((uint64_t)(head[7] >> (2 + 3 * i) & 7) << 12);
    }
    request->only.last = UINT64_MAX;
}

static void print_all(struct dump *dump, size_t bytes)
{
    static void (*const printers[])(struct dump * dump, FILE * out) = {print_text, print_json,
                                                                       print_svg};

    for (size_t i = 0; i < sizeof(printers) / sizeof(printers[0]); i++) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);

        must(out != NULL);
        printers[i](dump, out);
        must(fclose(out) == 0 && size < 150000 + HALVES * bytes * 128);
        free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct image image = {0};
    struct request request;
    struct dump dump;
    uint8_t *copy;

    if (size <= HEAD_SIZE) {
        return 0;
    }
    copy = malloc(size - HEAD_SIZE);
    must(copy != NULL);
    memcpy(copy, bytes + HEAD_SIZE, size - HEAD_SIZE);
    make_request(bytes, &request);
    must(image_add(&image, fmemopen(copy, size - HEAD_SIZE, "rb"), "bytes", IMAGE_BASE));
    if (dump_open(&dump, &request, &image)) {
        print_all(&dump, size);
    }
    dump_close(&dump);
    image_free(&image);
    free(copy);
    return 0;
}
