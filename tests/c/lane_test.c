/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_test.c -- every transition of a cell's word, and the books of a lane.
 *
 * Runs lane.h by itself: one lane of four cells, both halves of it, no port and no system.
 */
#include <hotcalls/lane.h>

#include "check.h"

#define CELLS 4u

static struct hc_cell g_cells[CELLS];
static uint8_t g_window[4096];
static struct hc_lane_out g_out;
static struct hc_lane_in g_in;

static void new_lane(void)
{
    memset(g_cells, 0, sizeof g_cells);
    memset(&g_out, 0, sizeof g_out);
    memset(&g_in, 0, sizeof g_in);
    g_out.u_cells = g_in.u_cells = g_cells;
    g_out.u_window = g_in.u_window = g_window;
    g_out.mask = g_in.mask = CELLS - 1u;
    g_out.tail = g_out.oldest = g_out.origin = g_in.next = g_in.origin = 1;
    g_out.window.size = g_in.window_size = sizeof g_window;
}

/* Until the lane runs empty and begins anew, call n lies in cell n - 1. */
static struct hc_cell *cell(uint64_t n)
{
    return &g_cells[(n - 1u) % CELLS];
}

static uint64_t word(uint64_t n)
{
    return cell(n)->word;
}

static enum hc_taken take(bool companion)
{
    struct hc_taking taking;
    return hc_take(&g_in, companion, &taking);
}

/* Begins, posts, takes, finishes and gives back one call. */
static void whole_call(void)
{
    struct hc_taking taking;
    if (g_out.oldest == g_out.tail)
        g_out.origin = g_out.tail;
    uint64_t n = g_out.tail++;
    struct hc_cell *u_cell = hc_out_cell(&g_out, n);
    hc_post(u_cell, n, 0);
    CHECK_EQ(hc_take(&g_in, false, &taking), HC_TOOK);
    CHECK_EQ(taking.n, n);
    CHECK(taking.u_cell == u_cell);
    CHECK_EQ(hc_finish(taking.u_cell, n), HC_FINISHED);
    CHECK_EQ(hc_progress_of(u_cell->word, n), HC_PROGRESS_DONE);
    hc_lane_give_back(&g_out, n);
}

TEST(test_word_holds_state_and_number_apart)
{
    const uint64_t last = (UINT64_C(1) << (64 - HC_WORD_SHIFT)) - 1u;
    CHECK_EQ(hc_word(1, HC_WORD_POSTED), (UINT64_C(1) << HC_WORD_SHIFT) + 1u);
    CHECK_EQ(hc_word(last, HC_WORD_DONE) >> HC_WORD_SHIFT, last);
    CHECK((hc_word(last, 0) & (HC_WORD_DONE | HC_WORD_SWITCH | HC_WORD_SLEEP | HC_WORD_BOUND)) ==
          0);
}

TEST(test_posted_call_is_taken_finished_and_given_back)
{
    new_lane();
    for (uint64_t n = 1; n <= 3u * CELLS; n++) {
        CHECK_EQ(g_out.tail, n);
        whole_call();
        CHECK_EQ(g_out.oldest, n + 1u);
        CHECK_EQ(g_in.next, n + 1u);
    }
}

TEST(test_quick_post_leaves_the_same_word_as_post)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    uint64_t posted = word(1);
    new_lane();
    hc_post_quick(cell(1), 1);
    CHECK_EQ(word(1), posted);
}

TEST(test_withdrawn_call_is_free_and_never_taken)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK(hc_withdraw(cell(1), 1, 0));
    CHECK_EQ(word(1), hc_word(1, HC_WORD_FREE));
    CHECK_EQ(take(true), HC_NOTHING);
    CHECK_EQ(g_in.next, 1);
}

