/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_mounts.c -- does what is open lie in our own mount namespace?
 *
 * Host side. The kernel names an object by its place in the namespace that it was opened in. By
 * /proc/PID/root and /proc/PID/cwd, and with a directory that somebody has sent, that may be
 * another one, whose names say nothing about ours: /etc/passwd of a container would be judged as
 * the machine's.
 *
 * A mount has a number that no other mount has while it is there.
 */
#define _GNU_SOURCE
#include "run_path.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool mount_of(int fd, uint64_t *number)
{
    struct statx status;
    memset(&status, 0, sizeof status);
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0 ||
        (status.stx_mask & STATX_MNT_ID) == 0)
        return false;
    *number = status.stx_mnt_id;
    return true;
}

/* Where the name leads from our root, without links, which might lead away again. */
static bool is_by_name(const char *name, uint64_t number)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    uint64_t found;
    long fd = syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof how);
    if (fd < 0)
        return false;
    bool same = mount_of((int)fd, &found) && found == number;
    (void)close((int)fd);
    return same;
}

bool run_mounts_lead(const char *name, int fd)
{
    struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS};
    struct stat is, found;
    uint64_t of_is, of_found;
    char way[PATH_MAX + 2];
    /* Our /proc lies in that root, wherever ours is by now: one step up, as no root is in between. */
    (void)snprintf(way, sizeof way, "..%s", name);
    long at = syscall(SYS_openat2, g_run_proc, way, &how, sizeof how);
    if (at < 0)
        return false;
    bool same = fstat(fd, &is) == 0 && fstat((int)at, &found) == 0 && is.st_dev == found.st_dev &&
                is.st_ino == found.st_ino && mount_of(fd, &of_is) && mount_of((int)at, &of_found) &&
                of_is == of_found;
    (void)close((int)at);
    return same;
}

/* For what has no name any more, or another one: lines of mountinfo begin with the number. */
static bool is_listed(uint64_t number)
{
    char text[4096];
    bool begins = true, found = false;
    uint64_t value = 0;
    long fd = run_fd_open_own(g_run_proc, "self/mountinfo", O_RDONLY);
    memset(text, 0, sizeof text);
    for (off_t at = 0; fd >= 0 && !found;) {
        ssize_t got = pread((int)fd, text, sizeof text, at);
        if (got <= 0)
            break;
        at += got;
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] == '\n') {
                begins = true;
                value = 0;
            } else if (begins && text[i] >= '0' && text[i] <= '9') {
                value = value * 10u + (uint64_t)(text[i] - '0');
            } else if (begins) {
                begins = false;
                found = found || value == number;
            }
        }
    }
    if (fd >= 0)
        (void)close((int)fd);
    return found;
}

bool run_mounts_are_memory(int fd, const char *name)
{
    struct stat status;
    struct statfs system;
    return strncmp(name, "/memfd:", 7) == 0 && fstat(fd, &status) == 0 && status.st_nlink == 0 &&
           fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

bool run_mounts_have(int fd, const char *name)
{
    uint64_t number;
    /* A pipe, a socket and the like: no place anywhere. */
    if (name[0] != '/' || run_mounts_are_memory(fd, name))
        return true;
    return mount_of(fd, &number) && (is_by_name(name, number) || is_listed(number));
}
