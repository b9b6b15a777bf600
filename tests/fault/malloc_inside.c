/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc_inside.c -- an allocator for the program that a C enclave is, of which the n-th call fails.
 *
 * Linked into the loader by test_allocations.py, in front of libc's; the enclave's own code and libc
 * itself get it as well. n is read from the file malloc-n in the folder where the host runs, before
 * main() hardens the process. That it came is said on the log, which is all that is left then.
 *
 * libseccomp has what it wants: 2.5 makes, without memory, a filter that kills the enclave at its next
 * call, or does not come back, and the launch's timeout ends that.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* Of libc, under the names that programs that replace malloc use. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *old, size_t size);

static uint32_t g_seen, g_n; /* g_seen by any thread: atomic; g_n before there is another one */

__attribute__((constructor)) static void read_n(void)
{
    char digits[16] = "";
    int file = open("malloc-n", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t size = read(file, digits, sizeof digits - 1u);
    (void)close(file);
    uint32_t n = 0;
    for (ssize_t i = 0; i < size && digits[i] >= '0' && digits[i] <= '9'; i++)
        n = n * 10u + (uint32_t)(digits[i] - '0');
    g_n = n;
}

static bool is_ours(const void *caller)
{
    Dl_info info;
    return dladdr(caller, &info) == 0 || strstr(info.dli_fname, "libseccomp") == NULL;
}

static bool fails(const void *caller)
{
    static const char said[] = "malloc fails\n";
    if (g_n == 0 || !is_ours(caller) || __atomic_add_fetch(&g_seen, 1u, __ATOMIC_SEQ_CST) != g_n)
        return false;
    (void)!write(STDERR_FILENO, said, sizeof said - 1u);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}
