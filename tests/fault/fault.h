/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h -- an interface for making things go wrong, and the host's half of it.
 *
 * Included by fault_enclave.c (trusted) and by the hosts of this folder (untrusted), which define
 * FAULT_HOST first.
 */
#ifndef HOTCALLS_TESTS_FAULT_H
#define HOTCALLS_TESTS_FAULT_H

#include <hotcalls/hotcalls.h>

enum {
    F_PING,
    F_DIE,
    F_FOREVER,
    F_SPIN_US,
    F_OCALL,
    F_ORPHAN,
    F_PRIVATE,
    F_ARM,
    F_PATIENCE,
    F_COUNT
};
enum { G_PING, G_KILL, G_BLOCK, G_CALL_IN, G_COUNT };

/* How an enclave ends itself. */
enum { BY_KILL, BY_SEGV, BY_EXIT, BY_ABORT, BY_WAYS };
/* …and when: with nothing else going on, before an ocall, during one (the host ends it), after. */
enum { ALONE, BEFORE_OCALL, DURING_OCALL, AFTER_OCALL, MOMENTS };

struct fault_ms {
    uint64_t a, b;
};

static inline enum hc_status fault_call(struct hc_port *port, uint32_t id, uint64_t a, uint64_t b,
                                        uint64_t *answer)
{
    struct fault_ms ms = {a, b};
    struct hc_call call;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof ms, 0);
    if (status == HC_OK)
        status = hc_call_run(&call, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    hc_call_end(&call);
    if (answer != NULL)
        *answer = ms.b;
    return HC_OK;
}

#ifdef FAULT_HOST

#include <hotcalls_host.h>

#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static const struct hc_function g_fault_ecalls[F_COUNT] = {
    {"ping", NULL, 0, NULL},    {"die", NULL, 0, NULL},   {"forever", NULL, 0, NULL},
    {"spin", NULL, 0, NULL},    {"ocall", NULL, 0, NULL}, {"orphan", NULL, 0, NULL},
    {"private", NULL, 0, NULL}, {"arm", NULL, 0, NULL},   {"patience", NULL, 0, NULL}};

static uint32_t g_in_ocall;       /* how many threads are in G_BLOCK; atomic */
static uint32_t g_release_ocalls; /* lets them go; atomic */
static enum hc_status g_call_in;  /* what became of the call of G_CALL_IN */
static hc_enclave *g_fault_enclave;

static inline void fault_sleep_ms(uint64_t ms)
{
    struct timespec time = {(time_t)(ms / 1000u), (long)(ms % 1000u) * 1000000};
    (void)nanosleep(&time, NULL);
}

static inline uint64_t fault_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* How many files a folder has, such as /proc/self/fd. */
static inline uint32_t fault_entries(const char *path)
{
    uint32_t count = 0;
    DIR *folder = opendir(path);
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count;
}

/* How many lines of a file have this in them. */
static inline uint32_t fault_lines(const char *path, const char *text)
{
    uint32_t count = 0;
    char line[512];
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, text) != NULL;
    (void)fclose(file);
    return count;
}

static inline enum hc_status g_ping(struct hc_frame *frame)
{
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    ms.b = ms.a + 1u;
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

/* Ends the enclave that is calling. */
static inline enum hc_status g_kill(struct hc_frame *frame)
{
    (void)frame;
    (void)kill(hc_pid(g_fault_enclave), SIGKILL);
    return HC_OK;
}

static inline enum hc_status g_block(struct hc_frame *frame)
{
    (void)frame;
    (void)__atomic_add_fetch(&g_in_ocall, 1u, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&g_release_ocalls, __ATOMIC_SEQ_CST) == 0)
        fault_sleep_ms(1);
    (void)__atomic_sub_fetch(&g_in_ocall, 1u, __ATOMIC_SEQ_CST);
    return HC_OK;
}

/* Waits until the enclave has given this ocall up, then calls in again all the same. */
static inline enum hc_status g_call_back_in(struct hc_frame *frame)
{
    (void)frame;
    fault_sleep_ms(60);
    struct hc_port *port = hc_host_port(g_fault_enclave);
    CHECK(port != NULL);
    enum hc_status status = fault_call(port, F_PRIVATE, 1, 0, NULL);
    __atomic_store_n(&g_call_in, status, __ATOMIC_SEQ_CST);
    return HC_OK;
}

static const struct hc_function g_fault_ocalls[G_COUNT] = {{"ping", g_ping, 0, NULL},
                                                           {"kill", g_kill, 0, NULL},
                                                           {"block", g_block, 0, NULL},
                                                           {"call_in", g_call_back_in, 0, NULL}};
static const struct hc_interface g_fault_interface = {.abi = HC_ABI,
                                                      .layout = HC_LAYOUT,
                                                      .ecall_count = F_COUNT,
                                                      .ocall_count = G_COUNT,
                                                      .digest = {9},
                                                      .name = "fault",
                                                      .ecalls = g_fault_ecalls,
                                                      .ocalls = g_fault_ocalls};

/* The image is $FAULT_IMAGE; the loader $HOTCALLS_LOADER, which hc_launch() itself looks at. */
static inline void fault_options(struct hc_launch_options *options)
{
    hc_launch_defaults(options);
    options->path = getenv("FAULT_IMAGE");
    options->interface = &g_fault_interface;
    CHECK(options->path != NULL);
}

static inline hc_enclave *fault_launch(void)
{
    struct hc_launch_options options;
    struct hc_error error;
    hc_enclave *enclave;
    fault_options(&options);
    if (hc_launch(&options, &enclave, &error) != HC_OK) {
        (void)fprintf(stderr, "launch: %s\n", error.text);
        exit(1);
    }
    g_fault_enclave = enclave;
    __atomic_store_n(&g_release_ocalls, 0u, __ATOMIC_SEQ_CST);
    return enclave;
}

static inline enum hc_status fault_host_call(hc_enclave *enclave, uint32_t id, uint64_t a,
                                             uint64_t b)
{
    struct hc_port *port = hc_host_port(enclave);
    return port == NULL ? hc_host_port_error(enclave) : fault_call(port, id, a, b, NULL);
}

static inline void fault_ping(hc_enclave *enclave)
{
    uint64_t answer = 0;
    struct hc_port *port = hc_host_port(enclave);
    CHECK(port != NULL);
    CHECK_EQ(fault_call(port, F_PING, 41, 0, &answer), HC_OK);
    CHECK_EQ(answer, 42);
}

#endif /* FAULT_HOST */
#endif /* HOTCALLS_TESTS_FAULT_H */
