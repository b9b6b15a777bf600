/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shapes_test.c -- the host of these tests: every shape of call both ways, ordinary and hot, and
 * a host that lies. Includes the generated untrusted side, to get at its marshalling structs.
 *
 * Over stand_in.c; or with SHAPES_SDK, as a program of an SDK, as far as that can be made to fail.
 */
#define _GNU_SOURCE
#include "shapes_u.c"

#include "check.h"
#ifdef SHAPES_SDK
#include "sdk_host.h"
#else
#include "stand_in.h"
#endif

#include <ctype.h>

void *g_secret;
unsigned g_ran;

/* ---- ocalls ---------------------------------------------------------------------------------- */

void o_empty(void)
{
}

uint64_t o_add(uint64_t a, uint32_t b)
{
    return a + b;
}

uint32_t o_in(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; p != NULL && i < n; i++)
        sum += p[i];
    return sum;
}

void o_out(uint8_t *p, size_t n)
{
    CHECK(p[n - 1u] == 0);
    memset(p, 1, n - 1u);
}

void o_inout(uint32_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] *= 2u;
}

size_t o_string(const char *s)
{
    errno = 77;
    return s == NULL ? 99u : strlen(s);
}

void o_upper(char *s)
{
    for (; *s != 0; s++)
        *s = (char)toupper((unsigned char)*s);
}

size_t o_wstring(const wchar_t *s)
{
    return wcslen(s);
}

int o_array(int a[4], uint16_t b[2][3])
{
    b[1][2] = 12;
    return a[0] + a[3];
}

int o_foreign(handle_t h, key_t_ k)
{
    memset(k, (int)h->number, 16);
    return (int)h->number;
}

uint64_t o_user(void *p)
{
    return (uint64_t)(uintptr_t)p;
}

int o_back(void)
{
    return (int)e_private(EID);
}

int o_not_back(void)
{
    return (int)e_private(EID);
}

/* ---- every ecall ------------------------------------------------------------------------------ */

static void every_ecall(void)
{
    uint64_t sum = 0;
    uint32_t small = 0;
    size_t length = 0;
    int answer = 0;
    CHECK_EQ(e_empty(EID), SGX_SUCCESS);
    CHECK_EQ(e_add(EID, &sum, 40, 2), SGX_SUCCESS);
    CHECK_EQ(sum, 42);
    CHECK_EQ(e_add(EID, NULL, 40, 2), SGX_SUCCESS);
    enum colour tint = RED;
    CHECK_EQ(e_colour(EID, &tint, RED), SGX_SUCCESS);
    CHECK_EQ(tint, GREEN);
    struct point place = {1, 2};
    CHECK_EQ(e_point(EID, &place, place), SGX_SUCCESS);
    CHECK(place.x == 2 && place.y == 1);
    uint8_t bytes[100];
    memset(bytes, 1, sizeof bytes);
    for (size_t from = 0; from < 9; from++) {
        CHECK_EQ(e_in(EID, &small, bytes + from, 50 + from), SGX_SUCCESS);
        CHECK_EQ(small, 50 + from);
    }
    CHECK_EQ(e_in(EID, &small, NULL, 100), SGX_SUCCESS);
    CHECK_EQ(small, 0);
    for (size_t from = 0; from < 9; from++) {
        memset(bytes, 0xEE, sizeof bytes);
        CHECK_EQ(e_out(EID, bytes + from, 20 + from), SGX_SUCCESS);
        CHECK(bytes[from] == 1 && bytes[from + 9] == 10);
        CHECK(bytes[2 * from + 19] == 0 && bytes[2 * from + 20] == 0xEE);
        CHECK(from == 0 || bytes[from - 1] == 0xEE);
    }
    uint32_t numbers[5] = {1, 2, 3, 4, 5};
    CHECK_EQ(e_inout(EID, numbers, 5), SGX_SUCCESS);
    CHECK(numbers[0] == 2 && numbers[4] == 10);
    for (int i = 0; i < 100; i++)
        bytes[i] = (uint8_t)i;
    CHECK_EQ(e_both(EID, &sum, bytes, 10, 9), SGX_SUCCESS);
    CHECK_EQ(sum, 89);
    CHECK_EQ(e_sized(EID, &answer, numbers, 8), SGX_SUCCESS);
    CHECK_EQ(answer, 4);
    CHECK_EQ(e_sized(EID, &answer, numbers, 7), SGX_ERROR_INVALID_PARAMETER);
    CHECK_EQ(e_string(EID, &length, "hello"), SGX_SUCCESS);
    CHECK_EQ(length, 5);
    CHECK_EQ(e_string(EID, &length, NULL), SGX_SUCCESS);
    CHECK_EQ(length, 99);
    char text[] = "abc";
    CHECK_EQ(e_upper(EID, text), SGX_SUCCESS);
    CHECK(strcmp(text, "ABC") == 0);
    CHECK_EQ(e_wstring(EID, &length, L"wide"), SGX_SUCCESS);
    CHECK_EQ(length, 4);
    int a[4] = {1, 2, 3, 4};
    uint16_t b[2][3];
    CHECK_EQ(e_array(EID, &answer, a, b), SGX_SUCCESS);
    CHECK(answer == 5 && b[1][2] == 12 && b[0][1] == 1);
    struct thing thing = {9};
    key_t_ key;
    CHECK_EQ(e_foreign(EID, &answer, &thing, key), SGX_SUCCESS);
    CHECK(answer == 9 && key[0] == 9 && key[15] == 9);
    CHECK_EQ(e_user(EID, &sum, &thing), SGX_SUCCESS);
    CHECK_EQ(sum, (uint64_t)(uintptr_t)&thing);
    CHECK_EQ(e_calls(EID, &sum, 10), SGX_SUCCESS);
    CHECK_EQ(sum, 55);
    g_secret = bytes;
    CHECK_EQ(e_ocalls(EID, &answer), SGX_SUCCESS);
    CHECK_EQ(answer, 0);
    CHECK_EQ(e_private(EID), SGX_ERROR_ECALL_NOT_ALLOWED);
    CHECK_EQ(stand_in_live(), 0);
}

