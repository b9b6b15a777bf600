/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that tries to use its host process against the host. Every line of its output is an
 * attempt and what came of it; "reached" is what must not be there.
 */
#include "say.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

static void attempt(const char *what, long result)
{
    if (result == -1)
        printf("%s: %s\n", what, strerrorname_np(errno));
    else
        printf("%s: reached\n", what);
    errno = 0;
}

/* From the text that everybody may read about a process: the host is our parent. */
static long field_of(const char *file, const char *name)
{
    static char text[8192];
    int fd = open(file, O_RDONLY);
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    text[size > 0 ? size : 0] = '\0';
    char *at = strstr(text, name);
    return at != NULL ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Something else than our own standard error, to which the host says what it has to say. */
static int reaches(const char *path)
{
    struct stat found, own;
    int fd = open(path, O_RDWR);
    if (fd < 0)
        return 0;
    int other = fstat(fd, &found) != 0 || fstat(STDERR_FILENO, &own) != 0 ||
                found.st_dev != own.st_dev || found.st_ino != own.st_ino;
    (void)close(fd);
    return other;
}

static int limit_of_descriptors(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (int)limit.rlim_max : -1;
}

static void names(long host)
{
    /* Not exe, cwd and root: they lead to files that have names of their own, and are judged by. */
    static const char *const files[] = {"mem",  "maps",      "environ", "fd",
                                        "stat", "map_files", "task"};
    char path[256], target[256];
    attempt("/proc/self/mem", open("/proc/self/mem", O_RDWR));
    attempt("/proc/thread-self/mem", open("/proc/thread-self/mem", O_RDWR));
    attempt("/proc/self/task/../mem", open("/proc/self/task/../mem", O_RDWR));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "/proc/%ld/%s", host, files[i]);
        snprintf(target, sizeof target, "host %s", files[i]);
        attempt(target, open(path, O_RDONLY));
    }
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/mem", host, host);
    attempt("host thread mem", open(path, O_RDONLY));
    snprintf(path, sizeof path, "/proc/1/../%ld/mem", host);
    attempt("host by way of another", open(path, O_RDONLY));
    snprintf(path, sizeof path, "/proc/%ld/mem", host);
    (void)unlink("link");
    (void)symlink(path, "link");
    attempt("link to host mem", open("link", O_RDWR));
    (void)unlink("link");
    (void)symlink("/proc/self/mem", "link");
    attempt("link to self mem", open("link", O_RDWR));
    (void)unlink("link");
    (void)symlink("/proc/self", "link");
    attempt("directory link to self", open("link/mem", O_RDWR));
    attempt("directory link to self environ", open("link/environ", O_RDONLY));
    int proc = open("/proc", O_RDONLY | O_DIRECTORY);
    attempt("relative to /proc", openat(proc, "self/mem", O_RDWR));
    attempt("relative to /proc, environ", openat(proc, "self/environ", O_RDONLY));
    if (chdir("/proc") == 0) {
        attempt("from /proc", open("self/environ", O_RDONLY));
        ssize_t size = readlink("self/exe", target, sizeof target - 1);
        target[size > 0 ? size : 0] = '\0';
        printf("exe seen from /proc: %s\n",
               strstr(target, "hotcalls-run") != NULL ? "reached" : "not the host's");
        attempt("into self", chdir("self"));
        attempt("then mem", open("mem", O_RDWR));
    }
    /* The host's own begin where ours end. */
    int top = limit_of_descriptors();
    for (int fd = 1000; fd < top + 64; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (reaches(path))
            printf("descriptor %d by name: reached\n", fd);
        snprintf(path, sizeof path, "/dev/fd/%d", fd);
        if (reaches(path))
            printf("descriptor %d by /dev/fd: reached\n", fd);
        if (fd == 1100)
            fd = top - 72;
    }
}

static void descriptors(void)
{
    int pair[2], set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    int top = limit_of_descriptors();
    (void)socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    for (int fd = top - 100; fd < top + 4600; fd++) {
        char name[64];
        snprintf(name, sizeof name, "descriptor %d", fd);
        if (fcntl(fd, F_GETFD) != -1)
            attempt(name, 0);
        if (write(fd, "", 0) != -1 || dup(fd) != -1 ||
            epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0)
            attempt(name, 0);
        if (close(fd) != -1)
            attempt(name, 0);
        struct pollfd polled = {fd, POLLIN, 0};
        if (poll(&polled, 1, 0) != 1 || polled.revents != POLLNVAL)
            attempt(name, 0);
    }
    for (int fd = top; fd < top + 64; fd++)
        if (dup2(0, fd) != -1 || fcntl(0, F_DUPFD, fd) != -1)
            printf("duplicate on %d: reached\n", fd);
    char control[CMSG_SPACE(sizeof(int))], byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    for (int fd = top - 72; fd < top + 64; fd++) {
        memcpy(CMSG_DATA(head), &fd, sizeof fd);
        if (sendmsg(pair[0], &message, 0) != -1)
            printf("sending %d: reached\n", fd);
    }
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    printf("limit of descriptors: %s\n", limit.rlim_max > (rlim_t)top ? "reached" : "held");
    (void)close_range(1000, ~0u, 0);
    printf("descriptors tried\n");
}

