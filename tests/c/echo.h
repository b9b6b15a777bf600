/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo.h -- a small interface, written by hand, for tests that drive both sides in one thread.
 *
 * Each ecall notes that it ran (g_ran), so that tests see what was run, how often and in which
 * order.
 */
#ifndef HOTCALLS_TESTS_ECHO_H
#define HOTCALLS_TESTS_ECHO_H

#include "pair.h"

enum {
    E_ADD,
    E_NOTE,
    E_FAIL,
    E_OCALL,
    E_PRIVATE,
    E_COPY,
    E_LARGE,
    E_ONEWAY_OCALL,
    E_DOWN,
    E_COUNT
};
enum { O_CALLS_PRIVATE, O_CALLS_NOTE, O_NOTE, O_DOWN, O_COUNT };

struct add {
    int64_t a, b, sum;
};

#define RAN_MAX 4096u
static uint64_t g_ran[RAN_MAX];
static uint32_t g_ran_count;
static enum hc_status g_inner_status; /* of the last call back, as its caller saw it */
static uint32_t g_depth_reached;
/* What a bridge does in the middle of E_NOTE; NULL: nothing. */
static void (*g_in_the_middle)(void);
/* What one of the host does before it calls back; NULL: nothing. */
static void (*g_before_calling_back)(void);

static inline void ran(uint64_t token)
{
    CHECK(g_ran_count < RAN_MAX);
    g_ran[g_ran_count++] = token;
}

