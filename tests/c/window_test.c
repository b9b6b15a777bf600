/* SPDX-License-Identifier: Apache-2.0 */
/* window_test.c -- the allocator of a lane's data window, by example and against a model. */
#include <hotcalls/lane.h>

#include "check.h"

static struct hc_window g_window;

static void new_window(uint32_t size)
{
    memset(&g_window, 0, sizeof g_window);
    g_window.size = size;
}

static uint32_t take(size_t size)
{
    uint32_t offset = UINT32_MAX;
    CHECK_EQ(hc_window_take(&g_window, size, &offset), HC_OK);
    return offset;
}

static enum hc_status refused(size_t size)
{
    uint32_t offset = UINT32_MAX;
    enum hc_status status = hc_window_take(&g_window, size, &offset);
    CHECK(status != HC_OK);
    CHECK_EQ(offset, UINT32_MAX);
    return status;
}

TEST(test_lone_chunk_always_starts_at_zero)
{
    new_window(4096);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(take(16u * (1u + (uint32_t)i % 200u)), 0);
        hc_window_give_back(&g_window, 0);
        CHECK_EQ(g_window.count, 0);
    }
}

TEST(test_whole_window_is_one_chunk)
{
    new_window(4096);
    CHECK_EQ(take(4096), 0);
    CHECK_EQ(refused(16), HC_ERR_AGAIN);
    hc_window_give_back(&g_window, 0);
    CHECK_EQ(take(4096), 0);
}

TEST(test_larger_than_the_window_is_too_large_however_full)
{
    new_window(4096);
    CHECK_EQ(refused(4097), HC_ERR_TOO_LARGE);
    CHECK_EQ(refused(SIZE_MAX), HC_ERR_TOO_LARGE);
    CHECK_EQ(refused((size_t)UINT32_MAX + 17u), HC_ERR_TOO_LARGE);
    (void)take(4096);
    CHECK_EQ(refused(4097), HC_ERR_TOO_LARGE);
}

TEST(test_chunk_that_does_not_fit_behind_goes_to_the_start)
{
    new_window(4096);
    CHECK_EQ(take(2048), 0);
    CHECK_EQ(take(1024), 2048);
    hc_window_give_back(&g_window, 0);
    CHECK_EQ(take(1536), 0);
    /* 512 are left between the two, one byte less than would make full and empty alike. */
    CHECK_EQ(refused(512), HC_ERR_AGAIN);
    CHECK_EQ(take(496), 1536);
}

TEST(test_chunks_released_in_the_middle_are_free_when_an_end_is)
{
    new_window(4096);
    CHECK_EQ(take(1024), 0);
    CHECK_EQ(take(1024), 1024);
    CHECK_EQ(take(1024), 2048);
    CHECK_EQ(take(1024), 3072);
    hc_window_give_back(&g_window, 1024);
    hc_window_give_back(&g_window, 2048);
    CHECK_EQ(g_window.count, 4);
    CHECK_EQ(refused(16), HC_ERR_AGAIN);
    hc_window_give_back(&g_window, 0);
    CHECK_EQ(g_window.count, 1);
    CHECK_EQ(take(1024), 0);
}

TEST(test_newest_chunk_given_back_is_reused_at_once)
{
    new_window(4096);
    (void)take(1024);
    CHECK_EQ(take(1024), 1024);
    hc_window_give_back(&g_window, 1024);
    CHECK_EQ(take(2048), 1024);
}

TEST(test_more_chunks_than_cells_are_refused)
{
    new_window(1u << 20);
    for (uint32_t i = 0; i < HC_CELLS_MAX; i++)
        (void)take(16);
    CHECK_EQ(refused(16), HC_ERR_AGAIN);
}

TEST(test_unknown_offset_given_back_changes_nothing)
{
    new_window(4096);
    (void)take(1024);
    (void)take(1024);
    hc_window_give_back(&g_window, 512);
    CHECK_EQ(g_window.count, 2);
}

/*
 * The model is a list of live intervals. An allocator may refuse what would fit (it is a ring), so
 * of refusals the model only demands that nothing at all is refused while nothing is live.
 */
static void compare_with_model(uint64_t seed, uint32_t size, uint32_t most)
{
    struct {
        uint32_t start, end;
    } live[HC_CELLS_MAX];
    uint32_t count = 0, refusals = 0, wrapped = 0, last = 0;
    uint64_t state = seed;
    new_window(size);
    for (int step = 0; step < 30000; step++) {
        if (check_random(&state) % 5u < 3u && count < HC_CELLS_MAX) {
            uint32_t want = 1u + (uint32_t)(check_random(&state) % most);
            uint32_t offset = 0;
            enum hc_status status = hc_window_take(&g_window, want, &offset);
            if (want > size) {
                CHECK_EQ(status, HC_ERR_TOO_LARGE);
                continue;
            }
            if (status != HC_OK) {
                CHECK_EQ(status, HC_ERR_AGAIN);
                CHECK(count != 0);
                refusals++;
                continue;
            }
            CHECK(offset <= size && want <= size - offset);
            for (uint32_t i = 0; i < count; i++)
                CHECK(offset >= live[i].end || offset + want <= live[i].start);
            wrapped += offset < last;
            last = offset;
            live[count].start = offset;
            live[count++].end = offset + want;
        } else if (count != 0) {
            uint32_t i = (uint32_t)(check_random(&state) % count);
            hc_window_give_back(&g_window, live[i].start);
            live[i] = live[--count];
            CHECK(count != 0 || g_window.count == 0);
        }
    }
    CHECK(wrapped > 50 && refusals > 50);
}

TEST(test_live_chunks_never_overlap_over_random_orders)
{
    uint64_t seed = check_seed(20250102);
    compare_with_model(seed, 4096, 1024);
    compare_with_model(seed + 1u, 4096, 5000);
    compare_with_model(seed + 2u, 64, 32);
    compare_with_model(seed + 3u, 1u << 20, 1u << 18);
}
