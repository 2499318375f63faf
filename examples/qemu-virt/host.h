/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef HOST_H
#define HOST_H

#include <piommu/os.h>

/* The ops shim of this machine: what a port of the library consists of. */
struct piommu_host host_shim(void);

#endif
