/* SPDX-License-Identifier: Apache-2.0 */
/* Copies to and from untrusted memory in the widths that SGX wants: each access is noted. */
#include "check.h"

#include <stdint.h>
#include <string.h>

static struct access {
    uintptr_t address;
    size_t width;
    int writes;
} g_accesses[256];
static size_t g_count;

static void note(const volatile void *address, size_t width, int writes)
{
    if (g_count < sizeof g_accesses / sizeof g_accesses[0])
        g_accesses[g_count++] = (struct access){(uintptr_t)address, width, writes};
}

static uint64_t load(const void *u_word)
{
    uint64_t word;
    note(u_word, 8, 0);
    memcpy(&word, u_word, 8);
    return word;
}

static void store(void *u_word, uint64_t word)
{
    note(u_word, 8, 1);
    memcpy(u_word, &word, 8);
}

static void store_byte(void *u_byte, uint8_t value)
{
    note(u_byte, 1, 1);
    *(uint8_t *)u_byte = value;
}

#define HC_ALIGNED_COPIES
#define HC_ALIGNED_LOAD(u_word) load(u_word)
#define HC_ALIGNED_STORE(u_word, value) store((u_word), (value))
#define HC_ALIGNED_STORE_BYTE(u_byte, value) store_byte((u_byte), (value))
#include <hotcalls/untrusted.h>

#define REGION 128u

static uint64_t g_region[REGION / 8u];
static uint8_t *const g_u_bytes = (uint8_t *)g_region;

static void fill(void)
{
    for (size_t i = 0; i < REGION; i++)
        g_u_bytes[i] = (uint8_t)(i * 7u + 1u);
    g_count = 0;
}

TEST(test_reads_are_whole_aligned_words)
{
    for (size_t offset = 0; offset < 24; offset++)
        for (size_t size = 0; size < 64; size++) {
            uint8_t copy[66];
            fill();
            memset(copy, 0xA5, sizeof copy);
            hc_copy_in(copy + 1, g_u_bytes + offset, size);
            CHECK(memcmp(copy + 1, g_u_bytes + offset, size) == 0);
            CHECK(copy[0] == 0xA5 && copy[size + 1] == 0xA5);
            size_t words = size == 0 ? 0 : (offset + size - 1) / 8 - offset / 8 + 1;
            CHECK(g_count == words); /* each byte once: no double fetch */
            for (size_t i = 0; i < g_count; i++) {
                CHECK(g_accesses[i].width == 8 && !g_accesses[i].writes);
                CHECK(g_accesses[i].address == (uintptr_t)g_u_bytes + (offset / 8 + i) * 8);
            }
        }
}

TEST(test_writes_are_whole_aligned_words_but_for_the_ends)
{
    for (size_t offset = 0; offset < 24; offset++)
        for (size_t size = 0; size < 64; size++) {
            uint8_t source[64], before[REGION];
            fill();
            memcpy(before, g_u_bytes, REGION);
            for (size_t i = 0; i < size; i++)
                source[i] = (uint8_t)(200u + i);
            hc_copy_out(g_u_bytes + offset, source, size);
            CHECK(memcmp(g_u_bytes + offset, source, size) == 0);
            CHECK(memcmp(g_u_bytes, before, offset) == 0);
            CHECK(memcmp(g_u_bytes + offset + size, before + offset + size,
                         REGION - offset - size) == 0);
            size_t first = (offset + 7) / 8 * 8, last = (offset + size) / 8 * 8;
            for (size_t i = 0; i < g_count; i++) {
                size_t at = g_accesses[i].address - (uintptr_t)g_u_bytes;
                CHECK(g_accesses[i].writes);
                if (at >= first && at < last)
                    CHECK(g_accesses[i].width == 8 && at % 8 == 0);
                else
                    CHECK(g_accesses[i].width == 1);
            }
        }
}

TEST(test_fields_of_four_bytes_are_read_in_their_word)
{
    uint32_t *u_fields = (uint32_t *)(void *)g_region;
    for (size_t i = 0; i < 8; i++) {
        uint32_t expected;
        fill();
        memcpy(&expected, &u_fields[i], sizeof expected);
        CHECK(hc_untrusted_u32(&u_fields[i]) == expected);
        CHECK(g_count == 1 && g_accesses[0].width == 8 && g_accesses[0].address % 8 == 0);
        hc_untrusted_store_u32(&u_fields[i], 0xDEADBEEF);
        CHECK(u_fields[i] == 0xDEADBEEF);
        hc_untrusted_publish_u32(&u_fields[i], 0xFEEDF00D);
        CHECK(u_fields[i] == 0xFEEDF00D);
        CHECK(g_u_bytes[i * 4 + 4] == (uint8_t)((i * 4 + 4) * 7u + 1u));
    }
}
