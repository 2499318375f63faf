/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef PIOMMU_MODELS_LPAE_WALKER_H
#define PIOMMU_MODELS_LPAE_WALKER_H

/**
 * @file lpae-walker.h
 * A software page-table walker for the Arm long-descriptor format, stage 1 and stage 2, in both
 * flavours: AArch64 (Arm ARM, VMSAv8-64) with granules of 4K, 16K and 64K and addresses of up to 52
 * bits with each of them, and AArch32 (VMSAv8-32, and the LPAE of Armv7).
 *
 * It judges page tables, so it shares nothing with what makes them: no header, no constant, no
 * type. It sees what hardware sees: register values and physical memory.
 *
 * How to use it: fill in a *regime*, which says how tables are to be read, by hand or from register
 * values (piommu_walker_regime_from_tcr and the like); then translate single addresses
 * (piommu_walker_translate), visit all leaves (piommu_walker_for_each_leaf) or have every
 * descriptor checked (piommu_walker_check). Descriptors are read as often as they are needed, and
 * nothing is kept between two calls.
 *
 * Everything is the caller's, and no call keeps a pointer. Calls may run beside each other and
 * beside changes of the tables as far as the memory's functions may: each descriptor is read once
 * in a walk. Nothing blocks. Any value of a descriptor is taken for what hardware makes of it;
 * structures of the caller must be filled in completely.
 *
 * Not modelled: permission indirection, regimes with a single privilege level, and what TTBCR2 adds
 * to 32-bit LPAE.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One descriptor per level: levels -1 to 3. */
#define PIOMMU_WALKER_MAXIMUM_STEPS 5

/** The two flavours of descriptors. */
enum piommu_walker_format {
    PIOMMU_WALKER_FORMAT_AARCH64, /**< VMSAv8-64 */
    PIOMMU_WALKER_FORMAT_AARCH32, /**< 32-bit LPAE: granule 4K, output addresses of 40 bits */
};

/** What the simulated hardware implements, as opposed to what software programmed into it. */
struct piommu_walker_hardware {
    unsigned int physical_bits;           /**< 32, 36, 40, 42, 44, 48 or 52 */
    bool has_small_tables;                /**< FEAT_TTST: input sizes below 25 bits */
    bool has_large_virtual_addresses;     /**< FEAT_LVA: 52-bit stage-1 input with 64K */
    bool has_lpa2;                        /**< FEAT_LPA2: 52-bit addresses with 4K and 16K */
    bool has_execute_never_by_privilege;  /**< FEAT_XNX: the two-bit XN field of stage 2 */
    bool has_access_flag_updates;         /**< FEAT_HAFDBS: the access flag */
    bool has_dirty_updates;               /**< FEAT_HAFDBS: the dirty state as well */
    unsigned int break_before_make_level; /**< FEAT_BBM, SMMU_IDR3.BBML: 0, 1 or 2 */
    /** AArch32 tables: address bits 47:40 are ignored; since Armv8 they must be zero. */
    bool is_armv7;
};

/**
 * Simulated physical memory, as the walker sees it. Addresses are multiples of 8. The values are
 * descriptors as numbers of the host: whoever implements read64 converts from the table's
 * little-endian byte order.
 */
struct piommu_walker_memory {
    /**
     * Reads a descriptor. Required. Returns false where there is nothing: the walk ends in an
     * external abort.
     */
    bool (*read64)(void *ctx, uint64_t physical, uint64_t *value);
    /**
     * Used for hardware updates of the access flag and the dirty state. Returns false and stores
     * nothing if memory no longer holds `expected`; the walk then starts again. NULL: translations
     * are answered as if the update had been made, and memory stays as it is.
     */
    bool (*compare_exchange64)(void *ctx, uint64_t physical, uint64_t expected, uint64_t desired);
    void *ctx; /**< handed to both */
};

