/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_MODELS_IPMMU_VMSA_H
#define PIOMMU_MODELS_IPMMU_VMSA_H

/**
 * @file ipmmu-vmsa.h
 * A behavioural model of the Renesas IPMMU-VMSA: root and cache units with their registers, TLBs
 * and table walks, and the DMA masters behind them. It shares nothing with the driver under test.
 *
 * Whatever software does that the hardware has no answer to is recorded as a violation, and then
 * done as far as it makes sense (an access to nothing reads as 0, or is lost); a test ends with
 * counting them. What is not known about the hardware is a *reading*: a
 * switch, and a driver has to be right under each of them (piommu_ipmmu_model_readings_variant).
 *
 * TLBs forget nothing by themselves. There are three kinds of them: the root's (leaves and table
 * pointers, by context), those of cache units (leaves, by context, filled from what the root
 * answers) and those of micro-TLBs (leaves). A leaf goes into each one on its way.
 *
 * Nothing here is thread-safe: whoever connects the model serialises the calls. The observer is
 * called inside of them.
 */

#include <piommu/models/lpae-walker.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PIOMMU_IPMMU_MODEL_MAX_UNITS = 32,
    PIOMMU_IPMMU_MODEL_MAX_CONTEXTS = 16,
    PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS = 64,
    PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS = 16,
    PIOMMU_IPMMU_MODEL_LINE_SIZE = 64, /**< of a line of the recording, with its end */
};

/** Number of polls: a FLUSH that never ends. */
#define PIOMMU_IPMMU_MODEL_NEVER UINT32_MAX
/** In place of a unit's number: each of them. */
#define PIOMMU_IPMMU_MODEL_ALL_UNITS UINT32_MAX

/** Register layouts. */
enum piommu_ipmmu_model_class {
    PIOMMU_IPMMU_MODEL_GEN2, /**< R-Car Gen2, RZ/G1, APE6: each unit is its own root; 4 contexts */
    PIOMMU_IPMMU_MODEL_GEN3, /**< R-Car Gen3, RZ/G2: 8 contexts, 48 micro-TLBs */
    PIOMMU_IPMMU_MODEL_GEN4, /**< R-Car Gen4, V3U: 16 contexts, 64 micro-TLBs */
};

/** Registers by kind; context registers and micro-TLB registers have a number as well. */
enum piommu_ipmmu_model_register {
    PIOMMU_IPMMU_MODEL_IMCTR,
    PIOMMU_IPMMU_MODEL_IMTTBCR,
    PIOMMU_IPMMU_MODEL_IMBUSCR,
    PIOMMU_IPMMU_MODEL_IMTTLBR0,
    PIOMMU_IPMMU_MODEL_IMTTUBR0,
    PIOMMU_IPMMU_MODEL_IMTTLBR1,
    PIOMMU_IPMMU_MODEL_IMTTUBR1,
    PIOMMU_IPMMU_MODEL_IMSTR,
    PIOMMU_IPMMU_MODEL_IMMAIR0,
    PIOMMU_IPMMU_MODEL_IMMAIR1,
    PIOMMU_IPMMU_MODEL_IMELAR, /**< IMEAR on Gen2 */
    PIOMMU_IPMMU_MODEL_IMEUAR,
    PIOMMU_IPMMU_MODEL_IMUCTR,
    PIOMMU_IPMMU_MODEL_IMUASID,
    PIOMMU_IPMMU_MODEL_IMSCTLR,
    PIOMMU_IPMMU_MODEL_IMSAUXCTLR,
    PIOMMU_IPMMU_MODEL_REGISTERS,
};

