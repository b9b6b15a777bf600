/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ends.c -- what ends a call that waits, what a message is when it has arrived, and whom a signal of a
 * descriptor tells of what.
 */
#include "say.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

/* So many signals that do not end a call are enough to know. */
#define PATIENCE 100

static char g_data[400000];
static int g_pair[2];
static volatile int g_signals;
static volatile int g_told_fd;
static volatile int g_told_band;

static void count(int number)
{
    (void)number;
    if (++g_signals >= PATIENCE)
        shutdown(g_pair[0], SHUT_RDWR);
}

static void note(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    g_told_fd = info->si_fd;
    g_told_band = info->si_band;
    g_signals++;
}

static void on_signal(int number, int flags)
{
    struct sigaction action = {.sa_flags = flags};
    if ((flags & SA_SIGINFO) != 0)
        action.sa_sigaction = note;
    else
        action.sa_handler = count;
    sigaction(number, &action, NULL);
    g_signals = 0;
}

#define SIGNALS()                                \
    do {                                         \
        printf("signals: %d\n", (int)g_signals); \
        g_signals = 0;                           \
    } while (0)

/* ---- SIGPIPE ------------------------------------------------------------------------------------- */

static void broken(int fd)
{
    struct iovec piece = {"x", 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    SAY(send(fd, "x", 1, 0));
    SIGNALS();
    SAY(write(fd, "x", 1));
    SIGNALS();
    SAY(writev(fd, &piece, 1));
    SIGNALS();
    SAY(sendmsg(fd, &message, 0));
    SIGNALS();
    SAY(sendmsg(fd, &message, MSG_NOSIGNAL));
    SIGNALS();
}

static void pipes(void)
{
    const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
    int pair[2];
    on_signal(SIGPIPE, 0);
    for (int i = 0; i < 3; i++) {
        printf("-- type %d\n", types[i]);
        socketpair(AF_UNIX, types[i], 0, pair);
        SAY(shutdown(pair[0], SHUT_WR));
        broken(pair[0]);
        /* A copy of which nobody was told what it is. */
        int copy = dup(pair[0]);
        close(pair[1]);
        broken(copy);
        close(pair[0]);
        close(copy);
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    SAY(connect(udp, (struct sockaddr *)&address, sizeof address));
    SAY(shutdown(udp, SHUT_WR));
    broken(udp);
    int file = open("data", O_CREAT | O_RDWR, 0600);
    SAY(write(file, g_data, 100));
    SAY(sendfile(udp, file, &(off_t){0}, 10));
    SIGNALS();
    close(udp);
    pipe(pair);
    close(pair[0]);
    SAY(write(pair[1], "x", 1));
    SIGNALS();
    SAY(sendfile(pair[1], file, &(off_t){0}, 10));
    SIGNALS();
    close(pair[1]);
    close(file);
}

/* ---- messages ------------------------------------------------------------------------------------ */

static void messages(void)
{
    const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        int pair[2];
        printf("-- type %d\n", types[i]);
        socketpair(AF_UNIX, types[i], 0, pair);
        SAY(fcntl(pair[0], F_SETFL, O_NONBLOCK));
        int set = epoll_create1(0);
        SAY(epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event));
        SAY(send(pair[1], "one", 3, 0));
        SAY(send(pair[1], "second", 6, 0));
        SAY(send(pair[1], "third", 5, 0));
        SAY(epoll_wait(set, &event, 1, 0));
        /* Shorter than there is room for, and not the last one. */
        SAY(recv(pair[0], g_data, 100, 0));
        SAY(read(pair[0], g_data, 100));
        SAY(recv(pair[0], g_data, 2, MSG_TRUNC));
        SAY(recv(pair[0], g_data, 100, 0));
        SAY(send(pair[1], g_data, 100000, 0));
        SAY(recv(pair[0], g_data, sizeof g_data, 0));
        /* More than the buffers of a socket hold. */
        SAY(write(pair[1], g_data, sizeof g_data));
        SAY(send(pair[1], g_data, sizeof g_data, 0));
        SAY(recv(pair[0], g_data, sizeof g_data, 0));
        close(set);
        close(pair[0]);
        close(pair[1]);
    }
}

