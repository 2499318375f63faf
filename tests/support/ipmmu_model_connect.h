/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef IPMMU_MODEL_CONNECT_H
#define IPMMU_MODEL_CONNECT_H

/* The place of the model of piommu/models/ipmmu-vmsa.h in a test with the fake OS and cmocka. */

#include "fake_os.h"

#include <piommu/models/ipmmu-vmsa.h>

/* Makes the fake OS forward register accesses to the model. */
void ipmmu_model_connect(struct piommu_ipmmu_model *model, struct fake_os *os);
/* Fails the test with the text of the first violation, if there is one. */
void ipmmu_model_assert_clean(const struct piommu_ipmmu_model *model);

#endif
