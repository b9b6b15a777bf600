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

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

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

/* Files, block devices, and of the others /dev/zero. */
static long mappable(int fd)
{
    uint32_t status[36]; /* struct stat: st_mode is the sixth word, st_rdev the tenth */
    long error = SHIM_ROW(ROW_fstat, false, SHIM_ARG(fd), SHIM_PTR(status));
    if (error != 0)
        return error;
    switch (status[6] & S_IFMT) {
    case S_IFREG:
    case S_IFBLK:
        return 0;
    case S_IFCHR:
        return status[10] == (1u << 8 | 5u) ? 0 : -ENODEV;
    default:
        return -ENODEV;
    }
}

/* ---- /proc/self/maps --------------------------------------------------------------------------- */

static bool is_own_maps(const char *path)
{
    static const char *const names[] = {"/proc/self/maps", "/proc/thread-self/maps"};
    char text[32];
    size_t size = shim_string_size(path, sizeof text);
    if (size == 0 || size == SIZE_MAX || !shim_copy(text, path, size))
        return false;
    for (size_t i = 0; i < 2u; i++) {
        size_t at = 0;
        while (at < size && text[at] == names[i][at])
            at++;
        if (at == size)
            return true;
    }
    return false;
}

/*
 * Where the host is not root the kernel keeps it from the maps of this process, which is what is
 * meant to be; the C library asks for them all the same, to find the stack of the first thread. So
 * the program gets a copy as a file of its own. It tells the host what it asked for.
 */
long shim_maps(const char *path, int flags)
{
    char text[1024];
    int64_t offset = 0;
    if (!is_own_maps(path) || (flags & O_ACCMODE) != O_RDONLY)
        return -EACCES;
    long fd = SHIM_ROW(ROW_memfd_create, false, SHIM_PTR("maps"),
                       (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0);
    if (fd < 0)
        return -EACCES;
    shim_fd_new(fd, SHIM_REGULAR, 1);
    for (;;) {
        long size = SHIM_GATE(SYS_pread64, 0, text, sizeof text, offset);
        if (size <= 0)
            break;
        long written = shim_write(ROW_pwrite64, (int)fd, text, (size_t)size, offset, 0);
        if (written != size)
            break;
        offset += size;
    }
    if (offset != 0)
        return fd;
    (void)shim_close((int)fd);
    return -EACCES;
}

long shim_mmap(const uint64_t *a)
{
    uint64_t size = (a[1] + PAGE - 1u) & ~(PAGE - 1u);
    int protection = (int)a[2];
    int flags = (int)a[3];
    int fd = (int)a[4];
    int type = flags & MAP_TYPE;
    long error;
    if (a[1] == 0 || size < a[1] || (a[5] & (PAGE - 1u)) != 0)
        return -EINVAL;
    /* MAP_SHARED_VALIDATE is 3, and the bits of the other two. */
    if (type != MAP_PRIVATE && type != MAP_SHARED && type != (MAP_PRIVATE | MAP_SHARED))
        return -EINVAL;
    long descriptor_flags = SHIM_ROW(ROW_fcntl, false, SHIM_ARG(fd), 3 /* F_GETFL */, 0, 0, 0);
    if (descriptor_flags < 0)
        return descriptor_flags;
    if ((descriptor_flags & O_PATH) != 0)
        return -EBADF;
    if ((descriptor_flags & O_ACCMODE) == O_WRONLY)
        return -EACCES;
    error = mappable(fd);
    if (error != 0)
        return error;
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
    error = fill((uint64_t)copy, a[1], fd, (int64_t)a[5]);
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
