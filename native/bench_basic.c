/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_basic.c -- what costs least: the timer itself, a function call, a system call; and the
 * fixed loop that tells whether the machine has changed under the benchmark.
 *
 * For bench_block.c; host side; trusts the kernel.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/* Calls in one sample of a row shorter than the timer's step (26 cycles on some machines). */
#define CALL_BATCH 256u

static void run_timer(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    (void)row;
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = bench_start();
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, end >= begin, true);
    }
}

/* The asm keeps the compiler from seeing that the body is pure and folding the loop. */
static HC_NOINLINE uint64_t callee(uint64_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value + 1u;
}

static void run_direct(struct bench *b, const struct bench_row *row, uint32_t *samples,
                       size_t count)
{
    (void)row;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = i;
        uint64_t begin = bench_start();
        for (unsigned j = 0; j < CALL_BATCH; j++)
            value = callee(value);
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, value, i + CALL_BATCH);
    }
}

static void run_indirect(struct bench *b, const struct bench_row *row, uint32_t *samples,
                         size_t count)
{
    uint64_t (*volatile pointer)(uint64_t) = callee;
    (void)row;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = i;
        uint64_t begin = bench_start();
        for (unsigned j = 0; j < CALL_BATCH; j++)
            value = pointer(value);
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, value, i + CALL_BATCH);
    }
}

static void run_syscall(struct bench *b, const struct bench_row *row, uint32_t *samples,
                        size_t count)
{
    uint64_t parent = (uint64_t)getppid();
    for (size_t i = 0; i < count; i++) {
        if (row->flags & BENCH_COLD)
            bench_displace(b);
        uint64_t begin = bench_start();
        uint64_t result = (uint64_t)syscall(SYS_getppid);
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, result, parent);
    }
}

static const struct bench_row g_rows[] = {
    {
        .name = "timer",
        .group = "basic",
        .title = "an empty pair of time stamps",
        .note = "Part of every figure below; never subtracted.",
        .batch = 1,
        .run = run_timer,
    },
    {
        .name = "call_direct",
        .group = "basic",
        .title = "direct function call",
        .note = "256 calls in a sample.",
        .batch = CALL_BATCH,
        .run = run_direct,
    },
    {
        .name = "call_indirect",
        .group = "basic",
        .title = "indirect function call",
        .note = "256 calls in a sample.",
        .batch = CALL_BATCH,
        .run = run_indirect,
    },
    {
        .name = "syscall",
        .group = "basic",
        .title = "system call (getppid)",
        .batch = 1,
        .run = run_syscall,
    },
    {
        .name = "syscall_cold",
        .group = "basic",
        .title = "system call (getppid), cold",
        .cold = g_bench_displace_text,
        .flags = BENCH_COLD,
        .batch = 1,
        .run = run_syscall,
    },
};

const struct bench_table g_bench_rows_basic = {g_rows, sizeof g_rows / sizeof g_rows[0]};
