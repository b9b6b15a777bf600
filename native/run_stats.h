/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_stats.h -- what the host process of `hotcalls run` counts, where others can read it.
 *
 * Host side. The counters lie in a file that the Python launcher opened; this process maps and
 * writes it, and readers (hotcalls stats, hotcalls evaluate) read it while calls go on. The program
 * cannot reach the file, under any name. src/hotcalls/apps/stats.py knows this layout.
 */
#ifndef HOTCALLS_RUN_STATS_H
#define HOTCALLS_RUN_STATS_H

#include "run.h"

#define RUN_STATS_MAGIC UINT64_C(0x3153544154534348) /* "HCSTATS1" */
/* One call in so many is timed: reading the counter twice costs a tenth of a hot call. */
#define RUN_STATS_EVERY 32u

/* Of the calls that one kind of thread answered. */
struct run_count {
    uint64_t calls;
    uint64_t errors;
    uint64_t bytes;
};

struct run_stats_row {
    char name[24];
    struct run_count hot;      /* by the leader, which spins: one writer */
    struct run_count switched; /* by companions: many writers */
    uint64_t reserved;
    uint32_t histogram[HC_BUCKETS]; /* cycles from taking a call to its answer, of those timed */
};

struct run_stats_header {
    uint64_t magic;
    uint32_t row_count;
    uint32_t row_size;
    uint64_t mode; /* 0 hot, 1 switch, 2 switch-unpinned */
    uint64_t cycles_per_us;
    uint64_t started_ns; /* CLOCK_MONOTONIC */
    uint64_t ended_ns;   /* 0 while the program runs */
    uint64_t host_cpu_ns;
    uint64_t program_cpu_ns; /* both when it has ended */
    int64_t host_pid;
    int64_t program_pid; /* from its start on */
    /* When it has ended: calls not done at the first try, given to a companion; leader's sleeps. */
    uint64_t parked, handed, sleeps;
    uint64_t reserved[3];
};

_Static_assert(sizeof(struct run_stats_header) == 128, "stats.py reads this");
_Static_assert(sizeof(struct run_stats_row) == 576, "stats.py reads this");

/* Maps the file; ends the process when that is not possible. */
void run_stats_init(int fd, const struct run_options *options, uint64_t cycles_per_us);
/* The calling thread is the leader: what it answers is hot. */
void run_stats_leader(void);
/* Now, when the next call is to be timed; else 0. */
uint64_t run_stats_start(void);
void run_stats_count(const struct run_call *call, long result, uint64_t started);
/* The program, or what is to become it, is g_run_program. */
void run_stats_started(void);
/* The program has ended. */
void run_stats_end(void);

#endif /* HOTCALLS_RUN_STATS_H */
