/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.c -- makes calls at a pace: how the host process waits for them is what is looked at.
 *
 *     pace calls COUNT PAUSE_US        one call each time
 *     pace bursts COUNT PAUSE_US N     N calls each time
 *     pace events COUNT PAUSE_US N     one epoll_wait each time, which tells of N descriptors
 *     pace for MILLISECONDS            calls without a pause; prints "ready" and waits for a line
 */
#include "say.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

/* In the enclave: no call leaves it. */
static void pause_us(long us)
{
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    (void)nanosleep(&time, NULL);
}

static int ready_set(int count)
{
    int set = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        if (epoll_ctl(set, EPOLL_CTL_ADD, eventfd(1, EFD_NONBLOCK), &event) != 0)
            exit(3);
    }
    return set;
}

static int read_for(int zero, long ms)
{
    struct timespec begin, now;
    char byte = 1, line[8];
    long calls = 0;
    (void)!write(1, "ready\n", 6);
    if (read(0, line, sizeof line) <= 0)
        return 3;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        if (read(zero, &byte, 1) != 1 || byte != 0)
            return 4;
        byte = 1;
        calls++;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
    printf("calls %ld\n", calls);
    return 0;
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    char byte;
    int zero = open("/dev/zero", O_RDONLY);
    if (argc == 3)
        return read_for(zero, atol(argv[2]));
    if (argc < 4)
        return 2;
    int count = atoi(argv[2]);
    int each = argc > 4 ? atoi(argv[4]) : 1;
    int set = strcmp(argv[1], "events") == 0 ? ready_set(each) : -1;
    for (int i = 0; i < count; i++) {
        pause_us(atol(argv[3]));
        if (set >= 0) {
            if (epoll_wait(set, events, 64, -1) != each)
                return 5;
            continue;
        }
        for (int k = 0; k < each; k++)
            if (read(zero, &byte, 1) != 1)
                return 4;
    }
    return 0;
}
