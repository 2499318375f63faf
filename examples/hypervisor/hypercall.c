/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* What guests ask for. Arguments come from the guest, and may be anything. */

#include "hypervisor.h"

#include "machine.h"
#include "transcript.h"

static uint64_t count_check(struct guest *guest, bool holds, uint64_t address, uint64_t length)
{
    char text[HYPERCALL_TEXT_SIZE];
    size_t size = length < sizeof(text) ? (size_t)length : sizeof(text);

    if (!guest_read(guest, address, text, size)) {
        return HYPERCALL_REFUSED;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            text[i] = '?';
        }
    }
    check(holds, "guest %s: %.*s", guest->name, (int)size, text);
    return 0;
}

/* Another guest that has room for a page; *slot is set to where. */
static struct guest *find_room(struct hypervisor *hypervisor, const struct guest *giver,
                               unsigned int *slot)
{
    for (unsigned int i = 0; i < GUESTS; i++) {
        struct guest *guest = &hypervisor->guests[i];

        for (*slot = 0; guest != giver && guest->state != GUEST_STOPPED && *slot < GUEST_SLOTS;
             (*slot)++) {
            if (guest->slots[*slot] == NULL) {
                return guest;
            }
        }
    }
    return NULL;
}

/* Here the page goes to the other guest at once. */
static uint64_t give_page(struct hypervisor *hypervisor, struct guest *guest, uint64_t address)
{
    unsigned int slot = guest_slot_at(address);
    unsigned int room;
    struct guest *other = find_room(hypervisor, guest, &room);
    uint8_t *page;

    if (slot == GUEST_SLOTS || guest->slots[slot] == NULL || other == NULL ||
        !guest_take_page(guest, slot, &page)) {
        return HYPERCALL_REFUSED;
    }
    guest_put_page(other, room, page);
    guest_tell(other, EVENT_PAGE, guest_slot_address(room));
    machine_printf("     hypervisor: the page at 0x%llx of guest %s is at 0x%llx of guest %s now\n",
                   (unsigned long long)address, guest->name,
                   (unsigned long long)guest_slot_address(room), other->name);
    return 0;
}

bool hypercall_handle(struct hypervisor *hypervisor, struct guest *guest)
{
    uint64_t *x = guest->cpu.frame.x;
    struct guest_news news;

    switch (x[0]) {
    case HYPERCALL_YIELD:
        return false;
    case HYPERCALL_EVENT:
        news = guest_take_news(guest);
        x[0] = news.event;
        x[1] = news.argument;
        return true;
    case HYPERCALL_CHECK:
        x[0] = count_check(guest, x[1] != 0, x[2], x[3]);
        return true;
    case HYPERCALL_GIVE_PAGE:
        x[0] = give_page(hypervisor, guest, x[1]);
        return true;
    case HYPERCALL_STOP:
        guest_stop(guest, "it asked for it");
        return false;
    default:
        x[0] = HYPERCALL_REFUSED;
        return true;
    }
}