static inline enum hc_status e_add(struct hc_frame *frame)
{
    struct add ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    ms.sum = ms.a + ms.b;
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* Notes its token and answers it plus one. */
static inline enum hc_status e_note(struct hc_frame *frame)
{
    uint64_t token;
    enum hc_status status = hc_frame_open(frame, &token, sizeof token);
    if (status != HC_OK)
        return status;
    ran(token);
    if (g_in_the_middle != NULL)
        g_in_the_middle();
    token++;
    return hc_frame_close(frame, &token, sizeof token);
}

static inline enum hc_status e_fail(struct hc_frame *frame)
{
    (void)frame;
    ran(0);
    return HC_ERR_CALLEE;
}

/* Makes the ocall that the token names. */
static inline enum hc_status e_ocall(struct hc_frame *frame)
{
    uint64_t id;
    enum hc_status status = hc_frame_open(frame, &id, sizeof id);
    if (status != HC_OK)
        return status;
    uint64_t token = 7;
    return pair_call(pair_current(HC_ENCLAVE), (uint32_t)id, &token, sizeof token);
}

/* An ocall that nobody waits for. */
static inline enum hc_status e_oneway_ocall(struct hc_frame *frame)
{
    (void)frame;
    uint64_t token = 77;
    return pair_oneway(pair_current(HC_ENCLAVE), O_NOTE, &token, sizeof token);
}

struct copy {
    uint64_t in_size, out_size;
};

/* A buffer in, reversed into a buffer out. */
static inline enum hc_status e_copy(struct hc_frame *frame)
{
    struct copy ms;
    void *in, *out;
    size_t position;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = hc_frame_in(frame, ms.in_size, &in);
    if (status == HC_OK)
        status = hc_frame_out(frame, ms.out_size, 0, &out, &position);
    if (status != HC_OK)
        return status;
    for (size_t i = 0; i < ms.in_size && i < ms.out_size; i++)
        ((uint8_t *)out)[i] = ((uint8_t *)in)[ms.in_size - 1u - i];
    hc_frame_reply(frame, position, out, ms.out_size);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* A fixed part that does not fit in a cell. */
struct large {
    uint64_t numbers[16];
};

static inline enum hc_status e_large(struct hc_frame *frame)
{
    struct large ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    for (int i = 0; i < 16; i++)
        ms.numbers[i] *= 3u;
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* Goes down one level: ecall, ocall, ecall, … */
static inline enum hc_status down(struct hc_frame *frame, enum hc_side side, uint32_t id)
{
    uint64_t depth;
    enum hc_status status = hc_frame_open(frame, &depth, sizeof depth);
    if (status != HC_OK)
        return status;
    if (side == HC_ENCLAVE)
        g_depth_reached++;
    if (depth == 0)
        return HC_OK;
    depth--;
    status = pair_call(pair_current(side), id, &depth, sizeof depth);
    return status != HC_OK ? status : hc_frame_close(frame, &depth, sizeof depth);
}

static inline enum hc_status e_down(struct hc_frame *frame)
{
    return down(frame, HC_ENCLAVE, O_DOWN);
}

static inline enum hc_status o_down(struct hc_frame *frame)
{
    return down(frame, HC_HOST, E_DOWN);
}

static inline enum hc_status o_calls(uint32_t id)
{
    uint64_t token = 70 + id;
    if (g_before_calling_back != NULL)
        g_before_calling_back();
    g_inner_status = pair_call(pair_current(HC_HOST), id, &token, sizeof token);
    return HC_OK;
}

static inline enum hc_status o_calls_private(struct hc_frame *frame)
{
    (void)frame;
    return o_calls(E_PRIVATE);
}

static inline enum hc_status o_calls_note(struct hc_frame *frame)
{
    (void)frame;
    return o_calls(E_NOTE);
}

static const uint64_t g_allow_private[] = {UINT64_C(1) << E_PRIVATE};
static const uint64_t g_allow_down[] = {UINT64_C(1) << E_DOWN};

static const struct hc_function g_ecalls[E_COUNT] = {
    [E_ADD] = {"add", e_add, HC_FN_PUBLIC, NULL},
    [E_NOTE] = {"note", e_note, HC_FN_PUBLIC, NULL},
    [E_FAIL] = {"fail", e_fail, HC_FN_PUBLIC, NULL},
    [E_OCALL] = {"ocall", e_ocall, HC_FN_PUBLIC, NULL},
    [E_PRIVATE] = {"private", e_note, 0, NULL},
    [E_COPY] = {"copy", e_copy, HC_FN_PUBLIC, NULL},
    [E_LARGE] = {"large", e_large, HC_FN_PUBLIC, NULL},
    [E_ONEWAY_OCALL] = {"oneway_ocall", e_oneway_ocall, HC_FN_PUBLIC, NULL},
    [E_DOWN] = {"down", e_down, HC_FN_PUBLIC, NULL},
};

static const struct hc_function g_ocalls[O_COUNT] = {
    [O_CALLS_PRIVATE] = {"calls_private", o_calls_private, 0, g_allow_private},
    [O_CALLS_NOTE] = {"calls_note", o_calls_note, 0, g_allow_private},
    [O_NOTE] = {"note", e_note, 0, NULL},
    [O_DOWN] = {"down", o_down, 0, g_allow_down},
};

static inline struct hc_port *echo_start(void)
{
    g_ran_count = 0;
    g_in_the_middle = g_before_calling_back = NULL;
    g_inner_status = HC_OK;
    g_depth_reached = 0;
    pair_start(g_ecalls, E_COUNT, g_ocalls, O_COUNT);
    g_pair.other = pair_chain;
    return pair_port(HC_HOST, 0);
}

static inline enum hc_status note(struct hc_port *port, uint64_t token)
{
    enum hc_status status = pair_call(port, E_NOTE, &token, sizeof token);
    return status;
}

static inline enum hc_status submit_note(struct hc_port *port, struct hc_call *call, uint64_t token)
{
    return pair_submit(port, call, E_NOTE, &token, sizeof token);
}

/* Collects a note; its answer has to be that of `token`. */
static inline void collect_note(struct hc_call *call, uint64_t token)
{
    uint64_t answer = 0;
    CHECK_EQ(pair_collect(call, &answer, sizeof answer), HC_OK);
    CHECK_EQ(answer, token + 1u);
}

static inline void nobody(enum hc_side waiting)
{
    (void)waiting;
}

#endif /* HOTCALLS_TESTS_ECHO_H */