TEST(test_withdrawn_call_with_bits_needs_its_bits)
{
    new_lane();
    hc_post(cell(1), 1, HC_WORD_SWITCH | HC_WORD_SLEEP);
    CHECK(!hc_withdraw(cell(1), 1, 0));
    CHECK(hc_withdraw(cell(1), 1, HC_WORD_SWITCH | HC_WORD_SLEEP));
}

TEST(test_withdraw_after_take_fails_and_changes_nothing)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK(!hc_withdraw(cell(1), 1, 0));
    CHECK_EQ(word(1), hc_word(1, HC_WORD_TAKEN));
}

TEST(test_withdrawn_number_is_posted_again_and_taken_once)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK(hc_withdraw(cell(1), 1, 0));
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK_EQ(take(false), HC_NOTHING);
}

TEST(test_switch_call_is_hidden_from_responders_and_taken_by_companions)
{
    struct hc_taking taking;
    new_lane();
    hc_post(cell(1), 1, HC_WORD_SWITCH | HC_WORD_SLEEP);
    CHECK(!hc_peek(&g_in, false));
    CHECK(hc_peek(&g_in, true));
    CHECK_EQ(take(false), HC_NOTHING);
    CHECK_EQ(hc_take(&g_in, true, &taking), HC_TOOK);
    CHECK(taking.switched && !taking.bound);
    CHECK_EQ(word(1), hc_word(1, HC_WORD_TAKEN) | HC_WORD_SLEEP);
}

TEST(test_hand_over_hides_an_untaken_call_from_responders)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK(hc_hand_over(cell(1), 1));
    CHECK_EQ(word(1) & ~HC_WORD_SLEEP, hc_word(1, HC_WORD_POSTED) | HC_WORD_SWITCH);
    CHECK_EQ(take(false), HC_NOTHING);
    CHECK_EQ(take(true), HC_TOOK);
}

TEST(test_hand_over_after_take_fails)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK(!hc_hand_over(cell(1), 1));
    CHECK_EQ(word(1), hc_word(1, HC_WORD_TAKEN));
}

TEST(test_sleep_on_a_taken_call_makes_finish_wake)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK(hc_fall_asleep(cell(1), word(1)));
    CHECK_EQ(hc_finish(cell(1), 1), HC_FINISHED_WAKE);
    CHECK_EQ(word(1), hc_word(1, HC_WORD_DONE));
}

TEST(test_sleep_survives_the_take)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK(hc_fall_asleep(cell(1), word(1)));
    CHECK(hc_peek(&g_in, false));
    CHECK_EQ(take(false), HC_TOOK);
    CHECK_EQ(hc_finish(cell(1), 1), HC_FINISHED_WAKE);
}

TEST(test_sleep_fails_when_the_answer_came_first)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    uint64_t seen = word(1);
    CHECK_EQ(hc_finish(cell(1), 1), HC_FINISHED);
    CHECK(!hc_fall_asleep(cell(1), seen));
    CHECK_EQ(word(1), hc_word(1, HC_WORD_DONE));
}

TEST(test_rouse_takes_sleep_away_once)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK(!hc_rouse(cell(1), 1));
    CHECK(hc_fall_asleep(cell(1), word(1)));
    CHECK(hc_rouse(cell(1), 1));
    CHECK(!hc_rouse(cell(1), 1));
    CHECK_EQ(hc_finish(cell(1), 1), HC_FINISHED);
}

TEST(test_finish_reports_every_word_that_is_not_of_a_taken_call)
{
    const uint64_t forged[] = {0,
                               UINT64_MAX,
                               hc_word(1, HC_WORD_POSTED),
                               hc_word(1, HC_WORD_DONE),
                               hc_word(1, HC_WORD_TAKEN) | HC_WORD_SWITCH,
                               hc_word(2, HC_WORD_TAKEN),
                               hc_word(1 + CELLS, HC_WORD_TAKEN)};
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        new_lane();
        hc_post(cell(1), 1, 0);
        CHECK_EQ(take(false), HC_TOOK);
        cell(1)->word = forged[i];
        CHECK_EQ(hc_finish(cell(1), 1), HC_FINISHED_BROKEN);
    }
}

