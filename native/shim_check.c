/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_check.c -- what the host answered, held against what a kernel could have answered.
 *
 * Enclave side. A program believes its kernel: it counts on as many bytes as read says, goes from
 * one directory entry to the next by the length in it, and uses the number of a descriptor as an
 * index. So whatever has a bound gets it here, and what the program knows anyway (which descriptors
 * it asked for, where in a file it was) is not taken from the answer at all. What is left is what
 * nobody inside can know: contents, sizes of files, what exists. EIO is an answer that is none.
 */
#include "shim.h"

#include <linux/fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* The largest errno that has a name, and ENOTSUPP, which the kernel lets slip now and then. */
#define ERRNO_MAX 133
#define ERRNO_NOTSUPP 524

/* struct epoll_event and struct pollfd of the kernel. */
#define EVENT_SIZE 12u
#define POLLED_SIZE 8u
#define POLLED_TOLD 6u

/* Of size 0: how much there would be. */
static uint64_t most_attribute(uint64_t size)
{
    return size != 0 ? size : 65536u;
}

/* The most that a call of this row can have moved. */
static uint64_t most_of(enum row_id id, const struct row *row, const uint64_t *a)
{
    switch (id) {
    case ROW_recvfrom:
        /* With MSG_TRUNC, the size of a message that did not fit; a buffer is never overrun. */
        return (a[3] & MSG_TRUNC) != 0 ? INT32_MAX : a[2];
    case ROW_recvmsg:
        return (a[1] & MSG_TRUNC) != 0 ? INT32_MAX : a[3];
    case ROW_sendfile:
        return a[3];
    case ROW_tee:
        return a[2];
    case ROW_splice:
    case ROW_copy_file_range:
        return a[4];
    case ROW_getxattr:
    case ROW_lgetxattr:
    case ROW_fgetxattr:
        return most_attribute(a[3]);
    case ROW_listxattr:
    case ROW_llistxattr:
    case ROW_flistxattr:
        return most_attribute(a[2]);
    default:
        for (uint32_t i = 0; i < row->parameter_count; i++)
            if (row->parameters[i].size_by >= 0)
                return a[row->parameters[i].size_by];
        return 0;
    }
}

static bool is_plausible(enum row_id id, const uint64_t *a, int64_t result)
{
    switch (id) {
    case ROW_epoll_pwait:
        return (uint64_t)result <= a[2] / EVENT_SIZE;
    case ROW_ppoll:
        return (uint64_t)result <= a[1] / POLLED_SIZE;
    case ROW_pselect6:
        return (uint64_t)result <= 3u * (uint64_t)(uint32_t)a[0];
    case ROW_lseek:
        /* A device such as /dev/null stays where it is, at 0. */
        return (int)a[2] != 0 /* SEEK_SET */ || result == (int64_t)a[1] || result == 0;
    case ROW_fcntl:
        if ((int)a[1] == F_DUPFD || (int)a[1] == F_DUPFD_CLOEXEC)
            return (uint64_t)result >= a[2] && result < (int64_t)RUN_DESCRIPTORS_MAX;
        return result <= INT32_MAX;
    case ROW_ioctl:
    case ROW_inotify_add_watch:
    case ROW_umask:
    case ROW_prctl:
    case ROW_setsid:
    case ROW_getpgid:
    case ROW_getsid:
    case ROW_getppid:
        return result <= INT32_MAX;
    default:
        return result == 0;
    }
}

long shim_checked(enum row_id id, const struct row *row, const uint64_t *a, int64_t result)
{
    if (result < 0)
        return result >= -ERRNO_MAX || result == -ERRNO_NOTSUPP ? (long)result : -EIO;
    bool fine;
    switch ((enum row_returns)row->returns) {
    case ROW_RETURNS_FD:
        fine = result < (int64_t)RUN_DESCRIPTORS_MAX &&
               (id != ROW_dup3 || result == (int64_t)(int32_t)a[1]);
        break;
    case ROW_RETURNS_SIZE:
        fine = (uint64_t)result <= most_of(id, row, a);
        break;
    default:
        fine = is_plausible(id, a, result);
        break;
    }
    return fine ? (long)result : -EIO;
}

/* ---- buffers that hold more than data ---------------------------------------------------------- */

/* Of what was polled the answer says what happened; the program said which. */
static bool take_polled(uint8_t *to, const uint8_t *u_from, size_t size)
{
    for (size_t at = 0; at + POLLED_SIZE <= size; at += POLLED_SIZE)
        if (!shim_copy(to + at + POLLED_TOLD, u_from + at + POLLED_TOLD, POLLED_SIZE - POLLED_TOLD))
            return false;
    return true;
}

