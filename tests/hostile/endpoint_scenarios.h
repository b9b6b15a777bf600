/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_scenarios.h -- calls between two processes with all their threads, for script.c.
 *
 * endpoint_*.c of both sides: its responders, companions and stewards run as fibers. The start is what
 * the two sides say to each other over the channel at launch.
 */
#ifndef HOTCALLS_TESTS_ENDPOINT_SCENARIOS_H
#define HOTCALLS_TESTS_ENDPOINT_SCENARIOS_H

#include "sides.h"

#include "enclave_runtime.h"

/* ---- calls ------------------------------------------------------------------------------------ */

static void hot(void)
{
    sides_begin();
    plain(HC_MODE_HOT);
    plain(HC_MODE_HOT);
    sides_end();
}

static void switched(void)
{
    sides_begin();
    plain(HC_MODE_SWITCH);
    plain(HC_MODE_SWITCH);
    sides_end();
}

/* Responders that fell asleep; a burst of calls wakes them. */
static void asleep(void)
{
    sides_begin();
    until_quiet();
    for (int i = 0; i < 4; i++)
        plain(HC_MODE_DEFAULT);
    sides_end();
}

/* One processor: nobody spins, and each call goes by a companion. */
static void one_processor(void)
{
    for (int side = 0; side < HC_SIDES; side++)
        scenario_end(side)->bounds.spinning = false;
    sides_begin();
    plain(HC_MODE_DEFAULT);
    plain(HC_MODE_DEFAULT);
    sides_end();
}

static void ask(uint32_t id, uint64_t argument, uint64_t answer)
{
    struct hc_port *port = calling_port();
    if (port == NULL)
        return;
    enum hc_status status = pair_call(port, id, &argument, sizeof argument);
    ended(status, argument == answer && g_inner_status == HC_OK);
}

static void nested(void)
{
    sides_begin();
    ask(E_OCALL, O_CALLS_PRIVATE, O_CALLS_PRIVATE);
    sides_end();
}

static void nested_asleep(void)
{
    sides_begin();
    until_quiet();
    ask(E_OCALL, O_CALLS_PRIVATE, O_CALLS_PRIVATE);
    sides_end();
}

static void deep(void)
{
    sides_begin();
    ask(E_DOWN, 5, 0);
    sides_end();
}

static void oneway_back(void)
{
    sides_begin();
    ask(E_ONEWAY_OCALL, 0, 0);
    plain(HC_MODE_HOT);
    sides_end();
}

/* ---- threads ---------------------------------------------------------------------------------- */

static uint32_t g_slow_us;

/* The bridge of a call that takes its time, once, so that others find the responder busy. */
static void slowly(void)
{
    uint32_t us = g_slow_us;
    g_slow_us = 0;
    in_the_middle();
    if (us != 0)
        fiber_sleep_on(NULL, us);
}

static void *other_caller(void *argument)
{
    plain(HC_MODE_HOT);
    plain(HC_MODE_HOT);
    endpoint_release_thread();
    return argument;
}

/* The responder runs a call: the other thread's is withdrawn and handed over, or stolen. */
static void busy(void)
{
    g_in_the_middle = slowly;
    g_slow_us = 8;
    sides_begin();
    pthread_t other = another(HC_HOST, other_caller);
    plain(HC_MODE_HOT);
    plain(HC_MODE_HOT);
    joined(other);
    sides_end();
}

static void *inner_caller(void *argument)
{
    uint64_t token = 5;
    struct hc_port *port = port_of(HC_ENCLAVE);
    if (port != NULL)
        port->timeout = PATIENCE;
    enum hc_status status = pair_call(port, O_NOTE, &token, sizeof token);
    CHECK_EQ(hc_status_from_peer((uint32_t)status), status);
    CHECK(!g_hint || (status == HC_OK && token == 6));
    endpoint_release_thread();
    return argument;
}

/* A thread that the enclave started calls the host, whose responder runs that. */
static void inner_thread(void)
{
    sides_begin();
    pthread_t inner = another(HC_ENCLAVE, inner_caller);
    plain(HC_MODE_HOT);
    joined(inner);
    sides_end();
}

/* Ends with calls out, of which the last one was collected. */
static void *leaver(void *argument)
{
    struct hc_port *port = calling_port();
    struct hc_call calls[3];
    enum hc_status status = port == NULL ? HC_ERR_NO_SLOT : HC_OK;
    for (uint64_t i = 0; i < 3 && status == HC_OK; i++)
        status = submit_note(port, &calls[i], i);
    if (status == HC_OK) {
        uint64_t answer = 0;
        status = pair_collect(&calls[2], &answer, sizeof answer);
        ended(status, answer == 3);
    }
    endpoint_release_thread();
    return argument;
}

static void *successor(void *argument)
{
    struct hc_port *port = calling_port();
    struct hc_call calls[3];
    bool posted[3] = {false};
    for (uint64_t i = 0; i < 3 && port != NULL; i++) {
        enum hc_status status = submit_note(port, &calls[i], i);
        posted[i] = status == HC_OK;
        if (status != HC_OK)
            ended(status, false);
    }
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t answer = 0;
        if (!posted[i])
            continue;
        enum hc_status status = pair_collect(&calls[i], &answer, sizeof answer);
        ended(status, answer == i + 1u);
    }
    endpoint_release_thread();
    return argument;
}

/* One-way calls, more than a lane has room for; the thread ends before the last of them ran. */
static void *oneway_caller(void *argument)
{
    struct hc_port *port = calling_port();
    uint64_t errors;
    enum hc_status first;
    enum hc_status status = port == NULL ? HC_ERR_NO_SLOT : HC_OK;
    for (uint64_t i = 0; i < PAIR_CELLS + 3u && status == HC_OK; i++) {
        status = pair_oneway(port, E_NOTE, &i, sizeof i);
        if (status != HC_OK)
            ended(status, false);
        if (i == PAIR_CELLS && status == HC_OK) {
            status = hc_flush(port, &errors, &first);
            ended(status, errors == 0);
        }
    }
    endpoint_release_thread();
    return argument;
}

