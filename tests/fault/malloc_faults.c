/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc_faults.c -- fails the n-th allocation of a host that launches and calls an enclave.
 *
 *     malloc_faults        for n = 1, 2, … until a launch and its calls need fewer
 *
 * This program's malloc is its own, in front of libc's. One process makes all the launches, so what
 * each of them leaves behind adds up. libc itself ends a process that has no memory for the
 * thread-local data of a library that was loaded late; here nothing is loaded late.
 */
#define FAULT_HOST
#define CHECK_OWN_MAIN
#include "fault.h"

#include <errno.h>
#include <stdbool.h>

#define RUNS_MAX 500u

/* Of libc, under the names that programs that replace malloc use. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static uint32_t g_armed, g_seen, g_n; /* any thread: atomic */
static bool g_triggered;

static bool fails(void)
{
    if (__atomic_load_n(&g_armed, __ATOMIC_SEQ_CST) == 0 ||
        __atomic_add_fetch(&g_seen, 1u, __ATOMIC_SEQ_CST) != g_n)
        return false;
    g_triggered = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

/* From another thread, which has no slot yet and gets one. */
static void *call(void *argument)
{
    uint64_t answer = 0;
    struct hc_port *port = hc_host_port(argument);
    enum hc_status status =
        port != NULL ? fault_call(port, F_PING, 41, 0, &answer) : hc_host_port_error(argument);
    CHECK(status != HC_OK || answer == 42);
    CHECK(status == HC_OK || status == HC_ERR_MEMORY || status == HC_ERR_OS);
    return NULL;
}

/* One launch with calls, of which the n-th allocation fails; what it came to. */
static enum hc_status attempt(uint32_t n, struct hc_error *error)
{
    struct hc_launch_options options;
    hc_enclave *enclave;
    pthread_t thread;
    fault_options(&options);
    g_n = n;
    g_seen = 0;
    g_triggered = false;
    __atomic_store_n(&g_armed, 1u, __ATOMIC_SEQ_CST);
    enum hc_status status = hc_launch(&options, &enclave, error);
    if (status == HC_OK) {
        (void)call(enclave);
        if (pthread_create(&thread, NULL, call, enclave) == 0)
            CHECK_EQ(pthread_join(thread, NULL), 0);
        hc_close(enclave);
    } else {
        CHECK(enclave == NULL);
        CHECK(error->text[0] != '\0');
    }
    __atomic_store_n(&g_armed, 0u, __ATOMIC_SEQ_CST);
    return status;
}

int main(void)
{
    struct hc_error error;
    uint32_t refused = 0, n;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(attempt(0, &error), HC_OK);
    uint32_t fds = fault_entries("/proc/self/fd"), tasks = fault_entries("/proc/self/task");
    uint32_t maps = fault_lines("/proc/self/maps", "/memfd:");
    for (n = 1; n < RUNS_MAX; n++) {
        enum hc_status status = attempt(n, &error);
        if (!g_triggered)
            break;
        (void)printf("malloc %u: %s\n", n, status == HC_OK ? "did without" : error.text);
        refused += status != HC_OK;
        for (int i = 0; i < 100 && fault_entries("/proc/self/task") != tasks; i++)
            fault_sleep_ms(2);
        CHECK_EQ(fault_entries("/proc/self/task"), tasks);
        CHECK_EQ(fault_entries("/proc/self/fd"), fds);
        CHECK_EQ(fault_lines("/proc/self/maps", "/memfd:"), maps);
    }
    CHECK(n < RUNS_MAX);
    (void)printf("failed=%u refused=%u\n", n - 1u, refused);
    return 0;
}
