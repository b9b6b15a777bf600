/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sgx_channel.h -- hot calls between an SGX enclave and its host: one pointer goes over, one
 * status comes back.
 *
 * The marshalling of the SDK stays as it is: what travels is the address of the marshalling
 * struct, and the same bridge that the ordinary call runs checks it. So there is one set of
 * checks, and a call that nobody takes is made again as an ordinary one without packing anew.
 *
 * Both sides, freestanding. It uses the region of channel.h and the transitions of lane.h, of each
 * slot the first cell of the FORWARD lane only. Inside SGX1 enclaves RDTSC and CPUID are illegal,
 * so bounds are counts of PAUSE here; the host calibrates them, the enclave clamps them. What the
 * enclave reads and writes outside are whole aligned 8-byte words (INTEL-SA-00615, -00657).
 */
#ifndef HOTCALLS_SGX_CHANNEL_H
#define HOTCALLS_SGX_CHANNEL_H

#include "lane.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HC_SGX_SLOTS_MAX 64u
/* What the host may ask for, in PAUSEs: some 5 us to 40 ms here, at 63 cycles each. */
#define HC_SGX_PAUSES_MIN UINT64_C(200)
#define HC_SGX_PAUSES_MAX UINT64_C(1600000)

/* In the shared part of the region; hints, written by the host only. */
struct hc_sgx_board {
    uint64_t host_awake; /* host responders that spin now */
    uint64_t take;       /* PAUSEs after which an untaken ocall is withdrawn */
};

/* What travels in the payload of a cell: the question, and in its place the answer. */
struct hc_sgx_message {
    uint64_t value; /* address of the marshalling struct; then the sgx_status_t */
    uint64_t id;
};

HC_STATIC_ASSERT(sizeof(struct hc_sgx_message) <= HC_INLINE_SIZE, "a message fits in a cell");

/* A slot of this side. Private memory. */
struct hc_sgx_requester {
    struct hc_cell *u_cell;
    uint64_t n;    /* the next to post; written by who holds `busy` */
    uint64_t hot;  /* calls made; atomic, for statistics */
    uint32_t busy; /* atomic: a thread calls through it; stays set once the peer broke it */
    uint8_t apart[HC_CACHE_LINE - 28u];
};

/* A slot of the other side. Private memory. */
struct hc_sgx_server {
    struct hc_cell *u_cell;
    uint64_t next;  /* the next n to take; written under `claim` */
    uint32_t claim; /* atomic: a responder serves it */
    uint8_t apart[HC_CACHE_LINE - 20u];
};

static inline void hc_sgx_requester_init(struct hc_sgx_requester *requester, struct hc_cell *u_cell)
{
    __builtin_memset(requester, 0, sizeof *requester);
    requester->u_cell = u_cell;
    requester->n = 1;
}

static inline void hc_sgx_server_init(struct hc_sgx_server *server, struct hc_cell *u_cell)
{
    __builtin_memset(server, 0, sizeof *server);
    server->u_cell = u_cell;
    server->next = 1;
}

HC_ALWAYS_INLINE uint64_t hc_sgx_clamp(uint64_t pauses)
{
    if (pauses < HC_SGX_PAUSES_MIN)
        return HC_SGX_PAUSES_MIN;
    return pauses > HC_SGX_PAUSES_MAX ? HC_SGX_PAUSES_MAX : pauses;
}

/*
 * A slot that nobody calls through, or NULL: then the call is an ordinary one. `hint` is
 * something that differs between threads; multiplied (by 2^32 over the golden ratio), so that
 * neighbours differ in the upper bits, which choose the slot without a division.
 * SYNC: acquire pairs with hc_sgx_requester_free, busy; publishes n.
 */
HC_ALWAYS_INLINE struct hc_sgx_requester *hc_sgx_requester_take(struct hc_sgx_requester *requesters,
                                                                uint32_t count, uint32_t hint)
{
    uint32_t at = (uint32_t)((uint64_t)(hint * UINT32_C(2654435769)) * count >> 32);
    for (uint32_t i = 0; i < count; i++) {
        struct hc_sgx_requester *requester = &requesters[at];
        at = at + 1u < count ? at + 1u : 0;
        /* Relaxed: a glance, so that slots in use are not written. */
        if (__atomic_load_n(&requester->busy, __ATOMIC_RELAXED) == 0 &&
            __atomic_exchange_n(&requester->busy, 1u, __ATOMIC_ACQUIRE) == 0)
            return requester;
    }
    return NULL;
}

/* SYNC: release pairs with hc_sgx_requester_take, busy. */
HC_ALWAYS_INLINE void hc_sgx_requester_free(struct hc_sgx_requester *requester)
{
    __atomic_store_n(&requester->busy, 0u, __ATOMIC_RELEASE);
}

/* Called now and then by a wait for a call that runs; false gives the call up. May be NULL. */
typedef bool hc_sgx_patience(void *context);

#define HC_SGX_PATIENCE_EVERY 4096u

/*
 * Posts a call and waits for its answer.
 *
 * HC_OK           *answer is what the other side says, and the slot is free again
 * HC_ERR_AGAIN    nobody took it within `take` PAUSEs: withdrawn, never run; the slot is free
 * HC_ERR_POISONED the word was overwritten, or patience is over: the call may have run, and the
 *                 slot is never used again
 */
