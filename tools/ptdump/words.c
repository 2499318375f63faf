/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ptdump.h"

#include <inttypes.h>

const char *size_words(char words[WORDS_SIZE], uint64_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned int unit = 0;

    while (size >= 1024 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    snprintf(words, WORDS_SIZE, "%" PRIu64 " %s", size, units[unit]);
    return words;
}

const char *memory_words(piommu_prot prot)
{
    if ((prot & PIOMMU_PROT_DEVICE) != 0) {
        return "device";
    }
    return (prot & PIOMMU_PROT_NONCACHEABLE) != 0 ? "noncacheable" : "cached";
}

const char *share_words(piommu_prot prot)
{
    bool cached = (prot & (PIOMMU_PROT_DEVICE | PIOMMU_PROT_NONCACHEABLE)) == 0;

    switch (prot & PIOMMU_PROT_SHARE_MASK) {
    case PIOMMU_PROT_SHARE_NONE:
        return "none";
    case PIOMMU_PROT_SHARE_OUTER:
        return "outer";
    case PIOMMU_PROT_SHARE_INNER:
        return "inner";
    default:
        return cached ? "inner" : "outer";
    }
}

const char *leaf_words(char words[WORDS_SIZE], const struct piommu_pgtable_step *leaf)
{
    piommu_prot prot = leaf->prot;

    snprintf(
        words, WORDS_SIZE, "%c%c%c%c %s %s%s%s%s%s%s", (prot & PIOMMU_PROT_READ) != 0 ? 'r' : '-',
        (prot & PIOMMU_PROT_WRITE) != 0 ? 'w' : '-', (prot & PIOMMU_PROT_EXECUTE) != 0 ? 'x' : '-',
        (prot & PIOMMU_PROT_EXECUTE_PRIVILEGED) != 0 ? 'X' : '-', memory_words(prot),
        share_words(prot), (prot & PIOMMU_PROT_PRIVILEGED) != 0 ? " privileged" : "",
        (prot & PIOMMU_PROT_GLOBAL) != 0 ? " global" : "", leaf->contiguous ? " contiguous" : "",
        leaf->accessed ? "" : " not-accessed",
        leaf->dirty     ? " dirty"
        : leaf->tracked ? " clean"
                        : "");
    return words;
}

const char *format_words(enum piommu_pgtable_format format)
{
    switch (format) {
    case PIOMMU_ARM_64_LPAE_S1:
        return "64-bit LPAE stage 1";
    case PIOMMU_ARM_64_LPAE_S2:
        return "64-bit LPAE stage 2";
    case PIOMMU_ARM_32_LPAE_S1:
        return "32-bit LPAE stage 1";
    default:
        return "32-bit LPAE stage 2";
    }
}
