/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_region.c -- channels as the host makes and maps them, and what stands on one.
 *
 * Untrusted side.
 */
#define _GNU_SOURCE
#include "host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static enum hc_status plan(const struct hc_launch_options *options, struct hc_geometry *geometry,
                           struct hc_error *error)
{
    memset(geometry, 0, sizeof *geometry);
    geometry->slot_count = options->slots + options->enclave_slots;
    geometry->host_slots = options->slots;
    geometry->cell_count = options->cells;
    geometry->window_size = hc_page_up(options->window_size);
    geometry->shared_size = hc_page_up(options->shared_size);
    if (options->slots == 0 || options->slots > HC_SLOTS_MAX ||
        options->enclave_slots > HC_SLOTS_MAX || options->window_size > HC_WINDOW_MAX ||
        hc_geometry_plan(geometry) != HC_OK) {
        host_error(error, HC_ERR_ARGUMENT, 0,
                   "the channel cannot have that shape: 1 to %u slots in all, cells a power of "
                   "two from %u to %u, a window of 4 KiB to %llu bytes",
                   HC_SLOTS_MAX, HC_CELLS_MIN, HC_CELLS_MAX, (unsigned long long)HC_WINDOW_MAX);
        return HC_ERR_ARGUMENT;
    }
    if (options->interface != NULL && !options->any_interface)
        memcpy(geometry->digest, options->interface->digest, HC_DIGEST_SIZE);
    return HC_OK;
}

enum hc_status hc_channel_new(const struct hc_launch_options *options, int *channel,
                              struct hc_geometry *geometry, struct hc_error *error)
{
    enum hc_status status = plan(options, geometry, error);
    *channel = -1;
    if (status != HC_OK)
        return status;
    *channel = host_new_memfd("hotcalls", false);
    /* Sealed against resizing: a shrunk mapping would be a SIGBUS in the other side. */
    if (*channel >= 0 && ftruncate(*channel, (off_t)geometry->total_size) == 0 &&
        fcntl(*channel, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) == 0 &&
        hc_channel_begin(*channel, geometry))
        return HC_OK;
    host_error(error, HC_ERR_OS, errno, "making the channel: %s", strerror(errno));
    return HC_ERR_OS;
}

bool hc_channel_begin(int channel, const struct hc_geometry *geometry)
{
    return pwrite(channel, geometry, sizeof *geometry, 0) == (ssize_t)sizeof *geometry;
}

bool hc_channel_wipe(int channel, const struct hc_geometry *geometry)
{
    /* The pages go, also those that somebody had pinned: who maps the channel gets new ones. */
    return fallocate(channel, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                     (off_t)geometry->total_size) == 0 &&
           hc_channel_begin(channel, geometry);
}

enum hc_status host_map_channel(hc_enclave *enclave, int channel,
                                const struct hc_geometry *geometry, struct hc_error *error)
{
    enclave->region_size = (size_t)geometry->total_size;
    void *region = mmap(NULL, enclave->region_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, channel, 0);
    if (region == MAP_FAILED) {
        host_error(error, HC_ERR_OS, errno, "mapping the channel: %s", strerror(errno));
        return HC_ERR_OS;
    }
    enclave->region = region;
    /* A forked child that touched a lane would corrupt its parent's calls. */
    (void)madvise(region, enclave->region_size, MADV_DONTFORK);

    void *canary = mmap(NULL, HC_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (canary == MAP_FAILED) {
        host_error(error, HC_ERR_MEMORY, errno, "%s", strerror(errno));
        return HC_ERR_MEMORY;
    }
    *(uint32_t *)canary = 1;
    (void)madvise(canary, HC_PAGE, MADV_WIPEONFORK);
    enclave->not_forked = canary;
    return HC_OK;
}

hc_enclave *host_new_enclave(const struct hc_launch_options *options, struct hc_error *error)
{
    hc_enclave *enclave = calloc(1, sizeof *enclave);
    if (enclave == NULL) {
        host_error(error, HC_ERR_MEMORY, ENOMEM, "%s", strerror(ENOMEM));
        return NULL;
    }
    enclave->pidfd = enclave->life = enclave->done = enclave->channel = -1;
    enclave->exit_status = -1;
    enclave->user_data = options->user_data;
    (void)pthread_mutex_init(&enclave->end_lock, NULL);
    return enclave;
}

enum hc_status host_set_up(hc_enclave *enclave, const struct hc_launch_options *options,
                           const struct hc_geometry *geometry, struct hc_error *error)
{
    static const struct hc_interface no_interface = {.abi = HC_ABI, .name = ""};
    struct endpoint_options mine = {
        .side = HC_HOST,
        .interface = options->interface != NULL ? options->interface : &no_interface,
        .responders = options->ocall_responders,
        .mode = options->mode,
        .idle_us = options->idle_us,
        .spin_us = options->spin_us,
        .take_us = options->take_us,
        .peer_lost = host_peer_lost,
        .interrupted = options->interrupted,
        .context = enclave,
    };
    enum hc_status status = endpoint_init(&enclave->endpoint, enclave->region, geometry, &mine);
    enclave->endpoint.on_close = host_on_close;
    enclave->endpoint.on_free = host_on_free;
    enclave->shared =
        host_shared_new(enclave->region + geometry->shared_at, (size_t)geometry->shared_size);
    if (status == HC_OK && enclave->shared == NULL)
        status = HC_ERR_MEMORY;
    if (status == HC_ERR_MEMORY)
        host_error(error, status, ENOMEM,
                   "%s: launch with a smaller window or for fewer callers, or raise the limit of "
                   "memory (ulimit -v)",
                   hc_status_text(status));
    else if (status != HC_OK)
        host_error(error, status, errno, "%s", hc_status_text(status));
    return status;
}
