/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PORT_H
#define PORT_H

/*
 * The port: the library's ops shim on the simulated machine. On a board these callbacks lead to its
 * memory, caches and registers; here they lead to memory.h and to the model of the IPMMU.
 */

#include "memory.h"

#include <piommu/models/ipmmu-vmsa.h>
#include <piommu/os.h>

struct port {
    struct memory *memory;
    struct piommu_ipmmu_model *model; /* NULL: no registers yet */
    bool forgets_clean;               /* a port with a mistake in it */
    uint64_t clock;
    /* What the library has taken and not given back. */
    size_t heap;
    unsigned int locks;
    unsigned int register_maps;
};

struct piommu_host port_host(struct port *port);

/* Has the library given everything back? */
bool port_is_empty(const struct port *port);

#endif
