/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load_burst.c -- what the server can do while its client does not use the processor.
 *
 * Client side. With few CPUs, a client in a closed loop competes with what it measures. So: stop
 * the server's processes, send one batch on every connection, let them run, and sleep. When each
 * reply arrived is read afterwards from the kernel's receive timestamps. A round during which the
 * client had to wake up to look is reported as disturbed. TCP alone: the kernel stamps no unix
 * sockets.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "load.h"

#define NS 1000000000ull
#define FIRST_SLEEP_NS (60ull * 1000000u)
#define ROUND_LIMIT_NS (10ull * NS)

struct round_times {
    uint64_t first_ns, last_ns; /* by CLOCK_REALTIME, as the kernel's stamps are */
    bool disturbed;
};

static void doze(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / NS), .tv_nsec = (long)(ns % NS)};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        continue;
}

static char state_of(pid_t pid)
{
    char path[32], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return '?';
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] == ' ' ? name_end[2] : '?';
}

static void continue_all(const struct load_options *options)
{
    for (size_t i = 0; i < options->stop_count; i++)
        kill(options->stop[i], SIGCONT);
}

/* Whatever happens afterwards, the caller continues them again. */
static int stop_all(const struct load_options *options)
{
    for (size_t i = 0; i < options->stop_count; i++)
        if (kill(options->stop[i], SIGSTOP) != 0)
            return load_fail("--stop: process %d: %s", (int)options->stop[i], strerror(errno));
    for (size_t i = 0; i < options->stop_count; i++) {
        for (unsigned tries = 0; state_of(options->stop[i]) != 'T'; tries++) {
            if (tries == 1000)
                return load_fail("--stop: process %d does not stop", (int)options->stop[i]);
            doze(1000000);
        }
    }
    return 0;
}

static int enable_timestamps(struct load *load)
{
    int one = 1;
    for (unsigned i = 0; i < load->options.connections; i++)
        if (setsockopt(load->connections[i].fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) != 0)
            return load_fail("SO_TIMESTAMPNS: %s", strerror(errno));
    return 0;
}

/* Bytes that have arrived on a connection, without taking them. */
static size_t arrived(const struct load_connection *connection)
{
    int count = 0;
    return ioctl(connection->fd, FIONREAD, &count) == 0 && count > 0 ? (size_t)count : 0;
}

/* The size of the replies to what is under way on a connection. */
static size_t expected(const struct load *load, const struct load_connection *connection)
{
    size_t size = 0;
    for (size_t i = 0; i < connection->sent; i++) {
        const struct load_request *request =
            &connection->queue[(connection->head + i) % connection->queue_size];
        size += load_reply_size(load, request);
    }
    return size;
}

static bool complete(const struct load *load)
{
    for (unsigned i = 0; i < load->options.connections; i++)
        if (arrived(&load->connections[i]) < expected(load, &load->connections[i]))
            return false;
    return true;
}

/* The stamp of the last segment that has arrived, without taking data; 0 when there is none. */
static int stamp_of(struct load_connection *connection, uint64_t *ns)
{
    char control[256], *data = connection->in + connection->in_end;
    struct iovec part = {data, connection->in_size - connection->in_end};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    if (recvmsg(connection->fd, &message, MSG_DONTWAIT | MSG_PEEK) <= 0)
        return load_fail("recvmsg: %s", strerror(errno));
    struct timespec stamp = {0};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
    *ns = (uint64_t)stamp.tv_sec * NS + (uint64_t)stamp.tv_nsec;
    return 0;
}

/* Takes the replies of a connection, once all of them are there, and when the last one came. */
static int collect(struct load *load, struct load_connection *connection, struct round_times *times)
{
    while (connection->sent) {
        uint64_t ns;
        if (stamp_of(connection, &ns) != 0)
            return -1;
        if (!ns)
            return load_fail("the kernel gave no receive timestamp");
        if (!times->first_ns || ns < times->first_ns)
            times->first_ns = ns;
        if (ns > times->last_ns)
            times->last_ns = ns;
        if (load_receive(load, connection) < 0)
            return -1;
    }
    return 0;
}

/*
 * The kernel begins to stamp segments some time after the first socket asks for it (it patches its
 * code from a work queue), so: until a reply has a stamp.
 */
static int await_timestamps(struct load *load)
{
    struct load_connection *connection = &load->connections[0];
    for (unsigned tries = 0; tries < 500; tries++) {
        if (load_enqueue(connection, load_next_request(load)) != 0 ||
            load_pump(load, connection) != 0)
            return -1;
        for (unsigned waits = 0; arrived(connection) < expected(load, connection); waits++) {
            if (waits == 5000)
                return load_fail("no reply within 5 seconds");
            doze(1000000);
        }
        uint64_t ns;
        if (stamp_of(connection, &ns) != 0)
            return -1;
        while (connection->sent)
            if (load_receive(load, connection) < 0)
                return -1;
        if (ns)
            return 0;
    }
    return load_fail("the kernel gives no receive timestamps");
}

static int send_batch(struct load *load)
{
    for (unsigned i = 0; i < load->options.connections; i++) {
        struct load_connection *connection = &load->connections[i];
        for (unsigned k = 0; k < load->options.pipeline; k++)
            if (load_enqueue(connection, load_next_request(load)) != 0)
                return -1;
        if (load_pump(load, connection) != 0)
            return -1;
        if (connection->out_begin < connection->out_end)
            return load_fail("a batch of %u requests does not fit into a socket's buffer",
                             load->options.pipeline);
    }
    return 0;
}

static int one_round(struct load *load, uint64_t *sleep_ns)
{
    struct round_times times = {0};
    int status = stop_all(&load->options);
    if (status == 0)
        status = send_batch(load);
    uint64_t start = load_now_ns(CLOCK_REALTIME);
    continue_all(&load->options);
    if (status != 0)
        return status;
    doze(*sleep_ns);
    for (uint64_t slept = *sleep_ns; !complete(load); slept += *sleep_ns) {
        if (slept > ROUND_LIMIT_NS)
            return load_fail("no complete answer within %u seconds",
                             (unsigned)(ROUND_LIMIT_NS / NS));
        times.disturbed = true;
        doze(*sleep_ns);
    }
    for (unsigned i = 0; i < load->options.connections; i++)
        if (collect(load, &load->connections[i], &times) != 0)
            return -1;
    printf("{\"type\":\"burst\",\"requests\":%u,\"first_ns\":%" PRId64 ",\"last_ns\":%" PRId64
           ",\"disturbed\":%s}\n",
           load->options.connections * load->options.pipeline, (int64_t)(times.first_ns - start),
           (int64_t)(times.last_ns - start), times.disturbed ? "true" : "false");
    fflush(stdout);
    /* Twice what it took, and some: the next round should not be looked at early. */
    uint64_t wanted = 2 * (times.last_ns - start) + 5000000u;
    if (times.disturbed || wanted < *sleep_ns)
        *sleep_ns = wanted > 5000000u ? wanted : 5000000u;
    return 0;
}

int load_burst(struct load *load)
{
    uint64_t sleep_ns = FIRST_SLEEP_NS;
    if (enable_timestamps(load) != 0 || await_timestamps(load) != 0)
        return -1;
    for (unsigned i = 0; i < load->options.rounds; i++)
        if (one_round(load, &sleep_ns) != 0)
            return -1;
    return 0;
}
