/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_serve.c -- the leader: the one thread of this process that polls for calls and runs them.
 *
 * Host side. A call that would block is not waited for: it is parked, tried again between other
 * calls, and after RUN_PARK_CYCLES handed to the slot's companion (run_companion.c), which blocks in
 * it on the core where its caller sleeps. So polling never stops because of a call, and a server
 * whose clients answer soon never sleeps at all.
 *
 * Polling is worth its core while calls come quickly. Each buys the leader some more of it
 * (RUN_CALL_US), and it sleeps when they have become few; then calls go by the companions, at the
 * price of a switch call, until callers that have become quick ring the doorbell (shim_call.c).
 * Nothing is ever waited for across cores at a low rate: waking another core costs as much as ten
 * switch calls.
 *
 * A lane is worked on by whoever holds its claim: the leader while a call runs or is parked, else
 * the companion.
 */
#define _GNU_SOURCE
#include "run_serve.h"
#include "run_stats.h"

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A parked call is tried again so often; each time costs a system call of 500 cycles. */
#define RETRY_CYCLES 1500u
/* Once in so many microseconds the leader looks whether it is in somebody's way. */
#define PLACE_US 1000u
/*
 * Polling is paid for in advance: being woken buys the first so many microseconds, and each call
 * RUN_CALL_US more, but never beyond the second of these. Then: sleep.
 */
#define FIRST_US 300u
#define AHEAD_US 400u
/* A yield that took longer than this let somebody else run. */
#define AWAY_US 3u

/*
 * So long after an answer, or while a companion runs a call, the leader keeps its core for the
 * call that is going to follow. With every caller parked nothing can follow but an event from
 * outside, which on few processors is a client that wants the core: then it yields at once.
 */
#define EXPECT_US 8u
/* The same while a companion runs a call, which takes longer, and blocks sometimes. */
#define EXPECT_SWITCHED_US 30u

struct run_job g_run_jobs[HC_SLOTS_MAX];
struct hc_end *g_run_end;
struct run_shared *g_u_run_shared;

static uint32_t g_listed[HC_SLOTS_MAX];
static uint32_t g_listed_count;
static uint64_t g_listed_bits[HC_SLOT_WORDS];

static void refresh(void)
{
    bool changed = false;
    for (uint32_t w = 0; w < HC_SLOT_WORDS; w++) {
        /* SYNC: acquire pairs with publish_active in shim_thread.c, active. */
        uint64_t bits = __atomic_load_n(&g_run_end->u_peer_board->active[w], __ATOMIC_ACQUIRE);
        changed = changed || bits != g_listed_bits[w];
        g_listed_bits[w] = bits;
    }
    if (!changed)
        return;
    g_listed_count = 0;
    for (uint32_t i = 0; i < g_run_end->geometry.slot_count; i++)
        /* A thread that ended in the middle of a call leaves one parked. */
        if (((g_listed_bits[i / 64u] >> (i % 64u)) & 1u) != 0 ||
            __atomic_load_n(&g_run_jobs[i].state, __ATOMIC_RELAXED) == RUN_JOB_PARKED)
            g_listed[g_listed_count++] = i;
}

static struct hc_lane_in *lane_of(uint32_t slot)
{
    return &g_run_end->slots[slot].in[HC_LANE_FORWARD];
}

/* Gives the lane back, and looks once more, as hc_unclaim asks. True: there is a call. */
static bool give_back(struct hc_lane_in *lane)
{
    hc_unclaim(lane);
    return hc_peek(lane, true);
}

/*
 * Takes and runs what is posted on a lane; switch calls too if `companion`. True if anything was
 * run.
 */
static bool serve(uint32_t slot, uint64_t now, bool companion)
{
    struct hc_lane_in *lane = lane_of(slot);
    struct run_job *job = &g_run_jobs[slot];
    bool any = false;
    for (uint32_t round = 0; round <= lane->mask; round++) {
        if (!hc_peek(lane, companion) || !hc_claim(lane))
            return any;
        enum hc_taken taken = hc_take(lane, companion, &job->taking);
        if (HC_UNLIKELY(taken == HC_BROKEN))
            run_broken("a cell holds a word that is not of its lane");
        if (taken == HC_TOOK) {
            any = true;
            if (!run_job_start(job, slot, lane, true)) {
                if (job->must_block) {
                    run_companion_hand(slot);
                    return true;
                }
                job->since = job->tried = now;
                run_job_leave(job, RUN_JOB_PARKED);
                return true;
            }
        }
        if (!give_back(lane))
            return any;
        companion = true;
    }
    return any;
}