/** How tables are to be read. Fill it by hand or from register values with the helpers below. */
struct piommu_walker_regime {
    enum piommu_walker_format format;       /**< of descriptors */
    struct piommu_walker_hardware hardware; /**< what the hardware can do */
    unsigned int stage;                     /**< 1 or 2 */
    unsigned int granule_shift;             /**< 12, 14 or 16 */
    unsigned int input_bits;                /**< the width of addresses that are translated */
    unsigned int output_bits; /**< the size in force: the smaller of programmed and hardware's */
    int start_level;          /**< -1 to 3 */
    uint64_t root;            /**< physical address of the first table */
    /**
     * DS: with 4K and 16K, descriptors hold 52-bit addresses, bits 51:50 where the shareability of
     * leaves was; all leaves have walk_shareability instead.
     */
    bool uses_lpa2;
    /**
     * TTBR1: input addresses have ones above input_bits, up to bit 63, or to bit 31 with AArch32.
     */
    bool is_upper_half;
    /**
     * AArch32, stage 1: the two halves share 32 bits of input and may overlap. With n here, the
     * 2^n addresses at the far end of the input range (the top ones for TTBR0, the bottom ones for
     * TTBR1) are not translated by these tables, but by those of the other half. 0: there are none.
     */
    unsigned int other_half_bits;
    bool is_disabled;         /**< EPD0, EPD1 */
    bool ignores_top_byte;    /**< TBI0, TBI1 */
    bool access_flag_updates; /**< HA, and hardware has it */
    bool dirty_updates;       /**< HD and HA, and hardware has it */

    /* Stage 1 only. */
    uint64_t mair;                  /**< MAIR_EL1, or MAIR1 and MAIR0 */
    unsigned int mair_slots_in_use; /**< bit n: AttrIndx n is a slot that software filled */
    bool ignores_table_attributes;  /**< HPD0, HPD1: bits 63:59 of table descriptors mean nothing */
    bool write_implies_no_execute;  /**< SCTLR.WXN */
    /** SCTLR.UWXN of AArch32: what the unprivileged may write, the privileged never execute. */
    bool unprivileged_write_implies_no_execute;

    /* Stage 2 only. */
    bool forced_write_back; /**< HCR_EL2.FWB, STE.S2FWB: the other meaning of MemAttr */

    /*
     * Not needed for a walk, except for walk_shareability with DS; decoded so that tests can
     * compare them with what was asked for.
     */
    unsigned int identifier;              /**< ASID or VMID field of the root's register */
    bool identifier_is_upper;             /**< A1: the ASID in use is the one in TTBR1 */
    bool has_wide_identifiers;            /**< AS, VS: 16 bits instead of 8 */
    bool is_common_not_private;           /**< CnP */
    unsigned int walk_inner_cacheability; /**< IRGN: 0 NC, 1 WB, 2 WT, 3 WB, no write allocate */
    unsigned int walk_outer_cacheability; /**< ORGN */
    unsigned int walk_shareability;       /**< SH: 0 non, 2 outer, 3 inner */
};

/** What may be wrong with a regime. */
enum piommu_walker_setup {
    PIOMMU_WALKER_SETUP_OK,
    PIOMMU_WALKER_SETUP_UNSUPPORTED,   /**< a mode that this model does not have */
    PIOMMU_WALKER_SETUP_RESERVED_BITS, /**< a reserved bit or field value in a register */
    PIOMMU_WALKER_SETUP_GRANULE,       /**< not a granule */
    PIOMMU_WALKER_SETUP_INPUT_SIZE,    /**< T0SZ or T1SZ out of the range of granule and hardware */
    PIOMMU_WALKER_SETUP_OUTPUT_SIZE,   /**< IPS or PS not possible with this granule */
    PIOMMU_WALKER_SETUP_START_LEVEL,   /**< the start level does not fit the input size */
    PIOMMU_WALKER_SETUP_ROOT_ALIGNMENT, /**< root not aligned to its size */
    PIOMMU_WALKER_SETUP_ROOT_ADDRESS,   /**< root beyond the output size */
};

/**
 * Regime of one half of a stage-1 translation: `root_register` is TTBR0_EL1, or TTBR1_EL1 if
 * is_upper_half. All eight MAIR slots count as in use; clear the others' bits in the regime.
 *
 * @return PIOMMU_WALKER_SETUP_OK, or what is wrong; then the regime holds what was decoded so far
 *         and must not be used. The same holds for the three functions below.
 */
enum piommu_walker_setup piommu_walker_regime_from_tcr(
    const struct piommu_walker_hardware *hardware, uint64_t tcr, uint64_t root_register,
    uint64_t mair, bool is_upper_half, struct piommu_walker_regime *regime);

/** Stage 2, from VTCR_EL2 and VTTBR_EL2. Set forced_write_back afterwards where it applies. */
enum piommu_walker_setup piommu_walker_regime_from_vtcr(
    const struct piommu_walker_hardware *hardware, uint64_t vtcr, uint64_t vttbr,
    struct piommu_walker_regime *regime);

