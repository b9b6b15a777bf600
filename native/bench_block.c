/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_block.c -- one block of one row: probe, warm up, measure, probe again, write down.
 *
 * For bench_worker.c; host side; trusts the kernel.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"

/* What a block is surrounded by, and what it cost besides time. */
struct surroundings {
    uint64_t wall_ns, cpu_ns, peer_ns, steal_ticks;
    long involuntary;
};

uint64_t bench_steal_ticks(const struct bench *b)
{
    char line[512];
    uint64_t total = 0;
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        int cpu;
        unsigned long long v[8];
        if (sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &v[0], &v[1], &v[2],
                   &v[3], &v[4], &v[5], &v[6], &v[7]) != 9)
            continue;
        if (cpu == b->cpu_requester || cpu == b->cpu_responder)
            total += v[7];
    }
    fclose(file);
    return total;
}

static uint64_t peer_cpu_ns(struct bench *b, const struct bench_row *row)
{
    return bench_cpu_ns(row->flags & BENCH_ENCLAVE ? bench_enclave_pid(b) : bench_partner_pid(b));
}

static void look_around(struct bench *b, const struct bench_row *row, struct surroundings *s)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    s->involuntary = usage.ru_nivcsw;
    s->steal_ticks = bench_steal_ticks(b);
    s->peer_ns = peer_cpu_ns(b, row);
    s->cpu_ns = bench_cpu_ns(0);
    s->wall_ns = bench_wall_ns();
}

/* The same clocks in the opposite order, so that what reading them costs stays outside. */
static void look_back(struct bench *b, const struct bench_row *row, struct surroundings *s)
{
    struct rusage usage;
    s->wall_ns = bench_wall_ns() - s->wall_ns;
    s->cpu_ns = bench_cpu_ns(0) - s->cpu_ns;
    /* The kernel adds a spinning process's time to its clock only at the next tick, too late. */
    s->peer_ns = row->flags & BENCH_SPINS ? s->wall_ns : peer_cpu_ns(b, row) - s->peer_ns;
    s->steal_ticks = bench_steal_ticks(b) - s->steal_ticks;
    getrusage(RUSAGE_SELF, &usage);
    s->involuntary = usage.ru_nivcsw - s->involuntary;
}

/*
 * Warms up until the median of a chunk no longer falls by 3 %, and returns how many samples fit
 * in a block. 16 chunks bound it: where a neighbour keeps disturbing, it never settles. A row that
 * is skipped meanwhile has no samples.
 */
static size_t warm_up(struct bench *b, const struct bench_row *row, uint32_t *samples,
                      size_t *warmed)
{
    uint64_t begin = hc_tsc();
    row->run(b, row, samples, 1);
    *warmed = 1;
    if (row->samples || b->skipped)
        return row->samples;
    uint64_t cost = hc_tsc() - begin + 1u;
    /* A chunk takes an eighth of a block, if that is at least one sample. */
    size_t chunk = (size_t)(b->block_cycles / 8u / cost);
    chunk = chunk < 1u ? 1u : chunk > 64u ? 64u : chunk;
    uint32_t last = UINT32_MAX;
    for (unsigned i = 0; i < 16; i++) {
        begin = hc_tsc();
        row->run(b, row, samples, chunk);
        cost = (hc_tsc() - begin) / chunk + 1u;
        *warmed += chunk;
        if (b->skipped)
            break;
        uint32_t median = bench_median(samples, chunk);
        if (last != UINT32_MAX && median >= last - last / 33u)
            break;
        last = median;
    }
    size_t count = (size_t)(b->block_cycles / cost);
    return count < b->block_min ? b->block_min : count > b->block_max ? b->block_max : count;
}

/* Appends to DIRECTORY/ROW.u32 and gives the index of the first sample there. */
static uint64_t store(const struct bench *b, const char *name, const uint32_t *samples,
                      size_t count)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.u32", b->directory, name);
    FILE *file = fopen(path, "ab");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    long offset = ftell(file);
    if (fwrite(samples, sizeof *samples, count, file) != count || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    return (uint64_t)offset / sizeof *samples;
}

