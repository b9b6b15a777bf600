/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async_scenarios.h -- calls that belong to the enclave and to no thread, for script.c to disturb.
 *
 * host_async.c over endpoints: several calls in flight on two ports, queued behind full lanes, in
 * batches, taken back, and answered in any order by an enclave that does not run them. Whatever
 * comes, each call is given out once or taken back, and none of them stays.
 */
#ifndef HOTCALLS_TESTS_ASYNC_SCENARIOS_H
#define HOTCALLS_TESTS_ASYNC_SCENARIOS_H

#include "sides.h"

#define CALLS_MAX 24u
/* Looks after which the enclave is ended, if its calls have not. */
#define LOOKS 60u
/* Whoever was not woken looks again after a slice: bounds.slice_ns. */
#define SLICE_US 20000u

static struct made {
    struct hc_async_call call;
    uint8_t ms[128]; /* larger than a cell has room for */
    uint64_t token;
    uint32_t given; /* how often it was given out */
    bool back;      /* taken back */
} g_made[CALLS_MAX];

static struct hc_async *begin(uint32_t ports)
{
    enum hc_status status;
    struct hc_async *async = hc_async_new(&g_host, ports, &status);
    CHECK(async != NULL);
    memset(g_made, 0, sizeof g_made);
    return async;
}

/* Calls `from` up to `to`, posted together. */
static void post(struct hc_async *async, uint32_t from, uint32_t to, uint32_t id)
{
    struct hc_async_call *calls[CALLS_MAX] = {NULL};
    for (uint32_t i = from; i < to; i++) {
        struct made *made = &g_made[i];
        made->token = id == E_OCALL ? O_NOTE : 100u + i;
        memcpy(made->ms, &made->token, sizeof made->token);
        made->call.id = id;
        made->call.ms = made->ms;
        made->call.ms_size = id == E_LARGE ? sizeof(struct large) : sizeof made->token;
        if (id == E_COPY) {
            /* A buffer of the token in, and one with its bytes reversed out. */
            const struct copy ms = {sizeof made->token, sizeof made->token};
            memcpy(made->ms, &ms, sizeof ms);
            made->call.ms_size = sizeof ms;
            made->call.buffers = &made->token;
            made->call.buffers_size = sizeof made->token;
            made->call.reserve = hc_message_add(hc_message_add(0, sizeof made->token), 8);
        }
        made->call.cookie = made;
        calls[i - from] = &made->call;
    }
    enum hc_status status = hc_async_post(async, calls, to - from);
    if (status == HC_OK)
        return;
    ended(status, false);
    for (uint32_t i = from; i < to; i++)
        g_made[i].back = true;
}

/* The answer of a call that was given out to us. */
static void read_answer(struct hc_async *async, struct hc_async_call *call)
{
    struct made *made = call->cookie;
    uint8_t ms[sizeof made->ms] = {0};
    uint64_t answer = 0;
    CHECK(made >= g_made && made < g_made + CALLS_MAX && call == &made->call);
    CHECK_EQ(made->given++, 0);
    CHECK(!made->back);
    enum hc_status status = hc_async_read(call, ms);
    memcpy(&answer, ms, sizeof answer);
    uint64_t right = made->token + 1u;
    if (call->id == E_COPY && status == HC_OK) {
        uint8_t window[64];
        size_t out = hc_message_add(0, sizeof made->token);
        CHECK(call->reserve <= sizeof window);
        CHECK_EQ(hc_async_copy(call, window, call->reserve + 1u), HC_ERR_MESSAGE);
        status = hc_async_copy(call, window, call->reserve);
        memcpy(&answer, window + out, sizeof answer);
        right = __builtin_bswap64(made->token);
    }
    hc_async_end(async, call);
    CHECK_EQ(call->state, HC_ASYNC_OVER);
    if (call->id == E_LARGE)
        right = made->token * 3u;
    if (call->id == E_OCALL)
        right = answer; /* it has none */
    ended(status, answer == right);
}

static void take_all(struct hc_async *async)
{
    struct hc_async_call *call;
    while ((call = hc_async_take(async)) != NULL)
        read_answer(async, call);
}

static void take_back(struct hc_async *async, uint32_t i)
{
    if (g_made[i].given == 0 && hc_async_withdraw(async, &g_made[i].call)) {
        g_made[i].back = true;
        CHECK_EQ(g_made[i].call.state, HC_ASYNC_OVER);
    }
}

/* Sleeps until an answer is announced, or for a while; as who polls the descriptor does. */
static void sleep_armed(struct hc_async *async, uint32_t us, uint32_t *left)
{
    if (!hc_async_arm(async, left) || *left == 0)
        return;
    for (uint32_t turn = 0; g_announced == 0 && turn < 8; turn++)
        fiber_sleep_on(NULL, us);
    g_announced = 0;
}

/* Collects calls 0 up to `count` that were not taken back, in turns spinning and asleep. */
static void collect(struct hc_async *async, uint32_t count)
{
    uint32_t left = 1;
    for (uint32_t look = 0; left != 0; look++) {
        CHECK(look < 2u * LOOKS);
        take_all(async);
        const struct made *made = &g_made[look % count];
        if (look % 2u == 0 && made->given == 0 && !made->back)
            (void)hc_async_spin(async, &made->call, 2000);
        else
            sleep_armed(async, look < LOOKS / 2u ? 1 : SLICE_US / 4u, &left);
        if (look % 4u == 3u)
            hc_async_nudge(async);
        if (look == LOOKS) {
            CHECK(!g_hint);
            g_ended[HC_ENCLAVE] = true;
        }
        hc_async_look(async);
    }
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ(g_made[i].given, g_made[i].back ? 0 : 1);
}

