/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef GUEST_RUNTIME_H
#define GUEST_RUNTIME_H

/* What all guests have. */

#include "../guest-abi.h"

#include "edu.h"
#include "machine.h"

/* ---- Of each guest (a.c, b.c, c.c) ---- */

/* Called for each event but EVENT_HELLO. */
void guest_event(enum guest_event event, uint64_t argument);

/* ---- For all (guest.c) ---- */

struct hypercall_result {
    uint64_t x0, x1;
};

struct hypercall_result hypercall(enum hypercall number, uint64_t a, uint64_t b, uint64_t c);

/* One line of the transcript, counted. */
void guest_check(bool holds, const char *text);

/* A single page. */
uint8_t *guest_page(unsigned int slot);

/* The device, opened by guest_device_works. */
extern struct edu guest_edu;
/*
 * Copies through the device from pages 0 and 1 to pages 2 and 3, of which it finds the first ones
 * at these addresses. Whether all arrives, as it should.
 */
bool guest_copies(uint64_t source_address, uint64_t target_address);
/* The same by the guest's own addresses, as a check. */
void guest_device_works(void);

/* Exceptions that were taken: each is noted, and the instruction is left out. */
struct guest_aborts {
    unsigned int count;
    uint64_t address; /* of the last one */
};
extern volatile struct guest_aborts guest_aborts;

/* Whether an access to this address is an abort that names it. */
bool guest_aborts_at(uint64_t address, bool write);

bool guest_is_filled(const uint8_t *memory, size_t size, uint8_t value);
bool guest_contains(const uint8_t *memory, size_t size, uint8_t value);

#endif
