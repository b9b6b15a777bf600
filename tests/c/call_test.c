/* SPDX-License-Identifier: Apache-2.0 */
/* call_test.c -- plain calls: hot, handed over, slept for, nested, given up, refused. */
#include "echo.h"

#define US UINT64_C(2600) /* cycles; a bound in these tests, so its exact length is no matter */

/* The enclave's responder takes call n of slot 0 and does not answer it before finish_late(). */
static struct hc_taking g_late;

static void take_and_hold(enum hc_side waiting)
{
    (void)waiting;
    struct hc_lane_in *lane = &g_pair.end[HC_ENCLAVE].slots[0].in[HC_LANE_FORWARD];
    if (hc_peek(lane, true))
        CHECK_EQ(hc_take(lane, true, &g_late), HC_TOOK);
}

static void finish_late(void)
{
    g_late.u_cell->status = HC_OK;
    CHECK(hc_finish(g_late.u_cell, g_late.n) != HC_FINISHED_BROKEN);
}

TEST(test_hot_call_is_answered)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_HOST].bounds.take = g_pair.end[HC_HOST].bounds.spin = UINT64_MAX;
    g_pair.other = pair_responder;
    struct add ms = {40, 2, 0};
    CHECK_EQ(pair_call(port, E_ADD, &ms, sizeof ms), HC_OK);
    CHECK_EQ(ms.sum, 42);
    CHECK_EQ(port->counters.hot, 1);
    CHECK_EQ(port->counters.fallen_back, 0);
    pair_stop();
}

TEST(test_switch_call_is_answered_by_the_companion)
{
    struct hc_port *port = echo_start();
    port->mode = HC_MODE_SWITCH;
    struct add ms = {-1, 1, 7};
    CHECK_EQ(pair_call(port, E_ADD, &ms, sizeof ms), HC_OK);
    CHECK_EQ(ms.sum, 0);
    CHECK_EQ(port->counters.switched, 1);
    CHECK(g_pair.wakes >= 1);
    pair_stop();
}

TEST(test_hot_call_that_nobody_takes_falls_back_and_runs_once)
{
    struct hc_port *port = echo_start();
    g_pair.other = pair_rung;
    CHECK_EQ(note(port, 5), HC_OK);
    CHECK_EQ(port->counters.fallen_back, 1);
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

TEST(test_sleeping_responders_make_it_a_switch_call_at_once)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_ENCLAVE].u_board->awake = 0;
    CHECK_EQ(note(port, 5), HC_OK);
    CHECK_EQ(port->counters.switched, 1);
    CHECK_EQ(port->counters.hot, 0);
    pair_stop();
}

TEST(test_burst_of_calls_wakes_a_responder)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_ENCLAVE].u_board->awake = 0;
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(note(port, i), HC_OK);
    CHECK_EQ(port->counters.rang, 1);
    pair_stop();
}

static struct hc_port *g_caller;

/* As if the call that runs had taken hours. */
static void take_long(void)
{
    g_caller->burst_tsc -= 2u * g_caller->end->bounds.burst_gap;
}

TEST(test_burst_of_calls_that_take_long_wakes_a_responder)
{
    g_caller = echo_start();
    g_pair.end[HC_ENCLAVE].u_board->awake = 0;
    g_pair.end[HC_HOST].bounds.burst_gap = UINT64_C(1) << 44;
    g_in_the_middle = take_long;
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(note(g_caller, i), HC_OK);
    g_in_the_middle = NULL;
    CHECK_EQ(g_caller->counters.rang, 1);
    pair_stop();
}

TEST(test_caller_avoids_hot_calls_for_a_while_after_one_that_nobody_took)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_HOST].bounds.avoid = 1000u * 1000u * US;
    g_pair.other = pair_rung;
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(port->counters.hot, 1);
    CHECK_EQ(note(port, 2), HC_OK);
    CHECK_EQ(port->counters.hot, 1);
    CHECK_EQ(port->counters.switched, 1);
    pair_stop();
}

/* Since when the responder is away. */
static enum { NEVER, POSTED, TAKEN } g_deserted;

static enum hc_presence say_deserted(void *context, bool taken)
{
    (void)context;
    return g_deserted == (taken ? TAKEN : POSTED) ? HC_DESERTED : HC_PRESENT;
}

