/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_fd.c -- which descriptors are the program's, and the calls that make, close and tune them.
 *
 * Host side. The program's descriptors have the numbers that it sees. This process has some of
 * its own: those it keeps lie above the program's limit, those that it opens for a moment may lie
 * between the program's. So a number is the program's when it was given to it, not because it is
 * small; everything else is EBADF.
 *
 * Calls of several threads do not wait for each other, so a number may be another file's by the time
 * the kernel is asked. Three rules keep what is ours for a moment out of the program's hands:
 *
 * - What is not the program's is not closed: it first loses the number (take, which one thread
 *   wins). A number that was not its own is only used when the kernel has nothing there.
 * - What is copied, sent, replaced or named by its number is held as long (run_fd_hold). A number
 *   that is held may become another file of the program's, as dup2 does it at once and for everybody,
 *   but it is not free before it is let go: nothing of ours comes there.
 * - Nothing that has not been judged is open for us but as a bare handle (run_open.c), which can be
 *   copied, and that is all.
 *
 * Holding a number is better than copying its file: whoever closes the copy of a file takes from the
 * whole process, and so from the program, the record locks that it has on it (fcntl(2), F_SETLK).
 */
#define _GNU_SOURCE
#include "run_total.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* /dev/null, /dev/zero, /dev/urandom: never block. */
#define MEMORY_DEVICES 1u

/* How often dup2 looks whether a number that is somebody else's has become free. */
#define TRIES 1000u
#define TRIES_OF_LEADER 4u

/*
 * For each number, atomic: an enum run_fd_kind, whether it has been closed while it was held, a version
 * that changes with the file, and by how many it is held (as many as there are threads, times the
 * descriptors of a message: it cannot overflow).
 */
#define KIND 0x7u
#define CLOSED 0x8u
#define VERSION 0x10u
#define VERSIONS 0xf0u
#define HOLDER 0x100u
static uint32_t g_owned[RUN_DESCRIPTORS_MAX];

static uint32_t *owned_of(int64_t fd)
{
    return &g_owned[hc_index_nospec((uint64_t)fd, RUN_DESCRIPTORS_MAX)];
}

/* What a descriptor of the program is like, found out when it first matters. */
enum run_fd_kind run_fd_kind(int64_t fd)
{
    struct stat status;
    if (fd < 0 || fd >= (int64_t)RUN_DESCRIPTORS_MAX)
        return RUN_FD_NONE;
    uint32_t *owned = owned_of(fd);
    /* SYNC: acquire pairs with run_fd_mark, owned; before the file is looked at. */
    uint32_t word = __atomic_load_n(owned, __ATOMIC_ACQUIRE);
    uint32_t kind = word & KIND;
    if (kind != RUN_FD_NEW || fstat((int)fd, &status) != 0)
        return (enum run_fd_kind)kind;
    if (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode))
        kind = RUN_FD_STREAM;
    else if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode) ||
             (S_ISCHR(status.st_mode) && major(status.st_rdev) == MEMORY_DEVICES))
        kind = RUN_FD_FILE;
    else
        kind = RUN_FD_OTHER;
    /* Unless it was taken or became another file meanwhile. Relaxed: nothing goes with it. */
    (void)__atomic_compare_exchange_n(owned, &word, (word & ~KIND) | kind, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED);
    return (enum run_fd_kind)kind;
}

bool run_fd_owned(int64_t fd)
{
    if (fd < 0 || fd >= (int64_t)RUN_DESCRIPTORS_MAX)
        return false;
    /* Relaxed: a race of the program with itself decides which of its own files it gets. */
    uint32_t word = __atomic_load_n(owned_of(fd), __ATOMIC_RELAXED);
    return (word & KIND) != RUN_FD_NONE && (word & CLOSED) == 0;
}