TEST(test_every_shape_by_ordinary_calls)
{
    stand_in_start(2);
    every_ecall();
    stand_in_stop();
}

static void start(uint32_t responders)
{
    const char *why = NULL;
    struct hc_sgx_options options = {responders, responders,        0,
                                     0,          UINT64_C(3000000), UINT64_C(20000000)};
    CHECK_EQ(shapes_hot_start(EID, &options, &why), SGX_SUCCESS);
    CHECK(why[0] == 0);
}

TEST(test_every_shape_by_hot_calls)
{
    struct hc_sgx_statistics statistics;
    stand_in_start(4);
    start(1);
    /* All go the ordinary way while another process has the core: again until some were hot. */
    for (int i = 0; i < 1000; i++) {
        every_ecall();
        CHECK(shapes_hot_statistics(EID, &statistics));
        if (i >= 2 && statistics.hot_ecalls > 0 && statistics.hot_ocalls > 0)
            break;
        if (i >= 2)
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    printf("hot %" PRIu64 "+%" PRIu64 ", ordinary %" PRIu64 "+%" PRIu64 "\n", statistics.hot_ecalls,
           statistics.hot_ocalls, statistics.ordinary_ecalls, statistics.ordinary_ocalls);
    if (hot_can_spin())
        CHECK(statistics.hot_ecalls > 0 && statistics.hot_ocalls > 0);
    shapes_hot_stop(EID);
    CHECK_EQ(g_hot[0].enclave_awake, 0);
    every_ecall();
    /* And again, over the same channel. */
    start(2);
    every_ecall();
    shapes_hot_stop(EID);
    stand_in_stop();
}

static void *many(void *argument)
{
    uint64_t base = (uint64_t)(uintptr_t)argument;
    for (uint64_t i = 0; i < 25; i++) {
        uint64_t sum = 0;
        sgx_status_t status = e_add(EID, &sum, base + i, 7);
        if (status == SGX_ERROR_OUT_OF_TCS)
            continue;
        CHECK_EQ(status, SGX_SUCCESS);
        CHECK_EQ(sum, base + i + 7u);
        CHECK_EQ(e_calls(EID, &sum, 3), SGX_SUCCESS);
        CHECK_EQ(sum, 6);
    }
    return NULL;
}

TEST(test_many_threads_get_their_own_answers)
{
    pthread_t threads[4];
    stand_in_start(8);
    start(2);
    for (uintptr_t i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, many, (void *)((i + 1u) << 32)) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    shapes_hot_stop(EID);
    CHECK_EQ(stand_in_live(), 0);
    stand_in_stop();
}

TEST(test_out_of_tcs_is_a_named_error_and_calls_go_on)
{
    const char *why = NULL;
    struct hc_sgx_options options = {.enclave_responders = 3};
    stand_in_start(2);
    if (hot_can_spin()) {
        CHECK_EQ(shapes_hot_start(EID, &options, &why), SGX_ERROR_OUT_OF_TCS);
        CHECK(strstr(why, "TCSNum") != NULL);
    }
    every_ecall();
    stand_in_stop();
}

TEST(test_untaken_calls_are_withdrawn_and_run_once)
{
    uint64_t sum = 0;
    struct hc_sgx_statistics statistics;
    stand_in_start(2);
    struct hc_sgx_options nobody = {.enclave_responders = UINT32_MAX,
                                    .host_responders = UINT32_MAX};
    CHECK_EQ(shapes_hot_start(EID, &nobody, NULL), SGX_SUCCESS);
    /* It looks as if somebody were there. */
    g_hot[0].board->host_awake = 1;
    g_hot[0].enclave_awake = 1;
    g_ran = 0;
    CHECK_EQ(e_calls(EID, &sum, 5), SGX_SUCCESS);
    CHECK_EQ(sum, 15);
    CHECK(shapes_hot_statistics(EID, &statistics));
    CHECK_EQ(statistics.ordinary_ocalls, 5);
    CHECK_EQ(e_add(EID, &sum, 1, 1), SGX_SUCCESS);
    CHECK(shapes_hot_statistics(EID, &statistics));
    CHECK_EQ(statistics.ordinary_ecalls, 2);
#ifndef SHAPES_SDK
    CHECK_EQ(g_ran, 1);
#endif
    g_hot[0].enclave_awake = 0;
    stand_in_stop();
}

TEST(test_burst_wakes_a_sleeping_responder)
{
    uint64_t sum;
    struct hc_sgx_statistics before, after;
    struct hc_sgx_options options = {.idle_ns = 1};
    stand_in_start(4);
    CHECK_EQ(shapes_hot_start(EID, &options, NULL), SGX_SUCCESS);
    if (hot_can_spin()) {
        usleep(50000);
        CHECK(shapes_hot_statistics(EID, &before));
        /* Bursts, with time between them to wake up in. */
        for (int i = 0; i < 5000; i++) {
            for (int call = 0; call < 8; call++)
                CHECK_EQ(e_add(EID, &sum, 1, 1), SGX_SUCCESS);
            usleep(1000);
            CHECK(shapes_hot_statistics(EID, &after));
            if (after.entries > before.entries)
                break;
        }
        CHECK(after.entries > before.entries);
    }
    shapes_hot_stop(EID);
    stand_in_stop();
}

/* ---- a host that lies ------------------------------------------------------------------------- */

#define ECALL(number, ms) sgx_ecall(EID, number, &ocall_table_shapes, ms)
enum {
    E_EMPTY,
    E_ADD,
    E_COLOUR,
    E_POINT,
    E_IN,
    E_OUT,
    E_INOUT,
    E_BOTH,
    E_SIZED,
    E_STRING,
    E_UPPER,
    E_WSTRING,
    E_ARRAY,
    E_FOREIGN,
    E_USER,
    E_PEEK,
    E_CALLS,
    E_OCALLS,
    E_PRIVATE,
    E_INSIDE,
    E_ATTACH,
    E_SERVE
};

static void lies(void *inside, size_t size)
{
    uint8_t outside[64] = {0};
    ms_e_in_t in = {0, inside, size};
    ms_e_out_t out = {inside, size};
    ms_e_inout_t inout = {inside, size / 4u};
    ms_e_both_t both = {0, outside, 8, 2};
    ms_e_string_t string = {0, "abc", 4};
    ms_e_wstring_t wide = {0, L"abc", 16};
    ms_e_array_t array = {0, inside, (uint16_t *)(void *)outside};
    const sgx_status_t invalid = SGX_ERROR_INVALID_PARAMETER;
    CHECK_EQ(ECALL(E_IN, inside), invalid);
    CHECK_EQ(ECALL(E_IN, NULL), invalid);
    CHECK_EQ(ECALL(E_EMPTY, outside), invalid);
    CHECK_EQ(ECALL(E_IN, &in), invalid);
    CHECK_EQ(ECALL(E_OUT, &out), invalid);
    CHECK_EQ(ECALL(E_INOUT, &inout), invalid);
    CHECK_EQ(ECALL(E_ARRAY, &array), invalid);
    array.ms_a = (int *)(void *)outside;
    array.ms_b = inside;
    CHECK_EQ(ECALL(E_ARRAY, &array), invalid);
    /* Runs into the enclave, and round the end of the address space. */
    in.ms_p = (const uint8_t *)inside - 8;
    in.ms_n = 16;
    CHECK_EQ(ECALL(E_IN, &in), invalid);
    in.ms_p = outside;
    in.ms_n = SIZE_MAX;
    CHECK_EQ(ECALL(E_IN, &in), invalid);
    inout.ms_p = (uint32_t *)(void *)outside;
    inout.ms_n = SIZE_MAX / 4u + 2u;
    CHECK_EQ(ECALL(E_INOUT, &inout), invalid);
    both.ms_s = (size_t)1 << 33;
    both.ms_n = ((size_t)1 << 31) + 1u;
    CHECK_EQ(ECALL(E_BOTH, &both), invalid);
    string.ms_s_len = 3; /* no terminator */
    CHECK_EQ(ECALL(E_STRING, &string), SGX_ERROR_UNEXPECTED);
    string.ms_s = "ab\0cd";
    string.ms_s_len = 6; /* another one in the middle */
    CHECK_EQ(ECALL(E_STRING, &string), SGX_ERROR_UNEXPECTED);
    wide.ms_s_len = 15;
    CHECK_EQ(ECALL(E_WSTRING, &wide), SGX_ERROR_UNEXPECTED);
    wide.ms_s_len = 12;
    CHECK_EQ(ECALL(E_WSTRING, &wide), SGX_ERROR_UNEXPECTED);
    wide.ms_s = L"a\0c";
    wide.ms_s_len = 16;
    CHECK_EQ(ECALL(E_WSTRING, &wide), SGX_ERROR_UNEXPECTED);
#ifndef SHAPES_SDK
    in.ms_n = 8;
    stand_in_fail_next();
    CHECK_EQ(ECALL(E_IN, &in), SGX_ERROR_OUT_OF_MEMORY);
#endif
    /* An out buffer carries nothing of the enclave's heap. */
    ms_e_peek_t peek = {outside, sizeof outside};
    memset(outside, 0xEE, sizeof outside);
    CHECK_EQ(ECALL(E_PEEK, &peek), SGX_SUCCESS);
    for (size_t i = 0; i < sizeof outside; i++)
        CHECK_EQ(outside[i], 0);
}

TEST(test_lies_about_arguments_are_refused)
{
    stand_in_start(2);
    void *block = stand_in_malloc(4096);
    lies((uint8_t *)block + 64, 64);
    CHECK_EQ(stand_in_live(), 1);
    stand_in_free(block);
    stand_in_stop();
}

#ifndef SHAPES_SDK
/* Points the enclave at its own memory, after the ocall. */
static void *g_target;
static void hostile(unsigned index, void *ms)
{
    if (index == 3)
        ((ms_o_out_t *)ms)->ms_p = g_target;
    if (index == 4)
        ((ms_o_inout_t *)ms)->ms_n = 1000000;
    if (index == 6) {
        ms_o_upper_t *upper = ms;
        memset(upper->ms_s, 'X', 6); /* no terminator any more */
    }
}

TEST(test_answers_of_a_hostile_host_stay_in_their_buffers)
{
    int answer = 0;
    stand_in_start(2);
    g_target = stand_in_malloc(64);
    uint8_t bytes[16];
    g_secret = bytes;
    g_stand_in_hostile = hostile;
    CHECK_EQ(e_ocalls(EID, &answer), SGX_SUCCESS);
    CHECK(answer != 0); /* the upper-cased string was not what it ought to be; nothing overran */
    g_stand_in_hostile = NULL;
    stand_in_free(g_target);
    stand_in_stop();
}
#endif

TEST(test_channel_is_attached_once_and_checked)
{
    uint64_t *u_page =
        mmap(NULL, 4u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const sgx_status_t invalid = SGX_ERROR_INVALID_PARAMETER;
    stand_in_start(3);
    uint8_t *block = stand_in_malloc(3u << 20);
    uint8_t *inside = (uint8_t *)(((uintptr_t)block + 4095u) & ~(uintptr_t)4095u);
    struct hc_geometry good = {.slot_count = 4,
                               .host_slots = 2,
                               .cell_count = HC_CELLS_MIN,
                               .window_size = HC_PAGE,
                               .shared_size = HC_PAGE};
    CHECK_EQ(hc_geometry_plan(&good), HC_OK);
    memcpy(inside, &good, sizeof good);
    ms_hc_attach_t ms = {inside, 2u << 20};
    ms_hc_serve_t serve = {0, 0, 0};
    CHECK_EQ(ECALL(E_SERVE, &serve), SGX_ERROR_INVALID_STATE);
    CHECK_EQ(ECALL(E_SERVE, inside), invalid);
    CHECK_EQ(ECALL(E_ATTACH, inside), invalid);
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    ms.ms_region = u_page;
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    memcpy(u_page, &good, sizeof good);
    memcpy(u_page + 8, &good, sizeof good);
    ms.ms_region = u_page + 8;
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    ms.ms_region = u_page;
    ms.ms_size = good.total_size - 1u;
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    ms.ms_size = 16;
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    ms.ms_size = good.total_size;
    ((struct hc_geometry *)(void *)u_page)->windows_at += HC_PAGE;
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    struct hc_geometry bare = good;
    bare.shared_size = 0;
    CHECK_EQ(hc_geometry_plan(&bare), HC_OK);
    memcpy(u_page, &bare, sizeof bare);
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    struct hc_geometry wide = good;
    wide.slot_count = HC_SGX_SLOTS_MAX + 1u;
    CHECK_EQ(hc_geometry_plan(&wide), HC_OK);
    memcpy(u_page, &wide, sizeof wide);
    ms.ms_size = wide.total_size;
    CHECK_EQ(ECALL(E_ATTACH, &ms), invalid);
    memcpy(u_page, &good, sizeof good);
    ms.ms_size = good.total_size;
    CHECK_EQ(ECALL(E_ATTACH, &ms), SGX_SUCCESS);
    CHECK_EQ(ECALL(E_ATTACH, &ms), SGX_ERROR_INVALID_STATE);
    CHECK_EQ(ECALL(E_SERVE, (char *)&serve + 4), invalid);
    stand_in_free(block);
    stand_in_stop();
    (void)munmap(u_page, 4u << 20);
}

TEST(test_only_hot_functions_come_over_the_channel)
{
    uint8_t bytes[16];
    ms_e_in_t lie = {0, bytes, SIZE_MAX};
    uint32_t answer = 0;
    stand_in_start(3);
    start(1);
    const uint64_t ids[] = {E_PRIVATE, E_COLOUR, E_SERVE, E_ATTACH, 1000, UINT64_MAX};
    for (size_t i = 0; hot_can_spin() && i < sizeof ids / sizeof ids[0]; i++) {
        enum hc_status status = HC_ERR_AGAIN;
        for (int tries = 0; tries < 1000 && status == HC_ERR_AGAIN; tries++) {
            struct hc_sgx_requester *slot = hc_sgx_requester_take(g_hot[0].ecalls, 1, 0);
            status = hc_sgx_request(slot, (uint32_t)ids[i], NULL, HC_SGX_PAUSES_MAX, NULL, NULL,
                                    &answer);
        }
        CHECK_EQ(status, HC_OK);
        CHECK_EQ(answer, SGX_ERROR_INVALID_FUNCTION);
    }
    for (int i = 0; i < 20; i++)
        CHECK_EQ(hot_ecall(EID, E_IN, &lie), SGX_ERROR_INVALID_PARAMETER);
    shapes_hot_stop(EID);
    stand_in_stop();
}

static uint32_t g_enough;
static void *scribble(void *argument)
{
    uint64_t state = 88172645463325252u;
    struct hot *hot = argument;
    while (__atomic_load_n(&g_enough, __ATOMIC_RELAXED) == 0) {
        uint32_t slot = hot->geometry.host_slots + (uint32_t)(check_random(&state) % 8u);
        struct hc_cell *cell = hc_u_lane(hot->region, &hot->geometry, slot, HC_LANE_FORWARD);
        uint64_t word = check_random(&state) % 4096u;
        __atomic_store_n(&cell->word, word, __ATOMIC_RELAXED);
        usleep(20);
    }
    return NULL;
}

TEST(test_forged_words_end_in_an_error_or_an_ordinary_call)
{
    pthread_t thread;
    uint64_t sum = 0;
    struct hc_sgx_options nobody = {.enclave_responders = UINT32_MAX,
                                    .host_responders = UINT32_MAX};
    stand_in_start(2);
    CHECK_EQ(shapes_hot_start(EID, &nobody, NULL), SGX_SUCCESS);
    g_hot[0].board->host_awake = 1;
    CHECK(pthread_create(&thread, NULL, scribble, &g_hot[0]) == 0);
    for (int i = 0; i < 60; i++)
        CHECK_EQ(e_calls(EID, &sum, 3), SGX_SUCCESS);
    __atomic_store_n(&g_enough, 1u, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    stand_in_stop();
}
