/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack.c - what another process of the same user can try on an enclave.
 *
 * Started by the tests, as the same unprivileged user as the target. Plain system calls, no
 * instrumentation. Each attempt prints "NAME ERRNO", 0 when it succeeded.
 *
 *   look PID ADDRESS            every way in; reads 32 bytes at ADDRESS
 *   keep PID ADDRESS            opens /proc/PID/mem, waits for a byte, then reads and writes with it
 *   replace FROM TO             writes FROM's content over TO's, in place
 *   truncate PATH
 *   namespace N PROGRAM ...     execs PROGRAM inside N nested user namespaces of this user
 *   traced PROGRAM ...          execs PROGRAM with this process as its tracer
 *   core PROGRAM ...            execs PROGRAM and says whether it dumped core
 *   image PROGRAM ...           execs PROGRAM from sandbox_image_open()
 *   image-times COUNT PROGRAM   how long an image takes
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"

#define SECRET_SIZE 32

static void report(const char *name, long result)
{
    printf("%s %d\n", name, result < 0 ? errno : 0);
}

static int open_proc(pid_t pid, const char *name, int flags)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return open(path, flags);
}

static void try_file(pid_t pid, const char *name, int flags)
{
    char byte;
    int fd = open_proc(pid, name, flags);
    long result = fd;
    if (fd >= 0 && (flags & O_ACCMODE) == O_RDONLY && (flags & O_DIRECTORY) == 0) {
        result = read(fd, &byte, 1);
    } else if (fd >= 0 && (flags & O_DIRECTORY) != 0) {
        DIR *directory = fdopendir(fd);
        errno = 0;
        result = directory != NULL && readdir(directory) != NULL ? 0 : -1;
    }
    report(name, result);
}

static void try_link(pid_t pid, const char *name)
{
    char path[64], target[256];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    report(name, readlink(path, target, sizeof target));
}

static void try_memory(int fd, off_t address)
{
    char buffer[SECRET_SIZE];
    long got = pread(fd, buffer, sizeof buffer, address);
    report("mem-read", got == SECRET_SIZE ? 0 : -1);
    if (got == SECRET_SIZE) {
        printf("content %.*s\n", SECRET_SIZE, buffer);
    }
    report("mem-write", pwrite(fd, "X", 1, address) == 1 ? 0 : -1);
}

static int look(pid_t pid, unsigned long address)
{
    static const char *const files[] = {"maps",    "smaps",       "environ", "auxv", "pagemap",
                                        "syscall", "personality", "stack",   "io",   "numa_maps",
                                        "wchan",   "mountstats",  "timers"};
    static const char *const links[] = {"cwd", "exe", "root", "fd/1", "ns/user", "ns/mnt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        try_file(pid, files[i], O_RDONLY);
    }
    try_file(pid, "fd", O_RDONLY | O_DIRECTORY);
    try_file(pid, "fdinfo", O_RDONLY | O_DIRECTORY);
    try_file(pid, "map_files", O_RDONLY | O_DIRECTORY);
    try_file(pid, "clear_refs", O_WRONLY);
    try_file(pid, "coredump_filter", O_WRONLY);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        try_link(pid, links[i]);
    }
    int memory = open_proc(pid, "mem", O_RDWR);
    report("mem", memory);
    if (memory >= 0) {
        try_memory(memory, (off_t)address);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    report("pidfd_getfd", syscall(SYS_pidfd_getfd, pidfd, 1, 0));
    char buffer[SECRET_SIZE];
    struct iovec here = {buffer, 1}, there = {(void *)address, 1};
    report("process_vm_readv", process_vm_readv(pid, &here, 1, &there, 1, 0));
    report("process_vm_writev", process_vm_writev(pid, &here, 1, &there, 1, 0));
    report("process_madvise", syscall(SYS_process_madvise, pidfd, &there, 1, MADV_COLD, 0));
    report("kcmp", syscall(SYS_kcmp, getpid(), pid, KCMP_VM, 0, 0));
    void *head;
    size_t length;
    report("get_robust_list", syscall(SYS_get_robust_list, pid, &head, &length));
    report("move_pages", syscall(SYS_move_pages, pid, 0, NULL, NULL, NULL, 0));
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE,
                                    .size = sizeof event,
                                    .config = PERF_COUNT_SW_TASK_CLOCK,
                                    .exclude_kernel = 1};
    report("perf_event_open", syscall(SYS_perf_event_open, &event, pid, -1, -1, 0));
    struct rlimit core = {RLIM_INFINITY, RLIM_INFINITY};
    report("prlimit-core", prlimit(pid, RLIMIT_CORE, &core, NULL));
    report("setns", setns(pidfd, CLONE_NEWUSER));
    report("ptrace-seize", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
    if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0) {
        (void)waitpid(pid, NULL, __WALL);
        (void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
    }
    report("ptrace-attach", ptrace(PTRACE_ATTACH, pid, NULL, NULL));
    return 0;
}

