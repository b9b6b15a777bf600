/* SPDX-License-Identifier: Apache-2.0 */
/* responder_test.c -- when a responder sleeps, and for how long. */
#include "../../native/endpoint_responder.c"

#include "echo.h"

static struct endpoint g_endpoint;
static struct poll_list g_list;
static struct hc_port *g_port;
static uint32_t g_naps, g_sleeps; /* with and without an end */
/* What happens meanwhile; NULL: somebody rings. */
static void (*g_meanwhile)(void);

static void ring(void)
{
    g_endpoint.end.u_board->doorbell++;
}

/* What a responder needs of the other files of an endpoint. */
void endpoint_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)context;
    CHECK_EQ(*u_word, expected);
    *(ns == 0 ? &g_sleeps : &g_naps) += 1u;
    CHECK(ns <= ENDPOINT_LOOK_NS);
    if (g_meanwhile != NULL)
        g_meanwhile();
    else
        ring();
}

void endpoint_yield(void *context)
{
    (void)context;
}

void endpoint_leave(void)
{
}

struct hc_thread *endpoint_this_thread(void)
{
    return &g_pair.thread[HC_HOST];
}

/* A responder of a host that has one thread, in a call through the first slot. */
static struct endpoint_responder start(void)
{
    g_port = echo_start();
    memset(&g_endpoint, 0, sizeof g_endpoint);
    memset(&g_list, 0, sizeof g_list);
    g_endpoint.end = g_pair.end[HC_HOST];
    g_endpoint.responder_count = 1;
    g_endpoint.end.u_board->active[0] = 1;
    g_naps = g_sleeps = 0;
    g_meanwhile = NULL;
    (void)hc_port_enter(g_port);
    return (struct endpoint_responder){.endpoint = &g_endpoint};
}

static void call_back(uint64_t token)
{
    CHECK_EQ(pair_oneway(&g_pair.end[HC_ENCLAVE].slots[0].port, O_NOTE, &token, sizeof token),
             HC_OK);
}

TEST(test_responder_without_work_sleeps_until_it_is_rung)
{
    struct endpoint_responder self = start();
    responder_sleep(&self, &g_list);
    CHECK_EQ(g_sleeps, 1);
    CHECK_EQ(g_naps, 0);
    pair_stop();
}

static void give_up(void)
{
    if (g_naps == 100)
        hc_port_leave(g_port, false);
}

TEST(test_responder_sleeps_while_a_call_back_is_left_and_wakes_when_its_thread_gives_up)
{
    struct endpoint_responder self = start();
    call_back(1);
    g_meanwhile = give_up;
    responder_sleep(&self, &g_list);
    CHECK_EQ(g_sleeps, 0);
    CHECK_EQ(g_naps, 100);
    pair_stop();
}

TEST(test_responder_wakes_for_the_doorbell_while_a_call_back_is_left)
{
    struct endpoint_responder self = start();
    call_back(1);
    responder_sleep(&self, &g_list);
    CHECK_EQ(g_naps, 1);
    pair_stop();
}

TEST(test_responder_does_not_sleep_over_a_call_back_that_nobody_waits_for)
{
    struct endpoint_responder self = start();
    call_back(1);
    hc_port_leave(g_port, false);
    responder_sleep(&self, &g_list);
    CHECK_EQ(g_sleeps + g_naps, 0);
    pair_stop();
}
