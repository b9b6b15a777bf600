/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_partner.c -- the other end of the rows that need no enclave: a forked process that runs
 * one job at a time and sleeps in the kernel between them.
 *
 * For bench_*.c; host side; both ends trust each other. A process, not a thread: a hand-over
 * between address spaces is what an enclave costs, so that is what the kernel rows must pay.
 * It sleeps between blocks because on two CPUs anything that spins competes with the enclave's
 * responders for the other one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* How long each end spins before it sleeps: 100 us at 3 GHz, above what waking a core costs. */
#define SPIN_CYCLES 300000u

struct control {
    _Alignas(HC_CELL_STRIDE) uint32_t command; /* requester: number of the job to run */
    bench_job *job;
    uint64_t argument;
    _Alignas(HC_CELL_STRIDE) uint32_t begun;    /* partner: number of the job it has begun */
    _Alignas(HC_CELL_STRIDE) uint32_t finished; /* partner: number of the job it has finished */
};

struct bench_partner {
    pid_t pid;
    uint32_t number;
    struct control *control;
    struct bench_shared *shared;
    struct bench_pipes pipes;
};

static void futex_wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/*
 * Until *word is `expected`.
 * SYNC: pairs with announce() (the same word); what was written before it is seen after this.
 */
static void await(uint32_t *word, uint32_t expected)
{
    uint64_t until = hc_tsc() + SPIN_CYCLES;
    uint32_t seen;
    while ((seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != expected) {
        if (hc_tsc() < until)
            hc_pause();
        else
            syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
    }
}

/* SYNC: pairs with await(), the same word; publishes the job, or what the job has done. */
static void announce(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    futex_wake(word);
}

static _Noreturn void serve(struct bench_partner *p, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    for (uint32_t number = 1;; number++) {
        await(&p->control->command, number);
        announce(&p->control->begun, number);
        p->control->job(p->shared, &p->pipes, p->control->argument);
        announce(&p->control->finished, number);
    }
}

static int make_pipes(struct bench_pipes *pipes)
{
    pipes->event_post = eventfd(0, EFD_CLOEXEC);
    pipes->event_done = eventfd(0, EFD_CLOEXEC);
    if (pipes->event_post < 0 || pipes->event_done < 0)
        return -1;
    if (pipe2(pipes->pipe_post, O_CLOEXEC) != 0 || pipe2(pipes->pipe_done, O_CLOEXEC) != 0)
        return -1;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipes->unix_pair);
}

int bench_partner_create(struct bench *b)
{
    struct bench_partner *p = calloc(1, sizeof *p);
    if (!p)
        return -1;
    int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
    p->control = mmap(NULL, sizeof *p->control, protection, flags, -1, 0);
    p->shared = mmap(NULL, sizeof *p->shared, protection, flags, -1, 0);
    if (p->control == MAP_FAILED || p->shared == MAP_FAILED || make_pipes(&p->pipes) != 0) {
        free(p);
        return -1;
    }
    pid_t parent = getpid();
    p->pid = fork();
    if (p->pid < 0) {
        free(p);
        return -1;
    }
    if (p->pid == 0)
        serve(p, parent);
    b->partner = p;
    return 0;
}

void bench_partner_destroy(struct bench *b)
{
    if (!b->partner)
        return;
    kill(b->partner->pid, SIGKILL);
    while (waitpid(b->partner->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    free(b->partner);
    b->partner = NULL;
}

struct bench_shared *bench_partner_shared(struct bench *b)
{
    return b->partner->shared;
}

const struct bench_pipes *bench_partner_pipes(struct bench *b)
{
    return &b->partner->pipes;
}

pid_t bench_partner_pid(struct bench *b)
{
    return b->partner->pid;
}

int bench_partner_start(struct bench *b, bench_job *job, uint64_t argument, int cpu)
{
    struct bench_partner *p = b->partner;
    if (bench_pin(p->pid, cpu) != 0)
        return bench_skip(b, "the partner cannot be pinned to CPU %d", cpu);
    p->control->job = job;
    p->control->argument = argument;
    announce(&p->control->command, ++p->number);
    await(&p->control->begun, p->number);
    return 0;
}

void bench_partner_join(struct bench *b)
{
    await(&b->partner->control->finished, b->partner->number);
}
