/* SPDX-License-Identifier: Apache-2.0 */
/* The untrusted functions of shapes.edl, for tests in which both sides are C. */
#include <errno.h>
#include <string.h>

#include "shapes_u.h"

int log_line(const char *text)
{
    errno = 42;
    return text != NULL ? (int)strlen(text) : -5;
}

void tick(void)
{
}

ssize_t load(void *buffer, size_t n, char *note)
{
    memset(buffer, 3, n);
    note[0] = '!';
    errno = 0;
    return (ssize_t)n;
}

void report(const struct point *points, size_t n, const struct box *b, struct point last)
{
    (void)points;
    (void)n;
    (void)b;
    (void)last;
}

struct point where(int64_t *cookie, const char *p)
{
    struct point place = {1, 2, {3, 4}};
    (void)p;
    *cookie += 1;
    return place;
}

bool ask(const wchar_t *question, bool *sure, float w[2])
{
    *sure = true;
    w[1] = 10;
    return wcslen(question) == 3;
}
