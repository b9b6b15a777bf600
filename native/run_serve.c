/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_serve.c -- who runs a call, and how a signal of the program ends it.
 *
 * Host side.
 */
#define _GNU_SOURCE
#include "run.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* Ours alone: no program runs in this process. */
#define INTERRUPT (SIGRTMIN + 3)

/* A thread that runs calls. */
struct worker {
    uint32_t interrupted; /* atomic: the call that runs is to end */
    int tid;
};

static __thread struct worker g_worker;

/* The call that runs in each slot, under the lock: whom the watcher has to wake. */
static struct {
    struct worker *worker;
    uint32_t word;
} g_running[HC_SLOTS_MAX];
static pthread_mutex_t g_running_lock = PTHREAD_MUTEX_INITIALIZER;

static struct hc_end *g_end;
static struct run_shared *g_u_shared;

uint32_t *run_interrupt_flag(void)
{
    return &g_worker.interrupted;
}

bool run_interrupted(void)
{
    return __atomic_load_n(&g_worker.interrupted, __ATOMIC_ACQUIRE) != 0;
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
    g_end = end;
    g_u_shared = u_shared;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_interrupt;
    action.sa_flags = SA_SIGINFO;
    (void)sigaction(INTERRUPT, &action, NULL);
}

static void become_worker(void)
{
    sigset_t set;
    g_worker.tid = gettid();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, INTERRUPT);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void begin(uint32_t slot, uint64_t n)
{
    uint32_t word = run_interrupt_of(n);
    if (g_worker.tid == 0)
        become_worker();
    __atomic_store_n(&g_worker.interrupted, 0u, __ATOMIC_RELAXED);
    (void)pthread_mutex_lock(&g_running_lock);
    g_running[slot].worker = &g_worker;
    g_running[slot].word = word;
    (void)pthread_mutex_unlock(&g_running_lock);
    /* SYNC: acquire pairs with put_off in shim_signal.c, interrupt. It came before the call did. */
    if (__atomic_load_n(&g_u_shared->interrupt[slot], __ATOMIC_ACQUIRE) == word)
        __atomic_store_n(&g_worker.interrupted, 1u, __ATOMIC_RELAXED);
}

static void end(uint32_t slot)
{
    (void)pthread_mutex_lock(&g_running_lock);
    g_running[slot].worker = NULL;
    (void)pthread_mutex_unlock(&g_running_lock);
}

void *run_watcher_main(void *argument)
{
    (void)argument;
    for (;;) {
        /* SYNC: acquire pairs with put_off in shim_signal.c, interrupt_bell. */
        uint32_t seen = __atomic_load_n(&g_u_shared->interrupt_bell, __ATOMIC_ACQUIRE);
        for (uint32_t slot = 0; slot < g_end->geometry.slot_count; slot++) {
            uint32_t word = __atomic_load_n(&g_u_shared->interrupt[slot], __ATOMIC_ACQUIRE);
            if (word == 0)
                continue;
            (void)pthread_mutex_lock(&g_running_lock);
            struct worker *worker = g_running[slot].worker;
            /* Once for each call, or a new signal would disturb the next one. */
            if (worker != NULL && g_running[slot].word == word &&
                __atomic_exchange_n(&worker->interrupted, 1u, __ATOMIC_RELEASE) == 0)
                (void)syscall(SYS_tgkill, getpid(), worker->tid, INTERRUPT);
            (void)pthread_mutex_unlock(&g_running_lock);
        }
        endpoint_sleep(NULL, &g_u_shared->interrupt_bell, seen, 0);
    }
}

enum hc_status run_bridge(struct hc_frame *frame)
{
    struct run_call call;
    int error;
    uint32_t slot = frame->port->slot->index;
    enum hc_status status = run_unpack(frame, &call, &error);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    struct run_ms answer;
    memset(&answer, 0, sizeof answer);
    if (HC_UNLIKELY(error != 0)) {
        answer.words[0] = (uint64_t)(int64_t)-error;
    } else {
        begin(slot, frame->port->running.n);
        answer.words[0] = (uint64_t)run_execute(&call);
        end(slot);
    }
    return hc_frame_close(frame, &answer, run_ms_size(call.row->scalar_count));
}
