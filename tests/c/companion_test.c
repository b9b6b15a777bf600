/* SPDX-License-Identifier: Apache-2.0 */
/* companion_test.c -- what a companion takes, and what it leaves to the thread that waits for it. */
#include "../../native/endpoint_companion.c"

#include "echo.h"

#include <time.h>

/*
 * A thousandth of a microsecond counts as one here. A thread is torn out after 10 s, and a look at
 * what is left to it counts for 100 ms at most: so after a hundred looks, and not before.
 */
#define LOOKS 100u

static struct endpoint g_endpoint;
static struct hc_slot *g_slot;

/* What companions and the steward need of the other files of an endpoint. */
void endpoint_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    pair_sleep(context, u_word, expected, ns);
}

void endpoint_leave(void)
{
}

int endpoint_thread(const struct endpoint *endpoint, pthread_t *thread, void *(*body)(void *),
                    void *argument)
{
    (void)endpoint, (void)thread, (void)body, (void)argument;
    return 1;
}

struct hc_thread *endpoint_this_thread(void)
{
    return &g_pair.thread[HC_HOST];
}

/* A host with a thread in a call through its first slot, from which nothing has come back yet. */
static struct hc_port *start(void)
{
    static struct endpoint_companion companions[PAIR_SLOTS];
    struct hc_port *port = echo_start();
    memset(&g_endpoint, 0, sizeof g_endpoint);
    memset(companions, 0, sizeof companions);
    g_endpoint.end = g_pair.end[HC_HOST];
    g_endpoint.end.bounds.cycles_per_us = 1;
    g_endpoint.companions = companions;
    g_slot = port->slot;
    (void)hc_port_enter(port);
    return port;
}

static struct hc_port *executor(void)
{
    return &g_pair.end[HC_ENCLAVE].slots[0].port;
}

static void call_back(uint64_t token)
{
    CHECK_EQ(pair_oneway(executor(), O_NOTE, &token, sizeof token), HC_OK);
}

/* Long enough for a look to count as much as one may. */
static void pass(void)
{
    for (uint64_t start = hc_tsc(); hc_tsc() - start <= LOOK_US;)
        hc_pause();
}

/* Looks until the companion has run something; returns how often that was. */
static uint32_t looks_until_taken(void)
{
    uint32_t looks = 1;
    while (!serve_slot(&g_endpoint, g_slot)) {
        CHECK(looks++ < 10u * LOOKS);
        pass();
    }
    return looks;
}

TEST(test_call_back_is_left_to_the_thread_that_waits_until_it_waits_no_more)
{
    struct hc_port *port = start();
    call_back(5);
    for (int i = 0; i < 10; i++)
        CHECK(!serve_slot(&g_endpoint, g_slot));
    CHECK_EQ(g_ran_count, 0);
    hc_port_leave(port, false);
    CHECK(serve_slot(&g_endpoint, g_slot));
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

TEST(test_call_back_that_another_thread_has_the_lane_for_is_looked_after)
{
    struct hc_port *port = start();
    hc_port_leave(port, false);
    CHECK(hc_claim(port->in));
    call_back(5);
    CHECK(!serve_slot(&g_endpoint, g_slot));
    hc_unclaim(port->in);
    CHECK(serve_slot(&g_endpoint, g_slot));
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

TEST(test_calls_back_to_a_thread_torn_out_of_its_wait_are_waited_for_once)
{
    (void)start();
    call_back(1);
    CHECK(looks_until_taken() > LOOKS);
    for (uint64_t token = 2; token < 5; token++) {
        /* Rung for nothing, in between. */
        CHECK(serve_slot(&g_endpoint, g_slot));
        call_back(token);
        CHECK_EQ(looks_until_taken(), 1);
    }
    CHECK_EQ(g_ran_count, 4);
    pair_stop();
}

TEST(test_thread_that_was_only_late_is_left_what_comes_later)
{
    struct hc_port *port = start();
    call_back(1);
    CHECK(looks_until_taken() > LOOKS);
    call_back(2);
    CHECK(hc_serve(port));
    call_back(3);
    CHECK(looks_until_taken() > LOOKS);
    hc_port_leave(port, false);
    CHECK(serve_slot(&g_endpoint, g_slot));
    (void)hc_port_enter(port);
    call_back(4);
    CHECK(looks_until_taken() > LOOKS);
    pair_stop();
}

TEST(test_call_back_with_the_number_of_a_withdrawn_one_is_left_for_as_long_as_any)
{
    struct hc_port *port = start();
    struct hc_lane_in *lane = port->in;
    call_back(1);
    for (uint32_t look = 0; look < LOOKS - 10u; look++) {
        CHECK(!serve_slot(&g_endpoint, g_slot));
        pass();
    }
    CHECK(hc_withdraw(hc_out_cell(executor()->out, lane->next), lane->next, 0));
    hc_lane_take_back(executor()->out, lane->next);
    CHECK(serve_slot(&g_endpoint, g_slot));
    call_back(2);
    CHECK(looks_until_taken() > LOOKS);
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}

TEST(test_time_that_a_process_was_stopped_is_not_time_that_its_thread_let_pass)
{
    const struct timespec stop = {0, 50000000};
    (void)start();
    call_back(1);
    for (int i = 0; i < 3; i++) {
        CHECK(!serve_slot(&g_endpoint, g_slot));
        (void)nanosleep(&stop, NULL);
    }
    CHECK_EQ(g_ran_count, 0);
    pair_stop();
}

TEST(test_steward_without_a_thread_for_a_companion_leaves_the_same_calls)
{
    struct hc_port *port = start();
    hc_ring_companion(executor(), false);
    call_back(1);
    CHECK(!start_companions(&g_endpoint));
    CHECK_EQ(g_ran_count, 0);
    hc_port_leave(port, false);
    CHECK(!start_companions(&g_endpoint));
    CHECK_EQ(g_ran_count, 1);
    pair_stop();
}
