/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "ipmmu_traces.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * What is not the doing of one driver in particular has no driver in its name. XT is an early port
 * to Xen; T8 is a memory manager that follows the order of the hardware's manual.
 */
static const char *const t1_linux[] = {
    "M W IMCTR(0) 0x000 0x00000000", "M W IMCTR(1) 0x040 0x00000000",
    "M W IMCTR(2) 0x080 0x00000000", "M W IMCTR(3) 0x0c0 0x00000000",
    "M W IMCTR(4) 0x100 0x00000000", "M W IMCTR(5) 0x140 0x00000000",
    "M W IMCTR(6) 0x180 0x00000000", "M W IMCTR(7) 0x1c0 0x00000000",
};

static const char *const t1_xen[] = {
    "M W IMCTR(0) 0x000 0x00000000", "M W IMCTR(1) 0x040 0x00000000",
    "M W IMCTR(2) 0x080 0x00000000", "M W IMCTR(3) 0x0c0 0x00000000",
    "M W IMCTR(4) 0x100 0x00000000", "M W IMCTR(5) 0x140 0x00000000",
    "M W IMCTR(6) 0x180 0x00000000", "M W IMCTR(7) 0x1c0 0x00000000",
    "M R IMSAUXCTLR 0x504 >a",       "M W IMSAUXCTLR 0x504 a|0x8",
    "M R IMSCTLR 0x500 >b",          "M W IMSCTLR 0x500 b&~0x10000000",
    "D R IMSCTLR 0x500 >c",          "D W IMSCTLR 0x500 c&~0x10000000",
};

static const char *const t1_linux_gen4[] = {
    "M W IMCTR(0) 0x10000 0x00000000",  "M W IMCTR(1) 0x11040 0x00000000",
    "M W IMCTR(2) 0x12080 0x00000000",  "M W IMCTR(3) 0x130c0 0x00000000",
    "M W IMCTR(4) 0x14100 0x00000000",  "M W IMCTR(5) 0x15140 0x00000000",
    "M W IMCTR(6) 0x16180 0x00000000",  "M W IMCTR(7) 0x171c0 0x00000000",
    "M W IMCTR(8) 0x18800 0x00000000",  "M W IMCTR(9) 0x19840 0x00000000",
    "M W IMCTR(10) 0x1a880 0x00000000", "M W IMCTR(11) 0x1b8c0 0x00000000",
    "M W IMCTR(12) 0x1c900 0x00000000", "M W IMCTR(13) 0x1d940 0x00000000",
    "M W IMCTR(14) 0x1e980 0x00000000", "M W IMCTR(15) 0x1f9c0 0x00000000",
};

static const char *const t1_xen_gen4[] = {
    "M W IMCTR(0) 0x10000 0x00000000",
    "M W IMCTR(1) 0x11040 0x00000000",
    "M W IMCTR(2) 0x12080 0x00000000",
    "M W IMCTR(3) 0x130c0 0x00000000",
    "M W IMCTR(4) 0x14100 0x00000000",
    "M W IMCTR(5) 0x15140 0x00000000",
    "M W IMCTR(6) 0x16180 0x00000000",
    "M W IMCTR(7) 0x171c0 0x00000000",
    "M W IMCTR(8) 0x18800 0x00000000",
    "M W IMCTR(9) 0x19840 0x00000000",
    "M W IMCTR(10) 0x1a880 0x00000000",
    "M W IMCTR(11) 0x1b8c0 0x00000000",
    "M W IMCTR(12) 0x1c900 0x00000000",
    "M W IMCTR(13) 0x1d940 0x00000000",
    "M W IMCTR(14) 0x1e980 0x00000000",
    "M W IMCTR(15) 0x1f9c0 0x00000000",
    "M R IMSAUXCTLR 0x1504 >a",
    "M W IMSAUXCTLR 0x1504 a|0x8",
    "M R IMSCTLR 0x1500 >b",
    "M W IMSCTLR 0x1500 b&~0x10000000",
    "D R IMSCTLR 0x1500 >c",
    "D W IMSCTLR 0x1500 c&~0x10000000",
};

static const char *const t1_linux_gen2[] = {
    "M W IMCTR(0) 0x800 0x00000000",
};

