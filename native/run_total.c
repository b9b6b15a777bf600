/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_total.c -- counts the bytes that the program moves, and stops it where the policy says so.
 *
 * Host side (H); every thread that serves. Before a transfer as much as is asked for is taken from
 * each total that the descriptor falls under, or what is left of it: that shortens the transfer, so
 * that no total is ever passed. What was not moved is given back. Nobody waits for a peer with
 * bytes taken: a call that would block gives them back, waits for its descriptor, and takes anew;
 * so that what one thread waits for is not missing to another.
 *
 * Counters are relaxed: they publish nothing, and only their sums matter. The program chooses
 * descriptors and times, and is hostile: see `stable`.
 */
#define _GNU_SOURCE
#include "run_total.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* /dev/net/tun: each write is a packet. */
#define MISC_MAJOR 10u
#define TUN_MINOR 200u

/* In the word of a descriptor, above the bits of the totals. */
#define KNOWN (UINT32_C(1) << 31)
#define MESSAGES (UINT32_C(1) << 30) /* what is written is a message: whole, or not at all */

#define CONNECTS 1024u
/* The low bits of a word of changes count those that are in progress. */
#define CHANGE ((UINT32_C(1) << 8) + 1u)
#define CHANGING(word) (((word) & 0xffu) != 0)

struct total {
    enum run_total_kind kind;
    int refuse;
    uint64_t most;
    char *prefix; /* of a path */
    struct run_address_rule *addresses;
    size_t address_count;
    uint64_t taken;   /* atomic, relaxed: counted, and taken by transfers that are under way */
    uint64_t counted; /* atomic, relaxed */
};

const char *const g_run_total_words[RUN_TOTAL_KINDS] = {"ip-in", "ip-out", "io-read", "io-write"};

static struct total g_totals[RUN_TOTALS_MAX];
static uint32_t g_count;
static uint32_t g_of_kind[RUN_TOTAL_KINDS]; /* bits of totals */
static bool g_any_address;
static bool g_learning;
static uint32_t g_learned_from; /* the totals from here on are not the policy's */
static bool g_raced;            /* atomic: each total is of everything; see `stable` */
static uint32_t g_changes[RUN_DESCRIPTORS_MAX]; /* atomic */
static uint64_t g_classes[RUN_DESCRIPTORS_MAX]; /* atomic: the word of changes, then the class */
static uint32_t g_connects[CONNECTS];           /* atomic, by inode of the socket */

/* ---- reading the policy ------------------------------------------------------------------------ */

bool run_total_begin(enum run_total_kind kind, uint64_t most, int refuse)
{
    if (g_count == RUN_TOTALS_MAX)
        return false;
    g_totals[g_count].kind = kind;
    g_totals[g_count].most = most;
    g_totals[g_count].refuse = refuse;
    g_of_kind[kind] |= UINT32_C(1) << g_count++;
    return true;
}

static bool is_network(enum run_total_kind kind)
{
    return kind == RUN_TOTAL_IP_IN || kind == RUN_TOTAL_IP_OUT;
}

bool run_total_only_path(const char *prefix)
{
    struct total *total = g_count != 0 ? &g_totals[g_count - 1u] : NULL;
    if (total == NULL || is_network(total->kind) || total->prefix != NULL)
        return false;
    total->prefix = strdup(prefix);
    return total->prefix != NULL;
}

bool run_total_only_address(const struct run_address_rule *rule)
{
    struct total *total = g_count != 0 ? &g_totals[g_count - 1u] : NULL;
    if (total == NULL || !is_network(total->kind))
        return false;
    struct run_address_rule *rules =
        realloc(total->addresses, (total->address_count + 1u) * sizeof *rules);
    if (rules == NULL)
        return false;
    total->addresses = rules;
    rules[total->address_count++] = *rule;
    g_any_address = true;
    return true;
}

