/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sgx_bench.h -- what `hotcalls bench --target sgx-sdk` asks of the SGX enclave's host part.
 *
 * For native/bench_sgx.c, which loads that part, and for sgx_bench_host.c, which is it: it is built
 * where it is measured, with the SDK or with what stands in for it. And for sgx_bench_enclave.c,
 * which is built with `-nostdinc`: freestanding.
 */
#ifndef HC_SGX_BENCH_H
#define HC_SGX_BENCH_H

#include <stddef.h>
#include <stdint.h>

/* What a timed call carries. */
enum sgx_bench_kind {
    SGX_BENCH_EMPTY,
    SGX_BENCH_ECHO,
    SGX_BENCH_IN,
    SGX_BENCH_OUT,
    SGX_BENCH_INOUT,
};

#define SGX_BENCH_SIZE_MAX 2048u
/* After so long a call that nobody took becomes an ordinary one. */
#define SGX_BENCH_TAKE_US 20u

/* The symbol g_sgx_bench of the loaded part. Each gives 0, or the SDK's status. */
struct sgx_bench {
    /* Loads the enclave in `file`. */
    unsigned (*open)(const char *file, uint64_t *eid);
    void (*close)(uint64_t eid);
    /*
     * Starts a responder for ecalls, or for ocalls, on a CPU, and waits until it is awake; `*why`
     * says what was wrong. *ordinary counts the hot calls that went the ordinary way from then on.
     */
    unsigned (*start)(uint64_t eid, int ecalls, int cpu, const char **why,
                      const uint64_t **ordinary);
    /* Does a responder for ecalls, or for ocalls, spin now? */
    int (*awake)(uint64_t eid, int ecalls);
    void (*stop)(uint64_t eid);
    /* The generated proxies themselves, [0] ordinary and [1] hot. */
    unsigned (*empty[2])(uint64_t eid);
    unsigned (*echo[2])(uint64_t eid, uint64_t *result, uint64_t token);
    unsigned (*in[2])(uint64_t eid, uint32_t *result, const uint8_t *buffer, size_t size);
    unsigned (*out[2])(uint64_t eid, uint8_t *buffer, size_t size, uint8_t mark);
    unsigned (*inout[2])(uint64_t eid, uint8_t *buffer, size_t size);
    unsigned (*emptied)(uint64_t eid, uint64_t *count);
    /* Has the enclave make ocalls; each ends in arrived(), on the thread that runs it. */
    unsigned (*ocalls)(uint64_t eid, enum sgx_bench_kind kind, int hot, size_t size, uint64_t seed,
                       uint64_t count, void (*arrived)(void), uint64_t *wrong);
};

/* SplitMix64, a step: what both sides know of each other's values. */
static inline uint64_t sgx_bench_mix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif /* HC_SGX_BENCH_H */
