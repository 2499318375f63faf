/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_MODELS_IPMMU_VMSA_H
#define PIOMMU_MODELS_IPMMU_VMSA_H

/**
 * @file ipmmu-vmsa.h
 * A behavioural model of the Renesas IPMMU-VMSA: root and cache units with their registers, TLBs
 * and table walks, and the DMA masters behind them. Tests put it where the hardware would be, have
 * a driver work on it, let masters access memory through it, and ask what the driver did wrong.
 *
 * How to use it:
 *  1. Describe the units (struct piommu_ipmmu_model_unit), and create a model with a function that
 *     reads the memory in which page tables lie.
 *  2. Lead the register accesses of the driver to piommu_ipmmu_model_read and _write, and the
 *     interrupt line back (piommu_ipmmu_model_interrupt).
 *  3. Let masters access addresses with piommu_ipmmu_model_dma.
 *  4. In the end, piommu_ipmmu_model_violations must be 0.
 *
 * docs/testing-with-models.md has a complete program.
 *
 * **Violations.** Whatever software does that the hardware has no answer to is recorded with the
 * rule that it breaks (enum piommu_ipmmu_model_rule) and a text, and then done as far as it makes
 * sense: an access to nothing reads as 0, or is lost. No access ever fails.
 *
 * **Readings.** There is no public manual of the IPMMU. What is not known about it is a *reading*
 * (struct piommu_ipmmu_model_readings): a switch, under each position of which a driver has to be
 * right. piommu_ipmmu_model_readings_variant counts through them.
 *
 * **TLBs** forget nothing by themselves, so a FLUSH that is missing is found. There are three kinds
 * of them: the root's (leaves and pointers to tables, by context), those of cache units (leaves, by
 * context, filled from what the root answers) and those of micro-TLBs (leaves). A leaf goes into
 * each one on its way. A FLUSH drops what was there when it was written, and nothing that came
 * later. Invalid descriptors are not kept.
 *
 * **Units of measure.** Addresses and sizes are bytes. Units are numbers: their places in the list
 * that the model was created with; contexts and micro-TLBs have the hardware's numbers. A unit,
 * context, micro-TLB or register of a call to the model that cannot exist is a mistake of the test:
 * the call says so on stderr and calls abort(). So does every call that runs out of memory, but
 * piommu_ipmmu_model_create.
 *
 * **Ownership.** The caller owns the model and the memory it reads; the model keeps no pointer of
 * the parameters. What functions return pointers to belongs to the model, and is valid until the
 * next call that changes it.
 *
 * **Concurrency.** Different models have nothing to do with each other. Calls for one model must
 * not overlap; who has several threads takes a lock around each call. The observer is called inside
 * of accesses. Nothing here sleeps, or takes time into account: what the hardware needs time for
 * goes on by being polled.
 *
 * Not modelled: the PMB (block mapping), remapping (TREN), address space identifiers, the secure
 * side, IMCAAR, IMSSTR, performance counters, IMTTLBR1 without VA64.
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
    PIOMMU_IPMMU_MODEL_MAX_CONTEXTS = 16,   /**< of any class */
    PIOMMU_IPMMU_MODEL_MAX_MICRO_TLBS = 64, /**< of any class */
    PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS = 16,
    PIOMMU_IPMMU_MODEL_LINE_SIZE = 64, /**< of a line of the recording, with its end */
};

/** Number of polls: a FLUSH that never ends. */
#define PIOMMU_IPMMU_MODEL_NEVER UINT32_MAX
/** In place of a unit's number: each of them. */
#define PIOMMU_IPMMU_MODEL_ALL_UNITS UINT32_MAX

/** Register layouts. */
enum piommu_ipmmu_model_class {
    /** R-Car Gen2, RZ/G1, APE6: each unit is its own root; 4 contexts, 32 micro-TLBs. */
    PIOMMU_IPMMU_MODEL_GEN2,
    PIOMMU_IPMMU_MODEL_GEN3, /**< R-Car Gen3, RZ/G2: 8 contexts, 48 micro-TLBs */
    PIOMMU_IPMMU_MODEL_GEN4, /**< R-Car Gen4, V3U: 16 contexts, 64 micro-TLBs */
};

