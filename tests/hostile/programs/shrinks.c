/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shrinks.c -- a program in an enclave that makes a message shorter than what was sent of it already.
 *
 * A blocking stream that nobody reads takes the first part of a message, and the host process waits
 * to send the rest. Meanwhile the size, which lies in the window as the fixed part of this call is
 * larger than a cell, becomes 1. Whoever reads it again and takes off what has been sent is left with
 * a size of nearly 2^64, of memory from this window on. Prints how many messages were sent, and
 * whether more came than they hold.
 */
#include "own_channel.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONG_MESSAGE 380000u

static int g_stream[2];
static uint64_t g_told; /* SYNC: before a message is sent, so that what comes of it is more. */
static uint64_t *g_u_size;
static bool g_over;

static void *shrink(void *argument)
{
    volatile uint64_t *u_size = g_u_size;
    (void)argument;
    while (!__atomic_load_n(&g_over, __ATOMIC_RELAXED)) {
        *u_size = LONG_MESSAGE;
        for (int i = 0; i < 2000; i++)
            hc_pause();
        *u_size = 1;
        for (int i = 0; i < 2000; i++)
            hc_pause();
    }
    return NULL;
}

static void *drain(void *argument)
{
    static uint8_t bytes[65536];
    uint64_t came = 0;
    ssize_t size;
    (void)argument;
    /* Slowly: by then the message lies with the thread that waits. */
    while (usleep(300) == 0 && (size = read(g_stream[1], bytes, sizeof bytes)) > 0) {
        came += (uint64_t)size;
        if (came <= __atomic_load_n(&g_told, __ATOMIC_ACQUIRE) + LONG_MESSAGE)
            continue;
        printf("more came than was sent\n");
        (void)fflush(stdout);
        _exit(0);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[LONG_MESSAGE];
    struct iovec data = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    const uint64_t size = LONG_MESSAGE;
    const int rounds = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t drainer, shrinker;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, g_stream) != 0)
        fail("socketpair");
    find_channel();
    if (pthread_create(&drainer, NULL, drain, NULL) != 0)
        fail("pthread_create");
    for (int round = 0; round < rounds; round++) {
        /* Wakes the thread that polls, which is the one that does not wait. */
        for (int i = 0; i < 100; i++)
            (void)lseek(0, 0, SEEK_CUR);
        ssize_t sent = sendmsg(g_stream[0], &message, 0);
        if (sent > 0)
            __atomic_store_n(&g_told, g_told + (uint64_t)sent, __ATOMIC_RELEASE);
        for (uint32_t i = 1; g_u_size == NULL && i < 7u; i++) {
            if (memcmp(g_u_window + 8u * i, &size, sizeof size) != 0)
                continue;
            g_u_size = (uint64_t *)(void *)(g_u_window + 8u * i);
            if (pthread_create(&shrinker, NULL, shrink, NULL) != 0)
                fail("pthread_create");
        }
        if (g_u_size == NULL)
            fail("the size is not in the window");
    }
    __atomic_store_n(&g_over, true, __ATOMIC_RELAXED);
    (void)pthread_join(shrinker, NULL);
    (void)shutdown(g_stream[0], SHUT_WR);
    (void)pthread_join(drainer, NULL);
    printf("%d messages, no more came than was sent\n", rounds);
    return 0;
}
