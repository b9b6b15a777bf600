/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_port.c -- which port a thread calls through.
 *
 * Either side. A thread that runs a call calls back over the lanes of that call's slot. A thread
 * of its own takes a slot at its first call, and one more whenever all that it has are busy (a
 * signal handler on top of a call) or stuck (a call was given up and is still being run). Which
 * one a call goes by is not the thread's choice, so what it sets holds for all.
 */
#define _GNU_SOURCE
#include "endpoint.h"

#include <stdlib.h>

struct held {
    struct endpoint *endpoint; /* NULL: not there (yet) */
    struct hc_slot *slot;
    /* What the thread has set for its calls; the port's may be another during a call. */
    uint64_t timeout;
    enum hc_mode mode;
};

struct thread_state {
    struct hc_thread thread;
    uint32_t count;
    bool registered;
    struct held held[ENDPOINT_PORTS_PER_THREAD];
};

static __thread struct thread_state g_state;

static pthread_key_t g_key;
static pthread_once_t g_key_once = PTHREAD_ONCE_INIT;

/*
 * Held while a slot is given back and while a region is taken away, so that the one does not
 * write to memory that the other removes. Never taken on a call.
 */
static pthread_mutex_t g_give_lock = PTHREAD_MUTEX_INITIALIZER;

struct hc_thread *endpoint_this_thread(void)
{
    return &g_state.thread;
}

static void publish_active(struct endpoint *endpoint, uint32_t slot, bool active)
{
    uint64_t *u_word = &endpoint->end.u_board->active[slot / 64u];
    uint64_t bit = UINT64_C(1) << (slot % 64u);
    /* SYNC: release pairs with refresh in endpoint_responder.c, active. */
    if (active)
        (void)__atomic_or_fetch(u_word, bit, __ATOMIC_RELEASE);
    else
        (void)__atomic_and_fetch(u_word, ~bit, __ATOMIC_RELEASE);
}

/* More threads that may spin than processors: then a waiter lets others on early. */
static void judge_crowd(struct endpoint *endpoint)
{
    uint32_t users = __atomic_load_n(&endpoint->references, __ATOMIC_RELAXED) - 1u;
    bool crowded = users + 1u > endpoint->processors;
    __atomic_store_n(&endpoint->end.bounds.crowded, crowded, __ATOMIC_RELAXED);
}

void endpoint_unreference(struct endpoint *endpoint)
{
    /* SYNC: release/acquire among the threads that drop it, references; the last one frees. */
    if (__atomic_sub_fetch(&endpoint->references, 1u, __ATOMIC_ACQ_REL) == 0)
        endpoint->on_free(endpoint);
}

