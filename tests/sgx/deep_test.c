/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deep_test.c -- structs that are copied deep: what arrives, what comes back, and a host that lies.
 * Includes the generated untrusted side, to get at its marshalling structs.
 */
#define _GNU_SOURCE
#include "deep_u.c"

#include "check.h"
#include "stand_in.h"

unsigned g_fail_at;
uint32_t g_outside[4];

/* ---- ocalls ---------------------------------------------------------------------------------- */

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

uint64_t o_sum(const struct line *l)
{
    if (l == NULL)
        return 99;
    return sum_of(l) + ((uint64_t)(l->points == NULL) + (l->raw == NULL)) * 1000000u;
}

/* From 2 on: what a hostile host does; 8: what is harmless. */
int o_change(struct line *a, size_t k, struct whole *area, int how)
{
    errno = 77;
    if (a == NULL || area == NULL)
        return 0;
    CHECK_EQ(k, 2);
    CHECK(a[1].points == NULL && a[1].raw == NULL && a[1].cells == NULL);
    for (size_t i = 0; i < k; i++) {
        a[i].tag = -a[i].tag;
        for (uint32_t j = 0; a[i].points != NULL && j < a[i].n; j++)
            a[i].points[j] *= 2u;
    }
    ((uint8_t *)a[0].raw)[0] = 'R';
    area->p[0] *= 2u;
    if (how == 1)
        a[0].n = 1;
    if (how == 2)
        a[0].n = 4;
    if (how == 3)
        a[0].points = g_outside;
    if (how == 4)
        a[0].points = NULL;
    if (how == 5) {
        a[0].width = ((size_t)1 << 63) + 1u;
        a[0].height = 2; /* the product wraps to 2 */
    }
    if (how == 6)
        a[1].n = 1; /* nothing was sent there */
    if (how == 7)
        area->n = 6;
    if (how == 8)
        a[1].raw = g_outside; /* it was NULL, and stays it */
    return 12;
}

uint32_t o_sized(const struct whole *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n / sizeof *p; i++)
        sum += p[i].p[p[i].n / 4u - 1u];
    return sum;
}

uint32_t o_plain(const uint32_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n / sizeof *p; i++)
        sum += p[i];
    return sum;
}

/* ---- ecalls ---------------------------------------------------------------------------------- */

static uint32_t g_points[4];
static uint8_t g_raw[3];
static uint8_t g_cells[6];

static struct line fresh(void)
{
    struct line l = {7, 3, g_points, g_raw, 3, g_cells, 2, 3, NULL};
    for (uint32_t i = 0; i < 4; i++)
        g_points[i] = i + 1u;
    memset(g_raw, 5, sizeof g_raw);
    memset(g_cells, 1, sizeof g_cells);
    return l;
}

static void check_unchanged(const struct line *l)
{
    CHECK(l->tag == 7 && l->points == g_points && l->raw == g_raw && l->cells == g_cells);
}

