/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_support.c -- random numbers, pinning, clocks, and displacing caches.
 *
 * For bench_*.c; host side; trusts the kernel.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

uint64_t bench_random(struct bench *b)
{
    return bench_mix(&b->random);
}

int bench_pin(pid_t thread, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    return sched_setaffinity(thread, sizeof set, &set);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_cpu_ns(pid_t pid)
{
    clockid_t clock;
    if (pid == 0)
        return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (clock_getcpuclockid(pid, &clock) != 0)
        return 0;
    return clock_ns(clock);
}

uint64_t bench_wall_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_RAW);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int bench_compare_double(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

uint32_t bench_median(uint32_t *samples, size_t count)
{
    if (count == 0)
        return 0;
    qsort(samples, count, sizeof *samples, compare_u32);
    return samples[count / 2];
}

double bench_grouped_median(uint32_t *samples, size_t count, uint32_t step)
{
    if (count == 0)
        return 0.0;
    uint32_t value = bench_median(samples, count);
    size_t below = 0, equal = 0;
    for (size_t i = 0; i < count; i++) {
        below += samples[i] < value;
        equal += samples[i] == value;
    }
    return value + step * (((double)count / 2.0 - (double)below) / (double)equal - 0.5);
}

int bench_skip(struct bench *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(b->reason, sizeof b->reason, format, arguments);
    va_end(arguments);
    b->skipped = true;
    return -1;
}

const char g_bench_displace_text[] =
    "the requester's first two cache levels, displaced by writing four times the second level";

void bench_displace(struct bench *b)
{
    static volatile uint8_t *s_buffer;
    static size_t s_size;
    (void)b;
    if (!s_buffer) {
        long level2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
        /* Virtual machines may hide it; 2 MiB is the largest second level of today's servers. */
        s_size = 4u * (level2 > 0 ? (size_t)level2 : (size_t)2u << 20);
        s_buffer = malloc(s_size);
        if (!s_buffer)
            abort();
    }
    for (size_t i = 0; i < s_size; i += HC_CACHE_LINE)
        s_buffer[i]++;
}