/* Lock-free, as a signal handler may need a slot while its thread takes one. */
static struct hc_slot *take_slot(struct endpoint *endpoint, struct hc_thread *thread)
{
    struct hc_end *end = &endpoint->end;
    for (uint32_t i = 0; i < end->geometry.slot_count; i++) {
        struct hc_slot *slot = &end->slots[i];
        uint32_t unused = 0;
        if (!slot->mine ||
            /* SYNC: acquire pairs with give_slot, in_use; publishes the slot's private state. */
            !__atomic_compare_exchange_n(&slot->in_use, &unused, 1u, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue;
        if (slot->port.out->oldest != slot->port.out->tail && !hc_port_recover(&slot->port)) {
            __atomic_store_n(&slot->in_use, 0u, __ATOMIC_RELEASE);
            continue;
        }
        __atomic_store_n(&slot->port.busy, false, __ATOMIC_RELAXED);
        slot->port.stuck = false;
        slot->port.batch_from = 0;
        slot->port.mode = HC_MODE_DEFAULT;
        slot->port.timeout = 0;
        slot->port.thread = thread != NULL ? thread : &slot->executor;
        (void)__atomic_add_fetch(&endpoint->references, 1u, __ATOMIC_RELAXED);
        publish_active(endpoint, i, true);
        judge_crowd(endpoint);
        return slot;
    }
    return NULL;
}

/*
 * Was the newest call of a lane begun and never posted, as by a longjmp? Then its word is not one
 * of its own. What was collected or given up was posted, whatever the peer wrote there since.
 */
static bool was_never_posted(const struct hc_lane_out *lane)
{
    uint64_t n = lane->tail - 1u;
    if ((((lane->returned | lane->abandoned) >> (n & lane->mask)) & 1u) != 0)
        return false;
    return hc_progress_of(hc_untrusted_u64(&hc_out_cell(lane, n)->word), n) == HC_PROGRESS_POISON;
}

static void give_slot(struct endpoint *endpoint, struct hc_slot *slot)
{
    (void)pthread_mutex_lock(&g_give_lock);
    if (!endpoint->closed) {
        struct hc_lane_out *lane = slot->port.out;
        /* Nobody will answer it. */
        while (lane->tail != lane->oldest && slot->port.batch_from == 0 && was_never_posted(lane))
            hc_lane_take_back(lane, lane->tail - 1u);
        if (slot->port.batch_from != 0)
            hc_batch_end(&slot->port);
        /* What is outstanding is quarantined; the slot is taken again once the peer is done. */
        for (uint64_t n = lane->oldest; n != lane->tail; n++) {
            uint64_t bit = UINT64_C(1) << (n & lane->mask);
            if ((lane->returned & bit) == 0)
                lane->abandoned |= bit;
        }
        lane->oneway = 0;
        lane->oneway_errors = 0;
        slot->port.thread = &slot->executor;
        /* A thread may end in the middle of a call: what comes back is the companion's then. */
        __atomic_store_n(&slot->port.busy, false, __ATOMIC_RELAXED);
        __atomic_store_n(&endpoint->companions[slot->index].torn_out, false, __ATOMIC_RELAXED);
        /*
         * A slot with calls in it stays on the lists, or nobody would run them: ours out, and
         * one-way calls back that the last call left on the way in.
         */
        if (lane->oldest == lane->tail && !hc_peek(slot->port.in, true))
            publish_active(endpoint, slot->index, false);
        judge_crowd(endpoint);
        __atomic_store_n(&slot->in_use, 0u, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&g_give_lock);
    endpoint_unreference(endpoint);
}

/* Gives back what the thread holds of `endpoint`; of all endpoints when NULL. */
static void release(struct thread_state *state, struct endpoint *endpoint)
{
    for (uint32_t i = 0; i < state->count; i++) {
        struct held held = state->held[i];
        if (held.endpoint == NULL || (endpoint != NULL && held.endpoint != endpoint))
            continue;
        state->held[i].endpoint = NULL;
        give_slot(held.endpoint, held.slot);
    }
    while (state->count != 0 && state->held[state->count - 1u].endpoint == NULL)
        state->count--;
}

static void thread_ended(void *state)
{
    release(state, NULL);
}

/*
 * A forked child holds nothing: the slots are its parent's, and the region is not mapped in it.
 * Only the thread that forked exists there, so its own state is all there is to clear.
 */
static void forget_in_child(void)
{
    g_state.count = 0;
    g_state.thread.current = NULL;
}

static void make_key(void)
{
    (void)pthread_atfork(NULL, NULL, forget_in_child);
    (void)pthread_key_create(&g_key, thread_ended);
}

void endpoint_release_thread(void)
{
    release(&g_state, NULL);
}

void endpoint_close(struct endpoint *endpoint)
{
    hc_break(&endpoint->end, HC_ERR_CLOSED, "the enclave was closed");
    endpoint_stop(endpoint);
    (void)pthread_mutex_lock(&g_give_lock);
    bool first = !endpoint->closed;
    endpoint->closed = true;
    if (first && endpoint->on_close != NULL)
        endpoint->on_close(endpoint);
    (void)pthread_mutex_unlock(&g_give_lock);
    release(&g_state, endpoint);
}

static void set_up(struct hc_port *port, enum hc_mode mode, uint64_t timeout)
{
    port->mode = mode;
    port->timeout = timeout;
}

/* The port of the call that the thread runs, if it is one of this endpoint and is waited for. */
static struct hc_port *port_of_chain(const struct endpoint *endpoint)
{
    struct hc_port *current = g_state.thread.current;
    return current != NULL && current->end == &endpoint->end && !current->busy &&
                   !current->running.detached
               ? current
               : NULL;
}

void endpoint_set_calls(struct endpoint *endpoint, struct hc_port *port, enum hc_mode mode,
                        uint64_t timeout)
{
    struct thread_state *state = &g_state;
    struct hc_port *chain = port_of_chain(endpoint);
    bool own = chain == NULL;
    set_up(port, mode, timeout);
    if (chain != NULL)
        set_up(chain, mode, timeout);
    for (uint32_t i = 0; i < state->count; i++)
        own = own || (state->held[i].endpoint == endpoint && &state->held[i].slot->port == chain);
    /* A thread of the runtime that runs somebody's call speaks for that call alone. */
    for (uint32_t i = 0; own && i < state->count; i++) {
        if (state->held[i].endpoint != endpoint)
            continue;
        state->held[i].mode = mode;
        state->held[i].timeout = timeout;
        set_up(&state->held[i].slot->port, mode, timeout);
    }
}

/*
 * Takes one more slot for the thread. An entry is reserved before it is filled: a signal handler
 * that comes in between takes the next one.
 */
static struct hc_port *one_more(struct endpoint *endpoint, enum hc_status *status)
{
    struct thread_state *state = &g_state;
    *status = hc_broken(&endpoint->end);
    if (*status != HC_OK)
        return NULL;
    if (!state->registered) {
        (void)pthread_once(&g_key_once, make_key);
        (void)pthread_setspecific(g_key, state);
        state->registered = true;
    }
    for (uint32_t i = 0; i < state->count; i++) {
        struct held held = state->held[i];
        if (held.endpoint != NULL && held.endpoint->closed)
            release(state, held.endpoint);
    }
    *status = HC_ERR_NO_SLOT;
    if (state->count == ENDPOINT_PORTS_PER_THREAD)
        return NULL;
    uint32_t entry = state->count++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    struct hc_slot *slot = take_slot(endpoint, &g_state.thread);
    if (slot == NULL) {
        if (state->count == entry + 1u)
            state->count = entry;
        return NULL;
    }
    struct held *held = &state->held[entry];
    held->slot = slot;
    held->mode = HC_MODE_DEFAULT;
    held->timeout = 0;
    for (uint32_t i = 0; i < entry; i++) {
        if (state->held[i].endpoint == endpoint) {
            held->mode = state->held[i].mode;
            held->timeout = state->held[i].timeout;
            break;
        }
    }
    set_up(&slot->port, held->mode, held->timeout);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    held->endpoint = endpoint;
    *status = HC_OK;
    return &slot->port;
}

struct hc_port *endpoint_take_port(struct endpoint *endpoint, enum hc_status *status)
{
    *status = hc_broken(&endpoint->end);
    if (*status != HC_OK)
        return NULL;
    struct hc_slot *slot = take_slot(endpoint, NULL);
    *status = slot != NULL ? HC_OK : HC_ERR_NO_SLOT;
    return slot != NULL ? &slot->port : NULL;
}

void endpoint_give_port(struct endpoint *endpoint, struct hc_port *port)
{
    give_slot(endpoint, port->slot);
}

static struct hc_port *own_port(struct endpoint *endpoint, enum hc_status *status)
{
    struct thread_state *state = &g_state;
    for (uint32_t i = 0; i < state->count; i++) {
        if (state->held[i].endpoint != endpoint)
            continue;
        struct hc_port *port = &state->held[i].slot->port;
        if (HC_LIKELY(!port->busy && !port->stuck))
            return port;
        if (!port->busy && hc_port_recover(port))
            return port;
    }
    return one_more(endpoint, status);
}

struct hc_port *endpoint_port(struct endpoint *endpoint, enum hc_status *status)
{
    struct hc_port *chain = port_of_chain(endpoint);
    *status = HC_OK;
    /* In a call of the other side, and that call is waited for: its chain goes on. */
    if (chain != NULL && (!chain->stuck || hc_port_recover(chain)))
        return chain;
    struct hc_port *port = own_port(endpoint, status);
    if (HC_UNLIKELY(chain != NULL) && port != NULL)
        set_up(port, chain->mode, chain->timeout);
    return port;
}
