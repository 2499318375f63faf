/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The sample on the kernel, with a virtio-iommu and a device that does DMA. Two tasks map and unmap
 * for themselves; what the IOMMU refuses comes by its interrupt, and by the task that services it.
 * Every claim is checked by what the device did to memory.
 */

#include "board.h"
#include "edu.h"
#include "sample.h"
#include "transcript.h"

#include <piommu/fdt.h>
#include <piommu/virtio-iommu.h>

#include <libfdt.h>
#include <queue.h>
#include <string.h>

#define PAGE            MACHINE_PAGE_SIZE
#define IOVA            0x01234000u
#define COPY_IOVA       0x02468000u
#define NEIGHBOUR_IOVA  0x40000000u
#define STACK_WORDS     (configMINIMAL_STACK_SIZE * 4u)
#define COPY_SIZE       3072u
#define PIECE           4u /* a refused access is reported in such pieces */
#define FEW             4u
#define MANY            (2u * SAMPLE_BUDGET) /* more than the handler takes in */
#define UNTOUCHED       0x5a
#define MILLISECOND     1000000u
#define REPORT_PATIENCE ((TickType_t)(10u * configTICK_RATE_HZ))

static struct sample sample;
static struct piommu_virtio_iommu_config place;
static struct edu edu;
static uint32_t endpoint;
static QueueHandle_t reports;
static _Alignas(4096) uint8_t source[PAGE];
static _Alignas(4096) uint8_t target[PAGE];

/* ---- A task that has nothing to do with the device's ---- */

static _Alignas(4096) uint8_t neighbours[PAGE];
static atomic_uint rounds;
static atomic_uint round_errors;
static atomic_bool stop;
static atomic_bool stopped;

/* Of the same priority, so that the kernel switches between the two in the middle of anything. */
static void neighbour_task(void *parameter)
{
    (void)parameter;
    while (!atomic_load(&stop)) {
        bool right = sample_map(&sample, NEIGHBOUR_IOVA, machine_physical(neighbours), PAGE) == 0 &&
                     sample_unmap(&sample, NEIGHBOUR_IOVA, PAGE) == 0;

        atomic_fetch_add(right ? &rounds : &round_errors, 1);
    }
    atomic_store(&stopped, true);
    vTaskDelete(NULL);
}

/* ---- Finding ---- */

static void find_places(struct piommu_freertos *port)
{
    const char *const *compatible = piommu_virtio_iommu_backend()->compatible;
    const void *blob = machine_device_tree();
    struct piommu_fdt_iommu iommu;
    struct piommu_fdt_id id;
    struct piommu_fdt tree;
    uint16_t bdf;

    must(piommu_fdt_open(&tree, piommu_freertos_host(port), blob, fdt_totalsize(blob)),
         "reading the device tree");
    must(piommu_fdt_next_iommu(&tree, compatible, -1, &iommu), "finding a virtio-iommu");
    must(iommu.is_pci ? 0 : -PIOMMU_ENODEV, "finding it behind PCI");
    place.pci.bdf = iommu.pci_bdf;
    must(machine_pci_find(EDU_VENDOR, EDU_DEVICE, &bdf) == 0 ? 0 : -PIOMMU_ENODEV, "finding edu");
    must(piommu_fdt_pci_id(&tree, iommu.host_bridge, machine_pci_requester(bdf), &id),
         "looking up the ID of edu");
    endpoint = id.cells[0];
    piommu_fdt_close(&tree);
    must(edu_start(&edu, bdf) == 0 ? 0 : -PIOMMU_ENODEV, "starting edu");
}

/* ---- The IOMMU's interrupt ---- */

static unsigned int intid;

static void on_interrupt(void *cookie)
{
    sample_interrupt(cookie);
}

static void on_mask(void *cookie, bool masked)
{
    (void)cookie;
    if (masked) {
        machine_interrupt_disable(intid);
    } else {
        machine_interrupt_enable(intid, false);
    }
}

/* In the task that services the unit. */
static void on_report(void *cookie, const struct piommu_fault *fault)
{
    (void)cookie;
    (void)xQueueSend(reports, fault, 0);
}

/* Whether the next reports are one for each piece of a range, in order, and nothing comes after. */
static bool are_reported(uint64_t iova, unsigned int pieces)
{
    struct piommu_fault fault;

    for (unsigned int i = 0; i < pieces; i++) {
        if (xQueueReceive(reports, &fault, REPORT_PATIENCE) != pdTRUE || !fault.id_valid ||
            fault.id != endpoint || !fault.iova_valid || fault.iova != iova + i * PIECE) {
            return false;
        }
    }
    return xQueueReceive(reports, &fault, configTICK_RATE_HZ / 10u) != pdTRUE;
}

/* ---- The checks ---- */

static bool is_filled(const uint8_t *memory, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != value) {
            return false;
        }
    }
    return true;
}

static void write_refused(uint64_t iova, unsigned int pieces)
{
    must(edu_dma_from_device(&edu, 0, iova, (size_t)pieces * PIECE) == 0 ? 0 : -PIOMMU_EIO,
         "a DMA of the device");
}

static void scheduling(void)
{
    const TickType_t ticks = 50;
    uint64_t start;
    uint64_t passed;

    section("The kernel runs");
    vTaskDelay(1);
    start = machine_now();
    vTaskDelay(ticks);
    passed = (machine_now() - start) / MILLISECOND;
    check(passed >= ticks - 1, "a delay of %u ticks has taken no less time", (unsigned int)ticks);
}

