/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_launch.c -- makes the channel, starts the loader, and waits until it is locked down.
 *
 * Untrusted side; trusted by the enclave until this returns, and not after.
 */
#define _GNU_SOURCE
#include "host_internal.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A launch takes some 10 ms; one that takes longer asks so often whether to go on. */
#define ASK_MS 50u

void hc_launch_defaults(struct hc_launch_options *options)
{
    memset(options, 0, sizeof *options);
    options->responders = 1;
    options->ocall_responders = 1;
    options->slots = 48;
    options->enclave_slots = 16;
    options->cells = HC_CELLS_DEFAULT;
    options->window_size = HC_WINDOW_DEFAULT;
    options->shared_size = UINT64_C(4) << 20;
    options->timeout_ms = 10000;
    options->log_fd = -1;
}

static enum hc_status make_region(hc_enclave *enclave, const struct hc_launch_options *options,
                                  struct host_opened *opened, struct hc_geometry *geometry,
                                  struct hc_error *error)
{
    enum hc_status status = hc_channel_new(options, &opened->channel, geometry, error);
    if (status == HC_OK)
        status = host_map_channel(enclave, opened->channel, geometry, error);
    return status;
}

/* What to look into when a signal has ended it that is no mistake of its own. */
static const char *who_kills(int number)
{
    return number == SIGKILL ? "; the kernel does that where memory runs out (dmesg says so), "
                               "otherwise somebody did"
                             : "";
}

enum hc_status host_await_ready(hc_enclave *enclave, const struct hc_launch_options *options,
                                struct hc_error *error)
{
    uint32_t timeout_ms = options->timeout_ms;
    struct hc_error report;
    struct hc_side_board *u_board = enclave->endpoint.end.u_peer_board;
    uint64_t ms = endpoint_cycles_per_us() * 1000u;
    uint64_t deadline = hc_tsc() + ms * timeout_ms;
    uint64_t ask = hc_tsc() + ms * ASK_MS;
    for (;;) {
        /* SYNC: acquire pairs with the enclave's enclave_state, state. */
        uint32_t state = __atomic_load_n(&u_board->state, __ATOMIC_ACQUIRE);
        if (state == HC_STATE_READY)
            return HC_OK;
        bool ended = host_peer_lost(enclave);
        if (state == HC_STATE_FAILED || ended) {
            if (host_read_report(enclave, &report)) {
                if (report.status == HC_ERR_PEER_LOST)
                    host_error(error, HC_ERR_PEER_LOST, 0,
                               "the enclave ended while it started: %s%s", report.text,
                               who_kills(report.signal));
                else if (error != NULL)
                    *error = report;
                if (error != NULL)
                    error->signal = report.signal;
                return report.status;
            }
            if (ended) {
                host_exit_info(enclave->pid, enclave->pidfd, HOST_REAP_MS, &enclave->signal,
                               &enclave->exit_status);
                host_error(error, HC_ERR_PEER_LOST, 0, "the enclave ended while it started");
                if (enclave->signal != 0)
                    host_error(error, HC_ERR_PEER_LOST, 0,
                               "the enclave ended while it started: %s (signal %d)%s",
                               strsignal(enclave->signal), enclave->signal,
                               who_kills(enclave->signal));
                else if (enclave->exit_status >= 0)
                    host_error(error, HC_ERR_PEER_LOST, 0,
                               "the enclave ended while it started: exit status %d",
                               enclave->exit_status);
                if (error != NULL) {
                    error->signal = enclave->signal;
                    error->exit_status = enclave->exit_status;
                }
                return HC_ERR_PEER_LOST;
            }
        }
        if (hc_tsc() > deadline) {
            host_error(error, HC_ERR_TIMEOUT, 0, "the enclave did not start within %u ms",
                       timeout_ms);
            return HC_ERR_TIMEOUT;
        }
        if (options->interrupted != NULL && hc_tsc() > ask) {
            ask = hc_tsc() + ms * ASK_MS;
            if (options->interrupted(enclave)) {
                host_error(error, HC_ERR_INTERRUPTED, 0, "the launch was interrupted");
                return HC_ERR_INTERRUPTED;
            }
        }
        endpoint_sleep(NULL, &u_board->state, state, 2000000);
    }
}