/** What software must not do; a sum of them is a set of rules. */
enum piommu_ipmmu_model_rule {
    /** An offset at which the class has no register that software may use. */
    PIOMMU_IPMMU_MODEL_RULE_UNKNOWN = 1 << 0,
    /** Not 32 bits wide, or not aligned. */
    PIOMMU_IPMMU_MODEL_RULE_WIDTH = 1 << 1,
    /** A context or micro-TLB that the unit does not have. */
    PIOMMU_IPMMU_MODEL_RULE_NUMBER = 1 << 2,
    /** A register of roots in a cache unit, or of cache units in a root. */
    PIOMMU_IPMMU_MODEL_RULE_PLACE = 1 << 3,
    /** A bit or value that is reserved, or belongs to a function that is not modelled. */
    PIOMMU_IPMMU_MODEL_RULE_RESERVED = 1 << 4,
    /** An access to a unit without power. */
    PIOMMU_IPMMU_MODEL_RULE_POWER = 1 << 5,
    /** TTSEL is not a context (on Gen2 and Gen3, 8 selects the PMB). */
    PIOMMU_IPMMU_MODEL_RULE_SELECT = 1 << 6,
    /** IMSCTLR or IMSAUXCTLR: bits that firmware owns were changed. */
    PIOMMU_IPMMU_MODEL_RULE_FIRMWARE = 1 << 7,
    /** Table, format or attributes of a context were changed while the root has it enabled. */
    PIOMMU_IPMMU_MODEL_RULE_LIVE = 1 << 8,
    /** A context was enabled without FLUSH. */
    PIOMMU_IPMMU_MODEL_RULE_FLUSH = 1 << 9,
    /** The root's context was enabled with settings that don't fit each other. */
    PIOMMU_IPMMU_MODEL_RULE_SETUP = 1 << 10,
    /** A micro-TLB is enabled on a context that is disabled in the unit or in the root. */
    PIOMMU_IPMMU_MODEL_RULE_DISABLED = 1 << 11,
    /** A context got another table while a TLB held entries of it that no FLUSH covers. */
    PIOMMU_IPMMU_MODEL_RULE_REUSE = 1 << 12,
    /** IMSTR was written with anything but 0. */
    PIOMMU_IPMMU_MODEL_RULE_STATUS = 1 << 13,
    /** S2PTE was set on a part that has no stage 2, or with a context enabled. */
    PIOMMU_IPMMU_MODEL_RULE_STAGE2 = 1 << 14,
    /** A cache unit was written before its root since the root has power. */
    PIOMMU_IPMMU_MODEL_RULE_ROOT_FIRST = 1 << 15,
    /** A cache unit's TLB was switched off with a context enabled, or had to be off in a DMA. */
    PIOMMU_IPMMU_MODEL_RULE_ERRATUM = 1 << 16,
};

/** What an IPMMU unit is. */
struct piommu_ipmmu_model_unit {
    const char *name;        /**< in recordings and messages; without blanks */
    uint64_t base;           /**< physical address of its registers */
    size_t root;             /**< number of its root; a root names itself */
    unsigned int contexts;   /**< 0: the number of the class */
    unsigned int micro_tlbs; /**< 0: the number of the class */
    bool has_erratum;        /**< translates right only while its TLB is switched off */
    bool is_off;             /**< starts without power */
};

enum piommu_ipmmu_model_stage2 {
    PIOMMU_IPMMU_MODEL_STAGE2_BY_PRODUCT, /**< as the product register says */
    PIOMMU_IPMMU_MODEL_STAGE2_ABSENT,
    PIOMMU_IPMMU_MODEL_STAGE2_PRESENT,
};

/** What is done where a translation is not possible for want of an enable bit. */
enum piommu_ipmmu_model_disabled {
    PIOMMU_IPMMU_MODEL_PASSES, /**< physical = IOVA */
    PIOMMU_IPMMU_MODEL_ABORTS,
};

