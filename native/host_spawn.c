/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_spawn.c -- starts the loader so that the host's own wait() and SIGCHLD never notice.
 *
 * Untrusted side. A direct child would disturb them: whatever exit signal clone() was given,
 * exec sets it back to SIGCHLD (de_thread() in fs/exec.c; seen on Linux 6.18: wait(-1) reaped
 * it). So there are two steps, both in the host's memory until exec (CLONE_VM), both with the
 * calling thread suspended (CLONE_VFORK):
 *
 *     host thread ── step A, exit signal 0: ordinary wait() does not see it
 *                      └── step B: becomes the enclave by exec; its parent A ends at once, so
 *                          init, or the nearest subreaper, inherits it
 *
 * A shares the host's descriptor table, which is how B's pidfd gets into it. Between clone and
 * exec the steps run on a stack of their own and use nothing of libc but raw system calls: libc's
 * state is the host's, and e.g. its setuid() would change the identity of all the host's threads.
 */
#define _GNU_SOURCE
#include "host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE (64u * 1024u)
#define FIRST_FD 3

struct steps {
    const struct host_spawn *spawn;
    uint8_t *stack_b;
    int pidfd; /* of B */
    pid_t pid;
    int error; /* errno of the step that failed */
    /* Where descriptors are on their way. Here, as the stacks of the steps are small. */
    int high[HOST_SPAWN_FDS_MAX];
};

/* syscall() sets errno, which is the suspended host thread's: it restores its own afterwards. */
static long raw(long number, long a, long b, long c)
{
    return syscall(number, a, b, c, 0L, 0L);
}

/*
 * Descriptors first go just behind all final numbers: out of the way, and low enough for a host
 * with few descriptors (ulimit -n).
 */
static bool place_fds(const struct host_spawn *spawn, int *high)
{
    const int count = spawn->fd_count;
    const long behind = FIRST_FD + count;
    long log = raw(SYS_fcntl, spawn->log_fd, F_DUPFD_CLOEXEC, behind);
    if (log < 0)
        return false;
    for (int i = 0; i < count; i++) {
        high[i] = -1;
        if (spawn->fds[i] < 0)
            continue;
        high[i] = (int)raw(SYS_fcntl, spawn->fds[i], F_DUPFD_CLOEXEC, behind);
        if (high[i] < 0)
            return false;
    }
    if (raw(SYS_dup3, log, 1, 0) < 0 || raw(SYS_dup3, log, 2, 0) < 0)
        return false;
    for (int i = 0; i < count; i++)
        if (high[i] >= 0 && raw(SYS_dup3, high[i], FIRST_FD + i, 0) < 0)
            return false;
    return true;
}

static int step_b(void *argument)
{
    struct steps *steps = argument;
    const struct host_spawn *spawn = steps->spawn;
    char *const environment[] = {NULL};
    struct sigaction default_action;
    sigset_t none;

    /* No handler of the host may run in a process that shares its memory. */
    memset(&default_action, 0, sizeof default_action);
    for (int number = 1; number < 65; number++)
        if (number != SIGKILL && number != SIGSTOP)
            (void)syscall(SYS_rt_sigaction, number, &default_action, NULL, 8L);
    /* The loader's own copy has to survive the shuffle below. */
    long loader = raw(SYS_fcntl, spawn->loader_fd, F_DUPFD_CLOEXEC, FIRST_FD + spawn->fd_count);
    if (loader < 0 || !place_fds(spawn, steps->high))
        goto failed;
    if (spawn->group != 0 &&
        (raw(SYS_setgroups, 0, 0, 0) < 0 ||
         raw(SYS_setresgid, (long)spawn->group, (long)spawn->group, (long)spawn->group) < 0))
        goto failed;
    if (spawn->user != 0 &&
        raw(SYS_setresuid, (long)spawn->user, (long)spawn->user, (long)spawn->user) < 0)
        goto failed;
    memset(&none, 0, sizeof none);
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8L);
    (void)syscall(SYS_execveat, loader, "", spawn->argv, environment, AT_EMPTY_PATH);
failed:
    steps->error = errno;
    _exit(127);
}

static int step_a(void *argument)
{
    struct steps *steps = argument;
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    long pid = clone(step_b, steps->stack_b + STACK_SIZE, flags, steps, &steps->pidfd);
    if (pid < 0)
        steps->error = errno;
    steps->pid = (pid_t)pid;
    _exit(0);
}

