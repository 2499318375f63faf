/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The end of a run. Semihosting passes a status on, but QEMU offers it only with -semihosting; PSCI
 * always ends QEMU, with status 0.
 */

#include <libfdt.h>
#include <string.h>

#include "internal.h"
#include "machine.h"

/* Of "Semihosting for AArch32 and AArch64": the operation, and the reason for a normal end. */
#define SYS_EXIT_EXTENDED            0x20
#define ADP_STOPPED_APPLICATION_EXIT 0x20026

#define PSCI_SYSTEM_OFF 0x84000008u

static void semihosting_exit(int status)
{
    const uint64_t parameters[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint64_t)(status & 0xff)};
    register uint64_t operation __asm__("x0") = SYS_EXIT_EXTENDED;
    register const uint64_t *block __asm__("x1") = parameters;

    __asm__ volatile("hlt #0xf000" : "+r"(operation) : "r"(block) : "memory");
}

/* The device tree says by which instruction PSCI is called; SYSTEM_OFF does not return. */
static void psci_off(void)
{
    const void *tree = machine_device_tree();
    int node = tree == NULL ? -1 : fdt_path_offset(tree, "/psci");
    const char *method = node < 0 ? NULL : fdt_getprop(tree, node, "method", NULL);
    bool use_hvc = method != NULL && strcmp(method, "hvc") == 0;
    bool use_smc = method != NULL && strcmp(method, "smc") == 0;
    /* Last of all: a function call in between would use x0 for itself. */
    register uint64_t function __asm__("x0") = PSCI_SYSTEM_OFF;

    if (use_hvc) {
        __asm__ volatile("hvc #0" : "+r"(function)::"memory");
    } else if (use_smc) {
        __asm__ volatile("smc #0" : "+r"(function)::"memory");
    }
}

/* How many ways out were tried. */
static unsigned int tries;

bool machine_is_ending(void)
{
    return tries != 0;
}

void machine_exit(int status)
{
    /*
     * Each way may end in an exception, if QEMU does not offer it. The handler comes back here, and
     * the next way is tried.
     */
    tries++;
    if (tries == 1) {
        semihosting_exit(status);
    }
    if (tries <= 2) {
        psci_off();
    }
    for (;;) {
        __asm__ volatile("wfi");
    }
}

void machine_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    machine_printf("machine: ");
    machine_vprintf(format, arguments);
    machine_putc('\n');
    va_end(arguments);
    machine_exit(1);
}
