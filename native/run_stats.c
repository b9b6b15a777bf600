/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_stats.c -- counting calls by name, hot and switched.
 *
 * Host side; the leader and the companions. Relaxed throughout: a counter publishes nothing, and
 * its readers take each figure by itself.
 */
#define _GNU_SOURCE
#include "run_stats.h"
#include "run_serve.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct run_stats_header *g_header;
static struct run_stats_row *g_counts;
static __thread bool g_leader;
static __thread uint32_t g_untimed;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void run_stats_init(int fd, const struct run_options *options, uint64_t cycles_per_us)
{
    if (fd < 0)
        return;
    size_t size = sizeof(struct run_stats_header) + ROW_COUNT * sizeof(struct run_stats_row);
    if (ftruncate(fd, 0) != 0)
        run_fail(125, "statistics: descriptor %d: %s", fd, strerror(errno));
    /* All of it now: a page that the disk has no room for later would end this process by SIGBUS. */
    int full = posix_fallocate(fd, 0, (off_t)size);
    if (full != 0) {
        (void)!ftruncate(fd, 0);
        (void)fprintf(stderr, "hotcalls run: going on without statistics: %s\n", strerror(full));
        return;
    }
    uint8_t *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        run_fail(125, "statistics: descriptor %d: %s", fd, strerror(errno));
    /* A program that truncated it would end this process with SIGBUS. */
    run_path_forbid(fd);
    g_header = (struct run_stats_header *)(void *)base;
    g_counts = (struct run_stats_row *)(void *)(base + sizeof *g_header);
    for (uint32_t i = 0; i < ROW_COUNT; i++)
        (void)strncpy(g_counts[i].name, run_row(i)->name, sizeof g_counts[i].name - 1u);
    g_header->row_count = ROW_COUNT;
    g_header->row_size = sizeof *g_counts;
    g_header->mode = options->mode == HC_MODE_HOT ? 0u : options->pinned ? 1u : 2u;
    g_header->cycles_per_us = cycles_per_us;
    g_header->started_ns = clock_ns(CLOCK_MONOTONIC);
    g_header->host_pid = getpid();
    /* SYNC: release pairs with readers of the file, magic; publishes the header above. */
    __atomic_store_n(&g_header->magic, RUN_STATS_MAGIC, __ATOMIC_RELEASE);
}

void run_stats_leader(void)
{
    g_leader = true;
}

uint64_t run_stats_start(void)
{
    if (g_header == NULL || ++g_untimed % RUN_STATS_EVERY != 0)
        return 0;
    return hc_tsc();
}

/* Relaxed: one writer; a reader may see it a moment late. */
static void add_alone(uint64_t *counter, uint64_t count)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + count, __ATOMIC_RELAXED);
}

/* Relaxed: only the sum matters. */
static void add_shared(uint64_t *counter, uint64_t count)
{
    (void)__atomic_add_fetch(counter, count, __ATOMIC_RELAXED);
}

void run_stats_count(const struct run_call *call, long result, uint64_t started)
{
    if (g_header == NULL)
        return;
    struct run_stats_row *counts = &g_counts[call->id];
    uint64_t bytes = call->row->returns == ROW_RETURNS_SIZE && result > 0 ? (uint64_t)result : 0;
    if (g_leader) {
        add_alone(&counts->hot.calls, 1);
        if (result < 0)
            add_alone(&counts->hot.errors, 1);
        if (bytes != 0)
            add_alone(&counts->hot.bytes, bytes);
    } else {
        add_shared(&counts->switched.calls, 1);
        if (result < 0)
            add_shared(&counts->switched.errors, 1);
        if (bytes != 0)
            add_shared(&counts->switched.bytes, bytes);
    }
    if (started != 0)
        /* Relaxed: only the sum matters. */
        (void)__atomic_add_fetch(&counts->histogram[hc_bucket_of(hc_tsc() - started)], 1u,
                                 __ATOMIC_RELAXED);
}

void run_stats_started(void)
{
    if (g_header != NULL)
        __atomic_store_n(&g_header->program_pid, g_run_program, __ATOMIC_RELAXED);
}

void run_stats_end(void)
{
    struct rusage usage;
    if (g_header == NULL)
        return;
    if (getrusage(RUSAGE_CHILDREN, &usage) == 0)
        g_header->program_cpu_ns =
            (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
    g_header->host_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    g_header->parked = __atomic_load_n(&g_run_parked, __ATOMIC_RELAXED);
    g_header->handed = __atomic_load_n(&g_run_handed, __ATOMIC_RELAXED);
    g_header->sleeps = g_run_end->u_board->sleeps;
    g_header->ended_ns = clock_ns(CLOCK_MONOTONIC);
}
