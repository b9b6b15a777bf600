/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h -- posting a call, waiting for its answer, and serving what comes back meanwhile.
 *
 * Freestanding; used on both sides. The fast path is hc_transact(): post, spin, done. Everything
 * that takes longer than a few hundred cycles is in hc_wait_slow(), which decides by time.
 */
#ifndef HOTCALLS_CALL_H
#define HOTCALLS_CALL_H

#include "port.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * How deep calls may nest on one side. A peer that calls back without end meets this limit, so
 * the stack that it can make us use is bounded.
 */
#define HC_DEPTH_MAX 16u

/* A call that is being served: the private copy of its cell, and where its buffers are. */
struct hc_frame {
    struct hc_port *port;
    struct hc_cell *u_cell;
    uint8_t *u_message; /* in the window; `size` bytes were checked to be inside it */
    uint32_t size;
    uint32_t cursor; /* bytes of the message that were consumed */
    uint32_t id;
    uint8_t payload[HC_INLINE_SIZE];
};

/* ---- serving -------------------------------------------------------------------------------- */

/*
 * Checks the id of a call and runs its bridge. The frame's id is a private copy.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_dispatch(struct hc_end *end, struct hc_frame *frame,
                                                         bool nested)
{
    struct hc_port *port = frame->port;
    uint64_t id = frame->id;
    if (HC_UNLIKELY(id >= end->incoming_count))
        return HC_ERR_UNKNOWN_CALL;
    id = hc_index_nospec(id, end->incoming_count);
    const struct hc_function *function = &end->incoming[id];
    if (HC_UNLIKELY(function->bridge == NULL))
        return HC_ERR_UNKNOWN_CALL;
    if (end->side == HC_ENCLAVE) {
        if (HC_UNLIKELY(nested)) {
            /* During an ocall only what that ocall allows may come in (CCS'21: re-entrancy). */
            const uint64_t *allow = port->allow;
            if (allow == NULL || ((allow[id / 64u] >> (id % 64u)) & 1u) == 0)
                return HC_ERR_NOT_ALLOWED;
            /* While this ecall runs no ocall is out, until it makes one. */
            port->allow = NULL;
            enum hc_status status = function->bridge(frame);
            port->allow = allow;
            return status;
        } else if (HC_UNLIKELY((function->flags & HC_FN_PUBLIC) == 0)) {
            return HC_ERR_NOT_ALLOWED;
        }
    }
    return function->bridge(frame);
}

/*
 * Runs a call of `lane`, which the caller has taken, on `port`, and answers it.
 */
static inline void hc_run(struct hc_port *port, struct hc_lane_in *lane,
                          const struct hc_taking *taking)
{
    struct hc_end *end = port->end;
    struct hc_frame frame;
    struct hc_cell *u_cell = taking->u_cell;
    enum hc_status status;

    frame.port = port;
    frame.u_cell = u_cell;
    uint32_t id = hc_untrusted_u32(&u_cell->id);
    uint32_t offset = hc_untrusted_u32(&u_cell->offset);
    frame.size = hc_untrusted_u32(&u_cell->size);
    hc_copy_in(frame.payload, u_cell->payload, HC_INLINE_SIZE);
    frame.id = id & ~HC_CELL_BITS;
    frame.cursor = 0;
    frame.u_message = lane->u_window;

    port->running.u_cell = u_cell;
    port->running.n = taking->n;
    port->running.detached = (id & HC_CELL_DETACHED) != 0;
    port->running.switched = taking->switched;

    if (HC_UNLIKELY(!hc_range_inside(offset, frame.size, lane->window_size))) {
        status = HC_ERR_MESSAGE;
    } else if (HC_UNLIKELY(port->depth > HC_DEPTH_MAX)) {
        status = HC_ERR_DEPTH;
    } else {
        if (frame.size != 0) {
            /* Spectre v1: the offset was checked by a branch; nothing is read through it before. */
            hc_speculation_barrier();
            frame.u_message += offset;
        }
        status = hc_dispatch(end, &frame, lane->nested);
    }

    hc_untrusted_store_u32(&u_cell->status, (uint32_t)status);
    if (taking->bound) {
        hc_finish_bound(u_cell, taking->n);
        return;
    }
    switch (hc_finish(u_cell, taking->n)) {
    case HC_FINISHED:
        break;
    case HC_FINISHED_WAKE:
        if ((id & HC_CELL_NOTIFY) != 0 && end->os.notify != NULL)
            end->os.notify(end);
        else
            end->os.wake(end->os.context, hc_futex_of(u_cell), 1);
        break;
    case HC_FINISHED_BROKEN:
        hc_break(end, HC_ERR_POISONED, "the word of a call changed while it was being run");
        break;
    }
}

