/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late.c - a thread that meets the exchange of a mapping, and is told of it when all is over.
 *
 * Started by the tests: late LIBRARY. Between the fault of a thread and its handler the kernel may
 * run others for as long as it likes. Here a tracer makes it so: the threads of the child write to
 * the library's data; each is held at its first SIGSEGV until sandbox_anonymize_mappings() has
 * returned. Prints how many were held, and exits as the child did (128 + the signal).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"

enum { THREADS = 2 };

static volatile long *g_counters;
static atomic_bool g_stop;

static void *count(void *argument)
{
    volatile long *counter = argument;
    long own = 0;
    while (!atomic_load(&g_stop)) {
        (void)__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
        own++;
    }
    return (void *)own;
}

static int child(const char *path)
{
    pthread_t threads[THREADS];
    struct sandbox_mapping_options options = {0};
    struct sandbox_error error;
    void *library = dlopen(path, RTLD_NOW);
    g_counters = library != NULL ? dlsym(library, "victim_counters") : NULL;
    if (g_counters == NULL || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        return 2;
    }
    (void)raise(SIGSTOP);
    for (int i = 0; i < THREADS; i++) {
        g_counters[i] = 0;
        (void)pthread_create(&threads[i], NULL, count, (void *)(uintptr_t)&g_counters[i]);
        while (g_counters[i] == 0) {
            (void)usleep(100);
        }
    }
    if (sandbox_anonymize_mappings(&options, NULL, &error) != 0) {
        return 3;
    }
    (void)raise(SIGSTOP);
    atomic_store(&g_stop, true);
    int status = 0;
    for (int i = 0; i < THREADS; i++) {
        void *own;
        (void)pthread_join(threads[i], &own);
        status |= (long)own != g_counters[i] ? 4 : 0;
    }
    return status;
}

static void go_on(pid_t pid, int number)
{
    (void)ptrace(PTRACE_CONT, pid, NULL, (void *)(uintptr_t)number);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 2;
    }
    pid_t first = fork();
    if (first == 0) {
        _exit(child(argv[1]));
    }
    pid_t held[THREADS];
    int held_count = 0;
    bool started = false;
    bool over = false;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        int number = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
        if (pid < 0) {
            return 2;
        }
        if (!WIFSTOPPED(status)) {
            if (pid != first) {
                continue;
            }
            (void)printf("held %d\n", held_count);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (number == SIGSEGV && pid != first && !over && held_count < THREADS) {
            held[held_count++] = pid;
        } else if (number == SIGSTOP && pid == first && !started) {
            started = true;
            (void)ptrace(PTRACE_SETOPTIONS, pid, NULL,
                         (void *)(PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL));
            go_on(pid, 0);
        } else if (number == SIGSTOP && pid == first) {
            over = true;
            for (int i = 0; i < held_count; i++) {
                go_on(held[i], SIGSEGV);
            }
            go_on(pid, 0);
        } else {
            /* A thread's first stop, and the report of its creation, are the tracer's own. */
            go_on(pid, number == SIGSTOP || number == SIGTRAP ? 0 : number);
        }
    }
}
