/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef STEPS_H
#define STEPS_H

/* The steps of the demonstration, in the order in which main.c takes them. */

#include "guests.h"

/* steps.c: a life without accidents */
bool step_start(struct demo *demo); /* false: this part cannot do what was asked for */
void step_add(struct demo *demo);
void step_guests(struct demo *demo);
void step_tables(struct demo *demo); /* only with --tables */
void step_move(struct demo *demo);
void step_unmap(struct demo *demo);
void step_third_guest(struct demo *demo);
void step_remove(struct demo *demo);

/* trouble.c: what is refused, and what goes on without the library's doing */
void step_split(struct demo *demo);
void step_faults(struct demo *demo);
void step_sleep(struct demo *demo);
void step_hang(struct demo *demo);
void step_run_out(struct demo *demo);

#endif
