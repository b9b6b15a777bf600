/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_threads.c -- what concerns every thread of the host process at once.
 *
 * Host side.
 */
#define _GNU_SOURCE
#include "run_serve.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 1024u
#define PATIENCE_MS 1000

/* What is to be done, under the lock; the handler only reads it. */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static long g_number;
static long g_arguments[6];
static long g_error;    /* atomic: the first one */
static uint32_t g_done; /* atomic */

static void make_call(void)
{
    long result = run_plain(g_number, g_arguments);
    long none = 0;
    if (result < 0)
        (void)__atomic_compare_exchange_n(&g_error, &none, result, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED);
}

static void on_everywhere(int number)
{
    int saved = errno;
    (void)number;
    make_call();
    /* SYNC: release pairs with the acquire load in run_everywhere, done. */
    (void)__atomic_add_fetch(&g_done, 1u, __ATOMIC_RELEASE);
    errno = saved;
}

void run_threads_init(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_everywhere;
    /* What a thread blocks in is begun again: by the kernel, or by run_job.c. */
    action.sa_flags = SA_RESTART;
    (void)sigaction(RUN_EVERYWHERE, &action, NULL);
}

void run_threads_open(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, RUN_EVERYWHERE);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* Signals the threads that are not in `known` yet; how many they were, or -1. */
static int signal_others(int *known, uint32_t *count)
{
    int found = 0;
    int own = gettid();
    DIR *tasks = run_path_open_tasks();
    if (tasks == NULL)
        return -1;
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        int tid = atoi(entry->d_name);
        uint32_t i = 0;
        while (i < *count && known[i] != tid)
            i++;
        if (tid <= 0 || tid == own || i != *count || *count == THREADS_MAX)
            continue;
        known[(*count)++] = tid;
        if (syscall(SYS_tgkill, getpid(), tid, RUN_EVERYWHERE) == 0)
            found++;
    }
    (void)closedir(tasks);
    return found;
}

long run_everywhere(long number, const long arguments[6])
{
    static int g_known[THREADS_MAX];
    const struct timespec moment = {0, 1000000};
    uint32_t count = 0;
    uint32_t sent = 0;
    int found;
    (void)pthread_mutex_lock(&g_lock);
    g_number = number;
    memcpy(g_arguments, arguments, sizeof g_arguments);
    __atomic_store_n(&g_error, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&g_done, 0u, __ATOMIC_RELAXED);
    make_call();
    /* Until no thread is left that was started by one that had not been told yet. */
    while (__atomic_load_n(&g_error, __ATOMIC_RELAXED) == 0 &&
           (found = signal_others(g_known, &count)) > 0) {
        sent += (uint32_t)found;
        for (int waited = 0;
             waited < PATIENCE_MS && __atomic_load_n(&g_done, __ATOMIC_ACQUIRE) < sent; waited++)
            (void)nanosleep(&moment, NULL);
        if (__atomic_load_n(&g_done, __ATOMIC_ACQUIRE) < sent)
            run_broken("a thread of the host process could not change its identity");
    }
    long error = __atomic_load_n(&g_error, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&g_lock);
    return error;
}

void run_broken(const char *what)
{
    hc_break(g_run_end, HC_ERR_POISONED, what);
    (void)fprintf(stderr, "hotcalls run: the program is ended: %s\n", what);
    (void)kill(g_run_program, SIGKILL);
}
