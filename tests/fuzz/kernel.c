/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.c -- the kernel below H, as far as H's own safety goes: every pointer that is passed is
 * read or written as the real one would do it, so that AddressSanitizer sees the ones that lead
 * elsewhere, every descriptor is looked at, and what is opened has to be closed or given away.
 * What it answers is the input's choice.
 */
#include "kernel_model.h"

#include "run_stats.h"
#include "run_trace.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#undef syscall
#undef run_interruptible_asm

bool g_kernel_open[KERNEL_FDS];
void (*g_kernel_turn)(bool before);
void (*g_kernel_looks)(const void *memory, size_t size);

static bool fails(void)
{
    uint8_t how = input_u8(&g_input);
    errno = how == 1 ? EINTR : how == 2 ? EAGAIN : 1 + how % 100;
    return how != 0 && how < 64u;
}

/* Are these bytes of the window that another thread of the program may change at any time? */
static void may_read(long pointer, size_t size)
{
    if (pointer != 0 && size != 0) {
        if (g_kernel_looks != NULL)
            g_kernel_looks((const void *)pointer, size);
        (void)touch((const void *)pointer, size);
    }
}

/* What the kernel writes is the input's. */
static void may_write(long pointer, size_t size)
{
    if (pointer != 0 && size != 0) {
        if (g_kernel_looks != NULL)
            g_kernel_looks((const void *)pointer, size);
        input_copy(&g_input, (void *)pointer, size);
    }
}

static void may_name(long pointer)
{
    if (pointer != 0)
        (void)strlen((const char *)pointer);
}

/* A descriptor in a call: the program's, or one that H has opened for a moment or keeps. */
static void may_use(long fd, bool handle)
{
    int number = (int)fd;
    if (number == AT_FDCWD || number < 0)
        return;
    PROMISE(run_fd_owned(number) ||
            (handle && (number >= KERNEL_PROC ? number <= KERNEL_HOOK
                                              : number < KERNEL_FDS && g_kernel_open[number])));
}

static long new_fd(void)
{
    for (long fd = 3; fd < KERNEL_FDS; fd++)
        if (!g_kernel_open[fd]) {
            g_kernel_open[fd] = true;
            return fd;
        }
    return -EMFILE;
}

long kernel_plain(long good)
{
    return fails() ? -1 : good;
}

int kernel_open(int dirfd, const char *path, int flags)
{
    may_use(dirfd, true);
    may_name((long)(uintptr_t)path);
    (void)flags;
    long fd = fails() ? -errno : new_fd();
    if (fd < 0)
        errno = (int)-fd;
    return fd < 0 ? -1 : (int)fd;
}

int kernel_close(int fd)
{
    /* Twice would close what another thread has just been given. */
    PROMISE(fd >= 0 && fd < KERNEL_FDS && g_kernel_open[fd]);
    g_kernel_open[fd] = false;
    return 0;
}

int kernel_fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    int least = command == F_GETFL || command == F_GETFD ? 0 : va_arg(list, int);
    va_end(list);
    /* Whether there is anything may be asked of every number. */
    if (command == F_GETFD) {
        errno = EBADF;
        return fd >= 0 && fd < KERNEL_FDS && g_kernel_open[fd] ? 0 : -1;
    }
    may_use(fd, true);
    if (command == F_GETFL)
        return (input_u8(&g_input) & 1u) != 0 ? O_NONBLOCK : 0;
    if (command != F_DUPFD && command != F_DUPFD_CLOEXEC)
        return (int)kernel_plain(0);
    /* Among the program's descriptors, or above them. */
    return least >= KERNEL_FDS ? KERNEL_PROC : kernel_open(fd, "", 0);
}

int kernel_through(int fd)
{
    may_use(fd, true);
    return (int)kernel_plain(0);
}

ssize_t kernel_moved(int fd, size_t most)
{
    may_use(fd, true);
    size_t size = input_u16(&g_input);
    return fails() ? -1 : (ssize_t)(size < most ? size : most);
}

static uint32_t g_question;

ssize_t kernel_send(int fd, const void *from, size_t size)
{
    PROMISE(fd == KERNEL_HOOK && size >= sizeof g_question);
    (void)touch(from, size);
    memcpy(&g_question, from, sizeof g_question);
    return fails() ? -1 : (ssize_t)size;
}

ssize_t kernel_recv(int fd, void *to, size_t size)
{
    may_use(fd, true);
    if (fails())
        return -1;
    input_copy(&g_input, to, size);
    if (fd != KERNEL_HOOK)
        return (ssize_t)(input_u8(&g_input) % (size + 1u));
    /* Mostly an answer to what was asked. */
    if ((input_u8(&g_input) & 3u) != 0)
        memcpy(to, &g_question, sizeof g_question);
    return (ssize_t)size;
}

