/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_leftovers.c - what loading left behind that a filter does not reach.
 *
 * Who may call it: sandbox_lock(). Which side runs it: the enclave process. What it trusts: the
 * kernel's account of the own threads and children. It is no defence against code that is hostile
 * while it loads, which could have moved elsewhere long before; it keeps an enclave from being
 * served by a helper process or by the kernel without anybody having meant it.
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* PF_IO_WORKER of the kernel's sched.h: a thread that runs in the kernel only, for io_uring. */
#define TASK_FLAG_IO_WORKER 0x10ul

/* The flags of a task from its stat line: the seventh field after the name, which may contain
 * anything. 0 when the task is gone. */
static unsigned long task_flags(const char *task)
{
    char path[300], line[1024];
    (void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", task);
    if (sandbox_read_proc(path, line, sizeof line) < 0) {
        return 0;
    }
    const char *at = strrchr(line, ')');
    for (int field = 0; at != NULL && field < 7; field++) {
        at = strchr(at + 1, ' ');
    }
    return at != NULL ? strtoul(at, NULL, 10) : 0;
}

/*
 * A thread of io_uring executes what is written to a ring, without system calls: no filter is
 * asked. The ring outlives its descriptor when it is registered (Linux 5.18), and shows in no
 * mapping when it lies in ordinary memory (6.5); but its thread shows, since Linux 5.12. (Before,
 * it was one of the kernel's own.)
 */
static int check_io_threads(struct sandbox_error *error)
{
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) {
        return sandbox_fail(error, "proc", errno, SANDBOX_ADVICE_PROC, "/proc/self/task");
    }
    int result = 0;
    for (struct dirent *entry = readdir(tasks); result == 0 && entry != NULL;
         entry = readdir(tasks)) {
        if (entry->d_name[0] != '.' && (task_flags(entry->d_name) & TASK_FLAG_IO_WORKER) != 0) {
            result = sandbox_fail(error, "io-uring", 0,
                                  "End what uses io_uring before the lock-down: the kernel would "
                                  "go on working for it, unfiltered",
                                  "thread %.20s works for io_uring", entry->d_name);
        }
    }
    (void)closedir(tasks);
    return result;
}

/* Ended children are reaped on the way: after the lock nobody can. */
static int check_children(struct sandbox_error *error)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) != 0) {
            return 0; /* ECHILD */
        }
        if (info.si_pid == 0) {
            return sandbox_fail(error, "child-process", 0,
                                "Do not start processes while loading, or end them: they would "
                                "not be locked down",
                                "a child process is running");
        }
    }
}

int sandbox_check_leftovers(long threads, bool insecure_children, struct sandbox_error *error)
{
    if (threads != 1 && check_io_threads(error) != 0) {
        return -1;
    }
    return insecure_children ? 0 : check_children(error);
}