/* How many cells ahead lines are asked for: enough to cover a miss by posting or collecting. */
#define HC_PREFETCH_AHEAD 6u

/*
 * Runs what is posted on a lane whose claim the caller holds, `most` calls at most: HC_ROUND, one
 * round of the lane, so that a peer that posts without end holds up neither other lanes nor the
 * caller's own deadline; or one. True if anything was run.
 */
#define HC_ROUND UINT64_MAX
static inline bool hc_drain_claimed(struct hc_port *port, struct hc_lane_in *lane, bool companion,
                                    uint64_t most, uint64_t *served)
{
    struct hc_taking taking;
    bool any = false;
    enum hc_taken taken = HC_NOTHING;
    uint32_t group = 0;
    /* The call that this one is nested in, if any, goes on as it was. */
    const struct hc_running outer = port->running;
    const uint64_t *outer_allow = port->allow;
    const bool outer_busy = port->busy;
    const size_t outer_used = port->arena.used;
    __atomic_store_n(&port->busy, false, __ATOMIC_RELAXED);
    port->burst_count = 0;
    port->depth++;
    for (uint64_t calls = 0; calls <= lane->mask && calls < most; calls++) {
        taken = hc_take(lane, companion || any, &taking);
        if (taken != HC_TOOK)
            break;
        if (group != 0) {
            group--;
        } else if (taking.bound) {
            /*
             * The first of a group says how many follow: ask for their lines in exclusive state
             * all at once. A lie costs misses: what is asked for stays inside the lane.
             */
            uint32_t follow = hc_untrusted_u32(&taking.u_cell->status);
            while (group < follow && group < HC_GROUP - 1u)
                hc_prefetch_write(hc_in_cell(lane, taking.n + ++group));
        }
        hc_run(port, lane, &taking);
        port->arena.used = outer_used;
        any = true;
        ++*served;
    }
    /* Relaxed: a hint for the thread that waits, which others may outrun. */
    __atomic_store_n(&port->served_switched, any && taking.switched, __ATOMIC_RELAXED);
    port->depth--;
    port->running = outer;
    port->allow = outer_allow;
    __atomic_store_n(&port->busy, outer_busy, __ATOMIC_RELAXED);
    if (HC_UNLIKELY(taken == HC_BROKEN))
        hc_break(port->end, HC_ERR_POISONED, "a cell holds a word that is not of its lane");
    return any;
}

/*
 * Looks at a lane again after giving it back, at most. Only a peer that keeps posting gets there;
 * what it posted last then waits for the next poll, or for its own second ring.
 */
#define HC_DRAIN_ROUNDS 64u

/*
 * Claims a FORWARD lane, runs what is posted on it, and gives it back. `thread` is the caller's;
 * `port` the one that calls of this lane run on.
 */
static inline bool hc_drain(struct hc_thread *thread, struct hc_port *port, struct hc_lane_in *lane,
                            bool companion, uint64_t *served)
{
    bool any = false;
    for (uint32_t round = 0; round < HC_DRAIN_ROUNDS; round++) {
        if (!hc_peek(lane, companion) || !hc_claim(lane))
            break;
        struct hc_port *outer = thread->current;
        thread->current = port;
        port->thread = thread;
        any = hc_drain_claimed(port, lane, companion, HC_ROUND, served) || any;
        thread->current = outer;
        hc_unclaim(lane);
        /*
         * Look once more, now for switch calls too: a companion that found the claim held has
         * gone back to sleep relying on it (hc_unclaim).
         */
        companion = true;
    }
    return any;
}

