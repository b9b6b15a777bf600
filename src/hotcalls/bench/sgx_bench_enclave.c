/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sgx_bench_enclave.c -- the trusted functions of `hotcalls bench --target sgx-sdk`.
 *
 * Inside an SGX enclave, in simulation, or in the stand-in. Nothing here reads a clock: RDTSC is
 * not allowed in the enclaves of older processors, so the host times what arrives.
 */
#include "sgx_bench_t.h"

#include "sgx_bench.h"

#include <string.h>

static uint64_t g_emptied; /* atomic */

void e_empty(void)
{
    (void)__atomic_add_fetch(&g_emptied, 1u, __ATOMIC_RELAXED);
}

void e_empty_h(void)
{
    /* A plain store: one responder runs these, and a locked instruction would be part of the call. */
    __atomic_store_n(&g_emptied, __atomic_load_n(&g_emptied, __ATOMIC_RELAXED) + 1u,
                     __ATOMIC_RELAXED);
}

uint64_t e_emptied(void)
{
    return __atomic_load_n(&g_emptied, __ATOMIC_RELAXED);
}

uint64_t e_echo(uint64_t token)
{
    return token + 1u;
}

uint64_t e_echo_h(uint64_t token)
{
    return token + 1u;
}

uint32_t e_in(const uint8_t *p, size_t n)
{
    return p[n - 1u];
}

uint32_t e_in_h(const uint8_t *p, size_t n)
{
    return p[n - 1u];
}

void e_out(uint8_t *p, size_t n, uint8_t mark)
{
    p[n - 1u] = mark;
}

void e_out_h(uint8_t *p, size_t n, uint8_t mark)
{
    p[n - 1u] = mark;
}

void e_inout(uint8_t *p, size_t n)
{
    p[n - 1u]++;
}

void e_inout_h(uint8_t *p, size_t n)
{
    p[n - 1u]++;
}

/* One ocall; whether it succeeded with the right answer. */
static int ocall(enum sgx_bench_kind kind, int hot, uint8_t *buffer, size_t size, uint64_t token)
{
    uint64_t answer = 0;
    uint32_t small = 0;
    uint8_t mark = (uint8_t)token;
    sgx_status_t status = SGX_ERROR_UNEXPECTED;
    switch (kind) {
    case SGX_BENCH_EMPTY:
        status = hot ? o_empty_h() : o_empty();
        return status == SGX_SUCCESS;
    case SGX_BENCH_ECHO:
        status = hot ? o_echo_h(&answer, token) : o_echo(&answer, token);
        return status == SGX_SUCCESS && answer == token + 1u;
    case SGX_BENCH_IN:
        buffer[size - 1u] = mark;
        status = hot ? o_in_h(&small, buffer, size) : o_in(&small, buffer, size);
        return status == SGX_SUCCESS && small == mark;
    case SGX_BENCH_OUT:
        status = hot ? o_out_h(buffer, size, mark) : o_out(buffer, size, mark);
        return status == SGX_SUCCESS && buffer[size - 1u] == mark;
    case SGX_BENCH_INOUT:
        buffer[size - 1u] = mark;
        status = hot ? o_inout_h(buffer, size) : o_inout(buffer, size);
        return status == SGX_SUCCESS && buffer[size - 1u] == (uint8_t)(mark + 1u);
    }
    return 0;
}

uint64_t e_ocalls(uint32_t kind, int hot, size_t size, uint64_t seed, uint64_t count)
{
    uint8_t buffer[SGX_BENCH_SIZE_MAX];
    uint64_t wrong = 0;
    if (size > sizeof buffer || (kind >= SGX_BENCH_IN && size == 0))
        return count;
    memset(buffer, 1, sizeof buffer);
    for (uint64_t i = 0; i < count; i++)
        wrong += !ocall((enum sgx_bench_kind)kind, hot, buffer, size, sgx_bench_mix(&seed));
    return wrong;
}
