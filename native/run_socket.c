/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_socket.c -- sockets: addresses, which the policy judges, and messages, which may carry
 * descriptors.
 *
 * Host side. Addresses and control data are copied before they are looked at; lengths that the
 * kernel writes back live in private memory, as it would otherwise believe what the program makes
 * of them in the middle of the call.
 */
#define _GNU_SOURCE
#include "run_total.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDRESS_MAX 128u
#define CONTROL_MAX 20480u
/* Of linux/socket.h, which cannot be had beside sys/socket.h. */
#define SOL_ALG_LEVEL 279
#define SOL_TLS_LEVEL 282

struct address {
    struct sockaddr_storage storage;
    socklen_t size;
};

_Static_assert(sizeof(struct sockaddr_storage) >= ADDRESS_MAX, "an address has room");

static long address_in(const struct run_call *call, uint32_t parameter, struct address *address)
{
    size_t size = call->sizes[parameter];
    if (call->a[parameter] == 0)
        size = 0;
    if (size > ADDRESS_MAX)
        return -EINVAL;
    memset(address, 0, sizeof *address);
    if (size != 0)
        hc_copy_in(&address->storage, (const void *)(uintptr_t)call->a[parameter], size);
    address->size = (socklen_t)size;
    return 0;
}

/*
 * Asks the policy. A unix socket with a path is a name, and judged as one; then the address leads
 * through `*handle`, which the caller closes.
 */
static long judged(const struct run_call *call, enum run_address_use use, struct address *address,
                   int *handle)
{
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&address->storage;
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    *handle = -1;
    if (address->storage.ss_family == AF_UNIX && address->size > head && un->sun_path[0] != '\0' &&
        run_policy_has_paths()) {
        char path[sizeof un->sun_path + 1u];
        size_t size = address->size - head;
        size = size < sizeof un->sun_path ? size : sizeof un->sun_path;
        memcpy(path, un->sun_path, size);
        path[size] = '\0';
        long error = run_path_socket(call->id, path, use == RUN_BIND, un->sun_path,
                                     sizeof un->sun_path, handle);
        if (error == 0)
            address->size = (socklen_t)(head + strlen(un->sun_path) + 1u);
        return error;
    }
    /*
     * To be connected no longer is allowed whatever the rules, so no more than that may be asked for:
     * what follows the family is left out, as there are protocols that look at nothing else.
     */
    if (use == RUN_CONNECT && address->storage.ss_family == AF_UNSPEC &&
        address->size > sizeof(sa_family_t) && run_policy_has_addresses())
        address->size = sizeof(sa_family_t);
    if (use != RUN_BIND && run_policy_has_addresses())
        run_policy_settle((struct sockaddr *)&address->storage, address->size);
    return -run_policy_address(call->id, use, (const struct sockaddr *)&address->storage,
                               address->size);
}

/* Writes an address and its full size where the program wants them. */
static void address_out(const struct run_call *call, uint32_t parameter, uint32_t length,
                        const struct address *address)
{
    if (call->a[parameter] != 0) {
        size_t room = call->sizes[parameter];
        hc_copy_out((void *)(uintptr_t)call->a[parameter], &address->storage,
                    address->size < room ? address->size : room);
    }
    if (call->a[length] != 0) {
        uint32_t size = address->size;
        hc_copy_out((void *)(uintptr_t)call->a[length], &size, sizeof size);
    }
}

static long named(struct run_call *call)
{
    struct address address;
    bool accepting = call->id == ROW_accept4;
    memset(&address, 0, sizeof address);
    address.size = ADDRESS_MAX;
    long arguments[6] = {(long)call->a[0],
                         (long)(uintptr_t)&address.storage,
                         (long)(uintptr_t)&address.size,
                         accepting ? (long)call->a[3] : 0,
                         0,
                         0};
    if (accepting && call->trying && !call->nonblocking) {
        /* There is no flag for it. Another thread may be faster: then this one waits all the same,
         * and the program's other calls go by their companions. */
        struct pollfd ready = {(int)call->a[0], POLLIN, 0};
        if (poll(&ready, 1, 0) == 0)
            return RUN_WOULD_BLOCK;
    }
    long result = run_interruptible(call->row->number, arguments);
    if (result < 0)
        return result;
    if (accepting)
        run_fd_give(result);
    if (address.size > ADDRESS_MAX)
        address.size = ADDRESS_MAX;
    address_out(call, 1, accepting ? 4 : 3, &address);
    return result;
}