static const char *const t1_xvisor_gen2[] = {
    "M W IMCTR(0) 0x800 0x00000000",
    "M W IMCTR(1) 0x840 0x00000000",
    "M W IMCTR(2) 0x880 0x00000000",
    "M W IMCTR(3) 0x8c0 0x00000000",
};

static const char *const t2[] = {
    "M W IMTTLBR0(1) 0x050 Tlo",
    "M W IMTTUBR0(1) 0x054 Thi",
    "M W IMTTBCR(1) 0x048 0x80000080",
    "M W IMMAIR0(1) 0x068 0xF404FF44",
    "M R IMSTR(1) 0x060 >s",
    "M W IMSTR(1) 0x060 s",
    "D W IMCTR(1) 0x040 0x00000007",
    "M W IMCTR(1) 0x040 0x00000007",
    "D W IMUASID(3) 0x338 0x00000000",
    "D W IMUCTR(3) 0x330 0x00000013",
    "D W IMUASID(34) 0x628 0x00000000",
    "D W IMUCTR(34) 0x620 0x00000013",
};

static const char *const t2b[] = {
    "D W IMUASID(5) 0x358 0x00000000",
    "D W IMUCTR(5) 0x350 0x00000013",
};

static const char *const t2d[] = {
    "M W IMTTLBR0(2) 0x090 Tlo",       "M W IMTTUBR0(2) 0x094 Thi",
    "M W IMTTBCR(2) 0x088 0x80000080", "M W IMMAIR0(2) 0x0a8 0xF404FF44",
    "M R IMSTR(2) 0x0a0 >s",           "M W IMSTR(2) 0x0a0 s",
    "H W IMCTR(2) 0x080 0x00000007",   "M W IMCTR(2) 0x080 0x00000007",
    "H W IMUASID(2) 0x328 0x00000000", "H W IMUCTR(2) 0x320 0x00000023",
};

static const char *const t2_gen4[] = {
    "M W IMTTLBR0(1) 0x11050 Tlo",       "M W IMTTUBR0(1) 0x11054 Thi",
    "M W IMTTBCR(1) 0x11048 0x80000080", "M W IMMAIR0(1) 0x11068 0xF404FF44",
    "M R IMSTR(1) 0x11060 >s",           "M W IMSTR(1) 0x11060 s",
    "D W IMCTR(1) 0x11040 0x00000007",   "M W IMCTR(1) 0x11040 0x00000007",
    "D W IMUASID(3) 0x3338 0x00000000",  "D W IMUCTR(3) 0x3330 0x00000013",
    "D W IMUASID(34) 0x3628 0x00000000", "D W IMUCTR(34) 0x3620 0x00000013",
};

static const char *const t2_gen2[] = {
    "M W IMTTLBR0(0) 0x810 Tlo",       "M W IMTTUBR0(0) 0x814 Thi",
    "M W IMTTBCR(0) 0x808 0x80003510", "M W IMMAIR0(0) 0x828 0xF404FF44",
    "M R IMBUSCR(0) 0x80c >v",         "M W IMBUSCR(0) 0x80c v&~0x7",
    "M R IMSTR(0) 0x820 >s",           "M W IMSTR(0) 0x820 s",
    "M W IMCTR(0) 0x800 0x00000007",   "M W IMUASID(3) 0xb38 0x00000000",
    "M W IMUCTR(3) 0xb30 0x00000003",
};

static const char *const t3[] = {
    "M W IMTTLBR0(1) 0x050 Tlo",
    "M W IMTTUBR0(1) 0x054 Thi",
    "M W IMTTBCR(1) 0x048 0xC0000058",
    "M R IMSTR(1) 0x060 >s",
    "M W IMSTR(1) 0x060 s",
    "M W IMCTR(1) 0x040 0x20000007",
    "M R IMCTR(1) 0x040 >v",
    "D W IMCTR(1) 0x040 v|0x2&0x7",
    "D R IMUCTR(3) 0x330 >u",
    "D W IMUASID(3) 0x338 0x00000000",
    "D W IMUCTR(3) 0x330 u|0x11",
    "D R IMUCTR(34) 0x620 >w",
    "D W IMUASID(34) 0x628 0x00000000",
    "D W IMUCTR(34) 0x620 w|0x11",
};

static const char *const t3b[] = {
    "M R IMCTR(1) 0x040 >v",           "H W IMCTR(1) 0x040 0x00000007", "H R IMUCTR(2) 0x320 >u",
    "H W IMUASID(2) 0x328 0x00000000", "H W IMUCTR(2) 0x320 u|0x11",
};

