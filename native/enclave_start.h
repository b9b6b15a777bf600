/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclave_start.h -- the steps of an enclave's life that are the same whatever code it runs.
 *
 * Enclave side. The loader of C enclaves (enclave_main.c) and the Python interpreter's extension
 * (src/hotcalls/_inside.pyx) go through them in this order.
 */
#ifndef HOTCALLS_ENCLAVE_START_H
#define HOTCALLS_ENCLAVE_START_H

#include "enclave_runtime.h"

/* The descriptors that host_spawn.c starts an enclave with. */
enum {
    FD_LOG = 2, /* and 1 */
    FD_CHANNEL = 3,
    FD_IMAGE = 4,  /* the enclave's code, sealed */
    FD_HOST = 5,   /* a pidfd of the host */
    FD_LIFE = 6,   /* a pipe that the host holds open while it wants us */
    FD_DONE = 7,   /* an eventfd that tells the host that calls which nobody spins for are done */
    FD_PAPER = 8,  /* only programs other than the loader: a file to describe itself in */
    FD_SECRETS = 9 /* the same: and the following */
};
#define ENCLAVE_FDS_MAX 192u /* SANDBOX_KEEP_FDS_MAX */

/* What the host asked for. Trusted: it is the host at launch. */
struct wishes {
    uint32_t responders, mode, idle_us, spin_us, take_us;
    uint32_t insecure_debug, insecure_user_namespace;
};

void enclave_read_wishes(int argc, char *const *argv, struct wishes *wishes);
/*
 * sandbox_harden() with the first `fd_count` of the descriptors above kept, then the memory for
 * secrets. Maps the channel, to which failures are reported. Ends the process if a step fails.
 */
struct hc_geometry enclave_harden(const struct wishes *wishes, unsigned fd_count, uint8_t **u_base);
/*
 * Maps one more channel, for a client: a descriptor that the host made, and the one that announces
 * answered calls on it. Before enclave_lock(), which keeps both. Ends the process if that fails.
 */
#define ENCLAVE_CLIENTS_MAX 64u
struct hc_geometry enclave_map_client(int channel, int done, uint8_t **u_base);
/*
 * Anonymizes the mappings, locks with these groups of the table, and verifies. Ends the process if a
 * step fails.
 */
void enclave_lock(uint32_t groups, bool insecure_debug);
/* Blocks until the host has ended or does not want us any more; then the process ends. */
_Noreturn void enclave_outlive_nobody(void);

#endif /* HOTCALLS_ENCLAVE_START_H */