/**
 * The same for AArch32, from TTBCR (with EAE = 1), TTBR0 or TTBR1, MAIR0 and MAIR1. The output size
 * in force is 40 bits, or what hardware has if that is less.
 */
enum piommu_walker_setup piommu_walker_regime_from_ttbcr(
    const struct piommu_walker_hardware *hardware, uint32_t ttbcr, uint64_t root_register,
    uint32_t mair0, uint32_t mair1, bool is_upper_half, struct piommu_walker_regime *regime);

/** Stage 2 with AArch32: VTCR and VTTBR. */
enum piommu_walker_setup piommu_walker_regime_from_aarch32_vtcr(
    const struct piommu_walker_hardware *hardware, uint32_t vtcr, uint64_t vttbr,
    struct piommu_walker_regime *regime);

/**
 * Is this a regime that the architecture permits on this hardware?
 *
 * @return PIOMMU_WALKER_SETUP_OK if it is, or the first thing that is wrong.
 */
enum piommu_walker_setup piommu_walker_validate(const struct piommu_walker_regime *regime);

/** log2 of the bytes of input that one descriptor of the level covers. */
unsigned int piommu_walker_level_shift(const struct piommu_walker_regime *regime, int level);
/** Bytes of the root, all concatenated tables together. */
uint64_t piommu_walker_root_size(const struct piommu_walker_regime *regime);
/** Entries in a group that the Contiguous bit describes; 0 if the level has no such groups. */
unsigned int piommu_walker_contiguous_entries(const struct piommu_walker_regime *regime, int level);

/** The address that is translated: without the tag that TBI lets the top byte carry. */
uint64_t piommu_walker_untagged_input(const struct piommu_walker_regime *regime, uint64_t input);
/** Is this an untagged address that the tables translate? */
bool piommu_walker_input_is_in_range(const struct piommu_walker_regime *regime, uint64_t input);

/** What is asked for: a sum of kinds, all of which must be permitted. */
struct piommu_walker_access {
    bool read;       /**< data is read */
    bool write;      /**< data is written */
    bool execute;    /**< an instruction is fetched */
    bool privileged; /**< from EL1 or a privileged device */
};

/** Why an access is refused. */
enum piommu_walker_fault {
    PIOMMU_WALKER_FAULT_NONE,
    PIOMMU_WALKER_FAULT_TRANSLATION,
    PIOMMU_WALKER_FAULT_ADDRESS_SIZE,
    PIOMMU_WALKER_FAULT_ACCESS_FLAG,
    PIOMMU_WALKER_FAULT_PERMISSION,
    PIOMMU_WALKER_FAULT_WALK_ABORT, /**< external abort on the read of a descriptor */
};

/** What a leaf lets one side do. */
struct piommu_walker_rights {
    bool read;    /**< data may be read */
    bool write;   /**< data may be written */
    bool execute; /**< instructions may be fetched */
};

/** What a leaf says, but for its address. */
struct piommu_walker_attributes {
    struct piommu_walker_rights privileged; /**< table attributes, DBM and WXN taken into account */
    struct piommu_walker_rights unprivileged; /**< the same for EL0 */
    unsigned int memory_index;     /**< AttrIndx (stage 1) or MemAttr (stage 2) as it stands */
    uint8_t memory_type;           /**< what it means, as a MAIR byte */
    bool memory_type_is_reserved;  /**< memory_type has no meaning: a reserved encoding */
    bool memory_type_is_inherited; /**< memory_type has no meaning: that of stage 1 is kept */
    unsigned int shareability;     /**< SH: 0 non, 2 outer, 3 inner */
    bool access_flag;              /**< AF is set */
    bool not_global;               /**< stage 1 */
    bool non_secure;               /**< stage 1, bit 5 */
    bool contiguous;               /**< a member of a contiguous group */
    bool no_cache_entry;           /**< nT: no TLB may keep the block */
    bool dirty_bit_modifier;       /**< DBM is set */
    bool writable_clean; /**< DBM with write permission still withheld; writable if HD is on */
    bool dirty;          /**< DBM with write permission given */
    unsigned int software_bits; /**< 58:55; bit 55 of stage 2 only outside Secure state */
};

/** One descriptor that a walk read. */
struct piommu_walker_step {
    int level;           /**< of the table that was read */
    uint64_t location;   /**< physical address of the descriptor */
    uint64_t descriptor; /**< what was read */
    bool is_table;       /**< a table descriptor that the walk could follow */
    uint64_t next_table; /**< only if is_table */
    uint64_t inherited;  /**< bits 63:59 collected down to and including this descriptor */
};