int kernel_tells(int fd, void *value, socklen_t *size)
{
    may_use(fd, true);
    if (fails())
        return -1;
    input_copy(&g_input, value, *size);
    /* A time limit is one. */
    if (*size == sizeof(struct timeval))
        ((struct timeval *)value)->tv_usec &= 0x7ffff;
    *size = input_u8(&g_input) % (*size + 1u);
    return 0;
}

int kernel_stat(int fd, struct stat *status)
{
    static const mode_t g_kinds[] = {S_IFREG, S_IFSOCK, S_IFCHR, S_IFLNK, S_IFDIR};
    (void)fd;
    memset(status, 0, sizeof *status);
    status->st_mode = g_kinds[input_u8(&g_input) % 5u];
    status->st_nlink = 1;
    return fails() ? -1 : 0;
}

int kernel_statx(int fd, struct statx *status)
{
    may_use(fd, true);
    status->stx_mask = STATX_MNT_ID;
    status->stx_mnt_id = input_u8(&g_input) % 2u;
    return fails() ? -1 : 0;
}

int kernel_statfs(int fd, struct statfs *status)
{
    (void)fd;
    memset(status, 0, sizeof *status);
    status->f_type = (input_u8(&g_input) & 1u) != 0 ? 0x9fa0 : 0;
    return fails() ? -1 : 0;
}

ssize_t kernel_readlink(const char *path, char *to, size_t room)
{
    static const char *const g_names[] = {"/proc/4711/mem", "/proc/4711/fd", "/srv/data",
                                          "/proc/1/task/7/maps", "/"};
    may_name((long)(uintptr_t)path);
    if (fails())
        return -1;
    const char *name = g_names[input_u8(&g_input) % 5u];
    size_t size = strlen(name) < room ? strlen(name) : room;
    memcpy(to, name, size);
    return (ssize_t)size;
}

int kernel_pair(int pair[2])
{
    if (fails())
        return -1;
    pair[0] = (int)new_fd();
    if (pair[0] < 0)
        return -1;
    pair[1] = (int)new_fd();
    if (pair[1] < 0) {
        g_kernel_open[pair[0]] = false;
        errno = EMFILE;
        return -1;
    }
    return 0;
}

int kernel_poll(struct pollfd *set, nfds_t count)
{
    for (nfds_t i = 0; i < count; i++) {
        may_use(set[i].fd, set[i].fd == KERNEL_HOOK);
        set[i].revents = (short)input_u8(&g_input);
    }
    return (input_u8(&g_input) & 1u) != 0;
}

int kernel_kill(pid_t pid, int number)
{
    (void)number;
    /* Nobody but processes by their number: neither groups nor everybody nor H. */
    PROMISE(pid > 0 && pid != getpid());
    return fails() ? -1 : 0;
}

/* ---- system calls by number ---------------------------------------------------------------------- */

/* Of these the value holds an address or a descriptor, which the kernel would look up in H. */
static bool has_pointers(int level, int name)
{
    if (level == SOL_SOCKET)
        return name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF ||
               name == SO_ATTACH_REUSEPORT_CBPF || name == SO_ATTACH_REUSEPORT_EBPF ||
               name == 77 /* SO_PEERPIDFD */;
    if (level == IPPROTO_TCP)
        return name == TCP_ZEROCOPY_RECEIVE;
    /* iptables: addresses of counters. Of IPv6, 66 and 67 are the traffic class. */
    if (level == IPPROTO_IP && name >= 64 && name < 68)
        return true;
    if (level == IPPROTO_IPV6 && name >= 64 && name < 70)
        return name != IPV6_RECVTCLASS && name != IPV6_TCLASS;
    /* RDS, XDP: memory of the caller's. */
    return level == 276 || level == 283;
}

static void may_vector(long pointer, size_t count, bool read)
{
    const struct iovec *vector = (const struct iovec *)pointer;
    for (size_t i = 0; i < count; i++) {
        if (read)
            may_read((long)(uintptr_t)vector[i].iov_base, vector[i].iov_len);
        else
            may_write((long)(uintptr_t)vector[i].iov_base, vector[i].iov_len);
    }
}

static long moved(size_t most)
{
    size_t size = input_u16(&g_input);
    return (long)(size < most ? size : most);
}

