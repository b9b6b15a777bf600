/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_bare.h -- the bare mailbox, and what the benchmark's two sides agree on.
 *
 * For bench_*.c and for the benchmark enclave (src/hotcalls/bench/bench_enclave.c), so either
 * side. Both ends trust each other, and that is the point: the mailbox checks nothing, so that
 * what the checks of a real call cost can be seen against it.
 */
#ifndef HC_BENCH_BARE_H
#define HC_BENCH_BARE_H

#include <string.h>

#include "bench_arch.h"

/* Which way the payload goes, beside its size. */
#define BENCH_COPY_IN (UINT64_C(1) << 32)
#define BENCH_COPY_OUT (UINT64_C(1) << 33)
#define BENCH_COPY_SIZE (BENCH_COPY_IN - 1u)

#define BENCH_PAYLOAD_MAX (1u << 20)
#define BENCH_STOP UINT64_MAX

/* What a timed call carries. */
enum bench_kind {
    BENCH_ECHO,
    BENCH_IN,
    BENCH_OUT,
    BENCH_OUT_NRZ,
    BENCH_INOUT,
    BENCH_SHARED,
    BENCH_NEST,
};

/* Sequence word, argument and result in one cache line. */
struct bench_line {
    _Alignas(HC_CELL_STRIDE) uint64_t word; /* odd: posted, the server's; even: the requester's */
    uint64_t argument;
    uint64_t result;
};

struct bench_bare {
    struct bench_line line;
    _Alignas(HC_CELL_STRIDE) uint8_t window[BENCH_PAYLOAD_MAX]; /* whoever the word says */
};

/*
 * One answer for every odd word, until the word is BENCH_STOP. The payload is copied from the
 * window to memory of the server's own and back, as whoever does not trust the other side must.
 */
static inline void bench_bare_serve(struct bench_bare *bare, uint8_t *private, uint64_t ways)
{
    size_t size = ways & BENCH_COPY_SIZE;
    uint64_t word;
    for (;;) {
        /* SYNC: pairs with bench_bare_trip() (word); argument and window are the server's now. */
        while (!((word = __atomic_load_n(&bare->line.word, __ATOMIC_ACQUIRE)) & 1u))
            hc_pause();
        if (word == BENCH_STOP)
            return;
        if (ways & BENCH_COPY_IN)
            memcpy(private, bare->window, size);
        bare->line.result = bare->line.argument + 1u;
        if (ways & BENCH_COPY_OUT)
            memcpy(bare->window, private, size);
        /* SYNC: pairs with bench_bare_trip() (word); publishes the result and the window. */
        __atomic_store_n(&bare->line.word, word + 1u, __ATOMIC_RELEASE);
    }
}

HC_ALWAYS_INLINE uint64_t bench_bare_trip(struct bench_bare *bare, uint8_t *private, uint64_t ways,
                                          uint64_t token)
{
    size_t size = ways & BENCH_COPY_SIZE;
    /* Relaxed: the word is even, so only this side writes it. */
    uint64_t word = __atomic_load_n(&bare->line.word, __ATOMIC_RELAXED) + 1u;
    if (ways & BENCH_COPY_IN)
        memcpy(bare->window, private, size);
    bare->line.argument = token;
    /* SYNC: pairs with bench_bare_serve() (word); publishes the argument and the window. */
    __atomic_store_n(&bare->line.word, word, __ATOMIC_RELEASE);
    /* SYNC: pairs with bench_bare_serve() (word); the result and the window are ours again. */
    while (__atomic_load_n(&bare->line.word, __ATOMIC_ACQUIRE) != word + 1u)
        hc_pause();
    if (ways & BENCH_COPY_OUT)
        memcpy(private, bare->window, size);
    return bare->line.result;
}

/* SYNC: pairs with bench_bare_serve() (word); publishes nothing but itself. */
static inline void bench_bare_stop(struct bench_bare *bare)
{
    __atomic_store_n(&bare->line.word, BENCH_STOP, __ATOMIC_RELEASE);
}

/* SplitMix64: any seed is a good one, and a run can be repeated from it. */
HC_ALWAYS_INLINE uint64_t bench_mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

HC_ALWAYS_INLINE uint32_t bench_saturate(uint64_t cycles)
{
    return cycles > UINT32_MAX ? UINT32_MAX : (uint32_t)cycles;
}

/* The bodies of the functions that both sides offer. */

HC_ALWAYS_INLINE uint64_t bench_sum(const uint8_t *buffer, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 8u <= size; i += 8u) {
        uint64_t word;
        memcpy(&word, buffer + i, sizeof word);
        sum += word;
    }
    return sum;
}

#endif /* HC_BENCH_BARE_H */
