/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_harden.c - stage 1 of the lock-down: nobody looks in.
 *
 * Who may call it: the loader, as the first statement of main(). Which side runs it: the enclave
 * process, with one thread and before any secret. What it trusts: the kernel, root, the program
 * that exec'ed it. It defends against other processes of the same user from here on.
 *
 * Why first: the kernel checks access when /proc/PID/mem is opened, and never again. A descriptor
 * opened one instruction before PR_SET_DUMPABLE reads and writes the enclave for ever (tried on
 * Linux 6.18: tests/sandbox/test_harden.py). The gap between exec and main() is closed by the
 * launcher, with sandbox_image_open(): such a process is born not dumpable.
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <unistd.h>

extern char **environ;

/* linux/pidfd.h of Linux 6.11; older headers lack it, older kernels answer ENOTTY. */
#define PIDFD_GET_USER_NAMESPACE_IOCTL _IO(0xFF, 9)
#define LAST_SIGNAL 64

static int become_invisible(const struct sandbox_harden_options *options,
                            struct sandbox_error *error)
{
    /* Not dumpable: ptrace, /proc/PID/{mem,maps,environ,fd,...}, process_vm_readv, pidfd_getfd,
     * perf and kcmp all ask for CAP_SYS_PTRACE from now on, and no core is ever written. The value
     * is 0, not 2 ("suidsafe"), which would still feed a core to a pipe handler. */
    if (!options->insecure_debug && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return sandbox_fail(error, "dumpable", errno, SANDBOX_ADVICE_BUG, "PR_SET_DUMPABLE");
    }
    /* The hard limit too: the same user may raise the soft one from outside with prlimit(). */
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) != 0) {
        return sandbox_fail(error, "core", errno, SANDBOX_ADVICE_BUG, "RLIMIT_CORE");
    }
    /* Seccomp without privileges needs it; and nothing exec'ed could gain any. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return sandbox_fail(error, "no-new-privs", errno, "Use Linux 5.9 or newer",
                            "PR_SET_NO_NEW_PRIVS");
    }
    return 0;
}

/*
 * After PR_SET_DUMPABLE, so that nobody can attach between the question and the answer. A tracer
 * that was there before is shown by TracerPid, unless it lives outside of this PID namespace: that
 * one sees registers but, since Linux 4.10, cannot touch the memory of a process that is not
 * dumpable (ptrace_access_vm() in the kernel asks again at each access).
 */
static int check_tracer_and_threads(const struct sandbox_harden_options *options,
                                    struct sandbox_error *error)
{
    char status[8192];
    if (sandbox_read_proc("/proc/self/status", status, sizeof status) < 0) {
        return sandbox_fail(error, "proc", errno, SANDBOX_ADVICE_PROC, "/proc/self/status");
    }
    long tracer = sandbox_status_number(status, "TracerPid");
    if (tracer != 0 && !options->insecure_debug) {
        return sandbox_fail(error, "tracer", 0,
                            "Launch without strace, gdb or another tracer around the host, or with "
                            "insecure_debug",
                            "process %ld traces this one and can read it", tracer);
    }
    long threads = sandbox_status_number(status, "Threads");
    if (threads != 1) {
        return sandbox_fail(error, "threads", 0,
                            "Harden before anything starts a thread: a preloaded library did",
                            "%ld threads where one is expected", threads);
    }
    return 0;
}

static int check_identity(const struct sandbox_harden_options *options, struct sandbox_error *error)
{
    /* Equal, or the real user could still signal and prlimit what runs as another. AT_SECURE is
     * not consulted: a security module may set it without any change of identity. */
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    if (getresuid(&ruid, &euid, &suid) != 0 || getresgid(&rgid, &egid, &sgid) != 0) {
        return sandbox_fail(error, "identity", errno, SANDBOX_ADVICE_BUG, "getresuid");
    }
    if (ruid != euid || euid != suid || rgid != egid || egid != sgid) {
        return sandbox_fail(error, "identity", 0, "Remove the set-uid bit from the loader",
                            "real, effective and saved ids differ");
    }
    /* All of these survive exec and were applied to the mappings that already exist, so resetting
     * them here would come too late. */
    const unsigned long weak = ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC | MMAP_PAGE_ZERO;
    int current = personality(0xffffffff);
    if (current == -1 || (((unsigned long)current & weak) != 0 && !options->insecure_debug)) {
        return sandbox_fail(error, "personality", current == -1 ? errno : 0,
                            "Launch without setarch -R, -X, -Z or a debugger that does the same",
                            "personality %#x weakens the address space", (unsigned)current);
    }
    return 0;
}

/* Descriptor of the own user namespace. The pidfd way does not depend on what is mounted on /proc,
 * which the owner of a user namespace (and of a mount namespace in it) can arrange. */
