/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h -- what the files of the host process of `hotcalls run` share.
 *
 * Host side (H): a process that owns every descriptor of the program and makes its system calls.
 * The program (E) is what is not trusted here. It chooses every argument, so each is checked
 * against what E owns before the kernel sees it; whatever is looked at twice is copied first.
 */
#ifndef HOTCALLS_RUN_H
#define HOTCALLS_RUN_H

#include "endpoint.h"
#include "run_policy.h"
#include "run_shared.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "syscall_rows.h"

/* A call as it runs: scalars, and pointers into the window, of which sizes were checked. */
struct run_call {
    uint32_t id;
    const struct row *row;
    struct run_ms ms; /* the fixed part of the message, as it was when the call was taken */
    uint64_t a[ROW_PARAMETERS_MAX];
    size_t sizes[ROW_PARAMETERS_MAX];
    size_t progress; /* bytes that an earlier try has written */
    bool trying;     /* do not block: RUN_WOULD_BLOCK, or RUN_MUST_BLOCK if it cannot be tried */
    bool
        nonblocking; /* the descriptor does not block, says the program: it can be called at once */
};

/* Outside the range of errnos and results. */
#define RUN_WOULD_BLOCK (-65536L)
#define RUN_MUST_BLOCK (-65537L)

/* ---- run_table.c ---------------------------------------------------------------------------- */

const struct row *run_row(uint32_t id);
/*
 * Takes a message apart; `again` by the fixed part that was copied the first time. HC_ERR_MESSAGE, or
 * HC_OK; then `*error` may be an errno to answer.
 */
HC_NODISCARD enum hc_status run_unpack(struct hc_frame *frame, bool again, struct run_call *call,
                                       int *error);
/* Runs the call, if the policy lets it; the result as the kernel gives it, -errno. */
long run_execute(struct run_call *call);
/* The same when that has been decided. */
long run_perform(struct run_call *call);
/* The system call with the arguments as they are. */
long run_raw(const struct run_call *call);
long run_plain(long number, const long arguments[6]);
/* For calls that wait for somebody: ends with -EINTR when the program got a signal. */
long run_interruptible(long number, const long arguments[6]);

/* ---- run_fd.c: which descriptors are the program's --------------------------------------------- */

enum run_fd_kind {
    RUN_FD_NONE,   /* not the program's */
    RUN_FD_NEW,    /* nobody has looked yet */
    RUN_FD_STREAM, /* a socket, a pipe: blocks, and gives short counts */
    RUN_FD_FILE,   /* does not wait for anybody */
    RUN_FD_OTHER,  /* terminals, eventfd, timerfd, …: poll tells */
    RUN_FD_LIST,   /* stands for /proc/self/fd; see run_proc.c */
};

enum run_fd_kind run_fd_kind(int64_t fd);
void run_fd_init(void);
bool run_fd_owned(int64_t fd);
void run_fd_give(int64_t fd);
/*
 * False: not the program's. Else the number stays its own until it is let go: the program may put
 * another of its files there, and a close is put off to the end.
 */
bool run_fd_hold(int64_t fd);
void run_fd_let_go(int64_t fd);
/* Given to the program, and known to be of a kind. */
void run_fd_mark(int64_t fd, enum run_fd_kind kind);
/*
 * Opens something for ourselves, for a moment; also when the program has used up its descriptors.
 * -errno or a descriptor.
 */
long run_fd_open_own(int dirfd, const char *path, int flags);
/* Held while the soft limit of descriptors is changed. */
extern pthread_mutex_t g_run_limit_lock;
long run_fd_hand(struct run_call *call);
long run_ioctl(struct run_call *call);
long run_fcntl(struct run_call *call);

/* ---- run_socket.c, run_wait.c, run_path.c, run_open.c, run_names.c, run_identity.c: by hand ------ */

long run_socket(struct run_call *call);
long run_wait(struct run_call *call);
long run_path(struct run_call *call);
long run_identity(struct run_call *call);