/*
 * The same for the REVERSE lane of one of our own slots: runs the calls back that no thread waits
 * for, until one comes that a thread does wait for, unless that is `torn_out` of its wait. Inside
 * nothing allows them, whatever an ocall of that thread allows: the caller may be here still when
 * that ocall has returned. So one call at a time, each seen under the claim: then it is the one that
 * is taken, and not one that came since for a thread that has begun to wait.
 */
static inline bool hc_drain_back(struct hc_thread *thread, struct hc_slot *slot, bool companion,
                                 bool torn_out, uint64_t *served)
{
    struct hc_lane_in *lane = &slot->in[HC_LANE_REVERSE];
    bool any = false;
    for (uint32_t round = 0; round < HC_DRAIN_ROUNDS; round++) {
        /* Looked at before, too, so that the claim is out of the way of a thread that waits. */
        if (!hc_peek(lane, companion) || (!torn_out && hc_is_waited_for(slot)) || !hc_claim(lane))
            break;
        bool ours = hc_peek(lane, companion) && (torn_out || !hc_is_waited_for(slot));
        if (ours) {
            struct hc_port *outer = thread->current;
            thread->current = &slot->reverse;
            slot->reverse.thread = thread;
            slot->reverse.allow = NULL;
            any = hc_drain_claimed(&slot->reverse, lane, companion, 1, served) || any;
            thread->current = outer;
        }
        /* A thread that waits looks by itself, and a companion looks until nothing is posted. */
        hc_unclaim(lane);
        if (!ours)
            break;
        companion = true;
    }
    return any;
}

/*
 * Answers calls on a NESTED lane for which nobody waits: the call back that they come from was
 * given up here (a timeout), or its thread is gone. Inside nothing allows them, so they are
 * refused. Called by the slot's companion, which a caller that waits in vain rings; whoever waits
 * for such calls as it should holds the claim of the FORWARD lane.
 */
static inline void hc_drain_orphans(struct hc_thread *thread, struct hc_slot *slot,
                                    uint64_t *served)
{
    struct hc_lane_in *forward = &slot->in[HC_LANE_FORWARD];
    struct hc_lane_in *nested = &slot->in[HC_LANE_NESTED];
    if (slot->mine || !hc_peek(nested, true) || !hc_claim(forward))
        return;
    struct hc_port *outer = thread->current;
    thread->current = &slot->port;
    slot->port.thread = thread;
    (void)hc_drain_claimed(&slot->port, nested, true, HC_ROUND, served);
    thread->current = outer;
    /* The look that hc_unclaim asks for is the companion's next. */
    hc_unclaim(forward);
}

/* Serves what came back over the port's `in` lane while its thread waits. */
HC_NOINLINE static bool hc_serve(struct hc_port *port)
{
    uint64_t served = 0;
    if (port->claims_in) {
        bool any = false;
        /* As hc_drain, but with what the call that we wait for allows. */
        for (uint32_t round = 0; round < HC_DRAIN_ROUNDS; round++) {
            if (!hc_peek(port->in, true) || !hc_claim(port->in))
                break;
            struct hc_port *outer = port->thread->current;
            port->serving->thread = port->thread;
            port->serving->allow = port->allow;
            port->thread->current = port->serving;
            any = hc_drain_claimed(port->serving, port->in, true, HC_ROUND, &served) || any;
            port->thread->current = outer;
            port->serving->allow = NULL;
            hc_unclaim(port->in);
        }
        return any;
    }
    /* The lane belongs to this chain of calls already: see the table in port.h. */
    return hc_drain_claimed(port->serving, port->in, true, HC_ROUND, &served);
}

/* ---- waiting -------------------------------------------------------------------------------- */

struct hc_wait {
    uint64_t call;     /* what is given up: of a group another than the one that is watched */
    uint64_t start;    /* 0 until the first slow step after a callback */
    uint64_t timeout;  /* cycles; 0: none */
    uint64_t deadline; /* 0 until the first slow step */
    uint64_t yielded;  /* when the core was last yielded */
    uint32_t served;
    bool slept;
    bool drowsy;   /* SLEEP stood in the word: a call back may have roused us and nobody else */
    bool switched; /* the core was handed over: yield it, do not spin */
    bool rung;     /* the companion of a nested switch call was rung, in case nobody waits */
};

