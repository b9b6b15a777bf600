/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_worker.c -- hotcalls-bench-worker: runs rows of the benchmark in interleaved blocks.
 *
 * Started by hotcalls.bench.measure; host side; trusts its command line. Writes the samples of
 * each row to DIRECTORY/ROW.u32 (32-bit little-endian cycles, 4294967295 = that or more) and one
 * JSON object a line to standard output: `row` (what each row is), `start`, `block` (where its
 * samples are, and what surrounded them), `skip`, `values`, `end`. Exits 0 when every result was
 * right, 3 when one was wrong, 2 on a wrong command line.
 */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define ROW_MAX 256u

const struct bench_table *const g_bench_tables[] = {
    &g_bench_rows_basic,   &g_bench_rows_kvm,  &g_bench_rows_kernel, &g_bench_rows_memory,
    &g_bench_rows_mailbox, &g_bench_rows_call, &g_bench_rows_edge,   &g_bench_rows_load,
    &g_bench_rows_cost,    &g_bench_rows_sgx,
};
const size_t g_bench_table_count = sizeof g_bench_tables / sizeof g_bench_tables[0];

const struct bench_row *bench_find(const char *name)
{
    for (size_t t = 0; t < g_bench_table_count; t++)
        for (size_t i = 0; i < g_bench_tables[t]->count; i++)
            if (strcmp(g_bench_tables[t]->rows[i].name, name) == 0)
                return &g_bench_tables[t]->rows[i];
    return NULL;
}

struct plan {
    const struct bench_row *rows[ROW_MAX];
    bool skipped[ROW_MAX];
    size_t count;
    unsigned rounds;
};

static void describe(const struct bench_row *row)
{
    bench_json_begin("row");
    bench_json_string("name", row->name);
    bench_json_string("group", row->group);
    bench_json_string("title", row->title);
    bench_json_string("cold", row->cold);
    bench_json_string("reference", row->reference);
    bench_json_string("note", row->note);
    bench_json_bool("cross", row->flags & BENCH_CROSS);
    bench_json_bool("once", row->flags & BENCH_ONCE);
    bench_json_bool("enclave", row->flags & BENCH_ENCLAVE);
    bench_json_bool("values", row->flags & BENCH_VALUES);
    bench_json_bool("cpu", !(row->flags & (BENCH_VALUES | BENCH_COLD | BENCH_WAITS)));
    bench_json_u64("batch", row->batch);
    bench_json_u64("size", row->size);
    bench_json_end();
}

static void add_all(struct plan *plan)
{
    for (size_t t = 0; t < g_bench_table_count; t++)
        for (size_t i = 0; i < g_bench_tables[t]->count && plan->count < ROW_MAX; i++)
            plan->rows[plan->count++] = &g_bench_tables[t]->rows[i];
}

static void add_named(struct plan *plan, char *names)
{
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
        const struct bench_row *row = bench_find(name);
        if (!row) {
            fprintf(stderr, "hotcalls-bench-worker: no row is called `%s`; see --list\n", name);
            exit(2);
        }
        if (plan->count < ROW_MAX)
            plan->rows[plan->count++] = row;
    }
}

static uint64_t number(const char *option, const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 0);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "hotcalls-bench-worker: %s: `%s` is not a number\n", option, text);
        exit(2);
    }
    return value;
}

static void shuffle(struct bench *b, const struct bench_row **rows, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = bench_random(b) % i;
        const struct bench_row *row = rows[i - 1];
        rows[i - 1] = rows[j];
        rows[j] = row;
    }
}

static void run_block(struct bench *b, struct plan *plan, const struct bench_row *row,
                      unsigned round)
{
    size_t i = 0;
    while (plan->rows[i] != row)
        i++;
    if (plan->skipped[i] || bench_block(b, row, round) == 0)
        return;
    plan->skipped[i] = true;
    bench_json_begin("skip");
    bench_json_string("row", row->name);
    bench_json_string("reason", b->reason);
    bench_json_end();
}

/* Rows that run once go last: a launch or an idle second between blocks would disturb pairs. */
static void run_rounds(struct bench *b, struct plan *plan)
{
    const struct bench_row *order[ROW_MAX];
    for (unsigned once = 0; once < 2; once++) {
        size_t count = 0;
        for (size_t i = 0; i < plan->count; i++)
            if (!(plan->rows[i]->flags & BENCH_ONCE) == !once)
                order[count++] = plan->rows[i];
        for (unsigned round = 0; round < (once ? 1u : plan->rounds); round++) {
            shuffle(b, order, count);
            for (size_t i = 0; i < count; i++)
                run_block(b, plan, order[i], round);
        }
    }
}

/* What the build says of itself; else what the compiler's own macros tell. */
#if defined(HC_BENCH_FLAGS)
static const char g_flags[] = HC_BENCH_FLAGS;
#else
static const char g_flags[] = ""
#if defined(__OPTIMIZE__)
                              "optimized"
#else
                              "not optimized"
#endif
#if defined(__SSP_STRONG__)
                              ", stack protector"
#endif
#if defined(_FORTIFY_SOURCE)
                              ", fortified"
#endif
#if defined(__CET__)
                              ", branch protection"
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
                              ", sanitized"
#endif
    ;
#endif