static int open_user_namespace(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (pidfd >= 0) {
        int fd = ioctl(pidfd, PIDFD_GET_USER_NAMESPACE_IOCTL, 0);
        (void)close(pidfd);
        if (fd >= 0) {
            return fd;
        }
    }
    int fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    struct statfs fs;
    if (fd >= 0 && (fstatfs(fd, &fs) != 0 || fs.f_type != NSFS_MAGIC)) {
        (void)close(fd);
        errno = ENOTSUP;
        return -1;
    }
    return fd;
}

bool sandbox_in_initial_user_namespace(void)
{
    int fd = open_user_namespace();
    struct stat status;
    bool initial =
        fd >= 0 && fstat(fd, &status) == 0 && status.st_ino == SANDBOX_INITIAL_USER_NAMESPACE;
    if (fd >= 0) {
        (void)close(fd);
    }
    return initial;
}

/*
 * exec stores the current user namespace in the new memory; whoever has CAP_SYS_PTRACE there reads
 * it, dumpable or not. The owner of a user namespace has every capability in it and in all that
 * are nested below. So `unshare -Ur` around the launch makes the launching user's other processes
 * masters of the enclave (tried: tests/sandbox/test_harden.py). A namespace that is unshared
 * *after* exec changes nothing, as the memory keeps the one of the exec.
 *
 * What can be known from within:
 *  - The initial namespace has a fixed inode number. Nobody but root is above it: accepted.
 *  - NS_GET_OWNER_UID gives the owner in *this* namespace's numbers: 0 for `unshare -r` by user
 *    1000, 65534 for any owner that is not mapped (Docker's userns-remap: root; rootless Podman
 *    with nomap: the user). "Owner is 0" or "owner is not me" proves nothing, not even together
 *    with uid_map, whose second column is in the numbers of a parent that may be the attacker's
 *    too; and the ancestors cannot be asked (NS_GET_PARENT: EPERM).
 *  - A uid_map with all of 0..2^32-2 can only be written below parents that have all of it
 *    themselves, and at the top only with CAP_SETUID in the initial namespace; newuidmap grants
 *    the ranges of /etc/subuid only. There "owner 0" is really root: accepted.
 * Everything else is refused: rootless containers, where it is true that the user outside can
 * read all that runs inside, and remapped root containers, which look the same from within.
 */
static int check_user_namespace(const struct sandbox_harden_options *options,
                                struct sandbox_error *error)
{
    if (options->insecure_user_namespace || sandbox_in_initial_user_namespace()) {
        return 0;
    }
    int fd = open_user_namespace();
    uid_t owner = (uid_t)-1;
    if (fd < 0 || ioctl(fd, NS_GET_OWNER_UID, &owner) != 0) {
        int err = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return sandbox_fail(error, "user-namespace", err, SANDBOX_ADVICE_PROC,
                            "owner of the user namespace unknown");
    }
    (void)close(fd);
    char map[4096];
    unsigned long inside = 1, outside = 1, count = 0;
    if (sandbox_read_proc("/proc/self/uid_map", map, sizeof map) > 0 &&
        sscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && inside == 0 && outside == 0 &&
        count == 0xFFFFFFFFul && owner == 0) {
        return 0;
    }
    return sandbox_fail(error, "user-namespace", 0,
                        "Launch in the initial user namespace, or set insecure_user_namespace if "
                        "everybody who owns this one or one around it may read the enclave",
                        "owner here uid %u, own uid %u", (unsigned)owner, (unsigned)getuid());
}

/*
 * Byte by byte, volatile, and not with the functions of <string.h>: those load the strings into
 * vector registers, and what saves these (glibc's lazy binding does, on every first call of a
 * function) leaves copies on the stack. Found by tests/sandbox/test_harden.py.
 */
static bool begins(const volatile char *entry, const char *name)
{
    size_t i = 0;
    while (name[i] != '\0' && entry[i] == name[i]) {
        i++;
    }
    return name[i] == '\0';
}

static bool name_is(const volatile char *entry, const char *name)
{
    return begins(entry, name) && entry[strlen(name)] == '=';
}

static void wipe(volatile char *entry)
{
    for (; *entry != '\0'; entry++) {
        *entry = '\0';
    }
}

/*
 * LD_* and GLIBC_TUNABLES have had their effect before main(): not a matter of wiping, but a sign
 * that somebody other than the launcher, which passes an empty environment, started this. (Code
 * that was really preloaded could hide its variable. That is the host's trust until launch has
 * returned.) All others are read later, if at all, so wiping them is enough; the strings as well,
 * as they lie at the bottom of the stack.
 */
