/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_trace.c -- printing calls.
 *
 * Host side; the leader and the companions. Buffers are printed from the window, where the program
 * may change them meanwhile: it then reads what it wrote, and nothing rests on it. Sizes are the
 * checked ones.
 */
#define _GNU_SOURCE
#include "run_trace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SIZE 1024u
#define SHOWN_MAX 32u

static int g_fd = -1;
static uint64_t g_cycles_per_us;
static bool g_wanted[ROW_COUNT];

struct line {
    char text[LINE_MAX_SIZE];
    size_t used;
};

static void print(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What does not fit is left out; the end of the line always fits (run_trace_call). */
static void print(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count =
        vsnprintf(line->text + line->used, sizeof line->text - line->used, format, arguments);
    va_end(arguments);
    if (count > 0 && line->used + (size_t)count < sizeof line->text)
        line->used += (size_t)count;
}

static void print_bytes(struct line *line, const char *data, size_t size, size_t most)
{
    size_t shown = size < most ? size : most;
    print(line, "\"");
    for (size_t i = 0; i < shown; i++) {
        unsigned char sign = (unsigned char)data[i];
        if (sign == '\n')
            print(line, "\\n");
        else if (sign == '\r')
            print(line, "\\r");
        else if (sign == '"' || sign == '\\')
            print(line, "\\%c", sign);
        else if (sign >= 0x20 && sign < 0x7f)
            print(line, "%c", sign);
        else
            print(line, "\\x%02x", sign);
    }
    print(line, "\"%s", shown < size ? "..." : "");
}

static bool is_named(const char *name, const char *names)
{
    size_t length = strlen(name);
    for (const char *at = names; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

void run_trace_init(int fd, const char *names, uint64_t cycles_per_us)
{
    g_fd = fd;
    g_cycles_per_us = cycles_per_us;
    for (uint32_t i = 0; i < ROW_COUNT; i++)
        g_wanted[i] = names == NULL || is_named(run_row(i)->name, names);
    run_path_forbid_own(fd);
}

/* Relaxed: written once before any thread, and at most once more to switch the trace off. */
static int trace_fd(void)
{
    return __atomic_load_n(&g_fd, __ATOMIC_RELAXED);
}

bool run_trace_on(void)
{
    return trace_fd() >= 0;
}

/* Bits with a name, as the program's source has them; what is left over in hexadecimal. */
static const struct {
    uint64_t bits;
    const char *name;
} g_open_flags[] = {
    {O_CREAT, "O_CREAT"},         {O_EXCL, "O_EXCL"},         {O_NOCTTY, "O_NOCTTY"},
    {O_TRUNC, "O_TRUNC"},         {O_APPEND, "O_APPEND"},     {O_NONBLOCK, "O_NONBLOCK"},
    {O_DIRECTORY, "O_DIRECTORY"}, {O_NOFOLLOW, "O_NOFOLLOW"}, {O_CLOEXEC, "O_CLOEXEC"},
    {O_PATH, "O_PATH"},
};

static void print_open_flags(struct line *line, uint64_t flags)
{
    static const char *const access[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};
    print(line, "%s", access[flags & O_ACCMODE]);
    flags &= ~(uint64_t)O_ACCMODE;
    for (size_t i = 0; i < sizeof g_open_flags / sizeof g_open_flags[0]; i++) {
        if ((flags & g_open_flags[i].bits) != g_open_flags[i].bits)
            continue;
        print(line, "|%s", g_open_flags[i].name);
        flags &= ~g_open_flags[i].bits;
    }
    if (flags != 0)
        print(line, "|0x%" PRIx64, flags);
}

/* `size` bytes of a socket's address, copied: its parts are looked at more than once. */
static void print_address(struct line *line, const char *data, size_t size)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } address;
    char text[INET6_ADDRSTRLEN];
    memset(&address, 0, sizeof address);
    hc_copy_in(&address, (const uint8_t *)data, size < sizeof address ? size : sizeof address);
    if (address.any.sa_family == AF_INET && size >= sizeof address.v4)
        print(line, "{AF_INET, %s, %u}",
              inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text),
              ntohs(address.v4.sin_port));
    else if (address.any.sa_family == AF_INET6 && size >= sizeof address.v6)
        print(line, "{AF_INET6, %s, %u}",
              inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof text),
              ntohs(address.v6.sin6_port));
    else if (address.any.sa_family == AF_UNIX) {
        const char *path = address.local.sun_path;
        size_t most = size < sizeof address ? size : sizeof address;
        most = most > sizeof address.any.sa_family ? most - sizeof address.any.sa_family : 0;
        bool named = most != 0 && path[0] != '\0';
        print(line, "{AF_UNIX, ");
        print_bytes(line, path, named ? strnlen(path, most) : most, 108);
        print(line, "}");
    } else {
        print(line, "{%u, %zu bytes}", address.any.sa_family, size);
    }
}