/** What a walk came to. */
struct piommu_walker_result {
    enum piommu_walker_fault fault; /**< why there is no access; else PIOMMU_WALKER_FAULT_NONE */
    int level;                      /**< of the leaf, or of the fault */
    /** Descriptors read. After a walk abort, steps[step_count] names the read that failed. */
    unsigned int step_count;
    struct piommu_walker_step steps[PIOMMU_WALKER_MAXIMUM_STEPS]; /**< in the order of the walk */

    /* The rest is filled in without a fault and for access-flag and permission faults. */
    uint64_t output;                            /**< the address that the input is translated to */
    unsigned int leaf_shift;                    /**< log2 of the bytes that the leaf covers */
    uint64_t descriptor;                        /**< of the leaf, hardware updates included */
    struct piommu_walker_attributes attributes; /**< of the leaf */
};

/**
 * Translates one address. An access that asks for nothing is permitted wherever there is a leaf.
 * A regime that piommu_walker_validate() refuses gives what hardware gives: faults at level 0.
 * These, and those for input out of range or a disabled half, are reported at level 1 with AArch32.
 */
void piommu_walker_translate(const struct piommu_walker_regime *regime,
                             const struct piommu_walker_memory *memory, uint64_t input,
                             const struct piommu_walker_access *access,
                             struct piommu_walker_result *result);

/** A table on the way down, from which a walk may start: what a walk cache holds. */
struct piommu_walker_position {
    int level;          /**< of the table */
    uint64_t table;     /**< its physical address */
    uint64_t inherited; /**< see struct piommu_walker_step */
};

/** As piommu_walker_translate, but from a table on the way on. */
void piommu_walker_translate_from(const struct piommu_walker_regime *regime,
                                  const struct piommu_walker_memory *memory, uint64_t input,
                                  const struct piommu_walker_access *access,
                                  const struct piommu_walker_position *start,
                                  struct piommu_walker_result *result);

/** Do the attributes of a leaf permit the access? */
bool piommu_walker_permits(const struct piommu_walker_attributes *attributes,
                           const struct piommu_walker_access *access);

/** The fault status code of PAR_EL1 and ESR_ELx; 0 for no fault. */
unsigned int piommu_walker_fault_status(enum piommu_walker_fault fault, int level);

/** A few words, for messages; never NULL. */
const char *piommu_walker_fault_name(enum piommu_walker_fault fault);
/** A few words, for messages; never NULL. */
const char *piommu_walker_setup_name(enum piommu_walker_setup setup);

/** What may be wrong with a table. */
enum piommu_walker_problem_kind {
    /** The regime is refused by piommu_walker_validate(); nothing else is checked. */
    PIOMMU_WALKER_PROBLEM_REGIME,
    PIOMMU_WALKER_PROBLEM_BLOCK_LEVEL,      /**< a block where only tables are allowed */
    PIOMMU_WALKER_PROBLEM_PAGE_TYPE,        /**< type 01 at level 3 */
    PIOMMU_WALKER_PROBLEM_RESERVED_BITS,    /**< bits that must be zero; PBHA counts as such */
    PIOMMU_WALKER_PROBLEM_TABLE_ATTRIBUTES, /**< stage 1: bits 63:59 of a table descriptor */
    PIOMMU_WALKER_PROBLEM_ADDRESS_SIZE, /**< table or any part of a leaf beyond the output size */
    PIOMMU_WALKER_PROBLEM_TABLE_SHARED, /**< table reached a second time, or overlapping the root */
    PIOMMU_WALKER_PROBLEM_TABLE_OUTSIDE,    /**< table not in the memory allowed for tables */
    PIOMMU_WALKER_PROBLEM_TABLE_UNREADABLE, /**< nothing there */
    PIOMMU_WALKER_PROBLEM_ACCESS_FLAG,      /**< AF = 0 without hardware updates */
    PIOMMU_WALKER_PROBLEM_SHAREABILITY,     /**< SH = 1 */
    PIOMMU_WALKER_PROBLEM_MEMORY_TYPE,      /**< AttrIndx not in use, reserved MemAttr */
    PIOMMU_WALKER_PROBLEM_EXECUTE_NEVER, /**< stage 2: XN = 11, which lets the privileged execute */
    PIOMMU_WALKER_PROBLEM_WRITABLE_CLEAN,        /**< DBM without HD, and no right to write */
    PIOMMU_WALKER_PROBLEM_CONTIGUOUS_LEVEL,      /**< Contiguous where the level has no groups */
    PIOMMU_WALKER_PROBLEM_CONTIGUOUS_RANGE,      /**< the group reaches out of the input range */
    PIOMMU_WALKER_PROBLEM_CONTIGUOUS_MIXED,      /**< not all members are leaves with the bit set */
    PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ADDRESS,    /**< output not consecutive, or not aligned */
    PIOMMU_WALKER_PROBLEM_CONTIGUOUS_ATTRIBUTES, /**< members differ */
    PIOMMU_WALKER_PROBLEM_OUT_OF_MEMORY,         /**< the checker itself could not go on */
};

