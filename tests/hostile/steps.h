/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps.h -- every access to the channel, seen by the test.
 *
 * Forced in before everything else (gcc -include). From here on each atomic operation of the code
 * under test, each read and write of untrusted.h, and each look at the clock calls into the test
 * first. Nothing of the code is copied or changed: what is compiled is the code, and what it leaves
 * out in a build of its own is nothing. Whoever writes into the channel from outside can do it
 * between two accesses, and nowhere else; so these are all the steps that there are.
 *
 * A copy of several words counts as two accesses, one for each half: a peer may write in between.
 * An access that goes round all this is found by check_seam of script.c.
 */
#ifndef HOTCALLS_TESTS_STEPS_H
#define HOTCALLS_TESTS_STEPS_H

#include <hotcalls/untrusted.h>

enum step_kind { STEP_READ, STEP_WRITE, STEP_SWAP };

/* A place in the source; all of them stand in one section, whether they are ever reached or not. */
struct step_site {
    const char *file;
    const char *function;
    uint64_t line;
    uint64_t *reached; /* how often; [0] in the channel, [1] elsewhere */
};

/* Before and after an access; `file` and `line` are of the code. */
void step_begin(const struct step_site *site, const volatile void *at, size_t size,
                enum step_kind kind);
void step_end(void);
uint64_t step_clock(void);

#define STEP_SITE()                                                                             \
    static uint64_t step_reached[2];                                                            \
    static const struct step_site step_site                                                     \
        __attribute__((section("hc_steps"), aligned(8), used)) = {__FILE__, __func__, __LINE__, \
                                                                  step_reached}

#define STEP_VALUE(kind, p, operation)                          \
    __extension__({                                             \
        STEP_SITE();                                            \
        __auto_type step_at = (p);                              \
        step_begin(&step_site, step_at, sizeof *step_at, kind); \
        __auto_type step_value = operation;                     \
        step_end();                                             \
        step_value;                                             \
    })
#define STEP_VOID(kind, p, operation)                           \
    __extension__({                                             \
        STEP_SITE();                                            \
        __auto_type step_at = (p);                              \
        step_begin(&step_site, step_at, sizeof *step_at, kind); \
        operation;                                              \
        step_end();                                             \
    })
#define STEP_COPY(kind, u_side, to, from, count, copy)                                     \
    __extension__({                                                                        \
        STEP_SITE();                                                                       \
        uint8_t *step_to = (uint8_t *)(to);                                                \
        const uint8_t *step_from = (const uint8_t *)(from);                                \
        size_t step_size = (count), step_half = step_size > 8u ? step_size / 16u * 8u : 0; \
        if (step_half != 0) {                                                              \
            step_begin(&step_site, u_side, step_half, kind);                               \
            copy(step_to, step_from, step_half);                                           \
            step_end();                                                                    \
        }                                                                                  \
        step_begin(&step_site, u_side + step_half, step_size - step_half, kind);           \
        copy(step_to + step_half, step_from + step_half, step_size - step_half);           \
        step_end();                                                                        \
    })

#define __atomic_load_n(p, order) STEP_VALUE(STEP_READ, p, __atomic_load_n(step_at, order))
#define __atomic_store_n(p, value, order) \
    STEP_VOID(STEP_WRITE, p, __atomic_store_n(step_at, value, order))
#define __atomic_exchange_n(p, value, order) \
    STEP_VALUE(STEP_SWAP, p, __atomic_exchange_n(step_at, value, order))
#define __atomic_compare_exchange_n(p, expected, value, weak, success, failure) \
    STEP_VALUE(STEP_SWAP, p,                                                    \
               __atomic_compare_exchange_n(step_at, expected, value, weak, success, failure))
#define __atomic_add_fetch(p, value, order) \
    STEP_VALUE(STEP_SWAP, p, __atomic_add_fetch(step_at, value, order))
#define __atomic_sub_fetch(p, value, order) \
    STEP_VALUE(STEP_SWAP, p, __atomic_sub_fetch(step_at, value, order))
#define __atomic_or_fetch(p, value, order) \
    STEP_VALUE(STEP_SWAP, p, __atomic_or_fetch(step_at, value, order))
#define __atomic_and_fetch(p, value, order) \
    STEP_VALUE(STEP_SWAP, p, __atomic_and_fetch(step_at, value, order))

#define hc_untrusted_u32(p) STEP_VALUE(STEP_READ, p, hc_untrusted_u32(step_at))
#define hc_untrusted_u64(p) STEP_VALUE(STEP_READ, p, hc_untrusted_u64(step_at))
#define hc_untrusted_store_u32(p, value) \
    STEP_VOID(STEP_WRITE, p, hc_untrusted_store_u32(step_at, value))
#define hc_untrusted_publish_u32(p, value) \
    STEP_VOID(STEP_WRITE, p, hc_untrusted_publish_u32(step_at, value))
#define hc_untrusted_store_u64(p, value) \
    STEP_VOID(STEP_WRITE, p, hc_untrusted_store_u64(step_at, value))
#define hc_copy_in(to, from, size) STEP_COPY(STEP_READ, step_from, to, from, size, hc_copy_in)
#define hc_copy_out(to, from, size) STEP_COPY(STEP_WRITE, step_to, to, from, size, hc_copy_out)

/* Time goes by looks at the clock, so that each run takes the same steps. */
#define hc_tsc() step_clock()

#endif /* HOTCALLS_TESTS_STEPS_H */
