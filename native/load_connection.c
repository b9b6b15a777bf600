/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_connection.c -- connections to the server: what is under way on each, and in which order.
 *
 * Client side. A server answers the requests of one connection in order, so the oldest request
 * under way says what the next reply must be.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "load.h"

static int open_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return load_fail("--unix: %s is longer than a socket's path may be", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return load_fail("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        return load_fail("connect to %s: %s", path, strerror(error));
    }
    return fd;
}

static int open_tcp(const char *host, const char *port)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *found;
    int status = getaddrinfo(host, port, &hints, &found);
    if (status != 0)
        return load_fail("--connect: %s:%s: %s", host, port, gai_strerror(status));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0, one = 1;
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
        error = errno;
    freeaddrinfo(found);
    if (error) {
        if (fd >= 0)
            close(fd);
        return load_fail("connect to %s port %s: %s", host, port, strerror(error));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int prepare(struct load *load, struct load_connection *connection)
{
    const struct load_options *options = &load->options;
    struct load_request set = {0};
    connection->fd =
        options->unix_path ? open_unix(options->unix_path) : open_tcp(options->host, options->port);
    if (connection->fd < 0)
        return -1;
    connection->queue_size = options->pipeline;
    connection->queue = calloc(connection->queue_size, sizeof *connection->queue);
    connection->out_size = options->pipeline * load_request_size(load, &set);
    connection->out = malloc(connection->out_size);
    connection->in_size = (options->pipeline + 1u) * load_reply_max(load);
    connection->in = malloc(connection->in_size);
    if (!connection->queue || !connection->out || !connection->in)
        return load_fail("out of memory for %u connections", options->connections);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        return load_fail("epoll_ctl: %s", strerror(errno));
    return 0;
}

int load_connect(struct load *load)
{
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = calloc(load->options.connections, sizeof *load->connections);
    if (load->epoll < 0 || !load->connections)
        return load_fail("no descriptor or memory for the connections");
    for (unsigned i = 0; i < load->options.connections; i++)
        load->connections[i].fd = -1;
    for (unsigned i = 0; i < load->options.connections; i++)
        if (prepare(load, &load->connections[i]) != 0)
            return -1;
    return 0;
}

void load_disconnect(struct load *load)
{
    for (unsigned i = 0; load->connections && i < load->options.connections; i++) {
        struct load_connection *connection = &load->connections[i];
        if (connection->fd >= 0)
            close(connection->fd);
        free(connection->queue);
        free(connection->out);
        free(connection->in);
    }
    free(load->connections);
    free(load->body);
    if (load->epoll >= 0)
        close(load->epoll);
}

static int grow_queue(struct load_connection *connection)
{
    size_t size = connection->queue_size * 2;
    struct load_request *queue = calloc(size, sizeof *queue);
    if (!queue)
        return load_fail("out of memory for the requests that wait");
    for (size_t i = 0; i < connection->sent + connection->waiting; i++)
        queue[i] = connection->queue[(connection->head + i) % connection->queue_size];
    free(connection->queue);
    connection->queue = queue;
    connection->queue_size = size;
    connection->head = 0;
    return 0;
}

int load_enqueue(struct load_connection *connection, struct load_request request)
{
    if (connection->sent + connection->waiting == connection->queue_size &&
        grow_queue(connection) != 0)
        return -1;
    size_t place = connection->head + connection->sent + connection->waiting;
    connection->queue[place % connection->queue_size] = request;
    connection->waiting++;
    return 0;
}

static int want_writable(struct load *load, struct load_connection *connection, bool wanted)
{
    if (connection->writable_wanted == wanted)
        return 0;
    struct epoll_event event = {
        .events = EPOLLIN | (wanted ? EPOLLOUT : 0u),
        .data.ptr = connection,
    };
    if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, connection->fd, &event) != 0)
        return load_fail("epoll_ctl: %s", strerror(errno));
    connection->writable_wanted = wanted;
    return 0;
}

