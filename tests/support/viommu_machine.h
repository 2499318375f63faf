/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */
#ifndef VIOMMU_MACHINE_H
#define VIOMMU_MACHINE_H

/**
 * @file viommu_machine.h
 * Guests with a virtio-iommu of the library each (piommu/viommu-device.h), beside each other on one
 * hypervisor. A guest has a fake OS of its own: its memory is the guest's, its register accesses
 * are trapped into the device's front, and on it the library's own virtio-iommu backend can be
 * started with a core, devices and domains. The device is serviced as by a task of the hypervisor:
 * now and then, with small budgets.
 *
 * Whenever the hypervisor's hardware was told something, or may find something new in its tables,
 * every device of each guest tries every page of the window: the test fails if it reaches what is
 * not memory of its guest, or was never granted to a device of it; and if a service takes more than
 * it may.
 */

#include <piommu/viommu-device.h>

#include "viommu_hardware.h"

#define MACHINE_PAGE      0x1000ull
#define MACHINE_NOTHING   UINT64_MAX
#define MACHINE_REGISTERS 0x0a000000ull  /**< guest physical: virtio-mmio */
#define MACHINE_BAR       0x120000000ull /**< where firmware puts the BAR */
#define MACHINE_BDF       0x18u
#define MACHINE_SECOND    1000000000ull

/** The memory of a guest, and registers of another device of its that can be mapped with MMIO. */
#define MACHINE_MEMORY         FAKE_OS_MEMORY_BASE
#define MACHINE_MEMORY_PAGES   (FAKE_OS_MEMORY_SIZE / MACHINE_PAGE)
#define MACHINE_OTHER          0x40000000ull
#define MACHINE_OTHER_SIZE     0x100000ull
#define MACHINE_WINDOW         24u /**< pages from address 0 on that are tried by default */
#define MACHINE_IDENTITY_PAGES 3u  /**< of machine->memory that are tried by their own addresses */

enum {
    MACHINE_MAX_GUESTS = 2,
    MACHINE_MAX_ENDPOINTS = 6,
    MACHINE_MAX_DOMAINS = 6,
    MACHINE_MAX_FAULTS = 64, /**< that are kept */
    MACHINE_MAX_TOLD = 256,  /**< mappings that a software endpoint knows of */
    MACHINE_DMA_PAGES = 64,  /**< pages of test data, for devices */
    MACHINE_RECENT = 64,     /**< accesses of the device that are remembered */
    MACHINE_MESSAGES = 3,    /**< vectors that a device with MSI-X has */
};

/** What the guest knows the nth device, and the nth software endpoint, by. */
#define MACHINE_DEVICE(number)   (0x10u + (number))
#define MACHINE_SOFTWARE(number) (0x80u + (number))

/** Over which registers a driver reaches the device, and how it is interrupted. */
enum machine_connection {
    MACHINE_MMIO,
    MACHINE_PCI_LINE,
    MACHINE_PCI_MESSAGE,  /**< one message for all */
    MACHINE_PCI_MESSAGES, /**< one for the configuration and one for queues */
    MACHINE_CONNECTIONS,
};

struct machine_options {
    enum machine_connection connection;
    uint64_t ring_features; /**< of the device: 0 is its default */
    unsigned int devices;   /**< passed through; all of a hypervisor's guests: 8 */
    unsigned int software;  /**< emulated */
    uint64_t pages;         /**< of memory that devices may use, from the first on; 0: all */
    uint64_t fragment;      /**< pages of guest memory that are contiguous; 0: 16 */
    unsigned int window;    /**< pages from address 0 on that are tried; 0: MACHINE_WINDOW */
    bool bypass;            /**< can be bypassed */
    bool starts_bypassed;
    bool sleeps;     /**< the driver's waits end with an interrupt */
    bool eager;      /**< services follow each access to registers, too */
    uint32_t budget; /**< of each service; 0: random and small */
    uint32_t seed;
    enum piommu_unknown_ids unknown_ids; /**< the driver's policy */
    uint64_t timeout;                    /**< the driver's; 0: 50 ms */
    /** Regions of endpoint 0. */
    const struct piommu_reserved_region *regions;
    size_t region_count;
    void (*adjust)(struct piommu_viommu_device_config *config);
};

