/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_wrap.c -- functions of the C library, interposed for speed.
 *
 * Enclave side. A trapped system call costs 6,000 cycles more than a function call, so what
 * servers call all day is answered here. Nothing rests on it: a call that does not come through
 * here, because the C library makes it inside, or a program by itself, is trapped and answered
 * all the same. The only file of the shim that knows errno.
 *
 * Functions that POSIX makes cancellation points are. Loaded into a process without a host (by
 * hand), every function makes the system call itself.
 */
/* Both give the functions below other names, or bodies in the headers; here they are defined. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static long finish(long result)
{
    if (HC_UNLIKELY(result < 0 && result > -4096)) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static long call(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                 uint64_t f)
{
    const uint64_t arguments[6] = {a, b, c, d, e, f};
    if (HC_UNLIKELY(g_u_shared == NULL))
        return shim_gate(number, (long)a, (long)b, (long)c, (long)d, (long)e, (long)f);
    return shim_call(number, arguments);
}

#define CALL_(number, a, b, c, d, e, f, ...)                                                      \
    call(SYS_##number, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e), \
         (uint64_t)(f))
#define CALL(number, ...) finish(CALL_(number, __VA_ARGS__, 0, 0, 0, 0, 0, 0))

/* A call that may block: a thread that was cancelled ends before it, or when it is interrupted. */
#define CANCELLABLE(result, number, ...)                   \
    do {                                                   \
        pthread_testcancel();                              \
        (result) = CALL(number, __VA_ARGS__);              \
        if (HC_UNLIKELY((result) == -1 && errno == EINTR)) \
            pthread_testcancel();                          \
    } while (0)

#define P(pointer) ((uintptr_t)(pointer))

EXPORT ssize_t read(int fd, void *buffer, size_t size)
{
    long result;
    CANCELLABLE(result, read, fd, P(buffer), size);
    return result;
}

EXPORT ssize_t write(int fd, const void *buffer, size_t size)
{
    long result;
    CANCELLABLE(result, write, fd, P(buffer), size);
    return result;
}

EXPORT ssize_t readv(int fd, const struct iovec *vector, int count)
{
    long result;
    CANCELLABLE(result, readv, fd, P(vector), (unsigned)count);
    return result;
}

EXPORT ssize_t writev(int fd, const struct iovec *vector, int count)
{
    long result;
    CANCELLABLE(result, writev, fd, P(vector), (unsigned)count);
    return result;
}

EXPORT ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    long result;
    CANCELLABLE(result, pread64, fd, P(buffer), size, offset);
    return result;
}

EXPORT ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    long result;
    CANCELLABLE(result, pwrite64, fd, P(buffer), size, offset);
    return result;
}

EXPORT ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    long result;
    CANCELLABLE(result, recvfrom, fd, P(buffer), size, flags);
    return result;
}

EXPORT ssize_t recvfrom(int fd, void *buffer, size_t size, int flags, __SOCKADDR_ARG address,
                        socklen_t *length)
{
    long result;
    CANCELLABLE(result, recvfrom, fd, P(buffer), size, flags, P(address.__sockaddr__), P(length));
    return result;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    long result;
    CANCELLABLE(result, recvmsg, fd, P(message), flags);
    return result;
}

EXPORT ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    long result;
    CANCELLABLE(result, sendto, fd, P(buffer), size, flags);
    return result;
}

EXPORT ssize_t sendto(int fd, const void *buffer, size_t size, int flags,
                      __CONST_SOCKADDR_ARG address, socklen_t length)
{
    long result;
    CANCELLABLE(result, sendto, fd, P(buffer), size, flags, P(address.__sockaddr__), length);
    return result;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    long result;
    CANCELLABLE(result, sendmsg, fd, P(message), flags);
    return result;
}

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    return CALL(sendfile, out, in, P(offset), size);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
    long result;
    CANCELLABLE(result, epoll_wait, fd, P(events), most, timeout);
    return (int)result;
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout,
                       const sigset_t *mask)
{
    long result;
    CANCELLABLE(result, epoll_pwait, fd, P(events), most, timeout, P(mask), 8);
    return (int)result;
}

EXPORT int epoll_ctl(int fd, int operation, int target, struct epoll_event *event)
{
    return (int)CALL(epoll_ctl, fd, operation, target, P(event));
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    long result;
    CANCELLABLE(result, poll, P(fds), count, timeout);
    return (int)result;
}

