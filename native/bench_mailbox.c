/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_mailbox.c -- the floor: a bare mailbox between two pinned processes, with and without
 * copies, and the paper's own protocol written anew.
 *
 * For bench_block.c; host side; both ends trust each other, and that is the point: these rows
 * check nothing, so that what the checks of a real call cost can be seen against them.
 */
#include <string.h>

#include "bench.h"

static _Alignas(4096) uint8_t g_requester[BENCH_PAYLOAD_MAX];
static _Alignas(4096) uint8_t g_partner[BENCH_PAYLOAD_MAX]; /* forked: the partner has its own */

/* --- the bare mailbox, one line (bench_bare.h) ----------------------------------------------- */

static void serve_bare(struct bench_shared *shared, const struct bench_pipes *pipes, uint64_t ways)
{
    (void)pipes;
    bench_bare_serve(&shared->bare, g_partner, ways);
}

static void stop_mailbox(struct bench *b)
{
    bench_bare_stop(&bench_partner_shared(b)->bare);
    bench_partner_join(b);
}

static int start_job(struct bench *b, bench_job *job, uint64_t argument)
{
    struct bench_shared *shared = bench_partner_shared(b);
    /* Plain: the partner sleeps, and bench_partner_start() publishes. */
    memset(&shared->bare.line, 0, sizeof shared->bare.line);
    memset(&shared->second, 0, sizeof shared->second);
    return bench_partner_start(b, job, argument, b->cpu_responder);
}

/* Inlined, so that the empty trip has no branch on `ways`. */
HC_ALWAYS_INLINE void take(struct bench *b, struct bench_bare *bare, uint64_t ways,
                           uint32_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t token = bench_random(b);
        uint64_t begin = bench_start();
        uint64_t result = bench_bare_trip(bare, g_requester, ways, token);
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, result, token + 1u);
    }
}

static void take_empty(struct bench *b, struct bench_bare *bare, uint32_t *samples, size_t count)
{
    take(b, bare, 0, samples, count);
}

static void take_copies(struct bench *b, struct bench_bare *bare, uint64_t ways, uint32_t *samples,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        /* The payload goes out and comes back: a byte that differs each time proves both. */
        uint8_t *last = &g_requester[(ways & BENCH_COPY_SIZE) - 1u];
        uint8_t mark = (uint8_t)bench_random(b);
        *last = mark;
        take(b, bare, ways, &samples[i], 1);
        if ((ways & BENCH_COPY_IN) && (ways & BENCH_COPY_OUT))
            bench_check(b, *last, mark);
    }
}

uint64_t bench_mailbox_ways(const struct bench_row *row)
{
    return row->size ? row->variant | row->size : 0;
}

static int prepare_mailbox(struct bench *b, const struct bench_row *row)
{
    return start_job(b, serve_bare, bench_mailbox_ways(row));
}

void bench_bare_take(struct bench *b, struct bench_bare *bare, uint64_t ways, uint32_t *samples,
                     size_t count)
{
    if (ways)
        take_copies(b, bare, ways, samples, count);
    else
        take_empty(b, bare, samples, count);
}

double bench_bare_probe(struct bench *b, struct bench_bare *bare, uint64_t ways)
{
    enum { MAX = 2048 };
    static uint32_t s_samples[MAX];
    size_t count = b->probe_count < MAX ? b->probe_count : MAX;
    /* The first half warms up: the other end has just woken, and its core may still clock up. */
    bench_bare_take(b, bare, ways, s_samples, count / 2u);
    bench_bare_take(b, bare, ways, s_samples, count);
    return bench_grouped_median(s_samples, count, b->timer.step);
}

static void run_mailbox(struct bench *b, const struct bench_row *row, uint32_t *samples,
                        size_t count)
{
    bench_bare_take(b, &bench_partner_shared(b)->bare, bench_mailbox_ways(row), samples, count);
}

static void finish_mailbox(struct bench *b, const struct bench_row *row)
{
    (void)row;
    stop_mailbox(b);
}

