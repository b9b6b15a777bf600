/* SPDX-License-Identifier: Apache-2.0 */
/* Files and names: argv[1] is an empty directory of our own. */
#include "say.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <termios.h>
#include <utime.h>

static char g_big[1500000];
static char g_back[1500000];

static void names(void)
{
    struct stat st;
    char text[64] = "";
    SAY(mkdir("d", 0755));
    SAY(mkdir("d", 0755));
    SAY(open("nothing", O_RDONLY));
    SAY(open("d", O_WRONLY));
    SAY(open((const char *)1, O_RDONLY));
    char *longest = malloc(6000);
    memset(longest, 'x', 5999);
    longest[5999] = 0;
    SAY(open(longest, O_RDONLY));
    longest[300] = 0;
    SAY(open(longest, O_RDONLY));
    SAY(creat("f", 0640));
    SAY(stat("f", &st));
    printf("mode %o size %ld nlink %lu\n", st.st_mode, st.st_size, st.st_nlink);
    SAY(lstat("f/x", &st));
    SAY(symlink("f", "s"));
    SAY(readlink("s", text, sizeof text));
    SAY_TEXT(text);
    SAY(readlink("f", text, sizeof text));
    SAY(readlink("s", text, 0));
    SAY(open("s", O_RDONLY | O_NOFOLLOW));
    SAY(symlink("loop", "loop"));
    SAY(open("loop", O_RDONLY));
    SAY(link("f", "l"));
    SAY(rename("l", "d/l"));
    SAY(renameat2(AT_FDCWD, "d/l", AT_FDCWD, "f", RENAME_NOREPLACE));
    SAY(unlink("d/l"));
    SAY(unlink("d"));
    SAY(rmdir("f"));
    SAY(chmod("f", 0600));
    SAY(access("f", R_OK | W_OK));
    SAY(access("f", 99));
    SAY(faccessat(AT_FDCWD, "nothing", F_OK, 0));
    SAY(truncate("f", 10));
    SAY(truncate("f", -1));
    SAY(mkfifo("p", 0600));
    SAY(mknod("p", S_IFIFO, 0));
    SAY(utimensat(AT_FDCWD, "f", NULL, 0));
    struct utimbuf times = {1000, 2000};
    SAY(utime("f", &times));
    SAY(stat("f", &st));
    printf("times %ld %ld\n", (long)st.st_atime, (long)st.st_mtime);
    struct timeval old[2] = {{5, 6}, {7, 8}};
    SAY(utimes("f", old));
    SAY(chown("f", (uid_t)-1, (gid_t)-1));
    SAY(setxattr("f", "user.x", "y", 1, 0) == 0 || errno != 0);
    SAY(getxattr("f", "user.none", text, sizeof text) == -1);
    struct statfs system;
    SAY(statfs(".", &system));
    SAY(statfs("nothing", &system));
    SAY(chdir("nothing"));
    SAY(chdir("d"));
    SAY(getcwd(text, 1) == NULL ? -1 : 0);
    char *cwd = getcwd(NULL, 0);
    SAY_TEXT(strrchr(cwd, '/'));
    SAY(chdir(".."));
    SAY(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
    printf("umask %o", umask(077));
    printf(" %o\n", umask(022));
    int directory = open(".", O_RDONLY | O_DIRECTORY);
    int inside = openat(directory, "f", O_RDWR);
    SAY(inside >= 0);
    SAY(openat(inside, "x", O_RDONLY));
    SAY(openat(-5, "x", O_RDONLY));
    SAY(openat(-5, "/dev/null", O_RDONLY) >= 0);
    SAY(fchdir(inside));
    SAY(fchdir(directory));
    int count = 0;
    DIR *listing = opendir(".");
    while (readdir(listing) != NULL)
        count++;
    SAY(count);
    closedir(listing);
    struct statx sx;
    SAY(statx(AT_FDCWD, "f", 0, STATX_SIZE, &sx));
    printf("statx %llu\n", (unsigned long long)sx.stx_size);
    SAY(statx(AT_FDCWD, "f", 0, STATX_SIZE, NULL));
}

static void contents(void)
{
    char small[64] = "";
    struct stat st;
    int fd = open("c", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (size_t i = 0; i < sizeof g_big; i++)
        g_big[i] = (char)(i * 7 + i / 251);
    SAY(write(fd, "hello world", 11));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(lseek(fd, -5, SEEK_SET));
    SAY(lseek(fd, 0, 77));
    SAY(read(fd, small, 5));
    SAY_TEXT(small);
    SAY(read(fd, (void *)8, 5));
    SAY(write(fd, (void *)8, 5));
    SAY(read(fd, NULL, 0));
    SAY(read(-1, small, 1));
    SAY(read(4000, small, 1));
    SAY(write(100000, small, 1));
    SAY(pread(fd, small, 3, 2));
    SAY(pread(fd, small, 3, -2));
    SAY(pwrite(fd, "XY", 2, 1));
    struct iovec vector[3] = {{small, 2}, {small + 10, 0}, {small + 20, 30}};
    SAY(preadv(fd, vector, 3, 0));
    printf("%.2s %.9s\n", small, small + 20);
    struct iovec bad[1] = {{(void *)8, 4}};
    SAY(writev(fd, bad, 1));
    SAY(writev(fd, vector, 2000));
    SAY(writev(fd, NULL, 0));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(write(fd, g_big, sizeof g_big));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(read(fd, g_back, sizeof g_back));
    SAY(memcmp(g_big, g_back, sizeof g_big));
    memset(g_back, 0, sizeof g_back);
    struct iovec large[3] = {{g_back, 700000}, {g_back + 700000, 1}, {g_back + 700001, 799999}};
    SAY(preadv(fd, large, 3, 0));
    SAY(memcmp(g_big, g_back, sizeof g_big));
    SAY(pwritev(fd, large, 3, 100));
    SAY(fstat(fd, &st));
    printf("size %ld\n", st.st_size);
    SAY(ftruncate(fd, 100));
    SAY(fallocate(fd, 0, 0, 4096));
    SAY(fsync(fd));
    SAY(fdatasync(fd));
    SAY(flock(fd, LOCK_EX | LOCK_NB));
    SAY(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    SAY(fcntl(fd, F_SETLK, &lock));
    SAY(fcntl(fd, F_GETFL) & O_ACCMODE);
    SAY(fcntl(fd, F_GETFD));
    SAY(fcntl(fd, F_SETFD, FD_CLOEXEC));
    SAY(fcntl(fd, F_GETFD));
    SAY(fcntl(fd, 9999));
    SAY(fcntl(fd, F_DUPFD, 900));
    SAY(fcntl(fd, F_DUPFD, 1 << 30));
    SAY(dup2(fd, 901));
    SAY(dup2(fd, fd) == fd);
    SAY(dup2(fd, -1));
    SAY(dup2(-1, 5));
    SAY(dup3(fd, fd, 0));
    SAY(close(901));
    SAY(close(901));
    SAY(close_range(900, 950, 0));
    SAY(close(900));
    int out = open("o", O_RDWR | O_CREAT | O_TRUNC, 0600);
    off_t offset = 10;
    SAY(sendfile(out, fd, &offset, 50));
    SAY(offset);
    loff_t from = 0;
    SAY(copy_file_range(fd, &from, out, NULL, 20, 0));
    struct winsize size;
    SAY(ioctl(fd, TIOCGWINSZ, &size));
    SAY(isatty(fd));
    int available;
    SAY(ioctl(fd, FIONREAD, &available));
    SAY(ioctl(fd, 0xdeadbeef, &available));
    SAY(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0));
    SAY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 1));
    SAY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, -1, 0));
    char *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, out, 0);
    SAY(mapped != MAP_FAILED);
    SAY(read(out, small, 1) >= 0);
    SAY(memcmp(mapped, g_big, 0));
    SAY(munmap(mapped, 4096));
    SAY(inotify_add_watch(99, ".", IN_CREATE));
    int watch = inotify_init1(IN_NONBLOCK);
    SAY(inotify_add_watch(watch, ".", IN_CREATE));
    SAY(close(creat("seen", 0600)));
    struct inotify_event *event = (struct inotify_event *)(void *)g_back;
    SAY(read(watch, g_back, 4096) > 0);
    SAY_TEXT(event->name);
    SAY(read(watch, g_back, 4096));
    SAY(splice(fd, NULL, out, NULL, 10, 0));
}

int main(int argc, char **argv)
{
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    umask(022);
    names();
    contents();
    return 0;
}
