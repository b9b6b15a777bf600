/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_companion.c -- the threads that make switch calls, and the steward that starts them.
 *
 * Either side. A companion serves one slot. It sleeps on the slot's bell, on the core where the
 * slot's caller runs, so that ringing it and yielding hands over that core: waking another core
 * costs ten times as much.
 */
#define _GNU_SOURCE
#include "endpoint.h"

#include <sched.h>
#include <sys/prctl.h>

/*
 * So often the steward looks after slots that it could not start a companion for, and a companion
 * after a call that it left to the thread that waits for it.
 */
#define STAND_IN_NS 1000000u
/* A thread that leaves a call back lying for so long does not wait any more. */
#define TORN_OUT_US 10000000u

static uint32_t *bell_of(struct hc_slot *slot, uint32_t **u_cpu)
{
    struct hc_slot_control *u_control =
        hc_u_slot(slot->end->u_base, &slot->end->geometry, slot->index);
    /* A slot of ours is rung by the other side for its REVERSE lane. */
    *u_cpu = slot->mine ? &u_control->peer_cpu : &u_control->owner_cpu;
    return slot->mine ? &u_control->peer_bell : &u_control->owner_bell;
}

/* Where the caller runs, as a processor + 1, so that zero, of a new region, says nothing. */
void endpoint_tell_core(void *context, struct hc_port *port)
{
    (void)context;
    int cpu = sched_getcpu();
    if (cpu >= 0)
        hc_untrusted_store_u32(port->u_cpu, (uint32_t)cpu + 1u);
}

/* A companion's own: where it may run at all, and the processor + 1 that it is bound to now. */
static __thread bool g_is_companion;
static __thread cpu_set_t g_everywhere;
static __thread uint32_t g_bound_to;

/* Goes where the caller says that it runs. A lie costs the liar time. */
static void follow(uint32_t cpu)
{
    if (cpu == g_bound_to || cpu == 0 || cpu > CPU_SETSIZE)
        return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu - 1u, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
    g_bound_to = cpu;
}

bool endpoint_leave_core(void *context)
{
    (void)context;
    if (!g_is_companion || g_bound_to == 0)
        return true;
    cpu_set_t others = g_everywhere;
    CPU_CLR(g_bound_to - 1u, &others);
    /* Bound to nothing from here on, so that the next ring brings it back. */
    g_bound_to = 0;
    return CPU_COUNT(&others) != 0 && sched_setaffinity(0, sizeof others, &others) == 0;
}

/*
 * Is what came back over a lane for a thread that waits for it, however late that gets a core? Only
 * there goes on what a function raises that it runs, and is known which functions that may call. One
 * that was torn out of its wait, by a longjmp, never comes.
 */
static bool is_waited_for(struct endpoint *endpoint, struct hc_slot *slot)
{
    struct hc_lane_in *lane = &slot->in[HC_LANE_REVERSE];
    struct endpoint_companion *self = &endpoint->companions[slot->index];
    /* Relaxed: the call was posted after the thread had become busy, and hc_peek acquires it. */
    if (!slot->mine || !hc_peek(lane, true) || !__atomic_load_n(&slot->port.busy, __ATOMIC_RELAXED))
        return false;
    uint64_t n = __atomic_load_n(&lane->next, __ATOMIC_RELAXED);
    uint64_t now = hc_tsc();
    if (self->left_since == 0 || self->left != n) {
        self->left = n;
        self->left_since = now;
    }
    return now - self->left_since < TORN_OUT_US * endpoint->end.bounds.cycles_per_us;
}

/*
 * Runs what a companion would: calls by the switch are nobody else's. False: there is one that was
 * left to the thread that waits for it.
 */
static bool serve_slot(struct endpoint *endpoint, struct hc_slot *slot)
{
    if (is_waited_for(endpoint, slot))
        return false;
    struct hc_thread *thread = endpoint_this_thread();
    struct hc_port *port = slot->mine ? &slot->reverse : &slot->port;
    struct hc_lane_in *lane = &slot->in[slot->mine ? HC_LANE_REVERSE : HC_LANE_FORWARD];
    uint64_t served = 0;
    hc_drain_orphans(thread, slot, &served);
    while (hc_drain(thread, port, lane, true, &served))
        ;
    if (served != 0)
        (void)__atomic_add_fetch(&endpoint->end.u_board->switched, served, __ATOMIC_RELAXED);
    return true;
}

void *endpoint_companion_main(void *argument)
{
    struct endpoint_companion *self = argument;
    struct endpoint *endpoint = self->endpoint;
    struct hc_slot *slot = self->slot;
    uint32_t *u_cpu;
    uint32_t *u_bell = bell_of(slot, &u_cpu);
    (void)prctl(PR_SET_NAME, "hc-companion");
    g_is_companion = sched_getaffinity(0, sizeof g_everywhere, &g_everywhere) == 0;
    for (;;) {
        /* SYNC: acquire pairs with hc_ring_companion, bell; the post is visible behind it. */
        uint32_t rung = __atomic_load_n(u_bell, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&endpoint->stopping, __ATOMIC_ACQUIRE) != 0) {
            endpoint_leave();
            return NULL;
        }
        follow(hc_untrusted_u32(u_cpu));
        bool done = serve_slot(endpoint, slot);
        endpoint_sleep(NULL, u_bell, rung, done ? 0 : STAND_IN_NS);
    }
}

/*
 * Starts the companions of slots that were rung and have none. False: the system has no thread for
 * one of them; then the steward runs their calls itself, one after another, or the callers would
 * wait for as long as that lasts.
 */
static bool start_companions(struct endpoint *endpoint)
{
    struct hc_end *end = &endpoint->end;
    bool all = true;
    for (uint32_t i = 0; i < end->geometry.slot_count; i++) {
        struct hc_slot *slot = &end->slots[i];
        uint32_t *u_cpu;
        if (slot->companion != 0 || hc_untrusted_u32(bell_of(slot, &u_cpu)) == 0)
            continue;
        struct endpoint_companion *companion = &endpoint->companions[i];
        companion->endpoint = endpoint;
        companion->slot = slot;
        if (endpoint_thread(endpoint, &companion->thread, endpoint_companion_main, companion) !=
            0) {
            (void)serve_slot(endpoint, slot);
            all = false;
            continue;
        }
        /* SYNC: release pairs with endpoint_stop, companion; publishes the thread's handle. */
        __atomic_store_n(&slot->companion, 1u, __ATOMIC_RELEASE);
        (void)__atomic_add_fetch(&end->u_board->threads, 1u, __ATOMIC_RELAXED);
    }
    return all;
}

void *endpoint_steward_main(void *argument)
{
    struct endpoint *endpoint = argument;
    (void)prctl(PR_SET_NAME, "hc-steward");
    uint32_t *u_attention = &endpoint->end.u_board->attention;
    for (;;) {
        /* SYNC: acquire pairs with hc_ring_companion, attention; the bell is set before it. */
        uint32_t seen = __atomic_load_n(u_attention, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&endpoint->stopping, __ATOMIC_ACQUIRE) != 0) {
            endpoint_leave();
            return NULL;
        }
        bool all = start_companions(endpoint);
        /* Who was given no companion rings its bell, which nobody sleeps on: looked at often. */
        endpoint_sleep(NULL, u_attention, seen, all ? 0 : STAND_IN_NS);
    }
}
