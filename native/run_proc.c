/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_proc.c -- what a program finds about itself in /proc that only this process knows: its
 * descriptors, its current directory and its root.
 *
 * Host side. The program's own directory in /proc (run_path.c) tells of a process that has no
 * descriptors, and where the user is not root this process may not look into all of it. The
 * listing of /proc/self/fd is made from the table of run_fd.c: its directory is a stand-in that is
 * marked as such, and nothing can be reached by way of it.
 */
#define _GNU_SOURCE
#include "run_path.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* struct linux_dirent64, without its name. */
struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
} __attribute__((packed));

_Static_assert(sizeof(struct entry) == 19, "as the kernel has it");

/* `rest` is what follows the program's directory; NULL: it is not in there. */
static const char *own(const char *path)
{
    char head[32];
    int size = snprintf(head, sizeof head, "/proc/%d/", g_run_program);
    return path != NULL && strncmp(path, head, (size_t)size) == 0 ? path + size : NULL;
}

long run_proc_open_list(const char *path, int flags)
{
    char directory[32];
    const char *rest = own(path);
    if (rest == NULL || (strcmp(rest, "fd") != 0 && strcmp(rest, "fd/") != 0) ||
        (flags & (O_ACCMODE | O_CREAT | O_PATH)) != 0)
        return -ENOENT;
    int refused = run_policy_has_paths() ? run_policy_path(ROW_openat, RUN_PATH_READ, path) : 0;
    if (refused != 0)
        return -refused;
    (void)snprintf(directory, sizeof directory, "%d", g_run_program);
    long fd = openat(g_run_proc, directory, O_DIRECTORY | (flags & O_CLOEXEC));
    if (fd < 0)
        return -errno;
    if (fd >= (long)g_run_top) {
        (void)close((int)fd);
        return -EMFILE;
    }
    run_fd_mark(fd, RUN_FD_LIST);
    return fd;
}

/* The name of the entry at a position, or NULL; "." and ".." are before descriptor 0. */
static const char *name_at(int64_t position, char text[16])
{
    if (position < 2)
        return position == 0 ? "." : "..";
    if (!run_fd_owned(position - 2))
        return NULL;
    (void)snprintf(text, 16, "%d", (int)position - 2);
    return text;
}

long run_proc_list(const struct run_call *call)
{
    int fd = (int)call->a[0];
    uint8_t *u_to = (uint8_t *)(uintptr_t)call->a[1];
    size_t room = call->sizes[1];
    size_t used = 0;
    int64_t position = lseek(fd, 0, SEEK_CUR);
    if (position < 0)
        return -errno;
    for (; position < (int64_t)g_run_top + 2; position++) {
        char text[16];
        uint8_t bytes[64];
        const char *name = name_at(position, text);
        if (name == NULL)
            continue;
        /* Whole words. */
        size_t size = (sizeof(struct entry) + strlen(name) + 1u + 7u) & ~(size_t)7u;
        const struct entry entry = {(uint64_t)position + 1u, position + 1, (uint16_t)size,
                                    position < 2 ? DT_DIR : DT_LNK};
        if (size > room - used)
            break;
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes, &entry, sizeof entry);
        memcpy(bytes + sizeof entry, name, strlen(name));
        hc_copy_out(u_to + used, bytes, size);
        used += size;
    }
    if (used == 0 && position < (int64_t)g_run_top + 2)
        return -EINVAL;
    (void)lseek(fd, position, SEEK_SET);
    return (long)used;
}

bool run_proc_link(const char *path, char text[PATH_MAX])
{
    static const char head[] = "/proc/self/fd/";
    const char *rest = own(path);
    char *end;
    if (rest != NULL && (strcmp(rest, "cwd") == 0 || strcmp(rest, "root") == 0))
        return run_path_self(rest, text);
    /* One of its descriptors; run_path.c leaves the names of these as they are. */
    if (path == NULL || strncmp(path, head, sizeof head - 1u) != 0)
        return false;
    long fd = strtol(path + sizeof head - 1u, &end, 10);
    return *end == '\0' && run_fd_owned(fd) &&
           run_path_self(path + sizeof "/proc/self/" - 1u, text);
}