/** Registers by kind; context registers and micro-TLB registers have a number as well. */
enum piommu_ipmmu_model_register {
    PIOMMU_IPMMU_MODEL_IMCTR,
    PIOMMU_IPMMU_MODEL_IMTTBCR,
    PIOMMU_IPMMU_MODEL_IMBUSCR, /**< Gen2 alone */
    PIOMMU_IPMMU_MODEL_IMTTLBR0,
    PIOMMU_IPMMU_MODEL_IMTTUBR0,
    PIOMMU_IPMMU_MODEL_IMTTLBR1,
    PIOMMU_IPMMU_MODEL_IMTTUBR1,
    PIOMMU_IPMMU_MODEL_IMSTR,
    PIOMMU_IPMMU_MODEL_IMMAIR0,
    PIOMMU_IPMMU_MODEL_IMMAIR1,
    PIOMMU_IPMMU_MODEL_IMELAR, /**< IMEAR on Gen2 */
    PIOMMU_IPMMU_MODEL_IMEUAR, /**< not on Gen2 */
    PIOMMU_IPMMU_MODEL_IMUCTR,
    PIOMMU_IPMMU_MODEL_IMUASID,
    PIOMMU_IPMMU_MODEL_IMSCTLR,    /**< not on Gen2; its number is 0 */
    PIOMMU_IPMMU_MODEL_IMSAUXCTLR, /**< not on Gen2; its number is 0 */
    PIOMMU_IPMMU_MODEL_REGISTERS,  /**< how many kinds there are */
};

/** What software must not do; a sum of them is a set of rules. */
enum piommu_ipmmu_model_rule {
    /** An address of no unit, or an offset at which the class has no register for software. */
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
    /**
     * The TLB of a cache unit was switched off with a context enabled; or it has to be off, and a
     * context was enabled or a master translated with it on.
     */
    PIOMMU_IPMMU_MODEL_RULE_ERRATUM = 1 << 16,
    /** In a model with non_coherent: a walk came to memory that was never cleaned. */
    PIOMMU_IPMMU_MODEL_RULE_CLEAN = 1 << 17,
};

/** What an IPMMU unit is. Zero is a default for everything but the name and the base. */
struct piommu_ipmmu_model_unit {
    const char *name;        /**< in recordings and messages: without blanks, 12 characters */
    uint64_t base;           /**< physical address of its registers, a multiple of 4 */
    size_t root;             /**< number of its root; a root names itself */
    unsigned int contexts;   /**< 0: the number of the class; else at most that */
    unsigned int micro_tlbs; /**< 0: the number of the class; else at most that */
    /** Cache units: translates right only while its TLB is switched off (IMSCTLR, bits 31:29). */
    bool has_erratum;
    bool is_off; /**< starts without power */
};

/** Which parts have stage 2. */
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

/** What micro-TLBs keep. */
enum piommu_ipmmu_model_micro_tlb_entries {
    PIOMMU_IPMMU_MODEL_MICRO_TLB_EMPTY,    /**< nothing */
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
    /** VA64, stage 1: an address with bit 39 set faults. Default: IMTTLBR1 and TSZ1 are for it. */
    bool upper_half_faults;
    bool s2pte_for_all; /**< S2PTE makes stage-1 contexts unusable; default: it only adds stage 2 */
};

/** Fills in the defaults named above. */
void piommu_ipmmu_model_default_readings(struct piommu_ipmmu_model_readings *readings);

/**
 * Counts through readings. Number 0: the defaults; then one that differs in one respect each; the
 * last one differs in all.
 *
 * @param name set to a text that says how it differs.
 * @return false if there is no such number; then nothing is set.
 */
bool piommu_ipmmu_model_readings_variant(unsigned int number,
                                         struct piommu_ipmmu_model_readings *readings,
                                         const char **name);

