/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aligned.h -- how untrusted memory is read and written inside SGX: with HC_ALIGNED_COPIES defined,
 * untrusted.h does all it does by these.
 *
 * What lies outside of an SGX enclave may be the page of a device: of the interrupt controller,
 * whose reserved parts answer with stale data of the processor (AEPIC leak, INTEL-SA-00657), or of
 * any other, and then writes of part of a word push stale bytes out (MMIO stale data,
 * INTEL-SA-00615). Both rules are Intel's: read whole aligned words of 8 bytes; write such words, and
 * what is narrower behind VERW and before MFENCE and LFENCE.
 *
 * Freestanding; the enclave's side of an SGX target. The word around an untrusted byte is untrusted
 * memory, too: a region begins and ends at pages. aarch64 has no such enclaves; it compiles.
 */
#ifndef HOTCALLS_ALIGNED_H
#define HOTCALLS_ALIGNED_H

#include "arch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One access each. The tests put something in their place that takes notes. */
#ifndef HC_ALIGNED_LOAD
/* May alias anything, as the bytes that are copied are somebody's object. */
typedef uint64_t __attribute__((may_alias)) hc_aligned_word;
#define HC_ALIGNED_LOAD(u_word) (*(const volatile hc_aligned_word *)(u_word))
#define HC_ALIGNED_STORE(u_word, value) ((void)(*(volatile hc_aligned_word *)(u_word) = (value)))
#define HC_ALIGNED_STORE_BYTE(u_byte, value) ((void)(*(volatile uint8_t *)(u_byte) = (value)))
#endif

/* Clears the buffers out of which a narrow write would push what they still hold. */
HC_ALWAYS_INLINE void hc_aligned_clear(void)
{
#if defined(__x86_64__)
    uint16_t selector;
    __asm__ volatile("mov %%ds, %0\n\tverw %0" : "=m"(selector) : : "cc", "memory");
#endif
}

HC_ALWAYS_INLINE void hc_aligned_settle(void)
{
#if defined(__x86_64__)
    __asm__ volatile("mfence\n\tlfence" : : : "memory");
#endif
}

HC_NOINLINE static void hc_aligned_read(void *to, const void *u_from, size_t size)
{
    uint8_t *bytes = (uint8_t *)to;
    size_t skip = (uintptr_t)u_from & 7u;
    const uint8_t *u_word = (const uint8_t *)u_from - skip;
    while (size != 0) {
        uint64_t word = HC_ALIGNED_LOAD(u_word);
        size_t part = 8u - skip < size ? 8u - skip : size;
        __builtin_memcpy(bytes, (const uint8_t *)&word + skip, part);
        bytes += part;
        size -= part;
        u_word += 8;
        skip = 0;
    }
}

HC_NOINLINE static void hc_aligned_write(void *u_to, const void *from, size_t size)
{
    uint8_t *u_bytes = (uint8_t *)u_to;
    const uint8_t *bytes = (const uint8_t *)from;
    while (size != 0) {
        size_t part = 8u - ((uintptr_t)u_bytes & 7u);
        if (part == 8u && size >= 8u) {
            uint64_t word;
            __builtin_memcpy(&word, bytes, sizeof word);
            HC_ALIGNED_STORE(u_bytes, word);
        } else {
            part = part < size ? part : size;
            for (size_t i = 0; i < part; i++) {
                hc_aligned_clear();
                HC_ALIGNED_STORE_BYTE(u_bytes + i, bytes[i]);
                hc_aligned_settle();
            }
        }
        u_bytes += part;
        bytes += part;
        size -= part;
    }
}

/*
 * A field of 4 bytes, of which somebody else may have the other half of the word: read with it,
 * written without. In one piece, as the other side may read at any time.
 */
HC_ALWAYS_INLINE uint32_t hc_aligned_read_u32(const uint32_t *u_field)
{
    size_t skip = (uintptr_t)u_field & 7u;
    uint64_t word = HC_ALIGNED_LOAD((const uint8_t *)u_field - skip);
    return (uint32_t)(word >> (8u * skip));
}

HC_ALWAYS_INLINE void hc_aligned_write_u32(uint32_t *u_field, uint32_t value)
{
    hc_aligned_clear();
    __atomic_store_n(u_field, value, __ATOMIC_RELEASE);
    hc_aligned_settle();
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_ALIGNED_H */
