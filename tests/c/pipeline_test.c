/* SPDX-License-Identifier: Apache-2.0 */
/* pipeline_test.c -- calls that are out together: submitted, batched, one-way; order and limits. */
#include "echo.h"

#define US UINT64_C(2600) /* cycles; a bound in these tests, so its exact length is no matter */

static void check_ran(uint64_t from, uint64_t to)
{
    CHECK_EQ(g_ran_count, to - from);
    for (uint64_t i = 0; from + i < to; i++)
        CHECK_EQ(g_ran[i], from + i);
}

TEST(test_submitted_calls_run_in_order_and_are_collected_in_any)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[4];
    for (uint64_t round = 0; round < 5; round++) {
        g_ran_count = 0;
        for (uint64_t i = 0; i < 4; i++)
            CHECK_EQ(submit_note(port, &calls[i], i), HC_OK);
        const uint64_t order[] = {2, 0, 3, 1};
        for (int i = 0; i < 4; i++)
            collect_note(&calls[order[i]], order[i]);
        check_ran(0, 4);
    }
    CHECK_EQ(port->out->oldest, port->out->tail);
    pair_stop();
}

TEST(test_full_lane_is_back_pressure_and_no_loss)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[PAIR_CELLS], more;
    for (uint64_t i = 0; i < PAIR_CELLS; i++)
        CHECK_EQ(submit_note(port, &calls[i], i), HC_OK);
    CHECK_EQ(submit_note(port, &more, 99), HC_ERR_AGAIN);
    CHECK(!port->busy);
    CHECK_EQ(note(port, 99), HC_ERR_AGAIN);
    collect_note(&calls[0], 0);
    CHECK_EQ(submit_note(port, &more, 99), HC_OK);
    for (uint64_t i = 1; i < PAIR_CELLS; i++)
        collect_note(&calls[i], i);
    collect_note(&more, 99);
    pair_stop();
}

TEST(test_full_window_is_back_pressure_and_no_loss)
{
    struct hc_port *port = echo_start();
    struct hc_call first, second, third;
    struct copy ms = {0, 0};
    CHECK_EQ(hc_call_begin(port, &first, E_COPY, sizeof ms, 2048), HC_OK);
    CHECK_EQ(hc_call_submit(&first, &ms, sizeof ms), HC_OK);
    CHECK_EQ(hc_call_begin(port, &second, E_COPY, sizeof ms, 2048), HC_OK);
    CHECK_EQ(hc_call_submit(&second, &ms, sizeof ms), HC_OK);
    CHECK_EQ(hc_call_begin(port, &third, E_COPY, sizeof ms, 16), HC_ERR_AGAIN);
    CHECK(!port->busy);
    CHECK_EQ(pair_collect(&first, &ms, sizeof ms), HC_OK);
    CHECK_EQ(hc_call_begin(port, &third, E_COPY, sizeof ms, 1024), HC_OK);
    CHECK_EQ(hc_call_submit(&third, &ms, sizeof ms), HC_OK);
    CHECK_EQ(pair_collect(&second, &ms, sizeof ms), HC_OK);
    CHECK_EQ(pair_collect(&third, &ms, sizeof ms), HC_OK);
    CHECK_EQ(port->out->window.count, 0);
    pair_stop();
}

TEST(test_plain_call_goes_behind_what_is_outstanding)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[3];
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(submit_note(port, &calls[i], i), HC_OK);
    CHECK_EQ(note(port, 3), HC_OK);
    check_ran(0, 4);
    for (uint64_t i = 0; i < 3; i++)
        collect_note(&calls[i], i);
    pair_stop();
}

TEST(test_batch_is_held_back_then_runs_in_order)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[PAIR_CELLS];
    for (uint64_t round = 0; round < 3; round++) {
        g_ran_count = 0;
        hc_batch_begin(port);
        for (uint64_t i = 0; i < PAIR_CELLS - 1u; i++)
            CHECK_EQ(submit_note(port, &calls[i], i), HC_OK);
        CHECK_EQ(pair_drain(HC_ENCLAVE, 0, true), 0);
        hc_batch_end(port);
        CHECK_EQ(pair_drain(HC_ENCLAVE, 0, true), PAIR_CELLS - 1u);
        check_ran(0, PAIR_CELLS - 1u);
        for (uint64_t i = 0; i < PAIR_CELLS - 1u; i++)
            collect_note(&calls[i], i);
    }
    pair_stop();
}

