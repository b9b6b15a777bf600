/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_sgx.c -- calls of an SGX enclave through the stubs of the target sgx-sdk, ordinary and hot.
 *
 * For bench_block.c; host side; trusts the enclave and its host part, which are ours. Both are built
 * where they are measured (src/hotcalls/bench/sgx.py): with the SGX SDK, or with stand-ins that have
 * nothing of a real transition. Which it was stands in the titles that Python gives these rows.
 *
 * --enclave names a folder with host.so (sgx_bench_host.c) and two files of the same enclave:
 * on.signed.so with the mitigations for processors, off.signed.so without.
 *
 * Ecalls are timed around the call. Ocalls are timed where they arrive: a sample is the time from
 * one to the next, a whole round trip, because RDTSC is not allowed in the enclaves of older
 * processors.
 */
#include <dlfcn.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <hotcalls_host.h>

#include "bench.h"
#include "sgx_bench.h"

/*
 * Where others use the processor, a responder may be long in waking up: after so many calls that
 * found it asleep it is left a millisecond for that, and after so long a row is given up; rows
 * after that one sooner. By the clock, as each of these calls may itself wait for a processor.
 */
#define ASLEEP_CALLS 1024u
#define ASLEEP_US 5000000u
#define ASLEEP_AGAIN_US 1000000u

#define IN 0u
#define OUT 1u /* an ocall */
#define HOT 2u
#define OFF 4u /* mitigations */
#define VARIANT(FLAGS, KIND) ((uint64_t)(FLAGS) << 8 | (KIND))
#define FLAGS_OF(ROW) ((unsigned)((ROW)->variant >> 8))
#define KIND_OF(ROW) ((enum sgx_bench_kind)((ROW)->variant & 0xffu))

static struct {
    const struct sgx_bench *sgx;
    bool tried;
    uint64_t eids[2];         /* mitigations on, off */
    const uint64_t *ordinary; /* of the responder that runs; atomic */
    uint64_t take;            /* cycles after which a call that nobody took is withdrawn */
    uint64_t patience;        /* cycles after which a row whose responder sleeps is given up */
    uint64_t asleep_since;    /* in this block; 0: it was not found asleep yet */
    char reason[256];
} g_sgx;

static _Alignas(64) uint8_t g_buffer[SGX_BENCH_SIZE_MAX];

/* ---- loading -------------------------------------------------------------------------------- */

static int load(struct bench *b)
{
    static const char *const names[2] = {"on", "off"};
    char path[PATH_MAX];
    if (!b->enclave)
        return bench_skip(b, "there is no SGX enclave: run `hotcalls bench --target sgx-sdk`");
    snprintf(path, sizeof path, "%s/host.so", b->enclave);
    void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!file)
        return bench_skip(b, "%s", dlerror());
    const struct sgx_bench *sgx = dlsym(file, "g_sgx_bench");
    if (!sgx)
        return bench_skip(b, "%s", dlerror());
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s.signed.so", b->enclave, names[i]);
        unsigned status = sgx->open(path, &g_sgx.eids[i]);
        if (status != 0)
            return bench_skip(b, "sgx_create_enclave: status 0x%04x", status);
    }
    g_sgx.sgx = sgx;
    g_sgx.take = SGX_BENCH_TAKE_US * hc_cycles_per_us();
    g_sgx.patience = ASLEEP_US * hc_cycles_per_us();
    return 0;
}

/* Once; later rows are told the reason again. */
static int open_enclaves(struct bench *b)
{
    if (!g_sgx.tried) {
        g_sgx.tried = true;
        if (load(b) != 0)
            memcpy(g_sgx.reason, b->reason, sizeof g_sgx.reason);
    }
    return g_sgx.sgx ? 0 : bench_skip(b, "%s", g_sgx.reason);
}

