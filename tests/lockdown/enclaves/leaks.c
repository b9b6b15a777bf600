/* SPDX-License-Identifier: Apache-2.0 */
/* leaks.c -- writes members, and never what lies between them. All its memory is poisoned before. */
#include "leaks_t.h"

#include <hotcalls_enclave.h>

#include <stdlib.h>
#include <string.h>

#define POISON 0xE7

__attribute__((noinline)) static void poison_stack(void)
{
    uint8_t below[32768];
    memset(below, POISON, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

void poison(void)
{
    void *blocks[32];
    for (size_t i = 0; i < 32; i++) {
        blocks[i] = malloc(64u << (i % 8u));
        if (blocks[i] != NULL)
            memset(blocks[i], POISON, 64u << (i % 8u));
        __asm__ volatile("" : : "r"(blocks[i]) : "memory");
    }
    for (size_t i = 0; i < 32; i++)
        free(blocks[i]);
    poison_stack();
}

void spoil(uint8_t *data, size_t size)
{
    memset(data, POISON, size);
    __asm__ volatile("" : : "r"(data) : "memory");
    poison();
}

/* As whoever has a struct on the stack: its padding is what was there. */
static struct padded of(int32_t number)
{
    struct padded made;
    memset(&made, POISON, sizeof made);
    made.first = 1;
    made.second = number;
    made.third = 3;
    return made;
}

struct padded by_value(int32_t number)
{
    return of(number);
}

int members(struct padded *list)
{
    for (int i = 0; i < 4; i++)
        memcpy(&list[i], &(struct padded[1]){of(i)}, sizeof list[i]);
    return 4;
}

int both(struct padded *list)
{
    struct padded made = of(list[0].second);
    memcpy(&list[1], &made, sizeof made);
    return 2;
}

int some(uint8_t *data, size_t size, size_t written)
{
    memset(data, 1, written < size ? written : size);
    return 1;
}

int none(uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    return -1;
}

int carelessly(uint8_t *data, size_t size)
{
    return none(data, size);
}

int asks(int32_t number)
{
    struct padded list[2] = {of(number), of(number)};
    uint8_t answer[64];
    int result = 0;
    memset(answer, POISON, sizeof answer);
    struct padded one = of(number);
    return tell(&result, list, one, answer) == 0 ? result : -1;
}
