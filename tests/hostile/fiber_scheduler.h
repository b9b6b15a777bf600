/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fiber_scheduler.h -- whose turn it is among the fibers of fibers.h, and what time it is.
 *
 * One after the other, in the order in which they were started. When all of them sleep, the time
 * goes on to where the first one wakes; when none of them would, that is a hang.
 */
#ifndef HOTCALLS_TESTS_FIBER_SCHEDULER_H
#define HOTCALLS_TESTS_FIBER_SCHEDULER_H

#include "stepper.h"

#include <errno.h>
#include <linux/futex.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdarg.h>
#include <ucontext.h>

#define FIBERS_MAX 32u
#define FIBER_STACK ((size_t)256 * 1024)
#define FIBER_OWN 4096u
/* Of one run: a hang is more. */
#define FIBER_TURNS_MAX 200000u
/* How long a joining fiber waits before it rings again. */
#define FIBER_JOIN_US 10000u
#define FIBER_CYCLES_PER_US 2600u

enum fiber_state { FIBER_NONE, FIBER_READY, FIBER_ASLEEP, FIBER_ENDED };

struct fiber {
    enum fiber_state state;
    enum hc_side side;
    const volatile void *on; /* sleeps on this: a word of the channel, or a fiber… */
    uint64_t until;          /* …until then; 0: for ever */
    void *(*body)(void *);
    void *argument;
    void *stack; /* kept from run to run */
    void *fake;  /* of the sanitizer */
    ucontext_t context;
    uint8_t own[FIBER_OWN]; /* while another one runs */
};

/* The first is the thread of the test, which is one of the host's. */
static struct fiber g_fibers[FIBERS_MAX] = {{.state = FIBER_READY, .side = HC_HOST}};
static struct fiber *g_fiber = &g_fibers[0];
static uint64_t g_fiber_turns;
static bool g_ended[HC_SIDES]; /* whose process has ended */
static uint32_t g_announced;

extern uint8_t __start_fiber_own[], __stop_fiber_own[];

static size_t own_size(void)
{
    size_t size = (size_t)(__stop_fiber_own - __start_fiber_own);
    CHECK(size <= FIBER_OWN);
    return size;
}

static void fiber_go(struct fiber *next)
{
    struct fiber *before = g_fiber;
    CHECK(g_fiber_turns++ < FIBER_TURNS_MAX);
    if (next == before)
        return;
    memcpy(before->own, __start_fiber_own, own_size());
    memcpy(__start_fiber_own, next->own, own_size());
    g_fiber = next;
    g_stepper.acting = next->side;
    __sanitizer_start_switch_fiber(&before->fake, next->stack, next->stack ? FIBER_STACK : 0);
    CHECK_EQ(swapcontext(&before->context, &next->context), 0);
    __sanitizer_finish_switch_fiber(before->fake, NULL, NULL);
}

/* Lets the others go on; returns at this one's next turn. */
static void fiber_pass(void)
{
    size_t self = (size_t)(g_fiber - g_fibers);
    struct fiber *first = NULL;
    for (size_t i = 1; i <= FIBERS_MAX; i++) {
        struct fiber *fiber = &g_fibers[(self + i) % FIBERS_MAX];
        if (fiber->state == FIBER_ASLEEP && fiber->until != 0 && fiber->until <= g_stepper.clock)
            fiber->state = FIBER_READY;
        if (fiber->state == FIBER_READY) {
            fiber_go(fiber);
            return;
        }
        if (fiber->state == FIBER_ASLEEP && fiber->until != 0 &&
            (first == NULL || fiber->until < first->until))
            first = fiber;
    }
    /* Everybody sleeps, and nobody will wake anybody. */
    CHECK(first != NULL);
    if (g_stepper.clock < first->until)
        g_stepper.clock = first->until;
    first->state = FIBER_READY;
    fiber_go(first);
}

/* At most so many microseconds; 0: however long it takes. */
static void fiber_sleep_on(const volatile void *on, uint64_t us)
{
    g_fiber->on = on;
    g_fiber->until = us == 0 ? 0 : g_stepper.clock + us * FIBER_CYCLES_PER_US;
    g_fiber->state = FIBER_ASLEEP;
    fiber_pass();
}

static void fiber_wake(const volatile void *on, uint32_t count)
{
    for (uint32_t i = 0; i < FIBERS_MAX && count != 0; i++) {
        if (g_fibers[i].state != FIBER_ASLEEP || g_fibers[i].on != on)
            continue;
        g_fibers[i].state = FIBER_READY;
        count--;
    }
}

