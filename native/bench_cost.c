/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_cost.c -- what it costs to have an enclave at all: launching, idling, memory, the CPU
 * time of calls on both sides, and one CPU for everything.
 *
 * For bench_block.c; host side; trusts the enclave, which is ours. Each row launches an enclave
 * of its own with the default options, as a program would.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"
#include "bench_calls.h"

static bool echo(struct bench *b, hc_enclave *enclave)
{
    uint64_t token = bench_random(b), result = 0;
    enum hc_status status = bench_echo(enclave, &result, token);
    b->checked++;
    if (status == HC_OK && result == token + 1u)
        return true;
    b->wrong++;
    bench_fault(b, enclave, status);
    return false;
}

static void begin_values(struct bench *b, const struct bench_row *row)
{
    bench_json_begin("values");
    bench_json_string("row", row->name);
    bench_json_u64("checked", b->checked);
    bench_json_u64("wrong", b->wrong);
    if (b->wrong)
        bench_json_string("fault", b->fault[0] ? b->fault : b->reason);
    b->wrong_total += b->wrong;
}

static int no_prepare(struct bench *b, const struct bench_row *row)
{
    (void)row;
    b->checked = b->wrong = 0;
    return b->enclave ? 0 : bench_skip(b, "the benchmark enclave was not given");
}

static int compare_u64(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
    return (a > c) - (a < c);
}

/* ---- launch --------------------------------------------------------------------------------- */

static void run_launch(struct bench *b, const struct bench_row *row, uint32_t *samples,
                       size_t count)
{
    enum { MOST = 11 };
    uint64_t first[MOST], closed[MOST];
    unsigned launches = b->full ? MOST : 3;
    (void)samples;
    (void)count;
    for (unsigned i = 0; i < launches; i++) {
        hc_enclave *enclave;
        uint64_t begin = bench_wall_ns();
        if (bench_launch(b, 1, BENCH_LAUNCH_DEFAULT, &enclave) != 0) {
            return;
        }
        echo(b, enclave);
        uint64_t answered = bench_wall_ns();
        hc_close(enclave);
        first[i] = answered - begin;
        closed[i] = bench_wall_ns() - answered;
    }
    qsort(first, launches, sizeof first[0], compare_u64);
    qsort(closed, launches, sizeof closed[0], compare_u64);
    begin_values(b, row);
    bench_json_double("first_answer_ms", (double)first[launches / 2u] / 1e6);
    bench_json_double("first_answer_slowest_ms", (double)first[launches - 1u] / 1e6);
    bench_json_double("close_ms", (double)closed[launches / 2u] / 1e6);
    bench_json_end();
}

/* ---- idle ----------------------------------------------------------------------------------- */

/* Resident memory in KiB: of its own and of files, and of shared memory, which is the channel. */
static void resident(pid_t pid, uint64_t *own, uint64_t *shared)
{
    char path[64], line[256];
    unsigned long long value;
    *own = *shared = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "RssAnon: %llu", &value) == 1 ||
            sscanf(line, "RssFile: %llu", &value) == 1)
            *own += value;
        else if (sscanf(line, "RssShmem: %llu", &value) == 1)
            *shared = value;
    }
    fclose(file);
}

static void sleep_ms(uint64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000u),
                            .tv_nsec = (long)(ms % 1000u) * 1000000L};
    while (nanosleep(&time, &time) != 0)
        ;
}

static void run_idle(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    hc_enclave *enclave;
    uint64_t own, shared;
    (void)samples;
    (void)count;
    if (bench_launch(b, 1, BENCH_LAUNCH_DEFAULT, &enclave) != 0)
        return;
    for (unsigned i = 0; i < 1000; i++)
        echo(b, enclave);
    /* From the last call until the responder sleeps: what an idle bound costs once. */
    uint64_t burst = bench_wall_ns();
    bool asleep = bench_await_asleep(enclave);
    double spun_ms = (double)(bench_wall_ns() - burst) / 1e6;
    bench_check(b, asleep, true);
    uint64_t wall = bench_wall_ns(), host = bench_cpu_ns(0), inside = bench_cpu_ns(hc_pid(enclave));
    sleep_ms(1000);
    inside = bench_cpu_ns(hc_pid(enclave)) - inside;
    host = bench_cpu_ns(0) - host;
    wall = bench_wall_ns() - wall;
    resident(hc_pid(enclave), &own, &shared);
    hc_close(enclave);
    begin_values(b, row);
    bench_json_double("cpu_percent", 100.0 * (double)(host + inside) / (double)wall);
    bench_json_double("enclave_cpu_ms_per_s", (double)inside * 1e3 / (double)wall);
    bench_json_double("host_cpu_ms_per_s", (double)host * 1e3 / (double)wall);
    bench_json_double("spins_before_it_sleeps_ms", spun_ms);
    bench_json_double("resident_mib", (double)own / 1024.0);
    bench_json_double("channel_resident_mib", (double)shared / 1024.0);
    bench_json_end();
}

