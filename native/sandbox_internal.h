/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_internal.h - what the sandbox_*.c files share among themselves.
 *
 * Who may call it: sandbox_*.c only. Which side runs it: the enclave process, on itself.
 * What it trusts: the kernel; /proc only after checking that it is procfs.
 */
#ifndef HOTCALLS_SANDBOX_INTERNAL_H
#define HOTCALLS_SANDBOX_INTERNAL_H

#include <stdarg.h>

#include "sandbox.h"

/* Advice used by more than one step. */
#define SANDBOX_ADVICE_PROC "Mount procfs on /proc: lock-down reads its own state there"
#define SANDBOX_ADVICE_BUG "This should not happen: please report it with the kernel version"

/* Fills in *error and returns -1, so that a step can `return sandbox_fail(...)`. */
__attribute__((format(printf, 5, 6))) int sandbox_fail(struct sandbox_error *error,
                                                       const char *step, int err,
                                                       const char *advice, const char *format, ...);

/*
 * Reads a file of procfs into buffer and terminates it. Returns the length, or -1 with errno set:
 * ENOTSUP when path is not on procfs, E2BIG when it does not fit.
 */
long sandbox_read_proc(const char *path, char *buffer, size_t size);

/* The decimal value of the line "name:\tvalue" of a status file, or -1. */
long sandbox_status_number(const char *status, const char *name);

/* Closes every descriptor but the given ones (any order, duplicates allowed), which must be open.
 * Returns 0, or -1 with *error filled in. */
#define SANDBOX_KEEP_FDS_MAX 192u
int sandbox_close_other_fds(const int *keep, size_t count, struct sandbox_error *error);

/* Refuses what loading left running that the filter would not cover: threads of io_uring and,
 * unless insecure_children, child processes. `threads` is their number, 1 saving the search. */
int sandbox_check_leftovers(long threads, bool insecure_children, struct sandbox_error *error);

/* True when this process lives in the initial user namespace, where uid 0 is root. */
bool sandbox_in_initial_user_namespace(void);

#endif /* HOTCALLS_SANDBOX_INTERNAL_H */
