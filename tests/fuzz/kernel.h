/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h -- included before everything else in the files of H (native/run_*.c) when they are
 * fuzzed: what would reach the kernel goes to kernel.c instead. Nothing is really executed.
 */
#ifndef HOTCALLS_TESTS_FUZZ_KERNEL_H
#define HOTCALLS_TESTS_FUZZ_KERNEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "apart.h"

/* One system call; -errno or the result. Looks at every argument as the kernel would. */
long kernel_call(long number, const long arguments[6]);
/* As libc has them: -1 and errno. */
long kernel_syscall(long number, ...);
int kernel_open(int dirfd, const char *path, int flags);
int kernel_close(int fd);
int kernel_fcntl(int fd, int command, ...);
/* Anything that does nothing but to what is open as `fd`. */
int kernel_through(int fd);
ssize_t kernel_moved(int fd, size_t most);
/* The hook of run_ask.c at the other end, or a look at what is there to be read. */
ssize_t kernel_recv(int fd, void *to, size_t size);
ssize_t kernel_send(int fd, const void *from, size_t size);
int kernel_tells(int fd, void *value, socklen_t *size);
int kernel_stat(int fd, struct stat *status);
int kernel_statx(int fd, struct statx *status);
int kernel_statfs(int fd, struct statfs *status);
ssize_t kernel_readlink(const char *path, char *to, size_t room);
int kernel_pair(int pair[2]);
int kernel_poll(struct pollfd *set, nfds_t count);
/* Anything that only gives a number: an error, or what it is to be. */
long kernel_plain(long good);

/* run_table.c's own instruction; the same, with the flag that ends it. */
long kernel_interruptible(const uint32_t *flag, long number, const long *arguments);
#define run_interruptible_asm kernel_interruptible

#define syscall kernel_syscall
#define open(path, flags) kernel_open(AT_FDCWD, path, flags)
#define openat(dirfd, path, flags) kernel_open(dirfd, path, flags)
#define close(fd) kernel_close(fd)
#define fcntl(...) kernel_fcntl(__VA_ARGS__)
#define lseek(fd, offset, from) ((off_t)kernel_moved(fd, INT32_MAX))
#define ftruncate(fd, size) ((void)(size), kernel_through(fd))
#define fchdir(fd) kernel_through(fd)
#define isatty(fd) (kernel_through(fd) == 0)
#define eventfd(count, flags) ((void)(flags), kernel_open(AT_FDCWD, "", 0))
#define pread(fd, to, size, offset) ((void)(to), (void)(offset), kernel_moved(fd, size))
#define recv(fd, to, size, flags) kernel_recv(fd, to, size)
#define send(fd, from, size, flags) kernel_send(fd, from, size)
#define getsockopt(fd, level, name, value, size) \
    ((void)(level), (void)(name), kernel_tells(fd, value, size))
#define getpeername(fd, address, size) kernel_tells(fd, address, size)
#define fdopendir(fd) ((void)(fd), (DIR *)NULL)
#define opendir(path) ((DIR *)NULL)
#define fstat(fd, status) kernel_stat(fd, status)
#define fstatat(dirfd, path, status, flags) ((void)(path), kernel_stat(dirfd, status))
#define statx(fd, path, flags, mask, status) kernel_statx(fd, status)
#define fstatfs(fd, status) kernel_statfs(fd, status)
#define readlinkat(dirfd, path, to, room) kernel_readlink(path, to, room)
#define realpath(path, to) ((void)(to), (char *)NULL)
#define poll(set, count, timeout) ((void)(timeout), kernel_poll(set, count))
#define pipe2(pair, flags) kernel_pair(pair)
#define socketpair(domain, type, protocol, pair) kernel_pair(pair)
/* Where H's threads run is nobody's business here. */
#define sched_getaffinity(pid, size, set) (memset(set, 0xff, size), 0)
#define sched_setaffinity(pid, size, set) ((void)(set), 0)
#define prctl(...) kernel_plain(0)
#define getpgid(pid) ((pid_t)kernel_plain(pid))
#define getsid(pid) ((pid_t)kernel_plain(pid))
#define getppid() ((pid_t)kernel_plain(1))
#define getrlimit(which, limit) ((void)memset(limit, 0, sizeof(*(limit))), (int)kernel_plain(0))
#define setrlimit(which, limit) ((void)(limit), (int)kernel_plain(0))
#define setgroups(count, list) ((void)(list), (int)kernel_plain(0))
#define setuid(a) ((int)kernel_plain(0))
#define setgid(a) ((int)kernel_plain(0))
#define setreuid(a, b) ((int)kernel_plain(0))
#define setregid(a, b) ((int)kernel_plain(0))
#define setresuid(a, b, c) ((int)kernel_plain(0))
#define setresgid(a, b, c) ((int)kernel_plain(0))
#define kill(pid, number) kernel_kill(pid, number)
int kernel_kill(pid_t pid, int number);

#endif /* HOTCALLS_TESTS_FUZZ_KERNEL_H */
