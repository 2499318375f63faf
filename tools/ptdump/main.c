/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* piommu-ptdump: prints page tables in an image of memory; see piommu-ptdump.1. */

#include "ptdump.h"

#include <errno.h>
#include <string.h>

static bool draw(struct dump *dump, const char *name)
{
    FILE *file = fopen(name, "w");
    bool good;

    if (file == NULL) {
        complain("%s: %s", name, strerror(errno));
        return false;
    }
    print_svg(dump, file);
    good = written(file, name);
    fclose(file);
    return good;
}

static bool show(struct dump *dump, const struct request *request)
{
    bool good;

    if (request->json) {
        print_json(dump, stdout);
    } else {
        print_text(dump, stdout);
    }
    good = written(stdout, "stdout");
    if (request->svg != NULL) {
        good = draw(dump, request->svg) && good;
    }
    return good;
}

int main(int argc, char **argv)
{
    static struct dump dump;
    struct image image = {0};
    struct request request;
    bool done;
    enum status status;

    program_begin("piommu-ptdump");
    status = request_parse(&request, &image, argc, argv, &done);
    if (status == STATUS_OK && !done) {
        if (!dump_open(&dump, &request, &image) || !show(&dump, &request) ||
            !dump_is_sound(&dump)) {
            status = STATUS_INPUT;
        }
        dump_close(&dump);
    }
    image_free(&image);
    return (int)status;
}
