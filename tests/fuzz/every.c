/* SPDX-License-Identifier: Apache-2.0 */
/*
 * every.c -- the functions of every.edl, for either side: each reads all that it was given, writes
 * all that it may, and lets the peer have a turn in the middle. And calls of the other side's, with
 * arguments that end where their memory does.
 */
#include "every.h"

#include <errno.h>
#include <math.h>
#include <wchar.h>

#ifdef TRUSTED
#define CALLEE(name) e_##name
#define CALLER(name, ...) o_##name(__VA_ARGS__)
#else
#define CALLEE(name) o_##name
#define CALLER(name, ...) e_##name(NULL, __VA_ARGS__)
#endif

static volatile double g_sink;

/* A bool that is neither 0 nor 1 is undefined behaviour to read: UBSan looks. */
static void see_point(const struct point *point)
{
    g_sink = (double)point->x + point->y + (point->on ? point->z[0] : point->z[1]);
}

static void see_box(const struct box *box)
{
    see_point(&box->corners[0]);
    see_point(&box->corners[1]);
    g_sink = box->open + (double)touch(box->name, sizeof box->name);
}

static void set_box(struct box *box)
{
    memset(box, 0x5a, sizeof *box);
    box->open = box->corners[0].on = box->corners[1].on = true;
}

static void see_line(const struct line *line)
{
    g_sink = (double)line->tag + line->open;
    for (uint32_t i = 0; line->points != NULL && i < line->n; i++)
        see_point(&line->points[i]);
    if (line->raw != NULL && line->bytes > 0)
        (void)touch(line->raw, (size_t)line->bytes);
    if (line->cells != NULL)
        (void)touch(line->cells, line->width * line->height);
}

static void see_pair(const struct pair *pair)
{
    if (pair->a != NULL)
        (void)touch(pair->a, pair->n * sizeof *pair->a);
    if (pair->b != NULL)
        (void)touch(pair->b, pair->n * sizeof *pair->b);
    if (pair->key != NULL)
        (void)touch(pair->key, 8);
}

/* ---- what the peer calls ------------------------------------------------------------------------ */

uint64_t CALLEE(bytes)(const uint8_t *a, size_t n, uint8_t *b, uint32_t m, uint8_t *c, int k)
{
    peer_turn();
    if (b != NULL)
        memset(b, 1, m);
    if (c != NULL && k > 0)
        memset(c, 2, (size_t)k);
    errno = 42;
    return a != NULL ? touch(a, n) : 0;
}

int64_t CALLEE(counts)(const int32_t *a, int n, struct point *b, uint8_t m, double *c, uint16_t k)
{
    int64_t sum = 0;
    peer_turn();
    for (int i = 0; a != NULL && i < n; i++)
        sum += a[i];
    for (int i = 0; b != NULL && i < m; i++)
        see_point(&b[i]);
    for (int i = 0; c != NULL && i < k; i++)
        c[i] = i;
    return sum;
}

bool CALLEE(cells)(const uint8_t *a, size_t w, size_t h, uint8_t *b)
{
    peer_turn();
    if (b != NULL)
        memset(b, 3, 4 * h);
    return a != NULL && touch(a, w * h) != 0;
}

uint64_t CALLEE(strings)(const char *a, char *b, const wchar_t *c, wchar_t *d)
{
    uint64_t length = (a != NULL ? strlen(a) : 0) + (c != NULL ? wcslen(c) : 0);
    peer_turn();
    if (b != NULL)
        memset(b, 'b', strlen(b) + 1u);
    if (d != NULL)
        wmemset(d, L'd', wcslen(d) + 1u);
    return length;
}

struct box CALLEE(structs)(struct point p, const struct box *a, struct box *b, struct point c[2],
                           bool *flag)
{
    struct box box;
    set_box(&box);
    peer_turn();
    see_point(&p);
    if (a != NULL)
        see_box(a);
    if (b != NULL)
        set_box(b);
    if (c != NULL) {
        see_point(&c[0]);
        see_point(&c[1]);
    }
    if (flag != NULL)
        *flag = !*flag;
    return box;
}

int CALLEE(shared)(uint8_t *p, void *q, size_t n)
{
    peer_turn();
    if (p != NULL)
        (*p)++;
    if (q != NULL)
        memset(q, 4, n);
    return 0;
}

enum mode CALLEE(scalars)(char c, short s, unsigned u, long l, float f, double d, bool b, wchar_t w,
                          enum mode m, size_t z)
{
    peer_turn();
    g_sink = (double)c + s + u + (double)l + (double)f + d + b + (double)w + (double)m + (double)z;
    return FAST;
}