static void processes(long host)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)4096, 1};
    attempt("ptrace", ptrace(PTRACE_ATTACH, (pid_t)host, NULL, NULL));
    attempt("process_vm_readv", process_vm_readv((pid_t)host, &here, 1, &there, 1, 0));
    attempt("process_vm_writev", process_vm_writev((pid_t)host, &here, 1, &there, 1, 0));
    attempt("pidfd_open", syscall(SYS_pidfd_open, host, 0));
    attempt("pidfd_getfd", syscall(SYS_pidfd_getfd, 0, 3, 0));
    attempt("kill host", kill((pid_t)host, SIGTERM));
    attempt("kill host, nothing", kill((pid_t)host, 0));
    attempt("kill everybody", kill(-1, 0));
    attempt("kill group", kill(-getpgrp(), SIGCONT));
    attempt("tgkill host", syscall(SYS_tgkill, host, host, SIGTERM));
    attempt("sigqueue host", syscall(SYS_rt_sigqueueinfo, host, SIGTERM, NULL));
    attempt("prlimit host", syscall(SYS_prlimit64, host, RLIMIT_AS, NULL, &(struct rlimit){0, 0}));
    attempt("setpriority host", setpriority(PRIO_PROCESS, (id_t)host, 19));
    attempt("affinity host", syscall(SYS_sched_setaffinity, host, 8, &(uint64_t){1}));
    attempt("fork", syscall(SYS_fork));
    attempt("vfork", syscall(SYS_vfork));
    attempt("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    attempt("clone of a namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    attempt("clone3", syscall(SYS_clone3, NULL, 0));
    char *const arguments[] = {"true", NULL};
    attempt("execve", execve("/bin/true", arguments, NULL));
    attempt("execveat", syscall(SYS_execveat, 0, "/bin/true", arguments, NULL, 0));
    attempt("system", system("true") == 0 ? 0 : -1);
    attempt("unshare", unshare(CLONE_NEWUSER));
    attempt("setns", setns(0, 0));
    attempt("mount", mount("none", "/mnt", "tmpfs", 0, NULL));
    attempt("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
    attempt("bpf", syscall(SYS_bpf, 0, NULL, 0));
    attempt("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
    attempt("userfaultfd", syscall(SYS_userfaultfd, 0));
    attempt("seccomp", prctl(PR_SET_SECCOMP, 1, 0, 0, 0));
    attempt("no dumps to be had",
            prctl(PR_SET_DUMPABLE, 1) == 0 && field_of("/proc/self/status", "Dumpable:") == 1 ? 0
                                                                                              : -1);
    attempt("shmget", syscall(SYS_shmget, 0, 4096, 01600));
    attempt("keyctl", syscall(SYS_keyctl, 0, 0, 0));
    attempt("open_by_handle_at", syscall(SYS_open_by_handle_at, 0, NULL, 0));
    attempt("iopl", syscall(SYS_iopl, 3));
    attempt("modify_ldt", syscall(SYS_modify_ldt, 0, NULL, 0));
    attempt("process_madvise", syscall(SYS_process_madvise, 0, NULL, 0, 0, 0));
    attempt("push into the terminal", syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
    int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    (void)ftruncate(file, 4096);
    attempt("writable shared mapping",
            mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED ? -1 : 0);
}

/* Options whose value is an address, or that make descriptors: the kernel would look in the host. */
static void options(void)
{
    static uint8_t value[256];
    socklen_t size = sizeof value;
    int ends[2];
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    (void)socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    attempt("TCP_ZEROCOPY_RECEIVE", getsockopt(tcp, 6, 35, value, &size));
    attempt("SO_ATTACH_FILTER", setsockopt(tcp, SOL_SOCKET, 26, value, 16));
    attempt("SO_ATTACH_REUSEPORT_CBPF", setsockopt(tcp, SOL_SOCKET, 51, value, 16));
    attempt("SO_PEERPIDFD", getsockopt(ends[0], SOL_SOCKET, 77, value, &size));
    attempt("IPT_SO_SET_REPLACE", setsockopt(tcp, 0, 64, value, sizeof value));
    attempt("MPTCP_FULL_INFO", getsockopt(tcp, 284, 4, value, &size));
    int on = 1;
    if (setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(tcp, 6, 1 /* TCP_NODELAY */, &on, sizeof on) != 0)
        printf("ordinary options: %s\n", strerrorname_np(errno));
    else
        printf("ordinary options: fine\n");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    long host = field_of("/proc/self/status", "PPid:");
    printf("host %s\n", host > 1 ? "known" : "unknown");
    names(host);
    descriptors();
    processes(host);
    options();
    return 0;
}