enum { HC_WAIT_GOES_ON = -1 };

HC_ALWAYS_INLINE void hc_count(uint64_t *counter, uint64_t *u_counter)
{
    hc_untrusted_store_u64(u_counter, ++*counter);
}

/*
 * Gives a call up. Withdrawn if nobody took it and nothing was posted behind it; otherwise the
 * cell and its window are quarantined until the other side is done (hc_port_recover).
 */
static inline void hc_give_up(struct hc_port *port, uint64_t n)
{
    struct hc_lane_out *lane = port->out;
    struct hc_cell *u_cell = hc_out_cell(lane, n);
    uint64_t word = __atomic_load_n(&u_cell->word, __ATOMIC_RELAXED);
    uint64_t bits = word & (HC_WORD_SWITCH | HC_WORD_SLEEP);
    /* The last of a group stays: the calls before it are waited for by its word. */
    bool grouped = lane->behind[n & lane->mask] != 0 ||
                   (n != lane->oldest && lane->behind[(n - 1u) & lane->mask] != 0);
    if (n + 1u == lane->tail && !grouped && hc_withdraw(u_cell, n, bits)) {
        hc_count(&port->counters.withdrawn, &port->u_counters->withdrawn);
        lane->oneway &= ~(UINT64_C(1) << (n & lane->mask));
        hc_lane_take_back(lane, n);
        if (port->batch_from > n)
            port->batch_from = n;
    } else {
        lane->abandoned |= UINT64_C(1) << (n & lane->mask);
        port->stuck = true;
    }
}

/* Looks whether the other side is done with what was given up on this port. */
static inline bool hc_port_recover(struct hc_port *port)
{
    struct hc_lane_out *lane = port->out;
    for (uint64_t n = lane->oldest; n != lane->tail; n++) {
        uint64_t bit = UINT64_C(1) << (n & lane->mask);
        if ((lane->abandoned & bit) == 0)
            continue;
        /* SYNC: acquire pairs with hc_finish, word; the window is reused after this only. */
        uint64_t word = __atomic_load_n(&hc_out_cell(lane, n)->word, __ATOMIC_ACQUIRE);
        if (word != hc_word(n, HC_WORD_DONE))
            continue;
        lane->abandoned &= ~bit;
        lane->oneway &= ~bit;
        hc_lane_give_back(lane, n);
        n = lane->oldest - 1u;
    }
    port->stuck = lane->abandoned != 0;
    return !port->stuck;
}

/*
 * One step of a wait that has outlasted a short spin. Returns HC_WAIT_GOES_ON, or the status
 * with which the wait ends without an answer (the call has then been given up).
 */
