/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c -- tries system calls under the filter of the host process of `hotcalls run`.
 *
 * Arguments: the numbers of the table. Standard input: the numbers to try. One line "NUMBER ERRNO"
 * for each; then attempts by name, "NAME ERRNO"; then what other entries came to, "NAME SIGNAL".
 */
#define _GNU_SOURCE
#include "run_guard.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void attempt(const char *name, long result)
{
    printf("%s %d\n", name, result == -1 ? errno : 0);
    errno = 0;
}

static void in_child(const char *name, void (*act)(const int *, size_t), const int *table,
                     size_t count)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        act(table, count);
        _exit(0);
    }
    (void)waitpid(child, &status, 0);
    printf("%s %d\n", name, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    (void)fflush(stdout);
}

static void guard(const int *table, size_t count)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        run_guard_install(table, count, getppid()) != 0) {
        perror("run_guard_install");
        _exit(3);
    }
}

static void by_x32(const int *table, size_t count)
{
    guard(table, count);
    (void)syscall(0x40000000 | SYS_getpid);
}

static void by_int80(const int *table, size_t count)
{
    long number = 20; /* getpid of i386 */
    guard(table, count);
    __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
}

int main(int argc, char **argv)
{
    static int g_tried[4096];
    static int g_table[512];
    size_t count = 0;
    size_t table = 0;
    for (int i = 1; i < argc && table < 512; i++)
        g_table[table++] = atoi(argv[i]);
    while (count < 4096 && scanf("%d", &g_tried[count]) == 1)
        count++;
    in_child("x32", by_x32, g_table, table);
    in_child("int80", by_int80, g_table, table);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guard(g_table, table);
    for (size_t i = 0; i < count; i++) {
        errno = 0;
        long result = syscall(g_tried[i], -1L, -1L, -1L, -1L, -1L, -1L);
        printf("%d %d\n", g_tried[i], result == -1 ? errno : 0);
    }
    attempt("code by mmap",
            (long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    attempt("code by mprotect", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    attempt("fork by clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    attempt("namespace by clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    attempt("clone with high bits",
            syscall(SYS_clone, (1UL << 32) | CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0));
    attempt("signal to another", syscall(SYS_tgkill, 1, 1, 0));
    attempt("signal to a process", kill(1, SIGCONT));
    attempt("signal to a group", kill(-getpgrp(), SIGCONT));
    attempt("signal to everybody", kill(-1, SIGCONT));
    attempt("dumpable", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    attempt("tracer", prctl(PR_SET_PTRACER, -1L, 0, 0, 0));
    attempt("death signal", prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0));
    attempt("limits of another", syscall(SYS_prlimit64, 1, RLIMIT_CORE, NULL, NULL));
    attempt("affinity of another", syscall(SYS_sched_setaffinity, 1, 8, NULL));
    attempt("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412, "x"));
    attempt("TIOCLINUX", syscall(SYS_ioctl, 0, 0x541C, "x"));
    /* And what it has to be able to do. */
    attempt("signal to the program", kill(getppid(), SIGCONT));
    attempt("signal to itself", kill(getpid(), SIGCONT));
    attempt("asking for a process", kill(getppid(), 0));
    attempt("not dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    attempt("memory", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                           0) == MAP_FAILED
                          ? -1
                          : 0);
    attempt("clone3", syscall(SYS_clone3, NULL, 0));
    return 0;
}
