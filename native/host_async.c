/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_async.c -- see host_async.h.
 *
 * Untrusted side. What the enclave can write is looked at through lane.h and untrusted.h; the books
 * here are private.
 */
#define _GNU_SOURCE
#include "host_async.h"
#include "host_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct async_port {
    struct hc_port *port;
    uint64_t next;  /* the first n that was not given out yet */
    uint32_t count; /* outstanding: OUT or TAKEN */
    bool batching;
    struct hc_async_call *calls[HC_CELLS_MAX]; /* by n; NULL: given out */
};

struct hc_async {
    pthread_mutex_t lock;
    hc_enclave *enclave;
    struct hc_async_call *first; /* the queue */
    struct hc_async_call *last;
    uint32_t outstanding;
    uint32_t port_count;
    struct async_port ports[HC_ASYNC_PORTS_MAX];
};

static struct hc_end *end_of(const struct hc_async *async)
{
    return &async->enclave->endpoint.end;
}

struct hc_async *hc_async_new(hc_enclave *enclave, uint32_t ports, enum hc_status *status)
{
    if (*enclave->not_forked == 0) {
        *status = HC_ERR_FORKED;
        return NULL;
    }
    struct hc_async *async = calloc(1, sizeof *async);
    *status = HC_ERR_MEMORY;
    if (async == NULL)
        return NULL;
    async->enclave = enclave;
    (void)pthread_mutex_init(&async->lock, NULL);
    if (ports > HC_ASYNC_PORTS_MAX)
        ports = HC_ASYNC_PORTS_MAX;
    while (async->port_count < ports) {
        struct hc_port *port = endpoint_take_port(&enclave->endpoint, status);
        if (port == NULL)
            break;
        async->ports[async->port_count].next = port->out->tail;
        async->ports[async->port_count++].port = port;
    }
    if (async->port_count != 0) {
        *status = HC_OK;
        return async;
    }
    (void)pthread_mutex_destroy(&async->lock);
    free(async);
    return NULL;
}

void hc_async_delete(struct hc_async *async)
{
    if (async == NULL)
        return;
    /* In a forked child the slots are the parent's and not mapped. */
    for (uint32_t i = 0; *async->enclave->not_forked != 0 && i < async->port_count; i++)
        endpoint_give_port(&async->enclave->endpoint, async->ports[i].port);
    (void)pthread_mutex_destroy(&async->lock);
    free(async);
}

enum hc_status hc_async_descriptors(hc_enclave *enclave, int descriptors[2])
{
    if (*enclave->not_forked == 0)
        return HC_ERR_FORKED;
    /* The lock: hc_shutdown closes them. */
    (void)pthread_mutex_lock(&enclave->end_lock);
    descriptors[0] = enclave->done < 0 ? -1 : fcntl(enclave->done, F_DUPFD_CLOEXEC, 3);
    descriptors[1] = descriptors[0] < 0 ? -1 : fcntl(enclave->pidfd, F_DUPFD_CLOEXEC, 3);
    enum hc_status status = enclave->done < 0 ? HC_ERR_CLOSED : HC_OK;
    (void)pthread_mutex_unlock(&enclave->end_lock);
    if (status == HC_OK && descriptors[1] < 0) {
        if (descriptors[0] >= 0)
            (void)close(descriptors[0]);
        status = HC_ERR_OS;
    }
    return status;
}

void hc_async_wake(hc_enclave *enclave)
{
    const uint64_t one = 1;
    if (*enclave->not_forked == 0)
        return;
    (void)pthread_mutex_lock(&enclave->end_lock);
    if (enclave->done >= 0)
        (void)!write(enclave->done, &one, sizeof one);
    (void)pthread_mutex_unlock(&enclave->end_lock);
}

/* ---- posting, under the lock ------------------------------------------------------------------ */

static size_t window_bytes(const struct hc_async_call *call)
{
    return call->ms_size > HC_INLINE_SIZE ? hc_message_add(0, call->ms_size) : 0;
}

