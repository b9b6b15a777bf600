/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_epoll.c -- epoll sets: what the program wants back with an event stays on this side.
 *
 * Enclave side. epoll_data is usually a pointer. The kernel, at the host, is given a token
 * instead, and what comes back is looked up here: a host that lies can report an event that did
 * not happen, but no address that the program did not register.
 *
 * A registration belongs to a set and to what the descriptor named then, not to the number: when
 * a duplicate of it lives on, events of a closed number go on coming (epoll(7), Q6). So an entry
 * is given up when its number is closed only if nobody has duplicated it, else with its set. A set
 * may be duplicated as well, and goes by a name of our own.
 */
#include "shim.h"

#include <linux/eventpoll.h>
#include <sys/mman.h>

#define WATCHES_MAX (1u << 20)
#define NONE 0u

struct watch {
    uint64_t data;
    uint32_t generation; /* odd while it is in use */
    uint32_t set;
    int32_t fd;
    uint32_t events;
    uint32_t next; /* of the same descriptor, or of the free list */
};

static struct watch *g_watches;
static uint32_t g_used = 1; /* entry 0 is NONE */
static uint32_t g_free;
static uint32_t g_lock;
static uint32_t g_sets;

static void lock(struct shim_thread *thread)
{
    shim_enter(thread);
    while (__atomic_exchange_n(&g_lock, 1u, __ATOMIC_ACQUIRE) != 0)
        (void)SHIM_GATE(SYS_sched_yield, 0);
}

static void unlock(struct shim_thread *thread)
{
    __atomic_store_n(&g_lock, 0u, __ATOMIC_RELEASE);
    (void)shim_leave(thread);
}

