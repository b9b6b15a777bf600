/* SPDX-License-Identifier: Apache-2.0 */
/* channel_test.c -- the geometry and what guards it, histogram buckets, and untrusted.h. */
#include <hotcalls/channel.h>
#include <hotcalls/untrusted.h>

#include "check.h"

static struct hc_geometry planned(void)
{
    struct hc_geometry g = {.slot_count = 5,
                            .host_slots = 3,
                            .cell_count = 16,
                            .window_size = 8192,
                            .shared_size = 4096};
    CHECK_EQ(hc_geometry_plan(&g), HC_OK);
    return g;
}

TEST(test_planned_geometry_passes_its_own_check)
{
    struct hc_geometry g = planned();
    CHECK_EQ(hc_geometry_check(&g, g.total_size), HC_OK);
    CHECK_EQ(hc_geometry_check(&g, g.total_size + 1u), HC_OK);
    CHECK(hc_geometry_check(&g, g.total_size - 1u) != HC_OK);
    CHECK(hc_geometry_check(&g, 0) != HC_OK);
}

/* What is derived is planned again: no other value passes. */
TEST(test_every_forged_derived_field_is_refused)
{
    static const size_t wide[] = {
        offsetof(struct hc_geometry, magic),      offsetof(struct hc_geometry, total_size),
        offsetof(struct hc_geometry, slots_at),   offsetof(struct hc_geometry, slot_stride),
        offsetof(struct hc_geometry, windows_at), offsetof(struct hc_geometry, histograms_at),
        offsetof(struct hc_geometry, shared_at),
    };
    static const size_t narrow[] = {offsetof(struct hc_geometry, abi),
                                    offsetof(struct hc_geometry, header_size)};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            struct hc_geometry g = planned();
            uint64_t size = g.total_size, value;
            memcpy(&value, (uint8_t *)&g + wide[i], sizeof value);
            value ^= UINT64_C(1) << bit;
            memcpy((uint8_t *)&g + wide[i], &value, sizeof value);
            CHECK(hc_geometry_check(&g, size) != HC_OK);
            CHECK(hc_geometry_check(&g, UINT64_MAX) != HC_OK);
        }
    }
    for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            struct hc_geometry g = planned();
            uint32_t value;
            memcpy(&value, (uint8_t *)&g + narrow[i], sizeof value);
            value ^= UINT32_C(1) << bit;
            memcpy((uint8_t *)&g + narrow[i], &value, sizeof value);
            CHECK_EQ(hc_geometry_check(&g, UINT64_MAX), HC_ERR_ABI);
        }
    }
}

/* What is chosen may be forged to another choice; then the rest no longer fits it. */
TEST(test_every_forged_chosen_field_is_refused)
{
    struct hc_geometry g;
    for (unsigned bit = 0; bit < 64; bit++) {
        if (bit < 32) {
            g = planned();
            g.slot_count ^= UINT32_C(1) << bit;
            CHECK(hc_geometry_check(&g, UINT64_MAX) != HC_OK);
            g = planned();
            g.cell_count ^= UINT32_C(1) << bit;
            CHECK(hc_geometry_check(&g, UINT64_MAX) != HC_OK);
        }
        g = planned();
        g.window_size ^= UINT64_C(1) << bit;
        CHECK(hc_geometry_check(&g, UINT64_MAX) != HC_OK);
        g = planned();
        g.shared_size ^= UINT64_C(1) << bit;
        CHECK(hc_geometry_check(&g, UINT64_MAX) != HC_OK);
    }
    g = planned();
    g.host_slots = g.slot_count + 1u;
    CHECK(hc_geometry_check(&g, UINT64_MAX) != HC_OK);
}

TEST(test_shapes_outside_the_limits_are_not_planned)
{
    static const uint32_t bad_cells[] = {0, 1, 2, 3, 5, 12, 48, 63, 65, 128, UINT32_MAX};
    struct hc_geometry g;
    for (size_t i = 0; i < sizeof bad_cells / sizeof bad_cells[0]; i++) {
        g = planned();
        g.cell_count = bad_cells[i];
        CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
    }
    g = planned();
    g.slot_count = 0;
    CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
    g.slot_count = HC_SLOTS_MAX + 1u;
    CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
    g = planned();
    g.window_size = 0;
    CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
    g.window_size = HC_PAGE + 1u;
    CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
    g.window_size = HC_WINDOW_MAX + HC_PAGE;
    CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
    g = planned();
    g.shared_size = UINT64_MAX - HC_PAGE + 1u;
    CHECK_EQ(hc_geometry_plan(&g), HC_ERR_ARGUMENT);
}

TEST(test_largest_shape_does_not_overflow)
{
    struct hc_geometry g = {.slot_count = HC_SLOTS_MAX,
                            .host_slots = 1,
                            .cell_count = HC_CELLS_MAX,
                            .window_size = HC_WINDOW_MAX,
                            .shared_size = UINT64_C(1) << 40};
    CHECK_EQ(hc_geometry_plan(&g), HC_OK);
    CHECK(g.total_size > g.shared_at && g.shared_at > g.histograms_at);
    CHECK(g.histograms_at > g.windows_at && g.windows_at > g.slots_at);
    CHECK(g.total_size < UINT64_C(1) << 41);
}