int host_spawn(const struct host_spawn *spawn, pid_t *pid, int *pidfd)
{
    struct steps steps;
    sigset_t all, before;
    int status;
    uint8_t *stacks = mmap(NULL, (size_t)2 * STACK_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED)
        return -1;
    memset(&steps, 0, sizeof steps);
    steps.spawn = spawn;
    steps.stack_b = stacks + STACK_SIZE;
    steps.pidfd = -1;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int saved = errno;
    pid_t a = clone(step_a, stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_FILES, &steps);
    int error = a < 0 ? errno : steps.error;
    errno = saved;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (a > 0)
        while (waitpid(a, &status, __WALL) < 0 && errno == EINTR)
            ;
    (void)munmap(stacks, (size_t)2 * STACK_SIZE);
    if (error != 0) {
        if (steps.pidfd >= 0) {
            siginfo_t ended;
            /* B has ended, or is about to. Ours to reap only as init or as a subreaper. */
            while (waitid(P_PIDFD, (id_t)steps.pidfd, &ended, WEXITED | __WALL) < 0 &&
                   errno == EINTR)
                ;
            (void)close(steps.pidfd);
        }
        errno = error;
        return -1;
    }
    *pid = steps.pid;
    *pidfd = steps.pidfd;
    return 0;
}

/* struct pidfd_info of Linux 6.13, as far as it is needed; exit_code since 6.15. */
struct pidfd_info_v0 {
    uint64_t mask;
    uint64_t cgroupid;
    uint32_t ids[11];
    int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info_v0) == 64, "PIDFD_INFO_SIZE_VER0");
#define PIDFD_INFO_EXIT_BIT (UINT64_C(1) << 3)

static void note_exit_code(int code, int *signal_number, int *exit_status)
{
    if ((code & 0x7f) != 0)
        *signal_number = code & 0x7f;
    else
        *exit_status = (code >> 8) & 0xff;
}

/*
 * The exit code of a process that has ended and that init has not reaped yet: the last of the 52
 * fields of its stat. The kernel shows it to who might trace it, and a process without memory is
 * only asked for its user.
 */
static bool unreaped_exit_code(pid_t pid, int pidfd, int *code)
{
    char path[32], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    (void)close(fd);
    /* Still there: then its number is nobody else's yet, and it was its stat. */
    if (length <= 0 || (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) != 0 && errno != EPERM))
        return false;
    text[length] = '\0';
    /* Its name is in parentheses and may hold anything. */
    const char *state = strrchr(text, ')');
    const char *last = strrchr(text, ' ');
    if (state == NULL || last == NULL || last < state || state[1] != ' ' || state[2] != 'Z')
        return false;
    *code = atoi(last + 1);
    /* Zero is also what who may not know it is told. */
    return *code != 0;
}

void host_exit_info(pid_t pid, int pidfd, int patience_ms, int *signal_number, int *exit_status)
{
    struct pidfd_info_v0 info;
    siginfo_t child;
    *signal_number = 0;
    *exit_status = -1;
    memset(&child, 0, sizeof child);
    /* We are its parent only as init or as a subreaper; then this also reaps it. */
    if (waitid(P_PIDFD, (id_t)pidfd, &child, WEXITED | WNOHANG | __WALL) == 0 &&
        child.si_pid != 0) {
        if (child.si_code == CLD_EXITED)
            *exit_status = child.si_status;
        else
            *signal_number = child.si_status;
        return;
    }
    /* The kernel tells how a process ended once init has reaped it; some inits do at leisure. */
    for (int waited_ms = 0;; waited_ms++) {
        int code;
        if (unreaped_exit_code(pid, pidfd, &code)) {
            note_exit_code(code, signal_number, exit_status);
            return;
        }
        memset(&info, 0, sizeof info);
        info.mask = PIDFD_INFO_EXIT_BIT;
        /* PIDFD_GET_INFO is _IOWR(0xFF, 11, struct pidfd_info); the size is that of version 0. */
        if (ioctl(pidfd, _IOC(_IOC_READ | _IOC_WRITE, 0xFF, 11, sizeof info), &info) != 0 &&
            errno != ESRCH)
            return;
        if ((info.mask & PIDFD_INFO_EXIT_BIT) != 0) {
            note_exit_code(info.exit_code, signal_number, exit_status);
            return;
        }
        if (waited_ms >= patience_ms)
            return;
        (void)poll(NULL, 0, 1);
    }
}