static void print_argument(struct line *line, const struct run_call *call, uint32_t i, long result)
{
    const struct row_parameter *parameter = &call->row->parameters[i];
    const char *data = (const char *)(uintptr_t)call->a[i];
    switch ((enum row_kind)parameter->kind) {
    case ROW_DIRFD:
        if ((int64_t)call->a[i] == AT_FDCWD) {
            print(line, "AT_FDCWD");
            break;
        }
        /* fallthrough */
    case ROW_FD:
        print(line, "%" PRId64, (int64_t)call->a[i]);
        break;
    case ROW_SCALAR:
        if (call->id == ROW_openat && i == 2)
            print_open_flags(line, call->a[i]);
        else if (call->a[i] < 1024u || (int64_t)call->a[i] < 0)
            print(line, "%" PRId64, (int64_t)call->a[i]);
        else
            print(line, "0x%" PRIx64, call->a[i]);
        break;
    case ROW_STRING:
        if (data == NULL)
            print(line, "NULL");
        else
            print_bytes(line, data, strnlen(data, ROW_STRING_MAX), 256);
        break;
    case ROW_IN:
    case ROW_OUT:
    case ROW_INOUT: {
        size_t size = call->sizes[i];
        /* Of what comes back only as much as came. */
        if (parameter->kind == ROW_OUT && call->row->returns == ROW_RETURNS_SIZE &&
            parameter->size_by >= 0 && result >= 0 && (size_t)result < size)
            size = (size_t)result;
        if (data == NULL)
            print(line, "NULL");
        else if ((call->id == ROW_connect || call->id == ROW_bind) && i == 1)
            print_address(line, data, size);
        else if (result < 0 && parameter->kind == ROW_OUT)
            print(line, "{%zu bytes}", call->sizes[i]);
        else
            print_bytes(line, data, size, SHOWN_MAX);
        break;
    }
    }
}

void run_trace_call(uint32_t slot, const struct run_call *call, long result, uint64_t started)
{
    int fd = trace_fd();
    if (fd < 0 || !g_wanted[call->id])
        return;
    struct line line = {.used = 0};
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    print(&line, "[%u] %lld.%06ld %s(", slot, (long long)now.tv_sec, now.tv_nsec / 1000,
          call->row->name);
    for (uint32_t i = 0; i < call->row->parameter_count; i++) {
        if (i != 0)
            print(&line, ", ");
        print_argument(&line, call, i, result);
    }
    if (line.used > sizeof line.text - 96u)
        line.used = sizeof line.text - 96u;
    print(&line, ") = %ld", result < 0 ? -1L : result);
    if (result < 0) {
        const char *name = strerrorname_np((int)-result);
        print(&line, " %s", name != NULL ? name : "?");
    }
    uint64_t us = g_cycles_per_us != 0 ? (hc_tsc() - started) / g_cycles_per_us : 0;
    print(&line, " <%" PRIu64 ".%06" PRIu64 ">\n", us / 1000000u, us % 1000000u);
    /* A reader that is gone ends the trace and not the program; so does a full disk, aloud. */
    errno = ENOSPC;
    if (write(fd, line.text, line.used) == (ssize_t)line.used)
        return;
    int error = errno;
    if (__atomic_exchange_n(&g_fd, -1, __ATOMIC_RELAXED) >= 0 && error != EPIPE) /* as trace_fd */
        (void)dprintf(STDERR_FILENO, "hotcalls run: the trace ends here: %s\n", strerror(error));
}
