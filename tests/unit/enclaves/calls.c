/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c -- an enclave with every kind of parameter, for tests/unit/test_calls*.py.
 */
#include "calls_t.h"

#include <hotcalls_enclave.h>

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define RISE_MS 30000u

static int32_t g_told;
static uint32_t g_naps, g_rises;

static uint64_t milliseconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

void nothing(void)
{
}

int8_t i8(int8_t v)
{
    return v;
}

int16_t i16(int16_t v)
{
    return v;
}

int32_t i32(int32_t v)
{
    return v;
}

int64_t i64(int64_t v)
{
    return v;
}

uint8_t u8(uint8_t v)
{
    return v;
}

uint16_t u16(uint16_t v)
{
    return v;
}

uint32_t u32(uint32_t v)
{
    return v;
}

uint64_t u64(uint64_t v)
{
    return v;
}

float f32(float v)
{
    return v;
}

double f64(double v)
{
    return v;
}

bool flag(bool v)
{
    return !v;
}

char letter(char v)
{
    return v;
}

enum color next_color(enum color c)
{
    return c == RED ? GREEN : c == GREEN ? BLUE : RED;
}

double many(int8_t a, uint16_t b, int32_t c, uint64_t d, float e, double f, bool g, int64_t h,
            int64_t i)
{
    return (double)a + b + c + (double)d + (double)e + f + g + (double)h + (double)i;
}

uint64_t sum(const uint8_t *data, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += data[i];
    return total;
}

int64_t total(const int32_t *values, int n)
{
    int64_t result = 0;
    for (int i = 0; i < n; i++)
        result += values[i];
    return result;
}

void pattern(uint8_t *buffer, size_t n, uint8_t seed)
{
    for (size_t i = 0; i < n; i++)
        buffer[i] = (uint8_t)(seed + i);
}

void dirty(uint8_t *buffer, size_t n, size_t written)
{
    memset(buffer, 0x5a, written < n ? written : n);
}

size_t zeros(uint8_t *buffer, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += buffer[i] == 0;
    return count;
}

void reverse(uint8_t *buffer, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t byte = buffer[i];
        buffer[i] = buffer[n - 1 - i];
        buffer[n - 1 - i] = byte;
    }
}

void squares(int32_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] *= values[i];
}

size_t records(const uint8_t *cells, size_t width, size_t height)
{
    return cells == NULL ? 0 : width * 1000 + height;
}

size_t length(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}

void upper(char *text)
{
    for (; *text != '\0'; text++)
        *text = (char)toupper((unsigned char)*text);
}

int32_t matrix(int32_t m[2][3], double sums[2], uint8_t k[4])
{
    int32_t all = 0;
    for (int row = 0; row < 2; row++) {
        sums[row] = 0;
        for (int column = 0; column < 3; column++)
            sums[row] += m[row][column];
        all += (int32_t)sums[row];
    }
    for (int i = 0; i < 4; i++)
        k[i] = (uint8_t)(k[i] + 1);
    return all;
}

struct point move_by(struct point p, const struct point *by)
{
    p.x = (int8_t)(p.x + by->x);
    p.y += by->y;
    p.z[0] += by->z[0];
    p.z[1] += by->z[1];
    return p;
}

struct crowd gather(const struct point *points, size_t n)
{
    struct crowd crowd;
    memset(&crowd, 0, sizeof crowd);
    for (size_t i = 0; i < n && i < 2; i++)
        crowd.corners[i] = points[i];
    crowd.open = n > 2;
    strcpy(crowd.name, "crowd");
    return crowd;
}

int is_null(const uint8_t *data, size_t n, const char *text)
{
    return (data == NULL) + 2 * (text == NULL) + 4 * (n != 0);
}

uint64_t sum_shared(const uint8_t *p, size_t n)
{
    return p == NULL ? UINT64_MAX : sum(p, n);
}

void fill_shared(uint8_t *p, size_t n, uint8_t value)
{
    memset(p, value, n);
}

int64_t ask_twice(int64_t v)
{
    int64_t result = -1;
    enum hc_status status = twice(&result, v);
    return status == HC_OK ? result : -1000 - (int64_t)status;
}

int ask_text(const char *asked, char *answer)
{
    int result = -1;
    enum hc_status status = text(&result, asked, answer, 64);
    return status == HC_OK ? result : -1000 - (int)status;
}

int ask_errno(int32_t number, int32_t *seen)
{
    int result = 99;
    errno = 0;
    enum hc_status status = errno_of(&result, number);
    *seen = errno;
    return status == HC_OK ? result : -1000 - (int)status;
}

int ask_missing(void)
{
    int result = 0;
    return (int)missing(&result);
}

int ask_many(const int32_t *values, size_t n, int64_t *result)
{
    struct point p = {1, 2, {3.0, 4.0}};
    enum hc_status status = many_values(result, values, n, &p);
    *result += p.y;
    return (int)status;
}

uint64_t ask_shared(uint8_t *p, size_t n)
{
    uint64_t result = 0;
    enum hc_status status = shared(&result, p, n);
    return status == HC_OK ? result : 1000000u + (uint64_t)status;
}

void tell(int32_t v)
{
    (void)__atomic_add_fetch(&g_told, v, __ATOMIC_RELAXED);
}

int32_t told(void)
{
    return __atomic_load_n(&g_told, __ATOMIC_RELAXED);
}

void oneway_ask(int32_t v)
{
    (void)!heard(v);
}

/* Sleeps so long, or until rise() is called. */
void nap(uint32_t ms)
{
    const struct timespec step = {0, 1000000};
    uint32_t rises = __atomic_load_n(&g_rises, __ATOMIC_RELAXED);
    uint64_t end = milliseconds() + ms;
    (void)__atomic_add_fetch(&g_naps, 1u, __ATOMIC_RELEASE); /* SYNC: see napping() */
    while (milliseconds() < end && __atomic_load_n(&g_rises, __ATOMIC_RELAXED) == rises)
        (void)nanosleep(&step, NULL);
    (void)__atomic_sub_fetch(&g_naps, 1u, __ATOMIC_RELAXED);
}

/* How many sleep. */
uint32_t napping(void)
{
    /* SYNC: pairs with nap(), g_naps; publishes that g_rises was read: rise() ends those naps. */
    return __atomic_load_n(&g_naps, __ATOMIC_ACQUIRE);
}

/*
 * Ends every nap(), and returns when they are over: how long a call takes is then for the test to
 * say, and not for the clock.
 */
void rise(void)
{
    const struct timespec step = {0, 1000000};
    uint64_t end = milliseconds() + RISE_MS;
    (void)__atomic_add_fetch(&g_rises, 1u, __ATOMIC_RELAXED);
    while (milliseconds() < end && napping() != 0)
        (void)nanosleep(&step, NULL);
}

int64_t nap_and_ask(int64_t v)
{
    nap(60000);
    return ask_twice(v);
}

uint32_t token(uint32_t thread, uint32_t n)
{
    return thread * 1000003u ^ n;
}