static void retry(uint32_t slot, uint64_t now)
{
    struct run_job *job = &g_run_jobs[slot];
    if (!run_job_grab(job, RUN_JOB_PARKED))
        return;
    job->tried = now;
    bool late = now - job->since > RUN_PARK_CYCLES || job->must_block;
    if (run_job_try(job)) {
        __atomic_store_n(&job->active, now, __ATOMIC_RELAXED);
        run_job_leave(job, RUN_JOB_NONE);
        /* Switch calls too: their companion, finding the claim held, relies on this look. */
        if (give_back(job->lane))
            (void)serve(slot, now, true);
    } else if (late) {
        run_companion_hand(slot);
    } else {
        run_job_leave(job, RUN_JOB_PARKED);
    }
}

/* Everything that is parked goes where it can wait. */
static void hand_all(void)
{
    for (uint32_t i = 0; i < g_listed_count; i++)
        if (run_job_grab(&g_run_jobs[g_listed[i]], RUN_JOB_PARKED))
            run_companion_hand(g_listed[i]);
}

static bool anything_posted(void)
{
    for (uint32_t i = 0; i < g_listed_count; i++)
        if (hc_peek(lane_of(g_listed[i]), true))
            return true;
    return false;
}

/*
 * Away from the cores where callers say that they are: a leader there would only keep them from
 * going on. The hint is the program's; a lie costs it time.
 */
static void leave_callers(const cpu_set_t *everywhere)
{
    cpu_set_t wanted = *everywhere;
    int here = sched_getcpu();
    bool in_the_way = false;
    for (uint32_t i = 0; i < g_listed_count; i++) {
        const struct hc_slot_control *u_control =
            hc_u_slot(g_run_end->u_base, &g_run_end->geometry, g_listed[i]);
        uint32_t cpu = hc_untrusted_u32(&u_control->owner_cpu);
        if (cpu == 0 || cpu > CPU_SETSIZE)
            continue;
        CPU_CLR(cpu - 1u, &wanted);
        in_the_way = in_the_way || (int)cpu - 1 == here;
    }
    /* With callers everywhere one place is as good as another. */
    if (in_the_way && CPU_COUNT(&wanted) != 0)
        (void)sched_setaffinity(0, sizeof wanted, &wanted);
}

/*
 * Sleeps until the doorbell is rung; no wake-up is lost:
 *
 *   leader:  load doorbell; awake = 0; FENCE; look at every lane; sleep while it is unchanged
 *   caller:  post; load awake; 0: switch call, and after a burst change the doorbell and wake
 *
 * A caller that saw `awake` a moment too long has its call not taken, and makes a switch call.
 */
