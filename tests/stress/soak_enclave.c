/* SPDX-License-Identifier: Apache-2.0 */
/* soak_enclave.c -- the trusted side of the soak: counts what runs, answers, calls back. */
#include "soak.h"

#include <hotcalls_enclave.h>

#include <signal.h>
#include <unistd.h>

/* Counts a call in the ledger. Its place is the host's choice, so it is checked like any. */
static enum hc_status note(struct hc_frame *frame, const struct soak_ms *ms)
{
    void *u_found = NULL;
    enum hc_status status =
        hc_frame_shared(frame, ms->ledger, sizeof(struct soak_ledger), &u_found);
    if (status != HC_OK)
        return status;
    if (u_found == NULL || ms->requester >= SOAK_REQUESTERS || ms->level >= SOAK_LEVELS ||
        ms->index >= SOAK_TOKENS)
        return HC_ERR_ARGUMENT;
    struct soak_ledger *u_ledger = u_found;
    uint8_t times = ms->cheat == SOAK_LOSE ? 0 : ms->cheat == SOAK_DOUBLE ? 2 : 1;
    (void)__atomic_fetch_add(&u_ledger->ran[ms->requester][ms->level][ms->index], times,
                             __ATOMIC_RELAXED);
    return HC_OK;
}

static enum hc_status s_one(struct hc_frame *frame)
{
    struct soak_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = note(frame, &ms);
    if (status != HC_OK)
        return status;
    ms.ledger = soak_answer(&ms);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* A buffer in; back goes each byte plus one. */
static enum hc_status s_copy(struct hc_frame *frame)
{
    struct soak_ms ms;
    void *bytes = NULL;
    size_t position = 0;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = hc_frame_inout(frame, ms.size, &bytes, &position);
    if (status == HC_OK)
        status = note(frame, &ms);
    if (status != HC_OK)
        return status;
    for (size_t i = 0; i < ms.size; i++)
        ((uint8_t *)bytes)[i]++;
    hc_frame_reply(frame, position, bytes, ms.size);
    ms.ledger = soak_answer(&ms);
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* Calls back, which calls in again, until it is as deep as it should be. */
static enum hc_status s_nest(struct hc_frame *frame)
{
    struct soak_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = note(frame, &ms);
    if (status != HC_OK)
        return status;
    if (ms.level < ms.depth) {
        struct soak_ms inner = ms;
        struct hc_port *port = hc_enclave_port();
        if (port == NULL)
            return hc_enclave_port_error();
        status = soak_call(port, R_BACK, &inner);
        if (status != HC_OK)
            return status;
        if (inner.ledger != soak_answer(&ms))
            return HC_ERR_MESSAGE;
    }
    ms.ledger = soak_answer(&ms);
    return hc_frame_close(frame, &ms, sizeof ms);
}

static enum hc_status s_die(struct hc_frame *frame)
{
    (void)frame;
    (void)raise(SIGKILL);
    _exit(1);
}

static const struct hc_function g_ecalls[S_COUNT] = {
    [S_ONE] = {"one", s_one, HC_FN_PUBLIC, NULL},
    [S_COPY] = {"copy", s_copy, HC_FN_PUBLIC, NULL},
    [S_NEST] = {"nest", s_nest, HC_FN_PUBLIC, NULL},
    [S_DIE] = {"die", s_die, HC_FN_PUBLIC, NULL},
};
static const uint64_t g_allow[] = {UINT64_C(1) << S_NEST};
static const struct hc_function g_ocalls[R_COUNT] = {[R_BACK] = {"back", NULL, 0, g_allow}};

HC_PUBLIC extern const struct hc_interface hc_enclave_interface;
const struct hc_interface hc_enclave_interface = {.abi = HC_ABI,
                                                  .layout = HC_LAYOUT,
                                                  .ecall_count = S_COUNT,
                                                  .ocall_count = R_COUNT,
                                                  .digest = {8},
                                                  .name = "soak",
                                                  .ecalls = g_ecalls,
                                                  .ocalls = g_ocalls};
