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

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

#define ENCLAVE_FILE_MAX (UINT64_C(1) << 30)
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

/* A memfd that may hold a program. Old kernels do not know MFD_EXEC and need none. */
static int new_memfd(const char *name, bool exec)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = exec ? memfd_create(name, flags | MFD_EXEC) : -1;
    if (fd < 0 && (!exec || errno == EINVAL))
        fd = memfd_create(name, flags);
    return fd;
}

/* What is opened on the way, closed on every way out. */
struct opened {
    int channel, image, loader, host_pidfd, pipe_read, log;
};

static void close_all(struct opened *opened)
{
    int *fds[] = {&opened->channel,    &opened->image,     &opened->loader,
                  &opened->host_pidfd, &opened->pipe_read, &opened->log};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (*fds[i] >= 0)
            (void)close(*fds[i]);
}

static bool write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size != 0) {
        ssize_t wrote = write(fd, bytes, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        bytes += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static bool copy_file(int from, int to)
{
    static const size_t piece = 256u * 1024u;
    uint8_t *buffer = malloc(piece);
    uint64_t total = 0;
    bool fine = buffer != NULL;
    while (fine) {
        ssize_t got = read(from, buffer, piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            fine = got == 0;
            break;
        }
        total += (uint64_t)got;
        if (total > ENCLAVE_FILE_MAX) {
            errno = EFBIG;
            fine = false;
            break;
        }
        fine = write_all(to, buffer, (size_t)got);
    }
    free(buffer);
    return fine;
}

/*
 * The enclave's file becomes a sealed memfd: what is checked is what is loaded, nobody can change
 * it later, and another user can load it whatever the permissions of its directories are.
 */
static enum hc_status open_image(const struct hc_launch_options *options, struct opened *opened,
                                 struct hc_error *error)
{
    bool fine;
    opened->image = new_memfd("enclave", true);
    if (opened->image < 0) {
        host_error(error, HC_ERR_OS, errno, "memfd_create: %s", strerror(errno));
        return HC_ERR_OS;
    }
    if (options->image != NULL) {
        fine = write_all(opened->image, options->image, options->image_size);
    } else {
        int file = open(options->path, O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            host_error(error, HC_ERR_OS, errno, "%s: %s", options->path, strerror(errno));
            return HC_ERR_OS;
        }
        fine = copy_file(file, opened->image);
        int number = errno;
        (void)close(file);
        errno = number;
    }
    if (!fine || fcntl(opened->image, F_ADD_SEALS,
                       F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        host_error(error, HC_ERR_OS, errno, "reading the enclave: %s", strerror(errno));
        return HC_ERR_OS;
    }
    return HC_OK;
}

static enum hc_status make_region(hc_enclave *enclave, const struct hc_launch_options *options,
                                  struct opened *opened, struct hc_geometry *geometry,
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
    enclave->region_size = (size_t)geometry->total_size;
    opened->channel = new_memfd("hotcalls", false);
    /* Sealed against resizing: a shrunk mapping would be a SIGBUS in the other side. */
    if (opened->channel < 0 || ftruncate(opened->channel, (off_t)geometry->total_size) != 0 ||
        fcntl(opened->channel, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        host_error(error, HC_ERR_OS, errno, "making the channel: %s", strerror(errno));
        return HC_ERR_OS;
    }
    void *region = mmap(NULL, enclave->region_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, opened->channel, 0);
    if (region == MAP_FAILED) {
        host_error(error, HC_ERR_OS, errno, "mapping the channel: %s", strerror(errno));
        return HC_ERR_OS;
    }
    enclave->region = region;
    /* A forked child that touched a lane would corrupt its parent's calls. */
    (void)madvise(region, enclave->region_size, MADV_DONTFORK);
    memcpy(region, geometry, sizeof *geometry);

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

static enum hc_status open_loader(const char *path, struct opened *opened, struct hc_error *error)
{
    struct sandbox_error why;
    opened->loader = sandbox_image_open(path, &why);
    if (opened->loader < 0)
        opened->loader = open(path, O_PATH | O_CLOEXEC);
    if (opened->loader >= 0)
        return HC_OK;
    host_error(error, HC_ERR_OS, errno, "the loader %s: %s", path, strerror(errno));
    return HC_ERR_OS;
}

/* Waits until the enclave says READY, fails, ends, or takes too long. */
static enum hc_status await_ready(hc_enclave *enclave, const struct hc_launch_options *options,
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
                    host_error(error, HC_ERR_PEER_LOST, 0, "the enclave ended while it started: %s",
                               report.text);
                else if (error != NULL)
                    *error = report;
                if (error != NULL)
                    error->signal = report.signal;
                return report.status;
            }
            if (ended) {
                host_exit_info(enclave->pidfd, HOST_REAP_MS, &enclave->signal,
                               &enclave->exit_status);
                host_error(error, HC_ERR_PEER_LOST, 0, "the enclave ended while it started");
                if (enclave->signal != 0)
                    host_error(error, HC_ERR_PEER_LOST, 0,
                               "the enclave ended while it started: %s (signal %d)",
                               strsignal(enclave->signal), enclave->signal);
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

static enum hc_status start_process(hc_enclave *enclave, const struct hc_launch_options *options,
                                    struct opened *opened, const char *loader,
                                    struct hc_error *error)
{
    char text[7][64];
    char *argv[sizeof text / sizeof text[0] + 2];
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
    argv[count++] = name;
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        argv[count++] = text[i];
    argv[count] = NULL;

    struct host_spawn spawn = {
        .loader_fd = opened->loader,
        .loader_path = loader,
        .argv = argv,
        .fds = {opened->channel, opened->image, opened->host_pidfd, opened->pipe_read,
                enclave->done},
        .log_fd = opened->log,
        .user = options->user,
        .group = options->group,
    };
    if (host_spawn(&spawn, &enclave->pid, &enclave->pidfd) != 0) {
        host_error(error, HC_ERR_OS, errno, "starting %s: %s", loader, strerror(errno));
        return HC_ERR_OS;
    }
    return HC_OK;
}

static enum hc_status start_endpoint(hc_enclave *enclave, const struct hc_launch_options *options,
                                     const struct hc_geometry *geometry)
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
    return status;
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
        host_exit_info(enclave->pidfd, 0, &enclave->signal, &enclave->exit_status);
        (void)close(enclave->pidfd);
    }
    if (enclave->endpoint.end.slots != NULL)
        endpoint_stop(&enclave->endpoint);
    host_on_free(&enclave->endpoint);
}

enum hc_status hc_launch(const struct hc_launch_options *options, hc_enclave **result,
                         struct hc_error *error)
{
    struct opened opened = {-1, -1, -1, -1, -1, -1};
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
    hc_enclave *enclave = calloc(1, sizeof *enclave);
    if (enclave == NULL) {
        host_error(error, HC_ERR_MEMORY, ENOMEM, "%s", strerror(ENOMEM));
        return HC_ERR_MEMORY;
    }
    enclave->pidfd = enclave->life = enclave->done = -1;
    enclave->exit_status = -1;
    enclave->user_data = options->user_data;
    (void)pthread_mutex_init(&enclave->end_lock, NULL);

    status = open_image(options, &opened, error);
    if (status == HC_OK)
        status = make_region(enclave, options, &opened, &geometry, error);
    if (status == HC_OK)
        status = open_loader(loader, &opened, error);
    if (status == HC_OK)
        status = start_process(enclave, options, &opened, loader, error);
    if (status == HC_OK) {
        /* While the enclave loads, this side sets itself up. */
        status = start_endpoint(enclave, options, &geometry);
        enclave->shared =
            host_shared_new(enclave->region + geometry.shared_at, (size_t)geometry.shared_size);
        if (status == HC_OK && enclave->shared == NULL)
            status = HC_ERR_MEMORY;
        if (status != HC_OK)
            host_error(error, status, errno, "%s", hc_status_text(status));
    }
    if (status == HC_OK)
        status = await_ready(enclave, options, error);
    if (status == HC_OK) {
        status = endpoint_start(&enclave->endpoint);
        if (status != HC_OK)
            host_error(error, status, errno, "starting threads: %s", strerror(errno));
    }
    close_all(&opened);
    if (status != HC_OK) {
        abandon(enclave);
        return status;
    }
    *result = enclave;
    return HC_OK;
}
