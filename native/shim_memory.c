/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_memory.c -- mapping files, which this process cannot: their contents are copied.
 *
 * Enclave side. What the program maps becomes private anonymous memory with the file's contents
 * at this moment. That is all that MAP_PRIVATE promises; a shared mapping that is only read does
 * not see later changes; one that is written would have to be seen by others, and is refused.
 * Anonymous memory alone is ever executable here, so code is what was copied through the host,
 * under its policy.
 */
#include "shim.h"

#include <sys/mman.h>

#define PAGE UINT64_C(4096)

static uint32_t g_said_shared;

static long fill(uint64_t address, uint64_t size, int fd, int64_t offset)
{
    uint64_t done = 0;
    while (done < size) {
        long got = shim_read(ROW_pread64, fd, (void *)(uintptr_t)(address + done), size - done,
                             offset + (int64_t)done, 0);
        if (got == -EINTR)
            continue;
        /* What has no offsets cannot be mapped. */
        if (got < 0)
            return got == -ESPIPE || got == -EISDIR || got == -EINVAL ? -ENODEV
                   : got == -EBADF && done == 0                       ? -EACCES
                                                                      : got;
        if (got == 0)
            return 0;
        done += (uint64_t)got;
    }
    return 0;
}

long shim_mmap(const uint64_t *a)
{
    uint64_t size = (a[1] + PAGE - 1u) & ~(PAGE - 1u);
    int protection = (int)a[2];
    int flags = (int)a[3];
    int fd = (int)a[4];
    int type = flags & MAP_TYPE;
    if (a[1] == 0 || size < a[1] || (a[5] & (PAGE - 1u)) != 0)
        return -EINVAL;
    /* MAP_SHARED_VALIDATE is 3, and the bits of the other two. */
    if (type != MAP_PRIVATE && type != MAP_SHARED && type != (MAP_PRIVATE | MAP_SHARED))
        return -EINVAL;
    long descriptor_flags = SHIM_ROW(ROW_fcntl, false, SHIM_ARG(fd), 3 /* F_GETFL */, 0, 0, 0);
    if (descriptor_flags < 0)
        return descriptor_flags;
    if (type != MAP_PRIVATE && (protection & PROT_WRITE) != 0) {
        shim_say_once(&g_said_shared,
                      "hotcalls: the program asked for a writable mapping of a file that others "
                      "share, which an enclave cannot have (EACCES)\n",
                      NULL);
        return -EACCES;
    }
    int kept = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_NORESERVE | MAP_32BIT | MAP_STACK);
    /* Elsewhere first: a mapping that is replaced must stay if the file cannot be read. */
    long copy = SHIM_GATE(SYS_mmap, (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0 ? 0 : a[0],
                          size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | (kept & (MAP_NORESERVE | MAP_32BIT)), -1);
    if (copy < 0 && copy > -4096)
        return copy;
    long error = fill((uint64_t)copy, a[1], fd, (int64_t)a[5]);
    if (error == 0 && protection != (PROT_READ | PROT_WRITE))
        error = SHIM_GATE(SYS_mprotect, copy, size, protection);
    if (error == 0 && (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0) {
        long place = copy;
        if ((flags & MAP_FIXED_NOREPLACE) != 0)
            place = SHIM_GATE(SYS_mmap, a[0], size, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
        if (place >= 0 || place < -4095)
            place = SHIM_GATE(SYS_mremap, copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, a[0]);
        if (place < 0 && place > -4096)
            error = place;
        else
            copy = place;
    }
    if (error != 0) {
        (void)SHIM_GATE(SYS_munmap, copy, size);
        return error;
    }
    return copy;
}