TEST(test_plain_call_in_a_batch_follows_it_and_the_batch_goes_on)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[4];
    hc_batch_begin(port);
    CHECK_EQ(submit_note(port, &calls[0], 0), HC_OK);
    CHECK_EQ(submit_note(port, &calls[1], 1), HC_OK);
    CHECK_EQ(note(port, 2), HC_OK);
    CHECK_EQ(submit_note(port, &calls[2], 3), HC_OK);
    CHECK_EQ(submit_note(port, &calls[3], 4), HC_OK);
    hc_batch_end(port);
    for (uint64_t i = 0; i < 4; i++)
        collect_note(&calls[i], i < 2 ? i : i + 1u);
    check_ran(0, 5);
    pair_stop();
}

TEST(test_plain_call_withdrawn_in_a_batch_leaves_the_batch_whole)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[2];
    g_pair.other = nobody;
    hc_batch_begin(port);
    port->timeout = 100u * US;
    CHECK_EQ(note(port, 99), HC_ERR_TIMEOUT);
    port->timeout = 0;
    CHECK_EQ(submit_note(port, &calls[0], 0), HC_OK);
    CHECK_EQ(submit_note(port, &calls[1], 1), HC_OK);
    hc_batch_end(port);
    g_pair.other = pair_chain;
    collect_note(&calls[0], 0);
    collect_note(&calls[1], 1);
    check_ran(0, 2);
    pair_stop();
}

TEST(test_batches_round_the_end_of_a_lane_that_never_empties_are_no_poison)
{
    struct hc_port *port = echo_start();
    uint64_t state = check_seed(20250103);
    struct hc_call calls[PAIR_CELLS];
    uint64_t next = 0, oldest = 0;
    while (next < 2000) {
        uint64_t room = PAIR_CELLS - (next - oldest);
        uint64_t size = room == 0 ? 0 : 1u + check_random(&state) % room;
        hc_batch_begin(port);
        for (uint64_t i = 0; i < size; i++, next++)
            CHECK_EQ(submit_note(port, &calls[next % PAIR_CELLS], next), HC_OK);
        hc_batch_end(port);
        (void)pair_drain(HC_ENCLAVE, 0, false);
        g_ran_count = 0;
        /* One call at least stays out, so that the lane goes round and round. */
        for (uint64_t keep = 1u + check_random(&state) % 3u; next - oldest > keep; oldest++)
            collect_note(&calls[oldest % PAIR_CELLS], oldest);
    }
    for (; oldest != next; oldest++)
        collect_note(&calls[oldest % PAIR_CELLS], oldest);
    CHECK_EQ(hc_broken(port->end), HC_OK);
    CHECK_EQ(hc_broken(&g_pair.end[HC_ENCLAVE]), HC_OK);
    pair_stop();
}

/* A responder looks after each store of a batch that is being posted. */
TEST(test_half_posted_batch_is_no_poison)
{
    struct hc_port *port = echo_start();
    struct hc_lane_in *lane = &g_pair.end[HC_ENCLAVE].slots[0].in[HC_LANE_FORWARD];
    struct hc_call first, second, calls[5];
    uint64_t words[5];
    /* Calls 1 to 6, of which the last stays out: a group of five then goes round the end. */
    CHECK_EQ(submit_note(port, &first, 0), HC_OK);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(submit_note(port, &calls[0], i), HC_OK);
        (void)pair_drain(HC_ENCLAVE, 0, true);
        collect_note(&calls[0], i);
    }
    CHECK_EQ(submit_note(port, &second, 0), HC_OK);
    (void)pair_drain(HC_ENCLAVE, 0, true);
    collect_note(&first, 0);
    hc_batch_begin(port);
    for (uint64_t i = 0; i < 5; i++) {
        CHECK_EQ(submit_note(port, &calls[i], i), HC_OK);
        words[i] = calls[i].u_cell->word;
    }
    hc_batch_end(port);
    for (uint64_t i = 0; i < 5; i++) {
        uint64_t posted = calls[i].u_cell->word;
        calls[i].u_cell->word = words[i];
        words[i] = posted;
    }
    for (uint64_t i = 5; i-- > 0;) {
        CHECK(hc_lane_plausible(lane));
        calls[i].u_cell->word = words[i];
    }
    for (uint64_t i = 0; i < 5; i++)
        collect_note(&calls[i], i);
    collect_note(&second, 0);
    pair_stop();
}

