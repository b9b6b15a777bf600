/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h -- the load generator for memcached: what its parts share.
 *
 * For load_*.c alone; a program of its own (hotcalls-load), run by `hotcalls evaluate` beside the
 * server. One thread and one epoll set, so that it costs little of the processor that it may have
 * to share with what it measures. Every reply is known in advance, byte for byte, and compared:
 * the server is not trusted to answer right, only measured.
 */
#ifndef HC_LOAD_H
#define HC_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define LOAD_CONNECTIONS_MAX 4096u
#define LOAD_PIPELINE_MAX 64u
#define LOAD_VALUE_MAX (512u << 10)
#define LOAD_KEYS_MAX 65536u
#define LOAD_PIDS_MAX 16u
/* 32 buckets to an octave: a percentile is off by at most 2.2 %. */
#define LOAD_BUCKETS_PER_OCTAVE 32u
#define LOAD_BUCKETS (48u * LOAD_BUCKETS_PER_OCTAVE)

struct load_options {
    const char *host, *port, *unix_path;
    unsigned connections, pipeline, gets, sets, keys;
    size_t value_size;
    double seconds, warmup, rate;
    uint64_t seed;
    int cpu;
    unsigned rounds;
    pid_t stop[LOAD_PIDS_MAX];
    size_t stop_count;
};

/* A request that is under way, or that waits for its turn on a full connection. */
struct load_request {
    uint64_t intended_ns; /* when it should have been sent: latency counts from here */
    uint32_t key;
    bool get;
};

struct load_connection {
    int fd;
    bool writable_wanted;
    struct load_request *queue; /* ring: `sent` requests under way, then the waiting ones */
    size_t queue_size, head, sent, waiting;
    char *out, *in;
    size_t out_size, out_begin, out_end;
    size_t in_size, in_end;
};

struct load_tally {
    uint64_t replies, gets, sets;
    uint64_t histogram[LOAD_BUCKETS];
    uint64_t max_ns;
};

struct load {
    struct load_options options;
    struct load_connection *connections;
    char *body; /* the value of a key is a window of this */
    uint64_t random;
    struct load_tally tally;
    bool counting;
    uint64_t answered; /* replies in all: filling and warming up too */
    int epoll;
};

/* load_memcached.c: requests and the replies that they must get. */
int load_values_init(struct load *load);
struct load_request load_next_request(struct load *load);
size_t load_request_size(const struct load *load, const struct load_request *request);
size_t load_write_request(const struct load *load, const struct load_request *request, char *out);
/* Bytes of the reply when `in` begins with it whole, 0 when more must come, -1 when it is wrong. */
ssize_t load_check_reply(const struct load *load, const struct load_request *request,
                         const char *in, size_t size);
size_t load_reply_max(const struct load *load);
size_t load_reply_size(const struct load *load, const struct load_request *request);

/* load_connection.c */
int load_connect(struct load *load);
void load_disconnect(struct load *load);
int load_fill(struct load *load);
int load_enqueue(struct load_connection *connection, struct load_request request);
/* Sends what may be sent now. */
int load_pump(struct load *load, struct load_connection *connection);
/* Reads what is there, and counts replies; their number or -1. */
int load_receive(struct load *load, struct load_connection *connection);

/* load_loop.c, load_burst.c: one measurement each; print their result. */
int load_run(struct load *load);
int load_burst(struct load *load);

/* load_main.c */
uint64_t load_random(struct load *load);
uint64_t load_now_ns(clockid_t clock);
int load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
