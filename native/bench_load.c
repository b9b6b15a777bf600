/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_load.c -- many requesters: throughput on one and two responders, and eight threads on
 * two CPUs whose every call carries a token that is checked on both sides.
 *
 * For bench_block.c; host side; trusts the enclave, which is ours.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "bench_calls.h"

#define REQUESTERS_MAX 8u
#define SAMPLES_MAX 32768u

/* Each requester's calls are numbered without a gap, over all of its threads (bench_token). */
static uint64_t g_numbers[REQUESTERS_MAX];

struct requester {
    pthread_t thread;
    hc_enclave *enclave;
    const uint32_t *go;
    uint32_t index;
    int cpu; /* -1: both */
    const struct bench *bench;
    uint64_t until; /* counter; 0: `calls` decides */
    uint64_t calls; /* how many to make; then how many were made */
    bool disturb;   /* hold up responders now and then, so that others withdraw */
    uint64_t wrong;
    uint32_t *samples;
    size_t sample_count;
};

/* One call in so many keeps its responder for three times the bound after which others withdraw. */
#define DISTURB_EVERY 997u
#define DISTURB_US 30u

static void *request(void *argument)
{
    struct requester *r = argument;
    uint64_t made = 0, number = g_numbers[r->index];
    if (r->cpu >= 0 ? bench_pin(0, r->cpu) : bench_pin_to_both(r->bench))
        r->wrong++;
    /* SYNC: pairs with run_phase() (go); until and the numbers are set. */
    while (!__atomic_load_n(r->go, __ATOMIC_ACQUIRE))
        hc_pause();
    for (;;) {
        uint64_t result = 0, spin = 0;
        if (r->disturb && number % DISTURB_EVERY == 0)
            spin = DISTURB_US * hc_cycles_per_us();
        number++;
        uint64_t begin = hc_tsc();
        enum hc_status status = bench_token(r->enclave, &result, r->index, number, spin);
        uint64_t end = hc_tsc();
        if (status != HC_OK || result != (number ^ ((uint64_t)r->index << 48)))
            r->wrong++;
        if (r->sample_count < SAMPLES_MAX)
            r->samples[r->sample_count++] = bench_saturate(end - begin);
        made++;
        if (r->until ? end >= r->until : made == r->calls)
            break;
    }
    r->calls = made;
    g_numbers[r->index] = number;
    return NULL;
}

struct phase {
    hc_enclave *enclave;
    unsigned requesters;
    bool pinned;
    uint64_t span_ms; /* 0: `calls` each */
    uint64_t calls;
    bool disturb;
    /* Results. */
    double per_second;
    uint64_t total;
    uint32_t p50, p99;
};

static uint32_t g_samples[REQUESTERS_MAX * SAMPLES_MAX];

static uint64_t collect(struct bench *b, struct phase *phase, struct requester *requesters)
{
    size_t kept = 0;
    phase->total = 0;
    for (unsigned i = 0; i < phase->requesters; i++) {
        struct requester *r = &requesters[i];
        pthread_join(r->thread, NULL);
        phase->total += r->calls;
        b->checked += r->calls;
        b->wrong += r->wrong;
    }
    uint64_t end = bench_wall_ns();
    for (unsigned i = 0; i < phase->requesters; i++)
        for (size_t j = 0; j < requesters[i].sample_count; j++)
            g_samples[kept++] = requesters[i].samples[j];
    phase->p50 = bench_median(g_samples, kept);
    phase->p99 = kept ? g_samples[kept * 99u / 100u] : 0;
    return end;
}