int load_pump(struct load *load, struct load_connection *connection)
{
    if (connection->out_begin == connection->out_end)
        connection->out_begin = connection->out_end = 0;
    while (connection->waiting && connection->sent < load->options.pipeline) {
        const struct load_request *request =
            &connection->queue[(connection->head + connection->sent) % connection->queue_size];
        if (connection->out_size - connection->out_end < load_request_size(load, request))
            break;
        connection->out_end +=
            load_write_request(load, request, connection->out + connection->out_end);
        connection->sent++;
        connection->waiting--;
    }
    while (connection->out_begin < connection->out_end) {
        ssize_t sent =
            send(connection->fd, connection->out + connection->out_begin,
                 connection->out_end - connection->out_begin, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (sent < 0)
            return load_fail("send: %s", strerror(errno));
        connection->out_begin += (size_t)sent;
    }
    return want_writable(load, connection, connection->out_begin < connection->out_end);
}

static void count(struct load_tally *tally, const struct load_request *request, uint64_t now)
{
    uint64_t ns = now > request->intended_ns ? now - request->intended_ns : 0;
    /* Bucket: 32 to an octave by the five bits below the leading one. */
    uint64_t value = ns | 32u;
    unsigned octave = 63u - (unsigned)__builtin_clzll(value);
    unsigned bucket = octave * LOAD_BUCKETS_PER_OCTAVE + (unsigned)((value >> (octave - 5u)) & 31u);
    tally->histogram[bucket < LOAD_BUCKETS ? bucket : LOAD_BUCKETS - 1]++;
    tally->replies++;
    if (request->get)
        tally->gets++;
    else
        tally->sets++;
    if (ns > tally->max_ns)
        tally->max_ns = ns;
}

static int wrong_reply(const struct load_connection *connection, const struct load_request *request)
{
    char shown[64];
    size_t size = connection->in_end < sizeof shown - 1 ? connection->in_end : sizeof shown - 1;
    for (size_t i = 0; i < size; i++)
        shown[i] =
            (char)(connection->in[i] >= ' ' && connection->in[i] < 127 ? connection->in[i] : '.');
    shown[size] = '\0';
    return load_fail("wrong reply to `%s load%u`: %s", request->get ? "get" : "set", request->key,
                     shown);
}

int load_receive(struct load *load, struct load_connection *connection)
{
    ssize_t got = recv(connection->fd, connection->in + connection->in_end,
                       connection->in_size - connection->in_end, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        return load_fail("recv: %s", strerror(errno));
    if (got == 0)
        return load_fail("the server closed a connection with %zu requests under way",
                         connection->sent);
    connection->in_end += (size_t)got;
    uint64_t now = load_now_ns(CLOCK_MONOTONIC);
    size_t used = 0;
    int replies = 0;
    while (connection->sent && used < connection->in_end) {
        const struct load_request *request =
            &connection->queue[connection->head % connection->queue_size];
        ssize_t size =
            load_check_reply(load, request, connection->in + used, connection->in_end - used);
        if (size == 0)
            break;
        if (size < 0) {
            memmove(connection->in, connection->in + used, connection->in_end - used);
            connection->in_end -= used;
            return wrong_reply(connection, request);
        }
        if (load->counting)
            count(&load->tally, request, now);
        used += (size_t)size;
        load->answered++;
        connection->head = (connection->head + 1) % connection->queue_size;
        connection->sent--;
        replies++;
    }
    if (!connection->sent && used < connection->in_end)
        return load_fail("the server sent %zu bytes that nobody asked for",
                         connection->in_end - used);
    memmove(connection->in, connection->in + used, connection->in_end - used);
    connection->in_end -= used;
    return replies;
}

/* Sets every key once, and waits for each answer. */
int load_fill(struct load *load)
{
    struct load_connection *connection = &load->connections[0];
    for (uint32_t key = 0; key < load->options.keys; key++) {
        if (load_enqueue(connection, (struct load_request){.key = key}) != 0)
            return -1;
        while (connection->sent || connection->waiting) {
            if (load_pump(load, connection) != 0)
                return -1;
            struct epoll_event event;
            int ready = epoll_wait(load->epoll, &event, 1, 10000);
            if (ready == 0)
                return load_fail("no answer for 10 seconds while the keys were set");
            if (ready > 0 && load_receive(load, connection) < 0)
                return -1;
        }
    }
    return 0;
}
