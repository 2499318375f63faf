/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/* The core as text, and the question who uses a piece of memory. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <piommu/piommu.h>

#include "device_ids.h"
#include "mock_backend.h"

#define PAGE  0x1000ull
#define BASE  0x40000000ull
#define PLACE 0x80000000ull
#define R     PIOMMU_PROT_READ
#define RW    (PIOMMU_PROT_READ | PIOMMU_PROT_WRITE)

struct bench {
    struct fake_os *os;
    struct mock *mock;
    struct piommu_context *context;
    struct piommu_instance *instance;
    struct piommu_device *devices[3];
    struct piommu_domain *domains[2];
    char text[4096];
};

static void take_line(void *cookie, const char *line)
{
    char *text = cookie;

    assert_true(strlen(line) < 160);
    strcat(text, line);
    strcat(text, "\n");
}

static struct bench *open_bench(enum piommu_backend_kind kind)
{
    static const uint32_t ids[3][2] = {{1, 2}, {5, 0}, {2, 0}};
    static const char *const names[] = {"disk", "net", "alias"};
    struct bench *bench = calloc(1, sizeof(*bench));
    struct piommu_instance_config instance = {.name = "mmu0"};

    bench->os = fake_os_create(NULL);
    bench->mock = mock_create(bench->os, kind);
    assert_int_equal(piommu_context_create(fake_os_host(bench->os), NULL, &bench->context), 0);
    assert_int_equal(piommu_instance_create(bench->context, mock_backend(bench->mock), &bench->mock,
                                            &instance, &bench->instance),
                     0);
    for (unsigned int i = 0; i < 3; i++) {
        struct device_ids room;
        struct piommu_device_config device = {.ids =
                                                  device_ids_of(&room, bench->instance, ids[i], 2),
                                              .id_count = i == 0 ? 2 : 1,
                                              .name = names[i]};

        assert_int_equal(piommu_device_add(bench->context, &device, &bench->devices[i]), 0);
    }
    for (unsigned int i = 0; i < 2; i++) {
        struct piommu_domain_config domain = {.type = PIOMMU_DOMAIN_PAGING,
                                              .instances = &bench->instance,
                                              .instance_count = 1,
                                              .name = i == 0 ? "guest" : NULL,
                                              .owner = &bench->domains[i]};

        assert_int_equal(piommu_domain_create(&domain, &bench->domains[i]), 0);
    }
    assert_int_equal(piommu_group_attach(piommu_device_group(bench->devices[0]), bench->domains[0]),
                     0);
    return bench;
}

static void close_bench(struct bench *bench)
{
    assert_int_equal(piommu_group_detach(piommu_device_group(bench->devices[0])), 0);
    for (unsigned int i = 0; i < 2; i++) {
        assert_int_equal(piommu_domain_destroy(bench->domains[i]), 0);
    }
    for (unsigned int i = 0; i < 3; i++) {
        assert_int_equal(piommu_device_remove(bench->devices[i]), 0);
    }
    assert_int_equal(piommu_instance_destroy(bench->instance), 0);
    assert_int_equal(piommu_context_destroy(bench->context), 0);
    fake_os_destroy(bench->os);
    mock_destroy(bench->mock);
    free(bench);
}

static enum piommu_backend_kind kind_of(void **state)
{
    return *(const enum piommu_backend_kind *)*state;
}

static void expect_line(const struct bench *bench, const char *line)
{
    char whole[200];

    snprintf(whole, sizeof(whole), "%s\n", line);
    if (strstr(bench->text, whole) == NULL) {
        fail_msg("no line \"%s\" in\n%s", line, bench->text);
    }
}

static void test_a_dump_shows_who_is_where(void **state)
{
    struct bench *bench = open_bench(kind_of(state));

    assert_int_equal(piommu_domain_map(bench->domains[0], BASE, PLACE, 2 * PAGE, RW), 0);
    piommu_context_dump(bench->context, take_line, bench->text);
    assert_ptr_equal(strstr(bench->text, "instance mmu0: "), bench->text);
    assert_non_null(strstr(bench->text, ", running, "));
    expect_line(bench, "device disk: group 0, in domain guest, IDs of mmu0: 0x1 0x2");
    expect_line(bench, "device net: group 1, blocked, IDs of mmu0: 0x5");
    expect_line(bench, "device alias: group 0, in domain guest, IDs of mmu0: 0x2");
    expect_line(bench, "domain guest: paging, 2 IDs, 0x2000 bytes mapped, maps 0x1, unmaps 0x0, "
                       "syncs 0x0, on mmu0");
    expect_line(bench, "domain -: paging, 0 IDs, 0x0 bytes mapped, maps 0x0, unmaps 0x0, syncs "
                       "0x0, on mmu0");
    close_bench(bench);
}

static void test_a_failed_instance_says_so(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_gather gather;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_domain_map(bench->domains[0], BASE, PLACE, PAGE, RW), 0);
    assert_int_equal(piommu_domain_unmap(bench->domains[0], BASE, PAGE, &gather, NULL), 0);
    mock_fail_call(bench->mock, 1, -PIOMMU_EIO, false);
    assert_int_equal(piommu_domain_sync(bench->domains[0], &gather), -PIOMMU_EFAILED);
    piommu_context_dump(bench->context, take_line, bench->text);
    assert_non_null(strstr(bench->text, ", failed, "));
    close_bench(bench);
}

static void test_mappings_are_shown_as_runs(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_domain *domain = bench->domains[0];

    assert_int_equal(piommu_domain_map(domain, BASE, PLACE, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(domain, BASE + PAGE, PLACE + PAGE, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(domain, BASE + 2 * PAGE, PLACE + 2 * PAGE, PAGE, R), 0);
    assert_int_equal(piommu_domain_map(domain, BASE + 3 * PAGE, PLACE, PAGE, R), 0);
    assert_int_equal(piommu_domain_map(domain, BASE + 5 * PAGE, PLACE + PAGE, PAGE, R), 0);
    assert_int_equal(piommu_domain_dump(domain, 0, UINT64_MAX, take_line, bench->text), 0);
    assert_string_equal(bench->text, "0x40000000 to 0x40001fff at 0x80000000, rw-, prot 0x3\n"
                                     "0x40002000 to 0x40002fff at 0x80002000, r--, prot 0x1\n"
                                     "0x40003000 to 0x40003fff at 0x80000000, r--, prot 0x1\n"
                                     "0x40005000 to 0x40005fff at 0x80001000, r--, prot 0x1\n");
    bench->text[0] = '\0';
    assert_int_equal(
        piommu_domain_dump(domain, BASE + 5 * PAGE, BASE + 5 * PAGE, take_line, bench->text), 0);
    assert_string_equal(bench->text, "0x40005000 to 0x40005fff at 0x80001000, r--, prot 0x1\n");
    assert_int_equal(piommu_domain_dump(domain, 1, 0, take_line, bench->text), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_dump(NULL, 0, 1, take_line, bench->text), -PIOMMU_EINVAL);
    close_bench(bench);
}

static void test_memory_that_is_mapped_is_found(void **state)
{
    struct bench *bench = open_bench(kind_of(state));
    struct piommu_gather gather;
    struct piommu_use use;

    piommu_gather_init(&gather);
    assert_int_equal(piommu_context_find_use(bench->context, 0, UINT64_MAX, &use), -PIOMMU_ENOENT);
    assert_int_equal(piommu_context_find_use(NULL, 0, 1, &use), -PIOMMU_EINVAL);
    assert_int_equal(piommu_context_find_use(bench->context, 1, 0, &use), -PIOMMU_EINVAL);
    assert_int_equal(piommu_domain_map(bench->domains[0], BASE, PLACE, PAGE, RW), 0);
    assert_int_equal(piommu_domain_map(bench->domains[1], BASE, PLACE + 4 * PAGE, PAGE, R), 0);
    assert_int_equal(
        piommu_context_find_use(bench->context, PLACE + 5 * PAGE - 1, PLACE + 9 * PAGE, &use), 0);
    assert_ptr_equal(use.domain, bench->domains[1]);
    assert_ptr_equal(use.domain_owner, &bench->domains[1]);
    assert_int_equal(use.iova, BASE);
    assert_int_equal(use.physical, PLACE + 4 * PAGE);
    assert_int_equal(use.size, PAGE);
    assert_int_equal(use.prot, R);
    assert_int_equal(
        piommu_context_find_use(bench->context, PLACE + PAGE, PLACE + 4 * PAGE - 1, NULL),
        -PIOMMU_ENOENT);
    assert_int_equal(piommu_context_find_use(bench->context, 0, PLACE, NULL), 0);
    assert_int_equal(piommu_domain_unmap(bench->domains[0], BASE, PAGE, &gather, NULL), 0);
    assert_int_equal(piommu_domain_sync(bench->domains[0], &gather), 0);
    assert_int_equal(piommu_context_find_use(bench->context, 0, PLACE, NULL), -PIOMMU_ENOENT);
    close_bench(bench);
}

int main(void)
{
    static enum piommu_backend_kind kinds[] = {PIOMMU_BACKEND_TABLES, PIOMMU_BACKEND_REQUESTS};
#define FOR_EACH_KIND(function)                                  \
    {#function " (tables)", function, NULL, NULL, &kinds[0]},    \
    {                                                            \
#function " (requests)", function, NULL, NULL, &kinds[1] \
    }
    const struct CMUnitTest tests[] = {
        FOR_EACH_KIND(test_a_dump_shows_who_is_where),
        FOR_EACH_KIND(test_a_failed_instance_says_so),
        FOR_EACH_KIND(test_mappings_are_shown_as_runs),
        FOR_EACH_KIND(test_memory_that_is_mapped_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
