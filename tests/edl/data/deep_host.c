/* SPDX-License-Identifier: Apache-2.0 */
/* The untrusted functions of deep.edl. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "deep_u.h"

int64_t show(const struct line *l, const char *name)
{
    int64_t sum;

    if (l == NULL)
        return -1;
    sum = l->tag + (int64_t)strlen(name);
    for (int i = 0; i < l->n; i++)
        sum += l->spots[i].x + l->spots[i].on;
    for (int i = 0; i < l->bytes; i++)
        sum += ((const uint8_t *)l->raw)[i];
    for (size_t i = 0; i < l->width * l->height; i++)
        sum += l->cells[i];
    return sum;
}

int trade(struct line *lines, size_t k, struct pair *t, int how)
{
    if (lines == NULL || t == NULL)
        return 0;
    if (k != 2 || lines[1].raw != NULL)
        abort();
    for (size_t i = 0; i < k; i++)
        lines[i].tag = -lines[i].tag;
    lines[0].spots[0].x++;
    lines[1].spots[0].x++;
    ((uint8_t *)lines[0].raw)[0] = 'R';
    lines[0].cells[0] = 'R';
    lines[1].spots[0].x = lines[0].spots[0].x;
    for (size_t i = 0; i < t->n; i++)
        t->a[i] = (uint16_t)(t->a[i] * 10);
    if (how == 1)
        t->n = 1;
    if (how == 2)
        t->n = 3;
    errno = 9;
    return 12;
}
