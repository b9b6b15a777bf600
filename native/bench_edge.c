/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_edge.c -- hot calls that do not find a spinning responder: all of them busy, or asleep.
 *
 * For bench_block.c; host side; trusts the enclave, which is ours.
 */
#include <pthread.h>

#include "bench.h"
#include "bench_calls.h"

static const struct hc_side_board *board(hc_enclave *enclave)
{
    const uint8_t *u_base;
    (void)hc_region(enclave, &u_base);
    return &((const struct hc_header *)(const void *)u_base)->board[HC_ENCLAVE];
}

uint32_t bench_awake(hc_enclave *enclave)
{
    /* Relaxed: a hint, as it is for the runtime. */
    return __atomic_load_n(&board(enclave)->awake, __ATOMIC_RELAXED);
}

/*
 * How often responders were woken: unlike `awake` it still says so when this thread lost its
 * core for longer than the idle bound.
 */
static uint64_t wakes(hc_enclave *enclave)
{
    return __atomic_load_n(&board(enclave)->wakes, __ATOMIC_RELAXED);
}

bool bench_await_asleep(hc_enclave *enclave)
{
    uint64_t until = bench_wall_ns() + 1000000000u;
    while (bench_awake(enclave) != 0) {
        if (bench_wall_ns() > until)
            return false;
        hc_pause();
    }
    return true;
}

/* Without sleeping: a core that has been idle takes longer for whatever comes next. */
static void spin_us(uint64_t us)
{
    uint64_t until = hc_tsc() + us * hc_cycles_per_us();
    while (hc_tsc() < until)
        hc_pause();
}

static int prepare_mode(struct bench *b, enum hc_mode mode)
{
    if (bench_enclave_open(b) != 0)
        return -1;
    if (hc_thread_mode(g_bench_calls.enclave, mode) != HC_OK)
        return bench_skip(b, "the mode cannot be set");
    return 0;
}

static int prepare_hot(struct bench *b, const struct bench_row *row)
{
    (void)row;
    return prepare_mode(b, HC_MODE_HOT);
}

static int prepare_switch(struct bench *b, const struct bench_row *row)
{
    (void)row;
    return prepare_mode(b, HC_MODE_SWITCH);
}

static void time_echo(struct bench *b, uint32_t *sample)
{
    uint64_t token = bench_random(b), result = 0;
    uint64_t begin = bench_start();
    enum hc_status status = bench_echo(g_bench_calls.enclave, &result, token);
    uint64_t end = bench_stop();
    *sample = bench_saturate(end - begin);
    bench_check(b, status == HC_OK ? result : 0, token + 1u);
}

/* ---- all responders busy -------------------------------------------------------------------- */

static pthread_t g_holder;
static enum hc_status g_held;

static void *hold(void *unused)
{
    (void)unused;
    g_held = hc_thread_mode(g_bench_calls.enclave, HC_MODE_HOT);
    if (g_held == HC_OK)
        g_held = bench_hold(g_bench_calls.enclave, g_bench_calls.flags);
    return NULL;
}

static int prepare_busy(struct bench *b, const struct bench_row *row)
{
    if (prepare_hot(b, row) != 0)
        return -1;
    /* Relaxed: flags, nothing behind them. */
    uint32_t *flags = g_bench_calls.flags;
    __atomic_store_n(&flags[0], 0u, __ATOMIC_RELAXED);
    __atomic_store_n(&flags[1], 0u, __ATOMIC_RELAXED);
    /* So that the holding call itself is a hot one. */
    hc_wake_responders(g_bench_calls.enclave);
    spin_us(100);
    if (pthread_create(&g_holder, NULL, hold, NULL) != 0)
        return bench_skip(b, "no second thread");
    uint64_t until = bench_wall_ns() + 1000000000u;
    while (!__atomic_load_n(&flags[0], __ATOMIC_RELAXED) && bench_wall_ns() < until)
        hc_pause();
    return 0;
}

static void finish_busy(struct bench *b, const struct bench_row *row)
{
    (void)row;
    __atomic_store_n(&g_bench_calls.flags[1], 1u, __ATOMIC_RELAXED);
    pthread_join(g_holder, NULL);
    bench_check(b, g_held, HC_OK);
}

static void run_busy(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    (void)row;
    for (size_t i = 0; i < count; i++)
        time_echo(b, &samples[i]);
}

/* ---- all responders asleep ------------------------------------------------------------------ */

/* Calls closer than this belong to a burst, which wakes a responder. */
#define APART_US 300u

static void run_asleep(struct bench *b, const struct bench_row *row, uint32_t *samples,
                       size_t count)
{
    (void)row;
    for (size_t i = 0; i < count; i++) {
        bool asleep = bench_await_asleep(g_bench_calls.enclave);
        spin_us(APART_US);
        time_echo(b, &samples[i]);
        bench_check(b, asleep, true);
    }
}

static void run_wake(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    hc_enclave *enclave = g_bench_calls.enclave;
    (void)row;
    for (size_t i = 0; i < count; i++) {
        bool asleep = bench_await_asleep(enclave);
        spin_us(APART_US);
        uint64_t before = wakes(enclave), limit = hc_tsc() + 1000000u * hc_cycles_per_us();
        uint64_t begin = bench_start();
        hc_wake_responders(enclave);
        while (wakes(enclave) == before && hc_tsc() < limit)
            hc_pause();
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, asleep && wakes(enclave) != before, true);
    }
}

static const struct bench_row g_rows[] = {
    {
        .name = "ecall_fallback",
        .group = "call",
        .title = "hot ecall that no responder takes: withdrawn, then by switch",
        .note = "The one responder is busy with a call of another thread.",
        .flags = BENCH_ENCLAVE,
        .batch = 1,
        .prepare = prepare_busy,
        .run = run_busy,
        .finish = finish_busy,
    },
    {
        .name = "ecall_asleep",
        .group = "call",
        .title = "hot ecall that finds the responders asleep",
        .note = "Goes by switch at once; calls 0.5 ms apart, the caller's core awake.",
        .flags = BENCH_ENCLAVE | BENCH_WAITS,
        .batch = 1,
        .prepare = prepare_hot,
        .run = run_asleep,
    },
    {
        .name = "ecall_switch_apart",
        .group = "call",
        .title = "switch ecall, as far apart",
        .note = "Calls 0.5 ms apart, as in the row above: what the pause itself costs.",
        .flags = BENCH_ENCLAVE | BENCH_WAITS,
        .batch = 1,
        .prepare = prepare_switch,
        .run = run_asleep,
    },
    {
        .name = "responder_wake",
        .group = "call",
        .title = "waking a sleeping responder, until it spins",
        .flags = BENCH_ENCLAVE | BENCH_WAITS,
        .batch = 1,
        .prepare = prepare_hot,
        .run = run_wake,
    },
};

const struct bench_table g_bench_rows_edge = {g_rows, sizeof g_rows / sizeof g_rows[0]};