void run_fd_mark(int64_t fd, enum run_fd_kind kind)
{
    if (fd < 0 || fd >= (int64_t)g_run_top)
        return;
    uint32_t *owned = owned_of(fd);
    uint32_t word = __atomic_load_n(owned, __ATOMIC_RELAXED);
    uint32_t now;
    do {
        now = (word & ~(KIND | VERSIONS)) | ((word + VERSION) & VERSIONS) | (uint32_t)kind;
        /* SYNC: release pairs with run_fd_kind and run_fd_hold, owned; after the kernel has put the
         * file there. It may be held: dup2 replaces it under those who do. */
    } while (
        !__atomic_compare_exchange_n(owned, &word, now, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

void run_fd_give(int64_t fd)
{
    run_fd_mark(fd, RUN_FD_NEW);
}

bool run_fd_hold(int64_t fd)
{
    if (fd < 0 || fd >= (int64_t)RUN_DESCRIPTORS_MAX)
        return false;
    uint32_t *owned = owned_of(fd);
    uint32_t word = __atomic_load_n(owned, __ATOMIC_RELAXED);
    do {
        if ((word & KIND) == RUN_FD_NONE || (word & CLOSED) != 0)
            return false;
        /* SYNC: acquire pairs with run_fd_mark, owned: what is there is the program's. */
    } while (!__atomic_compare_exchange_n(owned, &word, word + HOLDER, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}

void run_fd_let_go(int64_t fd)
{
    uint32_t *owned = owned_of(fd);
    /* SYNC: release pairs with take, owned; after the last use of the number. */
    uint32_t word = __atomic_sub_fetch(owned, HOLDER, __ATOMIC_ACQ_REL);
    if (word >= HOLDER || (word & CLOSED) == 0)
        return;
    /* Nobody holds, takes or gives what has been closed: the word is ours. */
    run_total_change_begin(fd);
    __atomic_store_n(owned, word & VERSIONS, __ATOMIC_RELAXED);
    (void)close((int)fd);
    run_total_change_end(fd);
}

enum taken {
    TAKEN,       /* and to be closed by the caller */
    TAKEN_LATER, /* it is held: the last one who lets go closes it */
    NOT_OWNED,   /* not the program's, or another thread was quicker */
};

static enum taken take(int64_t fd)
{
    if (fd < 0 || fd >= (int64_t)RUN_DESCRIPTORS_MAX)
        return NOT_OWNED;
    uint32_t *owned = owned_of(fd);
    uint32_t word = __atomic_load_n(owned, __ATOMIC_RELAXED);
    uint32_t now;
    do {
        if ((word & KIND) == RUN_FD_NONE || (word & CLOSED) != 0)
            return NOT_OWNED;
        now = word >= HOLDER ? word | CLOSED : word & VERSIONS;
        /* SYNC: pairs with itself and with run_fd_let_go, owned; of several threads one gets what was
         * there, after everybody who held it. */
    } while (
        !__atomic_compare_exchange_n(owned, &word, now, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return word >= HOLDER ? TAKEN_LATER : TAKEN;
}

/* What is open when the program starts is the program's, but for what we keep. */
void run_fd_init(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        run_fail(125, "/proc/self/fd: %s%s", strerror(errno),
                 errno == ENOENT ? "; mount procfs on /proc" : "");
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != dirfd(directory))
            run_fd_give(fd);
    }
    (void)closedir(directory);
}

pthread_mutex_t g_run_limit_lock = PTHREAD_MUTEX_INITIALIZER;

/* Makes a descriptor, also when the program has used up its own. */
static long make_own(long number, const long arguments[6])
{
    struct rlimit limit;
    long fd = run_plain(number, arguments);
    /* Of F_DUPFD, when the limit is 0. */
    if (fd != -EMFILE && (fd != -EINVAL || number != SYS_fcntl))
        return fd;
    /* What another thread of the program opens meanwhile may be one more than it should have. */
    (void)pthread_mutex_lock(&g_run_limit_lock);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        fd = run_plain(number, arguments);
        limit.rlim_cur = g_run_limit[0];
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)pthread_mutex_unlock(&g_run_limit_lock);
    return fd;
}

long run_fd_open_own(int dirfd, const char *path, int flags)
{
    return make_own(SYS_openat,
                    (const long[6]){dirfd, (long)(uintptr_t)path, flags | O_CLOEXEC, 0, 0, 0});
}

/* For the program. */
static long copy(int64_t fd, int command, uint64_t least)
{
    if (!run_fd_hold(fd))
        return -EBADF;
    long made = run_interruptible(SYS_fcntl, (const long[6]){fd, command, (long)least, 0, 0, 0});
    run_fd_let_go(fd);
    if (made >= 0)
        run_fd_give(made);
    return made;
}

/*
 * dup3 to a number that is not the program's: as far as it can know, one that is free. Something of
 * ours may be there for a moment, or a call of another of its threads that is about to give it, for
 * which the kernel itself says EBUSY.
 */
static long copy_to_free(const struct run_call *call)
{
    int64_t target = (int64_t)call->a[1];
    uint32_t tries = call->trying ? TRIES_OF_LEADER : TRIES;
    int flags = (int)call->a[2];
    if ((flags & ~O_CLOEXEC) != 0)
        return -EINVAL;
    for (; tries != 0 && !run_fd_owned(target); tries--) {
        /* Looked at first: a copy that lands elsewhere costs the program its record locks. */
        if (fcntl((int)target, F_GETFD) < 0) {
            long made = run_plain(SYS_fcntl, (const long[6]){(long)call->a[0],
                                                             flags != 0 ? F_DUPFD_CLOEXEC : F_DUPFD,
                                                             target, 0, 0, 0});
            if (made == target)
                run_fd_give(made);
            if (made < 0 || made == target)
                return made;
            (void)close((int)made);
        }
        (void)sched_yield();
    }
    return call->trying ? RUN_MUST_BLOCK : -EBUSY;
}

/* Held by whoever replaces what a number in use names, and by whoever looks at it and then uses it. */
static pthread_mutex_t g_replace_lock = PTHREAD_MUTEX_INITIALIZER;

/* What is replaced is closed, and the close of a socket may linger: not for the leader to await. */
static bool lock_replace(const struct run_call *call)
{
    return (call->trying ? pthread_mutex_trylock(&g_replace_lock)
                         : pthread_mutex_lock(&g_replace_lock)) == 0;
}

/* The number is never free in between, for nobody: who writes there writes to the one or the other. */
static long copy_to_held(const struct run_call *call)
{
    int64_t target = (int64_t)call->a[1];
    long result = RUN_MUST_BLOCK;
    if (!lock_replace(call))
        goto out;
    run_total_change_begin(target);
    result = run_raw(call);
    (void)pthread_mutex_unlock(&g_replace_lock);
    if (result >= 0)
        run_fd_give(result);
    run_total_change_end(target);
out:
    run_fd_let_go(target);
    return result;
}

static long copy_to(const struct run_call *call)
{
    int64_t source = (int64_t)call->a[0];
    int64_t target = (int64_t)call->a[1];
    if (call->a[1] >= g_run_limit[0])
        return -EBADF;
    /* An error, and nothing to be replaced. */
    if (source == target)
        return run_raw(call);
    if (!run_fd_hold(source))
        return -EBADF;
    long result = run_fd_hold(target) ? copy_to_held(call) : copy_to_free(call);
    run_fd_let_go(source);
    return result;
}

static long close_range_of(uint32_t first, uint32_t last, uint32_t flags)
{
    if (first > last || (flags & ~(2u | 4u)) != 0) /* CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC */
        return -EINVAL;
    for (uint64_t fd = first; fd <= last && fd < g_run_top; fd++) {
        if (!run_fd_owned((int64_t)fd))
            continue;
        if ((flags & 4u) != 0) {
            (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        } else {
            run_total_change_begin((int64_t)fd);
            if (take((int64_t)fd) == TAKEN)
                (void)close((int)fd);
            run_total_change_end((int64_t)fd);
        }
    }
    return 0;
}

static long make_pair(struct run_call *call)
{
    int pair[2];
    bool pipe = call->id == ROW_pipe2;
    uint64_t out = call->a[pipe ? 0 : 3];
    if (out == 0)
        return -EFAULT;
    int result = pipe ? pipe2(pair, (int)call->a[1])
                      : socketpair((int)call->a[0], (int)call->a[1], (int)call->a[2], pair);
    if (result != 0)
        return -errno;
    run_fd_give(pair[0]);
    run_fd_give(pair[1]);
    hc_copy_out((void *)(uintptr_t)out, pair, sizeof pair);
    return 0;
}

long run_fd_hand(struct run_call *call)
{
    switch ((enum row_id)call->id) {
    case ROW_close: {
        /* First: from the close on the number may come back as somebody else's. */
        run_total_change_begin((int64_t)call->a[0]);
        enum taken taken = take((int64_t)call->a[0]);
        long closed = taken == TAKEN ? run_raw(call) : taken == TAKEN_LATER ? 0 : -EBADF;
        run_total_change_end((int64_t)call->a[0]);
        /* Gone all the same (a file system over a network was waited for); not to be closed again. */
        return closed == -EINTR ? 0 : closed;
    }
    case ROW_close_range:
        return close_range_of((uint32_t)call->a[0], (uint32_t)call->a[1], (uint32_t)call->a[2]);
    case ROW_dup:
        return copy((int64_t)call->a[0], F_DUPFD, 0);
    case ROW_dup3:
        return copy_to(call);
    case ROW_socketpair:
    case ROW_pipe2:
        return make_pair(call);
    case ROW_signalfd4: {
        /* The program's signals are its own affair (shim_signalfd.c): this tells of them. */
        int fd = eventfd(0, (int)call->a[2] & (EFD_CLOEXEC | EFD_NONBLOCK));
        if (fd < 0)
            return -errno;
        run_fd_give(fd);
        return fd;
    }
    default:
        return -ENOSYS;
    }
}

/* Who gets SIGIO and SIGURG: the program, which has a process id of its own. */
static bool owner_is_fine(int64_t pid)
{
    return pid == 0 || pid == g_run_program;
}

/*
 * A terminal that nobody owns would be given to the group in front of it, of which every process gets
 * the program's signal then (F_SETSIG): EPERM. What was looked at stays: the number is held, so it is
 * not free, and nothing replaces it meanwhile. A copy would not do, as the number by which the kernel is
 * asked is the one that the signal tells (si_fd).
 */
static long asynchronous(const struct run_call *call, const long arguments[6])
{
    int64_t fd = (int64_t)arguments[0];
    long result = RUN_MUST_BLOCK;
    if (!run_fd_hold(fd))
        return -EBADF;
    if (lock_replace(call)) {
        result = isatty((int)fd) ? -EPERM : run_plain(call->row->number, arguments);
        (void)pthread_mutex_unlock(&g_replace_lock);
    }
    run_fd_let_go(fd);
    return result;
}

long run_fcntl(struct run_call *call)
{
    int fd = (int)call->a[0];
    int command = (int)call->a[1];
    uint64_t argument = call->a[2];
    uint8_t *u_data = (uint8_t *)(uintptr_t)call->a[3];
    long arguments[6] = {fd, command, (long)argument, 0, 0, 0};
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return argument < g_run_limit[0] ? copy(fd, command, argument) : -EINVAL;
    case F_SETFL:
        if ((argument & O_ASYNC) != 0)
            return asynchronous(call, arguments);
        return run_plain(SYS_fcntl, arguments);
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_GETOWN:
    case F_GETSIG:
    case F_SETSIG:
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
    case F_ADD_SEALS:
    case F_GET_SEALS:
    case F_GETLEASE:
        return run_plain(SYS_fcntl, arguments);
    case F_SETOWN:
        if (!owner_is_fine((int64_t)(int)argument))
            return -EPERM;
        return run_interruptible(SYS_fcntl, arguments);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        if (call->sizes[3] != sizeof(struct flock))
            return -EFAULT;
        if (call->trying && (command == F_SETLKW || command == F_OFD_SETLKW))
            return RUN_MUST_BLOCK;
        /* The kernel copies it once, and back. */
        arguments[2] = (long)(uintptr_t)u_data;
        return run_interruptible(SYS_fcntl, arguments);
    case F_GETOWN_EX:
    case F_SETOWN_EX: {
        struct f_owner_ex owner;
        if (call->sizes[3] != sizeof owner)
            return -EFAULT;
        hc_copy_in(&owner, u_data, sizeof owner);
        if (command == F_SETOWN_EX && (owner.type == F_OWNER_PGRP || !owner_is_fine(owner.pid)))
            return -EPERM;
        arguments[2] = (long)(uintptr_t)&owner;
        long result = run_interruptible(SYS_fcntl, arguments);
        hc_copy_out(u_data, &owner, sizeof owner);
        return result;
    }
    default:
        return -EINVAL;
    }
}

long run_ioctl(struct run_call *call)
{
    uint32_t request = (uint32_t)call->a[1];
    long arguments[6] = {(long)call->a[0], (long)request, (long)call->a[2], 0, 0, 0};
    size_t size;
    switch (request) {
#define RUN_IOCTL(name, bytes) \
    case name:                 \
        size = (bytes);        \
        break;
#include "run_ioctl.h"
#undef RUN_IOCTL
    default:
        return -ENOTTY;
    }
    if (size != call->sizes[3])
        return -EFAULT;
    if (size != 0)
        arguments[2] = (long)call->a[3];
    if (request == FIOASYNC)
        return asynchronous(call, arguments);
    return run_interruptible(SYS_ioctl, arguments);
}
