/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h -- what both sides of the stress tests agree on.
 *
 * Every call carries a token that no other call carries. The side that runs it counts the token and
 * answers a function of it, which the caller checks. At the end each token must have run exactly
 * once if it was answered or posted, and at most once if its call was given up.
 */
#ifndef HOTCALLS_TESTS_TOKEN_H
#define HOTCALLS_TESTS_TOKEN_H

#include <hotcalls/hotcalls.h>

enum { E_TOKEN, E_SLOW, E_NEST, E_COPY, E_ONEWAY, E_PIPE, E_AUDIT, E_MADE, E_THREADS, E_COUNT };
enum { O_TOKEN, O_NEST, O_COUNT };

#define TOKEN_REQUESTERS 16u
/* Tokens of calls made from inside calls back, by whichever thread runs those. */
#define TOKEN_NESTED (TOKEN_REQUESTERS - 1u)
#define TOKENS_EACH (1u << 19)
#define OCALLS_MAX (1u << 21)
#define AUDIT_BYTES (32u * 1024u)
#define DEPTH_MAX 8u

struct token_ms {
    uint64_t token;
    uint64_t answer;
    uint64_t extra; /* microseconds, depth, size or count, by function */
};

static inline uint64_t token_make(uint32_t requester, uint32_t index)
{
    return (uint64_t)requester << 32 | index;
}

static inline uint64_t token_answer(uint64_t token)
{
    return (token * UINT64_C(0x9e3779b97f4a7c15)) ^ (token >> 7);
}

static inline enum hc_status token_call(struct hc_port *port, uint32_t id, struct token_ms *ms)
{
    struct hc_call call;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof *ms, 0);
    if (status == HC_OK)
        status = hc_call_run(&call, ms, sizeof *ms);
    if (status == HC_OK)
        hc_call_end(&call);
    return status;
}

static inline enum hc_status token_submit(struct hc_port *port, struct hc_call *call, uint32_t id,
                                          const struct token_ms *ms)
{
    enum hc_status status = hc_call_begin(port, call, id, sizeof *ms, 0);
    return status != HC_OK ? status : hc_call_submit(call, ms, sizeof *ms);
}

static inline enum hc_status token_oneway(struct hc_port *port, uint32_t id,
                                          const struct token_ms *ms)
{
    struct hc_call call;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof *ms, 0);
    return status != HC_OK ? status : hc_call_oneway(&call, ms, sizeof *ms);
}

static inline enum hc_status token_collect(struct hc_call *call, struct token_ms *ms)
{
    enum hc_status status = hc_call_wait(call, ms, sizeof *ms);
    if (status == HC_OK)
        hc_call_end(call);
    return status;
}

#endif /* HOTCALLS_TESTS_TOKEN_H */
