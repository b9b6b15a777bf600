/* SPDX-License-Identifier: Apache-2.0 */
/*
 * App.c -- the host's program: starts the enclave and its hot calls, and compares them with
 * ordinary ones. Every answer is checked.
 *
 * Three threads spin here at times: this one, and a responder on either side. `hotcalls bench
 * --target sgx-sdk` measures with care; this shows how a program does it.
 */
#include "Enclave_u.h"

#include <sgx_urts.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ENCLAVE_FILE "enclave.signed.so"
#define ROUNDS 101
#define CALLS 200u

/* ---- ocalls ---------------------------------------------------------------------------------- */

uint64_t ocall_add(uint64_t a, uint64_t b)
{
    return a + b;
}

uint64_t ocall_add_hot(uint64_t a, uint64_t b)
{
    return a + b;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static uint64_t cycles(void)
{
    return __builtin_ia32_rdtsc();
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fail(const char *what, sgx_status_t status)
{
    fprintf(stderr, "app: %s: status 0x%04x%s\n", what, (unsigned)status,
            status == SGX_ERROR_OUT_OF_TCS ? " (out of TCS: raise TCSNum in Enclave.config.xml)"
                                           : "");
    exit(1);
}

/* Calls of a kind, some of them; each answer is checked. */
static void ecalls(sgx_enclave_id_t eid, int hot)
{
    for (uint64_t i = 0; i < CALLS; i++) {
        uint64_t sum = 0;
        sgx_status_t status = hot ? ecall_add_hot(eid, &sum, i, 5) : ecall_add(eid, &sum, i, 5);
        if (status != SGX_SUCCESS || sum != i + 5u)
            fail("an ecall failed or gave a wrong answer", status);
    }
}

/* The enclave makes them all in one ecall. */
static void ocalls(sgx_enclave_id_t eid, int hot)
{
    uint64_t wrong = CALLS;
    sgx_status_t status = ecall_make_ocalls(eid, &wrong, hot, CALLS);
    if (status != SGX_SUCCESS || wrong != 0)
        fail("ocalls failed or gave wrong answers", status);
}

typedef void calls(sgx_enclave_id_t eid, int hot);

static uint64_t went_hot(sgx_enclave_id_t eid)
{
    struct hc_sgx_statistics statistics;
    (void)Enclave_hot_statistics(eid, &statistics);
    return statistics.hot_ecalls + statistics.hot_ocalls;
}

/* A responder that sleeps is woken by a burst of calls. Calls until it is there, up to a second. */
static void warm_up(sgx_enclave_id_t eid, calls *some)
{
    struct timespec begin, now;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        uint64_t before = went_hot(eid);
        some(eid, 1);
        if (went_hot(eid) - before == CALLS)
            return;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < 2);
}

/* Cycles of one call: the median of rounds, of each the mean. */
static double measure(sgx_enclave_id_t eid, calls *some, int hot)
{
    double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin = cycles();
        some(eid, hot);
        rounds[round] = (double)(cycles() - begin) / CALLS;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, compare);
    return rounds[ROUNDS / 2];
}

static void compare_calls(sgx_enclave_id_t eid, const char *name, calls *some)
{
    double ordinary = measure(eid, some, 0);
    warm_up(eid, some);
    uint64_t before = went_hot(eid);
    double hot = measure(eid, some, 1);
    double share = 100.0 * (double)(went_hot(eid) - before) / (ROUNDS * CALLS);
    printf("%-6s %10.0f %10.0f %13.1f %%\n", name, ordinary, hot, share);
}

int main(void)
{
    sgx_launch_token_t token = {0};
    sgx_enclave_id_t eid = 0;
    int updated = 0;
    sgx_status_t status =
        sgx_create_enclave(ENCLAVE_FILE, SGX_DEBUG_FLAG, &token, &updated, &eid, NULL);
    if (status != SGX_SUCCESS)
        fail("sgx_create_enclave(" ENCLAVE_FILE ")", status);

    struct hc_sgx_options options = {.enclave_responders = 1, .host_responders = 1};
    const char *why = "";
    status = Enclave_hot_start(eid, &options, &why);
    if (status != SGX_SUCCESS) /* all calls go on as ordinary ones */
        fprintf(stderr, "app: no hot calls: %s (status 0x%04x)\n", why, (unsigned)status);

    printf("%s\n", RUNS_ON);
    printf("cycles   ordinary        hot   went so, of the hot\n");
    compare_calls(eid, "ecall", ecalls);
    compare_calls(eid, "ocall", ocalls);
    Enclave_hot_stop(eid);
    (void)sgx_destroy_enclave(eid);
    printf("every answer was right\n");
    return 0;
}