HC_NODISCARD static inline enum hc_status hc_sgx_request(struct hc_sgx_requester *requester,
                                                         uint32_t id, const void *argument,
                                                         uint64_t take, hc_sgx_patience *patience,
                                                         void *context, uint32_t *answer)
{
    struct hc_cell *u_cell = requester->u_cell;
    const uint64_t n = requester->n;
    const uint64_t done = hc_word(n, HC_WORD_DONE);
    struct hc_sgx_message message = {(uint64_t)(uintptr_t)argument, id};
    hc_copy_out(u_cell->payload, &message, sizeof message);
    hc_post_quick(u_cell, n);
    for (uint64_t pauses = 1;; pauses++) {
        /* SYNC: acquire pairs with hc_finish_quick, word; publishes what the callee wrote. */
        uint64_t word = __atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE);
        if (word == done)
            break;
        if (HC_UNLIKELY(pauses > take)) {
            enum hc_progress progress = hc_progress_of(word, n);
            if (progress == HC_PROGRESS_POSTED && hc_withdraw(u_cell, n, 0)) {
                hc_sgx_requester_free(requester);
                return HC_ERR_AGAIN;
            }
            if (progress == HC_PROGRESS_POISON)
                return HC_ERR_POISONED;
            if (patience != NULL && pauses % HC_SGX_PATIENCE_EVERY == 0 && !patience(context))
                return HC_ERR_POISONED;
        }
        hc_pause();
    }
    hc_copy_in(&message, u_cell->payload, sizeof message);
    requester->n = n + 1u;
    /* Relaxed: one writer at a time; readers show it to people. */
    __atomic_store_n(&requester->hot, requester->hot + 1u, __ATOMIC_RELAXED);
    hc_sgx_requester_free(requester);
    *answer = (uint32_t)message.value;
    return HC_OK;
}

/* SYNC: acquire pairs with hc_post_quick, word. Relaxed `next`: only the claim's holder decides. */
HC_ALWAYS_INLINE bool hc_sgx_waiting(const struct hc_sgx_server *server)
{
    uint64_t n = __atomic_load_n(&server->next, __ATOMIC_RELAXED);
    return __atomic_load_n(&server->u_cell->word, __ATOMIC_ACQUIRE) == hc_word(n, HC_WORD_POSTED);
}

/* SYNC: acquire pairs with hc_sgx_unclaim, claim; publishes next. */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_sgx_claim(struct hc_sgx_server *server)
{
    return __atomic_load_n(&server->claim, __ATOMIC_RELAXED) == 0 &&
           __atomic_exchange_n(&server->claim, 1u, __ATOMIC_ACQUIRE) == 0;
}

/* SYNC: release pairs with hc_sgx_claim. */
HC_ALWAYS_INLINE void hc_sgx_unclaim(struct hc_sgx_server *server)
{
    __atomic_store_n(&server->claim, 0u, __ATOMIC_RELEASE);
}

/*
 * Takes the call that waits, if it still does. The caller holds the claim. Counted before it runs,
 * so whatever the other side writes, n is never run twice.
 * SYNC: acquire pairs with hc_post_quick, word; against hc_withdraw: both swap from POSTED(n).
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_sgx_take(struct hc_sgx_server *server, uint64_t *n,
                                               struct hc_sgx_message *message)
{
    uint64_t expected = hc_word(server->next, HC_WORD_POSTED);
    *n = server->next;
    if (!__atomic_compare_exchange_n(&server->u_cell->word, &expected, hc_word(*n, HC_WORD_TAKEN),
                                     false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    __atomic_store_n(&server->next, *n + 1u, __ATOMIC_RELAXED);
    hc_copy_in(message, server->u_cell->payload, sizeof *message);
    return true;
}

/* Answers call n. */
HC_ALWAYS_INLINE void hc_sgx_answer(struct hc_sgx_server *server, uint64_t n, uint32_t status)
{
    struct hc_sgx_message message = {status, 0};
    hc_copy_out(server->u_cell->payload, &message, sizeof message);
    hc_finish_quick(server->u_cell, n);
}

/* Runs the bridge of a call; its status is the answer. */
typedef uint32_t hc_sgx_run(void *context, uint64_t id, void *u_ms);

/* What the host writes for a responder. */
#define HC_SGX_GO_ON UINT64_C(0)
#define HC_SGX_STOP UINT64_C(1)
#define HC_SGX_STAY UINT64_C(2) /* even without work */

/*
 * Serves `count` slots until there was nothing to do for `idle` PAUSEs or the host says stop. The
 * lane that was served last stays claimed, so that claiming is not part of every call; a slow call
 * then holds up its own slot only.
 */
static inline uint64_t hc_sgx_serve(struct hc_sgx_server *servers, uint32_t count, uint64_t idle,
                                    const uint64_t *u_stop, hc_sgx_run *run, void *context)
{
    struct hc_sgx_server *kept = NULL;
    struct hc_sgx_message message;
    uint64_t n;
    uint64_t served = 0;
    uint32_t at = 0;
    for (uint64_t since = 0; since < idle; since++) {
        struct hc_sgx_server *server = kept;
        if (kept == NULL || !hc_sgx_waiting(kept)) {
            at = at + 1u < count ? at + 1u : 0;
            server = &servers[at];
            if (server == kept || !hc_sgx_waiting(server)) {
                /* SYNC: acquire pairs with the host's release store, stop. */
                uint64_t stop =
                    since % 64u == 0 ? __atomic_load_n(u_stop, __ATOMIC_ACQUIRE) : HC_SGX_GO_ON;
                if (stop == HC_SGX_STOP)
                    break;
                if (stop == HC_SGX_STAY)
                    since = 0;
                hc_pause();
                continue;
            }
            if (!hc_sgx_claim(server))
                continue;
            if (kept != NULL)
                hc_sgx_unclaim(kept);
            kept = server;
        }
        if (hc_sgx_take(server, &n, &message)) {
            uint32_t status = run(context, message.id, (void *)(uintptr_t)message.value);
            hc_sgx_answer(server, n, status);
            served++;
            since = 0;
        }
    }
    if (kept != NULL)
        hc_sgx_unclaim(kept);
    return served;
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_SGX_CHANNEL_H */
