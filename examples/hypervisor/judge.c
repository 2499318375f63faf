/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "judge.h"

#include "machine.h"
#include "transcript.h"

static uint64_t sum(uint64_t start, const uint8_t *memory, size_t size)
{
    const uint64_t *words = (const uint64_t *)(const void *)memory;

    for (size_t i = 0; i < size / sizeof(*words); i++) {
        start = (start ^ words[i]) * 0x100000001b3ull; /* as FNV-1a, by words */
    }
    return start;
}

uint64_t judge_memory(const struct guest *guest)
{
    uint64_t result = sum(0xcbf29ce484222325ull, guest->ram, GUEST_RAM_SIZE);

    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        if (guest->slots[slot] != NULL) {
            result = sum(result, guest->slots[slot], GUEST_PAGE_SIZE);
        }
    }
    return result;
}

#define NOWHERE UINT64_MAX

/* Three opinions of where an address leads. */
static uint64_t by_domain(const struct guest *guest, uint64_t address)
{
    struct piommu_translation found;

    return piommu_domain_lookup(guest->domain, address, &found) == 0 ? found.physical : NOWHERE;
}

static uint64_t by_table(const struct guest *guest, uint64_t address)
{
    return piommu_pgtable_translate(guest->stage2.table, address);
}

static uint64_t by_cpu(const struct guest *guest, uint64_t address)
{
    struct machine_par par;
    uint64_t raw;

    must(machine_stage2_translate(guest->stage2.vttbr, guest->stage2.vtcr, address, true, &raw),
         "a stage-2 walk");
    par = machine_par_decode(raw, address);
    return par.fault ? NOWHERE : par.physical;
}

static bool agree(const struct guest *guest, uint64_t address, const uint8_t *memory)
{
    uint64_t physical = memory == NULL ? NOWHERE : machine_physical(memory);

    return by_domain(guest, address) == physical && by_table(guest, address) == physical &&
           by_cpu(guest, address) == physical;
}

bool judge_views(const struct guest *guest)
{
    bool all = agree(guest, 0, NULL) && agree(guest, GUEST_UART, NULL) &&
               agree(guest, GUEST_RAM - GUEST_PAGE_SIZE, NULL) &&
               agree(guest, GUEST_RAM + GUEST_RAM_SIZE, NULL) &&
               agree(guest, GUEST_PAGES - GUEST_PAGE_SIZE, NULL) &&
               agree(guest, guest_slot_address(GUEST_SLOTS), NULL);

    for (uint64_t offset = 0; offset < GUEST_RAM_SIZE; offset += GUEST_PAGE_SIZE) {
        all = all && agree(guest, GUEST_RAM + offset, guest->ram + offset);
    }
    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        all = all && agree(guest, guest_slot_address(slot), guest->slots[slot]);
    }
    return all;
}

static bool overlaps(uint64_t physical, uint64_t size, const uint8_t *memory, uint64_t memory_size)
{
    uint64_t other = machine_physical(memory);

    return memory != NULL && physical < other + memory_size && other < physical + size;
}

static bool is_of(const struct guest *guest, uint64_t physical, uint64_t size)
{
    bool any = overlaps(physical, size, guest->ram, GUEST_RAM_SIZE);

    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        any = any || overlaps(physical, size, guest->slots[slot], GUEST_PAGE_SIZE);
    }
    return any;
}

/* All that the tables of one guest lead to, and nothing of it is the other's. */
static bool reaches_nothing_of(const struct guest *guest, const struct guest *other)
{
    struct piommu_translation found;
    uint64_t address;

    for (uint64_t from = 0;
         piommu_pgtable_next_leaf(guest->stage2.table, from, UINT64_MAX, &address, &found) == 0;
         from = address + found.leaf_size) {
        if (is_of(other, found.physical, found.leaf_size)) {
            return false;
        }
    }
    for (uint64_t from = 0;
         piommu_domain_next(guest->domain, from, UINT64_MAX, &address, &found) == 0;
         from = address + found.leaf_size) {
        if (is_of(other, found.physical, found.leaf_size)) {
            return false;
        }
    }
    return true;
}

bool judge_apart(const struct hypervisor *hypervisor)
{
    bool all = true;

    for (unsigned int i = 0; i < GUESTS; i++) {
        for (unsigned int j = 0; j < GUESTS; j++) {
            all = all &&
                  (i == j || reaches_nothing_of(&hypervisor->guests[i], &hypervisor->guests[j]));
        }
    }
    return all;
}

static bool contains(const uint8_t *memory, uint64_t memory_size, uint64_t physical, uint64_t size)
{
    uint64_t first = machine_physical(memory);

    return memory != NULL && physical >= first && size <= memory_size &&
           physical - first <= memory_size - size;
}

/* Each mapping is one of the guest's pages, or in its RAM. */
static bool has(const struct guest *guest, uint64_t physical, uint64_t size)
{
    bool any = contains(guest->ram, GUEST_RAM_SIZE, physical, size);

    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        any = any || contains(guest->slots[slot], GUEST_PAGE_SIZE, physical, size);
    }
    return any;
}

uint64_t judge_reach(const struct hypervisor *hypervisor, const struct guest *guest)
{
    struct piommu_device_info device;
    struct piommu_translation found;
    uint64_t bytes = 0;
    uint64_t address;

    piommu_device_get_info(hypervisor->edu.device, &device);
    if (device.domain == NULL) {
        return 0;
    }
    for (uint64_t from = 0;
         piommu_domain_next(device.domain, from, UINT64_MAX, &address, &found) == 0;
         from = address + found.leaf_size) {
        if (!has(guest, found.physical, found.leaf_size)) {
            return JUDGE_FOREIGN;
        }
        bytes += found.leaf_size;
    }
    return bytes;
}

bool judge_fault(const struct hypervisor *hypervisor, const struct guest *guest, uint64_t address,
                 uint64_t size)
{
    const struct iommu *iommu = &hypervisor->iommu;

    for (unsigned int i = 0; i < iommu->fault_count && i < IOMMU_FAULTS; i++) {
        const struct piommu_fault *fault = &iommu->faults[i];

        if (fault->device_owner == &hypervisor->edu && fault->domain_owner == guest &&
            fault->id == hypervisor->edu.endpoint && fault->iova_valid && fault->iova >= address &&
            fault->iova - address < size) {
            return true;
        }
    }
    return false;
}

void judge_print_fault(const struct iommu *iommu)
{
    const struct piommu_fault *fault = &iommu->faults[0];

    if (iommu->fault_count != 0) {
        machine_printf("     fault: %s in the domain of %s, address 0x%llx, %s (%u reports)\n",
                       fault->device_name == NULL ? "-" : fault->device_name,
                       fault->domain_name == NULL ? "-" : fault->domain_name,
                       (unsigned long long)fault->iova, piommu_fault_reason_name(fault->reason),
                       iommu->fault_count);
    }
}