static const char *const t3c[] = {
    "M R IMCTR(1) 0x040 >v",
    "D W IMCTR(1) 0x040 0x00000007",
    "D R IMUCTR(3) 0x330 0x00000021",
    "D W IMCTR(1) 0x040 0x00000002",
};

static const char *const t3d[] = {
    "D R IMUCTR(3) 0x330 0x00000011",
};

static const char *const t3_gen4[] = {
    "M W IMTTLBR0(1) 0x11050 Tlo",
    "M W IMTTUBR0(1) 0x11054 Thi",
    "M W IMTTBCR(1) 0x11048 0xC0000058",
    "M R IMSTR(1) 0x11060 >s",
    "M W IMSTR(1) 0x11060 s",
    "M W IMCTR(1) 0x11040 0x20000007",
    "M R IMCTR(1) 0x11040 >v",
    "D W IMCTR(1) 0x11040 0x00000007",
    "D R IMUCTR(3) 0x3330 >u",
    "D W IMUASID(3) 0x3338 0x00000000",
    "D W IMUCTR(3) 0x3330 u|0x11",
    "D R IMUCTR(34) 0x3620 >w",
    "D W IMUASID(34) 0x3628 0x00000000",
    "D W IMUCTR(34) 0x3620 w|0x11",
};

static const char *const t3_xt[] = {
    "M W IMTTLBR0(1) 0x050 Tlo",
    "M W IMTTUBR0(1) 0x054 Thi",
    "M W IMTTBCR(1) 0x048 0xC0003598",
    "M R IMSTR(1) 0x060 >s",
    "M W IMSTR(1) 0x060 s",
    "M W IMCTR(1) 0x040 0x20000007",
    "M R IMCTR(1) 0x040 >v",
    "D W IMCTR(1) 0x040 0x20000007",
    "D W IMUASID(3) 0x338 0x00000000",
    "D W IMUCTR(3) 0x330 0x00000013",
    "D W IMUASID(34) 0x628 0x00000000",
    "D W IMUCTR(34) 0x620 0x00000013",
};

static const char *const t3_xt_stage1[] = {
    "M W IMTTLBR0(1) 0x050 Tlo",       "M W IMTTUBR0(1) 0x054 Thi",
    "M W IMTTLBR1(1) 0x058 Tlo",       "M W IMTTUBR1(1) 0x05c Thi",
    "M W IMTTBCR(1) 0x048 0xB5193599", "M W IMMAIR0(1) 0x068 MAIR",
    "M R IMSTR(1) 0x060 >s",           "M W IMSTR(1) 0x060 s",
    "M W IMCTR(1) 0x040 0x20000007",   "M R IMCTR(1) 0x040 >v",
    "D W IMCTR(1) 0x040 0x20000007",   "D W IMUASID(3) 0x338 0x00000000",
    "D W IMUCTR(3) 0x330 0x00000013",  "D W IMUASID(34) 0x628 0x00000000",
    "D W IMUCTR(34) 0x620 0x00000013",
};

static const char *const t4_linux[] = {
    "M R IMCTR(1) 0x040 0x00000005",
    "D W IMCTR(1) 0x040 0x00000007",
    "M W IMCTR(1) 0x040 0x00000007",
    "M P IMCTR(1) 0x040 *",
};

static const char *const t4_linux_gen4[] = {
    "M R IMCTR(1) 0x11040 0x00000005",
    "D W IMCTR(1) 0x11040 0x00000007",
    "M W IMCTR(1) 0x11040 0x00000007",
    "M P IMCTR(1) 0x11040 *",
};

static const char *const t4_gen2[] = {
    "M R IMCTR(0) 0x800 0x00000005",
    "M W IMCTR(0) 0x800 0x00000007",
    "M P IMCTR(0) 0x800 *",
};

static const char *const t4_xen[] = {
    "M R IMCTR(1) 0x040 0x20000005",  "~D W IMCTR(1) 0x040 0x00000007",
    "~H W IMCTR(1) 0x040 0x00000007", "M W IMCTR(1) 0x040 0x20000007",
    "M P IMCTR(1) 0x040 *",
};