static uint64_t eid_of(const struct bench_row *row)
{
    return g_sgx.eids[FLAGS_OF(row) & OFF ? 1 : 0];
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* A hot row's responder runs during its blocks only: the mailbox's other end needs its core. */
static int prepare(struct bench *b, const struct bench_row *row)
{
    const char *why = "";
    cpu_set_t both, mine;
    if (open_enclaves(b) != 0)
        return -1;
    if (!(FLAGS_OF(row) & HOT))
        return 0;
    g_sgx.asleep_since = 0;
    /* Responders are started only where they may run beside this thread. */
    CPU_ZERO(&mine);
    CPU_SET((unsigned)b->cpu_requester, &mine);
    both = mine;
    CPU_SET((unsigned)b->cpu_responder, &both);
    sched_setaffinity(0, sizeof both, &both);
    unsigned status = g_sgx.sgx->start(eid_of(row), !(FLAGS_OF(row) & OUT), b->cpu_responder, &why,
                                       &g_sgx.ordinary);
    sched_setaffinity(0, sizeof mine, &mine);
    return status == 0 ? 0 : bench_skip(b, "status 0x%04x: %s", status, why);
}

static void finish(struct bench *b, const struct bench_row *row)
{
    (void)b;
    if (FLAGS_OF(row) & HOT)
        g_sgx.sgx->stop(eid_of(row));
}

static void fault(struct bench *b, unsigned status)
{
    if (b->fault[0] == '\0')
        snprintf(b->fault, sizeof b->fault, "status 0x%04x", status);
}

/*
 * Was a hot call one? A call that nobody took in time is: it waited, and was then made again. One
 * that found its responder asleep is not, and costs less: its sample is taken anew.
 */
static bool was_hot(const struct bench_row *row, uint64_t *ordinary, uint32_t sample)
{
    if (!(FLAGS_OF(row) & HOT))
        return true;
    /* Relaxed: this thread counts. */
    uint64_t now = __atomic_load_n(g_sgx.ordinary, __ATOMIC_RELAXED);
    bool hot = now == *ordinary ||
               (sample >= g_sgx.take && g_sgx.sgx->awake(eid_of(row), !(FLAGS_OF(row) & OUT)));
    *ordinary = now;
    return hot;
}

/* Lets the responder wake up; false, and the row is skipped, when it took too long over that. */
static bool await_awake(struct bench *b)
{
    uint64_t now = hc_tsc();
    if (b->skipped)
        return false;
    if (g_sgx.asleep_since == 0)
        g_sgx.asleep_since = now;
    if (now - g_sgx.asleep_since > g_sgx.patience) {
        g_sgx.patience = ASLEEP_AGAIN_US * hc_cycles_per_us();
        (void)bench_skip(b, "the responder stayed asleep: others use its processor");
        return false;
    }
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return true;
}

static void run_empty(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    const uint64_t eid = eid_of(row);
    unsigned (*const empty)(uint64_t) = g_sgx.sgx->empty[FLAGS_OF(row) & HOT ? 1 : 0];
    uint64_t before = 0, after = 0, ordinary = 0;
    size_t taken = 0, calls = 0;
    unsigned status = g_sgx.sgx->emptied(eid, &before);
    (void)was_hot(row, &ordinary, 0);
    while (taken < count) {
        uint64_t begin = bench_start();
        status |= empty(eid);
        uint64_t end = bench_stop();
        calls++;
        samples[taken] = bench_saturate(end - begin);
        if (was_hot(row, &ordinary, samples[taken]))
            taken++;
        else if ((calls - taken) % ASLEEP_CALLS == 0 && !await_awake(b))
            break;
    }
    status |= g_sgx.sgx->emptied(eid, &after);
    b->checked += count;
    if (status != 0 || after - before != calls) {
        b->wrong += count;
        fault(b, status);
    }
}

/* One timed ecall with something to carry; false when it failed or its result was wrong. */
static bool ecall(struct bench *b, enum sgx_bench_kind kind, unsigned hot, uint64_t eid,
                  size_t size, uint32_t *sample)
{
    const struct sgx_bench *sgx = g_sgx.sgx;
    uint64_t token = bench_random(b), result = 0, expected = (uint8_t)token, begin = 0, end = 0;
    uint8_t *last = size ? &g_buffer[size - 1u] : g_buffer, mark = (uint8_t)token;
    uint32_t small = 0;
    unsigned status = 0;
    *last = mark;
    switch (kind) {
    case SGX_BENCH_EMPTY:
        break;
    case SGX_BENCH_ECHO:
        begin = bench_start();
        status = sgx->echo[hot](eid, &result, token);
        end = bench_stop();
        expected = token + 1u;
        break;
    case SGX_BENCH_IN:
        begin = bench_start();
        status = sgx->in[hot](eid, &small, g_buffer, size);
        end = bench_stop();
        result = small;
        break;
    case SGX_BENCH_OUT:
        *last = (uint8_t)~mark;
        begin = bench_start();
        status = sgx->out[hot](eid, g_buffer, size, mark);
        end = bench_stop();
        result = *last;
        break;
    case SGX_BENCH_INOUT:
        begin = bench_start();
        status = sgx->inout[hot](eid, g_buffer, size);
        end = bench_stop();
        result = *last;
        expected = (uint8_t)(mark + 1u);
        break;
    }
    *sample = bench_saturate(end - begin);
    if (HC_UNLIKELY(status != 0))
        fault(b, status);
    return status == 0 && result == expected;
}

static void run_ecall(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    unsigned hot = FLAGS_OF(row) & HOT ? 1u : 0u;
    uint64_t ordinary = 0;
    size_t taken = 0, asleep = 0;
    (void)was_hot(row, &ordinary, 0);
    while (taken < count) {
        bench_check(b, ecall(b, KIND_OF(row), hot, eid_of(row), row->size, &samples[taken]), true);
        if (was_hot(row, &ordinary, samples[taken]))
            taken++;
        else if (++asleep % ASLEEP_CALLS == 0 && !await_awake(b))
            break;
    }
}

/* Where ocalls arrive; one thread at a time writes it, and the enclave's return publishes it. */
static struct {
    const struct bench_row *row;
    uint32_t *samples;
    size_t count, room;
    uint64_t last, ordinary;
} g_arrivals;

static void arrived(void)
{
    uint64_t now = bench_stop();
    uint32_t sample = bench_saturate(now - g_arrivals.last);
    bool first = g_arrivals.last == 0;
    g_arrivals.last = now;
    if (was_hot(g_arrivals.row, &g_arrivals.ordinary, sample) && !first &&
        g_arrivals.count < g_arrivals.room)
        g_arrivals.samples[g_arrivals.count++] = sample;
}

static void run_ocall(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    size_t asleep = 0;
    g_arrivals.row = row;
    g_arrivals.samples = samples;
    g_arrivals.count = 0;
    g_arrivals.room = count;
    (void)was_hot(row, &g_arrivals.ordinary, 0);
    while (g_arrivals.count < count) {
        /* The first arrival begins the first sample. */
        uint64_t more = count - g_arrivals.count + 1u, wrong = 0;
        g_arrivals.last = 0;
        unsigned status = g_sgx.sgx->ocalls(eid_of(row), KIND_OF(row), FLAGS_OF(row) & HOT ? 1 : 0,
                                            row->size, bench_random(b), more, arrived, &wrong);
        b->checked += more;
        b->wrong += wrong;
        if (status != 0) {
            b->wrong += more;
            fault(b, status);
            return;
        }
        asleep += count - g_arrivals.count;
        if (asleep >= ASLEEP_CALLS) {
            asleep = 0;
            if (!await_awake(b))
                return;
        }
    }
}

#define ROW(NAME, TITLE, REFERENCE, FLAGS, NEEDS, SIZE, KIND, RUN) \
    {.name = NAME,                                                 \
     .group = "sgx",                                               \
     .title = TITLE,                                               \
     .reference = REFERENCE,                                       \
     .flags = NEEDS,                                               \
     .batch = 1,                                                   \
     .size = SIZE,                                                 \
     .variant = VARIANT(FLAGS, KIND),                              \
     .prepare = prepare,                                           \
     .run = RUN,                                                   \
     .finish = finish}
#define CROSS (BENCH_CROSS | BENCH_SPINS)
/* Ordinary, hot, and hot without the mitigations. */
#define CALLS(WAY, NAME, TITLE, REFERENCE, FLAGS, SIZE, KIND, RUN)                                 \
    ROW("sgx_" WAY "_ordinary_" NAME, "ordinary " WAY ", " TITLE, NULL, FLAGS, 0, SIZE, KIND,      \
        RUN),                                                                                      \
        ROW("sgx_" WAY "_hot_" NAME, "hot " WAY ", " TITLE, REFERENCE, (FLAGS) | HOT, CROSS, SIZE, \
            KIND, RUN),                                                                            \
        ROW("sgx_" WAY "_hot_" NAME "_off", "hot " WAY ", " TITLE ", mitigations off", REFERENCE,  \
            (FLAGS) | HOT | OFF, CROSS, SIZE, KIND, RUN)
#define BOTH(NAME, TITLE, REFERENCE, SIZE, KIND)                       \
    CALLS("ecall", NAME, TITLE, REFERENCE, IN, SIZE, KIND, run_ecall), \
        CALLS("ocall", NAME, TITLE, REFERENCE, OUT, SIZE, KIND, run_ocall)

static const struct bench_row g_rows[] = {
    CALLS("ecall", "empty", "empty", NULL, IN, 0, SGX_BENCH_EMPTY, run_empty),
    CALLS("ocall", "empty", "empty", NULL, OUT, 0, SGX_BENCH_EMPTY, run_ocall),
    BOTH("echo", "8 B by value each way", NULL, 0, SGX_BENCH_ECHO),
    BOTH("64_in", "64 B in", NULL, 64, SGX_BENCH_IN),
    BOTH("64_out", "64 B out", NULL, 64, SGX_BENCH_OUT),
    BOTH("64_inout", "64 B in,out", "mailbox_64", 64, SGX_BENCH_INOUT),
    BOTH("2k_in", "2 KiB in", "mailbox_2k_in", 2048, SGX_BENCH_IN),
    BOTH("2k_out", "2 KiB out", "mailbox_2k_out", 2048, SGX_BENCH_OUT),
    BOTH("2k_inout", "2 KiB in,out", "mailbox_2k", 2048, SGX_BENCH_INOUT),
};

const struct bench_table g_bench_rows_sgx = {g_rows, sizeof g_rows / sizeof g_rows[0]};
