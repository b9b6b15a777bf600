/* SPDX-License-Identifier: Apache-2.0 */
/*
 * say.h -- a program that tells, line by line, what its system calls return. It runs natively and
 * in an enclave, and the two texts have to be the same.
 */
#ifndef HOTCALLS_TESTS_SAY_H
#define HOTCALLS_TESTS_SAY_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A result, and the errno of a failure. */
#define SAY(expression)                                                  \
    do {                                                                 \
        errno = 0;                                                       \
        long said = (long)(expression);                                  \
        if (said == -1)                                                  \
            printf("%s = -1 %s\n", #expression, strerrorname_np(errno)); \
        else                                                             \
            printf("%s = %ld\n", #expression, said);                     \
    } while (0)

/* Only whether it worked: the value is one that differs from run to run. */
#define SAY_FINE(expression)                                                          \
    do {                                                                              \
        errno = 0;                                                                    \
        long said = (long)(expression);                                               \
        printf("%s %s\n", #expression, said == -1 ? strerrorname_np(errno) : "fine"); \
    } while (0)

#define SAY_TEXT(text) printf("%s: %s\n", #text, (text))

#endif
