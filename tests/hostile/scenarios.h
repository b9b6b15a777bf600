/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenarios.h -- honest runs of calls, of every kind that there is, for script.c to disturb.
 *
 * Together they reach every access of the code to the channel; test_hostile_peer.py sees to it.
 */
#ifndef HOTCALLS_TESTS_SCENARIOS_H
#define HOTCALLS_TESTS_SCENARIOS_H

#include "scenario.h"

static void scenario_start(void)
{
    (void)echo_start();
}

static void plain(enum hc_mode mode)
{
    struct hc_port *port = host_port();
    if (port == NULL)
        return;
    uint64_t token = 100;
    port->mode = mode;
    enum hc_status status = pair_call(port, E_NOTE, &token, sizeof token);
    port->mode = HC_MODE_DEFAULT;
    ended(status, token == 101);
}

static void hot(void)
{
    plain(HC_MODE_HOT);
    plain(HC_MODE_HOT);
}

static void switched(void)
{
    plain(HC_MODE_SWITCH);
    plain(HC_MODE_SWITCH);
}

static void window(void)
{
    struct hc_port *port = host_port();
    uint8_t in[600], out[600];
    struct copy ms = {sizeof in, sizeof out};
    struct hc_call call;
    if (port == NULL)
        return;
    memset(in, 1, sizeof in);
    memset(out, 0, sizeof out);
    enum hc_status status = hc_call_begin(port, &call, E_COPY, sizeof ms,
                                          hc_message_add(hc_message_add(0, sizeof in), sizeof out));
    if (status != HC_OK) {
        ended(status, false);
        return;
    }
    hc_call_in(&call, in, sizeof in);
    size_t position = hc_call_out(&call, sizeof out);
    status = hc_call_run(&call, &ms, sizeof ms);
    if (status == HC_OK) {
        CHECK_EQ(hc_call_copy_out(&call, position, out, sizeof out), HC_OK);
        hc_call_end(&call);
    }
    ended(status, memcmp(in, out, sizeof in) == 0);
}

static void nested(void)
{
    struct hc_port *port = host_port();
    uint64_t id = O_CALLS_PRIVATE;
    if (port == NULL)
        return;
    enum hc_status status = pair_call(port, E_OCALL, &id, sizeof id);
    ended(status, g_inner_status == HC_OK);
}

static void deep(void)
{
    struct hc_port *port = host_port();
    uint64_t depth = 5;
    if (port == NULL)
        return;
    enum hc_status status = pair_call(port, E_DOWN, &depth, sizeof depth);
    ended(status, depth == 0);
}

static void several(bool batch)
{
    struct hc_port *port = host_port();
    struct hc_call calls[4];
    bool posted[4] = {false};
    if (port == NULL)
        return;
    if (batch)
        hc_batch_begin(port);
    for (uint64_t i = 0; i < 4; i++) {
        enum hc_status status = submit_note(port, &calls[i], i);
        posted[i] = status == HC_OK;
        if (status != HC_OK)
            ended(status, false);
    }
    if (batch)
        hc_batch_end(port);
    const uint64_t order[] = {1, 0, 3, 2};
    for (int k = 0; k < 4; k++) {
        uint64_t i = order[k], answer = 0;
        if (!posted[i])
            continue;
        (void)hc_call_poll(&calls[i]);
        enum hc_status status = pair_collect(&calls[i], &answer, sizeof answer);
        ended(status, answer == i + 1u);
    }
}

static void pipelined(void)
{
    several(false);
    plain(HC_MODE_HOT);
}

static void batched(void)
{
    several(true);
    plain(HC_MODE_HOT);
}

static void oneway(void)
{
    struct hc_port *port = host_port();
    uint64_t errors;
    enum hc_status first;
    if (port == NULL)
        return;
    for (uint64_t i = 0; i < PAIR_CELLS + 2u; i++) {
        enum hc_status status = pair_oneway(port, E_NOTE, &i, sizeof i);
        if (status != HC_OK)
            ended(status, false);
    }
    enum hc_status status = hc_flush(port, &errors, &first);
    ended(status, errors == 0);
    plain(HC_MODE_HOT);
}

