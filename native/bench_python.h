/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_python.h -- the floor of calls from Python to Python: a bare mailbox that carries bytes.
 *
 * For the extension of `hotcalls bench --python` (src/hotcalls/bench/python/_floor.pyx), either
 * side. Both ends trust each other, and that is the point: nothing is checked but sizes, nobody
 * sleeps, there is one caller. What a call of a Python enclave costs is measured against it.
 */
#ifndef HC_BENCH_PYTHON_H
#define HC_BENCH_PYTHON_H

#include <stddef.h>

#include "bench_bare.h"

#define BENCH_PYTHON_INLINE 48u
#define BENCH_PYTHON_WINDOW (1u << 20)

/* Word and small message in one cache line; a larger one is in the window. */
struct bench_python_line {
    _Alignas(HC_CELL_STRIDE) uint64_t word; /* odd: posted, the server's; even: the requester's */
    uint32_t size;
    uint32_t function; /* of an answer: 1 when the function raised */
    uint8_t data[BENCH_PYTHON_INLINE];
};

_Static_assert(offsetof(struct bench_python_line, data) + BENCH_PYTHON_INLINE == HC_CACHE_LINE,
               "a small call is one cache line");

struct bench_python {
    struct bench_bare bare; /* the probe's */
    struct bench_python_line line;
    _Alignas(HC_CELL_STRIDE) uint8_t window[BENCH_PYTHON_WINDOW]; /* whoever the word says */
};

/*
 * How often an end looks before it gives the other one up: about ten seconds of PAUSE. A block
 * takes milliseconds, and between blocks the server sleeps on its pipe.
 */
#define BENCH_PYTHON_LOOKS (UINT64_C(1) << 28)

HC_ALWAYS_INLINE void bench_python_write(struct bench_python *m, uint32_t function,
                                         const void *data, uint32_t size)
{
    memcpy(size <= BENCH_PYTHON_INLINE ? m->line.data : m->window, data, size);
    m->line.size = size;
    m->line.function = function;
}

HC_ALWAYS_INLINE const uint8_t *bench_python_data(const struct bench_python *m)
{
    return m->line.size <= BENCH_PYTHON_INLINE ? m->line.data : m->window;
}

/* Hands over what was written: a request makes the word odd, an answer even. */
HC_ALWAYS_INLINE void bench_python_hand_over(struct bench_python *m)
{
    /* Relaxed: the word is this side's, so only this side writes it. */
    uint64_t word = __atomic_load_n(&m->line.word, __ATOMIC_RELAXED);
    /* SYNC: pairs with bench_python_await() (word); publishes the line and the window. */
    __atomic_store_n(&m->line.word, word + 1u, __ATOMIC_RELEASE);
}

/* Spins until the word is odd (a request) or even (an answer); -1 when the other end gave up. */
HC_ALWAYS_INLINE int bench_python_await(const struct bench_python *m, uint64_t odd)
{
    for (uint64_t i = 0; i < BENCH_PYTHON_LOOKS; i++) {
        /* SYNC: pairs with bench_python_hand_over() (word); line and window are ours now. */
        if ((__atomic_load_n(&m->line.word, __ATOMIC_ACQUIRE) & 1u) == odd)
            return 0;
        hc_pause();
    }
    return -1;
}

#if defined(__clang__)
#define BENCH_PYTHON_COMPILER "clang " __clang_version__
#else
#define BENCH_PYTHON_COMPILER "gcc " __VERSION__
#endif

#endif /* HC_BENCH_PYTHON_H */
