/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_BACKENDS_IPMMU_VMSA_REGISTERS_H
#define PIOMMU_BACKENDS_IPMMU_VMSA_REGISTERS_H

/* Registers of the IPMMU-VMSA, by the names that all of its drivers use. */

/* In the block of a context. */
#define IMCTR    0x00u
#define IMTTBCR  0x08u
#define IMBUSCR  0x0cu
#define IMTTLBR0 0x10u
#define IMTTUBR0 0x14u
#define IMTTLBR1 0x18u
#define IMTTUBR1 0x1cu
#define IMSTR    0x20u
#define IMMAIR0  0x28u
#define IMELAR   0x30u
#define IMEUAR   0x34u

/* Of a micro-TLB; see piommu_ipmmu_write_micro_tlb_. */
#define IMUCTR  0x0u
#define IMUASID 0x8u

/* Of a unit. */
#define IMSCTLR    0x500u
#define IMSAUXCTLR 0x504u

#define IMCTR_VA64  (1u << 29) /* root only */
#define IMCTR_INTEN (1u << 2)
#define IMCTR_FLUSH (1u << 1)
#define IMCTR_MMUEN (1u << 0)
#define IMCTR_CACHE (IMCTR_INTEN | IMCTR_FLUSH | IMCTR_MMUEN) /* what cache units have of it */

#define IMTTBCR_EAE         (1u << 31)
#define IMTTBCR_PMB         (1u << 30)
#define IMTTBCR_SL0_LEVEL_1 (1u << 6) /* stage 2; in stage 1 the same level is 2 << 6 */
/* Stage 1 with VA64: both bases, cacheable walks (which nobody snoops), start at level 1. */
#define IMTTBCR_STAGE1_64(size) (0xb5003580u | ((uint32_t)(size) << 16) | (uint32_t)(size))

#define IMBUSCR_MASK 0x7u

#define IMSTR_LEVEL(status) (((status) >> 12) & 0x3u)
#define IMSTR_CODE(status)  (((status) >> 8) & 0x7u)
#define IMSTR_CODE_SECURE   5u /* a table or page of the other world */
#define IMSTR_MHIT          (1u << 4)
#define IMSTR_ABORT         (1u << 2)
#define IMSTR_PF            (1u << 1)
#define IMSTR_TF            (1u << 0)
#define IMSTR_FAULT         (IMSTR_MHIT | IMSTR_ABORT | IMSTR_PF | IMSTR_TF)

#define IMUCTR_SELECT(context) ((uint32_t)(context) << 4)
#define IMUCTR_FLUSH           (1u << 1)
#define IMUCTR_MMUEN           (1u << 0)

#define IMSCTLR_USE_SECGRP (1u << 28)
#define IMSCTLR_DISCACHE   0xe0000000u
#define IMSAUXCTLR_S2PTE   (1u << 3)

#endif
