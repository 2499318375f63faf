/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random requests of a hostile guest, with budgets, resets, and endpoints that come and go, to the
 * engine of a virtio-iommu over mock units of both kinds, against a plain model of its domains.
 */

#include "viommu_program.h"

int main(int argc, char **argv)
{
    return viommu_program_main("viommu", 300000, viommu_program_generate, viommu_program_run, argc,
                               argv);
}