TEST(test_group_member_that_timed_out_leaves_the_others_collectable)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[3];
    hc_batch_begin(port);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(submit_note(port, &calls[i], 10u + i), HC_OK);
    hc_batch_end(port);
    g_pair.other = nobody;
    port->timeout = 100u * US;
    uint64_t answer;
    CHECK_EQ(pair_collect(&calls[0], &answer, sizeof answer), HC_ERR_TIMEOUT);
    port->timeout = 0;
    g_pair.other = pair_chain;
    collect_note(&calls[1], 11);
    collect_note(&calls[2], 12);
    CHECK_EQ(g_ran_count, 3);
    CHECK(hc_port_recover(port));
    CHECK_EQ(port->out->oldest, port->out->tail);
    pair_stop();
}

TEST(test_last_of_a_group_that_timed_out_leaves_the_others_collectable)
{
    struct hc_port *port = echo_start();
    struct hc_call calls[3], later;
    hc_batch_begin(port);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(submit_note(port, &calls[i], 10u + i), HC_OK);
    hc_batch_end(port);
    g_pair.other = nobody;
    port->timeout = 100u * US;
    uint64_t answer;
    CHECK_EQ(pair_collect(&calls[2], &answer, sizeof answer), HC_ERR_TIMEOUT);
    port->timeout = 0;
    g_pair.other = pair_chain;
    collect_note(&calls[0], 10);
    CHECK_EQ(submit_note(port, &later, 20), HC_OK);
    collect_note(&calls[1], 11);
    collect_note(&later, 20);
    pair_stop();
}

TEST(test_oneway_calls_run_in_order_and_more_than_the_lane_holds)
{
    struct hc_port *port = echo_start();
    uint64_t errors;
    enum hc_status first;
    for (uint64_t i = 0; i < 5u * PAIR_CELLS; i++)
        CHECK_EQ(pair_oneway(port, E_NOTE, &i, sizeof i), HC_OK);
    CHECK_EQ(hc_flush(port, &errors, &first), HC_OK);
    CHECK_EQ(errors, 0);
    CHECK_EQ(first, HC_OK);
    check_ran(0, 5u * PAIR_CELLS);
    CHECK_EQ(port->out->oneway, 0);
    pair_stop();
}

TEST(test_oneway_errors_are_counted_and_stop_the_next_call_until_flush)
{
    struct hc_port *port = echo_start();
    uint64_t errors;
    enum hc_status first;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pair_oneway(port, E_FAIL, NULL, 0), HC_OK);
    (void)pair_drain(HC_ENCLAVE, 0, true);
    CHECK_EQ(note(port, 1), HC_ERR_ONEWAY);
    CHECK(!port->busy);
    CHECK_EQ(note(port, 1), HC_ERR_ONEWAY);
    CHECK_EQ(hc_flush(port, &errors, &first), HC_OK);
    CHECK_EQ(errors, 3);
    CHECK_EQ(first, HC_ERR_CALLEE);
    CHECK_EQ(hc_flush(port, &errors, &first), HC_OK);
    CHECK_EQ(errors, 0);
    CHECK_EQ(note(port, 1), HC_OK);
    pair_stop();
}

static void check_pipeline_of_eight(struct hc_port *port)
{
    struct hc_call calls[PAIR_CELLS];
    for (uint64_t i = 0; i < PAIR_CELLS; i++)
        CHECK_EQ(submit_note(port, &calls[i], i), HC_OK);
    (void)pair_drain(HC_ENCLAVE, 0, true);
    struct hc_call more;
    /* Begins with a sweep of one-way calls: none of these is one. */
    CHECK_EQ(submit_note(port, &more, 9), HC_ERR_AGAIN);
    for (uint64_t i = 0; i < PAIR_CELLS; i++)
        collect_note(&calls[i], i);
    CHECK_EQ(port->out->oldest, port->out->tail);
    CHECK_EQ(port->out->returned, 0);
}

TEST(test_flush_that_times_out_on_an_untaken_call_forgets_that_it_was_oneway)
{
    struct hc_port *port = echo_start();
    uint64_t errors, token = 1;
    enum hc_status first;
    g_pair.other = nobody;
    CHECK_EQ(pair_oneway(port, E_NOTE, &token, sizeof token), HC_OK);
    port->timeout = 100u * US;
    CHECK_EQ(hc_flush(port, &errors, &first), HC_ERR_TIMEOUT);
    CHECK(!port->busy);
    port->timeout = 0;
    g_pair.other = pair_chain;
    if (port->stuck) {
        (void)pair_drain(HC_ENCLAVE, 0, true);
        CHECK(hc_port_recover(port));
    }
    check_pipeline_of_eight(port);
    pair_stop();
}

static struct hc_taking g_late;