HC_NOINLINE static int hc_wait_slow(struct hc_port *port, uint64_t n, struct hc_wait *wait)
{
    struct hc_end *end = port->end;
    const struct hc_bounds *bounds = &end->bounds;
    struct hc_cell *u_cell = hc_out_cell(port->out, n);
    uint64_t now = hc_tsc();
    uint64_t word = __atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE);
    enum hc_progress progress = hc_progress_of(word, n);
    enum hc_status broken;

    if (wait->start == 0)
        wait->start = now;
    if (wait->timeout != 0 && wait->deadline == 0)
        wait->deadline = now + wait->timeout;
    if (progress == HC_PROGRESS_DONE)
        return HC_WAIT_GOES_ON;
    if (HC_UNLIKELY(progress == HC_PROGRESS_POISON)) {
        /* Of a channel that was closed the words are gone: the first reason stays the reason. */
        hc_break(end, HC_ERR_POISONED, "the word of a call in progress was overwritten");
        port->stuck = true;
        return (int)hc_broken(end);
    }
    if (HC_UNLIKELY((broken = hc_broken(end)) != HC_OK)) {
        port->stuck = true;
        return (int)broken;
    }
    if (wait->deadline != 0 && now >= wait->deadline) {
        hc_give_up(port, wait->call);
        return HC_ERR_TIMEOUT;
    }

    uint64_t waited = now - wait->start;
    /*
     * Inside somebody's wait that somebody takes the call, however late it gets the core. Only if
     * nobody waits is a companion needed (or if they gave up: then a slice ends, below).
     */
    bool waited_for = port->is_nested && !port->running.detached;
    enum hc_presence presence = HC_PRESENT;
    /* Not at first: most answers come soon, and asking costs the responder a line. */
    if (waited > bounds->yield_crowded && !wait->rung && !waited_for && end->os.presence != NULL)
        presence = end->os.presence(end->os.context, progress == HC_PROGRESS_TAKEN);
    bool deserted = presence == HC_DESERTED;
    if (HC_UNLIKELY(progress == HC_PROGRESS_POSTED && (deserted || waited > bounds->take) &&
                    !waited_for)) {
        if (word == hc_word(n, HC_WORD_POSTED)) {
            if (!hc_hand_over(u_cell, n))
                return HC_WAIT_GOES_ON;
            hc_count(&port->counters.withdrawn, &port->u_counters->withdrawn);
            hc_count(&port->counters.fallen_back, &port->u_counters->fallen_back);
            port->avoid_until = now + bounds->avoid;
        }
        if (!wait->rung) {
            wait->switched = wait->rung = true;
            if (end->os.tell_core != NULL)
                end->os.tell_core(end->os.context, port);
            hc_ring_companion(port, false);
            return HC_WAIT_GOES_ON;
        }
    } else if (HC_UNLIKELY(deserted)) {
        /* Taken, and left lying about: the companion is welcome to go on with it. */
        wait->switched = wait->rung = true;
        if (end->os.tell_core != NULL)
            end->os.tell_core(end->os.context, port);
        hc_ring_companion(port, false);
        return HC_WAIT_GOES_ON;
    }

    if (!wait->slept && waited < bounds->spin) {
        /*
         * A companion on this core runs when we let it. Yielding costs one change less than
         * sleeping, and the scheduler does not move a caller that never slept to another core,
         * where waking it would cost ten times as much.
         */
        bool crowded = __atomic_load_n(&bounds->crowded, __ATOMIC_RELAXED);
        uint64_t polite = crowded || presence == HC_AWAITS ? bounds->yield_crowded : bounds->yield;
        /*
         * Another yield only after another while of spinning: two sides that each yield as soon
         * as the other one did could keep each other waiting.
         */
        if (wait->switched || (waited > polite && now - wait->yielded > polite)) {
            end->os.yield(end->os.context);
            wait->yielded = hc_tsc();
        }
        return HC_WAIT_GOES_ON;
    }

    /* Sleep. SLEEP stands in the word before the last look at the lane that comes back. */
    if ((word & HC_WORD_SLEEP) == 0) {
        if (!hc_fall_asleep(u_cell, word))
            return HC_WAIT_GOES_ON;
        wait->drowsy = true;
        word |= HC_WORD_SLEEP;
        hc_count(&port->counters.slept, &port->u_counters->slept);
    }
    if (hc_peek(port->in, true))
        return HC_WAIT_GOES_ON;
    uint64_t slice = bounds->slice_ns;
    if (wait->deadline != 0) {
        /* Not past the deadline; at least a microsecond, which is what 0 would not be. */
        uint64_t left_us = (wait->deadline - now) / bounds->cycles_per_us + 1u;
        slice = left_us < slice / 1000u ? left_us * 1000u : slice;
    }
    end->os.sleep(end->os.context, hc_futex_of(u_cell), (uint32_t)word, slice);
    wait->slept = true;

    if (__atomic_load_n(&u_cell->word, __ATOMIC_RELAXED) == word) {
        /* Not woken by the word: a slice is over, or a signal came. */
        if (end->os.interrupted != NULL && end->os.interrupted(end->os.context)) {
            hc_give_up(port, wait->call);
            return HC_ERR_INTERRUPTED;
        }
        if (end->os.peer_lost(end->os.context)) {
            hc_break(end, HC_ERR_PEER_LOST, "the process on the other side has ended");
            return HC_WAIT_GOES_ON;
        }
        if (hc_untrusted_u32(&end->u_peer_board->state) == HC_STATE_POISONED) {
            hc_break(end, HC_ERR_POISONED, "the other side found an invariant broken");
            return HC_WAIT_GOES_ON;
        }
        if (progress == HC_PROGRESS_POSTED) {
            /* A peer that lost our bell, or whose companion died, gets another chance. */
            hc_ring_companion(port, true);
            hc_ring_responder(port);
        }
    }
    return HC_WAIT_GOES_ON;
}

