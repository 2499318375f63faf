/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_BACKENDS_IPMMU_VMSA_UNIT_H
#define PIOMMU_BACKENDS_IPMMU_VMSA_UNIT_H

/* The backend's objects, shared by the files of this folder. */

#include <piommu/ipmmu-vmsa.h>

#include <stdatomic.h>

#include "../../lib/base/compiler.h"
#include "../../lib/base/host.h"
#include "registers.h"

#define MAX_CONTEXTS   16u
#define MAX_MICRO_TLBS 64u

/* The register layout of a generation, and what it can do. */
struct ipmmu_class {
    uint32_t alias;           /* added to every offset: the non-secure bank of Gen2 */
    uint32_t context_base;    /* where the block of context 0 begins */
    uint32_t context_stride;  /* from one block to the next; there is a gap before number 8 */
    uint32_t micro_tlb_base;  /* added to the offsets of micro-TLBs */
    uint32_t control_base;    /* added to the offsets of IMSCTLR and IMSAUXCTLR */
    uint32_t size;            /* of all registers */
    uint32_t stage1_ttbcr;    /* IMTTBCR of a stage-1 context */
    uint8_t contexts;         /* how many there are */
    uint8_t default_contexts; /* how many are used if nobody says how many */
    uint8_t first_context;    /* the lowest that may be used */
    uint8_t micro_tlbs;       /* how many there are */
    bool has_caches;          /* roots have no micro-TLBs, cache units have */
    bool has_high_address;    /* IMEUAR and IMSCTLR exist */
    bool has_bus_select;      /* IMBUSCR exists */
};

/* A part, by what its device tree says. */
struct ipmmu_part {
    const char *compatible;
    const struct ipmmu_class *class;
    unsigned int flags;
};

#define PIOMMU_IPMMU_PART_STAGE2  1u /* some of its products can walk stage-2 tables */
#define PIOMMU_IPMMU_PART_ERRATUM 2u /* cache units of some translate wrongly with their TLB on */

struct ipmmu_unit;

/* A domain that has a context, or (number PASS) that needs none: identity. */
struct ipmmu_context {
    struct ipmmu_root *root;
    const void *identity;
    uint32_t references; /* units that have made it */
    uint8_t number;
    bool stage1;
    uint64_t table;   /* IMTTLBR0, IMTTUBR0; 64-bit stage 1: IMTTLBR1, IMTTUBR1, too */
    uint32_t ttbcr;   /* IMTTBCR */
    uint32_t mair;    /* IMMAIR0; stage 1 */
    uint32_t control; /* IMCTR while it is enabled, without FLUSH */

    /* Under the root's lock: flushes are numbered, and one runs at a time. */
    bool flushing;
    uint32_t started;
    uint32_t done;
    uint32_t owed; /* the one without which no device may come into it */
    /* It was enabled so often, each time with a FLUSH of its own, and so many were waited for. */
    uint32_t enabled;
    uint32_t settled;
};

#define PASS 0xffu

/* What the units of one IPMMU share. */
struct ipmmu_root {
    struct ipmmu_unit *unit;  /* the root unit itself */
    struct ipmmu_unit *units; /* all of them, the root first; changed under the lock */
    enum piommu_ipmmu_vmsa_tables tables;
    bool mixed;
    bool erratum;  /* the TLBs of its cache units have to be off */
    uint8_t count; /* contexts that may be touched; the highest is the blocked one */
    struct ipmmu_context *contexts[MAX_CONTEXTS]; /* changed under the lock */
    struct ipmmu_context blocked;
    struct ipmmu_context pass;
    void *empty_table;
    void *lock;
};

/* A micro-TLB that a device has. */
struct ipmmu_endpoint {
    struct ipmmu_unit *unit;
    uint8_t number;
    bool added;
    bool touched; /* it is not as firmware has left it */
    bool inside;  /* a domain's context was selected last */
};

struct ipmmu_unit {
    struct piommu_host host;
    struct piommu_instance *instance;
    struct piommu_instance_config config;
    struct piommu_ipmmu_vmsa_config place;
    const struct ipmmu_part *part;
    const struct ipmmu_class *class;
    struct ipmmu_root *root;
    struct ipmmu_unit *next; /* in the root's list */
    uintptr_t base;
    bool powered;          /* its registers can be reached */
    _Atomic uint32_t dead; /* a flush did not end, or it was stopped: it is not waited for */
    uint32_t used;         /* contexts that a domain has on this unit, a bit each */
    uint32_t holds;        /* contexts of which it may hold something; under the root's lock */
    uint32_t enabled;      /* contexts that are enabled in its registers; under the root's lock */
    struct ipmmu_endpoint endpoints[MAX_MICRO_TLBS];
};

static inline bool is_root(const struct ipmmu_unit *unit)
{
    return unit->root->unit == unit;
}

static inline bool has_micro_tlbs(const struct ipmmu_unit *unit)
{
    return !unit->class->has_caches || !is_root(unit);
}

/* There is one context for everything: it has the table of a domain, or else the empty one. */
static inline bool has_one_context(const struct ipmmu_root *root)
{
    return root->count == 1;
}

static inline bool is_dead(struct ipmmu_unit *unit)
{
    return atomic_load_explicit(&unit->dead, memory_order_acquire) != 0;
}