double bench_mailbox_probe(struct bench *b, const struct bench_row *row)
{
    if (prepare_mailbox(b, row) != 0)
        return 0;
    double median = bench_bare_probe(b, &bench_partner_shared(b)->bare, bench_mailbox_ways(row));
    stop_mailbox(b);
    return median;
}

/* --- two lines: the answer has a line of its own --------------------------------------------- */

static void serve_two(struct bench_shared *shared, const struct bench_pipes *pipes,
                      uint64_t argument)
{
    struct bench_line *post = &shared->bare.line, *done = &shared->second;
    uint64_t last = 0, word;
    (void)pipes;
    (void)argument;
    for (;;) {
        /* SYNC: pairs with run_two() (post word); the argument is the partner's now. */
        while ((word = __atomic_load_n(&post->word, __ATOMIC_ACQUIRE)) == last)
            hc_pause();
        if (word == BENCH_STOP)
            return;
        last = word;
        done->result = post->argument + 1u;
        /* SYNC: pairs with run_two() (done word); publishes the result. */
        __atomic_store_n(&done->word, word, __ATOMIC_RELEASE);
    }
}

static int prepare_two(struct bench *b, const struct bench_row *row)
{
    (void)row;
    return start_job(b, serve_two, 0);
}

static void run_two(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    struct bench_line *post = &bench_partner_shared(b)->bare.line;
    struct bench_line *done = &bench_partner_shared(b)->second;
    (void)row;
    for (size_t i = 0; i < count; i++) {
        uint64_t token = bench_random(b);
        /* Relaxed: only this side writes it. */
        uint64_t word = __atomic_load_n(&post->word, __ATOMIC_RELAXED) + 1u;
        uint64_t begin = bench_start();
        post->argument = token;
        /* SYNC: pairs with serve_two() (post word); publishes the argument. */
        __atomic_store_n(&post->word, word, __ATOMIC_RELEASE);
        /* SYNC: pairs with serve_two() (done word); the result is ours. */
        while (__atomic_load_n(&done->word, __ATOMIC_ACQUIRE) != word)
            hc_pause();
        uint64_t result = done->result;
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, result, token + 1u);
    }
}

/* --- the paper's protocol -------------------------------------------------------------------- */

/*
 * As the paper describes it (HotCalls, ISCA 2017, section 4): one shared structure, one spin lock
 * that either side takes for every look at it, flags for "busy", "run" and "done", and the
 * untrusted function's number with a pointer to its data. Laid over the mailbox's line: the
 * lock beside what it guards.
 */
struct paper {
    uint32_t lock;
    uint16_t call;
    bool busy, run, done, stop;
    uint64_t *data;
};

static void paper_lock(uint32_t *lock)
{
    /* SYNC: pairs with paper_unlock() (lock); all of struct paper is ours until then. */
    while (__atomic_exchange_n(lock, 1u, __ATOMIC_ACQUIRE))
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) /* Relaxed: the exchange decides. */
            hc_pause();
}

static void paper_unlock(uint32_t *lock)
{
    /* SYNC: pairs with paper_lock() (lock); publishes all of struct paper. */
    __atomic_store_n(lock, 0u, __ATOMIC_RELEASE);
}

static void paper_call_add(uint64_t *data)
{
    *data += 1u;
}

static void (*const g_paper_calls[])(uint64_t *) = {paper_call_add};

static void serve_paper(struct bench_shared *shared, const struct bench_pipes *pipes,
                        uint64_t argument)
{
    struct paper *paper = (struct paper *)(void *)&shared->bare.line;
    (void)pipes;
    (void)argument;
    for (;;) {
        paper_lock(&paper->lock);
        if (paper->stop) {
            paper_unlock(&paper->lock);
            return;
        }
        if (paper->run) {
            paper->run = false;
            g_paper_calls[paper->call](paper->data);
            paper->done = true;
        }
        paper_unlock(&paper->lock);
        hc_pause();
    }
}

static int prepare_paper(struct bench *b, const struct bench_row *row)
{
    (void)row;
    return start_job(b, serve_paper, 0);
}

