/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_enclave.c -- the trusted side of the benchmark: functions that do as little as possible.
 *
 * Runs inside the enclave, called through the proxies generated from bench.edl. Trusts the host,
 * which measures it; it keeps no secret. Buffers are touched at their last byte only, so that
 * the figures are those of the crossing; an `out` buffer is filled, because `nrz` demands it.
 */
#include <hotcalls_enclave.h>

#include "bench_bare.h"
#include "bench_t.h"

uint64_t bench_echo(uint64_t token)
{
    return token + 1u;
}

void bench_nothing(void)
{
}

uint32_t bench_in(const uint8_t *buffer, size_t size)
{
    return size ? buffer[size - 1u] : 0u;
}

void bench_out(uint8_t *buffer, size_t size, uint8_t mark)
{
    memset(buffer, mark, size);
}

void bench_out_nrz(uint8_t *buffer, size_t size, uint8_t mark)
{
    memset(buffer, mark, size);
}

void bench_inout(uint8_t *buffer, size_t size)
{
    if (size)
        buffer[size - 1u]++;
}

uint64_t bench_shared(uint8_t *buffer, size_t size)
{
    return bench_sum(buffer, size);
}

uint32_t bench_nest(uint32_t depth)
{
    uint32_t reached = 0;
    if (depth && bench_host_nest(&reached, depth - 1u) != HC_OK)
        return 0;
    return reached + 1u;
}

/* ---- ocalls, timed where they are made ------------------------------------------------------ */

static _Alignas(4096) uint8_t g_private[BENCH_PAYLOAD_MAX];

/* One ocall; false when it failed or its result was wrong. */
static bool call_out(enum bench_kind kind, uint8_t *shared, size_t size, uint64_t token,
                     uint32_t *sample)
{
    uint64_t result = 0, expected = token + 1u, begin, end;
    uint32_t small = 0;
    enum hc_status status;
    switch (kind) {
    case BENCH_ECHO:
        begin = bench_start();
        status = bench_host_echo(&result, token);
        end = bench_stop();
        break;
    case BENCH_IN:
        g_private[size - 1u] = (uint8_t)token;
        begin = bench_start();
        status = bench_host_in(&small, g_private, size);
        end = bench_stop();
        result = small;
        expected = (uint8_t)token;
        break;
    case BENCH_OUT:
        begin = bench_start();
        status = bench_host_out(g_private, size, (uint8_t)token);
        end = bench_stop();
        result = g_private[size - 1u];
        expected = (uint8_t)token;
        break;
    case BENCH_OUT_NRZ:
        begin = bench_start();
        status = bench_host_out_nrz(g_private, size, (uint8_t)token);
        end = bench_stop();
        result = g_private[size - 1u];
        expected = (uint8_t)token;
        break;
    case BENCH_INOUT:
        g_private[size - 1u] = (uint8_t)token;
        begin = bench_start();
        status = bench_host_inout(g_private, size);
        end = bench_stop();
        result = g_private[size - 1u];
        expected = (uint8_t)(token + 1u);
        break;
    case BENCH_SHARED:
        memset(shared, (uint8_t)token, size);
        expected = bench_sum(shared, size);
        begin = bench_start();
        status = bench_host_shared(&result, shared, size);
        end = bench_stop();
        break;
    case BENCH_NEST:
        begin = bench_start();
        status = bench_host_nest(&small, (uint32_t)size);
        end = bench_stop();
        result = small;
        expected = size + 1u;
        break;
    default:
        return false;
    }
    *sample = bench_saturate(end - begin);
    return status == HC_OK && result == expected;
}

uint64_t bench_ocalls(uint32_t kind, uint32_t mode, uint64_t size, uint64_t seed, uint8_t *shared,
                      uint32_t *samples, size_t count)
{
    uint64_t wrong = 0;
    if (size > sizeof g_private || hc_enclave_mode((enum hc_mode)mode) != HC_OK)
        return count;
    for (size_t i = 0; i < count; i++)
        if (!call_out((enum bench_kind)kind, shared, size, bench_mix(&seed), &samples[i]))
            wrong++;
    return hc_enclave_mode(HC_MODE_DEFAULT) == HC_OK ? wrong : count;
}

/* ---- the probe, and what the harder rows need ----------------------------------------------- */

void bench_serve(uint8_t *bare, size_t size, uint64_t ways)
{
    if (size >= sizeof(struct bench_bare) && (ways & BENCH_COPY_SIZE) <= sizeof g_private)
        bench_bare_serve((struct bench_bare *)(void *)bare, g_private, ways);
}

void bench_hold(uint32_t *flags)
{
    /* Relaxed: only their being set matters. */
    __atomic_store_n(&flags[0], 1u, __ATOMIC_RELAXED);
    while (__atomic_load_n(&flags[1], __ATOMIC_RELAXED) == 0)
        hc_pause();
}

/* The last number of each requester. Its calls come one after the other, so only one writes. */
#define REQUESTERS 64u
static struct {
    _Alignas(HC_CELL_STRIDE) uint64_t last;
    uint64_t faults;
} g_tokens[REQUESTERS];

uint64_t bench_token(uint32_t requester, uint64_t number, uint64_t spin)
{
    uint64_t begin = spin ? hc_tsc() : 0;
    if (requester >= REQUESTERS)
        return 0;
    /* Relaxed: a requester's calls are ordered by their cells; several threads run them in turn. */
    uint64_t last = __atomic_load_n(&g_tokens[requester].last, __ATOMIC_RELAXED);
    if (number != last + 1u)
        (void)__atomic_add_fetch(&g_tokens[requester].faults, 1u, __ATOMIC_RELAXED);
    __atomic_store_n(&g_tokens[requester].last, number, __ATOMIC_RELAXED);
    while (spin && hc_tsc() - begin < spin)
        hc_pause();
    return number ^ ((uint64_t)requester << 48);
}

uint64_t bench_token_faults(void)
{
    uint64_t faults = 0;
    for (uint32_t i = 0; i < REQUESTERS; i++)
        faults += __atomic_load_n(&g_tokens[i].faults, __ATOMIC_RELAXED);
    return faults;
}

void bench_token_reset(void)
{
    memset(g_tokens, 0, sizeof g_tokens);
}
