/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which calls cost a process the record locks that it has on a file: closing any descriptor of it,
 * and nothing else. Argument: a folder of its own.
 */
#include "say.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

static int g_fd, g_probe;

static void begin(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    g_fd = open("file", O_RDWR | O_CREAT, 0644);
    g_probe = open("file", O_RDWR);
    if (write(g_fd, "0123456789", 10) != 10 || fcntl(g_fd, F_SETLK, &lock) != 0)
        exit(2);
}

/* A lock of an open file, as that of another process, is in the way of the lock that is there. */
static const char *end(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int error = fcntl(g_probe, F_OFD_GETLK, &lock);
    close(g_fd);
    close(g_probe);
    (void)unlink("file");
    (void)unlink("other");
    return error != 0 ? "unknown" : lock.l_type == F_UNLCK ? "gone" : "kept";
}

#define TRY(expression)                      \
    do {                                     \
        begin();                             \
        SAY_FINE(expression);                \
        printf("  the lock is %s\n", end()); \
    } while (0)

static int sent(int fd)
{
    int pair[2];
    char byte = 'x', control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return -1;
    ssize_t result = sendmsg(pair[0], &message, 0);
    close(pair[0]);
    return result == 1 ? 0 : -1;
}

static int renamed(const char *from, const char *to)
{
    return close(open(from, O_CREAT | O_WRONLY, 0644)) == 0 ? rename(from, to) : -1;
}

static char *number(const char *format)
{
    static char text[64];
    (void)snprintf(text, sizeof text, format, g_fd);
    return text;
}

int main(int argc, char **argv)
{
    struct stat status;
    struct statx wide;
    struct statfs system;
    char text[64];
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    TRY(stat("file", &status));
    TRY(fstat(g_fd, &status));
    TRY(fstatat(g_fd, "", &status, AT_EMPTY_PATH));
    TRY(statx(g_fd, "", AT_EMPTY_PATH, STATX_ALL, &wide));
    TRY(truncate("file", 3));
    TRY(truncate("file", -1));
    TRY(truncate(number("/proc/self/fd/%d"), 3));
    TRY(ftruncate(g_fd, 3));
    TRY(futimens(g_fd, NULL));
    TRY(utimensat(AT_FDCWD, "file", NULL, 0));
    TRY(chmod("file", 0600));
    TRY(fchmod(g_fd, 0600));
    TRY(chown("file", (uid_t)-1, (gid_t)-1));
    TRY(fchownat(g_fd, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH));
    TRY(setxattr("file", "user.mark", "1", 1, 0));
    TRY(listxattr("file", text, sizeof text));
    TRY(statfs("file", &system));
    TRY(access("file", W_OK));
    TRY(link("file", "other"));
    TRY(linkat(AT_FDCWD, number("/proc/self/fd/%d"), AT_FDCWD, "other", AT_SYMLINK_FOLLOW));
    TRY(rename("file", "other"));
    TRY(renamed("new", "file"));
    TRY(unlink("file"));
    TRY(open("file", O_RDONLY));
    TRY(open("file", O_RDWR | O_CREAT, 0644));
    TRY(open("file", O_RDWR | O_TRUNC));
    TRY(open("file", O_RDONLY | O_TRUNC));
    TRY(open("file", O_RDONLY | O_CREAT | O_TRUNC, 0644));
    TRY(open("file", O_RDONLY | O_NOFOLLOW));
    TRY(open("file", O_RDONLY | O_DIRECTORY));
    TRY(open("file", O_RDWR | O_CREAT | O_EXCL, 0644));
    TRY(open("file/", O_RDONLY));
    TRY(open(number("/dev/fd/%d"), O_RDWR));
    TRY(open(number("/proc/self/fd/%d"), O_RDONLY));
    TRY(openat(g_fd, "file", O_RDONLY));
    TRY(fchdir(g_fd));
    TRY(chdir("file"));
    TRY(close(open("file", O_PATH)));
    TRY(close(open("file", O_RDONLY)));
    TRY(close(dup(g_fd)));
    TRY(dup(g_fd));
    TRY(dup2(g_fd, 100));
    TRY(dup2(STDIN_FILENO, 100));
    TRY(dup2(g_fd, 100));
    TRY(close(100));
    TRY(dup2(STDIN_FILENO, dup(g_fd)));
    TRY(flock(g_fd, LOCK_EX));
    TRY(fcntl(g_fd, F_SETFL, O_APPEND));
    TRY(fsync(g_fd));
    TRY(posix_fallocate(g_fd, 0, 100));
    TRY(mmap(NULL, 10, PROT_READ, MAP_PRIVATE, g_fd, 0) != MAP_FAILED ? 0 : -1);
    TRY(sent(g_fd));
    return 0;
}
