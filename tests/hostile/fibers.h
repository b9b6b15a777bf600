/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fibers.h -- the threads of an endpoint, as fibers that change where the test can say.
 *
 * Forced in before everything else, in place of steps.h (gcc -include). What the code asks of the
 * system to start threads, to sleep and to yield comes to fiber_scheduler.h; nothing of the code is
 * copied or changed. All fibers share one thread, and the next one goes on where the code looks at
 * the clock, sleeps or yields, and nowhere else: so each run takes the same steps in the same order.
 * What is a thread's own lies in one section, which is exchanged with the fiber.
 */
#ifndef HOTCALLS_TESTS_FIBERS_H
#define HOTCALLS_TESTS_FIBERS_H

#include "steps.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int fiber_start(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *),
                void *argument);
/* ETIMEDOUT when the fiber has not ended after a while. */
int fiber_join(pthread_t thread, void **result, const struct timespec *until);
/* futex is the only one that is made. */
long fiber_syscall(long number, ...);
int fiber_yield(void);
int fiber_cpu(void);
/* Has the process that the descriptor stands for ended? */
int fiber_poll(struct pollfd *polled, nfds_t count, int timeout_ms);
/* Written to what announces answered calls. */
ssize_t fiber_announce(int descriptor, const void *data, size_t size);
/* The process of this fiber ends. */
_Noreturn void fiber_exit(int status);

static inline int fiber_mask(int how, const sigset_t *set, sigset_t *before)
{
    (void)how;
    (void)set;
    (void)before;
    return 0;
}

static inline int fiber_affinity(pid_t pid, size_t size, const cpu_set_t *set)
{
    (void)pid;
    (void)size;
    (void)set;
    return 0;
}

/* How a process ended that was nobody: by itself. */
static inline int fiber_ended(siginfo_t *child)
{
    child->si_pid = 1;
    child->si_code = CLD_EXITED;
    child->si_status = 0;
    return 0;
}

#define pthread_create fiber_start
#define pthread_timedjoin_np fiber_join
#define pthread_sigmask fiber_mask
#define sched_yield fiber_yield
#define sched_getcpu fiber_cpu
#define sched_setaffinity fiber_affinity
#define syscall fiber_syscall
#define prctl(...) 0
#define poll(polled, count, timeout_ms) fiber_poll(polled, count, timeout_ms)
#define write(descriptor, data, size) fiber_announce(descriptor, data, size)
#define waitid(type, id, child, options) fiber_ended(child)
#define _exit fiber_exit
#define __thread __attribute__((section("fiber_own")))

#endif /* HOTCALLS_TESTS_FIBERS_H */