TEST(test_call_for_a_responder_that_is_away_goes_to_the_companion_before_the_bound)
{
    struct hc_port *port = echo_start();
    g_deserted = POSTED;
    g_pair.end[HC_HOST].bounds.take = UINT64_MAX;
    g_pair.end[HC_HOST].os.presence = say_deserted;
    g_pair.other = pair_rung;
    CHECK_EQ(note(port, 5), HC_OK);
    CHECK_EQ(port->counters.fallen_back, 1);
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

/* The responder takes the call and is gone; once the bell is rung somebody ends it. */
static void hold_until_rung(enum hc_side waiting)
{
    take_and_hold(waiting);
    if (g_pair.wakes != 0)
        finish_late();
}

TEST(test_call_that_was_taken_and_left_rings_the_companion_once)
{
    struct hc_port *port = echo_start();
    g_deserted = TAKEN;
    g_pair.end[HC_HOST].os.presence = say_deserted;
    g_pair.other = hold_until_rung;
    CHECK_EQ(note(port, 5), HC_OK);
    CHECK_EQ(port->counters.fallen_back, 0);
    CHECK_EQ(*port->u_bell, 1);
    pair_stop();
}

/* The responder takes the call, and waits for an event like its caller. */
static enum hc_presence take_and_await(void *context, bool taken)
{
    const struct hc_end *end = context;
    if (taken)
        return HC_AWAITS;
    take_and_hold(end->side);
    return HC_PRESENT;
}

static void event_comes(enum hc_side waiting)
{
    (void)waiting;
    finish_late();
}

TEST(test_caller_whose_responder_awaits_an_event_lets_others_have_the_core)
{
    struct hc_port *port = echo_start();
    struct hc_bounds *bounds = &g_pair.end[HC_HOST].bounds;
    bounds->take = bounds->yield = UINT64_MAX;
    g_pair.end[HC_HOST].os.presence = take_and_await;
    g_pair.other = event_comes;
    CHECK_EQ(note(port, 5), HC_OK);
    CHECK_EQ(g_pair.yields, 1);
    CHECK_EQ(g_pair.sleeps, 0);
    pair_stop();
}

TEST(test_caller_that_is_not_deserted_waits_for_its_responder)
{
    struct hc_port *port = echo_start();
    g_deserted = NEVER;
    g_pair.end[HC_HOST].bounds.take = UINT64_MAX;
    g_pair.end[HC_HOST].os.presence = say_deserted;
    g_pair.other = pair_responder;
    CHECK_EQ(note(port, 5), HC_OK);
    CHECK_EQ(port->counters.fallen_back, 0);
    CHECK_EQ(*port->u_bell, 0);
    pair_stop();
}

TEST(test_counter_that_was_set_back_does_not_avoid_hot_calls_for_ever)
{
    struct hc_port *port = echo_start();
    /* Left by a call before a suspend that began the counter anew: hours ahead of now. */
    port->avoid_until = hc_tsc() + (UINT64_C(1) << 44);
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(port->counters.hot, 1);
    pair_stop();
}

TEST(test_one_processor_makes_every_call_a_switch_call)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_HOST].bounds.spinning = false;
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(port->counters.hot, 0);
    pair_stop();
}

TEST(test_arguments_and_results_in_the_window_are_copied_both_ways)
{
    struct hc_port *port = echo_start();
    for (uint64_t size = 0; size < 1500; size += 1u + size / 3u) {
        uint8_t in[1500], out[1500];
        struct copy ms = {size, size};
        struct hc_call call;
        for (size_t i = 0; i < size; i++)
            in[i] = (uint8_t)(i * 7u);
        size_t buffers = hc_message_add(hc_message_add(0, size), size);
        CHECK_EQ(hc_call_begin(port, &call, E_COPY, sizeof ms, buffers), HC_OK);
        hc_call_in(&call, in, size);
        size_t position = hc_call_out(&call, size);
        CHECK_EQ(hc_call_run(&call, &ms, sizeof ms), HC_OK);
        CHECK_EQ(hc_call_copy_out(&call, position, out, size), HC_OK);
        hc_call_end(&call);
        for (size_t i = 0; i < size; i++)
            CHECK_EQ(out[i], in[size - 1u - i]);
    }
    pair_stop();
}

TEST(test_fixed_part_larger_than_a_cell_travels_in_the_window)
{
    struct hc_port *port = echo_start();
    struct large ms;
    for (uint64_t i = 0; i < 16; i++)
        ms.numbers[i] = i;
    CHECK_EQ(pair_call(port, E_LARGE, &ms, sizeof ms), HC_OK);
    for (uint64_t i = 0; i < 16; i++)
        CHECK_EQ(ms.numbers[i], 3u * i);
    pair_stop();
}

TEST(test_arguments_larger_than_the_window_are_refused_and_leave_the_lane_usable)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(hc_call_begin(port, &call, E_COPY, 16, HC_PAGE + 16u), HC_ERR_TOO_LARGE);
    CHECK_EQ(hc_call_begin(port, &call, E_COPY, 16, SIZE_MAX), HC_ERR_TOO_LARGE);
    CHECK_EQ(hc_call_begin(port, &call, E_COPY, 48, SIZE_MAX), HC_ERR_TOO_LARGE);
    CHECK_EQ(note(port, 1), HC_OK);
    pair_stop();
}

