/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.h -- what the files of the shim share.
 *
 * Enclave side of `hotcalls run` (E): a library that is loaded into an unmodified program before
 * everything else. It puts the filter in place, turns the program's system calls into ocalls, and
 * keeps what the kernel would have kept for the program: handlers of signals, what epoll sets
 * hold, which descriptors are blocking.
 *
 * Rules of all shim_*.c: async-signal-safe (a trapped call may come from a handler, from malloc,
 * from the dynamic loader); errno is never touched except in shim_wrap.c; no libc but memcpy and
 * memset; no lock is held while a call is out. The host is not trusted: what comes back is copied
 * once and checked. Every function that stands for a system call returns -errno.
 */
#ifndef HOTCALLS_SHIM_H
#define HOTCALLS_SHIM_H

#include "run_shared.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include "syscall_rows.h"

#define SHIM_HIDDEN __attribute__((visibility("hidden")))
#pragma GCC visibility push(hidden)

/* ---- shim_gate.S part of shim_trap.c: the shim's own system calls ---------------------------- */

long shim_gate(long number, long a, long b, long c, long d, long e, long f);
#define SHIM_GATE(number, ...) SHIM_GATE_(number, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SHIM_GATE_(number, a, b, c, d, e, f, ...) \
    shim_gate((long)(number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

struct iovec;

/* ---- threads: shim_thread.c ------------------------------------------------------------------ */

#define SHIM_SIGNALS 64
/* The C library's own, for pthread_cancel. */
#define SHIM_CANCEL 32

/* The kernel's own structure, which is not the C library's. */
struct shim_action {
    uint64_t handler;
    uint64_t flags;
    uint64_t restorer;
    uint64_t mask;
};

struct shim_thread {
    struct hc_port *port; /* NULL: none yet */
    uint32_t slot;
    int tid;
    uint32_t inside;     /* depth: calls of the shim that must not be interrupted */
    uint32_t calling;    /* the interrupt word of the call that is out; 0: none */
    bool deferred;       /* a signal waits for the end of what is inside */
    bool sigsys_blocked; /* what the program believes */
    bool restart;        /* the deferred signal's handler says SA_RESTART */
    bool deserted;       /* the leader was away when it was last waited for */
    uint64_t left_tsc;   /* when it had left a parked call alone for too long; 0: not of interest */
    uint64_t mask_before; /* while deferred: the mask to go back to */
    siginfo_t info;
    /* While SHIM_VECTOR stands for a buffer: the program's own iovecs, and what of them is done. */
    const struct iovec *vector;
    size_t vector_count;
    size_t vector_skip;
};

/* In place of a buffer's address: it is scattered over thread->vector. */
#define SHIM_VECTOR UINT64_C(1)

struct shim_thread *shim_thread(void);
/* The calling thread's port; takes a slot at the first call. NULL: every slot is in use. */
struct hc_port *shim_port(struct shim_thread *thread);
/* Sends a signal to the thread with this thread pointer, if it has ever made a call. */
void shim_wake_thread(uint64_t self, int number);
long shim_thread_exit(long status);
long shim_clone(const uint64_t *a);
long shim_exec(void);
long shim_setid(enum row_id row, const uint64_t *a);
long shim_prctl(const uint64_t *a);
long shim_prlimit(uint64_t pid, uint64_t resource, const uint64_t *new_limit, uint64_t *old_limit);
long shim_kill(int pid, int number);
long shim_group(long number, const uint64_t *a);
/* Between the program's name for its group and the kernel's; `asked`: for the program. */
void shim_group_in_front(int *group, bool asked);
long shim_wait(long number, const uint64_t *a);
long shim_tgkill(int tgid, int tid, int number);
long shim_sched(long number, const uint64_t *a);

struct shim_fd;

/* ---- calls: shim_call.c ------------------------------------------------------------------------ */

extern struct hc_end g_shim_end;
extern struct run_shared *g_u_shared;

/* Sets up this side of the channel in `u_base`; false: it is not one. */
bool shim_channel_init(uint8_t *u_base, uint64_t size);

/*
 * Makes the call of a row; `a` in the order of its parameters. Interrupted by a signal that has a
 * handler, it delivers the signal and makes the call again if the handler was installed with
 * SA_RESTART and `restart` allows it.
 */
long shim_row(enum row_id row, const uint64_t *a, bool restart);
#define SHIM_ROW(row, restart, ...) shim_row(row, (const uint64_t[]){__VA_ARGS__}, restart)
#define SHIM_ARG(value) ((uint64_t)(value))
#define SHIM_PTR(value) ((uint64_t)(uintptr_t)(value))

/* So many descriptors are ready: at least as many calls will follow. */
void shim_expect(long ready);

/* memcpy where a bad address of the program is an answer and not the end. False: EFAULT. */
bool shim_copy(void *to, const void *from, size_t size);
/* The size of a string with its terminator; 0: longer than `most`; SIZE_MAX: a bad address. */
size_t shim_string_size(const char *text, size_t most);
/* If `rip` is in one of the copies above, where to go on instead; else 0. */
uint64_t shim_copy_fixup(uint64_t rip);

/* ---- what came back: shim_check.c --------------------------------------------------------------- */

/* The result, or -EIO where a host that tells the truth cannot have answered that. */
long shim_checked(enum row_id id, const struct row *row, const uint64_t *a, int64_t result);
/* Copies what the answer may say of a buffer from the window into it. False: EFAULT. */
bool shim_take(enum row_id id, uint8_t *to, const uint8_t *u_from, size_t size, long result);
/* Can a program go by what is in its buffers now? */
bool shim_is_sound(enum row_id id, const uint64_t *a, long result);
/* The same for control data, in the program's memory; notes the descriptors in it. 0 or -errno. */
long shim_check_control(const uint8_t *control, size_t size);

/* Any system call of the program, from the trap or from a wrapper. */
long shim_call(long number, const uint64_t *a);

/* ---- by hand: shim_io.c, shim_hand.c ------------------------------------------------------- */

long shim_read(enum row_id row, int fd, void *buffer, size_t size, int64_t offset, int flags);
long shim_write(enum row_id row, int fd, const void *buffer, size_t size, int64_t offset,
                int flags);
/* After EFBIG: SIGXFSZ, if a limit was the reason. */
void shim_too_large(void);
/* EPIPE from `fd`, of which `done` bytes were written before: a signal, where the kernel sends one. */
void shim_broken_pipe(int fd, size_t done);
/* May the answer to this read be EAGAIN without asking? Then it is, once. */
bool shim_is_empty(struct shim_fd *state);
/* After a read of `result` bytes where `size` were asked for. */
void shim_note_read(struct shim_fd *state, long result, size_t size);
/* The total of iovecs, or -EINVAL or -EFAULT. */
long shim_vector_size(const struct iovec *vector, size_t count);
long shim_readv(enum row_id row, int fd, const struct iovec *vector, size_t count, int64_t offset,
                int flags);
long shim_writev(enum row_id row, int fd, const struct iovec *vector, size_t count, int64_t offset,
                 int flags);
long shim_recvfrom(const uint64_t *a);
long shim_sendto(const uint64_t *a);
long shim_recvmsg(int fd, void *message, int flags);
long shim_sendmsg(int fd, const void *message, int flags);
long shim_recvmmsg(const uint64_t *a);
long shim_sendmmsg(const uint64_t *a);
long shim_accept(int fd, void *address, uint32_t *size, int flags);
long shim_name_of(enum row_id row, int fd, void *address, uint32_t *size);
long shim_getsockopt(const uint64_t *a);
long shim_fcntl(int fd, int command, uint64_t argument);
long shim_ioctl(int fd, uint32_t request, uint64_t argument);
/*
 * A time limit that the program gives by reference, and finds there what is left of it, as the
 * kernel does. `micro`: a struct timeval. 0, -EINVAL or -EFAULT.
 */
struct shim_limit {
    void *from; /* NULL: no limit */
    int64_t time[2];
    int64_t until; /* nanoseconds of the monotonic clock */
    bool micro;
};
long shim_limit_begin(struct shim_limit *limit, void *from, bool micro);
bool shim_limit_over(const struct shim_limit *limit);
void shim_limit_end(const struct shim_limit *limit);
long shim_poll(void *fds, uint64_t count, const void *timeout, const uint64_t *mask);
long shim_select(const uint64_t *a, const void *timeout, const uint64_t *mask);
long shim_open(int dirfd, const char *path, int flags, uint32_t mode);
long shim_utimes(long number, const uint64_t *a);

/* ---- descriptors: shim_fd.c ---------------------------------------------------------------- */

enum shim_kind {
    SHIM_UNKNOWN,
    SHIM_OTHER,
    SHIM_STREAM,
    SHIM_DATAGRAM,
    SHIM_REGULAR,
    SHIM_EPOLL,
    SHIM_SIGNAL, /* a signalfd */
};

/* All that this side knows about a descriptor; the only place where it is kept. Hints, except the
 * epoll fields and signalfds: a wrong one costs a call. Read and written relaxed by any thread. */
struct shim_fd {
    uint8_t kind;
    uint8_t nonblocking; /* 0: not known, 1: no, 2: yes */
    uint8_t empty;       /* the last read was short: the next one may be answered here */
    uint8_t shared;      /* has been duplicated or sent: closing it does not end what it names */
    uint16_t watched;    /* epoll sets it is in */
    uint16_t edges;      /* …with EPOLLET or EPOLLONESHOT */
    uint32_t watches;    /* head of its list in shim_epoll.c; 0: none */
    uint32_t set;        /* of an epoll set: which; its duplicates have the same. 0: not known */
    uint8_t signals;     /* of a signalfd: which, in shim_signalfd.c */
};

extern uint32_t g_shim_limit; /* RLIMIT_NOFILE, soft: descriptors are below */
/* NULL when `fd` cannot be a descriptor. */
struct shim_fd *shim_fd(int fd);
/* A new descriptor came; forgets whatever the number meant before. */
void shim_fd_new(long fd, enum shim_kind kind, int nonblocking);
long shim_close(int fd);
long shim_close_range(uint32_t first, uint32_t last, uint32_t flags);
long shim_dup(int fd);
long shim_dup3(int fd, int target, int flags);

/* ---- epoll: shim_epoll.c ------------------------------------------------------------------- */

long shim_epoll_ctl(int epfd, int op, int fd, const void *event);
long shim_epoll_wait(int epfd, void *events, int count, int timeout, const uint64_t *mask);
void shim_epoll_closed(int fd);
/* A name for a set, which no other ever has. */
uint32_t shim_epoll_set_new(void);
void shim_epoll_set_closed(uint32_t set);

/* ---- memory: shim_memory.c ----------------------------------------------------------------- */

long shim_mmap(const uint64_t *a);
/* A copy of /proc/self/maps, if `path` is that; else -EACCES. */
long shim_maps(const char *path, int flags);

/* ---- signals: shim_signal.c ---------------------------------------------------------------- */

void shim_signal_init(void);
long shim_sigaction(int number, const struct shim_action *action, struct shim_action *old,
                    size_t size);
long shim_sigprocmask(int how, const uint64_t *set, uint64_t *old, size_t size);
long shim_sigsuspend(const uint64_t *set, size_t size);
long shim_sigtimedwait(const uint64_t *a);
/* From here to shim_leave a signal with a handler waits. */
void shim_enter(struct shim_thread *thread);
void shim_interrupt(struct shim_thread *thread);
/* Delivers what waited. True: a handler ran; then `thread->restart` says whether to go on. */
bool shim_leave(struct shim_thread *thread);
/* The mask for the time of one call, as ppoll has it; -EINVAL or 0. */
struct shim_masked {
    uint64_t before;
    bool changed;
};
long shim_mask_for_call(const uint64_t *set, struct shim_masked *masked);
/* Returns what the call does: it came to `result`, which is what is told if no signal ended it. */
long shim_mask_back(const struct shim_masked *masked, long result);
/* One waits for the thread to leave the shim. */
bool shim_signal_waits(void);
/* The mask of the context that a trap came from is what holds after it. */
void shim_trapped_in(void *context);
void shim_on_sigsys(int number, siginfo_t *info, void *context);
void shim_raise(int number);

/* ---- signalfd: shim_signalfd.c -------------------------------------------------------------- */

extern uint64_t g_shim_signals; /* that any signalfd is for; 0: there is none */
long shim_signalfd(int fd, const uint64_t *mask, size_t size, int flags);
long shim_signalfd_read(int fd, void *buffer, size_t size);
/* Before waiting: the calling thread's own signals become readable. */
void shim_signals_collect(void);
void shim_signals_shared(const struct shim_fd *state);
void shim_signals_closed(int fd);
void shim_signals_relay(void);
/* shim_wrap.c: a thread of the C library's; false: there is none to be had. */
bool shim_start_thread(void (*body)(void));

/* ---- filter: shim_filter.c ----------------------------------------------------------------- */

/* The files that are mapped, of which `maps` tells, become copies, unless they are root's. */
bool shim_mapped_copy(int maps);
/* 0 or -errno. `gate` is the address behind the shim's own instruction. */
long shim_filter_install(uint64_t gate);

/* ---- saying something: shim_boot.c --------------------------------------------------------- */

void shim_say(const char *text);
void shim_say_once(uint32_t *said, const char *text, const char *name);
_Noreturn void shim_die(const char *text);

#pragma GCC visibility pop

#endif /* HOTCALLS_SHIM_H */