static long to_address(struct run_call *call)
{
    struct address address;
    bool sending = call->id == ROW_sendto;
    uint32_t at = sending ? 4 : 1;
    int handle = -1;
    long error = address_in(call, at, &address);
    long arguments[6] = {(long)call->a[0], 0, 0, 0, 0, 0};
    if (error != 0)
        return error;
    if (call->id == ROW_connect && call->trying && !call->nonblocking)
        return RUN_MUST_BLOCK;
    if (!sending || address.size != 0) {
        error = judged(call,
                       sending                   ? RUN_SEND
                       : call->id == ROW_connect ? RUN_CONNECT
                                                 : RUN_BIND,
                       &address, &handle);
        if (error != 0)
            return error;
    }
    long result;
    if (sending) {
        arguments[1] = (long)call->a[1];
        arguments[2] = (long)call->a[2];
        arguments[3] = (long)call->a[3];
        arguments[4] = address.size != 0 ? (long)(uintptr_t)&address.storage : 0;
        arguments[5] = (long)address.size;
        result = run_stream_send(call, arguments, 1, 2, 3);
    } else {
        arguments[1] = (long)(uintptr_t)&address.storage;
        arguments[2] = (long)address.size;
        uint32_t place = run_total_connect_begin((int64_t)call->a[0]);
        result = run_interruptible(call->row->number, arguments);
        run_total_connect_end(place);
    }
    run_path_socket_made(handle);
    return result;
}

/* One number of both: of each the low half. */
#define OPTION(level, name) ((uint64_t)(uint32_t)(level) << 32 | (uint32_t)(name))

/* Does the kernel look at nothing but the value itself? See run_option.h. */
static bool option_is_flat(const struct run_call *call)
{
    switch (OPTION(call->a[1], call->a[2])) {
#define RUN_OPTION(level, name) case OPTION(level, name):
#include "run_option.h"
#undef RUN_OPTION
        return true;
    default:
        return false;
    }
}

static long set_option(const struct run_call *call)
{
    return option_is_flat(call) ? run_raw(call) : -ENOPROTOOPT;
}

static long get_option(struct run_call *call)
{
    socklen_t size = (socklen_t)call->sizes[3];
    if (!option_is_flat(call))
        return -ENOPROTOOPT;
    /* The kernel writes at most `size` bytes; where, is checked. */
    long arguments[6] = {(long)call->a[0], (long)(int)call->a[1],  (long)(int)call->a[2],
                         (long)call->a[3], (long)(uintptr_t)&size, 0};
    long result = run_interruptible(SYS_getsockopt, arguments);
    if (result == 0 && call->a[5] != 0)
        hc_copy_out((void *)(uintptr_t)call->a[5], &size, sizeof size);
    return result;
}

/* ---- control data ---------------------------------------------------------------------------- */

/*
 * The protocols whose control data is known to hold no pointers. That of others does: a remote
 * memory access by RDS names addresses of the sender.
 */
static bool control_is_flat(int level)
{
    return level == SOL_SOCKET || level == IPPROTO_IP || level == IPPROTO_IPV6 ||
           level == IPPROTO_UDP || level == SOL_TLS_LEVEL || level == SOL_ALG_LEVEL;
}

/* As many as the kernel passes on at a time. */
#define RIGHTS_MAX 253u

/* Descriptors that go with a message: held, as the program's numbers may become ours meanwhile. */
struct rights {
    size_t count;
    int fds[RIGHTS_MAX];
};

static void let_go(struct rights *rights)
{
    while (rights->count != 0)
        run_fd_let_go(rights->fds[--rights->count]);
}

/*
 * Checks a private copy. Descriptors must be the program's; its process id, which it knows, becomes
 * ours, which the kernel wants. What is in `rights` is the caller's to let go, also after an error.
 */
static long control_in(uint8_t *control, size_t size, struct rights *rights)
{
    size_t at = 0;
    while (at + sizeof(struct cmsghdr) <= size) {
        struct cmsghdr head;
        memcpy(&head, control + at, sizeof head);
        if (head.cmsg_len < sizeof head || head.cmsg_len > size - at)
            return -EINVAL;
        if (!control_is_flat(head.cmsg_level))
            return -EINVAL;
        size_t data = at + CMSG_LEN(0);
        size_t end = at + head.cmsg_len;
        if (head.cmsg_level == SOL_SOCKET && head.cmsg_type == SCM_RIGHTS) {
            for (; data + sizeof(int) <= end; data += sizeof(int)) {
                int fd;
                memcpy(&fd, control + data, sizeof fd);
                if (rights->count == RIGHTS_MAX)
                    return -EINVAL;
                if (!run_fd_hold(fd))
                    return -EBADF;
                rights->fds[rights->count++] = fd;
            }
        } else if (head.cmsg_level == SOL_SOCKET && head.cmsg_type == SCM_CREDENTIALS) {
            struct ucred credentials;
            if (end - data < sizeof credentials)
                return -EINVAL;
            memcpy(&credentials, control + data, sizeof credentials);
            if (credentials.pid == g_run_program)
                credentials.pid = getpid();
            memcpy(control + data, &credentials, sizeof credentials);
        }
        at += CMSG_ALIGN(head.cmsg_len);
    }
    return 0;
}

