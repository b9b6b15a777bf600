/* SPDX-License-Identifier: Apache-2.0 */
/* A library that shows that it was loaded into a process: it makes the file that MARKER names. */
#include <fcntl.h>
#include <unistd.h>

unsigned la_version(unsigned version);

/* So that it is an auditor, too. */
unsigned la_version(unsigned version)
{
    return version;
}

__attribute__((constructor)) static void loaded(void)
{
    int fd = open(MARKER, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    if (fd >= 0)
        (void)close(fd);
}
