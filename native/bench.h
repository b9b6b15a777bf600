/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h -- what the parts of hotcalls-bench-worker share: the table of rows, the context of a
 * run, and the partner on the other core.
 *
 * For bench_*.c; host side. The worker is started by hotcalls.bench.measure, runs the rows that
 * its command line names in interleaved blocks, writes every sample to a file and one JSON line
 * for each block to standard output. One process is one repetition.
 *
 * Words: a *sample* is one timed call (or `batch` of them where a call is shorter than the
 * timer's step); a *block* is some thousand samples of one row taken in one breath, between two
 * probes of the bare mailbox where the row crosses cores; a *round* is one block of every row,
 * in an order drawn anew.
 */
#ifndef HC_BENCH_H
#define HC_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench_arch.h"
#include "bench_bare.h"
#include "bench_clock.h"

struct bench;
struct bench_row;
struct bench_partner;

/* What a row needs, and how it is to be read. */
enum {
    BENCH_CROSS = 1u << 0,   /* crosses cores: probed, classified by placement, needs two CPUs */
    BENCH_ONCE = 1u << 1,    /* one block in a process, at its end: slow, or one figure only */
    BENCH_ENCLAVE = 1u << 2, /* calls the benchmark enclave */
    BENCH_COLD = 1u << 3,    /* each sample flushes first; `cold` says what and how */
    BENCH_INSIDE = 1u << 4,  /* probed from inside the enclave against the host's responder */
    BENCH_VALUES = 1u << 5,  /* no samples: prints named figures by itself */
    BENCH_SPINS = 1u << 6,   /* the other end spins: its CPU time is the wall time */
    BENCH_WAITS = 1u << 7,   /* waits between samples: CPU time for each call means nothing */
};

/*
 * Called before a block; 0, or -1 with bench_skip() told why this machine cannot run the row.
 * Called again for each block, so that the partner sleeps between blocks.
 */
typedef int bench_prepare(struct bench *b, const struct bench_row *row);
/* Takes `count` samples, checks the result of every call and counts wrong ones in b->wrong. */
typedef void bench_run(struct bench *b, const struct bench_row *row, uint32_t *samples,
                       size_t count);
/* Undoes prepare. */
typedef void bench_finish(struct bench *b, const struct bench_row *row);

struct bench_row {
    const char *name;
    const char *group;
    const char *title;
    const char *cold;      /* what was flushed and how; NULL: warm */
    const char *reference; /* row whose copies are taken bare, over the mailbox, in this block */
    const char *note;      /* what a reader must know beside the figure; may be NULL */
    uint32_t flags;
    uint32_t batch;   /* calls in one sample */
    uint32_t samples; /* in a block; 0: as many as fit in the time of a block */
    uint64_t size;    /* payload in bytes, each way */
    uint64_t variant;
    bench_prepare *prepare;
    bench_run *run;
    bench_finish *finish;
};

struct bench_table {
    const struct bench_row *rows;
    size_t count;
};

struct bench {
    int cpu_requester;
    int cpu_responder; /* -1: this process may use one CPU only */
    uint64_t random;
    uint64_t block_cycles; /* how long a block should last */
    size_t block_min, block_max;
    size_t probe_count;
    const char *directory;
    const char *enclave; /* path of bench.enclave.so, or NULL */
    bool full;           /* the long versions of the rows that run once */
    struct bench_partner *partner;
    struct bench_timer timer;
    uint64_t wrong;       /* results of this block that were not what was expected */
    uint64_t wrong_total; /* and of the whole run */
    uint64_t checked;     /* results of this block that were compared */
    bool skipped;         /* set by bench_skip(); cleared before each row */
    char reason[256];     /* why the row was skipped */
    char fault[256];      /* what the first failed call said */
};

/* bench_worker.c */
extern const struct bench_table *const g_bench_tables[];
extern const size_t g_bench_table_count;
const struct bench_row *bench_find(const char *name);

/* bench_block.c */
int bench_block(struct bench *b, const struct bench_row *row, unsigned round);
int bench_skip(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Time that the host took from the two CPUs in use, in ticks of 1/USER_HZ since boot. */
uint64_t bench_steal_ticks(const struct bench *b);

/* bench_output.c: one JSON object for each line of standard output */
void bench_json_begin(const char *type);
void bench_json_string(const char *key, const char *value);
void bench_json_u64(const char *key, uint64_t value);
void bench_json_i64(const char *key, int64_t value);
void bench_json_double(const char *key, double value);
void bench_json_bool(const char *key, bool value);
void bench_json_end(void);

/* bench_support.c */
uint64_t bench_random(struct bench *b);
int bench_pin(pid_t thread, int cpu);
uint64_t bench_cpu_ns(pid_t pid); /* CPU time of a process so far; 0 = this one */
uint64_t bench_wall_ns(void);
int bench_compare_double(const void *x, const void *y); /* for qsort() */
uint32_t bench_median(uint32_t *samples, size_t count); /* sorts */
/*
 * The median of samples that a timer has rounded to multiples of `step`: within the step that
 * holds it, as far along as the ranks say. Without it two medians 8 % apart look the same, or
 * two equal ones 8 % apart, where a call lasts a dozen steps. Sorts.
 */
double bench_grouped_median(uint32_t *samples, size_t count, uint32_t step);
/*
 * Displaces what the first two cache levels of this core hold, kernel code and data included,
 * by writing four times the second level: what no flush instruction may reach from user space.
 */
void bench_displace(struct bench *b);
extern const char g_bench_displace_text[];

static inline void bench_check(struct bench *b, uint64_t found, uint64_t expected)
{
    b->checked++;
    if (HC_UNLIKELY(found != expected))
        b->wrong++;
}

/* Memory that the process and its partner share. */
struct bench_shared {
    struct bench_bare bare;
    struct bench_line second;
    _Alignas(HC_CELL_STRIDE) uint32_t futex_post;
    _Alignas(HC_CELL_STRIDE) uint32_t futex_done;
};

/* How the two reach each other through the kernel; made before the partner is forked. */
struct bench_pipes {
    int pipe_post[2], pipe_done[2];
    int event_post, event_done;
    int unix_pair[2]; /* [0] the requester's */
};

typedef void bench_job(struct bench_shared *shared, const struct bench_pipes *pipes,
                       uint64_t argument);

/* bench_partner.c: a forked process that sleeps in the kernel except during a job. */
int bench_partner_create(struct bench *b);
void bench_partner_destroy(struct bench *b);
struct bench_shared *bench_partner_shared(struct bench *b);
const struct bench_pipes *bench_partner_pipes(struct bench *b);
pid_t bench_partner_pid(struct bench *b);
/* Runs `job` on `cpu`; returns when it has begun. */
int bench_partner_start(struct bench *b, bench_job *job, uint64_t argument, int cpu);
/* Waits until the job has returned: the caller told it to, in the job's own way. */
void bench_partner_join(struct bench *b);

/* bench_mailbox.c */
/* Size and direction of the copies of a row of the group mailbox; 0: none. */
uint64_t bench_mailbox_ways(const struct bench_row *row);
/* Timed round trips over a bare mailbox whose other end is served. */
void bench_bare_take(struct bench *b, struct bench_bare *bare, uint64_t ways, uint32_t *samples,
                     size_t count);
/* Their median, over some hundred. */
double bench_bare_probe(struct bench *b, struct bench_bare *bare, uint64_t ways);
/* The same against the partner, which is woken for it, with the copies of `row`. */
double bench_mailbox_probe(struct bench *b, const struct bench_row *row);

/* bench_launch.c */
pid_t bench_enclave_pid(struct bench *b);
/* As bench_mailbox_probe(), against the responder that the calls of `row` go to. */
double bench_enclave_probe(struct bench *b, const struct bench_row *row,
                           const struct bench_row *bare);
void bench_enclave_close(struct bench *b);

extern const struct bench_table g_bench_rows_basic, g_bench_rows_kernel, g_bench_rows_mailbox,
    g_bench_rows_memory, g_bench_rows_kvm, g_bench_rows_call, g_bench_rows_edge, g_bench_rows_load,
    g_bench_rows_cost, g_bench_rows_sgx;

#endif /* HC_BENCH_H */