/** What to build. Zero is a default for everything but the units. */
struct piommu_ipmmu_model_parameters {
    enum piommu_ipmmu_model_class generation;    /**< of all units */
    const struct piommu_ipmmu_model_unit *units; /**< copied, with their names */
    size_t unit_count;                           /**< 1 to PIOMMU_IPMMU_MODEL_MAX_UNITS */
    /**
     * What the product register says: product in bits 14:8, cut in 7:0. 0: H2, H3 ES3.0 or V4H,
     * by class.
     */
    uint32_t product;
    enum piommu_ipmmu_model_stage2 stage2;              /**< whether contexts can be of stage 2 */
    const struct piommu_ipmmu_model_readings *readings; /**< copied; NULL: the defaults */
    uint32_t forgiven; /**< rules whose violation is not recorded */
    /**
     * Walks see of memory what was cleaned (piommu_ipmmu_model_clean), and not what the CPU has
     * stored: Gen3 and Gen4 do not snoop.
     */
    bool non_coherent;
};

struct piommu_ipmmu_model;

/**
 * Makes a model. Units have the state in which boot firmware leaves them: as after a reset, and
 * roots of Gen3 have IMSCTLR 0xc0000000 and IMSAUXCTLR 0x01000000 in addition. USE_SECGRP, whose
 * value after a reset is not defined, is set (secgrp_clear_at_reset: clear).
 *
 * @param memory how the content of memory is read as the CPU sees it: struct piommu_walker_memory.
 *               compare_exchange64 is not used. It may be called in every call that has to do with
 *               DMA, and by piommu_ipmmu_model_clean.
 * @return the model, for piommu_ipmmu_model_destroy; NULL if there is no memory, or a parameter
 *         makes no sense: no units or too many, an unknown class, a name that is missing or too
 *         long, a root that is no root, on Gen2 a cache unit, more contexts or micro-TLBs than the
 *         class has, an erratum of a root, registers that are not aligned or in each other's place.
 */
struct piommu_ipmmu_model *piommu_ipmmu_model_create(
    const struct piommu_ipmmu_model_parameters *parameters, struct piommu_walker_memory memory);

/** Frees a model. NULL is allowed. */
void piommu_ipmmu_model_destroy(struct piommu_ipmmu_model *model);

/** The readings in force; may be changed between two accesses. */
struct piommu_ipmmu_model_readings *piommu_ipmmu_model_readings(struct piommu_ipmmu_model *model);
/** Changes what is forgiven: a sum of rules, in place of the former one. */
void piommu_ipmmu_model_forgive(struct piommu_ipmmu_model *model, uint32_t rules);

/* ---- registers ------------------------------------------------------------------------------ */

/** Physical address of the product register: 0xff000044 on Gen2, else 0xfff00044. */
uint64_t piommu_ipmmu_model_product_address(const struct piommu_ipmmu_model *model);
/** What it says. */
uint32_t piommu_ipmmu_model_product(const struct piommu_ipmmu_model *model);

/** Bytes of registers of each unit: 0x20000 on Gen4, else 0x1000. */
uint64_t piommu_ipmmu_model_size(const struct piommu_ipmmu_model *model);
/** Offset of a register in its unit, whether or not the unit has it. */
uint32_t piommu_ipmmu_model_offset(const struct piommu_ipmmu_model *model,
                                   enum piommu_ipmmu_model_register which, unsigned int number);
/** "IMCTR" and the like. */
const char *piommu_ipmmu_model_register_name(enum piommu_ipmmu_model_register which);

/**
 * The CPU reads a register: of a unit, or the product register.
 *
 * @param physical its address.
 * @param width    of the access, in bytes.
 * @return the value; 0 where the access breaks a rule.
 */
uint32_t piommu_ipmmu_model_read(struct piommu_ipmmu_model *model, uint64_t physical,
                                 unsigned int width);
/** The CPU writes a register; as piommu_ipmmu_model_read. */
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
 * IMSAUXCTLR that are not software's are rubbish too, and must survive. The same seed makes the
 * same rubbish.
 */
void piommu_ipmmu_model_litter(struct piommu_ipmmu_model *model, uint32_t seed);

/**
 * A unit loses power, or gets it back: registers as after a reset, TLBs empty. Nothing happens if
 * it is so already. What firmware had set is lost as well.
 */
void piommu_ipmmu_model_power(struct piommu_ipmmu_model *model, size_t unit, bool on);
/** Has a unit power? */
bool piommu_ipmmu_model_is_on(const struct piommu_ipmmu_model *model, size_t unit);

/* ---- memory --------------------------------------------------------------------------------- */

