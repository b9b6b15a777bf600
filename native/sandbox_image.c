/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_image.c - a copy of the loader that can be executed and not read.
 *
 * Who may call it: the launcher. Which side runs it: the host, before fork. What it trusts: the
 * file, at this moment.
 *
 * exec of a program that its user may not read makes the new process not dumpable from its first
 * instruction (would_dump() in the kernel's fs/exec.c; seen on Linux 6.18 by
 * tests/sandbox/test_harden.py). Otherwise there is a gap between exec and sandbox_harden(), while
 * the dynamic loader runs, in which the same user could open /proc/PID/mem, and keep it. The copy
 * costs 0.15 ms for 280 KB.
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 6.3: says that it is meant to be executable. Unknown, thus EINVAL, before. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* Copies all of from to to. Returns 0 or an errno. */
static int copy_file(int from, int to)
{
    struct stat status;
    if (fstat(from, &status) != 0) {
        return errno;
    }
    if (!S_ISREG(status.st_mode)) {
        return EACCES;
    }
    for (off_t left = status.st_size; left > 0;) {
        ssize_t done = sendfile(to, from, NULL, (size_t)left);
        if (done < 0 && errno != EINTR) {
            return errno;
        }
        if (done == 0) {
            return EIO; /* became shorter meanwhile */
        }
        left -= done > 0 ? done : 0;
    }
    return 0;
}

int sandbox_image_open(const char *path, struct sandbox_error *error)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return sandbox_fail(error, "image", errno, "Reinstall the package", "%s", path);
    }
    int to = memfd_create("hotcalls-enclave", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (to < 0 && errno == EINVAL) {
        to = memfd_create("hotcalls-enclave", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    int err = to < 0 ? errno : copy_file(from, to);
    (void)close(from);
    /* Executable by anybody, since the launcher may change users before exec; readable by nobody.
     * The owner is not asked about other classes' bits, so 0111 denies reading to him as well. */
    if (err == 0 &&
        (fchmod(to, 0111) != 0 ||
         fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)) {
        err = errno;
    }
    if (err != 0) {
        if (to >= 0) {
            (void)close(to);
        }
        return sandbox_fail(error, "image", err, "Raise the limits of memory and descriptors",
                            "copy of %s", path);
    }
    return to;
}