static long message(long pointer, bool sending)
{
    struct msghdr *header = (struct msghdr *)pointer;
    may_vector((long)(uintptr_t)header->msg_iov, header->msg_iovlen, sending);
    if (sending) {
        may_read((long)(uintptr_t)header->msg_name, header->msg_namelen);
        may_read((long)(uintptr_t)header->msg_control, header->msg_controllen);
        for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
             part = CMSG_NXTHDR(header, part))
            for (size_t at = CMSG_LEN(0);
                 part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
                 at + 4u <= part->cmsg_len;
                 at += 4u) {
                int fd;
                memcpy(&fd, (uint8_t *)part + at, sizeof fd);
                may_use(fd, false);
            }
        return moved(header->msg_iovlen != 0 ? header->msg_iov[0].iov_len : 0);
    }
    may_write((long)(uintptr_t)header->msg_name, header->msg_namelen);
    if (header->msg_name != NULL)
        header->msg_namelen = input_u8(&g_input) % 129u;
    /* A descriptor that comes along is new in H. */
    if (header->msg_controllen >= CMSG_SPACE(sizeof(int)) && (input_u8(&g_input) & 1u) != 0) {
        struct cmsghdr *part = CMSG_FIRSTHDR(header);
        int fd = (int)new_fd();
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = fd >= 0 ? SCM_RIGHTS : 0;
        part->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(part), &fd, sizeof fd);
        header->msg_controllen = CMSG_SPACE(sizeof fd);
    } else {
        header->msg_controllen = 0;
    }
    header->msg_flags = input_u8(&g_input);
    return moved(header->msg_iovlen != 0 ? header->msg_iov[0].iov_len : 0);
}

static void name_back(const long *a)
{
    socklen_t *size = (socklen_t *)a[2];
    may_write(a[1], *size);
    *size = input_u8(&g_input) % 129u;
}

static void may_select(const long *a)
{
    size_t words = ((size_t)a[0] + 63u) / 64u;
    for (int set = 1; set <= 3; set++) {
        if (a[set] == 0)
            continue;
        const uint64_t *bits = (const uint64_t *)a[set];
        for (size_t fd = 0; fd < words * 64u && fd < (size_t)a[0]; fd++)
            if (((bits[fd / 64u] >> (fd % 64u)) & 1u) != 0)
                may_use((long)fd, false);
        may_write(a[set], words * 8u);
    }
    may_write(a[4], a[4] != 0 ? 16u : 0);
}

/* A directory: the program's, or a handle that was judged, by itself or by its name in /proc. */
static void may_use_directory(long fd, long name)
{
    may_use(fd, true);
    PROMISE(fd < KERNEL_FDS || strncmp((const char *)name, "self/fd/", 8) == 0);
}

/* A row as it came: its buffers are as large as its parameters say. */
static long by_row(const struct row *row, const long *a)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < row->parameter_count && i < 6u; i++) {
        const struct row_parameter *p = &row->parameters[i];
        size_t size = p->size_by >= 0 ? (size_t)a[p->size_by] : p->size;
        if (p->kind == ROW_FD)
            may_use(a[i], false);
        else if (p->kind == ROW_DIRFD)
            may_use_directory(a[i], i + 1u < row->parameter_count ? a[i + 1u] : 0);
        else if (p->kind == ROW_STRING)
            may_name(a[i]);
        else if (p->kind == ROW_IN || p->kind == ROW_INOUT)
            may_read(a[i], a[i] != 0 ? size : 0);
        if (p->kind == ROW_OUT || p->kind == ROW_INOUT)
            may_write(a[i], a[i] != 0 ? size : 0);
        if (p->size_by >= 0 && size > most)
            most = size;
    }
    if (row->returns == ROW_RETURNS_FD)
        return new_fd();
    return row->returns == ROW_RETURNS_SIZE ? moved(most) : 0;
}

static const struct row *row_of(long number)
{
    for (uint32_t id = 0; id < ROW_COUNT; id++)
        if (run_row(id)->number == number)
            return run_row(id);
    return NULL;
}