static bool too_large(const struct hc_async *async, const struct hc_async_call *call)
{
    uint64_t window = end_of(async)->geometry.window_size;
    size_t fixed = window_bytes(call);
    return fixed > window || call->reserve > window - fixed;
}

/* HC_ERR_AGAIN: no room on this port now. */
static enum hc_status post_on(struct async_port *to, uint32_t index, struct hc_async_call *call)
{
    struct hc_port *port = to->port;
    if (hc_lane_full(port->out))
        return HC_ERR_AGAIN;
    enum hc_status status =
        hc_call_begin(port, &call->call, call->id, call->ms_size, call->reserve);
    if (status != HC_OK)
        return status;
    if (call->buffers_size != 0)
        hc_copy_out(call->call.u_message + window_bytes(call), call->buffers, call->buffers_size);
    call->call.id |= HC_CELL_NOTIFY;
    call->port = index;
    to->calls[call->call.n & port->out->mask] = call;
    to->count++;
    /* SYNC: release pairs with hc_async_spin, state; publishes where the call lies. */
    __atomic_store_n(&call->state, (uint32_t)HC_ASYNC_OUT, __ATOMIC_RELEASE);
    /* It only writes the cell, so it cannot fail. */
    return hc_call_submit(&call->call, call->ms, call->ms_size);
}

/* On the port with the fewest outstanding that has room. */
static enum hc_status post_somewhere(struct hc_async *async, struct hc_async_call *call, bool batch)
{
    uint32_t tried = 0;
    enum hc_status status = HC_ERR_AGAIN;
    for (uint32_t round = 0; round < async->port_count; round++) {
        struct async_port *best = NULL;
        for (uint32_t i = 0; i < async->port_count; i++) {
            struct async_port *port = &async->ports[i];
            if (((tried >> i) & 1u) == 0 && (best == NULL || port->count < best->count))
                best = port;
        }
        uint32_t index = (uint32_t)(best - async->ports);
        tried |= 1u << index;
        if (batch && !best->batching) {
            hc_batch_begin(best->port);
            best->batching = true;
        }
        status = post_on(best, index, call);
        if (status != HC_ERR_AGAIN)
            break;
    }
    return status;
}

static void end_batches(struct hc_async *async)
{
    for (uint32_t i = 0; i < async->port_count; i++) {
        if (!async->ports[i].batching)
            continue;
        async->ports[i].batching = false;
        hc_batch_end(async->ports[i].port);
    }
}

/*
 * A responder that runs a call is awake and does not look at other lanes: so one is wanted for
 * every port that has calls out. hc_call_submit sees to the first of them only.
 */
static void want_responders(struct hc_async *async)
{
    const struct hc_end *end = end_of(async);
    uint32_t busy = 0;
    for (uint32_t i = 0; i < async->port_count; i++)
        busy += async->ports[i].count != 0;
    /* Relaxed: a hint. If it is stale the call is taken late. */
    uint32_t awake = __atomic_load_n(&end->u_peer_board->awake, __ATOMIC_RELAXED);
    for (; end->bounds.spinning && busy > 1 && awake < busy; awake++)
        hc_ring_responder(async->ports[0].port);
}

/* Posts what waits in the queue, as far as there is room. */
static void pump(struct hc_async *async)
{
    while (async->first != NULL) {
        struct hc_async_call *call = async->first;
        struct hc_async_call *next = call->next;
        if (post_somewhere(async, call, next != NULL) != HC_OK)
            break; /* full; or broken, and then hc_async_take gives it out */
        async->first = next;
        if (next == NULL)
            async->last = NULL;
    }
    end_batches(async);
    want_responders(async);
}