/*
 * The end of a wait. A one-way call back that roused us (hc_nudge) while its poster went on and
 * answered us: nobody but us knows of it.
 */
HC_ALWAYS_INLINE void hc_wait_over(struct hc_port *port, const struct hc_wait *wait)
{
    if (HC_UNLIKELY(wait->drowsy) && hc_peek(port->in, true))
        (void)hc_serve(port);
    /* Calls of a burst follow each other closely, however long each takes (hc_must_switch). */
    if (HC_UNLIKELY(wait->rung))
        port->burst_tsc = hc_tsc();
}

/* PAUSEs between two looks at the clock. A bound is off by at most this much. */
#define HC_SPINS_PER_LOOK 32

/*
 * Waits until call n, posted on `port`, is answered, and serves the calls that come back. If the
 * wait is given up, `call` is: n itself, or a call before it in its group.
 *
 * SYNC: acquire pairs with hc_finish, word; publishes status, payload and window to us.
 */
HC_NODISCARD static inline enum hc_status hc_await(struct hc_port *port, uint64_t n, uint64_t call,
                                                   uint64_t timeout, bool switched)
{
    struct hc_cell *u_cell = hc_out_cell(port->out, n);
    const uint64_t done = hc_word(n, HC_WORD_DONE);
    struct hc_wait wait;
    __builtin_memset(&wait, 0, sizeof wait);
    wait.call = call;
    wait.timeout = timeout;
    wait.switched = switched;
    wait.rung = switched && !port->is_nested;
    for (uint32_t pause = 0; !switched && pause < port->end->bounds.head_start; pause++)
        hc_pause();
    for (;;) {
        for (int spin = 0; spin < HC_SPINS_PER_LOOK; spin++) {
            uint64_t word = __atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE);
            if (word == done) {
                hc_wait_over(port, &wait);
                return HC_OK;
            }
            if (HC_UNLIKELY(hc_peek(port->in, true)) && hc_serve(port)) {
                /*
                 * Time spent in our own callbacks is not time that the other side let us wait.
                 * And one that posts hot has left this core: spin for it from here on, also if
                 * we had fallen asleep before.
                 */
                wait.start = 0;
                wait.slept = false;
                wait.switched = wait.switched &&
                                __atomic_load_n(&port->serving->served_switched, __ATOMIC_RELAXED);
                if (++wait.served % 8u == 0)
                    break;
            } else if (wait.switched || wait.slept) {
                break; /* handed over, or asleep before: nothing to spin for */
            } else if (port->end->bounds.wait_kind == HC_WAIT_PAUSE) {
                hc_pause();
            } else {
                hc_wait_on_line(port->end->bounds.wait_kind, &u_cell->word, word,
                                port->end->bounds.nap);
            }
        }
        int status = hc_wait_slow(port, n, &wait);
        if (HC_UNLIKELY(status != HC_WAIT_GOES_ON)) {
            hc_wait_over(port, &wait);
            return (enum hc_status)status;
        }
    }
}

/*
 * Waits for a call that was submitted, perhaps with others. A call of a group waits, when it
 * takes longer, for the last of its group: that is where the other side looks for sleepers.
 */