/* The least of some: what the machine can do when nobody disturbs; and the median: what it did. */
static void print_state(struct bench *b, const char *type)
{
    enum { COUNT = 15 };
    uint32_t spins[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        spins[i] = bench_saturate(bench_spin_loop());
    uint32_t median = bench_median(spins, COUNT);
    bench_json_begin(type);
    bench_json_u64("spin_least", spins[0]);
    bench_json_u64("spin_median", median);
    bench_json_u64("spin_most", spins[COUNT - 1]);
    bench_json_u64("tsc", hc_tsc());
    bench_json_u64("wall_ns", bench_wall_ns());
    bench_json_u64("steal_ticks", bench_steal_ticks(b));
    bench_json_double("timer_overhead", b->timer.overhead);
    bench_json_u64("timer_step", b->timer.step);
#if defined(__clang__)
    bench_json_string("compiler", "clang " __clang_version__);
#else
    bench_json_string("compiler", "gcc " __VERSION__);
#endif
    bench_json_string("flags", g_flags);
    bench_json_end();
}

static const char g_usage[] =
    "usage: hotcalls-bench-worker --list\n"
    "       hotcalls-bench-worker --out DIRECTORY --cpus A[,B] [--rows NAME,...] [--rounds N]\n"
    "           [--block-us N] [--probe N] [--seed N] [--enclave FILE] [--full]\n"
    "Started by `hotcalls bench`; writes samples to DIRECTORY and JSON lines to standard output.\n";

enum option_id {
    OPT_LIST = 256,
    OPT_OUT,
    OPT_CPUS,
    OPT_ROWS,
    OPT_ROUNDS,
    OPT_BLOCK,
    OPT_PROBE,
    OPT_SEED,
    OPT_ENCLAVE,
    OPT_FULL,
    OPT_HELP
};

static const struct option g_options[] = {
    {"list", no_argument, NULL, OPT_LIST},
    {"out", required_argument, NULL, OPT_OUT},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"rows", required_argument, NULL, OPT_ROWS},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"block-us", required_argument, NULL, OPT_BLOCK},
    {"probe", required_argument, NULL, OPT_PROBE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"enclave", required_argument, NULL, OPT_ENCLAVE},
    {"full", no_argument, NULL, OPT_FULL},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void parse_cpus(struct bench *b, char *text)
{
    char *second = strchr(text, ',');
    if (second)
        *second++ = '\0';
    b->cpu_requester = (int)number("--cpus", text);
    b->cpu_responder = second ? (int)number("--cpus", second) : -1;
}

/* Cycles in `us` microseconds, from 2 ms of both clocks: close enough to size blocks by. */
static uint64_t cycles_of(uint64_t us)
{
    uint64_t wall = bench_wall_ns(), tsc = hc_tsc();
    while (bench_wall_ns() - wall < 2000000u)
        ;
    return (hc_tsc() - tsc) * us / 2000u;
}

static void parse(struct bench *b, struct plan *plan, int argc, char **argv)
{
    char *rows = NULL;
    uint64_t block_us = 3000;
    int option;
    while ((option = getopt_long(argc, argv, "", g_options, NULL)) != -1) {
        switch (option) {
        case OPT_LIST:
            add_all(plan);
            for (size_t i = 0; i < plan->count; i++)
                describe(plan->rows[i]);
            exit(0);
        case OPT_OUT:
            b->directory = optarg;
            break;
        case OPT_CPUS:
            parse_cpus(b, optarg);
            break;
        case OPT_ROWS:
            rows = optarg;
            break;
        case OPT_ROUNDS:
            plan->rounds = (unsigned)number("--rounds", optarg);
            break;
        case OPT_BLOCK:
            block_us = number("--block-us", optarg);
            break;
        case OPT_PROBE:
            b->probe_count = number("--probe", optarg);
            break;
        case OPT_SEED:
            b->random = number("--seed", optarg);
            break;
        case OPT_ENCLAVE:
            b->enclave = optarg;
            break;
        case OPT_FULL:
            b->full = true;
            break;
        case OPT_HELP:
            fputs(g_usage, stdout);
            exit(0);
        default:
            fputs(g_usage, stderr);
            exit(2);
        }
    }
    if (!b->directory || b->cpu_requester < 0 || optind != argc) {
        fputs(g_usage, stderr);
        exit(2);
    }
    if (rows)
        add_named(plan, rows);
    else
        add_all(plan);
    b->block_cycles = cycles_of(block_us);
}

int main(int argc, char **argv)
{
    struct bench b = {
        .cpu_requester = -1,
        .cpu_responder = -1,
        .block_min = 8,
        .block_max = 16384,
        .probe_count = 400,
    };
    struct plan plan = {.rounds = 1};
    parse(&b, &plan, argc, argv);
    if (bench_partner_create(&b) != 0) {
        perror("hotcalls-bench-worker: the partner process");
        return 1;
    }
    if (bench_pin(0, b.cpu_requester) != 0) {
        fprintf(stderr, "hotcalls-bench-worker: CPU %d may not be used here\n", b.cpu_requester);
        return 1;
    }
    b.timer = bench_timer_measure();
    print_state(&b, "start");
    run_rounds(&b, &plan);
    print_state(&b, "end");
    bench_enclave_close(&b);
    bench_partner_destroy(&b);
    return b.wrong_total ? 3 : 0;
}