struct viommu_machine;

/** A mapping that a software endpoint was told of. */
struct machine_told {
    struct piommu_range iova;
    uint64_t guest;
    piommu_prot prot;
};

struct machine_endpoint {
    struct viommu_machine *machine;
    uint32_t id;
    bool is_device;
    unsigned int number;                     /**< of the hardware's device */
    struct piommu_viommu_endpoint *endpoint; /**< NULL: it was removed */
    struct machine_told told[MACHINE_MAX_TOLD];
    unsigned int told_count;
};

/** The hypervisor. */
struct viommu_host {
    struct viommu_hardware *hardware;
    struct viommu_machine *machines[MACHINE_MAX_GUESTS];
    unsigned int machine_count;
    bool looking;          /**< devices are trying */
    unsigned int patience; /**< may be set: they try after as many changes only */
    unsigned int changes;  /**< changes since they have tried last */
};

/** An access of the device to memory. */
struct machine_access {
    uint64_t address;
    size_t size;
};

struct viommu_machine {
    struct viommu_host *host;
    struct machine_options options;
    unsigned int number; /**< which guest this is */
    struct fake_os *os;  /**< the guest's */
    uint64_t memory;     /**< guest physical address of MACHINE_DMA_PAGES pages of its */

    /* The hypervisor's side. */
    struct piommu_viommu_device_config config; /**< as the device was made */
    struct piommu_viommu_device *device;
    struct piommu_viommu *engine;
    struct piommu_virtio_front *front;
    struct piommu_domain *bypass;
    struct machine_endpoint endpoints[MACHINE_MAX_ENDPOINTS];
    unsigned int endpoint_count;
    bool work; /**< a service is due */
    bool idle; /**< may be set: nobody services */
    uint64_t random;
    uint64_t services; /**< calls so far */
    uint8_t *granted;  /**< by page of memory: what translate has allowed so far */
    bool other_granted;
    bool fail_translation; /**< may be set: translate refuses all */
    uint64_t accesses;     /**< to the guest's memory, in this service */
    uint64_t translations;
    struct machine_access recent[MACHINE_RECENT];
    unsigned int recent_count;

    /** May be set: called before each access of a register, and in each wait of the guest. */
    void (*meddle)(struct viommu_machine *machine);
    /** May be set: changes what the device reads of memory. */
    void (*tamper)(struct viommu_machine *machine, uint64_t address, uint8_t *bytes, size_t size);
    void *test_data;

    /* Between both. */
    bool line;
    bool interrupted; /**< since the driver has slept last */
    unsigned int messages_pending;
    unsigned int messages; /**< sent so far */
    struct piommu_virtio_message last_message;
    unsigned int lines; /**< how often the line went high */
    bool decoded;
    uint64_t bar;

    /* The guest's side. */
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *devices[MACHINE_MAX_ENDPOINTS]; /**< by endpoint */
    struct piommu_domain *domains[MACHINE_MAX_DOMAINS];
    bool more; /**< the interrupt handler wants a service of the instance */
    struct piommu_fault faults[MACHINE_MAX_FAULTS];
    unsigned int fault_count;
};

/** A hypervisor over that hardware, which becomes its own. */
struct viommu_host *machine_host_open(struct viommu_hardware *hardware);
/** All guests are gone. */
void machine_host_close(struct viommu_host *host);

/** Makes a guest, with its device and endpoints, and what firmware does; nothing runs in it. */
struct viommu_machine *machine_open(struct viommu_host *host,
                                    const struct machine_options *options);
/** The same with a hypervisor of its own, of mock units, which goes with it. */
struct viommu_machine *machine_open_alone(enum viommu_hardware_kind kind,
                                          const struct machine_options *options);
/** Takes a guest down that has been shut, or was never booted; checks that nothing is left. */
void machine_close(struct viommu_machine *machine);
void machine_close_alone(struct viommu_machine *machine);

/* ---- The hypervisor's task, and its firmware ---- */