static uint32_t take(void)
{
    if (g_watches == NULL) {
        long memory =
            SHIM_GATE(SYS_mmap, 0, sizeof(struct watch) * WATCHES_MAX, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
        if (memory < 0 && memory > -4096)
            return NONE;
        g_watches = (struct watch *)memory;
    }
    uint32_t index = g_free;
    if (index != NONE)
        g_free = g_watches[index].next;
    else if (g_used < WATCHES_MAX)
        index = g_used++;
    return index;
}

static void count(int fd, uint32_t events, int by)
{
    struct shim_fd *state = shim_fd(fd);
    if (state == NULL)
        return;
    state->watched = (uint16_t)(state->watched + by);
    if ((events & (uint32_t)(EPOLLET | EPOLLONESHOT)) != 0)
        state->edges = (uint16_t)(state->edges + by);
}

/* `link` is what points to the entry. */
static void give(uint32_t *link)
{
    uint32_t index = *link;
    struct watch *watch = &g_watches[index];
    *link = watch->next;
    count(watch->fd, watch->events, -1);
    watch->generation++;
    watch->next = g_free;
    g_free = index;
}

/* The newest registration of `fd` in `set`. */
static uint32_t *find(uint32_t set, int fd)
{
    struct shim_fd *state = shim_fd(fd);
    if (state == NULL)
        return NULL;
    for (uint32_t *link = &state->watches; *link != NONE; link = &g_watches[*link].next)
        if (g_watches[*link].set == set)
            return link;
    return NULL;
}

void shim_epoll_closed(int fd)
{
    struct shim_thread *thread = shim_thread();
    struct shim_fd *state = shim_fd(fd);
    lock(thread);
    while (state->watches != NONE)
        give(&state->watches);
    unlock(thread);
}

uint32_t shim_epoll_set_new(void)
{
    uint32_t set = __atomic_add_fetch(&g_sets, 1u, __ATOMIC_RELAXED);
    return set != 0 ? set : __atomic_add_fetch(&g_sets, 1u, __ATOMIC_RELAXED);
}

/* Of a set that was open before the program started, or was sent to it, the first one to ask decides. */
static uint32_t set_of(int epfd)
{
    struct shim_fd *state = shim_fd(epfd);
    if (state->set == 0)
        state->set = shim_epoll_set_new();
    return state->set;
}

void shim_epoll_set_closed(uint32_t set)
{
    struct shim_thread *thread = shim_thread();
    lock(thread);
    for (uint32_t i = 1; i < g_used; i++) {
        struct watch *watch = &g_watches[i];
        if ((watch->generation & 1u) == 0 || watch->set != set)
            continue;
        struct shim_fd *state = shim_fd(watch->fd);
        for (uint32_t *link = &state->watches; *link != NONE; link = &g_watches[*link].next)
            if (*link == i) {
                give(link);
                break;
            }
    }
    unlock(thread);
}

static uint64_t token_of(uint32_t index)
{
    return (uint64_t)g_watches[index].generation << 32 | index;
}

long shim_epoll_ctl(int epfd, int op, int fd, const void *event)
{
    struct shim_thread *thread = shim_thread();
    struct epoll_event given = {0, 0};
    uint64_t token = 0;
    uint32_t index = NONE;
    if (op != EPOLL_CTL_DEL && !shim_copy(&given, event, sizeof given))
        return -EFAULT;
    if (shim_fd(fd) == NULL || shim_fd(epfd) == NULL)
        return -EBADF;
    lock(thread);
    uint32_t set = set_of(epfd);
    if (op == EPOLL_CTL_ADD) {
        index = take();
        if (index != NONE) {
            g_watches[index].generation++;
            g_watches[index].data = given.data;
            g_watches[index].events = given.events;
            g_watches[index].set = set;
            g_watches[index].fd = fd;
            token = token_of(index);
        }
    } else if (op == EPOLL_CTL_MOD) {
        uint32_t *link = find(set, fd);
        if (link != NULL) {
            struct watch *watch = &g_watches[*link];
            /* Before the call: an event may come at once. */
            count(fd, watch->events, -1);
            watch->events = given.events;
            watch->data = given.data;
            count(fd, watch->events, 1);
            token = token_of(*link);
        }
    }
    unlock(thread);
    if (op == EPOLL_CTL_ADD && index == NONE)
        return -ENOSPC;
    long result = SHIM_ROW(ROW_epoll_ctl, false, SHIM_ARG(epfd), SHIM_ARG(op), SHIM_ARG(fd),
                           given.events, token);
    lock(thread);
    if (op == EPOLL_CTL_ADD) {
        struct shim_fd *state = shim_fd(fd);
        g_watches[index].next = state->watches;
        state->watches = index;
        count(fd, given.events, 1);
        if (result != 0)
            give(&state->watches);
    } else if (op == EPOLL_CTL_DEL && result == 0) {
        uint32_t *link = find(set, fd);
        if (link != NULL)
            give(link);
    }
    struct shim_fd *state = shim_fd(fd);
    state->empty = 0;
    unlock(thread);
    return result;
}

/* Puts the program's data in place of the tokens; drops what is not, or not any more, of this set. */
static long translate(int epfd, struct epoll_event *events, long received)
{
    struct shim_thread *thread = shim_thread();
    const struct shim_fd *waited = shim_fd(epfd);
    long kept = 0;
    lock(thread);
    for (long i = 0; i < received; i++) {
        struct epoll_event event;
        if (!shim_copy(&event, &events[i], sizeof event)) {
            kept = -EFAULT;
            break;
        }
        uint32_t index = (uint32_t)event.data;
        uint32_t generation = (uint32_t)(event.data >> 32);
        if (index == NONE || index >= g_used || (generation & 1u) == 0)
            continue;
        index = (uint32_t)hc_index_nospec(index, g_used);
        const struct watch *watch = &g_watches[index];
        /* One that was sent to the program may be any of those it knows. */
        if (watch->generation != generation ||
            (waited != NULL && waited->set != 0 && watch->set != waited->set))
            continue;
        struct shim_fd *state = shim_fd(watch->fd);
        state->empty = 0;
        event.data = watch->data;
        if (!shim_copy(&events[kept], &event, sizeof event)) {
            kept = -EFAULT;
            break;
        }
        kept++;
    }
    unlock(thread);
    return kept;
}

long shim_epoll_wait(int epfd, void *events, int most, int timeout, const uint64_t *mask)
{
    struct shim_masked masked;
    if (most <= 0 || (uint32_t)most > (uint32_t)INT32_MAX / sizeof(struct epoll_event))
        return -EINVAL;
    if (events == NULL)
        return -EFAULT;
    size_t size = (size_t)most * sizeof(struct epoll_event);
    if (HC_UNLIKELY(__atomic_load_n(&g_shim_signals, __ATOMIC_RELAXED) != 0))
        shim_signals_collect();
    if (size > RUN_PIECE)
        size = RUN_PIECE / sizeof(struct epoll_event) * sizeof(struct epoll_event);
    long result = shim_mask_for_call(mask, &masked);
    if (result != 0)
        return result;
    do {
        result = SHIM_ROW(ROW_epoll_pwait, false, SHIM_ARG(epfd), SHIM_PTR(events), size,
                          SHIM_ARG(timeout));
        if (result <= 0)
            break;
        result = (size_t)result > size / sizeof(struct epoll_event)
                     ? -EIO
                     : translate(epfd, events, result);
        /* Nothing of it was the program's: as if it had not been told. */
    } while (result == 0 && timeout < 0);
    shim_expect(result);
    return shim_mask_back(&masked, result);
}