static void run_phase(struct bench *b, struct phase *phase)
{
    struct requester requesters[REQUESTERS_MAX];
    uint32_t go = 0;
    uint64_t span = phase->span_ms * 1000u * hc_cycles_per_us();
    for (unsigned i = 0; i < phase->requesters; i++) {
        requesters[i] = (struct requester){
            .enclave = phase->enclave,
            .go = &go,
            .index = i,
            .cpu = phase->pinned ? b->cpu_requester : -1,
            .bench = b,
            .calls = phase->calls,
            .disturb = phase->disturb,
            .samples = &g_samples[i * SAMPLES_MAX],
        };
        if (pthread_create(&requesters[i].thread, NULL, request, &requesters[i]) != 0)
            abort();
    }
    /* All wait for `go`; the first to come had better not start alone. */
    struct timespec settle = {.tv_nsec = 2000000};
    nanosleep(&settle, NULL);
    uint64_t begin = bench_wall_ns();
    for (unsigned i = 0; i < phase->requesters; i++)
        requesters[i].until = span ? hc_tsc() + span : 0;
    /* SYNC: pairs with request() (go); publishes until. */
    __atomic_store_n(&go, 1u, __ATOMIC_RELEASE);
    uint64_t end = collect(b, phase, requesters);
    phase->per_second = (double)phase->total * 1e9 / (double)(end - begin);
}

static int prepare(struct bench *b, const struct bench_row *row)
{
    (void)row;
    b->checked = b->wrong = 0;
    return b->enclave ? 0 : bench_skip(b, "the benchmark enclave was not given");
}

static bool open_enclave(struct bench *b, unsigned responders, hc_enclave **enclave)
{
    memset(g_numbers, 0, sizeof g_numbers);
    return bench_launch(b, responders, BENCH_LAUNCH_DEFAULT, enclave) == 0;
}

static void begin_values(struct bench *b, const struct bench_row *row)
{
    bench_json_begin("values");
    bench_json_string("row", row->name);
    bench_json_u64("checked", b->checked);
    bench_json_u64("wrong", b->wrong);
    if (b->wrong)
        bench_json_string("fault", b->fault[0] ? b->fault : b->reason);
    b->wrong_total += b->wrong;
}

/* Lost or doubled calls, as the enclave counted them. */
static void close_enclave(struct bench *b, hc_enclave *enclave)
{
    uint64_t faults = 1;
    if (bench_token_faults(enclave, &faults) != HC_OK)
        b->wrong++;
    b->wrong += faults;
    hc_close(enclave);
}

#define LOAD(REQUESTERS, RESPONDERS) ((uint64_t)(REQUESTERS) << 8 | (RESPONDERS))

static void run_load(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    struct phase phase = {
        .requesters = (unsigned)(row->variant >> 8),
        .span_ms = b->full ? 400 : 60,
    };
    (void)samples;
    (void)count;
    if (!open_enclave(b, (unsigned)(row->variant & 0xffu), &phase.enclave))
        return;
    run_phase(b, &phase);
    close_enclave(b, phase.enclave);
    begin_values(b, row);
    bench_json_double("calls_per_s", phase.per_second);
    bench_json_u64("p50_cycles", phase.p50);
    bench_json_u64("p99_cycles", phase.p99);
    bench_json_end();
}

/* ---- eight on two --------------------------------------------------------------------------- */

/* What the channel's statistics say of all slots of the host. */
static void count_events(hc_enclave *enclave, uint64_t *withdrawn, uint64_t *wakes)
{
    const uint8_t *u_base;
    const struct hc_geometry *geometry = hc_region(enclave, &u_base);
    const struct hc_header *u_header = (const struct hc_header *)(const void *)u_base;
    *withdrawn = 0;
    *wakes = __atomic_load_n(&u_header->board[HC_ENCLAVE].wakes, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < geometry->host_slots; i++) {
        const struct hc_slot_control *u_slot =
            (const struct hc_slot_control *)(const void *)(u_base + geometry->slots_at +
                                                           geometry->slot_stride * i);
        *withdrawn += __atomic_load_n(&u_slot->owner_counters.withdrawn, __ATOMIC_RELAXED);
    }
}

