/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_fd.c -- what this side knows about the program's descriptors.
 *
 * Enclave side. The descriptors themselves are the host's. The table is the only place where
 * their state is kept; it is indexed by number and bounded by RUN_DESCRIPTORS_MAX.
 */
#include "shim.h"

#include <asm/ioctls.h>
#include <fcntl.h>

uint32_t g_shim_limit;

static struct shim_fd g_fds[RUN_DESCRIPTORS_MAX];

struct shim_fd *shim_fd(int fd)
{
    return (uint32_t)fd < RUN_DESCRIPTORS_MAX ? &g_fds[(uint32_t)fd] : NULL;
}

void shim_fd_new(long fd, enum shim_kind kind, int nonblocking)
{
    struct shim_fd *state = shim_fd((int)fd);
    if (state == NULL)
        return;
    state->kind = (uint8_t)kind;
    state->nonblocking = (uint8_t)nonblocking;
    state->empty = 0;
    state->shared = 0;
    state->set = kind == SHIM_EPOLL ? shim_epoll_set_new() : 0;
}

/* Is it the last descriptor of an epoll set, as far as this process knows? */
static bool ends_set(const struct shim_fd *state)
{
    if (state->set == 0)
        return false;
    for (uint32_t fd = 0; fd < RUN_DESCRIPTORS_MAX && state->shared; fd++)
        if (&g_fds[fd] != state && g_fds[fd].set == state->set)
            return false;
    return true;
}

/* Before the number can be given to somebody else. */
static void forget(int fd)
{
    struct shim_fd *state = shim_fd(fd);
    if (state == NULL)
        return;
    if (ends_set(state))
        shim_epoll_set_closed(state->set);
    if (state->watches != 0 && !state->shared)
        shim_epoll_closed(fd);
    if (state->kind == SHIM_SIGNAL)
        shim_signals_closed(fd);
    state->set = 0;
    state->kind = SHIM_UNKNOWN;
    state->nonblocking = 0;
    state->empty = 0;
}

long shim_close(int fd)
{
    forget(fd);
    return SHIM_ROW(ROW_close, false, SHIM_ARG(fd));
}

long shim_close_range(uint32_t first, uint32_t last, uint32_t flags)
{
    if (first > last)
        return -EINVAL;
    uint32_t end = last < RUN_DESCRIPTORS_MAX ? last : RUN_DESCRIPTORS_MAX - 1u;
    for (uint32_t fd = first; fd <= end && (flags & 4u) == 0; fd++) /* not CLOSE_RANGE_CLOEXEC */
        if (g_fds[fd].kind != SHIM_UNKNOWN || g_fds[fd].watches != 0 || g_fds[fd].set != 0)
            forget((int)fd);
    return SHIM_ROW(ROW_close_range, false, first, last, flags);
}

/* Two numbers for one thing from here on: neither closing nor O_NONBLOCK is one number's alone. */
static long duplicated(int from, long result)
{
    struct shim_fd *old = shim_fd(from);
    struct shim_fd *new = result >= 0 ? shim_fd((int)result) : NULL;
    if (old == NULL || new == NULL)
        return result;
    shim_fd_new(result, (enum shim_kind)old->kind, 0);
    new->signals = old->signals;
    new->set = old->set;
    if (old->kind == SHIM_SIGNAL)
        shim_signals_shared(old);
    old->shared = new->shared = 1;
    old->empty = 0;
    return result;
}

long shim_dup(int fd)
{
    return duplicated(fd, SHIM_ROW(ROW_dup, false, SHIM_ARG(fd)));
}

long shim_dup3(int fd, int target, int flags)
{
    if (fd == target || (flags & ~O_CLOEXEC) != 0)
        return -EINVAL;
    if ((uint32_t)target >= __atomic_load_n(&g_shim_limit, __ATOMIC_RELAXED))
        return -EBADF;
    long result = SHIM_ROW(ROW_dup3, true, SHIM_ARG(fd), SHIM_ARG(target), SHIM_ARG(flags));
    if (result >= 0)
        forget(target);
    return duplicated(fd, result);
}

static long duplicate_from(int fd, int command, uint64_t from)
{
    if (from >= __atomic_load_n(&g_shim_limit, __ATOMIC_RELAXED))
        return -EINVAL;
    return duplicated(fd, SHIM_ROW(ROW_fcntl, false, SHIM_ARG(fd), SHIM_ARG(command), from, 0, 0));
}

long shim_fcntl(int fd, int command, uint64_t argument)
{
    struct shim_fd *state = shim_fd(fd);
    size_t size = 0;
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return duplicate_from(fd, command, argument);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        size = 32; /* struct flock */
        break;
    case F_GETOWN_EX:
    case F_SETOWN_EX:
        size = 8;
        break;
    default:
        break;
    }
    if (size != 0 && argument == 0)
        return -EFAULT;
    long result = SHIM_ROW(ROW_fcntl, true, SHIM_ARG(fd), SHIM_ARG(command),
                           size != 0 ? 0 : argument, size != 0 ? argument : 0, size);
    if (result >= 0 && state != NULL && command == F_SETFL)
        state->nonblocking = (argument & O_NONBLOCK) != 0 ? 2 : 1;
    if (result >= 0 && state != NULL && command == F_GETFL && state->nonblocking == 0 &&
        !state->shared)
        state->nonblocking = (result & O_NONBLOCK) != 0 ? 2 : 1;
    return result;
}

static long terminal_group(int fd, uint32_t request, int *u_group)
{
    int group = 0;
    if (request == TIOCSPGRP && !shim_copy(&group, u_group, sizeof group))
        return -EFAULT;
    if (request == TIOCSPGRP)
        shim_group_in_front(&group, false);
    long result =
        SHIM_ROW(ROW_ioctl, true, SHIM_ARG(fd), request, 0, SHIM_PTR(&group), sizeof group);
    if (result < 0 || request == TIOCSPGRP)
        return result;
    shim_group_in_front(&group, true);
    return shim_copy(u_group, &group, sizeof group) ? result : -EFAULT;
}

long shim_ioctl(int fd, uint32_t request, uint64_t argument)
{
    struct shim_fd *state = shim_fd(fd);
    size_t size = 0;
    switch (request) {
#define RUN_IOCTL(name, bytes) \
    case name:                 \
        size = (bytes);        \
        break;
#include "run_ioctl.h"
#undef RUN_IOCTL
    default:
        break; /* the host refuses it, or says that this is no such descriptor */
    }
    if (size != 0 && argument == 0)
        return -EFAULT;
    if (request == TIOCSPGRP || request == TIOCGPGRP)
        return terminal_group(fd, request, (int *)(uintptr_t)argument);
    long result = SHIM_ROW(ROW_ioctl, true, SHIM_ARG(fd), request, size != 0 ? 0 : argument,
                           size != 0 ? argument : 0, size);
    if (result >= 0 && state != NULL && request == FIONBIO) {
        int on = 0;
        if (shim_copy(&on, (const void *)(uintptr_t)argument, sizeof on))
            state->nonblocking = on != 0 ? 2 : 1;
    }
    return result;
}

long shim_open(int dirfd, const char *path, int flags, uint32_t mode)
{
    long fd = SHIM_ROW(ROW_openat, true, SHIM_ARG(dirfd), SHIM_PTR(path), SHIM_ARG(flags), mode);
    if (HC_UNLIKELY(fd == -EACCES))
        return shim_maps(path, flags);
    if (fd >= 0)
        shim_fd_new(fd, SHIM_UNKNOWN, (flags & O_NONBLOCK) != 0 ? 2 : 1);
    return fd;
}