TEST(test_progress_accepts_the_words_of_the_call_and_no_others)
{
    const uint64_t n = 5;
    for (uint64_t number = 0; number <= 2u * n; number++)
        for (uint64_t low = 0; low < 32; low++) {
            uint64_t value = (number << HC_WORD_SHIFT) | low;
            uint64_t state = low & 3u;
            uint64_t bits = low & ~UINT64_C(3);
            enum hc_progress wanted = HC_PROGRESS_POISON;
            if (number == n && state == HC_WORD_POSTED)
                wanted = HC_PROGRESS_POSTED;
            else if (number == n && state == HC_WORD_TAKEN && (bits & ~HC_WORD_SLEEP) == 0)
                wanted = HC_PROGRESS_TAKEN;
            else if (number == n && low == HC_WORD_DONE)
                wanted = HC_PROGRESS_DONE;
            CHECK_EQ(hc_progress_of(value, n), wanted);
        }
}

TEST(test_take_reports_every_word_that_cannot_be_in_the_lane)
{
    const uint64_t n = 2u * CELLS + 2u;
    for (uint64_t number = 0; number <= 2u * n; number++)
        for (uint64_t low = 0; low < 32; low++) {
            uint64_t state = low & 3u;
            uint64_t bits = low & ~UINT64_C(3);
            new_lane();
            g_in.next = n;
            cell(n)->word = (number << HC_WORD_SHIFT) | low;
            enum hc_taken wanted = HC_BROKEN;
            if (number == n && state == HC_WORD_POSTED)
                wanted = (bits & HC_WORD_SWITCH) == 0 ? HC_TOOK : HC_NOTHING;
            else if (number > n && number < n + CELLS && state == HC_WORD_POSTED)
                wanted = HC_NOTHING; /* posted ahead: its turn has not come */
            else if (number >= n)
                wanted = number < n + CELLS && low == HC_WORD_FREE ? HC_NOTHING : HC_BROKEN;
            else if (state == HC_WORD_TAKEN ? (bits & ~HC_WORD_SLEEP) == 0
                                            : state != HC_WORD_POSTED && bits == 0)
                wanted = HC_NOTHING;
            CHECK_EQ(take(false), wanted);
            CHECK_EQ(g_in.next, wanted == HC_TOOK ? n + 1u : n);
        }
}

TEST(test_call_is_found_in_the_first_cell_and_behind_its_predecessor)
{
    for (uint64_t at = 0; at < CELLS; at++) {
        new_lane();
        g_in.next = 2;
        hc_post(&g_cells[at], 2, 0);
        CHECK_EQ(take(false), at <= 1 ? HC_TOOK : HC_NOTHING);
    }
}

