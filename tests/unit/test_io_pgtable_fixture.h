/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef TEST_IO_PGTABLE_FIXTURE_H
#define TEST_IO_PGTABLE_FIXTURE_H

/* The name under which programs outside of this folder know the fixture. */
#include "pgtable_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#endif
