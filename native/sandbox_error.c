/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_error.c - errors of the lock-down, and reading the own state from procfs.
 *
 * Who may call it: sandbox_*.c; sandbox_error_format() also the loader and the host.
 * Which side runs it: either. What it trusts: the kernel.
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

int sandbox_fail(struct sandbox_error *error, const char *step, int err, const char *advice,
                 const char *format, ...)
{
    if (error == NULL) {
        return -1;
    }
    /* What any step can run out of has nothing to do with the step. */
    if (err == ENOMEM) {
        advice = "Free some memory, or raise the limit of memory or of mappings";
    } else if (err == EMFILE || err == ENFILE) {
        advice = "Raise the limit of open descriptors";
    }
    *error = (struct sandbox_error){.step = step, .err = err, .advice = advice};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->detail, sizeof error->detail, format, arguments);
    va_end(arguments);
    /* A path in it is chosen by others, and the text ends up on a terminal. */
    for (char *at = error->detail; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~') {
            *at = '?';
        }
    }
    return -1;
}

const char *sandbox_error_format(const struct sandbox_error *error, char *buffer, size_t size)
{
    if (size > 0) {
        /* strerrordesc_np: without locale files, which a locked process cannot open. */
        const char *reason = error->err != 0 ? strerrordesc_np(error->err) : NULL;
        (void)snprintf(buffer, size, "%s%s%s%s%s. %s.", error->step, reason != NULL ? ": " : "",
                       reason != NULL ? reason : "", error->detail[0] != '\0' ? ": " : "",
                       error->detail, error->advice);
    }
    return buffer;
}

long sandbox_read_proc(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -1;
    }
    size_t length = 0;
    int err = 0;
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) {
        err = errno;
    } else if (fs.f_type != PROC_SUPER_MAGIC) {
        err = ENOTSUP;
    }
    while (err == 0) {
        if (length + 1 >= size) {
            err = E2BIG;
            break;
        }
        ssize_t got = read(fd, buffer + length, size - length - 1);
        if (got == 0) {
            break;
        }
        if (got > 0) {
            length += (size_t)got;
        } else if (errno != EINTR) {
            err = errno;
        }
    }
    (void)close(fd);
    buffer[length] = '\0';
    if (err != 0) {
        errno = err;
        return -1;
    }
    return (long)length;
}

long sandbox_status_number(const char *status, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = status; line != NULL && *line != '\0';) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            return strtol(line + length + 1, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return -1;
}