static int keep(pid_t pid, unsigned long address)
{
    char byte;
    int memory = open_proc(pid, "mem", O_RDWR);
    report("mem", memory);
    (void)fflush(stdout);
    (void)!read(0, &byte, 1);
    if (memory >= 0) {
        try_memory(memory, (off_t)address);
    }
    return 0;
}

static int replace(const char *from, const char *to)
{
    static char content[4 << 20];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY);
    ssize_t size = read(in, content, sizeof content);
    report("replace",
           out >= 0 && size > 0 && pwrite(out, content, (size_t)size, 0) == size ? 0 : -1);
    return 0;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    long done = fd >= 0 ? write(fd, text, strlen(text)) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    return done == (long)strlen(text) ? 0 : -1;
}

static int in_namespace(int levels, char **argv)
{
    for (int level = 0; level < levels; level++) {
        char map[64];
        char groups[64];
        (void)snprintf(map, sizeof map, "0 %u 1", (unsigned)getuid());
        (void)snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getgid());
        /* The group too: without it, a namespace cannot be nested in this one. */
        if (unshare(CLONE_NEWUSER) != 0 || write_file("/proc/self/uid_map", map) != 0 ||
            write_file("/proc/self/setgroups", "deny") != 0 ||
            write_file("/proc/self/gid_map", groups) != 0) {
            report("unshare", -1);
            return 1;
        }
    }
    (void)execv(argv[0], argv);
    report("exec", -1);
    return 1;
}

static int from_image(char **argv)
{
    struct sandbox_error error;
    char *const environment[] = {NULL};
    int fd = sandbox_image_open(argv[0], &error);
    if (fd < 0) {
        char text[512];
        printf("image failed %s\n", sandbox_error_format(&error, text, sizeof text));
        return 1;
    }
    (void)syscall(SYS_execveat, fd, "", argv, environment, AT_EMPTY_PATH);
    report("exec", -1);
    return 1;
}

static int image_times(int count, const char *path)
{
    struct timespec before, after;
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < count; i++) {
        (void)close(sandbox_image_open(path, NULL));
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    printf("us %.1f\n", ((double)(after.tv_sec - before.tv_sec) * 1e6 +
                         (double)(after.tv_nsec - before.tv_nsec) * 1e-3) /
                            count);
    return 0;
}

/* Execs a program that is traced from before its exec on, as by strace or a debugger. */
static int traced(char **argv)
{
    pid_t child = fork();
    if (child == 0) {
        (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        (void)execv(argv[0], argv);
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        int signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        (void)ptrace(PTRACE_CONT, child, NULL, (void *)(intptr_t)signal);
    }
    return 0;
}

/* Execs a program that may dump core as much as it likes, and says whether it did. */
static int core(char **argv)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_CORE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_CORE, &limit);
    pid_t child = fork();
    if (child == 0) {
        (void)execv(argv[0], argv);
        _exit(127);
    }
    int status = 0;
    (void)waitpid(child, &status, 0);
    printf("ended %d core %d\n", WTERMSIG(status), WCOREDUMP(status) != 0);
    return 0;
}

int main(int argc, char **argv)
{
    const char *word = argc > 2 ? argv[1] : "";
    if (strcmp(word, "look") == 0 && argc == 4) {
        return look(atoi(argv[2]), strtoul(argv[3], NULL, 16));
    }
    if (strcmp(word, "keep") == 0 && argc == 4) {
        return keep(atoi(argv[2]), strtoul(argv[3], NULL, 16));
    }
    if (strcmp(word, "replace") == 0 && argc == 4) {
        return replace(argv[2], argv[3]);
    }
    if (strcmp(word, "truncate") == 0) {
        report("truncate", truncate(argv[2], 0));
        return 0;
    }
    if (strcmp(word, "namespace") == 0 && argc > 3) {
        return in_namespace(atoi(argv[2]), argv + 3);
    }
    if (strcmp(word, "traced") == 0) {
        return traced(argv + 2);
    }
    if (strcmp(word, "core") == 0) {
        return core(argv + 2);
    }
    if (strcmp(word, "image") == 0) {
        return from_image(argv + 2);
    }
    if (strcmp(word, "image-times") == 0 && argc == 4) {
        return image_times(atoi(argv[2]), argv[3]);
    }
    (void)fprintf(stderr, "usage: see the head of attack.c\n");
    return 2;
}
