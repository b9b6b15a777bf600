/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_enclave.c -- the trusted side of the stress tests: an enclave's shared object, or linked
 * into the host's program, which then defines hc_enclave_port() itself.
 */
#include "token.h"

#include <hotcalls_enclave.h>

#include <pthread.h>

#define THREADS_MAX 2u

static uint8_t g_ran[TOKEN_REQUESTERS][TOKENS_EACH];
static uint32_t g_made;  /* ocall tokens handed out */
static uint32_t g_wrong; /* answers that were not what they should be, and statuses */
static uint32_t g_stop;
static uint32_t g_threads;
static pthread_t g_thread[THREADS_MAX];

static void wrong(void)
{
    (void)__atomic_add_fetch(&g_wrong, 1u, __ATOMIC_RELAXED);
}

static void note(uint64_t token)
{
    uint32_t requester = (uint32_t)(token >> 32), index = (uint32_t)token;
    if (requester >= TOKEN_REQUESTERS || index >= TOKENS_EACH)
        wrong();
    else
        (void)__atomic_add_fetch(&g_ran[requester][index], 1u, __ATOMIC_RELAXED);
}

/* False when all are used up. */
static bool new_ocall(struct token_ms *ms, uint64_t extra)
{
    ms->token = __atomic_fetch_add(&g_made, 1u, __ATOMIC_RELAXED);
    ms->answer = 0;
    ms->extra = extra;
    if (ms->token < OCALLS_MAX)
        return true;
    (void)__atomic_sub_fetch(&g_made, 1u, __ATOMIC_RELAXED);
    return false;
}

static enum hc_status make_ocall(uint32_t id, uint64_t extra)
{
    struct token_ms ms;
    struct hc_port *port = hc_enclave_port();
    if (port == NULL)
        return hc_enclave_port_error();
    if (!new_ocall(&ms, extra))
        return HC_OK;
    uint64_t token = ms.token;
    enum hc_status status = token_call(port, id, &ms);
    if (status != HC_OK || ms.answer != token_answer(token))
        wrong();
    return status;
}

static enum hc_status e_token(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    note(ms.token);
    ms.answer = token_answer(ms.token);
    return hc_frame_close(frame, &ms, sizeof ms);
}

static enum hc_status e_slow(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    note(ms.token);
    for (uint64_t end = hc_tsc() + ms.extra * 2600u; hc_tsc() < end;)
        hc_pause();
    ms.answer = token_answer(ms.token);
    return hc_frame_close(frame, &ms, sizeof ms);
}

