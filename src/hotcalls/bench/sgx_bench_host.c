/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sgx_bench_host.c -- the host's part of `hotcalls bench --target sgx-sdk`: a library that the
 * benchmark's worker loads. See sgx_bench.h.
 *
 * Includes the generated untrusted side, to get at its responders' threads and pin them.
 */
#define _GNU_SOURCE
#include "sgx_bench_u.c"

#include "sgx_bench.h"

#include "sgx_urts.h"

/* How long a responder may take to begin, where others use its processor. */
#define START_NS UINT64_C(1000000000)

static void (*g_arrived)(void);

void o_empty(void)
{
    g_arrived();
}

void o_empty_h(void)
{
    g_arrived();
}

uint64_t o_echo(uint64_t token)
{
    g_arrived();
    return token + 1u;
}

uint64_t o_echo_h(uint64_t token)
{
    g_arrived();
    return token + 1u;
}

uint32_t o_in(const uint8_t *p, size_t n)
{
    g_arrived();
    return p[n - 1u];
}

uint32_t o_in_h(const uint8_t *p, size_t n)
{
    g_arrived();
    return p[n - 1u];
}

void o_out(uint8_t *p, size_t n, uint8_t mark)
{
    g_arrived();
    p[n - 1u] = mark;
}

void o_out_h(uint8_t *p, size_t n, uint8_t mark)
{
    g_arrived();
    p[n - 1u] = mark;
}

void o_inout(uint8_t *p, size_t n)
{
    g_arrived();
    p[n - 1u]++;
}

void o_inout_h(uint8_t *p, size_t n)
{
    g_arrived();
    p[n - 1u]++;
}

static unsigned open_enclave(const char *file, uint64_t *eid)
{
    sgx_launch_token_t token = {0};
    int updated = 0;
    sgx_enclave_id_t made = 0;
    sgx_status_t status = sgx_create_enclave(file, SGX_DEBUG_FLAG, &token, &updated, &made, NULL);
    *eid = made;
    return status;
}

static void close_enclave(uint64_t eid)
{
    sgx_bench_hot_stop(eid);
    (void)sgx_destroy_enclave(eid);
}

/* Relaxed: a hint, by itself. */
static int awake(uint64_t eid, int ecalls)
{
    const struct hot *hot = hot_find(eid);
    if (hot == NULL)
        return 0;
    return ecalls ? __atomic_load_n(&hot->enclave_awake, __ATOMIC_RELAXED) != 0
                  : __atomic_load_n(&hot->board->host_awake, __ATOMIC_RELAXED) != 0;
}

static unsigned start(uint64_t eid, int ecalls, int cpu, const char **why,
                      const uint64_t **ordinary)
{
    struct hc_sgx_options options = {
        .enclave_responders = ecalls ? 1u : UINT32_MAX,
        .host_responders = ecalls ? UINT32_MAX : 1u,
        .take_ns = SGX_BENCH_TAKE_US * UINT64_C(1000),
        /* Awake over the pauses between the parts of a block; a row stops its responder. */
        .idle_ns = UINT64_C(40000000),
    };
    sgx_status_t status = sgx_bench_hot_start(eid, &options, why);
    struct hot *hot = hot_find(eid);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (status != SGX_SUCCESS || hot == NULL)
        return status;
    for (uint32_t i = 0; i < hot->thread_count; i++)
        (void)pthread_setaffinity_np(hot->threads[i].thread, sizeof set, &set);
    /*
     * One that serves ecalls is inside by now. One that serves ocalls may have found nothing to do
     * and gone to sleep before it was looked at, so it is rung for. That it never gets a processor
     * is noticed by the calls.
     */
    uint64_t until = hot_now() + START_NS;
    while (!ecalls && hot->thread_count != 0 && !awake(eid, 0) && hot_now() < until) {
        hot_ring(&hot->ocall_bell, 1);
        (void)sched_yield();
    }
    *ordinary = ecalls ? &hot->ordinary_ecalls : &hot->ordinary_ocalls;
    return status;
}

static void stop(uint64_t eid)
{
    sgx_bench_hot_stop(eid);
}

static unsigned emptied(uint64_t eid, uint64_t *count)
{
    return e_emptied(eid, count);
}

static unsigned ocalls(uint64_t eid, enum sgx_bench_kind kind, int hot, size_t size, uint64_t seed,
                       uint64_t count, void (*arrived)(void), uint64_t *wrong)
{
    g_arrived = arrived;
    return e_ocalls(eid, wrong, kind, hot, size, seed, count);
}

extern const struct sgx_bench g_sgx_bench;
__attribute__((visibility("default"))) const struct sgx_bench g_sgx_bench = {
    .open = open_enclave,
    .close = close_enclave,
    .start = start,
    .awake = awake,
    .stop = stop,
    .empty = {e_empty, e_empty_h},
    .echo = {e_echo, e_echo_h},
    .in = {e_in, e_in_h},
    .out = {e_out, e_out_h},
    .inout = {e_inout, e_inout_h},
    .emptied = emptied,
    .ocalls = ocalls,
};
