/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_trap.c -- where every system call of the program ends up, and which function answers it.
 *
 * Enclave side. shim_call() is entered from the SIGSYS handler (anything the filter traps) and
 * from the wrappers of shim_wrap.c. It maps old calls to the rows that stand for them.
 */
#include "shim.h"

#include <fcntl.h>
#include <linux/wait.h>
#include <sys/uio.h>

/*
 * The one instruction that the filter lets gated calls through from. seccomp sees the address
 * behind it: shim_gate_after.
 */
__asm__(".text\n"
        ".globl shim_gate\n.hidden shim_gate\n.type shim_gate, @function\n"
        ".globl shim_gate_after\n.hidden shim_gate_after\n"
        "shim_gate:\n"
        "    endbr64\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        "shim_gate_after:\n"
        "    ret\n"
        ".size shim_gate, . - shim_gate\n");

#define INT(i) ((int)a[i])
#define UINT(i) ((uint32_t)a[i])
#define POINTER(i) ((void *)(uintptr_t)a[i])
#define PLAIN(call)  \
    case SYS_##call: \
        return shim_row(ROW_##call, a, false)
#define RESTARTS(call) \
    case SYS_##call:   \
        return shim_row(ROW_##call, a, true)

static uint32_t g_said[512];

/* NULL: a call of a kernel that is newer than the headers. */
static const char *name_of(long number)
{
    switch (number) {
#define SHIM_UNSUPPORTED(call) \
    case SYS_##call:           \
        return #call;
#include "syscall_unsupported.h"
#undef SHIM_UNSUPPORTED
    default:
        return NULL;
    }
}

static long refused(long number)
{
    switch (number) {
#define SHIM_NATIVE(call, why)
#define SHIM_GATED(call, why)
#define SHIM_EMULATED(call, why)
#define SHIM_REFUSED(call, error, why) \
    case SYS_##call:                   \
        return -error;
#include "syscall_local.h"
    default:
        break;
    }
    /* Not known: said once for each. */
    if (number >= 0 && number < (long)(sizeof g_said / sizeof g_said[0])) {
        const char *name = name_of(number);
        char digits[4] = {(char)('0' + number / 100 % 10), (char)('0' + number / 10 % 10),
                          (char)('0' + number % 10), '\0'};
        shim_say_once(&g_said[number],
                      "hotcalls: system call % is not supported in an enclave (ENOSYS)\n",
                      name != NULL ? name : digits);
    }
    return -ENOSYS;
}

/* Results that are descriptors: what they mean is noted. */
static long opened(long fd, enum shim_kind kind, int nonblocking)
{
    if (fd >= 0)
        shim_fd_new(fd, kind, nonblocking);
    return fd;
}

static long descriptors(long number, const uint64_t *a)
{
    long result;
    int pair[2];
    switch (number) {
    case SYS_socket:
        result = shim_row(ROW_socket, a, false);
        return opened(result, (a[1] & 0xf) == 1u ? SHIM_STREAM : SHIM_DATAGRAM,
                      (a[1] & O_NONBLOCK) != 0 ? 2 : 1);
    case SYS_socketpair:
        result = SHIM_ROW(ROW_socketpair, false, a[0], a[1], a[2], SHIM_PTR(pair));
        break;
    case SYS_pipe:
    case SYS_pipe2:
        result = SHIM_ROW(ROW_pipe2, false, SHIM_PTR(pair), number == SYS_pipe ? 0 : a[1]);
        break;
    case SYS_eventfd:
    case SYS_eventfd2:
        return opened(SHIM_ROW(ROW_eventfd2, false, a[0], number == SYS_eventfd ? 0 : a[1]),
                      SHIM_OTHER, 0);
    case SYS_timerfd_create:
        return opened(shim_row(ROW_timerfd_create, a, false), SHIM_OTHER, 0);
    case SYS_inotify_init:
    case SYS_inotify_init1:
        return opened(SHIM_ROW(ROW_inotify_init1, false, number == SYS_inotify_init ? 0 : a[0]),
                      SHIM_OTHER, 0);
    case SYS_memfd_create:
        return opened(shim_row(ROW_memfd_create, a, false), SHIM_REGULAR, 1);
    case SYS_epoll_create:
        if (INT(0) <= 0)
            return -EINVAL;
        return opened(SHIM_ROW(ROW_epoll_create1, false, 0), SHIM_EPOLL, 1);
    case SYS_epoll_create1:
        return opened(shim_row(ROW_epoll_create1, a, false), SHIM_EPOLL, 1);
    case SYS_signalfd:
        return shim_signalfd(INT(0), POINTER(1), a[2], 0);
    case SYS_signalfd4:
        return shim_signalfd(INT(0), POINTER(1), a[2], INT(3));
    default:
        return -ENOSYS;
    }
    if (result != 0)
        return result;
    bool stream = (a[1] & 0xf) == 1u;
    for (int i = 0; i < 2; i++)
        shim_fd_new(pair[i],
                    number != SYS_socketpair ? SHIM_OTHER
                    : stream                 ? SHIM_STREAM
                                             : SHIM_DATAGRAM,
                    0);
    int *to = POINTER(number == SYS_socketpair ? 3 : 0);
    if (shim_copy(to, pair, sizeof pair))
        return 0;
    /* Nobody knows them. */
    (void)shim_close(pair[0]);
    (void)shim_close(pair[1]);
    return -EFAULT;
}

/* Larger than any name, and any value of an attribute: what the program has beyond is not used. */
#define TEXT_MAX UINT64_C(65536)

/* A row of up to four parameters that fills `a[buffer]`, of the size a[buffer + 1]. */
static long fills(enum row_id row, const uint64_t *a, uint32_t buffer)
{
    uint64_t cut[4] = {a[0], a[1], a[2], a[3]};
    if (cut[buffer] == 0 && cut[buffer + 1u] != 0)
        return -EFAULT;
    if (cut[buffer + 1u] > TEXT_MAX)
        cut[buffer + 1u] = TEXT_MAX;
    return shim_row(row, cut, false);
}

static long read_link(uint64_t dirfd, uint64_t path, uint64_t buffer, uint64_t size)
{
    const uint64_t a[4] = {dirfd, path, buffer, size};
    return (int)size <= 0 ? -EINVAL : fills(ROW_readlinkat, a, 2);
}

/* As the kernel checks it: what it does not know, or would not use, is an error here. */
static long open_how(const uint64_t *a)
{
    const uint64_t known = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
                           O_NONBLOCK | O_SYNC | O_ASYNC | O_DIRECT | 0100000 /* O_LARGEFILE */ |
                           O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE;
    const uint64_t ways = 0x3f; /* RESOLVE_NO_XDEV to RESOLVE_CACHED */
    uint64_t how[3];
    if (a[3] < sizeof how)
        return -EINVAL;
    if (a[3] > 4096u)
        return -E2BIG;
    if (!shim_copy(how, POINTER(2), sizeof how))
        return -EFAULT;
    for (uint64_t at = sizeof how; at < a[3]; at++) {
        uint8_t byte;
        if (!shim_copy(&byte, (const uint8_t *)POINTER(2) + at, 1))
            return -EFAULT;
        if (byte != 0)
            return -E2BIG;
    }
    bool makes = (how[0] & O_CREAT) != 0 || (how[0] & O_TMPFILE) == O_TMPFILE;
    if ((how[0] & ~known) != 0 || (how[2] & ~ways) != 0 || (how[1] & ~UINT64_C(07777)) != 0 ||
        (how[1] != 0 && !makes))
        return -EINVAL;
    /* Callers fall back to openat. */
    return how[2] != 0 ? -ENOSYS : shim_open(INT(0), POINTER(1), (int)how[0], (uint32_t)how[1]);
}

static long names(long number, const uint64_t *a)
{
    const uint64_t here = (uint64_t)(int64_t)AT_FDCWD;
    switch (number) {
    case SYS_open:
        return shim_open(AT_FDCWD, POINTER(0), INT(1), UINT(2));
    case SYS_creat:
        return shim_open(AT_FDCWD, POINTER(0), O_CREAT | O_WRONLY | O_TRUNC, UINT(1));
    case SYS_openat:
        return shim_open(INT(0), POINTER(1), INT(2), UINT(3));
    case SYS_openat2:
        return open_how(a);
    case SYS_stat:
        return SHIM_ROW(ROW_newfstatat, false, here, a[0], a[1], 0);
    case SYS_lstat:
        return SHIM_ROW(ROW_newfstatat, false, here, a[0], a[1], AT_SYMLINK_NOFOLLOW);
    case SYS_access:
        return SHIM_ROW(ROW_faccessat2, false, here, a[0], a[1], 0);
    case SYS_faccessat:
        return SHIM_ROW(ROW_faccessat2, false, a[0], a[1], a[2], 0);
    case SYS_readlink:
        return read_link(here, a[0], a[1], a[2]);
    case SYS_readlinkat:
        return read_link(a[0], a[1], a[2], a[3]);
    case SYS_getcwd:
        return fills(ROW_getcwd, a, 0);
    case SYS_getdents64:
        return fills(ROW_getdents64, a, 1);
    case SYS_getxattr:
        return fills(ROW_getxattr, a, 2);
    case SYS_lgetxattr:
        return fills(ROW_lgetxattr, a, 2);
    case SYS_fgetxattr:
        return fills(ROW_fgetxattr, a, 2);
    case SYS_listxattr:
        return fills(ROW_listxattr, a, 1);
    case SYS_llistxattr:
        return fills(ROW_llistxattr, a, 1);
    case SYS_flistxattr:
        return fills(ROW_flistxattr, a, 1);
    case SYS_mkdir:
        return SHIM_ROW(ROW_mkdirat, false, here, a[0], a[1]);
    case SYS_rmdir:
        return SHIM_ROW(ROW_unlinkat, false, here, a[0], AT_REMOVEDIR);
    case SYS_unlink:
        return SHIM_ROW(ROW_unlinkat, false, here, a[0], 0);
    case SYS_rename:
        return SHIM_ROW(ROW_renameat2, false, here, a[0], here, a[1], 0);
    case SYS_renameat:
        return SHIM_ROW(ROW_renameat2, false, a[0], a[1], a[2], a[3], 0);
    case SYS_link:
        return SHIM_ROW(ROW_linkat, false, here, a[0], here, a[1], 0);
    case SYS_symlink:
        return SHIM_ROW(ROW_symlinkat, false, a[0], here, a[1]);
    case SYS_chmod:
        return SHIM_ROW(ROW_fchmodat, false, here, a[0], a[1]);
    case SYS_chown:
        return SHIM_ROW(ROW_fchownat, false, here, a[0], a[1], a[2], 0);
    case SYS_lchown:
        return SHIM_ROW(ROW_fchownat, false, here, a[0], a[1], a[2], AT_SYMLINK_NOFOLLOW);
    case SYS_mknod:
        return SHIM_ROW(ROW_mknodat, false, here, a[0], a[1], a[2]);
        PLAIN(newfstatat);
        PLAIN(statx);
        PLAIN(faccessat2);
        PLAIN(statfs);
        PLAIN(chdir);
        PLAIN(chroot);
        PLAIN(mkdirat);
        PLAIN(mknodat);
        PLAIN(unlinkat);
        PLAIN(renameat2);
        PLAIN(linkat);
        PLAIN(symlinkat);
        PLAIN(fchmodat);
        PLAIN(fchownat);
        PLAIN(utimensat);
        PLAIN(setxattr);
        PLAIN(lsetxattr);
        PLAIN(fsetxattr);
        PLAIN(removexattr);
        PLAIN(lremovexattr);
        PLAIN(fremovexattr);
        PLAIN(inotify_add_watch);
    case SYS_utime:
    case SYS_utimes:
    case SYS_futimesat:
        return shim_utimes(number, a);
    default:
        return refused(number);
    }
}

static long process(long number, const uint64_t *a)
{
    switch (number) {
    case SYS_rt_sigaction:
        return shim_sigaction(INT(0), POINTER(1), POINTER(2), a[3]);
    case SYS_rt_sigprocmask:
        return shim_sigprocmask(INT(0), POINTER(1), POINTER(2), a[3]);
    case SYS_rt_sigsuspend:
        return shim_sigsuspend(POINTER(0), a[1]);
    case SYS_pause:
        return shim_sigsuspend(NULL, 8);
    case SYS_rt_sigtimedwait:
        return shim_sigtimedwait(a);
    case SYS_mmap:
        return shim_mmap(a);
    case SYS_exit:
        return shim_thread_exit(INT(0));
    case SYS_clone:
    case SYS_fork:
    case SYS_vfork:
        return shim_clone(a);
    case SYS_execve:
    case SYS_execveat:
        return shim_exec();
    case SYS_kill:
        return shim_kill(INT(0), INT(1));
    case SYS_tkill:
        return shim_tgkill(-1, INT(0), INT(1));
    case SYS_tgkill:
        return shim_tgkill(INT(0), INT(1), INT(2));
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
        return -EPERM; /* to others; what is for itself the filter lets through */
    case SYS_prctl:
        return shim_prctl(a);
    case SYS_prlimit64:
        return shim_prlimit(a[0], a[1], POINTER(2), POINTER(3));
    case SYS_getrlimit:
        return shim_prlimit(0, a[0], NULL, POINTER(1));
    case SYS_setrlimit:
        return shim_prlimit(0, a[0], POINTER(1), NULL);
    case SYS_setuid:
        return shim_setid(ROW_setuid, a);
    case SYS_setgid:
        return shim_setid(ROW_setgid, a);
    case SYS_setreuid:
        return shim_setid(ROW_setreuid, a);
    case SYS_setregid:
        return shim_setid(ROW_setregid, a);
    case SYS_setresuid:
        return shim_setid(ROW_setresuid, a);
    case SYS_setresgid:
        return shim_setid(ROW_setresgid, a);
    case SYS_setgroups:
        return shim_setid(ROW_setgroups, a);
    case SYS_capset: {
        long result = shim_row(ROW_capset, a, false);
        return result != 0 ? result : SHIM_GATE(SYS_capset, a[0], a[1]);
    }
    case SYS_setsid: {
        long result = shim_row(ROW_setsid, a, false);
        return result < 0 ? result : SHIM_GATE(SYS_setsid, 0);
    }
    case SYS_getpgrp:
    case SYS_getpgid:
    case SYS_getsid:
    case SYS_setpgid:
        return shim_group(number, a);
        PLAIN(getppid);
        PLAIN(umask);
    case SYS_sched_setaffinity:
    case SYS_sched_setscheduler:
    case SYS_sched_setparam:
    case SYS_setpriority:
        return shim_sched(number, a);
    case SYS_madvise:
        return -EPERM; /* what the filter does not let through */
    case SYS_get_robust_list:
        return INT(0) == (int)SHIM_GATE(SYS_gettid, 0)
                   ? SHIM_GATE(SYS_get_robust_list, 0, a[1], a[2])
                   : -EPERM;
    case SYS_personality:
        return a[0] == 0xffffffffu ? 0 : -EPERM;
    case SYS_wait4:
    case SYS_waitid:
        return shim_wait(number, a);
    default:
        return names(number, a);
    }
}

/* Nobody reads what was moved there, or it is too much for a file: a signal, as for a write. */
static long moved(uint64_t to, long result)
{
    if (result == -EPIPE)
        shim_broken_pipe((int)to, 0);
    if (result == -EFBIG)
        shim_too_large();
    return result;
}

long shim_call(long number, const uint64_t *a)
{
    switch (number) {
    case SYS_read:
        return shim_read(ROW_read, INT(0), POINTER(1), a[2], -1, 0);
    case SYS_write:
        return shim_write(ROW_write, INT(0), POINTER(1), a[2], -1, 0);
    case SYS_recvfrom:
        return shim_recvfrom(a);
    case SYS_sendto:
        return shim_sendto(a);
    case SYS_sendmsg:
        return shim_sendmsg(INT(0), POINTER(1), INT(2));
    case SYS_recvmsg:
        return shim_recvmsg(INT(0), POINTER(1), INT(2));
    case SYS_recvmmsg:
        return shim_recvmmsg(a);
    case SYS_sendmmsg:
        return shim_sendmmsg(a);
    case SYS_epoll_wait:
        return shim_epoll_wait(INT(0), POINTER(1), INT(2), INT(3), NULL);
    case SYS_epoll_pwait:
        if (a[4] != 0 && a[5] != 8)
            return -EINVAL;
        return shim_epoll_wait(INT(0), POINTER(1), INT(2), INT(3), POINTER(4));
    case SYS_epoll_pwait2: {
        int64_t time[2];
        if (a[4] != 0 && a[5] != 8)
            return -EINVAL;
        if (a[3] == 0)
            return shim_epoll_wait(INT(0), POINTER(1), INT(2), -1, POINTER(4));
        if (!shim_copy(time, POINTER(3), sizeof time))
            return -EFAULT;
        if (time[0] < 0 || time[1] < 0 || time[1] > 999999999)
            return -EINVAL;
        int64_t ms = time[0] > 2000000 ? INT32_MAX : time[0] * 1000 + (time[1] + 999999) / 1000000;
        return shim_epoll_wait(INT(0), POINTER(1), INT(2), (int)ms, POINTER(4));
    }
    case SYS_epoll_ctl:
        return shim_epoll_ctl(INT(0), INT(1), INT(2), POINTER(3));
    case SYS_poll: {
        int64_t time[2] = {INT(2) / 1000, (int64_t)(INT(2) % 1000) * 1000000};
        return shim_poll(POINTER(0), UINT(1), INT(2) < 0 ? NULL : time, NULL);
    }
    case SYS_ppoll: {
        struct shim_limit limit;
        if (a[3] != 0 && a[4] != 8)
            return -EINVAL;
        long result = shim_limit_begin(&limit, POINTER(2), false);
        if (result != 0)
            return result;
        result = shim_poll(POINTER(0), UINT(1), limit.from != NULL ? limit.time : NULL, POINTER(3));
        shim_limit_end(&limit);
        return result;
    }
    case SYS_select:
    case SYS_pselect6: {
        uint64_t set[2] = {0, 0};
        struct shim_limit limit;
        if (number == SYS_pselect6 && a[5] != 0 && !shim_copy(set, POINTER(5), sizeof set))
            return -EFAULT;
        if (set[0] != 0 && set[1] != 8)
            return -EINVAL;
        long result = shim_limit_begin(&limit, POINTER(4), number == SYS_select);
        if (result != 0)
            return result;
        result = shim_select(a, limit.from != NULL ? limit.time : NULL,
                             (const uint64_t *)(uintptr_t)set[0]);
        shim_limit_end(&limit);
        return result;
    }
    case SYS_accept:
        return shim_accept(INT(0), POINTER(1), POINTER(2), 0);
    case SYS_accept4:
        return shim_accept(INT(0), POINTER(1), POINTER(2), INT(3));
    case SYS_close:
        return shim_close(INT(0));
    case SYS_close_range:
        return shim_close_range(UINT(0), UINT(1), UINT(2));
    case SYS_fcntl:
        return shim_fcntl(INT(0), INT(1), a[2]);
    case SYS_ioctl:
        return shim_ioctl(INT(0), UINT(1), a[2]);
    case SYS_readv:
        return shim_readv(ROW_read, INT(0), POINTER(1), a[2], -1, 0);
    case SYS_writev:
        return shim_writev(ROW_write, INT(0), POINTER(1), a[2], -1, 0);
    case SYS_pread64:
        return shim_read(ROW_pread64, INT(0), POINTER(1), a[2], (int64_t)a[3], 0);
    case SYS_pwrite64:
        return shim_write(ROW_pwrite64, INT(0), POINTER(1), a[2], (int64_t)a[3], 0);
    case SYS_preadv:
        return (int64_t)a[3] < 0
                   ? -EINVAL
                   : shim_readv(ROW_preadv2, INT(0), POINTER(1), a[2], (int64_t)a[3], 0);
    case SYS_pwritev:
        return (int64_t)a[3] < 0
                   ? -EINVAL
                   : shim_writev(ROW_pwritev2, INT(0), POINTER(1), a[2], (int64_t)a[3], 0);
    case SYS_preadv2:
        return shim_readv(ROW_preadv2, INT(0), POINTER(1), a[2], (int64_t)a[3], INT(5));
    case SYS_pwritev2:
        return shim_writev(ROW_pwritev2, INT(0), POINTER(1), a[2], (int64_t)a[3], INT(5));
    case SYS_setsockopt:
        if (a[3] == 0 && INT(4) > 0)
            return -EFAULT;
        return SHIM_ROW(ROW_setsockopt, false, a[0], a[1], a[2], a[3], UINT(4));
    case SYS_getsockopt:
        return shim_getsockopt(a);
    case SYS_getsockname:
        return shim_name_of(ROW_getsockname, INT(0), POINTER(1), POINTER(2));
    case SYS_getpeername:
        return shim_name_of(ROW_getpeername, INT(0), POINTER(1), POINTER(2));
    case SYS_dup:
        return shim_dup(INT(0));
    case SYS_dup2:
        if (INT(0) == INT(1)) {
            long flags = SHIM_ROW(ROW_fcntl, false, a[0], F_GETFD, 0, 0, 0);
            return flags < 0 ? flags : INT(1);
        }
        return shim_dup3(INT(0), INT(1), 0);
    case SYS_dup3:
        return shim_dup3(INT(0), INT(1), INT(2));
    case SYS_sendfile:
        return moved(a[0], shim_row(ROW_sendfile, a, true));
    case SYS_splice:
        return moved(a[2], shim_row(ROW_splice, a, true));
    case SYS_tee:
        return moved(a[1], shim_row(ROW_tee, a, true));
    case SYS_copy_file_range:
        return moved(a[2], shim_row(ROW_copy_file_range, a, true));
    case SYS_ftruncate:
        return moved(a[0], shim_row(ROW_ftruncate, a, false));
    case SYS_truncate:
        return moved((uint64_t)-1, shim_row(ROW_truncate, a, false));
    case SYS_fallocate:
        return moved(a[0], shim_row(ROW_fallocate, a, false));
        RESTARTS(flock);
        RESTARTS(connect);
        PLAIN(lseek);
        PLAIN(fstat);
        PLAIN(shutdown);
        PLAIN(bind);
        PLAIN(listen);
        PLAIN(timerfd_settime);
        PLAIN(timerfd_gettime);
        PLAIN(inotify_rm_watch);
        PLAIN(fsync);
        PLAIN(fdatasync);
        PLAIN(sync_file_range);
        PLAIN(fadvise64);
        PLAIN(readahead);
        PLAIN(fchmod);
        PLAIN(fchown);
        PLAIN(fstatfs);
        PLAIN(fchdir);
        PLAIN(sync);
        PLAIN(syncfs);
    case SYS_socket:
    case SYS_socketpair:
    case SYS_pipe:
    case SYS_pipe2:
    case SYS_eventfd:
    case SYS_eventfd2:
    case SYS_timerfd_create:
    case SYS_signalfd:
    case SYS_signalfd4:
    case SYS_inotify_init:
    case SYS_inotify_init1:
    case SYS_memfd_create:
    case SYS_epoll_create:
    case SYS_epoll_create1:
        return descriptors(number, a);
    default:
        return process(number, a);
    }
}