enum hc_status hc_async_post(struct hc_async *async, struct hc_async_call *const *calls,
                             size_t count)
{
    if (*async->enclave->not_forked == 0)
        return HC_ERR_FORKED;
    enum hc_status status = hc_broken(end_of(async));
    for (size_t i = 0; i < count && status == HC_OK; i++) {
        if (calls[i]->id >= end_of(async)->outgoing_count)
            status = HC_ERR_UNKNOWN_CALL;
        else if (too_large(async, calls[i]))
            status = HC_ERR_TOO_LARGE;
    }
    if (status != HC_OK)
        return status;
    (void)pthread_mutex_lock(&async->lock);
    for (size_t i = 0; i < count; i++) {
        calls[i]->next = NULL;
        __atomic_store_n(&calls[i]->state, (uint32_t)HC_ASYNC_QUEUED, __ATOMIC_RELAXED);
        if (async->last != NULL)
            async->last->next = calls[i];
        else
            async->first = calls[i];
        async->last = calls[i];
        async->outstanding++;
    }
    pump(async);
    (void)pthread_mutex_unlock(&async->lock);
    return HC_OK;
}

/* ---- collecting ------------------------------------------------------------------------------- */

static struct hc_async_call *give_out(struct hc_async_call *call, enum hc_status status)
{
    call->status = (uint32_t)status;
    __atomic_store_n(&call->state, (uint32_t)HC_ASYNC_TAKEN, __ATOMIC_RELEASE);
    return call;
}

/* The oldest call of a port that was not given out, with what its word says; NULL: none. */
static struct hc_async_call *oldest(struct async_port *from, enum hc_progress *progress)
{
    struct hc_lane_out *lane = from->port->out;
    const struct hc_async_call *call = from->calls[from->next & lane->mask];
    /* A place may already hold the call that is a lane further on. */
    while (from->next != lane->tail && (call == NULL || call->call.n != from->next))
        call = from->calls[++from->next & lane->mask];
    if (from->next == lane->tail)
        return NULL;
    /* SYNC: acquire pairs with hc_finish, word; publishes status, payload and window. */
    uint64_t word = __atomic_load_n(&hc_out_cell(lane, from->next)->word, __ATOMIC_ACQUIRE);
    *progress = hc_progress_of(word, from->next);
    return from->calls[from->next & lane->mask];
}

static struct hc_async_call *take(struct hc_async *async, struct hc_async_call *only)
{
    struct hc_end *end = end_of(async);
    for (uint32_t i = 0; i < async->port_count; i++) {
        struct async_port *from = &async->ports[i];
        enum hc_progress progress;
        if (only != NULL && (only->state != HC_ASYNC_OUT || only->port != i))
            continue;
        struct hc_async_call *call = oldest(from, &progress);
        if (call == NULL)
            continue;
        if (progress == HC_PROGRESS_POISON && hc_broken(end) == HC_OK)
            hc_break(end, HC_ERR_POISONED, "the word of a call in progress was overwritten");
        enum hc_status broken = hc_broken(end);
        if (only != NULL && only != call) {
            uint64_t n = only->call.n;
            uint64_t word = __atomic_load_n(&only->call.u_cell->word, __ATOMIC_ACQUIRE);
            progress = hc_progress_of(word, n);
            call = only;
        }
        if (progress == HC_PROGRESS_DONE || broken != HC_OK) {
            from->calls[call->call.n & from->port->out->mask] = NULL;
            return give_out(call, progress == HC_PROGRESS_DONE ? HC_OK : broken);
        }
    }
    enum hc_status broken = hc_broken(end);
    if (broken == HC_OK || async->first == NULL || (only != NULL && only != async->first))
        return NULL;
    struct hc_async_call *call = async->first;
    async->first = call->next;
    if (async->first == NULL)
        async->last = NULL;
    call->port = HC_ASYNC_PORTS_MAX;
    return give_out(call, broken);
}

struct hc_async_call *hc_async_take(struct hc_async *async)
{
    if (*async->enclave->not_forked == 0)
        return NULL;
    (void)pthread_mutex_lock(&async->lock);
    struct hc_async_call *call = take(async, NULL);
    (void)pthread_mutex_unlock(&async->lock);
    return call;
}