/** When a FLUSH takes effect: it drops what was in the TLB when it was written, nothing else. */
enum piommu_ipmmu_model_flush {
    PIOMMU_IPMMU_MODEL_FLUSH_AT_WRITE, /**< at once, whatever the bit reads as */
    /** Cache units only: when the root's next FLUSH of the context ends, or as AT_END. */
    PIOMMU_IPMMU_MODEL_FLUSH_WITH_ROOT,
    PIOMMU_IPMMU_MODEL_FLUSH_AT_END, /**< when the bit has been read as set often enough */
};

enum piommu_ipmmu_model_micro_tlb_entries {
    PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY,    /**< micro-TLBs keep nothing */
    PIOMMU_IPMMU_MODEL_MICRO_TLB_TAGGED,   /**< entries serve only the context they came from */
    PIOMMU_IPMMU_MODEL_MICRO_TLB_UNTAGGED, /**< entries outlive a change of TTSEL without FLUSH */
};

/** Which value of SL0 starts a stage-2 walk at level 1. */
enum piommu_ipmmu_model_stage2_start {
    PIOMMU_IPMMU_MODEL_STAGE2_START_1, /**< as VTCR_EL2: 1; 0 is level 2 */
    PIOMMU_IPMMU_MODEL_STAGE2_START_2, /**< as in stage 1: 2; 1 is level 2 */
};

/** What nobody knows for sure. The defaults are the stricter side of each that can be met. */
struct piommu_ipmmu_model_readings {
    enum piommu_ipmmu_model_disabled disabled_micro_tlb; /**< MMUEN = 0 in IMUCTR; default PASSES */
    enum piommu_ipmmu_model_disabled disabled_context;   /**< MMUEN = 0 in IMCTR; default PASSES */
    enum piommu_ipmmu_model_flush root_flush;            /**< default AT_END */
    enum piommu_ipmmu_model_flush cache_flush;           /**< default AT_WRITE */
    /**
     * What a cache unit fetches between its own FLUSH and the end of the root's, from what the root
     * should forget, is dropped by the root's. Default: it stays (the refill race).
     */
    bool root_flush_reaches_refills;
    /** FLUSH written during a FLUSH begins again. Default: it is lost, nothing more is covered. */
    bool flush_restarts;
    /** IMCTR written without FLUSH lets a FLUSH go on. Default: that ends it, without effect. */
    bool flush_survives_writes;
    enum piommu_ipmmu_model_micro_tlb_entries micro_tlb_entries; /**< default UNTAGGED */
    bool micro_tlb_flush_reads_back;  /**< the bit reads as written; default: as 0 */
    bool secgrp_clear_at_reset;       /**< USE_SECGRP; default: it is set */
    bool status_write_all_or_nothing; /**< IMSTR: any 1 keeps all bits; default: each its own bit */
    bool last_fault_wins; /**< replaces address, level and code; default: the first one stays */
    bool fault_address_is_page; /**< bits 11:0 of IMELAR read as 0; default: the whole address */
    bool access_flag_is_permission; /**< AF = 0 is PF; default: TF */
    uint8_t translation_code;       /**< ERRCODE of TF; default 1 */
    uint8_t abort_code;             /**< ERRCODE of ABORT; default 0 */
    uint8_t multiple_code;          /**< ERRCODE of MHIT; default 0 */
    /** Two entries of different size for one address raise MHIT. Default: any of them is used. */
    bool multiple_hits_fault;
    bool walks_not_kept; /**< the root keeps no table pointers; default: it does */
    enum piommu_ipmmu_model_stage2_start stage2_start; /**< default START_1 */
    /**
     * VA64 with stage 1: an address with bit 39 set faults. Default: IMTTLBR1 and TSZ1 translate
     * it.
     */
    bool upper_half_faults;
    bool s2pte_for_all; /**< S2PTE makes stage-1 contexts unusable; default: it only adds stage 2 */
};

/** Fills in the defaults named above. */
void piommu_ipmmu_model_default_readings(struct piommu_ipmmu_model_readings *readings);
/**
 * Number 0: the defaults; then one that differs in one respect each; the last one differs in all.
 * *name says how it differs. false: there is no such number.
 */
