/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_names.c -- the calls that take names of files, openat aside.
 *
 * Host side. What a name leads to is opened as a bare handle and judged; the call is then made
 * through the handle, not by the name, which the program may have given to another file meanwhile
 * (a link that one of its threads swaps in a loop).
 */
#define _GNU_SOURCE
#include "run_path.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Which of a row's parameters are a directory and a name in it, and what is done there. */
struct target {
    int8_t dirfd; /* -1: the current directory */
    int8_t path;
    bool last; /* about the name itself: created, removed, or not followed */
    enum run_path_use use;
};

static uint32_t targets_of(const struct run_call *call, struct target targets[2])
{
    const uint64_t *a = call->a;
    switch ((enum row_id)call->id) {
    case ROW_newfstatat:
        targets[0] = (struct target){0, 1, (a[3] & AT_SYMLINK_NOFOLLOW) != 0, RUN_PATH_READ};
        return 1;
    case ROW_statx:
        targets[0] = (struct target){0, 1, (a[2] & AT_SYMLINK_NOFOLLOW) != 0, RUN_PATH_READ};
        return 1;
    case ROW_faccessat2:
        targets[0] = (struct target){0, 1, (a[3] & AT_SYMLINK_NOFOLLOW) != 0, RUN_PATH_READ};
        return 1;
    case ROW_readlinkat:
        targets[0] = (struct target){0, 1, true, RUN_PATH_READ};
        return 1;
    case ROW_inotify_add_watch:
        targets[0] = (struct target){-1, 1, false, RUN_PATH_READ};
        return 1;
    case ROW_statfs:
    case ROW_chdir:
    case ROW_getxattr:
    case ROW_listxattr:
        targets[0] = (struct target){-1, 0, false, RUN_PATH_READ};
        return 1;
    case ROW_lgetxattr:
    case ROW_llistxattr:
        targets[0] = (struct target){-1, 0, true, RUN_PATH_READ};
        return 1;
    case ROW_lsetxattr:
    case ROW_lremovexattr:
        targets[0] = (struct target){-1, 0, true, RUN_PATH_WRITE};
        return 1;
    case ROW_setxattr:
    case ROW_removexattr:
    case ROW_chroot:
    case ROW_truncate:
        targets[0] = (struct target){-1, 0, false, RUN_PATH_WRITE};
        return 1;
    case ROW_fchmodat:
        targets[0] = (struct target){0, 1, false, RUN_PATH_WRITE};
        return 1;
    case ROW_fchownat:
        targets[0] = (struct target){0, 1, (a[4] & AT_SYMLINK_NOFOLLOW) != 0, RUN_PATH_WRITE};
        return 1;
    case ROW_utimensat:
        targets[0] = (struct target){0, 1, (a[3] & AT_SYMLINK_NOFOLLOW) != 0, RUN_PATH_WRITE};
        return 1;
    case ROW_mkdirat:
    case ROW_mknodat:
    case ROW_unlinkat:
        targets[0] = (struct target){0, 1, true, RUN_PATH_WRITE};
        return 1;
    case ROW_symlinkat:
        targets[0] = (struct target){1, 2, true, RUN_PATH_WRITE};
        return 1;
    case ROW_linkat:
        targets[0] = (struct target){0, 1, (a[4] & AT_SYMLINK_FOLLOW) == 0, RUN_PATH_WRITE};
        targets[1] = (struct target){2, 3, true, RUN_PATH_WRITE};
        return 2;
    case ROW_renameat2:
        targets[0] = (struct target){0, 1, true, RUN_PATH_WRITE};
        targets[1] = (struct target){2, 3, true, RUN_PATH_WRITE};
        return 2;
    default:
        return 0;
    }
}

/* Does this call have to go through handles even when nobody set rules? Those that change what they
 * find, or tell where it is: one of our own descriptors has a name in /proc, too. */
static bool always_judged(uint32_t id)
{
    switch ((enum row_id)id) {
    case ROW_readlinkat:
    case ROW_chdir:
    case ROW_chroot:
    case ROW_truncate:
    case ROW_setxattr:
    case ROW_removexattr:
    case ROW_fchmodat:
    case ROW_fchownat:
    case ROW_utimensat:
    case ROW_linkat:
    case ROW_inotify_add_watch:
        return true;
    default:
        return false;
    }
}

/* Makes, removes or moves a directory by a name that may end with a slash. */
static bool takes_slash(uint32_t id)
{
    return id == ROW_mkdirat || id == ROW_unlinkat || id == ROW_renameat2;
}

