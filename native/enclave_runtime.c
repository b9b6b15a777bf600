/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclave_runtime.c -- the enclave's endpoint, and what its code may call.
 *
 * Enclave side, inside the boundary.
 */
#define _GNU_SOURCE
#include "enclave_runtime.h"
#include "enclave_start.h"
#include "sandbox.h"

static struct endpoint g_endpoint;
static __thread enum hc_status g_port_error;

/* The process ends with the host (outlive_nobody), so a waiter never outlives its peer. */
static bool host_never_lost(void *context)
{
    (void)context;
    return false;
}

/* Only for the type: the process ends as a whole. */
static void never_freed(struct endpoint *endpoint)
{
    (void)endpoint;
}

/* What every endpoint of this process is like; set by enclave_runtime_init. */
static struct endpoint_options g_options;

enum hc_status enclave_endpoint_init(struct endpoint *endpoint, uint8_t *u_base,
                                     const struct hc_geometry *geometry,
                                     const struct hc_interface *interface, int notify_fd)
{
    struct endpoint_options options = g_options;
    options.interface = interface;
    options.notify_fd = notify_fd;
    enum hc_status status = endpoint_init(endpoint, u_base, geometry, &options);
    endpoint->on_free = never_freed;
    return status;
}

enum hc_status enclave_runtime_init(uint8_t *u_base, const struct hc_geometry *geometry,
                                    const struct hc_interface *interface,
                                    const struct wishes *wishes, size_t stack_size)
{
    g_options = (struct endpoint_options){
        .side = HC_ENCLAVE,
        .responders = wishes->responders,
        .mode = (enum hc_mode)wishes->mode,
        .idle_us = wishes->idle_us,
        .spin_us = wishes->spin_us,
        .take_us = wishes->take_us,
        .stack_size = stack_size,
        .peer_lost = host_never_lost,
    };
    return enclave_endpoint_init(&g_endpoint, u_base, geometry, interface, FD_DONE);
}

enum hc_status enclave_runtime_start(void)
{
    return endpoint_start(&g_endpoint);
}

/*
 * Who made the call that this thread runs is who its calls back go to. A thread that runs none is
 * the module's own, and calls the host that launched the enclave.
 */
static struct endpoint *caller(void)
{
    struct hc_port *current = endpoint_this_thread()->current;
    return current != NULL ? (struct endpoint *)(void *)current->end : &g_endpoint;
}

_Static_assert(offsetof(struct endpoint, end) == 0, "caller relies on it");

struct hc_port *hc_enclave_port(void)
{
    return endpoint_port(caller(), &g_port_error);
}

enum hc_status hc_enclave_port_error(void)
{
    return g_port_error;
}

enum hc_status hc_enclave_mode(enum hc_mode mode)
{
    struct hc_port *port = hc_enclave_port();
    if (port == NULL)
        return g_port_error;
    if (mode > HC_MODE_SWITCH)
        return HC_ERR_ARGUMENT;
    endpoint_set_calls(caller(), port, mode, port->timeout);
    return HC_OK;
}

enum hc_status hc_enclave_timeout(uint64_t ns)
{
    struct hc_port *port = hc_enclave_port();
    if (port == NULL)
        return g_port_error;
    uint64_t us = ns / 1000u + (ns % 1000u != 0);
    uint64_t timeout =
        us > UINT64_MAX / 2u / g_endpoint.cycles_per_us ? 0 : us * g_endpoint.cycles_per_us;
    endpoint_set_calls(caller(), port, port->mode, timeout);
    return HC_OK;
}

void *hc_secret_alloc(size_t size)
{
    return sandbox_secret_alloc(size);
}

void hc_secret_free(void *pointer)
{
    sandbox_secret_free(pointer);
}

bool hc_secret_is_hidden(void)
{
    return sandbox_secret_status().kind == SANDBOX_SECRET_MEMFD;
}