#define WISHES 7u
#define PROGRAM_WORDS_MAX 24u

static enum hc_status start_process(hc_enclave *enclave, const struct hc_launch_options *options,
                                    struct host_opened *opened, const char *loader,
                                    struct hc_error *error)
{
    const struct hc_program *program = options->program;
    char text[WISHES][64];
    char *argv[PROGRAM_WORDS_MAX + WISHES + 1];
    int fds[HOST_SPAWN_FDS_MAX];
    int fd_count = 0;
    int ends[2];
    size_t count = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        host_error(error, HC_ERR_OS, errno, "pipe: %s", strerror(errno));
        return HC_ERR_OS;
    }
    opened->pipe_read = ends[0];
    enclave->life = ends[1];
    opened->host_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    opened->log = fcntl(options->log_fd >= 0 ? options->log_fd : STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (opened->log < 0)
        opened->log = open("/dev/null", O_WRONLY | O_CLOEXEC);
    enclave->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (opened->host_pidfd < 0 || opened->log < 0 || enclave->done < 0) {
        host_error(error, HC_ERR_OS, errno, "opening the enclave's descriptors: %s",
                   strerror(errno));
        return HC_ERR_OS;
    }

    (void)snprintf(text[0], sizeof text[0], "responders=%u", options->responders);
    (void)snprintf(text[1], sizeof text[1], "mode=%d", (int)options->mode);
    (void)snprintf(text[2], sizeof text[2], "idle_us=%u", options->idle_us);
    (void)snprintf(text[3], sizeof text[3], "spin_us=%u", options->spin_us);
    (void)snprintf(text[4], sizeof text[4], "take_us=%u", options->take_us);
    (void)snprintf(text[5], sizeof text[5], "insecure_debug=%d", options->insecure_debug);
    (void)snprintf(text[6], sizeof text[6], "insecure_user_namespace=%d",
                   options->insecure_user_namespace);
    static char name[] = "hotcalls-enclave";
    if (program == NULL)
        argv[count++] = name;
    while (program != NULL && count < PROGRAM_WORDS_MAX && program->argv[count] != NULL) {
        argv[count] = program->argv[count];
        count++;
    }
    for (size_t i = 0; i < WISHES; i++)
        argv[count++] = text[i];
    argv[count] = NULL;

    /* The order is that of enclave_start.h. */
    fds[fd_count++] = opened->channel;
    fds[fd_count++] = opened->image;
    fds[fd_count++] = opened->host_pidfd;
    fds[fd_count++] = opened->pipe_read;
    fds[fd_count++] = enclave->done;
    if (program != NULL) {
        fds[fd_count++] = opened->paper;
        for (size_t i = 0; i < program->fd_count && fd_count < HOST_SPAWN_FDS_MAX; i++)
            fds[fd_count++] = program->fds[i];
    }
    struct host_spawn spawn = {
        .loader_fd = opened->loader,
        .argv = argv,
        .fds = fds,
        .fd_count = fd_count,
        .log_fd = opened->log,
        .user = options->user,
        .group = options->group,
    };
    if (host_spawn(&spawn, &enclave->pid, &enclave->pidfd) != 0) {
        host_error(error, HC_ERR_OS, errno, "starting %s: %s%s", loader, strerror(errno),
                   errno == EACCES || errno == EPERM
                       ? " (a copy in memory has to be executable: see hotcalls doctor, memfd)"
                       : "");
        return HC_ERR_OS;
    }
    return HC_OK;
}