/* A name that was resolved: what it leads to, or with `last` the directory of that. */
struct place {
    int handle;
    char last[NAME_MAX + 2]; /* and a slash; "" when the handle is the object itself */
    bool within;             /* the object is a directory that is named from within, as "." */
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* 0 or the errno. */
static int resolve(const struct run_call *call, const struct target *target, int dirfd,
                   const char *path, struct place *place)
{
    char trimmed[PATH_MAX];
    const char *last = NULL;
    size_t size = strlen(path);
    size_t kept = size;
    place->last[0] = '\0';
    place->within = false;
    while (kept > 1u && path[kept - 1u] == '/')
        kept--;
    long handle = -EISDIR;
    if (target->last && (kept == size || takes_slash(call->id)) && size < sizeof trimmed) {
        memcpy(trimmed, path, kept);
        trimmed[kept] = '\0';
        handle = run_path_parent(dirfd, trimmed, &last);
        if (handle >= 0 && is_dots(last) && !takes_slash(call->id)) {
            (void)close((int)handle);
            handle = -EISDIR;
        } else if (handle >= 0 && (size_t)snprintf(place->last, sizeof place->last, "%s%s", last,
                                                   kept != size ? "/" : "") >= sizeof place->last) {
            (void)close((int)handle);
            return ENAMETOOLONG;
        }
    }
    if (handle == -EISDIR) {
        last = NULL;
        place->last[0] = '\0';
        place->within = target->last;
        bool itself = call->id == ROW_inotify_add_watch && (call->a[2] & IN_DONT_FOLLOW) != 0;
        handle = run_fd_open_own(dirfd, path, O_PATH | (itself ? O_NOFOLLOW : 0));
    }
    if (handle < 0)
        return (int)-handle;
    int refused = run_path_judge((int)handle);
    if (refused == 0 && run_policy_has_paths())
        refused = run_path_ask(call->id, target->use, (int)handle, last);
    if (refused != 0) {
        (void)close((int)handle);
        return refused;
    }
    place->handle = (int)handle;
    return 0;
}

static long answer_link(const struct run_call *call, const char *text)
{
    size_t size = strlen(text);
    if (call->a[2] == 0 || call->sizes[2] == 0)
        return -EINVAL;
    if (size > call->sizes[2])
        size = call->sizes[2];
    hc_copy_out((void *)(uintptr_t)call->a[2], text, size);
    return (long)size;
}

/*
 * Cuts what is open as a handle, by its name in /proc: opened for writing and closed again, it would
 * take from the program the record locks that it has on it (run_fd.c).
 */
long run_path_cut(int handle, int64_t length)
{
    char way[32];
    struct stat status;
    if (fstat(handle, &status) != 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    (void)snprintf(way, sizeof way, "/proc/self/fd/%d", handle);
    if (run_path_hold_root()) {
        long result = run_plain(SYS_truncate, (const long[6]){(long)(uintptr_t)way, (long)length});
        run_path_let_go_root();
        return result;
    }
    long fd = run_path_open(g_run_proc, way + sizeof "/proc", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long result = ftruncate((int)fd, length) == 0 ? 0 : -errno;
    (void)close((int)fd);
    return result;
}

static long answer_of(int result)
{
    return result == 0 ? 0 : -errno;
}

static long let_go(const int held[2], long result)
{
    for (uint32_t i = 0; i < 2u; i++)
        if (held[i] >= 0)
            run_fd_let_go(held[i]);
    return result;
}

/*
 * Makes the call about what the places hold, which were judged. The program's own call stays as it
 * is: one that was interrupted is made again, through handles of its own.
 */
static long through(const struct run_call *call, const struct target *targets,
                    const struct place *places, uint32_t count)
{
    char ways[2][NAME_MAX + 64];
    int held[2] = {-1, -1};
    bool rooted = false;
    struct run_call made = *call;
    /* What is opened on the mount of the root is no procfs (run_open.c). */
    if (call->id == ROW_chroot && run_path_is_proc(places[0].handle))
        return -EACCES;
    if (places[0].handle >= 0 && call->id == ROW_chdir)
        return answer_of(fchdir(places[0].handle));
    if (places[0].handle >= 0 && call->id == ROW_statfs)
        return run_plain(SYS_fstatfs, (const long[6]){places[0].handle, (long)call->a[1]});
    if (places[0].handle >= 0 && call->id == ROW_truncate)
        return run_path_cut(places[0].handle, (int64_t)call->a[1]);
    for (uint32_t i = 0; i < count; i++) {
        const struct target *target = &targets[i];
        const struct place *place = &places[i];
        if (place->handle < 0) {
            /* About a descriptor itself; held, or a number might lead past what is judged. */
            if (target->dirfd < 0 || (int)call->a[target->dirfd] < 0)
                continue;
            if (!run_fd_hold((int)call->a[target->dirfd]))
                return let_go(held, -EBADF);
            held[i] = (int)call->a[target->dirfd];
            continue;
        }
        const char *way = ways[i];
        /* Without a directory of its own a call needs a name that begins at the root, which fails
         * where the program has changed its root. */
        if (place->last[0] != '\0' && target->dirfd >= 0) {
            made.a[target->dirfd] = (uint64_t)place->handle;
            way = place->last;
        } else {
            (void)snprintf(ways[i], sizeof ways[i], "%sself/fd/%d%s%s",
                           target->dirfd >= 0 ? "" : "/proc/", place->handle,
                           place->last[0] != '\0' ? "/"
                           : place->within        ? "/."
                                                  : "",
                           place->last);
            if (target->dirfd >= 0)
                made.a[target->dirfd] = (uint64_t)g_run_proc;
            else
                rooted = true;
        }
        made.a[target->path] = (uint64_t)(uintptr_t)way;
    }
    if (call->id == ROW_chroot)
        return run_path_change_root(places[0].handle, ways[0]);
    /* The way to a handle is a link, of which the handle holds what is meant. */
    if (call->id == ROW_inotify_add_watch)
        made.a[2] &= ~(uint64_t)IN_DONT_FOLLOW;
    if (!rooted)
        return let_go(held, run_raw(&made));
    if (!run_path_hold_root())
        return let_go(held, -ENOENT);
    long result = run_raw(&made);
    run_path_let_go_root();
    return let_go(held, result);
}

static long judged(const struct run_call *call, const struct target *targets, uint32_t count)
{
    struct place places[2] = {{.handle = -1}, {.handle = -1}};
    long result = 0;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        const char *path = (const char *)(uintptr_t)call->a[targets[i].path];
        /* About the descriptor itself, which is the program's. */
        if (path == NULL || *path == '\0')
            continue;
        int dirfd = targets[i].dirfd < 0 ? AT_FDCWD : (int)call->a[targets[i].dirfd];
        result = -resolve(call, &targets[i], dirfd, path, &places[i]);
    }
    if (result == 0)
        result = through(call, targets, places, count);
    for (uint32_t i = 0; i < 2u; i++)
        if (places[i].handle >= 0)
            (void)close(places[i].handle);
    return result;
}

/*
 * The number in the name of a descriptor of the program's (run_path_rewrite), itself and not what it
 * leads to; -1: it is none.
 */
static int64_t number_of(const char *path)
{
    static const char head[] = "/proc/self/fd/";
    if (strncmp(path, head, sizeof head - 1u) != 0 || strchr(path + sizeof head - 1u, '/') != NULL)
        return -1;
    int64_t fd = strtol(path + sizeof head - 1u, NULL, 10);
    return run_fd_owned(fd) ? fd : -1;
}

/*
 * Its own descriptors' names lie among ours, so what is asked about one is not judged by where it is;
 * but held, or it might be one of ours by then, and tell where that leads.
 */
static long of_descriptor(const struct run_call *call, const struct target *target, int64_t fd,
                          const char *path)
{
    struct run_call made = *call;
    int refused = run_policy_has_paths() ? run_policy_path(call->id, target->use, path) : 0;
    made.a[target->dirfd] = (uint64_t)g_run_proc;
    made.a[target->path] = (uint64_t)(uintptr_t)(path + sizeof "/proc");
    if (refused != 0)
        return -refused;
    if (!run_fd_hold(fd))
        return -ENOENT;
    long result = run_raw(&made);
    run_fd_let_go(fd);
    return result;
}

bool run_path_judges(const struct run_call *call)
{
    struct target targets[2] = {{0, 1, false, RUN_PATH_READ}};
    uint32_t count = call->id == ROW_openat ? 1u : targets_of(call, targets);
    for (uint32_t i = 0; i < count; i++) {
        const char *path = (const char *)(uintptr_t)call->a[targets[i].path];
        if (path != NULL && *path != '\0' &&
            !(call->id == ROW_readlinkat && run_path_is_own_exe(run_path_rewrite(path, i))))
            return true;
    }
    return false;
}

long run_path(struct run_call *call)
{
    struct target targets[2];
    if (call->id == ROW_openat)
        return run_open(call);
    /* It waits for those who hold the root. */
    if (call->id == ROW_chroot && call->trying)
        return RUN_MUST_BLOCK;
    uint32_t count = targets_of(call, targets);
    for (uint32_t i = 0; i < count; i++) {
        int8_t at = targets[i].path;
        const char *path = (const char *)(uintptr_t)call->a[at];
        /* A link to the program's directory, which is where the name leads once it is rewritten. */
        bool is_self = path != NULL && targets[i].last && strcmp(path, "/proc/self") == 0;
        char link[PATH_MAX];
        if (is_self && call->id == ROW_readlinkat) {
            (void)snprintf(link, sizeof link, "%d", g_run_program);
            return answer_link(call, link);
        }
        if (!is_self)
            path = run_path_rewrite(path, i);
        if (path == NULL && call->id != ROW_utimensat)
            return -EFAULT;
        if (path != NULL && !targets[i].last)
            path = run_path_followed(path);
        call->a[at] = (uint64_t)(uintptr_t)path;
        if (call->id == ROW_readlinkat && path != NULL && run_path_is_own_exe(path))
            return answer_link(call, run_path_program());
        if (call->id == ROW_readlinkat && run_proc_link(path, link))
            return answer_link(call, link);
        int64_t fd = -1;
        if (path != NULL && targets[i].last && targets[i].dirfd >= 0 &&
            targets[i].use == RUN_PATH_READ && (fd = number_of(path)) >= 0)
            return of_descriptor(call, &targets[i], fd, path);
    }
    if (always_judged(call->id) || run_policy_has_paths())
        return judged(call, targets, count);
    return run_raw(call);
}
