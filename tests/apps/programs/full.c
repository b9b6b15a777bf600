/* SPDX-License-Identifier: Apache-2.0 */
/* Writing to a disk that becomes full, and past the limit of file sizes: argv[1] is on it. */
#include "say.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

static char g_data[1 << 20];
static volatile int g_signals;

static void count(int number)
{
    (void)number;
    g_signals++;
}

int main(int argc, char **argv)
{
    struct stat st;
    struct rlimit limit = {100000, RLIM_INFINITY};
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    int zero = open("/dev/zero", O_RDONLY);
    int file = open("file", O_CREAT | O_RDWR, 0600), other = open("other", O_CREAT | O_RDWR, 0600);
    struct iovec parts[3] = {{g_data, 100000}, {g_data, 500000}, {g_data, 300000}};
    SAY(write(file, g_data, 1000));
    SAY(write(file, g_data, sizeof g_data));
    SAY(write(file, g_data, 1));
    SAY(write(file, g_data, sizeof g_data));
    SAY(fstat(file, &st));
    SAY(st.st_size);
    SAY(write(other, "x", 1));
    SAY(pwrite(file, "x", 1, 0));
    SAY(pwrite(file, g_data, 8192, st.st_size - 4096));
    SAY(ftruncate(file, 0));
    SAY(pwritev(file, parts, 3, 0));
    SAY(writev(file, parts, 3));
    SAY(fallocate(other, 0, 0, 1 << 20));
    SAY(ftruncate(file, 0));
    SAY(lseek(file, 0, SEEK_SET));
    SAY(sendfile(file, zero, NULL, 1 << 20));
    SAY(sendfile(file, zero, NULL, 1));
    SAY(open("new", O_CREAT | O_WRONLY, 0600) >= 0);
    SAY(mkdir("directory", 0700));
    SAY(fsync(file));
    SAY(ftruncate(file, 0));
    /* The limit of file sizes: a signal, and EFBIG. */
    signal(SIGXFSZ, count);
    SAY(setrlimit(RLIMIT_FSIZE, &limit));
    SAY(pwrite(file, g_data, 200000, 0));
    SAY(pwrite(file, g_data, 1, 100000));
    SAY(ftruncate(file, 200000));
    SAY(fallocate(file, 0, 0, 200000));
    SAY(g_signals);
    signal(SIGPIPE, count);
    g_signals = 0;
    int p[2];
    SAY(pipe(p));
    SAY(close(p[0]));
    SAY(write(p[1], "x", 1));
    SAY(sendfile(p[1], zero, NULL, 10));
    SAY(splice(zero, NULL, p[1], NULL, 10, 0));
    SAY(g_signals);
    return 0;
}
