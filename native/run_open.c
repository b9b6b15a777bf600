/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_open.c -- openat.
 *
 * Host side. Nothing is opened for good, created or cut before it has been judged (run_path.c), under
 * rules by its real name. Opened for good at once, and closed again when it is refused, it would have
 * a number for a moment that another thread of the program may just be using (run_fd.c).
 */
#define _GNU_SOURCE
#include "run_path.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* More than a file is likely to come and go between two system calls. */
#define TRIES 8
/* As the kernel follows. */
#define LINKS_MAX 40
/* Which openat takes notice of, and openat2 does not refuse. */
#define OPEN_FLAGS                                                                         \
    ((unsigned)(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_APPEND | O_NONBLOCK | O_SYNC | \
                O_ASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |  \
                O_CLOEXEC))

static enum run_path_use use_of(int flags)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
    return writes ? RUN_PATH_WRITE : RUN_PATH_READ;
}

/* Opening a FIFO or a terminal may wait for somebody; the leader does not. */
static bool opens_quickly(int dirfd, const char *path)
{
    struct stat status;
    if (fstatat(dirfd, path, &status, 0) != 0)
        return true;
    return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode);
}

static long give(long fd)
{
    if (fd >= 0 && fd >= (long)g_run_top) {
        (void)close((int)fd);
        return -EMFILE;
    }
    run_fd_give(fd);
    return fd;
}

/* What O_TRUNC would have done, to what has been judged. */
static int cut(int fd, int flags)
{
    struct stat status;
    if ((flags & O_TRUNC) == 0 || fstat(fd, &status) != 0)
        return 0;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? EISDIR : 0;
    if ((flags & O_ACCMODE) != O_RDONLY)
        return ftruncate(fd, 0) == 0 ? 0 : errno;
    return (int)-run_path_cut(fd, 0);
}

/*
 * The number that the program is to get, the lowest that is free, is kept from our own handles until
 * it is opened for good: programs close 0 and open again, and count on it.
 */
static int keep_number(void)
{
    int number = fcntl(g_run_proc, F_DUPFD_CLOEXEC, 0);
    /* EINVAL: the limit is 0. */
    return number >= 0 ? number : errno == EINVAL ? -EMFILE : -errno;
}

static long duplicate(int handle, int flags)
{
    int fd = fcntl(handle, (flags & O_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    return fd < 0 ? -errno : fd;
}

/* The policy, about opening. */
static int ask(enum run_path_use use, int fd, const char *last)
{
    return run_policy_has_paths() ? run_path_ask(ROW_openat, use, fd, last) : 0;
}

static long open_new(int number, int dirfd, const char *path, int flags, uint32_t mode)
{
    const char *last = path;
    long parent = run_path_parent(dirfd, path, &last);
    int refused = parent < 0 ? (int)-parent : run_path_judge((int)parent);
    if (refused == 0)
        refused = ask(RUN_PATH_WRITE, (int)parent, last);
    (void)close(number);
    /* O_EXCL: what has appeared there meanwhile has not been judged. */
    long fd = refused != 0 ? -refused : run_path_open((int)parent, last, flags | O_EXCL, mode);
    if (parent >= 0)
        (void)close((int)parent);
    return fd < 0 ? fd : give(fd);
}

/*
 * What exists is opened as a bare handle first and again through that handle; so is the directory of
 * a file without a name (O_TMPFILE).
 */
static long open_once(int dirfd, const char *path, int flags, uint32_t mode)
{
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
    bool only_new = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    int number = keep_number();
    if (number < 0)
        return number;
    long handle = only_new
                      ? -ENOENT
                      : run_fd_open_own(dirfd, path, O_PATH | (flags & (O_NOFOLLOW | O_DIRECTORY)));
    if (handle == -ENOENT && (flags & O_CREAT) != 0)
        return open_new(number, dirfd, path, flags, mode);
    int refused = handle < 0 ? (int)-handle : run_path_judge((int)handle);
    if (refused == 0)
        refused = ask(nameless ? RUN_PATH_WRITE : use_of(flags), (int)handle, NULL);
    (void)close(number);
    long fd = -refused;
    if (refused == 0) {
        char again[32];
        struct stat status;
        int gone = O_CREAT | O_NOFOLLOW | (nameless ? 0 : O_EXCL);
        (void)snprintf(again, sizeof again, "self/fd/%d", (int)handle);
        if ((flags & O_PATH) != 0)
            fd = duplicate((int)handle, flags);
        else if (fstat((int)handle, &status) != 0)
            fd = -errno;
        else if (S_ISLNK(status.st_mode))
            fd = -ELOOP;
        else if (S_ISDIR(status.st_mode) && (flags & O_CREAT) != 0)
            fd = -EISDIR;
        else
            fd = run_path_open(g_run_proc, again, flags & ~gone, nameless ? mode : 0);
    }
    if (handle >= 0)
        (void)close((int)handle);
    return fd < 0 ? fd : give(fd);
}

/*
 * Of several that make the same file all but one find it made: they look again, and what is there now
 * is judged. A link that leads nowhere is EEXIST for good, as nobody has judged where it leads.
 */
static long open_ruled(int dirfd, const char *path, int flags, uint32_t mode)
{
    long fd = open_once(dirfd, path, flags, mode);
    for (int tries = 0; fd == -EEXIST && (flags & O_EXCL) == 0 && tries < TRIES; tries++)
        fd = open_once(dirfd, path, flags, mode);
    return fd;
}

static long give_judged(long fd, int flags)
{
    int refused = run_path_judge((int)fd);
    if (refused == 0)
        refused = cut((int)fd, flags);
    if (refused == 0)
        return give(fd);
    (void)close((int)fd);
    return -refused;
}

/*
 * Without rules there is nothing to be judged first of what is only read and lies on the mount of the
 * root: no procfs, and of our own at most a log, which is closed again. Most of what a server sends
 * is there. -EXDEV: it is not.
 */
static long open_on_root(const char *path, int flags)
{
    if (path[0] != '/' || run_policy_has_paths() || run_path_proc_is_root() ||
        (flags & (O_ACCMODE | O_CREAT | O_TRUNC | O_PATH | (O_TMPFILE & ~O_DIRECTORY))) != O_RDONLY)
        return -EXDEV;
    struct open_how how = {.flags = (uint64_t)(unsigned)flags & OPEN_FLAGS,
                           .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS};
    const long arguments[6] = {AT_FDCWD, (long)(uintptr_t)path, (long)(uintptr_t)&how, sizeof how};
    long fd = run_interruptible(SYS_openat2, arguments);
    if (fd >= 0)
        return give_judged(fd, flags);
    return fd == -ENOENT || fd == -EACCES || fd == -EINTR ? fd : -EXDEV;
}

/* Not by a link; O_NOFOLLOW would stay with the file, where the program sees it. */
static long open_here(int parent, const char *last, int flags, uint32_t mode)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags & OPEN_FLAGS,
                           .mode = mode & 07777u,
                           .resolve = RESOLVE_NO_SYMLINKS};
    const long arguments[6] = {parent, (long)(uintptr_t)last, (long)(uintptr_t)&how, sizeof how};
    return run_interruptible(SYS_openat2, arguments);
}

