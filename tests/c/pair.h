/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair.h -- both sides of a channel in one thread, driven by hand.
 *
 * The region is ordinary memory between pages that may not be touched. Whatever a side would ask
 * its operating system for (sleeping, yielding, waking) comes to the test: sleeping and yielding run
 * `pair.other`, which is what the other side does meanwhile. So one thread sees a whole call, and
 * every interleaving is one that the test chose.
 */
#ifndef HOTCALLS_TESTS_PAIR_H
#define HOTCALLS_TESTS_PAIR_H

#include <hotcalls/hotcalls.h>

#include "check.h"

#include <sys/mman.h>

#ifndef PAIR_HOST_SLOTS
#define PAIR_HOST_SLOTS 2u
#endif
#define PAIR_SLOTS 4u
#define PAIR_CELLS 8u
#define PAIR_ARENA (256u * 1024u)
/* Of the part of the region that is none of the channel's; a test may want more. */
#ifndef PAIR_SHARED
#define PAIR_SHARED HC_PAGE
#endif
#define PAIR_GUARD ((size_t)64 * 1024u)

struct pair {
    struct hc_geometry geometry;
    uint8_t *u_base;
    struct hc_end end[HC_SIDES];
    struct hc_thread thread[HC_SIDES]; /* of a responder on each side */
    struct hc_thread owner[HC_SIDES];  /* of the thread that owns slots on each side */
    /* What happens while a side sleeps or yields; NULL: nothing. */
    void (*other)(enum hc_side waiting);
    /* The port that a thread of a side calls through, if not as below. */
    struct hc_port *(*port)(enum hc_side side);
    bool lost;        /* has the peer's process ended? */
    bool interrupted; /* is a KeyboardInterrupt pending? */
    uint32_t sleeps;
    uint32_t yields;
    uint32_t wakes;
    uint32_t looks; /* how often a side asked whether its peer lives */
};

static struct pair g_pair;

/* Mapped once: a test may start a hundred thousand pairs. */
static uint8_t *g_pair_region;
static uint8_t *g_pair_arenas[HC_SIDES][PAIR_SLOTS];

static inline void pair_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)u_word;
    (void)expected;
    (void)ns;
    g_pair.sleeps++;
    /* A bound on every wait: what has not ended by now never does. */
    CHECK(g_pair.sleeps < 100000u);
    if (g_pair.other != NULL)
        g_pair.other(((const struct hc_end *)context)->side);
}

static inline void pair_yield(void *context)
{
    g_pair.yields++;
    CHECK(g_pair.yields < 10000000u);
    if (g_pair.other != NULL)
        g_pair.other(((const struct hc_end *)context)->side);
}

static inline void pair_wake(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)u_word;
    (void)count;
    g_pair.wakes++;
}

static inline bool pair_lost(void *context)
{
    (void)context;
    g_pair.looks++;
    return g_pair.lost;
}

static inline bool pair_interrupted(void *context)
{
    (void)context;
    return g_pair.interrupted;
}

static inline void pair_end(enum hc_side side, const struct hc_function *ecalls,
                            uint32_t ecall_count, const struct hc_function *ocalls,
                            uint32_t ocall_count)
{
    struct hc_end *end = &g_pair.end[side];
    struct hc_header *u_header = (struct hc_header *)(void *)g_pair.u_base;
    bool host = side == HC_HOST;
    memset(end, 0, sizeof *end);
    end->u_base = g_pair.u_base;
    end->geometry = g_pair.geometry;
    end->side = side;
    end->incoming = host ? ocalls : ecalls;
    end->incoming_count = host ? ocall_count : ecall_count;
    end->outgoing = host ? ecalls : ocalls;
    end->outgoing_count = host ? ecall_count : ocall_count;
    end->modes = calloc(end->outgoing_count + 1u, 1);
    end->u_board = &u_header->board[side];
    end->u_peer_board = &u_header->board[hc_other(side)];
    end->slots = calloc(PAIR_SLOTS, sizeof *end->slots);
    CHECK(end->modes != NULL && end->slots != NULL);
    memset(end->modes, HC_MODE_HOT, end->outgoing_count);
    end->os = (struct hc_os){.context = end,
                             .sleep = pair_sleep,
                             .wake = pair_wake,
                             .yield = pair_yield,
                             .peer_lost = pair_lost,
                             .interrupted = pair_interrupted};
    /* Long enough to be reached by waiting only, short enough to wait for: 20 us and the like. */
    end->bounds = (struct hc_bounds){.take = 40000,
                                     .avoid = 100000,
                                     .spin = 80000,
                                     .idle = 80000,
                                     .steal = 4000,
                                     .burst_gap = UINT64_MAX,
                                     .burst = 4,
                                     .nap = 1000,
                                     .cycles_per_us = 2600,
                                     .slice_ns = 20000000,
                                     .wait_kind = HC_WAIT_PAUSE,
                                     .spinning = true};
    for (uint32_t i = 0; i < PAIR_SLOTS; i++) {
        struct hc_slot *slot = &end->slots[i];
        hc_slot_init(slot, end, i);
        struct hc_port *server = slot->mine ? &slot->reverse : &slot->port;
        if (g_pair_arenas[side][i] == NULL)
            g_pair_arenas[side][i] = malloc(PAIR_ARENA);
        server->arena.base = g_pair_arenas[side][i];
        server->arena.size = PAIR_ARENA;
        CHECK(server->arena.base != NULL);
        if (slot->mine)
            slot->port.thread = &g_pair.owner[side];
    }
}