static void take_and_hold(enum hc_side waiting)
{
    struct hc_lane_in *lane = &g_pair.end[HC_ENCLAVE].slots[0].in[HC_LANE_FORWARD];
    (void)waiting;
    if (hc_peek(lane, true))
        CHECK_EQ(hc_take(lane, true, &g_late), HC_TOOK);
}

TEST(test_flush_that_times_out_on_a_running_call_gives_it_back_once)
{
    struct hc_port *port = echo_start();
    uint64_t errors, token = 1;
    enum hc_status first;
    g_pair.other = take_and_hold;
    CHECK_EQ(pair_oneway(port, E_NOTE, &token, sizeof token), HC_OK);
    /* Before the time runs, of which a loaded machine may leave nothing. */
    take_and_hold(HC_HOST);
    CHECK(g_late.u_cell != NULL);
    port->timeout = 100u * US;
    CHECK_EQ(hc_flush(port, &errors, &first), HC_ERR_TIMEOUT);
    port->timeout = 0;
    g_late.u_cell->status = HC_OK;
    CHECK(hc_finish(g_late.u_cell, g_late.n) != HC_FINISHED_BROKEN);
    g_pair.other = pair_chain;
    CHECK(hc_port_recover(port));
    check_pipeline_of_eight(port);
    CHECK(!port->stuck);
    pair_stop();
}

TEST(test_swept_call_is_not_abandoned_any_more)
{
    struct hc_port *port = echo_start();
    uint64_t errors, token = 1;
    enum hc_status first;
    g_pair.other = take_and_hold;
    CHECK_EQ(pair_oneway(port, E_NOTE, &token, sizeof token), HC_OK);
    /* Before the time runs, of which a loaded machine may leave nothing. */
    take_and_hold(HC_HOST);
    CHECK(g_late.u_cell != NULL);
    port->timeout = 100u * US;
    CHECK_EQ(hc_flush(port, &errors, &first), HC_ERR_TIMEOUT);
    port->timeout = 0;
    g_late.u_cell->status = HC_OK;
    CHECK(hc_finish(g_late.u_cell, g_late.n) != HC_FINISHED_BROKEN);
    g_pair.other = pair_chain;
    /* The same port, without asking whether it has recovered. */
    CHECK_EQ(hc_flush(port, &errors, &first), HC_OK);
    check_pipeline_of_eight(port);
    CHECK(hc_port_recover(port));
    pair_stop();
}

static struct hc_port *g_watched;
static bool g_was_idle;

static void watch_busy(enum hc_side waiting)
{
    g_was_idle = g_was_idle || !g_watched->busy;
    pair_chain(waiting);
}

/* A signal handler that calls in the middle must find the port busy, and take another slot. */
TEST(test_port_is_busy_while_it_waits_for_oneway_calls)
{
    g_watched = echo_start();
    g_was_idle = false;
    uint64_t errors;
    enum hc_status first;
    g_pair.other = watch_busy;
    for (uint64_t i = 0; i < 3u * PAIR_CELLS; i++)
        CHECK_EQ(pair_oneway(g_watched, E_NOTE, &i, sizeof i), HC_OK);
    CHECK_EQ(hc_flush(g_watched, &errors, &first), HC_OK);
    CHECK(!g_was_idle);
    CHECK(!g_watched->busy);
    pair_stop();
}

TEST(test_poll_tells_when_the_answer_is_there)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(submit_note(port, &call, 1), HC_OK);
    CHECK(!hc_call_poll(&call));
    (void)pair_drain(HC_ENCLAVE, 0, false);
    CHECK(hc_call_poll(&call));
    collect_note(&call, 1);
    pair_stop();
}

/* Or a program that polls and never waits would do so for ever. */
TEST(test_poll_ends_when_the_peer_is_lost)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    CHECK_EQ(submit_note(port, &call, 1), HC_OK);
    g_pair.lost = true;
    for (uint32_t polls = 0; !hc_call_poll(&call); polls++)
        CHECK(polls < 100000u);
    uint64_t answer;
    CHECK_EQ(pair_collect(&call, &answer, sizeof answer), HC_ERR_PEER_LOST);
    pair_stop();
}

TEST(test_submitted_calls_wake_a_responder_when_all_sleep)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    g_pair.end[HC_ENCLAVE].u_board->awake = 0;
    CHECK_EQ(submit_note(port, &call, 1), HC_OK);
    CHECK_EQ(port->counters.rang, 1);
    CHECK_EQ(g_pair.end[HC_ENCLAVE].u_board->doorbell, 1);
    collect_note(&call, 1);
    pair_stop();
}