static void finish_paper(struct bench *b, const struct bench_row *row)
{
    struct paper *paper = (struct paper *)(void *)&bench_partner_shared(b)->bare.line;
    (void)row;
    paper_lock(&paper->lock);
    paper->stop = true;
    paper_unlock(&paper->lock);
    bench_partner_join(b);
}

static void paper_request(struct paper *paper, uint16_t call, uint64_t *data)
{
    for (;;) {
        paper_lock(&paper->lock);
        if (!paper->busy)
            break;
        paper_unlock(&paper->lock);
        hc_pause();
    }
    paper->busy = true;
    paper->call = call;
    paper->data = data;
    paper->done = false;
    paper->run = true;
    paper_unlock(&paper->lock);
    for (;;) {
        hc_pause();
        paper_lock(&paper->lock);
        if (paper->done)
            break;
        paper_unlock(&paper->lock);
    }
    paper->busy = false;
    paper_unlock(&paper->lock);
}

static void run_paper(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    struct bench_shared *shared = bench_partner_shared(b);
    struct paper *paper = (struct paper *)(void *)&shared->bare.line;
    uint64_t *data = &shared->second.argument;
    (void)row;
    for (size_t i = 0; i < count; i++) {
        uint64_t token = bench_random(b);
        uint64_t begin = bench_start();
        *data = token;
        paper_request(paper, 0, data);
        uint64_t result = *data;
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, result, token + 1u);
    }
}

#define MAILBOX(NAME, TITLE, SIZE, WAYS)    \
    {                                       \
        .name = NAME,                       \
        .group = "mailbox",                 \
        .title = TITLE,                     \
        .flags = BENCH_CROSS | BENCH_SPINS, \
        .batch = 1,                         \
        .size = SIZE,                       \
        .variant = WAYS,                    \
        .prepare = prepare_mailbox,         \
        .run = run_mailbox,                 \
        .finish = finish_mailbox,           \
    }

static const struct bench_row g_rows[] = {
    MAILBOX("mailbox", "bare mailbox, one cache line (the floor)", 0, 0),
    {
        .name = "mailbox_two_lines",
        .group = "mailbox",
        .title = "bare mailbox, two cache lines",
        .flags = BENCH_CROSS | BENCH_SPINS,
        .batch = 1,
        .prepare = prepare_two,
        .run = run_two,
        .finish = finish_mailbox,
    },
    MAILBOX("mailbox_64", "bare mailbox + 64 B in and out", 64, BENCH_COPY_IN | BENCH_COPY_OUT),
    MAILBOX("mailbox_2k_in", "bare mailbox + 2 KiB in", 2048, BENCH_COPY_IN),
    MAILBOX("mailbox_2k_out", "bare mailbox + 2 KiB out", 2048, BENCH_COPY_OUT),
    MAILBOX("mailbox_2k", "bare mailbox + 2 KiB in and out", 2048, BENCH_COPY_IN | BENCH_COPY_OUT),
    MAILBOX("mailbox_16k", "bare mailbox + 16 KiB in and out", 16384,
            BENCH_COPY_IN | BENCH_COPY_OUT),
    MAILBOX("mailbox_128k", "bare mailbox + 128 KiB in and out", 131072,
            BENCH_COPY_IN | BENCH_COPY_OUT),
    MAILBOX("mailbox_1m", "bare mailbox + 1 MiB in and out", 1048576,
            BENCH_COPY_IN | BENCH_COPY_OUT),
    {
        .name = "paper",
        .group = "mailbox",
        .title = "the paper's protocol, written anew",
        .note = "Lacks: any check of the call number and of the data pointer; protection against a "
                "peer that holds the lock for ever; a sequence number (a call can be run or "
                "answered twice); a bound on waiting; withdrawal; noticing that the peer died; "
                "a second caller's progress while the first waits; marshalling.",
        .flags = BENCH_CROSS | BENCH_SPINS,
        .batch = 1,
        .prepare = prepare_paper,
        .run = run_paper,
        .finish = finish_paper,
    },
};

const struct bench_table g_bench_rows_mailbox = {g_rows, sizeof g_rows / sizeof g_rows[0]};
