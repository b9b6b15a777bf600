/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deep_trusted.c -- the enclave of deep_test.c: the generated trusted side, and its functions.
 *
 * One program holds both sides, so ecalls and the proxies of ocalls get other names here.
 */
#define e_sum inside_e_sum
#define e_change inside_e_change
#define e_array inside_e_array
#define e_sized inside_e_sized
#define e_ocalls inside_e_ocalls
#define o_sum inside_o_sum
#define o_change inside_o_change
#define o_sized inside_o_sized
#define o_plain inside_o_plain

#include "stand_in.h"

#include <stdlib.h>

/* The allocation that fails, counted from 1; 0: none. */
extern unsigned g_fail_at;
extern uint32_t g_outside[4];

static void *failing_malloc(size_t size)
{
    if (g_fail_at != 0 && --g_fail_at == 0)
        return NULL;
    return stand_in_malloc(size);
}

#define malloc failing_malloc
#define free stand_in_free
#include "deep_t.c"

/* Everywhere: nothing was found to be outside without a fence behind it; what came is inside. */
static void here(const void *pointer, size_t size)
{
    if (stand_in_unfenced())
        abort();
    if (pointer != NULL && !sgx_is_within_enclave(pointer, size))
        abort();
}

static void line_here(const struct line *l)
{
    here(l, sizeof *l);
    here(l->points, l->n * sizeof *l->points);
    here(l->raw, l->bytes);
    here(l->cells, l->width * l->height);
    if (((uintptr_t)l->points | (uintptr_t)l->raw | (uintptr_t)l->cells) % 16u != 0)
        abort();
}

static uint64_t sum_of(const struct line *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; l->points != NULL && i < l->n; i++)
        sum += l->points[i];
    for (size_t i = 0; l->raw != NULL && i < l->bytes; i++)
        sum += ((const uint8_t *)l->raw)[i];
    for (size_t i = 0; l->cells != NULL && i < l->width * l->height; i++)
        sum += l->cells[i];
    return sum;
}

/* What is NULL counts 1000000: nothing to copy is NULL too. */
uint64_t e_sum(const struct line *l)
{
    here(l, sizeof *l);
    if (l == NULL)
        return 99;
    line_here(l);
    uint64_t missing = (uint64_t)(l->points == NULL) + (l->raw == NULL) + (l->cells == NULL);
    return sum_of(l) + missing * 1000000u + (uint64_t)(uintptr_t)l->loose;
}

static uint32_t *g_own;

int e_change(struct line *a, size_t k, int how)
{
    int had = 0;
    here(a, k * sizeof *a);
    for (size_t i = 0; a != NULL && i < k; i++) {
        struct line *l = &a[i];
        line_here(l);
        l->tag = -l->tag;
        had += (int)l->n;
        for (uint32_t j = 0; l->points != NULL && j < l->n; j++)
            l->points[j] *= 2u;
        if (l->raw != NULL)
            ((uint8_t *)l->raw)[0] = 'R';
        if (how == 1)
            l->n = 1;
        if (how == 2)
            l->n++;
        if (how == 3) {
            g_own = (uint32_t *)stand_in_malloc(4 * sizeof *g_own);
            for (uint32_t j = 0; j < 4; j++)
                g_own[j] = 70 + j;
            l->points = g_own;
        }
        if (how == 4)
            l->points = g_outside;
        if (how == 5)
            l->points = NULL;
        if (how == 6) {
            l->width = (size_t)1 << 40;
            l->height = (size_t)1 << 40;
        }
        if (how == 7) {
            stand_in_free(g_own);
            g_own = NULL;
        }
    }
    return had;
}

uint32_t e_array(struct whole p[2])
{
    uint32_t sum = 0;
    here(p, 2 * sizeof *p);
    for (int i = 0; p != NULL && i < 2; i++) {
        here(p[i].p, p[i].n);
        for (size_t j = 0; p[i].p != NULL && j < p[i].n / 4u; j++)
            sum += p[i].p[j]++;
    }
    return sum;
}

uint32_t e_sized(const struct whole *p, size_t n)
{
    uint32_t sum = 0;
    here(p, n);
    for (size_t i = 0; i < n / sizeof *p; i++) {
        here(p[i].p, p[i].n);
        sum += p[i].p != NULL ? p[i].p[p[i].n / 4u - 1u] : 0;
    }
    return sum;
}

#define EXPECT(condition)    \
    do {                     \
        if (!(condition))    \
            return __LINE__; \
    } while (0)

