/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_output.c -- JSON lines on standard output, one object at a time.
 *
 * For bench_*.c; host side; trusts its callers. Strings come from the row table and from
 * strerror(), so escaping quotes, backslashes and control characters is enough.
 */
#include <inttypes.h>
#include <stdio.h>

#include "bench.h"

static void quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20u)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void key_of(const char *key)
{
    putchar(',');
    quoted(key);
    putchar(':');
}

void bench_json_begin(const char *type)
{
    printf("{\"type\":");
    quoted(type);
}

void bench_json_string(const char *key, const char *value)
{
    key_of(key);
    if (value)
        quoted(value);
    else
        printf("null");
}

void bench_json_u64(const char *key, uint64_t value)
{
    key_of(key);
    printf("%" PRIu64, value);
}

void bench_json_i64(const char *key, int64_t value)
{
    key_of(key);
    printf("%" PRId64, value);
}

void bench_json_double(const char *key, double value)
{
    key_of(key);
    printf("%.6g", value);
}

void bench_json_bool(const char *key, bool value)
{
    key_of(key);
    printf("%s", value ? "true" : "false");
}

/* Flushed line by line: the driver draws its progress bar from them. */
void bench_json_end(void)
{
    printf("}\n");
    fflush(stdout);
}
