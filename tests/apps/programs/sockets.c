/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets, pipes and what waits for them. */
#include "say.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

static char g_large[700000];

static void streams(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int one = 1, type = 0;
    char buffer[64] = "";
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    SAY(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    SAY(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 1));
    SAY(bind(listener, (struct sockaddr *)&address, sizeof address));
    SAY(bind(listener, (struct sockaddr *)&address, sizeof address));
    SAY(getsockname(listener, (struct sockaddr *)&address, &size));
    SAY(size);
    SAY(getpeername(listener, (struct sockaddr *)&address, &size));
    SAY(listen(listener, 5));
    int client = socket(AF_INET, SOCK_STREAM, 0);
    SAY(connect(client, (struct sockaddr *)&address, sizeof address));
    SAY(connect(client, (struct sockaddr *)&address, sizeof address));
    SAY(connect(client, (struct sockaddr *)&address, 2));
    size = 4;
    struct sockaddr_in peer;
    int server = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK);
    SAY(server >= 0);
    SAY(size);
    SAY(fcntl(server, F_GETFL) & O_NONBLOCK);
    SAY(read(server, buffer, sizeof buffer));
    SAY(send(client, "abcdef", 6, 0));
    SAY(poll(&(struct pollfd){server, POLLIN, 0}, 1, 1000));
    SAY(recv(server, buffer, 3, MSG_PEEK));
    SAY(recv(server, buffer, sizeof buffer, 0));
    SAY_TEXT(buffer);
    SAY(recv(server, buffer, sizeof buffer, 0));
    SAY(recv(server, buffer, sizeof buffer, 0));
    size = sizeof type;
    SAY(getsockopt(client, SOL_SOCKET, SO_TYPE, &type, &size));
    SAY(type);
    SAY(getsockopt(client, SOL_SOCKET, 9999, &type, &size));
    SAY(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    struct iovec parts[2] = {{"12", 2}, {"3456", 4}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    SAY(sendmsg(client, &message, 0));
    struct iovec room[2] = {{buffer, 3}, {buffer + 10, 20}};
    message.msg_iov = room;
    SAY(poll(&(struct pollfd){server, POLLIN, 0}, 1, 1000));
    SAY(recvmsg(server, &message, 0));
    printf("%.3s %.3s\n", buffer, buffer + 10);
    int available = 0;
    SAY(write(client, "x", 1));
    SAY(poll(&(struct pollfd){server, POLLIN, 0}, 1, 1000));
    SAY(ioctl(server, FIONREAD, &available));
    SAY(available);
    SAY(shutdown(client, SHUT_WR));
    SAY(write(client, "x", 1) == -1 && errno == EPIPE);
    SAY(recv(server, buffer, sizeof buffer, 0));
    SAY(recv(server, buffer, sizeof buffer, 0));
    SAY(close(server));
    SAY(close(client));
    SAY(send(-1, "", 0, 0));
    SAY(accept(client, NULL, NULL));
    SAY(socket(99, 1, 0));
    SAY(listen(0, 1));
}

static void datagrams(void)
{
    int pair[2];
    char buffer[64] = "";
    SAY(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    SAY(send(pair[0], "one", 3, 0));
    SAY(send(pair[0], "", 0, 0));
    SAY(recv(pair[1], buffer, 2, MSG_TRUNC));
    SAY(recv(pair[1], buffer, 2, 0));
    SAY(recv(pair[1], buffer, 2, MSG_DONTWAIT));
    struct sockaddr_in address = {.sin_family = AF_INET}, from;
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    SAY(bind(a, (struct sockaddr *)&address, sizeof address));
    SAY(getsockname(a, (struct sockaddr *)&address, &size));
    SAY(sendto(b, "hello", 5, 0, (struct sockaddr *)&address, sizeof address));
    SAY(sendto(b, g_large, 70000, 0, (struct sockaddr *)&address, sizeof address));
    size = sizeof from;
    SAY(recvfrom(a, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size));
    SAY(size);
    SAY(from.sin_family);
    struct mmsghdr several[2];
    struct iovec part = {"mm", 2};
    memset(several, 0, sizeof several);
    for (int i = 0; i < 2; i++) {
        several[i].msg_hdr.msg_iov = &part;
        several[i].msg_hdr.msg_iovlen = 1;
        several[i].msg_hdr.msg_name = &address;
        several[i].msg_hdr.msg_namelen = sizeof address;
    }
    SAY(sendmmsg(b, several, 2, 0));
    struct iovec into = {buffer, 10};
    for (int i = 0; i < 2; i++) {
        several[i].msg_hdr.msg_iov = &into;
        several[i].msg_hdr.msg_name = NULL;
    }
    SAY(recvmmsg(a, several, 2, 0, NULL));
    SAY(several[1].msg_len);
}

static void rights(void)
{
    int pair[2], sent[2], received[2] = {-1, -1};
    char control[CMSG_SPACE(sizeof sent)], byte = 'r', buffer[8] = "";
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SAY(pipe(sent));
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof sent);
    memcpy(CMSG_DATA(head), sent, sizeof sent);
    SAY(sendmsg(pair[0], &message, 0));
    memset(control, 0, sizeof control);
    message.msg_controllen = sizeof control;
    SAY(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    SAY(message.msg_controllen);
    head = CMSG_FIRSTHDR(&message);
    memcpy(received, CMSG_DATA(head), sizeof received);
    SAY(received[0] > sent[1] && received[1] > sent[1]);
    SAY(write(received[1], "via", 3));
    SAY(read(sent[0], buffer, 8));
    SAY_TEXT(buffer);
    memcpy(CMSG_DATA(head), (int[]){4000, 1}, sizeof sent);
    SAY(sendmsg(pair[0], &message, 0));
}

static void pipes(void)
{
    int p[2];
    char buffer[16] = "";
    uint64_t number = 3;
    SAY(pipe2(p, O_NONBLOCK));
    SAY(pipe2(p, 0x40000000));
    SAY(pipe2((int *)8, 0));
    SAY(read(p[0], buffer, 4));
    SAY(write(p[1], g_large, sizeof g_large));
    SAY(write(p[1], g_large, sizeof g_large));
    SAY(close(p[0]));
    SAY(write(p[1], "x", 1));
    int event = eventfd(5, EFD_NONBLOCK);
    SAY(read(event, &number, 8));
    SAY(number);
    SAY(read(event, &number, 8));
    SAY(read(event, &number, 4));
    number = 7;
    SAY(write(event, &number, 8));
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec soon = {{0, 0}, {0, 1000000}}, old;
    SAY(timerfd_settime(timer, 0, &soon, &old));
    SAY(read(timer, &number, 8));
    SAY(number);
    SAY(timerfd_gettime(timer, &old));
    SAY(timerfd_create(99, 0));
}

static void waiting(void)
{
    int p[2], q[2];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0}, got[4];
    memset(got, 0, sizeof got);
    SAY(pipe(p));
    SAY(pipe(q));
    int set = epoll_create1(0), other = epoll_create(1);
    SAY(epoll_create(0));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, p[0], &event));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, p[0], &event));
    SAY(epoll_ctl(set, EPOLL_CTL_MOD, q[0], &event));
    SAY(epoll_ctl(set, EPOLL_CTL_DEL, q[0], NULL));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, 4000, &event));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, q[0], NULL));
    SAY(epoll_ctl(p[0], EPOLL_CTL_ADD, q[0], &event));
    SAY(epoll_wait(set, got, 0, 0));
    SAY(epoll_wait(set, got, 4, 0));
    SAY(epoll_wait(set, got, 4, 5));
    SAY(write(p[1], "ab", 2));
    SAY(epoll_wait(set, got, 4, -1));
    printf("%x %llx\n", got[0].events, (unsigned long long)got[0].data.u64);
    event.data.u64 = 5;
    event.events = EPOLLIN | EPOLLET;
    SAY(epoll_ctl(set, EPOLL_CTL_MOD, p[0], &event));
    SAY(epoll_wait(set, got, 4, 0));
    printf("%llx\n", (unsigned long long)got[0].data.u64);
    SAY(epoll_wait(set, got, 4, 0));
    SAY(write(p[1], "c", 1));
    SAY(epoll_wait(set, got, 4, 0));
    event.data.u64 = 6;
    event.events = EPOLLIN | EPOLLONESHOT;
    SAY(epoll_ctl(other, EPOLL_CTL_ADD, p[0], &event));
    SAY(epoll_wait(other, got, 4, 0));
    SAY(epoll_wait(other, got, 4, 0));
    /* Closed, but a duplicate lives on: its events go on coming. */
    int copy = dup(p[0]);
    event.events = EPOLLIN;
    event.data.u64 = 77;
    SAY(epoll_ctl(set, EPOLL_CTL_MOD, p[0], &event));
    SAY(close(p[0]));
    SAY(epoll_wait(set, got, 4, 0));
    printf("%llx\n", (unsigned long long)got[0].data.u64);
    SAY(close(copy));
    SAY(epoll_wait(set, got, 4, 0));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, q[0], &event));
    SAY(close(q[0]));
    SAY(dup2(0, q[0]) == q[0]);
    SAY(epoll_wait(set, got, 4, 0));

    int r[2];
    SAY(pipe(r));
    struct pollfd polled[3] = {{r[0], POLLIN, 0}, {4000, POLLIN, 0}, {-1, POLLIN, 0}};
    SAY(poll(polled, 3, 0));
    printf("%x %x %x\n", polled[0].revents, polled[1].revents, polled[2].revents);
    SAY(poll(polled, 1, 1));
    SAY(write(r[1], "z", 1));
    SAY(poll(polled, 1, -1));
    SAY(poll((struct pollfd *)8, 1, 0));
    SAY(poll(NULL, 0, 1));
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(r[0], &readable);
    FD_SET(r[1], &writable);
    SAY(select(r[1] + 1, &readable, &writable, NULL, NULL));
    SAY(FD_ISSET(r[0], &readable) && FD_ISSET(r[1], &writable));
    FD_SET(50, &readable);
    SAY(select(51, &readable, NULL, NULL, &(struct timeval){0, 0}));
    SAY(select(-1, NULL, NULL, NULL, NULL));
    SAY(pselect(0, NULL, NULL, NULL, &(struct timespec){0, 1000}, NULL));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    signal(SIGPIPE, SIG_IGN);
    streams();
    datagrams();
    rights();
    pipes();
    waiting();
    return 0;
}