static void open_all(const struct piommu_freertos_board *board)
{
    const struct sample_hardware hardware = {
        .root = {.backend = piommu_virtio_iommu_backend(), .config = &place},
        .id = endpoint,
        /* The IOMMU is another program's thread: more patience than hardware needs. */
        .timeout = 2000000000,
        .mask = on_mask,
        .report = on_report,
        .cookie = &sample,
    };

    must(machine_pci_interrupt(place.pci.bdf, &intid) == 0 ? 0 : -PIOMMU_ENODEV,
         "finding the interrupt of the IOMMU");
    board_set_handler(intid, on_interrupt, &sample);
    must(sample_open(&sample, board, &hardware), "starting the IOMMU");
    check(true, "the IOMMU runs, with interrupt %u; the device is in a domain of its own", intid);
}

static void nothing_mapped(void)
{
    section("Nothing is mapped");
    memset(target, UNTOUCHED, PAGE);
    write_refused(machine_physical(target), FEW);
    check(is_filled(target, PAGE, UNTOUCHED), "DMA to the physical address 0x%llx does not arrive",
          (unsigned long long)machine_physical(target));
    check(are_reported(machine_physical(target), FEW), "%u reports of it have come to a task", FEW);
}

static void mapped(void)
{
    section("Mapped: RAM -> device -> RAM, through the IOMMU");
    for (size_t i = 0; i < PAGE; i++) {
        source[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
    }
    check(sample_map(&sample, IOVA, machine_physical(source), PAGE) == 0 &&
              sample_map(&sample, COPY_IOVA, machine_physical(target), PAGE) == 0,
          "two pages are mapped, at IOVAs 0x%x and 0x%x", IOVA, COPY_IOVA);
    must(edu_dma_to_device(&edu, IOVA, 0, COPY_SIZE) == 0 ? 0 : -PIOMMU_EIO, "RAM -> device");
    must(edu_dma_from_device(&edu, 0, COPY_IOVA, COPY_SIZE) == 0 ? 0 : -PIOMMU_EIO,
         "device -> RAM");
    check(memcmp(source, target, COPY_SIZE) == 0 &&
              is_filled(target + COPY_SIZE, PAGE - COPY_SIZE, UNTOUCHED),
          "%u bytes have arrived, and no others", COPY_SIZE);
    check(atomic_load(&sample.faults) == FEW, "no fault was reported meanwhile");
}

static void unmapped(void)
{
    unsigned int interrupts = atomic_load(&sample.interrupts);
    unsigned int left_over = atomic_load(&sample.left_over);

    section("Unmapped: gone, and reported");
    memset(target, UNTOUCHED, PAGE);
    check((told("forget-unmap") || sample_unmap(&sample, COPY_IOVA, PAGE) == 0) &&
              sample_unmap(&sample, IOVA, PAGE) == 0,
          "the pages are unmapped");
    write_refused(COPY_IOVA, FEW);
    check(is_filled(target, PAGE, UNTOUCHED), "DMA to IOVA 0x%x does not arrive", COPY_IOVA);
    check(are_reported(COPY_IOVA, FEW), "%u reports of it have come to a task", FEW);
    check(atomic_load(&sample.interrupts) > interrupts, "by an interrupt of the IOMMU");

    write_refused(COPY_IOVA, MANY);
    check(is_filled(target, PAGE, UNTOUCHED), "nor does a larger one");
    check(are_reported(COPY_IOVA, MANY),
          "%u reports of it, more than the handler takes in at once, have come to a task", MANY);
    check(atomic_load(&sample.left_over) > left_over,
          "the handler has masked the interrupt, and left some of them to the task");
    write_refused(COPY_IOVA, 1);
    check(are_reported(COPY_IOVA, 1), "which lets it come again");
}

static void neighbour(void)
{
    section("The other task");
    atomic_store(&stop, true);
    while (!atomic_load(&stopped)) {
        vTaskDelay(1);
    }
    check(atomic_load(&rounds) != 0 && atomic_load(&round_errors) == 0,
          "it has mapped and unmapped meanwhile, again and again, and no call has failed");
    machine_printf("     %u times; %u interrupts of the IOMMU\n", atomic_load(&rounds),
                   atomic_load(&sample.interrupts));
}

static void application_task(void *parameter)
{
    static struct piommu_freertos port;
    struct piommu_freertos_board board;
    size_t heap;

    (void)parameter;
    /* libfdt is compiled for systems where everybody may use these registers. */
    portTASK_USES_FLOATING_POINT();
    scheduling();
    board_describe(&board);
    must(piommu_freertos_init(&port, &board), "making a port");
    find_places(&port);
    heap = xPortGetFreeHeapSize();
    open_all(&board);
    must(xTaskCreate(neighbour_task, "neighbour", STACK_WORDS, NULL, 1, NULL) == pdPASS
             ? 0
             : -PIOMMU_ENOMEM,
         "creating a task");
    nothing_mapped();
    mapped();
    unmapped();
    neighbour();
    check(sample_close(&sample) == 0, "all is taken down");
    /* Tasks that have ended are given back by the idle task. */
    vTaskDelay(configTICK_RATE_HZ / 10u);
    check(xPortGetFreeHeapSize() == heap && board_granules_taken() == 0,
          "and the kernel's heap and the memory for DMA are as before");
    edu_stop(&edu);
    machine_exit(summary());
}

int main(void)
{
    board_check();
    machine_printf("piommu %s on FreeRTOS %s, QEMU virt, EL%u, GICv%u\n", piommu_version(),
                   tskKERNEL_VERSION_NUMBER, machine_current_el(), machine_gic_version());
    reports = xQueueCreate(2u * MANY, sizeof(struct piommu_fault));
    if (reports == NULL ||
        xTaskCreate(application_task, "application", STACK_WORDS, NULL, 1, NULL) != pdPASS) {
        machine_fail("no memory for the tasks");
    }
    vTaskStartScheduler();
    machine_fail("the scheduler has ended");
}