void run_total_learn(void)
{
    g_learning = true;
    g_learned_from = g_count;
    for (uint32_t kind = 0; kind < RUN_TOTAL_KINDS; kind++)
        /* Under a policy with this many totals, what is used of the rest is not said. */
        (void)run_total_begin((enum run_total_kind)kind, INT64_MAX, EDQUOT);
}

void run_total_say_used(void)
{
    if (!g_learning)
        return;
    for (uint32_t i = g_learned_from; i < g_count; i++)
        run_policy_say_total(g_run_total_words[g_totals[i].kind],
                             __atomic_load_n(&g_totals[i].counted, __ATOMIC_RELAXED));
}

bool run_total_any(void)
{
    return g_count != 0;
}

/* ---- calls that move bytes --------------------------------------------------------------------- */

/* Parameters of a row; -1: it has none. */
struct moves {
    int8_t from, to; /* descriptors that are read, and written */
    int8_t size;
    int8_t address;  /* where a message goes, if the call says so */
    bool progresses; /* run_call.progress tells what has been moved */
};

static bool moves_of(uint32_t row, struct moves *moves)
{
    switch ((enum row_id)row) {
    case ROW_read:
    case ROW_pread64:
    case ROW_preadv2:
    case ROW_recvfrom:
        *moves = (struct moves){0, -1, 2, -1, false};
        return true;
    case ROW_recvmsg:
        *moves = (struct moves){0, -1, 3, -1, false};
        return true;
    case ROW_pwrite64:
        *moves = (struct moves){-1, 0, 2, -1, false};
        return true;
    case ROW_write:
    case ROW_pwritev2:
        *moves = (struct moves){-1, 0, 2, -1, true};
        return true;
    case ROW_sendto:
        *moves = (struct moves){-1, 0, 2, 4, true};
        return true;
    case ROW_sendmsg:
        *moves = (struct moves){-1, 0, 3, 4, true};
        return true;
    case ROW_sendfile:
        *moves = (struct moves){1, 0, 3, -1, false};
        return true;
    case ROW_splice:
    case ROW_copy_file_range:
        *moves = (struct moves){0, 2, 4, -1, false};
        return true;
    case ROW_tee:
        *moves = (struct moves){0, 1, 2, -1, false};
        return true;
    default:
        return false;
    }
}

bool run_total_moves(uint32_t row)
{
    struct moves moves;
    return moves_of(row, &moves);
}

/* ---- what a descriptor falls under -------------------------------------------------------------- */

/* One descriptor of a call. */
struct end {
    int fd;
    uint32_t totals; /* bits */
    uint32_t others; /* of this direction, which it does not fall under */
    bool messages;
    uint32_t change; /* the words when we looked */
    uint32_t place;  /* in g_connects; CONNECTS: no socket */
    uint32_t connect;
};

static uint32_t *change_of(int64_t fd)
{
    return &g_changes[hc_index_nospec((uint64_t)fd, RUN_DESCRIPTORS_MAX)];
}

void run_total_change_begin(int64_t fd)
{
    if (g_count != 0 && fd >= 0 && fd < (int64_t)RUN_DESCRIPTORS_MAX)
        /* SYNC: release pairs with look and stable, change; before the number is another file. */
        (void)__atomic_add_fetch(change_of(fd), CHANGE, __ATOMIC_ACQ_REL);
}

void run_total_change_end(int64_t fd)
{
    if (g_count != 0 && fd >= 0 && fd < (int64_t)RUN_DESCRIPTORS_MAX)
        /* SYNC: release pairs with look, change; after the number is another file. */
        (void)__atomic_sub_fetch(change_of(fd), 1u, __ATOMIC_ACQ_REL);
}

static uint32_t place_of(const struct stat *status)
{
    return (uint32_t)(status->st_ino % CONNECTS);
}

uint32_t run_total_connect_begin(int64_t fd)
{
    struct stat status;
    if (!g_any_address || fstat((int)fd, &status) != 0)
        return CONNECTS;
    uint32_t place = place_of(&status);
    /* SYNC: as run_total_change_begin, for the peer of a socket. */
    (void)__atomic_add_fetch(&g_connects[place], CHANGE, __ATOMIC_ACQ_REL);
    return place;
}

