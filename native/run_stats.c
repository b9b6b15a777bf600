/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_stats.c -- what was called how often, written as one JSON object when the program has ended.
 *
 * Host side. Counts are this process' own; latencies and the ways that calls took are the
 * program's side's account, and as true as the program.
 */
#define _GNU_SOURCE
#include "run_serve.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

struct run_count g_run_counts[ROW_COUNT];

static uint64_t read_counter(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void write_processor(FILE *out, const char *name, int who)
{
    struct rusage usage;
    if (getrusage(who, &usage) != 0)
        return;
    (void)fprintf(out, "\"%s\": {\"user_s\": %.6f, \"system_s\": %.6f, \"resident_kb\": %ld}, ",
                  name, seconds(&usage.ru_utime), seconds(&usage.ru_stime), usage.ru_maxrss);
}

static void write_ways(FILE *out)
{
    struct hc_counters sum = {0};
    for (uint32_t i = 0; i < g_run_end->geometry.slot_count; i++) {
        const struct hc_counters *u_counters =
            &hc_u_slot(g_run_end->u_base, &g_run_end->geometry, i)->owner_counters;
        sum.hot += hc_untrusted_u64(&u_counters->hot);
        sum.switched += hc_untrusted_u64(&u_counters->switched);
        sum.fallen_back += hc_untrusted_u64(&u_counters->fallen_back);
        sum.slept += hc_untrusted_u64(&u_counters->slept);
        sum.rang += hc_untrusted_u64(&u_counters->rang);
        sum.bytes_out += hc_untrusted_u64(&u_counters->bytes_out);
        sum.errors += hc_untrusted_u64(&u_counters->errors);
    }
    (void)fprintf(out,
                  "\"hot\": %" PRIu64 ", \"switched\": %" PRIu64 ", \"fallen_back\": %" PRIu64
                  ", \"slept\": %" PRIu64 ", \"rang\": %" PRIu64 ", \"bytes_out\": %" PRIu64
                  ", \"parked\": %" PRIu64 ", \"handed\": %" PRIu64 ", \"leader_sleeps\": %" PRIu64
                  ", ",
                  sum.hot, sum.switched, sum.fallen_back, sum.slept, sum.rang, sum.bytes_out,
                  read_counter(&g_run_parked), read_counter(&g_run_handed),
                  read_counter(&g_run_end->u_board->sleeps));
}

static void write_call(FILE *out, uint32_t id, const char *separator)
{
    const struct hc_histogram *u_histogram =
        hc_u_histogram(g_run_end->u_base, &g_run_end->geometry, HC_ENCLAVE, id);
    (void)fprintf(out,
                  "%s\"%s\": {\"count\": %" PRIu64 ", \"errors\": %" PRIu64
                  ", \"sampled\": %" PRIu64 ", \"max_cycles\": %" PRIu64 ", \"buckets\": [",
                  separator, run_row(id)->name, read_counter(&g_run_counts[id].calls),
                  read_counter(&g_run_counts[id].errors), hc_untrusted_u64(&u_histogram->count),
                  hc_untrusted_u64(&u_histogram->max_cycles));
    uint32_t last = HC_BUCKETS;
    while (last != 0 && hc_untrusted_u32(&u_histogram->buckets[last - 1u]) == 0)
        last--;
    for (uint32_t i = 0; i < last; i++)
        (void)fprintf(out, "%s%" PRIu32, i != 0 ? ", " : "",
                      hc_untrusted_u32(&u_histogram->buckets[i]));
    (void)fputs("]}", out);
}

void run_stats_write(int fd)
{
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    const char *separator = "";
    if (out == NULL)
        return;
    (void)fprintf(out, "{\"version\": 1, \"cycles_per_us\": %" PRIu64 ", ",
                  g_run_end->bounds.cycles_per_us);
    write_processor(out, "host", RUSAGE_SELF);
    write_processor(out, "program", RUSAGE_CHILDREN);
    write_ways(out);
    (void)fputs("\"calls\": {", out);
    for (uint32_t id = 0; id < ROW_COUNT; id++) {
        if (read_counter(&g_run_counts[id].calls) == 0)
            continue;
        write_call(out, id, separator);
        separator = ", ";
    }
    (void)fputs("}}\n", out);
    (void)fclose(out);
}
