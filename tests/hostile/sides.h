/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sides.h -- both sides of a channel as they are in processes: endpoints, with all their threads.
 *
 * In place of the ends of pair.h, over the same region and with the interface of echo.h. The host's
 * is an hc_enclave, as host_*.c has it; its descriptors stand for nothing.
 */
#ifndef HOTCALLS_TESTS_SIDES_H
#define HOTCALLS_TESTS_SIDES_H

#include "host_async.h"
#include "host_internal.h"

#include "fiber_scheduler.h"

#define SCENARIO_ENDS
#define NO_DESCRIPTOR 1000
/* Cycles; a call that has not ended by then ends without an answer. */
#define PATIENCE 60000u

static struct hc_enclave g_host;
static struct endpoint g_inside;
static const uint32_t g_not_forked = 1;

static struct endpoint *endpoint_of(int side)
{
    return side == HC_HOST ? &g_host.endpoint : &g_inside;
}

static struct hc_end *scenario_end(int side)
{
    return &endpoint_of(side)->end;
}

/* Of the fiber that runs, if it is of this side. */
static struct hc_thread *scenario_thread(int side)
{
    static struct hc_thread none;
    return g_fiber->side == (enum hc_side)side ? endpoint_this_thread() : &none;
}

#include "scenario.h"

static const struct hc_interface g_echo = {
    .abi = HC_ABI,
    .name = "echo",
    .ecalls = g_ecalls,
    .ecall_count = E_COUNT,
    .ocalls = g_ocalls,
    .ocall_count = O_COUNT,
};

/* Short enough to be reached in a few looks at the clock. */
static const struct hc_bounds g_bounds = {
    .take = 1000,
    .spin = 2000,
    .yield = 600,
    .yield_crowded = 400,
    .idle = 1200,
    .steal = 400,
    .burst_gap = UINT64_MAX,
    .burst = 3,
    .nap = 100,
    .cycles_per_us = FIBER_CYCLES_PER_US,
    .slice_ns = 20000000,
    .wait_kind = HC_WAIT_PAUSE,
    .spinning = true,
};

static void never_freed(struct endpoint *endpoint)
{
    (void)endpoint;
}

/* Asked inside. A host that has ended takes the enclave with it. */
static bool host_lost(void *context)
{
    (void)context;
    return g_ended[HC_HOST];
}

static enum hc_status side_init(enum hc_side side, const struct hc_geometry *geometry)
{
    struct endpoint *endpoint = endpoint_of(side);
    const struct endpoint_options options = {
        .side = side,
        .interface = &g_echo,
        .responders = 1,
        .processors = 2,
        .notify_fd = side == HC_HOST ? 0 : NO_DESCRIPTOR,
        .peer_lost = side == HC_HOST ? host_peer_lost : host_lost,
        .context = side == HC_HOST ? &g_host : NULL,
    };
    enum hc_status status = endpoint_init(endpoint, g_pair.u_base, geometry, &options);
    endpoint->end.bounds = g_bounds;
    endpoint->cycles_per_us = FIBER_CYCLES_PER_US;
    endpoint->on_free = never_freed;
    return status;
}

static struct hc_port *port_of(enum hc_side side)
{
    enum hc_status status;
    return endpoint_port(endpoint_of(side), &status);
}

static void scenario_start(void)
{
    (void)echo_start();
    for (int side = 0; side < HC_SIDES; side++) {
        struct hc_side_board *board = g_pair.end[side].u_board;
        board->awake = board->responders = 0;
    }
    g_pair.port = port_of;
    fibers_start();
    g_stepper.at_clock = fiber_pass;
    memset(&g_host, 0, sizeof g_host);
    g_host.region = g_pair.u_base;
    g_host.pidfd = g_host.done = g_host.life = g_host.channel = NO_DESCRIPTOR;
    g_host.exit_status = -1;
    g_host.not_forked = &g_not_forked;
    CHECK_EQ(pthread_mutex_init(&g_host.end_lock, NULL), 0);
    for (int side = 0; side < HC_SIDES; side++)
        CHECK_EQ(side_init((enum hc_side)side, &g_pair.geometry), HC_OK);
}

static void scenario_stop(void)
{
    for (int side = 0; side < HC_SIDES; side++)
        endpoint_free(endpoint_of(side));
    g_stepper.at_clock = NULL;
    pair_stop();
}

/* What the thread of the test does now is done by this side. */
static void act(enum hc_side side)
{
    g_fibers[0].side = g_stepper.acting = side;
}

static void side_begin(enum hc_side side)
{
    act(side);
    CHECK_EQ(endpoint_start(endpoint_of(side)), HC_OK);
    act(HC_HOST);
}

static void sides_begin(void)
{
    side_begin(HC_ENCLAVE);
    side_begin(HC_HOST);
}

/* Both processes end: each wait comes to its end, and every thread of both. */
static void sides_end(void)
{
    endpoint_release_thread();
    g_ended[HC_HOST] = g_ended[HC_ENCLAVE] = true;
    for (int side = 0; side < HC_SIDES; side++) {
        act((enum hc_side)side);
        endpoint_stop(endpoint_of(side));
    }
    act(HC_HOST);
    for (uint32_t i = 1; i < FIBERS_MAX; i++)
        CHECK_EQ(g_fibers[i].state, FIBER_NONE);
}

/* Waits until nobody else has anything to do. */
static inline void until_quiet(void)
{
    bool busy = true;
    for (uint32_t turn = 0; busy && turn < 1000; turn++) {
        busy = false;
        for (uint32_t i = 1; i < FIBERS_MAX; i++)
            busy = busy || g_fibers[i].state == FIBER_READY;
        if (busy)
            fiber_pass();
    }
}

/* A port for a call of the host that somebody waits for; NULL: it could not be made. */
static inline struct hc_port *calling_port(void)
{
    enum hc_status status;
    struct hc_port *port = endpoint_port(&g_host.endpoint, &status);
    if (port == NULL)
        ended(status, false);
    else
        port->timeout = g_hint ? 0 : PATIENCE;
    return port;
}

static inline void plain(enum hc_mode mode)
{
    struct hc_port *port = calling_port();
    uint64_t token = 100;
    if (port == NULL)
        return;
    port->mode = mode;
    enum hc_status status = pair_call(port, E_NOTE, &token, sizeof token);
    port->mode = HC_MODE_DEFAULT;
    ended(status, token == 101);
}

/* Another thread of the process. */
static inline pthread_t another(enum hc_side side, void *(*body)(void *))
{
    pthread_t thread;
    act(side);
    CHECK_EQ(fiber_start(&thread, NULL, body, NULL), 0);
    act(HC_HOST);
    return thread;
}

static inline void joined(pthread_t thread)
{
    while (fiber_join(thread, NULL, NULL) != 0)
        ;
}

#endif /* HOTCALLS_TESTS_SIDES_H */
