/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_death.c -- dies at the n-th new step: what steps.h calls, in the process that it is part of.
 *
 * In the host of tests/fault/step_deaths.c, and in a loader of the tests. A step is an access to an
 * atomic or to the channel. Threads that wait make the same ones without end, so of each place in
 * the code only the first few count.
 */
#include "steps.h"

#undef hc_tsc

#include <signal.h>

/* The first one, and one in the state that the first has left. */
#define TIMES 2u

void step_arm(uint64_t n);
/* What death is; another one may be put in its place. */
void step_die(void);

static uint64_t g_epoch, g_left; /* 0 left: not armed */

void step_arm(uint64_t n)
{
    (void)__sync_add_and_fetch(&g_epoch, 1u);
    (void)__sync_lock_test_and_set(&g_left, n);
}

__attribute__((weak)) void step_die(void)
{
    (void)raise(SIGKILL);
}

void step_begin(const struct step_site *site, const volatile void *at, size_t size,
                enum step_kind kind)
{
    (void)at;
    (void)size;
    (void)kind;
    uint64_t epoch = *(volatile uint64_t *)&g_epoch;
    if (*(volatile uint64_t *)&g_left == 0)
        return;
    /* Threads that meet here may count one too few. */
    if (site->reached[1] != epoch) {
        site->reached[1] = epoch;
        site->reached[0] = 0;
    }
    if (site->reached[0] < TIMES) {
        site->reached[0]++;
        if (__sync_fetch_and_sub(&g_left, 1u) == 1u)
            step_die();
    }
}

void step_end(void)
{
}

uint64_t step_clock(void)
{
    return hc_tsc();
}
