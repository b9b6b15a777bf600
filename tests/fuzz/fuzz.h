/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h -- what the fuzzing targets in C share: bytes taken one after the other, and the end
 * of a run that broke a promise.
 *
 * A target defines LLVMFuzzerTestOneInput. Clang's libFuzzer drives it, with the mutations of
 * mutate.c; where there is no clang, driver.c runs it over the corpus.
 */
#ifndef HOTCALLS_TESTS_FUZZ_H
#define HOTCALLS_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that is not one about memory: the sanitizers see to those. */
#define PROMISE(condition)                                                                  \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                        \
        }                                                                                   \
    } while (0)

/* What is left of the input. Zeros follow its end. */
struct input {
    const uint8_t *at;
    size_t left;
};

static inline void input_copy(struct input *input, void *to, size_t size)
{
    size_t now = size < input->left ? size : input->left;
    memset(to, 0, size);
    if (now == 0)
        return;
    memcpy(to, input->at, now);
    input->at += now;
    input->left -= now;
}

static inline uint8_t input_u8(struct input *input)
{
    uint8_t value;
    input_copy(input, &value, sizeof value);
    return value;
}

static inline uint16_t input_u16(struct input *input)
{
    uint16_t value;
    input_copy(input, &value, sizeof value);
    return value;
}

static inline uint32_t input_u32(struct input *input)
{
    uint32_t value;
    input_copy(input, &value, sizeof value);
    return value;
}

static inline uint64_t input_u64(struct input *input)
{
    uint64_t value;
    input_copy(input, &value, sizeof value);
    return value;
}

/* Reads every byte, so that AddressSanitizer looks at each. */
static inline uint64_t touch(const void *memory, size_t size)
{
    const volatile uint8_t *bytes = memory;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31u + bytes[i];
    return sum;
}

#endif /* HOTCALLS_TESTS_FUZZ_H */