static _Noreturn void fiber_over(struct fiber *self)
{
    self->state = FIBER_ENDED;
    fiber_wake(self, 1);
    for (;;)
        fiber_pass();
}

static void fiber_entry(void)
{
    struct fiber *self = g_fiber;
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
    (void)self->body(self->argument);
    fiber_over(self);
}

/* Not inlined: gcc takes getcontext for setjmp. */
static HC_NOINLINE void fiber_prepare(struct fiber *fiber)
{
    CHECK_EQ(getcontext(&fiber->context), 0);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = FIBER_STACK;
    makecontext(&fiber->context, fiber_entry, 0);
}

static struct fiber *fiber_new(void)
{
    struct fiber *fiber = &g_fibers[1];
    while (fiber->state != FIBER_NONE)
        CHECK(++fiber < g_fibers + FIBERS_MAX);
    return fiber;
}

int fiber_start(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *),
                void *argument)
{
    struct fiber *const fiber = fiber_new();
    (void)attributes;
    if (fiber->stack == NULL)
        CHECK((fiber->stack = malloc(FIBER_STACK)) != NULL);
    /* What the last fiber that ended here left. */
    ASAN_UNPOISON_MEMORY_REGION(fiber->stack, FIBER_STACK);
    memset(fiber->own, 0, sizeof fiber->own);
    fiber->state = FIBER_READY;
    fiber->side = g_stepper.acting;
    fiber->body = body;
    fiber->argument = argument;
    fiber_prepare(fiber);
    *thread = (pthread_t)(fiber - g_fibers);
    return 0;
}

int fiber_join(pthread_t thread, void **result, const struct timespec *until)
{
    struct fiber *fiber = &g_fibers[thread];
    (void)result;
    (void)until;
    if (fiber->state != FIBER_ENDED)
        fiber_sleep_on(fiber, FIBER_JOIN_US);
    if (fiber->state != FIBER_ENDED)
        return ETIMEDOUT;
    fiber->state = FIBER_NONE;
    return 0;
}

_Noreturn void fiber_exit(int status)
{
    (void)status;
    g_ended[g_fiber->side] = true;
    fiber_over(g_fiber);
}

static long fiber_sleep(const uint32_t *u_word, uint32_t expected, const struct timespec *timeout)
{
    /* The kernel looks at the word, and a peer may have written before. */
    if (hc_untrusted_u32(u_word) != expected)
        return -1;
    uint64_t us = timeout == NULL ? 0
                                  : (uint64_t)timeout->tv_sec * 1000000u +
                                        (uint64_t)timeout->tv_nsec / 1000u + 1u;
    fiber_sleep_on(u_word, us);
    return 0;
}

long fiber_syscall(long number, ...)
{
    va_list arguments;
    CHECK_EQ(number, SYS_futex);
    va_start(arguments, number);
    const uint32_t *u_word = va_arg(arguments, const uint32_t *);
    int operation = va_arg(arguments, int);
    uint32_t value = va_arg(arguments, uint32_t);
    const struct timespec *timeout = va_arg(arguments, const struct timespec *);
    va_end(arguments);
    if (operation == FUTEX_WAIT)
        return fiber_sleep(u_word, value, timeout);
    CHECK_EQ(operation, FUTEX_WAKE);
    fiber_wake(u_word, value);
    return 0;
}

int fiber_yield(void)
{
    fiber_pass();
    return 0;
}

int fiber_cpu(void)
{
    return (int)g_fiber->side;
}

int fiber_poll(struct pollfd *polled, nfds_t count, int timeout_ms)
{
    (void)polled;
    (void)timeout_ms;
    CHECK_EQ(count, 1);
    return g_ended[hc_other(g_fiber->side)] ? 1 : 0;
}

ssize_t fiber_announce(int descriptor, const void *data, size_t size)
{
    (void)descriptor;
    (void)data;
    g_announced++;
    return (ssize_t)size;
}

/* Before a run. */
static void fibers_start(void)
{
    for (uint32_t i = 1; i < FIBERS_MAX; i++)
        CHECK_EQ(g_fibers[i].state, FIBER_NONE);
    memset(__start_fiber_own, 0, own_size());
    memset(g_ended, 0, sizeof g_ended);
    g_fiber_turns = 0;
    g_announced = 0;
}

#endif /* HOTCALLS_TESTS_FIBER_SCHEDULER_H */
