/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_companion.c -- threads that block: one per slot, on the core where the slot's caller sleeps.
 *
 * Host side. A companion makes the switch calls of its slot, and takes over what the leader would
 * have to wait for. Being where its caller is, it is woken by the event that it waits for, and
 * wakes its caller, without another core being involved.
 */
#define _GNU_SOURCE
#include "run_serve.h"

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Three seconds. */
#define START_TRIES 3000u
#define START_PAUSE_US 1000u

static struct companion {
    uint32_t started; /* atomic: 0 no, 1 being started, 2 yes */
    pthread_t thread;
} g_companions[HC_SLOTS_MAX];

bool g_run_pinned = true;
uint64_t g_run_handed;

static struct hc_slot_control *control_of(uint32_t slot)
{
    return hc_u_slot(g_run_end->u_base, &g_run_end->geometry, slot);
}

/* Goes where the caller says that it runs. A lie costs the liar time. */
static void follow(uint32_t cpu, uint32_t *bound_to)
{
    cpu_set_t set;
    if (!g_run_pinned || cpu == *bound_to || cpu == 0 || cpu > CPU_SETSIZE)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu - 1u, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
    *bound_to = cpu;
}

static void serve(uint32_t slot)
{
    struct hc_lane_in *lane = &g_run_end->slots[slot].in[HC_LANE_FORWARD];
    struct run_job *job = &g_run_jobs[slot];
    for (uint64_t round = 0; round <= lane->mask; round++) {
        if (!hc_peek(lane, true) || !hc_claim(lane))
            return;
        enum hc_taken taken = hc_take(lane, true, &job->taking);
        if (HC_UNLIKELY(taken == HC_BROKEN))
            run_broken("a cell holds a word that is not of its lane");
        if (taken == HC_TOOK) {
            __atomic_store_n(&job->active, hc_tsc(), __ATOMIC_RELAXED);
            (void)run_job_start(job, slot, lane, false);
            __atomic_store_n(&job->active, hc_tsc(), __ATOMIC_RELAXED);
            /* By every companion. Relaxed: statistics. */
            (void)__atomic_add_fetch(&g_run_end->u_board->switched, 1u, __ATOMIC_RELAXED);
        }
        hc_unclaim(lane);
    }
}

static void *companion_main(void *argument)
{
    uint32_t slot = (uint32_t)(uintptr_t)argument;
    struct run_job *job = &g_run_jobs[slot];
    uint32_t *u_bell = &control_of(slot)->owner_bell;
    uint32_t bound_to = 0;
    (void)prctl(PR_SET_NAME, "hc-companion");
    run_worker_init();
    for (;;) {
        /* SYNC: acquire pairs with hc_ring_companion, bell; the post is visible behind it. */
        uint32_t rung = __atomic_load_n(u_bell, __ATOMIC_ACQUIRE);
        follow(hc_untrusted_u32(&control_of(slot)->owner_cpu), &bound_to);
        /* One that the leader parked and has left alone is ours too: its caller rang. */
        if (run_job_grab(job, RUN_JOB_HANDED) || run_job_grab(job, RUN_JOB_PARKED)) {
            run_job_continue(job);
            __atomic_store_n(&job->active, hc_tsc(), __ATOMIC_RELAXED);
            run_job_leave(job, RUN_JOB_NONE);
            hc_unclaim(&g_run_end->slots[slot].in[HC_LANE_FORWARD]);
        }
        serve(slot);
        if (__atomic_load_n(&job->state, __ATOMIC_RELAXED) != RUN_JOB_HANDED)
            endpoint_sleep(NULL, u_bell, rung, 0);
    }
    return NULL;
}

static bool start(uint32_t slot)
{
    struct companion *companion = &g_companions[slot];
    uint32_t no = 0;
    if (__atomic_load_n(&companion->started, __ATOMIC_ACQUIRE) == 2u)
        return true;
    if (!__atomic_compare_exchange_n(&companion->started, &no, 1u, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        return true;
    int error = endpoint_thread(&g_run_endpoint, &companion->thread, companion_main,
                                (void *)(uintptr_t)slot);
    __atomic_store_n(&companion->started, error == 0 ? 2u : 0u, __ATOMIC_RELEASE);
    errno = error;
    return error == 0;
}

/*
 * Only a companion may wait for what a call waits for. Without a thread for one the program would
 * hang, so that is its end; but a shortage may be over in a moment.
 */
static void must_start(uint32_t slot)
{
    for (uint32_t tries = 1; !start(slot); tries++) {
        if (tries == START_TRIES)
            run_fail(125,
                     "there is no thread for a call that waits: %s; raise the limit of processes "
                     "(ulimit -u) or of memory",
                     strerror(errno));
        (void)usleep(START_PAUSE_US);
    }
}

void run_companion_hand(uint32_t slot)
{
    uint32_t *u_bell = &control_of(slot)->owner_bell;
    (void)__atomic_add_fetch(&g_run_handed, 1u, __ATOMIC_RELAXED);
    run_job_leave(&g_run_jobs[slot], RUN_JOB_HANDED);
    must_start(slot);
    /* Changed, so that a companion on its way to sleep does not; the caller only ever adds. */
    (void)__atomic_add_fetch(u_bell, 0x10000u, __ATOMIC_RELEASE);
    endpoint_wake(NULL, u_bell, 1);
}

/* Starts the companions of slots that ring for the first time. */
void *run_steward_main(void *argument)
{
    uint32_t *u_attention = &g_run_end->u_board->attention;
    (void)argument;
    (void)prctl(PR_SET_NAME, "hc-steward");
    run_threads_open();
    for (;;) {
        /* SYNC: acquire pairs with hc_ring_companion, attention; the bell is set before it. */
        uint32_t seen = __atomic_load_n(u_attention, __ATOMIC_ACQUIRE);
        for (uint32_t i = 0; i < g_run_end->geometry.slot_count; i++)
            if (hc_untrusted_u32(&control_of(i)->owner_bell) != 0)
                must_start(i);
        endpoint_sleep(NULL, u_attention, seen, 0);
    }
    return NULL;
}
