/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc_of_run.c -- fails the n-th allocation of the host process of `hotcalls run`; preloaded.
 *
 * FAULT_MALLOC is the n. libc itself and the libraries that it loads later allocate by the same way.
 * Of the other processes, which have it preloaded too, nothing fails.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of libc, under the names that programs that replace malloc use. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static long g_n, g_seen; /* any thread: atomic */

__attribute__((constructor)) static void arm(void)
{
    const char *n = getenv("FAULT_MALLOC");
    if (n != NULL && strcmp(program_invocation_short_name, "hotcalls-run") == 0)
        __atomic_store_n(&g_n, strtol(n, NULL, 10), __ATOMIC_SEQ_CST);
}

static bool fails(void)
{
    static const char said[] = "an allocation fails\n";
    long n = __atomic_load_n(&g_n, __ATOMIC_SEQ_CST);
    if (n == 0 || __atomic_add_fetch(&g_seen, 1, __ATOMIC_SEQ_CST) != n)
        return false;
    (void)!write(STDERR_FILENO, said, sizeof said - 1u);
    errno = ENOMEM;
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