/* What a program other than the loader says about itself, or about why it did not start. */
static enum hc_status hear(hc_enclave *enclave, const struct hc_launch_options *options,
                           const struct host_opened *opened, enum hc_status status,
                           struct hc_error *error)
{
    const struct hc_program *program = options->program;
    const struct hc_interface *interface = NULL;
    size_t size;
    uint8_t *bytes = host_read_paper(opened, &size);
    enum hc_status heard =
        program->described(program->context, status == HC_OK, bytes, size, &interface);
    free(bytes);
    if (status != HC_OK)
        return status;
    if (heard == HC_OK)
        heard = endpoint_set_interface(&enclave->endpoint, interface, options->mode);
    if (heard != HC_OK)
        host_error(error, heard, 0, "what the enclave says about itself: %s",
                   hc_status_text(heard));
    return heard;
}

/* Undoes whatever a failed launch had done so far. */
static void abandon(hc_enclave *enclave)
{
    if (enclave->life >= 0)
        (void)close(enclave->life);
    if (enclave->pidfd >= 0) {
        struct pollfd poll_fd = {enclave->pidfd, POLLIN, 0};
        (void)syscall(SYS_pidfd_send_signal, enclave->pidfd, SIGKILL, NULL, 0);
        while (poll(&poll_fd, 1, 1000) < 0 && errno == EINTR)
            ;
        host_exit_info(enclave->pid, enclave->pidfd, 0, &enclave->signal, &enclave->exit_status);
        (void)close(enclave->pidfd);
    }
    if (enclave->endpoint.end.slots != NULL)
        endpoint_stop(&enclave->endpoint);
    host_on_free(&enclave->endpoint);
}

enum hc_status hc_launch(const struct hc_launch_options *options, hc_enclave **result,
                         struct hc_error *error)
{
    struct host_opened opened = {-1, -1, -1, -1, -1, -1, -1};
    struct hc_geometry geometry;
    const char *loader = options->loader != NULL ? options->loader : getenv("HOTCALLS_LOADER");
    enum hc_status status;

    *result = NULL;
    host_error(error, HC_OK, 0, "%s", "");
    if (options->path == NULL && options->image == NULL) {
        host_error(error, HC_ERR_ARGUMENT, 0, "neither a path nor an image of an enclave is given");
        return HC_ERR_ARGUMENT;
    }
    if (options->responders == 0 || options->responders > ENDPOINT_RESPONDERS_MAX ||
        options->ocall_responders > ENDPOINT_RESPONDERS_MAX) {
        host_error(error, HC_ERR_ARGUMENT, 0, "an enclave has 1 to %u responders, its host 0 to %u",
                   ENDPOINT_RESPONDERS_MAX, ENDPOINT_RESPONDERS_MAX);
        return HC_ERR_ARGUMENT;
    }
    if (loader == NULL) {
        host_error(error, HC_ERR_ARGUMENT, 0,
                   "the loader is not known: set launch_options.loader or HOTCALLS_LOADER to the "
                   "hotcalls-enclave program");
        return HC_ERR_ARGUMENT;
    }
    hc_enclave *enclave = host_new_enclave(options, error);
    if (enclave == NULL)
        return HC_ERR_MEMORY;

    status = host_open_image(options, &opened, error);
    if (status == HC_OK)
        status = make_region(enclave, options, &opened, &geometry, error);
    if (status == HC_OK)
        status = host_open_loader(loader, options->program != NULL && options->program->by_path,
                                  &opened, error);
    if (status == HC_OK && options->program != NULL)
        status = host_open_paper(&opened, error);
    if (status == HC_OK)
        status = start_process(enclave, options, &opened, loader, error);
    if (status == HC_OK) {
        /* While the enclave loads, this side sets itself up. */
        status = host_set_up(enclave, options, &geometry, error);
    }
    if (status == HC_OK) {
        status = host_await_ready(enclave, options, error);
        if (options->program != NULL)
            status = hear(enclave, options, &opened, status, error);
    }
    if (status == HC_OK) {
        status = endpoint_start(&enclave->endpoint);
        if (status != HC_OK)
            host_error(error, status, errno, "starting threads: %s", strerror(errno));
    }
    if (status == HC_OK) {
        enclave->channel = opened.channel;
        opened.channel = -1;
    }
    host_close_opened(&opened);
    if (status != HC_OK) {
        abandon(enclave);
        return status;
    }
    *result = enclave;
    return HC_OK;
}
