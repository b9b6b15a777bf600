/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h -- a program that makes system calls by their numbers, good ones and bad ones, and tells
 * what came back. Each line begins with the name of the call that was made for it: the test holds
 * these names against the table of `hotcalls syscalls`.
 *
 * By their numbers: past the C library's checks, and into the trap. The functions that the shim
 * interposes are the business of files.c, sockets.c and process.c.
 */
#ifndef HOTCALLS_TESTS_CALLS_H
#define HOTCALLS_TESTS_CALLS_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Addresses that nothing is at: low, and the kernel's. */
#define BAD ((void *)8)
#define FAR ((void *)-4096L)
/* A descriptor that was never opened. */
#define NONE 3999
#define HUGE ((size_t)1 << 40)

static long tell(const char *name, const char *arguments, long result, bool value)
{
    if (result == -1)
        printf("%s(%s) = %s\n", name, arguments, strerrorname_np(errno));
    else if (value)
        printf("%s(%s) = %ld\n", name, arguments, result);
    else
        printf("%s(%s) fine\n", name, arguments);
    errno = 0;
    return result;
}

/* The call, and its result. */
#define CALL(name, ...) tell(#name, #__VA_ARGS__, syscall(SYS_##name, ##__VA_ARGS__), true)
/* The same, where a good result differs from run to run. */
#define FINE(name, ...) tell(#name, #__VA_ARGS__, syscall(SYS_##name, ##__VA_ARGS__), false)
/* What is to be seen of a call that has no result. */
#define SEEN(name, what, value) printf("%s: %s: %ld\n", #name, what, (long)(value))
#define TEXT(name, text) printf("%s: %s\n", #name, (text))

/* Room for what is told, so that telling makes no call between those that are told of. */
static char g_told[1 << 18];

static void begin(int argc, char **argv)
{
    if (argc < 2 || chdir(argv[1]) != 0)
        _exit(2);
    setvbuf(stdout, g_told, _IOFBF, sizeof g_told);
    umask(022);
}

#endif
