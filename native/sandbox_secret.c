/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_secret.c - memory for secrets, taken out of the kernel's own view where it can be.
 *
 * Who may call it: the loader reserves, before the lock; enclave code allocates and frees, from any
 * thread, at any time. Which side runs it: the enclave process. What it trusts: the kernel.
 *
 * Pages of memfd_secret are removed from the kernel's direct map: /proc/PID/mem, ptrace,
 * process_vm_readv, /proc/kcore and DMA by way of get_user_pages do not reach them, not even for
 * root. They are never swapped. The price: they count as locked memory, each mapping change flushes
 * the TLB of all processors, and the kernel cannot pin them (futex, O_DIRECT).
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A cache line: two secrets never share one. */
#define GRANULE 64u
#define SECRET_SIZE_MAX ((size_t)64 * 1024 * 1024)

enum granule { GRANULE_FREE, GRANULE_FIRST, GRANULE_NEXT };

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sandbox_secret_status g_status; /* written once, before the lock */
static unsigned char *g_arena;
static unsigned char *g_map; /* one byte per granule, outside of the arena */
static size_t g_granules;

static const char *explain(int err)
{
    switch (err) {
    case ENOSYS:
        return "memfd_secret is missing: needs Linux 5.14 with CONFIG_SECRETMEM, and "
               "secretmem.enable=1 on the kernel command line before Linux 6.5";
    case EPERM:
    case EACCES:
        return "memfd_secret is forbidden: allow it in the container's seccomp profile";
    case EAGAIN:
    case ENOMEM:
        return "the limit of locked memory is used up: raise RLIMIT_MEMLOCK (ulimit -l)";
    case EMFILE:
    case ENFILE:
        return "no descriptor left for memfd_secret: raise RLIMIT_NOFILE";
    default:
        return "memfd_secret failed";
    }
}

static void *map_secret(size_t size, int *err)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    if (fd < 0) {
        *err = errno;
        return MAP_FAILED;
    }
    void *memory = MAP_FAILED;
    if (ftruncate(fd, (off_t)size) == 0) {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    *err = memory == MAP_FAILED ? errno : 0;
    /* The mapping is the only way in from now on. */
    (void)close(fd);
    return memory;
}

static void *map_locked(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) {
        /* Best effort, as this is the fallback already. */
        (void)mlock(memory, size);
        (void)madvise(memory, size, MADV_DONTDUMP);
    }
    return memory;
}

int sandbox_secret_reserve(size_t size, struct sandbox_secret_status *status,
                           struct sandbox_error *error)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (g_arena != NULL || size == 0 || size > SECRET_SIZE_MAX) {
        return sandbox_fail(error, "secret", EINVAL, "Reserve once, at most 64 MiB", "%zu bytes",
                            size);
    }
    size = (size + page - 1) / page * page;
    int err = 0;
    enum sandbox_secret_kind kind = SANDBOX_SECRET_MEMFD;
    void *memory = map_secret(size, &err);
    if (memory == MAP_FAILED) {
        kind = SANDBOX_SECRET_LOCKED;
        memory = map_locked(size);
    }
    void *map =
        mmap(NULL, size / GRANULE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || map == MAP_FAILED) {
        return sandbox_fail(error, "secret", errno, "Free some memory", "%zu bytes", size);
    }
    /* A child has no business with them. */
    (void)madvise(memory, size, MADV_DONTFORK);
    /* Takes the pages now: later, a missing page would be SIGBUS in the middle of a call. */
    memset(memory, 0, size);
    g_arena = memory;
    g_map = map;
    g_granules = size / GRANULE;
    g_status = (struct sandbox_secret_status){
        .kind = kind, .err = err, .why = err != 0 ? explain(err) : "", .size = size};
    if (status != NULL) {
        *status = g_status;
    }
    return 0;
}

struct sandbox_secret_status sandbox_secret_status(void)
{
    struct sandbox_secret_status status = g_status;
    if (status.why == NULL) {
        status.why = "no memory was reserved for secrets";
    }
    return status;
}

void *sandbox_secret_alloc(size_t size)
{
    if (g_arena == NULL || size > g_granules * GRANULE) {
        return NULL;
    }
    size_t wanted = size == 0 ? 1 : (size + GRANULE - 1) / GRANULE;
    void *found = NULL;
    pthread_mutex_lock(&g_lock);
    /* First fit: secrets are few and small. */
    size_t run = 0;
    for (size_t i = 0; i < g_granules && found == NULL; i++) {
        run = g_map[i] == GRANULE_FREE ? run + 1 : 0;
        if (run == wanted) {
            size_t first = i + 1 - wanted;
            memset(g_map + first, GRANULE_NEXT, wanted);
            g_map[first] = GRANULE_FIRST;
            found = g_arena + first * GRANULE;
        }
    }
    pthread_mutex_unlock(&g_lock);
    return found;
}

void sandbox_secret_free(void *pointer)
{
    if (pointer == NULL) {
        return;
    }
    size_t offset = (uintptr_t)pointer - (uintptr_t)g_arena;
    pthread_mutex_lock(&g_lock);
    if (g_arena == NULL || offset % GRANULE != 0 || offset / GRANULE >= g_granules ||
        g_map[offset / GRANULE] != GRANULE_FIRST) {
        static const char text[] = "sandbox_secret_free: not a pointer of sandbox_secret_alloc\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    size_t last = offset / GRANULE + 1;
    while (last < g_granules && g_map[last] == GRANULE_NEXT) {
        last++;
    }
    /* Wiped before it is free: what allocates next finds zeros. */
    explicit_bzero(pointer, last * GRANULE - offset);
    memset(g_map + offset / GRANULE, GRANULE_FREE, last - offset / GRANULE);
    pthread_mutex_unlock(&g_lock);
}
