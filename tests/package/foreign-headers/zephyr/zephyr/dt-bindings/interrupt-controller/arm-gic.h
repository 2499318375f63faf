/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* A stand-in: see foreign-zephyr.h. */
#include <foreign-zephyr.h>