void run_total_connect_end(uint32_t place)
{
    if (place != CONNECTS)
        /* SYNC: as run_total_change_end. */
        (void)__atomic_sub_fetch(&g_connects[place], 1u, __ATOMIC_ACQ_REL);
}

/* Where a total of addresses meets a peer; NULL: nobody knows the peer, and any may be meant. */
static bool has_peer(const struct total *total, const struct sockaddr *peer, socklen_t size)
{
    if (total->address_count == 0 || peer == NULL)
        return true;
    for (size_t i = 0; i < total->address_count; i++)
        if (run_policy_address_fits(&total->addresses[i], peer, size))
            return true;
    return false;
}

static uint32_t of_network(const struct sockaddr *peer, socklen_t size)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < g_count; i++)
        if (is_network(g_totals[i].kind) && has_peer(&g_totals[i], peer, size))
            bits |= UINT32_C(1) << i;
    return bits;
}

static uint32_t of_file(int fd, const struct stat *status)
{
    char name[PATH_MAX];
    uint32_t bits = 0;
    bool named = run_path_rule_name(fd, name);
    size_t size = named ? strlen(name) : 0;
    static const char gone[] = " (deleted)";
    /* What was removed stays under the total that it was under; what has no name is under each. */
    if (status->st_nlink == 0 && size >= sizeof gone &&
        strcmp(name + size - (sizeof gone - 1u), gone) == 0)
        name[size - (sizeof gone - 1u)] = '\0';
    for (uint32_t i = 0; i < g_count; i++) {
        const struct total *total = &g_totals[i];
        if (!is_network(total->kind) &&
            (total->prefix == NULL || !named || run_policy_covers(total->prefix, name)))
            bits |= UINT32_C(1) << i;
    }
    return bits;
}

