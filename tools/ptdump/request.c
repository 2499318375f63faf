/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The arguments of piommu-ptdump. */

#include "ptdump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char help[] =
    "usage: piommu-ptdump --memory FILE@PHYSICAL... --root ADDRESS [OPTION...]\n"
    "\n"
    "Prints the Arm page tables of an IOMMU, or a CPU's stage 2, in an image of memory.\n"
    "\n"
    "  --memory FILE@PHYSICAL  a piece of memory, and the physical address of its first\n"
    "                          byte; may be given several times\n"
    "  --root ADDRESS          physical address of the root (TTBR0, or VTTBR)\n"
    "  --ttbr1 ADDRESS         physical address of the root for the upper half (stage 1);\n"
    "                          one of the two, or both\n"
    "  --format NAME           64-s1 (default), 64-s2, 32-s1 or 32-s2: width and stage\n"
    "  --granule SIZE          4K (default), 16K or 64K\n"
    "  --input-bits N[,N]      width of input addresses; the second is for --ttbr1\n"
    "                          (default: 48; 32-s1: 32, and 31 for --ttbr1; 32-s2: 40)\n"
    "  --output-bits N         width of physical addresses (default: 48; 32-bit: 40)\n"
    "  --start-level N         level of the root, where the input width leaves a choice\n"
    "  --feature NAME          something that the hardware was told: non-secure,\n"
    "                          force-write-back, xnx, dirty; may be given several times\n"
    "  --only FIRST..LAST      shows only what reaches into these input addresses;\n"
    "                          FIRST+SIZE and a single address are fine, too\n"
    "  --json                  JSON instead of text\n"
    "  --svg FILE              draws a picture of the address space, too\n"
    "  --help                  this text\n"
    "  --version               the version of the program\n"
    "\n"
    "Numbers are decimal, or hexadecimal after 0x; K, M, G and T multiply by 1024 each.\n"
    "\n"
    "Exit status: 0: the tables are sound; 1: they are not, or the image cannot be read;\n"
    "2: wrong usage, or no memory.\n";

/* ---- Numbers ---- */

/* Reads a number with a unit; returns what follows it, or NULL. */
static const char *read_number(const char *text, uint64_t *value)
{
    static const char units[] = "KMGT";
    unsigned int shift = 0;
    const char *unit;
    char *end;

    if (*text < '0' || *text > '9') {
        return NULL;
    }
    errno = 0;
    *value = strtoull(text, &end, 0);
    if (errno != 0) {
        return NULL;
    }
    unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (unit != NULL) {
        shift = 10 * ((unsigned int)(unit - units) + 1);
        end++;
    }
    if (*value > UINT64_MAX >> shift) {
        return NULL;
    }
    *value <<= shift;
    return end;
}

/* The whole of a text is a number. */
static bool parse_number(const char *text, uint64_t *value)
{
    const char *end = read_number(text, value);

    return end != NULL && *end == '\0';
}

static bool parse_bits(const char *text, uint8_t *bits)
{
    uint64_t value;

    if (!parse_number(text, &value) || value == 0 || value > 64) {
        return false;
    }
    *bits = (uint8_t)value;
    return true;
}

/* ---- What each option does with its argument ---- */

struct choice {
    const char *name;
    uint32_t value;
};

static bool choose(const struct choice *choices, size_t count, const char *name, uint32_t *value)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, choices[i].name) == 0) {
            *value = choices[i].value;
            return true;
        }
    }
    return false;
}

static bool set_format(struct request *request, const char *text)
{
    static const struct choice formats[] = {
        {"64-s1", PIOMMU_ARM_64_LPAE_S1},
        {"64-s2", PIOMMU_ARM_64_LPAE_S2},
        {"32-s1", PIOMMU_ARM_32_LPAE_S1},
        {"32-s2", PIOMMU_ARM_32_LPAE_S2},
    };
    uint32_t format;

    if (!choose(formats, COUNT(formats), text, &format)) {
        return false;
    }
    request->config.format = (enum piommu_pgtable_format)format;
    return true;
}

static bool set_feature(struct request *request, const char *text)
{
    static const struct choice features[] = {
        {"non-secure", PIOMMU_PGTABLE_NON_SECURE},
        {"force-write-back", PIOMMU_PGTABLE_FORCE_WRITE_BACK},
        {"xnx", PIOMMU_PGTABLE_XNX},
        {"dirty", PIOMMU_PGTABLE_DIRTY},
    };
    uint32_t flag;

    if (!choose(features, COUNT(features), text, &flag)) {
        return false;
    }
    request->config.flags |= flag;
    return true;
}

static bool set_granule(struct request *request, const char *text)
{
    uint64_t size;

    if (!parse_number(text, &size) || (size != 4096 && size != 16384 && size != 65536)) {
        return false;
    }
    request->config.granule = (uint32_t)size;
    return true;
}

static bool set_input_bits(struct request *request, const char *text)
{
    uint64_t lower;
    const char *end = read_number(text, &lower);

    if (end == NULL || lower == 0 || lower > 64 || (*end != '\0' && *end != ',')) {
        return false;
    }
    request->input_bits[0] = (uint8_t)lower;
    request->input_bits[1] = (uint8_t)lower;
    return *end == '\0' || parse_bits(end + 1, &request->input_bits[1]);
}

