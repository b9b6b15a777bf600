/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arch.h -- everything that depends on the processor. Nothing outside this header does.
 *
 * Freestanding; used on both sides. Trusts nothing. x86-64 and aarch64; elsewhere it does not
 * compile, on purpose: a wrong fence is worse than no build.
 */
#ifndef HOTCALLS_ARCH_H
#define HOTCALLS_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HC_CACHE_LINE 64u
/* Intel's L2 fetches lines in aligned pairs, so what must not be shared is two lines apart. */
#define HC_CELL_STRIDE 128u

#define HC_ALWAYS_INLINE static inline __attribute__((always_inline, unused))
#define HC_NOINLINE __attribute__((noinline, unused))
#define HC_LIKELY(x) __builtin_expect(!!(x), 1)
#define HC_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* How a spinning thread may wait for a line to change, cheaper than PAUSE. */
enum hc_wait_kind {
    HC_WAIT_PAUSE,  /* PAUSE / YIELD: always there */
    HC_WAIT_UMWAIT, /* WAITPKG: UMONITOR + UMWAIT, Intel since Tremont / Sapphire Rapids */
    HC_WAIT_MWAITX, /* MONITORX + MWAITX, AMD since Excavator; hypervisors often hide it */
};

#if defined(__x86_64__)

/* The time-stamp counter, unordered: 25 cycles here. Good for bounds, not for measuring. */
HC_ALWAYS_INLINE uint64_t hc_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((uint64_t)high << 32) | low;
}

/* Not before what precedes it, not after what follows it: LFENCE on both sides of RDTSC. */
HC_ALWAYS_INLINE uint64_t hc_tsc_ordered(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return ((uint64_t)high << 32) | low;
}

HC_ALWAYS_INLINE void hc_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* Puts the store of an atomic read-modify-write before later loads: here a locked one does so. */
HC_ALWAYS_INLINE void hc_fence_after_exchange(void)
{
    __asm__ volatile("" : : : "memory");
}

/* Spectre v1: nothing after it starts before what precedes it has retired. */
HC_ALWAYS_INLINE void hc_speculation_barrier(void)
{
    __asm__ volatile("lfence" : : : "memory");
}

/* All ones when index < count, else zero, without a branch that could be mispredicted. */
HC_ALWAYS_INLINE uint64_t hc_index_mask(uint64_t index, uint64_t count)
{
    uint64_t mask;
    __asm__ volatile("cmp %2, %1\n\tsbb %0, %0" : "=r"(mask) : "r"(index), "r"(count) : "cc");
    return mask;
}

/* Asks for a line in exclusive state, so that the locked operation to come does not wait for it. */
HC_ALWAYS_INLINE void hc_prefetch_write(const void *address)
{
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
}

HC_ALWAYS_INLINE void hc_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "a"(leaf), "c"(subleaf));
}

/* Not for SGX enclaves, where CPUID is illegal: those spin with PAUSE. */
HC_ALWAYS_INLINE enum hc_wait_kind hc_wait_kind_of_cpu(void)
{
    uint32_t r[4];
    hc_cpuid(0, 0, r);
    if (r[0] >= 7u) {
        hc_cpuid(7, 0, r);
        if ((r[2] >> 5) & 1u)
            return HC_WAIT_UMWAIT;
    }
    hc_cpuid(0x80000000u, 0, r);
    if (r[0] >= 0x80000001u) {
        hc_cpuid(0x80000001u, 0, r);
        if ((r[2] >> 29) & 1u)
            return HC_WAIT_MWAITX;
    }
    return HC_WAIT_PAUSE;
}

/*
 * Waits until the line of `word` is written or `cycles` have passed, whichever is first. The
 * caller re-reads the word after arming the monitor (`still`): a write between its last read
 * and the arming would otherwise be slept through for the whole bound.
 */
HC_ALWAYS_INLINE void hc_wait_on_line(enum hc_wait_kind kind, const uint64_t *word, uint64_t still,
                                      uint32_t cycles)
{
    if (kind == HC_WAIT_UMWAIT) {
        uint64_t until = hc_tsc() + cycles;
        __asm__ volatile("umonitor %0" : : "r"(word) : "memory");
        if (__atomic_load_n(word, __ATOMIC_RELAXED) == still)
            /* C0.1 (ecx = 1): the shallow state, 0.5 us sooner awake than C0.2. */
            __asm__ volatile("umwait %0"
                             :
                             : "r"(1u), "a"((uint32_t)until), "d"((uint32_t)(until >> 32))
                             : "cc", "memory");
    } else if (kind == HC_WAIT_MWAITX) {
        __asm__ volatile("monitorx" : : "a"(word), "c"(0u), "d"(0u) : "memory");
        if (__atomic_load_n(word, __ATOMIC_RELAXED) == still)
            /* eax 0xf0: stay in C0; ecx bit 1: the timer in ebx counts. */
            __asm__ volatile("mwaitx" : : "a"(0xf0u), "b"(cycles), "c"(2u) : "memory");
    } else {
        hc_pause();
    }
}

#elif defined(__aarch64__)

HC_ALWAYS_INLINE uint64_t hc_tsc(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
}

HC_ALWAYS_INLINE uint64_t hc_tsc_ordered(void)
{
    uint64_t value;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(value) : : "memory");
    return value;
}

/* ISB, not YIELD: on cores without SMT YIELD is a no-op and the loop saturates the load port. */
HC_ALWAYS_INLINE void hc_pause(void)
{
    __asm__ volatile("isb" : : : "memory");
}

/* A store-release exclusive, which ends an exchange here, may pass later loads. */
HC_ALWAYS_INLINE void hc_fence_after_exchange(void)
{
    __asm__ volatile("dmb ish" : : : "memory");
}

HC_ALWAYS_INLINE void hc_speculation_barrier(void)
{
    __asm__ volatile("dsb nsh\n\tisb" : : : "memory");
}

HC_ALWAYS_INLINE uint64_t hc_index_mask(uint64_t index, uint64_t count)
{
    uint64_t mask;
    __asm__ volatile("cmp %1, %2\n\tcsetm %0, lo\n\thint #20 /* csdb */"
                     : "=r"(mask)
                     : "r"(index), "r"(count)
                     : "cc");
    return mask;
}

HC_ALWAYS_INLINE void hc_prefetch_write(const void *address)
{
    __builtin_prefetch(address, 1, 3);
}

HC_ALWAYS_INLINE enum hc_wait_kind hc_wait_kind_of_cpu(void)
{
    return HC_WAIT_PAUSE;
}

HC_ALWAYS_INLINE void hc_wait_on_line(enum hc_wait_kind kind, const uint64_t *word, uint64_t still,
                                      uint32_t cycles)
{
    (void)kind;
    (void)word;
    (void)still;
    (void)cycles;
    hc_pause();
}

#else
#error "hotcalls needs x86-64 or aarch64: add the fences and the counter of this processor here"
#endif

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_ARCH_H */
