/* SPDX-License-Identifier: Apache-2.0 */
/* told.c -- takes all kinds of parameters, and asks for all kinds of answers. */
#include "told_t.h"

#include <hotcalls_enclave.h>

#include <string.h>

int by_value(struct padded one, int8_t narrow)
{
    return one.second + narrow;
}

int members(const struct padded *list, size_t n)
{
    return n != 0 ? list[n - 1u].second : 0;
}

struct padded both(struct padded *list)
{
    return list[1];
}

int receives(uint8_t *data, size_t size, struct padded *one)
{
    memset(data, 1, size / 2u);
    one->second = 1;
    return 1;
}

size_t reads(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

int edits(char *text, const wchar_t *wide)
{
    if (text != NULL)
        text[1] = '\0';
    return wide != NULL;
}

int deeply(const struct tree *list, size_t n)
{
    return n != 0 && list[0].n != 0 ? list[0].list[0].second : -1;
}

int deeply_both(struct tree *one)
{
    if (one->bytes > 0)
        one->raw[0] = 2;
    return one->n;
}

int maybe(const char *text, const struct padded *one, uint8_t *data, size_t size,
          const struct tree *d)
{
    return (text != NULL) + (one != NULL) + (data != NULL && size != 0) + (d != NULL);
}

static bool spoiled(void)
{
    uint8_t data[4096] = {0};
    return spoil(data, sizeof data) == 0;
}

int asks(int how)
{
    struct padded list[2] = {{0}}, one = {0}, result;
    uint8_t some[1000] = {0}, raw[100] = {0};
    char text[64] = "a question that is longer than its answer";
    struct tree tree = {.raw = raw, .bytes = sizeof raw, .list = list, .n = 2};
    int traded = 0;
    if (!spoiled() || answers(&result, some, list, text, &one, how) != 0 || !spoiled() ||
        trades(&traded, &tree) != 0)
        return -1;
    return result.second + traded;
}

void carelessly(void)
{
    uint8_t data[1000];
    int result;
    if (spoiled())
        (void)promises(&result, data);
}