bool piommu_ipmmu_model_readings_variant(unsigned int number,
                                         struct piommu_ipmmu_model_readings *readings,
                                         const char **name);

/** What to build. Zero is a default for everything but the units. */
struct piommu_ipmmu_model_parameters {
    enum piommu_ipmmu_model_class generation;
    const struct piommu_ipmmu_model_unit *units; /**< copied */
    size_t unit_count;
    uint32_t product; /**< what the product register says, 0x4f30: H3 ES3.0; 0: one with stage 2 */
    enum piommu_ipmmu_model_stage2 stage2;
    const struct piommu_ipmmu_model_readings *readings; /**< NULL: the defaults */
    uint32_t forgiven; /**< rules whose violation is not recorded */
};

struct piommu_ipmmu_model;

/**
 * Makes a model. Units have the state in which boot firmware leaves them: as after a reset, and
 * roots of Gen3 have IMSCTLR 0xc0000000 and IMSAUXCTLR 0x01000000 in addition.
 *
 * @param memory where tables are read. compare_exchange64 is not used.
 * @return NULL if there is no memory, or a parameter makes no sense.
 */
struct piommu_ipmmu_model *piommu_ipmmu_model_create(
    const struct piommu_ipmmu_model_parameters *parameters, struct piommu_walker_memory memory);
void piommu_ipmmu_model_destroy(struct piommu_ipmmu_model *model);

/** May be changed between two accesses. */
struct piommu_ipmmu_model_readings *piommu_ipmmu_model_readings(struct piommu_ipmmu_model *model);
/** Changes what is forgiven. */
void piommu_ipmmu_model_forgive(struct piommu_ipmmu_model *model, uint32_t rules);

/* ---- registers ------------------------------------------------------------------------------ */

/** Where the product register is, and what it says. */
uint64_t piommu_ipmmu_model_product_address(const struct piommu_ipmmu_model *model);
uint32_t piommu_ipmmu_model_product(const struct piommu_ipmmu_model *model);

/** Bytes of registers of each unit. */
uint64_t piommu_ipmmu_model_size(const struct piommu_ipmmu_model *model);
/** Offset of a register in its unit, whether or not the unit has it. */
uint32_t piommu_ipmmu_model_offset(const struct piommu_ipmmu_model *model,
                                   enum piommu_ipmmu_model_register which, unsigned int number);
const char *piommu_ipmmu_model_register_name(enum piommu_ipmmu_model_register which);

/** Accesses of the CPU by physical address: those of a unit, and reads of the product register. */
uint32_t piommu_ipmmu_model_read(struct piommu_ipmmu_model *model, uint64_t physical,
                                 unsigned int width);
void piommu_ipmmu_model_write(struct piommu_ipmmu_model *model, uint64_t physical,
                              unsigned int width, uint32_t value);

/** What a register holds, without an access. Running FLUSHes show as bit 1. */
uint32_t piommu_ipmmu_model_get(const struct piommu_ipmmu_model *model, size_t unit,
                                enum piommu_ipmmu_model_register which, unsigned int number);
/**
 * Puts something there without an access, with all bits, forbidden ones too: what firmware left.
 * FLUSH is not begun. To the rules, a context or micro-TLB that was enabled like this is not
 * enabled until software writes the register itself; to masters it is.
 */
void piommu_ipmmu_model_set(struct piommu_ipmmu_model *model, size_t unit,
                            enum piommu_ipmmu_model_register which, unsigned int number,
                            uint32_t value);
/**
 * Rubbish in every register of every unit that has power; FLUSH is clear. Bits of IMSCTLR and
 * IMSAUXCTLR that are not software's are rubbish too, and must survive.
 */
void piommu_ipmmu_model_litter(struct piommu_ipmmu_model *model, uint32_t seed);