static void leader_sleep(const cpu_set_t *everywhere)
{
    struct hc_side_board *u_board = g_run_end->u_board;
    hand_all();
    /* SYNC: acquire pairs with hc_ring_responder, doorbell. */
    uint32_t rung = __atomic_load_n(&u_board->doorbell, __ATOMIC_ACQUIRE);
    __atomic_store_n(&u_board->awake, 0u, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    refresh();
    if (!anything_posted()) {
        (void)__atomic_add_fetch(&u_board->sleeps, 1u, __ATOMIC_RELAXED);
        endpoint_sleep(NULL, &u_board->doorbell, rung, 0);
        (void)__atomic_add_fetch(&u_board->wakes, 1u, __ATOMIC_RELAXED);
    }
    refresh();
    leave_callers(everywhere);
    hc_untrusted_store_u64(&g_u_run_shared->beat, hc_tsc() << 1);
    __atomic_store_n(&u_board->awake, 1u, __ATOMIC_SEQ_CST);
}

/* struct sched_attr of linux/sched/types.h, which clashes with the C library's sched.h. */
struct slice {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

/*
 * Since Linux 6.6 a thread that spins keeps its core for a whole slice of 3 ms, whoever wakes up
 * meanwhile. Since 6.12 a thread may ask for shorter ones; 0.1 ms is the shortest. Older kernels
 * take no notice.
 */
static void short_slice(void)
{
    struct slice wanted = {.size = sizeof wanted, .runtime_ns = 100000};
    (void)syscall(SYS_sched_setattr, 0, &wanted, 0);
}

/*
 * Tells callers that this thread has its core: they look when they have waited for some
 * microseconds (shim_call.c). Relaxed: a hint, in a line of its own.
 */
static void beat(uint64_t now, bool busy)
{
    hc_untrusted_store_u64(&g_u_run_shared->beat, now << 1 | busy);
}

/* Is the caller of this slot likely to post a call soon? All relaxed: a guess. */
static bool expects(uint32_t slot, uint64_t now)
{
    const struct run_job *job = &g_run_jobs[slot];
    if (__atomic_load_n(&job->state, __ATOMIC_RELAXED) != RUN_JOB_NONE)
        return false;
    bool switched = __atomic_load_n(&lane_of(slot)->claim, __ATOMIC_RELAXED) != 0;
    uint64_t soon = switched ? EXPECT_SWITCHED_US : EXPECT_US;
    return now - __atomic_load_n(&job->active, __ATOMIC_RELAXED) <
           soon * g_run_end->bounds.cycles_per_us;
}

/* One look at every lane. True: it is worth staying for the next one. */
static bool look(uint64_t now, uint32_t *calls)
{
    bool stay = false;
    for (uint32_t i = 0; i < g_listed_count; i++) {
        uint32_t slot = g_listed[i];
        if (__atomic_load_n(&g_run_jobs[slot].state, __ATOMIC_RELAXED) == RUN_JOB_PARKED) {
            if (now - g_run_jobs[slot].tried > RETRY_CYCLES)
                retry(slot, now);
        } else if (hc_peek(lane_of(slot), false)) {
            beat(now, true);
            if (serve(slot, now, false))
                ++*calls;
            now = hc_tsc();
            beat(now, false);
            __atomic_store_n(&g_run_jobs[slot].active, now, __ATOMIC_RELAXED);
        }
        stay = stay || expects(slot, now);
    }
    return stay;
}

/* The calls that companions made since the last time: because the leader had lost its core. */
static uint32_t others_since(uint64_t *before)
{
    /* The program can write there, and so keep the leader awake, as it can by calling. */
    uint64_t now = hc_untrusted_u64(&g_run_end->u_board->switched);
    uint64_t made = now - *before;
    *before = now;
    return made < AHEAD_US / RUN_CALL_US ? (uint32_t)made : AHEAD_US / RUN_CALL_US;
}

void *run_leader_main(void *argument)
{
    const uint64_t us = g_run_end->bounds.cycles_per_us;
    uint64_t others = 0;
    uint64_t served = 0;
    uint64_t placed = 0;
    uint64_t until = 0;
    cpu_set_t everywhere;
    (void)argument;
    (void)prctl(PR_SET_NAME, "hc-leader");
    run_worker_init();
    run_stats_leader();
    CPU_ZERO(&everywhere);
    (void)sched_getaffinity(0, sizeof everywhere, &everywhere);
    short_slice();
    for (uint32_t spins = 0;; spins++) {
        uint64_t before = hc_tsc();
        uint32_t calls = 0;
        beat(before, false);
        bool stays = look(before, &calls);
        uint64_t now = hc_tsc();
        /* What calls took was not spent polling, nor what others did with the core meanwhile. */
        if (calls != 0)
            until += now - before;
        if (!stays) {
            before = now;
            endpoint_yield(NULL);
            now = hc_tsc();
            if (now - before > AWAY_US * us)
                until += now - before;
        }
        hc_pause();
        served += calls;
        if (now > until || spins % 64u == 0) {
            calls += others_since(&others);
            refresh();
            if (now - placed > PLACE_US * us) {
                leave_callers(&everywhere);
                placed = now;
                /* Seldom: callers read `awake`, which is in the same line. */
                hc_untrusted_store_u64(&g_run_end->u_board->served, served);
            }
        }
        if (calls != 0) {
            until = until < now ? now : until;
            until += (uint64_t)calls * RUN_CALL_US * us;
            until = until < now + AHEAD_US * us ? until : now + AHEAD_US * us;
        }
        if (now > until || hc_broken(g_run_end) != HC_OK) {
            hc_untrusted_store_u64(&g_run_end->u_board->served, served);
            leader_sleep(&everywhere);
            (void)others_since(&others);
            until = hc_tsc() + FIRST_US * us;
        }
    }
}