/** Services once, if there is something to do. */
void machine_service(struct viommu_machine *machine);
/** Services until there is nothing more; the test fails if that never comes. */
void machine_settle(struct viommu_machine *machine);
/** What the device is made of. */
void machine_describe(struct viommu_machine *machine, struct piommu_viommu_device_config *config,
                      struct piommu_virtio_front_pci_config *pci);
/** Puts the BAR where it was, and switches decoding and mastering on. */
void machine_place_bar(struct viommu_machine *machine);
/** The whole guest is reset, and firmware has run. What ran in it is still to be shut. */
void machine_system_reset(struct viommu_machine *machine);
/** Another device takes over, with the state of the one that there is. */
void machine_migrate(struct viommu_machine *machine);
/** Removes an endpoint, and adds it again. */
int machine_remove_endpoint(struct viommu_machine *machine, unsigned int number);
void machine_add_endpoint(struct viommu_machine *machine, unsigned int number);
struct piommu_viommu_statistics machine_statistics(const struct viommu_machine *machine);
/** Where memory of the guest is in the machine, and the other way round; or MACHINE_NOTHING. */
uint64_t machine_place_of(const struct viommu_machine *machine, uint64_t guest);
uint64_t machine_guest_of(const struct viommu_machine *machine, uint64_t place);

/** A driver's accesses that the guest's OS does not know of. */
uint64_t machine_read(struct viommu_machine *machine, uint64_t offset, unsigned int width);
void machine_write(struct viommu_machine *machine, uint64_t offset, unsigned int width,
                   uint64_t value);
/** The device status, and a write to it. */
uint8_t machine_status(const struct viommu_machine *machine);
void machine_write_status(struct viommu_machine *machine, uint8_t value);
void machine_notify(struct viommu_machine *machine, uint16_t queue);
/** The field of the configuration. */
uint8_t machine_bypass(struct viommu_machine *machine);
void machine_write_bypass(struct viommu_machine *machine, uint8_t value);

/* ---- The guest ---- */

/** What the driver asks the device to interrupt with; the last one is for queues. */
struct piommu_virtio_message machine_message(unsigned int number);
/** Starts the library's driver in the guest; returns what creating its instance did. */
int machine_boot(struct viommu_machine *machine);
/** The same with all endpoints as devices and `domains` paging domains; has to work. */
void machine_boot_fully(struct viommu_machine *machine, unsigned int domains);
/** Adds an endpoint as a device. */
int machine_add_device(struct viommu_machine *machine, unsigned int endpoint);
/** Takes down what runs, however the instance is. */
void machine_shut(struct viommu_machine *machine);
/** Lets the interrupt handler run if there was one, and what it asks for. */
void machine_interrupts(struct viommu_machine *machine);
enum piommu_instance_state machine_state(const struct viommu_machine *machine);

/** Calls of the guest's core that have to work. */
void machine_map(struct viommu_machine *machine, unsigned int domain, uint64_t iova, uint64_t page,
                 uint64_t pages, piommu_prot prot);
void machine_unmap(struct viommu_machine *machine, unsigned int domain, uint64_t iova,
                   uint64_t pages);
void machine_attach(struct viommu_machine *machine, unsigned int endpoint, unsigned int domain);
void machine_detach(struct viommu_machine *machine, unsigned int endpoint);
/** Unmaps and syncs; the first error. */
int machine_try_unmap(struct viommu_machine *machine, unsigned int domain, uint64_t iova,
                      uint64_t size);

/** Where DMA of an endpoint gets to, as guest physical address; or MACHINE_NOTHING. */
uint64_t machine_reached(struct viommu_machine *machine, unsigned int endpoint, uint64_t iova,
                         bool write);
/** The same; what gets nowhere is reported as hardware does. */
uint64_t machine_dma(struct viommu_machine *machine, unsigned int endpoint, uint64_t iova,
                     bool write);
/** All endpoints reach nothing. */
void machine_expect_nothing(struct viommu_machine *machine);
/** All endpoints reach exactly what the guest's core has mapped for them. */
void machine_expect_exactly(struct viommu_machine *machine);

#endif