/** A unit loses power, or gets it back: registers as after a reset, TLBs empty. */
void piommu_ipmmu_model_power(struct piommu_ipmmu_model *model, size_t unit, bool on);
bool piommu_ipmmu_model_is_on(const struct piommu_ipmmu_model *model, size_t unit);

/* ---- FLUSH ---------------------------------------------------------------------------------- */

/**
 * How many reads of IMCTR show FLUSH as set after it was written; default 0.
 * PIOMMU_IPMMU_MODEL_NEVER: all of them, and it has no effect unless the reading is AT_WRITE. Holds
 * for FLUSHes begun later.
 */
void piommu_ipmmu_model_set_flush_polls(struct piommu_ipmmu_model *model, size_t unit,
                                        uint32_t polls);
/** Ends what is running in a unit, as the last poll does: also what would run for ever. */
void piommu_ipmmu_model_end_flushes(struct piommu_ipmmu_model *model, size_t unit);
bool piommu_ipmmu_model_is_flushing(const struct piommu_ipmmu_model *model, size_t unit,
                                    unsigned int context);

/* ---- DMA masters ---------------------------------------------------------------------------- */

enum piommu_ipmmu_model_verdict {
    PIOMMU_IPMMU_MODEL_BLOCKED,    /**< reaches nothing */
    PIOMMU_IPMMU_MODEL_TRANSLATED, /**< by a leaf */
    PIOMMU_IPMMU_MODEL_BYPASSED,   /**< physical = IOVA */
};

/**
 * A master behind a micro-TLB accesses a byte. Fills TLBs; a fault sets the status of the root's
 * context. *physical (may be NULL) is set unless the access is blocked. Anything that hangs on the
 * unit having no power, or on USE_SECGRP, is blocked without a status.
 */
enum piommu_ipmmu_model_verdict piommu_ipmmu_model_dma(struct piommu_ipmmu_model *model,
                                                       size_t unit, unsigned int micro_tlb,
                                                       uint64_t iova, bool write,
                                                       uint64_t *physical);
/** The same as a question: nothing is filled, reported or counted. */
enum piommu_ipmmu_model_verdict piommu_ipmmu_model_look(const struct piommu_ipmmu_model *model,
                                                        size_t unit, unsigned int micro_tlb,
                                                        uint64_t iova, bool write,
                                                        uint64_t *physical);
/**
 * Speculation at its most eager: all three kinds of TLB on the way of a micro-TLB get everything
 * that can be kept now. Reports no fault.
 */
void piommu_ipmmu_model_prefetch(struct piommu_ipmmu_model *model, size_t unit,
                                 unsigned int micro_tlb);

/** Is the root's interrupt asserted? */
bool piommu_ipmmu_model_interrupt(const struct piommu_ipmmu_model *model, size_t root);
/** A fault of no master: MHIT, ABORT, or whatever a test needs. Sets bits and the address. */
void piommu_ipmmu_model_report(struct piommu_ipmmu_model *model, size_t root, unsigned int context,
                               uint32_t status, uint64_t address);

/* ---- looking inside ------------------------------------------------------------------------- */

/** Entries of a context in the TLBs of a unit, its micro-TLBs included. */
size_t piommu_ipmmu_model_entries(const struct piommu_ipmmu_model *model, size_t unit,
                                  unsigned int context);
/** Does any TLB, as long as its unit is on, hold an entry that leads to this memory? */
bool piommu_ipmmu_model_leaf_reaches(const struct piommu_ipmmu_model *model, uint64_t physical,
                                     uint64_t size);
/** Does a root hold a pointer to a table there, or have an enabled context with its root there? */
bool piommu_ipmmu_model_table_reaches(const struct piommu_ipmmu_model *model, uint64_t physical,
                                      uint64_t size);
/**
 * How the root's context is walked now: for piommu_walker_check and the like. false: it is
 * disabled, or its settings make no sense.
 */