static void oneway(void)
{
    sides_begin();
    joined(another(HC_HOST, oneway_caller));
    joined(another(HC_HOST, successor));
    sides_end();
}

/* A slot that a thread left is the next thread's, once the other side is done with it. */
static void left(void)
{
    sides_begin();
    joined(another(HC_HOST, leaver));
    joined(another(HC_HOST, successor));
    sides_end();
}

/* A call is given up; its slot is another thread's when it has been answered after all. */
static void *impatient(void *argument)
{
    struct hc_port *port = calling_port();
    uint64_t token = 100;
    if (port != NULL) {
        port->timeout = 4000;
        ended(pair_call(port, E_NOTE, &token, sizeof token), token == 101);
    }
    endpoint_release_thread();
    return argument;
}

static void given_up(void)
{
    g_in_the_middle = slowly;
    g_slow_us = 8;
    g_expected = HC_ERR_TIMEOUT;
    sides_begin();
    joined(another(HC_HOST, impatient));
    joined(another(HC_HOST, successor));
    sides_end();
}

static void *closed_under(void *argument)
{
    struct hc_port *port = calling_port();
    uint64_t token = 100;
    if (port != NULL) {
        ended(pair_call(port, E_NOTE, &token, sizeof token), true);
    }
    endpoint_release_thread();
    return argument;
}

/*
 * The enclave serves this client no more, whatever that says (python_clients.c): its threads end
 * while a call is out, within a bounded number of attempts.
 */
static void detached(void)
{
    g_in_the_middle = slowly;
    g_slow_us = 8;
    g_expected = HC_ERR_PEER_LOST;
    sides_begin();
    pthread_t other = another(HC_HOST, closed_under);
    for (int turn = 0; turn < 8; turn++)
        fiber_pass();
    act(HC_ENCLAVE);
    hc_break(&g_inside.end, HC_ERR_PEER_LOST, "the client has ended");
    for (int attempt = 0; !endpoint_try_stop(&g_inside); attempt++)
        CHECK(attempt < 10);
    act(HC_HOST);
    g_ended[HC_ENCLAVE] = true;
    joined(other);
    sides_end();
}

/* The host lets go of the channel while a call is out. */
static void closed(void)
{
    g_in_the_middle = slowly;
    g_slow_us = 8;
    g_expected = HC_ERR_CLOSED;
    sides_begin();
    pthread_t other = another(HC_HOST, closed_under);
    for (int turn = 0; turn < 8; turn++)
        fiber_pass();
    endpoint_close(&g_host.endpoint);
    joined(other);
    sides_end();
}

/* ---- the start -------------------------------------------------------------------------------- */

static bool g_start_fails;

/* The main thread of the enclave: enclave_main.c without what the kernel is asked for. */
static void *enclave_main(void *argument)
{
    struct hc_geometry geometry;
    enclave_report_to((struct hc_header *)(void *)g_pair.u_base);
    hc_copy_in(&geometry, g_pair.u_base, sizeof geometry);
    enum hc_status status = hc_geometry_check(&geometry, region_size());
    if (status != HC_OK)
        enclave_fail(status, 0, "the channel was made by another version");
    if (g_start_fails)
        enclave_fail(HC_ERR_LOCKDOWN, EPERM, "landlock: %s", "not permitted");
    endpoint_free(&g_inside);
    CHECK_EQ(side_init(HC_ENCLAVE, &geometry), HC_OK);
    CHECK_EQ(endpoint_start(&g_inside), HC_OK);
    enclave_state(HC_STATE_READY);
    return argument;
}

/* Whatever is said about the start, what comes of it is an answer or an error that has a name. */
static void starting(enum hc_status expected)
{
    struct hc_launch_options options = {.timeout_ms = 1};
    struct hc_error error;
    memset(&error, 0, sizeof error);
    /* What is read once at the start decides: no field is a hint. */
    if (g_stepper.at_step != NULL)
        g_hint = false;
    g_start_fails = expected != HC_OK;
    g_expected = expected;
    pthread_t inner = another(HC_ENCLAVE, enclave_main);
    enum hc_status status = host_await_ready(&g_host, &options, &error);
    ended(status, true);
    CHECK(memchr(error.text, 0, sizeof error.text) != NULL);
    for (const char *c = error.text; *c != '\0'; c++)
        CHECK(*c >= 0x20 && *c <= 0x7e);
    if (status == HC_OK) {
        CHECK_EQ(endpoint_start(&g_host.endpoint), HC_OK);
        plain(HC_MODE_HOT);
    }
    joined(inner);
    sides_end();
}

static void started(void)
{
    starting(HC_OK);
}

static void start_failed(void)
{
    starting(HC_ERR_LOCKDOWN);
}

static const struct scenario g_scenarios[] = {
    {"hot", hot},
    {"switched", switched},
    {"asleep", asleep},
    {"one_processor", one_processor},
    {"nested", nested},
    {"nested_asleep", nested_asleep},
    {"deep", deep},
    {"oneway_back", oneway_back},
    {"busy", busy},
    {"inner_thread", inner_thread},
    {"oneway", oneway},
    {"left", left},
    {"given_up", given_up},
    {"detached", detached},
    {"closed", closed},
    {"started", started},
    {"start_failed", start_failed},
};

#endif /* HOTCALLS_TESTS_ENDPOINT_SCENARIOS_H */
