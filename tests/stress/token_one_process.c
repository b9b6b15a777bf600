/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_one_process.c -- both sides as endpoints over one mapping in one process, because a
 * sanitizer does not see across processes.
 */
#include "endpoint.h"
#include "token_host.h"

#include <hotcalls_enclave.h>

#define CHECK_OWN_MAIN
#include "check.h"

#include <sys/mman.h>

extern const struct hc_interface hc_enclave_interface; /* of token_enclave.c */

static struct endpoint g_ends[HC_SIDES];
static struct hc_geometry g_geometry;
static uint8_t *g_region;
static __thread enum hc_status g_port_error;

static bool never_lost(void *context)
{
    (void)context;
    return false;
}

static void on_free(struct endpoint *endpoint)
{
    endpoint_free(endpoint);
}

void token_start(const struct token_options *options)
{
    g_geometry.slot_count = 80;
    g_geometry.host_slots = 40;
    g_geometry.cell_count = HC_CELLS_DEFAULT;
    g_geometry.window_size = HC_WINDOW_DEFAULT;
    g_geometry.shared_size = HC_PAGE;
    CHECK_EQ(hc_geometry_plan(&g_geometry), HC_OK);
    g_region = mmap(NULL, (size_t)g_geometry.total_size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(g_region != MAP_FAILED);
    memcpy(g_region, &g_geometry, sizeof g_geometry);
    for (int side = 0; side < HC_SIDES; side++) {
        bool host = side == HC_HOST;
        const struct endpoint_options mine = {
            .side = (enum hc_side)side,
            .interface = host ? options->interface : &hc_enclave_interface,
            .responders = host ? options->ocall_responders : options->responders,
            .mode = options->mode,
            .idle_us = options->idle_us,
            .spin_us = options->spin_us,
            .take_us = options->take_us,
            .processors = options->processors,
            .peer_lost = never_lost,
        };
        CHECK_EQ(endpoint_init(&g_ends[side], g_region, &g_geometry, &mine), HC_OK);
        g_ends[side].on_free = on_free;
    }
    CHECK_EQ(endpoint_start(&g_ends[HC_ENCLAVE]), HC_OK);
    CHECK_EQ(endpoint_start(&g_ends[HC_HOST]), HC_OK);
}

struct hc_port *token_port(enum hc_status *status)
{
    return endpoint_port(&g_ends[HC_HOST], status);
}

struct hc_port *hc_enclave_port(void)
{
    return endpoint_port(&g_ends[HC_ENCLAVE], &g_port_error);
}

enum hc_status hc_enclave_port_error(void)
{
    return g_port_error;
}

void token_stop(void)
{
    for (int side = 0; side < HC_SIDES; side++)
        if (hc_broken(&g_ends[side].end) != HC_OK)
            (void)fprintf(stderr, "side %d is broken: %s\n", side, g_ends[side].end.broken_what);
    CHECK_EQ(hc_broken(&g_ends[HC_HOST].end), HC_OK);
    CHECK_EQ(hc_broken(&g_ends[HC_ENCLAVE].end), HC_OK);
    for (int side = 0; side < HC_SIDES; side++) {
        endpoint_close(&g_ends[side]);
        endpoint_unreference(&g_ends[side]);
    }
    CHECK_EQ(munmap(g_region, (size_t)g_geometry.total_size), 0);
}

const uint8_t *token_region(const struct hc_geometry **geometry)
{
    *geometry = &g_geometry;
    return g_region;
}
