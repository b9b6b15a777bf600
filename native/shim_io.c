/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_io.c -- reading and writing: pieces, vectors, messages.
 *
 * Enclave side. One call carries RUN_PIECE bytes at most; what is larger goes in pieces, with the
 * short counts that the kernel would give. Messages of datagram sockets are never cut.
 */
#include "shim.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* The most that one read or write moves in the kernel. */
#define MOST UINT64_C(0x7ffff000)
#define VECTORS_MAX 1024u

bool shim_is_empty(struct shim_fd *state)
{
    if (HC_LIKELY(state == NULL || state->empty == 0))
        return false;
    /*
     * Only where epoll will tell, level-triggered, should more have come, or the end: then the
     * answer differs from the kernel's by when it is given, and by nothing else.
     */
    state->empty = 0;
    return state->nonblocking == 2 && state->watched != 0 && state->edges == 0 && !state->shared;
}

void shim_note_read(struct shim_fd *state, long result, size_t size)
{
    if (state != NULL && state->kind == SHIM_STREAM)
        state->empty = result > 0 && (size_t)result < size;
}

/* Is this a file of which a read gives less only at its end? Asked for large reads only. */
static bool reads_on(int fd, struct shim_fd *state)
{
    uint32_t status[36];
    if (state == NULL)
        return false;
    if (state->kind == SHIM_UNKNOWN) {
        if (SHIM_ROW(ROW_fstat, false, SHIM_ARG(fd), SHIM_PTR(status)) != 0)
            return false;
        /* st_mode of struct stat: the file type in the upper bits, 0100000 is a regular file. */
        uint32_t type = status[6] & 0170000u;
        state->kind = type == 0100000u ? SHIM_REGULAR : SHIM_OTHER;
    }
    return state->kind == SHIM_REGULAR;
}

/* Where a transfer is: in one buffer, or in the vector of the thread. */
static uint64_t place(const void *buffer, size_t done)
{
    if (SHIM_PTR(buffer) != SHIM_VECTOR)
        return SHIM_PTR(buffer) + done;
    shim_thread()->vector_skip = done;
    return SHIM_VECTOR;
}

static long read_pieces(enum row_id row, int fd, void *buffer, size_t size, int64_t offset,
                        int flags)
{
    struct shim_fd *state = shim_fd(fd);
    size_t done = 0;
    size = size < MOST ? size : MOST;
    if (HC_UNLIKELY(state != NULL && state->kind == SHIM_SIGNAL) && row == ROW_read)
        return shim_signalfd_read(fd, buffer, size);
    if (size == 0)
        buffer = NULL;
    if (row == ROW_read && shim_is_empty(state))
        return -EAGAIN;
    for (;;) {
        size_t piece = size - done < RUN_PIECE ? size - done : RUN_PIECE;
        int64_t at = offset < 0 ? offset : offset + (int64_t)done;
        long result =
            SHIM_ROW(row, done == 0, SHIM_ARG(fd), buffer == NULL ? 0 : place(buffer, done), piece,
                     SHIM_ARG(at), SHIM_ARG(flags));
        if (result < 0)
            return done != 0 ? (long)done : result;
        done += (size_t)result;
        if ((size_t)result < piece || done == size || !reads_on(fd, state))
            break;
    }
    if (row == ROW_read)
        shim_note_read(state, (long)done, size);
    return (long)done;
}

/* The kernel sends a signal when it was the limit, and none when no file can be that large. */
void shim_too_large(void)
{
    uint64_t limit[2];
    if (SHIM_ROW(ROW_prlimit64, false, 0, RLIMIT_FSIZE, 0, SHIM_PTR(limit)) == 0 &&
        limit[0] != RLIM_INFINITY)
        shim_raise(SIGXFSZ);
}

static bool is_stream(int fd, const struct shim_fd *state)
{
    uint32_t type = SOCK_STREAM;
    uint32_t size = sizeof type;
    if (state != NULL && (state->kind == SHIM_STREAM || state->kind == SHIM_DATAGRAM))
        return state->kind == SHIM_STREAM;
    /* One that was open before, or sent to the program; or a pipe, which leaves it as it is. */
    (void)SHIM_ROW(ROW_getsockopt, false, SHIM_ARG(fd), SOL_SOCKET, SO_TYPE, SHIM_PTR(&type),
                   sizeof type, SHIM_PTR(&size));
    return type == SOCK_STREAM;
}

void shim_broken_pipe(int fd, size_t done)
{
    const struct shim_fd *state = shim_fd(fd);
    /* Sockets tell first what went out; those of messages never kill. */
    if (is_stream(fd, state) && (done == 0 || state == NULL || state->kind != SHIM_STREAM))
        shim_raise(SIGPIPE);
}

