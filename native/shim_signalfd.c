/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_signalfd.c -- signalfd: signals arrive in this process, descriptors are the host's.
 *
 * Enclave side. The descriptor is an eventfd at the host: readable while signals wait to be read,
 * so that poll, select and every epoll set work as they are. The signals themselves stay here, in
 * a queue; what the host makes of the eventfd decides when the program looks, not what it finds.
 *
 * They get into the queue by a thread of the shim's, which waits for all signals that any
 * descriptor is for, as sigwaitinfo does: the program has them blocked, or they would not come by
 * a signalfd outside either. A signal for one thread alone never reaches another thread, so each
 * takes its own along when it reads or waits (shim_signals_collect).
 *
 * What is in a queue is not pending any more: sigpending and sigwaitinfo do not see it. When the
 * last descriptor is closed it is sent again.
 */
#include "shim.h"

#include <sys/signalfd.h>
#include <sys/uio.h>

#define BIT(number) (UINT64_C(1) << ((number) - 1))
/* SIGSYS is the shim's. Nobody can have the others. */
#define NEVER (BIT(SIGSYS) | BIT(SIGKILL) | BIT(SIGSTOP))
/* The C library's, by which it changes the identity of every thread. */
#define SETXID 33
#define FIRST_QUEUED 32

#define OBJECTS 16u
#define QUEUE 64u

/* What one signalfd call has made; by any number of descriptors. Under the lock. */
struct signals {
    uint64_t mask;
    uint32_t references;
    int fd; /* one of its descriptors: the bell */
    uint32_t first, count;
    siginfo_t queue[QUEUE];
};

uint64_t g_shim_signals;

static struct signals g_objects[OBJECTS];
static uint32_t g_lock;
static uint32_t g_ringing; /* calls that are out on a bell: its number must not change hands */
static uint32_t g_started;
static int g_relay;

static void lock(void)
{
    shim_enter(shim_thread());
    while (__atomic_exchange_n(&g_lock, 1u, __ATOMIC_ACQUIRE) != 0)
        (void)SHIM_GATE(SYS_sched_yield, 0);
}

static void unlock(void)
{
    __atomic_store_n(&g_lock, 0u, __ATOMIC_RELEASE);
    (void)shim_leave(shim_thread());
}

/* Of the descriptors that have room; the lock is held. */
static uint64_t wanted(void)
{
    uint64_t all = 0;
    uint64_t open = 0;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        if (g_objects[i].references == 0)
            continue;
        all |= g_objects[i].mask;
        if (g_objects[i].count < QUEUE)
            open |= g_objects[i].mask;
    }
    /* Relaxed: a hint whether it is worth to look. */
    __atomic_store_n(&g_shim_signals, all, __ATOMIC_RELAXED);
    return open;
}

/* The lock is held. True: `*fd` is to be rung. */
static bool put(const siginfo_t *info, int *fd)
{
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct signals *object = &g_objects[i];
        if (object->references == 0 || object->count == QUEUE ||
            (object->mask & BIT(info->si_signo)) == 0)
            continue;
        /* One of the old signals is pending or not, however often it was sent. */
        for (uint32_t k = 0; k < object->count && info->si_signo < FIRST_QUEUED; k++)
            if (object->queue[(object->first + k) % QUEUE].si_signo == info->si_signo)
                return false;
        object->queue[(object->first + object->count++) % QUEUE] = *info;
        *fd = object->fd;
        return true;
    }
    return false;
}

/* `g_ringing` was raised under the lock that `fd` was found under. */
static void ring(int fd)
{
    const uint64_t one = 1;
    (void)SHIM_ROW(ROW_write, false, SHIM_ARG(fd), SHIM_PTR(&one), sizeof one);
    /* SYNC: release pairs with shim_signals_closed, ringing: the call is over. */
    (void)__atomic_sub_fetch(&g_ringing, 1u, __ATOMIC_RELEASE);
}

static void queue(const siginfo_t *info)
{
    int fd = -1;
    lock();
    bool rings = put(info, &fd);
    if (rings)
        (void)__atomic_add_fetch(&g_ringing, 1u, __ATOMIC_RELAXED);
    (void)wanted();
    unlock();
    if (rings)
        ring(fd);
}

/* ---- the thread that waits --------------------------------------------------------------------- */