static const char *const t4_xen_gen4[] = {
    "M R IMCTR(1) 0x11040 0x20000005",  "~D W IMCTR(1) 0x11040 0x00000007",
    "~H W IMCTR(1) 0x11040 0x00000007", "M W IMCTR(1) 0x11040 0x20000007",
    "M P IMCTR(1) 0x11040 *",
};

static const char *const t4_xt[] = {
    "M R IMCTR(1) 0x040 0x20000005",  "~D W IMCTR(1) 0x040 0x20000007",
    "~H W IMCTR(1) 0x040 0x20000007", "M W IMCTR(1) 0x040 0x20000007",
    "M P IMCTR(1) 0x040 *",
};

static const char *const t4_xt_stage1[] = {
    "M R IMCTR(1) 0x040 0x20000005",
    "M W IMCTR(1) 0x040 0x20000007",
    "M P IMCTR(1) 0x040 *",
};

static const char *const t5_linux[] = {
    "D W IMUCTR(3) 0x330 0x00000000", "D W IMUCTR(34) 0x620 0x00000000",
    "D W IMCTR(1) 0x040 0x00000002",  "M W IMCTR(1) 0x040 0x00000002",
    "M P IMCTR(1) 0x040 *",           "M R IMCTR(1) 0x040 0x00000000",
    "D W IMCTR(1) 0x040 0x00000002",  "M W IMCTR(1) 0x040 0x00000002",
    "M P IMCTR(1) 0x040 *",
};

static const char *const t5_xen[] = {
    "D W IMUCTR(3) 0x330 0x00000000", "D W IMUCTR(34) 0x620 0x00000000",
    "D W IMCTR(1) 0x040 0x00000002",  "M W IMCTR(1) 0x040 0x00000002",
    "M P IMCTR(1) 0x040 *",
};

static const char *const t5_xen_between[] = {
    "D W IMUCTR(3) 0x330 0x00000000", "D W IMUCTR(34) 0x620 0x00000000",
    "D W IMCTR(1) 0x040 0x00000002",  "M R IMCTR(1) 0x040 *",
    "M W IMCTR(1) 0x040 0x20000007",  "M P IMCTR(1) 0x040 *",
    "M W IMCTR(1) 0x040 0x00000002",  "M P IMCTR(1) 0x040 *",
};

static const char *const t6[] = {
    "M R IMSTR(1) 0x060 0x1/0x17",    "M R IMELAR(1) 0x070 0x34567000",
    "M R IMEUAR(1) 0x074 0x00000012", "M W IMSTR(1) 0x060 0x00000000",
    "M R IMSTR(2) 0x0a0 0x00000000",
};

static const char *const t6_32[] = {
    "M R IMSTR(1) 0x060 0x1/0x17",
    "M R IMELAR(1) 0x070 0x34567000",
    "M W IMSTR(1) 0x060 0x00000000",
    "M R IMSTR(2) 0x0a0 0x00000000",
};

static const char *const t6_gen4[] = {
    "M R IMSTR(1) 0x11060 0x1/0x17",    "M R IMELAR(1) 0x11070 0x34567000",
    "M R IMEUAR(1) 0x11074 0x00000012", "M W IMSTR(1) 0x11060 0x00000000",
    "M R IMSTR(2) 0x120a0 0x00000000",
};

static const char *const t6_gen2[] = {
    "M R IMSTR(0) 0x820 0x1/0x17",
    "M R IMELAR(0) 0x830 *",
    "M W IMSTR(0) 0x820 0x00000000",
};

static const char *const t7_linux[] = {
    "M W IMCTR(0) 0x000 0x00000000",
    "M W IMCTR(1) 0x040 0x00000000",
    "M W IMCTR(2) 0x080 0x00000000",
    "M W IMCTR(3) 0x0c0 0x00000000",
    "M W IMCTR(4) 0x100 0x00000000",
    "M W IMCTR(5) 0x140 0x00000000",
    "M W IMCTR(6) 0x180 0x00000000",
    "M W IMCTR(7) 0x1c0 0x00000000",
    "M W IMTTLBR0(1) 0x050 Tlo",
    "M W IMTTUBR0(1) 0x054 Thi",
    "M W IMTTBCR(1) 0x048 0x80000080",
    "M W IMMAIR0(1) 0x068 0xF404FF44",
    "M R IMSTR(1) 0x060 >s",
    "M W IMSTR(1) 0x060 s",
    "D W IMCTR(1) 0x040 0x00000007",
    "M W IMCTR(1) 0x040 0x00000007",
    "D W IMUASID(3) 0x338 0x00000000",
    "D W IMUCTR(3) 0x330 0x00000013",
    "D W IMUASID(34) 0x628 0x00000000",
    "D W IMUCTR(34) 0x620 0x00000013",
};