bool hc_async_take_this(struct hc_async *async, struct hc_async_call *call)
{
    if (*async->enclave->not_forked == 0)
        return false;
    (void)pthread_mutex_lock(&async->lock);
    bool taken = take(async, call) != NULL;
    (void)pthread_mutex_unlock(&async->lock);
    return taken;
}

enum hc_status hc_async_read(const struct hc_async_call *call, void *ms)
{
    enum hc_status status = (enum hc_status)call->status;
    if (status != HC_OK)
        return status;
    status = hc_status_from_peer(hc_untrusted_u32(&call->call.u_cell->status));
    if (call->ms_size > HC_INLINE_SIZE)
        hc_copy_in(ms, call->call.u_message, call->ms_size);
    else if (call->ms_size != 0)
        hc_copy_in(ms, call->call.u_cell->payload, call->ms_size);
    /* Closed meanwhile, what was read may have been the zeros that take the region's place. */
    enum hc_status broken = hc_broken(call->call.port->end);
    return broken == HC_ERR_CLOSED ? broken : status;
}

enum hc_status hc_async_copy(const struct hc_async_call *call, void *to, size_t size)
{
    if (size > call->reserve)
        return HC_ERR_MESSAGE;
    if (size != 0)
        hc_copy_in(to, call->call.u_message + window_bytes(call), size);
    enum hc_status broken = hc_broken(call->call.port->end);
    return broken == HC_ERR_CLOSED ? broken : HC_OK;
}

void hc_async_end(struct hc_async *async, struct hc_async_call *call)
{
    (void)pthread_mutex_lock(&async->lock);
    if (call->port < async->port_count) {
        async->ports[call->port].count--;
        if (hc_broken(end_of(async)) == HC_OK)
            hc_call_end(&call->call);
    }
    async->outstanding--;
    __atomic_store_n(&call->state, (uint32_t)HC_ASYNC_OVER, __ATOMIC_RELEASE);
    pump(async);
    (void)pthread_mutex_unlock(&async->lock);
}

bool hc_async_spin(struct hc_async *async, const struct hc_async_call *call, uint64_t cycles)
{
    uint64_t until = 0;
    if (*async->enclave->not_forked == 0)
        return false;
    for (uint32_t looks = 0;; looks++) {
        /* SYNC: acquire pairs with post_on, state; where the call lies is known once it is OUT. */
        uint32_t state = __atomic_load_n(&call->state, __ATOMIC_ACQUIRE);
        if (state == HC_ASYNC_TAKEN || state == HC_ASYNC_OVER)
            return true;
        if (state == HC_ASYNC_OUT && __atomic_load_n(&call->call.u_cell->word, __ATOMIC_RELAXED) ==
                                         hc_word(call->call.n, HC_WORD_DONE))
            return true;
        if (hc_broken(end_of(async)) != HC_OK)
            return true;
        if (looks % 16u == 0) {
            uint64_t now = hc_tsc();
            if (until == 0)
                until = now + cycles;
            else if ((int64_t)(now - until) >= 0)
                return false;
        }
        hc_pause();
    }
}

static bool unqueue(struct hc_async *async, struct hc_async_call *call)
{
    struct hc_async_call *before = NULL;
    for (struct hc_async_call *at = async->first; at != NULL; before = at, at = at->next) {
        if (at != call)
            continue;
        if (before != NULL)
            before->next = call->next;
        else
            async->first = call->next;
        if (async->last == call)
            async->last = before;
        return true;
    }
    return false;
}

