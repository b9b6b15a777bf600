/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_hand.c -- calls whose arguments the table cannot say: lengths by reference, sets of
 * descriptors, times in old forms.
 *
 * Enclave side.
 */
#include "shim.h"

#include <fcntl.h>
#include <sys/socket.h>

#define ADDRESS_MAX 128u

/* Gives an address and its size to the program, as the kernel does: cut, but with the full size. */
static long address_out(const uint8_t *from, uint32_t size, void *address, uint32_t *length)
{
    uint32_t room;
    if (!shim_copy(&room, length, sizeof room))
        return -EFAULT;
    if ((int32_t)room < 0)
        return -EINVAL;
    size = size < ADDRESS_MAX ? size : ADDRESS_MAX;
    if (!shim_copy(address, from, size < room ? size : room) ||
        !shim_copy(length, &size, sizeof size))
        return -EFAULT;
    return 0;
}

long shim_accept(int fd, void *address, uint32_t *length, int flags)
{
    uint8_t name[ADDRESS_MAX];
    uint32_t size = 0;
    if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0)
        return -EINVAL;
    struct shim_fd *listener = shim_fd(fd);
    long result = SHIM_ROW(ROW_accept4, true, SHIM_ARG(fd), SHIM_PTR(address != NULL ? name : NULL),
                           ADDRESS_MAX, SHIM_ARG(flags), SHIM_PTR(address != NULL ? &size : NULL));
    if (result < 0)
        return result;
    shim_fd_new(result, listener != NULL ? (enum shim_kind)listener->kind : SHIM_UNKNOWN,
                (flags & SOCK_NONBLOCK) != 0 ? 2 : 1);
    if (address != NULL && address_out(name, size, address, length) != 0) {
        (void)shim_close((int)result);
        return -EFAULT;
    }
    return result;
}

long shim_name_of(enum row_id row, int fd, void *address, uint32_t *length)
{
    uint8_t name[ADDRESS_MAX];
    uint32_t size = 0;
    long result = SHIM_ROW(row, false, SHIM_ARG(fd), SHIM_PTR(name), ADDRESS_MAX, SHIM_PTR(&size));
    return result != 0 ? result : address_out(name, size, address, length);
}

long shim_getsockopt(const uint64_t *a)
{
    uint32_t *length = (uint32_t *)(uintptr_t)a[4];
    uint32_t room, told = 0;
    if (!shim_copy(&room, length, sizeof room))
        return -EFAULT;
    if ((int32_t)room < 0)
        return -EINVAL;
    if (room > 65536u)
        room = 65536u;
    long result = SHIM_ROW(ROW_getsockopt, false, a[0], a[1], a[2], room != 0 ? a[3] : 0, room,
                           SHIM_PTR(&told));
    if (result < 0)
        return result;
    if (told > room)
        told = room;
    return shim_copy(length, &told, sizeof told) ? result : -EFAULT;
}

/* ---- time limits -------------------------------------------------------------------------------- */

#define SECOND INT64_C(1000000000)

static int64_t now_ns(void)
{
    int64_t now[2] = {0, 0};
    (void)SHIM_GATE(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, now);
    return now[0] * SECOND + now[1];
}

long shim_limit_begin(struct shim_limit *limit, void *from, bool micro)
{
    int64_t *time = limit->time;
    limit->from = from;
    limit->micro = micro;
    limit->until = INT64_MAX;
    if (from == NULL)
        return 0;
    if (!shim_copy(time, from, sizeof limit->time))
        return -EFAULT;
    if (time[0] < 0 || time[1] < 0 || (!micro && time[1] >= SECOND))
        return -EINVAL;
    if (micro) {
        time[0] += time[1] / 1000000;
        time[1] = time[1] % 1000000 * 1000;
    }
    /* Longer ones than a century never end. */
    if (time[0] < INT64_C(4000000000) && (time[0] | time[1]) != 0)
        limit->until = now_ns() + time[0] * SECOND + time[1];
    return 0;
}

