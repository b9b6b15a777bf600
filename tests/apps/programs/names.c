/* SPDX-License-Identifier: Apache-2.0 */
/* What names mean: links, dots, slashes at the end, directories. Argument: a folder of its own. */
#include "say.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
    struct stat status;
    struct statfs system;
    char text[256];
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    umask(022);
    SAY(mkdir("a/", 0755));
    SAY(mkdir("a", 0755));
    SAY(mkdir("a/.", 0755));
    SAY(mkdir("none/b", 0755));
    SAY(close(open("a/file", O_CREAT | O_WRONLY, 0644)));
    SAY(symlink("a", "to-a"));
    SAY(symlink("a/file", "to-file"));
    SAY(symlink("nowhere", "to-nowhere"));
    SAY(lstat("to-a", &status) == 0 && S_ISLNK(status.st_mode));
    SAY(lstat("to-a/", &status) == 0 && S_ISDIR(status.st_mode));
    SAY(lstat("a/.", &status) == 0 && S_ISDIR(status.st_mode));
    SAY(lstat("a/..", &status) == 0 && S_ISDIR(status.st_mode));
    SAY(stat("to-file", &status) == 0 && S_ISREG(status.st_mode));
    SAY(stat("to-file/", &status));
    SAY(stat("to-nowhere", &status));
    SAY(access("to-file", W_OK));
    SAY(access("to-nowhere", F_OK));
    SAY(truncate("to-file", 100));
    SAY(stat("a/file", &status) == 0 ? status.st_size : -1);
    SAY(truncate("a", 0));
    SAY(truncate("to-nowhere", 0));
    SAY(truncate("a/file", -1));
    SAY(chmod("to-file", 0600));
    SAY(stat("a/file", &status) == 0 ? (long)status.st_mode : -1);
    SAY(chmod("to-nowhere", 0600));
    SAY(fchownat(AT_FDCWD, "to-file", (uid_t)-1, (gid_t)-1, 0));
    SAY(lchown("to-nowhere", (uid_t)-1, (gid_t)-1));
    SAY(utimensat(AT_FDCWD, "to-file", (struct timespec[2]){{5, 0}, {6, 0}}, 0));
    SAY(stat("a/file", &status) == 0 ? status.st_mtime : -1);
    SAY(utimensat(AT_FDCWD, "to-nowhere", (struct timespec[2]){{7, 0}, {8, 0}},
                  AT_SYMLINK_NOFOLLOW));
    SAY(lstat("to-nowhere", &status) == 0 ? status.st_mtime : -1);
    SAY(utimensat(AT_FDCWD, "to-nowhere", NULL, 0));
    SAY(readlink("to-file", text, sizeof text));
    SAY(readlink("a", text, sizeof text));
    SAY(readlink("to-a/", text, sizeof text));
    SAY(linkat(AT_FDCWD, "to-file", AT_FDCWD, "linked-link", 0));
    SAY(linkat(AT_FDCWD, "to-file", AT_FDCWD, "linked-file", AT_SYMLINK_FOLLOW));
    SAY(lstat("linked-link", &status) == 0 && S_ISLNK(status.st_mode));
    SAY(lstat("linked-file", &status) == 0 ? (long)status.st_nlink : -1);
    SAY(link("a", "linked-folder"));
    SAY(link("a/file", "linked-file"));
    SAY(rename("linked-file", "a/moved"));
    SAY(rename("a/moved", "none/moved"));
    SAY(rename("a", "a/b"));
    SAY(mkdir("b", 0755));
    SAY(rename("b/", "c/"));
    SAY(rename("to-a/", "d"));
    SAY(rename("c", "a/."));
    SAY(rename("c", "a"));
    SAY(unlink("a"));
    SAY(unlink("to-file/"));
    SAY(rmdir("to-a/"));
    SAY(rmdir("c/."));
    SAY(rmdir("a/.."));
    SAY(rmdir("c/"));
    SAY(rmdir("a"));
    SAY(mkdir("/", 0755));
    SAY(mknod("a/pipe", S_IFIFO | 0600, 0));
    SAY(stat("a/pipe", &status) == 0 && S_ISFIFO(status.st_mode));
    SAY(truncate("a/pipe", 0));
    SAY(symlink("x", "a/file"));
    SAY(symlink("x", "new/"));
    SAY_FINE(statfs("to-a", &system));
    SAY(statfs("to-nowhere", &system));
    SAY(chdir("to-file"));
    SAY(chdir("to-a"));
    SAY(access("file", F_OK));
    SAY(chdir(".."));
    SAY(access("to-a", F_OK));
    SAY_FINE(setxattr("to-file", "user.mark", "value", 5, 0));
    SAY_FINE(getxattr("a/file", "user.mark", text, sizeof text));
    SAY_FINE(listxattr("to-file", text, sizeof text));
    SAY_FINE(lgetxattr("to-file", "user.mark", text, sizeof text));
    SAY_FINE(removexattr("to-file", "user.mark"));
    SAY(getxattr("to-nowhere", "user.mark", text, sizeof text));
    int fd = open("a/file", O_RDONLY | O_TRUNC);
    SAY(fd >= 0 && fstat(fd, &status) == 0 ? status.st_size : -1);
    SAY(write(fd, "x", 1));
    close(fd);
    fd = open("a/new", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY, 0600);
    SAY(write(fd, "0123456789", 10));
    close(fd);
    fd = open("a/new", O_TRUNC | O_RDWR);
    SAY(fstat(fd, &status) == 0 ? status.st_size : -1);
    close(fd);
    SAY(open("a/new", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY, 0600));
    SAY(open("a", O_TRUNC | O_WRONLY));
    SAY(open("a", O_TRUNC | O_RDONLY));
    SAY_FINE(close(open("/dev/null", O_TRUNC | O_WRONLY)));
    memset(text, 'n', sizeof text);
    text[sizeof text - 1] = '\0';
    SAY(unlink("a/pipe"));
    SAY(mkdir(text, 0755));
    text[250] = '\0';
    SAY(mkdir(text, 0755));
    SAY(rmdir(text));
    SAY(unlink(""));
    SAY(stat("", &status));
    return 0;
}
