/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_trace.c -- one line per call, as strace prints it.
 *
 * Host side. Made from the rows: scalars as numbers, descriptors and results as they are, strings
 * and the first bytes of buffers quoted. A buffer that comes back is shown as far as the result
 * says. Written with one write each; what a slow reader of the trace holds up is the program.
 */
#define _GNU_SOURCE
#include "run_serve.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOWN 32u
#define SHOWN_OF_NAME 256u
#define LINE 1536u

static int g_trace = -1;
static bool g_wanted[ROW_COUNT];

/* `names` is a list with commas, or NULL for all. A name that no row has is an error. */
void run_trace_to(int fd, const char *names)
{
    g_trace = fd;
    for (uint32_t id = 0; id < ROW_COUNT; id++)
        g_wanted[id] = names == NULL;
    while (names != NULL && *names != '\0') {
        size_t size = strcspn(names, ",");
        bool known = false;
        for (uint32_t id = 0; id < ROW_COUNT; id++) {
            const char *name = run_row(id)->name;
            if (strlen(name) == size && strncmp(name, names, size) == 0)
                known = g_wanted[id] = true;
        }
        if (!known)
            run_fail(2,
                     "--trace: no such system call leaves the enclave: %.*s; see `hotcalls "
                     "syscalls`",
                     (int)size, names);
        names += size + (names[size] == ',');
    }
}

bool run_trace_wants(uint32_t id)
{
    return HC_UNLIKELY(g_trace >= 0) && g_wanted[id];
}

struct line {
    char text[LINE];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list arguments;
    size_t room = sizeof line->text - line->used;
    va_start(arguments, format);
    int size = vsnprintf(line->text + line->used, room, format, arguments);
    va_end(arguments);
    if (size > 0)
        line->used += (size_t)size < room ? (size_t)size : room - 1u;
}

static void add_bytes(struct line *line, const uint8_t *u_bytes, size_t size, size_t most)
{
    uint8_t bytes[SHOWN_OF_NAME];
    size_t shown = size < most ? size : most;
    hc_copy_in(bytes, u_bytes, shown);
    add(line, "\"");
    for (size_t i = 0; i < shown; i++) {
        uint8_t c = bytes[i];
        if (c == '\n')
            add(line, "\\n");
        else if (c == '"' || c == '\\')
            add(line, "\\%c", c);
        else if (c >= 0x20 && c < 0x7f)
            add(line, "%c", c);
        else
            add(line, "\\x%02x", c);
    }
    add(line, "\"%s", size > shown ? "..." : "");
}

static void add_parameter(struct line *line, const struct run_call *call, uint32_t i, long result)
{
    const struct row_parameter *p = &call->row->parameters[i];
    int64_t value = (int64_t)call->a[i];
    size_t size = call->sizes[i];
    switch ((enum row_kind)p->kind) {
    case ROW_DIRFD:
        add(line, value == AT_FDCWD ? "AT_FDCWD" : "%lld", (long long)value);
        return;
    case ROW_FD:
    case ROW_SCALAR:
        add(line, p->is_signed || p->kind == ROW_FD ? "%lld" : "%#llx", (long long)value);
        return;
    default:
        break;
    }
    if (value == 0) {
        add(line, "NULL");
    } else if (p->kind == ROW_STRING) {
        const char *text = (const char *)(uintptr_t)call->a[i];
        add_bytes(line, (const uint8_t *)text, strlen(text), SHOWN_OF_NAME);
    } else {
        if (p->kind == ROW_OUT && call->row->returns == ROW_RETURNS_SIZE)
            size = result < 0 ? 0 : (size_t)result < size ? (size_t)result : size;
        add_bytes(line, (const uint8_t *)(uintptr_t)call->a[i], size, SHOWN);
    }
}

void run_trace_call(const struct run_job *job, long result, uint64_t cycles)
{
    struct line line = {"", 0};
    struct timespec now;
    const struct run_call *call = &job->call;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    add(&line, "[%u] %lld.%06ld %s(", job->frame.port->slot->index, (long long)now.tv_sec,
        now.tv_nsec / 1000, call->row->name);
    for (uint32_t i = 0; i < call->row->parameter_count; i++) {
        add(&line, "%s", i != 0 ? ", " : "");
        add_parameter(&line, call, i, result);
    }
    double us = (double)cycles / (double)g_run_end->bounds.cycles_per_us;
    if (result < 0 && result > -4096)
        add(&line, ") = -1 %s <%.6f>\n", strerrorname_np((int)-result), us / 1e6);
    else
        add(&line, ") = %ld <%.6f>\n", result, us / 1e6);
    (void)!write(g_trace, line.text, line.used);
}