void shim_signals_relay(void)
{
    uint64_t mask = ~(BIT(SIGSYS) | BIT(SETXID));
    /* The C library opens SHIM_CANCEL in each new thread. */
    (void)SHIM_GATE(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    /* SYNC: release pairs with tell_relay, relay: the signal that it sends is blocked. */
    __atomic_store_n(&g_relay, (int)SHIM_GATE(SYS_gettid, 0), __ATOMIC_RELEASE);
    for (;;) {
        siginfo_t info;
        lock();
        /* SHIM_CANCEL, sent to this thread alone, says that the set has changed. */
        uint64_t set = wanted() | BIT(SHIM_CANCEL);
        unlock();
        long number = SHIM_GATE(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
        if (number > 0 && number != SHIM_CANCEL)
            queue(&info);
    }
}

static void tell_relay(void)
{
    /* SYNC: acquire pairs with shim_signals_relay, relay. */
    int tid = __atomic_load_n(&g_relay, __ATOMIC_ACQUIRE);
    /* Not there yet: it looks before it waits. */
    if (tid != 0)
        (void)SHIM_GATE(SYS_tgkill, SHIM_GATE(SYS_getpid, 0), tid, SHIM_CANCEL);
}

static bool start_relay(void)
{
    if (__atomic_exchange_n(&g_started, 1u, __ATOMIC_RELAXED) != 0)
        return true;
    uint64_t before = 0;
    uint64_t mask = ~(BIT(SIGSYS) | BIT(SETXID));
    (void)SHIM_GATE(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, 8);
    bool fine = shim_start_thread(shim_signals_relay);
    (void)SHIM_GATE(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    if (!fine)
        __atomic_store_n(&g_started, 0u, __ATOMIC_RELAXED);
    return fine;
}

void shim_signals_collect(void)
{
    const int64_t at_once[2] = {0, 0};
    /* Relaxed: a thread finds what it has made itself, and nobody else's is promised to it. */
    uint64_t set = __atomic_load_n(&g_shim_signals, __ATOMIC_RELAXED);
    siginfo_t info;
    for (uint32_t i = 0; i < QUEUE; i++) {
        if (SHIM_GATE(SYS_rt_sigtimedwait, &set, &info, at_once, 8) <= 0)
            return;
        queue(&info);
    }
}

/* ---- descriptors ------------------------------------------------------------------------------- */

static struct signals *object_of(const struct shim_fd *state)
{
    return &g_objects[hc_index_nospec(state->signals % OBJECTS, OBJECTS)];
}

static long change(int fd, uint64_t mask)
{
    struct shim_fd *state = shim_fd(fd);
    if (state == NULL || state->kind != SHIM_SIGNAL) {
        long flags = SHIM_ROW(ROW_fcntl, false, SHIM_ARG(fd), 1 /* F_GETFD */, 0, 0, 0);
        return flags < 0 ? flags : -EINVAL;
    }
    lock();
    object_of(state)->mask = mask;
    (void)wanted();
    unlock();
    tell_relay();
    return fd;
}

long shim_signalfd(int fd, const uint64_t *set, size_t size, int flags)
{
    uint64_t mask;
    uint32_t i = 0;
    if (size != sizeof mask)
        return -EINVAL;
    if (!shim_copy(&mask, set, sizeof mask))
        return -EFAULT;
    if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) != 0)
        return -EINVAL;
    mask &= ~NEVER;
    if (fd != -1)
        return change(fd, mask);
    lock();
    while (i < OBJECTS && g_objects[i].references != 0)
        i++;
    if (i < OBJECTS) {
        g_objects[i].references = 1;
        g_objects[i].mask = 0; /* nothing is for it before there is a bell */
        g_objects[i].first = g_objects[i].count = 0;
    }
    unlock();
    if (i == OBJECTS)
        return -ENFILE;
    long result = SHIM_ROW(ROW_signalfd4, false, SHIM_ARG(-1), SHIM_PTR(&mask), SHIM_ARG(flags));
    if (result < 0) {
        lock();
        g_objects[i].references = 0;
        unlock();
        return result;
    }
    shim_fd_new(result, SHIM_SIGNAL, (flags & SFD_NONBLOCK) != 0 ? 2 : 1);
    shim_fd((int)result)->signals = (uint8_t)i;
    lock();
    g_objects[i].fd = (int)result;
    g_objects[i].mask = mask;
    (void)wanted();
    unlock();
    tell_relay();
    if (!start_relay()) {
        (void)shim_close((int)result);
        return -ENOMEM;
    }
    return result;
}

void shim_signals_shared(const struct shim_fd *state)
{
    lock();
    object_of(state)->references++;
    unlock();
}

void shim_signals_closed(int fd)
{
    struct shim_fd *state = shim_fd(fd);
    struct signals *object = object_of(state);
    lock();
    bool last = --object->references == 0;
    if (!last && object->fd == fd) {
        /* The bell goes: another of its descriptors becomes it. */
        for (int other = 0; other < (int)RUN_DESCRIPTORS_MAX; other++) {
            const struct shim_fd *candidate = shim_fd(other);
            if (other != fd && candidate->kind == SHIM_SIGNAL &&
                candidate->signals == state->signals) {
                object->fd = other;
                break;
            }
        }
    }
    (void)wanted();
    unlock();
    tell_relay();
    /* SYNC: acquire pairs with ring, ringing. Whoever found the bell here has rung it. */
    while (__atomic_load_n(&g_ringing, __ATOMIC_ACQUIRE) != 0)
        (void)SHIM_GATE(SYS_sched_yield, 0);
    for (; last && object->count != 0; object->count--) {
        siginfo_t *info = &object->queue[object->first++ % QUEUE];
        (void)SHIM_GATE(SYS_rt_sigqueueinfo, SHIM_GATE(SYS_getpid, 0), info->si_signo, info);
    }
}

/* ---- reading ----------------------------------------------------------------------------------- */

static void describe(const siginfo_t *info, struct signalfd_siginfo *to)
{
    int code = info->si_code;
    memset(to, 0, sizeof *to);
    to->ssi_signo = (uint32_t)info->si_signo;
    to->ssi_errno = info->si_errno;
    to->ssi_code = code;
    if (code == SI_TIMER) {
        to->ssi_tid = (uint32_t)info->si_timerid;
        to->ssi_overrun = (uint32_t)info->si_overrun;
        to->ssi_ptr = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
        to->ssi_int = info->si_value.sival_int;
    } else if (info->si_signo == SIGIO && code > 0 && code <= POLL_HUP) {
        to->ssi_band = (uint32_t)info->si_band;
        to->ssi_fd = info->si_fd;
    } else {
        to->ssi_pid = (uint32_t)info->si_pid;
        to->ssi_uid = info->si_uid;
        if (code < 0 && code != SI_TKILL) {
            to->ssi_ptr = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
            to->ssi_int = info->si_value.sival_int;
        }
    }
}

long shim_signalfd_read(int fd, void *buffer, size_t size)
{
    struct shim_fd *state = shim_fd(fd);
    struct signalfd_siginfo record;
    struct iovec piece;
    if (SHIM_PTR(buffer) == SHIM_VECTOR) {
        /* Into the first piece alone: less than asked for is never wrong. */
        if (!shim_copy(&piece, shim_thread()->vector, sizeof piece))
            return -EFAULT;
        buffer = piece.iov_base;
        size = piece.iov_len;
    }
    size_t room = size / sizeof record;
    if (room == 0)
        return -EINVAL;
    shim_signals_collect();
    for (;;) { /* what waits is the read of the bell, which a signal or the host's end ends */
        uint64_t rung;
        size_t done = 0;
        bool rings = false;
        bool fine = true;
        long result = SHIM_ROW(ROW_read, true, SHIM_ARG(fd), SHIM_PTR(&rung), sizeof rung);
        if (result < 0)
            return result;
        struct signals *object = object_of(state);
        lock();
        int bell = object->fd;
        for (; fine && done < room && object->count != 0; done++, object->count--) {
            describe(&object->queue[object->first % QUEUE], &record);
            fine = shim_copy((uint8_t *)buffer + done * sizeof record, &record, sizeof record);
            if (!fine)
                break;
            object->first++;
        }
        rings = object->count != 0;
        if (rings)
            (void)__atomic_add_fetch(&g_ringing, 1u, __ATOMIC_RELAXED);
        unlock();
        if (rings)
            ring(bell);
        tell_relay();
        if (done != 0 || !fine)
            return done != 0 ? (long)(done * sizeof record) : -EFAULT;
        /* Rung for what another thread has read. */
    }
}
