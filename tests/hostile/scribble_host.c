/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scribble_host.c -- a host whose enclave scribbles over the channel, while threads call it.
 *
 *     scribble_host IMAGE OVER ROUNDS
 *
 * Each call has to end, with any answer or a typed error, within its timeout and what it takes to
 * notice; closing has to work; and another enclave of the same host must not notice anything.
 */
#define CHECK_OWN_MAIN
#include "scribble.h"

#include <hotcalls_host.h>

#include "check.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define THREADS 3
#define SCRIBBLE_MS 60u
#define TIMEOUT_MS 20u
/* A call must not outlast its timeout by more than a busy machine explains. */
#define PATIENCE_MS 2000u

static const struct hc_function g_ecalls[S_COUNT] = {{"ping", NULL, 0, NULL},
                                                     {"copy", NULL, 0, NULL},
                                                     {"ocall", NULL, 0, NULL},
                                                     {"scribble", NULL, 0, NULL}};
static const struct hc_function g_ocalls[P_COUNT] = {{"ping", scribble_ping_bridge, 0, NULL},
                                                     {"copy", scribble_copy_bridge, 0, NULL}};
static const struct hc_interface g_interface = {.abi = HC_ABI,
                                                .layout = HC_LAYOUT,
                                                .ecall_count = S_COUNT,
                                                .ocall_count = P_COUNT,
                                                .digest = {11},
                                                .name = "scribble",
                                                .ecalls = g_ecalls,
                                                .ocalls = g_ocalls};

static uint64_t g_statuses[32];
static uint64_t g_until;

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static hc_enclave *launch(const char *image)
{
    struct hc_launch_options options;
    struct hc_error error;
    hc_enclave *enclave;
    hc_launch_defaults(&options);
    options.path = image;
    options.interface = &g_interface;
    options.slots = 12;
    options.enclave_slots = 4;
    if (hc_launch(&options, &enclave, &error) != HC_OK) {
        (void)fprintf(stderr, "launch: %s\n", error.text);
        exit(1);
    }
    return enclave;
}

static void noted(enum hc_status status)
{
    CHECK_EQ(hc_status_from_peer((uint32_t)status), status);
    (void)__atomic_add_fetch(&g_statuses[status], 1u, __ATOMIC_RELAXED);
}

static void pipeline(struct hc_port *port)
{
    struct hc_call calls[8];
    struct scribble_ms ms = {1, 0, 0};
    int count = 0;
    for (; count < 8; count++) {
        enum hc_status status = hc_call_begin(port, &calls[count], S_PING, sizeof ms, 0);
        if (status == HC_OK)
            status = hc_call_submit(&calls[count], &ms, sizeof ms);
        if (status != HC_OK)
            break;
    }
    while (count-- > 0) {
        (void)hc_call_poll(&calls[count]);
        enum hc_status status = hc_call_wait(&calls[count], &ms, sizeof ms);
        noted(status);
        if (status == HC_OK)
            hc_call_end(&calls[count]);
    }
}

static void *caller(void *argument)
{
    static __thread uint8_t bytes[COPY_SIZE];
    hc_enclave *enclave = argument;
    for (uint64_t i = 0; now_ms() < g_until && hc_why(enclave, NULL) == HC_OK; i++) {
        uint64_t from = now_ms();
        if (hc_thread_timeout(enclave, TIMEOUT_MS * UINT64_C(1000000)) != HC_OK)
            break;
        struct hc_port *port = hc_host_port(enclave);
        if (port == NULL) {
            noted(hc_host_port_error(enclave));
            break;
        }
        port->mode = (uint32_t)(i % 3u);
        struct scribble_ms ms = {i, 0, 0};
        switch (i % 5u) {
        case 0:
        case 1:
            noted(scribble_call(port, S_PING, &ms));
            break;
        case 2:
            noted(scribble_copy(port, S_COPY, bytes));
            break;
        case 3:
            noted(scribble_call(port, S_OCALL, &ms));
            break;
        default:
            pipeline(port);
            break;
        }
        CHECK(now_ms() - from < 8u * TIMEOUT_MS + PATIENCE_MS);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    uint64_t over = strtoull(argv[2], NULL, 10);
    uint64_t rounds = strtoull(argv[3], NULL, 10);
    uint64_t seed = check_seed((uint64_t)time(NULL));
    hc_enclave *other = launch(argv[1]);
    for (uint64_t round = 0; round < rounds; round++) {
        pthread_t threads[THREADS];
        hc_enclave *enclave = launch(argv[1]);
        struct scribble_ms ms = {over, seed + round, SCRIBBLE_MS};
        /* It has begun by the time that this call is answered, if it is. */
        CHECK_EQ(hc_thread_timeout(enclave, TIMEOUT_MS * UINT64_C(1000000)), HC_OK);
        noted(scribble_call(hc_host_port(enclave), S_SCRIBBLE, &ms));
        g_until = now_ms() + SCRIBBLE_MS + 20u;
        for (int i = 0; i < THREADS; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, caller, enclave), 0);
        for (int i = 0; i < THREADS; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        uint64_t from = now_ms();
        hc_close(enclave);
        CHECK(now_ms() - from < PATIENCE_MS);
        struct scribble_ms ping = {round, 0, 0};
        CHECK_EQ(scribble_call(hc_host_port(other), S_PING, &ping), HC_OK);
        CHECK_EQ(ping.b, round + 1u);
    }
    hc_close(other);
    for (size_t i = 0; i < sizeof g_statuses / sizeof g_statuses[0]; i++)
        if (g_statuses[i] != 0)
            (void)printf("%s=%" PRIu64 "\n", hc_status_text((enum hc_status)i), g_statuses[i]);
    return 0;
}
