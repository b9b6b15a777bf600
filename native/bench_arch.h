/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_arch.h -- what only the benchmark needs of the processor: a fenced pair of time stamps
 * and evicting a line. Everything else comes from hotcalls/arch.h.
 *
 * For bench_*.c; host side; trusts nothing.
 */
#ifndef HC_BENCH_ARCH_H
#define HC_BENCH_ARCH_H

#include <hotcalls/arch.h>

/*
 * One call is timed as  bench_start(); call; bench_stop().
 *
 * start: LFENCE RDTSC LFENCE. The first LFENCE keeps the counter from being read while earlier
 * work is still running (it would be charged to the call), the second keeps the call from
 * starting before the counter is read (it would be given away).
 *
 * stop: RDTSCP LFENCE. RDTSCP waits until everything before it has executed, so that the call's
 * last load has its value; the LFENCE keeps later work out. A store may still sit in the store
 * buffer: a call that ends with one (a write row) adds bench_fence() inside the timed part and
 * says so. No CPUID: it exits to the hypervisor in a virtual machine, thousands of cycles.
 *
 * Neither is free: the row `timer` measures an empty pair, and nothing subtracts it.
 */
#if defined(__x86_64__)

HC_ALWAYS_INLINE uint64_t bench_start(void)
{
    return hc_tsc_ordered();
}

HC_ALWAYS_INLINE uint64_t bench_stop(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtscp\n\tlfence" : "=a"(low), "=d"(high) : : "ecx", "memory");
    return ((uint64_t)high << 32) | low;
}

/* Out of every cache of the machine; ordered by the next bench_fence(). */
HC_ALWAYS_INLINE void bench_flush_line(const void *address)
{
    __asm__ volatile("clflush %0" : : "m"(*(const char *)address) : "memory");
}

/* Every earlier store and CLFLUSH is done before anything later. */
HC_ALWAYS_INLINE void bench_fence(void)
{
    __asm__ volatile("mfence\n\tlfence" : : : "memory");
}

#define BENCH_FLUSH_NAME "clflush"

#elif defined(__aarch64__)

HC_ALWAYS_INLINE uint64_t bench_start(void)
{
    return hc_tsc_ordered();
}

HC_ALWAYS_INLINE uint64_t bench_stop(void)
{
    return hc_tsc_ordered();
}

HC_ALWAYS_INLINE void bench_flush_line(const void *address)
{
    __asm__ volatile("dc civac, %0" : : "r"(address) : "memory");
}

HC_ALWAYS_INLINE void bench_fence(void)
{
    __asm__ volatile("dsb ish\n\tisb" : : : "memory");
}

#define BENCH_FLUSH_NAME "dc civac"

#endif

/* Evicts every line of [address, address + size). */
HC_ALWAYS_INLINE void bench_flush(const void *address, size_t size)
{
    const char *line = (const char *)((uintptr_t)address & ~(uintptr_t)(HC_CACHE_LINE - 1u));
    const char *end = (const char *)address + size;
    for (; line < end; line += HC_CACHE_LINE)
        bench_flush_line(line);
}

#endif /* HC_BENCH_ARCH_H */