/* The totals of what is open as `fd`, with MESSAGES; `*place` as in struct end. */
static uint32_t class_of(int fd, const struct sockaddr *to, socklen_t to_size, uint32_t *place)
{
    struct stat status;
    struct sockaddr_storage peer;
    int domain = AF_UNSPEC, type = 0;
    socklen_t size = sizeof domain;
    *place = CONNECTS;
    if (fstat(fd, &status) != 0)
        return 0;
    if (!S_ISSOCK(status.st_mode)) {
        bool tun = S_ISCHR(status.st_mode) && major(status.st_rdev) == MISC_MAJOR &&
                   minor(status.st_rdev) == TUN_MINOR;
        /* Event counters, timers and the like hold no data. */
        if ((status.st_mode & S_IFMT) == 0)
            return 0;
        return of_file(fd, &status) | (tun ? MESSAGES : 0u);
    }
    (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    size = sizeof type;
    (void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    uint32_t messages = type != SOCK_STREAM ? MESSAGES : 0u;
    if (domain == AF_UNIX)
        return of_file(fd, &status) | messages;
    *place = place_of(&status);
    if (to != NULL || !g_any_address)
        return of_network(to, to_size) | messages;
    size = sizeof peer;
    bool known = getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
    return of_network(known ? (struct sockaddr *)&peer : NULL, size) | messages;
}

static void look(struct end *end, int fd, bool writes, const struct sockaddr *to, socklen_t to_size)
{
    struct stat status;
    uint32_t all = writes ? g_of_kind[RUN_TOTAL_IP_OUT] | g_of_kind[RUN_TOTAL_IO_WRITE]
                          : g_of_kind[RUN_TOTAL_IP_IN] | g_of_kind[RUN_TOTAL_IO_READ];
    uint64_t *known = &g_classes[hc_index_nospec((uint64_t)fd, RUN_DESCRIPTORS_MAX)];
    end->fd = fd;
    end->place = CONNECTS;
    end->connect = 0;
    /* SYNC: acquire pairs with run_total_change_begin, changes; before we look at the file. */
    end->change = __atomic_load_n(change_of(fd), __ATOMIC_ACQUIRE);
    /* Relaxed: one word, which says itself what it is about. */
    uint64_t word = __atomic_load_n(known, __ATOMIC_RELAXED);
    uint32_t class = (uint32_t)word;
    if ((class & KNOWN) == 0 || (uint32_t)(word >> 32) != end->change) {
        if (g_any_address && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
            /* SYNC: acquire pairs with run_total_connect_begin, connects. */
            end->connect = __atomic_load_n(&g_connects[place_of(&status)], __ATOMIC_ACQUIRE);
        class = class_of(fd, to, to_size, &end->place) | KNOWN;
        /* A socket gets other peers, and nobody may say so of this number. */
        if (!CHANGING(end->change) && (end->place == CONNECTS || !g_any_address))
            __atomic_store_n(known, (uint64_t)end->change << 32 | class, __ATOMIC_RELAXED);
    }
    /* Relaxed: a thread that does not see it yet is in the middle of its one transfer. */
    end->totals = __atomic_load_n(&g_raced, __ATOMIC_RELAXED) ? all : class & all;
    end->others = all & ~end->totals;
    end->messages = writes && (class & MESSAGES) != 0;
}

/*
 * Was `end` all the while what it was when we looked? A program may put another file at the number
 * between our look and the kernel's, or connect the socket elsewhere. It cannot be kept from it,
 * as its calls do not wait for each other; but then those bytes count everywhere, and from then on
 * each total of a direction is of all that goes there. So it gains one transfer of each thread that
 * was in the middle of one, and none after that.
 */
static bool stable(const struct end *end)
{
    /* SYNC: acquire pairs with run_total_change_begin, changes; after the transfer. */
    if (CHANGING(end->change) ||
        __atomic_load_n(change_of(end->fd), __ATOMIC_ACQUIRE) != end->change)
        return false;
    if (end->place == CONNECTS || !g_any_address)
        return true;
    /* SYNC: acquire pairs with run_total_connect_begin, connects. */
    return !CHANGING(end->connect) &&
           __atomic_load_n(&g_connects[end->place], __ATOMIC_ACQUIRE) == end->connect;
}

/* ---- taking ------------------------------------------------------------------------------------ */

enum took {
    TOOK,
    BUSY, /* others are moving what is left just now; it is known soon what remains */
    REACHED,
};

static void give_back(uint32_t totals, uint64_t bytes)
{
    for (uint32_t rest = totals; bytes != 0 && rest != 0; rest &= rest - 1u)
        (void)__atomic_sub_fetch(&g_totals[__builtin_ctz(rest)].taken, bytes, __ATOMIC_RELAXED);
}

static void count(uint32_t totals, uint64_t bytes)
{
    for (uint32_t rest = totals; bytes != 0 && rest != 0; rest &= rest - 1u)
        (void)__atomic_add_fetch(&g_totals[__builtin_ctz(rest)].counted, bytes, __ATOMIC_RELAXED);
}

/* Takes up to `*bytes` from one total, `need` at least. 0, BUSY or REACHED. */
static enum took take_one(struct total *total, uint64_t *bytes, uint64_t need)
{
    uint64_t taken = __atomic_load_n(&total->taken, __ATOMIC_RELAXED);
    for (;;) {
        uint64_t room = taken < total->most ? total->most - taken : 0;
        uint64_t part = *bytes < room ? *bytes : room;
        if (part < need) {
            uint64_t counted = __atomic_load_n(&total->counted, __ATOMIC_RELAXED);
            uint64_t left = counted < total->most ? total->most - counted : 0;
            return left < need ? REACHED : BUSY;
        }
        if (__atomic_compare_exchange_n(&total->taken, &taken, taken + part, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            *bytes = part;
            return TOOK;
        }
    }
}

/* Takes from all totals of `totals` alike; `*refused` is the one that has no more. */
static enum took take(uint32_t totals, uint64_t *bytes, bool whole, uint32_t *refused)
{
    uint64_t need = whole ? *bytes : 1u;
    uint32_t done = 0;
    for (uint32_t rest = totals; rest != 0; rest &= rest - 1u) {
        uint32_t i = (uint32_t)__builtin_ctz(rest);
        uint64_t before = *bytes;
        enum took took = take_one(&g_totals[i], bytes, need);
        if (took != TOOK) {
            give_back(done, before);
            *refused = i;
            return took;
        }
        give_back(done, before - *bytes);
        done |= UINT32_C(1) << i;
    }
    return TOOK;
}

/* ---- a transfer -------------------------------------------------------------------------------- */

/* Is there nothing more to read? Then a total that is used up refuses nothing. */
static bool at_end(const struct run_call *call, int fd)
{
    struct stat status;
    struct pollfd ready = {fd, POLLIN, 0};
    uint8_t byte;
    if (fstat(fd, &status) != 0)
        return false;
    if (S_ISSOCK(status.st_mode)) {
        int type = 0;
        socklen_t size = sizeof type;
        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
               recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    }
    if (S_ISREG(status.st_mode)) {
        off_t at = call->id == ROW_pread64 || (call->id == ROW_preadv2 && (int64_t)call->a[3] >= 0)
                       ? (off_t)call->a[3]
                       : lseek(fd, 0, SEEK_CUR);
        return at >= 0 && pread(fd, &byte, 1, at) == 0;
    }
    return poll(&ready, 1, 0) == 1 && (ready.revents & (POLLIN | POLLHUP)) == POLLHUP;
}

/* Would the kernel wait in this call? */
static bool waits(const struct run_call *call, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (call->id == ROW_preadv2 || call->id == ROW_pwritev2)
        return (call->a[4] & RWF_NOWAIT) == 0 && (flags & O_NONBLOCK) == 0;
    return flags >= 0 && (flags & O_NONBLOCK) == 0;
}

/* Until `fd` is ready, or its own time limit is over. 0 or -errno. */
static long wait_for(int fd, bool writes)
{
    struct pollfd ready = {fd, writes ? POLLOUT : POLLIN, 0};
    struct timeval given = {0, 0};
    socklen_t size = sizeof given;
    struct timespec limit;
    bool limited =
        getsockopt(fd, SOL_SOCKET, writes ? SO_SNDTIMEO : SO_RCVTIMEO, &given, &size) == 0 &&
        (given.tv_sec != 0 || given.tv_usec != 0);
    limit = (struct timespec){given.tv_sec, given.tv_usec * 1000};
    const long arguments[6] = {
        (long)(uintptr_t)&ready, 1, limited ? (long)(uintptr_t)&limit : 0, 0, 0, 0};
    long result = run_interruptible(SYS_ppoll, arguments);
    return result == 0 ? -EAGAIN : result < 0 ? result : 0;
}

static long a_moment(void)
{
    struct timespec moment = {0, 1000000};
    const long arguments[6] = {0, 0, (long)(uintptr_t)&moment, 0, 0, 0};
    long result = run_interruptible(SYS_ppoll, arguments);
    return result < 0 ? result : 0;
}

static void count_everywhere(uint32_t row, const struct end *end, uint64_t moved)
{
    for (uint32_t rest = end->others; rest != 0; rest &= rest - 1u)
        (void)__atomic_add_fetch(&g_totals[__builtin_ctz(rest)].taken, moved, __ATOMIC_RELAXED);
    count(end->others, moved);
    __atomic_store_n(&g_raced, true, __ATOMIC_RELAXED); /* as in look */
    run_policy_say_raced(row);
}

/* What came of one try beside its result. */
struct tried {
    bool busy; /* nothing was tried */
    int fd;    /* to wait for */
    bool writes;
};

static long try_once(struct run_call *call, const struct moves *moves, struct tried *tried)
{
    struct end ends[2];
    uint32_t count_of = 0, totals = 0;
    uint8_t address[sizeof(struct sockaddr_storage)];
    const uint64_t asked = call->a[moves->size];
    const uint64_t u_address = moves->address >= 0 ? call->a[moves->address] : 0;
    const size_t address_size = moves->address >= 0 ? call->sizes[moves->address] : 0;
    const struct sockaddr *to = NULL;
    bool whole = false;
    if (u_address != 0 && address_size != 0 && address_size <= sizeof address) {
        /* What is judged here is what is sent to: from now on the call means this copy. */
        memset(address, 0, sizeof address);
        hc_copy_in(address, (const void *)(uintptr_t)u_address, address_size);
        run_policy_settle((struct sockaddr *)(void *)address, (socklen_t)address_size);
        call->a[moves->address] = (uint64_t)(uintptr_t)address;
        to = (const struct sockaddr *)(const void *)address;
    }
    if (moves->from >= 0)
        look(&ends[count_of++], (int)call->a[moves->from], false, NULL, 0);
    if (moves->to >= 0)
        look(&ends[count_of++], (int)call->a[moves->to], true, to, (socklen_t)address_size);
    for (uint32_t i = 0; i < count_of; i++) {
        totals |= ends[i].totals;
        whole = whole || ends[i].messages;
    }
    tried->fd = ends[count_of - 1u].fd;
    tried->writes = moves->to >= 0;
    const size_t before = call->progress;
    uint64_t bytes = asked - before;
    /* Of a file nobody knows how long it is: what is not there must not be missing elsewhere. */
    if (count_of == 2 && bytes > RUN_PIECE)
        bytes = RUN_PIECE;
    uint32_t refused = 0;
    enum took took = take(totals, &bytes, whole, &refused);
    tried->busy = took == BUSY;
    long result = 0;
    if (took == TOOK) {
        call->a[moves->size] = before + bytes;
        result = run_perform(call);
        call->a[moves->size] = asked;
    }
    if (moves->address >= 0)
        call->a[moves->address] = u_address;
    if (tried->busy)
        return RUN_WOULD_BLOCK;
    if (took == REACHED) {
        if (before != 0)
            return (long)before;
        if (moves->from >= 0 && at_end(call, (int)call->a[moves->from]))
            return 0;
        const struct total *total = &g_totals[refused];
        return -run_policy_total_reached(call->id, g_run_total_words[total->kind], total->most,
                                         total->prefix, total->refuse);
    }
    uint64_t moved = moves->progresses ? call->progress - before
                     : result > 0      ? (uint64_t)result
                                       : 0;
    /* MSG_TRUNC tells how long a message was, not how much of it came. */
    moved = moved < bytes ? moved : bytes;
    count(totals, moved);
    give_back(totals, bytes - moved);
    for (uint32_t i = 0; moved != 0 && i < count_of; i++)
        if (ends[i].others != 0 && !stable(&ends[i]))
            count_everywhere(call->id, &ends[i], moved);
    return result;
}

long run_total_perform(struct run_call *call)
{
    struct moves moves;
    struct tried tried;
    if (!moves_of(call->id, &moves) || call->a[moves.size] == 0)
        return run_perform(call);
    if (call->trying)
        return try_once(call, &moves, &tried);
    for (;;) {
        call->trying = true;
        long result = try_once(call, &moves, &tried);
        call->trying = false;
        if (result == RUN_MUST_BLOCK)
            result = try_once(call, &moves, &tried);
        if (result != RUN_WOULD_BLOCK)
            return result;
        long error = -EAGAIN;
        if (!tried.busy && !waits(call, tried.fd)) {
            /* Why not: the kernel may have more to say of it than that nothing is there. */
            result = try_once(call, &moves, &tried);
            if (result != RUN_WOULD_BLOCK)
                return result;
        }
        if (tried.busy)
            error = a_moment();
        else if (waits(call, tried.fd))
            error = wait_for(tried.fd, tried.writes);
        if (error != 0)
            return call->progress != 0 ? (long)call->progress : error;
    }
}