/* One link further. -ELOOP: `link` is where it leads, from `*parent` on, which the caller closes. */
static long open_in_parent(int dirfd, const char *path, int flags, uint32_t mode, long *parent,
                           char link[PATH_MAX])
{
    const char *last;
    int number = keep_number();
    *parent = number < 0 ? number : run_path_parent(dirfd, path, &last);
    if (number >= 0)
        (void)close(number);
    if (*parent < 0)
        return *parent;
    if (run_path_is_proc((int)*parent))
        return open_ruled(dirfd, path, flags, mode);
    /* What is new has nothing to be cut, nor set-id bits that it would lose by that. */
    long fd = (flags & O_TRUNC) != 0
                  ? open_here((int)*parent, last, (flags & ~O_TRUNC) | O_EXCL, mode)
                  : -EEXIST;
    if (fd >= 0)
        return give_judged(fd, flags & ~O_TRUNC);
    fd = open_here((int)*parent, last, flags & ~O_TRUNC, mode);
    if (fd >= 0)
        return give_judged(fd, flags);
    if (fd != -ELOOP || (flags & O_NOFOLLOW) != 0)
        return fd;
    ssize_t size = readlinkat((int)*parent, last, link, PATH_MAX - 1u);
    if (size < 0)
        return -errno;
    link[size] = '\0';
    return -ELOOP;
}

/*
 * Without rules what may be created is opened by its last name in its directory, and links of that
 * name are followed here: so the kernel decides as ever about what others have put there before
 * (fs.protected_regular), and about a link that leads nowhere yet. What can be found there and is not
 * judged yet is a file that the program may open anyway, or a log of ours.
 */
static long open_creating(int dirfd, const char *path, int flags, uint32_t mode)
{
    char at[PATH_MAX], link[PATH_MAX];
    long base = dirfd, parent = -1, fd = -ELOOP;
    for (int links = 0; links < LINKS_MAX && fd == -ELOOP; links++) {
        link[0] = '\0';
        fd = open_in_parent((int)base, path, flags, mode, &parent, link);
        if (base != dirfd)
            (void)close((int)base);
        base = parent;
        if (link[0] == '\0')
            break;
        memcpy(at, link, strlen(link) + 1u);
        path = at;
    }
    if (parent >= 0)
        (void)close((int)parent);
    return fd;
}

long run_open(struct run_call *call)
{
    const char *path = run_path_rewrite((const char *)(uintptr_t)call->a[1], 0);
    if (path == NULL)
        return -EFAULT;
    long list = run_proc_open_list(path, (int)call->a[2]);
    if (list != -ENOENT)
        return list;
    if (call->trying && !opens_quickly((int)call->a[0], path))
        return RUN_MUST_BLOCK;
    int flags = (int)call->a[2];
    if ((flags & O_NOFOLLOW) == 0)
        path = run_path_followed(path);
    /* As the kernel: of what else is asked of a bare handle it takes no notice. */
    if ((flags & O_PATH) != 0)
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    else if ((flags & O_DIRECTORY) != 0 && (flags & O_CREAT) != 0)
        return -EINVAL;
    long fd = open_on_root(path, flags);
    if (fd != -EXDEV)
        return fd;
    const bool creates = (flags & (O_CREAT | O_PATH)) == O_CREAT && !run_policy_has_paths();
    return (creates ? open_creating : open_ruled)((int)call->a[0], path, flags,
                                                  (uint32_t)call->a[3]);
}