TEST(test_unknown_call_is_refused_here_and_there)
{
    struct hc_port *port = echo_start();
    uint64_t token = 0;
    CHECK_EQ(pair_call(port, E_COUNT, &token, sizeof token), HC_ERR_UNKNOWN_CALL);
    CHECK_EQ(pair_call(port, UINT32_MAX, &token, sizeof token), HC_ERR_UNKNOWN_CALL);
    /* A caller that was built with more functions. */
    g_pair.end[HC_ENCLAVE].incoming_count = E_NOTE;
    CHECK_EQ(note(port, 1), HC_ERR_UNKNOWN_CALL);
    CHECK_EQ(g_ran_count, 0);
    pair_stop();
}

TEST(test_failure_of_the_callee_is_the_status_and_the_cell_is_free_again)
{
    struct hc_port *port = echo_start();
    for (int i = 0; i < 20; i++)
        CHECK_EQ(pair_call(port, E_FAIL, NULL, 0), HC_ERR_CALLEE);
    CHECK_EQ(port->counters.errors, 20);
    CHECK_EQ(port->out->oldest, port->out->tail);
    pair_stop();
}

TEST(test_cancelled_call_leaves_cell_and_window_free)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(hc_call_begin(port, &call, E_COPY, 16, HC_PAGE), HC_OK);
    hc_call_cancel(&call);
    CHECK(!port->busy);
    CHECK_EQ(hc_call_begin(port, &call, E_COPY, 16, HC_PAGE), HC_OK);
    hc_call_cancel(&call);
    CHECK_EQ(note(port, 1), HC_OK);
    pair_stop();
}

TEST(test_port_is_busy_from_begin_to_end_and_never_after)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(hc_call_begin(port, &call, E_COPY, 16, HC_PAGE + 1u), HC_ERR_TOO_LARGE);
    CHECK(!port->busy);
    CHECK_EQ(hc_call_begin(port, &call, E_COUNT, 0, 0), HC_ERR_UNKNOWN_CALL);
    CHECK(!port->busy);
    uint64_t token = 0;
    CHECK_EQ(hc_call_begin(port, &call, E_NOTE, sizeof token, 0), HC_OK);
    CHECK(port->busy);
    CHECK_EQ(hc_call_run(&call, &token, sizeof token), HC_OK);
    CHECK(port->busy);
    hc_call_end(&call);
    CHECK(!port->busy);
    pair_stop();
}