TEST(test_lanes_windows_and_histograms_do_not_overlap)
{
    struct hc_geometry g = planned();
    uint8_t *base = calloc(1, (size_t)g.total_size);
    CHECK(base != NULL);
    /* Each piece adds one to every byte of its own: no byte may be added to twice. */
    for (uint32_t slot = 0; slot < g.slot_count; slot++) {
        uint8_t *piece = (uint8_t *)hc_u_slot(base, &g, slot);
        for (size_t i = 0; i < sizeof(struct hc_slot_control); i++)
            piece[i]++;
        for (uint32_t lane = 0; lane < HC_LANES; lane++) {
            piece = (uint8_t *)hc_u_lane(base, &g, slot, lane);
            for (size_t i = 0; i < g.cell_count * sizeof(struct hc_cell); i++)
                piece[i]++;
            piece = hc_u_window(base, &g, slot, lane);
            for (size_t i = 0; i < g.window_size; i++)
                piece[i]++;
        }
    }
    for (uint32_t side = 0; side < HC_SIDES; side++)
        for (uint32_t id = 0; id < HC_HISTOGRAMS; id++) {
            uint8_t *piece = (uint8_t *)hc_u_histogram(base, &g, (enum hc_side)side, id);
            for (size_t i = 0; i < sizeof(struct hc_histogram); i++)
                piece[i]++;
        }
    for (size_t i = 0; i < g.shared_size; i++)
        base[g.shared_at + i]++;
    for (size_t i = 0; i < sizeof(struct hc_header); i++)
        base[i]++;
    for (size_t i = 0; i < g.total_size; i++)
        CHECK(base[i] <= 1);
    free(base);
}

TEST(test_histogram_of_a_high_id_is_the_last_one)
{
    struct hc_geometry g = planned();
    uint8_t *base = calloc(1, (size_t)g.total_size);
    CHECK(base != NULL);
    CHECK(hc_u_histogram(base, &g, HC_HOST, UINT32_MAX) ==
          hc_u_histogram(base, &g, HC_HOST, HC_HISTOGRAMS - 1u));
    free(base);
}

TEST(test_bucket_grows_with_the_cycles_by_quarters_of_an_octave)
{
    CHECK_EQ(hc_bucket_of(0), 0);
    CHECK_EQ(hc_bucket_of(31), 0);
    CHECK_EQ(hc_bucket_of(32), 0);
    CHECK_EQ(hc_bucket_of(39), 0);
    CHECK_EQ(hc_bucket_of(40), 1);
    CHECK_EQ(hc_bucket_of(63), 3);
    CHECK_EQ(hc_bucket_of(64), 4);
    CHECK_EQ(hc_bucket_of(UINT64_MAX), HC_BUCKETS - 1u);
    uint32_t before = 0;
    for (uint64_t cycles = 1; cycles < UINT64_C(1) << 40; cycles += 1u + cycles / 16u) {
        uint32_t bucket = hc_bucket_of(cycles);
        CHECK(bucket < HC_BUCKETS && bucket >= before && bucket <= before + 1u);
        before = bucket;
    }
    CHECK_EQ(before, HC_BUCKETS - 1u);
}

TEST(test_range_is_inside_only_without_overflow)
{
    CHECK(hc_range_inside(0, 0, 0));
    CHECK(hc_range_inside(0, 16, 16));
    CHECK(hc_range_inside(16, 0, 16));
    CHECK(!hc_range_inside(17, 0, 16));
    CHECK(!hc_range_inside(1, 16, 16));
    CHECK(!hc_range_inside(UINT64_MAX, 2, 16));
    CHECK(!hc_range_inside(2, UINT64_MAX, 16));
    CHECK(!hc_range_inside(UINT64_MAX, UINT64_MAX, UINT64_MAX));
    CHECK(hc_range_inside(UINT64_MAX, 0, UINT64_MAX));
}

TEST(test_index_out_of_range_becomes_zero)
{
    static const uint64_t counts[] = {1, 2, 3, 64, 1000, UINT64_C(1) << 40, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uint64_t count = counts[i];
        CHECK_EQ(hc_index_nospec(0, count), 0);
        CHECK_EQ(hc_index_nospec(count - 1u, count), count - 1u);
        CHECK_EQ(hc_index_nospec(count, count), 0);
        CHECK_EQ(hc_index_nospec(UINT64_MAX, count), 0);
        CHECK_EQ(hc_index_mask(count, count), 0);
        CHECK_EQ(hc_index_mask(0, count), UINT64_MAX);
    }
    CHECK_EQ(hc_index_mask(0, 0), 0);
}

TEST(test_product_that_does_not_fit_is_refused)
{
    size_t out = 7;
    CHECK(hc_size_mul(3, 5, &out));
    CHECK_EQ(out, 15);
    CHECK(hc_size_mul(0, UINT64_MAX, &out));
    CHECK_EQ(out, 0);
    out = 7;
    CHECK(!hc_size_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    CHECK(!hc_size_mul(UINT64_MAX, 2, &out));
    CHECK_EQ(out, 7);
}

TEST(test_message_size_rounds_up_and_saturates)
{
    CHECK_EQ(hc_message_add(0, 0), 0);
    CHECK_EQ(hc_message_add(0, 1), 16);
    CHECK_EQ(hc_message_add(16, 16), 32);
    CHECK_EQ(hc_message_add(1, SIZE_MAX), SIZE_MAX);
    CHECK_EQ(hc_message_add(0, SIZE_MAX - 14u), SIZE_MAX);
    CHECK_EQ(hc_message_add(SIZE_MAX, 1), SIZE_MAX);
}

TEST(test_status_of_the_other_side_is_mapped_onto_the_known_ones)
{
    for (uint32_t value = 0; value <= (uint32_t)HC_ERR_ONEWAY; value++)
        CHECK_EQ(hc_status_from_peer(value), value);
    CHECK_EQ(hc_status_from_peer((uint32_t)HC_ERR_ONEWAY + 1u), HC_ERR_MESSAGE);
    CHECK_EQ(hc_status_from_peer(UINT32_MAX), HC_ERR_MESSAGE);
}
