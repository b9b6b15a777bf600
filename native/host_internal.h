/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_internal.h -- what the host_*.c files share. Untrusted side; not installed.
 */
#ifndef HOTCALLS_HOST_INTERNAL_H
#define HOTCALLS_HOST_INTERNAL_H

#include "endpoint.h"
#include "host_attach.h"
#include "host_program.h"
#include "hotcalls_host.h"

#include <pthread.h>

struct hc_enclave {
    struct endpoint endpoint; /* first: the ports of the enclave lead back here */
    uint8_t *region;
    size_t region_size;
    pid_t pid;
    int pidfd;
    bool shut;     /* atomic: hc_shutdown has begun */
    int life;      /* the write end of a pipe: the enclave exits when it is closed */
    int channel;   /* its descriptor, for who watches; -1: not kept */
    bool borrowed; /* another process launched it: closing it here does not end it */
    int done;      /* the eventfd that the enclave writes: see hc_os.notify */
    void *user_data;
    enum hc_status port_error;
    struct host_shared *shared;
    /*
     * One page that is zero in a forked child (MADV_WIPEONFORK): how a child knows, without a
     * system call, that this enclave is not its own.
     */
    const uint32_t *not_forked;
    /* Set once the end of the process was seen; under `end_lock`. */
    pthread_mutex_t end_lock;
    bool ended;
    int signal;
    int exit_status;
};

/* host_spawn.c: starts the loader as a process that is nobody's child. */
/* SANDBOX_KEEP_FDS_MAX less the two of the log. */
#define HOST_SPAWN_FDS_MAX 190
struct host_spawn {
    int loader_fd;
    char *const *argv;
    const int *fds; /* become 3, 4, 5, … in the new process; -1: none */
    int fd_count;   /* at most HOST_SPAWN_FDS_MAX */
    int log_fd;     /* becomes 1 and 2 */
    uid_t user;
    gid_t group;
};
/* 0, or -1 with errno. *pidfd is close-on-exec. */
int host_spawn(const struct host_spawn *spawn, pid_t *pid, int *pidfd);
/*
 * How the process ended, as far as the kernel tells a process that is not its parent, for which
 * this waits so long. Signal 0 and status -1: not known.
 */
void host_exit_info(pid_t pid, int pidfd, int patience_ms, int *signal, int *exit_status);
/* Some inits reap at leisure; a loss is to be reported within 100 ms. */
#define HOST_REAP_MS 20

/* host_open.c: what an enclave is started from. What is opened on the way is closed by
 * host_close_opened, on every way out. */
struct host_opened {
    int channel, image, loader, host_pidfd, pipe_read, log, paper;
};
void host_close_opened(struct host_opened *opened);
/* A memfd that may hold a program, or just data. */
int host_new_memfd(const char *name, bool exec);
HC_NODISCARD enum hc_status host_open_image(const struct hc_launch_options *options,
                                            struct host_opened *opened, struct hc_error *error);
HC_NODISCARD enum hc_status host_open_loader(const char *path, bool by_path,
                                             struct host_opened *opened, struct hc_error *error);
HC_NODISCARD enum hc_status host_open_paper(struct host_opened *opened, struct hc_error *error);
/* Copies what the enclave wrote into the paper. NULL: nothing, or no memory. */
uint8_t *host_read_paper(const struct host_opened *opened, size_t *size);

/* host_launch.c: waits until the enclave says READY, fails, ends, or takes too long. */
HC_NODISCARD enum hc_status host_await_ready(hc_enclave *enclave,
                                             const struct hc_launch_options *options,
                                             struct hc_error *error);

/* host_region.c: the steps that a launch and an attachment have in common. */
hc_enclave *host_new_enclave(const struct hc_launch_options *options, struct hc_error *error);
HC_NODISCARD enum hc_status host_map_channel(hc_enclave *enclave, int channel,
                                             const struct hc_geometry *geometry,
                                             struct hc_error *error);
HC_NODISCARD enum hc_status host_set_up(hc_enclave *enclave,
                                        const struct hc_launch_options *options,
                                        const struct hc_geometry *geometry, struct hc_error *error);

/* host_shared.c: the allocator of the channel's shared memory; bookkeeping is private. */
struct host_shared *host_shared_new(uint8_t *base, size_t size);
void host_shared_delete(struct host_shared *shared);
void *host_shared_alloc(struct host_shared *shared, size_t size);
void host_shared_free(struct host_shared *shared, void *pointer);

/* host_enclave.c */
bool host_peer_lost(void *context);
void host_on_close(struct endpoint *endpoint);
void host_on_free(struct endpoint *endpoint);
/* Copies the other side's report into *error, cleaned. False when there is none. */
bool host_read_report(const hc_enclave *enclave, struct hc_error *error);
void host_error(struct hc_error *error, enum hc_status status, int number, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif /* HOTCALLS_HOST_INTERNAL_H */
