/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files by the numbers of descriptors: in /dev/fd and /proc, as directories of other names, and what
 * the kernel tells about them. Argument: a folder of its own.
 */
#include "say.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>

static char g_folder[PATH_MAX];

static const char *named(const char *format, int fd)
{
    static char text[4][64];
    static unsigned next;
    char *to = text[next++ % 4u];
    (void)snprintf(to, sizeof text[0], format, fd);
    return to;
}

static const char *own(const char *format, int fd)
{
    static char text[64];
    (void)snprintf(text, sizeof text, format, (int)getpid(), fd);
    return text;
}

/* Where a name leads, from the folder on. */
static void lead(const char *what, const char *path)
{
    char text[PATH_MAX];
    const char *told = realpath(path, text) != NULL ? text : strerrorname_np(errno);
    size_t size = strlen(g_folder);
    printf("%s leads to %s\n", what, strncmp(told, g_folder, size) == 0 ? told + size : told);
}

static void link_of(const char *what, const char *path)
{
    char text[PATH_MAX] = "";
    size_t size = strlen(g_folder);
    ssize_t got = readlink(path, text, sizeof text - 1u);
    printf("%s says %s\n", what,
           got < 0                              ? strerrorname_np(errno)
           : strncmp(text, g_folder, size) == 0 ? text + size
                                                : text);
}

static int open_flags(const char *path, int flags, int told)
{
    int fd = open(path, flags, 0644);
    int got = fd < 0 ? -1 : fcntl(fd, F_GETFL) & told;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return got;
}

static int count(const char *path)
{
    DIR *directory = opendir(path);
    int found = 0;
    if (directory == NULL)
        return -1;
    while (readdir(directory) != NULL)
        found++;
    closedir(directory);
    return found;
}

/* Whether a watch of this name sees the change of the file that a link leads to. */
static int seen(const char *path, uint32_t mask)
{
    char event[512];
    int fd = inotify_init1(IN_NONBLOCK);
    if (inotify_add_watch(fd, path, IN_ATTRIB | mask) < 0) {
        close(fd);
        return -1;
    }
    (void)chmod("folder/file", 0600);
    (void)chmod("folder/file", 0644);
    int got = read(fd, event, sizeof event) > 0;
    close(fd);
    return got;
}