static void finish(struct hc_async *async, uint32_t count)
{
    collect(async, count);
    hc_async_delete(async);
    sides_end();
}

static void several(void)
{
    sides_begin();
    struct hc_async *async = begin(2);
    const uint32_t ids[] = {E_NOTE, E_LARGE, E_COPY};
    for (uint32_t i = 0; i < 3; i++)
        post(async, i, i + 1u, ids[i]);
    finish(async, 3);
}

/* As map: many at once, more than the lanes have room for. */
static void queued(void)
{
    sides_begin();
    struct hc_async *async = begin(2);
    post(async, 0, 20, E_NOTE);
    finish(async, 20);
}

/* Each calls back while nobody waits in its chain: a companion of the host serves that. */
static void called_back(void)
{
    sides_begin();
    struct hc_async *async = begin(1);
    for (uint32_t i = 0; i < 2; i++)
        post(async, i, i + 1u, E_OCALL);
    finish(async, 2);
}

static void asleep(void)
{
    sides_begin();
    until_quiet();
    struct hc_async *async = begin(2);
    for (uint32_t i = 0; i < 2; i++)
        post(async, i, i + 1u, E_NOTE);
    uint32_t left;
    sleep_armed(async, 1, &left);
    finish(async, 2);
}

/* Calls taken back: from the queue, posted last, in a group, posted first, and twice. */
static void taken_back(void)
{
    sides_begin();
    struct hc_async *async = begin(1);
    post(async, 0, 1, E_NOTE);
    post(async, 1, 2, E_NOTE);
    take_back(async, 1);
    take_back(async, 0);
    post(async, 2, 14, E_NOTE);
    take_back(async, 13);
    take_back(async, 10);
    take_back(async, 4);
    take_back(async, 2);
    collect(async, 14);
    for (uint32_t i = 0; i < 14; i++)
        CHECK(!hc_async_withdraw(async, &g_made[i].call));
    hc_async_delete(async);
    sides_end();
}

/* The host lets go of the channel with calls out and in the queue: each comes out with that. */
static void closed(void)
{
    g_expected = HC_ERR_CLOSED;
    sides_begin();
    struct hc_async *async = begin(1);
    post(async, 0, 10, E_NOTE);
    endpoint_close(&g_host.endpoint);
    finish(async, 10);
}

/* One of several is waited for. */
static void one_of_them(void)
{
    sides_begin();
    struct hc_async *async = begin(1);
    for (uint32_t i = 0; i < 3; i++)
        post(async, i, i + 1u, E_NOTE);
    for (uint32_t look = 0; look < 8 && g_made[2].given == 0 && !g_made[2].back; look++) {
        (void)hc_async_spin(async, &g_made[2].call, 2000);
        if (hc_async_take_this(async, &g_made[2].call))
            read_answer(async, &g_made[2].call);
        hc_async_look(async);
    }
    finish(async, 3);
}

/* ---- an enclave that runs nothing and says what it likes --------------------------------------- */

/* Says that a call is done, which it is not, and how it ended. */
static void claim_done(uint32_t n, uint32_t status, const uint64_t *answer)
{
    struct hc_cell *cell = pair_cell(0, HC_LANE_FORWARD, n - 1u);
    bool sealed = g_stepper.sealed;
    if (sealed)
        CHECK_EQ(mprotect(g_pair.u_base, region_size(), PROT_READ | PROT_WRITE), 0);
    memcpy(cell->payload, answer, sizeof *answer);
    cell->status = status;
    cell->word = hc_word(n, HC_WORD_DONE);
    stepper_point();
    if (sealed)
        CHECK_EQ(mprotect(g_pair.u_base, region_size(), PROT_NONE), 0);
}

static void answered(const uint32_t *order, bool honestly)
{
    side_begin(HC_HOST);
    struct hc_async *async = begin(1);
    post(async, 0, 2, E_NOTE);
    post(async, 2, 3, E_NOTE);
    post(async, 3, 4, E_NOTE);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t answer = 100u + order[i];
        static const uint32_t lies[4] = {0, UINT32_MAX, HC_ERR_TIMEOUT, 12345};
        claim_done(order[i], honestly ? 0 : lies[i], &answer);
        take_all(async);
    }
    finish(async, 4);
}

static void backwards(void)
{
    answered((const uint32_t[]){4, 3, 2, 1}, true);
}

static void mixed(void)
{
    answered((const uint32_t[]){2, 4, 1, 3}, true);
}

/* Statuses that no callee returns: each becomes an error that has a name. */
static void with_any_status(void)
{
    g_hint = false;
    answered((const uint32_t[]){3, 1, 2, 4}, false);
}

static const struct scenario g_scenarios[] = {
    {"several", several},
    {"queued", queued},
    {"called_back", called_back},
    {"asleep", asleep},
    {"taken_back", taken_back},
    {"closed", closed},
    {"one_of_them", one_of_them},
    {"backwards", backwards},
    {"mixed", mixed},
    {"with_any_status", with_any_status},
};

#endif /* HOTCALLS_TESTS_ASYNC_SCENARIOS_H */