int64_t CALLEE(deep)(const struct line *l, const struct pair *p, size_t k)
{
    peer_turn();
    if (l != NULL)
        see_line(l);
    for (size_t i = 0; p != NULL && i < k; i++)
        see_pair(&p[i]);
    return 1;
}

int CALLEE(deeper)(struct line *lines, size_t k, struct pair p[2], int *seen)
{
    peer_turn();
    for (size_t i = 0; lines != NULL && i < k; i++) {
        see_line(&lines[i]);
        if (lines[i].raw != NULL && lines[i].bytes > 0)
            memset(lines[i].raw, 5, (size_t)lines[i].bytes);
        lines[i].n /= 2;
    }
    for (size_t i = 0; p != NULL && i < 2; i++) {
        see_pair(&p[i]);
        if (p[i].key != NULL)
            memset(p[i].key, 6, 8);
    }
    if (seen != NULL)
        *seen = 7;
    return 0;
}

#ifdef TRUSTED
void e_inner(int depth, uint8_t *a, size_t n)
{
    /* Private: it comes in only while an ocall is out that allows it. */
    PROMISE(g_calls_out != 0);
    if (a != NULL)
        memset(a, depth, n);
    peer_turn();
}

int e_out(uint32_t which)
{
    call_out(which);
    return 0;
}
#endif

/* ---- what calls the peer ------------------------------------------------------------------------ */

/* Memory that ends where the argument does; NULL now and then. */
static void *argument(size_t size, uint8_t fill)
{
    if (input_u8(&g_input) == 0)
        return NULL;
    void *memory = malloc(size);
    PROMISE(memory != NULL);
    memset(memory, fill, size);
    return memory;
}

static char *text_argument(void)
{
    size_t size = input_u8(&g_input) % 40u + 1u;
    char *text = argument(size, 'x');
    if (text != NULL)
        text[size - 1u] = 0;
    return text;
}

static wchar_t *wide_argument(void)
{
    size_t length = input_u8(&g_input) % 12u;
    wchar_t *text = argument((length + 1u) * sizeof *text, 0);
    for (size_t i = 0; text != NULL && i < length; i++)
        text[i] = L'w';
    return text;
}

/* Their mark is kept in `raw` of a line and `key` of a pair: no answer may change where these lead. */
static void make_line(struct line *line)
{
    memset(line, 0, sizeof *line);
    line->n = input_u8(&g_input) % 5u;
    line->points = argument(line->n * sizeof *line->points, 0);
    line->bytes = input_u8(&g_input) % 33;
    line->raw = argument((size_t)line->bytes, 9);
    line->width = input_u8(&g_input) % 5u;
    line->height = input_u8(&g_input) % 5u;
    line->cells = argument(line->width * line->height, 8);
}

static void free_line(const struct line *now, const struct line *before)
{
    PROMISE(now->points == before->points && now->raw == before->raw &&
            now->cells == before->cells);
    /* A count of nothing is a number like any other. */
    PROMISE(now->points == NULL || now->n <= before->n);
    PROMISE(now->raw == NULL || now->bytes <= before->bytes);
    see_line(now);
    free(now->points);
    free(now->raw);
    free(now->cells);
}

static void make_pair(struct pair *pair)
{
    pair->n = input_u8(&g_input) % 7u;
    pair->a = argument(pair->n * sizeof *pair->a, 1);
    pair->b = argument(pair->n * sizeof *pair->b, 0);
    pair->key = argument(8, 2);
}

static void free_pair(const struct pair *now, const struct pair *before)
{
    PROMISE(now->a == before->a && now->b == before->b && now->key == before->key);
    see_pair(now);
    free(now->a);
    free(now->b);
    free(now->key);
}

static void call_bytes(void)
{
    uint64_t result = 0;
    size_t n = input_u8(&g_input), m = input_u8(&g_input) % 100u, k = input_u8(&g_input) % 100u;
    uint8_t *a = argument(n, 1), *b = argument(m, 2), *c = argument(k, 3);
    uint64_t before = a != NULL ? touch(a, n) : 0;
    enum hc_status status = CALLER(bytes, &result, a, n, b, (uint32_t)m, c, (int)k);
    /* What only goes out stays as it was; of an answer that failed nothing is taken over. */
    PROMISE(a == NULL || touch(a, n) == before);
    PROMISE(status == HC_OK || b == NULL || m == 0 || b[m / 2u] == 2);
    free(a);
    free(b);
    free(c);
}

