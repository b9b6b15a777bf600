/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nth.h -- what nth.c and the program that runs under it share: a file that both have mapped.
 *
 * The program arms it and reads what became of it without a system call, as any may be failing.
 */
#ifndef HOTCALLS_TESTS_NTH_H
#define HOTCALLS_TESTS_NTH_H

#include <stdint.h>

#define NTH_ENVIRONMENT "HOTCALLS_NTH"
#define NTH_ANY UINT32_MAX /* number: every system call that is asked about */

/* Fail the n-th, kill who makes it, or fail it and all behind it. */
enum { NTH_FAIL, NTH_KILL, NTH_STARVE };

struct nth {
    uint32_t armed;     /* 1: calls are counted; the program writes it last */
    uint32_t number;    /* which system call */
    uint32_t n;         /* which of them, from 1 */
    uint32_t action;    /* what becomes of it */
    uint32_t error;     /* the errno to fail it with */
    uint32_t others;    /* 0: calls of processes with the name below; 1: of all others */
    uint32_t seen;      /* calls counted since it was armed */
    uint32_t triggered; /* the n-th came */
    uint32_t hit;       /* which system call that was */
    char name[16];      /* of processes (their comm), its beginning */
};

#endif /* HOTCALLS_TESTS_NTH_H */
