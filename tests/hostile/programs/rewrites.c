/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewrites.c -- a program in an enclave that rewrites the arguments of its calls while they are made.
 *
 * The channel is mapped in this process, and nothing keeps a program from writing there. While one
 * thread makes calls that are allowed, another turns them into calls that are not: the path and the
 * address flip between one of each, and now and then a size, a position or a descriptor is any
 * other. Only what would end this side itself is left alone: the word of a call, its function, and
 * the result.
 *
 * usage: rewrites FOLDER ALLOWED-PORT REFUSED-PORT ROUNDS; prints "KIND: calls refused" for each.
 */
#include "own_channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define PLACES 16u
/* A blocking stream takes it in pieces, so the host process looks at it more than once. */
#define LONG_MESSAGE 300000u
/* What is not refused so often never is. */
#define PATIENCE 200u

/* What is written over what, by turns. */
struct flip {
    uint8_t *u_at;
    size_t size;
    uint8_t values[2][64];
};

static struct {
    struct flip flips[PLACES];
    uint32_t count;
    bool noise;
} g_target;
/* SYNC: odd while g_target is being changed; a round that began before may still be at the old one. */
static uint32_t g_turn = 1;
static bool g_over;
static uint64_t g_rewrites;

static uint64_t next_random(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* A size, a position, a flag or a descriptor; none is one of this program's open ones but 0. */
static void make_noise(void)
{
    static const uint64_t values[] = {0,      1000,       1022,        4095,       65536,
                                      384000, 0x7fffffff, 0x80000000u, UINT32_MAX, UINT64_MAX};
    uint64_t value = values[next_random() % (sizeof values / sizeof values[0])];
    uint64_t where = next_random() % 16u;
    if (where < 4u)
        memcpy(&g_u_cell->payload[8u * (1u + where)], &value, sizeof value);
    else if (where == 4u)
        __atomic_store_n(&g_u_cell->offset, (uint32_t)value, __ATOMIC_RELAXED);
    else if (where == 5u)
        __atomic_store_n(&g_u_cell->size, (uint32_t)value, __ATOMIC_RELAXED);
    else
        memcpy(g_u_window + 8u * (where - 5u), &value, sizeof value);
}

static void *rewrite(void *argument)
{
    (void)argument;
    while (!__atomic_load_n(&g_over, __ATOMIC_RELAXED)) {
        uint32_t turn = __atomic_load_n(&g_turn, __ATOMIC_ACQUIRE);
        if (turn % 2u != 0)
            continue;
        for (uint32_t round = 0; round < 8u; round++) {
            for (uint32_t i = 0; i < g_target.count; i++)
                memcpy(g_target.flips[i].u_at, g_target.flips[i].values[round % 2u],
                       g_target.flips[i].size);
            if (g_target.noise && next_random() % 8u == 0)
                make_noise();
            g_rewrites++;
            for (uint64_t pause = next_random() % 64u; pause != 0; pause--)
                hc_pause();
        }
    }
    return NULL;
}

/* From the next call on nothing is rewritten; the rewriter may be in its last round. */
static void stop(void)
{
    if (g_turn % 2u == 0)
        __atomic_store_n(&g_turn, g_turn + 1u, __ATOMIC_RELEASE);
    g_target.count = 0;
    g_target.noise = false;
}

static void start(bool noise)
{
    g_target.noise = noise;
    __atomic_store_n(&g_turn, g_turn + 1u, __ATOMIC_RELEASE);
}

/* Wherever the last call has left `allowed` in its window, from `first` on. */
static void flip(size_t first, const void *allowed, const void *refused, size_t size)
{
    uint32_t before = g_target.count;
    for (size_t at = first; at + size <= 8192u && g_target.count < PLACES; at++) {
        if (memcmp(g_u_window + at, allowed, size) != 0)
            continue;
        struct flip *made = &g_target.flips[g_target.count++];
        made->u_at = g_u_window + at;
        made->size = size;
        memcpy(made->values[0], refused, size);
        memcpy(made->values[1], allowed, size);
    }
    errno = ENOENT;
    if (g_target.count == before)
        fail("an argument is not in the window");
}

static void done(int fd)
{
    /* A result that was told wrong is no descriptor of ours: 0 to 2 stay. */
    if (fd > 2)
        (void)close(fd);
}

/* ---- the calls -------------------------------------------------------------------------------- */

static const char *g_folder;
static struct sockaddr_in g_allowed, g_refused;
static int g_datagrams, g_file;

static void aim_at_path(const char *name)
{
    char allowed[64], refused[64];
    (void)snprintf(allowed, sizeof allowed, "ok/%s", name);
    (void)snprintf(refused, sizeof refused, "no/%s", name);
    flip(0, allowed, refused, strlen(allowed));
}

static int open_named(const char *name, int flags)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/ok/%s", g_folder, name);
    return open(path, flags, 0600);
}

static bool try_create(uint32_t round)
{
    char name[32];
    (void)snprintf(name, sizeof name, "new%u", round % 64u);
    int fd = open_named(name, O_WRONLY | O_CREAT | O_TRUNC);
    bool refused = fd < 0 && errno == EACCES;
    done(fd);
    return refused;
}

static bool try_read(uint32_t round)
{
    char text[16] = "";
    (void)round;
    int fd = open_named("kept", O_RDONLY);
    bool refused = fd < 0 && errno == EACCES;
    if (fd > 2 && read(fd, text, sizeof text - 1u) > 0 && strstr(text, "SECRET") != NULL)
        printf("reached: a file that is refused\n");
    done(fd);
    return refused;
}