static long write_pieces(enum row_id row, int fd, const void *buffer, size_t size, int64_t offset,
                         int flags)
{
    const struct shim_fd *state = shim_fd(fd);
    size_t done = 0;
    size = size < MOST ? size : MOST;
    /* What rings the bell of a signalfd is the shim alone. */
    if (HC_UNLIKELY(state != NULL && state->kind == SHIM_SIGNAL))
        return -EINVAL;
    /* A message is sent whole, or is too large. */
    if (HC_UNLIKELY(size > RUN_PIECE) && state != NULL && state->kind == SHIM_DATAGRAM)
        return -EMSGSIZE;
    for (;;) {
        size_t piece = size - done < RUN_PIECE ? size - done : RUN_PIECE;
        int64_t at = offset < 0 ? offset : offset + (int64_t)done;
        long result = SHIM_ROW(row, done == 0, SHIM_ARG(fd), size == 0 ? 0 : place(buffer, done),
                               piece, SHIM_ARG(at), SHIM_ARG(flags));
        if (result == -EPIPE)
            shim_broken_pipe(fd, done);
        if (result == -EFBIG)
            shim_too_large();
        if (result < 0)
            return done != 0 ? (long)done : result;
        done += (size_t)result;
        if ((size_t)result < piece || done == size)
            return (long)done;
    }
}

long shim_read(enum row_id row, int fd, void *buffer, size_t size, int64_t offset, int flags)
{
    if (row != ROW_read && offset < 0 && row != ROW_preadv2)
        return -EINVAL;
    if (buffer == NULL && size != 0)
        return -EFAULT;
    return read_pieces(row, fd, buffer, size, offset, flags);
}

long shim_write(enum row_id row, int fd, const void *buffer, size_t size, int64_t offset, int flags)
{
    if (row != ROW_write && offset < 0 && row != ROW_pwritev2)
        return -EINVAL;
    if (buffer == NULL && size != 0)
        return -EFAULT;
    return write_pieces(row, fd, buffer, size, offset, flags);
}

long shim_vector_size(const struct iovec *vector, size_t count)
{
    uint64_t total = 0;
    if (count > VECTORS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        struct iovec piece;
        if (!shim_copy(&piece, &vector[i], sizeof piece))
            return -EFAULT;
        if (piece.iov_len > INT64_MAX - total)
            return -EINVAL;
        total += piece.iov_len;
    }
    return (long)(total < MOST ? total : MOST);
}

/* Makes `vector` what SHIM_VECTOR means until the call returns; calls do not nest (shim_signal.c),
 * but a handler that runs between two pieces has vectors of its own. */
struct vectored {
    const struct iovec *vector;
    size_t count, skip;
};

static struct vectored vector_set(const struct iovec *vector, size_t count)
{
    struct shim_thread *thread = shim_thread();
    struct vectored before = {thread->vector, thread->vector_count, thread->vector_skip};
    thread->vector = vector;
    thread->vector_count = count;
    thread->vector_skip = 0;
    return before;
}

static void vector_restore(struct vectored before)
{
    struct shim_thread *thread = shim_thread();
    thread->vector = before.vector;
    thread->vector_count = before.count;
    thread->vector_skip = before.skip;
}

long shim_readv(enum row_id row, int fd, const struct iovec *vector, size_t count, int64_t offset,
                int flags)
{
    struct iovec one;
    long size = shim_vector_size(vector, count);
    if (size < 0)
        return size;
    if (count == 1 && shim_copy(&one, vector, sizeof one))
        return read_pieces(row, fd, one.iov_base, one.iov_len, offset, flags);
    struct vectored before = vector_set(vector, count);
    long result = read_pieces(row, fd, (void *)SHIM_VECTOR, (size_t)size, offset, flags);
    vector_restore(before);
    return result;
}

long shim_writev(enum row_id row, int fd, const struct iovec *vector, size_t count, int64_t offset,
                 int flags)
{
    struct iovec one;
    long size = shim_vector_size(vector, count);
    if (size < 0)
        return size;
    if (count == 1 && shim_copy(&one, vector, sizeof one))
        return write_pieces(row, fd, one.iov_base, one.iov_len, offset, flags);
    struct vectored before = vector_set(vector, count);
    long result = write_pieces(row, fd, (const void *)SHIM_VECTOR, (size_t)size, offset, flags);
    vector_restore(before);
    return result;
}

/* ---- sockets ------------------------------------------------------------------------------------- */

