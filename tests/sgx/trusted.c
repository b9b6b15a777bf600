/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trusted.c -- the enclave of these tests: the generated trusted side, and its functions.
 *
 * With SHAPES_SDK it is a file of its own, as an SDK builds it. Without, one program holds both
 * sides over stand_in.c, and ecalls and the proxies of ocalls get other names here.
 */
#ifndef SHAPES_SDK
#define e_empty inside_e_empty
#define e_add inside_e_add
#define e_colour inside_e_colour
#define e_point inside_e_point
#define e_in inside_e_in
#define e_out inside_e_out
#define e_inout inside_e_inout
#define e_both inside_e_both
#define e_sized inside_e_sized
#define e_string inside_e_string
#define e_upper inside_e_upper
#define e_wstring inside_e_wstring
#define e_array inside_e_array
#define e_foreign inside_e_foreign
#define e_user inside_e_user
#define e_peek inside_e_peek
#define e_calls inside_e_calls
#define e_ocalls inside_e_ocalls
#define e_private inside_e_private
#define e_inside inside_e_inside
#define o_empty inside_o_empty
#define o_add inside_o_add
#define o_in inside_o_in
#define o_out inside_o_out
#define o_inout inside_o_inout
#define o_string inside_o_string
#define o_upper inside_o_upper
#define o_wstring inside_o_wstring
#define o_array inside_o_array
#define o_foreign inside_o_foreign
#define o_user inside_o_user
#define o_back inside_o_back
#define o_not_back inside_o_not_back

#include "stand_in.h"

#include <stdlib.h>

#define malloc stand_in_malloc
#define free stand_in_free

extern void *g_secret;
extern unsigned g_ran;
#endif

#include "shapes_t.c"

#include <ctype.h>

#ifdef SHAPES_SDK
#define stand_in_unfenced() false
static void *const g_secret = (void *)4096; /* outside, wherever the enclave is */
static unsigned g_ran;
#endif

/* For a host that hands in addresses of the enclave's own. */
static _Alignas(4096) uint8_t g_inside[3u << 20];

/* Everywhere: nothing was found to be outside without a fence behind it; what came is inside. */
static void here(const void *pointer, size_t size)
{
    if (stand_in_unfenced())
        abort();
    if (pointer != NULL && !sgx_is_within_enclave(pointer, size))
        abort();
    (void)__atomic_add_fetch(&g_ran, 1u, __ATOMIC_RELAXED);
}

void e_empty(void)
{
}

uint64_t e_add(uint64_t a, uint32_t b)
{
    here(NULL, 0);
    return a + b;
}

enum colour e_colour(enum colour c)
{
    return c == RED ? GREEN : RED;
}

struct point e_point(struct point p)
{
    struct point answer = {p.y, p.x};
    return answer;
}

uint32_t e_in(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    here(p, n);
    for (size_t i = 0; p != NULL && i < n; i++)
        sum += p[i];
    return sum;
}

/* The first half only: the rest has to arrive as zeros. */
void e_out(uint8_t *p, size_t n)
{
    here(p, n);
    for (size_t i = 0; p != NULL && i < n / 2u; i++)
        p[i] = (uint8_t)(i + 1u);
}

void e_inout(uint32_t *p, size_t n)
{
    here(p, n * sizeof *p);
    for (size_t i = 0; p != NULL && i < n; i++)
        p[i] *= 2u;
}

uint64_t e_both(const uint8_t *p, size_t s, size_t n)
{
    here(p, s * n);
    return p == NULL ? 0 : (uint64_t)p[0] + p[s * n - 1u];
}

int e_sized(const uint32_t *p, size_t n)
{
    here(p, n);
    return p == NULL ? -1 : (int)p[n / sizeof *p - 1u];
}

size_t e_string(const char *s)
{
    here(s, 1);
    return s == NULL ? 99u : strlen(s);
}

void e_upper(char *s)
{
    here(s, 1);
    for (; s != NULL && *s != 0; s++)
        *s = (char)toupper((unsigned char)*s);
}

size_t e_wstring(const wchar_t *s)
{
    here(s, sizeof *s);
    return s == NULL ? 99u : wcslen(s);
}

int e_array(int a[4], uint16_t b[2][3])
{
    here(a, 16);
    here(b, 12);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            b[i][j] = (uint16_t)(10 * i + j);
    return a[0] + a[3];
}

