/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mutate.c -- what libFuzzer's mutations lack.
 *
 * Half of what the targets read are lengths, offsets and counts of 2, 4 or 8 bytes, which only mean
 * something when they are small or just past a bound. libFuzzer finds such a word byte by byte;
 * every fourth mutation is one of these instead.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    static const uint64_t g_odd[] = {0,          1,         2,          4095,       4096,
                                     4097,       INT32_MAX, UINT32_MAX, UINT16_MAX, 65536,
                                     UINT64_MAX, INT64_MAX, 1u << 31,   15,         1008};
    uint32_t random = seed * UINT32_C(2654435761);
    if (size < 8u || (random >> 30) != 0)
        return LLVMFuzzerMutate(data, size, most);
    size_t width = (size_t)1 << ((random >> 27) & 3u);
    size_t at = (random >> 8) % (size - width + 1u);
    if ((random & 64u) != 0)
        at &= ~(width - 1u);
    uint64_t value =
        (random & 128u) != 0 ? g_odd[random % (sizeof g_odd / sizeof *g_odd)] : (random & 63u);
    memcpy(data + at, &value, width);
    return size;
}
