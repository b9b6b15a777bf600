/* SPDX-License-Identifier: Apache-2.0 */
/* The trusted functions of shapes.edl: each answers with something that the tests can predict. */
#include <stdio.h>
#include <string.h>

#include "shapes_t.h"

int g_noted;

int sign(const uint8_t *digest, size_t size, uint8_t *signature)
{
    if (digest == NULL)
        return -1;
    for (size_t i = 0; i < size; i++)
        signature[i % 64] = (uint8_t)(signature[i % 64] + digest[i]);
    return (int)size;
}

void ping(void)
{
}

int64_t total(const int32_t *values, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

double mix(char c, unsigned char uc, short s, unsigned us, long l, unsigned long long ull, float f,
           double d, bool b, wchar_t w, enum mode m, size_t z)
{
    return (double)c + uc + s + us + (double)l + (double)ull + (double)f + d + b + (double)w +
           (double)m + (double)z;
}

uint64_t greet(const char *name, char *buffer, wchar_t *wide)
{
    uint64_t length = name != NULL ? strlen(name) : 1000;
    if (buffer != NULL && buffer[0] != 0)
        buffer[0] = '#';
    return length + (wide != NULL ? 100 * wcslen(wide) : 0);
}

struct point move(struct point p, const struct point *by, struct point *back)
{
    struct point moved;
    memset(&moved, 0x5a, sizeof(moved));
    memset(back, 0x5a, sizeof(*back));
    moved.x = (int8_t)(p.x + (by != NULL ? by->x : 0));
    moved.y = p.y + (by != NULL ? by->y : 0);
    moved.z[0] = p.z[0] + (by != NULL ? by->z[0] : 0);
    moved.z[1] = p.z[1] + (by != NULL ? by->z[1] : 0);
    back->x = p.x;
    back->y = p.y;
    back->z[0] = p.z[0];
    back->z[1] = p.z[1];
    return moved;
}

size_t fill(void *data, size_t capacity, uint32_t *acc, uint8_t n)
{
    for (uint8_t i = 0; i < n; i++)
        acc[i] *= 2;
    if (capacity > 0)
        ((uint8_t *)data)[0] = 7;
    return capacity;
}

int matrix(int32_t m[2][3], double r[4], uint8_t k[16])
{
    for (int i = 0; i < 4; i++)
        r[i] = m[i / 2][i % 2] / 2.0;
    if (k != NULL)
        k[15] = 99;
    return m[1][2];
}

int share(uint8_t *p, void *q, size_t n)
{
    if (p != NULL)
        p[0]++;
    if (q != NULL)
        memset(q, 0x11, n);
    return (p != NULL ? 1 : 0) + (q != NULL ? 2 : 0);
}

enum mode flip(bool *flag, enum mode *m)
{
    if (flag != NULL)
        *flag = !*flag;
    *m = FAST;
    return FASTER;
}

void inner(int depth)
{
    g_noted = depth;
}

struct box pack(struct box *items, size_t n, struct box *out, size_t m)
{
    struct box empty;
    memset(&empty, 0x5a, sizeof(empty));
    empty.corners[0] = (struct point){1, 2, {3, 4}};
    empty.corners[1] = empty.corners[0];
    empty.open = n > 0 && items[0].open;
    memset(empty.name, 0, sizeof(empty.name));
    snprintf(empty.name, sizeof(empty.name), "%zu", n);
    for (size_t i = 0; i < m; i++)
        out[i] = empty;
    return empty;
}

int add(short a, int b)
{
    return a + b;
}

void note(int value)
{
    g_noted = value;
}

int call_out(int which)
{
    int result = -1;
    if (which == 0)
        return log_line(&result, "hello") == HC_OK ? result : -100;
    if (which == 1)
        return tick() == HC_OK ? 0 : -100;
    if (which == 2) {
        char data[10];
        char text[8] = "ask";
        ssize_t got = -1;
        enum hc_status status = load(&got, data, sizeof(data), text);
        if (status != HC_OK)
            return -100 - (int)status;
        return (int)got * 1000 + (unsigned char)data[0] + (unsigned char)text[0];
    }
    if (which == 3) {
        struct point points[2];
        struct box crate;
        memset(points, 0x5a, sizeof(points));
        memset(&crate, 0x5a, sizeof(crate));
        for (int i = 0; i < 2; i++)
            points[i] = (struct point){(int8_t)i, -i, {0.5, 1.5}};
        crate.corners[0] = points[0];
        crate.corners[1] = points[1];
        crate.open = true;
        memset(crate.name, 0, sizeof(crate.name));
        crate.name[0] = 'b';
        return report(points, 2, &crate, points[1]) == HC_OK ? 0 : -100;
    }
    if (which == 4) {
        int64_t cookie = 40;
        struct point place = {0, 0, {0, 0}};
        enum hc_status status = where(&place, &cookie, NULL);
        return status == HC_OK ? (int)cookie + place.y : -100;
    }
    if (which == 5) {
        bool yes = false;
        bool sure = false;
        float weights[2] = {0, 0};
        enum hc_status status = ask(&yes, L"ok?", &sure, weights);
        return status == HC_OK ? yes + 2 * sure + (int)weights[1] : -100;
    }
    if (which == 6)
        return log_line(NULL, NULL) == HC_OK ? 0 : -100;
    return -1;
}

size_t copy(const void *source, void *target, size_t n)
{
    if (n != 0)
        memcpy(target, source, n);
    return n;
}

bool same(const uint16_t *a, const uint16_t *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (a[i] != b[i])
            return false;
    }
    return true;
}

size_t table(const uint8_t *cells, size_t width, size_t height)
{
    size_t sum = 0;
    for (size_t i = 0; i < width * height; i++)
        sum += cells[i];
    return sum;
}