HC_NODISCARD static inline enum hc_status hc_await_submitted(struct hc_port *port, uint64_t n)
{
    struct hc_lane_out *lane = port->out;
    const struct hc_cell *u_cell = hc_out_cell(lane, n);
    uint64_t last = n + lane->behind[n & lane->mask];
    /*
     * First out of the responder's way: the cell that it is at would go to and fro at every look.
     * So the last cell of the group is watched, and n's own only now and then. Some 3 us.
     */
    for (int look = 1; last != n && look <= 32; look++) {
        const struct hc_cell *u_watched = look % 8 == 0 ? u_cell : hc_out_cell(lane, last);
        uint64_t watched = look % 8 == 0 ? n : last;
        /* SYNC: acquire pairs with hc_finish, word; calls of a lane finish in order. */
        if (__atomic_load_n(&u_watched->word, __ATOMIC_ACQUIRE) == hc_word(watched, HC_WORD_DONE))
            break;
        if (hc_peek(port->in, true))
            (void)hc_serve(port);
        hc_pause();
    }
    if (__atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE) == hc_word(n, HC_WORD_DONE))
        return HC_OK;
    enum hc_status status = hc_await(port, last, n, port->timeout, false);
    if (status == HC_OK &&
        __atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE) != hc_word(n, HC_WORD_DONE)) {
        hc_break(port->end, HC_ERR_POISONED, "a group was answered out of order");
        status = hc_broken(port->end);
    }
    return status;
}

/* ---- posting -------------------------------------------------------------------------------- */

/*
 * Should this call go by the companion at once? Because the mode says so, because this machine
 * has one processor, or because every responder sleeps: waking one across cores costs ten switch
 * calls. A burst of such calls wakes one all the same, while they go on.
 */
HC_NODISCARD static inline bool hc_must_switch(struct hc_port *port, uint32_t mode)
{
    struct hc_end *end = port->end;
    if (mode == HC_MODE_SWITCH || !end->bounds.spinning)
        return true;
    if (port->is_nested) {
        /*
         * The thread that waits serves the call. If it handed us its core, spinning here would
         * keep it from running: hand the core back. After a burst of that, better go elsewhere.
         */
        if (!port->running.switched)
            return false;
        if (++port->burst_count < end->bounds.burst || end->os.leave_core == NULL ||
            !end->os.leave_core(end->os.context))
            return true;
        port->running.switched = false;
        return false;
    }
    /* Relaxed: a hint. If it is stale the call is taken late, or withdrawn. */
    if (HC_LIKELY(hc_untrusted_u32(&end->u_peer_board->awake) != 0)) {
        if (HC_LIKELY(port->avoid_until == 0))
            return false;
        /*
         * Awake but descheduled or busy a moment ago: do not wait in vain again so soon. Not
         * `now < avoid_until`: a suspend sets the counter back, and then that holds for hours.
         */
        if (port->avoid_until - hc_tsc() <= end->bounds.avoid)
            return true;
        port->avoid_until = 0;
        return false;
    }
    uint64_t now = hc_tsc();
    port->burst_count = now - port->burst_tsc < end->bounds.burst_gap ? port->burst_count + 1 : 1;
    port->burst_tsc = now;
    if (port->burst_count >= end->bounds.burst) {
        port->burst_count = 0;
        hc_ring_responder(port);
    }
    return true;
}

/* After a post inside somebody's wait: wake that somebody if they fell asleep over it. */
HC_ALWAYS_INLINE bool hc_rouse_waiter(struct hc_port *port)
{
    struct hc_end *end = port->end;
    if (port->running.u_cell == NULL || !hc_rouse(port->running.u_cell, port->running.n))
        return false;
    end->os.wake(end->os.context, hc_futex_of(port->running.u_cell), 1);
    return true;
}

HC_NOINLINE static void hc_post_switch(struct hc_port *port, struct hc_cell *u_cell, uint64_t n)
{
    struct hc_end *end = port->end;
    if (end->os.tell_core != NULL)
        end->os.tell_core(end->os.context, port);
    hc_post(u_cell, n, HC_WORD_SWITCH);
    /* Inside somebody's wait that somebody takes it; if nobody waits, hc_wait_slow rings. */
    if (port->is_nested)
        (void)hc_rouse_waiter(port);
    else
        hc_ring_companion(port, false);
}

