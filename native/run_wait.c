/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_wait.c -- epoll, poll and select: calls that name descriptors inside their arguments.
 *
 * Host side. Sets are copied, every number in them is checked, and only the answer goes back.
 */
#define _GNU_SOURCE
#include "run.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

static long epoll_control(struct run_call *call)
{
    struct epoll_event event = {
        .events = (uint32_t)call->a[3],
        .data.u64 = call->a[4],
    };
    long arguments[6] = {(long)call->a[0],
                         (long)(int)call->a[1],
                         (long)(int)call->a[2],
                         (long)(uintptr_t)&event,
                         0,
                         0};
    return run_interruptible(SYS_epoll_ctl, arguments);
}

static long epoll_await(struct run_call *call)
{
    long count = (long)(call->sizes[1] / sizeof(struct epoll_event));
    /* The kernel writes the events where the program reads them. */
    long arguments[6] = {(long)call->a[0], (long)call->a[1], count, (long)(int)call->a[3], 0, 8};
    if (count == 0)
        return -EINVAL;
    if (call->trying)
        arguments[3] = 0;
    long result = run_interruptible(SYS_epoll_pwait, arguments);
    return result == 0 && call->trying && (int)call->a[3] != 0 ? RUN_WOULD_BLOCK : result;
}

#define POLLED_MAX (RUN_PIECE / sizeof(struct pollfd))
static __thread struct pollfd g_polled[POLLED_MAX];

static long poll_set(struct run_call *call)
{
    size_t count = call->sizes[0] / sizeof(struct pollfd);
    struct timespec timeout;
    long strangers = 0;
    if (count > POLLED_MAX)
        return -EINVAL;
    if (count != 0)
        hc_copy_in(g_polled, (const void *)(uintptr_t)call->a[0], count * sizeof g_polled[0]);
    for (size_t i = 0; i < count; i++)
        g_polled[i].revents = 0;
    for (size_t i = 0; i < count; i++) {
        /* -1 is skipped by the kernel; INT_MIN cannot be a descriptor and is told from it after. */
        if (g_polled[i].fd >= 0 && !run_fd_owned(g_polled[i].fd)) {
            g_polled[i].fd = -1;
            g_polled[i].revents = POLLNVAL;
            strangers++;
        }
    }
    bool timed = call->a[2] != 0;
    if (timed)
        hc_copy_in(&timeout, (const void *)(uintptr_t)call->a[2], sizeof timeout);
    bool waits = !timed || timeout.tv_sec != 0 || timeout.tv_nsec != 0;
    if (strangers != 0 || (call->trying && waits)) {
        timed = true;
        memset(&timeout, 0, sizeof timeout);
    }
    long arguments[6] = {
        (long)(uintptr_t)g_polled, (long)count, timed ? (long)(uintptr_t)&timeout : 0, 0, 8, 0};
    uint64_t marked[POLLED_MAX / 64u + 1u];
    if (strangers != 0) {
        memset(marked, 0, sizeof marked);
        for (size_t i = 0; i < count; i++)
            if (g_polled[i].revents == POLLNVAL)
                marked[i / 64u] |= UINT64_C(1) << (i % 64u);
    }
    long result = run_interruptible(SYS_ppoll, arguments);
    if (result < 0)
        return result;
    if (result == 0 && strangers == 0 && call->trying && waits)
        return RUN_WOULD_BLOCK;
    /* Where the program has put it: perhaps not where a struct may lie. */
    uint8_t *u_told = (uint8_t *)(uintptr_t)(call->a[0] + offsetof(struct pollfd, revents));
    for (size_t i = 0; i < count; i++) {
        int16_t told = g_polled[i].revents;
        if (strangers != 0 && ((marked[i / 64u] >> (i % 64u)) & 1u) != 0)
            told = POLLNVAL;
        hc_copy_out(u_told + i * sizeof(struct pollfd), &told, sizeof told);
    }
    return result + strangers;
}

#define SELECT_BYTES (RUN_DESCRIPTORS_MAX / 8u)
static __thread uint64_t g_sets[3][SELECT_BYTES / 8u];

static long select_set(struct run_call *call)
{
    int count = (int)call->a[0];
    struct timespec timeout;
    if (count < 0)
        return -EINVAL;
    long arguments[6] = {count, 0, 0, 0, 0, 0};
    for (uint32_t set = 0; set < 3u; set++) {
        size_t size = call->sizes[2u + set];
        if (call->a[2u + set] == 0)
            continue;
        /* Sent, and perhaps empty: what was not sent is not looked at, by us or by the kernel. */
        if (size > SELECT_BYTES || (size_t)count > size * 8u)
            return -EINVAL;
        hc_copy_in(g_sets[set], (const void *)(uintptr_t)call->a[2u + set], size);
        for (int fd = 0; fd < count; fd++)
            if (((g_sets[set][fd / 64] >> (fd % 64)) & 1u) != 0 && !run_fd_owned(fd))
                return -EBADF;
        arguments[1u + set] = (long)(uintptr_t)g_sets[set];
    }
    bool waits = true;
    if (call->a[5] != 0) {
        hc_copy_in(&timeout, (const void *)(uintptr_t)call->a[5], sizeof timeout);
        arguments[4] = (long)(uintptr_t)&timeout;
        waits = timeout.tv_sec != 0 || timeout.tv_nsec != 0;
    }
    if (call->trying && waits) {
        memset(&timeout, 0, sizeof timeout);
        arguments[4] = (long)(uintptr_t)&timeout;
    }
    long result = run_interruptible(SYS_pselect6, arguments);
    if (result < 0)
        return result;
    if (result == 0 && call->trying && waits)
        return RUN_WOULD_BLOCK;
    for (uint32_t set = 0; set < 3u; set++)
        if (call->a[2u + set] != 0)
            hc_copy_out((void *)(uintptr_t)call->a[2u + set], g_sets[set], call->sizes[2u + set]);
    return result;
}

long run_wait(struct run_call *call)
{
    switch ((enum row_id)call->id) {
    case ROW_epoll_ctl:
        return epoll_control(call);
    case ROW_epoll_pwait:
        return epoll_await(call);
    case ROW_ppoll:
        return poll_set(call);
    case ROW_pselect6:
        return select_set(call);
    default:
        return -ENOSYS;
    }
}