/* A length that the kernel takes by reference. */
static long length_in(const uint32_t *length, uint32_t most, uint32_t *value)
{
    int32_t given;
    if (!shim_copy(&given, length, sizeof given))
        return -EFAULT;
    if (given < 0)
        return -EINVAL;
    *value = (uint32_t)given < most ? (uint32_t)given : most;
    return 0;
}

#define ADDRESS_MAX 128u
#define CONTROL_MAX 20480u

struct results {
    uint32_t name_size;
    uint32_t flags;
    uint64_t control_size;
};

/* One message in. `name_size` and `control_size` say how much there is room for. */
static long receive(int fd, int flags, uint64_t data, size_t size, void *name, uint32_t name_size,
                    void *control, uint64_t control_size, struct results *results)
{
    struct shim_fd *state = shim_fd(fd);
    bool whole = (flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE | MSG_WAITALL)) == 0;
    if (whole && shim_is_empty(state))
        return -EAGAIN;
    size = size < RUN_PIECE ? size : RUN_PIECE;
    if (control_size > CONTROL_MAX)
        control_size = CONTROL_MAX;
    long result =
        SHIM_ROW(ROW_recvmsg, true, SHIM_ARG(fd), SHIM_ARG(flags), size != 0 ? data : 0, size,
                 SHIM_PTR(name), name_size, SHIM_PTR(control), control_size, SHIM_PTR(results));
    if (result < 0)
        return result;
    /* MSG_CTRUNC may tell of more than there was room for. */
    if (results->control_size > control_size)
        results->control_size = control_size;
    if (whole)
        shim_note_read(state, result, size);
    return result;
}

long shim_recvfrom(const uint64_t *a)
{
    struct shim_fd *state = shim_fd((int)a[0]);
    int flags = (int)a[3];
    uint32_t *length = (uint32_t *)(uintptr_t)a[5];
    uint64_t size = a[2] < RUN_PIECE ? a[2] : RUN_PIECE;
    if (a[4] == 0) {
        bool whole = (flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE | MSG_WAITALL)) == 0;
        if (whole && shim_is_empty(state))
            return -EAGAIN;
        long result = SHIM_ROW(ROW_recvfrom, true, a[0], size != 0 ? a[1] : 0, size, a[3]);
        if (whole)
            shim_note_read(state, result, size);
        return result;
    }
    struct results results;
    uint32_t room;
    uint8_t name[ADDRESS_MAX];
    long error = length_in(length, ADDRESS_MAX, &room);
    if (error != 0)
        return error;
    long result = receive((int)a[0], flags, a[1], size, name, ADDRESS_MAX, NULL, 0, &results);
    if (result < 0)
        return result;
    uint32_t told = results.name_size < ADDRESS_MAX ? results.name_size : ADDRESS_MAX;
    if (!shim_copy((void *)(uintptr_t)a[4], name, told < room ? told : room) ||
        !shim_copy(length, &told, sizeof told))
        return -EFAULT;
    return result;
}

static long sent(int fd, long result, int flags)
{
    if (result == -EPIPE && (flags & MSG_NOSIGNAL) == 0)
        shim_broken_pipe(fd, 0);
    return result;
}

/* Pieces of a stream only: a message is sent whole, or is too large. */
long shim_sendto(const uint64_t *a)
{
    struct shim_fd *state = shim_fd((int)a[0]);
    size_t done = 0;
    int flags = (int)a[3];
    if (a[5] > ADDRESS_MAX)
        return -EINVAL;
    for (;;) {
        size_t piece = a[2] - done;
        if (piece > RUN_PIECE) {
            if (state != NULL && state->kind == SHIM_DATAGRAM)
                return -EMSGSIZE;
            piece = RUN_PIECE;
        }
        long result = SHIM_ROW(ROW_sendto, done == 0, a[0], a[2] != 0 ? a[1] + done : 0, piece,
                               SHIM_ARG(flags | MSG_NOSIGNAL), a[5] != 0 ? a[4] : 0, a[5]);
        if (result < 0)
            return done != 0 ? (long)done : sent((int)a[0], result, flags);
        done += (size_t)result;
        if ((size_t)result < piece || done == a[2])
            return (long)done;
    }
}

static long message_in(struct msghdr *message, const void *from, long *size)
{
    if (!shim_copy(message, from, sizeof *message))
        return -EFAULT;
    *size = shim_vector_size(message->msg_iov, message->msg_iovlen);
    if (*size == -EINVAL)
        return -EMSGSIZE;
    return *size < 0 ? *size : 0;
}

