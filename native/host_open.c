/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_open.c -- what an enclave is started from: sealed copies of files, and its paper.
 *
 * Untrusted side; trusted by the enclave until the launch has returned, and not after.
 */
#define _GNU_SOURCE
#include "host_internal.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

#define ENCLAVE_FILE_MAX (UINT64_C(1) << 30)

/* A memfd that may hold a program. Old kernels do not know MFD_EXEC and need none. */
int host_new_memfd(const char *name, bool exec)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = exec ? memfd_create(name, flags | MFD_EXEC) : -1;
    if (fd < 0 && (!exec || errno == EINVAL))
        fd = memfd_create(name, flags);
    return fd;
}

void host_close_opened(struct host_opened *opened)
{
    int *fds[] = {&opened->channel,   &opened->image, &opened->loader, &opened->host_pidfd,
                  &opened->pipe_read, &opened->log,   &opened->paper};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (*fds[i] >= 0)
            (void)close(*fds[i]);
}

static bool write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size != 0) {
        ssize_t wrote = write(fd, bytes, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        bytes += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static bool copy_file(int from, int to)
{
    static const size_t piece = 256u * 1024u;
    uint8_t *buffer = malloc(piece);
    uint64_t total = 0;
    bool fine = buffer != NULL;
    while (fine) {
        ssize_t got = read(from, buffer, piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            fine = got == 0;
            break;
        }
        total += (uint64_t)got;
        if (total > ENCLAVE_FILE_MAX) {
            errno = EFBIG;
            fine = false;
            break;
        }
        fine = write_all(to, buffer, (size_t)got);
    }
    free(buffer);
    return fine;
}

/*
 * The enclave's file becomes a sealed memfd: what is checked is what is loaded, nobody can change
 * it later, and another user can load it whatever the permissions of its directories are.
 */
enum hc_status host_open_image(const struct hc_launch_options *options, struct host_opened *opened,
                               struct hc_error *error)
{
    bool fine;
    opened->image = host_new_memfd("enclave", true);
    if (opened->image < 0) {
        host_error(error, HC_ERR_OS, errno, "memfd_create: %s", strerror(errno));
        return HC_ERR_OS;
    }
    if (options->image != NULL) {
        fine = write_all(opened->image, options->image, options->image_size);
    } else {
        int file = open(options->path, O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            host_error(error, HC_ERR_OS, errno, "%s: %s", options->path, strerror(errno));
            return HC_ERR_OS;
        }
        fine = copy_file(file, opened->image);
        int number = errno;
        (void)close(file);
        errno = number;
    }
    if (!fine || fcntl(opened->image, F_ADD_SEALS,
                       F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        host_error(error, HC_ERR_OS, errno, "reading the enclave: %s", strerror(errno));
        return HC_ERR_OS;
    }
    return HC_OK;
}

enum hc_status host_open_loader(const char *path, bool by_path, struct host_opened *opened,
                                struct hc_error *error)
{
    struct sandbox_error why;
    opened->loader = by_path ? open(path, O_PATH | O_CLOEXEC) : sandbox_image_open(path, &why);
    if (opened->loader >= 0)
        return HC_OK;
    /* Not the file itself instead of a copy: the same user could look in until it is hardened. */
    int number = by_path ? errno : why.err;
    host_error(error, HC_ERR_OS, number, "the loader %s: %s%s", path, strerror(number),
               number == EACCES && !by_path
                   ? " (it has to be readable, and vm.memfd_noexec below 2: sysctl)"
                   : "");
    return HC_ERR_OS;
}

enum hc_status host_open_paper(struct host_opened *opened, struct hc_error *error)
{
    opened->paper = host_new_memfd("hotcalls-paper", false);
    /* Sealed in size: what a hostile enclave can make this process hold is bounded. */
    if (opened->paper >= 0 && ftruncate(opened->paper, (off_t)HC_PAPER_MAX) == 0 &&
        fcntl(opened->paper, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) == 0)
        return HC_OK;
    host_error(error, HC_ERR_OS, errno, "making the paper: %s", strerror(errno));
    return HC_ERR_OS;
}

uint8_t *host_read_paper(const struct host_opened *opened, size_t *size)
{
    uint64_t wrote = 0;
    *size = 0;
    /* The length, then so many bytes: each read once. */
    if (opened->paper < 0 || pread(opened->paper, &wrote, sizeof wrote, 0) != sizeof wrote ||
        wrote == 0 || wrote > HC_PAPER_MAX - sizeof wrote)
        return NULL;
    uint8_t *bytes = malloc((size_t)wrote);
    if (bytes == NULL)
        return NULL;
    ssize_t got = pread(opened->paper, bytes, (size_t)wrote, sizeof wrote);
    if (got != (ssize_t)wrote) {
        free(bytes);
        return NULL;
    }
    *size = (size_t)wrote;
    return bytes;
}
