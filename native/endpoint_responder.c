/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_responder.c -- the thread that spins on lanes and runs what is posted there.
 *
 * Either side. A responder polls the FORWARD lanes of its own share of the other side's slots.
 * Calls elsewhere that nobody took for bounds.steal (its responder is busy, or the owner of a
 * REVERSE lane is not waiting) are stolen. Idle for bounds.idle, it sleeps.
 */
#define _GNU_SOURCE
#include "endpoint.h"

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>

struct poll_list {
    uint32_t own_count;
    uint32_t other_count;
    struct hc_slot *own[HC_SLOTS_MAX];
    struct hc_slot *other[HC_SLOTS_MAX];
    uint64_t active[HC_SLOT_WORDS];
    uint32_t awake;
};

/* The lane of a slot that comes in to this side, and the port that its calls run on. */
static struct hc_lane_in *incoming_lane(struct hc_slot *slot)
{
    return &slot->in[slot->mine ? HC_LANE_REVERSE : HC_LANE_FORWARD];
}

static struct hc_port *incoming_port(struct hc_slot *slot)
{
    return slot->mine ? &slot->reverse : &slot->port;
}

/* Whose slots responder `index` polls: its own, and those of responders asleep before it. */
static bool polls(uint32_t index, uint32_t slot, uint32_t share, uint32_t awake)
{
    uint32_t home = slot % share;
    for (uint32_t i = 0; i < share && home != index && ((awake >> home) & 1u) == 0; i++)
        home = (home + 1u) % share;
    return home == index;
}

/*
 * Which slots are there to poll. Rebuilt when the other side's bitmap, or our own, changed, and
 * when a responder fell asleep or woke.
 */
static void refresh(const struct endpoint *endpoint, uint32_t index, struct poll_list *list,
                    bool force)
{
    const struct hc_end *end = &endpoint->end;
    bool changed = force;
    for (uint32_t w = 0; w < HC_SLOT_WORDS; w++) {
        /* SYNC: acquire pairs with publish_active, active; ours and theirs never overlap. */
        uint64_t theirs = __atomic_load_n(&end->u_peer_board->active[w], __ATOMIC_ACQUIRE);
        uint64_t ours = __atomic_load_n(&end->u_board->active[w], __ATOMIC_ACQUIRE);
        changed = changed || list->active[w] != (theirs | ours);
        list->active[w] = theirs | ours;
    }
    /* Relaxed: a stale view makes two responders poll a lane, or steal from nobody for a while. */
    uint32_t awake = __atomic_load_n(&endpoint->awake, __ATOMIC_RELAXED);
    changed = changed || awake != list->awake;
    list->awake = awake;
    if (!changed)
        return;
    list->own_count = list->other_count = 0;
    uint32_t share = endpoint->responder_count;
    for (uint32_t i = 0; i < end->geometry.slot_count; i++) {
        if (((list->active[i / 64u] >> (i % 64u)) & 1u) == 0)
            continue;
        struct hc_slot *slot = &end->slots[i];
        if (!slot->mine && polls(index, i, share, awake))
            list->own[list->own_count++] = slot;
        else
            list->other[list->other_count++] = slot;
    }
}

/* Has the call at the head of this lane waited for longer than bounds.steal? */
static bool overdue(const struct hc_end *end, struct hc_lane_in *lane, uint64_t now)
{
    if (!hc_peek(lane, false))
        return false;
    /* Relaxed: hints between responders; a race makes a theft early or late, never wrong. */
    uint64_t n = __atomic_load_n(&lane->next, __ATOMIC_RELAXED);
    if (__atomic_load_n(&lane->seen_n, __ATOMIC_RELAXED) != n) {
        __atomic_store_n(&lane->seen_tsc, now, __ATOMIC_RELAXED);
        __atomic_store_n(&lane->seen_n, n, __ATOMIC_RELAXED);
        return false;
    }
    return now - __atomic_load_n(&lane->seen_tsc, __ATOMIC_RELAXED) > end->bounds.steal;
}

