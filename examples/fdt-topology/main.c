/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * piommu-topology [--dot] FILE.dtb
 *
 * Prints what a device tree blob says of IOMMUs: the instances, the devices behind them with their
 * IDs, the groups, and reserved regions; as tables, or with --dot as a picture for graphviz:
 *
 *   piommu-topology --dot FILE.dtb | dot -Tsvg >FILE.svg
 *
 * What is malformed is named on stderr and left out. Exit status: 0; 1: something was malformed; 2:
 * wrong usage.
 */

#include "topology.h"

#include <string.h>

int main(int argc, char **argv)
{
    bool dot = argc > 1 && strcmp(argv[1], "--dot") == 0;
    struct topology topology;
    unsigned int errors;

    if (argc != (dot ? 3 : 2) || (!dot && argv[1][0] == '-' && argv[1][1] != '\0')) {
        fprintf(stderr, "usage: piommu-topology [--dot] FILE.dtb\n");
        return 2;
    }
    if (topology_load(&topology, argv[argc - 1])) {
        topology_find_groups(&topology);
        if (dot) {
            topology_print_dot(&topology, stdout);
        } else {
            topology_print_tables(&topology, stdout);
        }
    }
    errors = topology.errors;
    topology_free(&topology);
    return errors != 0 ? 1 : 0;
}
