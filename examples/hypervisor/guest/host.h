/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef GUEST_HOST_H
#define GUEST_HOST_H

#include <piommu/os.h>

/* The ops shim of a guest that links the library. */
struct piommu_host guest_shim(void);

/* Bytes of memory that the library has and has not given back. */
size_t guest_pool_outstanding(void);

#endif
