/* SPDX-License-Identifier: Apache-2.0 */
/*
 * starved.c -- the filter of stage 2, made by libseccomp while the n-th allocation fails.
 *
 * Arguments: the first n, the step from one to the next, and "once" or "on": whether memory is back
 * after the failing allocation. Each n has a process of its own, as libseccomp 2.5 may also double
 * free, or walk a list in a circle. Compiled with sandbox_filter.c, whose seccomp_load() it takes:
 * the filter is kept, and run here on system calls with many arguments, as the kernel would.
 *
 * Prints how many n ended in an error, in the filter that was meant, in one that refuses more, in
 * the end of the process; and a line for each call that a filter allows and the one that was meant
 * does not, and for each error that is not told to be one of memory.
 */
#define _GNU_SOURCE
#include "sandbox_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
int starved_load(const scmp_filter_ctx filter);

enum { REFUSED, FINISHED, PASSED_BY };

static bool g_counting, g_on;
static long g_left;
static int g_out;

static bool fails(void)
{
    if (!g_counting || g_left < 0)
        return false;
    if (g_left > 0) {
        g_left--;
        return false;
    }
    if (!g_on)
        g_left = -1;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

/* In place of seccomp_load(). */
int starved_load(const scmp_filter_ctx filter)
{
    return seccomp_export_bpf(filter, g_out);
}

struct code {
    struct sock_filter *lines;
    size_t count;
};

static struct code read_code(int file)
{
    off_t size = lseek(file, 0, SEEK_END);
    struct code code = {NULL, (size_t)size / sizeof *code.lines};
    if (code.count != 0)
        code.lines = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, file, 0);
    if (code.lines == MAP_FAILED)
        abort();
    return code;
}

/* What the kernel would do. Of the instructions there are those that libseccomp writes. */
static uint32_t run(struct code code, const struct seccomp_data *data)
{
    uint32_t word = 0;
    for (size_t at = 0; at < code.count;) {
        const struct sock_filter *line = &code.lines[at++];
        switch (line->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (line->k + sizeof word > sizeof *data)
                return SECCOMP_RET_KILL_PROCESS;
            memcpy(&word, (const uint8_t *)data + line->k, sizeof word);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            word &= line->k;
            break;
        case BPF_JMP | BPF_JA:
            at += line->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += word == line->k ? line->jt : line->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            at += word > line->k ? line->jt : line->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += word >= line->k ? line->jt : line->jf;
            break;
        case BPF_RET | BPF_K:
            return line->k;
        default:
            printf("unknown instruction %u\n", line->code);
            exit(2);
        }
    }
    /* No end: the kernel would not have loaded it. */
    return SECCOMP_RET_KILL_PROCESS;
}

static const uint64_t g_arguments[] = {
    0, 1, 2, 3, 5, 6, 7, 9, 22, 38, 47, 64, 4096, 0x3d0f00, 0x53564d41, UINT32_MAX, UINT64_MAX,
};
#define ARGUMENTS (sizeof g_arguments / sizeof g_arguments[0])
#define ALL 6u

/* One number with arguments of which one, or all, have a value: is more allowed than meant? */
static bool more(struct code meant, struct code made, uint32_t arch, int number)
{
    bool found = false;
    for (unsigned which = 0; which <= ALL; which++)
        for (size_t i = 0; i < ARGUMENTS; i++) {
            struct seccomp_data data = {.nr = number, .arch = arch};
            for (unsigned j = 0; j < ALL; j++)
                data.args[j] = which == ALL || which == j ? g_arguments[i] : 0;
            found |=
                run(made, &data) == SECCOMP_RET_ALLOW && run(meant, &data) != SECCOMP_RET_ALLOW;
        }
    return found;
}

static bool check(struct code meant, struct code made, long n)
{
    static const uint32_t arches[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64};
    bool same = meant.count == made.count &&
                memcmp(meant.lines, made.lines, made.count * sizeof *made.lines) == 0;
    for (size_t i = 0; !same && i < sizeof arches / sizeof arches[0]; i++)
        for (int number = 0; number < 600; number++)
            for (int x32 = 0; x32 <= 1; x32++)
                if (more(meant, made, arches[i], number | x32 << 30))
                    printf("n %ld allows %d of %#x\n", n, number | x32 << 30, arches[i]);
    return same;
}

static int build(int out, long n)
{
    const struct sandbox_policy policy = {.groups = UINT32_MAX,
                                          .write_fds = {1, 2, 7},
                                          .write_fd_count = 3,
                                          .poll_fds = {5, 6},
                                          .poll_fd_count = 2};
    struct sandbox_lock_report report = {0};
    struct sandbox_error error;
    g_out = out;
    g_left = n;
    g_counting = true;
    int result = sandbox_install_filter(&policy, &report, &error);
    g_counting = false;
    if (result != 0 && strstr(error.advice, "Free some memory") == NULL)
        (void)dprintf(STDOUT_FILENO, "n %ld is told: %s\n", n, error.advice);
    if (result != 0)
        return REFUSED;
    return n >= 0 && (g_on ? g_left != 0 : g_left != -1) ? PASSED_BY : FINISHED;
}

int main(int argc, char **argv)
{
    int meant = memfd_create("meant", 0);
    if (argc != 4 || meant < 0 || build(meant, -1) != FINISHED)
        return 2;
    struct code code = read_code(meant);
    long errors = 0, same = 0, less = 0, ended = 0;
    g_on = strcmp(argv[3], "on") == 0;
    for (long n = atol(argv[1]), step = atol(argv[2]); step > 0; n += step) {
        int made = memfd_create("made", 0), status;
        pid_t child = fork();
        if (child == 0) {
            (void)alarm(1);
            _exit(build(made, n));
        }
        if (made < 0 || child < 0 || waitpid(child, &status, 0) != child)
            return 2;
        if (WIFEXITED(status) && WEXITSTATUS(status) == PASSED_BY)
            break;
        if (!WIFEXITED(status))
            ended++;
        else if (WEXITSTATUS(status) == REFUSED)
            errors++;
        else if (check(code, read_code(made), n))
            same++;
        else
            less++;
        (void)close(made);
    }
    printf("%ld errors, %ld same, %ld less, %ld ended\n", errors, same, less, ended);
    return 0;
}
