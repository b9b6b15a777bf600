/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside_attempts.c - system calls as somebody who wants to get out would really make them, and
 * calls at both sides of the conditions of sandbox_table.h. Run locked down; the arguments are good
 * ones, so that a hole would show as success and not as some other error.
 */
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* As pidfd, bpf and the like are newer than some C libraries, their numbers come from the kernel's
 * headers alone. */
#define TRY(call, ...) try_call(#call, SYS_##call, (const uintptr_t[6]){__VA_ARGS__})
#define TRY_AS(name, call, ...) try_call(name, SYS_##call, (const uintptr_t[6]){__VA_ARGS__})
#define POINTER(thing) ((uintptr_t)(thing))

static void try_call(const char *name, long number, const uintptr_t *a)
{
    errno = 0;
    long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    say("%s %ld %d", name, result, errno);
}

static char g_buffer[4096];
static const char *const g_argv[] = {"true", NULL};
static struct iovec g_vector = {g_buffer, 1};
static uintptr_t g_parent, g_self;

static void try_files(void)
{
    const uintptr_t passwd = POINTER("/etc/passwd"), file = POINTER("/tmp/hotcalls-escape");
    struct {
        uint64_t flags, mode, resolve;
    } how = {0};
    TRY(openat, (uintptr_t)AT_FDCWD, passwd, O_RDONLY);
    TRY(openat2, (uintptr_t)AT_FDCWD, passwd, POINTER(&how), sizeof how);
    TRY(open_by_handle_at, (uintptr_t)AT_FDCWD, POINTER(g_buffer), O_RDONLY);
    TRY(name_to_handle_at, (uintptr_t)AT_FDCWD, passwd, POINTER(g_buffer), POINTER(g_buffer));
    TRY(readlinkat, (uintptr_t)AT_FDCWD, POINTER("/proc/self/exe"), POINTER(g_buffer), 100);
    TRY(statx, (uintptr_t)AT_FDCWD, passwd, 0, STATX_BASIC_STATS, POINTER(g_buffer));
    TRY(faccessat, (uintptr_t)AT_FDCWD, passwd, R_OK);
    TRY(getdents64, 0, POINTER(g_buffer), sizeof g_buffer);
    TRY(chdir, POINTER("/"));
    TRY(mkdirat, (uintptr_t)AT_FDCWD, file, 0700);
    TRY(unlinkat, (uintptr_t)AT_FDCWD, file, 0);
    TRY(symlinkat, passwd, (uintptr_t)AT_FDCWD, file);
    TRY(truncate, file, 0);
    TRY(ftruncate, INSIDE_WRITE_FD, 0);
    TRY(fchmod, INSIDE_WRITE_FD, 0777);
    TRY(fstat, INSIDE_WRITE_FD, POINTER(g_buffer));
    TRY(lseek, 0, 0, SEEK_CUR);
    TRY(pread64, 0, POINTER(g_buffer), 1, 0);
    TRY(readv, 0, POINTER(&g_vector), 1);
    TRY(pwrite64, INSIDE_WRITE_FD, POINTER(g_buffer), 1, 0);
    TRY(preadv2, 0, POINTER(&g_vector), 1, 0, 0, 0);
    TRY(sendfile, INSIDE_WRITE_FD, 0, 0, 1);
    TRY(splice, 0, 0, INSIDE_WRITE_FD, 0, 1, 0);
    TRY(tee, 0, INSIDE_WRITE_FD, 1, 0);
    TRY(vmsplice, INSIDE_WRITE_FD, POINTER(&g_vector), 1, 0);
    TRY(copy_file_range, 0, 0, INSIDE_WRITE_FD, 0, 1, 0);
    TRY(fallocate, INSIDE_WRITE_FD, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
    TRY(inotify_init1, 0);
    TRY(fanotify_init, 0, 0);
    TRY(chroot, POINTER("/"));
    TRY(mount, POINTER("none"), POINTER("/tmp"), POINTER("tmpfs"), 0, 0);
    TRY(umount2, POINTER("/proc"), 2);
    TRY(pivot_root, POINTER("/"), POINTER("/"));
    TRY(fsopen, POINTER("tmpfs"), 0);
    TRY(open_tree, (uintptr_t)AT_FDCWD, POINTER("/"), 1);
}

static void try_descriptors(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0hotcalls"};
    struct msghdr message = {.msg_iov = &g_vector, .msg_iovlen = 1};
    int pair[2];
    TRY(socket, AF_UNIX, SOCK_STREAM, 0);
    TRY_AS("socket-inet", socket, AF_INET, SOCK_STREAM, 0);
    TRY_AS("socket-netlink", socket, AF_NETLINK, SOCK_RAW, 0);
    TRY(socketpair, AF_UNIX, SOCK_STREAM, 0, POINTER(pair));
    TRY(connect, 0, POINTER(&address), sizeof address);
    TRY(bind, 0, POINTER(&address), sizeof address);
    TRY(accept4, 0, 0, 0, 0);
    TRY(sendto, INSIDE_WRITE_FD, POINTER(g_buffer), 1, 0, 0, 0);
    TRY(sendmsg, INSIDE_WRITE_FD, POINTER(&message), 0);
    TRY(recvmsg, 0, POINTER(&message), MSG_DONTWAIT);
    TRY(sendmmsg, INSIDE_WRITE_FD, POINTER(&message), 1, 0);
    TRY(pipe2, POINTER(pair), 0);
    TRY(eventfd2, 0, 0);
    TRY(timerfd_create, CLOCK_MONOTONIC, 0);
    TRY(signalfd4, (uintptr_t)-1, POINTER(g_buffer), 8, 0);
    TRY(epoll_create1, 0);
    TRY(memfd_create, POINTER("x"), 0);
    TRY(memfd_secret, 0);
    TRY(userfaultfd, 1);
    TRY(dup, INSIDE_WRITE_FD);
    TRY(dup3, INSIDE_WRITE_FD, 9, 0);
    TRY(fcntl, INSIDE_WRITE_FD, F_DUPFD, 0);
    TRY(ioctl, 0, 0x5412 /* TIOCSTI */, POINTER("x"));
    TRY(close, INSIDE_READ_FD);
    TRY(close_range, 3, ~0u, 0);
    TRY(shmget, 0, 4096, 01700);
    TRY(msgget, 0, 01700);
    TRY(semget, 0, 1, 01700);
    TRY(mq_open, POINTER("x"), O_CREAT | O_RDWR, 0600, 0);
    TRY(io_uring_setup, 1, POINTER(g_buffer));
    TRY(io_setup, 1, POINTER(g_buffer));
    TRY(bpf, 0, POINTER(g_buffer), 64);
    TRY(perf_event_open, POINTER(g_buffer), 0, (uintptr_t)-1, (uintptr_t)-1, 0);
    TRY(keyctl, 0, 0);
    TRY(add_key, POINTER("user"), POINTER("x"), POINTER("y"), 1, (uintptr_t)-2);
}

static void try_processes(void)
{
    TRY(execve, POINTER("/bin/true"), POINTER(g_argv), POINTER(&g_argv[1]));
    TRY(execveat, (uintptr_t)AT_FDCWD, POINTER("/bin/true"), POINTER(g_argv), POINTER(&g_argv[1]));
    TRY_AS("clone-fork", clone, SIGCHLD);
    TRY_AS("clone-vfork", clone, CLONE_VM | CLONE_VFORK | SIGCHLD);
    TRY_AS("clone-namespace", clone, CLONE_NEWUSER | SIGCHLD);
    TRY_AS("clone-thread-namespace", clone, SANDBOX_THREAD_FLAGS | CLONE_NEWNET);
    TRY_AS("clone-parent", clone, CLONE_PARENT | SIGCHLD);
    TRY(unshare, CLONE_NEWUSER);
    TRY(setns, 0, 0);
    TRY(kill, g_parent, 0);
    TRY_AS("kill-self", kill, g_self, 0);
    TRY_AS("kill-all", kill, (uintptr_t)-1, 0);
    TRY(tkill, g_self, 0);
    TRY_AS("tgkill-parent", tgkill, g_parent, g_parent, 0);
    TRY(rt_sigqueueinfo, g_parent, 0, POINTER(g_buffer));
    TRY(rt_tgsigqueueinfo, g_parent, g_parent, 0, POINTER(g_buffer));
    TRY(pidfd_open, g_parent, 0);
    TRY(pidfd_send_signal, 0, 0, 0, 0);
    TRY(pidfd_getfd, 0, 0, 0);
    TRY_AS("ptrace-me", ptrace, 0, 0, 0, 0);
    TRY_AS("ptrace-attach", ptrace, 16, g_parent, 0, 0);
    TRY(process_vm_readv, g_parent, POINTER(&g_vector), 1, POINTER(&g_vector), 1, 0);
    TRY(process_vm_writev, g_parent, POINTER(&g_vector), 1, POINTER(&g_vector), 1, 0);
    TRY(process_madvise, 0, POINTER(&g_vector), 1, MADV_COLD, 0);
    TRY(kcmp, g_self, g_parent, 1, 0, 0);
    TRY(get_robust_list, g_parent, POINTER(g_buffer), POINTER(g_buffer));
    TRY(wait4, (uintptr_t)-1, 0, 1, 0);
    TRY_AS("waitid", waitid, 0, 0, POINTER(g_buffer), 5, 0);
    TRY(setuid, 0);
    TRY(setresuid, 0, 0, 0);
    TRY(setgroups, 0, 0);
    TRY(capset, POINTER(g_buffer), POINTER(g_buffer));
    TRY(personality, 0x0400000 /* READ_IMPLIES_EXEC */);
    TRY(prlimit64, 0, RLIMIT_CORE, 0, POINTER(g_buffer));
    TRY(setrlimit, RLIMIT_CORE, POINTER(g_buffer));
    TRY(setpriority, PRIO_PROCESS, 0, 0);
    TRY(ioprio_set, 1, 0, 0);
    TRY(sched_setscheduler, 0, SCHED_OTHER, POINTER(g_buffer));
    TRY(sched_setattr, 0, POINTER(g_buffer), 0);
    TRY(setsid, 0);
    TRY(setpgid, 0, 0);
    TRY(seccomp, 0, 0, 0);
    TRY(landlock_create_ruleset, 0, 0, 1);
    TRY(timer_create, CLOCK_MONOTONIC, 0, POINTER(g_buffer));
    TRY(setitimer, ITIMER_REAL, POINTER(g_buffer), 0);
    TRY(getppid, 0);
    TRY(uname, POINTER(g_buffer));
    TRY(sysinfo, POINTER(g_buffer));
    TRY(syslog, 3, POINTER(g_buffer), 10);
    TRY(sethostname, POINTER("x"), 1);
    TRY(reboot, 0, 0, 0, 0);
    TRY(kexec_load, 0, 0, 0, 0);
    TRY(init_module, POINTER(g_buffer), 10, POINTER(""));
    TRY(finit_module, 0, POINTER(""), 0);
    TRY(clock_settime, CLOCK_REALTIME, POINTER(g_buffer));
    TRY(adjtimex, POINTER(g_buffer));
    TRY(membarrier, 0, 0, 0);
    TRY(mlockall, MCL_CURRENT);
    TRY(pkey_alloc, 0, 0);
    TRY(pkey_mprotect, POINTER(g_buffer), 0, PROT_READ | PROT_EXEC, (uintptr_t)-1);
    TRY(remap_file_pages, POINTER(g_buffer), 0, 0, 0, 0);
    TRY(migrate_pages, g_parent, 0, 0, 0);
    TRY(move_pages, g_parent, 0, 0, 0, 0, 0);
#ifdef __x86_64__
    TRY(open, POINTER("/etc/passwd"), O_RDONLY);
    TRY(fork, 0);
    TRY(vfork, 0);
    TRY(arch_prctl, 0x1001 /* ARCH_SET_GS */, 0);
    TRY(modify_ldt, 0, POINTER(g_buffer), 16);
    TRY(iopl, 3);
    TRY(select, 0, 0, 0, 0, 0);
    TRY(stat, POINTER("/etc/passwd"), POINTER(g_buffer));
#endif
}

int print_attempts(void)
{
    g_parent = (uintptr_t)getppid();
    g_self = (uintptr_t)getpid();
    enter(0);
    try_files();
    try_descriptors();
    try_processes();
    say("attempts ended");
    return 0;
}

/* ---- both sides of the conditions ---- */

enum side { ALLOWED, DENIED, ABSENT };

static long g_wrong;

static void expect(enum side side, const char *name, long number, const uintptr_t *a)
{
    errno = 0;
    long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int err = result == -1 ? errno : 0;
    enum side seen = err == SANDBOX_DENIED_ERRNO ? DENIED : err == ENOSYS ? ABSENT : ALLOWED;
    g_wrong += seen != side;
    say("%s %s result=%ld errno=%d", seen == side ? "good" : "wrong", name, result, err);
}
#define EXPECT(side, name, call, ...) \
    expect(side, name, SYS_##call, (const uintptr_t[6]){__VA_ARGS__})

static void expect_memory(void)
{
    const uintptr_t own = MAP_PRIVATE | MAP_ANONYMOUS, none = (uintptr_t)-1;
    const uintptr_t rw = PROT_READ | PROT_WRITE;
    EXPECT(ALLOWED, "mmap", mmap, 0, 4096, rw, own, none, 0);
    EXPECT(ALLOWED, "mmap stack", mmap, 0, 4096, PROT_NONE, own | MAP_STACK | MAP_NORESERVE, none);
    EXPECT(ALLOWED, "mmap, descriptor ignored", mmap, 0, 4096, rw, own, INSIDE_READ_FD, 0);
    EXPECT(DENIED, "mmap exec", mmap, 0, 4096, PROT_READ | PROT_EXEC, own, none);
    EXPECT(DENIED, "mmap write exec", mmap, 0, 4096, rw | PROT_EXEC, own, none);
    EXPECT(DENIED, "mmap shared", mmap, 0, 4096, rw, MAP_SHARED | MAP_ANONYMOUS, none);
    EXPECT(DENIED, "mmap file", mmap, 0, 4096, PROT_READ, MAP_PRIVATE, INSIDE_READ_FD, 0);
    EXPECT(DENIED, "mmap file shared", mmap, 0, 4096, PROT_READ, MAP_SHARED, INSIDE_READ_FD);
    EXPECT(DENIED, "mmap huge", mmap, 0, 1u << 21, rw, own | MAP_HUGETLB, none);
    EXPECT(DENIED, "mmap upper bits", mmap, 0, 4096, rw | (UINT64_C(1) << 32), own, none);
    uintptr_t page = (uintptr_t)syscall(SYS_mmap, 0, 8192, rw, own, -1, 0);
    EXPECT(ALLOWED, "mprotect none", mprotect, page, 4096, PROT_NONE);
    EXPECT(ALLOWED, "mprotect rw", mprotect, page, 4096, rw);
    EXPECT(DENIED, "mprotect exec", mprotect, page, 4096, PROT_READ | PROT_EXEC);
    EXPECT(DENIED, "mprotect growsdown", mprotect, page, 4096, PROT_READ | PROT_GROWSDOWN);
    EXPECT(ALLOWED, "madvise dontneed", madvise, page, 4096, MADV_DONTNEED);
    EXPECT(ALLOWED, "madvise free", madvise, page, 4096, MADV_FREE);
    EXPECT(ALLOWED, "madvise populate", madvise, page, 4096, MADV_POPULATE_WRITE);
    EXPECT(DENIED, "madvise remove", madvise, page, 4096, MADV_REMOVE);
    EXPECT(DENIED, "madvise mergeable", madvise, page, 4096, MADV_MERGEABLE);
    EXPECT(DENIED, "madvise dodump", madvise, page, 4096, MADV_DODUMP);
    EXPECT(DENIED, "madvise dofork", madvise, page, 4096, MADV_DOFORK);
    EXPECT(DENIED, "madvise hwpoison", madvise, page, 4096, 100);
    EXPECT(ALLOWED, "mlock", mlock, page, 4096);
    EXPECT(ALLOWED, "munlock", munlock, page, 4096);
    EXPECT(ALLOWED, "mremap", mremap, page, 8192, 16384, MREMAP_MAYMOVE);
    EXPECT(ALLOWED, "brk", brk, 0);
}

static void expect_futex(void)
{
    static uint32_t word;
    const uintptr_t at = POINTER(&word);
    struct timespec no_time = {0, 1000};
    const uintptr_t time = POINTER(&no_time);
    EXPECT(ALLOWED, "futex wait", futex, at, FUTEX_WAIT, 1, time);
    EXPECT(ALLOWED, "futex wait private", futex, at, FUTEX_WAIT_PRIVATE, 1, time);
    EXPECT(ALLOWED, "futex wake", futex, at, FUTEX_WAKE, 1);
    EXPECT(ALLOWED, "futex bitset", futex, at, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, time, 0,
           1);
    EXPECT(ALLOWED, "futex wake bitset", futex, at, FUTEX_WAKE_BITSET_PRIVATE, 1, 0, 0, 1);
    EXPECT(DENIED, "futex requeue", futex, at, FUTEX_REQUEUE, 1, 1, at);
    EXPECT(DENIED, "futex wake op", futex, at, FUTEX_WAKE_OP, 1, 1, at);
    EXPECT(DENIED, "futex wait requeue pi", futex, at, FUTEX_WAIT_REQUEUE_PI, 1, time, at);
    EXPECT(DENIED, "futex fd", futex, at, FUTEX_FD, SIGUSR1);
    EXPECT(ABSENT, "futex lock pi", futex, at, FUTEX_LOCK_PI, 0, 0);
    EXPECT(ABSENT, "futex unlock pi", futex, at, FUTEX_UNLOCK_PI_PRIVATE);
    EXPECT(ABSENT, "futex trylock pi", futex, at, FUTEX_TRYLOCK_PI);
    EXPECT(ABSENT, "futex lock pi 2", futex, at, FUTEX_LOCK_PI2, 0, 0);
    EXPECT(ABSENT, "futex_waitv", futex_waitv, at, 1, 0, 0, 0);
}

static void expect_processes(void)
{
    struct timespec now;
    static uint64_t set[16];
    /* The processor-time clock of process 1: (~pid << 3) | CPUCLOCK_SCHED. */
    const uintptr_t of_another = (uintptr_t)((~(intptr_t)g_parent << 3) | 2);
    EXPECT(ALLOWED, "clock realtime", clock_gettime, CLOCK_REALTIME, POINTER(&now));
    EXPECT(ALLOWED, "clock process", clock_gettime, CLOCK_PROCESS_CPUTIME_ID, POINTER(&now));
    EXPECT(ALLOWED, "clock tai", clock_gettime, CLOCK_TAI, POINTER(&now));
    EXPECT(DENIED, "clock of another process", clock_gettime, of_another, POINTER(&now));
    EXPECT(DENIED, "clock of another, 32 bits", clock_gettime, (uint32_t)of_another, POINTER(&now));
    EXPECT(DENIED, "clock 12", clock_gettime, 12, POINTER(&now));
    EXPECT(DENIED, "sleep on clock of another", clock_nanosleep, of_another, 0, POINTER(&now));
    EXPECT(ALLOWED, "getaffinity", sched_getaffinity, 0, sizeof set, POINTER(set));
    EXPECT(ALLOWED, "setaffinity", sched_setaffinity, 0, sizeof set, POINTER(set));
    EXPECT(DENIED, "getaffinity of another", sched_getaffinity, g_parent, sizeof set, POINTER(set));
    EXPECT(DENIED, "setaffinity of another", sched_setaffinity, g_parent, sizeof set, POINTER(set));
    EXPECT(ALLOWED, "tgkill self", tgkill, g_self, g_self, 0);
    EXPECT(DENIED, "tgkill parent", tgkill, g_parent, g_parent, 0);
    EXPECT(DENIED, "tgkill group only", tgkill, (uintptr_t)-1, g_self, 0);
    EXPECT(DENIED, "tgkill upper bits", tgkill, g_self | (UINT64_C(1) << 32), g_self, 0);
    EXPECT(ABSENT, "clone3", clone3, POINTER(set), 64);
    EXPECT(ALLOWED, "prctl name", prctl, PR_SET_NAME, POINTER("inside"));
    EXPECT(ALLOWED, "prctl get dumpable", prctl, PR_GET_DUMPABLE);
    EXPECT(DENIED, "prctl dumpable", prctl, PR_SET_DUMPABLE, 1);
    EXPECT(DENIED, "prctl ptracer", prctl, 0x59616d61, (uintptr_t)-1);
    EXPECT(DENIED, "prctl mm", prctl, PR_SET_MM, PR_SET_MM_START_CODE, 0);
    EXPECT(DENIED, "prctl seccomp", prctl, PR_SET_SECCOMP, 2, 0);
    EXPECT(DENIED, "prctl pdeathsig", prctl, PR_SET_PDEATHSIG, 0);
    EXPECT(DENIED, "prctl subreaper", prctl, PR_SET_CHILD_SUBREAPER, 1);
    EXPECT(DENIED, "prctl vma, other", prctl, PR_SET_VMA, 1, 0, 0, 0);
    EXPECT(ALLOWED, "write log", write, INSIDE_WRITE_FD, POINTER("\n"), 1);
    EXPECT(ALLOWED, "writev log", writev, INSIDE_WRITE_FD, POINTER(&g_vector), 0);
    EXPECT(DENIED, "write elsewhere", write, 2, POINTER("escaped\n"), 8);
    EXPECT(DENIED, "write to read fd", write, INSIDE_READ_FD, POINTER("escaped\n"), 8);
    EXPECT(DENIED, "writev elsewhere", writev, 2, POINTER(&g_vector), 1);
    EXPECT(ALLOWED, "read", read, INSIDE_READ_FD, POINTER(g_buffer), 0);
    EXPECT(DENIED, "read elsewhere", read, INSIDE_WRITE_FD, POINTER(g_buffer), 1);
    EXPECT(ALLOWED, "getrandom", getrandom, POINTER(g_buffer), 8, 0);
    struct timespec shortly = {0, 1000};
    EXPECT(ALLOWED, "ppoll", ppoll, 0, 0, POINTER(&shortly), 0, 8);
}

int print_conditions(void)
{
    g_parent = (uintptr_t)getppid();
    g_self = (uintptr_t)getpid();
    enter(0);
    expect_memory();
    expect_futex();
    expect_processes();
    say("conditions wrong=%ld", g_wrong);
    return g_wrong != 0;
}