/* Of a set a part. */
static bool take_set(uint8_t *to, const uint8_t *u_from, size_t size)
{
    for (size_t at = 0; at + 8u <= size; at += 8u) {
        uint64_t asked, told;
        hc_copy_in(&told, u_from + at, sizeof told);
        if (!shim_copy(&asked, to + at, sizeof asked))
            return false;
        told &= asked;
        if (!shim_copy(to + at, &told, sizeof told))
            return false;
    }
    return true;
}

/* Where in a file the next byte is: as far on as there were bytes. */
static bool move_on(uint8_t *to, long result)
{
    uint64_t offset;
    if (!shim_copy(&offset, to, sizeof offset))
        return false;
    offset += (uint64_t)result;
    return shim_copy(to, &offset, sizeof offset);
}

bool shim_take(enum row_id id, uint8_t *to, const uint8_t *u_from, size_t size, long result)
{
    switch (id) {
    case ROW_ppoll:
        return take_polled(to, u_from, size);
    case ROW_pselect6:
        return take_set(to, u_from, size);
    case ROW_sendfile:
    case ROW_splice:
    case ROW_copy_file_range:
        return move_on(to, result);
    default:
        return shim_copy(to, u_from, size);
    }
}

/* struct linux_dirent64: inode and offset, then the length of the entry, a type, and the name. */
#define ENTRY_LENGTH 16u
#define ENTRY_NAME 19u

static bool entries_are_sound(const uint8_t *entries, size_t size)
{
    size_t at = 0;
    while (at < size) {
        uint16_t length;
        if (size - at < ENTRY_NAME + 1u ||
            !shim_copy(&length, entries + at + ENTRY_LENGTH, sizeof length))
            return false;
        if (length < ENTRY_NAME + 1u || length % 8u != 0 || length > size - at)
            return false;
        size_t name =
            shim_string_size((const char *)entries + at + ENTRY_NAME, length - ENTRY_NAME);
        if (name == 0 || name == SIZE_MAX)
            return false;
        at += length;
    }
    return true;
}

static bool ends_with_zero(const uint8_t *text, size_t size)
{
    uint8_t last;
    return size != 0 && shim_copy(&last, text + size - 1u, 1) && last == 0;
}

static bool are_descriptors(const uint8_t *pair)
{
    int32_t fds[2];
    return shim_copy(fds, pair, sizeof fds) && (uint32_t)fds[0] < RUN_DESCRIPTORS_MAX &&
           (uint32_t)fds[1] < RUN_DESCRIPTORS_MAX && fds[0] != fds[1];
}

bool shim_is_sound(enum row_id id, const uint64_t *a, long result)
{
    switch (id) {
    case ROW_getdents64:
        return entries_are_sound((const uint8_t *)(uintptr_t)a[1], (size_t)result);
    case ROW_getcwd:
        return ends_with_zero((const uint8_t *)(uintptr_t)a[0], (size_t)result);
    case ROW_listxattr:
    case ROW_llistxattr:
    case ROW_flistxattr:
        return result == 0 || a[2] == 0 ||
               ends_with_zero((const uint8_t *)(uintptr_t)a[1], (size_t)result);
    case ROW_socketpair:
        return are_descriptors((const uint8_t *)(uintptr_t)a[3]);
    case ROW_pipe2:
        return are_descriptors((const uint8_t *)(uintptr_t)a[0]);
    default:
        return true;
    }
}

/* ---- control data ------------------------------------------------------------------------------ */

long shim_check_control(const uint8_t *control, size_t size)
{
    size_t at = 0;
    while (size - at >= sizeof(struct cmsghdr)) {
        struct cmsghdr head;
        if (!shim_copy(&head, control + at, sizeof head))
            return -EFAULT;
        if (head.cmsg_len < sizeof head || head.cmsg_len > size - at)
            return -EIO;
        bool rights = head.cmsg_level == SOL_SOCKET && head.cmsg_type == SCM_RIGHTS;
        for (size_t data = CMSG_LEN(0); rights && data + 4u <= head.cmsg_len; data += 4u) {
            int32_t received;
            if (!shim_copy(&received, control + at + data, sizeof received))
                return -EFAULT;
            if ((uint32_t)received >= RUN_DESCRIPTORS_MAX)
                return -EIO;
            /* New here, and whoever sent it may have it still. */
            shim_fd_new(received, SHIM_UNKNOWN, 0);
            shim_fd(received)->shared = 1;
        }
        size_t step = CMSG_ALIGN(head.cmsg_len);
        at = step < size - at ? at + step : size;
    }
    return 0;
}