static int change(int how, sgx_status_t expected)
{
    uint32_t points[4] = {1, 2, 3, 4};
    uint8_t raw[3] = {5, 6, 7};
    uint8_t cells[6] = {1, 1, 1, 1, 1, 1};
    uint32_t numbers[2] = {8, 9};
    struct line a[2] = {{1, 3, points, raw, 3, cells, 2, 3, (double *)(uintptr_t)64},
                        {2, 0, points, NULL, 9, cells, 2, 0, NULL}};
    struct whole area = {numbers, sizeof numbers};
    int answer = -1;
    errno = 0;
    EXPECT(o_change(&answer, a, 2, &area, how) == expected);
    EXPECT(a[0].points == points && a[0].raw == raw && a[0].cells == cells);
    EXPECT(a[0].loose == (double *)(uintptr_t)64);
    EXPECT(a[1].points == points && a[1].raw == NULL && a[1].cells == cells);
    EXPECT(points[3] == 4 && numbers[1] == 9);
    if (expected != SGX_SUCCESS) {
        EXPECT(answer == -1 && errno == 0 && a[0].tag == 1 && a[0].n == 3 && points[0] == 1);
        return 0;
    }
    EXPECT(answer == 12 && errno == 77 && a[0].tag == -1 && a[1].tag == -2);
    EXPECT(points[0] == 2 && raw[0] == 'R' && cells[5] == 1 && numbers[0] == 16);
    EXPECT(how != 1 || (a[0].n == 1 && points[1] == 2));
    EXPECT(how == 1 || (a[0].n == 3 && points[1] == 4));
    return 0;
}

/* Every ocall from inside; the line of the first surprise, or 0. */
int e_ocalls(int how)
{
    const sgx_status_t invalid = SGX_ERROR_INVALID_PARAMETER;
    uint64_t sum = 0;
    uint32_t small = 0;
    int answer = 0;
    uint32_t points[4] = {1, 2, 3, 4};
    uint8_t raw[3] = {5, 6, 7};
    struct line l = {1, 4, points, raw, 3, raw, 1, 2, NULL};
    if (how > 0)
        return change(how, how == 1 || how == 8 ? SGX_SUCCESS : invalid);
    EXPECT(change(0, SGX_SUCCESS) == 0);
    EXPECT(o_sum(&sum, &l) == SGX_SUCCESS && sum == 10 + 18 + 11);
    EXPECT(o_sum(&sum, NULL) == SGX_SUCCESS && sum == 99);
    l.n = 0;
    l.raw = NULL;
    l.bytes = SIZE_MAX;
    EXPECT(o_sum(&sum, &l) == SGX_SUCCESS && sum == 11 + 2000000u);
    EXPECT(o_change(&answer, NULL, 2, NULL, 0) == SGX_SUCCESS && answer == 0);
    EXPECT(o_change(&answer, &l, 0, NULL, 0) == SGX_SUCCESS && answer == 0);
    /* What a struct points to has to lie inside, whole, and at a size that there is. */
    l.raw = raw;
    l.bytes = 3;
    l.width = ((size_t)1 << 63) + 1u;
    EXPECT(o_sum(&sum, &l) == invalid);
    l.width = 1;
    l.points = g_outside;
    l.n = 4;
    EXPECT(o_sum(&sum, &l) == invalid);
    l.points = points;
    uint8_t *large = (uint8_t *)stand_in_malloc((size_t)2 << 20);
    EXPECT(large != NULL);
    l.raw = large;
    l.bytes = (size_t)2 << 20;
    EXPECT(o_sum(&sum, &l) == SGX_ERROR_UNEXPECTED);
    stand_in_free(large);
    l.raw = raw;
    l.bytes = 3;
    g_fail_at = 1;
    EXPECT(o_sum(&sum, &l) == SGX_ERROR_OUT_OF_MEMORY);
    struct whole p[2] = {{points, 16}, {points, 8}};
    EXPECT(o_sized(&small, p, sizeof p) == SGX_SUCCESS && small == 4 + 2);
    EXPECT(o_sized(&small, p, sizeof p - 8u) == invalid);
    p[1].n = 6;
    EXPECT(o_sized(&small, p, sizeof p) == invalid);
    EXPECT(o_plain(&small, points, 16) == SGX_SUCCESS && small == 10);
    EXPECT(o_plain(&small, points, 14) == invalid);
    return 0;
}
