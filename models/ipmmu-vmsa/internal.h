/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_MODELS_IPMMU_VMSA_INTERNAL_H
#define PIOMMU_MODELS_IPMMU_VMSA_INTERNAL_H

/* What the files of the model share. */

#include <piommu/models/ipmmu-vmsa.h>

#define IMCTR_MMUEN UINT32_C(1)
#define IMCTR_FLUSH UINT32_C(2)
#define IMCTR_INTEN UINT32_C(4)
#define IMCTR_VA64  (UINT32_C(1) << 29)

#define IMTTBCR_EAE (UINT32_C(1) << 31)
#define IMTTBCR_PMB (UINT32_C(1) << 30)

#define IMBUSCR_SELECTION UINT32_C(7) /* DVM, BUSSEL */

#define IMSTR_TF     UINT32_C(1)
#define IMSTR_PF     UINT32_C(2)
#define IMSTR_ABORT  UINT32_C(4)
#define IMSTR_MHIT   UINT32_C(16)
#define IMSTR_ERRORS UINT32_C(0x17)

#define IMUCTR_MMUEN        UINT32_C(1)
#define IMUCTR_FLUSH        UINT32_C(2)
#define IMUCTR_TTSEL_SHIFT  4
#define IMSCTLR_SECGRP      (UINT32_C(1) << 28)
#define IMSCTLR_DISCACHE    UINT32_C(0xe0000000)
#define IMSAUXCTLR_S2PTE    UINT32_C(8)
#define MODEL_MESSAGE_SIZE  160
#define MODEL_LARGEST_SPACE 0x20000u
#define MODEL_NAME_LENGTH   12

/* Masters have addresses of so many bits; of 64-bit stage 1, the top one selects the half. */
#define MODEL_ADDRESS_BITS 40

#define BITS(high, low) ((UINT32_MAX >> (31 - (high))) & (UINT32_MAX << (low)))

/* A leaf in a TLB. */
struct model_leaf {
    unsigned int context;
    uint64_t first; /* input, inclusive */
    uint64_t last;
    uint64_t output;
    int level;
    struct piommu_walker_attributes attributes;
    uint64_t learned; /* when what it says was read from memory */
    uint64_t entered; /* when it came into the unit */
};

/* A table that a root need not walk to again. */
struct model_pointer {
    uint64_t first;
    uint64_t last;
    struct piommu_walker_position position;
    uint64_t learned;
};

struct model_tlb {
    struct model_leaf *leaves;
    size_t leaf_count;
    size_t leaf_room;
    struct model_pointer *pointers;
    size_t pointer_count;
    size_t pointer_room;
};

/* IMCTR.FLUSH of one context in one unit. */
struct model_flush {
    bool is_running;
    uint32_t polls;   /* that still show it */
    uint64_t started; /* the last one, whether it runs or not */
    uint64_t count;
};

struct model_unit {
    struct piommu_ipmmu_model_unit is;
    char name[MODEL_NAME_LENGTH + 1]; /* is.name */
    bool is_root;
    bool is_on;
    bool was_written; /* since there is power */
    uint32_t polls;
    uint32_t context_registers[PIOMMU_IPMMU_MODEL_IMUCTR][PIOMMU_IPMMU_MODEL_MAX_CONTEXTS];
    bool is_left_over[PIOMMU_IPMMU_MODEL_MAX_CONTEXTS]; /* IMCTR is not software's */
    struct model_flush flush[PIOMMU_IPMMU_MODEL_MAX_CONTEXTS];
    struct model_tlb tlb[PIOMMU_IPMMU_MODEL_MAX_CONTEXTS];
    uint32_t imuctr[PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS];
    uint32_t imuasid[PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS];
    bool micro_tlb_is_left_over[PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS];
    struct model_tlb micro_tlb[PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS];
    uint32_t imsctlr;
    uint32_t imsauxctlr;
    bool interrupt;
    struct piommu_ipmmu_model_counters counters;
    uint64_t writes[PIOMMU_IPMMU_MODEL_REGISTERS];
};

/* How the tables of a context are walked: that of IMTTLBR0, and that of IMTTLBR1. */
struct model_regimes {
    struct piommu_walker_regime lower;
    struct piommu_walker_regime upper;
    bool has_upper;
};

#define MODEL_PAGE_SIZE UINT64_C(4096)
#define MODEL_LINE_SIZE UINT64_C(64)

/* A line that was cleaned, and has not arrived in memory yet. */
struct model_line {
    uint64_t physical;
    uint64_t words[MODEL_LINE_SIZE / 8];
};

struct model_page;

/* What lies at an offset. */
struct model_place {
    uint8_t which; /* PIOMMU_IPMMU_MODEL_REGISTERS: nothing */
    uint8_t number;
};

