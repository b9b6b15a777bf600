/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_clients.c -- the channels of a Python enclave's clients: when each is served.
 *
 * Enclave side, inside the boundary. The host says when a client comes and goes; what it could do
 * by lying is to serve nobody, which it can do anyway. See python_clients.h.
 */
#define _GNU_SOURCE
#include "python_clients.h"
#include "enclave_start.h"
#include "python_serve.h"

#include <pthread.h>
#include <stdlib.h>

struct place {
    struct endpoint endpoint; /* first: python_clients_owner */
    uint8_t *u_base;
    struct hc_geometry geometry;
    int notify_fd;
    uint32_t state; /* HC_PLACE_*; under the lock */
    uint64_t generation;
};

static struct place *g_places;
static uint32_t g_count;
static const struct hc_interface *g_interface;
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;

enum hc_status python_clients_map(int first_fd, uint32_t count)
{
    if (count > ENCLAVE_CLIENTS_MAX)
        return HC_ERR_ARGUMENT;
    g_places = calloc(count + 1u, sizeof *g_places);
    if (g_places == NULL)
        return HC_ERR_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        struct place *place = &g_places[i];
        place->notify_fd = first_fd + (int)(count + i);
        place->geometry = enclave_map_client(first_fd + (int)i, place->notify_fd, &place->u_base);
    }
    g_count = count;
    return HC_OK;
}

void python_clients_serve(const struct hc_interface *interface)
{
    g_interface = interface;
}

uint32_t python_clients_owner(const struct hc_end *end)
{
    for (uint32_t i = 0; i < g_count; i++)
        if (end == &g_places[i].endpoint.end)
            return i + 1u;
    return 0;
}

static enum hc_status attach(struct place *place, uint64_t generation)
{
    if (place->state != HC_PLACE_FREE || generation <= place->generation)
        return HC_ERR_ARGUMENT;
    enum hc_status status = enclave_endpoint_init(&place->endpoint, place->u_base, &place->geometry,
                                                  g_interface, place->notify_fd);
    if (status != HC_OK)
        return status;
    status = endpoint_start(&place->endpoint);
    if (status != HC_OK) {
        endpoint_free(&place->endpoint);
        return status;
    }
    place->generation = generation;
    place->state = HC_PLACE_SERVING;
    return HC_OK;
}

static enum hc_status detach(struct place *place, uint64_t generation)
{
    if (place->state == HC_PLACE_FREE || generation != place->generation)
        return HC_ERR_ARGUMENT;
    /* Calls back that wait for the client's answer come to their end. */
    hc_break(&place->endpoint.end, HC_ERR_PEER_LOST, "the client has ended");
    place->state = HC_PLACE_ENDING;
    /* The threads that end take the interpreter's lock once more (python_leave). */
    python_rest();
    /* What the client never fetched is the interpreter's: the broker comes again. */
    if (!python_ready() || !endpoint_try_stop(&place->endpoint))
        return HC_OK;
    python_drop_held(python_clients_owner(&place->endpoint.end));
    endpoint_free(&place->endpoint);
    place->state = HC_PLACE_FREE;
    return HC_OK;
}

enum hc_status python_clients_bridge(struct hc_frame *frame)
{
    struct hc_clients_message message;
    enum hc_status status = HC_ERR_ARGUMENT;
    memcpy(&message, frame->payload, sizeof message);
    if (message.place >= g_count)
        return HC_ERR_ARGUMENT;
    struct place *place = &g_places[hc_index_nospec(message.place, g_count)];
    (void)pthread_mutex_lock(&g_lock);
    if (message.what == HC_CLIENTS_ATTACH)
        status = attach(place, message.generation);
    else if (message.what == HC_CLIENTS_DETACH)
        status = detach(place, message.generation);
    message.what = place->state;
    (void)pthread_mutex_unlock(&g_lock);
    return status == HC_OK ? hc_frame_close(frame, &message, sizeof message) : status;
}
