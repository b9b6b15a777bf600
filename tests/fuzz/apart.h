/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apart.h -- included before everything else where calls are taken apart: AddressSanitizer is told
 * where each argument in the arena begins and ends.
 */
#ifndef HOTCALLS_TESTS_FUZZ_APART_H
#define HOTCALLS_TESTS_FUZZ_APART_H

#include <sanitizer/asan_interface.h>

#define HC_ARENA_APART 16u
#define HC_ARENA_HANDED(memory, size, end)                                                       \
    do {                                                                                         \
        __asan_poison_memory_region((memory), (size_t)((uint8_t *)(end) - (uint8_t *)(memory))); \
        __asan_unpoison_memory_region((memory), (size));                                         \
    } while (0)

#endif /* HOTCALLS_TESTS_FUZZ_APART_H */