bool piommu_ipmmu_model_regime(const struct piommu_ipmmu_model *model, size_t root,
                               unsigned int context, struct piommu_walker_regime *regime);

/** Everything since creation; never reset. Take differences. */
struct piommu_ipmmu_model_counters {
    uint64_t reads;
    uint64_t writes;
    uint64_t flushes;           /**< FLUSH written to IMCTR */
    uint64_t flushes_meanwhile; /**< of these, while one was running there */
    uint64_t micro_tlb_flushes;
    uint64_t dma_blocked; /**< piommu_ipmmu_model_dma by verdict */
    uint64_t dma_translated;
    uint64_t dma_bypassed;
    uint64_t walks;      /**< that read at least one descriptor; roots only */
    uint64_t faults;     /**< reported in IMSTR; roots only */
    uint64_t interrupts; /**< times that the line was raised; roots only */
    uint64_t conflicts;  /**< leaves that came beside a leaf of another size or output */
};

/** PIOMMU_IPMMU_MODEL_ALL_UNITS: the sum. */
struct piommu_ipmmu_model_counters piommu_ipmmu_model_counters(
    const struct piommu_ipmmu_model *model, size_t unit);
/** How often registers of a kind were written; PIOMMU_IPMMU_MODEL_ALL_UNITS: in all. */
uint64_t piommu_ipmmu_model_writes(const struct piommu_ipmmu_model *model, size_t unit,
                                   enum piommu_ipmmu_model_register which);
/** FLUSHes written for one context of a unit. */
uint64_t piommu_ipmmu_model_flushes(const struct piommu_ipmmu_model *model, size_t unit,
                                    unsigned int context);

/* ---- violations ----------------------------------------------------------------------------- */

/** How often a rule was broken that is not forgiven. */
size_t piommu_ipmmu_model_violations(const struct piommu_ipmmu_model *model);
/** What the first ones were; NULL: there is no such violation. */
const char *piommu_ipmmu_model_violation(const struct piommu_ipmmu_model *model, size_t index);
/** All rules that were broken so far, forgiven ones included. */
uint32_t piommu_ipmmu_model_broken_rules(const struct piommu_ipmmu_model *model);
void piommu_ipmmu_model_forget_violations(struct piommu_ipmmu_model *model);

/* ---- watching ------------------------------------------------------------------------------- */

/** An access to a register that exists. */
struct piommu_ipmmu_model_access {
    size_t unit;
    enum piommu_ipmmu_model_register which;
    unsigned int number; /**< of the context or micro-TLB, or 0 */
    uint32_t offset;
    uint32_t value; /**< as read or written */
    bool is_write;
};

/**
 * Sets a function that is called after each access to a register that exists, when its effect is
 * there. It may call everything here except piommu_ipmmu_model_destroy; accesses that it makes
 * itself are not told to it. NULL: none.
 */
void piommu_ipmmu_model_observe(struct piommu_ipmmu_model *model,
                                void (*observer)(void *ctx,
                                                 const struct piommu_ipmmu_model_access *access),
                                void *ctx);

/** Begins a recording of accesses, or ends it. Beginning forgets the one before. */
void piommu_ipmmu_model_record(struct piommu_ipmmu_model *model, bool on);
/** Forgets what was recorded so far; goes on if recording. */
void piommu_ipmmu_model_forget_recording(struct piommu_ipmmu_model *model);
size_t piommu_ipmmu_model_recorded(const struct piommu_ipmmu_model *model);
const struct piommu_ipmmu_model_access *piommu_ipmmu_model_recorded_access(
    const struct piommu_ipmmu_model *model, size_t index);
/** Unit, R or W, register, offset, value: "M W IMCTR(1) 0x040 0x00000007". */
void piommu_ipmmu_model_recorded_line(const struct piommu_ipmmu_model *model, size_t index,
                                      char line[PIOMMU_IPMMU_MODEL_LINE_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