/* What one block leaves besides its samples. */
struct outcome {
    size_t count, warmed;
    double floor[2], copies[2]; /* probes before and after; 0: not probed */
    uint64_t checked, wrong;
    struct surroundings around;
};

static void print_outcome(const struct bench *b, const struct bench_row *row, unsigned round,
                          const struct outcome *o, uint64_t offset)
{
    bench_json_begin("block");
    bench_json_string("row", row->name);
    bench_json_u64("round", round);
    bench_json_u64("offset", offset);
    bench_json_u64("count", o->count);
    bench_json_u64("warmup", o->warmed);
    bench_json_double("probe_before", o->floor[0]);
    bench_json_double("probe_after", o->floor[1]);
    bench_json_double("reference_before", o->copies[0]);
    bench_json_double("reference_after", o->copies[1]);
    bench_json_u64("wall_ns", o->around.wall_ns);
    bench_json_u64("cpu_ns", o->around.cpu_ns);
    bench_json_u64("peer_cpu_ns", o->around.peer_ns);
    bench_json_u64("steal_ticks", o->around.steal_ticks);
    bench_json_i64("involuntary", o->around.involuntary);
    bench_json_u64("checked", o->checked);
    bench_json_u64("wrong", o->wrong);
    bench_json_string("fault", b->fault[0] ? b->fault : NULL);
    bench_json_end();
}

static double probe(struct bench *b, const struct bench_row *row, const struct bench_row *bare)
{
    return row->flags & BENCH_ENCLAVE ? bench_enclave_probe(b, row, bare)
                                      : bench_mailbox_probe(b, bare);
}

/* The probes stand outside of prepare and finish: each begins and ends with its own partner. */
static int measure(struct bench *b, const struct bench_row *row, uint32_t *samples,
                   struct outcome *o)
{
    const struct bench_row *reference = row->reference ? bench_find(row->reference) : NULL;
    const struct bench_row *floor = row->flags & BENCH_CROSS ? bench_find("mailbox") : NULL;
    if (floor)
        o->floor[0] = probe(b, row, floor);
    if (reference)
        o->copies[0] = probe(b, row, reference);
    if (row->prepare && row->prepare(b, row) != 0)
        return -1;
    b->skipped = false;
    b->checked = b->wrong = 0;
    o->count = warm_up(b, row, samples, &o->warmed);
    look_around(b, row, &o->around);
    if (b->skipped)
        o->count = 0;
    /* Looking around took a while: what spins may have gone to sleep over it. */
    if (row->flags & BENCH_SPINS)
        row->run(b, row, samples, o->count < 32u ? o->count : 32u);
    row->run(b, row, samples, o->count);
    look_back(b, row, &o->around);
    o->checked = b->checked;
    o->wrong = b->wrong;
    b->wrong_total += b->wrong;
    if (row->finish)
        row->finish(b, row);
    if (b->skipped && b->wrong == 0)
        return -1;
    if (reference)
        o->copies[1] = probe(b, row, reference);
    if (floor)
        o->floor[1] = probe(b, row, floor);
    return 0;
}

int bench_block(struct bench *b, const struct bench_row *row, unsigned round)
{
    if (row->flags & BENCH_CROSS && b->cpu_responder < 0)
        return bench_skip(b, "needs two CPUs, and this process may use one");
    if (row->flags & BENCH_VALUES) {
        if (row->prepare && row->prepare(b, row) != 0)
            return -1;
        b->skipped = false;
        row->run(b, row, NULL, 0);
        if (row->finish)
            row->finish(b, row);
        return b->skipped ? -1 : 0;
    }
    struct outcome outcome = {0};
    size_t most = row->samples > b->block_max ? row->samples : b->block_max;
    uint32_t *samples = malloc(most * sizeof *samples);
    if (!samples)
        abort();
    int status = measure(b, row, samples, &outcome);
    if (status == 0)
        print_outcome(b, row, round, &outcome, store(b, row->name, samples, outcome.count));
    free(samples);
    return status;
}
