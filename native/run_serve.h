/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_serve.h -- calls in progress, and the threads that pass them on to each other.
 *
 * Host side; run_serve.c, run_companion.c and run_job.c only.
 */
#ifndef HOTCALLS_RUN_SERVE_H
#define HOTCALLS_RUN_SERVE_H

#include "run.h"

/* In whose hands a job is. The claim of the lane goes with it. */
enum run_job_state {
    RUN_JOB_NONE,    /* no call, or one that whoever has the claim runs at once */
    RUN_JOB_PARKED,  /* the leader tries it now and then; a companion that is rung may take it */
    RUN_JOB_HANDED,  /* it waits for its companion */
    RUN_JOB_HELD,    /* somebody is trying it */
    RUN_JOB_BLOCKED, /* its companion blocks in it */
};

/* The call of a slot. Belongs to whoever holds the claim of the slot's lane. */
struct run_job {
    uint32_t state;  /* atomic: enum run_job_state */
    uint64_t active; /* atomic, relaxed: TSC, when its last call was begun or had ended */
    struct hc_lane_in *lane;
    struct hc_taking taking;
    struct hc_frame frame;
    struct run_call call;
    uint64_t since; /* TSC: when it was parked */
    uint64_t tried;
    uint64_t started; /* when it is timed; else 0 */
    bool must_block;  /* there is no way to try it */
};

extern struct run_job g_run_jobs[HC_SLOTS_MAX];
extern struct hc_end *g_run_end;
extern struct run_shared *g_u_run_shared;

/* As long as a caller spins for its answer (shim_call.c): until then nobody has to be woken. */
#define RUN_PARK_CYCLES 200000u

/* Relaxed: statistics. */
extern uint64_t g_run_parked; /* calls that did not end at the first try */
extern uint64_t g_run_handed; /* of these, given to a companion */

/* run_job.c */

/*
 * Runs the call that `job->taking` has taken, and answers it. With `tries` it does not block: false
 * means that it would, and that the job is to be continued.
 */
bool run_job_start(struct run_job *job, uint32_t slot, struct hc_lane_in *lane, bool tries);
bool run_job_try(struct run_job *job);
/* Blocks in a job that another thread has tried. */
void run_job_continue(struct run_job *job);

/* run_companion.c */

/*
 * A job that is parked or handed on becomes the caller's, with the claim of its lane.
 * SYNC: acquire pairs with run_job_leave, state; publishes the job.
 */
static inline bool run_job_grab(struct run_job *job, enum run_job_state from)
{
    uint32_t expected = from;
    return __atomic_compare_exchange_n(&job->state, &expected, (uint32_t)RUN_JOB_HELD, false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* SYNC: release pairs with run_job_grab, state. */
static inline void run_job_leave(struct run_job *job, enum run_job_state state)
{
    __atomic_store_n(&job->state, (uint32_t)state, __ATOMIC_RELEASE);
}

/* Gives a job, with the claim of its lane, to the slot's companion. */
void run_companion_hand(uint32_t slot);
void *run_steward_main(void *argument);

#endif /* HOTCALLS_RUN_SERVE_H */