/* A new channel, with a responder that says it is awake on both sides. */
static inline void pair_start(const struct hc_function *ecalls, uint32_t ecall_count,
                              const struct hc_function *ocalls, uint32_t ocall_count)
{
    memset(&g_pair, 0, sizeof g_pair);
    g_pair.geometry.slot_count = PAIR_SLOTS;
    g_pair.geometry.host_slots = PAIR_HOST_SLOTS;
    g_pair.geometry.cell_count = PAIR_CELLS;
    g_pair.geometry.window_size = HC_PAGE;
    g_pair.geometry.shared_size = PAIR_SHARED;
    CHECK_EQ(hc_geometry_plan(&g_pair.geometry), HC_OK);
    size_t size = (size_t)g_pair.geometry.total_size;
    if (g_pair_region == NULL) {
        uint8_t *all =
            mmap(NULL, size + 2u * PAIR_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(all != MAP_FAILED);
        g_pair_region = all + PAIR_GUARD;
        CHECK_EQ(mprotect(g_pair_region, size, PROT_READ | PROT_WRITE), 0);
    }
    g_pair.u_base = g_pair_region;
    memset(g_pair.u_base, 0, size);
    memcpy(g_pair.u_base, &g_pair.geometry, sizeof g_pair.geometry);
    pair_end(HC_HOST, ecalls, ecall_count, ocalls, ocall_count);
    pair_end(HC_ENCLAVE, ecalls, ecall_count, ocalls, ocall_count);
    for (int side = 0; side < HC_SIDES; side++)
        g_pair.end[side].u_board->awake = g_pair.end[side].u_board->responders = 1;
}

static inline void pair_stop(void)
{
    for (int side = 0; side < HC_SIDES; side++) {
        free(g_pair.end[side].slots);
        free(g_pair.end[side].modes);
    }
}

static inline struct hc_port *pair_port(enum hc_side side, uint32_t index)
{
    return &g_pair.end[side].slots[side == HC_HOST ? index : PAIR_HOST_SLOTS + index].port;
}

/* The cell in which call n of a lane lives. */
static inline struct hc_cell *pair_cell(uint32_t slot, uint32_t lane, uint64_t n)
{
    return &hc_u_lane(g_pair.u_base, &g_pair.geometry, slot, lane)[n % PAIR_CELLS];
}

/* One look of a responder, or a companion, of `side` at a lane that comes in to it. */
static inline uint64_t pair_drain(enum hc_side side, uint32_t index, bool companion)
{
    struct hc_slot *slot = &g_pair.end[side].slots[index];
    uint64_t served = 0;
    if (slot->mine)
        (void)hc_drain_back(&g_pair.thread[side], slot, companion, false, &served);
    else
        (void)hc_drain(&g_pair.thread[side], &slot->port, &slot->in[HC_LANE_FORWARD], companion,
                       &served);
    return served;
}

/* The enclave's responder of slot 0, which takes hot calls only. */
static inline void pair_responder(enum hc_side waiting)
{
    if (waiting == HC_HOST)
        (void)pair_drain(HC_ENCLAVE, 0, false);
}

/*
 * Whoever is to act in the chain of calls of slot 0 while `waiting` waits: the enclave's companion,
 * or a thread that itself waits and now serves what came back.
 */
static inline void pair_chain(enum hc_side waiting)
{
    enum hc_side side = hc_other(waiting);
    struct hc_slot *slot = &g_pair.end[side].slots[0];
    if (side == HC_HOST)
        (void)hc_serve(slot->reverse.depth != 0 ? &slot->reverse : &slot->port);
    else if (slot->port.depth != 0)
        (void)hc_serve(&slot->port);
    else
        (void)pair_drain(HC_ENCLAVE, 0, true);
}

/* The same, but the companion sleeps until it is rung. */
static inline void pair_rung(enum hc_side waiting)
{
    if (g_pair.wakes != 0)
        pair_chain(waiting);
}

/* What a thread of a side calls through, as endpoint_port() would say. */
static inline struct hc_port *pair_current(enum hc_side side)
{
    struct hc_thread *threads[] = {&g_pair.thread[side], &g_pair.owner[side]};
    if (g_pair.port != NULL)
        return g_pair.port(side);
    for (int i = 0; i < 2; i++)
        if (threads[i]->current != NULL && !threads[i]->current->busy)
            return threads[i]->current;
    return pair_port(side, 1);
}

/* A plain call with a fixed part and no buffers; through no port when there is none. */
static inline enum hc_status pair_call(struct hc_port *port, uint32_t id, void *ms, size_t size)
{
    struct hc_call call;
    if (port == NULL)
        return HC_ERR_NO_SLOT;
    enum hc_status status = hc_call_begin(port, &call, id, size, 0);
    if (status == HC_OK)
        status = hc_call_run(&call, ms, size);
    if (status == HC_OK)
        hc_call_end(&call);
    return status;
}

static inline enum hc_status pair_submit(struct hc_port *port, struct hc_call *call, uint32_t id,
                                         const void *ms, size_t size)
{
    enum hc_status status = hc_call_begin(port, call, id, size, 0);
    return status != HC_OK ? status : hc_call_submit(call, ms, size);
}

static inline enum hc_status pair_oneway(struct hc_port *port, uint32_t id, const void *ms,
                                         size_t size)
{
    struct hc_call call;
    if (port == NULL)
        return HC_ERR_NO_SLOT;
    enum hc_status status = hc_call_begin(port, &call, id, size, 0);
    return status != HC_OK ? status : hc_call_oneway(&call, ms, size);
}

static inline enum hc_status pair_collect(struct hc_call *call, void *ms, size_t size)
{
    enum hc_status status = hc_call_wait(call, ms, size);
    if (status == HC_OK)
        hc_call_end(call);
    return status;
}

#endif /* HOTCALLS_TESTS_PAIR_H */