/* Records the latency of a sampled call. */
HC_NOINLINE static void hc_sample(struct hc_port *port, uint32_t id, uint64_t cycles)
{
    struct hc_end *end = port->end;
    struct hc_histogram *u_histogram = hc_u_histogram(end->u_base, &end->geometry, end->side, id);
    /* Relaxed: statistics. Several threads add; the other side may scribble, and lie to readers. */
    (void)__atomic_add_fetch(&u_histogram->count, 1u, __ATOMIC_RELAXED);
#ifndef HC_ALIGNED_COPIES /* 4 bytes, and no part of a call */
    (void)__atomic_add_fetch(&u_histogram->buckets[hc_bucket_of(cycles)], 1u, __ATOMIC_RELAXED);
#endif
    if (cycles > hc_untrusted_u64(&u_histogram->max_cycles))
        hc_untrusted_store_u64(&u_histogram->max_cycles, cycles);
}

/*
 * Posts call n, hot or by the companion; true: by the companion. The first half of hc_transact,
 * for callers that wait in their own way.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_transact_post(struct hc_port *port, uint64_t n, uint32_t mode)
{
    struct hc_cell *u_cell = hc_out_cell(port->out, n);
    bool switched = hc_must_switch(port, mode);
    if (HC_UNLIKELY(switched)) {
        hc_count(&port->counters.switched, &port->u_counters->switched);
        hc_post_switch(port, u_cell, n);
        return true;
    }
    hc_count(&port->counters.hot, &port->u_counters->hot);
    if (port->is_nested) {
        hc_post(u_cell, n, 0);
        (void)hc_rouse_waiter(port);
    } else {
        hc_post_quick(u_cell, n);
    }
    return false;
}

/*
 * Posts call n and waits for its answer: the whole of a plain call between marshalling and
 * unmarshalling. HC_OK means that the cell holds an answer, whatever it says.
 */
HC_NODISCARD static inline enum hc_status hc_transact(struct hc_port *port, uint64_t n, uint32_t id,
                                                      uint32_t mode)
{
    /*
     * What may come in while this ocall is out, and not a moment longer; NULL on the host, which
     * has no such list.
     */
    port->allow = port->end->outgoing[id].allow;
    bool timed = HC_UNLIKELY(port->calls++ % HC_SAMPLE_EVERY == 0);
    uint64_t start = timed ? hc_tsc() : 0;
    bool switched = hc_transact_post(port, n, mode);
    enum hc_status status = hc_await(port, n, n, port->timeout, switched);
    port->allow = NULL;
    if (timed)
        hc_sample(port, id, hc_tsc() - start);
    return status;
}

/*
 * Posts what a batch holds back, in groups; within a group the first call last, so that a
 * responder that sees it finds the whole group.
 */
static inline void hc_batch_post(struct hc_port *port)
{
    struct hc_lane_out *lane = port->out;
    while (port->batch_from != 0 && port->batch_from != lane->tail) {
        uint64_t first = port->batch_from;
        uint64_t last = lane->tail - first > HC_GROUP ? first + HC_GROUP - 1u : lane->tail - 1u;
        port->batch_from = last + 1u;
        hc_post(hc_out_cell(lane, last), last, 0);
        for (uint64_t n = last; n-- > first;) {
            struct hc_cell *u_cell = hc_out_cell(lane, n);
            lane->behind[n & lane->mask] = (uint8_t)(last - n);
            hc_untrusted_store_u32(&u_cell->status, (uint32_t)(last - n));
            hc_post_bound(u_cell, n);
        }
    }
}

/* Makes sure that somebody runs what was posted and that nobody waits for yet. */
static inline void hc_nudge(struct hc_port *port)
{
    struct hc_end *end = port->end;
    if (port->is_nested && hc_rouse_waiter(port))
        return;
    /* Relaxed: a side has responders or has none. One that lies about it is called late. */
    if (!end->bounds.spinning || hc_untrusted_u32(&end->u_peer_board->responders) == 0) {
        hc_ring_companion(port, false);
        return;
    }
    /*
     * Ordered behind the post by its exchange (behind the whole batch by this fence, which also
     * covers BOUND calls); against the fence between a responder's last `awake` and its last look
     * at the lanes (responder_sleep): one of the two sees the other.
     */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (hc_untrusted_u32(&end->u_peer_board->awake) == 0)
        hc_ring_responder(port);
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_CALL_H */
