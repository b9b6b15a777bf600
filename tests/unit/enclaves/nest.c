/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nest.c -- calls inside calls, private ecalls, and threads of the enclave that call out.
 */
#include "nest_t.h"

#include <hotcalls_enclave.h>

#include <pthread.h>

static uint64_t g_answers;

int64_t down(uint32_t depth)
{
    int64_t below = 0;
    if (depth == 0)
        return 1;
    enum hc_status status = up(&below, depth - 1);
    return status == HC_OK ? below + 1 : -(int64_t)status;
}

int64_t knock(uint32_t which)
{
    int64_t result = 0;
    enum hc_status status = which < 10 ? visit(&result, which) : wander(&result, which);
    return status == HC_OK ? result : -(int64_t)status;
}

int64_t secret_door(int32_t key)
{
    return key * 2;
}

int64_t other_door(int32_t key)
{
    return key * 3;
}

int64_t front_door(int32_t key)
{
    return key * 5;
}

int hot_one(int v)
{
    return v + 1;
}

int cold_one(int v)
{
    return v + 2;
}

static void *caller(void *argument)
{
    uint32_t calls = *(const uint32_t *)argument;
    for (uint32_t i = 0; i < calls; i++) {
        uint64_t answer = 0;
        if (from_thread(&answer, i) == HC_OK && answer == i + 1000)
            (void)__atomic_add_fetch(&g_answers, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

uint32_t start_threads(uint32_t count, uint32_t calls)
{
    pthread_t threads[8];
    uint32_t started = 0;
    for (uint32_t i = 0; i < count && i < 8; i++)
        if (pthread_create(&threads[started], NULL, caller, &calls) == 0)
            started++;
    for (uint32_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    return started;
}

uint64_t thread_answers(void)
{
    return __atomic_load_n(&g_answers, __ATOMIC_RELAXED);
}
