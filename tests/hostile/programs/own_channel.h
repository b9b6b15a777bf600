/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_channel.h -- where the calling thread's calls lie in the channel of an enclosed program.
 */
#ifndef HOTCALLS_TEST_OWN_CHANNEL_H
#define HOTCALLS_TEST_OWN_CHANNEL_H

#include <hotcalls/hotcalls.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *g_u_window;
static struct hc_cell *g_u_cell;

static void fail(const char *what)
{
    printf("rewrites: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The channel, and in it the window and the first cell of this thread. */
static void find_channel(void)
{
    static const char marker[] = "/here/is/the/marker/of/this/thread";
    char line[512];
    uint8_t *u_base = NULL;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && u_base == NULL && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "rw-s") != NULL && strstr(line, "hotcalls") != NULL)
            u_base = (uint8_t *)(uintptr_t)strtoull(line, NULL, 16);
    if (u_base == NULL)
        fail("there is no channel");
    (void)fclose(maps);
    struct hc_geometry geometry;
    memcpy(&geometry, u_base, sizeof geometry);
    if (hc_geometry_check(&geometry, geometry.total_size) != HC_OK)
        fail("this is no channel");
    (void)open(marker, O_RDONLY);
    for (uint32_t slot = 0; slot < geometry.slot_count; slot++) {
        uint8_t *u_window = hc_u_window(u_base, &geometry, slot, HC_LANE_FORWARD);
        if (memcmp(u_window + 8u, marker, sizeof marker) != 0)
            continue;
        g_u_window = u_window;
        g_u_cell = hc_u_lane(u_base, &geometry, slot, HC_LANE_FORWARD);
        return;
    }
    fail("this thread has no window");
}

#endif /* HOTCALLS_TEST_OWN_CHANNEL_H */
