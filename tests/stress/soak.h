/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak.h -- what both sides of the soak agree on.
 *
 * Every call carries a token: who makes it, and a number. Whoever runs a call counts it in a ledger
 * that outlives the enclave, as it lies in the channel's shared memory, so that the host can tell,
 * also of an enclave that was killed, which calls ran and how often.
 */
#ifndef HOTCALLS_TESTS_SOAK_H
#define HOTCALLS_TESTS_SOAK_H

#include <hotcalls/hotcalls.h>

enum { S_ONE, S_COPY, S_NEST, S_DIE, S_COUNT };
enum { R_BACK, R_COUNT };

#define SOAK_REQUESTERS 8u
/* Of one requester until it looks what became of them; then they are used again. */
#define SOAK_TOKENS 16384u
/* How deep calls go: an ecall, back out, in again, … */
#define SOAK_LEVELS 3u

struct soak_ledger {
    uint8_t ran[SOAK_REQUESTERS][SOAK_LEVELS][SOAK_TOKENS];
};

/* For the checks of the check: a call that is answered and not run, or run twice. */
enum { SOAK_HONEST, SOAK_LOSE, SOAK_DOUBLE };

struct soak_ms {
    uint32_t requester, index; /* the token */
    uint32_t level, depth;     /* where a nested call is, and how deep it goes */
    uint32_t size;             /* of the buffer */
    uint32_t cheat;
    uint64_t ledger; /* where it lies in the shared memory; then the answer */
};

static inline uint64_t soak_answer(const struct soak_ms *ms)
{
    uint64_t token = (uint64_t)ms->requester << 40 | (uint64_t)ms->level << 32 | ms->index;
    return (token + 1u) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline enum hc_status soak_call(struct hc_port *port, uint32_t id, struct soak_ms *ms)
{
    struct hc_call call;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof *ms, 0);
    if (status == HC_OK)
        status = hc_call_run(&call, ms, sizeof *ms);
    if (status == HC_OK)
        hc_call_end(&call);
    return status;
}

#endif /* HOTCALLS_TESTS_SOAK_H */