static enum hc_status e_nest(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    note(ms.token);
    if (ms.extra != 0 && (status = make_ocall(O_NEST, ms.extra - 1u)) != HC_OK)
        return status;
    ms.answer = token_answer(ms.token);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* A buffer in; back goes each byte plus one. */
static enum hc_status e_copy(struct hc_frame *frame)
{
    struct token_ms ms;
    void *bytes = NULL;
    size_t position = 0;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = hc_frame_inout(frame, ms.extra, &bytes, &position);
    if (status != HC_OK)
        return status;
    note(ms.token);
    for (size_t i = 0; i < ms.extra; i++)
        ((uint8_t *)bytes)[i]++;
    hc_frame_reply(frame, position, bytes, ms.extra);
    ms.answer = token_answer(ms.token);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* One-way ocalls that are still out when the ecall returns. */
static enum hc_status e_oneway(struct hc_frame *frame)
{
    struct token_ms ms, inner;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    note(ms.token);
    for (uint64_t i = 0; i < ms.extra; i++) {
        struct hc_port *port = hc_enclave_port();
        if (port == NULL)
            return hc_enclave_port_error();
        if (!new_ocall(&inner, 0))
            break;
        status = token_oneway(port, O_TOKEN, &inner);
        if (status != HC_OK) {
            wrong();
            return status;
        }
    }
    ms.answer = token_answer(ms.token);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* Pipelined ocalls, collected last first. */
static enum hc_status e_pipe(struct hc_frame *frame)
{
    struct token_ms ms, inner[8];
    struct hc_call calls[8];
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    note(ms.token);
    uint64_t count = 0;
    struct hc_port *port = hc_enclave_port();
    if (port == NULL)
        return hc_enclave_port_error();
    for (; count < ms.extra && count < 8 && new_ocall(&inner[count], 0); count++)
        if ((status = token_submit(port, &calls[count], O_TOKEN, &inner[count])) != HC_OK) {
            wrong();
            return status;
        }
    while (count-- > 0) {
        uint64_t token = inner[count].token;
        if (token_collect(&calls[count], &inner[count]) != HC_OK ||
            inner[count].answer != token_answer(token))
            wrong();
    }
    ms.answer = token_answer(ms.token);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* token: requester << 32 | first index; the counts of the next AUDIT_BYTES tokens go back. */
static enum hc_status e_audit(struct hc_frame *frame)
{
    struct token_ms ms;
    void *bytes;
    size_t position;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = hc_frame_out(frame, AUDIT_BYTES, HC_NRZ, &bytes, &position);
    if (status != HC_OK)
        return status;
    uint32_t requester = (uint32_t)(ms.token >> 32), first = (uint32_t)ms.token;
    if (requester >= TOKEN_REQUESTERS || first > TOKENS_EACH - AUDIT_BYTES)
        return HC_ERR_ARGUMENT;
    for (uint32_t i = 0; i < AUDIT_BYTES; i++)
        ((uint8_t *)bytes)[i] = __atomic_load_n(&g_ran[requester][first + i], __ATOMIC_RELAXED);
    hc_frame_reply(frame, position, bytes, AUDIT_BYTES);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* How many ocalls were made, and how many went wrong. */
static enum hc_status e_made(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    ms.answer = __atomic_load_n(&g_made, __ATOMIC_RELAXED);
    ms.extra = __atomic_load_n(&g_wrong, __ATOMIC_RELAXED);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* A thread of the enclave's own, with a slot of its own. */
static void *caller(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; __atomic_load_n(&g_stop, __ATOMIC_RELAXED) == 0; i++) {
        if (i % 16u == 0)
            (void)make_ocall(O_NEST, i / 16u % DEPTH_MAX);
        else
            (void)make_ocall(O_TOKEN, 0);
        for (int pause = 0; pause < 2000; pause++)
            hc_pause();
    }
    return NULL;
}

/* extra: how many threads; 0 ends them. */
static enum hc_status e_threads(struct hc_frame *frame)
{
    struct token_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    while (g_threads < ms.extra && g_threads < THREADS_MAX)
        if (pthread_create(&g_thread[g_threads++], NULL, caller, NULL) != 0)
            return HC_ERR_OS;
    if (ms.extra == 0) {
        __atomic_store_n(&g_stop, 1u, __ATOMIC_RELAXED);
        while (g_threads != 0)
            (void)pthread_join(g_thread[--g_threads], NULL);
    }
    return hc_frame_close(frame, &ms, sizeof ms);
}

static const struct hc_function g_ecalls[E_COUNT] = {
    [E_TOKEN] = {"token", e_token, HC_FN_PUBLIC, NULL},
    [E_SLOW] = {"slow", e_slow, HC_FN_PUBLIC, NULL},
    [E_NEST] = {"nest", e_nest, HC_FN_PUBLIC, NULL},
    [E_COPY] = {"copy", e_copy, HC_FN_PUBLIC, NULL},
    [E_ONEWAY] = {"oneway", e_oneway, HC_FN_PUBLIC, NULL},
    [E_PIPE] = {"pipe", e_pipe, HC_FN_PUBLIC, NULL},
    [E_AUDIT] = {"audit", e_audit, HC_FN_PUBLIC, NULL},
    [E_MADE] = {"made", e_made, HC_FN_PUBLIC, NULL},
    [E_THREADS] = {"threads", e_threads, HC_FN_PUBLIC, NULL},
};
static const uint64_t g_allow[] = {UINT64_C(1) << E_NEST};
static const struct hc_function g_ocalls[O_COUNT] = {
    [O_TOKEN] = {"token", NULL, 0, NULL},
    [O_NEST] = {"nest", NULL, 0, g_allow},
};

HC_PUBLIC extern const struct hc_interface hc_enclave_interface;
const struct hc_interface hc_enclave_interface = {.abi = HC_ABI,
                                                  .layout = HC_LAYOUT,
                                                  .ecall_count = E_COUNT,
                                                  .ocall_count = O_COUNT,
                                                  .digest = {7},
                                                  .name = "token",
                                                  .ecalls = g_ecalls,
                                                  .ocalls = g_ocalls};