bool hc_async_withdraw(struct hc_async *async, struct hc_async_call *call)
{
    bool back = false;
    if (*async->enclave->not_forked == 0)
        return false;
    (void)pthread_mutex_lock(&async->lock);
    if (call->state == HC_ASYNC_QUEUED) {
        back = unqueue(async, call);
    } else if (call->state == HC_ASYNC_OUT && hc_broken(end_of(async)) == HC_OK) {
        struct async_port *on = &async->ports[call->port];
        struct hc_lane_out *lane = on->port->out;
        uint64_t n = call->call.n;
        uint64_t word = hc_untrusted_u64(&call->call.u_cell->word);
        bool grouped = lane->behind[n & lane->mask] != 0 ||
                       (n != lane->oldest && lane->behind[(n - 1u) & lane->mask] != 0);
        back = n + 1u == lane->tail && !grouped &&
               hc_withdraw(call->call.u_cell, n, word & (HC_WORD_SWITCH | HC_WORD_SLEEP));
        if (back) {
            hc_count(&on->port->counters.withdrawn, &on->port->u_counters->withdrawn);
            on->calls[n & lane->mask] = NULL;
            on->count--;
            hc_lane_take_back(lane, n);
        }
    }
    if (back) {
        async->outstanding--;
        __atomic_store_n(&call->state, (uint32_t)HC_ASYNC_OVER, __ATOMIC_RELEASE);
        pump(async);
    }
    (void)pthread_mutex_unlock(&async->lock);
    return back;
}

/*
 * Arms the oldest call of a lane: the last of its group, where the other side looks for sleepers.
 * False: it is done already.
 */
static bool arm(struct async_port *on)
{
    enum hc_progress progress;
    struct hc_async_call *call = oldest(on, &progress);
    if (call == NULL)
        return true;
    if (progress == HC_PROGRESS_DONE || progress == HC_PROGRESS_POISON)
        return false;
    struct hc_lane_out *lane = on->port->out;
    uint64_t last = call->call.n + lane->behind[call->call.n & lane->mask];
    struct hc_cell *u_cell = hc_out_cell(lane, last);
    /* POSTED may become TAKEN under our hands; then once more. */
    for (int attempt = 0; attempt < 3; attempt++) {
        uint64_t word = __atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE);
        progress = hc_progress_of(word, last);
        if (progress == HC_PROGRESS_DONE || progress == HC_PROGRESS_POISON)
            return false;
        if ((word & HC_WORD_SLEEP) != 0)
            return true;
        if (hc_fall_asleep(u_cell, word)) {
            hc_count(&on->port->counters.slept, &on->port->u_counters->slept);
            return true;
        }
    }
    return false;
}

void hc_async_look(struct hc_async *async)
{
    struct hc_end *end = end_of(async);
    if (*async->enclave->not_forked == 0 || hc_broken(end) != HC_OK)
        return;
    if (host_peer_lost(async->enclave))
        hc_break(end, HC_ERR_PEER_LOST, "the process on the other side has ended");
    else if (hc_untrusted_u32(&end->u_peer_board->state) == HC_STATE_POISONED)
        hc_break(end, HC_ERR_POISONED, "the other side found an invariant broken");
}

bool hc_async_arm(struct hc_async *async, uint32_t *left)
{
    struct hc_end *end = end_of(async);
    bool armed = true;
    *left = 0;
    if (*async->enclave->not_forked == 0)
        return true;
    (void)pthread_mutex_lock(&async->lock);
    *left = async->outstanding;
    if (hc_broken(end) != HC_OK)
        armed = async->outstanding == 0;
    else
        for (uint32_t i = 0; i < async->port_count; i++)
            armed = arm(&async->ports[i]) && armed;
    (void)pthread_mutex_unlock(&async->lock);
    return armed;
}

void hc_async_nudge(struct hc_async *async)
{
    if (*async->enclave->not_forked == 0 || hc_broken(end_of(async)) != HC_OK)
        return;
    (void)pthread_mutex_lock(&async->lock);
    for (uint32_t i = 0; i < async->port_count; i++) {
        struct async_port *on = &async->ports[i];
        enum hc_progress progress;
        if (oldest(on, &progress) == NULL || progress != HC_PROGRESS_POSTED)
            continue;
        hc_ring_companion(on->port, true);
        hc_ring_responder(on->port);
    }
    (void)pthread_mutex_unlock(&async->lock);
}