static bool set_output_bits(struct request *request, const char *text)
{
    return parse_bits(text, &request->config.output_bits);
}

static bool set_start_level(struct request *request, const char *text)
{
    uint64_t level;

    if (!parse_number(*text == '-' ? text + 1 : text, &level) || level > 3) {
        return false;
    }
    request->has_start_level = true;
    request->start_level = *text == '-' ? -(int)level : (int)level;
    return true;
}

static bool set_root(struct request *request, const char *text)
{
    request->has_root[0] = true;
    return parse_number(text, &request->root[0]);
}

static bool set_ttbr1(struct request *request, const char *text)
{
    request->has_root[1] = true;
    return parse_number(text, &request->root[1]);
}

static bool set_only(struct request *request, const char *text)
{
    struct piommu_range *only = &request->only;
    const char *end = read_number(text, &only->first);
    uint64_t size;

    if (end == NULL) {
        return false;
    }
    only->last = only->first;
    if (*end == '\0') {
        return true;
    }
    if (*end == '+') {
        if (!parse_number(end + 1, &size) || size == 0) {
            return false;
        }
        only->last = only->first + (size - 1);
    } else if (strncmp(end, "..", 2) != 0 || !parse_number(end + 2, &only->last)) {
        return false;
    }
    return only->first <= only->last;
}

static bool set_svg(struct request *request, const char *text)
{
    request->svg = text;
    return *text != '\0';
}

static const struct {
    const char *name;
    bool (*set)(struct request *request, const char *text);
} options[] = {
    {"--root", set_root},
    {"--ttbr1", set_ttbr1},
    {"--format", set_format},
    {"--granule", set_granule},
    {"--input-bits", set_input_bits},
    {"--output-bits", set_output_bits},
    {"--start-level", set_start_level},
    {"--feature", set_feature},
    {"--only", set_only},
    {"--svg", set_svg},
};

/* ---- The image ---- */

/* FILE@PHYSICAL: opens the file and adds it. The argument is cut at its last @. */
static enum status add_memory(struct image *image, char *text)
{
    char *at = strrchr(text, '@');
    uint64_t physical;
    FILE *file;

    if (at == NULL || at == text || !parse_number(at + 1, &physical)) {
        return wrong_usage("--memory %s: should be FILE@PHYSICAL", text);
    }
    *at = '\0';
    file = fopen(text, "rb");
    if (file == NULL) {
        complain("%s: %s", text, strerror(errno));
        return STATUS_INPUT;
    }
    return image_add(image, file, text, physical) ? STATUS_OK : STATUS_INPUT;
}

/* ---- All together ---- */

/* An option with its argument, which is NULL if there is none. */
static enum status parse_option(struct request *request, struct image *image, const char *name,
                                char *argument)
{
    bool is_memory = strcmp(name, "--memory") == 0;
    size_t i = 0;

    while (i < COUNT(options) && strcmp(name, options[i].name) != 0) {
        i++;
    }
    if (!is_memory && i == COUNT(options)) {
        return wrong_usage("there is no option %s", name);
    }
    if (argument == NULL) {
        return wrong_usage("%s needs an argument", name);
    }
    if (is_memory) {
        return add_memory(image, argument);
    }
    return options[i].set(request, argument)
               ? STATUS_OK
               : wrong_usage("%s: %s is nothing that it knows", name, argument);
}

/* What goes without saying. */
static enum status complete(struct request *request, const struct image *image)
{
    struct piommu_pgtable_config *config = &request->config;
    bool stage1 =
        config->format == PIOMMU_ARM_64_LPAE_S1 || config->format == PIOMMU_ARM_32_LPAE_S1;
    bool wide = config->format == PIOMMU_ARM_64_LPAE_S1 || config->format == PIOMMU_ARM_64_LPAE_S2;

    if (image->piece_count == 0) {
        return wrong_usage("which memory?");
    }
    if (!request->has_root[0] && !request->has_root[1]) {
        return wrong_usage("which root?");
    }
    if (request->has_root[1] && !stage1) {
        return wrong_usage("--ttbr1: stage 2 has one root");
    }
    if (request->input_bits[0] == 0) {
        request->input_bits[0] = wide ? 48 : stage1 ? 32 : 40;
        request->input_bits[1] = wide ? 48 : 31;
    }
    if (config->output_bits == 0) {
        config->output_bits = wide ? 48 : 40;
    }
    if (wide) {
        config->flags |= PIOMMU_PGTABLE_CONTIGUOUS | PIOMMU_PGTABLE_SMALL_INPUT;
    }
    config->coherent_walk = true;
    return STATUS_OK;
}

enum status request_parse(struct request *request, struct image *image, int argc, char **argv,
                          bool *done)
{
    *done = false;
    memset(request, 0, sizeof(*request));
    request->config.format = PIOMMU_ARM_64_LPAE_S1;
    request->config.granule = 4096;
    request->only.last = UINT64_MAX;
    for (int i = 1; i < argc; i++) {
        enum status status;

        if (program_answers(argv[i], help)) {
            *done = true;
            return STATUS_OK;
        }
        if (strcmp(argv[i], "--json") == 0) {
            request->json = true;
            continue;
        }
        status = parse_option(request, image, argv[i], argv[i + 1]);
        if (status != STATUS_OK) {
            return status;
        }
        i++;
    }
    return complete(request, image);
}
