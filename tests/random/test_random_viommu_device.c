/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * Random calls of a guest's core, on the library's own driver of the virtio-iommu that the library
 * offers it, against a plain model of what the guest has mapped; and a man in the middle, after
 * whom a reset by the driver makes everything right again.
 */

#include "viommu_device_program.h"

int main(int argc, char **argv)
{
    return viommu_program_main("viommu_device", 200000, viommu_device_program_generate,
                               viommu_device_program_run, argc, argv);
}
