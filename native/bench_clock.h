/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_clock.h -- what the timer costs by itself, and a fixed loop that tells whether the
 * processor's clock changed.
 *
 * For bench_*.c and for the extension of `hotcalls bench --python`; host side; trusts nothing.
 */
#ifndef HC_BENCH_CLOCK_H
#define HC_BENCH_CLOCK_H

#include "bench_arch.h"

struct bench_timer {
    double overhead; /* cycles of an empty pair of stamps, mean */
    uint32_t step;   /* what all stamps are multiples of: 26 on some machines, usually 1 or 2 */
};

/* Cycles of 2^18 dependent multiplications: 0.3 ms, no memory, nothing to predict. */
static inline uint64_t bench_spin_loop(void)
{
    uint64_t value = 1, begin = bench_start();
    for (unsigned i = 0; i < 1u << 18; i++) {
        value *= 0xd1342543de82ef95u;
        __asm__ volatile("" : "+r"(value));
    }
    return bench_stop() - begin;
}

static inline uint64_t bench_gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static inline struct bench_timer bench_timer_measure(void)
{
    enum { COUNT = 4096 };
    uint64_t sum = 0, step = 0, first = hc_tsc();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t begin = bench_start();
        uint64_t end = bench_stop();
        sum += end - begin;
        step = bench_gcd(step, end - begin);
        step = bench_gcd(step, begin - first);
    }
    return (struct bench_timer){.overhead = (double)sum / COUNT, .step = (uint32_t)step};
}

#endif /* HC_BENCH_CLOCK_H */
