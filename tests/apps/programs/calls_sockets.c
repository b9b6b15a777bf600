/* SPDX-License-Identifier: Apache-2.0 */
/* Every system call about descriptors that are no files: sockets, pipes, events, and waiting. */
#include "calls.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

static char g_data[1 << 20];

static void sockets(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address, none = 0, negative = (socklen_t)-1;
    int one = 1, pair[2] = {-1, -1}, no[2];
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = CALL(socket, AF_INET, SOCK_STREAM, 0);
    CALL(socket, 99, SOCK_STREAM, 0);
    CALL(socket, AF_INET, 99, 0);
    CALL(socket, AF_INET, SOCK_STREAM, 9999);
    CALL(bind, listener, &address, sizeof address);
    CALL(bind, listener, BAD, sizeof address);
    CALL(bind, listener, &address, 1);
    CALL(bind, listener, &address, 1000);
    CALL(bind, NONE, &address, sizeof address);
    CALL(bind, 0, &address, sizeof address);
    CALL(listen, listener, 5);
    CALL(listen, NONE, 5);
    CALL(listen, 0, 5);
    CALL(getsockname, listener, &address, &size);
    SEEN(getsockname, "size", size);
    CALL(getsockname, listener, BAD, &size);
    CALL(getsockname, listener, &address, BAD);
    CALL(getsockname, listener, &address, &none);
    SEEN(getsockname, "size of all of it", none);
    CALL(getsockname, listener, &address, &negative);
    CALL(getsockname, NONE, &address, &size);
    size = sizeof address;
    CALL(getpeername, listener, &address, &size);
    CALL(getpeername, NONE, &address, &size);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CALL(connect, client, BAD, sizeof address);
    CALL(connect, client, &address, sizeof address);
    CALL(connect, client, &address, sizeof address);
    CALL(connect, client, &address, 3);
    CALL(connect, NONE, &address, sizeof address);
    CALL(connect, 0, &address, sizeof address);
    CALL(getpeername, client, &address, &size);
    int server = CALL(accept, listener, NULL, NULL);
    int more = socket(AF_INET, SOCK_STREAM, 0);
    CALL(connect, more, &address, sizeof address);
    CALL(accept4, listener, &address, BAD, SOCK_NONBLOCK);
    CALL(accept4, listener, NULL, NULL, 0x77);
    CALL(accept4, NONE, NULL, NULL, 0);
    CALL(accept4, client, NULL, NULL, 0);
    CALL(accept, 0, NULL, NULL);
    CALL(fcntl, listener, F_SETFL, O_NONBLOCK);
    CALL(accept, listener, NULL, NULL);
    CALL(accept4, listener, NULL, NULL, 0);
    CALL(setsockopt, client, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    CALL(setsockopt, client, SOL_SOCKET, SO_KEEPALIVE, BAD, sizeof one);
    CALL(setsockopt, client, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof one);
    CALL(setsockopt, client, SOL_SOCKET, SO_KEEPALIVE, &one, 0);
    CALL(setsockopt, client, SOL_SOCKET, 9999, &one, sizeof one);
    CALL(setsockopt, client, 9999, 1, &one, sizeof one);
    CALL(setsockopt, NONE, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    size = sizeof one;
    CALL(getsockopt, client, SOL_SOCKET, SO_KEEPALIVE, &one, &size);
    SEEN(getsockopt, "value", one);
    size = 2;
    CALL(getsockopt, client, SOL_SOCKET, SO_TYPE, &one, &size);
    SEEN(getsockopt, "cut", size);
    CALL(getsockopt, client, SOL_SOCKET, SO_TYPE, BAD, &size);
    CALL(getsockopt, client, SOL_SOCKET, SO_TYPE, &one, BAD);
    CALL(getsockopt, client, SOL_SOCKET, SO_TYPE, &one, &negative);
    CALL(getsockopt, client, SOL_SOCKET, 9999, &one, &size);
    CALL(getsockopt, NONE, SOL_SOCKET, SO_TYPE, &one, &size);
    struct ucred peer = {0, 0, 0};
    size = sizeof peer;
    CALL(getsockopt, client, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    CALL(sendto, client, "abcdef", 6, 0, NULL, 0);
    CALL(sendto, client, BAD, 6, 0, NULL, 0);
    CALL(sendto, client, "abc", 3, 0, BAD, sizeof address);
    CALL(sendto, client, "abc", 3, 0, &address, 1000);
    CALL(sendto, NONE, "abc", 3, 0, NULL, 0);
    CALL(sendto, 0, "abc", 3, 0, NULL, 0);
    CALL(recvfrom, server, g_data, 6, MSG_WAITALL, NULL, NULL);
    size = sizeof address;
    CALL(recvfrom, server, g_data, 9, MSG_DONTWAIT, NULL, NULL);
    CALL(sendto, client, "", 0, 0, NULL, 0);
    CALL(recvfrom, server, g_data, 9, MSG_DONTWAIT, NULL, NULL);
    CALL(sendto, client, "abc", 3, 0, NULL, 0);
    CALL(recvfrom, server, BAD, 9, 0, NULL, NULL);
    CALL(recvfrom, server, g_data, 2, 0, &address, &size);
    CALL(recvfrom, NONE, g_data, 2, 0, NULL, NULL);
    CALL(recvfrom, 0, g_data, 2, 0, NULL, NULL);
    struct iovec part = {"xyz", 3}, room = {g_data, 100};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1},
                  into = {.msg_iov = &room, .msg_iovlen = 1},
                  nowhere = {.msg_iov = BAD, .msg_iovlen = 1},
                  many = {.msg_iov = &part, .msg_iovlen = 5000};
    CALL(sendmsg, client, &message, 0);
    CALL(sendmsg, client, BAD, 0);
    CALL(sendmsg, client, &nowhere, 0);
    CALL(sendmsg, client, &many, 0);
    CALL(sendmsg, NONE, &message, 0);
    CALL(recvmsg, server, BAD, MSG_DONTWAIT);
    CALL(recvmsg, server, &nowhere, MSG_DONTWAIT);
    CALL(recvmsg, server, &into, 0);
    SEEN(recvmsg, "flags", into.msg_flags);
    CALL(recvmsg, NONE, &into, 0);
    CALL(shutdown, client, SHUT_WR);
    CALL(shutdown, client, 99);
    CALL(shutdown, NONE, SHUT_WR);
    CALL(shutdown, 0, SHUT_WR);
    CALL(sendto, client, "x", 1, MSG_NOSIGNAL, NULL, 0);
    close(listener), close(client), close(server), close(more);

    CALL(socketpair, AF_UNIX, SOCK_DGRAM, 0, pair);
    CALL(socketpair, AF_INET, SOCK_STREAM, 0, no);
    CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, BAD);
    CALL(socketpair, 99, SOCK_STREAM, 0, no);
    struct mmsghdr several[3];
    struct timespec soon = {0, 1000000}, odd = {-1, 0};
    memset(several, 0, sizeof several);
    for (int i = 0; i < 3; i++)
        several[i].msg_hdr = message;
    CALL(sendmmsg, pair[0], several, 3, 0);
    SEEN(sendmmsg, "of the last", several[2].msg_len);
    CALL(sendmmsg, pair[0], BAD, 1, 0);
    CALL(sendmmsg, pair[0], several, 0, 0);
    CALL(sendmmsg, NONE, several, 1, 0);
    for (int i = 0; i < 3; i++)
        several[i].msg_hdr = into;
    CALL(recvmmsg, pair[1], several, 2, 0, NULL);
    CALL(recvmmsg, pair[1], several, 3, MSG_WAITFORONE, &soon);
    CALL(recvmmsg, pair[1], several, 3, MSG_DONTWAIT, NULL);
    CALL(recvmmsg, pair[1], several, 3, 0, &odd);
    CALL(recvmmsg, pair[1], several, 3, MSG_DONTWAIT, BAD);
    CALL(recvmmsg, NONE, several, 3, 0, NULL);
    /* A name that is in no directory. */
    memcpy(abstract.sun_path, "\0hotcalls conformance", 21);
    abstract.sun_path[20] = (char)('0' + getpid() % 10);
    int named = socket(AF_UNIX, SOCK_DGRAM, 0);
    CALL(bind, named, &abstract, 2 + 25);
    CALL(bind, named, &abstract, 2 + 25);
    CALL(sendto, pair[0], "n", 1, MSG_DONTWAIT, &abstract, 2 + 25);
    CALL(connect, pair[0], &abstract, 2 + 5);
    close(named), close(pair[0]), close(pair[1]);
}

static void pipes(void)
{
    int p[2], q[2];
    loff_t offset = 0;
    signal(SIGPIPE, SIG_IGN);
    CALL(pipe, p);
    CALL(pipe, BAD);
    CALL(pipe2, q, O_NONBLOCK);
    CALL(pipe2, q + 2, 0x40000000);
    CALL(pipe2, BAD, 0);
    CALL(write, p[1], "0123456789", 10);
    CALL(tee, p[0], q[1], 5, 0);
    CALL(tee, p[0], NONE, 5, 0);
    CALL(tee, NONE, q[1], 5, 0);
    CALL(tee, p[0], q[1], 5, 0x100);
    CALL(tee, p[0], p[1], 5, 0);
    CALL(splice, p[0], NULL, q[1], NULL, 5, 0);
    CALL(splice, p[0], &offset, q[1], NULL, 5, 0);
    CALL(splice, p[0], NULL, NONE, NULL, 5, 0);
    CALL(splice, NONE, NULL, q[1], NULL, 5, 0);
    CALL(splice, p[0], NULL, q[1], NULL, 5, 0x100);
    CALL(splice, p[0], NULL, q[1], NULL, 0, 0);
    CALL(read, q[0], g_data, 100);
    CALL(read, q[0], g_data, 100);
    CALL(read, q[0], g_data, 0);
    CALL(fcntl, q[0], F_GETPIPE_SZ);
    CALL(fcntl, q[0], F_SETPIPE_SZ, 4096);
    CALL(write, q[1], g_data, sizeof g_data);
    CALL(write, q[1], g_data, 1);
    close(q[0]);
    CALL(write, q[1], g_data, 1);
    CALL(splice, p[0], NULL, q[1], NULL, 1, 0);
    CALL(close, q[1]);
    CALL(close, q[1]);
    CALL(close, NONE);
    CALL(close, -1);
    CALL(dup, p[0]);
    CALL(dup, NONE);
    CALL(dup2, p[0], 40);
    CALL(dup2, p[0], p[0]);
    CALL(dup2, NONE, NONE);
    CALL(dup2, p[0], -1);
    CALL(dup2, NONE, 41);
    CALL(dup3, p[0], 41, O_CLOEXEC);
    CALL(dup3, p[0], p[0], 0);
    CALL(dup3, p[0], 42, 0x77);
    CALL(dup3, NONE, 42, 0);
    CALL(dup3, p[0], 1 << 30, 0);
    CALL(close_range, 40, 41, 4 /* CLOSE_RANGE_CLOEXEC */);
    CALL(fcntl, 40, F_GETFD);
    CALL(close_range, 40, 50, 0);
    CALL(close_range, 50, 40, 0);
    CALL(close_range, 50, 60, 0x77);
    CALL(fcntl, 40, F_GETFD);
    close(p[0]), close(p[1]);
}

static void events(void)
{
    uint64_t number = 3;
    struct itimerspec soon = {{0, 0}, {0, 1000000}}, odd = {{0, 0}, {0, -1}}, old;
    sigset_t set;
    int event = CALL(eventfd2, 2, EFD_SEMAPHORE | EFD_NONBLOCK);
    CALL(eventfd2, 0, 0x77);
    CALL(eventfd, 1);
    CALL(read, event, &number, 8);
    SEEN(eventfd2, "semaphore", number);
    CALL(read, event, &number, 8);
    CALL(read, event, &number, 8);
    CALL(read, event, &number, 7);
    number = (uint64_t)-1;
    CALL(write, event, &number, 8);
    number = (uint64_t)-2;
    CALL(write, event, &number, 8);
    number = 1;
    CALL(write, event, &number, 8);
    CALL(write, event, &number, 3);
    int timer = CALL(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK);
    CALL(timerfd_create, 99, 0);
    CALL(timerfd_create, CLOCK_MONOTONIC, 0x77);
    CALL(timerfd_settime, timer, 0, &soon, &old);
    CALL(timerfd_settime, timer, 0, &odd, NULL);
    CALL(timerfd_settime, timer, 0, BAD, NULL);
    CALL(timerfd_settime, timer, 0, NULL, NULL);
    CALL(timerfd_settime, timer, 0x77, &soon, NULL);
    CALL(timerfd_settime, timer, 0, &soon, BAD);
    CALL(timerfd_settime, NONE, 0, &soon, NULL);
    CALL(timerfd_settime, event, 0, &soon, NULL);
    CALL(timerfd_gettime, timer, &old);
    CALL(timerfd_gettime, timer, BAD);
    CALL(timerfd_gettime, timer, NULL);
    CALL(timerfd_gettime, NONE, &old);
    CALL(poll, &(struct pollfd){timer, POLLIN, 0}, 1, 2000);
    CALL(read, timer, &number, 8);
    CALL(read, timer, &number, 8);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = CALL(signalfd4, -1, &set, 8, SFD_NONBLOCK);
    CALL(signalfd4, -1, &set, 4, 0);
    CALL(signalfd4, -1, BAD, 8, 0);
    CALL(signalfd4, -1, &set, 8, 0x77);
    CALL(signalfd4, event, &set, 8, 0);
    CALL(signalfd4, NONE, &set, 8, 0);
    CALL(signalfd, -1, &set, 8);
    CALL(signalfd, signals, &set, 8);
    CALL(read, signals, g_data, 128);
    CALL(read, signals, g_data, 127);
}

static void waiting(void)
{
    int p[2];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7}, got[4];
    struct pollfd polled[2];
    struct timespec now = {0, 0}, soon = {0, 1000000}, odd = {0, -1};
    struct timeval moment = {0, 1000}, wrong = {-1, 0};
    fd_set set;
    sigset_t mask;
    sigemptyset(&mask);
    pipe(p);
    int epoll = CALL(epoll_create1, 0);
    CALL(epoll_create1, 0x77);
    CALL(epoll_create, 1);
    CALL(epoll_create, 0);
    CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], &event);
    CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], BAD);
    CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, p[0], NULL);
    CALL(epoll_ctl, epoll, 99, p[0], &event);
    CALL(epoll_ctl, epoll, EPOLL_CTL_DEL, NONE, NULL);
    CALL(epoll_ctl, NONE, EPOLL_CTL_ADD, p[0], &event);
    CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, epoll, &event);
    CALL(epoll_ctl, p[0], EPOLL_CTL_ADD, p[1], &event);
    CALL(epoll_wait, epoll, got, 4, 0);
    CALL(write, p[1], "x", 1);
    CALL(epoll_wait, epoll, got, 4, -1);
    CALL(epoll_wait, epoll, BAD, 4, -1);
    CALL(epoll_wait, epoll, NULL, 4, 0);
    CALL(epoll_wait, epoll, got, 0, 0);
    CALL(epoll_wait, epoll, got, 1 << 30, 0);
    CALL(epoll_wait, NONE, got, 4, 0);
    CALL(epoll_wait, p[0], got, 4, 0);
    CALL(epoll_pwait, epoll, got, 4, 0, &mask, 8);
    CALL(epoll_pwait, epoll, got, 4, 0, &mask, 7);
    CALL(epoll_pwait, epoll, got, 4, 0, BAD, 8);
    CALL(epoll_pwait2, epoll, got, 4, &now, &mask, 8);
    CALL(epoll_pwait2, epoll, got, 4, NULL, NULL, 8);
    CALL(epoll_pwait2, epoll, got, 4, &odd, NULL, 8);
    CALL(epoll_pwait2, epoll, got, 4, BAD, NULL, 8);
    polled[0] = (struct pollfd){p[0], POLLIN | POLLOUT, 0};
    polled[1] = (struct pollfd){NONE, POLLIN, 0};
    CALL(poll, polled, 2, 1000);
    SEEN(poll, "first", polled[0].revents);
    SEEN(poll, "second", polled[1].revents);
    CALL(poll, BAD, 1, 0);
    CALL(poll, NULL, 1, 0);
    CALL(poll, NULL, 0, 1);
    CALL(poll, polled, 1 << 20, 0);
    CALL(ppoll, polled, 1, &soon, &mask, 8);
    CALL(ppoll, polled, 1, &odd, &mask, 8);
    CALL(ppoll, polled, 1, BAD, &mask, 8);
    CALL(ppoll, polled, 1, &soon, BAD, 8);
    CALL(ppoll, polled, 1, &soon, &mask, 7);
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    CALL(select, p[0] + 1, &set, NULL, NULL, &moment);
    CALL(select, p[0] + 1, BAD, NULL, NULL, &moment);
    CALL(select, -1, &set, NULL, NULL, &moment);
    CALL(select, p[0] + 1, &set, NULL, NULL, &wrong);
    CALL(select, p[0] + 1, &set, NULL, NULL, BAD);
    CALL(select, 0, NULL, NULL, NULL, &moment);
    SEEN(select, "time that is left", moment.tv_sec * 1000000 + moment.tv_usec);
    FD_SET(60, &set);
    CALL(select, 61, &set, NULL, NULL, &moment);
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    uint64_t masked[2] = {(uint64_t)&mask, 8}, misfit[2] = {(uint64_t)&mask, 7};
    CALL(pselect6, p[0] + 1, &set, NULL, NULL, &soon, masked);
    CALL(pselect6, p[0] + 1, &set, NULL, NULL, &soon, misfit);
    CALL(pselect6, p[0] + 1, &set, NULL, NULL, &odd, NULL);
    CALL(pselect6, p[0] + 1, &set, NULL, NULL, BAD, NULL);
    CALL(pselect6, p[0] + 1, &set, NULL, NULL, &now, BAD);
    CALL(pselect6, p[0] + 1, BAD, NULL, NULL, &now, NULL);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    /* 0 is no socket, whoever starts this. */
    dup2(open("/dev/null", O_RDONLY), 0);
    sockets();
    pipes();
    events();
    waiting();
    return 0;
}
