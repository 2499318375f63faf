/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What the driver of the device edu wants of a machine and its header does not have, by Zephyr. */

#include "machine.h"

#include <zephyr/kernel.h>

uint64_t machine_now(void)
{
    return k_ticks_to_ns_floor64((uint64_t)k_uptime_ticks());
}

void machine_delay(uint64_t nanoseconds)
{
    (void)k_sleep(K_TICKS((k_ticks_t)k_ns_to_ticks_ceil64(nanoseconds)));
}