static const char *const t7_xen_suspend[] = {
    "D R IMUASID(3) 0x338 >a", "D R IMUCTR(3) 0x330 >b",   "D R IMUASID(34) 0x628 >c",
    "D R IMUCTR(34) 0x620 >d", "M R IMTTLBR0(1) 0x050 >e", "M R IMTTUBR0(1) 0x054 >f",
    "M R IMTTBCR(1) 0x048 >g", "M R IMCTR(1) 0x040 >h",
};

static const char *const t7_xen_resume[] = {
    "M R IMSCTLR 0x500 >i",       "M W IMSCTLR 0x500 i&~0x10000000", "M R IMSAUXCTLR 0x504 >j",
    "M W IMSAUXCTLR 0x504 j|0x8", "M W IMTTLBR0(1) 0x050 e",         "M W IMTTUBR0(1) 0x054 f",
    "M W IMTTBCR(1) 0x048 g",     "D W IMCTR(1) 0x040 0x00000007",   "M W IMCTR(1) 0x040 h|0x2",
    "D R IMSCTLR 0x500 >k",       "D W IMSCTLR 0x500 k&~0x10000000", "D W IMUASID(3) 0x338 a",
    "D W IMUCTR(3) 0x330 b",      "D W IMUASID(34) 0x628 c",         "D W IMUCTR(34) 0x620 d",
};

static const char *const t8[] = {
    "M W IMSTR(7) 0x1e0 0x00000000",   "M W IMTTUBR0(7) 0x1d4 Thi",
    "M W IMTTLBR0(7) 0x1d0 Tlo",       "M W IMTTBCR(7) 0x1c8 0x80000080",
    "M W IMMAIR0(7) 0x1e8 0x00005500", "M R IMCTR(7) 0x1c0 >i",
    "M W IMCTR(7) 0x1c0 i|0x3",        "P R IMCTR(7) 0x1c0 >j",
    "P W IMCTR(7) 0x1c0 j|0x3",        "P W IMUCTR(8) 0x380 0x00000073",
    "M W IMSTR(7) 0x1e0 0x00000000",
};

static const char *const t8_erratum[] = {
    "M W IMSTR(7) 0x1e0 0x00000000",   "M W IMTTUBR0(7) 0x1d4 Thi",
    "M W IMTTLBR0(7) 0x1d0 Tlo",       "M W IMTTBCR(7) 0x1c8 0x80000080",
    "M W IMMAIR0(7) 0x1e8 0x00005500", "M R IMCTR(7) 0x1c0 >i",
    "M W IMCTR(7) 0x1c0 i|0x3",        "P R IMSCTLR 0x500 >e",
    "P W IMSCTLR 0x500 e|0xE0000000",  "P R IMCTR(7) 0x1c0 >j",
    "P W IMCTR(7) 0x1c0 j|0x3",        "P W IMUCTR(8) 0x380 0x00000073",
    "M W IMSTR(7) 0x1e0 0x00000000",
};

static const char *const t8_teardown[] = {
    "M R IMELAR(7) 0x1f0 *",     "M R IMEUAR(7) 0x1f4 *",         "M R IMSTR(7) 0x1e0 *",
    "P R IMUCTR(8) 0x380 >u",    "P W IMUCTR(8) 0x380 u&~0x73",   "P R IMCTR(7) 0x1c0 >i",
    "P W IMCTR(7) 0x1c0 i|0x2",  "P R IMCTR(7) 0x1c0 >j",         "P W IMCTR(7) 0x1c0 j&~0x3",
    "M R IMCTR(7) 0x1c0 >k",     "M W IMCTR(7) 0x1c0 k|0x2",      "M R IMCTR(7) 0x1c0 >l",
    "M W IMCTR(7) 0x1c0 l&~0x3", "M W IMSTR(7) 0x1e0 0x00000000",
};

#define TRACE(name, generation, lines)                             \
    {                                                              \
        name, PIOMMU_IPMMU_MODEL_##generation, lines, COUNT(lines) \
    }

