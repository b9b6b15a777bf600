/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_attach.h -- channels apart from launching: for serving an enclave to other processes.
 *
 * Untrusted side; used by the Python extension, not installed.
 */
#ifndef HOTCALLS_HOST_ATTACH_H
#define HOTCALLS_HOST_ATTACH_H

#include "hotcalls_host.h"

/* What a client has been handed: descriptors, which stay its own. */
struct hc_attachment {
    int channel;
    int done;    /* the eventfd that announces answered calls */
    int process; /* a pidfd of the enclave */
    pid_t pid;   /* for people */
};

/*
 * An enclave that is called over a channel of somebody else's launch. As hc_launch, but closing
 * it does not end the process. Of the options, those of this side count.
 */
HC_NODISCARD enum hc_status hc_attach(const struct hc_launch_options *options,
                                      const struct hc_attachment *attachment, hc_enclave **result,
                                      struct hc_error *error);

/* The descriptor of the channel of a launched enclave, the enclave's own; -1: there is none. */
int hc_channel(const hc_enclave *enclave);
/* A sealed channel of the shape that the options say, not mapped: a close-on-exec descriptor. */
HC_NODISCARD enum hc_status hc_channel_new(const struct hc_launch_options *options, int *channel,
                                           struct hc_geometry *geometry, struct hc_error *error);
/* Writes the geometry where both sides look for it. */
HC_NODISCARD bool hc_channel_begin(int channel, const struct hc_geometry *geometry);
/* Makes a used channel a new one. Nobody but the enclave, which has let go of it, may map it. */
HC_NODISCARD bool hc_channel_wipe(int channel, const struct hc_geometry *geometry);

#endif /* HOTCALLS_HOST_ATTACH_H */