/** A descriptor and what is wrong with it. */
struct piommu_walker_problem {
    enum piommu_walker_problem_kind kind; /**< what is wrong */
    int level;                            /**< of the descriptor; for the root: the start level */
    uint64_t input;                       /**< first input address that the descriptor covers */
    uint64_t location;   /**< physical address of the descriptor; for the root: of the root */
    uint64_t descriptor; /**< 0 for the root */
};

/** A few words, for messages; never NULL. */
const char *piommu_walker_problem_name(enum piommu_walker_problem_kind kind);

/** Is this range memory that tables may be in? */
typedef bool (*piommu_walker_is_table)(void *ctx, uint64_t physical, uint64_t size);
/** Takes a problem; it is there during the call only. */
typedef void (*piommu_walker_report)(void *ctx, const struct piommu_walker_problem *problem);

/**
 * Checks every descriptor of the tree, and reports what no table maker should leave behind even if
 * hardware puts up with it. A group of contiguous entries is reported once, at its first member.
 * Tables that are shared, outside or too high are not descended into. The checker notes the tables
 * that it has seen in memory of its own, which it frees.
 *
 * @param is_table may be NULL: all memory is allowed.
 * @param report   may be NULL.
 * @param ctx      handed to both.
 * @return the number of problems.
 */
size_t piommu_walker_check(const struct piommu_walker_regime *regime,
                           const struct piommu_walker_memory *memory,
                           piommu_walker_is_table is_table, piommu_walker_report report, void *ctx);

/**
 * Checks one descriptor of a table of the level as piommu_walker_check() does, without what lies
 * beyond it: no table that it leads to, no other member of its group. The location is reported
 * as 0.
 */
size_t piommu_walker_check_descriptor(const struct piommu_walker_regime *regime, int level,
                                      uint64_t input, uint64_t descriptor,
                                      piommu_walker_report report, void *ctx);

/** A leaf, as the visitor gets it. */
struct piommu_walker_leaf {
    uint64_t input;                             /**< first address */
    uint64_t output;                            /**< where the first address leads */
    unsigned int shift;                         /**< log2 of the bytes that it covers */
    int level;                                  /**< of its table */
    uint64_t location;                          /**< physical address of the descriptor */
    uint64_t descriptor;                        /**< as it stands in memory */
    struct piommu_walker_attributes attributes; /**< what it says, in this regime */
};

/** Return false to end the sweep. */
typedef bool (*piommu_walker_visit)(void *ctx, const struct piommu_walker_leaf *leaf);

/** A descriptor that leads to a table. */
struct piommu_walker_link {
    uint64_t input;                     /**< first address */
    int level;                          /**< of the table that it stands in */
    uint64_t location;                  /**< physical address of the descriptor */
    uint64_t descriptor;                /**< as it stands in memory */
    struct piommu_walker_position next; /**< the table that it leads to */
};

/** Return false to end the sweep. */
typedef bool (*piommu_walker_visit_link)(void *ctx, const struct piommu_walker_link *link);

/**
 * Visits all descriptors that a walk could follow to a table, each before those below, whether or
 * not there is a leaf further down. Otherwise as piommu_walker_for_each_leaf().
 */
bool piommu_walker_for_each_link(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_memory *memory,
                                 piommu_walker_visit_link visit, void *ctx);

/**
 * Visits all leaves in ascending order of input, those without access flag included. Descriptors
 * that fault for another reason are skipped, and so are those that only the other half can reach.
 * Tables that are reached by several ways are visited each time; piommu_walker_check() tells
 * whether there are any.
 *
 * @return false if the visitor ended the sweep, the regime is not valid or a table could not be
 *         read, which then counts as empty.
 */
bool piommu_walker_for_each_leaf(const struct piommu_walker_regime *regime,
                                 const struct piommu_walker_memory *memory,
                                 piommu_walker_visit visit, void *ctx);

#ifdef __cplusplus
}
#endif

#endif