static void every_ecall(void)
{
    uint64_t sum = 0;
    uint32_t small = 0;
    int answer = 0;
    struct line l = fresh();
    CHECK_EQ(e_sum(EID, &sum, &l), SGX_SUCCESS);
    CHECK_EQ(sum, 6 + 15 + 6);
    CHECK_EQ(e_sum(EID, &sum, NULL), SGX_SUCCESS);
    CHECK_EQ(sum, 99);
    l.loose = (double *)(uintptr_t)64; /* a pointer without size= or count= is only a number */
    l.n = 0;
    l.raw = NULL;
    l.bytes = SIZE_MAX;
    CHECK_EQ(e_sum(EID, &sum, &l), SGX_SUCCESS);
    CHECK_EQ(sum, 6 + 2000000 + 64);

    struct line a[3] = {fresh(), fresh(), fresh()};
    a[1].points = NULL;
    a[2].n = 0;
    a[2].raw = NULL;
    CHECK_EQ(e_change(EID, &answer, a, 3, 0), SGX_SUCCESS);
    CHECK_EQ(answer, 6);
    CHECK(a[0].tag == -7 && a[0].points == g_points && a[0].raw == g_raw);
    CHECK(a[1].tag == -7 && a[1].points == NULL && a[2].points == g_points && a[2].raw == NULL);
    CHECK(g_points[0] == 2 && g_points[2] == 6 && g_points[3] == 4 && g_raw[0] == 'R');
    CHECK_EQ(e_change(EID, &answer, NULL, 5, 0), SGX_SUCCESS);
    CHECK_EQ(e_change(EID, &answer, a, 0, 0), SGX_SUCCESS);
    CHECK_EQ(answer, 0);

    struct whole p[2] = {{g_points, 16}, {NULL, 6}};
    (void)fresh();
    CHECK_EQ(e_array(EID, &small, p), SGX_SUCCESS);
    CHECK_EQ(small, 10);
    CHECK(g_points[0] == 2 && g_points[3] == 5 && p[0].p == g_points && p[1].n == 6);
    CHECK_EQ(e_sized(EID, &small, p, sizeof p), SGX_SUCCESS);
    CHECK_EQ(small, 5);
    CHECK_EQ(e_ocalls(EID, &answer, 0), SGX_SUCCESS);
    CHECK_EQ(answer, 0);
    CHECK_EQ(stand_in_live(), 0);
}

TEST(test_structs_go_in_and_come_back_with_what_they_point_to)
{
    stand_in_start(2);
    every_ecall();
    stand_in_stop();
}

TEST(test_the_same_by_hot_calls)
{
    struct hc_sgx_options options = {.take_ns = UINT64_C(20000000)};
    stand_in_start(4);
    CHECK_EQ(deep_hot_start(EID, &options, NULL), SGX_SUCCESS);
    every_ecall();
    every_ecall();
    deep_hot_stop(EID);
    stand_in_stop();
}

TEST(test_what_the_enclave_changes_comes_back_as_far_as_it_fits)
{
    const sgx_status_t invalid = SGX_ERROR_INVALID_PARAMETER;
    int answer = 0;
    stand_in_start(2);
    struct line l = fresh();
    CHECK_EQ(e_change(EID, &answer, &l, 1, 1), SGX_SUCCESS);
    CHECK(l.n == 1 && g_points[0] == 2 && g_points[1] == 2); /* one of them came back */
    l = fresh();
    CHECK_EQ(e_change(EID, &answer, &l, 1, 2), invalid);
    check_unchanged(&l);
    CHECK_EQ(g_points[0], 1);
    l = fresh();
    CHECK_EQ(e_change(EID, &answer, &l, 1, 3), SGX_SUCCESS);
    CHECK(l.points == g_points && g_points[0] == 70 && g_points[2] == 72 && g_points[3] == 4);
    l = fresh();
    g_outside[0] = 123;
    CHECK_EQ(e_change(EID, &answer, &l, 1, 4), invalid);
    check_unchanged(&l);
    CHECK_EQ(g_points[0], 1);
    l = fresh();
    CHECK_EQ(e_change(EID, &answer, &l, 1, 5), SGX_SUCCESS);
    CHECK(l.points == g_points && g_points[0] == 1 && l.tag == -7);
    l = fresh();
    CHECK_EQ(e_change(EID, &answer, &l, 1, 6), invalid);
    check_unchanged(&l);
    CHECK_EQ(e_change(EID, &answer, &l, 1, 7), SGX_SUCCESS);
    CHECK_EQ(stand_in_live(), 0);
    stand_in_stop();
}