/* Nobody takes the call until it is handed over. */
static void handed_over(void)
{
    g_stepper.chain = pair_rung;
    plain(HC_MODE_HOT);
    g_pair.wakes = 0;
    plain(HC_MODE_HOT);
}

/* Responders that sleep; a burst of calls wakes one. */
static void burst(void)
{
    hc_untrusted_store_u32(&g_pair.end[HC_ENCLAVE].u_board->awake, 0);
    for (int i = 0; i < 5; i++)
        plain(HC_MODE_HOT);
}

/* The host sleeps before anything is taken, and once in vain. */
static void to_sleeper(enum hc_side waiting)
{
    if (waiting == HC_ENCLAVE || g_pair.sleeps > 1)
        pair_chain(waiting);
}

static void asleep(void)
{
    g_stepper.chain = to_sleeper;
    plain(HC_MODE_HOT);
    g_pair.sleeps = 0;
    nested();
}

/* A companion of the host leaves what the owner of the lane waits for, and takes it in the end. */
static void by_another(enum hc_side waiting)
{
    uint64_t served = pair_drain(HC_HOST, 0, true);
    if (waiting == HC_ENCLAVE)
        (void)hc_drain_back(&g_pair.thread[HC_HOST], &g_pair.end[HC_HOST].slots[0], true, true,
                            &served);
    else
        pair_chain(waiting);
}

static void stolen(void)
{
    g_stepper.chain = by_another;
    nested();
}

static void oneway_back(void)
{
    struct hc_port *port = host_port();
    uint64_t token = 0;
    if (port == NULL)
        return;
    ended(pair_call(port, E_ONEWAY_OCALL, &token, sizeof token), true);
    plain(HC_MODE_HOT);
}

static void large(void)
{
    struct hc_port *port = host_port();
    struct large ms;
    if (port == NULL)
        return;
    for (uint64_t i = 0; i < 16; i++)
        ms.numbers[i] = i;
    enum hc_status status = pair_call(port, E_LARGE, &ms, sizeof ms);
    ended(status, ms.numbers[0] == 0 && ms.numbers[15] == 45);
}

/* One call that nobody takes, and one that is taken and answered when its caller has given up. */
static struct hc_taking g_held;

static void hold(enum hc_side waiting)
{
    struct hc_lane_in *lane = &g_pair.end[HC_ENCLAVE].slots[0].in[HC_LANE_FORWARD];
    if (waiting == HC_HOST && g_held.u_cell == NULL && hc_take(lane, true, &g_held) != HC_TOOK)
        g_held.u_cell = NULL;
}

static void given_up(void)
{
    struct hc_port *port = pair_port(HC_HOST, 0);
    g_expected = HC_ERR_TIMEOUT;
    port->timeout = 4000;
    g_stepper.chain = nobody;
    plain(HC_MODE_HOT);
    memset(&g_held, 0, sizeof g_held);
    g_stepper.chain = hold;
    plain(HC_MODE_SWITCH);
    g_stepper.acting = HC_ENCLAVE;
    if (g_held.u_cell != NULL)
        CHECK(hc_finish(g_held.u_cell, g_held.n) <= HC_FINISHED_BROKEN);
    g_stepper.acting = HC_HOST;
    port->timeout = g_hint ? 0 : 60000;
    g_stepper.chain = pair_chain;
    plain(HC_MODE_HOT);
}

static const struct scenario g_scenarios[] = {
    {"hot", hot},
    {"switched", switched},
    {"window", window},
    {"nested", nested},
    {"deep", deep},
    {"pipelined", pipelined},
    {"batched", batched},
    {"oneway", oneway},
    {"handed_over", handed_over},
    {"burst", burst},
    {"asleep", asleep},
    {"stolen", stolen},
    {"oneway_back", oneway_back},
    {"large", large},
    {"given_up", given_up},
};

#endif /* HOTCALLS_TESTS_SCENARIOS_H */