/* run_stream.c: must this call be kept from blocking by a flag of its own? */
bool run_tries(const struct run_call *call, int flags);
/*
 * Receiving by these flags is not tried: what is there of MSG_WAITALL is not all, and what is not of
 * the others the kernel says at once, or waits, as it is with that protocol.
 */
#define RUN_UNTRIED (MSG_WAITALL | MSG_OOB | MSG_ERRQUEUE)
/* A write that was tried: what a blocking one would have gone on with is noted. */
long run_tried_write(struct run_call *call, long result, size_t size, bool tries);
long run_stream(struct run_call *call);
/* sendto; the indices of the buffer, its size and the flags in the arguments. */
long run_stream_send(struct run_call *call, long arguments[6], int buffer, int size, int flags);
void run_path_init(const char *program);
/* What must never be reached under another name: the file behind one of our descriptors. */
void run_path_forbid(int fd);
/* The same for a log of our own, unless the program has it as its standard error as well. */
void run_path_forbid_own(int fd);
/* A unix socket's path, judged under rules of paths; see run_path.c. */
long run_path_socket(uint32_t row, const char *path, bool binding, char *way, size_t room,
                     int *handle);
void run_path_socket_made(int handle);
/* The real name of what is open as `fd`. */
bool run_path_name(int fd, char name[PATH_MAX]);
/* The same in the root that the program started in, which is what rules are about. */
bool run_path_rule_name(int fd, char name[PATH_MAX]);
/* Is this call judged by a name that it gives, under rules of paths? */
bool run_path_judges(const struct run_call *call);
/* Where a link in our own directory in /proc leads. */
bool run_path_self(const char *link, char text[PATH_MAX]);
/* The directory of our own threads, also after a chroot of the program. */
DIR *run_path_open_tasks(void);

/* ---- run_proc.c ------------------------------------------------------------------------------ */

/* Opens the listing of the program's descriptors, if `path` is that; else -ENOENT. */
long run_proc_open_list(const char *path, int flags);
long run_proc_list(const struct run_call *call);
/* Where a link about the program leads that this process knows; false: it is none of these. */
bool run_proc_link(const char *path, char text[PATH_MAX]);

/* ---- run_job.c, run_serve.c, run_companion.c ------------------------------------------------ */

void run_serve_init(struct hc_end *end, struct run_shared *u_shared);
/* run_threads.c */
/* Signals of ours alone, as no program runs in this process: they end a call, and change all threads. */
#define RUN_INTERRUPT (SIGRTMIN + 3)
#define RUN_EVERYWHERE (SIGRTMIN + 4)
void run_threads_init(void);
void run_threads_open(void);
/* Makes a system call in every thread of this process; the first error, or 0. */
long run_everywhere(long number, const long arguments[6]);
/* The program has broken the channel: it is ended. */
void run_broken(const char *what);
/* Lets the signals of this process' own reach the calling thread. */
void run_worker_init(void);
void *run_watcher_main(void *argument);
void *run_leader_main(void *argument);
void *run_steward_main(void *argument);
uint32_t *run_interrupt_flag(void);
extern struct endpoint g_run_endpoint;
/* Do companions follow their callers from core to core? */
extern bool g_run_pinned;

/* ---- run_spawn.c, run_main.c ------------------------------------------------------------------ */

struct run_options {
    enum hc_mode mode;
    bool pinned;
    bool learn;
    int policy_fd, log_fd, trace_fd, stats_fd, hook_fd;
    uint32_t hook_ms;
    const char *trace;
    const char *program;
    char **argv;
};

extern pid_t g_run_program; /* E */
extern uint32_t g_run_top;  /* our own descriptors are from here on */
extern uint64_t g_run_limit[2];

/* Starts the program; the channel is `fd`. -1: errno. */
pid_t run_spawn(const struct run_options *options, int channel_fd);
/* In the child; `pipe` stays writable. -1: errno. */
int run_filter_install(int pipe);
_Noreturn void run_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* HOTCALLS_RUN_H */
