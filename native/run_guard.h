/* SPDX-License-Identifier: Apache-2.0 */
/* run_guard.h -- the host process' own filter of system calls; see run_guard.c. Host side. */
#ifndef HOTCALLS_RUN_GUARD_H
#define HOTCALLS_RUN_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * From here on this process makes the system calls of `table`, by number, and those that it needs
 * for itself; whatever else it tries is refused with ESRMNT. It signals nobody but itself and
 * `program`. Needs no_new_privs. 0, or -1 and errno.
 */
int run_guard_install(const int *table, size_t count, pid_t program);

#endif /* HOTCALLS_RUN_GUARD_H */
