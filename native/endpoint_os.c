/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint_os.c -- sleeping, waking, the clock, and how many processors there are.
 *
 * Either side. All futexes are shared ones: the waiter and the waker are different processes.
 */
#define _GNU_SOURCE
#include "endpoint.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void (*g_rest)(void); /* written before there are threads */

void endpoint_on_rest(void (*rest)(void))
{
    g_rest = rest;
}

static void (*g_leave)(void); /* the same */

void endpoint_on_leave(void (*leave)(void))
{
    g_leave = leave;
}

void endpoint_leave(void)
{
    if (g_leave != NULL)
        g_leave();
}

void endpoint_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    struct timespec timeout = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    int saved = errno;
    (void)context;
    if (g_rest != NULL)
        g_rest();
    (void)syscall(SYS_futex, u_word, FUTEX_WAIT, expected, ns == 0 ? NULL : &timeout, NULL, 0);
    errno = saved;
}

void endpoint_wake(void *context, uint32_t *u_word, uint32_t count)
{
    int saved = errno;
    (void)context;
    (void)syscall(SYS_futex, u_word, FUTEX_WAKE, count, NULL, NULL, 0);
    errno = saved;
}

/* The end is the first member of its endpoint. An eventfd that is full announces all the same. */
void endpoint_notify(struct hc_end *end)
{
    const struct endpoint *endpoint = (const struct endpoint *)(const void *)end;
    const uint64_t one = 1;
    int saved = errno;
    (void)!write(endpoint->notify_fd, &one, sizeof one);
    errno = saved;
}

_Static_assert(offsetof(struct endpoint, end) == 0, "endpoint_notify relies on it");

void endpoint_yield(void *context)
{
    (void)context;
    if (g_rest != NULL)
        g_rest();
    (void)sched_yield();
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Measured against the clock, as neither CPUID nor the kernel tells the counter's frequency
 * everywhere. 1 ms is enough for bounds; being descheduled in the middle does no harm, since
 * both clocks go on. Measured once per process.
 */
uint64_t endpoint_cycles_per_us(void)
{
    static uint64_t g_cycles_per_us; /* atomic; two threads may both measure, and agree */
    uint64_t known = __atomic_load_n(&g_cycles_per_us, __ATOMIC_RELAXED);
    if (known != 0)
        return known;
    uint64_t ns = now_ns();
    uint64_t cycles = hc_tsc_ordered();
    uint64_t elapsed;
    do
        elapsed = now_ns() - ns;
    while (elapsed < 1000000u);
    cycles = hc_tsc_ordered() - cycles;
    known = cycles * 1000u / elapsed;
    if (known == 0)
        known = 1;
    __atomic_store_n(&g_cycles_per_us, known, __ATOMIC_RELAXED);
    return known;
}

/* The whole processors that a cgroup v2 quota leaves, rounded up; 0: no quota, or not readable. */
static uint32_t quota_processors(void)
{
    char line[128];
    unsigned long long quota, period;
    uint32_t found = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) != NULL && sscanf(line, "%llu %llu", &quota, &period) == 2 &&
        period != 0)
        found = (uint32_t)((quota + period - 1u) / period);
    (void)fclose(file);
    return found;
}

uint32_t endpoint_processors(void)
{
    cpu_set_t set;
    uint32_t count = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        count = (uint32_t)CPU_COUNT(&set);
    uint32_t quota = quota_processors();
    return quota != 0 && quota < count ? quota : count;
}
