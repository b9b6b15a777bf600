/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_stream.c -- reading and writing without blocking, on descriptors that would.
 *
 * Host side. The leader may not wait. Sockets have a flag for that in each call; streams have
 * RWF_NOWAIT of preadv2 and pwritev2 (Linux 4.14; pipes since 5.11), and are left to the companion
 * where they do not know it. Files do not wait for anybody; of what is left poll tells. A write
 * that has to be whole is continued where a try has left off.
 */
#define _GNU_SOURCE
#include "run.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool run_tries(const struct run_call *call, int flags)
{
    return call->trying && !call->nonblocking && (flags & MSG_DONTWAIT) == 0;
}

long run_tried_write(struct run_call *call, long result, size_t size, bool tries)
{
    if (result < 0) {
        if (tries && result == -EAGAIN)
            return RUN_WOULD_BLOCK;
        return call->progress != 0 ? (long)call->progress : result;
    }
    call->progress += (size_t)result;
    return tries && (size_t)result < size ? RUN_WOULD_BLOCK : (long)call->progress;
}

long run_stream_send(struct run_call *call, long arguments[6], int buffer, int size, int flags)
{
    bool tries = run_tries(call, (int)arguments[flags]);
    arguments[buffer] += (long)call->progress;
    arguments[size] -= (long)call->progress;
    if (tries)
        arguments[flags] |= MSG_DONTWAIT;
    return run_tried_write(call, run_interruptible(SYS_sendto, arguments), (size_t)arguments[size],
                           tries);
}

/* read or write as a call that can be told not to wait. */
static long transfer(struct run_call *call, bool writing)
{
    bool at_offset = call->id == ROW_preadv2 || call->id == ROW_pwritev2;
    struct iovec piece = {(void *)(uintptr_t)(call->a[1] + call->progress),
                          (size_t)call->a[2] - call->progress};
    long offset = at_offset ? (long)call->a[3] : -1;
    bool tries = call->trying && !call->nonblocking;
    if (tries) {
        enum run_fd_kind kind = run_fd_kind((int64_t)call->a[0]);
        if (kind == RUN_FD_OTHER) {
            struct pollfd ready = {(int)call->a[0], writing ? POLLOUT : POLLIN, 0};
            if (poll(&ready, 1, 0) == 0)
                return RUN_WOULD_BLOCK;
        }
        /* RWF_NOWAIT gives short counts where a file would give all: for streams only. */
        tries = kind == RUN_FD_STREAM;
    }
    long flags = (at_offset ? (long)(int)call->a[4] : 0) | (tries ? RWF_NOWAIT : 0);
    if (!at_offset && !tries) {
        long plain[6] = {
            (long)call->a[0], (long)(uintptr_t)piece.iov_base, (long)piece.iov_len, 0, 0, 0};
        long result = run_interruptible(call->row->number, plain);
        return writing ? run_tried_write(call, result, piece.iov_len, false) : result;
    }
    if (at_offset && offset >= 0)
        offset += (long)call->progress;
    long arguments[6] = {(long)call->a[0], (long)(uintptr_t)&piece, 1, offset, 0, flags};
    long result = run_interruptible(writing ? SYS_pwritev2 : SYS_preadv2, arguments);
    if (tries && result == -EOPNOTSUPP)
        return RUN_MUST_BLOCK;
    if (writing)
        return run_tried_write(call, result, piece.iov_len, tries);
    return tries && result == -EAGAIN ? RUN_WOULD_BLOCK : result;
}

long run_stream(struct run_call *call)
{
    if (call->id == ROW_recvfrom) {
        int flags = (int)call->a[3];
        bool tries = run_tries(call, flags);
        if (tries && (flags & RUN_UNTRIED) != 0)
            return RUN_MUST_BLOCK;
        long arguments[6] = {(long)call->a[0],
                             (long)call->a[1],
                             (long)call->a[2],
                             tries ? flags | MSG_DONTWAIT : flags,
                             0,
                             0};
        long result = run_interruptible(SYS_recvfrom, arguments);
        return result == -EAGAIN && tries ? RUN_WOULD_BLOCK : result;
    }
    return transfer(call, call->id == ROW_write || call->id == ROW_pwritev2);
}
