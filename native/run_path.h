/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_path.h -- what run_path.c, which judges names, lends to run_open.c and to run_names.c, which
 * make the calls that take some.
 *
 * Host side.
 */
#ifndef HOTCALLS_RUN_PATH_H
#define HOTCALLS_RUN_PATH_H

#include "run.h"

/* /proc, ours, also after a chroot of the program. */
extern int g_run_proc;

/* Is this in procfs, or does nobody know? */
bool run_path_is_proc(int fd);
/* Did we start in a procfs? A program does not get there by chroot(2). */
bool run_path_proc_is_root(void);

/* 0, or the errno for what is open as `fd`. */
int run_path_judge(int fd);
/* Asks the policy about what is open as `fd`, or about `last` in it. */
int run_path_ask(uint32_t row, enum run_path_use use, int fd, const char *last);
/* /proc/self/x becomes the program's; good until the next one with the same `which`, 0 or 1. */
const char *run_path_rewrite(const char *path, uint32_t which);
long run_path_open(int dirfd, const char *path, int flags, uint32_t mode);
/* Opens the directory that holds the last part of `path`, and says where that part begins; -EISDIR
 * when it ends with a slash. */
long run_path_parent(int dirfd, const char *path, const char **last);
bool run_path_is_own_exe(const char *path);
/*
 * Where the program is, its root and its file, for a call that follows the link: where we are not root
 * we could not follow that of the program, but the first two are ours, too.
 */
const char *run_path_followed(const char *path);
/*
 * A call that takes no directory is led to a handle of ours by /proc, which is found there as long as
 * the program has not changed its root. True: it has not, and will not before it is let go.
 */
bool run_path_hold_root(void);
void run_path_let_go_root(void);
/* chroot(2) to what is open as `handle`, by the name `way`, when nobody holds the root. */
long run_path_change_root(int handle, const char *way);
/* run_names.c: 0 or -errno. */
long run_path_cut(int handle, int64_t length);
/* run_open.c: openat. */
long run_open(struct run_call *call);
const char *run_path_program(void);

/* run_mounts.c: is what is open as `fd`, which the kernel calls `name`, in our own namespace? */
bool run_mounts_have(int fd, const char *name);
/* Does `name` in the root that we started in lead to what is open as `fd`, by no links? */
bool run_mounts_lead(const char *name, int fd);
/* Memory with a name that is none, of a mount that nobody sees (memfd_create). */
bool run_mounts_are_memory(int fd, const char *name);

#endif /* HOTCALLS_RUN_PATH_H */
