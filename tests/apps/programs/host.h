/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h -- whom the hostile programs attack: the host process that serves them.
 */
#ifndef HOTCALLS_TESTS_HOST_H
#define HOTCALLS_TESTS_HOST_H

#include "say.h"

/* The parent of this very process; getppid is asked of the host, and tells of the host's parent. */
static int host_process(void)
{
    char text[512] = "";
    int parent = -1;
    FILE *file = fopen("/proc/self/stat", "re");
    if (file != NULL && fgets(text, sizeof text, file) != NULL && strrchr(text, ')') != NULL)
        (void)sscanf(strrchr(text, ')'), ") %*c %d", &parent);
    if (file != NULL)
        (void)fclose(file);
    return parent;
}

#endif