/*
 * The lane that was served last stays claimed: claiming and giving back, two locked operations,
 * are then not part of every call. It is given back before another lane is served, so that a slow
 * call there does not keep this lane from being stolen, and at the next look at the clock without
 * work. Until then switch calls of the lane are taken here too: their companion, finding the
 * claim held, relies on it.
 */
struct kept {
    struct hc_slot *slot; /* NULL: none */
    struct hc_lane_in *lane;
    struct hc_port *port;
};

static void let_go(struct kept *kept, struct hc_thread *thread, uint64_t *served)
{
    if (kept->slot == NULL)
        return;
    kept->slot = NULL;
    thread->current = NULL;
    hc_unclaim(kept->lane);
    /* The look that hc_unclaim asks for. */
    if (hc_peek(kept->lane, true))
        (void)hc_drain(thread, kept->port, kept->lane, true, served);
}

/* Serves one of our own lanes, and keeps it. True if anything was run. */
static bool serve(struct kept *kept, struct hc_thread *thread, struct hc_slot *slot,
                  uint64_t *served)
{
    if (HC_UNLIKELY(kept->slot != slot)) {
        struct hc_lane_in *lane = incoming_lane(slot);
        if (!hc_peek(lane, false))
            return false;
        let_go(kept, thread, served);
        if (!hc_claim(lane))
            return false;
        kept->slot = slot;
        kept->lane = lane;
        kept->port = incoming_port(slot);
        kept->port->thread = thread;
        thread->current = kept->port;
    } else if (!hc_peek(kept->lane, true)) {
        return false;
    }
    return hc_drain_claimed(kept->port, kept->lane, true, HC_ROUND, served);
}

static bool steal(struct endpoint *endpoint, struct kept *kept, struct hc_thread *thread,
                  struct poll_list *list, uint64_t now, uint64_t *served)
{
    uint64_t stolen = 0;
    for (uint32_t i = 0; i < list->other_count; i++) {
        struct hc_slot *slot = list->other[i];
        struct hc_lane_in *lane = incoming_lane(slot);
        /* What comes back to a thread that waits is for that thread. Relaxed: it may be late. */
        if (slot->mine && __atomic_load_n(&slot->port.busy, __ATOMIC_RELAXED))
            continue;
        if (!overdue(&endpoint->end, lane, now))
            continue;
        /* What is stolen may be slow: see struct kept. */
        let_go(kept, thread, served);
        if (slot->mine)
            (void)hc_drain_back(thread, slot, false, false, &stolen);
        else
            (void)hc_drain(thread, &slot->port, lane, false, &stolen);
    }
    if (stolen != 0)
        (void)__atomic_add_fetch(&endpoint->end.u_board->stolen, stolen, __ATOMIC_RELAXED);
    return stolen != 0;
}

/* Does any idle lane hold a word that cannot be there? Then the peer forged it. */
static void check_words(struct endpoint *endpoint, struct hc_thread *thread, struct poll_list *list,
                        uint64_t *served)
{
    for (uint32_t i = 0; i < list->own_count; i++) {
        struct hc_lane_in *lane = incoming_lane(list->own[i]);
        if (HC_LIKELY(hc_lane_plausible(lane)) || !hc_claim(lane))
            continue;
        /* Again under the claim: without it another thread may just have moved on. */
        if (!hc_lane_plausible(lane))
            hc_break(&endpoint->end, HC_ERR_POISONED,
                     "a cell holds a word that is not of its lane");
        hc_unclaim(lane);
        /* The look that hc_unclaim asks for. */
        if (hc_peek(lane, true))
            (void)hc_drain(thread, incoming_port(list->own[i]), lane, true, served);
    }
}

/* What there is for a responder, the least first. */
enum posted {
    POSTED_NOTHING,
    POSTED_FOR_OTHERS, /* left to threads that wait, which may give up and leave it to us */
    POSTED_FOR_US,
};

