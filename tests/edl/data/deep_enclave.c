/* SPDX-License-Identifier: Apache-2.0 */
/* The trusted functions of deep.edl; `how` chooses what they do to what they were given. */
#include <errno.h>
#include <string.h>

#include "deep_t.h"

/* What is NULL counts 1000. */
static int64_t sum_of(const struct line *l)
{
    int64_t sum = l->tag + 1000 * ((l->spots == NULL) + (l->raw == NULL) + (l->cells == NULL));

    for (int i = 0; l->spots != NULL && i < l->n; i++)
        sum += l->spots[i].x + l->spots[i].on;
    for (int i = 0; l->raw != NULL && i < l->bytes; i++)
        sum += ((const uint8_t *)l->raw)[i];
    for (size_t i = 0; l->cells != NULL && i < l->width * l->height; i++)
        sum += l->cells[i];
    return sum;
}

int64_t sum(const struct line *l)
{
    return l == NULL ? -1 : sum_of(l);
}

int change(struct line *lines, size_t k, int how, int *seen)
{
    static struct spot own[3];
    int count = 0;

    *seen = (int)k;
    for (size_t i = 0; lines != NULL && i < k; i++) {
        struct line *l = &lines[i];

        count += l->n;
        l->tag = -l->tag;
        for (int j = 0; l->spots != NULL && j < l->n; j++) {
            memset(&l->spots[j], 0x5a, sizeof(l->spots[j]));
            l->spots[j].tag = (int8_t)j;
            l->spots[j].on = true;
            l->spots[j].x = 100 + j;
        }
        if (l->raw != NULL && l->bytes > 0)
            ((uint8_t *)l->raw)[0] = 'R';
        if (how == 1)
            l->n = 1;
        if (how == 2)
            l->n++;
        if (how == 3) {
            memset(own, 0x5a, sizeof(own));
            own[0] = (struct spot){7, false, 77};
            l->spots = own;
            l->n = 1;
        }
        if (how == 4)
            l->spots = NULL;
        if (how == 5)
            l->bytes = -1;
        if (how == 6)
            l->width = SIZE_MAX;
    }
    return count;
}

double both(struct pair p[2], const struct pair *t_, int t)
{
    double sum = 0;

    for (int i = 0; p != NULL && i < 2; i++)
        for (size_t j = 0; j < p[i].n; j++)
            sum += (p[i].a != NULL ? p[i].a[j] : 0) + (p[i].b != NULL ? p[i].b[j] : 0);
    for (int i = 0; t_ != NULL && i < t / (int)sizeof(*t_); i++)
        sum += t_[i].key != NULL ? t_[i].key[7] : 0;
    return sum;
}

/* Makes the ocalls; the line of the first surprise, or 0. */
#define EXPECT(condition)    \
    do {                     \
        if (!(condition))    \
            return __LINE__; \
    } while (0)

int call_out(int how)
{
    struct spot spots[2];
    uint8_t raw[3] = {1, 2, 3};
    uint16_t a[2] = {5, 6};
    double b[2] = {0.5, 1.5};
    char key[8] = "12345678";
    struct line lines[2];
    struct pair two = {2, a, b, key};
    int64_t shown = 0;
    int traded = -5;
    enum hc_status status;

    memset(spots, 0x5a, sizeof(spots));
    memset(lines, 0x5a, sizeof(lines));
    spots[0] = (struct spot){1, true, 10};
    spots[1] = (struct spot){2, false, 20};
    lines[0].tag = 3;
    lines[0].n = 2;
    lines[0].open = true;
    lines[0].spots = spots;
    lines[0].raw = raw;
    lines[0].bytes = 3;
    lines[0].cells = raw;
    lines[0].width = 1;
    lines[0].height = 3;
    lines[1] = lines[0];
    lines[1].raw = NULL;
    lines[1].bytes = 9;
    lines[1].width = 0;
    if (how == 100) {
        EXPECT(show(&shown, lines, "name") == HC_OK && shown == 3 + 31 + 6 + 6 + 4);
        EXPECT(show(&shown, NULL, NULL) == HC_OK && shown == -1);
        lines[0].n = 0;
        EXPECT(show(&shown, lines, "") == HC_OK && shown == 3 + 12);
        EXPECT(trade(&traded, NULL, 2, NULL, 0) == HC_OK && traded == 0);
        EXPECT(trade(&traded, lines, 0, NULL, 0) == HC_OK && traded == 0);
        lines[0].bytes = -1;
        EXPECT(show(&shown, lines, "") == HC_ERR_ARGUMENT);
        lines[0].bytes = 0;
        lines[0].width = (size_t)1 << 63;
        EXPECT(show(&shown, lines, "") == HC_ERR_OVERFLOW);
        EXPECT(trade(&traded, lines, SIZE_MAX / 100, NULL, 0) == HC_ERR_TOO_LARGE);
        return 0;
    }
    errno = 0;
    status = trade(&traded, lines, 2, &two, how);
    EXPECT(lines[0].spots == spots && lines[0].raw == raw && lines[0].cells == raw);
    EXPECT(lines[1].spots == spots && lines[1].raw == NULL && lines[1].cells == raw);
    EXPECT(two.a == a && two.b == b && two.key == key && key[7] == '8');
    if (status != HC_OK) {
        EXPECT(traded == -5 && lines[0].tag == 3 && lines[0].n == 2);
        EXPECT(raw[0] == 1 && spots[0].x == 10 && a[0] == 5 && two.n == 2);
        return 1000 + (int)status;
    }
    EXPECT(traded == 12 && errno == 9 && lines[0].tag == -3 && lines[1].tag == -3);
    EXPECT(raw[0] == 'R' && spots[0].x == 11 && a[0] == 50 && b[1] == 1.5);
    EXPECT(two.n == (how == 1 ? 1 : 2) && a[1] == (how == 1 ? 6 : 60));
    return 0;
}