int e_foreign(handle_t h, key_t_ k)
{
    here(h, sizeof *h);
    here(k, 16);
    memset(k, (int)h->number, 16);
    return (int)h->number;
}

uint64_t e_user(void *p)
{
    return (uint64_t)(uintptr_t)p;
}

void e_peek(uint8_t *p, size_t n)
{
    here(p, n);
}

void e_private(void)
{
    here(NULL, 0);
}

uint64_t e_inside(void)
{
    return (uint64_t)(uintptr_t)g_inside;
}

/* n ocalls; their sum. */
uint64_t e_calls(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t answer = 0;
        if (o_add(&answer, i, 1) != SGX_SUCCESS)
            return UINT64_MAX;
        sum += answer;
    }
    return sum;
}

#define EXPECT(condition)    \
    do {                     \
        if (!(condition))    \
            return __LINE__; \
    } while (0)

/* Every ocall from inside; the line of the first surprise, or 0. */
int e_ocalls(void)
{
    uint64_t sum = 0;
    uint32_t small = 0;
    size_t length = 0;
    int answer = 0;
    EXPECT(o_empty() == SGX_SUCCESS);
    EXPECT(o_add(&sum, 40, 2) == SGX_SUCCESS && sum == 42);
    EXPECT(o_add(NULL, 40, 2) == SGX_SUCCESS);
    uint8_t bytes[33];
    memset(bytes, 1, sizeof bytes);
    EXPECT(o_in(&small, bytes, sizeof bytes) == SGX_SUCCESS && small == 33);
    EXPECT(o_in(&small, NULL, 5) == SGX_SUCCESS && small == 0);
    EXPECT(o_in(&small, bytes, 0) == SGX_SUCCESS && small == 0);
    EXPECT(o_out(bytes, sizeof bytes) == SGX_SUCCESS && bytes[0] == 1 && bytes[32] == 0);
    uint32_t numbers[5] = {1, 2, 3, 4, 5};
    EXPECT(o_inout(numbers, 5) == SGX_SUCCESS && numbers[4] == 10);
    EXPECT(o_inout(numbers, SIZE_MAX / 2u) == SGX_ERROR_INVALID_PARAMETER);
    EXPECT(o_out((uint8_t *)g_secret, 16) == SGX_ERROR_INVALID_PARAMETER); /* not inside */
    EXPECT(o_in(&small, bytes, SIZE_MAX - 8u) == SGX_ERROR_INVALID_PARAMETER);
    EXPECT(o_out(bytes, 17) == SGX_SUCCESS);
    uint8_t *large = (uint8_t *)malloc((size_t)2 << 20);
    EXPECT(large != NULL);
    sgx_status_t status = o_out(large, (size_t)2 << 20);
    free(large);
    /* The SDK takes it from the host's stack, where there may be as much. */
    EXPECT(status == SGX_ERROR_UNEXPECTED || status == SGX_SUCCESS);
    errno = 0;
    char text[] = "hello";
    EXPECT(o_string(&length, text) == SGX_SUCCESS && length == 5 && errno == 77);
    EXPECT(o_string(&length, NULL) == SGX_SUCCESS && length == 99);
    sgx_status_t upper = o_upper(text);
    if (memchr(text, 0, sizeof text) == NULL)
        abort();
    EXPECT(upper == SGX_SUCCESS && strcmp(text, "HELLO") == 0);
    wchar_t wide[] = L"wide";
    EXPECT(o_wstring(&length, wide) == SGX_SUCCESS && length == 4);
    int a[4] = {1, 2, 3, 4};
    uint16_t b[2][3];
    EXPECT(o_array(&answer, a, b) == SGX_SUCCESS && answer == 5 && b[1][2] == 12);
    struct thing thing = {9};
    key_t_ key;
    EXPECT(o_foreign(&answer, &thing, key) == SGX_SUCCESS && answer == 9 && key[15] == 9);
    EXPECT(o_user(&sum, &thing) == SGX_SUCCESS && sum == (uint64_t)(uintptr_t)&thing);
    EXPECT(o_back(&answer) == SGX_SUCCESS && answer == SGX_SUCCESS);
    EXPECT(o_not_back(&answer) == SGX_SUCCESS && answer == SGX_ERROR_ECALL_NOT_ALLOWED);
    return 0;
}