bool shim_limit_over(const struct shim_limit *limit)
{
    return limit->from != NULL && ((limit->time[0] | limit->time[1]) == 0 ||
                                   (limit->until != INT64_MAX && now_ns() >= limit->until));
}

void shim_limit_end(const struct shim_limit *limit)
{
    if (limit->from == NULL || limit->until == INT64_MAX)
        return;
    int64_t left = limit->until - now_ns();
    left = left > 0 ? left : 0;
    const int64_t time[2] = {left / SECOND, left % SECOND / (limit->micro ? 1000 : 1)};
    /* It may lie in memory that cannot be written: nobody is told, here as outside. */
    (void)shim_copy(limit->from, time, sizeof time);
}

/* ---- waiting for several ------------------------------------------------------------------------ */

/* Where nothing is ready a signal is told, however short the wait was. epoll_pwait differs. */
static long signalled(long result)
{
    return result == 0 && shim_signal_waits() ? -EINTR : result;
}

long shim_poll(void *fds, uint64_t count, const void *timeout, const uint64_t *mask)
{
    struct shim_masked masked;
    if (count > __atomic_load_n(&g_shim_limit, __ATOMIC_RELAXED) || count * 8u > RUN_PIECE)
        return -EINVAL;
    if (fds == NULL && count != 0)
        return -EFAULT;
    if (HC_UNLIKELY(__atomic_load_n(&g_shim_signals, __ATOMIC_RELAXED) != 0))
        shim_signals_collect();
    long result = shim_mask_for_call(mask, &masked);
    if (result != 0)
        return result;
    result =
        SHIM_ROW(ROW_ppoll, false, count != 0 ? SHIM_PTR(fds) : 0, count * 8u, SHIM_PTR(timeout));
    shim_expect(result);
    return shim_mask_back(&masked, masked.changed ? signalled(result) : result);
}

long shim_select(const uint64_t *a, const void *timeout, const uint64_t *mask)
{
    struct shim_masked masked;
    int count = (int)a[0];
    if (count < 0)
        return -EINVAL;
    if ((uint32_t)count > RUN_DESCRIPTORS_MAX)
        count = (int)RUN_DESCRIPTORS_MAX;
    size_t size = ((size_t)count + 63u) / 64u * 8u;
    if (HC_UNLIKELY(__atomic_load_n(&g_shim_signals, __ATOMIC_RELAXED) != 0))
        shim_signals_collect();
    long result = shim_mask_for_call(mask, &masked);
    if (result != 0)
        return result;
    result = SHIM_ROW(ROW_pselect6, false, SHIM_ARG(count), size, size != 0 ? a[1] : 0,
                      size != 0 ? a[2] : 0, size != 0 ? a[3] : 0, SHIM_PTR(timeout));
    shim_expect(result);
    return shim_mask_back(&masked, masked.changed ? signalled(result) : result);
}

/* ---- times -------------------------------------------------------------------------------------- */

long shim_utimes(long number, const uint64_t *a)
{
    const uint64_t here = (uint64_t)(int64_t)AT_FDCWD;
    int64_t given[4], times[4];
    uint64_t dirfd = number == SYS_futimesat ? a[0] : here;
    uint64_t path = number == SYS_futimesat ? a[1] : a[0];
    uint64_t from = number == SYS_futimesat ? a[2] : a[1];
    if (from == 0)
        return SHIM_ROW(ROW_utimensat, false, dirfd, path, 0, 0);
    if (!shim_copy(given, (const void *)(uintptr_t)from, number == SYS_utime ? 16 : 32))
        return -EFAULT;
    if (number == SYS_utime) {
        times[0] = given[0];
        times[2] = given[1];
        times[1] = times[3] = 0;
    } else {
        if (given[1] < 0 || given[1] > 999999 || given[3] < 0 || given[3] > 999999)
            return -EINVAL;
        times[0] = given[0];
        times[1] = given[1] * 1000;
        times[2] = given[2];
        times[3] = given[3] * 1000;
    }
    return SHIM_ROW(ROW_utimensat, false, dirfd, path, SHIM_PTR(times), 0);
}
