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
 * A thread that leaves a call back lying for so long does not wait any more. Only the time between
 * looks counts, and each only up to so much: one that was stopped, as by a debugger, did not leave
 * it lying, and a clock that goes back says nothing.
 */
#define TORN_OUT_US 10000000u
#define LOOK_US 100000u
/* A companion looks after what it left every ENDPOINT_LOOK_NS at first, and in the end so often. */
#define LOOK_SELDOM_NS (16u * ENDPOINT_LOOK_NS)

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
 * Was the thread that a call back is left to torn out of its wait, by a longjmp? Then it never comes,
 * and for the calls back that follow it is not waited again.
 */
static bool is_torn_out(const struct endpoint *endpoint, struct endpoint_companion *self,
                        const struct hc_slot *slot)
{
    uint64_t cycles_per_us = endpoint->end.bounds.cycles_per_us;
    uint64_t n = __atomic_load_n(&slot->in[HC_LANE_REVERSE].next, __ATOMIC_RELAXED);
    uint64_t now = hc_tsc();
    if (self->left != n) {
        /* It has served others since. Relaxed: give_slot clears it, too; which one is no matter. */
        __atomic_store_n(&self->torn_out, false, __ATOMIC_RELAXED);
        self->left = n;
        self->left_for = 0;
    } else if (self->left_for != 0) {
        uint64_t since = now - self->looked;
        self->left_for += since < LOOK_US * cycles_per_us ? since : LOOK_US * cycles_per_us;
    }
    if (self->left_for == 0)
        self->left_for = 1;
    self->looked = now;
    if (self->left_for > TORN_OUT_US * cycles_per_us)
        __atomic_store_n(&self->torn_out, true, __ATOMIC_RELAXED);
    return __atomic_load_n(&self->torn_out, __ATOMIC_RELAXED);
}

/* Runs the calls back that are not left to a thread. False: some are, or to whoever has the lane. */
static bool serve_back(struct endpoint *endpoint, struct hc_slot *slot, uint64_t *served)
{
    struct endpoint_companion *self = &endpoint->companions[slot->index];
    struct hc_lane_in *lane = &slot->in[HC_LANE_REVERSE];
    bool torn_out = false;
    if (hc_is_waited_for(slot))
        torn_out = is_torn_out(endpoint, self, slot);
    else
        self->left_for = 0; /* served, or withdrawn: then another call gets the same number */
    if (!__atomic_load_n(&slot->port.busy, __ATOMIC_RELAXED))
        __atomic_store_n(&self->torn_out, false, __ATOMIC_RELAXED);
    while (hc_drain_back(endpoint_this_thread(), slot, true, torn_out, served))
        ;
    if (torn_out)
        self->left = __atomic_load_n(&lane->next, __ATOMIC_RELAXED);
    return !hc_peek(lane, true);
}

/*
 * Runs what a companion would: calls by the switch are nobody else's. False: something is left, and
 * to be looked at again soon.
 */
static bool serve_slot(struct endpoint *endpoint, struct hc_slot *slot)
{
    struct hc_thread *thread = endpoint_this_thread();
    uint64_t served = 0;
    bool done = true;
    if (slot->mine) {
        done = serve_back(endpoint, slot, &served);
    } else {
        hc_drain_orphans(thread, slot, &served);
        while (hc_drain(thread, &slot->port, &slot->in[HC_LANE_FORWARD], true, &served))
            ;
    }
    if (served != 0)
        (void)__atomic_add_fetch(&endpoint->end.u_board->switched, served, __ATOMIC_RELAXED);
    return done;
}

void *endpoint_companion_main(void *argument)
{
    struct endpoint_companion *self = argument;
    struct endpoint *endpoint = self->endpoint;
    struct hc_slot *slot = self->slot;
    uint32_t *u_cpu;
    uint32_t *u_bell = bell_of(slot, &u_cpu);
    uint64_t nap_ns = 0;
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
        /* Ever less often: a call back that runs for hours keeps what is posted behind it. */
        if (serve_slot(endpoint, slot))
            nap_ns = 0;
        else if (nap_ns < LOOK_SELDOM_NS)
            nap_ns = nap_ns == 0 ? ENDPOINT_LOOK_NS : nap_ns * 2u;
        endpoint_sleep(NULL, u_bell, rung, nap_ns);
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
        endpoint_sleep(NULL, u_attention, seen, all ? 0 : ENDPOINT_LOOK_NS);
    }
}