long shim_recvmsg(int fd, void *to, int flags)
{
    struct msghdr message;
    struct results results = {0, 0, 0};
    long size;
    long error = message_in(&message, to, &size);
    if (error != 0)
        return error;
    uint32_t room = message.msg_namelen < ADDRESS_MAX ? message.msg_namelen : ADDRESS_MAX;
    if (message.msg_name == NULL)
        room = 0;
    struct vectored before = vector_set(message.msg_iov, message.msg_iovlen);
    long result = receive(fd, flags, SHIM_VECTOR, (size_t)size, room != 0 ? message.msg_name : NULL,
                          room, message.msg_controllen != 0 ? message.msg_control : NULL,
                          message.msg_controllen, &results);
    vector_restore(before);
    if (result < 0)
        return result;
    message.msg_controllen = results.control_size;
    error = shim_check_control(message.msg_control, results.control_size);
    if (error != 0)
        return error;
    message.msg_flags = (int)results.flags;
    if (message.msg_name != NULL)
        message.msg_namelen = results.name_size < ADDRESS_MAX ? results.name_size : ADDRESS_MAX;
    return shim_copy(to, &message, sizeof message) ? result : -EFAULT;
}

long shim_sendmsg(int fd, const void *from, int flags)
{
    struct msghdr message;
    struct shim_fd *state = shim_fd(fd);
    long size;
    size_t done = 0;
    long error = message_in(&message, from, &size);
    if (error != 0)
        return error;
    if (message.msg_namelen > ADDRESS_MAX || message.msg_controllen > CONTROL_MAX)
        return message.msg_name != NULL ? -EINVAL : -ENOBUFS;
    if (message.msg_name == NULL)
        message.msg_namelen = 0;
    struct vectored before = vector_set(message.msg_iov, message.msg_iovlen);
    long result;
    for (;;) {
        size_t piece = (size_t)size - done;
        result = -EMSGSIZE;
        if (piece > RUN_PIECE) {
            if (state != NULL && state->kind == SHIM_DATAGRAM)
                break;
            piece = RUN_PIECE;
        }
        shim_thread()->vector_skip = done;
        bool first = done == 0;
        result =
            SHIM_ROW(ROW_sendmsg, first, SHIM_ARG(fd), SHIM_ARG(flags | MSG_NOSIGNAL),
                     size != 0 ? SHIM_VECTOR : 0, piece,
                     message.msg_namelen != 0 ? SHIM_PTR(message.msg_name) : 0, message.msg_namelen,
                     first && message.msg_controllen != 0 ? SHIM_PTR(message.msg_control) : 0,
                     first ? message.msg_controllen : 0);
        if (result < 0)
            break;
        done += (size_t)result;
        if ((size_t)result < piece || done == (size_t)size)
            break;
    }
    vector_restore(before);
    if (result < 0 && done == 0)
        return sent(fd, result, flags);
    return (long)done;
}

long shim_recvmmsg(const uint64_t *a)
{
    struct mmsghdr *messages = (struct mmsghdr *)(uintptr_t)a[1];
    uint32_t count = (uint32_t)a[2];
    uint32_t done = 0;
    int flags = (int)a[3];
    struct shim_limit limit;
    long error = shim_limit_begin(&limit, (void *)(uintptr_t)a[4], false);
    if (error != 0)
        return error;
    while (done < count && done < VECTORS_MAX) {
        int now = flags & ~MSG_WAITFORONE;
        if (done != 0 && (flags & MSG_WAITFORONE) != 0)
            now |= MSG_DONTWAIT;
        error = shim_recvmsg((int)a[0], &messages[done].msg_hdr, now);
        uint32_t size = (uint32_t)error;
        if (error >= 0 && !shim_copy(&messages[done].msg_len, &size, sizeof size))
            error = -EFAULT;
        if (error < 0)
            break;
        done++;
        /* As in the kernel: looked at between two messages, and never ends the wait for one. */
        if (shim_limit_over(&limit))
            break;
    }
    shim_limit_end(&limit);
    return done != 0 || error >= 0 ? (long)done : error;
}

long shim_sendmmsg(const uint64_t *a)
{
    struct mmsghdr *messages = (struct mmsghdr *)(uintptr_t)a[1];
    uint32_t count = (uint32_t)a[2];
    uint32_t done = 0;
    for (; done < count && done < VECTORS_MAX; done++) {
        long result = shim_sendmsg((int)a[0], &messages[done].msg_hdr, (int)a[3]);
        if (result < 0)
            return done != 0 ? (long)done : result;
        uint32_t size = (uint32_t)result;
        if (!shim_copy(&messages[done].msg_len, &size, sizeof size))
            return -EFAULT;
    }
    return (long)done;
}
