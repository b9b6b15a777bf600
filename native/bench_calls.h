/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_calls.h -- the benchmark enclave, as the rows that call it share it.
 *
 * For bench_launch.c, bench_call.c, bench_load.c and bench_cost.c; host side.
 */
#ifndef HC_BENCH_CALLS_H
#define HC_BENCH_CALLS_H

#include <hotcalls_host.h>

#include "bench.h"
#include "bench_u.h"

struct bench_calls {
    hc_enclave *enclave;
    bool tried;
    char reason[256];
    /* In the channel. */
    struct bench_bare *bare;
    uint8_t *shared;
    uint32_t *flags;
};

extern struct bench_calls g_bench_calls;

enum bench_launch_kind {
    BENCH_LAUNCH_DEFAULT,
    BENCH_LAUNCH_LARGE,   /* windows for 1 MiB each way */
    BENCH_LAUNCH_ONE_CPU, /* as under `taskset -c 0` */
};

/* Launches another enclave. 0, or -1 with bench_skip(). */
int bench_launch(struct bench *b, unsigned responders, enum bench_launch_kind kind,
                 hc_enclave **enclave);
/* Lets the calling thread, and what it starts, run on the requester's and the responder's CPU. */
int bench_pin_to_both(const struct bench *b);
void bench_pin_enclave(hc_enclave *enclave, int cpu);
/* Notes what the first failed call said, for the message that the driver shows. */
void bench_fault(struct bench *b, hc_enclave *enclave, enum hc_status status);
/* Launches the shared one unless it runs. */
int bench_enclave_open(struct bench *b);

/* The responders inside that spin now. */
uint32_t bench_awake(hc_enclave *enclave);
/* Waits, without sleeping, until none does; false after a second. */
bool bench_await_asleep(hc_enclave *enclave);

#endif /* HC_BENCH_CALLS_H */
