/* SPDX-License-Identifier: Apache-2.0 */
/* Multiplies points by colours and drops the last of several; shows a line of its own. */
#include "draw_t.h"

#include <errno.h>

int draw(struct line *lines, size_t k)
{
    int count = 0;

    for (size_t i = 0; i < k; i++) {
        count += (int)lines[i].n;
        for (uint32_t j = 0; j < lines[i].n; j++)
            lines[i].points[j] *= lines[i].colour;
        if (lines[i].n > 1)
            lines[i].n--;
    }
    return count;
}

int outline(void)
{
    int32_t points[3] = {7, 8, 9};
    struct line own = {3, points, 5};
    int shown = 0;

    errno = 0;
    if (show(&shown, &own) != HC_OK)
        return -1;
    return errno * 1000 + shown * 100 + points[0] * 10 + (int)own.n;
}