static const struct ipmmu_trace traces[] = {
    TRACE("T1 Linux", GEN3, t1_linux),
    TRACE("T1 Xen", GEN3, t1_xen),
    TRACE("T1 Linux Gen4", GEN4, t1_linux_gen4),
    TRACE("T1 Xen Gen4", GEN4, t1_xen_gen4),
    TRACE("T1 Linux Gen2", GEN2, t1_linux_gen2),
    TRACE("T1 Xvisor Gen2", GEN2, t1_xvisor_gen2),
    TRACE("T2", GEN3, t2),
    TRACE("T2b", GEN3, t2b),
    TRACE("T2d", GEN3, t2d),
    TRACE("T2 Gen4", GEN4, t2_gen4),
    TRACE("T2 Gen2", GEN2, t2_gen2),
    TRACE("T3", GEN3, t3),
    TRACE("T3b", GEN3, t3b),
    TRACE("T3c", GEN3, t3c),
    TRACE("T3d", GEN3, t3d),
    TRACE("T3 Gen4", GEN4, t3_gen4),
    TRACE("T3 XT", GEN3, t3_xt),
    TRACE("T3 XT stage 1", GEN3, t3_xt_stage1),
    TRACE("T4 Linux", GEN3, t4_linux),
    TRACE("T4 Linux Gen4", GEN4, t4_linux_gen4),
    TRACE("T4 Gen2", GEN2, t4_gen2),
    TRACE("T4 Xen", GEN3, t4_xen),
    TRACE("T4 Xen Gen4", GEN4, t4_xen_gen4),
    TRACE("T4 XT", GEN3, t4_xt),
    TRACE("T4 XT stage 1", GEN3, t4_xt_stage1),
    TRACE("T5 Linux", GEN3, t5_linux),
    TRACE("T5 Xen", GEN3, t5_xen),
    TRACE("T5 Xen, memory freed between", GEN3, t5_xen_between),
    TRACE("T6", GEN3, t6),
    TRACE("T6 32-bit", GEN3, t6_32),
    TRACE("T6 Gen4", GEN4, t6_gen4),
    TRACE("T6 Gen2", GEN2, t6_gen2),
    TRACE("T7 Linux", GEN3, t7_linux),
    TRACE("T7 Xen suspend", GEN3, t7_xen_suspend),
    TRACE("T7 Xen resume", GEN3, t7_xen_resume),
    TRACE("T8", GEN3, t8),
    TRACE("T8 erratum", GEN3, t8_erratum),
    TRACE("T8 teardown", GEN3, t8_teardown),
};

const struct ipmmu_trace *ipmmu_trace(size_t number)
{
    return number < COUNT(traces) ? &traces[number] : NULL;
}

const struct ipmmu_trace *ipmmu_trace_named(const char *name)
{
    for (size_t i = 0; i < COUNT(traces); i++) {
        if (strcmp(traces[i].name, name) == 0) {
            return &traces[i];
        }
    }
    fail_msg("there is no trace \"%s\"", name);
    return NULL;
}

/* ---- lines ---- */

bool ipmmu_trace_parse(const char *text, struct ipmmu_trace_line *line)
{
    char name[32];
    char *number;

    memset(line, 0, sizeof(*line));
    line->any_order = text[0] == '~';
    line->optional = text[0] == '?';
    if (sscanf(text + (line->any_order || line->optional), "%15s %c %31s 0x%" SCNx32 " %31s",
               line->unit, &line->access, name, &line->offset, line->value) != 5 ||
        strchr("RWP", line->access) == NULL) {
        return false;
    }
    number = strchr(name, '(');
    if (number != NULL) {
        *number = '\0';
        line->number = (unsigned int)strtoul(number + 1, NULL, 10);
    }
    for (unsigned int i = 0; i < PIOMMU_IPMMU_MODEL_REGISTERS; i++) {
        line->which = (enum piommu_ipmmu_model_register)i;
        if (strcmp(piommu_ipmmu_model_register_name(line->which), name) == 0) {
            return true;
        }
    }
    return false;
}

static struct ipmmu_trace_line parse(const char *text)
{
    struct ipmmu_trace_line line;

    if (!ipmmu_trace_parse(text, &line)) {
        fail_msg("not a line of a trace: %s", text);
    }
    return line;
}

/* ---- values ---- */

static bool starts_with(const char **text, const char *start)
{
    if (strncmp(*text, start, strlen(start)) != 0) {
        return false;
    }
    *text += strlen(start);
    return true;
}