/* ---- CPU time of calls ---------------------------------------------------------------------- */

/*
 * Sustained calls, so that what the kernel adds to a process's clock only at its ticks (it does
 * for a thread that spins) is right to a per cent.
 */
static void run_cpu(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    enum hc_mode mode = (enum hc_mode)row->variant;
    hc_enclave *enclave;
    uint64_t calls = 0, span_ns = b->full ? 1000000000u : 250000000u;
    (void)samples;
    (void)count;
    if (bench_launch(b, 1, BENCH_LAUNCH_DEFAULT, &enclave) != 0)
        return;
    if (hc_thread_mode(enclave, mode) != HC_OK)
        b->wrong++;
    if (b->cpu_responder >= 0)
        bench_pin_enclave(enclave, b->cpu_responder);
    for (unsigned i = 0; i < 1000; i++)
        echo(b, enclave);
    uint64_t wall = bench_wall_ns(), host = bench_cpu_ns(0), inside = bench_cpu_ns(hc_pid(enclave));
    while (bench_wall_ns() - wall < span_ns) {
        for (unsigned i = 0; i < 64; i++)
            echo(b, enclave);
        calls += 64;
    }
    inside = bench_cpu_ns(hc_pid(enclave)) - inside;
    host = bench_cpu_ns(0) - host;
    wall = bench_wall_ns() - wall;
    hc_close(enclave);
    begin_values(b, row);
    bench_json_double("caller_cpu_s_per_million", (double)host / (double)calls / 1e3);
    bench_json_double("enclave_cpu_s_per_million", (double)inside / (double)calls / 1e3);
    bench_json_double("wall_s_per_million", (double)wall / (double)calls / 1e3);
    bench_json_end();
}

/* ---- one CPU for everything ----------------------------------------------------------------- */

/* Interleaved, so that whatever the machine does meanwhile it does to both. */
static void run_one_cpu(struct bench *b, const struct bench_row *row, uint32_t *samples,
                        size_t count)
{
    enum { TURNS = 20 };
    static const enum hc_mode modes[2] = {HC_MODE_HOT, HC_MODE_SWITCH};
    uint64_t time[2][TURNS];
    double ratios[TURNS];
    unsigned calls = b->full ? 500 : 100;
    hc_enclave *enclave;
    (void)samples;
    (void)count;
    if (bench_launch(b, 1, BENCH_LAUNCH_ONE_CPU, &enclave) != 0)
        return;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (unsigned m = 0; m < 2; m++) {
            if (hc_thread_mode(enclave, modes[m]) != HC_OK)
                b->wrong++;
            echo(b, enclave);
            uint64_t begin = bench_wall_ns();
            for (unsigned i = 0; i < calls; i++)
                echo(b, enclave);
            time[m][turn] = bench_wall_ns() - begin;
        }
        ratios[turn] = (double)time[0][turn] / (double)time[1][turn];
    }
    hc_close(enclave);
    qsort(time[0], TURNS, sizeof time[0][0], compare_u64);
    qsort(time[1], TURNS, sizeof time[1][0], compare_u64);
    qsort(ratios, TURNS, sizeof ratios[0], bench_compare_double);
    begin_values(b, row);
    bench_json_double("hot_mode_us", (double)time[0][TURNS / 2] / 1e3 / calls);
    bench_json_double("switch_mode_us", (double)time[1][TURNS / 2] / 1e3 / calls);
    bench_json_double("hot_to_switch", ratios[TURNS / 2]);
    bench_json_end();
}

#define VALUES(NAME, TITLE, NOTE, VARIANT, FLAGS, RUN)                \
    {                                                                 \
        .name = NAME,                                                 \
        .group = "cost",                                              \
        .title = TITLE,                                               \
        .note = NOTE,                                                 \
        .variant = VARIANT,                                           \
        .flags = BENCH_ENCLAVE | BENCH_VALUES | BENCH_ONCE | (FLAGS), \
        .batch = 1,                                                   \
        .prepare = no_prepare,                                        \
        .run = RUN,                                                   \
    }

static const struct bench_row g_rows[] = {
    VALUES("launch", "launching a C enclave, to its first answer", "Median of several.", 0, 0,
           run_launch),
    VALUES("idle", "an idle enclave", "One second after a burst, responders asleep.", 0, 0,
           run_idle),
    VALUES("cpu_hot", "CPU time of hot ecalls", "Sustained, one caller; both cores spin.",
           HC_MODE_HOT, BENCH_CROSS, run_cpu),
    VALUES("cpu_switch", "CPU time of switch ecalls", "Sustained, one caller, one core.",
           HC_MODE_SWITCH, 0, run_cpu),
    VALUES("one_cpu", "everything on one CPU, as with taskset -c 0",
           "Hot mode then behaves like switch mode.", 0, 0, run_one_cpu),
};

const struct bench_table g_bench_rows_cost = {g_rows, sizeof g_rows / sizeof g_rows[0]};
