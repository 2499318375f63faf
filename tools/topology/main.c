/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* piommu-topology: prints what a device tree blob says of IOMMUs; see piommu-topology.1. */

#include "topology.h"

#include <string.h>

static const char help[] =
    "usage: piommu-topology [--dot] FILE.dtb\n"
    "\n"
    "Prints what a device tree blob says of IOMMUs: the instances, the devices behind\n"
    "them with their IDs, the groups, and reserved regions.\n"
    "\n"
    "  --dot      a picture for graphviz instead of tables\n"
    "  --help     this text\n"
    "  --version  the version of the program\n"
    "\n"
    "Exit status: 0; 1: the file cannot be read, or something in it is malformed, which\n"
    "is named on stderr and left out; 2: wrong usage, or no memory.\n";

static enum status print_topology(const char *file, bool dot)
{
    struct topology topology;
    bool sound;

    if (topology_load(&topology, file)) {
        topology_find_groups(&topology);
        if (dot) {
            topology_print_dot(&topology, stdout);
        } else {
            topology_print_tables(&topology, stdout);
        }
    }
    sound = topology.errors == 0;
    topology_free(&topology);
    return written(stdout, "stdout") && sound ? STATUS_OK : STATUS_INPUT;
}

int main(int argc, char **argv)
{
    const char *file = NULL;
    bool dot = false;

    program_begin("piommu-topology");
    for (int i = 1; i < argc; i++) {
        if (program_answers(argv[i], help)) {
            return STATUS_OK;
        }
        if (strcmp(argv[i], "--dot") == 0) {
            dot = true;
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return (int)wrong_usage("there is no option %s", argv[i]);
        } else if (file != NULL) {
            return (int)wrong_usage("one file at a time");
        } else {
            file = argv[i];
        }
    }
    if (file == NULL) {
        return (int)wrong_usage("which file?");
    }
    return (int)print_topology(file, dot);
}