TEST(test_lies_in_structs_are_refused)
{
    const sgx_status_t invalid = SGX_ERROR_INVALID_PARAMETER;
    uint64_t sum = 0;
    uint32_t small = 0;
    int answer = 0;
    stand_in_start(2);
    uint8_t *inside = stand_in_malloc(64);
    struct line l = fresh();
    l.raw = inside;
    CHECK_EQ(e_sum(EID, &sum, &l), invalid);
    l.raw = inside - 1; /* runs into the enclave */
    CHECK_EQ(e_sum(EID, &sum, &l), invalid);
    l = fresh();
    l.bytes = SIZE_MAX;
    CHECK_EQ(e_sum(EID, &sum, &l), invalid);
    l = fresh();
    l.width = ((size_t)1 << 63) + 1u;
    l.height = 2;
    CHECK_EQ(e_sum(EID, &sum, &l), invalid);
    CHECK_EQ(e_change(EID, &answer, &l, SIZE_MAX / sizeof l + 2u, 0), invalid);
    /* Each fits an address space, and the sum does not. */
    struct line huge[3] = {fresh(), fresh(), fresh()};
    for (int i = 0; i < 3; i++) {
        huge[i].raw = (void *)((uintptr_t)1 << 63);
        huge[i].bytes = ((size_t)1 << 63) - 17u;
    }
    CHECK_EQ(e_change(EID, &answer, huge, 3, 0), invalid);
    /* The sum fits, and rounded up it does not: 160 is what the rest of two structs takes. */
    huge[0].bytes = ((size_t)1 << 63) - 32u;
    huge[1].bytes = ((size_t)1 << 63) - 5u - 160u;
    CHECK_EQ(e_change(EID, &answer, huge, 2, 0), invalid);
    /* Half a struct, half an element; without a pointer there is nothing to be halved. */
    struct whole p[2] = {{g_points, 16}, {g_points, 8}};
    CHECK_EQ(e_sized(EID, &small, p, sizeof p), SGX_SUCCESS);
    CHECK_EQ(e_sized(EID, &small, p, sizeof p - 8u), invalid);
    p[1].n = 6;
    CHECK_EQ(e_array(EID, &small, p), invalid);
    p[1].p = NULL;
    CHECK_EQ(e_array(EID, &small, p), SGX_SUCCESS);
    /* No memory for the structs, or for what they point to. */
    for (unsigned at = 1; at <= 2; at++) {
        l = fresh();
        g_fail_at = at;
        CHECK_EQ(e_change(EID, &answer, &l, 1, 0), SGX_ERROR_OUT_OF_MEMORY);
        check_unchanged(&l);
    }
    CHECK_EQ(stand_in_live(), 1);
    stand_in_free(inside);
    stand_in_stop();
}

TEST(test_answers_of_a_hostile_host_stay_within_what_was_sent)
{
    int answer = 0;
    stand_in_start(2);
    for (int how = 1; how <= 8; how++) {
        CHECK_EQ(e_ocalls(EID, &answer, how), SGX_SUCCESS);
        CHECK_EQ(answer, 0);
        CHECK_EQ(stand_in_live(), 0);
    }
    stand_in_stop();
}

static uint32_t g_enough;
static struct line g_line;
static void *change_sizes(void *argument)
{
    (void)argument;
    for (uint32_t n = 0; __atomic_load_n(&g_enough, __ATOMIC_RELAXED) == 0; n++)
        __atomic_store_n(&g_line.n, n % 2u == 0 ? 1u : 1000u, __ATOMIC_RELAXED);
    return NULL;
}

TEST(test_size_that_changes_during_the_call_is_read_once)
{
    static uint32_t points[1000];
    pthread_t thread;
    uint64_t sum = 0;
    stand_in_start(2);
    for (uint32_t i = 0; i < 1000; i++)
        points[i] = 1;
    g_line = fresh();
    g_line.points = points;
    g_line.n = 1;
    CHECK(pthread_create(&thread, NULL, change_sizes, NULL) == 0);
    for (int i = 0; i < 2000; i++) {
        CHECK_EQ(e_sum(EID, &sum, &g_line), SGX_SUCCESS);
        CHECK(sum == 21u + 1u || sum == 21u + 1000u);
    }
    __atomic_store_n(&g_enough, 1u, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK_EQ(stand_in_live(), 0);
    stand_in_stop();
}