static long make_call(long number, const long a[6])
{
    if (number == SYS_close) {
        may_use(a[0], true);
        /* Gone, whatever the answer is. */
        if (a[0] >= 0 && a[0] < KERNEL_FDS)
            g_kernel_open[a[0]] = false;
    }
    if (fails())
        return -errno;
    switch (number) {
    case SYS_tgkill:
        return -ESRCH;
    case SYS_sched_setattr:
        return 0;
    case SYS_close:
        return 0;
    case SYS_openat:
        may_use(a[0], true);
        may_name(a[1]);
        return new_fd();
    case SYS_openat2:
        may_use(a[0], true);
        may_name(a[1]);
        may_read(a[2], (size_t)a[3]);
        return new_fd();
    case SYS_fcntl:
        may_use(a[0], false);
        if (a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC)
            return new_fd();
        if (a[1] == F_GETLK || a[1] == F_SETLK || a[1] == F_SETLKW || a[1] == F_OFD_GETLK ||
            a[1] == F_OFD_SETLK || a[1] == F_OFD_SETLKW)
            may_write(a[2], sizeof(struct flock));
        if (a[1] == F_GETOWN_EX || a[1] == F_SETOWN_EX)
            may_write(a[2], 8);
        return 0;
    case SYS_fstatfs:
        /* statfs is made of it, of a handle. */
        may_use(a[0], true);
        may_write(a[1], sizeof(struct statfs));
        return 0;
    case SYS_ioctl:
        /* Which calls and how large their data is, is the table's business: a trusted one. */
        may_use(a[0], false);
        return 0;
    case SYS_setsockopt:
        may_use(a[0], false);
        PROMISE(!has_pointers((int)a[1], (int)a[2]));
        may_read(a[3], (size_t)(unsigned)a[4]);
        return 0;
    case SYS_getsockopt: {
        socklen_t *size = (socklen_t *)a[4];
        may_use(a[0], false);
        PROMISE(!has_pointers((int)a[1], (int)a[2]));
        may_write(a[3], *size);
        *size = input_u8(&g_input) % (*size + 1u);
        return 0;
    }
    case SYS_accept4:
        may_use(a[0], false);
        name_back(a);
        return new_fd();
    case SYS_getsockname:
    case SYS_getpeername:
        may_use(a[0], false);
        name_back(a);
        return 0;
    case SYS_connect:
    case SYS_bind:
        may_use(a[0], false);
        may_read(a[1], (size_t)a[2]);
        return 0;
    case SYS_sendto:
        may_use(a[0], false);
        may_read(a[1], (size_t)a[2]);
        may_read(a[4], (size_t)a[5]);
        return moved((size_t)a[2]);
    case SYS_recvfrom:
        may_use(a[0], false);
        may_write(a[1], (size_t)a[2]);
        return moved((size_t)a[2]);
    case SYS_sendmsg:
    case SYS_recvmsg:
        may_use(a[0], false);
        return message(a[1], number == SYS_sendmsg);
    case SYS_preadv2:
    case SYS_pwritev2:
        may_use(a[0], false);
        if (a[3] < -1 || (a[3] >= 0 && a[3] > INT64_MAX - (1 << 20)))
            return -EINVAL;
        may_vector(a[1], (size_t)a[2], number == SYS_pwritev2);
        return moved(((const struct iovec *)a[1])->iov_len);
    case SYS_epoll_ctl:
        may_use(a[0], false);
        may_use(a[2], false);
        may_read(a[3], sizeof(struct epoll_event));
        return 0;
    case SYS_epoll_pwait:
        may_use(a[0], false);
        may_write(a[1], (size_t)a[2] * sizeof(struct epoll_event));
        return moved((size_t)a[2]);
    case SYS_ppoll: {
        struct pollfd *set = (struct pollfd *)a[0];
        may_read(a[2], a[2] != 0 ? 16u : 0);
        return kernel_poll(set, (nfds_t)a[1]);
    }
    case SYS_pselect6:
        may_select(a);
        return moved(3);
    case SYS_dup3:
        may_use(a[0], false);
        if (a[1] < 3 || a[1] >= KERNEL_FDS)
            return -EBADF;
        /* Only what is the program's is replaced. */
        PROMISE(a[0] == a[1] || (g_kernel_open[a[1]] && run_fd_owned(a[1])));
        g_kernel_open[a[1]] = true;
        return a[1];
    default:
        PROMISE(row_of(number) != NULL);
        return by_row(row_of(number), a);
    }
}

long kernel_call(long number, const long arguments[6])
{
    if (g_kernel_turn != NULL)
        g_kernel_turn(true);
    long result = make_call(number, arguments);
    if (g_kernel_turn != NULL)
        g_kernel_turn(false);
    return result;
}

long kernel_syscall(long number, ...)
{
    long arguments[6];
    const int given = number == SYS_tgkill ? 3 : number == SYS_openat2 ? 4 : 6;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = i < given ? va_arg(list, long) : 0;
    va_end(list);
    long result = kernel_call(number, arguments);
    errno = result < 0 ? (int)-result : errno;
    return result < 0 ? -1 : result;
}

long kernel_interruptible(const uint32_t *flag, long number, const long *arguments)
{
    if (__atomic_load_n(flag, __ATOMIC_RELAXED) != 0)
        return -EINTR;
    return kernel_call(number, arguments);
}

/* ---- whatever else H is made of ----------------------------------------------------------------- */

long run_everywhere(long number, const long arguments[6])
{
    (void)number;
    may_read(arguments[0] > 4096 ? arguments[0] : 0, 8);
    return kernel_plain(0);
}

void run_stats_count(const struct run_call *call, long result, uint64_t started)
{
    (void)call;
    (void)result;
    (void)started;
}

uint64_t run_stats_start(void)
{
    return 0;
}

bool run_trace_on(void)
{
    return false;
}

void run_trace_call(uint32_t slot, const struct run_call *call, long result, uint64_t started)
{
    (void)slot;
    (void)call;
    (void)result;
    (void)started;
}

void run_threads_init(void)
{
}

void run_threads_open(void)
{
}
