/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef EXPECT_H
#define EXPECT_H

/* For stand-ins: what they ask of their callers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Ends the test, and names the function of the system that was called wrongly. */
#define EXPECT(condition)                                       \
    do {                                                        \
        if (!(condition)) {                                     \
            fail_msg("%s: not true: %s", __func__, #condition); \
        }                                                       \
    } while (0)

#endif