TEST(test_submitted_calls_ring_the_companion_when_the_other_side_has_no_responders)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    struct hc_slot_control *u_control = hc_u_slot(g_pair.u_base, &g_pair.geometry, 0);
    g_pair.end[HC_ENCLAVE].u_board->awake = g_pair.end[HC_ENCLAVE].u_board->responders = 0;
    uint64_t token = 1;
    CHECK_EQ(pair_oneway(port, E_NOTE, &token, sizeof token), HC_OK);
    CHECK(u_control->owner_bell != 0);
    CHECK_EQ(pair_drain(HC_ENCLAVE, 0, true), 1);
    CHECK_EQ(submit_note(port, &call, 2), HC_OK);
    collect_note(&call, 2);
    pair_stop();
}

static uint32_t g_notified;

static void count_notification(struct hc_end *end)
{
    CHECK(end == &g_pair.end[HC_ENCLAVE]);
    g_notified++;
}

static void post_announced(struct hc_port *port, struct hc_call *call, uint64_t token)
{
    CHECK_EQ(hc_call_begin(port, call, E_NOTE, sizeof token, 0), HC_OK);
    call->id |= HC_CELL_NOTIFY;
    CHECK_EQ(hc_call_submit(call, &token, sizeof token), HC_OK);
}

TEST(test_sleeper_on_an_announced_call_is_notified_instead_of_woken)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    g_pair.end[HC_ENCLAVE].os.notify = count_notification;
    g_notified = 0;
    post_announced(port, &call, 1);
    CHECK(hc_fall_asleep(call.u_cell, hc_word(call.n, HC_WORD_POSTED)));
    CHECK_EQ(pair_drain(HC_ENCLAVE, 0, false), 1);
    CHECK_EQ(g_notified, 1);
    CHECK_EQ(g_pair.wakes, 0);
    collect_note(&call, 1);
    pair_stop();
}

TEST(test_announced_call_that_nobody_sleeps_on_costs_no_notification)
{
    struct hc_port *port = echo_start();
    struct hc_call call;
    g_pair.end[HC_ENCLAVE].os.notify = count_notification;
    g_notified = 0;
    post_announced(port, &call, 1);
    CHECK_EQ(pair_drain(HC_ENCLAVE, 0, false), 1);
    CHECK_EQ(g_notified, 0);
    collect_note(&call, 1);
    pair_stop();
}

TEST(test_random_mix_runs_every_token_once_and_in_order)
{
    struct hc_port *port = echo_start();
    uint64_t state = check_seed(20250104);
    struct {
        struct hc_call call;
        uint64_t token;
    } out[PAIR_CELLS];
    uint32_t count = 0;
    uint64_t token = 0, checked = 0, errors;
    enum hc_status first;
    bool batch = false;
    for (int step = 0; step < 20000; step++) {
        uint64_t choice = check_random(&state) % 16u;
        enum hc_status status = HC_OK;
        if (choice < 4) {
            status = submit_note(port, &out[count].call, token);
            if (status == HC_OK)
                out[count++].token = token++;
        } else if (choice < 7) {
            status = pair_oneway(port, E_NOTE, &token, sizeof token);
            token += status == HC_OK;
        } else if (choice < 9) {
            status = note(port, token);
            token += status == HC_OK;
        } else if (choice < 13 && count != 0) {
            uint32_t i = (uint32_t)(check_random(&state) % count);
            collect_note(&out[i].call, out[i].token);
            out[i] = out[--count];
        } else if (choice == 13) {
            if (batch)
                hc_batch_end(port);
            else
                hc_batch_begin(port);
            batch = !batch;
        } else if (choice == 14) {
            CHECK_EQ(hc_flush(port, &errors, &first), HC_OK);
            CHECK_EQ(errors, 0);
        } else {
            (void)pair_drain(HC_ENCLAVE, 0, check_random(&state) % 2u == 0);
        }
        CHECK(status == HC_OK || status == HC_ERR_AGAIN);
        CHECK(count != PAIR_CELLS || submit_note(port, &out[0].call, 0) == HC_ERR_AGAIN);
        for (uint32_t i = 0; i < g_ran_count; i++)
            CHECK_EQ(g_ran[i], checked++);
        g_ran_count = 0;
        if (count == PAIR_CELLS) {
            count--;
            collect_note(&out[count].call, out[count].token);
        }
    }
    CHECK_EQ(hc_broken(port->end), HC_OK);
    pair_stop();
}
