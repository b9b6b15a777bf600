/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_faults.c -- fails the n-th system call of a kind while an enclave is launched.
 *
 *     launch_faults KIND        for n = 1, 2, … until a launch needs fewer calls of that kind
 *
 * A child launches under a seccomp filter that asks this process (SECCOMP_RET_USER_NOTIF) about
 * each call of the kind; this process counts those of the host (the launching threads, and the two
 * steps of host_spawn.c, which still bear its name) and fails the n-th. Nothing is preloaded or
 * traced, so the host runs as always. Each failed launch has to be a typed error that leaves no
 * descriptor, mapping, thread or process behind, and the next launch has to succeed.
 */
#define FAULT_HOST
#define CHECK_OWN_MAIN
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RUNS_MAX 200

static const struct kind {
    const char *name;
    int number;
    int error;
} g_kinds[] = {
    {"memfd_create", SYS_memfd_create, EMFILE},
    {"ftruncate", SYS_ftruncate, ENOSPC},
    {"mmap", SYS_mmap, ENOMEM},
    {"pipe2", SYS_pipe2, EMFILE},
    {"pidfd_open", SYS_pidfd_open, EMFILE},
    {"fcntl", SYS_fcntl, EMFILE},
    {"dup3", SYS_dup3, EMFILE},
    {"openat", SYS_openat, EMFILE},
    {"read", SYS_read, EIO},
    {"write", SYS_write, ENOSPC},
    {"clone", SYS_clone, EAGAIN},
    {"clone3", SYS_clone3, EAGAIN},
    {"execveat", SYS_execveat, ENOEXEC},
    {"mprotect", SYS_mprotect, ENOMEM},
    {"madvise", SYS_madvise, EINVAL},
};

/* What the child tells: shared memory, as it may not use a call that is being failed. */
struct report {
    uint32_t listener; /* the number of its listener + 1 */
    uint32_t armed;    /* the launch that is to fail is under way */
    uint32_t done;     /* 1: see below; anything else is a failure */
    uint32_t status;   /* of the launch */
    uint32_t triggered;
    char text[sizeof(((struct hc_error *)0)->text)];
};
static struct report *g_report;

static int install(int number)
{
    const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof code / sizeof code[0],
                                       (struct sock_filter *)(uintptr_t)code};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

/* The child: one launch under the filter, with a look at what is left, then one that must work. */
static int launch_and_look(const struct kind *kind)
{
    struct hc_launch_options options;
    struct hc_error error;
    hc_enclave *enclave;
    fault_options(&options);
    /* What is left behind becomes our child, and is seen by wait. */
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    /* One launch before: thread stacks are cached, locks of libc are made. */
    CHECK_EQ(hc_launch(&options, &enclave, &error), HC_OK);
    hc_close(enclave);
    uint32_t fds = fault_entries("/proc/self/fd"), maps = fault_lines("/proc/self/maps", "");
    CHECK_EQ(fault_entries("/proc/self/task"), 3);

    int listener = install(kind->number);
    CHECK(listener >= 0);
    __atomic_store_n(&g_report->listener, (uint32_t)listener + 1u, __ATOMIC_SEQ_CST);
    __atomic_store_n(&g_report->armed, 1u, __ATOMIC_SEQ_CST);
    enum hc_status status = hc_launch(&options, &enclave, &error);
    __atomic_store_n(&g_report->armed, 0u, __ATOMIC_SEQ_CST);
    g_report->status = (uint32_t)status;
    (void)snprintf(g_report->text, sizeof g_report->text, "%s", error.text);
    if (status == HC_OK) {
        fault_ping(enclave);
        hc_close(enclave);
    } else {
        CHECK(error.text[0] != '\0');
        CHECK(enclave == NULL);
    }
    uint32_t tasks = 0;
    for (int i = 0; i < 100 && (tasks = fault_entries("/proc/self/task")) != 3; i++)
        fault_sleep_ms(2);
    CHECK_EQ(tasks, 3);
    CHECK_EQ(fault_entries("/proc/self/fd"), fds + 1u);     /* the listener */
    CHECK(fault_lines("/proc/self/maps", "") <= maps + 1u); /* what read the maps */
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ(hc_launch(&options, &enclave, &error), HC_OK);
    fault_ping(enclave);
    hc_close(enclave);
    __atomic_store_n(&g_report->done, 1u, __ATOMIC_SEQ_CST);
    return 0;
}

/* Is this a call of the host's, not of a loader that inherited the filter? */
static bool is_host(uint32_t pid)
{
    char path[64], comm[32] = "";
    (void)snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fgets(comm, sizeof comm, file) == NULL)
        comm[0] = '\0';
    (void)fclose(file);
    return strncmp(comm, "launch_faults", 13) == 0;
}

/* Answers the child's calls until it ends; fails the n-th. */
static void supervise(int listener, uint32_t n, int number)
{
    struct seccomp_notif request;
    struct seccomp_notif_resp answer;
    uint32_t seen = 0;
    for (;;) {
        struct pollfd poll_fd = {listener, POLLIN, 0};
        if (poll(&poll_fd, 1, 30000) <= 0 || (poll_fd.revents & POLLIN) == 0)
            return;
        memset(&request, 0, sizeof request);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0)
            continue;
        memset(&answer, 0, sizeof answer);
        answer.id = request.id;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if (__atomic_load_n(&g_report->armed, __ATOMIC_SEQ_CST) != 0 && is_host(request.pid) &&
            ++seen == n) {
            answer.flags = 0;
            answer.error = -number;
            g_report->triggered = 1;
        }
        (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

/* False once n is more than a launch makes. */
static bool fail_nth(const struct kind *kind, uint32_t n)
{
    memset(g_report, 0, sizeof *g_report);
    (void)fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        exit(launch_and_look(kind));
    uint32_t listener = 0;
    int status = 0;
    while ((listener = __atomic_load_n(&g_report->listener, __ATOMIC_SEQ_CST)) == 0) {
        CHECK_EQ(waitpid(child, &status, WNOHANG), 0);
        fault_sleep_ms(1);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    int ours = (int)syscall(SYS_pidfd_getfd, pidfd, (int)listener - 1, 0);
    CHECK(pidfd >= 0 && ours >= 0);
    supervise(ours, n, kind->error);
    (void)close(ours);
    (void)close(pidfd);
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || g_report->done != 1u) {
        (void)fprintf(stderr, "%s, the %u. call: child ended with %x; launch: %u, %s\n", kind->name,
                      n, (unsigned)status, g_report->status, g_report->text);
        exit(1);
    }
    if (g_report->triggered != 0)
        (void)printf("%s %u: %s\n", kind->name, n,
                     g_report->status == HC_OK ? "did without" : g_report->text);
    return g_report->triggered != 0;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    g_report =
        mmap(NULL, sizeof *g_report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_report != MAP_FAILED);
    for (size_t i = 0; i < sizeof g_kinds / sizeof g_kinds[0]; i++) {
        if (strcmp(g_kinds[i].name, argv[1]) != 0)
            continue;
        uint32_t n = 1;
        while (n < RUNS_MAX && fail_nth(&g_kinds[i], n))
            n++;
        (void)printf("failed=%u\n", n - 1u);
        return n < RUNS_MAX ? 0 : 1;
    }
    return 2;
}