static void control_received(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t data = CMSG_LEN(0); data + sizeof(int) <= part->cmsg_len; data += sizeof(int)) {
            int fd;
            memcpy(&fd, (uint8_t *)part + data, sizeof fd);
            run_fd_give(fd);
        }
    }
}

static __thread union {
    struct cmsghdr head;
    uint8_t bytes[CONTROL_MAX];
} g_control;

static long send_message(struct run_call *call)
{
    struct address address;
    struct rights rights;
    struct iovec data = {(void *)(uintptr_t)(call->a[2] + call->progress),
                         (size_t)call->a[3] - call->progress};
    struct msghdr message;
    int flags = (int)call->a[1];
    const bool tries = run_tries(call, flags);
    long error = address_in(call, 4, &address);
    size_t control = call->sizes[6];
    if (error != 0)
        return error;
    if (control > CONTROL_MAX)
        return -ENOBUFS;
    int handle = -1;
    if (address.size != 0 && (error = judged(call, RUN_SEND, &address, &handle)) != 0)
        return error;
    rights.count = 0;
    memset(&message, 0, sizeof message);
    message.msg_iov = &data;
    message.msg_iovlen = call->a[2] != 0;
    if (address.size != 0) {
        message.msg_name = &address.storage;
        message.msg_namelen = address.size;
    }
    /* Control data goes with the first byte, and once. */
    if (call->a[6] != 0 && control != 0 && call->progress == 0) {
        hc_copy_in(g_control.bytes, (const void *)(uintptr_t)call->a[6], control);
        error = control_in(g_control.bytes, control, &rights);
        message.msg_control = g_control.bytes;
        message.msg_controllen = control;
    }
    if (tries)
        flags |= MSG_DONTWAIT;
    long arguments[6] = {(long)call->a[0], (long)(uintptr_t)&message, (long)flags, 0, 0, 0};
    long result = error != 0 ? error : run_interruptible(SYS_sendmsg, arguments);
    let_go(&rights);
    run_path_socket_made(handle);
    if (error != 0)
        return error;
    return run_tried_write(call, result, data.iov_len, tries);
}

struct results {
    uint32_t name_size;
    uint32_t flags;
    uint64_t control_size;
};

static long receive_message(struct run_call *call)
{
    struct address address;
    struct iovec data = {(void *)(uintptr_t)call->a[2], (size_t)call->a[3]};
    struct msghdr message;
    struct results results;
    int flags = (int)call->a[1];
    const bool tries = run_tries(call, flags);
    size_t control = call->a[6] != 0 ? call->sizes[6] : 0;
    if (control > CONTROL_MAX)
        return -EINVAL;
    if (tries && (flags & RUN_UNTRIED) != 0)
        return RUN_MUST_BLOCK;
    if (tries)
        flags |= MSG_DONTWAIT;
    memset(&address, 0, sizeof address);
    memset(&message, 0, sizeof message);
    message.msg_iov = &data;
    message.msg_iovlen = call->a[2] != 0;
    if (call->a[4] != 0) {
        message.msg_name = &address.storage;
        message.msg_namelen = ADDRESS_MAX;
    }
    if (control != 0) {
        memset(g_control.bytes, 0, control);
        message.msg_control = g_control.bytes;
        message.msg_controllen = control;
    }
    long arguments[6] = {(long)call->a[0], (long)(uintptr_t)&message, (long)flags, 0, 0, 0};
    long result = run_interruptible(SYS_recvmsg, arguments);
    if (result < 0)
        return result == -EAGAIN && tries ? RUN_WOULD_BLOCK : result;
    control_received(&message);
    if (call->a[4] != 0) {
        size_t room = call->sizes[4];
        hc_copy_out((void *)(uintptr_t)call->a[4], &address.storage,
                    message.msg_namelen < room ? message.msg_namelen : room);
    }
    if (control != 0)
        hc_copy_out((void *)(uintptr_t)call->a[6], g_control.bytes, control);
    results.name_size = message.msg_namelen;
    results.flags = (uint32_t)message.msg_flags;
    results.control_size = message.msg_controllen;
    if (call->a[8] != 0)
        hc_copy_out((void *)(uintptr_t)call->a[8], &results, sizeof results);
    return result;
}

long run_socket(struct run_call *call)
{
    switch ((enum row_id)call->id) {
    case ROW_sendto:
    case ROW_connect:
    case ROW_bind:
        return to_address(call);
    case ROW_accept4:
    case ROW_getsockname:
    case ROW_getpeername:
        return named(call);
    case ROW_setsockopt:
        return set_option(call);
    case ROW_getsockopt:
        return get_option(call);
    case ROW_sendmsg:
        return send_message(call);
    case ROW_recvmsg:
        return receive_message(call);
    default:
        return -ENOSYS;
    }
}