static bool try_connect(uint32_t round)
{
    struct linger none = {1, 0};
    (void)round;
    /* Nobody accepts them: one too many would wait. */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    bool refused =
        connect(fd, (struct sockaddr *)&g_allowed, sizeof g_allowed) != 0 && errno == EACCES;
    done(fd);
    return refused;
}

static bool try_sendto(uint32_t round)
{
    (void)round;
    return sendto(g_datagrams, "datagram", 8, MSG_DONTWAIT, (struct sockaddr *)&g_allowed,
                  sizeof g_allowed) < 0 &&
           errno == EACCES;
}

static bool try_sendmsg(uint32_t round)
{
    struct iovec data[2] = {{"data", 4}, {"gram", 4}};
    struct msghdr message = {
        .msg_name = &g_allowed, .msg_namelen = sizeof g_allowed, .msg_iov = data, .msg_iovlen = 2};
    (void)round;
    return sendmsg(g_datagrams, &message, MSG_DONTWAIT) < 0 && errno == EACCES;
}

static bool try_writev(uint32_t round)
{
    struct iovec data[3] = {{"some", 4}, {" bytes of", 9}, {" a file", 7}};
    (void)round;
    return pwritev(g_file, data, 3, 0) < 0;
}

static bool try_getsockopt(uint32_t round)
{
    uint8_t value[64];
    socklen_t size = sizeof value;
    (void)round;
    return getsockopt(g_datagrams, IPPROTO_IP, IP_OPTIONS, value, &size) != 0;
}

static int g_stream[2];
static uint64_t g_sent, g_received;

static void *drain(void *argument)
{
    static uint8_t bytes[65536];
    ssize_t size;
    (void)argument;
    while ((size = read(g_stream[1], bytes, sizeof bytes)) > 0)
        g_received += (uint64_t)size;
    return NULL;
}

static bool try_stream(uint32_t round)
{
    static uint8_t bytes[LONG_MESSAGE];
    struct iovec data = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    (void)round;
    ssize_t sent = sendmsg(g_stream[0], &message, 0);
    g_sent += sent > 0 ? (uint64_t)sent : 0;
    return sent != (ssize_t)sizeof bytes;
}

static void aim_at_file(void)
{
    aim_at_path("new");
}

static void aim_at_kept(void)
{
    aim_at_path("kept");
}

static void aim_at_port(void)
{
    flip(0, &g_allowed, &g_refused, sizeof g_allowed);
}

static void aim_at_length(void)
{
    const uint64_t sizes[2] = {LONG_MESSAGE, 1};
    /* The result, which lies at the start of this window, is the same number. */
    flip(8u, &sizes[0], &sizes[1], sizeof sizes[0]);
}

static const struct kind {
    const char *name;
    bool (*attempt)(uint32_t round); /* true: refused */
    void (*aim)(void);               /* NULL: at nothing, all is noise */
    bool noise;
    uint32_t divisor; /* one in so many of the rounds */
} g_kinds[] = {
    {"create", try_create, aim_at_file, true, 1},
    {"read", try_read, aim_at_kept, true, 1},
    {"connect", try_connect, aim_at_port, true, 4},
    {"sendto", try_sendto, aim_at_port, true, 1},
    {"sendmsg", try_sendmsg, aim_at_port, true, 1},
    {"writev", try_writev, NULL, true, 1},
    {"getsockopt", try_getsockopt, NULL, true, 1},
    {"stream", try_stream, aim_at_length, false, 10},
};

static void run(const struct kind *kind, uint32_t rounds)
{
    uint32_t refused = 0, round = 0, least = rounds / kind->divisor;
    (void)kind->attempt(0);
    /* Until some were refused and some were not: only then was anything raced. */
    for (; round < least || (round < least * PATIENCE && (refused == 0 || refused == round));
         round++) {
        if (round % 64u == 0) {
            stop();
            (void)kind->attempt(0);
            if (kind->aim != NULL)
                kind->aim();
            start(kind->noise);
        }
        refused += kind->attempt(round);
    }
    stop();
    printf("%s: %u %u\n", kind->name, round, refused);
    (void)fflush(stdout);
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int main(int argc, char **argv)
{
    pthread_t rewriter, drainer;
    if (argc != 5)
        return 2;
    /* A call that is turned into another may well find nobody at the other end. */
    (void)signal(SIGPIPE, SIG_IGN);
    g_folder = argv[1];
    g_allowed = loopback(argv[2]);
    g_refused = loopback(argv[3]);
    g_datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    g_file = open_named("written", O_RDWR | O_CREAT);
    if (g_datagrams < 0 || g_file < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, g_stream) != 0)
        fail("preparation");
    find_channel();
    if (pthread_create(&rewriter, NULL, rewrite, NULL) != 0 ||
        pthread_create(&drainer, NULL, drain, NULL) != 0)
        fail("threads");
    for (size_t i = 0; i < sizeof g_kinds / sizeof g_kinds[0]; i++)
        run(&g_kinds[i], (uint32_t)atoi(argv[4]));
    __atomic_store_n(&g_over, true, __ATOMIC_RELAXED);
    (void)pthread_join(rewriter, NULL);
    (void)shutdown(g_stream[0], SHUT_WR);
    (void)pthread_join(drainer, NULL);
    printf("streamed: %llu told, %llu came\n", (unsigned long long)g_sent,
           (unsigned long long)g_received);
    printf("rewrites: %llu\n", (unsigned long long)g_rewrites);
    return 0;
}