/* false: it hangs on something that was not read. */
static bool term(const char **text, const struct ipmmu_trace_names *names, uint32_t *value)
{
    if (starts_with(text, "Tlo")) {
        *value = (uint32_t)(names->table & UINT32_MAX);
    } else if (starts_with(text, "Thi")) {
        *value = (uint32_t)(names->table >> 32);
    } else if (starts_with(text, "MAIR")) {
        *value = names->mair;
    } else if (**text >= 'a' && **text <= 'z') {
        *value = names->read[**text - 'a'];
        if (!names->was_read[*(*text)++ - 'a']) {
            return false;
        }
    } else {
        char *end;

        *value = (uint32_t)strtoul(*text, &end, 16);
        if (end == *text) {
            fail_msg("not a value of a trace: %s", *text);
        }
        *text = end;
    }
    return true;
}

static bool evaluate(const char *text, const struct ipmmu_trace_names *names, uint32_t *value)
{
    bool is_known = term(&text, names, value);

    while (*text != '\0') {
        bool is_or = starts_with(&text, "|");
        bool is_clear = !is_or && starts_with(&text, "&~");
        uint32_t other;

        if (!is_or && !is_clear && !starts_with(&text, "&")) {
            fail_msg("not a value of a trace: %s", text);
        }
        is_known = term(&text, names, &other) && is_known;
        if (is_or) {
            *value |= other;
        } else {
            *value &= is_clear ? ~other : other;
        }
    }
    return is_known;
}

static void keep_name(struct ipmmu_trace_names *names, const char *value, uint32_t read)
{
    if (value[0] == '>') {
        names->read[value[1] - 'a'] = read;
        names->was_read[value[1] - 'a'] = true;
    }
}

static bool value_matches(const struct ipmmu_trace_line *line, uint32_t actual,
                          struct ipmmu_trace_names *names)
{
    const char *slash = strchr(line->value, '/');
    uint32_t expected;

    if (line->value[0] == '*') {
        return true;
    }
    if (line->value[0] == '>') {
        keep_name(names, line->value, actual);
        return true;
    }
    if (slash != NULL) {
        return (actual & (uint32_t)strtoul(slash + 1, NULL, 16)) ==
               (uint32_t)strtoul(line->value, NULL, 16);
    }
    return !evaluate(line->value, names, &expected) || expected == actual;
}

/* ---- comparing ---- */

struct comparison {
    const struct piommu_ipmmu_model *model;
    const char *const *lines;
    size_t count;
    bool writes_only;
    struct ipmmu_trace_names *names;
    size_t next; /* of the recording */
};

static const struct piommu_ipmmu_model_access *next_access(struct comparison *comparison)
{
    const struct piommu_ipmmu_model_access *access;

    while ((access = piommu_ipmmu_model_recorded_access(comparison->model, comparison->next)) !=
               NULL &&
           comparison->writes_only && !access->is_write) {
        comparison->next++;
    }
    return access;
}

static bool is_the_place(const struct comparison *comparison, const struct ipmmu_trace_line *line)
{
    const struct piommu_ipmmu_model_access *access =
        piommu_ipmmu_model_recorded_access(comparison->model, comparison->next);
    char text[PIOMMU_IPMMU_MODEL_LINE_SIZE];
    struct ipmmu_trace_line actual;

    if (access == NULL) {
        return false;
    }
    piommu_ipmmu_model_recorded_line(comparison->model, comparison->next, text);
    actual = parse(text);
    return strcmp(line->unit, actual.unit) == 0 &&
           (line->access == 'P' ? 'R' : line->access) == actual.access &&
           line->which == actual.which && line->number == actual.number &&
           line->offset == actual.offset;
}

static bool take_line(struct comparison *comparison, const struct ipmmu_trace_line *line)
{
    const struct piommu_ipmmu_model_access *access = next_access(comparison);

    while (line->access == 'P' && is_the_place(comparison, line) && (access->value & 2) != 0) {
        comparison->next++;
        access = next_access(comparison);
    }
    if (!is_the_place(comparison, line) || !value_matches(line, access->value, comparison->names)) {
        return false;
    }
    comparison->next++;
    return true;
}

