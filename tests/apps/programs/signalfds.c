/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as descriptors: read, waited for in every way, duplicated, changed and closed. */
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

static sigset_t g_set;
static struct signalfd_siginfo g_got[4];

static void say_record(const struct signalfd_siginfo *record)
{
    printf("signal %u code %d mine %d value %d timer %u\n", record->ssi_signo, record->ssi_code,
           record->ssi_pid == (uint32_t)getpid(), record->ssi_int, record->ssi_overrun);
}

static void *send_later(void *argument)
{
    usleep(20000);
    kill(getpid(), (int)(long)argument);
    return NULL;
}

/*
 * What has been sent is there in a moment: in the enclave a thread brings it. It may also ring once
 * more for what has been read already.
 */
static ssize_t received(int fd)
{
    ssize_t size = -1;
    for (int tries = 0; tries < 4 && size < 0; tries++) {
        (void)poll(&(struct pollfd){fd, POLLIN, 0}, 1, 50);
        size = read(fd, g_got, sizeof g_got);
        if (size < 0 && errno != EAGAIN)
            break;
    }
    return size;
}

static void reading(void)
{
    int fd = signalfd(-1, &g_set, SFD_NONBLOCK);
    SAY(received(fd));
    /* Sent to the process, more than once: the old ones are pending or not. */
    SAY(kill(getpid(), SIGUSR1));
    SAY(kill(getpid(), SIGUSR1));
    SAY(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000));
    SAY(received(fd));
    say_record(g_got);
    SAY(received(fd));
    /* To this thread. */
    SAY(raise(SIGUSR2));
    SAY(read(fd, g_got, sizeof g_got[0] + 5));
    say_record(g_got);
    SAY(raise(SIGUSR1));
    SAY(raise(SIGUSR2));
    SAY(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0));
    SAY(received(fd));
    /* Queued, each with what came along. */
    for (int i = 0; i < 3; i++)
        SAY(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 40 + i}));
    struct iovec room = {g_got, sizeof g_got[0]};
    for (int i = 0; i < 3; i++) {
        SAY(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000));
        SAY(readv(fd, &room, 1));
        say_record(g_got);
    }
    SAY(write(fd, g_got, 8));
    SAY(pread(fd, g_got, sizeof g_got, 0));
    SAY(read(fd, (void *)8, sizeof g_got[0]));
    SAY(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 1000}}, NULL));
    SAY(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000));
    SAY(received(fd));
    printf("signal %u code %d\n", g_got[0].ssi_signo, g_got[0].ssi_code);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    event.sigev_value.sival_int = 7;
    SAY(timer_create(CLOCK_MONOTONIC, &event, &timer));
    SAY(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 1000}}, NULL));
    SAY(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 2000));
    SAY(received(fd));
    printf("signal %u code %d value %d\n", g_got[0].ssi_signo, g_got[0].ssi_code, g_got[0].ssi_int);
    SAY(timer_delete(timer));
    SAY(close(fd));
}

static void waiting(void)
{
    pthread_t sender;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 5}, got[4];
    int fd = signalfd(-1, &g_set, 0), epoll = epoll_create1(0);
    fd_set set;
    SAY(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    SAY(epoll_wait(epoll, got, 4, 0));
    pthread_create(&sender, NULL, send_later, (void *)SIGUSR1);
    SAY(epoll_wait(epoll, got, 4, 5000));
    SAY(got[0].data.u32);
    SAY(epoll_wait(epoll, got, 4, 0));
    pthread_join(sender, NULL);
    SAY(received(fd));
    say_record(g_got);
    SAY(epoll_wait(epoll, got, 4, 0));
    /* A read that blocks. */
    pthread_create(&sender, NULL, send_later, (void *)SIGUSR2);
    SAY(received(fd));
    say_record(g_got);
    pthread_join(sender, NULL);
    FD_ZERO(&set);
    FD_SET(fd, &set);
    pthread_create(&sender, NULL, send_later, (void *)SIGUSR2);
    SAY(select(fd + 1, &set, NULL, NULL, &(struct timeval){5, 0}));
    pthread_join(sender, NULL);
    SAY(received(fd));
    /* Another set of signals for the same descriptor. */
    sigset_t other;
    sigemptyset(&other);
    sigaddset(&other, SIGHUP);
    SAY(signalfd(fd, &other, 0) == fd);
    SAY(kill(getpid(), SIGUSR1));
    SAY(kill(getpid(), SIGHUP));
    SAY(received(fd));
    say_record(g_got);
    SAY(sigpending(&other));
    SAY(sigismember(&other, SIGUSR1));
    SAY(signalfd(fd, &g_set, 0) == fd);
    SAY(received(fd));
    say_record(g_got);
    /* The duplicate goes on when the first is closed. */
    int copy = dup(fd);
    SAY(close(fd));
    SAY(fcntl(copy, F_SETFL, O_NONBLOCK));
    SAY(kill(getpid(), SIGUSR1));
    SAY(poll(&(struct pollfd){copy, POLLIN, 0}, 1, 5000));
    SAY(received(copy));
    say_record(g_got);
    SAY(received(copy));
    /* What nobody has read is pending again when the last one is closed. */
    SAY(kill(getpid(), SIGUSR1));
    SAY(poll(&(struct pollfd){copy, POLLIN, 0}, 1, 5000));
    SAY(dup2(epoll, copy) == copy);
    SAY(sigtimedwait(&g_set, NULL, &(struct timespec){5, 0}));
    SAY(received(copy));
    for (int i = 0; i < 40; i++)
        close(signalfd(-1, &g_set, 0));
    SAY(close(signalfd(-1, &g_set, SFD_CLOEXEC)));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    sigemptyset(&g_set);
    sigaddset(&g_set, SIGUSR1);
    sigaddset(&g_set, SIGUSR2);
    sigaddset(&g_set, SIGALRM);
    sigaddset(&g_set, SIGHUP);
    sigaddset(&g_set, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &g_set, NULL);
    reading();
    waiting();
    return 0;
}