/* The median of shares that eight requesters reach of what one reaches right before. */
static double share_of_one(struct bench *b, hc_enclave *enclave, bool pinned, double *one)
{
    enum { TURNS = 5 };
    double shares[TURNS], alone[TURNS];
    uint64_t span_ms = b->full ? 300 : 60;
    if (pinned)
        bench_pin_enclave(enclave, b->cpu_responder);
    for (unsigned i = 0; i < TURNS; i++) {
        struct phase single = {
            .enclave = enclave, .requesters = 1, .pinned = pinned, .span_ms = span_ms};
        struct phase eight = {
            .enclave = enclave, .requesters = 8, .pinned = pinned, .span_ms = span_ms};
        run_phase(b, &single);
        run_phase(b, &eight);
        shares[i] = eight.per_second / single.per_second;
        alone[i] = single.per_second;
    }
    qsort(shares, TURNS, sizeof shares[0], bench_compare_double);
    qsort(alone, TURNS, sizeof alone[0], bench_compare_double);
    *one = alone[TURNS / 2];
    return shares[TURNS / 2];
}

/* Waves of threads that come, call, hold each other up, and go; between them everybody sleeps. */
static uint64_t waves(struct bench *b, hc_enclave *enclave)
{
    uint64_t wanted = b->full ? 2200000u : 100000u, made = 0;
    while (made < wanted) {
        struct phase wave = {
            .enclave = enclave, .requesters = 8, .calls = b->full ? 20000 : 4000, .disturb = true};
        run_phase(b, &wave);
        made += wave.total;
    }
    return made;
}

static void run_crowd(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    hc_enclave *enclave;
    double one_unpinned, one_pinned, unpinned, pinned;
    uint64_t tokens, withdrawn, wakes;
    (void)samples;
    (void)count;
    if (!open_enclave(b, 1, &enclave))
        return;
    unpinned = share_of_one(b, enclave, false, &one_unpinned);
    tokens = waves(b, enclave);
    pinned = share_of_one(b, enclave, true, &one_pinned);
    count_events(enclave, &withdrawn, &wakes);
    close_enclave(b, enclave);
    begin_values(b, row);
    bench_json_double("unpinned_share", unpinned);
    bench_json_double("pinned_share", pinned);
    bench_json_double("one_unpinned_calls_per_s", one_unpinned);
    bench_json_double("one_pinned_calls_per_s", one_pinned);
    bench_json_u64("tokens", tokens);
    bench_json_u64("withdrawals", withdrawn);
    bench_json_u64("wake_ups", wakes);
    bench_json_end();
}

#define ROW(REQUESTERS, RESPONDERS, TITLE)                                \
    {                                                                     \
        .name = "load_" #REQUESTERS "x" #RESPONDERS,                      \
        .group = "load",                                                  \
        .title = TITLE,                                                   \
        .flags = BENCH_ENCLAVE | BENCH_VALUES | BENCH_ONCE | BENCH_CROSS, \
        .batch = 1,                                                       \
        .variant = LOAD(REQUESTERS, RESPONDERS),                          \
        .prepare = prepare,                                               \
        .run = run_load,                                                  \
    }

static const struct bench_row g_rows[] = {
    ROW(1, 1, "1 requester, 1 responder"),
    ROW(2, 1, "2 requesters, 1 responder"),
    ROW(4, 1, "4 requesters, 1 responder"),
    ROW(8, 1, "8 requesters, 1 responder"),
    ROW(1, 2, "1 requester, 2 responders"),
    ROW(2, 2, "2 requesters, 2 responders"),
    ROW(4, 2, "4 requesters, 2 responders"),
    ROW(8, 2, "8 requesters, 2 responders"),
    {
        .name = "crowd",
        .group = "load",
        .title = "8 requesters on two CPUs",
        .note = "Share of what one requester reaches right before; every call carries a token "
                "that is checked on both sides, with withdrawals, wake-ups and exits of threads "
                "forced. Pinned: requesters on one CPU, the responder on the other.",
        .flags = BENCH_ENCLAVE | BENCH_VALUES | BENCH_ONCE | BENCH_CROSS,
        .batch = 1,
        .prepare = prepare,
        .run = run_crowd,
    },
};

const struct bench_table g_bench_rows_load = {g_rows, sizeof g_rows / sizeof g_rows[0]};
