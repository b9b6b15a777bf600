/* SPDX-License-Identifier: Apache-2.0 */
/*
 * untrusted.h -- the only way to read memory that the other side can write.
 *
 * Everything in the channel is hostile: it may change between any two reads, whatever the
 * protocol says. So a value is copied in once, the copy is validated, and the shared original
 * is never read again. Pointers into the channel begin with u_; the compiler cannot check that,
 * the reviewers and the hostile-peer tests do.
 *
 * Freestanding; used on both sides. HC_ALIGNED_COPIES is for the enclave's side of SGX targets: then
 * each access follows the rules of aligned.h.
 */
#ifndef HOTCALLS_UNTRUSTED_H
#define HOTCALLS_UNTRUSTED_H

#include "arch.h"
#ifdef HC_ALIGNED_COPIES
#include "aligned.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One read. The compiler may neither repeat it nor tear it; ordering is the caller's business
 * (relaxed: a value read here means nothing until it has been validated).
 */
HC_ALWAYS_INLINE uint32_t hc_untrusted_u32(const uint32_t *u_field)
{
#ifdef HC_ALIGNED_COPIES
    return hc_aligned_read_u32(u_field);
#else
    return __atomic_load_n(u_field, __ATOMIC_RELAXED);
#endif
}

HC_ALWAYS_INLINE uint64_t hc_untrusted_u64(const uint64_t *u_field)
{
    return __atomic_load_n(u_field, __ATOMIC_RELAXED);
}

HC_ALWAYS_INLINE void hc_untrusted_store_u32(uint32_t *u_field, uint32_t value)
{
#ifdef HC_ALIGNED_COPIES
    hc_aligned_write_u32(u_field, value);
#else
    __atomic_store_n(u_field, value, __ATOMIC_RELAXED);
#endif
}

/* The caller says at its call what it publishes, and to whom. */
HC_ALWAYS_INLINE void hc_untrusted_publish_u32(uint32_t *u_field, uint32_t value)
{
#ifdef HC_ALIGNED_COPIES
    hc_aligned_write_u32(u_field, value);
#else
    __atomic_store_n(u_field, value, __ATOMIC_RELEASE);
#endif
}

HC_ALWAYS_INLINE void hc_untrusted_store_u64(uint64_t *u_field, uint64_t value)
{
    __atomic_store_n(u_field, value, __ATOMIC_RELAXED);
}

/*
 * Copies in. The empty asm makes the destination opaque: without it the compiler may see
 * through the copy and read the shared original a second time (a double fetch that no source
 * line shows).
 */
HC_ALWAYS_INLINE void hc_copy_in(void *destination, const void *u_source, size_t size)
{
#ifdef HC_ALIGNED_COPIES
    hc_aligned_read(destination, u_source, size);
#else
    __builtin_memcpy(destination, u_source, size);
#endif
    __asm__ volatile("" : : "r"(destination) : "memory");
}

HC_ALWAYS_INLINE void hc_copy_out(void *u_destination, const void *source, size_t size)
{
#ifdef HC_ALIGNED_COPIES
    hc_aligned_write(u_destination, source, size);
#else
    __builtin_memcpy(u_destination, source, size);
#endif
}

/* [offset, offset + size) inside [0, limit), without overflow. */
HC_ALWAYS_INLINE bool hc_range_inside(uint64_t offset, uint64_t size, uint64_t limit)
{
    return size <= limit && offset <= limit - size;
}

/*
 * An index that was found < count, made harmless where the processor speculates past the check
 * (Spectre v1): out of bounds it becomes 0 instead of an attacker's choice.
 */
HC_ALWAYS_INLINE uint64_t hc_index_nospec(uint64_t index, uint64_t count)
{
    return index & hc_index_mask(index, count);
}

/* count * size; false when it does not fit. */
HC_ALWAYS_INLINE bool hc_size_mul(uint64_t count, uint64_t size, size_t *out)
{
    uint64_t product;
    if (__builtin_mul_overflow(count, size, &product) || product > SIZE_MAX)
        return false;
    *out = (size_t)product;
    return true;
}

/* Adds a 16-aligned buffer to a total; SIZE_MAX once anything overflowed, which no window fits. */
HC_ALWAYS_INLINE size_t hc_message_add(size_t total, size_t buffer_size)
{
    size_t sum;
    if (__builtin_add_overflow(total, buffer_size, &sum) || sum > SIZE_MAX - 15u)
        return SIZE_MAX;
    return (sum + 15u) & ~(size_t)15u;
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_UNTRUSTED_H */
