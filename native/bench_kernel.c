/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_kernel.c -- handing over to another process through the kernel and back: futex, pipe,
 * eventfd, unix stream socket; on one core, and across cores where the other one has gone idle.
 *
 * For bench_block.c; host side; both ends trust each other. The switch call stands on one of
 * these, so that they are what it is measured against. A token goes there, and comes back plus
 * one, with every hand-over.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

enum primitive { PRIMITIVE_FUTEX, PRIMITIVE_PIPE, PRIMITIVE_EVENTFD, PRIMITIVE_UNIX };

/* An eventfd cannot carry UINT64_MAX, nor 0; tokens stay below. */
#define STOP_TOKEN (UINT64_MAX - 8u)

static void read_all(int fd, uint64_t *token)
{
    ssize_t n;
    do {
        n = read(fd, token, sizeof *token);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *token)
        abort();
}

static void write_all(int fd, uint64_t token)
{
    ssize_t n;
    do {
        n = write(fd, &token, sizeof token);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof token)
        abort();
}

/* Until *word differs from `old`. SYNC: pairs with hand_over() (word); the line is ours now. */
static uint32_t sleep_on(uint32_t *word, uint32_t old)
{
    uint32_t seen;
    while ((seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) == old)
        syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
    return seen;
}

/* SYNC: pairs with sleep_on() (word); publishes the token in the line. */
static void hand_over(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void serve_futex(struct bench_shared *shared, const struct bench_pipes *pipes,
                        uint64_t argument)
{
    struct bench_line *line = &shared->bare.line;
    uint32_t last = 0;
    (void)pipes;
    (void)argument;
    for (;;) {
        last = sleep_on(&shared->futex_post, last);
        if (line->argument == STOP_TOKEN)
            return;
        line->result = line->argument + 1u;
        hand_over(&shared->futex_done, last);
    }
}

static void serve_fds(int in, int out)
{
    for (;;) {
        uint64_t token;
        read_all(in, &token);
        if (token == STOP_TOKEN)
            return;
        write_all(out, token + 1u);
    }
}

static void serve(struct bench_shared *shared, const struct bench_pipes *pipes, uint64_t argument)
{
    switch ((enum primitive)argument) {
    case PRIMITIVE_FUTEX:
        serve_futex(shared, pipes, argument);
        break;
    case PRIMITIVE_PIPE:
        serve_fds(pipes->pipe_post[0], pipes->pipe_done[1]);
        break;
    case PRIMITIVE_EVENTFD:
        serve_fds(pipes->event_post, pipes->event_done);
        break;
    case PRIMITIVE_UNIX:
        serve_fds(pipes->unix_pair[1], pipes->unix_pair[1]);
        break;
    }
}

static int prepare(struct bench *b, const struct bench_row *row)
{
    struct bench_shared *shared = bench_partner_shared(b);
    int cpu = row->flags & BENCH_CROSS ? b->cpu_responder : b->cpu_requester;
    /* Plain: the partner sleeps, and bench_partner_start() publishes. */
    shared->futex_post = shared->futex_done = 0;
    return bench_partner_start(b, serve, row->variant, cpu);
}

static void post_stop(struct bench *b, enum primitive primitive)
{
    struct bench_shared *shared = bench_partner_shared(b);
    const struct bench_pipes *pipes = bench_partner_pipes(b);
    switch (primitive) {
    case PRIMITIVE_FUTEX:
        shared->bare.line.argument = STOP_TOKEN;
        hand_over(&shared->futex_post, shared->futex_post + 1u);
        break;
    case PRIMITIVE_PIPE:
        write_all(pipes->pipe_post[1], STOP_TOKEN);
        break;
    case PRIMITIVE_EVENTFD:
        write_all(pipes->event_post, STOP_TOKEN);
        break;
    case PRIMITIVE_UNIX:
        write_all(pipes->unix_pair[0], STOP_TOKEN);
        break;
    }
}

static void finish(struct bench *b, const struct bench_row *row)
{
    post_stop(b, (enum primitive)row->variant);
    bench_partner_join(b);
}

static void run_futex(struct bench *b, uint32_t *samples, size_t count)
{
    struct bench_shared *shared = bench_partner_shared(b);
    struct bench_line *line = &shared->bare.line;
    for (size_t i = 0; i < count; i++) {
        uint64_t token = bench_random(b) >> 1;
        uint32_t word = shared->futex_post; /* only this side writes it */
        uint64_t begin = bench_start();
        line->argument = token;
        hand_over(&shared->futex_post, word + 1u);
        sleep_on(&shared->futex_done, word);
        uint64_t result = line->result;
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, result, token + 1u);
    }
}

static void run_fds(struct bench *b, int out, int in, uint32_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t token = (bench_random(b) >> 1) | 1u, result;
        uint64_t begin = bench_start();
        write_all(out, token);
        read_all(in, &result);
        uint64_t end = bench_stop();
        samples[i] = bench_saturate(end - begin);
        bench_check(b, result, token + 1u);
    }
}

static void run(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    const struct bench_pipes *pipes = bench_partner_pipes(b);
    switch ((enum primitive)row->variant) {
    case PRIMITIVE_FUTEX:
        run_futex(b, samples, count);
        break;
    case PRIMITIVE_PIPE:
        run_fds(b, pipes->pipe_post[1], pipes->pipe_done[0], samples, count);
        break;
    case PRIMITIVE_EVENTFD:
        run_fds(b, pipes->event_post, pipes->event_done, samples, count);
        break;
    case PRIMITIVE_UNIX:
        run_fds(b, pipes->unix_pair[0], pipes->unix_pair[0], samples, count);
        break;
    }
}

#define HAND_OVER(NAME, TITLE, FLAGS, PRIMITIVE) \
    {                                            \
        .name = NAME,                            \
        .group = "kernel",                       \
        .title = TITLE,                          \
        .flags = FLAGS,                          \
        .batch = 1,                              \
        .variant = PRIMITIVE,                    \
        .prepare = prepare,                      \
        .run = run,                              \
        .finish = finish,                        \
    }

static const struct bench_row g_rows[] = {
    HAND_OVER("futex_same", "futex, same core", 0, PRIMITIVE_FUTEX),
    HAND_OVER("pipe_same", "pipe, same core", 0, PRIMITIVE_PIPE),
    HAND_OVER("eventfd_same", "eventfd, same core", 0, PRIMITIVE_EVENTFD),
    HAND_OVER("unix_same", "unix stream socket, same core", 0, PRIMITIVE_UNIX),
    HAND_OVER("futex_cross", "futex, across cores", BENCH_CROSS, PRIMITIVE_FUTEX),
    HAND_OVER("pipe_cross", "pipe, across cores", BENCH_CROSS, PRIMITIVE_PIPE),
    HAND_OVER("eventfd_cross", "eventfd, across cores", BENCH_CROSS, PRIMITIVE_EVENTFD),
    HAND_OVER("unix_cross", "unix stream socket, across cores", BENCH_CROSS, PRIMITIVE_UNIX),
};

const struct bench_table g_bench_rows_kernel = {g_rows, sizeof g_rows / sizeof g_rows[0]};