/* ---- what is read beside the data: there, or not; nobody waits for it ------------------------------ */

static void beside(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct iovec piece = {g_data, 10};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    socklen_t size = sizeof address;
    int pair[2], on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&address, sizeof address);
    SAY(listen(listener, 1));
    getsockname(listener, (struct sockaddr *)&address, &size);
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    SAY(connect(pair[0], (struct sockaddr *)&address, sizeof address));
    pair[1] = accept(listener, NULL, NULL);
    SAY(recv(pair[0], g_data, 1, MSG_OOB));
    SAY(recvmsg(pair[0], &message, MSG_ERRQUEUE));
    SAY(send(pair[1], "ab", 2, MSG_OOB));
    struct pollfd urgent = {pair[0], POLLPRI, 0};
    SAY(poll(&urgent, 1, -1));
    SAY(recvmsg(pair[0], &message, MSG_OOB));
    SAY(recv(pair[0], g_data, 1, MSG_OOB));
    SAY(recv(pair[0], g_data, 10, 0));
    close(listener);
    close(pair[0]);
    close(pair[1]);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    SAY(setsockopt(udp, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
    SAY(recvmsg(udp, &message, MSG_ERRQUEUE));
    SAY(recv(udp, g_data, 10, MSG_ERRQUEUE));
    close(udp);
}

/* ---- time limits of sockets ------------------------------------------------------------------------ */

static void limits(void)
{
    const struct timeval limit = {60, 0};
    const struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    struct iovec piece = {g_data, 10};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    socketpair(AF_UNIX, SOCK_STREAM, 0, g_pair);
    SAY(setsockopt(g_pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SAY(setsockopt(g_pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    on_signal(SIGALRM, SA_RESTART);
    setitimer(ITIMER_REAL, &often, NULL);
    SAY(recv(g_pair[0], g_data, 10, 0));
    SAY(recvmsg(g_pair[0], &message, 0));
    SAY(read(g_pair[0], g_data, 10));
    while (send(g_pair[0], g_data, 4096, MSG_DONTWAIT) > 0)
        ;
    SAY(send(g_pair[0], g_data, 10, 0));
    SAY(write(g_pair[0], g_data, 10));
    setitimer(ITIMER_REAL, &never, NULL);
    printf("patience: %d\n", g_signals < PATIENCE);
    close(g_pair[0]);
    close(g_pair[1]);
    g_pair[0] = -1;
}

/* ---- masks of a call --------------------------------------------------------------------------------- */

static void masked(void)
{
    const struct timespec none = {0, 0};
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t one, open, before, waiting;
    fd_set set;
    int pair[2];
    sigemptyset(&open);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    on_signal(SIGUSR1, 0);
    sigprocmask(SIG_BLOCK, &one, &before);
    pipe(pair);
    int epfd = epoll_create1(0);
    epoll_ctl(epfd, EPOLL_CTL_ADD, pair[0], &event);
    struct pollfd polled = {pair[0], POLLIN, 0};
    for (int ready = 1; ready >= 0; ready--) {
        printf("-- ready: %d\n", ready);
        if (ready)
            write(pair[1], "x", 1);
        else
            read(pair[0], g_data, 1);
        for (int round = 0; round < 5; round++) {
            raise(SIGUSR1);
            FD_ZERO(&set);
            FD_SET(pair[0], &set);
            switch (round) {
            case 0:
                SAY(ppoll(&polled, 1, NULL, &open));
                break;
            case 1:
                SAY(ppoll(&polled, 1, &none, &open));
                break;
            case 2:
                SAY(pselect(pair[0] + 1, &set, NULL, NULL, NULL, &open));
                break;
            case 3:
                SAY(epoll_pwait(epfd, &event, 1, -1, &open));
                break;
            case 4:
                SAY(epoll_pwait(epfd, &event, 1, 0, &open));
                break;
            }
            SIGNALS();
            sigpending(&waiting);
            printf("waits: %d\n", sigismember(&waiting, SIGUSR1));
            sigtimedwait(&one, NULL, &none);
        }
    }
    sigprocmask(SIG_SETMASK, &before, &waiting);
    printf("blocked: %d\n", sigismember(&waiting, SIGUSR1));
    close(epfd);
    close(pair[0]);
    close(pair[1]);
}

/* ---- epoll sets that are duplicated ---------------------------------------------------------------- */

static void events_of(int set)
{
    struct epoll_event events[4];
    int got = epoll_wait(set, events, 4, 0);
    printf("events: %d", got);
    for (int i = 0; i < got; i++)
        printf(" %llx", (unsigned long long)events[i].data.u64);
    printf("\n");
}

static void sets(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abc};
    int pair[2];
    pipe(pair);
    write(pair[1], "x", 1);
    int set = epoll_create1(0);
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event));
    int copy = dup(set);
    events_of(copy);
    event.data.u64 = 7;
    SAY(epoll_ctl(copy, EPOLL_CTL_MOD, pair[0], &event));
    events_of(set);
    SAY(epoll_ctl(copy, EPOLL_CTL_ADD, pair[0], &event));
    int again = dup(pair[0]);
    event.data.u64 = 8;
    SAY(epoll_ctl(copy, EPOLL_CTL_ADD, again, &event));
    SAY(close(set));
    /* Another one by the same number. */
    int other = epoll_create1(0);
    printf("same number: %d\n", other == set);
    event.data.u64 = 9;
    SAY(epoll_ctl(other, EPOLL_CTL_ADD, pair[0], &event));
    events_of(copy);
    events_of(other);
    SAY(epoll_ctl(copy, EPOLL_CTL_DEL, again, NULL));
    events_of(copy);
    SAY(dup2(other, copy) == copy);
    events_of(copy);
    close(other);
    events_of(copy);
    close(copy);
    close(pair[0]);
    close(pair[1]);
    close(again);
}

/* ---- signals of descriptors ------------------------------------------------------------------------- */

static void told(const char *what, int fd, int other)
{
    g_signals = 0;
    write(other, "x", 1);
    for (int i = 0; i < 5000 && g_signals == 0; i++)
        usleep(1000);
    printf("%s: %d, of the descriptor: %d, %x\n", what, g_signals != 0, g_told_fd == fd,
           (unsigned)g_told_band);
}

static void owners(void)
{
    int pair[2], on = 1;
    on_signal(SIGRTMIN + 5, SA_SIGINFO);
    for (int way = 0; way < 3; way++) {
        if (way == 2)
            pipe(pair);
        else
            socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        SAY(fcntl(pair[0], F_SETOWN, getpid()));
        SAY(fcntl(pair[0], F_SETSIG, SIGRTMIN + 5));
        if (way == 1)
            SAY(ioctl(pair[0], FIOASYNC, &on));
        else
            SAY(fcntl(pair[0], F_SETFL, O_ASYNC));
        told("way", pair[0], pair[1]);
        close(pair[0]);
        close(pair[1]);
    }
}

/* ---- threads that are cancelled ---------------------------------------------------------------------- */

static void *lock_it(void *file)
{
    struct flock all = {.l_type = F_WRLCK};
    fcntl(*(int *)file, F_OFD_SETLKW, &all);
    return NULL;
}

static void cancelled(void)
{
    struct flock all = {.l_type = F_WRLCK};
    pthread_t thread;
    void *ended;
    int held = open("lock", O_CREAT | O_RDWR, 0600), wanted = open("lock", O_RDWR);
    SAY(fcntl(held, F_OFD_SETLK, &all));
    pthread_create(&thread, NULL, lock_it, &wanted);
    pthread_cancel(thread);
    pthread_join(thread, &ended);
    printf("cancelled: %d\n", ended == PTHREAD_CANCELED);
    close(held);
    close(wanted);
}

int main(int argc, char **argv)
{
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    pipes();
    messages();
    beside();
    limits();
    masked();
    sets();
    owners();
    cancelled();
    return 0;
}