/**
 * The CPU writes lines of its caches back: what cache_clean of a shim tells a model with
 * non_coherent; others ignore it. What `read64` gives now is what walks see after the next barrier,
 * by lines of 64 bytes; until then they see what they saw before. Lines that were never cleaned
 * read as 0, and so as invalid descriptors. Where there is no memory nothing happens.
 *
 * @param size in bytes; the range must not go beyond the last address.
 */
void piommu_ipmmu_model_clean(struct piommu_ipmmu_model *model, uint64_t physical, uint64_t size);
/** Everything that was cleaned arrives in memory: what barrier of a shim tells the model. */
void piommu_ipmmu_model_barrier(struct piommu_ipmmu_model *model);

/* ---- FLUSH ---------------------------------------------------------------------------------- */

/**
 * How many reads of IMCTR show FLUSH as set after it was written; default 0.
 * PIOMMU_IPMMU_MODEL_NEVER: all of them, and it has no effect unless the reading is AT_WRITE. Holds
 * for FLUSHes begun later.
 *
 * @param unit a unit, or PIOMMU_IPMMU_MODEL_ALL_UNITS.
 */
void piommu_ipmmu_model_set_flush_polls(struct piommu_ipmmu_model *model, size_t unit,
                                        uint32_t polls);
/**
 * Ends what is running in a unit, or in PIOMMU_IPMMU_MODEL_ALL_UNITS, as the last poll does: also
 * what would run for ever.
 */
void piommu_ipmmu_model_end_flushes(struct piommu_ipmmu_model *model, size_t unit);
/** Does a FLUSH of a context run in a unit? */
bool piommu_ipmmu_model_is_flushing(const struct piommu_ipmmu_model *model, size_t unit,
                                    unsigned int context);

/* ---- DMA masters ---------------------------------------------------------------------------- */

/** What becomes of an access. */
enum piommu_ipmmu_model_verdict {
    PIOMMU_IPMMU_MODEL_BLOCKED,    /**< reaches nothing */
    PIOMMU_IPMMU_MODEL_TRANSLATED, /**< by a leaf */
    PIOMMU_IPMMU_MODEL_BYPASSED,   /**< physical = IOVA */
};

/**
 * A master behind a micro-TLB accesses a byte. Fills TLBs; a fault sets the status of the root's
 * context. Anything that hangs on the unit having no power, or on USE_SECGRP, is blocked without a
 * status. The access itself is not made: the caller knows what to do with the address.
 *
 * @param unit     the cache unit that the master is wired to; on Gen2 any unit.
 * @param write    a write, or else a read.
 * @param physical set to where the access goes unless it is blocked; may be NULL.
 */
enum piommu_ipmmu_model_verdict piommu_ipmmu_model_dma(struct piommu_ipmmu_model *model,
                                                       size_t unit, unsigned int micro_tlb,
                                                       uint64_t iova, bool write,
                                                       uint64_t *physical);
/** The same as a question: nothing is filled, reported or counted, and no rule broken. */
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

/** Is the root's interrupt asserted? It is a level: the OR of all contexts with INTEN. */
bool piommu_ipmmu_model_interrupt(const struct piommu_ipmmu_model *model, size_t root);
/**
 * A fault of no master: MHIT, ABORT, or whatever a test needs. Sets IMSTR, IMELAR and IMEUAR of a
 * context as a fault does; a root without power takes no notice.
 *
 * @param status as in IMSTR: MHIT 0x10, ABORT 4, PF 2, TF 1, level in 13:12, code in 10:8.
 */
void piommu_ipmmu_model_report(struct piommu_ipmmu_model *model, size_t root, unsigned int context,
                               uint32_t status, uint64_t address);

/* ---- looking inside ------------------------------------------------------------------------- */

/** Entries of a context in the TLBs of a unit, its micro-TLBs included. */
size_t piommu_ipmmu_model_entries(const struct piommu_ipmmu_model *model, size_t unit,
                                  unsigned int context);
/**
 * Does any TLB, as long as its unit is on, hold an entry that leads to this memory? What a host
 * asks before it uses a page for something else.
 */
bool piommu_ipmmu_model_leaf_reaches(const struct piommu_ipmmu_model *model, uint64_t physical,
                                     uint64_t size);
/**
 * Does a root hold a pointer to a table there, or have an enabled context with its root there? What
 * a host asks before it uses the memory of a table for something else.
 */
