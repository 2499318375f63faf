/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

#include <piommu/error.h>
#include <piommu/version.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const int all_errors[] = {
    PIOMMU_EINVAL,    PIOMMU_ERANGE,  PIOMMU_EEXIST,  PIOMMU_ENOENT,    PIOMMU_EBUSY,
    PIOMMU_ECUT,      PIOMMU_EGROUP,  PIOMMU_EMIXED,  PIOMMU_ERESERVED, PIOMMU_EOPNOTSUPP,
    PIOMMU_ENOMEM,    PIOMMU_ENOSPC,  PIOMMU_EBADMSG, PIOMMU_ENODEV,    PIOMMU_EIO,
    PIOMMU_ETIMEDOUT, PIOMMU_EFAILED, PIOMMU_EBLOCKED};

static void test_every_error_has_its_own_value_and_text(void **state)
{
    const size_t count = sizeof(all_errors) / sizeof(all_errors[0]);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_true(all_errors[i] > 0);
        assert_string_not_equal(piommu_strerror(all_errors[i]), piommu_strerror(12345));
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(all_errors[i], all_errors[j]);
            assert_string_not_equal(piommu_strerror(all_errors[i]), piommu_strerror(all_errors[j]));
        }
    }
}

static void test_the_sign_of_an_error_does_not_matter_for_its_text(void **state)
{
    (void)state;
    assert_string_equal(piommu_strerror(-PIOMMU_ENOMEM), piommu_strerror(PIOMMU_ENOMEM));
    assert_string_equal(piommu_strerror(0), "success");
    assert_non_null(piommu_strerror(-2147483647 - 1));
}

static void test_the_version_is_that_of_the_headers(void **state)
{
    char version[32];

    (void)state;
    snprintf(version, sizeof(version), "%d.%d.%d", PIOMMU_VERSION_MAJOR, PIOMMU_VERSION_MINOR,
             PIOMMU_VERSION_PATCH);
    assert_string_equal(piommu_version(), version);
    assert_string_equal(PIOMMU_VERSION_STRING, version);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_its_own_value_and_text),
        cmocka_unit_test(test_the_sign_of_an_error_does_not_matter_for_its_text),
        cmocka_unit_test(test_the_version_is_that_of_the_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
