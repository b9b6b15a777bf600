/* SPDX-License-Identifier: Apache-2.0 */
/*
 * told_host.c -- a host whose memory is full of poison, as functions for a test to call. It writes
 * members, never what lies between them, and the beginning of each buffer.
 */
#include "told_u.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define POISON 0xE7
#define BLOCKS 64u

static hc_enclave *g_told;

__attribute__((noinline)) static void poison_stack(void)
{
    uint8_t below[65536];
    memset(below, POISON, sizeof below);
    __asm__ volatile("" : : "r"(below) : "memory");
}

/* What the next calls find on the stack below, and what malloc gives them. */
void poison(void)
{
    void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = (size_t)16 << (i % 12u);
        blocks[i] = malloc(size);
        if (blocks[i] != NULL)
            memset(blocks[i], POISON, size);
        __asm__ volatile("" : : "r"(blocks[i]) : "memory");
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    poison_stack();
}

static struct padded *fill(struct padded *made, int32_t number)
{
    memset(made, POISON, sizeof *made);
    made->first = 1;
    made->second = number;
    made->third = 3;
    return made;
}

static void fill_tree(struct tree *made, uint8_t *raw, int32_t bytes, struct padded *list,
                      uint8_t n)
{
    memset(made, POISON, sizeof *made);
    made->tag = 1;
    made->raw = raw;
    made->bytes = bytes;
    made->list = list;
    made->n = n;
    if (raw != NULL && bytes > 0)
        memset(raw, 1, (size_t)bytes);
    for (uint8_t i = 0; list != NULL && i < n; i++)
        (void)fill(&list[i], i);
}

/* ---- the ocalls ------------------------------------------------------------------------------- */

void spoil(uint8_t *data, size_t size)
{
    memset(data, POISON, size);
    __asm__ volatile("" : : "r"(data) : "memory");
}

struct padded answers(uint8_t *some, struct padded *list, char *text, struct padded *one, int how)
{
    struct padded made;
    poison();
    if (how == 0) {
        memset(some, 1, 10);
        (void)fill(&list[0], 7);
        strcpy(text, "short");
        (void)fill(one, 8);
    }
    return *fill(&made, 9);
}

int trades(struct tree *one)
{
    poison();
    if (one->bytes > 0)
        one->raw[0] = 1;
    if (one->n > 1)
        (void)fill(&one->list[1], 5);
    return 1;
}

int promises(uint8_t *data)
{
    (void)data;
    return 0;
}

/* ---- the calls -------------------------------------------------------------------------------- */

bool told_launch(const char *path, const char *loader)
{
    struct hc_launch_options options;
    struct hc_error error;
    hc_launch_defaults(&options);
    options.path = path;
    options.loader = loader;
    options.interface = &told_interface;
    enum hc_status status = hc_launch(&options, &g_told, &error);
    if (status != HC_OK)
        (void)fprintf(stderr, "told_host: %s\n", error.text);
    return status == HC_OK;
}

void told_close(void)
{
    hc_close(g_told);
}

static enum hc_status call_by_value(void)
{
    struct padded one;
    int result;
    return by_value(g_told, &result, *fill(&one, 5), 1);
}

static enum hc_status call_members(void)
{
    struct padded list[40];
    int result;
    memset(list, POISON, sizeof list);
    for (int i = 0; i < 5; i++)
        (void)fill(&list[i], i);
    /* Fewer than there is room for. */
    return members(g_told, &result, list, 5);
}

static enum hc_status call_both(void)
{
    struct padded list[2], result;
    (void)fill(&list[0], 1);
    (void)fill(&list[1], 2);
    return both(g_told, &result, list);
}

static enum hc_status call_receives(void)
{
    struct padded one;
    uint8_t data[3000];
    int result;
    memset(data, POISON, sizeof data);
    memset(&one, POISON, sizeof one);
    return receives(g_told, &result, data, sizeof data, &one);
}

static enum hc_status call_reads(void)
{
    char text[512];
    size_t result;
    memset(text, POISON, sizeof text);
    strcpy(text, "short");
    return reads(g_told, &result, text);
}

