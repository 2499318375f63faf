/* SPDX-License-Identifier: BSD-2-Clause */
/* SPDX-FileCopyrightText: The piommu authors */

/*
 * The functions of a C library that compilers, libfdt and the library call. Plain loops; memcpy and
 * memset go by words where they can, because they move whole pages.
 */

#include <stdint.h>
#include <string.h>

/* gcc could see that the loop in memset is a memset, and make it call itself. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

/* A word that may lie over objects of any type. */
typedef uint64_t __attribute__((may_alias)) word;

static int is_aligned(const void *pointer)
{
    return (uintptr_t)pointer % sizeof(word) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    if (is_aligned(to) && is_aligned(from)) {
        for (; size >= sizeof(word); size -= sizeof(word)) {
            *(word *)(void *)t = *(const word *)(const void *)f;
            t += sizeof(word);
            f += sizeof(word);
        }
    }
    while (size-- > 0) {
        *t++ = *f++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    /* Wraps for to < from: then, and when they do not overlap, upwards is right. */
    if ((uintptr_t)to - (uintptr_t)from >= size) {
        while (size-- > 0) {
            *t++ = *f++;
        }
    } else {
        while (size-- > 0) {
            t[size] = f[size];
        }
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    unsigned char *t = to;
    unsigned char byte = (unsigned char)value;
    word pattern = byte * (UINT64_MAX / 255);

    if (is_aligned(to)) {
        for (; size >= sizeof(word); size -= sizeof(word)) {
            *(word *)(void *)t = pattern;
            t += sizeof(word);
        }
    }
    while (size-- > 0) {
        *t++ = byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a;
    const unsigned char *y = b;

    for (; size > 0; size--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}

void *memchr(const void *memory, int value, size_t size)
{
    const unsigned char *p = memory;

    for (; size > 0; size--, p++) {
        if (*p == (unsigned char)value) {
            return (void *)(uintptr_t)p;
        }
    }
    return NULL;
}

size_t strlen(const char *text)
{
    size_t length = 0;

    while (text[length] != '\0') {
        length++;
    }
    return length;
}

size_t strnlen(const char *text, size_t limit)
{
    size_t length = 0;

    while (length < limit && text[length] != '\0') {
        length++;
    }
    return length;
}

int strncmp(const char *a, const char *b, size_t limit)
{
    for (; limit > 0; limit--, a++, b++) {
        if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        }
        if (*a == '\0') {
            break;
        }
    }
    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

char *strchr(const char *text, int c)
{
    return memchr(text, c, strlen(text) + 1);
}

char *strrchr(const char *text, int c)
{
    size_t length = strlen(text) + 1;

    while (length-- > 0) {
        if (text[length] == (char)c) {
            return (char *)(uintptr_t)(text + length);
        }
    }
    return NULL;
}

/*
 * Debian's libfdt.a is compiled with the stack protector: its functions put the guard below the
 * return address and look at it before they return. A fixed value finds overruns; it does not stop
 * an attacker.
 */
extern uintptr_t __stack_chk_guard;
uintptr_t __stack_chk_guard = (uintptr_t)0x00a7d5c3e19b6f28;

_Noreturn void __stack_chk_fail(void);
_Noreturn void machine_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void __stack_chk_fail(void)
{
    machine_fail("a stack frame of libfdt was overrun");
}
