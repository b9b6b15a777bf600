/* SPDX-License-Identifier: Apache-2.0 */
/* token_processes.c -- the other side is a process enclave, launched as users launch it. */
#include "token_host.h"

#include <hotcalls_host.h>

#define CHECK_OWN_MAIN
#include "check.h"

static hc_enclave *g_enclave;

void token_start(const struct token_options *options)
{
    struct hc_launch_options launch;
    struct hc_error error;
    hc_launch_defaults(&launch);
    launch.path = options->image;
    launch.loader = options->loader;
    launch.interface = options->interface;
    launch.mode = options->mode;
    launch.responders = options->responders;
    launch.ocall_responders = options->ocall_responders;
    launch.idle_us = options->idle_us;
    launch.spin_us = options->spin_us;
    launch.take_us = options->take_us;
    launch.enclave_slots = 40;
    if (hc_launch(&launch, &g_enclave, &error) != HC_OK) {
        (void)fprintf(stderr, "launch: %s\n", error.text);
        exit(1);
    }
}

struct hc_port *token_port(enum hc_status *status)
{
    struct hc_port *port = hc_host_port(g_enclave);
    *status = port != NULL ? HC_OK : hc_host_port_error(g_enclave);
    return port;
}

void token_stop(void)
{
    struct hc_error error;
    enum hc_status why = hc_why(g_enclave, &error);
    if (why != HC_OK)
        (void)fprintf(stderr, "the enclave is gone: %s\n", error.text);
    CHECK_EQ(why, HC_OK);
    hc_close(g_enclave);
}

const uint8_t *token_region(const struct hc_geometry **geometry)
{
    const uint8_t *u_base;
    *geometry = hc_region(g_enclave, &u_base);
    return u_base;
}
