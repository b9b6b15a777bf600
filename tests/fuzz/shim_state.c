/* SPDX-License-Identifier: Apache-2.0 */
/* shim_state.c -- what the shim remembers of descriptors, and how the next run begins without it. */
#include "fuzz.h"

#include "../../native/shim_epoll.c"

void shim_state_reset(void);

void shim_state_reset(void)
{
    for (int fd = 0; fd < 16; fd++)
        memset(shim_fd(fd), 0, sizeof(struct shim_fd));
    if (g_watches != NULL)
        memset(g_watches, 0, g_used * sizeof *g_watches);
    g_used = 1;
    g_free = NONE;
    g_lock = 0;
}