struct piommu_ipmmu_model {
    struct piommu_ipmmu_model_parameters parameters;
    struct piommu_ipmmu_model_readings readings;
    struct piommu_walker_memory memory;     /* as walks see it */
    struct piommu_walker_memory cpu_memory; /* as the CPU sees it */
    struct model_page **pages;              /* what walks see, by address */
    size_t page_count;
    size_t page_room;
    struct model_line *cleaned; /* in this order */
    size_t cleaned_count;
    size_t cleaned_room;
    bool notes_unclean; /* a walk is no question, and has not come to such memory yet */
    struct model_unit *units;
    size_t unit_count;
    bool has_stage2;
    uint64_t now; /* counts what happens */
    struct model_place map[MODEL_LARGEST_SPACE / 4];

    char violations[PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS][MODEL_MESSAGE_SIZE];
    size_t violation_count;
    uint32_t broken;

    void (*observer)(void *ctx, const struct piommu_ipmmu_model_access *access);
    void *observer_ctx;
    bool is_observing;
    bool is_recording;
    struct piommu_ipmmu_model_access *recording;
    size_t recorded;
    size_t recording_room;
};

/* Is a bit of a context register set? */
static inline bool is_set(const struct model_unit *unit, enum piommu_ipmmu_model_register which,
                          unsigned int n, uint32_t bit)
{
    return (unit->context_registers[which][n] & bit) != 0;
}

static inline struct model_unit *root_of(const struct piommu_ipmmu_model *model,
                                         const struct model_unit *unit)
{
    return &model->units[unit->is.root];
}

/* TTSEL. */
static inline unsigned int selected_context(const struct piommu_ipmmu_model *model, uint32_t imuctr)
{
    uint32_t mask = model->parameters.generation == PIOMMU_IPMMU_MODEL_GEN4 ? 0x1f : 0xf;

    return imuctr >> IMUCTR_TTSEL_SHIFT & mask;
}

/* Was the TLB of a cache unit switched off? */
static inline bool cache_is_off(const struct model_unit *unit)
{
    return !unit->is_root && (unit->imsctlr & IMSCTLR_DISCACHE) == IMSCTLR_DISCACHE;
}

/* Notes that a rule was broken. */
void piommu_ipmmu_model_violation_(struct piommu_ipmmu_model *model,
                                   enum piommu_ipmmu_model_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void piommu_ipmmu_model_open_memory_(struct piommu_ipmmu_model *model,
                                     struct piommu_walker_memory memory);
void piommu_ipmmu_model_close_memory_(struct piommu_ipmmu_model *model);
/* The unit with a number; a number that does not exist ends the program. */
struct model_unit *piommu_ipmmu_model_unit_(const struct piommu_ipmmu_model *model, size_t number);
/* Ends the program if the number is not below the limit. */
void piommu_ipmmu_model_check_number_(const char *what, size_t number, size_t limit);
/* realloc to twice the size; without memory the program ends. */
void *piommu_ipmmu_model_grow_(void *array, size_t *room, size_t element_size);

uint32_t *piommu_ipmmu_model_register_(struct model_unit *unit,
                                       enum piommu_ipmmu_model_register which, unsigned int number);
/* Registers after a reset, TLBs empty. */
void piommu_ipmmu_model_reset_unit_(struct piommu_ipmmu_model *model, struct model_unit *unit);
/* Looks at the interrupt line again after IMSTR or IMCTR of a root has changed. */
void piommu_ipmmu_model_update_interrupt_(struct model_unit *root);

/* Why the root's context cannot be used as it is set up; NULL and *regimes if it can. */
const char *piommu_ipmmu_model_setup_(const struct piommu_ipmmu_model *model,
                                      const struct model_unit *root, unsigned int context,
                                      struct model_regimes *regimes);
/* The same, if the context is enabled. */
bool piommu_ipmmu_model_regimes_(const struct piommu_ipmmu_model *model, size_t root,
                                 unsigned int context, struct model_regimes *regimes);
void piommu_ipmmu_model_set_status_(struct piommu_ipmmu_model *model, struct model_unit *root,
                                    unsigned int context, uint32_t status, uint64_t address);

/* FLUSH is written to IMCTR. */
void piommu_ipmmu_model_begin_flush_(struct piommu_ipmmu_model *model, struct model_unit *unit,
                                     unsigned int context);
/* A read of IMCTR has shown the bit; reads are what makes a FLUSH go on. */
void piommu_ipmmu_model_poll_flush_(struct piommu_ipmmu_model *model, struct model_unit *unit,
                                    unsigned int context);
/* A FLUSH that was written at `started` has its effect on a unit. */
void piommu_ipmmu_model_drop_(struct model_unit *unit, unsigned int context, uint64_t started);
/*
 * The root's FLUSH from `started` on drops what a cache unit took over from it after its own FLUSH.
 */
void piommu_ipmmu_model_drop_refills_(struct model_unit *unit, unsigned int context,
                                      uint64_t started);
void piommu_ipmmu_model_drop_micro_tlb_(struct model_unit *unit, unsigned int micro_tlb);
void piommu_ipmmu_model_drop_all_(struct model_unit *unit);
/* Is there an entry of the context that no FLUSH covers, running ones included? */
bool piommu_ipmmu_model_holds_uncovered_(const struct model_unit *unit, unsigned int context);
void piommu_ipmmu_model_free_tlbs_(struct model_unit *unit);

#endif
