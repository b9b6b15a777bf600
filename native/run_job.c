/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_job.c -- one call from its message to its answer, tried or waited for, and how a signal of
 * the program ends it.
 *
 * Host side; the leader and the companions.
 */
#define _GNU_SOURCE
#include "run_serve.h"
#include "run_stats.h"
#include "run_trace.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* A thread that runs calls. */
struct worker {
    uint32_t interrupted; /* atomic: the call that runs is to end */
    int tid;
};

static __thread struct worker g_worker;

/* The call that a companion blocks in, by slot, under the lock: whom the watcher has to wake. */
static struct {
    struct worker *worker;
    uint32_t word;
} g_running[HC_SLOTS_MAX];
static pthread_mutex_t g_running_lock = PTHREAD_MUTEX_INITIALIZER;

uint32_t *run_interrupt_flag(void)
{
    return &g_worker.interrupted;
}

extern const char run_interruptible_begin[] __attribute__((visibility("hidden")));
extern const char run_interruptible_end[] __attribute__((visibility("hidden")));
extern const char run_interruptible_abort[] __attribute__((visibility("hidden")));

/* Between the look at the flag and the system call: as if the flag had been seen. */
static void on_interrupt(int number, siginfo_t *info, void *context)
{
    greg_t *rip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    (void)number;
    (void)info;
    if (*rip >= (greg_t)(uintptr_t)run_interruptible_begin &&
        *rip < (greg_t)(uintptr_t)run_interruptible_end)
        *rip = (greg_t)(uintptr_t)run_interruptible_abort;
}

void run_serve_init(struct hc_end *end, struct run_shared *u_shared)
{
    struct sigaction action;
    g_run_end = end;
    g_u_run_shared = u_shared;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_interrupt;
    action.sa_flags = SA_SIGINFO;
    (void)sigaction(RUN_INTERRUPT, &action, NULL);
    run_threads_init();
}

void run_worker_init(void)
{
    sigset_t set;
    g_worker.tid = gettid();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, RUN_INTERRUPT);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    run_threads_open();
}

/* SYNC: acquire pairs with put_off in shim_signal.c, interrupt. */
static bool is_interrupted(uint32_t slot, uint64_t n)
{
    return __atomic_load_n(&g_u_run_shared->interrupt[slot], __ATOMIC_ACQUIRE) ==
           run_interrupt_of(n);
}

/* From here on the watcher can end what this thread blocks in. */
static void watch_begin(uint32_t slot, uint64_t n)
{
    __atomic_store_n(&g_worker.interrupted, 0u, __ATOMIC_RELAXED);
    (void)pthread_mutex_lock(&g_running_lock);
    g_running[slot].worker = &g_worker;
    g_running[slot].word = run_interrupt_of(n);
    (void)pthread_mutex_unlock(&g_running_lock);
    if (is_interrupted(slot, n))
        __atomic_store_n(&g_worker.interrupted, 1u, __ATOMIC_RELAXED);
}

static void watch_end(uint32_t slot)
{
    (void)pthread_mutex_lock(&g_running_lock);
    g_running[slot].worker = NULL;
    (void)pthread_mutex_unlock(&g_running_lock);
    __atomic_store_n(&g_worker.interrupted, 0u, __ATOMIC_RELAXED);
}

void *run_watcher_main(void *argument)
{
    (void)argument;
    run_threads_open();
    for (;;) {
        /* SYNC: acquire pairs with put_off in shim_signal.c, interrupt_bell. */
        uint32_t seen = __atomic_load_n(&g_u_run_shared->interrupt_bell, __ATOMIC_ACQUIRE);
        for (uint32_t slot = 0; slot < g_run_end->geometry.slot_count; slot++) {
            uint32_t word = __atomic_load_n(&g_u_run_shared->interrupt[slot], __ATOMIC_ACQUIRE);
            if (word == 0)
                continue;
            (void)pthread_mutex_lock(&g_running_lock);
            struct worker *worker = g_running[slot].worker;
            /* Once for each call, or a new signal would disturb the next one. */
            if (worker != NULL && g_running[slot].word == word &&
                __atomic_exchange_n(&worker->interrupted, 1u, __ATOMIC_RELEASE) == 0)
                (void)syscall(SYS_tgkill, getpid(), worker->tid, RUN_INTERRUPT);
            (void)pthread_mutex_unlock(&g_running_lock);
        }
        endpoint_sleep(NULL, &g_u_run_shared->interrupt_bell, seen, 0);
    }
    return NULL;
}

/* ---- a job ------------------------------------------------------------------------------------- */

uint64_t g_run_parked;