static enum posted what_is_posted(const struct poll_list *list)
{
    enum posted most = POSTED_NOTHING;
    for (uint32_t i = 0; i < list->own_count; i++)
        if (hc_peek(incoming_lane(list->own[i]), false))
            return POSTED_FOR_US;
    for (uint32_t i = 0; i < list->other_count; i++) {
        struct hc_slot *slot = list->other[i];
        if (!hc_peek(incoming_lane(slot), false))
            continue;
        if (!slot->mine || !hc_is_waited_for(slot))
            return POSTED_FOR_US;
        most = POSTED_FOR_OTHERS;
    }
    return most;
}

/*
 * Sleeps until the doorbell is rung. No wake-up is lost:
 *
 *   responder:  load doorbell; awake--; FENCE; look at every lane; sleep while doorbell unchanged
 *   requester:  post (an exchange, a full fence); load awake; if 0: change the doorbell, wake
 *
 * The fence and the exchange put each side's store before its load. So either the responder's
 * look finds the post, or the requester's load finds awake == 0 and changes the doorbell, which
 * the responder's sleep then finds changed.
 *
 * A call back that is left to a thread keeps nobody awake, however long that takes; but nobody rings
 * when the thread gives up, so such a sleep is short.
 */
static void responder_sleep(struct endpoint_responder *self, struct poll_list *list)
{
    struct endpoint *endpoint = self->endpoint;
    struct hc_side_board *u_board = endpoint->end.u_board;
    /* SYNC: acquire pairs with hc_ring_responder, doorbell. */
    uint32_t rung = __atomic_load_n(&u_board->doorbell, __ATOMIC_ACQUIRE);
    (void)__atomic_and_fetch(&endpoint->awake, ~(1u << self->index), __ATOMIC_RELAXED);
    (void)__atomic_sub_fetch(&u_board->awake, 1u, __ATOMIC_SEQ_CST);
    /* Separates the store to awake from the loads of the words; pairs with hc_post, word. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (;;) {
        refresh(endpoint, self->index, list, false);
        enum posted posted = what_is_posted(list);
        if (posted == POSTED_FOR_US || __atomic_load_n(&endpoint->stopping, __ATOMIC_ACQUIRE) != 0)
            break;
        (void)__atomic_add_fetch(&u_board->sleeps, 1u, __ATOMIC_RELAXED);
        endpoint_sleep(NULL, &u_board->doorbell, rung,
                       posted == POSTED_FOR_OTHERS ? ENDPOINT_LOOK_NS : 0);
        (void)__atomic_add_fetch(&u_board->wakes, 1u, __ATOMIC_RELAXED);
        /* Relaxed: what was rung for is looked for again, by whoever calls this. */
        if (posted == POSTED_NOTHING ||
            __atomic_load_n(&u_board->doorbell, __ATOMIC_RELAXED) != rung)
            break;
    }
    (void)__atomic_add_fetch(&u_board->awake, 1u, __ATOMIC_SEQ_CST);
    (void)__atomic_or_fetch(&endpoint->awake, 1u << self->index, __ATOMIC_RELAXED);
    refresh(endpoint, self->index, list, true);
}

/*
 * A responder that spins on the core of a caller only keeps it from going on. So on waking it
 * leaves the cores where its callers say that they are (a hint that they write when they make
 * switch calls), if that leaves any.
 */
