/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_enclave.c -- a running enclave as its host sees it: calling, watching, closing.
 *
 * Untrusted side. What the enclave reports about itself (board.report) is untrusted text: copied
 * once, bounded, and cleaned before anybody prints it.
 */
#define _GNU_SOURCE
#include "host_async.h"
#include "host_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void host_error(struct hc_error *error, enum hc_status status, int number, const char *format, ...)
{
    va_list arguments;
    if (error == NULL)
        return;
    memset(error, 0, sizeof *error);
    error->status = status;
    error->error = number;
    error->exit_status = -1;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
}

bool host_peer_lost(void *context)
{
    hc_enclave *enclave = context;
    struct pollfd poll_fd = {enclave->pidfd, POLLIN, 0};
    int saved = errno;
    bool lost = poll_fd.fd >= 0 && poll(&poll_fd, 1, 0) > 0;
    errno = saved;
    return lost;
}

bool host_read_report(const hc_enclave *enclave, struct hc_error *error)
{
    const struct hc_header *u_header = (const struct hc_header *)(const void *)enclave->region;
    const struct hc_report *u_report = &u_header->board[HC_ENCLAVE].report;
    struct hc_report report;
    /* SYNC: acquire pairs with the enclave's enclave_report, written. */
    if (__atomic_load_n(&u_report->written, __ATOMIC_ACQUIRE) != 1u)
        return false;
    hc_copy_in(&report, u_report, sizeof report);
    report.text[sizeof report.text - 1u] = '\0';
    for (char *c = report.text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
    enum hc_status status = hc_status_from_peer(report.status);
    if (status == HC_OK)
        status = HC_ERR_MESSAGE;
    if (status != HC_ERR_PEER_LOST) {
        host_error(error, status, (int)(report.error & 0xffffu), "%s", report.text);
        return true;
    }
    /* The last words of a process that a signal ended: the signal and the call. */
    const struct hc_end *end = &enclave->endpoint.end;
    int number = (int)(report.error & 0x7fu);
    bool in_call = report.call < end->outgoing_count;
    const char *name =
        in_call ? end->outgoing[hc_index_nospec(report.call, end->outgoing_count)].name : NULL;
    host_error(error, status, 0, "%s (signal %d)%s%s", strsignal(number), number,
               name != NULL ? " in " : "", name != NULL ? name : "");
    error->signal = number;
    return true;
}

/* Notes whether and how the process ended; asks again while that is not known. */
static void note_end(hc_enclave *enclave, int patience_ms)
{
    (void)pthread_mutex_lock(&enclave->end_lock);
    bool known = enclave->signal != 0 || enclave->exit_status >= 0;
    if (!known && enclave->pidfd >= 0 && host_peer_lost(enclave)) {
        host_exit_info(enclave->pid, enclave->pidfd, enclave->ended ? 0 : patience_ms,
                       &enclave->signal, &enclave->exit_status);
        enclave->ended = true;
    }
    (void)pthread_mutex_unlock(&enclave->end_lock);
}

enum hc_status hc_why(hc_enclave *enclave, struct hc_error *error)
{
    if (*enclave->not_forked == 0) {
        /* Nor may its lock be taken: a thread that does not exist here may hold it. */
        host_error(error, HC_ERR_FORKED, 0, "%s", hc_status_text(HC_ERR_FORKED));
        return HC_ERR_FORKED;
    }
    enum hc_status status = hc_broken(&enclave->endpoint.end);
    note_end(enclave, status == HC_ERR_CLOSED ? 0 : HOST_REAP_MS);
    if (status == HC_OK && enclave->ended)
        status = HC_ERR_PEER_LOST;
    if (status == HC_OK) {
        host_error(error, HC_OK, 0, "the enclave runs");
        return HC_OK;
    }
    const char *what = enclave->endpoint.end.broken_what;
    host_error(error, status, 0, "%s", what != NULL ? what : hc_status_text(status));
    if (status != HC_ERR_PEER_LOST || error == NULL)
        return status;
    struct hc_error report;
    bool reported = host_read_report(enclave, &report);
    error->signal = enclave->signal;
    error->exit_status = enclave->exit_status;
    size_t used = strlen(error->text);
    size_t room = sizeof error->text - used;
    /* The enclave's own words first: they say in which call. */
    if (reported) {
        (void)snprintf(error->text + used, room, ": %s", report.text);
        if (error->signal == 0 && error->exit_status < 0)
            error->signal = report.signal;
    } else if (enclave->signal != 0) {
        (void)snprintf(error->text + used, room, ": %s (signal %d)", strsignal(enclave->signal),
                       enclave->signal);
    } else if (enclave->exit_status >= 0) {
        (void)snprintf(error->text + used, room, ": exit status %d", enclave->exit_status);
    }
    return status;
}

struct hc_port *hc_host_port(hc_enclave *enclave)
{
    if (HC_UNLIKELY(*enclave->not_forked == 0)) {
        enclave->port_error = HC_ERR_FORKED;
        return NULL;
    }
    enum hc_status status;
    struct hc_port *port = endpoint_port(&enclave->endpoint, &status);
    if (HC_UNLIKELY(port == NULL))
        /* Relaxed: two threads that fail at once may see each other's reason. */
        __atomic_store_n(&enclave->port_error, status, __ATOMIC_RELAXED);
    return port;
}

enum hc_status hc_host_port_error(hc_enclave *enclave)
{
    return __atomic_load_n(&enclave->port_error, __ATOMIC_RELAXED);
}

enum hc_status hc_set_mode(hc_enclave *enclave, uint32_t id, enum hc_mode mode)
{
    if (id >= enclave->endpoint.end.outgoing_count || mode < HC_MODE_HOT || mode > HC_MODE_SWITCH)
        return HC_ERR_ARGUMENT;
    __atomic_store_n(&enclave->endpoint.end.modes[id], (uint8_t)mode, __ATOMIC_RELAXED);
    return HC_OK;
}

enum hc_status hc_thread_mode(hc_enclave *enclave, enum hc_mode mode)
{
    struct hc_port *port = hc_host_port(enclave);
    if (port == NULL)
        return hc_host_port_error(enclave);
    if (mode > HC_MODE_SWITCH)
        return HC_ERR_ARGUMENT;
    endpoint_set_calls(&enclave->endpoint, port, mode, port->timeout);
    return HC_OK;
}

enum hc_status hc_thread_timeout(hc_enclave *enclave, uint64_t ns)
{
    struct hc_port *port = hc_host_port(enclave);
    if (port == NULL)
        return hc_host_port_error(enclave);
    /* Rounded up to a microsecond; a timeout of years is none. */
    uint64_t us = ns / 1000u + (ns % 1000u != 0);
    uint64_t timeout = us > UINT64_MAX / 2u / enclave->endpoint.cycles_per_us
                           ? 0
                           : us * enclave->endpoint.cycles_per_us;
    endpoint_set_calls(&enclave->endpoint, port, port->mode, timeout);
    return HC_OK;
}

void *hc_shared_alloc(hc_enclave *enclave, size_t size)
{
    return *enclave->not_forked != 0 ? host_shared_alloc(enclave->shared, size) : NULL;
}

void hc_shared_free(hc_enclave *enclave, void *pointer)
{
    if (*enclave->not_forked != 0)
        host_shared_free(enclave->shared, pointer);
}

pid_t hc_pid(const hc_enclave *enclave)
{
    return enclave->pid;
}

void hc_wake_responders(hc_enclave *enclave)
{
    struct hc_end *end = &enclave->endpoint.end;
    if (*enclave->not_forked == 0)
        return;
    uint32_t value = __atomic_add_fetch(&end->doorbell, 1u, __ATOMIC_RELAXED);
    /* SYNC: release pairs with responder_sleep, doorbell. */
    __atomic_store_n(&end->u_peer_board->doorbell, value, __ATOMIC_RELEASE);
    endpoint_wake(NULL, &end->u_peer_board->doorbell, ENDPOINT_RESPONDERS_MAX);
}

void *hc_user_data(const struct hc_port *port)
{
    /* The endpoint is the first member of the enclave, its end the first of the endpoint. */
    return ((const hc_enclave *)(const void *)port->end)->user_data;
}

_Static_assert(offsetof(struct hc_enclave, endpoint) == 0 && offsetof(struct endpoint, end) == 0,
               "hc_user_data relies on it");

const struct hc_geometry *hc_region(const hc_enclave *enclave, const uint8_t **u_base)
{
    bool forked = *enclave->not_forked == 0;
    *u_base = forked ? NULL : enclave->region;
    return forked ? NULL : &enclave->endpoint.end.geometry;
}

uint64_t hc_cycles_per_us(void)
{
    return endpoint_cycles_per_us();
}

/*
 * The region goes: its memory at once, its addresses with the last reference, since a thread
 * may be between looking at `broken` and touching its cell. What it touches then reads as zero.
 */
void host_on_close(struct endpoint *endpoint)
{
    hc_enclave *enclave = (hc_enclave *)(void *)endpoint;
    (void)mmap(enclave->region, enclave->region_size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

void host_on_free(struct endpoint *endpoint)
{
    hc_enclave *enclave = (hc_enclave *)(void *)endpoint;
    endpoint_free(endpoint);
    host_shared_delete(enclave->shared);
    if (enclave->region != NULL)
        (void)munmap(enclave->region, enclave->region_size);
    if (enclave->not_forked != NULL)
        (void)munmap((void *)(uintptr_t)enclave->not_forked, HC_PAGE);
    if (enclave->done >= 0)
        (void)close(enclave->done);
    if (enclave->channel >= 0)
        (void)close(enclave->channel);
    (void)pthread_mutex_destroy(&enclave->end_lock);
    free(enclave);
}

void hc_shutdown(hc_enclave *enclave)
{
    struct pollfd poll_fd = {enclave->pidfd, POLLIN, 0};
    /* Relaxed: only one of two threads goes on; the other returns, perhaps before it is done. */
    if (__atomic_exchange_n(&enclave->shut, true, __ATOMIC_RELAXED))
        return;
    if (*enclave->not_forked == 0) {
        /* A forked child: the region is not mapped here and the threads do not exist. */
        (void)close(enclave->pidfd);
        (void)close(enclave->life);
        (void)close(enclave->done);
        (void)close(enclave->channel);
        enclave->pidfd = enclave->life = enclave->done = enclave->channel = -1;
        return;
    }
    hc_break(&enclave->endpoint.end, HC_ERR_CLOSED, "the enclave was closed");
    /*
     * Closing the pipe asks; the signal insists. The signal may not be permitted when this
     * process gave up privileges since: then asking has to do, and a hostile enclave may stay
     * until its host ends.
     */
    if (!enclave->borrowed) {
        (void)close(enclave->life);
        (void)syscall(SYS_pidfd_send_signal, enclave->pidfd, SIGKILL, NULL, 0);
        while (poll(&poll_fd, 1, 1000) < 0 && errno == EINTR)
            ;
        note_end(enclave, 0);
    } else {
        /* Whoever sleeps until the process answers or ends: it does neither. */
        hc_async_wake(enclave);
    }
    endpoint_close(&enclave->endpoint);
    (void)pthread_mutex_lock(&enclave->end_lock);
    (void)close(enclave->pidfd);
    (void)close(enclave->done);
    (void)close(enclave->channel);
    enclave->pidfd = enclave->life = enclave->done = enclave->channel = -1;
    (void)pthread_mutex_unlock(&enclave->end_lock);
}

void hc_close(hc_enclave *enclave)
{
    if (enclave == NULL)
        return;
    bool forked = *enclave->not_forked == 0;
    hc_shutdown(enclave);
    /* In a forked child other threads' references never go; what is left is address space. */
    if (!forked)
        endpoint_unreference(&enclave->endpoint);
}