EXPORT int select(int count, fd_set *readable, fd_set *writable, fd_set *except,
                  struct timeval *timeout)
{
    long result;
    CANCELLABLE(result, select, count, P(readable), P(writable), P(except), P(timeout));
    return (int)result;
}

EXPORT int accept(int fd, __SOCKADDR_ARG address, socklen_t *length)
{
    long result;
    CANCELLABLE(result, accept, fd, P(address.__sockaddr__), P(length));
    return (int)result;
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *length, int flags)
{
    long result;
    CANCELLABLE(result, accept4, fd, P(address.__sockaddr__), P(length), flags);
    return (int)result;
}

EXPORT int close(int fd)
{
    long result;
    CANCELLABLE(result, close, fd);
    return (int)result;
}

EXPORT int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    /* Whatever it is, it comes in a register of 64 bits. */
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_SETLKW || command == F_OFD_SETLKW) {
        long result;
        CANCELLABLE(result, fcntl, fd, command, P(argument));
        return (int)result;
    }
    return (int)CALL(fcntl, fd, command, P(argument));
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return (int)CALL(ioctl, fd, request, P(argument));
}

EXPORT off_t lseek(int fd, off_t offset, int whence)
{
    return CALL(lseek, fd, offset, whence);
}

EXPORT int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    long result;
    CANCELLABLE(result, open, P(path), flags, mode);
    return (int)result;
}

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    return (int)CALL(setsockopt, fd, level, name, P(value), size);
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    return (int)CALL(getsockopt, fd, level, name, P(value), P(size));
}

/* The C library needs two signals itself, 32 and 33, which nobody may block through it. */
static long change_mask(int how, const sigset_t *set, sigset_t *old)
{
    uint64_t mask;
    if (set != NULL) {
        memcpy(&mask, set, sizeof mask);
        if (how != SIG_UNBLOCK)
            mask &= ~(UINT64_C(3) << 31);
    }
    return CALL_(rt_sigprocmask, how, set != NULL ? P(&mask) : 0, P(old), 8, 0, 0, 0);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return (int)-change_mask(how, set, old);
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    return (int)finish(change_mask(how, set, old));
}

/*
 * The C library signals a cancelled thread only where it knows it in a call of its own. Ours it
 * does not know, so the thread is woken here as well and finds out by itself (CANCELLABLE).
 */
EXPORT int pthread_cancel(pthread_t thread)
{
    int (*next)(pthread_t) = (int (*)(pthread_t))(uintptr_t)dlsym(RTLD_NEXT, "pthread_cancel");
    if (next == NULL)
        return ENOSYS;
    int result = next(thread);
    if (result == 0 && g_u_shared != NULL)
        shim_wake_thread((uint64_t)thread, SHIM_CANCEL);
    return result;
}

static void *run_body(void *body)
{
    ((void (*)(void))(uintptr_t)body)();
    return NULL;
}

/* Known to the C library, so that a change of identity reaches it. */
bool shim_start_thread(void (*body)(void))
{
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    bool fine = pthread_attr_setstacksize(&attributes, 256u * 1024u) == 0 &&
                pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                pthread_create(&thread, &attributes, run_body, (void *)(uintptr_t)body) == 0;
    (void)pthread_attr_destroy(&attributes);
    return fine;
}

/* ---- the same under the names that large files and fortified programs use ------------------------ */

#define ALIAS(name, target) EXPORT extern __typeof__(target) name __attribute__((alias(#target)))

ALIAS(pread64, pread);
ALIAS(pwrite64, pwrite);
ALIAS(sendfile64, sendfile);
ALIAS(lseek64, lseek);
ALIAS(fcntl64, fcntl);
ALIAS(open64, open);

/* What a fortified program calls where the compiler knew the size of the buffer. */
static void fortify(size_t size, size_t room)
{
    if (HC_UNLIKELY(size > room))
        abort();
}

EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
    fortify(size, room);
    return read(fd, buffer, size);
}

EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags)
{
    fortify(size, room);
    return recv(fd, buffer, size, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags,
                              __SOCKADDR_ARG address, socklen_t *length);
EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags,
                              __SOCKADDR_ARG address, socklen_t *length)
{
    fortify(size, room);
    return recvfrom(fd, buffer, size, flags, address, length);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    fortify(count * sizeof *fds, room);
    return poll(fds, count, timeout);
}