static void leave_callers(const struct endpoint *endpoint, const struct poll_list *list,
                          const cpu_set_t *everywhere, cpu_set_t *bound_to)
{
    cpu_set_t wanted = *everywhere;
    for (uint32_t i = 0; i < list->own_count; i++) {
        const struct hc_slot_control *u_control =
            hc_u_slot(endpoint->end.u_base, &endpoint->end.geometry, list->own[i]->index);
        uint32_t cpu = hc_untrusted_u32(&u_control->owner_cpu);
        if (cpu != 0 && cpu <= CPU_SETSIZE)
            CPU_CLR(cpu - 1u, &wanted);
    }
    int cpu = sched_getcpu();
    if (CPU_COUNT(&wanted) == 0)
        wanted = *everywhere;
    else if (CPU_EQUAL(bound_to, everywhere) && cpu >= 0 && CPU_ISSET((size_t)cpu, &wanted))
        return; /* in nobody's way */
    /* A system call and perhaps a migration: only when it changes anything. */
    if (!CPU_EQUAL(&wanted, bound_to) && sched_setaffinity(0, sizeof wanted, &wanted) == 0)
        *bound_to = wanted;
}

/* PAUSEs between two looks at the clock while idle. */
#define SPINS_PER_LOOK 64u

void *endpoint_responder_main(void *argument)
{
    struct endpoint_responder *self = argument;
    struct endpoint *endpoint = self->endpoint;
    struct hc_end *end = &endpoint->end;
    struct hc_thread *thread = endpoint_this_thread();
    struct poll_list list;
    struct kept kept = {NULL, NULL, NULL};
    cpu_set_t everywhere, bound_to;
    uint64_t idle_since = 0;
    uint64_t served = 0;
    uint32_t spins = 0;

    (void)prctl(PR_SET_NAME, "hc-responder");
    memset(&list, 0, sizeof list);
    (void)__atomic_add_fetch(&end->u_board->awake, 1u, __ATOMIC_SEQ_CST);
    (void)__atomic_or_fetch(&endpoint->awake, 1u << self->index, __ATOMIC_RELAXED);
    refresh(endpoint, self->index, &list, true);
    CPU_ZERO(&everywhere);
    (void)sched_getaffinity(0, sizeof everywhere, &everywhere);
    bound_to = everywhere;
    if (!end->bounds.spinning)
        responder_sleep(self, &list);
    while (__atomic_load_n(&endpoint->stopping, __ATOMIC_ACQUIRE) == 0) {
        bool busy = false;
        for (uint32_t i = 0; i < list.own_count; i++)
            busy = serve(&kept, thread, list.own[i], &served) || busy;
        if (busy) {
            idle_since = 0;
            if (++spins % SPINS_PER_LOOK != 0)
                continue;
        } else if (++spins % SPINS_PER_LOOK != 0) {
            if (end->bounds.wait_kind != HC_WAIT_PAUSE && list.own_count == 1) {
                struct hc_lane_in *lane = incoming_lane(list.own[0]);
                const uint64_t *u_word = &lane->u_cells[0].word;
                uint64_t word = __atomic_load_n(u_word, __ATOMIC_RELAXED);
                if (!hc_peek(lane, false))
                    hc_wait_on_line(end->bounds.wait_kind, u_word, word, end->bounds.nap);
            } else {
                hc_pause();
            }
            continue;
        }

        uint64_t now = hc_tsc();
        if (!busy)
            let_go(&kept, thread, &served);
        hc_untrusted_store_u64(&end->u_board->served, served);
        refresh(endpoint, self->index, &list, false);
        if (steal(endpoint, &kept, thread, &list, now, &served))
            busy = true;
        if (busy)
            continue;
        check_words(endpoint, thread, &list, &served);
        if (idle_since == 0) {
            idle_since = now;
        } else if (now - idle_since > end->bounds.idle || hc_broken(end) != HC_OK) {
            responder_sleep(self, &list);
            leave_callers(endpoint, &list, &everywhere, &bound_to);
            idle_since = 0;
        } else if (now - idle_since > end->bounds.yield) {
            leave_callers(endpoint, &list, &everywhere, &bound_to);
            endpoint_yield(NULL);
        }
    }
    let_go(&kept, thread, &served);
    (void)__atomic_sub_fetch(&end->u_board->awake, 1u, __ATOMIC_SEQ_CST);
    endpoint_leave();
    return NULL;
}