TEST(test_call_posted_in_both_places_by_a_forger_is_taken_once)
{
    new_lane();
    g_in.next = 2;
    hc_post(&g_cells[0], 2, 0);
    hc_post(&g_cells[1], 2, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK(take(true) != HC_TOOK);
    CHECK_EQ(g_in.next, 3);
}

/* A group is posted last call first: round the end of the lane that is the first cell. */
TEST(test_later_call_in_the_first_cell_is_no_poison)
{
    new_lane();
    g_in.next = CELLS;
    hc_post(&g_cells[0], CELLS + 1u, 0);
    CHECK(hc_lane_plausible(&g_in));
    CHECK_EQ(take(false), HC_NOTHING);
    hc_post_bound(cell(CELLS), CELLS);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK_EQ(g_in.next, CELLS + 2u);
}

TEST(test_bound_call_stays_posted_until_it_is_done)
{
    struct hc_taking taking;
    new_lane();
    hc_post_bound(cell(1), 1);
    CHECK(hc_peek(&g_in, false));
    CHECK_EQ(hc_take(&g_in, false, &taking), HC_TOOK);
    CHECK(taking.bound && !taking.switched);
    CHECK_EQ(word(1), hc_word(1, HC_WORD_POSTED) | HC_WORD_BOUND);
    CHECK(!hc_peek(&g_in, true));
    hc_finish_bound(taking.u_cell, taking.n);
    CHECK_EQ(hc_progress_of(word(1), 1), HC_PROGRESS_DONE);
}

TEST(test_bound_call_cannot_be_withdrawn_or_handed_over)
{
    new_lane();
    hc_post_bound(cell(1), 1);
    CHECK(!hc_withdraw(cell(1), 1, 0));
    CHECK(!hc_withdraw(cell(1), 1, HC_WORD_SWITCH | HC_WORD_SLEEP));
    CHECK(!hc_hand_over(cell(1), 1));
}

TEST(test_replayed_call_is_never_taken_twice)
{
    new_lane();
    hc_post(cell(1), 1, 0);
    CHECK_EQ(take(false), HC_TOOK);
    CHECK_EQ(hc_finish(cell(1), 1), HC_FINISHED);
    cell(1)->word = hc_word(1, HC_WORD_POSTED);
    CHECK_EQ(take(true), HC_BROKEN);
    CHECK_EQ(g_in.next, 2);
}

TEST(test_claim_is_held_by_one)
{
    new_lane();
    CHECK(hc_claim(&g_in));
    CHECK(!hc_claim(&g_in));
    hc_unclaim(&g_in);
    CHECK(hc_claim(&g_in));
}

TEST(test_lane_is_full_after_cell_count_calls)
{
    new_lane();
    for (uint64_t n = 1; n <= CELLS; n++) {
        CHECK(!hc_lane_full(&g_out));
        g_out.tail++;
    }
    CHECK(hc_lane_full(&g_out));
    hc_lane_give_back(&g_out, 1);
    CHECK(!hc_lane_full(&g_out));
}

TEST(test_cells_given_back_out_of_order_are_free_once_older_ones_are)
{
    new_lane();
    g_out.tail = 1u + CELLS;
    hc_lane_give_back(&g_out, 3);
    hc_lane_give_back(&g_out, 2);
    CHECK_EQ(g_out.oldest, 1);
    CHECK(hc_lane_full(&g_out));
    hc_lane_give_back(&g_out, 1);
    CHECK_EQ(g_out.oldest, 4);
    hc_lane_give_back(&g_out, 4);
    CHECK_EQ(g_out.oldest, g_out.tail);
    CHECK_EQ(g_out.returned, 0);
}

TEST(test_newest_call_taken_back_behind_returned_ones_keeps_the_books)
{
    new_lane();
    g_out.tail = 4;
    g_in.next = 3;
    hc_lane_give_back(&g_out, 2);
    hc_lane_take_back(&g_out, 3);
    CHECK_EQ(g_out.tail, 3);
    hc_lane_give_back(&g_out, 1);
    CHECK_EQ(g_out.oldest, 3);
    CHECK_EQ(g_out.returned, 0);
    whole_call();
}

TEST(test_books_agree_with_a_model_over_random_orders)
{
    uint64_t state = check_seed(20250101);
    new_lane();
    bool out[1u << 12] = {false};
    for (int step = 0; step < 20000; step++) {
        uint64_t n = g_out.oldest + check_random(&state) % CELLS;
        if (check_random(&state) % 2u == 0 && !hc_lane_full(&g_out)) {
            if (g_out.tail == sizeof out / sizeof out[0])
                break;
            out[g_out.tail++] = true;
        } else if (n < g_out.tail && out[n]) {
            hc_lane_give_back(&g_out, n);
            out[n] = false;
        }
        uint64_t oldest = 1;
        while (oldest < g_out.tail && !out[oldest])
            oldest++;
        CHECK_EQ(g_out.oldest, oldest);
        CHECK_EQ(hc_lane_full(&g_out), g_out.tail - oldest == CELLS);
    }
}