static void answer(struct run_job *job, enum hc_status status, long result)
{
    struct hc_cell *u_cell = job->taking.u_cell;
    /* Before the answer: afterwards the window is the program's again. */
    if (status == HC_OK) {
        run_stats_count(&job->call, result, job->started);
        if (HC_UNLIKELY(run_trace_on()))
            run_trace_call(job->frame.port->slot->index, &job->call, result, job->started);
        /* Of the fixed part the program reads the result alone; see run_shared.h. */
        int64_t word = result;
        bool outside = run_ms_size(job->call.row->scalar_count) > HC_INLINE_SIZE;
        hc_copy_out(outside ? job->frame.u_message : u_cell->payload, &word, sizeof word);
    }
    hc_untrusted_store_u32(&u_cell->status, (uint32_t)status);
    if (job->taking.bound) {
        hc_finish_bound(u_cell, job->taking.n);
        return;
    }
    switch (hc_finish(u_cell, job->taking.n)) {
    case HC_FINISHED:
        break;
    case HC_FINISHED_WAKE:
        endpoint_wake(NULL, hc_futex_of(u_cell), 1);
        break;
    case HC_FINISHED_BROKEN:
        run_broken("the word of a call changed while it was being run");
        break;
    }
}

static void block(struct run_job *job);

bool run_job_start(struct run_job *job, uint32_t slot, struct hc_lane_in *lane, bool tries)
{
    struct hc_cell *u_cell = job->taking.u_cell;
    struct hc_frame *frame = &job->frame;
    int error = 0;
    frame->port = &g_run_end->slots[slot].port;
    frame->u_cell = u_cell;
    frame->id = hc_untrusted_u32(&u_cell->id) & ~HC_CELL_DETACHED;
    uint32_t offset = hc_untrusted_u32(&u_cell->offset);
    frame->size = hc_untrusted_u32(&u_cell->size);
    hc_copy_in(frame->payload, u_cell->payload, HC_INLINE_SIZE);
    frame->cursor = 0;
    job->lane = lane;
    job->must_block = false;
    job->started = HC_UNLIKELY(run_trace_on()) ? hc_tsc() : run_stats_start();
    job->call.progress = 0;
    job->call.row = NULL;
    enum hc_status status = HC_ERR_UNKNOWN_CALL;
    if (!hc_range_inside(offset, frame->size, lane->window_size))
        status = HC_ERR_MESSAGE;
    else if (frame->id < ROW_COUNT) {
        hc_speculation_barrier();
        frame->u_message = lane->u_window + offset;
        status = run_unpack(frame, false, &job->call, &error);
    }
    if (HC_UNLIKELY(status != HC_OK || error != 0)) {
        answer(job, status, -error);
        return true;
    }
    if (tries && run_job_try(job))
        return true;
    if (tries)
        (void)__atomic_add_fetch(&g_run_parked, 1u, __ATOMIC_RELAXED);
    else
        block(job);
    return !tries;
}

static uint32_t slot_of(const struct run_job *job)
{
    return job->frame.port->slot->index;
}

bool run_job_try(struct run_job *job)
{
    uint32_t slot = slot_of(job);
    job->call.trying = true;
    long result = run_execute(&job->call);
    if (result == RUN_MUST_BLOCK) {
        job->must_block = true;
        return false;
    }
    if (result == RUN_WOULD_BLOCK) {
        if (!is_interrupted(slot, job->taking.n))
            return false;
        result = job->call.progress != 0 ? (long)job->call.progress : -EINTR;
    }
    answer(job, HC_OK, result);
    return true;
}

static void block(struct run_job *job)
{
    uint32_t slot = slot_of(job);
    long result;
    if (HC_UNLIKELY(is_interrupted(slot, job->taking.n))) {
        /* As the kernel does it: what there is, is told; only waiting is cut short. */
        job->call.trying = true;
        result = run_execute(&job->call);
        if (result == RUN_WOULD_BLOCK)
            result = job->call.progress != 0 ? (long)job->call.progress : -EINTR;
        if (result != RUN_MUST_BLOCK) {
            answer(job, HC_OK, result);
            return;
        }
    }
    watch_begin(slot, job->taking.n);
    job->call.trying = false;
    /* Also interrupted when all our threads are told something (run_threads.c, setuid). */
    for (;;) {
        result = run_execute(&job->call);
        if (result != -EINTR || is_interrupted(slot, job->taking.n))
            break;
        /*
         * A program may take back what it asked for; then this has to wait again, not to spin.
         * SYNC: acquire pairs with run_watcher_main, interrupted; what it saw is seen below.
         */
        (void)__atomic_exchange_n(&g_worker.interrupted, 0u, __ATOMIC_ACQUIRE);
        if (is_interrupted(slot, job->taking.n))
            break;
    }
    watch_end(slot);
    answer(job, HC_OK, result);
}

/*
 * Looks whether it is time yet, instead of the leader that has lost its core: as long as the leader
 * would, since the caller's core has nothing better to do.
 */
static bool poll_for(struct run_job *job)
{
    while (!job->must_block && hc_tsc() - job->since < RUN_PARK_CYCLES) {
        if (run_job_try(job))
            return true;
        hc_pause();
    }
    return false;
}

void run_job_continue(struct run_job *job)
{
    int error = 0;
    size_t progress = job->call.progress;
    /* Names lie in memory of the thread that took the message apart: take it apart again. */
    enum hc_status status = run_unpack(&job->frame, true, &job->call, &error);
    job->call.progress = progress;
    if (HC_UNLIKELY(status != HC_OK || error != 0))
        answer(job, status, -error);
    else if (!poll_for(job)) {
        __atomic_store_n(&job->state, (uint32_t)RUN_JOB_BLOCKED, __ATOMIC_RELAXED);
        block(job);
    }
}