static inline void set_dead(struct ipmmu_unit *unit, bool dead)
{
    atomic_store_explicit(&unit->dead, dead ? 1 : 0, memory_order_release);
}

/* Whether a unit can be used: it answers, and so does its root. */
static inline bool is_usable(struct ipmmu_unit *unit)
{
    return !is_dead(unit) && !is_dead(unit->root->unit);
}

/* registers.c */

uint32_t piommu_ipmmu_read_context_(const struct ipmmu_unit *unit, unsigned int context,
                                    uint32_t offset);
void piommu_ipmmu_write_context_(const struct ipmmu_unit *unit, unsigned int context,
                                 uint32_t offset, uint32_t value);
void piommu_ipmmu_write_micro_tlb_(const struct ipmmu_unit *unit, unsigned int micro_tlb,
                                   uint32_t offset, uint32_t value);
uint32_t piommu_ipmmu_read_micro_tlb_(const struct ipmmu_unit *unit, unsigned int micro_tlb,
                                      uint32_t offset);
/* Reads a control register of the unit and writes it back with some bits changed. */
void piommu_ipmmu_change_control_(const struct ipmmu_unit *unit, uint32_t offset, uint32_t clear,
                                  uint32_t set);
/* Finds a part by name; NULL if it is not known. */
const struct ipmmu_part *piommu_ipmmu_find_part_(const char *compatible);
extern const char *const piommu_ipmmu_compatible_[];
/* Whether a product, by its product register, can walk stage-2 tables. */
bool piommu_ipmmu_can_stage2_(const struct ipmmu_part *part, uint32_t product);
/* Whether the TLBs of a product's cache units have to be switched off. 0: it is not known which. */
bool piommu_ipmmu_has_erratum_(const struct ipmmu_part *part, uint32_t product);

/* context.c */

/* What a context's registers are to be for a table. */
void piommu_ipmmu_describe_(const struct piommu_pgtable_info *table, struct ipmmu_context *context);
/* Writes a context's registers in the root, and enables it there. */
void piommu_ipmmu_program_(struct ipmmu_context *context);
/* Enables a context in a cache unit. */
void piommu_ipmmu_enable_(struct ipmmu_unit *unit, struct ipmmu_context *context);
/* Waits for the end of a unit's flush of a context. -PIOMMU_ETIMEDOUT: the unit is dead now. */
int piommu_ipmmu_wait_(struct ipmmu_unit *unit, unsigned int number);
/*
 * Waits, on behalf of a unit, for the flushes with which a context was enabled: until then TLBs
 * hold what they like; and makes up for one that is owed. Other units that do not answer are
 * failed.
 */
int piommu_ipmmu_settle_(struct ipmmu_unit *unit, struct ipmmu_context *context);
/*
 * Disables a context in a unit, and waits until it has forgotten it. -PIOMMU_ETIMEDOUT: it has not,
 * and nothing that the context has led to may be used for anything else.
 */
int piommu_ipmmu_disable_(struct ipmmu_unit *unit, unsigned int number);
/*
 * On behalf of a unit, makes all units forget what they hold of a context, and waits for it:
 * everything that was visible before the call. -PIOMMU_ETIMEDOUT or -PIOMMU_EFAILED: the unit or
 * its root does not answer. Other cache units that do not are failed, which blocks their masters.
 */
int piommu_ipmmu_flush_(struct ipmmu_unit *unit, struct ipmmu_context *context);
/*
 * If no unit that has a context can be asked any more: what the root still holds of it is forgotten
 * before a device uses it again. Waits for nothing. Tells whether it is so.
 */
bool piommu_ipmmu_owe_(struct ipmmu_context *context);
/* Of a root with one context: puts the domain's table there; the blocked one's is the empty one. */
int piommu_ipmmu_show_(struct ipmmu_root *root, struct ipmmu_context *context);
/* The same when the root is dead, with the blocked one's: whether the hardware has obeyed. */
int piommu_ipmmu_hide_(struct ipmmu_root *root);
int piommu_ipmmu_domain_create_(void *unit, const struct piommu_backend_domain *request,
                                void **result);
int piommu_ipmmu_domain_destroy_(void *unit, void *domain);
int piommu_ipmmu_invalidate_(void *unit, void *domain, struct piommu_range range, bool tables);

/* micro-tlb.c */

/* Points a micro-TLB at a context. */
void piommu_ipmmu_select_(struct ipmmu_unit *unit, unsigned int micro_tlb,
                          const struct ipmmu_context *context);
/*
 * Blocks micro-TLBs: those that devices have, those that translate as firmware wanted, or all of
 * them if unknown ones are to be blocked.
 */
void piommu_ipmmu_block_all_(struct ipmmu_unit *unit);
/* Switches off all micro-TLBs that were used: the guarantee of isolation ends. */
void piommu_ipmmu_let_go_(struct ipmmu_unit *unit);
int piommu_ipmmu_add_endpoint_(void *unit, uint32_t id, struct piommu_endpoint_facts *facts,
                               void **endpoint);
void piommu_ipmmu_release_endpoint_(void *unit, void *endpoint);
int piommu_ipmmu_attach_(void *unit, void *endpoint, void *domain);
int piommu_ipmmu_block_(void *unit, void *endpoint);
int piommu_ipmmu_block_now_(void *unit, void *endpoint);

/* fault.c */

int piommu_ipmmu_service_(void *unit, unsigned int budget);

#endif
