/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include "guest.h"

#include "machine.h"
#include "transcript.h"

#include <string.h>

static uint8_t *take_memory(size_t size)
{
    uint8_t *memory = machine_pages_alloc(size, size);

    must(memory != NULL ? 0 : -PIOMMU_ENOMEM, "memory for a guest");
    return memset(memory, 0, size);
}

void guest_create(struct guest *guest, const struct guest_config *config)
{
    struct piommu_instance *instance = config->instance;
    struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING,
                                          .instances = &instance,
                                          .instance_count = 1,
                                          .name = config->domain_name,
                                          .owner = guest};
    size_t image_size = (size_t)(config->image_end - config->image);

    memset(guest, 0, sizeof(*guest));
    guest->name = config->name;
    guest->stray_dma = config->stray_dma;
    guest->console.name = config->name;
    guest->ram = take_memory(GUEST_RAM_SIZE);
    must(image_size <= GUEST_RAM_SIZE ? 0 : -PIOMMU_ENOSPC, "an image for a guest");
    memcpy(guest->ram, config->image, image_size);
    /* The guest fetches from what was written as data (Arm ARM B2.2.5). QEMU has no caches. */
    __asm__ volatile("dsb sy; ic ialluis; dsb ish; isb" ::: "memory");

    stage2_create(&guest->stage2, config->geometry, config->vmid);
    must(piommu_domain_create(&domain, &guest->domain), "creating a domain");
    guest_map_ram(guest);
    must(mmio_add(&guest->mmio, GUEST_UART, GUEST_UART_SIZE, console_access, &guest->console),
         "a console");
    cpu_reset(&guest->cpu, GUEST_RAM, 0);
}

void guest_destroy(struct guest *guest)
{
    guest_unmap_all(guest);
    must(piommu_domain_destroy(guest->domain), "destroying a domain");
    stage2_destroy(&guest->stage2);
    machine_pages_free(guest->ram, GUEST_RAM_SIZE);
    for (unsigned int slot = 0; slot < GUEST_SLOTS; slot++) {
        machine_pages_free(guest->slots[slot], GUEST_PAGE_SIZE);
    }
}

void guest_tell(struct guest *guest, enum guest_event event, uint64_t argument)
{
    if (guest->state == GUEST_STOPPED) {
        return;
    }
    if (guest->news_count == GUEST_EVENTS) {
        guest_stop(guest, "it does not listen");
        return;
    }
    guest->news[(guest->news_first + guest->news_count++) % GUEST_EVENTS] =
        (struct guest_news){.event = event, .argument = argument};
    guest->state = GUEST_RUNNABLE;
}

struct guest_news guest_take_news(struct guest *guest)
{
    struct guest_news news = {.event = EVENT_NONE};

    if (guest->news_count != 0) {
        news = guest->news[guest->news_first];
        guest->news_first = (guest->news_first + 1) % GUEST_EVENTS;
        guest->news_count--;
    }
    return news;
}

void guest_stop(struct guest *guest, const char *why)
{
    guest->state = GUEST_STOPPED;
    machine_printf("     guest %s is stopped: %s (pc 0x%llx)\n", guest->name, why,
                   (unsigned long long)guest->cpu.frame.pc);
}