static enum hc_status call_edits(void)
{
    char text[512];
    wchar_t wide[128];
    int result;
    memset(text, POISON, sizeof text);
    memset(wide, POISON, sizeof wide);
    strcpy(text, "short");
    wcscpy(wide, L"wide");
    return edits(g_told, &result, text, wide);
}

static enum hc_status call_deeply(void)
{
    struct padded lists[3][8];
    uint8_t raw[3][100];
    struct tree list[8];
    int result;
    memset(lists, POISON, sizeof lists);
    memset(raw, POISON, sizeof raw);
    memset(list, POISON, sizeof list);
    fill_tree(&list[0], raw[0], 33, lists[0], 3);
    fill_tree(&list[1], NULL, 0, NULL, 0);
    fill_tree(&list[2], raw[2], 7, lists[2], 1);
    return deeply(g_told, &result, list, 3);
}

static enum hc_status call_deeply_both(void)
{
    struct padded list[8];
    uint8_t raw[100];
    struct tree one;
    int result;
    memset(list, POISON, sizeof list);
    memset(raw, POISON, sizeof raw);
    fill_tree(&one, raw, 33, list, 3);
    return deeply_both(g_told, &result, &one);
}

static enum hc_status call_nothing(void)
{
    int result;
    return maybe(g_told, &result, NULL, NULL, NULL, 1000, NULL);
}

static enum hc_status call_some(void)
{
    struct padded one;
    uint8_t data[64];
    int result;
    memset(data, 1, sizeof data);
    return maybe(g_told, &result, NULL, fill(&one, 1), data, 3, NULL);
}

/* The first half of these arguments is fine. */
static enum hc_status fail_on_size(void)
{
    struct padded one;
    uint8_t data[64];
    int result;
    memset(data, POISON, sizeof data);
    return maybe(g_told, &result, "text", fill(&one, 1), data, SIZE_MAX / 2u, NULL);
}

static enum hc_status fail_on_depth(void)
{
    struct padded lists[2][4];
    uint8_t raw[100];
    struct tree list[2];
    int result;
    memset(lists, POISON, sizeof lists);
    memset(raw, POISON, sizeof raw);
    fill_tree(&list[0], raw, 33, lists[0], 3);
    fill_tree(&list[1], raw, 0, lists[1], 1);
    list[1].bytes = -1;
    return deeply(g_told, &result, list, 2);
}

static enum hc_status call_asks(void)
{
    int result = 0;
    enum hc_status status = asks(g_told, &result, 0);
    return status == HC_OK && result != 10 ? HC_ERR_MESSAGE : status;
}

static enum hc_status call_asks_in_vain(void)
{
    int result = 0;
    return asks(g_told, &result, 1);
}

/* What must be found: all of a buffer is promised to be the argument, and is not written. */
static enum hc_status leak_a_buffer(void)
{
    struct padded one;
    uint8_t data[64];
    int result;
    memset(data, POISON, sizeof data);
    return maybe(g_told, &result, NULL, fill(&one, 1), data, sizeof data, NULL);
}

static enum hc_status leak_an_answer(void)
{
    return carelessly(g_told);
}

static const struct {
    const char *name;
    enum hc_status (*call)(void);
} g_calls[] = {
    {"a struct by value", call_by_value},
    {"an array shorter than its room", call_members},
    {"an array in both directions", call_both},
    {"buffers for an answer", call_receives},
    {"a string shorter than its buffer", call_reads},
    {"a string in both directions", call_edits},
    {"structs that are copied deep", call_deeply},
    {"a struct that is copied deep both ways", call_deeply_both},
    {"nothing for each pointer", call_nothing},
    {"nothing for some pointers", call_some},
    {"a size that is too large", fail_on_size},
    {"a size that is negative, deep inside", fail_on_depth},
    {"answers of ocalls that are written in part", call_asks},
    {"answers of ocalls that are not written", call_asks_in_vain},
    {"leak: an argument that is not written", leak_a_buffer},
    {"leak: an answer that is not written", leak_an_answer},
};

/* The status of the call of this name; -1: there is none. */
int told_call(const char *name)
{
    for (size_t i = 0; i < sizeof g_calls / sizeof g_calls[0]; i++)
        if (strcmp(g_calls[i].name, name) == 0) {
            poison();
            return (int)g_calls[i].call();
        }
    return -1;
}