/* Takes a run of lines that come in any order: each time the first that fits. */
static size_t take_run(struct comparison *comparison, size_t first, char access)
{
    bool is_taken[16] = {false};
    size_t count = 1;

    while (first + count < comparison->count && count < COUNT(is_taken) &&
           comparison->lines[first + count][0] == '~' &&
           parse(comparison->lines[first + count]).access == access) {
        count++;
    }
    for (size_t taken = 0; taken < count; taken++) {
        size_t i = 0;

        for (; i < count; i++) {
            struct ipmmu_trace_line line = parse(comparison->lines[first + i]);

            if (!is_taken[i] && take_line(comparison, &line)) {
                is_taken[i] = true;
                break;
            }
        }
        if (i == count) {
            return 0;
        }
    }
    return count;
}

static bool is_left_out(const struct comparison *comparison, size_t line)
{
    return comparison->writes_only && parse(comparison->lines[line]).access != 'W';
}

/* How many lines are there; `count` if all is the same. */
static size_t compare(struct comparison *comparison)
{
    size_t i = 0;

    while (i < comparison->count) {
        struct ipmmu_trace_line line = parse(comparison->lines[i]);
        size_t taken = 1;

        if (!is_left_out(comparison, i)) {
            taken = line.any_order ? take_run(comparison, i, line.access)
                                   : take_line(comparison, &line) || line.optional;
        }
        if (taken == 0) {
            return i;
        }
        i += taken;
    }
    return i;
}

bool ipmmu_trace_matches(const struct piommu_ipmmu_model *model, const char *const *lines,
                         size_t count, bool writes_only, struct ipmmu_trace_names *names,
                         char *message, size_t message_size)
{
    struct comparison comparison = {
        .model = model,
        .lines = lines,
        .count = count,
        .writes_only = writes_only,
        .names = names,
    };
    size_t same = compare(&comparison);
    char text[PIOMMU_IPMMU_MODEL_LINE_SIZE];

    if (next_access(&comparison) == NULL) {
        (void)snprintf(text, sizeof(text), "the end");
    } else {
        piommu_ipmmu_model_recorded_line(model, comparison.next, text);
    }
    if (same == count && next_access(&comparison) == NULL) {
        return true;
    }
    (void)snprintf(message, message_size, "access %zu: expected \"%s\", came \"%s\"",
                   comparison.next, same == count ? "the end" : lines[same], text);
    return false;
}

void ipmmu_trace_compare(const struct piommu_ipmmu_model *model, const char *const *lines,
                         size_t count, struct ipmmu_trace_names *names)
{
    char message[256];

    if (!ipmmu_trace_matches(model, lines, count, false, names, message, sizeof(message))) {
        fail_msg("%s", message);
    }
}

void ipmmu_trace_compare_writes(const struct piommu_ipmmu_model *model, const char *const *lines,
                                size_t count, struct ipmmu_trace_names *names)
{
    char message[256];

    if (!ipmmu_trace_matches(model, lines, count, true, names, message, sizeof(message))) {
        fail_msg("%s", message);
    }
}

/* ---- replaying ---- */

static uint64_t address_of(const struct piommu_ipmmu_model_unit *units, size_t unit_count,
                           const struct ipmmu_trace_line *line)
{
    for (size_t i = 0; i < unit_count; i++) {
        if (strcmp(units[i].name, line->unit) == 0) {
            return units[i].base + line->offset;
        }
    }
    fail_msg("there is no unit %s", line->unit);
    return 0;
}

void ipmmu_trace_replay(struct piommu_ipmmu_model *model,
                        const struct piommu_ipmmu_model_unit *units, size_t unit_count,
                        const struct ipmmu_trace *trace, struct ipmmu_trace_names *names)
{
    for (size_t i = 0; i < trace->count; i++) {
        struct ipmmu_trace_line line = parse(trace->lines[i]);
        uint64_t address = address_of(units, unit_count, &line);
        uint32_t value = 0;

        switch (line.access) {
        case 'R':
            keep_name(names, line.value, piommu_ipmmu_model_read(model, address, 4));
            break;
        case 'P':
            for (unsigned int n = 0; n < 100 && (piommu_ipmmu_model_read(model, address, 4) & 2);
                 n++) {
            }
            break;
        default:
            if (!evaluate(line.value, names, &value)) {
                fail_msg("%s: %s was not read before", trace->name, line.value);
            }
            piommu_ipmmu_model_write(model, address, 4, value);
            break;
        }
    }
}