bool piommu_ipmmu_model_table_reaches(const struct piommu_ipmmu_model *model, uint64_t physical,
                                      uint64_t size);
/**
 * How the root's context is walked now, for piommu_walker_check and the like; of 64-bit stage 1,
 * the half of IMTTLBR0.
 *
 * @return false if it is disabled, or its settings make no sense; then nothing is set.
 */
bool piommu_ipmmu_model_regime(const struct piommu_ipmmu_model *model, size_t root,
                               unsigned int context, struct piommu_walker_regime *regime);

/** What happened since creation; never reset. Take differences. */
struct piommu_ipmmu_model_counters {
    uint64_t reads;             /**< of registers */
    uint64_t writes;            /**< of registers */
    uint64_t flushes;           /**< FLUSH written to IMCTR */
    uint64_t flushes_meanwhile; /**< of these, while one was running there */
    uint64_t micro_tlb_flushes; /**< FLUSH written to IMUCTR */
    uint64_t dma_blocked;       /**< piommu_ipmmu_model_dma by verdict */
    uint64_t dma_translated;    /**< see dma_blocked */
    uint64_t dma_bypassed;      /**< see dma_blocked */
    uint64_t walks;             /**< that masters caused; roots only */
    uint64_t faults;            /**< reported in IMSTR; roots only */
    uint64_t interrupts;        /**< times that the line was raised; roots only */
    uint64_t conflicts;         /**< leaves that came beside a leaf of another size or output */
};

/** Of a unit, or the sum for PIOMMU_IPMMU_MODEL_ALL_UNITS. */
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
/**
 * What a violation was, a line of text that names the unit: of the first
 * PIOMMU_IPMMU_MODEL_KEPT_VIOLATIONS, from 0. NULL: there is no such violation.
 */
const char *piommu_ipmmu_model_violation(const struct piommu_ipmmu_model *model, size_t index);
/** A sum of all rules that were broken so far, forgiven ones included. */
uint32_t piommu_ipmmu_model_broken_rules(const struct piommu_ipmmu_model *model);
/** Forgets what was recorded and which rules were broken: a test expected that. */
void piommu_ipmmu_model_forget_violations(struct piommu_ipmmu_model *model);

/* ---- watching ------------------------------------------------------------------------------- */

/** An access to a register that exists. */
struct piommu_ipmmu_model_access {
    size_t unit;                            /**< its number */
    enum piommu_ipmmu_model_register which; /**< the kind of register */
    unsigned int number;                    /**< of the context or micro-TLB, or 0 */
    uint32_t offset;                        /**< of the register in the unit */
    uint32_t value;                         /**< as read or written */
    bool is_write;                          /**< else it was read */
};

/**
 * Sets a function that is called after each access to a register that exists, when its effect is
 * there: the place to let masters try what they must not reach between two writes of a driver. It
 * may call everything here except piommu_ipmmu_model_destroy; accesses that it makes itself are not
 * told to it.
 *
 * @param observer NULL: none.
 * @param ctx      handed to it.
 */
void piommu_ipmmu_model_observe(struct piommu_ipmmu_model *model,
                                void (*observer)(void *ctx,
                                                 const struct piommu_ipmmu_model_access *access),
                                void *ctx);

/** Begins a recording of accesses, or ends it. Beginning forgets the one before. */
void piommu_ipmmu_model_record(struct piommu_ipmmu_model *model, bool on);
/** Forgets what was recorded so far; goes on if recording. */
void piommu_ipmmu_model_forget_recording(struct piommu_ipmmu_model *model);
/** How many accesses there are in the recording. */
size_t piommu_ipmmu_model_recorded(const struct piommu_ipmmu_model *model);
/** One of them, from 0; NULL: there are not so many. */
const struct piommu_ipmmu_model_access *piommu_ipmmu_model_recorded_access(
    const struct piommu_ipmmu_model *model, size_t index);
/**
 * The same as text: unit, R or W, register, offset, value, as in "M W IMCTR(1) 0x040 0x00000007".
 * Empty if there are not so many.
 */
void piommu_ipmmu_model_recorded_line(const struct piommu_ipmmu_model *model, size_t index,
                                      char line[PIOMMU_IPMMU_MODEL_LINE_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
