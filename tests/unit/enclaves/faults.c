/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.c -- crashes, exits, aborts and never returns. With one of the macros START_* defined it
 * does not even start.
 */
#include "faults_t.h"

#include <hotcalls_enclave.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef NEEDS_SYMBOL
extern int no_such_function_anywhere(void);
#endif

static volatile int g_zero;
static int *volatile g_null;

int hc_enclave_start(void)
{
#if defined(START_FAILS)
    return 42;
#elif defined(START_CRASHES)
    return *g_null;
#elif defined(START_EXITS)
    _exit(9);
#elif defined(START_HANGS)
    for (;;)
        pause();
#elif defined(START_TALKS)
    fprintf(stderr, "the enclave starts\n");
    return 0;
#elif defined(NEEDS_SYMBOL)
    return no_such_function_anywhere();
#else
    return 0;
#endif
}

int fine(int v)
{
    return v + 1;
}

int crash(void)
{
    return *g_null;
}

int divide(int by)
{
    return 100 / (by + g_zero);
}

int leave(int code)
{
    _exit(code);
}

int give_up(void)
{
    abort();
}

/* Overwrites its own stack frame: the protector ends it. */
__attribute__((noinline)) int smash(void)
{
    char small[16];
    volatile char *volatile where = small;
    for (int i = 0; i < 64; i++)
        where[i] = 0x41;
    return where[0];
}

int hang(void)
{
    for (;;)
        pause();
}

int doze(uint32_t ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
    return (int)ms;
}

__attribute__((noinline)) int overflow_stack(int depth)
{
    volatile char space[4096];
    space[0] = (char)depth;
    return depth == 0 ? 0 : overflow_stack(depth - 1) + space[0];
}

void say(const char *text)
{
    fprintf(stderr, "%s\n", text);
}

/* Out of the way of any call: what happens to the process while its host is in an ocall. */
void shout(void)
{
    int result = 0;
    (void)!die_in_ocall(&result);
}