static int scrub_environment(const struct sandbox_harden_options *options,
                             struct sandbox_error *error)
{
    size_t kept = 0;
    for (size_t i = 0; environ != NULL && environ[i] != NULL; i++) {
        char *entry = environ[i];
        if (!options->insecure_debug &&
            (begins(entry, "LD_") || name_is(entry, "GLIBC_TUNABLES"))) {
            return sandbox_fail(error, "environment", 0,
                                "Start enclaves through the launcher, which passes no environment",
                                "%.*s is set", (int)strcspn(entry, "="), entry);
        }
        bool keep = false;
        for (size_t k = 0; k < options->keep_env_count; k++) {
            keep = keep || name_is(entry, options->keep_env[k]);
        }
        if (keep) {
            environ[kept++] = entry;
        } else {
            wipe(entry);
        }
    }
    if (environ != NULL) {
        environ[kept] = NULL;
    }
    return 0;
}

int sandbox_close_other_fds(const int *keep, size_t count, struct sandbox_error *error)
{
    int sorted[SANDBOX_KEEP_FDS_MAX];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (used == SANDBOX_KEEP_FDS_MAX || keep[i] < 0 || fcntl(keep[i], F_GETFD) < 0) {
            return sandbox_fail(error, "descriptors", used == SANDBOX_KEEP_FDS_MAX ? E2BIG : EBADF,
                                "Pass open descriptors only, at most 32", "descriptor %d", keep[i]);
        }
        size_t at = used++;
        for (; at > 0 && sorted[at - 1] > keep[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = keep[i];
    }
    unsigned first = 0;
    for (size_t i = 0; i <= used; i++) {
        unsigned next = i < used ? (unsigned)sorted[i] : ~0u;
        unsigned last = i < used ? next - 1 : next;
        if (next > first && syscall(SYS_close_range, first, last, 0) != 0) {
            return sandbox_fail(error, "descriptors", errno, "Use Linux 5.9 or newer",
                                "close_range(%u, %u)", first, last);
        }
        first = next + 1;
    }
    return 0;
}

/* 0..2 must never be free: the next file opened would become somebody's standard error. */
static int fill_standard_fds(struct sandbox_error *error)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_NOCTTY) != fd) {
            return sandbox_fail(error, "descriptors", errno, "Provide a working /dev/null",
                                "/dev/null for descriptor %d", fd);
        }
    }
    return 0;
}

static int reset_process(struct sandbox_error *error)
{
    /* By raw calls, since glibc refuses to touch its own signals 32 and 33, which may have been
     * inherited as ignored just as well. All-zero is SIG_DFL in every layout of the structure. */
    const uint64_t nothing[8] = {0};
    for (int number = 1; number <= LAST_SIGNAL; number++) {
        if (number != SIGKILL && number != SIGSTOP &&
            syscall(SYS_rt_sigaction, number, nothing, NULL, sizeof(uint64_t)) != 0) {
            return sandbox_fail(error, "signals", errno, SANDBOX_ADVICE_BUG, "signal %d", number);
        }
    }
    if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, sizeof(uint64_t)) != 0) {
        return sandbox_fail(error, "signals", errno, SANDBOX_ADVICE_BUG, "signal mask");
    }
    /* Interval timers survive exec: an inherited alarm would end the enclave some time later. */
    const struct itimerval off = {0};
    (void)setitimer(ITIMER_REAL, &off, NULL);
    (void)setitimer(ITIMER_VIRTUAL, &off, NULL);
    (void)setitimer(ITIMER_PROF, &off, NULL);

    /* A session of its own: no controlling terminal to push input into (TIOCSTI, CVE-2017-5226),
     * and Ctrl-C is the host's to handle. */
    if (getsid(0) != getpid() && setsid() < 0) {
        return sandbox_fail(error, "session", errno,
                            "Start the loader by fork and exec, not as a process group leader",
                            "setsid");
    }
    if (chdir("/") != 0) {
        return sandbox_fail(error, "directory", errno, SANDBOX_ADVICE_BUG, "/");
    }
    (void)umask(077);
    return 0;
}

int sandbox_harden(const struct sandbox_harden_options *options, struct sandbox_error *error)
{
    if (become_invisible(options, error) != 0 || check_tracer_and_threads(options, error) != 0 ||
        check_identity(options, error) != 0 || check_user_namespace(options, error) != 0 ||
        scrub_environment(options, error) != 0 ||
        sandbox_close_other_fds(options->keep_fds, options->keep_fd_count, error) != 0 ||
        fill_standard_fds(error) != 0 || reset_process(error) != 0) {
        return -1;
    }
    if (!options->insecure_debug && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return sandbox_fail(error, "dumpable", 0, SANDBOX_ADVICE_BUG,
                            "PR_SET_DUMPABLE had no effect");
    }
    return 0;
}
