/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_attach.c -- calling an enclave that another process launched: `hotcalls.connect`.
 *
 * Untrusted side. What was received from the server is checked as far as it could hurt this
 * process: a channel of another shape, or one that can shrink under the mapping.
 */
#define _GNU_SOURCE
#include "host_attach.h"
#include "host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int hc_channel(const hc_enclave *enclave)
{
    return enclave->channel;
}

static enum hc_status read_geometry(int channel, struct hc_geometry *geometry,
                                    struct hc_error *error)
{
    struct stat status;
    int seals = fcntl(channel, F_GET_SEALS);
    if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW) ||
        fstat(channel, &status) != 0 || status.st_size < 0 ||
        pread(channel, geometry, sizeof *geometry, 0) != (ssize_t)sizeof *geometry) {
        host_error(error, HC_ERR_MESSAGE, 0, "what the server handed over is not a channel");
        return HC_ERR_MESSAGE;
    }
    enum hc_status fits = hc_geometry_check(geometry, (uint64_t)status.st_size);
    if (fits != HC_OK)
        host_error(error, fits, 0, "the server is another version of hotcalls (ABI %u here)",
                   HC_ABI);
    return fits;
}

enum hc_status hc_attach(const struct hc_launch_options *options,
                         const struct hc_attachment *attachment, hc_enclave **result,
                         struct hc_error *error)
{
    struct hc_geometry geometry;
    *result = NULL;
    host_error(error, HC_OK, 0, "%s", "");
    if (options->ocall_responders > ENDPOINT_RESPONDERS_MAX) {
        host_error(error, HC_ERR_ARGUMENT, 0, "a client has 0 to %u responders",
                   ENDPOINT_RESPONDERS_MAX);
        return HC_ERR_ARGUMENT;
    }
    enum hc_status status = read_geometry(attachment->channel, &geometry, error);
    if (status != HC_OK)
        return status;
    hc_enclave *enclave = host_new_enclave(options, error);
    if (enclave == NULL)
        return HC_ERR_MEMORY;
    enclave->borrowed = true;
    enclave->pid = attachment->pid;
    enclave->pidfd = fcntl(attachment->process, F_DUPFD_CLOEXEC, 3);
    enclave->done = fcntl(attachment->done, F_DUPFD_CLOEXEC, 3);
    if (enclave->pidfd < 0 || enclave->done < 0) {
        status = HC_ERR_OS;
        host_error(error, status, errno, "the descriptors of the server: %s", strerror(errno));
    }
    if (status == HC_OK)
        status = host_map_channel(enclave, attachment->channel, &geometry, error);
    if (status == HC_OK)
        status = host_set_up(enclave, options, &geometry, error);
    if (status == HC_OK) {
        status = endpoint_start(&enclave->endpoint);
        if (status != HC_OK)
            host_error(error, status, errno, "starting threads: %s", strerror(errno));
    }
    if (status != HC_OK) {
        if (enclave->pidfd >= 0)
            (void)close(enclave->pidfd);
        if (enclave->endpoint.end.slots != NULL)
            endpoint_stop(&enclave->endpoint);
        host_on_free(&enclave->endpoint);
        return status;
    }
    *result = enclave;
    return HC_OK;
}