int main(int argc, char **argv)
{
    struct stat status;
    char text[PATH_MAX];
    if (argc < 2 || chdir(argv[1]) != 0 || getcwd(g_folder, sizeof g_folder) == NULL)
        return 2;
    umask(022);
    SAY(mkdir("folder", 0755));
    SAY(close(open("folder/file", O_CREAT | O_WRONLY, 0644)));
    SAY(symlink("folder/file", "to-file"));
    int folder = open("folder", O_RDONLY | O_DIRECTORY);
    int file = open("folder/file", O_RDWR);

    SAY(lstat(named("/proc/self/fd/%d", file), &status) == 0 && S_ISLNK(status.st_mode));
    SAY(lstat(named("/dev/fd/%d", file), &status) == 0 && S_ISLNK(status.st_mode));
    SAY(stat(named("/dev/fd/%d", file), &status) == 0 && S_ISREG(status.st_mode));
    SAY(stat(own("/proc/%d/fd/%d", file), &status) == 0 && S_ISREG(status.st_mode));
    SAY(lstat(named("/proc/self/fd/%d", 999), &status));
    SAY(faccessat(AT_FDCWD, named("/dev/fd/%d", file), F_OK, AT_SYMLINK_NOFOLLOW));
    link_of("/proc/self/fd", named("/proc/self/fd/%d", file));
    link_of("/proc/thread-self/fd", named("/proc/thread-self/fd/%d", file));
    link_of("/dev/fd", named("/dev/fd/%d", file));
    link_of("/proc/PID/fd", own("/proc/%d/fd/%d", file));
    link_of("/dev/fd of none", named("/dev/fd/%d", 999));
    lead("/proc/self/fd", named("/proc/self/fd/%d", file));
    lead("/dev/fd", named("/dev/fd/%d", folder));
    lead("/dev/stdin", "/dev/stdin");
    lead("/proc/self/fd/N/file", named("/proc/self/fd/%d/file", folder));
    ssize_t size = readlink("/proc/self", text, sizeof text - 1u);
    text[size > 0 ? size : 0] = '\0';
    SAY(atoi(text) == getpid());
    SAY(lstat("/proc/self", &status) == 0 && S_ISLNK(status.st_mode));
    SAY(count("/dev/fd") == count("/proc/self/fd") && count("/dev/fd") > 5);

    SAY(access(named("/proc/self/fd/%d/file", folder), R_OK));
    SAY(access(named("/dev/fd/%d/none", folder), R_OK));
    SAY(access(named("/proc/self/fd/%d/../to-file", folder), R_OK));
    SAY(access(own("/proc/%d/fd/%d/file", folder), R_OK));
    SAY(access(named("/proc/self/fd/%d/file", file), R_OK));
    SAY(close(open(named("/dev/fd/%d/new", folder), O_CREAT | O_EXCL | O_WRONLY, 0600)));
    SAY(mkdir(named("/proc/self/fd/%d/inner", folder), 0700));
    SAY(rename(named("/dev/fd/%d/new", folder), named("/proc/self/fd/%d/inner/moved", folder)));
    SAY(chdir(named("/proc/self/fd/%d/inner", folder)));
    SAY(unlink("moved"));
    SAY(fchdir(folder));
    SAY(chdir(".."));
    SAY(rmdir(named("/dev/fd/%d/inner", folder)));
    SAY(truncate(named("/dev/fd/%d", file), 7));
    SAY(fstat(file, &status) == 0 ? status.st_size : -1);

    SAY(open("folder", O_RDONLY | O_CREAT, 0644));
    SAY(open(".", O_RDONLY | O_CREAT, 0644));
    SAY(open("folder", O_RDWR | O_TMPFILE | O_CREAT, 0644));
    SAY(open("folder", O_RDONLY | O_DIRECTORY | O_CREAT, 0644));
    SAY(open_flags("folder", O_PATH | O_DIRECTORY, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    SAY(open_flags("folder/file", O_PATH | O_NOFOLLOW, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    SAY(open_flags("to-file", O_PATH | O_NOFOLLOW | O_CREAT, O_PATH | O_NOFOLLOW | O_CREAT));
    SAY(open_flags("none", O_PATH | O_CREAT, O_PATH));
    SAY(access("none", F_OK));
    SAY(seen("to-file", 0));
    SAY(seen("to-file", IN_DONT_FOLLOW));
    SAY(seen("folder/file", IN_DONT_FOLLOW));
    SAY(seen("folder/", IN_DONT_FOLLOW));

    SAY(stat("/proc/self/cwd", &status) == 0 && S_ISDIR(status.st_mode));
    SAY(access("/proc/self/root", R_OK));
    SAY(access("/proc/self/exe", X_OK));
    SAY(chdir("/proc/self/cwd"));
    SAY(close(open("marked", O_CREAT | O_TRUNC | O_RDWR, 06755)));
    SAY(stat("marked", &status) == 0 ? (long)(status.st_mode & 07777u) : -1);
    SAY(close(open("marked", O_CREAT | O_TRUNC | O_RDWR, 06755)));
    SAY(stat("marked", &status) == 0 ? (long)(status.st_mode & 07777u) : -1);

    SAY(mkdir("gone", 0755) == 0 && chdir("gone") == 0 ? rmdir("../gone") : -1);
    SAY(close(open("/proc/self/cwd", O_RDONLY)));
    SAY(access("/proc/self/cwd", R_OK));
    SAY(open("new", O_CREAT | O_WRONLY, 0600));
    SAY(chdir(".."));

    int null = open("/dev/null", O_RDWR);
    SAY(lseek(null, 5, SEEK_SET));
    SAY(lseek(null, 5, SEEK_END));
    SAY(lseek(file, 5, SEEK_SET));
    SAY(lseek(file, -1, SEEK_SET));
    return 0;
}