TEST(test_timed_out_call_that_nobody_took_is_withdrawn_and_never_runs)
{
    struct hc_port *port = echo_start();
    g_pair.other = nobody;
    port->timeout = 100u * US;
    CHECK_EQ(note(port, 1), HC_ERR_TIMEOUT);
    CHECK(!port->stuck && !port->busy);
    CHECK_EQ(pair_drain(HC_ENCLAVE, 0, true), 0);
    CHECK_EQ(g_ran_count, 0);
    port->timeout = 0;
    g_pair.other = pair_chain;
    CHECK_EQ(note(port, 2), HC_OK);
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

TEST(test_timed_out_call_that_runs_is_quarantined_until_it_is_done)
{
    struct hc_port *port = echo_start();
    g_pair.other = take_and_hold;
    port->timeout = 100u * US;
    CHECK_EQ(note(port, 1), HC_ERR_TIMEOUT);
    CHECK(port->stuck);
    CHECK(!hc_port_recover(port));
    CHECK_EQ(port->out->oldest, 1);
    finish_late();
    CHECK(hc_port_recover(port));
    CHECK_EQ(port->out->oldest, port->out->tail);
    port->timeout = 0;
    g_pair.other = pair_chain;
    CHECK_EQ(note(port, 2), HC_OK);
    pair_stop();
}

TEST(test_interrupted_wait_gives_the_call_up)
{
    struct hc_port *port = echo_start();
    g_pair.other = take_and_hold;
    g_pair.interrupted = true;
    CHECK_EQ(note(port, 1), HC_ERR_INTERRUPTED);
    CHECK(port->stuck);
    pair_stop();
}

TEST(test_lost_peer_ends_the_wait_and_every_later_call)
{
    struct hc_port *port = echo_start();
    g_pair.other = nobody;
    g_pair.lost = true;
    CHECK_EQ(note(port, 1), HC_ERR_PEER_LOST);
    CHECK_EQ(note(port, 2), HC_ERR_PEER_LOST);
    CHECK_EQ(note(pair_port(HC_HOST, 1), 3), HC_ERR_PEER_LOST);
    CHECK(g_pair.sleeps <= 3);
    pair_stop();
}

TEST(test_peer_lost_is_seen_when_sleeping_starts_before_the_call_is_taken)
{
    struct hc_port *port = echo_start();
    g_pair.other = nobody;
    g_pair.end[HC_HOST].bounds.spin = 1;
    g_pair.end[HC_HOST].bounds.take = 1000u * US;
    g_pair.lost = true;
    CHECK_EQ(note(port, 1), HC_ERR_PEER_LOST);
    pair_stop();
}

TEST(test_call_slept_for_before_it_was_taken_still_falls_back)
{
    struct hc_port *port = echo_start();
    g_pair.end[HC_HOST].bounds.spin = 1;
    g_pair.end[HC_HOST].bounds.take = 50u * US;
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

TEST(test_closed_channel_ends_the_wait_with_the_reason_whatever_the_word_says)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(submit_note(port, &call, 1), HC_OK);
    /* hc_shutdown() replaces the region by zero pages while other threads still wait. */
    hc_break(&g_pair.end[HC_HOST], HC_ERR_CLOSED, "the enclave was closed");
    pair_cell(0, HC_LANE_FORWARD, 1)->word = 0;
    call.u_cell->word = 0;
    uint64_t answer;
    CHECK_EQ(hc_call_wait(&call, &answer, sizeof answer), HC_ERR_CLOSED);
    pair_stop();
}

TEST(test_first_reason_of_a_broken_channel_stays)
{
    struct hc_port *port = echo_start();
    struct hc_end *end = &g_pair.end[HC_HOST];
    hc_break(end, HC_ERR_POISONED, "first");
    hc_break(end, HC_ERR_CLOSED, "second");
    CHECK_EQ(hc_broken(end), HC_ERR_POISONED);
    CHECK(strcmp(end->broken_what, "first") == 0);
    CHECK_EQ(note(port, 1), HC_ERR_POISONED);
    pair_stop();
}

TEST(test_overwritten_word_of_a_call_in_progress_poisons_the_channel)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(submit_note(port, &call, 1), HC_OK);
    call.u_cell->word = hc_word(9, HC_WORD_DONE);
    uint64_t answer;
    CHECK_EQ(hc_call_wait(&call, &answer, sizeof answer), HC_ERR_POISONED);
    CHECK_EQ(note(port, 2), HC_ERR_POISONED);
    pair_stop();
}

TEST(test_nested_calls_reach_depth_eight)
{
    struct hc_port *port = echo_start();
    uint64_t depth = 7;
    CHECK_EQ(pair_call(port, E_DOWN, &depth, sizeof depth), HC_OK);
    CHECK_EQ(g_depth_reached, 4);
    /* Eight on each side: limited by nothing but the cells of a lane, of which there are 8. */
    g_depth_reached = 0;
    depth = 15;
    CHECK_EQ(pair_call(port, E_DOWN, &depth, sizeof depth), HC_OK);
    CHECK_EQ(g_depth_reached, 8);
    pair_stop();
}

TEST(test_nested_calls_without_end_are_refused_and_the_chain_unwinds)
{
    struct hc_port *port = echo_start();
    uint64_t depth = 1000;
    enum hc_status status = pair_call(port, E_DOWN, &depth, sizeof depth);
    CHECK(status == HC_ERR_DEPTH || status == HC_ERR_AGAIN);
    CHECK(g_depth_reached <= HC_DEPTH_MAX + 1u);
    CHECK_EQ(note(port, 1), HC_OK);
    CHECK_EQ(g_pair.end[HC_ENCLAVE].slots[0].port.depth, 0);
    CHECK_EQ(g_pair.end[HC_HOST].slots[0].reverse.depth, 0);
    pair_stop();
}

TEST(test_shared_memory_pointer_becomes_an_offset_only_inside_shared_memory)
{
    struct hc_port *port = echo_start();
    const struct hc_geometry *g = &g_pair.geometry;
    uint8_t *shared = g_pair.u_base + g->shared_at;
    uint64_t offset;
    CHECK_EQ(hc_call_shared(port, NULL, 100, &offset), HC_OK);
    CHECK_EQ(offset, 0);
    CHECK_EQ(hc_call_shared(port, shared, g->shared_size, &offset), HC_OK);
    CHECK_EQ(offset, g->shared_at);
    CHECK_EQ(hc_call_shared(port, shared - 1, 1, &offset), HC_ERR_ARGUMENT);
    CHECK_EQ(hc_call_shared(port, shared, g->shared_size + 1u, &offset), HC_ERR_ARGUMENT);
    CHECK_EQ(hc_call_shared(port, shared + 1, SIZE_MAX, &offset), HC_ERR_ARGUMENT);
    CHECK_EQ(hc_call_shared(port, &offset, 8, &offset), HC_ERR_ARGUMENT);
    pair_stop();
}