static void call_counts(void)
{
    int64_t result = 0;
    int n = input_u8(&g_input) % 20;
    uint8_t m = input_u8(&g_input) % 6u;
    uint16_t k = input_u8(&g_input) % 20u;
    int32_t *a = argument((size_t)n * sizeof *a, 1);
    struct point *b = argument(m * sizeof *b, 0);
    double *c = argument(k * sizeof *c, 0);
    (void)!CALLER(counts, &result, a, n, b, m, c, k);
    for (int i = 0; b != NULL && i < m; i++)
        see_point(&b[i]);
    free(a);
    free(b);
    free(c);
}

static void call_cells(void)
{
    bool result = false;
    size_t w = input_u8(&g_input) % 9u, h = input_u8(&g_input) % 9u;
    uint8_t *a = argument(w * h, 1), *b = argument(4u * h, 2);
    (void)!CALLER(cells, &result, a, w, h, b);
    g_sink = result;
    free(a);
    free(b);
}

static void call_strings(void)
{
    uint64_t result = 0;
    char *a = text_argument(), *b = text_argument();
    wchar_t *c = wide_argument(), *d = wide_argument();
    (void)!CALLER(strings, &result, a, b, c, d);
    /* Still strings, whatever came back. */
    g_sink = (double)((b != NULL ? strlen(b) : 0) + (d != NULL ? wcslen(d) : 0));
    free(a);
    free(b);
    free(c);
    free(d);
}

static void call_structs(void)
{
    struct box result, *a = argument(sizeof *a, 0), *b = argument(sizeof *b, 0);
    struct point p = {1, 2, true, {3, 4}}, *c = argument(2u * sizeof *c, 0);
    bool *flag = argument(sizeof *flag, 0);
    memset(&result, 0, sizeof result);
    if (CALLER(structs, &result, p, a, b, c, flag) == HC_OK)
        see_box(&result);
    if (b != NULL)
        see_box(b);
    if (c != NULL)
        see_point(&c[1]);
    g_sink = flag != NULL && *flag;
    free(a);
    free(b);
    free(c);
    free(flag);
}

static void call_scalars(void)
{
    enum mode result = SLOW;
    (void)!CALLER(scalars, &result, 1, 2, 3, 4, 5, 6, true, 7, FAST, 8);
    g_sink = (double)result;
}

static void call_shared(void)
{
    int result = 0;
    (void)!CALLER(shared, &result, input_u8(&g_input) != 0 ? g_u_shared : NULL, g_u_shared + 16,
                  input_u8(&g_input));
}

static void call_deep(void)
{
    int64_t result = 0;
    struct line line, line_before;
    struct pair pairs[3], pairs_before[3];
    size_t k = input_u8(&g_input) % 4u;
    make_line(&line);
    line_before = line;
    for (size_t i = 0; i < k; i++) {
        make_pair(&pairs[i]);
        pairs_before[i] = pairs[i];
    }
    (void)!CALLER(deep, &result, &line, pairs, k);
    free_line(&line, &line_before);
    for (size_t i = 0; i < k; i++)
        free_pair(&pairs[i], &pairs_before[i]);
}

static void call_deeper(void)
{
    int result = 0, seen = 0;
    struct line lines[3], lines_before[3];
    struct pair pairs[2], pairs_before[2];
    size_t k = input_u8(&g_input) % 4u;
    for (size_t i = 0; i < k; i++) {
        make_line(&lines[i]);
        lines_before[i] = lines[i];
    }
    for (size_t i = 0; i < 2; i++) {
        make_pair(&pairs[i]);
        pairs_before[i] = pairs[i];
    }
    (void)!CALLER(deeper, &result, lines, k, pairs, &seen);
    for (size_t i = 0; i < k; i++)
        free_line(&lines[i], &lines_before[i]);
    for (size_t i = 0; i < 2; i++)
        free_pair(&pairs[i], &pairs_before[i]);
}

uint32_t g_calls_out, g_calls_made;

void call_out(uint32_t which)
{
    static void (*const g_calls[])(void) = {call_bytes,   call_counts,  call_cells,
                                            call_strings, call_structs, call_scalars,
                                            call_shared,  call_deep,    call_deeper};
    /* A chain that the peer drives on and on is bounded by its lanes; the input is, by this. */
    if (g_calls_made++ >= 8u)
        return;
    g_calls_out++;
    g_calls[which % (sizeof g_calls / sizeof *g_calls)]();
    g_calls_out--;
}
